"""The negotiation cycle: who may choose next, how much, and which slot (fact sheet §1.2-§1.6, §8.3).

A cycle looks at submitters and ads and hands each match to the schedd. It never advances time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple, Protocol

from sim.classads.matching import Autocluster
from sim.engine.collector import Candidates, Collector
from sim.engine.concurrency import LimitLedger
from sim.engine.entities import FOREVER, Claim, Machine, Queue, State, Submitter
from sim.engine.fairshare import limits
from sim.engine.slots import SlotTable, pre_job_rank
from sim.engine.streams import Draws

NO_PREEMPTION, RANK_PREEMPTION, PRIORITY_PREEMPTION = 2, 1, 0
PRIORITY_DELTA = (
    0.5  # by so much a user's effective priority must be worse to be preempted (`matchmaker.cpp`)
)


class Cycle:
    """What a cycle did; `by_submitter` counts matches, `idle` the jobs that waited as it began.

    satisfied : whether in some turn every request that the schedd had was matched
    """

    __slots__ = ("by_submitter", "considered", "idle", "matched", "rejected", "satisfied", "slots", "spins")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.idle = 0
        self.considered = self.matched = self.rejected = self.spins = 0
        self.satisfied = False
        self.by_submitter: dict[str, int] = {}

    def add(self, part: Cycle) -> None:
        """Count what a part of it did, such as the turn of an accounting group."""
        self.considered += part.considered
        self.matched += part.matched
        self.rejected += part.rejected
        self.spins += part.spins
        self.satisfied |= part.satisfied
        for name, count in part.by_submitter.items():
            self.by_submitter[name] = self.by_submitter.get(name, 0) + count


class AccessPoint(Protocol):
    """The other side of a match."""

    def deliver(self, person: Submitter, cluster: Autocluster, machine: Machine) -> bool:
        """Take a match on a partitionable or static slot; False if no job was there to take it, or the startd refused."""

    def preempt(self, person: Submitter, cluster: Autocluster, claim: Claim) -> bool:
        """Take a match on a claimed slot; False as above."""


class Preemption(NamedTuple):
    """Which claimed slots may be matched in a cycle.

    claims : those whose retirement time is over
    allowed : PREEMPTION_REQUIREMENTS of a claim for a submitter's job
    order : PREEMPTION_RANK of a claim
    """

    claims: Sequence[Claim]
    allowed: Callable[[Claim, Submitter, Autocluster], bool]
    order: Callable[[Claim], float]


Probe = Callable[[Submitter, float, float], None]


class Turn:
    """One submitter's turn: what it may still take.

    limit, used : of all slots [weighted cores]
    free_limit, free_used : of unclaimed ones; a group's quota bounds only these where preemption is considered
    beyond : whether, once the limit is reached, slots may still be taken whose startd RANK prefers the job
    """

    __slots__ = ("beyond", "free_limit", "free_used", "limit", "limited", "person", "used")

    def __init__(
        self, person: Submitter, limit: float, free_limit: float | None = None, *, beyond: bool = False
    ) -> None:
        self.person = person
        self.limit = limit
        self.free_limit = limit if free_limit is None else free_limit
        self.beyond = beyond
        self.used = self.free_used = 0.0
        self.limited = False

    @property
    def over(self) -> bool:
        """Whether the limit is reached."""
        return self.used >= self.limit

    def permits(self, cost: float) -> bool:
        """Whether a free slot of this weight may still be matched; the first rounds up (`SubmitterLimitPermits`)."""
        return self.free_used + cost <= self.free_limit or (self.free_used == 0 and self.free_limit > 0)

    def permits_claimed(self, cost: float) -> bool:
        """Whether a claimed slot of this weight may still be taken from its user."""
        return self.used + cost <= self.limit or (self.used == 0 and self.limit > 0)


class Negotiator:
    """One negotiator over a collector's ads.

    Parameters
    ----------
    ties, probes : break ties of submitters and slots, and of observers
    consider_preemption : then a submitter without idle jobs keeps its share in the first spin (fact sheet §1.4)
    one_match_per_slot : a matched partitionable slot leaves the cycle's list
    fair_share : submitters go in order of effective priority, each up to its share; without it in random order, unlimited
    ceilings : most that a submitter may use [weighted cores], by name
    floors : what a submitter gets before anybody gets more [weighted cores], by name
    ledger : concurrency limits
    """

    def __init__(
        self,
        collector: Collector,
        ties: Draws,
        *,
        probes: Draws | None = None,
        consider_preemption: bool,
        one_match_per_slot: bool = True,
        fair_share: bool = True,
        ceilings: dict[str, float] | None = None,
        floors: dict[str, float] | None = None,
        ledger: LimitLedger | None = None,
    ) -> None:
        self.collector = collector
        self.table: SlotTable = collector.table
        self.ties = ties
        self.probes = probes or ties
        self.consider_preemption = consider_preemption
        self.one_match_per_slot = one_match_per_slot
        self.fair_share = fair_share
        self.ceilings = ceilings or {}
        self.floors = floors or {}
        self.ledger = ledger or LimitLedger({})
        self._preemption: Preemption | None = None
        self._taken: set[int] = set()

    def negotiate(
        self,
        submitters: Iterable[Submitter],
        weight: float,
        now: float,
        schedd: AccessPoint,
        *,
        smallest: float,
        quota: float = FOREVER,
        preemption: Preemption | None = None,
        observers: Collection[Submitter] = (),
        probe: Probe | None = None,
    ) -> Cycle:
        """Serve these submitters at `now` [s, Unix] from a pool, or a group's quota of it, of `weight` cores.

        smallest : the least weight of any slot ad as the cycle found them, whole or carved [weighted cores]: 0 where a machine
            is full. What is matched in the cycle changes none of those ads

        `probe` is told of the turn of each submitter among `observers` in the first spin. Observers take no share from
        anybody.
        """
        collector = self.collector
        cycle = Cycle(collector.count)
        self._preemption, self._taken = preemption, set()
        everyone = [person for person in submitters if person.advertised or person.charged]
        usage = {person.name: person.charged for person in everyone}
        waiting = {person.name: person for person in everyone if person.advertised}
        wanted = {name: self._requests(person) for name, person in waiting.items()}
        pie_weight = min(weight, quota)
        # where nobody waits only observers are served, and nobody else's draws may depend on them
        lots = self.ties if waiting else self.probes
        order = self._order(everyone, observers, usage, pie_weight, lots)
        if probe is not None and not waiting:
            for person in order:
                probe(person, weight, now)
        self._serve_floors(order, usage, waiting, wanted, now, schedd, cycle)
        while waiting and (collector.count or preemption is not None):
            cycle.spins += 1
            # in the first spin the limit doesn't bind where a startd's RANK prefers the job, and who only runs jobs has a
            # share; then who has no idle job leaves (`negotiateWithGroup`)
            lenient = self.consider_preemption and cycle.spins == 1
            if not lenient and quota < FOREVER and sum(usage.values()) >= quota:
                break
            present = [person for person in everyone if lenient or person.name in waiting]
            limit = self._limits(present, usage, pie_weight, quota)
            room = max(0.0, quota - sum(usage.values())) if self.consider_preemption else FOREVER
            pie = sum(limit.values())
            before = (collector.count, len(present), len(self._taken))
            for person in order:
                if probe is not None and cycle.spins == 1 and person in observers:
                    probe(person, self._share(person, present, pie_weight), now)
                if person.name not in waiting:
                    continue
                allowed = min(limit[person.name], pie)
                if cycle.spins > 1 and allowed < smallest:
                    continue
                if not lenient and quota < FOREVER and sum(usage.values()) >= quota:
                    break
                turn = Turn(person, allowed, min(allowed, room), beyond=lenient and preemption is not None)
                if self._turn(turn, wanted[person.name], now, schedd, cycle):
                    del waiting[person.name]
                usage[person.name] += turn.used
                pie -= turn.used
            if (collector.count, len(waiting), len(self._taken)) == before:
                break
        return cycle

    def _serve_floors(
        self,
        order: list[Submitter],
        usage: dict[str, float],
        waiting: dict[str, Submitter],
        wanted: dict[str, dict[int, int]],
        now: float,
        schedd: AccessPoint,
        cycle: Cycle,
    ) -> None:
        """Serve those who have less than their floor before all others, up to it (`condor_userprio -setfloor`)."""
        for person in order if self.floors and self.fair_share else ():
            lacking = self.floors.get(person.name, 0.0) - usage.get(person.name, FOREVER)
            if lacking > 0 and person.name in waiting:
                turn = Turn(person, lacking)
                if self._turn(turn, wanted[person.name], now, schedd, cycle):
                    del waiting[person.name]
                usage[person.name] += turn.used

    def _limits(
        self, present: list[Submitter], usage: dict[str, float], weight: float, quota: float
    ) -> dict[str, float]:
        if not self.fair_share:
            return {person.name: FOREVER for person in present}
        found = limits({person.name: person.effective for person in present}, usage, weight)
        if quota < FOREVER and not self.consider_preemption:
            room = max(0.0, quota - sum(usage.values()))
            found = {name: min(limit, room) for name, limit in found.items()}
        for name, ceiling in self.ceilings.items():
            if name in found:
                found[name] = min(found[name], max(0.0, ceiling - usage[name]))
        return found

    @staticmethod
    def _share(person: Submitter, present: list[Submitter], weight: float) -> float:
        """What a submitter might take if it were among those present [weighted cores]."""
        effective = {other.name: other.effective for other in present} | {person.name: person.effective}
        usage = {other.name: other.charged for other in present} | {person.name: person.charged}
        return limits(effective, usage, weight)[person.name]

    def _order(
        self,
        everyone: list[Submitter],
        observers: Collection[Submitter],
        usage: dict[str, float],
        weight: float,
        draws: Draws,
    ) -> list[Submitter]:
        """Submitters by effective priority, then by how far their share is used, then at random, once per cycle."""
        lots = [draws.uniform() for _ in everyone] if len(everyone) > 1 else [0.5] * len(everyone)
        only = [person for person in observers if person not in everyone]
        everyone = [*everyone, *only]
        if len(everyone) < 2:
            return everyone
        lot = {
            person.name: number
            for person, number in zip(everyone, [*lots, *(self.probes.uniform() for _ in only)], strict=True)
        }
        if not self.fair_share:
            return sorted(everyone, key=lambda person: lot[person.name])
        usage = {person.name: usage.get(person.name, 0.0) for person in everyone}
        limit = limits({person.name: person.effective for person in everyone}, usage, weight)

        def key(person: Submitter) -> tuple[float, float, float]:
            used = usage[person.name]
            total = used + limit[person.name]
            return person.effective, used / total if total else 0.0, lot[person.name]

        return sorted(everyone, key=key)

    @staticmethod
    def _requests(person: Submitter) -> dict[int, int]:
        """How many jobs of each autocluster the schedd offers in this cycle."""
        return {number: len(queue.heap) for number, queue in person.waiting.items()}

    def _turn(
        self, turn: Turn, wanted: dict[int, int], now: float, schedd: AccessPoint, cycle: Cycle
    ) -> bool:
        """Match a submitter's requests in job order; True if it needs no further spin.

        A request without a slot is rejected for the turn. One that the limit alone kept from a slot is too, but then
        the submitter stays for the next spin, and so does one that reached its limit (`Matchmaker::negotiate`). Requests whose jobs have started meanwhile come last: their matches are
        dropped, but charged (real-pool facts §7.5).
        """
        person, waiting = turn.person, turn.person.waiting
        lots = self._lots(waiting.values())
        order = [
            (lots[queue.cluster.schedd], queue.heap[0], number)
            for number, queue in waiting.items()
            if wanted.get(number)
        ]
        heapify(order)
        late = [number for number, count in wanted.items() if count and number not in waiting]
        lists: dict[int, Candidates] = {}
        matched, rejected = 0, cycle.rejected
        while order or late:
            if turn.used >= turn.limit and not turn.beyond:
                break
            number = order[0][2] if order else late[0]
            queue = person.queues[number]
            cluster = queue.cluster
            cycle.considered += 1
            found = lists.get(number)
            if found is None:
                found = lists[number] = self.collector.candidates(cluster, now)
            taken = self._match(turn, cluster, found, now, schedd)
            if taken is None:
                cycle.rejected += 1
            else:
                matched += taken
                wanted[number] -= 1
                if wanted[number] and order and queue.heap:
                    heapreplace(order, (order[0][0], queue.heap[0], number))
                    continue
                if wanted[number]:
                    if not order:
                        continue
                    late.append(number)
            if order:
                heappop(order)
            else:
                late.pop(0)
        cycle.matched += matched
        if matched:
            cycle.satisfied |= cycle.rejected == rejected and not (order or late)
            cycle.by_submitter[person.name] = cycle.by_submitter.get(person.name, 0) + matched
        person.charged += turn.used
        return not (turn.limited or turn.over)

    def _lots(self, queues: Collection[Queue]) -> dict[str, float]:
        """Which of a submitter's schedds goes first: each has an ad of its own, and ties between ads are broken at random."""
        schedds = {queue.cluster.schedd for queue in queues}
        if len(schedds) < 2:
            return dict.fromkeys(schedds, 0.0)
        return {schedd: self.ties.uniform() for schedd in sorted(schedds)}

    def _match(
        self, turn: Turn, cluster: Autocluster, found: Candidates, now: float, schedd: AccessPoint
    ) -> bool | None:
        """Match one request and charge it; None if there is no slot for it, False if the match comes to nothing."""
        limited = cluster.limits
        if limited and not self.ledger.permits(limited):
            return None
        place = None if turn.over else self._best(turn, cluster, found, now)
        if self._preemption is not None:
            victim = self._victim(turn, cluster, found, place, now)
            if victim is not None:
                self._taken.add(victim.number)
                turn.used += victim.shape.weight
                taken = schedd.preempt(turn.person, cluster, victim)
                if taken and limited:
                    self.ledger.take(limited)
                return taken
        if place is None:
            return None
        state = self._among_equals(turn, cluster, found, place, now)
        machines = state.machines
        machine = machines[self.ties.choice(len(machines))]
        self.collector.take(machine)
        turn.used += state.weight
        turn.free_used += state.weight
        taken = schedd.deliver(turn.person, cluster, machine)
        if taken and limited:
            self.ledger.take(limited)
        if not self.one_match_per_slot and taken:
            machine.taken = False
            self.collector.show(machine, machine.state)
        return taken

    def _best(self, turn: Turn, cluster: Autocluster, found: Candidates, now: float) -> int | None:
        """The place of the best state with a machine left that the submitter's limit permits."""
        ranked, place = found.ranked, 0
        while found.reaches(place):
            state = ranked[place][4]
            if not state.machines:
                found.strike(place)
            elif found.varying and not self.table.fits(cluster, state, now):
                place += 1
            elif turn.permits(state.weight):
                return place
            else:
                turn.limited = True
                place += 1
        return None

    def _among_equals(
        self, turn: Turn, cluster: Autocluster, found: Candidates, place: int, now: float
    ) -> State:
        """One of the states that rank as the one at `place`, each machine in them with the same chance."""
        ranked = found.ranked
        first = ranked[place]
        if len(ranked) == place + 1 or ranked[place + 1][0] != first[0]:
            return first[4]
        equals = [first[4]]
        for entry in ranked[place + 1 :]:
            if entry[0] != first[0] or entry[1] != first[1] or entry[2] != first[2]:
                break
            state = entry[4]
            if (
                state.machines
                and turn.permits(state.weight)
                and not (found.varying and not self.table.fits(cluster, state, now))
            ):
                equals.append(state)
        if len(equals) == 1:
            return first[4]
        chosen = self.ties.choice(sum(len(state.machines) for state in equals))
        for state in equals:
            chosen -= len(state.machines)
            if chosen < 0:
                return state
        return equals[-1]

    # --- claimed slots (fact sheet §1.6, §1.7)

    def _victim(
        self, turn: Turn, cluster: Autocluster, found: Candidates, place: int | None, now: float
    ) -> Claim | None:
        """The claimed slot that ranks above the best free one, if any."""
        preemption, table, person = self._preemption, self.table, turn.person
        assert preemption is not None
        best: tuple[float, float, float, int, float] = (-float("inf"), 0.0, 0.0, 0, 0.0)
        if place is not None:
            pre, job, post = found.ranked[place][:3]
            best = (-pre, -job, -post, NO_PREEMPTION, 0.0)
        victim = None
        for claim in preemption.claims:
            if claim.number in self._taken or claim.heir is not None or claim.job is None:
                continue
            shape = claim.shape
            if not table.reusable(cluster, shape, now):
                continue
            rank = table.matcher.slot_rank(cluster, shape.kind)
            if rank > claim.job_rank:
                kind = RANK_PREEMPTION
            elif (
                not turn.over
                and claim.person.effective >= person.effective + PRIORITY_DELTA
                and rank >= claim.job_rank
                and preemption.allowed(claim, person, cluster)
            ):
                kind = PRIORITY_PREEMPTION
            else:
                continue
            if kind == PRIORITY_PREEMPTION and not turn.permits_claimed(shape.weight):
                turn.limited = True
                continue
            before = float(pre_job_rank(rank, shape.size, owned=True))
            key = (
                before,
                table.matcher.rank(cluster, shape.kind, shape.size),
                0.0,
                kind,
                preemption.order(claim),
            )
            if key > best:
                best, victim = key, claim
        return victim
