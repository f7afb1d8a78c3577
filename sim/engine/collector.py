"""The slot ads that the negotiator sees, those in the same state together, and who of them suits an autocluster.

Nothing is looked through anew in each cycle: a state that fills with machines is noted once, and an autocluster that
negotiates learns of those noted since it last did.
"""

from __future__ import annotations

from bisect import insort

from sim.classads.matching import Autocluster
from sim.engine.entities import Machine, State
from sim.engine.slots import SlotTable

Entry = tuple[float, float, float, int, State]  # −pre-job, −job, −post-job rank, number, state

FORGET = 20_000  # how many filled states are noted before those that are empty again are struck out


class Candidates:
    """The states that suit an autocluster, best first; one without machines is struck out by whoever meets it."""

    __slots__ = ("epoch", "known", "learnt", "ranked")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.learnt = 0
        self.known: set[int] = set()
        self.ranked: list[Entry] = []

    def strike(self, place: int) -> None:
        """Strike out the state at this place."""
        self.known.discard(self.ranked[place][3])
        del self.ranked[place]


class Collector:
    """The ads of a pool's partitionable and static slots as they stand in the collector."""

    def __init__(self, table: SlotTable) -> None:
        self.table = table
        self.count = 0
        self._taken: list[Machine] = []
        self._occupied: dict[int, State] = {}
        self._filled: list[State] = []
        self._epoch = 0
        self._candidates: dict[int, Candidates] = {}

    def list(self, machine: Machine) -> None:
        """Offer a machine as its ad shows it, unless nothing can be had from it."""
        state = machine.seen
        if machine.listed or machine.taken or machine.closed or not state.open:
            return
        machine.listed = True
        machine.place = len(state.machines)
        state.machines.append(machine)
        if machine.place == 0:
            self._filled.append(state)
            self._occupied[state.id] = state
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
            del self._occupied[machine.seen.id]
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
        """The states that suit an autocluster, best first; those without machines may still be among them.

        now : moment [s, Unix]; a state whose match hangs on the time is taken up in any case and must be asked again
        """
        if len(self._filled) > FORGET:
            self._forget()
        found = self._candidates.get(cluster.id)
        if found is None or found.epoch != self._epoch:
            found = self._candidates[cluster.id] = Candidates(self._epoch)
        filled, table, known = self._filled, self.table, found.known
        if found.learnt < len(filled):
            number, cores, memory = cluster.id, cluster.cpus, cluster.memory_mib
            for state in filled[found.learnt :]:
                if not state.machines or state.id in known:
                    continue
                suits = state.fits.get(number)
                if suits is None:
                    left = state.left
                    if left.cpus < cores or left.memory_mib < memory:
                        state.fits[number] = False  # whatever the expressions say
                        continue
                    suits = table.varies(cluster, state.kind) or table.fits(cluster, state, now)
                if suits:
                    pre, job, post = table.ranks(cluster, state)
                    insort(found.ranked, (-pre, -job, -post, state.id, state))
                    known.add(state.id)
            found.learnt = len(filled)
        return found

    def _forget(self) -> None:
        self._filled = list(self._occupied.values())
        self._epoch += 1
