"""A running pool: a central manager and hosts that can vanish and come back, real HTCondor daemons all."""

import io
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, TypeVar

from tests.realpool import configuration
from tests.realpool.chroot import DEFAULT_SUITE, Chroot, prepare
from tests.realpool.configuration import FOLDERS, PoolSpec
from tests.realpool.errors import PoolError
from tests.realpool.hosts import Host
from tests.realpool.namespace import Namespace
from tests.realpool.privilege import as_root, command_name, delete_tree, descendants, kill

T = TypeVar("T")

How = Literal["graceful", "quit", "kill", "expire"]
"""How a host goes: SIGTERM to its master; SIGQUIT, which evicts jobs at once; SIGKILL to everything, so that the
pool finds out by itself; or by its own GLIDEIN_ToDie."""

POLL_S = 0.2

CENTRAL = "central"


@dataclass(slots=True)
class Master:
    """A started master with the daemons below it."""

    process: subprocess.Popen[bytes]
    """Lives outside the namespaces, as long as the master."""

    def pids(self) -> list[int]:
        """Return the pids, as seen outside, of master, daemons and jobs, the master first."""
        below = descendants(self.process.pid)
        first = next(
            (index for index, pid in enumerate(below) if command_name(pid) == "condor_master"), len(below)
        )
        return below[first:]

    def signal(self, sig: signal.Signals) -> None:
        """Signal the master alone."""
        kill(self.pids()[:1], sig)

    def kill(self) -> None:
        """Kill master, daemons and jobs at one stroke."""
        kill(self.pids(), signal.SIGKILL)


class Pool:
    """One pool; several may run side by side.

    In short (docs/realpool.md has more)::

        with Pool() as pool:
            clusters = pool.submit("arguments = 5\\nrequest_gpus = 1\\nqueue 3")
            pool.wait_for_jobs(clusters)
            pool.tool("condor_status", "-compact")
    """

    def __init__(self, spec: PoolSpec | None = None, *, suite: str = DEFAULT_SUITE) -> None:
        self.spec = spec or PoolSpec()
        self.suite = suite
        self.port = 0
        self._hosts = {host.name: host for host in self.spec.hosts}
        self._generations = dict.fromkeys(self._hosts, 0)
        self._masters: dict[str, Master] = {}
        self._namespace: Namespace | None = None
        self._lease: IO[str] | None = None
        self._chroot: Chroot | None = None
        self._home = ""

    # --- life

    def start(self, timeout_s: float = 60) -> Self:
        """Start all daemons and return once every host can be seen in the collector and jobs can be submitted.

        Raises
        ------
        NoPoolError : this machine can't have one
        PoolError : the daemons did not come up in time
        """
        chroot = prepare(self.suite)
        self._lease = chroot.lease()
        self._chroot = chroot
        try:
            self._namespace = Namespace.open(chroot.root)
            self._home = f"/pools/{os.getpid()}-{secrets.token_hex(4)}"
            self._delete_leftovers()
            self._start_central(timeout_s)
            for name in self._hosts:
                self._start_host(name)
            self.wait_for(self._is_complete, timeout_s, "all hosts and the schedd in the collector")
            for submitter in self.spec.submitters:
                self.tool("condor_userprio", "-setfactor", submitter.name, str(submitter.factor))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, timeout_s: float = 10) -> None:
        """End every daemon and job and leave no process, mount or folder behind; may be called twice."""
        namespace, self._namespace = self._namespace, None
        if namespace is not None:
            masters = list(self._masters.values())
            kill([pid for master in masters for pid in master.pids()[:1]], signal.SIGQUIT)
            deadline = time.monotonic() + timeout_s
            for master in masters:
                try:
                    master.process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    master.kill()
            namespace.close()
            for master in masters:
                master.process.wait()
            self._masters.clear()
            delete_tree(self.folder)
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- what it is

    @property
    def address(self) -> str:
        """The collector: HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def client_environment(self) -> dict[str, str]:
        """What a client of this pool needs in its environment: no configuration file, but this collector."""
        return {"CONDOR_CONFIG": "ONLY_ENV", "_CONDOR_COLLECTOR_HOST": self.address}

    @property
    def folder(self) -> Path:
        """The pool's files, seen from outside; below it one folder for each host and "central"."""
        return self.chroot.root / self._home.lstrip("/")

    @property
    def chroot(self) -> Chroot:
        """The tree the daemons run in."""
        if self._chroot is None:
            raise PoolError("the pool has not been started")
        return self._chroot

    @property
    def hosts(self) -> list[Host]:
        """The hosts that are up (or were killed without the pool knowing: those are not)."""
        return [self._hosts[name] for name in self._masters if name != CENTRAL]

    # --- what it is asked

    def tool(
        self,
        *args: str,
        owner: str | None = None,
        host: str | None = None,
        stdin: str = "",
        timeout_s: float = 60,
    ) -> str:
        """Run one of HTCondor's own tools and return its output.

        Parameters
        ----------
        owner : as whom; None is the account of the daemons
        host : whose configuration it reads; None is the central manager's
        """
        environment = self._tool_environment
        if host is not None:
            environment["CONDOR_CONFIG"] = f"{self._home}/{host}_{self._generations[host]}/condor_config"
        if owner is not None:
            environment["_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS"] = "CLAIMTOBE"
            environment["_CONDOR_SEC_CLAIMTOBE_USER"] = owner
        output = self._inside.run(*args, environment=environment, stdin=stdin.encode(), timeout_s=timeout_s)
        return output.decode(errors="replace")

    def ads(self, tool: str, *args: str) -> list[dict[str, Any]]:
        """Return the ads that `condor_status`, `condor_q` or `condor_history` print as JSON."""
        text = self.tool(tool, *args, "-json").strip()
        found: list[dict[str, Any]] = json.loads(text) if text else []
        return found

    def slots(self, constraint: str = "True") -> list[dict[str, Any]]:
        """Return the slot ads."""
        return self.ads("condor_status", "-constraint", constraint)

    def jobs(self, clusters: Iterable[int] = ()) -> list[dict[str, Any]]:
        """Return the ads of jobs in the queue, all of them unless clusters are given."""
        return self.ads("condor_q", "-allusers", *map(str, clusters))

    def finished(self, clusters: Iterable[int] = ()) -> list[dict[str, Any]]:
        """Return the ads of jobs that have left the queue, all of them unless clusters are given."""
        return self.ads("condor_history", *map(str, clusters))

    def submit(self, description: str | Sequence[str], *, owner: str = "pool") -> list[int]:
        """Submit one description or several and return the cluster ids; "queue" is added where it is missing."""
        texts = [description] if isinstance(description, str) else description
        clusters: list[int] = []
        for text in texts:
            queued = (
                text if re.search(r"^\s*queue\b", text, re.IGNORECASE | re.MULTILINE) else f"{text}\nqueue"
            )
            whole = f"{SUBMIT_DEFAULTS}initialdir = {self._home}/jobs\n{queued}\n"
            answer = self.tool("condor_submit", "-terse", "-", owner=owner, stdin=whole)
            clusters.extend(int(line.partition(".")[0]) for line in answer.splitlines() if line.strip())
        return clusters

    def wait_for(self, condition: Callable[[], T], timeout_s: float, what: str) -> T:
        """Ask until the answer is true, and return it; after `timeout_s` raise `PoolError` naming `what`."""
        deadline = time.monotonic() + timeout_s
        while True:
            answer = condition()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise PoolError(f"not within {timeout_s} s: {what}\n{self._evidence()}")
            time.sleep(POLL_S)

    def wait_for_jobs(self, clusters: Sequence[int], timeout_s: float = 60) -> list[dict[str, Any]]:
        """Wait until jobs have left the queue and return their final ads."""
        self.wait_for(lambda: not self.jobs(clusters), timeout_s, f"jobs {clusters} done")
        return self.finished(clusters)

    def executing(self, clusters: Iterable[int] = ()) -> list[str]:
        """Return the startd of each job whose program runs.

        Status 2 comes with the shadow, up to a second earlier: a host that quits in between disconnects
        the job, which then waits for its lease to end, instead of evicting it.
        """
        running = [ad for ad in self.jobs(clusters) if ad["JobStatus"] == 2]
        started = [  # both dates may still be missing
            ad
            for ad in running
            if ad.get("JobCurrentStartExecutingDate", 0) >= ad.get("JobCurrentStartDate", float("inf"))
        ]
        return [ad["RemoteHost"].partition("@")[2] for ad in started]

    # --- hosts come and go

    def remove_host(self, name: str, how: How = "quit", timeout_s: float = 60) -> None:
        """Take a host away and return when its processes are gone.

        Parameters
        ----------
        how : "graceful", "quit", "kill" or "expire" (wait for its own GLIDEIN_ToDie)
        """
        master = self._masters[name]
        if how == "expire":
            self.wait_for(lambda: not _startds(master), timeout_s, f"{name} ends by itself")
        if how == "kill":
            master.kill()
        else:
            master.signal(signal.SIGTERM if how == "graceful" else signal.SIGQUIT)
        try:
            master.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise PoolError(f"{name} did not end within {timeout_s} s of {how}") from error
        del self._masters[name]

    def add_host(self, host: str | Host, timeout_s: float = 60) -> str:
        """Bring a host up (again) and return the name of its slot once the collector knows it.

        Parameters
        ----------
        host : the name of one that was removed, or a new description; one of the same name replaces the old
        """
        name = host if isinstance(host, str) else host.name
        if name in self._masters:
            raise PoolError(f"{name} is up already")
        if isinstance(host, Host):
            self._hosts[name] = host
            self._generations.setdefault(name, 0)
        self._start_host(name)
        slot = self.slot_name(name)
        self.wait_for(lambda: slot in self._slot_names(), timeout_s, f"{slot} in the collector")
        return slot

    def slot_name(self, name: str) -> str:
        """Return the name of a host's partitionable slot, as of its latest start."""
        startd = self.startd_name(name)
        return (
            f"slot1@{startd}@{self._hosts[name].machine}" if self._hosts[name].glidein else f"slot1@{startd}"
        )

    def startd_name(self, name: str) -> str:
        """Return what a host's startd is called, as of its latest start: a glidein's own name, else the machine's."""
        host = self._hosts[name]
        return f"{name}_{self._generations[name]}" if host.glidein else host.machine

    # --- inside

    def inside_command(self, *args: str) -> list[str]:
        """Return the command line that runs one of HTCondor's tools inside the pool, for a shell of root's."""
        return self._inside.command(args, self._tool_environment)

    @property
    def _tool_environment(self) -> dict[str, str]:
        return {"CONDOR_CONFIG": f"{self._home}/{CENTRAL}/condor_config", "HOME": self._home}

    @property
    def _inside(self) -> Namespace:
        if self._namespace is None:
            raise PoolError("the pool is not running")
        return self._namespace

    @property
    def _procd(self) -> bool:
        if self.spec.procd is not None:
            return self.spec.procd
        release = re.search(r"CondorVersion: (\d+)", self.chroot.condor_version)
        return release is not None and int(release[1]) >= 25

    def _start_central(self, timeout_s: float) -> None:
        """Start collector, negotiator and schedd; on another port where the first is taken by then."""
        for last in (False, False, True):
            self.port = _free_port()
            text = configuration.central(
                self.spec, local_dir=f"{self._home}/{CENTRAL}", port=self.port, procd=self._procd
            )
            self._write(CENTRAL, text, folders=(*(f"{CENTRAL}/{folder}" for folder in FOLDERS), "jobs"))
            master = self._masters[CENTRAL] = self._start_master(CENTRAL)
            try:
                self.wait_for(self._own_collector, timeout_s if last else timeout_s / 4, "the collector")
            except PoolError:
                if last:
                    raise
                master.kill()
                master.process.wait()
            else:
                return

    def _start_host(self, name: str) -> None:
        self._generations[name] += 1
        generation = self._generations[name]
        folder = f"{name}_{generation}"
        text = configuration.startd(
            self.spec,
            self._hosts[name],
            local_dir=f"{self._home}/{folder}",
            port=self.port,
            procd=self._procd,
            generation=generation,
            started_at=int(time.time()),
        )
        self._write(folder, text, folders=[f"{folder}/{one}" for one in FOLDERS])
        self._masters[name] = self._start_master(folder)

    def _start_master(self, folder: str) -> Master:
        environment = {"CONDOR_CONFIG": f"{self._home}/{folder}/condor_config", "HOME": self._home}
        process = self._inside.start("condor_master", "-f", environment=environment)
        return Master(process)

    def _write(self, folder: str, config: str, *, folders: Iterable[str]) -> None:
        """Make folders and a configuration file that belong to the daemons' user, in one go."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for one in ("", *folders):
                entry = tarfile.TarInfo(f"{self._home}/{one}".strip("/"))
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            content = config.encode()
            entry = tarfile.TarInfo(f"{self._home}/{folder}/condor_config".lstrip("/"))
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
        self._inside.run(
            "tar", "--extract", "--no-same-owner", "--touch", "--directory=/", stdin=buffer.getvalue()
        )

    def _own_collector(self) -> bool:
        """Tell whether the collector that answers is ours: another pool's would take our hosts silently."""
        address = self.folder / CENTRAL / "log" / ".collector_address"
        return address.exists() and f":{self.port}" in address.read_text() and bool(self._try("-collector"))

    def _is_complete(self) -> bool:
        names = set(self._slot_names())
        return {self.slot_name(name) for name in self._hosts} <= names and all(
            self._try(f"-{daemon}") for daemon in ("schedd", "negotiator")
        )

    def _slot_names(self) -> list[str]:
        return self._try()

    def _try(self, *args: str) -> list[str]:
        """Return the names that condor_status lists; none while the collector doesn't answer."""
        try:
            return self.tool("condor_status", *args, "-af", "Name").split()
        except PoolError:
            return []

    def _evidence(self) -> str:
        """Return the ends of the daemons' logs, for a message."""
        parts: list[str] = []
        for log in sorted(self.folder.glob("*/log/*Log")):
            lines = log.read_text(errors="replace").splitlines()
            bad = [line for line in lines if re.search(r"ERROR|Failed|failed|exiting", line)][-3:]
            parts.extend(f"{log.relative_to(self.folder)}: {line}" for line in bad)
        return "\n".join(parts) or "nothing in the daemons' logs"

    def _delete_leftovers(self) -> None:
        """Delete the folders of pools whose test run was killed."""
        for folder in (self.chroot.root / "pools").glob("*-*"):
            pid = folder.name.partition("-")[0]
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                delete_tree(folder)


SUBMIT_DEFAULTS = """\
executable = /bin/sleep
transfer_executable = false
should_transfer_files = yes
request_memory = 512
request_disk = 100
"""
"""What a description of a test job needn't say."""


def _startds(master: Master) -> list[int]:
    return [pid for pid in master.pids() if command_name(pid) == "condor_startd"]


def _free_port() -> int:
    """Return a port nobody listens on, for TCP and UDP."""
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        port = int(tcp.getsockname()[1])
        with socket.socket(type=socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", port))
        return port


def copy_out(pool: Pool, pattern: str) -> dict[str, bytes]:
    """Return the content of the pool's files that match a glob, by their path below the pool's folder."""
    files = {}
    for path in sorted(pool.folder.glob(pattern)):
        read = subprocess.run([*as_root(), "cat", str(path)], capture_output=True, check=True)
        files[str(path.relative_to(pool.folder))] = read.stdout
    return files
