"""What must hold in every run, checked from its records alone: nothing is given twice, nothing is lost.

Switched on by ``run.check`` of a scenario; a run that breaks one is worth nothing and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from sim.engine.pool import Pool
from sim.engine.records import Attempt
from sim.errors import PoolscopeError

DUST = 1e-6


class BrokenInvariantError(PoolscopeError):
    """A run whose records contradict each other: a fault of the engine."""


def verify(pool: Pool) -> None:
    """Check the records of a pool that has run.

    Raises
    ------
    BrokenInvariantError : the first that does not hold, with machine or job and time
    """
    every = pool.recorder.attempts
    attempts = [attempt for attempt in every if attempt.outcome != "unstarted"]
    _check_machines(attempts)
    _check_jobs(pool, attempts)
    if not pool.preempts:  # a job that has been promised a claimed slot is neither in the queue nor on it
        _check_queue(pool, every)
    for person in pool.submitters.values():
        _hold(person.usage > -DUST, f"{person.name} uses {person.usage} cores")
        _hold(person.priority >= 0.5, f"{person.name} has the real priority {person.priority}")


def _hold(condition: bool, broken: str) -> None:
    if not condition:
        raise BrokenInvariantError(f"the run contradicts itself: {broken}")


def _check_machines(attempts: list[Attempt]) -> None:
    """No device, core or memory is given twice at once; devices are those that suit."""
    claims: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        claims.setdefault(attempt.claim.number, []).append(attempt)
    machines: dict[str, list[tuple[float, float, Attempt]]] = {}
    for held in claims.values():
        ended = max(math.inf if attempt.ended_s is None else attempt.ended_s for attempt in held)
        first = held[0]
        machines.setdefault(first.claim.machine.slot_name, []).append((first.matched_s, ended, first))
    for name, spans in machines.items():
        total = spans[0][2].claim.machine.total
        sizes = [(begin, end, attempt.claim.shape.size) for begin, end, attempt in spans]
        cores = _peak((begin, end, size.cpus) for begin, end, size in sizes)
        memory = _peak((begin, end, size.memory_mib) for begin, end, size in sizes)
        _hold(cores <= total.cpus + DUST, f"{name} gave {cores:g} of {total.cpus:g} cores")
        _hold(memory <= total.memory_mib + DUST, f"{name} gave {memory:g} of {total.memory_mib:g} MiB")
        for place in range(len(total.devices)):
            used = _peak((begin, end, 1.0) for begin, end, attempt in spans if place in attempt.places)
            _hold(used <= 1, f"{name} gave device {place} to {used:g} claims at once")


def _peak(spans: Iterable[tuple[float, float, float]]) -> float:
    """The most that is held at once; what ends when another begins has ended."""
    events = sorted(
        step for begin, end, size in spans for step in ((begin, 1, size), (end, 0, -size)) if end > begin
    )
    used = most = 0.0
    for _, _, change in events:
        used += change
        most = max(most, used)
    return most


def _check_jobs(pool: Pool, attempts: list[Attempt]) -> None:
    """A job runs once at a time and is done once; those submitted are done, held, removed, running, lost or idle."""
    last: dict[int, Attempt] = {}
    ended = 0
    for attempt in sorted(attempts, key=lambda attempt: (attempt.job.row, attempt.matched_s)):
        row = attempt.job.row
        before = last.get(row)
        if before is not None:
            over = before.ended_s is not None and before.ended_s <= attempt.matched_s + DUST
            _hold(over, f"job {row} of the workload runs twice at {attempt.matched_s:g} s")
            again = before.outcome in {"evicted", "lost", "failed"}
            _hold(again, f"job {row} of the workload starts after it was {before.outcome}")
        last[row] = attempt
        ended += attempt.outcome in {"done", "held", "removed"}
    known = len(pool.submitted()) + sum(attempt.origin == "running" for attempt in attempts)
    idle = sum(person.n_idle for person in pool.submitters.values())
    out = known - ended - len(pool.recorder.departures) - idle
    _hold(out == pool.out, f"{out} jobs are out by the records, {pool.out} by the claims")


def _check_queue(pool: Pool, attempts: list[Attempt]) -> None:
    """The queue that each cycle found is the one that the records tell of."""
    steps = sorted(_queue_steps(pool, attempts), key=lambda step: (step[0], -step[1]))
    idle, place = 0, 0
    for began, cycle in pool.recorder.cycles:
        while place < len(steps) and (steps[place][0] < began or steps[place] == (began, 1)):
            idle += steps[place][1]
            place += 1
        _hold(idle == cycle.idle, f"{cycle.idle} jobs idle at {began:g} s, {idle} by the records")


def _queue_steps(pool: Pool, attempts: list[Attempt]) -> Iterator[tuple[float, int]]:
    """Every time at which a job joins (+1) or leaves (−1) the queue."""
    for job in pool.submitted():
        yield job.submitted_s, 1
    for _, at_s, _ in pool.recorder.departures:
        yield at_s, -1
    for attempt in attempts:
        if attempt.origin != "running":
            yield attempt.matched_s, -1
        if attempt.outcome in {"evicted", "lost", "failed", "unstarted"} and attempt.ended_s is not None:
            yield attempt.ended_s, 1
