"""A whole queue at once: which of the shapes that wait could run, and what stops those that can't."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.analysis.analyse import Found
from sim.analysis.fleet import every
from sim.analysis.pool import PoolView
from sim.analysis.queue import Queue, Shape, told_of
from sim.analysis.truth import Truth
from sim.errors import ExpressionError


@dataclass(frozen=True)
class Waiting:
    """Queued jobs of one shape.

    asks : the shape in a few words
    jobs, gpus : how many, and the GPUs they ask for together
    blocking : the clauses of which each alone lets no machine pass, or whose loss would help; a quota or limit that is
        used up; empty if none
    reason : why there is no answer, empty if there is one
    """

    asks: str
    jobs: int
    gpus: int
    verdict: str
    now: int
    drained: int
    blocking: tuple[str, ...]
    example: str
    submitters: tuple[tuple[str, int], ...]
    requirements: str
    reason: str = ""


def analyse_queue(queue: Queue, pool: PoolView) -> list[Waiting]:
    """The verdict on every shape, those that can never match first, then by the GPUs they ask for."""
    order = {"impossible": 0, "blocked": 1, "busy": 2, "free": 3}
    rows = [_waiting(shape, pool, queue) for shape in queue.shapes]
    return sorted(rows, key=lambda row: (order.get(row.verdict, 4), -row.gpus, -row.jobs, row.example))


def _waiting(shape: Shape, pool: PoolView, queue: Queue) -> Waiting:
    try:
        job = shape.description
        truth = Truth(job, pool)
        found = Found(truth)
    except ExpressionError as error:
        return Waiting(
            "?", shape.jobs, 0, "unreadable", 0, 0, (), shape.first, shape.submitters, "", str(error)
        )
    verdict = found.verdict
    stopped = verdict in {"impossible", "blocked"}
    blocking = _blocking(truth) if stopped else ()
    refusals = [queue.allowance.refusal(job, whose) for whose, _ in shape.submitters]
    if not stopped and refusals and all(refusals):
        verdict, blocking = "blocked", tuple(dict.fromkeys(refusal[1] for refusal in refusals if refusal))
    return Waiting(
        asks=told_of(job),
        jobs=shape.jobs,
        gpus=shape.jobs * job.gpus,
        verdict=verdict,
        now=found.counts.now,
        drained=found.counts.drained,
        blocking=blocking,
        example=shape.first,
        submitters=shape.submitters,
        requirements=job.expression,
    )


def _blocking(truth: Truth) -> tuple[str, ...]:
    """The clauses that stop a job: those that no machine passes, else the one whose loss lets machines in."""
    groups, suits = truth.drained, truth.devices()
    anything = np.ones(len(suits), dtype=bool)
    names = [part.text for part in (*truth.clauses, *truth.device_clauses)]
    slots, devices = groups.clauses, truth.device_table
    everything = np.ones(len(slots), dtype=bool)
    alone = [
        groups.views(groups.fitting(slots[:, place], anything, truth.needed))
        for place in range(slots.shape[1])
    ] + [
        groups.views(groups.fitting(everything, devices[:, place], truth.needed))
        for place in range(devices.shape[1])
    ]
    none = [name for name, views in zip(names, alone, strict=True) if not len(views)]
    if none:
        return tuple(none)
    helping = []
    for place, name in enumerate(names):
        kept = [n for n in range(slots.shape[1]) if n != place]
        picked = [n for n in range(devices.shape[1]) if n + slots.shape[1] != place]
        mask = groups.matching(every(slots[:, kept]), every(devices[:, picked]), truth.needed)
        if len(groups.views(mask)):
            helping.append(name)
    if helping:
        return tuple(helping)
    if len(groups.views(groups.fitting(every(slots), suits, truth.needed))):
        return ("the machines' own policy (START)",)
    if not len(groups.views(groups.fitting(everything, anything, truth.needed))):
        return ("what it requests: no machine is so large",)
    return tuple(names) or ("what condor_submit adds to requirements",)
