"""The configuration files of a pool's daemons, rendered from the pool's and the hosts' descriptions."""

from dataclasses import dataclass

from tests.realpool.hosts import HOSTS, Host

DOMAIN = "pool.example"
"""The pool's UID_DOMAIN: the tail of a submitter's name."""

SCHEDD = "ap1.pool.example"


@dataclass(frozen=True, slots=True)
class Submitter:
    """A user as the negotiator sees it."""

    user: str
    group: str
    """Accounting group; "nice-user" for the lowest priority of all."""
    factor: float
    """Priority factor, set through the negotiator."""

    @property
    def name(self) -> str:
        """The accounting name, as in the ads."""
        return f"{self.group}.{self.user}@{DOMAIN}"

    @property
    def submit_lines(self) -> tuple[str, ...]:
        """What a submit description says so that the job is charged to this user."""
        if self.group == "nice-user":
            return ("nice_user = true", f"accounting_group_user = {self.user}")
        return (f"accounting_group = {self.group}", f"accounting_group_user = {self.user}")


SUBMITTERS = (
    Submitter("alice", "physics", 1000),
    Submitter("bob", "chem", 2000),
    Submitter("carol", "vision", 4000),
    Submitter("dave", "nice-user", 10_000_000),
)


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """What a pool is made of and how its daemons are set; the defaults suit tests: everything happens within seconds."""

    hosts: tuple[Host, ...] = HOSTS
    submitters: tuple[Submitter, ...] = SUBMITTERS
    negotiator_interval_s: int = 3
    negotiator_cycle_delay_s: int = 2
    negotiator_min_interval_s: int = 1
    schedd_interval_s: int = 3
    update_interval_s: int = 5
    """How often startds and daemons send their ads."""
    classad_lifetime_s: int = 60
    """How long the collector keeps an ad that isn't renewed: a killed host stays visible so long."""
    priority_halflife_s: int = 600
    claim_worklife_s: int = 300
    job_lease_s: int = 60
    """How long the schedd waits for a killed host before its jobs are idle again."""
    procd: bool | None = None
    """USE_PROCD; None: what the HTCondor version needs (25.x holds slots too long without it)."""
    settings: tuple[tuple[str, str], ...] = ()
    """Further configuration for every daemon: name, value."""


RECORDING = PoolSpec(
    negotiator_interval_s=20,
    negotiator_cycle_delay_s=10,
    negotiator_min_interval_s=5,
    schedd_interval_s=10,
    update_interval_s=20,
    classad_lifetime_s=90,
    job_lease_s=120,
)
"""A pool with its clock scaled down from hours to minutes: for samples of half an hour."""


def central(spec: PoolSpec, *, local_dir: str, port: int, procd: bool) -> str:
    """Return the configuration of collector, negotiator and schedd."""
    own = {
        "NETWORK_HOSTNAME": SCHEDD,
        "FILESYSTEM_DOMAIN": SCHEDD,
        "MASTER_NAME": "central",
        "DAEMON_LIST": "MASTER, COLLECTOR, NEGOTIATOR, SCHEDD",
        "COLLECTOR_ARGS": f"-port {port}",
        "SCHEDD_NAME": SCHEDD,
        "NEGOTIATOR_INTERVAL": spec.negotiator_interval_s,
        "NEGOTIATOR_CYCLE_DELAY": spec.negotiator_cycle_delay_s,
        "NEGOTIATOR_MIN_INTERVAL": spec.negotiator_min_interval_s,
        "NEGOTIATOR_UPDATE_INTERVAL": spec.update_interval_s,
        "NEGOTIATOR_CONSIDER_PREEMPTION": "False",
        "NEGOTIATOR_DEBUG": "D_MATCH D_SUB_SECOND",
        "PRIORITY_HALFLIFE": spec.priority_halflife_s,
        "COLLECTOR_UPDATE_INTERVAL": spec.update_interval_s,
        "CLASSAD_LIFETIME": spec.classad_lifetime_s,
        "SCHEDD_INTERVAL": spec.schedd_interval_s,
        "SCHEDD_MIN_INTERVAL": 1,
        "MAX_JOBS_RUNNING": 500,
        "JOB_START_COUNT": 50,
        "JOB_START_DELAY": 0,
        "JOB_DEFAULT_LEASE_DURATION": spec.job_lease_s,
        "SHADOW_QUEUE_UPDATE_INTERVAL": 30,
        "CLAIM_WORKLIFE": spec.claim_worklife_s,
        "EVENT_LOG": "$(LOG)/EventLog",
        "EVENT_LOG_FORMAT_OPTIONS": "JSON, ISO_DATE, SUB_SECOND",
        "EVENT_LOG_MAX_SIZE": 0,
        "EVENT_LOG_JOB_AD_INFORMATION_ATTRS": "Owner, AccountingGroup, RequestGPUs, RequirementClass, NumShadowStarts",
        "JOB_EPOCH_HISTORY": "$(SPOOL)/epoch_history",
        "MAX_HISTORY_LOG": 200_000_000,  # no unit: the schedd takes whole bytes only
        "SUBMIT_SKIP_FILECHECK": "True",
    }
    return _render({**_common(spec, local_dir, port, procd), **own}, spec.settings)


def startd(
    spec: PoolSpec, host: Host, *, local_dir: str, port: int, procd: bool, generation: int, started_at: int
) -> str:
    """Return the configuration of a host's master and startd.

    Parameters
    ----------
    generation : how often the host has come up; part of a glidein's name [1]
    started_at : when it comes up; a glidein's retirement and death count from it [s since 1970]
    """
    own: dict[str, object] = {
        "NETWORK_HOSTNAME": host.machine,
        "FILESYSTEM_DOMAIN": host.machine,
        "MASTER_NAME": f"{host.name}_{generation}",
        "DAEMON_LIST": "MASTER, STARTD",
        "NUM_CPUS": host.cpus,
        "MEMORY": host.memory_mib,
        "NUM_SLOTS": 1,
        "NUM_SLOTS_TYPE_1": 1,
        "SLOT_TYPE_1": "100%",
        "SLOT_TYPE_1_PARTITIONABLE": "True",
        "UPDATE_INTERVAL": spec.update_interval_s,
        "CLAIM_WORKLIFE": spec.claim_worklife_s,
        "RUNBENCHMARKS": "False",
        "RANK": 0,
        "MAXJOBRETIREMENTTIME": 0,
        "STARTER_UPDATE_INTERVAL": 30,
        "START": f"({host.start})",
        "GPU_DISCOVERY_EXTRA": " ".join(_discovery(host)),
    }
    attributes = _attributes(host)
    if host.glidein:
        attributes["GLIDEIN_ToRetire"] = str(started_at + host.retire_s)
        attributes["GLIDEIN_ToDie"] = str(started_at + host.die_s)
        own["STARTD_NAME"] = f"{host.name}_{generation}"
        own["START"] = f"(time() < GLIDEIN_ToRetire) && ({host.start})"
        own["STARTD.DAEMON_SHUTDOWN_FAST"] = "time() > GLIDEIN_ToDie"
    if host.gpus:
        own["use FEATURE"] = "GPUs"
    own["STARTD_CRON_JOBLIST"] = ""  # the monitor asks a driver that isn't there
    own["STARTD_ATTRS"] = "$(STARTD_ATTRS) " + " ".join(attributes)
    return _render({**_common(spec, local_dir, port, procd), **attributes, **own}, spec.settings)


def _common(spec: PoolSpec, local_dir: str, port: int, procd: bool) -> dict[str, object]:
    allow = {f"ALLOW_{who}": "*" for who in ("READ", "WRITE", "DAEMON", "NEGOTIATOR", "ADMINISTRATOR")}
    folders = {name.upper(): f"$(LOCAL_DIR)/{name}" for name in FOLDERS}
    return {
        "RELEASE_DIR": "/usr",
        "BIN": "/usr/bin",
        "SBIN": "/usr/sbin",
        "LIB": "/usr/lib/condor",
        "LIBEXEC": "/usr/libexec/condor",
        "SHARE": "/usr/share/condor",
        "ETC": "$(LOCAL_DIR)",
        "LOCAL_DIR": local_dir,
        **folders,
        "LOCAL_CONFIG_FILE": "",
        "LOCAL_CONFIG_DIR": "",
        "REQUIRE_LOCAL_CONFIG_FILE": "False",
        "CONDOR_HOST": "127.0.0.1",
        "COLLECTOR_HOST": f"127.0.0.1:{port}",
        "COLLECTOR_NAME": f"realpool-{port}",
        "NETWORK_INTERFACE": "127.0.0.1",
        "BIND_ALL_INTERFACES": "False",
        "DEFAULT_DOMAIN_NAME": "example",
        "USE_SHARED_PORT": "False",
        "USE_PROCD": str(procd),
        "UID_DOMAIN": DOMAIN,
        "SEC_DEFAULT_AUTHENTICATION": "OPTIONAL",
        "SEC_DEFAULT_AUTHENTICATION_METHODS": "FS, CLAIMTOBE",
        "SEC_CLIENT_AUTHENTICATION_METHODS": "FS, CLAIMTOBE",
        "SEC_DEFAULT_ENCRYPTION": "OPTIONAL",
        "SEC_DEFAULT_INTEGRITY": "OPTIONAL",
        # several masters on one address: a startd would offer its own master's family session to the collector, which rejects it
        "SEC_USE_FAMILY_SESSION": "False",
        **allow,
        "ALLOW_ADVERTISE_STARTD": "*",
        "ALLOW_ADVERTISE_SCHEDD": "*",
        "ALLOW_ADVERTISE_MASTER": "*",
        "ENABLE_KERNEL_TUNING": "False",
        "MOUNT_UNDER_SCRATCH": "",
        "UPDATE_COLLECTOR_WITH_TCP": "True",
        "MASTER_UPDATE_INTERVAL": spec.update_interval_s,
        "ALL_DEBUG": "D_SUB_SECOND",
        "MAX_DEFAULT_LOG": "100 Mb",
        "ENABLE_SSH_TO_JOB": "False",
        "CREDD_POLLING_TIMEOUT": 1,
        "MAIL": "",
    }


FOLDERS = ("log", "lock", "run", "spool", "execute")
"""What a LOCAL_DIR must have before its daemons start."""


def _discovery(host: Host) -> list[str]:
    """Return further arguments of condor_gpu_discovery."""
    if not host.gpus:
        return []
    simulate = ",".join(f"{kind.number},{count}" for kind, count in host.gpus)
    return ["-extra", *([] if host.nested else ["-not-nested"]), f"-simulate:{simulate}"]


def _attributes(host: Host) -> dict[str, str]:
    """Return what the host advertises of itself, as ClassAd expressions."""
    found = {
        "GLIDEIN_Site": f'"{host.site}"',
        "GLIDEIN_ResourceName": f'"{host.resource}"',
    }
    if host.singularity is not None:
        found["HasSingularity"] = found["HAS_SINGULARITY"] = str(host.singularity)
    if host.cvmfs is not None:
        found["HAS_CVMFS_singularity_opensciencegrid_org"] = str(host.cvmfs)
        if host.cvmfs:
            found["CVMFS_singularity_opensciencegrid_org_REVISION"] = "412097"
    if host.classic_attributes:
        first = host.gpus[0][0]
        found["CUDACapability"] = str(first.capability)
        found["CUDADeviceName"] = f'"{first.model}"'
        found["CUDAGlobalMemoryMb"] = str(first.memory_mib)
    return {**found, **dict(host.extra)}


def _render(values: dict[str, object], settings: tuple[tuple[str, str], ...]) -> str:
    lines = [
        f"{name} : {value}" if name.startswith("use ") else f"{name} = {value}"
        for name, value in [*values.items(), *settings]
    ]
    return "\n".join(lines) + "\n"
