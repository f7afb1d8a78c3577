"""A glidein front end: it looks at the queue every minute and sends for pilots, which come when their site lets them.

Arithmetic and windows: fact sheet §4.2 and §4.3 (glideinWMS: glideinFrontendElement.py, condor_startup.sh; OSPool's front
end template). Execution points that a site runs in containers of its own come without being asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import simpy

from sim.classads.editing import machine_ad, selector
from sim.classads.matching import Autocluster
from sim.engine.entities import Machine
from sim.engine.supply.stays import Stay
from sim.sections import EntrySection, MachineSection, OnDemandSection

Events = Generator[simpy.Event, Any, None]

_START = 600.0  # least time for jobs before retirement
_MARGIN = 66.0  # what else condor_startup.sh sets aside
_CONTAINER_STEP_S = 300.0  # how often a container's idleness is looked at


class Grounds(Protocol):
    """What a front end sees of a pool and does to it."""

    env: simpy.Environment

    def idle(self) -> Iterable[tuple[Autocluster, int]]:
        """Idle jobs by autocluster."""

    def arrive(self, machine: Machine) -> None:
        """Let a machine appear."""

    def retire(self, machine: Machine) -> None:
        """Note that a machine takes no more jobs from now on (its `retire_s` has come)."""

    def leave(self, machine: Machine, *, killed: bool) -> None:
        """Take a machine away with its jobs."""


def windows(
    walltime_s: float, job_time_s: float, *, graceful_s: float, update_s: float, spread: float
) -> tuple[float, float]:
    """When a glidein takes no more jobs and when it ends, after its start [s] (condor_startup.sh; fact sheet §4.2).

    spread : 0 to 0.99; both are earlier by so much of a tenth of the first

    Examples
    --------
    >>> windows(86400, 36000, graceful_s=120, update_s=370, spread=0)
    (49910.0, 85910.0)
    >>> windows(171000, 36000, graceful_s=120, update_s=370, spread=0)[0]
    134510.0
    """
    needed = _START + job_time_s + graceful_s + _MARGIN + update_s
    job_s = job_time_s - max(0.0, needed - walltime_s)
    die = walltime_s - update_s - graceful_s
    retire = die - max(job_s, 0.0)
    earlier = spread * retire / 10
    return float(max(_START, retire - earlier)), float(die - earlier)


def asked_pilots(
    idle: float,
    running: int,
    queued: int,
    up: int,
    *,
    section: OnDemandSection,
    entry: EntrySection,
    halvings: int,
) -> int:
    """How many pilots are asked of an entry (glideinFrontendElement.py; fact sheet §4.3).

    Parameters
    ----------
    idle : idle jobs attributed to the entry
    running : jobs that run on its pilots
    queued, up : its pilots in the site's queue, and those in the pool
    halvings : how many curbs are exceeded
    """
    if idle <= 0:
        return 0
    wanted = min(
        max(1, int(min(math.ceil(idle / section.attenuation), entry.max_idle) / 2**halvings)), entry.max_idle
    )
    most = min(math.ceil((idle + running) * section.relative_to_queue), entry.max_running)
    return max(0, min(wanted - queued, most - queued - up))


def pilot_ad(entry: EntrySection) -> str:
    """The ad of an entry's pilots, as text."""
    told = entry.machine
    return generated_ad(told, f"pilot@{told.name}")


def generated_ad(told: MachineSection, name: str) -> str:
    """The ad of a machine that a scenario describes."""
    site = {"GLIDEIN_Site": f'"{told.site}"'} if told.site else {}
    return machine_ad(
        name,
        cpus=told.cpus,
        memory_mib=told.memory,
        disk_mib=told.disk,
        gpus=[kind.gpus for kind in told.gpus],
        start=told.start,
        rank=told.rank,
        attributes=site | dict(told.attributes),
    )


@dataclass(eq=False)
class _Pilots:
    """The pilots of one entry."""

    entry: EntrySection
    ad: str
    rng: np.random.Generator
    queued: int = 0
    asked: int = 0
    machines: set[Machine] = field(default_factory=set)

    @property
    def running(self) -> int:
        return sum(len(machine.claims) for machine in self.machines)


class FrontEnd:
    """One front end group; `run` is its SimPy process.

    Parameters
    ----------
    machine_of : a machine from a stay, its times seconds since the run's start
    rng : its own stream; every entry has a part of it
    """

    def __init__(
        self,
        section: OnDemandSection,
        *,
        machine_of: Callable[[Stay], Machine],
        rng: np.random.Generator,
    ) -> None:
        self.section = section
        self.machine_of = machine_of
        self.counts = selector(section.jobs)
        self.pilots = [
            _Pilots(entry, pilot_ad(entry), own)
            for entry, own in zip(section.entries, rng.spawn(len(section.entries)), strict=True)
        ]
        self._counted: dict[int, bool] = {}

    def run(self, grounds: Grounds) -> Events:
        """Look at the queue for ever and let pilots come."""
        for pilots in self.pilots:
            if pilots.entry.kind == "container":
                for _ in range(pilots.entry.count):
                    grounds.env.process(self._container(grounds, pilots))
        while True:
            self._look(grounds)
            yield grounds.env.timeout(self.section.loop)

    # --- one look at the queue

    def _look(self, grounds: Grounds) -> None:
        glideins = [pilots for pilots in self.pilots if pilots.entry.kind == "glidein"]
        attributed = self._attributed(grounds, glideins)
        section = self.section
        up = sum(len(pilots.machines) for pilots in glideins)
        total = up + sum(pilots.queued for pilots in glideins)
        jobless = sum(not machine.claims for pilots in glideins for machine in pilots.machines)
        if jobless >= section.idle_total:
            return
        halvings = (jobless >= section.curb * section.idle_total) + (
            total >= section.curb * section.running_total
        )
        for pilots, idle in zip(glideins, attributed, strict=True):
            asked = asked_pilots(
                idle,
                pilots.running,
                pilots.queued,
                len(pilots.machines),
                section=section,
                entry=pilots.entry,
                halvings=halvings,
            )
            for _ in range(min(asked, section.running_total - total)):
                total += 1
                grounds.env.process(self._glidein(grounds, pilots))

    def _attributed(self, grounds: Grounds, glideins: list[_Pilots]) -> list[float]:
        """Idle jobs by entry: a job that several could run counts in equal parts; RequireGPUs is not looked at."""
        found = [0.0] * len(glideins)
        for cluster, count in grounds.idle():
            if not self._is_counted(cluster, grounds.env.now):
                continue
            able = [place for place, pilots in enumerate(glideins) if _holds(pilots.entry.machine, cluster)]
            for place in able:
                found[place] += count / len(able)
        return found

    def _is_counted(self, cluster: Autocluster, now: float) -> bool:
        if cluster.id not in self._counted:
            self._counted[cluster.id] = self.counts(str(cluster.ad), now)
        return self._counted[cluster.id]

    # --- lives

    def _glidein(self, grounds: Grounds, pilots: _Pilots) -> Events:
        env, section, entry, rng = grounds.env, self.section, pilots.entry, pilots.rng
        pilots.queued += 1
        yield env.timeout(_lognormal(rng, entry.queue.median, entry.queue.spread))
        pilots.queued -= 1
        spread, late, lost = int(rng.integers(100)) / 100, float(rng.random()), rng.exponential()
        if rng.random() < entry.failed:
            return
        retire, die = windows(
            entry.walltime,
            entry.job_time,
            graceful_s=section.graceful,
            update_s=section.update,
            spread=spread,
        )
        born = env.now
        yield env.timeout(section.start_up)
        # the startd looks at its ToDie when it sends its ad: up to one update late
        end = born + min(die + late * section.update, entry.walltime)
        vanish = born + lost * 86400 / entry.lost_per_day if entry.lost_per_day else math.inf
        yield from self._live(
            grounds,
            pilots,
            retire_s=born + retire,
            end_s=end,
            vanish_s=vanish,
            no_job_s=section.max_idle,
            no_more_s=section.max_tail,
            step_s=section.loop,
        )

    def _container(self, grounds: Grounds, pilots: _Pilots) -> Events:
        """An execution point that its owner starts again whenever it has ended; the first is of any age."""
        env, entry, rng = grounds.env, pilots.entry, pilots.rng
        age = float(rng.random()) * entry.accept
        while True:
            lost = rng.exponential()
            vanish = env.now + lost * 86400 / entry.lost_per_day if entry.lost_per_day else math.inf
            yield from self._live(
                grounds,
                pilots,
                retire_s=env.now + entry.accept - age,
                end_s=env.now + entry.accept + entry.retirement - age,
                vanish_s=vanish,
                no_job_s=entry.accept_idle,
                no_more_s=entry.accept_idle,
                step_s=_CONTAINER_STEP_S,
            )
            age = 0.0
            yield env.timeout(_lognormal(rng, entry.queue.median, entry.queue.spread))

    def _live(
        self,
        grounds: Grounds,
        pilots: _Pilots,
        *,
        retire_s: float,
        end_s: float,
        vanish_s: float,
        no_job_s: float,
        no_more_s: float,
        step_s: float,
    ) -> Events:
        """A machine's stay: until its end, until it vanishes, or until it had nothing to do for too long."""
        env = grounds.env
        machine = self.machine_of(self._stay(pilots, env.now, retire_s, end_s))
        grounds.arrive(machine)
        pilots.machines.add(machine)
        busy_s, worked, retired = env.now, False, False
        last = min(end_s, vanish_s)
        while env.now < last:
            due = min(last, env.now + step_s, math.inf if retired else max(retire_s, env.now))
            yield env.timeout(due - env.now)
            if not retired and env.now >= retire_s:
                retired = True
                grounds.retire(machine)
            if machine.claims:
                busy_s, worked = env.now, True
            elif retired or env.now - busy_s >= (no_more_s if worked else no_job_s):
                break
        pilots.machines.discard(machine)
        grounds.leave(machine, killed=env.now >= vanish_s)

    def _stay(self, pilots: _Pilots, up_s: float, retire_s: float, die_s: float) -> Stay:
        told = pilots.entry.machine
        pilots.asked += 1
        return Stay(
            name=f"{told.name}_{pilots.asked}@{told.name}",
            machine=f"{told.name}-{pilots.asked}",
            site=told.site,
            ad=pilots.ad,
            cpus=float(told.cpus),
            memory_mib=float(told.memory),
            disk_mib=float(told.disk),
            up=up_s,
            down=die_s,
            retire=retire_s,
            die=die_s,
            ending="quit",
            born=up_s,
        )


def _holds(told: MachineSection, cluster: Autocluster) -> bool:
    devices = sum(kind.count for kind in told.gpus)
    return cluster.cpus <= told.cpus and cluster.memory_mib <= told.memory and cluster.gpus <= devices


def _lognormal(rng: np.random.Generator, median_s: float, spread: float) -> float:
    return median_s * math.exp(spread * float(rng.standard_normal()))
