"""What a slot can be in: states of partitionable slots and shapes of dynamic ones, each made once and remembered.

A pool of thousands of slots is in few states: what fits a state, what it becomes when a job is carved out of it or given
back, is the same for all slots in it, so it is found once (fact sheet §2.1).
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from sim.classads.matching import Autocluster, Kind, Matcher, Remainder
from sim.engine.entities import Carving, Machine, Shape, State


class SlotTable:
    """All states and shapes that a run has met."""

    def __init__(self, matcher: Matcher) -> None:
        self.matcher = matcher
        self._states: dict[tuple[int, Remainder, float], State] = {}
        self._shapes: dict[tuple[int, Remainder], Shape] = {}

    def state(self, kind: Kind, left: Remainder, rank: float) -> State:
        """The state of a slot of this kind with `left` free."""
        key = (kind.id, left, rank)
        found = self._states.get(key)
        if found is None:
            before = float(pre_job_rank(0.0, left))
            found = self._states[key] = State(
                len(self._states), kind, left, rank, self.matcher.weight(kind, left), before
            )
        return found

    def shape(self, kind: Kind, size: Remainder) -> Shape:
        """The shape of a dynamic slot of this size."""
        key = (kind.id, size)
        found = self._shapes.get(key)
        if found is None:
            found = self._shapes[key] = Shape(len(self._shapes), kind, size, self.matcher.weight(kind, size))
        return found

    def varies(self, cluster: Autocluster, kind: Kind) -> bool:
        """Whether the two sides' expressions read the time, so that what they say today may be wrong tomorrow."""
        return self.matcher.reads_time(cluster, kind)

    def fits(self, cluster: Autocluster, state: State, now: float) -> bool:
        """Whether a slot in this state takes such a job at `now` [s, Unix]."""
        found = state.fits.get(cluster.id)
        if found is None:
            found = self.matcher.fits(cluster, state.kind, state.left, now)
            if self.varies(cluster, state.kind):
                return found
            state.fits[cluster.id] = found
        return found

    def reusable(self, cluster: Autocluster, shape: Shape, now: float) -> bool:
        """Whether a claimed slot of this shape takes such a job at `now` [s, Unix]."""
        found = shape.fits.get(cluster.id)
        if found is None:
            found = self.matcher.dynamic_fits(cluster, shape.kind, shape.size, now)
            if self.varies(cluster, shape.kind):
                return found
            shape.fits[cluster.id] = found
        return found

    def ranks(self, cluster: Autocluster, state: State) -> tuple[float, float, float]:
        """The keys by which the negotiator sorts, larger first: pre-job, job and post-job rank (fact sheet §1.6)."""
        matcher, kind = self.matcher, state.kind
        slot_rank = matcher.slot_rank(cluster, kind)
        before = float(pre_job_rank(slot_rank, state.left)) if slot_rank else state.before
        return before, matcher.rank(cluster, kind, state.left), state.rank

    def carve(self, cluster: Autocluster, state: State) -> Carving:
        """Take a job's request, rounded as MODIFY_REQUEST_EXPR_* rounds it, and the first devices that suit."""
        found = state.carvings.get(cluster.id)
        if found is None:
            left = state.left
            picks: tuple[int, ...] = ()
            if cluster.gpus:
                suits = self.matcher.device_suits
                fitting = [place for place, kind in enumerate(left.devices) if suits(cluster, kind)]
                picks = tuple(fitting[: cluster.gpus])
            found = state.carvings[cluster.id] = self.carve_devices(cluster, state, picks)
        return found

    def carve_devices(self, cluster: Autocluster, state: State, picks: tuple[int, ...]) -> Carving:
        """Take a job's request and these of the free devices."""
        kind, left = state.kind, state.left
        if not kind.partitionable:
            empty = Remainder(0.0, 0.0, 0.0, ())
            everything = tuple(range(len(left.devices)))
            return Carving(self.shape(kind, left), self.state(kind, empty, state.rank), everything)
        cpus = _quantised(cluster.cpus, 1, left.cpus)
        memory = _quantised(cluster.memory_mib, 128, left.memory_mib)
        disk = _quantised(cluster.disk_mib, 1, left.disk_mib)
        taken = tuple([left.devices[place] for place in picks])
        kept = tuple([kind_ for place, kind_ in enumerate(left.devices) if place not in picks])
        rest = Remainder(
            _clean(left.cpus - cpus), _clean(left.memory_mib - memory), _clean(left.disk_mib - disk), kept
        )
        size = Remainder(cpus, memory, disk, taken)
        return Carving(self.shape(kind, size), self.state(kind, rest, state.rank), picks)

    def give_back(self, machine: Machine, shape: Shape, places: tuple[int, ...]) -> State:
        """Put a claim's devices back into their places; give the state that its machine is in then."""
        state, free = machine.state, machine.free
        if not places:
            key: object = shape.id
        else:
            spots = []
            for place in places:
                spot = bisect_left(free, place)
                free.insert(spot, place)
                spots.append(spot)
            key = (shape.id, *spots)
        found = state.given.get(key)
        if found is None:
            left, size = state.left, shape.size
            back = Remainder(
                _clean(left.cpus + size.cpus),
                _clean(left.memory_mib + size.memory_mib),
                _clean(left.disk_mib + size.disk_mib),
                tuple([machine.devices[place] for place in free]),
            )
            found = state.given[key] = self.state(state.kind, back, state.rank)
        return found


def pre_job_rank(slot_rank: float, left: Remainder, *, owned: bool = False) -> np.float32:
    """NEGOTIATOR_PRE_JOB_RANK as by default, in single precision: fewest free cores first, then least memory.

    10⁷·My.Rank + 10⁶·(RemoteOwner is undefined) − 10⁵·Cpus − Memory (`param_info.in`; fact sheet §1.6).
    """
    return np.float32(1e7 * slot_rank + (0 if owned else 1e6) - 1e5 * left.cpus - left.memory_mib)


def pre_job_ranks(slot_rank: np.ndarray, cpus: np.ndarray, memory_mib: np.ndarray) -> np.ndarray:
    """`pre_job_rank` of many slots without owner."""
    ranks: np.ndarray = (1e7 * slot_rank + 1e6 - 1e5 * cpus - memory_mib).astype(np.float32)
    return ranks


def post_job_rank(kflops: float | None, slot_id: float) -> float:
    """NEGOTIATOR_POST_JOB_RANK as by default for a slot without owner, in single precision: KFlops − SlotID.

    A slot that ran no benchmark counts as 1000 (`param_info.in`; fact sheet §1.6).
    """
    return float(np.float32((1000.0 if kflops is None else kflops) - slot_id))


def _quantised(asked: float, step: float, left: float) -> float:
    """A request rounded up to a multiple of `step`, one at least; as it is where that no longer fits (fact sheet §2.1)."""
    rounded = max(step, -(-asked // step) * step)
    return rounded if rounded <= left else max(0.0, asked)


def _clean(value: float) -> float:
    """Without the dust of adding and subtracting fractions, so that equal slots stay equal."""
    return round(value, 6)
