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
    """What an autocluster thinks of things that have numbers, each asked once.

    varies : whether some verdict is that it hangs on more than the thing
    """

    UNKNOWN, NO, YES, VARIES = range(4)

    def __init__(self) -> None:
        self.varies = False
        self._found = np.zeros(16, dtype=np.int8)

    def suit(self, numbers: np.ndarray, count: int, ask: Callable[[int], bool | None]) -> np.ndarray:
        """Whether the things with these numbers, all below `count`, may suit; of new ones it is asked, None if it varies."""
        if count > len(self._found):
            self._found = np.concatenate([self._found, np.zeros(count, dtype=np.int8)])
        found = self._found[numbers]
        if np.count_nonzero(found) < len(found):
            for number in set(numbers[found == self.UNKNOWN].tolist()):
                verdict = ask(number)
                self.varies |= verdict is None
                self._found[number] = self.VARIES if verdict is None else self.YES if verdict else self.NO
            found = self._found[numbers]
        suits: np.ndarray = found > self.NO
        return suits


class Columns:
    """Occupied states as columns, a row for each.

    kinds, bundles : the kinds of slots and the sets of free devices, by their numbers here
    plain : whether every startd's RANK is 0
    """

    def __init__(self) -> None:
        self.kinds: list[Kind] = []
        self.bundles: list[tuple[int, ...]] = []
        self.plain = True
        self._kind_numbers: dict[int, int] = {}
        self._bundle_numbers: dict[tuple[int, ...], int] = {}
        self._rows: dict[int, int] = {}
        self._states = np.empty(MANY, dtype=object)
        self._values = np.empty((4, MANY))
        self._numbers = np.empty((2, MANY), dtype=np.int64)

    @property
    def states(self) -> np.ndarray:
        """The states themselves."""
        return self._states[: len(self._rows)]

    @property
    def values(self) -> np.ndarray:
        """Free cores, memory and disk [1, MiB, MiB], and the pre-job rank where a startd's RANK is 0, as four columns."""
        return self._values[:, : len(self._rows)]

    @property
    def numbers(self) -> np.ndarray:
        """The numbers of the kinds and of the sets of free devices, as two columns."""
        return self._numbers[:, : len(self._rows)]

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
            self._states, self._values, self._numbers = (
                np.concatenate([column, np.empty_like(column)], axis=-1)
                for column in (self._states, self._values, self._numbers)
            )
        self._rows[state.id] = row
        self._states[row] = state
        self._values[:, row] = *state.left[:3], state.before
        self._numbers[:, row] = self._kind(state.kind), self._bundle(state.left.devices)

    def _kind(self, kind: Kind) -> int:
        number = self._kind_numbers.setdefault(kind.id, len(self.kinds))
        if number == len(self.kinds):
            self.kinds.append(kind)
            self.plain &= kind.rank == 0
        return number

    def _bundle(self, devices: tuple[int, ...]) -> int:
        number = self._bundle_numbers.setdefault(devices, len(self.bundles))
        if number == len(self.bundles):
            self.bundles.append(devices)
        return number

    def _remove(self, row: int) -> None:
        end = len(self._rows) - 1
        del self._rows[self._states[row].id]
        if row != end:
            self._rows[self._states[end].id] = row
            for column in (self._states, self._values, self._numbers):
                column[..., row] = column[..., end]
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
        self._kept: dict[int, Candidates] = {}
        """What few states were found to suit, by autocluster, since one was last filled or emptied."""
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
            self._kept.clear()
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
            self._kept.clear()
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
            found = self._kept.get(cluster.id)
            if found is None:
                found = self._kept[cluster.id] = self._look_through(cluster, now)
            return found
        for state in self._changed.values():
            self._columns.put(state)
        self._changed.clear()
        return self._compare(cluster, now)

    def _look_through(self, cluster: Autocluster, now: float) -> Candidates:
        table, number, varying = self.table, cluster.id, False
        cores, memory, gpus = cluster.cpus, cluster.memory_mib, cluster.gpus
        ranked = []
        for state in self._occupied.values():
            fits = state.fits.get(number)
            if fits is None:
                left = state.left
                if left.cpus < cores or len(left.devices) < gpus or left.memory_mib < memory:
                    continue
                varies = table.varies(cluster, state.kind)
                varying |= varies
                fits = varies or table.fits(cluster, state, now)
            if fits:
                ranked.append(_entry(table, cluster, state))
        ranked.sort()
        return Candidates(ranked, varying=varying)

    def _compare(self, cluster: Autocluster, now: float) -> Candidates:
        columns, matcher = self._columns, self.table.matcher
        kinds, bundles = columns.kinds, columns.bundles
        cpus, memory, disk, _ = columns.values
        of_kind, of_bundle = columns.numbers
        enough = (cpus >= cluster.cpus) & (memory >= cluster.memory_mib) & (disk >= cluster.disk_mib)
        rows = enough.nonzero()[0]
        if cluster.gpus:
            verdicts = _verdicts(self._of_bundles, cluster)
            suit = verdicts.suit(
                of_bundle[rows],
                len(bundles),
                lambda number: matcher.enough_devices(cluster, bundles[number]),
            )
            rows = rows[suit]
        verdicts = _verdicts(self._of_kinds, cluster)
        suit = verdicts.suit(
            of_kind[rows], len(kinds), lambda number: matcher.verdict(cluster, kinds[number], now)
        )
        rows = rows[suit]
        behind = _parts(self.table, cluster, columns.states[rows], self._pre_job_ranks(cluster, rows))
        return Candidates([], behind, varying=verdicts.varies)

    def _pre_job_ranks(self, cluster: Autocluster, rows: np.ndarray) -> np.ndarray:
        columns = self._columns
        cpus, memory, _, before = columns.values
        if columns.plain:
            known: np.ndarray = before[rows]
            return known
        kinds, places = np.unique(columns.numbers[0, rows], return_inverse=True)
        slot_rank = self.table.matcher.slot_rank
        ranks = np.array([slot_rank(cluster, columns.kinds[kind]) for kind in kinds.tolist()])
        return pre_job_ranks(ranks[places], cpus[rows], memory[rows])


def _entry(table: SlotTable, cluster: Autocluster, state: State) -> Entry:
    pre, job, post = table.ranks(cluster, state)
    return -pre, -job, -post, state.id, state


def _parts(
    table: SlotTable, cluster: Autocluster, states: np.ndarray, ranks: np.ndarray
) -> Iterator[list[Entry]]:
    """These states in order, in growing parts that never tear apart what has the same pre-job rank (`ranks`)."""
    size = 1
    while len(ranks):
        place = max(0, len(ranks) - size)
        best = ranks >= np.partition(ranks, place)[place]
        yield sorted(_entry(table, cluster, state) for state in states[best])
        states, ranks = states[~best], ranks[~best]
        size *= GROWTH


def _verdicts(found: dict[int, Verdicts], cluster: Autocluster) -> Verdicts:
    """An autocluster's own among these."""
    own = found.get(cluster.id)
    if own is None:
        own = found[cluster.id] = Verdicts()
    return own
