"""The negotiator as it goes through time: when its cycles begin, and what each does before, in and after matching.

A cycle takes no simulated time; what happens in one is plain calls, and SimPy only waits for the next (fact sheet §1.1, §8.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import simpy

from sim.engine.accountant import Accountant
from sim.engine.entities import Submitter
from sim.engine.ghosts import Ghosts
from sim.engine.groups import ROOT, Group, allocate, quotas, serving_order
from sim.engine.job_queue import JobQueue
from sim.engine.negotiator import Cycle, Negotiator, Preemption, Probe
from sim.engine.preemption import PreemptionPolicy
from sim.engine.records import CycleLog
from sim.engine.schedd import Schedd
from sim.engine.startd import Startds
from sim.engine.timing import last_before, next_cycle
from sim.scenario import PolicySection

Events = Generator[simpy.Event, Any, None]
GROUP_ROUNDS = 3  # GROUP_QUOTA_MAX_ALLOCATION_ROUNDS


class Negotiation:
    """The cycles of a run.

    Parameters
    ----------
    start_unix : when the run begins [s, Unix]
    last_cycle_s : when the last cycle before the run began [s]; where nothing is known any time within an interval
    uniform : draws in [0, 1) for what isn't known of that time
    when_idle : called after a cycle without a match
    """

    def __init__(
        self,
        negotiator: Negotiator,
        accountant: Accountant,
        queue: JobQueue,
        schedd: Schedd,
        startds: Startds,
        preemption: PreemptionPolicy,
        ghosts: Ghosts,
        log: CycleLog,
        policy: PolicySection,
        *,
        env: simpy.Environment,
        start_unix: float,
        last_cycle_s: float | None,
        uniform: Callable[[], float],
        when_idle: Callable[[], None],
    ) -> None:
        self._negotiator = negotiator
        self._accountant = accountant
        self._queue = queue
        self._schedd = schedd
        self._startds = startds
        self._preemption = preemption
        self._ghosts = ghosts
        self._log = log
        self._policy = policy
        self._env = env
        self._start_unix = start_unix
        self._last_cycle_s = last_cycle_s
        self._uniform = uniform
        self._when_idle = when_idle
        self._groups = [
            Group(name, told.quota, told.dynamic, told.accept_surplus, told.autoregroup)
            for name, told in policy.own_groups().items()
        ]

    # --- when

    def run(self) -> Events:
        """Negotiate for ever."""
        env, policy = self._env, self._policy
        if policy.first_cycle is None:
            before_s = last_before(self._last_cycle_s, policy.negotiator_interval, self._uniform())
            yield from self._await_cycle(before_s)  # submissions bring the first one forward, too
        else:
            yield env.timeout(policy.first_cycle)
        while True:
            started = env.now
            self._cycle(started)
            yield from self._await_cycle(started)

    def _await_cycle(self, started: float) -> Events:
        """Wait for the cycle after one that began at `started`."""
        env, policy = self._env, self._policy
        next_s = self._next_cycle(started)
        due = env.timeout(max(0.0, next_s - env.now))
        if policy.reschedule and policy.reschedule_from_rest:
            for one in self._queue.rounds_until(next_s):
                if one.at_s < 0:
                    continue
                # what a submission finds in the queue isn't known before it comes
                yield env.timeout(max(0.0, one.at_s - env.now))
                self._queue.catch_up(env.now)
                if self._queue.asks(one) and self._queue.woken_s >= one.at_s:
                    heard_s = one.at_s + policy.reschedule_delay
                    yield env.timeout(max(0.0, self._next_cycle(started, [heard_s]) - env.now))
                    return
        elif policy.reschedule and started >= 0:
            while self._ghosts.next_s < next_s:
                yield from self._look_out(started, next_s)
        yield due

    def _look_out(self, started: float, next_s: float) -> Events:
        """Let ghosts that come between two cycles have the cycle that their RESCHEDULE would have brought forward.

        Nothing is negotiated in it, so that no other job's wait changes: a ghost is answered if it would have gone
        first. Otherwise it waits for the next cycle of the others.
        """
        env, ghosts, queue = self._env, self._ghosts, self._queue
        yield env.timeout(max(0.0, ghosts.next_s - env.now))
        queue.catch_up(env.now)
        come = ghosts.hear(env.now)
        told_s = max(env.now, queue.counted_s + self._policy.schedd_min_interval)
        look_s = self._next_cycle(started, [told_s + self._policy.reschedule_delay])
        if look_s >= next_s:
            return
        yield env.timeout(max(0.0, look_s - env.now))
        ghosts.look_out(come, env.now)

    def _next_cycle(self, started: float, requests: Sequence[float] | None = None) -> float:
        """When the cycle after one that began at `started` begins [s]; without `requests` those that are known count."""
        policy = self._policy
        if requests is None and (not policy.reschedule or policy.reschedule_from_rest):
            requests = ()
        until_s = started + policy.negotiator_interval + policy.negotiator_cycle_delay
        return next_cycle(
            started,
            started + policy.cycle_overhead,
            self._queue.requests(until_s) if requests is None else requests,
            interval_s=policy.negotiator_interval,
            delay_s=policy.negotiator_cycle_delay,
            min_interval_s=policy.negotiator_min_interval,
            phase=self._start_unix % 1,
        )

    # --- what

    def _cycle(self, now: float) -> None:
        queue, people = self._queue, self._accountant.submitters
        queue.catch_up(now)
        self._accountant.update(now)
        self._startds.publish(now)
        waiting = any(person.advertised for person in people.values())
        self._ghosts.hear(now)
        if not waiting and not self._ghosts.waiting:
            return
        if waiting:
            queue.negotiated_s = now
        idle = sum(person.n_idle for person in people.values())
        cycle = self._serve(now)
        cycle.idle = idle
        self._schedd.fill()
        if cycle.satisfied and self._policy.update_when_satisfied:
            queue.ask_round(now)
        self._log.add(now, cycle)
        if not cycle.matched:
            self._when_idle()

    def _serve(self, now: float) -> Cycle:
        observers = self._ghosts.observers()
        probe = partial(self._ghosts.probe, now) if observers else None
        if self._queue.limited:
            self._negotiator.ledger.count(
                claim.limits
                for machine in self._startds.machines.values()
                for claim in machine.claims.values()
                if claim.limits
            )
        unix = self._start_unix + now
        preemption = self._preemption.ripe(now)
        smallest = self._startds.smallest() if self._policy.fair_share else 0.0
        if self._groups:
            return self._serve_groups(unix, smallest, preemption, observers, probe)
        return self._negotiator.negotiate(
            self._accountant.submitters.values(),
            self._startds.weight,
            unix,
            self._schedd,
            smallest=smallest,
            preemption=preemption,
            observers=observers,
            probe=probe,
        )

    def _serve_groups(
        self,
        unix: float,
        smallest: float,
        preemption: Preemption | None,
        observers: list[Submitter],
        probe: Probe | None,
    ) -> Cycle:
        """Serve accounting groups one after another within their allocations (fact sheet §1.9).

        Where a group regroups, the root is given the whole pool, and the group's submitters come again with the root's, as a
        negotiator's log says (docs/validation.md).
        """
        negotiator, schedd, policy, weight = (
            self._negotiator,
            self._schedd,
            self._policy,
            self._startds.weight,
        )
        members: dict[str, list[Submitter]] = {name: [] for name in (ROOT, *policy.groups)}
        for person in self._accountant.submitters.values():
            members[person.group].append(person)
        total = Cycle(negotiator.collector.count)
        quota = quotas(self._groups, weight)
        usage = {name: sum(person.charged for person in people) for name, people in members.items()}
        demand = {name: sum(person.demand for person in people) for name, people in members.items()}
        again = [person for group in self._groups if group.autoregroup for person in members[group.name]]
        for turn in range(GROUP_ROUNDS):
            given = allocate(self._groups, demand, weight)
            if any(group.autoregroup for group in self._groups):
                given[ROOT] = weight
            for name in serving_order(quota, usage):
                if given[name] <= 0 or (usage[name] >= given[name] and not policy.consider_preemption):
                    continue
                people = members[name] if name != ROOT else [*members[ROOT], *again]
                cycle = negotiator.negotiate(
                    people,
                    weight,
                    unix,
                    schedd,
                    smallest=smallest,
                    quota=math.floor(
                        max(given[name], quota[name])
                    ),  # whole cores (`hgq_negotiate_with_all_groups`)
                    preemption=preemption,
                    observers=[person for person in observers if person in people] if not turn else (),
                    probe=probe if not turn else None,
                )
                total.add(cycle)
            usage = {name: sum(person.charged for person in people) for name, people in members.items()}
            # a group that couldn't use what it was given asks for no more than it has
            demand = {name: usage[name] if usage[name] < given[name] else demand[name] for name in demand}
            if all(usage[name] >= given[name] for name in given):
                break
        return total
