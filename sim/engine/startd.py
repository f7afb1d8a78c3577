"""What execution points do: offer themselves, carve dynamic slots, take them back, tell the collector of it.

Nothing here knows of jobs but their requests; who runs on a claim is the schedd's affair (fact sheet §2.1, §4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from sim.classads.matching import Autocluster
from sim.engine.collector import Collector
from sim.engine.entities import FOREVER, Claim, Machine, Submitter
from sim.engine.slots import SlotTable
from sim.scenario import PolicySection


class Startds:
    """The startds of a pool.

    Parameters
    ----------
    uniform : draws in [0, 1) for delays
    start_unix : when the run begins [s, Unix]

    machines : those that the collector knows, by their slots' names
    weight : of all of them [weighted cores]
    preempts : whether a claim may be taken from its job: by PREEMPTION_REQUIREMENTS, or a startd's RANK
    """

    def __init__(
        self,
        table: SlotTable,
        collector: Collector,
        policy: PolicySection,
        *,
        uniform: Callable[[], float],
        start_unix: float,
    ) -> None:
        self.table = table
        self.collector = collector
        self.machines: dict[str, Machine] = {}
        self.weight = 0.0
        self.preempts = policy.consider_preemption and policy.preemption_requirements.lower() != "false"
        self._policy = policy
        self._uniform = uniform
        self._start_unix = start_unix
        self._prompt = policy.update_delay_high <= policy.negotiator_cycle_delay
        self._update_low = policy.update_delay_low
        self._update_spread = policy.update_delay_high - policy.update_delay_low
        self._changes: list[Machine] = []
        self._claims = 0
        self._places: dict[tuple[int, ...], tuple[int, ...]] = {}

    # --- machines

    def arrive(self, machine: Machine, now: float) -> None:
        """Let a machine be there, all of it free."""
        machine.free = list(range(len(machine.devices)))
        machine.alive = True
        machine.state = machine.seen = self.table.state(machine.kind, machine.total, machine.rank)
        self.machines[machine.slot_name] = machine
        self.weight += machine.state.weight
        self.preempts |= self._policy.consider_preemption and self.table.matcher.prefers(machine.kind)
        if machine.retire_s > now:
            self.collector.list(machine)
        else:
            self.collector.close(machine)

    def retire(self, machine: Machine, now: float) -> None:
        """Let a machine take no job any more; those it has go on."""
        machine.retire_s = min(machine.retire_s, now)
        self.collector.close(machine)

    def drain(self, machine: Machine) -> None:
        """Let a machine take no job any more, and go once it has none."""
        machine.draining = True
        self.collector.close(machine)

    def stop(self, machine: Machine, now: float) -> list[Claim]:
        """Let a machine end at once; give the claims that are lost. The collector knows it until it is forgotten."""
        claims = list(machine.claims.values())
        if machine.due_s <= now:
            self._settle(machine)
        machine.alive = False
        machine.claims.clear()
        return claims

    def forget(self, machine: Machine) -> None:
        """Let the collector forget a machine."""
        self.collector.close(machine)
        if self.machines.get(machine.slot_name) is machine:
            del self.machines[machine.slot_name]
            self.weight -= self.table.matcher.weight(machine.kind, machine.total)

    def leave_if_empty(self, machine: Machine) -> None:
        """Let a draining machine go that has no claim any more."""
        if machine.draining and machine.alive and not machine.claims:
            machine.alive = False
            self.forget(machine)

    # --- claims

    def claimable(self, cluster: Autocluster, machine: Machine, now: float) -> bool:
        """Whether a machine, as it is and not as its ad shows it, takes such a job."""
        if not machine.alive or machine.draining or now >= machine.retire_s:
            return False
        if machine.pollable_s and cluster.gpus and self._ready_picks(cluster, machine, now) is None:
            return False
        return self.table.fits(cluster, machine.state, self._start_unix + now)

    def _ready_picks(self, cluster: Autocluster, machine: Machine, now: float) -> tuple[int, ...] | None:
        """The devices that the startd would give, as places among the free ones; None if too few are ready (23.x)."""
        pollable = machine.pollable_s
        for place, ready_s in list(pollable.items()):
            if ready_s <= now:
                del pollable[place]
        suits = self.table.matcher.device_suits
        fitting = [
            index
            for index, place in enumerate(machine.free)
            if place not in pollable and suits(cluster, machine.devices[place])
        ]
        return tuple(fitting[: cluster.gpus]) if len(fitting) >= cluster.gpus else None

    def carve(self, person: Submitter, cluster: Autocluster, machine: Machine, now: float) -> Claim:
        """Make a dynamic slot for a job, or take a static one."""
        if machine.due_s <= now:
            self._settle(machine)
        carving = machine.state.carvings.get(cluster.id) or self.table.carve(cluster, machine.state)
        picks = carving.picks
        if picks and machine.pollable_s:
            ready = self._ready_picks(cluster, machine, now)
            if ready is not None and ready != picks and machine.kind.partitionable:
                carving, picks = self.table.carve_devices(cluster, machine.state, ready), ready
        places: tuple[int, ...] = ()
        if picks:
            free = machine.free
            if len(free) == len(picks):
                places, machine.free = tuple(free), []
            else:
                places = tuple([free[pick] for pick in picks])
                machine.free = [place for place in free if place not in places]
            places = self._places.setdefault(places, places)  # many claims, few combinations
        machine.state = carving.rest
        number = self._claims = self._claims + 1
        claim = Claim(
            machine,
            person,
            carving.shape,
            places,
            now,
            number,
            next_slot_id(machine),
            cluster.limits,
            cluster.schedd,
        )
        if self.preempts:
            claim.job_rank = self.table.matcher.slot_rank(cluster, machine.kind)
        machine.claims[number] = claim
        person.usage += carving.shape.weight
        if machine.due_s == FOREVER:
            if self._prompt and machine.taken:
                machine.seen = carving.rest  # its ad will have come by the next cycle
            else:
                self._changed(machine, now)
        return claim

    def pass_on(self, claim: Claim, person: Submitter, cluster: Autocluster, now: float) -> Claim:
        """Let a preempted claim's dynamic slot, which was given up, be another one's claim as it is."""
        machine = claim.machine
        number = self._claims = self._claims + 1
        rank = self.table.matcher.slot_rank(cluster, machine.kind)
        fresh = Claim(
            machine,
            person,
            claim.shape,
            claim.places,
            now,
            number,
            claim.slot,
            cluster.limits,
            cluster.schedd,
        )
        fresh.job_rank = rank
        machine.claims[number] = fresh
        person.usage += fresh.shape.weight
        return fresh

    def give_up(self, claim: Claim) -> None:
        """Let nobody be charged for a claim any more; its slot stays carved."""
        claim.machine.claims.pop(claim.number, None)
        claim.person.usage -= claim.shape.weight

    def give_back(self, claim: Claim, now: float) -> None:
        """Give the resources of a claim that was given up back to its machine."""
        machine = claim.machine
        if not machine.alive:
            return
        heappush(machine.spare_ids, claim.slot)
        if machine.due_s <= now:
            self._settle(machine)
        machine.state = self.table.give_back(machine, claim.shape, claim.places)
        if self._policy.device_release_poll and claim.places:
            # 23.x: a freed device can't be claimed before the startd's next poll (real-pool facts §7.3)
            wait = self._policy.device_release_poll * self._uniform()
            for place in claim.places:
                machine.pollable_s[place] = now + wait
        if machine.draining:
            self.leave_if_empty(machine)
        elif machine.due_s == FOREVER:
            self._changed(machine, now)

    # --- ads

    def _changed(self, machine: Machine, now: float) -> None:
        """Note that a machine's resources changed: its ad reaches the collector a little later."""
        spread = self._update_spread
        machine.due_s = now + (self._update_low + spread * self._uniform() if spread else self._update_low)
        self._changes.append(machine)

    def _settle(self, machine: Machine) -> None:
        """Let a change be seen that has reached the collector; a dead machine sends nothing more."""
        machine.due_s = FOREVER
        if machine.alive:
            self.collector.show(machine, machine.state)

    def publish(self, now: float) -> None:
        """Let the changes that have reached the collector be seen, and matched machines be offered again."""
        if self._changes:
            late = []
            for machine in self._changes:
                if machine.due_s <= now or not machine.alive:
                    self._settle(machine)
                elif machine.due_s < FOREVER:
                    late.append(machine)
            self._changes = late
        self.collector.begin_cycle()

    def changing(self, now: float) -> bool:
        """Whether an ad is under way, or a freed device waits to be polled."""
        return bool(self._changes) or any(
            ready_s > now for machine in self.machines.values() for ready_s in machine.pollable_s.values()
        )

    def smallest(self) -> float:
        """The least weight of a slot: of partitionable ones what is left of them, of dynamic ones a core at least.

        A static one weighs the same, claimed or not; the claim that takes it tells.
        """
        least = FOREVER
        for machine in self.machines.values():
            if machine.seen.weight < least and (machine.seen.open or machine.kind.partitionable):
                least = machine.seen.weight
                if least <= 0:
                    return least
        if least <= 1:
            return least
        claims = (
            claim.shape.weight for machine in self.machines.values() for claim in machine.claims.values()
        )
        return min(least, min(claims, default=FOREVER))


def next_slot_id(machine: Machine) -> int:
    """The id of a machine's next dynamic slot: the lowest that none has now (seen in every recording: StartLog, `trace.csv`)."""
    if machine.spare_ids:
        return heappop(machine.spare_ids)
    machine.slots_made += 1
    return machine.slots_made
