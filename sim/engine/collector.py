"""The slot ads that the negotiator sees, those in the same state together, and who of them suits an autocluster.

Nothing is looked through anew in each cycle: a state that fills with machines is noted once, and an autocluster that
negotiates learns of those noted since it last did.
"""

from __future__ import annotations

from array import array
from bisect import insort
from collections.abc import Sequence

import numpy as np

from sim.classads.matching import Autocluster
from sim.engine.entities import Machine, State
from sim.engine.slots import SlotTable

Entry = tuple[float, float, float, int, State]  # −pre-job, −job, −post-job rank, number, state

MANY = 50  # from so many states on they are compared all at once
FORGET = 5_000  # how many filled states are noted before those that are empty again are struck out


class Candidates:
    """The states that suit an autocluster, best first; one without machines is struck out by whoever meets it.

    varying : whether the match with some of them hangs on the time, so that they must be asked again
    """

    __slots__ = ("epoch", "known", "learnt", "ranked", "varying")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.learnt = 0
        self.known: set[int] = set()
        self.ranked: list[Entry] = []
        self.varying = False

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
        self._room = array("d")
        """Of each filled state its free cores, memory [MiB] and devices, one after another."""
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
            self._note(state)
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
        if found.learnt < len(self._filled):
            self._learn(cluster, found, now)
        return found

    def _learn(self, cluster: Autocluster, found: Candidates, now: float) -> None:
        """Take up what has been filled since an autocluster last negotiated; most of it is too small, which is seen first."""
        table, filled, known, ranked = self.table, self._filled, found.known, found.ranked
        fits, reads_time = table.matcher.fits, table.matcher.reads_time
        cores, memory, gpus = cluster.cpus, cluster.memory_mib, cluster.gpus
        new = range(found.learnt, len(filled))
        for place in self._roomy(cluster, found.learnt) if len(new) > MANY else new:
            state = filled[place]
            left = state.left
            if (
                not state.machines
                or left.cpus < cores
                or len(left.devices) < gpus
                or left.memory_mib < memory
                or state.id in known
            ):
                continue
            varies = reads_time(cluster, state.kind)
            if varies or fits(cluster, state.kind, left, now):
                pre, job, post = table.ranks(cluster, state)
                insort(ranked, (-pre, -job, -post, state.id, state))
                known.add(state.id)
                found.varying |= varies
        found.learnt = len(filled)

    def _roomy(self, cluster: Autocluster, begin: int) -> Sequence[int]:
        """The places of the states filled since `begin` that have room for such a job."""
        room = np.frombuffer(self._room).reshape(-1, 3)[begin:]
        enough = (
            (room[:, 0] >= cluster.cpus) & (room[:, 1] >= cluster.memory_mib) & (room[:, 2] >= cluster.gpus)
        )
        places: Sequence[int] = (np.flatnonzero(enough) + begin).tolist()
        return places

    def _note(self, state: State) -> None:
        left = state.left
        self._filled.append(state)
        self._room.extend((left.cpus, left.memory_mib, len(left.devices)))

    def _forget(self) -> None:
        self._filled.clear()
        self._room = array("d")
        for state in self._occupied.values():
            self._note(state)
        self._epoch += 1
