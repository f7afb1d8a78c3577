"""Pools of other shapes than the sample's, to judge the engine by: each is recorded and replayed (docs/validation.md)."""

from dataclasses import dataclass

from tests.realpool.chroot import DEFAULT_SUITE
from tests.realpool.configuration import PoolSpec
from tests.realpool.hosts import A100, GTX_480, TITAN_RTX, V100, Host, Simulated
from tests.realpool.play import HostEvent
from tests.realpool.workload import Mix, RequirementClass


@dataclass(frozen=True, slots=True)
class Shape:
    """A pool, its workload and what happens to its hosts."""

    name: str
    what: str
    spec: PoolSpec
    mix: Mix
    events: tuple[HostEvent, ...] = ()
    suite: str = DEFAULT_SUITE
    duration_s: float = 600
    """The last jobs come at 0.9 of it; a run lasts at least so long, and then until the queue is empty [s]."""
    longest_s: float = 960
    """After so long a run ends, whatever still waits [s]."""


def _hosts(
    prefix: str, count: int, cpus: int, memory_gib: int, site: str, *gpus: tuple[Simulated, int]
) -> tuple[Host, ...]:
    """Return equal hosts with numbered names."""
    return tuple(
        Host(
            f"{prefix}{number}",
            f"{prefix}{number}.{site.lower()}.example",
            cpus,
            memory_gib * 1024,
            site,
            f"{site}-CE1",
            gpus=gpus,
        )
        for number in range(1, count + 1)
    )


def _classes(**jobs: int) -> tuple[RequirementClass, ...]:
    """Return classes by their names, with so many jobs in 600 s."""
    lines = {
        "any": ("request_gpus = 1", "request_cpus = 1", "request_memory = 4 GB"),
        "any_wide": ("request_gpus = 1", "request_cpus = 4", "request_memory = 8 GB"),
        "cap70": (
            "request_gpus = 1",
            "gpus_minimum_capability = 7.0",
            "request_cpus = 2",
            "request_memory = 8 GB",
        ),
        "cap75": (
            "request_gpus = 1",
            "gpus_minimum_capability = 7.5",
            "request_cpus = 2",
            "request_memory = 8 GB",
        ),
        "cap80": (
            "request_gpus = 1",
            "gpus_minimum_capability = 8.0",
            "request_cpus = 2",
            "request_memory = 8 GB",
        ),
        "model": (
            "request_gpus = 1",
            'require_gpus = DeviceName == "TITAN RTX"',
            "request_cpus = 2",
            "request_memory = 4 GB",
        ),
        "pair": ("request_gpus = 2", "request_cpus = 2", "request_memory = 8 GB"),
        "cpu": ("request_cpus = 1", "request_memory = 2 GB"),
        "cpu_big": ("request_cpus = 4", "request_memory = 24 GB"),
        "licensed": ("request_cpus = 1", "request_memory = 2 GB", "concurrency_limits = license"),
        "urgent": ("request_gpus = 1", "request_cpus = 1", "request_memory = 4 GB", "priority = 10"),
        "choosy": ("request_gpus = 1", "request_cpus = 1", "request_memory = 4 GB", "rank = GPUs_Capability"),
    }
    gpus = {"cpu": 0, "cpu_big": 0, "licensed": 0, "pair": 2}
    # a mix counts its jobs over 1200 s
    return tuple(
        RequirementClass(name, 2 * count, lines[name], gpus.get(name, 1)) for name, count in jobs.items()
    )


SLOW_CYCLE = Shape(
    "slow-cycle",
    "sixteen small hosts, HTCondor's own timers (a cycle every 60 s, worklife 1200 s), claims that outlive most jobs",
    PoolSpec(
        hosts=(
            *_hosts("k", 6, 4, 32, "Kestrel", (V100, 1)),
            *_hosts("t", 4, 6, 48, "Teal", (TITAN_RTX, 2)),
            *_hosts("o", 2, 4, 16, "Osprey", (GTX_480, 1)),
            *_hosts("s", 4, 8, 32, "Swift"),
        ),
        negotiator_interval_s=60,
        negotiator_cycle_delay_s=20,
        negotiator_min_interval_s=5,
        schedd_interval_s=60,
        update_interval_s=60,
        classad_lifetime_s=900,
        priority_halflife_s=900,
        claim_worklife_s=1200,
        job_lease_s=300,
        settings=(("SCHEDD_MIN_INTERVAL", "5"),),
    ),
    Mix(_classes(any=40, cap70=40, cap75=24, cpu=40, cpu_big=20), log_run_s=(4.1, 0.7)),
)

VERSION_25 = Shape(
    "version-25",
    "HTCondor 25.14 from Debian sid: five hosts of unequal size, one that quits and returns, one that is killed",
    PoolSpec(
        hosts=(
            *_hosts("big", 1, 48, 256, "Basin", (A100, 6)),
            *_hosts("mix", 1, 24, 96, "Basin", (V100, 2), (A100, 2)),
            *_hosts("rtx", 2, 12, 64, "Ridge", (TITAN_RTX, 3)),
            *_hosts("flat", 1, 32, 64, "Ridge"),
        ),
        negotiator_interval_s=20,
        negotiator_cycle_delay_s=10,
        negotiator_min_interval_s=5,
        schedd_interval_s=20,
        update_interval_s=30,
        classad_lifetime_s=90,
        priority_halflife_s=600,
        claim_worklife_s=120,
        job_lease_s=60,
        settings=(("SCHEDD_MIN_INTERVAL", "5"),),
    ),
    Mix(_classes(any=36, cap75=30, cap80=30, pair=20, cpu=30), log_run_s=(4.2, 0.8)),
    events=(
        HostEvent(150, "rtx1", "quit"),
        HostEvent(230, "rtx1", "add"),
        HostEvent(330, "mix1", "kill"),
        HostEvent(460, "mix1", "add"),
    ),
    suite="sid",
)

PREEMPTION = Shape(
    "preemption",
    "priority preemption: PREEMPTION_REQUIREMENTS = RemoteUserPrio > SubmitterUserPrio * 1.2, 30 s of retirement",
    PoolSpec(
        hosts=(
            *_hosts("v", 3, 16, 96, "Vale", (V100, 4)),
            *_hosts("r", 2, 8, 64, "Rill", (TITAN_RTX, 2)),
            *_hosts("c", 2, 16, 64, "Crag"),
        ),
        negotiator_interval_s=15,
        negotiator_cycle_delay_s=10,
        negotiator_min_interval_s=5,
        schedd_interval_s=15,
        update_interval_s=15,
        classad_lifetime_s=300,
        priority_halflife_s=300,
        claim_worklife_s=300,
        job_lease_s=120,
        settings=(
            ("SCHEDD_MIN_INTERVAL", "5"),
            ("NEGOTIATOR_CONSIDER_PREEMPTION", "True"),
            ("PREEMPTION_REQUIREMENTS", "RemoteUserPrio > SubmitterUserPrio * 1.2"),
            ("MAXJOBRETIREMENTTIME", "30"),
        ),
    ),
    Mix(_classes(any=40, any_wide=30, cap75=24, cpu=40, cpu_big=20), log_run_s=(4.3, 0.7)),
)

QUOTAS = Shape(
    "quotas",
    "accounting-group quotas (physics 0.5 with surplus, chem 0.2 with surplus, vision 0.1 without) and a concurrency limit of 3",
    PoolSpec(
        hosts=(
            *_hosts("a", 2, 32, 128, "Aspen", (A100, 4)),
            *_hosts("m", 4, 8, 32, "Maple", (TITAN_RTX, 2)),
            *_hosts("n", 3, 12, 48, "Nettle", (V100, 2)),
            *_hosts("w", 2, 16, 64, "Willow"),
        ),
        negotiator_interval_s=30,
        negotiator_cycle_delay_s=15,
        negotiator_min_interval_s=5,
        schedd_interval_s=30,
        update_interval_s=30,
        classad_lifetime_s=300,
        priority_halflife_s=1200,
        claim_worklife_s=180,
        job_lease_s=120,
        settings=(
            ("SCHEDD_MIN_INTERVAL", "5"),
            ("GROUP_NAMES", "physics, chem, vision"),
            ("GROUP_QUOTA_DYNAMIC_physics", "0.5"),
            ("GROUP_QUOTA_DYNAMIC_chem", "0.2"),
            ("GROUP_QUOTA_DYNAMIC_vision", "0.1"),
            ("GROUP_ACCEPT_SURPLUS", "True"),
            ("GROUP_ACCEPT_SURPLUS_vision", "False"),
            ("LICENSE_LIMIT", "3"),
        ),
    ),
    Mix(_classes(any=40, any_wide=40, cap75=30, model=20, cpu=40, licensed=20), log_run_s=(4.4, 0.7)),
)

SLOT_TYPES = Shape(
    "slot-types",
    "three slots on every host: two static ones of two cores and a GPU, and a partitionable one of all the rest",
    PoolSpec(
        hosts=(
            *_hosts("f", 2, 16, 96, "Fjord", (A100, 4)),
            *_hosts("g", 3, 12, 64, "Gorse", (TITAN_RTX, 3)),
            *_hosts("h", 3, 8, 64, "Heath", (V100, 2)),
        ),
        negotiator_interval_s=20,
        negotiator_cycle_delay_s=10,
        negotiator_min_interval_s=5,
        schedd_interval_s=20,
        update_interval_s=30,
        classad_lifetime_s=300,
        priority_halflife_s=600,
        claim_worklife_s=240,
        job_lease_s=120,
        settings=(
            ("SCHEDD_MIN_INTERVAL", "5"),
            ("NUM_SLOTS", "3"),
            ("NUM_SLOTS_TYPE_1", "2"),
            ("SLOT_TYPE_1", "cpus=2, memory=16384, disk=10%, gpus=1"),
            ("SLOT_TYPE_1_PARTITIONABLE", "False"),
            ("NUM_SLOTS_TYPE_2", "1"),
            ("SLOT_TYPE_2", "cpus=auto, memory=auto, disk=auto, gpus=auto"),
            ("SLOT_TYPE_2_PARTITIONABLE", "True"),
        ),
    ),
    Mix(_classes(any=44, cap70=40, cap75=30, cpu=40, cpu_big=16), log_run_s=(4.3, 0.7)),
)

OWNERS = Shape(
    "owners",
    "hosts whose RANK prefers carol's jobs, jobs with priorities and ranks, autoregroup, nested groups beside users of none",
    PoolSpec(
        hosts=(
            *_hosts("l", 2, 24, 128, "Lark", (A100, 3)),
            *_hosts("p", 3, 12, 64, "Plover", (TITAN_RTX, 3)),
            *_hosts("q", 2, 16, 64, "Quail", (V100, 2)),
        ),
        negotiator_interval_s=25,
        negotiator_cycle_delay_s=10,
        negotiator_min_interval_s=5,
        schedd_interval_s=20,
        update_interval_s=25,
        classad_lifetime_s=300,
        priority_halflife_s=600,
        claim_worklife_s=200,
        job_lease_s=120,
        settings=(
            ("SCHEDD_MIN_INTERVAL", "5"),
            ("GROUP_NAMES", "science, science.physics, science.chem, vision"),
            ("GROUP_QUOTA_DYNAMIC_science", "0.6"),
            ("GROUP_QUOTA_DYNAMIC_science.physics", "0.5"),
            ("GROUP_QUOTA_DYNAMIC_science.chem", "0.3"),
            ("GROUP_QUOTA_DYNAMIC_vision", "0.2"),
            ("GROUP_ACCEPT_SURPLUS", "True"),
            ("GROUP_AUTOREGROUP", "True"),
            ("RANK", '10 * regexp("carol", TARGET.AccountingGroup)'),
            ("MAXJOBRETIREMENTTIME", "20"),
        ),
    ),
    Mix(
        _classes(any=30, any_wide=24, cap75=24, urgent=20, choosy=24, cpu=30, cpu_big=14),
        log_run_s=(4.3, 0.7),
    ),
)

CROWD = Shape(
    "crowd",
    "a queue three times too long of short jobs, claims that are never used twice, no leftovers, slots weighed by memory",
    PoolSpec(
        hosts=(
            *_hosts("e", 4, 8, 48, "Egret", (V100, 2)),
            *_hosts("i", 3, 16, 64, "Ibis", (TITAN_RTX, 4)),
            *_hosts("u", 2, 12, 96, "Upland"),
        ),
        negotiator_interval_s=20,
        negotiator_cycle_delay_s=10,
        negotiator_min_interval_s=5,
        schedd_interval_s=10,
        update_interval_s=20,
        classad_lifetime_s=300,
        priority_halflife_s=400,
        claim_worklife_s=0,
        job_lease_s=120,
        settings=(
            ("SCHEDD_MIN_INTERVAL", "5"),
            ("CLAIM_PARTITIONABLE_LEFTOVERS", "False"),
            ("SLOT_WEIGHT", "Memory / 1024"),
        ),
    ),
    Mix(_classes(any=90, any_wide=50, cap70=60, cap75=40, cpu=90, cpu_big=30), log_run_s=(3.7, 0.6)),
)

SHAPES = {
    shape.name: shape for shape in (SLOW_CYCLE, VERSION_25, PREEMPTION, QUOTAS, SLOT_TYPES, OWNERS, CROWD)
}
