"""The negotiation cycle: who may choose next, how much, and which slot (fact sheet §1.2-§1.6, §8.3).

`negotiate` is one cycle as a function: it looks at submitters and offers and hands each match to the schedd. It never
advances time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from sim.classads.matching import Autocluster, Kind, Matcher, Remainder
from sim.engine.entities import Machine, Submitter
from sim.engine.fairshare import limits

State = tuple[Kind, Remainder]


@dataclass(slots=True)
class Offers:
    """The slots of one cycle, those in the same state together; a matched slot leaves for the rest of the cycle."""

    states: dict[State, list[Machine]] = field(default_factory=dict)
    count: int = 0

    @classmethod
    def of(cls, machines: Iterable[Machine]) -> Offers:
        """The offers that the ads in the collector make."""
        offers = cls()
        for machine in machines:
            if machine.seen is not None:
                offers.states.setdefault((machine.kind, machine.seen), []).append(machine)
                offers.count += 1
        return offers

    def take(self, state: State, choice: int) -> Machine:
        """Take out one of the machines in a state."""
        group = self.states[state]
        machine = group.pop(choice)
        if not group:
            del self.states[state]
        self.count -= 1
        return machine

    @property
    def smallest(self) -> float:
        """The smallest weight among the offers [cores]."""
        return min((left.cpus for _, left in self.states), default=0.0)


@dataclass(slots=True)
class Cycle:
    """What a cycle did; `by_submitter` counts matches."""

    considered: int = 0
    matched: int = 0
    rejected: int = 0
    spins: int = 0
    by_submitter: dict[str, int] = field(default_factory=dict)


Deliver = Callable[[Submitter, Autocluster, Machine], bool]
Probe = Callable[[Submitter, float, float, Offers], None]


def pre_job_rank(slot_rank: float, left: Remainder, *, owned: bool = False) -> np.float32:
    """NEGOTIATOR_PRE_JOB_RANK as by default, in single precision: fewest free cores first, then least memory.

    10⁷·My.Rank + 10⁶·(RemoteOwner is undefined) − 10⁵·Cpus − Memory (`param_info.in`; fact sheet §1.6).
    """
    return np.float32(1e7 * slot_rank + (0 if owned else 1e6) - 1e5 * left.cpus - left.memory_mib)


@dataclass(slots=True)
class _Turn:
    """One submitter's turn: its candidates by autocluster, found once and used up (the match list cache)."""

    submitter: Submitter
    limit: float
    used: float = 0.0
    limited: bool = False
    lists: dict[int, list[State]] = field(default_factory=dict)

    def permits(self, cost: float) -> bool:
        """Whether a slot of this weight may still be matched; the first one rounds up (`SubmitterLimitPermits`)."""
        return self.used + cost <= self.limit or (self.used == 0 and self.limit > 0)


class Negotiator:
    """One negotiator over a table of matches.

    Parameters
    ----------
    matcher : decides who fits where
    rng : breaks ties
    consider_preemption : then a submitter without idle jobs keeps its share (fact sheet §1.4)
    one_match_per_slot : a matched partitionable slot leaves the cycle's list
    """

    def __init__(
        self,
        matcher: Matcher,
        rng: np.random.Generator,
        *,
        consider_preemption: bool,
        one_match_per_slot: bool,
    ) -> None:
        self.matcher = matcher
        self.rng = rng
        self.consider_preemption = consider_preemption
        self.one_match_per_slot = one_match_per_slot
        self._ranks: dict[tuple[int, int, Remainder], tuple[float, float]] = {}

    def negotiate(
        self,
        submitters: Iterable[Submitter],
        offers: Offers,
        weight: float,
        now: float,
        deliver: Deliver,
        *,
        observers: Collection[Submitter] = (),
        probe: Probe | None = None,
    ) -> Cycle:
        """Run one cycle at `now` [s, Unix] over a pool of `weight` cores.

        `deliver` hands a match to the schedd and says whether a job was there to take it; `probe` is told of the turn
        of each submitter among `observers` in the first spin. Observers take no share from anybody.
        """
        cycle = Cycle()
        submitters = list(submitters)
        everyone = [person for person in submitters if person.advertised or person.usage]
        usage = {person.name: person.usage for person in everyone}
        waiting = {person.name: person for person in everyone if person.advertised}
        wanted = {name: self._requests(person) for name, person in waiting.items()}
        order = self._order(everyone, observers, usage, weight)
        if probe is not None and not waiting:
            for person in order:
                probe(person, weight, now, offers)
        while waiting and offers.count:
            present = [person for person in everyone if self.consider_preemption or person.name in waiting]
            limit = limits({person.name: person.effective for person in present}, usage, weight)
            pie = sum(limit.values())
            before = (offers.count, len(waiting))
            cycle.spins += 1
            smallest = offers.smallest
            for person in order:
                if probe is not None and cycle.spins == 1 and person in observers:
                    probe(person, self._share(person, present, weight), now, offers)
                allowed = min(limit.get(person.name, 0.0), pie)
                if person.name not in waiting or (cycle.spins > 1 and allowed < smallest):
                    continue
                turn = _Turn(person, allowed)
                if self._turn(turn, wanted[person.name], offers, now, deliver, cycle):
                    del waiting[person.name]
                usage[person.name] += turn.used
                pie -= turn.used
            if (offers.count, len(waiting)) == before:
                break
        return cycle

    @staticmethod
    def _share(person: Submitter, present: list[Submitter], weight: float) -> float:
        """What a submitter might take if it were among those present [weighted cores]."""
        effective = {other.name: other.effective for other in present} | {person.name: person.effective}
        usage = {other.name: other.usage for other in present} | {person.name: person.usage}
        return limits(effective, usage, weight)[person.name]

    def _order(
        self,
        everyone: list[Submitter],
        observers: Collection[Submitter],
        usage: dict[str, float],
        weight: float,
    ) -> list[Submitter]:
        """Submitters by effective priority, then by how far their share is used, then at random, once per cycle."""
        everyone = [*everyone, *(person for person in observers if person not in everyone)]
        if not everyone:
            return []
        usage = {person.name: usage.get(person.name, 0.0) for person in everyone}
        limit = limits({person.name: person.effective for person in everyone}, usage, weight)

        def key(person: Submitter) -> tuple[float, float, float]:
            used = usage[person.name]
            total = used + limit[person.name]
            return person.effective, used / total if total else 0.0, float(self.rng.random())

        return sorted(everyone, key=key)

    @staticmethod
    def _requests(person: Submitter) -> dict[int, int]:
        """How many jobs of each autocluster the schedd offers in this cycle."""
        return {number: len(queue) for number, queue in person.queues.items() if queue}

    def _turn(
        self, turn: _Turn, wanted: dict[int, int], offers: Offers, now: float, deliver: Deliver, cycle: Cycle
    ) -> bool:
        """Match a submitter's requests in job order; True if it needs no further spin.

        A request without a slot is rejected for the turn. One that the limit alone kept from a slot is too, but then
        the submitter stays for the next spin.
        """
        person = turn.submitter
        rejected: set[int] = set()
        while True:
            cluster = self._next_cluster(person, wanted, rejected)
            if cluster is None:
                return not turn.limited
            cycle.considered += 1
            state = self._best(turn, cluster, offers, now)
            if state is None:
                rejected.add(cluster.id)
                cycle.rejected += 1
                continue
            group = offers.states[state]
            machine = offers.take(state, int(self.rng.integers(len(group))) if len(group) > 1 else 0)
            cost = state[1].cpus
            wanted[cluster.id] -= 1
            taken = deliver(person, cluster, machine)
            turn.used += cost
            person.charged += cost
            cycle.matched += taken
            cycle.by_submitter[person.name] = cycle.by_submitter.get(person.name, 0) + taken
            if not self.one_match_per_slot and machine.seen is not None:
                offers.states.setdefault((machine.kind, machine.seen), []).append(machine)
                offers.count += 1

    @staticmethod
    def _next_cluster(person: Submitter, wanted: dict[int, int], rejected: set[int]) -> Autocluster | None:
        """The autocluster of the next request in job order; requests whose jobs have started meanwhile come last."""
        for cluster in person.idle_clusters():
            if wanted.get(cluster.id, 0) > 0 and cluster.id not in rejected:
                return cluster
        for number, count in wanted.items():
            if count > 0 and number not in rejected:
                return person.clusters[number]
        return None

    def _best(self, turn: _Turn, cluster: Autocluster, offers: Offers, now: float) -> State | None:
        """The best state with a machine left that the submitter's limit permits."""
        ranked = turn.lists.get(cluster.id)
        if ranked is None:
            ranked = turn.lists[cluster.id] = self._candidates(cluster, offers, now)
        for state in ranked:
            if state in offers.states:
                if turn.permits(state[1].cpus):
                    return state
                turn.limited = True
        return None

    def _candidates(self, cluster: Autocluster, offers: Offers, now: float) -> list[State]:
        """The states that fit, best first: pre-job rank, job rank; equal ones in random order."""
        fits = self.matcher.fits
        found = [state for state in offers.states if fits(cluster, state[0], state[1], now)]
        if len(found) > 1:
            ties = self.rng.random(len(found))
            keyed = [
                (*self._rank(cluster, state), -tie, place)
                for place, (state, tie) in enumerate(zip(found, ties, strict=True))
            ]
            keyed.sort(reverse=True)
            found = [found[key[-1]] for key in keyed]
        return found

    def _rank(self, cluster: Autocluster, state: State) -> tuple[float, float]:
        kind, left = state
        key = (cluster.id, kind.id, left)
        rank = self._ranks.get(key)
        if rank is None:
            before = float(pre_job_rank(self.matcher.slot_rank(cluster, kind), left))
            rank = self._ranks[key] = (before, self.matcher.rank(cluster, kind, left))
        return rank
