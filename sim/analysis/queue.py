"""Who waits: the idle jobs of a snapshot by what slots can tell of them, and who of them comes before a job."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from sim.analysis.allowance import Allowance, newest
from sim.analysis.answer import Ahead
from sim.analysis.fleet import every, references_of
from sim.analysis.pool import PoolView
from sim.analysis.truth import Truth
from sim.classads.ads import parse_one
from sim.classads.job import JobDescription, of_ad
from sim.errors import ExpressionError
from sim.store.reading import Reader

_ASKED = [
    "requirements",
    "require_gpus",
    "request_cpus",
    "request_memory_mib",
    "request_disk_mib",
    "request_gpus",
]


@dataclass(frozen=True)
class Shape:
    """Idle jobs that no slot can tell apart.

    jobs : how many
    first : the id of one of them
    submitters : how many of them are whose
    ad : of one of them, as text
    """

    jobs: int
    first: str
    submitters: tuple[tuple[str, int], ...]
    ad: str

    @cached_property
    def description(self) -> JobDescription:
        """What such a job asks."""
        return of_ad(parse_one(self.ad))


class AheadOf(NamedTuple):
    """Who comes first, and whether they leave nothing."""

    groups: tuple[Ahead, ...]
    takes_all: bool


@dataclass(frozen=True)
class Queue:
    """The idle jobs of the last snapshot, the submitters' effective priorities (smaller is better), quotas and limits."""

    shapes: tuple[Shape, ...]
    priorities: dict[str, float]
    allowance: Allowance = field(default_factory=Allowance)

    @classmethod
    def from_frames(
        cls,
        jobs: pd.DataFrame,
        priorities: pd.DataFrame | None = None,
        *,
        pool: PoolView | None = None,
        allowance: Allowance | None = None,
    ) -> Queue:
        """Build it from frames "jobs" and "priorities", of which the newest rows count.

        pool : what its machines read of a job tells jobs apart, too
        allowance : quotas and limits; none by default
        """
        present = newest(jobs)
        idle = present[present["status"] == "idle"]
        told: dict[str, float] = {}
        if priorities is not None and len(priorities):
            last = priorities.sort_values("seen_at").drop_duplicates("submitter", keep="last")
            told = dict(
                zip(last["submitter"].astype(str), last["effective_priority"].astype(float), strict=True)
            )
        return cls(tuple(_shapes(idle, pool)), told, allowance or Allowance())

    @classmethod
    def from_tables(cls, frames: Mapping[str, pd.DataFrame], pool: PoolView) -> Queue:
        """Build it from the frames of a snapshot: slots, jobs, and if they are there priorities and settings."""
        jobs, priorities = frames["jobs"], frames.get("priorities")
        settings = frames.get("settings")
        allowance = None
        if settings is not None and len(settings):
            allowance = Allowance.from_frames(settings, frames["slots"], jobs, priorities)
        return cls.from_frames(jobs, priorities, pool=pool, allowance=allowance)

    @classmethod
    def of_store(cls, store: Reader, slots: pd.DataFrame, pool: PoolView) -> Queue:
        """The queue of a store's last snapshot, whose frame "slots" is given."""
        frames = {name: store.read(name) for name in ("priorities", "settings")}
        return cls.from_tables({**frames, "jobs": store.jobs(), "slots": slots}, pool)

    def priority(self, submitter: str) -> float:
        """The effective priority of a submitter, whose domain may be left out; a newcomer's where none is known."""
        if submitter in self.priorities:
            return self.priorities[submitter]
        if submitter.startswith("nice-user."):
            return self.allowance.nice
        return self._undomained.get(submitter, self.allowance.newcomer)

    @cached_property
    def _undomained(self) -> dict[str, float]:
        return {name.partition("@")[0]: priority for name, priority in self.priorities.items()}


def _shapes(idle: pd.DataFrame, pool: PoolView | None) -> Iterable[Shape]:
    read = _read_of_jobs(idle, pool)
    pattern = (
        re.compile(rf"[\[;] (?:{'|'.join(map(re.escape, sorted(read)))}) = [^;]*", re.IGNORECASE)
        if read
        else None
    )
    groups: dict[tuple[object, ...], list[tuple[str, str, str]]] = {}
    columns = [idle[name].tolist() for name in _ASKED]
    for job, submitter, ad, *asked in zip(
        idle["job_id"].tolist(), idle["submitter"].tolist(), idle["ad"].tolist(), *columns, strict=True
    ):
        picked = tuple(sorted(pattern.findall(ad))) if pattern else ()
        key = (*(None if pd.isna(value) else value for value in asked), picked)
        groups.setdefault(key, []).append((str(job), str(submitter), str(ad)))
    for members in sorted(groups.values(), key=len, reverse=True):
        whose = Counter(submitter for _, submitter, _ in members)
        yield Shape(len(members), members[0][0], tuple(whose.most_common()), members[0][2])


def _read_of_jobs(idle: pd.DataFrame, pool: PoolView | None) -> set[str]:
    """The attributes of a job that its own expressions or the machines' read."""
    texts = {str(text) for name in ("requirements", "require_gpus") for text in idle[name].dropna().unique()}
    found = {
        reference.name.lower()
        for text in texts
        for reference in references_of(text)
        if reference.scope != "target"
    }
    if pool is not None:
        fleet = pool.fleet()
        for name in fleet.policy_names:
            found |= {
                reference.name.lower() for reference in fleet.column(name).reads if reference.scope != "my"
            }
    return found


def ahead_of(truth: Truth, queue: Queue, submitter: str, *, with_names: bool) -> AheadOf:
    """Who comes before a job whose GPUs are free.

    Submitters with a better effective priority negotiate first. Each of their jobs takes, where it can, a GPU that this
    job could not have; so what is left is at most that.
    """
    ours = queue.priority(submitter)
    suits = truth.devices()
    matching = truth.now.matching(every(truth.now.clauses), suits, truth.needed)
    left = truth.now.numbers(matching, suits)
    elsewhere = ~left
    groups: dict[str, Counter[str]] = {}
    for shape, name, jobs in _in_order(queue, ours):
        job = shape.description
        if not job.gpus or not left.any():
            continue
        try:
            theirs = Truth(job, truth.pool)
            picks = theirs.devices()
            found = theirs.now.matching(every(theirs.now.clauses), picks, theirs.needed)
        except ExpressionError:  # somebody else's expression is no mistake of this question
            continue
        reach = theirs.now.numbers(found, picks)
        demand = jobs * job.gpus
        others = np.flatnonzero(reach & elsewhere)[:demand]
        elsewhere[others] = False
        taken = np.flatnonzero(reach & left)[: demand - len(others)]
        if not len(taken):
            continue
        left[taken] = False
        who = name if with_names else told_of(job)
        groups.setdefault(who, Counter()).update(jobs=jobs, gpus=len(taken))
    rows = tuple(Ahead(who, count["jobs"], count["gpus"]) for who, count in groups.items())
    return AheadOf(rows, int(left.sum()) < max(1, truth.gpus))


def _in_order(queue: Queue, ours: float) -> Iterable[tuple[Shape, str, int]]:
    """The queued shapes of submitters with a better priority, the best first."""
    rows = [
        (queue.priority(name), shape, name, jobs) for shape in queue.shapes for name, jobs in shape.submitters
    ]
    rows.sort(key=lambda row: row[0])
    return [(shape, name, jobs) for priority, shape, name, jobs in rows if priority < ours]


def told_of(job: JobDescription) -> str:
    """A class of jobs in a few words, nobody's name in them."""
    demands = [f"{job.gpus} GPU{'s' * (job.gpus != 1)}"]
    for name, word in (
        ("GPUsMinCapability", "capability >="),
        ("GPUsMaxCapability", "capability <="),
        ("GPUsMinMemory", "GPU memory >="),
        ("GPUsMinRuntime", "runtime >="),
    ):
        value = job.value(name)
        if value is not None:
            demands.append(f"{word} {value:g}")
    if (
        not any(job.value(name) is not None for name in ("GPUsMinCapability", "GPUsMinMemory"))
        and job.require_gpus
    ):
        demands.append(job.require_gpus)
    return ", ".join(demands)
