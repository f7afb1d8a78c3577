"""The slot ads that the negotiator sees, those in the same state together, and who of them suits an autocluster.

A few states are looked through one by one. Many are held as columns, so that a request is compared with all of them at
once; what an autocluster thinks of a kind of slot, or of a set of free devices, is asked once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sim.classads.matching import Autocluster, Kind
from sim.engine.entities import Machine, State
from sim.engine.slots import SlotTable, pre_job_ranks

Entry = tuple[float, float, float, int, State]  # −pre-job, −job, −post-job rank, number, state

MANY = 50  # from so many states on they are compared all at once
GROWTH = 8  # each part of a ranking is so many times as long as the one before


class Candidates:
    """The states that suit an autocluster as they are occupied at a moment, best first.

    ranked : the best of them, those of equal pre-job rank together
    varying : whether the match with some of them hangs on the time or on what is left, so that they must be asked again
    """

    __slots__ = ("_behind", "ranked", "varying")

    def __init__(
        self, ranked: list[Entry], behind: Iterator[list[Entry]] | None = None, *, varying: bool
    ) -> None:
        self.ranked = ranked
        self.varying = varying
        self._behind = behind

    def __iter__(self) -> Iterator[Entry]:
        place = 0
        while self.reaches(place):
            yield self.ranked[place]
            place += 1

    def reaches(self, place: int) -> bool:
        """Whether there is one at this place; those behind the best are put in order when they are asked for."""
        while place >= len(self.ranked):
            more = None if self._behind is None else next(self._behind, None)
            if more is None:
                return False
            self.ranked += more
        return True

    def strike(self, place: int) -> None:
        """Strike out the state at this place."""
        del self.ranked[place]


class Verdicts:
    """What an autocluster thinks of things that have numbers, each asked once."""

    UNKNOWN, NO, YES, VARIES = range(4)

    def __init__(self) -> None:
        self._found = np.zeros(16, dtype=np.int8)

    def of(self, numbers: np.ndarray, ask: Callable[[int], int]) -> np.ndarray:
        """The verdicts on these numbers."""
        most = int(numbers.max(initial=0))
        if most >= len(self._found):
            self._found = np.concatenate([self._found, np.zeros(most + 1, dtype=np.int8)])
        found = self._found[numbers]
        unknown = numbers[found == self.UNKNOWN]
        if len(unknown):
            for number in set(unknown.tolist()):
                self._found[number] = ask(number)
            found = self._found[numbers]
        return found


class Columns:
    """Occupied states as columns, a row for each.

    kinds, bundles : the kinds of slots and the sets of free devices, by their numbers
    plain : whether no startd's RANK tells jobs apart, or kinds of slots
    """

    def __init__(self) -> None:
        self.kinds: dict[int, Kind] = {}
        self.bundles: list[tuple[int, ...]] = []
        self.plain = True
        self._numbers_of: dict[tuple[int, ...], int] = {}
        self._rows: dict[int, int] = {}
        self._states = np.empty(MANY, dtype=object)
        self._left = np.empty((MANY, 3))
        self._numbers = np.empty((MANY, 2), dtype=np.int64)

    @property
    def states(self) -> np.ndarray:
        """The states themselves."""
        return self._states[: len(self._rows)]

    @property
    def left(self) -> np.ndarray:
        """Free cores, memory and disk of each [1, MiB, MiB]."""
        return self._left[: len(self._rows)]

    @property
    def numbers(self) -> np.ndarray:
        """Of each the numbers of its kind and of its set of free devices."""
        return self._numbers[: len(self._rows)]

    def put(self, state: State) -> None:
        """Take up a state, or strike it out if it has no machine any more."""
        row = self._rows.get(state.id)
        if state.machines and row is None:
            self._add(state)
        elif not state.machines and row is not None:
            self._remove(row)

    def _add(self, state: State) -> None:
        row = len(self._rows)
        if row == len(self._states):
            self._states, self._left, self._numbers = (
                np.concatenate([column, np.empty_like(column)])
                for column in (self._states, self._left, self._numbers)
            )
        kind, left = state.kind, state.left
        if kind.id not in self.kinds:
            self.kinds[kind.id] = kind
            self.plain &= kind.rank == 0
        bundle = self._numbers_of.get(left.devices)
        if bundle is None:
            bundle = self._numbers_of[left.devices] = len(self.bundles)
            self.bundles.append(left.devices)
        self._rows[state.id] = row
        self._states[row] = state
        self._left[row] = left[:3]
        self._numbers[row] = kind.id, bundle

    def _remove(self, row: int) -> None:
        end = len(self._rows) - 1
        del self._rows[self._states[row].id]
        if row != end:
            self._rows[self._states[end].id] = row
            for column in (self._states, self._left, self._numbers):
                column[row] = column[end]
        self._states[end] = None


class Collector:
    """The ads of a pool's partitionable and static slots as they stand in the collector."""

    def __init__(self, table: SlotTable) -> None:
        self.table = table
        self.count = 0
        self._taken: list[Machine] = []
        self._occupied: dict[int, State] = {}
        self._changed: dict[int, State] = {}
        """States that were filled or emptied since the columns were brought up to date."""
        self._columns = Columns()
        self._of_kinds: dict[int, Verdicts] = {}
        self._of_bundles: dict[int, Verdicts] = {}
        """Verdicts of autoclusters by their numbers."""

    def list(self, machine: Machine) -> None:
        """Offer a machine as its ad shows it, unless nothing can be had from it."""
        state = machine.seen
        if machine.listed or machine.taken or machine.closed or not state.open:
            return
        machine.listed = True
        machine.place = len(state.machines)
        state.machines.append(machine)
        if machine.place == 0:
            self._occupied[state.id] = self._changed[state.id] = state
        self.count += 1

    def strike(self, machine: Machine) -> None:
        """Offer a machine no more."""
        if not machine.listed:
            return
        machine.listed = False
        machines = machine.seen.machines
        last = machines.pop()
        if last is not machine:
            machines[machine.place] = last
            last.place = machine.place
        if not machines:
            state = self._occupied.pop(machine.seen.id)
            self._changed[state.id] = state
        self.count -= 1

    def close(self, machine: Machine) -> None:
        """Offer a machine never again: it retires, drains or is forgotten."""
        machine.closed = True
        self.strike(machine)

    def take(self, machine: Machine) -> None:
        """Offer a matched machine no more in this cycle."""
        self.strike(machine)
        machine.taken = True
        self._taken.append(machine)

    def begin_cycle(self) -> None:
        """Offer the machines again that were matched in the cycle before."""
        for machine in self._taken:
            machine.taken = False
            self.list(machine)
        self._taken.clear()

    def show(self, machine: Machine, state: State) -> None:
        """Let a machine's ad show another state."""
        self.strike(machine)
        machine.seen = state
        self.list(machine)

    def candidates(self, cluster: Autocluster, now: float) -> Candidates:
        """The states that suit an autocluster, best first, as they are occupied now.

        now : moment [s, Unix]; a state whose match hangs on the time is taken up in any case and must be asked again
        """
        if len(self._occupied) < MANY:
            return self._look_through(cluster, now)
        for state in self._changed.values():
            self._columns.put(state)
        self._changed.clear()
        return self._compare(cluster, now)

    def _look_through(self, cluster: Autocluster, now: float) -> Candidates:
        table, varies, varying = self.table, self.table.matcher.reads_time, False
        cores, memory, gpus = cluster.cpus, cluster.memory_mib, cluster.gpus
        ranked = []
        for state in self._occupied.values():
            left = state.left
            if left.cpus < cores or len(left.devices) < gpus or left.memory_mib < memory:
                continue
            fits = state.fits.get(cluster.id)
            if fits is None:
                varying |= (fits := varies(cluster, state.kind))
                fits = fits or table.fits(cluster, state, now)
            if fits:
                ranked.append(self._entry(cluster, state))
        ranked.sort()
        return Candidates(ranked, varying=varying)

    def _compare(self, cluster: Autocluster, now: float) -> Candidates:
        columns, matcher = self._columns, self.table.matcher

        def agrees(kind: int) -> int:
            verdict = matcher.verdict(cluster, columns.kinds[kind], now)
            return Verdicts.VARIES if verdict is None else Verdicts.YES if verdict else Verdicts.NO

        def is_enough(bundle: int) -> int:
            return Verdicts.YES if matcher.enough_devices(cluster, columns.bundles[bundle]) else Verdicts.NO

        asked = (cluster.cpus, cluster.memory_mib, cluster.disk_mib)
        rows = np.flatnonzero((columns.left >= asked).all(axis=1))
        if cluster.gpus:
            enough = self._of_bundles.setdefault(cluster.id, Verdicts())
            rows = rows[enough.of(columns.numbers[rows, 1], is_enough) == Verdicts.YES]
        verdicts = self._of_kinds.setdefault(cluster.id, Verdicts()).of(columns.numbers[rows, 0], agrees)
        suits = verdicts != Verdicts.NO
        rows = rows[suits]
        ranks = pre_job_ranks(self._slot_ranks(cluster, rows), *columns.left[rows, :2].T)
        behind = self._parts(cluster, columns.states[rows], ranks)
        return Candidates([], behind, varying=bool((verdicts == Verdicts.VARIES).any()))

    def _slot_ranks(self, cluster: Autocluster, rows: np.ndarray) -> np.ndarray:
        """The startds' RANK of the job at these rows."""
        columns = self._columns
        if columns.plain:
            return np.zeros(len(rows))
        kinds, places = np.unique(columns.numbers[rows, 0], return_inverse=True)
        slot_rank = self.table.matcher.slot_rank
        return np.array([slot_rank(cluster, columns.kinds[kind]) for kind in kinds.tolist()])[places]

    def _parts(self, cluster: Autocluster, states: np.ndarray, ranks: np.ndarray) -> Iterator[list[Entry]]:
        """The states in order, in growing parts that never tear apart what has the same pre-job rank."""
        size = 1
        while len(ranks):
            place = max(0, len(ranks) - size)
            best = ranks >= np.partition(ranks, place)[place]
            yield sorted(self._entry(cluster, state) for state in states[best])
            states, ranks = states[~best], ranks[~best]
            size *= GROWTH

    def _entry(self, cluster: Autocluster, state: State) -> Entry:
        pre, job, post = self.table.ranks(cluster, state)
        return -pre, -job, -post, state.id, state
