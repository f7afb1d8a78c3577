"""A scenario becomes a run: read the pool's record, build its entities, run them, hand back frames."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import sim
from sim.classads.matching import Matcher, Remainder, assigned_devices
from sim.classads.request import Request, job_ad
from sim.delivery.state import make_delivery
from sim.engine.entities import Job, Machine
from sim.engine.pool import Ghost, Pool, Session, Streams
from sim.engine.records import attempts_frame, cycles_frame, jobs_frame, probes_frame, starts_frame
from sim.engine.supply import Stay, fixed_stays, recorded_stays
from sim.errors import InputError
from sim.policy import effective_policy
from sim.scenario import Scenario
from sim.store import Store, sample_path
from sim.workload.classes import label_classes
from sim.workload.recorded import RecordedJob, recorded_jobs

Progress = Callable[[float, str], None]


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
    lifetimes: Mapping[str, Lifetime] = field(default_factory=dict)

    @classmethod
    def load(cls, source: str | Path) -> Recording:
        """Read a store's folder, or the bundled sample for ``sample``."""
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
        )


@dataclass(frozen=True)
class Probe:
    """A ghost job asked every `every_s` seconds: what it requires, and as whom (a newcomer by default)."""

    label: str
    requirements: str
    request: Request = field(default_factory=Request)
    submitter: str = "newcomer"
    every_s: float = 30.0


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
    """A scenario made ready: jobs, machines and their matches; each run of it differs by its seed only."""

    def __init__(
        self,
        scenario: Scenario,
        record: Recording,
        jobs: list[RecordedJob],
        stays: list[Stay],
        matcher: Matcher,
        probes: Sequence[tuple[Probe, str]],
    ) -> None:
        self.scenario = scenario
        self.record = record
        self.jobs = jobs
        self.stays = stays
        self.matcher = matcher
        self.probes = probes
        self.horizon_s = _horizon(scenario, record)
        told = effective_policy(scenario.policy, record.settings, record.slots)
        self.policy = told.model_copy(
            update={"prio_factors": _factors(record) | scenario.policy.prio_factors}
        )

    @classmethod
    def of(cls, scenario: Scenario, record: Recording, probes: Sequence[Probe] = ()) -> Plan:
        """Read the workload and the supply of a record and find out who could run where."""
        horizon = _horizon(scenario, record)
        classes = label_classes(record.jobs, scenario.workload.class_by)
        jobs = recorded_jobs(record.jobs, classes, start=record.start, end=record.start + horizon)
        fixed = scenario.supply.model == "fixed"
        stays = (
            fixed_stays(record.slots)
            if fixed
            else [_told(stay, record) for stay in recorded_stays(record.slots)]
        )
        asked = [(probe, job_ad(probe.requirements, probe.request)) for probe in probes]
        matcher = Matcher([*(job.ad for job in jobs), *(ad for _, ad in asked)], [stay.ad for stay in stays])
        return cls(scenario, record, jobs, stays, matcher, asked)

    def run(self, seed: int | None = None, progress: Progress | None = None) -> Run:
        """Run it with a seed, the scenario's by default; see `simulate`."""
        seed = self.scenario.run.seed if seed is None else seed
        record, start, horizon = self.record, self.record.start, self.horizon_s
        pool = Pool(
            [(_job(job, self.matcher, start), job.submitter) for job in self.jobs if not job.running_on],
            [_session(stay, self.matcher, start) for stay in self.stays],
            matcher=self.matcher,
            policy=self.policy,
            start_unix=start,
            streams=Streams.of(seed),
            delivery=make_delivery(self.scenario.delivery, record.jobs, record.slots, seed),
            ghosts=[
                ghost for probe, ad in self.probes for ghost in _ghosts(probe, self.matcher, ad, horizon)
            ],
        )
        lost = _place_running(pool, [job for job in self.jobs if job.running_on], self.matcher)
        end_s = pool.run(
            horizon, (lambda share: progress(0.05 + 0.95 * share, "simulating")) if progress else None
        )
        used = sorted(job.row for job in self.jobs if not job.running_on)
        whole = jobs_frame(pool.recorder, record.jobs, start, horizon, clock=record.clock)
        return Run(
            jobs=whole.iloc[used].reset_index(drop=True),
            attempts=attempts_frame(pool.recorder, record.jobs, start),
            cycles=cycles_frame(pool.recorder, start),
            probes=probes_frame(pool.recorder, start, end_s),
            manifest=_manifest(self.scenario, record, seed, self.jobs, horizon)
            | {"policy": self.policy.model_dump(), "running_not_placed": lost},
            observed=record.jobs.iloc[used].reset_index(drop=True),
            starts=starts_frame(pool.recorder, start),
            observed_evictions=int(record.attempts["outcome"].isin(["evicted", "lost"]).sum()),
        )


LONGER = 20.0  # how many times as long as the record a run may take whose real jobs all ended within it


def _horizon(scenario: Scenario, record: Recording) -> float:
    """How long a run may take [s]: as told; as the record, if it left jobs behind; else until every job has ended."""
    length = record.end - record.start
    if scenario.run.horizon is not None:
        return scenario.run.horizon
    return length * LONGER if record.jobs["status"].isin(["completed", "removed"]).all() else length


def _told(stay: Stay, record: Recording) -> Stay:
    """A stay with the lifetime that is told of its startd, if one is."""
    told = record.lifetimes.get(stay.name.split("@", 1)[0])
    return stay if told is None else stay._replace(up=told.up, down=told.down, ending=told.ending)


def _manifest(
    scenario: Scenario, record: Recording, seed: int, jobs: list[RecordedJob], horizon: float
) -> dict[str, Any]:
    return {
        "scenario": scenario.model_dump(),
        "seed": seed,
        "recording": record.name,
        "start": record.start,
        "horizon_s": horizon,
        "jobs": len(jobs),
        "run_times_estimated": sum(job.estimated for job in jobs),
        "versions": {
            "poolscope": sim.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("simpy", "htcondor", "numpy", "pandas")},
        },
    }


def _place_running(pool: Pool, jobs: list[RecordedJob], matcher: Matcher) -> int:
    """Put the jobs that were running when the run begins on their machines; give how many found no place."""
    lost = 0
    for job in jobs:
        entity = Job(job.row, job.order, matcher.autocluster(job.ad), 0.0, job.run_s)
        lost += not pool.place(entity, job.submitter, job.running_on.split("@", 1)[-1])
    return lost


def _job(job: RecordedJob, matcher: Matcher, start: float) -> Job:
    return Job(job.row, job.order, matcher.autocluster(job.ad), job.submitted - start, job.run_s)


def _session(stay: Stay, matcher: Matcher, start: float) -> Session:
    devices = assigned_devices(stay.ad)
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
    )
    return Session(machine, max(0.0, stay.up - start), stay.down - start, stay.ending)


def _factors(record: Recording) -> dict[str, float]:
    """The priority factors that the negotiator last told."""
    people = record.priorities[~record.priorities["is_group"].astype(bool)].sort_values("seen_at")
    return {
        str(name): float(factor)
        for name, factor in people.groupby("submitter")["factor"].last().items()
        if factor > 0
    }


def _ghosts(probe: Probe, matcher: Matcher, ad: str, horizon: float) -> list[Ghost]:
    times = np.arange(0.0, horizon, probe.every_s)
    cluster = matcher.autocluster(ad)
    return [Ghost(probe.label, probe.submitter, cluster, float(time)) for time in times]
