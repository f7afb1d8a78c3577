"""A scenario becomes a run: read the pool's record, build its entities, run them, hand back frames."""

from __future__ import annotations

import math
import platform
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import sim
from sim.classads.matching import Autocluster, Device, Matcher, Remainder, assigned_devices
from sim.classads.request import Request, job_ad
from sim.delivery.state import make_delivery
from sim.engine.entities import AGAIN, SLOT, Job, Machine
from sim.engine.ghosts import Ghost
from sim.engine.invariants import verify
from sim.engine.job_policy import JobPolicy, Terms, draw_failures
from sim.engine.pool import Pool
from sim.engine.sessions import Session
from sim.engine.slots import post_job_rank
from sim.engine.streams import Streams
from sim.engine.supply import FrontEnd, Stay, Supply, make_supply
from sim.engine.supply.drains import drained
from sim.errors import InputError
from sim.policy import effective_policy
from sim.scenario import Scenario
from sim.schema import empty
from sim.store import Store, sample_path
from sim.workload.frames import CLASS, EPOCH
from sim.workload.recorded import RecordedJob
from sim.workload.source import LONGER, Workload, make_workload
from sim.workload.speeds import at_unit_speed
from sim.workload.strangers import strangers

Progress = Callable[[float, str], None]

_CARVED = re.compile(r"(?<=\d)_\d+$")
"""What the name of a dynamic slot has beyond that of the slot it was carved from; their prefix may have an underscore."""


class Lifetime(NamedTuple):
    """When a startd came and went [s, Unix; infinity if it stayed], and how: quit, kill or open."""

    up: float
    down: float
    ending: str


@dataclass(frozen=True)
class Recording:
    """What is known of a real pool over a window [s, Unix]: frames by their names.

    clock : what the jobs' first start is: ``shadow`` (JobStartDate of a queue) or ``execution`` (an event log's)
    lifetimes : of startds by name, where they are known better than from snapshots
    cycles : starts of negotiation cycles, as far as the negotiator told of them [s, Unix]
    rounds : when the schedd counted its jobs, as far as its ads tell [s, Unix]
    unheard : when the collector knew no negotiator, so that schedds could send it no RESCHEDULE [s, Unix]
    origins : how many attempts began with a match, a leftover, a reused claim, as far as logs tell
    """

    slots: pd.DataFrame
    jobs: pd.DataFrame
    attempts: pd.DataFrame
    priorities: pd.DataFrame
    settings: pd.DataFrame
    start: float
    end: float
    name: str
    clock: str = "shadow"
    lifetimes: Mapping[str, Sequence[Lifetime]] = field(default_factory=dict)
    cycles: Sequence[float] = ()
    rounds: Sequence[float] = ()
    unheard: Sequence[tuple[float, float]] = ()
    origins: Mapping[str, int] = field(default_factory=dict)

    def last_round(self, before: float) -> float | None:
        """When the schedd last counted its jobs before a moment [s, Unix]; None if it isn't known."""
        return max((at for at in self.rounds if at <= before), default=None)

    def last_cycle(self, before: float) -> float | None:
        """The start of the last known negotiation cycle before a moment [s, Unix]; None if none is known."""
        return max((began for began in self.cycles if began <= before), default=None)

    @classmethod
    def load(cls, source: str | Path) -> Recording:
        """Read a store's folder, the bundled sample for ``sample``, or nothing for ``generated``."""
        if str(source) == "generated":
            slots, jobs, attempts = empty("slots"), empty("jobs"), empty("attempts")
            return cls(
                slots, jobs, attempts, empty("priorities"), empty("settings"), EPOCH, EPOCH, "generated"
            )
        store = Store(sample_path() if str(source) == "sample" else Path(source))
        slots = store.read("slots")
        if slots.empty:
            raise InputError(f"{source}: the store holds no slots; run poolscope collect --once first")
        jobs = store.jobs()
        first, last = slots["seen_at"].min().timestamp(), slots["seen_at"].max().timestamp()
        return cls(
            slots,
            jobs,
            store.attempts(),
            store.read("priorities"),
            store.read("settings"),
            first,
            last,
            str(source),
            cycles=_seconds(store.read("cycles")["started_at"]),
        )


@dataclass(frozen=True)
class Probe:
    """A ghost job asked every `every_s` seconds: what it requires, and as whom (a newcomer by default).

    ad : the whole job ad as text, instead of requirements and request
    """

    label: str
    requirements: str = "true"
    request: Request = field(default_factory=Request)
    submitter: str = "newcomer"
    every_s: float = 30.0
    ad: str = ""


@dataclass(frozen=True)
class Run:
    """What a run gave: frames, and the manifest that lets anybody repeat it."""

    jobs: pd.DataFrame
    attempts: pd.DataFrame
    cycles: pd.DataFrame
    probes: pd.DataFrame
    manifest: dict[str, Any]
    observed: pd.DataFrame
    observed_evictions: int
    starts: pd.DataFrame
    priorities: pd.DataFrame
    """Real priorities at the moments at which the record has them: at, submitter, real_priority."""

    @property
    def goodput(self) -> float:
        """The share of execution time in attempts that completed [1]; NaN without any."""
        ended = self.attempts[self.attempts["ended_at"].notna()]
        length = (ended["ended_at"] - ended["started_at"]).dt.total_seconds()
        total = float(length.sum())
        return float(length[ended["outcome"] == "done"].sum()) / total if total else float("nan")

    @property
    def makespan_s(self) -> float:
        """From the run's start to the last end of an attempt [s]; NaN without any."""
        last = self.attempts["ended_at"].max()
        return float("nan") if pd.isna(last) else float(last.timestamp() - self.manifest["start"])

    @property
    def evictions(self) -> int:
        """Attempts that a vanishing machine cut short."""
        return int(self.attempts["outcome"].isin(["evicted", "lost"]).sum())

    @property
    def held(self) -> int:
        """Jobs that are on hold at the end."""
        return int((self.jobs["status"] == "held").sum())

    @property
    def failed(self) -> int:
        """Attempts that ended with an exit code other than 0, or whose software didn't come."""
        return int((self.attempts["outcome"] == "failed").sum())

    @property
    def unserved(self) -> int:
        """Attempts that were held because their machine couldn't take their software."""
        return int((self.starts["failure"] == "held").sum())


def simulate(
    scenario: Scenario,
    *,
    seed: int | None = None,
    probes: Sequence[Probe] = (),
    recording: Recording | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run a scenario once; the same scenario and seed give the same records.

    Parameters
    ----------
    seed : instead of the scenario's
    probes : ghost jobs that take nothing
    recording : the pool's record, if it was read already
    progress : told the share done [1] and what is going on; may raise to cancel
    """
    tell = progress or (lambda share, text: None)
    tell(0.0, "reading the recording")
    record = recording or Recording.load(scenario.pool.source)
    tell(0.02, "matching")
    return Plan.of(scenario, record, probes).run(seed, progress)


class Plan:
    """A scenario made ready: jobs, machines and their matches; each run of it differs by its seed only.

    start, horizon_s : the window of its runs [s, Unix; s]
    impossible : autoclusters (by id) that no machine could run even if it were empty
    """

    def __init__(
        self,
        scenario: Scenario,
        record: Recording,
        workload: Workload,
        supply: Supply,
        matcher: Matcher,
        probes: Sequence[tuple[Probe, str]],
        *,
        until_answered: bool = False,
    ) -> None:
        self.scenario = scenario
        self.until_answered = until_answered
        self.record = record
        self.workload = workload
        self.supply = supply
        self.matcher = matcher
        self.probes = probes
        self.start = workload.start
        self.horizon_s = workload.length_s
        told = effective_policy(scenario.policy, record.settings, record.slots)
        self.policy = told.model_copy(
            update={
                "prio_factors": _last_told(record, "factor", least=0.0) | scenario.policy.prio_factors,
                "ceilings": _last_told(record, "ceiling_cores") | scenario.policy.ceilings,
                "floors": _last_told(record, "floor_cores") | scenario.policy.floors,
            }
        )
        self.job_policy = JobPolicy(
            scenario.workload.checkpoints, scenario.workload.failures, self.policy.holds, at=self.start
        )
        self.impossible = self._impossible()

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        record: Recording,
        probes: Sequence[Probe] = (),
        *,
        until_answered: bool = False,
    ) -> Plan:
        """Read the workload and the supply of a record and find out who could run where.

        until_answered : runs end when the last probe has its answer
        """
        scenario = _labelled(scenario)
        window = (record.start, record.end)
        start = record.end if scenario.run.start == "end" else record.start
        workload = make_workload(
            scenario.workload,
            at_unit_speed(record.jobs, record.attempts, record.slots, scenario.workload.speeds),
            window=window,
            start=start,
            length_s=_horizon(scenario, record),
            beside=strangers(record.slots, record.jobs, record.end) if start >= record.end else None,
        )
        supply = make_supply(
            scenario.supply,
            scenario.pool,
            record.slots,
            window=window,
            start=start,
            length_s=workload.length_s,
            told=lambda stay: _told(stay, record),
        )
        asked = [(probe, probe.ad or job_ad(probe.requirements, probe.request)) for probe in probes]
        matcher = Matcher([*workload.ads(), *(ad for _, ad in asked)], supply.ads())
        _check_speeds(scenario, supply)
        return cls(scenario, record, workload, supply, matcher, asked, until_answered=until_answered)

    def run(self, seed: int | None = None, progress: Progress | None = None) -> Run:
        """Run it with a seed, the scenario's by default; see `simulate`."""
        seed = self.scenario.run.seed if seed is None else seed
        record, start, horizon = self.record, self.start, self.horizon_s
        drawn = self.workload.draw(stream(seed, "workload"))
        jobs = drawn.jobs
        cycle_at, round_at = record.last_cycle(start), record.last_round(start)
        stays = drained(
            self.supply.draw(stream(seed, "supply")),
            self.scenario.supply.drains,
            start=start,
            longest_s=self.policy.max_job_retirement + self.policy.vacate_time,
        )
        failing = stream(seed, "failures")

        def made(job: RecordedJob) -> Job:
            return _job(job, self.matcher, start, self.job_policy.terms(job.ad), failing)

        pool = Pool(
            ((made(job), job.submitter) for job in jobs if not job.running_on),
            [_session(stay, self.matcher, start) for stay in stays],
            running=_running(jobs, stays, made, start),
            matcher=self.matcher,
            policy=self.policy,
            start_unix=start,
            streams=Streams.of(seed),
            priorities=_priorities(record, start),
            last_cycle_s=None if cycle_at is None else cycle_at - start,
            last_round_s=None if round_at is None else round_at - start,
            unheard_s=[(begin - start, end - start) for begin, end in record.unheard],
            priorities_at=sorted(
                moment - start for moment in _seconds(record.priorities["seen_at"]) if moment >= start
            ),
            speeds=self.scenario.workload.speeds,
            delivery=make_delivery(self.scenario.delivery, drawn.frame, record.slots, seed),
            ghosts=[
                ghost for probe, ad in self.probes for ghost in _ghosts(probe, self.matcher, ad, horizon)
            ],
        )
        if self.supply.on_demand is not None:
            front_end = FrontEnd(
                self.supply.on_demand,
                machine_of=lambda stay: _session(stay, self.matcher, 0.0).machine,
                rng=stream(seed, "front end"),
            )
            pool.patient = True
            pool.env.process(front_end.run(_PoolGrounds(pool)))
        hopeless = sum(
            self.matcher.autocluster(job.ad).id in self.impossible for job in jobs if not job.running_on
        )
        end_s = _run_on(pool, horizon, progress, hopeless=hopeless, until_answered=self.until_answered)
        if self.scenario.run.check:
            verify(pool)
        used = sorted(job.row for job in jobs if not job.running_on)
        seen_s = end_s if self.until_answered else horizon
        told = pool.recorder
        whole = told.jobs_frame(drawn.frame, start, seen_s, clock=record.clock)
        observed = drawn.frame if self._was_observed(drawn.frame) else drawn.frame.iloc[:0]
        return Run(
            jobs=whole.iloc[used].reset_index(drop=True),
            attempts=told.attempts_frame(drawn.frame, start),
            cycles=told.cycles_frame(start),
            probes=told.probes_frame(start, end_s),
            starts=told.starts_frame(start),
            priorities=told.priorities_frame(start),
            manifest=_manifest(self.scenario, record, seed, jobs, start, horizon)
            | {
                "policy": self.policy.model_dump(),
                "running_not_placed": pool.not_placed,
                "impossible": hopeless,
                "fitted": [*self.workload.notes, *self.supply.notes],
            },
            observed=observed.iloc[used if len(observed) else []].reset_index(drop=True),
            observed_evictions=int(record.attempts["outcome"].isin(["evicted", "lost"]).sum()),
        )

    def _was_observed(self, jobs: pd.DataFrame) -> bool:
        """Whether the jobs come from where starts were seen: a record, or a trace that tells them."""
        source = self.scenario.workload.source
        return source == "recorded" or (source == "trace" and bool(jobs["first_started_at"].notna().any()))

    def answerable(self) -> bool:
        """Whether some machine could run each of the probes' jobs."""
        return not self._hopeless(ad for _, ad in self.probes)

    def _impossible(self) -> frozenset[int]:
        """The autoclusters that fit none of the machines; none with a supply on demand, of which more may come."""
        return frozenset() if self.supply.on_demand is not None else self._hopeless(self.workload.ads())

    def _hopeless(self, ads: Iterable[str]) -> frozenset[int]:
        sessions = [_session(stay, self.matcher, self.start) for stay in self.supply.seen]
        whole = {(each.machine.kind.id, each.machine.total): each for each in sessions}
        clusters = {(cluster := self.matcher.autocluster(ad)).id: cluster for ad in ads}
        # what takes jobs at certain hours only is asked every hour of a week
        hours = [3600.0 * hour for hour in range(int(min(self.horizon_s / 3600, 168)) + 1)]
        moments = [
            (each, each.up_s + later)
            for each in whole.values()
            for later in (hours if "clockmin" in each.machine.kind.whole.held else [0.0])
        ]
        return frozenset(
            number
            for number, cluster in clusters.items()
            if not any(
                self.matcher.fits(cluster, each.machine.kind, each.machine.total, self.start + at_s)
                for each, at_s in moments
            )
        )


def _check_speeds(scenario: Scenario, supply: Supply) -> None:
    """Refuse speeds of devices that nobody has: a name that is written otherwise would change nothing, unseen."""
    models = {device.model for stay in supply.seen for device in _devices(stay.ad) if device.model}
    unknown = [] if supply.on_demand is not None else sorted(scenario.workload.speeds.keys() - models)
    if unknown:
        raise InputError(
            f"workload.speeds: no machine has a {unknown[0]!r}; devices there are {', '.join(sorted(models)) or 'none'}"
        )


def stream(seed: int, name: str) -> np.random.Generator:
    """A random stream of a run by its name; scenarios with the same seed share it (common random numbers)."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


class _EndedError(Exception):
    """Nothing is left that a run could still tell."""


def _run_on(
    pool: Pool, horizon: float, progress: Progress | None, *, hopeless: int, until_answered: bool
) -> float:
    """Run a pool until its horizon, or until all is told: jobs that no machine could run keep nobody waiting."""

    def step(share: float) -> None:
        if progress is not None:
            progress(0.05 + 0.95 * share, "simulating")
        answered = until_answered and not pool.asking
        if answered or (hopeless and pool.unfinished <= hopeless and not pool.asking):
            raise _EndedError

    watched = progress is not None or hopeless or until_answered
    try:
        return pool.run(horizon, step if watched else None)
    except _EndedError:
        return float(pool.env.now)


class _PoolGrounds:
    """A pool as a front end sees it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.env = pool.env

    def idle(self) -> Iterator[tuple[Autocluster, int]]:
        for person in self.pool.submitters.values():
            for queue in person.waiting.values():
                yield queue.cluster, len(queue.heap)

    def arrive(self, machine: Machine) -> None:
        self.pool.add(Session(machine, self.env.now, math.inf, "open"))

    def retire(self, machine: Machine) -> None:
        self.pool.retire(machine)

    def leave(self, machine: Machine, *, killed: bool) -> None:
        self.pool.leave(machine, "kill" if killed else "quit")


def _labelled(scenario: Scenario) -> Scenario:
    """The scenario with the class of made jobs as what they are grouped by, where it names nothing else."""
    workload = scenario.workload
    made = workload.trace is not None or (workload.synthetic is not None and workload.synthetic.classes)
    if workload.class_by is not None or not made:
        return scenario
    return scenario.model_copy(update={"workload": workload.model_copy(update={"class_by": CLASS})})


def _horizon(scenario: Scenario, record: Recording) -> float | None:
    """How long a run may take [s]: as told; as the record, if it left jobs behind; else until every job has ended.

    Missing where the workload itself tells it (a trace).

    Raises
    ------
    InputError : the workload has no end of its own and the scenario gives none
    """
    if scenario.run.horizon is not None:
        return scenario.run.horizon
    workload = scenario.workload
    added = [place for place, step in enumerate(workload.adjust) if step.add is not None]
    if workload.source == "synthetic" or added:
        what = "a synthetic workload" if not added else f"what workload.adjust.{added[0]} adds"
        raise InputError(
            f"run.horizon: {what} has no end of its own; say how long a run lasts, such as horizon: 7 d"
        )
    if workload.trace is not None:
        return None
    length = record.end - record.start
    if length <= 0 or scenario.run.start == "end":
        raise InputError(
            "run.horizon: the record has no length to go by; say how long a run lasts, such as horizon: 12 h"
        )
    return length * LONGER if record.jobs["status"].isin(["completed", "removed"]).all() else length


def _told(stay: Stay, record: Recording) -> Stay:
    """A stay with the lifetime that is told of its startd, if one is."""
    told = record.lifetimes.get(stay.name.split("@", 1)[0].partition(AGAIN)[0], ())
    overlaps = {
        life: min(life.down, stay.down) - max(life.up, stay.up, record.start)
        for life in told
        if life.down > stay.up
    }
    life = max(overlaps, key=lambda each: overlaps[each], default=None)
    return stay if life is None else stay._replace(up=life.up, down=life.down, ending=life.ending)


def _manifest(
    scenario: Scenario, record: Recording, seed: int, jobs: list[RecordedJob], start: float, horizon: float
) -> dict[str, Any]:
    return {
        "scenario": scenario.model_dump(),
        "seed": seed,
        "recording": record.name,
        "start": start,
        "horizon_s": horizon,
        "jobs": len(jobs),
        "run_times_estimated": sum(job.estimated for job in jobs),
        "versions": {
            "poolscope": sim.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("simpy", "htcondor", "numpy", "pandas")},
        },
    }


def _running(
    jobs: list[RecordedJob], stays: Sequence[Stay], made: Callable[[RecordedJob], Job], start: float
) -> list[tuple[Job, str, str]]:
    """The jobs that run as the run begins, each with its submitter and the slot out of which its own was carved."""
    present = {
        f"{stay.slot}@{stay.name.partition(AGAIN)[0]}": f"{stay.slot}@{stay.name}"
        for stay in stays
        if stay.up <= start < stay.down
    }
    found = []
    for job in jobs:
        if job.running_on:
            slot, at, startd = job.running_on.partition("@")
            whole = f"{_CARVED.sub('', slot)}@{startd}" if at else f"{SLOT}@{slot}"
            found.append((made(job), job.submitter, present.get(whole, whole)))
    return found


def _job(job: RecordedJob, matcher: Matcher, start: float, terms: Terms, rng: np.random.Generator) -> Job:
    return Job(
        job.row,
        job.order,
        matcher.autocluster(job.ad, job.schedd),
        0.0 if job.running_on else job.submitted - start,
        job.run_s,
        removed_s=max(0.0, job.leaves - start),
        leaves_as=job.leaves_as,
        checkpoint_s=terms.checkpoint_s,
        limit_s=terms.limit_s,
        running_s=terms.running_s,
        failures=draw_failures(terms, rng) if terms.failing else (),
    )


@lru_cache(maxsize=10_000)
def _devices(ad: str) -> tuple[Device, ...]:
    return assigned_devices(ad, shares=True)


def _session(stay: Stay, matcher: Matcher, start: float) -> Session:
    devices = _devices(stay.ad)
    kind, device_kinds = matcher.kind(stay.ad, [device.attribute for device in devices])
    machine = Machine(
        name=stay.name,
        host=stay.machine,
        site=stay.site,
        kind=kind,
        devices=device_kinds,
        device_ids=tuple(device.id for device in devices),
        models=tuple(device.model or "unknown" for device in devices),
        capabilities=tuple(
            math.nan if device.capability is None else device.capability for device in devices
        ),
        total=Remainder(stay.cpus, stay.memory_mib, stay.disk_mib, device_kinds),
        retire_s=stay.retire - start,
        die_s=stay.die - start,
        rank=post_job_rank(matcher.kflops(stay.ad), _slot_id(stay.slot)),
        slot=stay.slot,
    )
    return Session(machine, max(0.0, stay.up - start), stay.down - start, stay.ending)


def _slot_id(slot: str) -> float:
    """SlotID of a slot, which its name ends with."""
    digits = slot[len(slot.rstrip("0123456789")) :]
    return float(digits or 1)


def _last_told(record: Recording, column: str, least: float = -1.0) -> dict[str, float]:
    """What the negotiator last told of each submitter, where it is more than `least`."""
    people = record.priorities[~record.priorities["is_group"].astype(bool)].sort_values("seen_at")
    last = people.drop_duplicates("submitter", keep="last")
    told = zip(last["submitter"], last[column], strict=True)
    return {str(name): float(value) for name, value in told if value > least}


def _priorities(record: Recording, start: float) -> dict[str, float]:
    """The real priorities that the negotiator told last before the run's start."""
    told = record.priorities
    people = told[~told["is_group"].astype(bool) & (told["seen_at"] <= _moment(start))]
    people = people.dropna(subset=["real_priority"]).sort_values("seen_at")
    return {
        str(name): float(value) for name, value in people.groupby("submitter")["real_priority"].last().items()
    }


def _seconds(times: pd.Series) -> list[float]:
    return [time.timestamp() for time in times.dropna().drop_duplicates()]


def _moment(unix: float) -> pd.Timestamp:
    return pd.Timestamp(unix, unit="s", tz="UTC")


def _ghosts(probe: Probe, matcher: Matcher, ad: str, horizon: float) -> list[Ghost]:
    times = np.arange(0.0, horizon, probe.every_s)
    cluster = matcher.autocluster(ad)
    return [Ghost(probe.label, probe.submitter, cluster, float(time)) for time in times]
