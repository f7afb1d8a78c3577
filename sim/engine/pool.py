"""One simulated pool: SimPy wakes the negotiator, brings machines, ends attempts; the rest are plain methods.

The order of events after a match follows fact sheet §2 and §8.3: the schedd carves the matched job's slot, then fills
what is left of the matched machines with further jobs of the same submitter, round robin; an ended attempt's claim is
reused while it is young enough.

Submissions are no events of their own: nobody but the schedd sees a job before a cycle or an ended attempt looks into
the queue, so they are taken in, in order and with their own times, whenever somebody looks.
"""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, tee
from typing import Any, NamedTuple

import simpy

from sim.classads.matching import Autocluster, Matcher
from sim.delivery.state import Delivery, Nothing
from sim.engine.collector import Collector
from sim.engine.concurrency import LimitLedger
from sim.engine.entities import FOREVER, Claim, Job, Machine, Submitter
from sim.engine.fairshare import decayed
from sim.engine.groups import ROOT, Group, allocate, group_of, quotas, serving_order
from sim.engine.negotiator import Cycle, Negotiator, Preemption, Schedd
from sim.engine.records import (
    DONE,
    EVICTED,
    FAILED,
    HELD,
    LEFTOVER,
    LOST,
    MATCH,
    REMOVED,
    REUSE,
    RUNNING_BEFORE,
    ProbeResult,
    Recorder,
)
from sim.engine.schedd import Round, next_cycle, rounds
from sim.engine.slots import SlotTable
from sim.engine.streams import Streams
from sim.scenario import PolicySection

Events = Generator[simpy.Event, Any, None]
NO_ROUND = Round(FOREVER, reschedule=False, counted=sys.maxsize)
GROUP_ROUNDS = 3  # GROUP_QUOTA_MAX_ALLOCATION_ROUNDS


class Session(NamedTuple):
    """A machine's stay in the pool [s since the run began].

    ending : how it goes at `down_s`: quit (its jobs are evicted at once), kill (without a word), graceful (after their
        retirement time), drain (once they have ended), or open (it stays)
    """

    machine: Machine
    up_s: float
    down_s: float
    ending: str


class Ghost(NamedTuple):
    """A probe: at `at_s`, a job of this autocluster and submitter that takes nothing."""

    label: str
    submitter: str
    cluster: Autocluster
    at_s: float


class Pool:
    """A pool that runs.

    Parameters
    ----------
    jobs : the workload, each with its submitter's name
    running : jobs that run as the run begins, each with its submitter's and its startd's name
    sessions : machines and when they are there
    matcher : table of matches
    policy : what the daemons do
    start_unix : when the run begins [s, Unix]; ads are judged at this time plus the simulated one
    priorities : real priorities at the beginning, by submitter; 0.5 for others
    delivery : how software reaches the jobs; nothing is added to the policy's constant without it
    speeds : how much faster than recorded a job runs on a device model [1], by model
    last_cycle_s : when the last negotiation cycle before the run began; drawn where nothing is known
    last_round_s : when the schedd last counted its jobs before the run; drawn where nothing is known
    priorities_at : moments at which priorities are noted, as the last cycle left them, ascending
    """

    def __init__(
        self,
        jobs: Iterable[tuple[Job, str]],
        sessions: Sequence[Session],
        *,
        matcher: Matcher,
        policy: PolicySection,
        start_unix: float,
        streams: Streams,
        running: Sequence[tuple[Job, str, str]] = (),
        ghosts: Sequence[Ghost] = (),
        priorities: Mapping[str, float] | None = None,
        delivery: Delivery | Nothing | None = None,
        speeds: Mapping[str, float] | None = None,
        last_cycle_s: float | None = None,
        last_round_s: float | None = None,
        priorities_at: Sequence[float] = (),
    ) -> None:
        self.env = simpy.Environment()
        self.policy = policy
        self.matcher = matcher
        self.start_unix = start_unix
        self.streams = streams
        self.delivery = None if isinstance(delivery, Nothing) else delivery
        self.speeds = dict(speeds or {})
        self.recorder = Recorder()
        self.machines: dict[str, Machine] = {}
        self.submitters: dict[str, Submitter] = {}
        self.table = SlotTable(matcher)
        self.collector = Collector(self.table)
        self.patient = False
        """Whether the run goes on although nothing it knows of can change any more; set by who brings machines."""
        self.negotiator = Negotiator(
            self.collector,
            streams.ties,
            probes=streams.probes,
            consider_preemption=policy.consider_preemption,
            one_match_per_slot=policy.one_match_per_slot,
            fair_share=policy.fair_share,
            ceilings=policy.ceilings,
            ledger=LimitLedger(policy.concurrency_limits, policy.concurrency_limit_default),
        )
        self.groups = [
            Group(name, told.quota, told.dynamic, told.accept_surplus, told.autoregroup)
            for name, told in policy.groups.items()
        ]
        self.unfinished = 0
        self._ghosts = sorted(ghosts, key=lambda ghost: -ghost.at_s)  # the next one last
        self._asking: list[Ghost] = []
        self._priorities = dict(priorities or {})
        self._schedd = Schedd(self._deliver, self._preempt, self._smallest)
        self._finished = self.env.event()
        self._weight = 0.0
        self._stale: list[Submitter] = []
        self._changes: list[Machine] = []
        self._prompt = policy.update_delay_high <= policy.negotiator_cycle_delay
        self._update_spread = policy.update_delay_high - policy.update_delay_low
        self._matched: list[tuple[Submitter, Machine]] = []
        self._last_cycle_s = 0.0
        self._told_cycle_s = last_cycle_s
        self._priorities_at = list(reversed(priorities_at))  # the next one last
        self._busy = 0
        self._ahead = 0
        self._limited = False
        self._claims = 0
        self._places: dict[tuple[int, ...], tuple[int, ...]] = {}
        self.preempts = policy.consider_preemption and policy.preemption_requirements.lower() != "false"
        self._jobs, self._arrivals = self._take_in(jobs, running)
        self._times = [*(job.submitted_s for job in self._arrivals), FOREVER]
        self.unfinished = len(self._arrivals)
        self._next = 0
        self._rounds = rounds(
            self._times,
            policy.schedd_interval,
            policy.schedd_min_interval,
            last=(last := self._round_before(last_round_s)),
            phase=start_unix % 1,
        )
        self._round = next(self._rounds, NO_ROUND)
        self._round_before_s, self._woken_s = last, -FOREVER
        for session in sessions:
            self.add(session)
        self.not_placed = sum(not self._place(job, machine) for job, _, machine in running)
        """How many of the running jobs found no room where they were said to run; they are left out."""
        self.env.process(self._negotiate())

    def _take_in(
        self, jobs: Iterable[tuple[Job, str]], running: Iterable[tuple[Job, str, str]]
    ) -> tuple[list[Job], list[Job]]:
        """All jobs in the schedd's order, and those that are still to come as they come."""
        with uncollected():
            arrivals = [self._known(job, name) for job, name in jobs]
            ordered = self._in_order([*arrivals, *(self._known(job, name) for job, name, _ in running)])
            arrivals.sort(key=_submitted)
        return ordered, arrivals

    def _known(self, job: Job, name: str) -> Job:
        """A job that knows its submitter's queue."""
        job.queue = self.submitter(name).queue(job.cluster)
        return job

    def _in_order(self, jobs: list[Job]) -> list[Job]:
        """The jobs in the schedd's order; each learns its place, and submitters stand in the order of their first jobs."""
        jobs.sort(key=_order)
        for place, job in enumerate(jobs):
            del job.order  # its place tells as much
            job.place = place
            self._limited |= bool(job.cluster.limits)
            if job.removed_s < FOREVER:
                self._at(job.removed_s, lambda job=job: self._remove(job))  # type: ignore[misc]
        people = dict.fromkeys(job.queue.person for job in jobs)
        self.submitters = {person.name: person for person in people}
        return jobs

    # --- running

    def run(self, until_s: float, progress: Callable[[float], None] | None = None) -> float:
        """Run; see `_run`."""
        with uncollected():
            return self._run(until_s, progress)

    def _run(self, until_s: float, progress: Callable[[float], None] | None) -> float:
        """Run until `until_s`, until no job is left and no probe waits, or until nothing can change any more; give the end [s]."""
        steps = 100 if progress else 1
        for step in range(1, steps + 1):
            mark = until_s * step / steps
            if mark > self.env.now and (self.unfinished or self.asking) and not self._finished.triggered:
                self.env.run(until=self.env.timeout(mark - self.env.now) | self._finished)
            if progress is not None:
                progress(step / steps)
        self._catch_up(self.env.now)
        self._hear_ghosts(self.env.now)
        self._note_priorities(self.env.now)
        for ghost in self._asking:
            self.recorder.probes.append(ProbeResult(ghost.label, ghost.at_s, float("nan")))
        return float(self.env.now)

    @property
    def asking(self) -> bool:
        """Whether a ghost waits for its answer, or will."""
        return bool(self._asking or self._ghosts)

    @property
    def out(self) -> int:
        """How many jobs are neither in the queue nor ended: running, or on a machine that died and not given up yet."""
        return self._busy

    def submitted(self) -> list[Job]:
        """The jobs that have been submitted so far; those that ran as the run began are not among them."""
        return self._arrivals[: self._next]

    def job(self, place: int) -> Job:
        """The job in this place of the schedd's order."""
        return self._jobs[place]

    def submitter(self, name: str) -> Submitter:
        """The submitter of this name, made known with its factor when it first appears."""
        person = self.submitters.get(name)
        if person is None:
            policy = self.policy
            group = group_of(name, list(policy.groups))
            factor = policy.prio_factors.get(name)
            if factor is None and name.startswith("nice-user."):
                factor = policy.nice_user_prio_factor
            if factor is None:
                factor = policy.group_prio_factors.get(group, policy.default_prio_factor)
            priority = max(0.5, self._priorities.get(name, 0.5))
            person = self.submitters[name] = Submitter(name, factor, group, priority)
        return person

    def add(self, session: Session) -> None:
        """Let a machine come and go."""
        machine, now = session.machine, self.env.now
        if session.up_s <= now:
            self._arrive(session)
        else:
            self._at(session.up_s, lambda: self._arrive(session))
        if session.down_s < FOREVER:
            if machine.retire_s < session.down_s:
                self._at(max(machine.retire_s, session.up_s), lambda: self.retire(machine))
            self._at(session.down_s, lambda: self.leave(machine, session.ending))

    def _place(self, job: Job, machine_name: str) -> bool:
        """Let a job be running as the run begins; False if its machine isn't there or has no room for it."""
        machine = self.machines.get(machine_name)
        if machine is None or not self._claimable(job.cluster, machine, self.env.now):
            return False
        self.unfinished += 1
        claim = self._carve(job.queue.person, job.cluster, machine, 0.0)
        self.collector.show(machine, machine.state)
        self._start(claim, job, RUNNING_BEFORE, 0.0, 0.0)
        return True

    def _at(self, when_s: float, call: Callable[[], object]) -> None:
        self._after(max(0.0, when_s - self.env.now), call)

    def _after(self, delay_s: float, call: Callable[[], object]) -> None:
        def fire(_: simpy.Event) -> None:
            self._ahead -= 1
            self._catch_up(self.env.now)
            call()

        self._ahead += 1
        timeout = self.env.timeout(delay_s)
        assert timeout.callbacks is not None
        timeout.callbacks.append(fire)

    # --- the queue

    def _catch_up(self, now: float) -> None:
        """Take in the jobs submitted until now, and the rounds in which the schedd sent submitter ads."""
        times = self._times
        while True:
            round_s, _, counted = self._round
            place = self._next
            if place < counted and times[place] <= now:
                arrivals = self._arrivals
                while place < counted and times[place] <= now:
                    job = arrivals[place]
                    queue = job.queue
                    queue.push(job.place)
                    if not queue.person.stale:
                        self._note(queue.person)
                    place += 1
                self._next = place
            if round_s > now:
                return
            if self._round.reschedule and not any(person.advertised for person in self.submitters.values()):
                self._woken_s = round_s
            self._advertise()
            self._round_before_s = round_s
            self._round = next(self._rounds, NO_ROUND)

    def _note(self, person: Submitter) -> None:
        """Note that a submitter's queue changed since its last ad."""
        if not person.stale:
            person.stale = True
            self._stale.append(person)

    def _advertise(self) -> None:
        for person in self._stale:
            person.advertised = person.n_idle
            person.stale = False
        self._stale.clear()
        if self.groups:
            for person in self.submitters.values():
                person.demand = person.usage + _demand(person)

    def _pop(self, person: Submitter, cluster: Autocluster, now: float) -> Job:
        job = self._jobs[person.queues[cluster.id].pop()]
        self._note(person)
        return job

    def _requeue(self, job: Job) -> None:
        """Let a job be idle again, in its old place."""
        person = job.queue.person
        job.queue.push(job.place)
        self._note(person)

    def _remove(self, job: Job) -> None:
        """Let a user take a job away."""
        if job.claim is not None:
            claim = job.claim
            self.recorder.end(claim.attempt, self.env.now, REMOVED)
            self._vacate(claim)
            self._let_go(claim, self.env.now)
        elif job.queue.drop(job.place):
            self.recorder.removals.append((job, self.env.now))
        else:
            return  # it has ended
        self._note(job.queue.person)
        self._gone()

    def _gone(self) -> None:
        self.unfinished -= 1
        self._check_finished()

    def _check_finished(self) -> None:
        if not self.unfinished and not self.asking and not self._finished.triggered:
            self._finished.succeed()

    # --- machines come and go

    def _arrive(self, session: Session) -> None:
        machine = session.machine
        machine.free = list(range(len(machine.devices)))
        machine.alive = True
        machine.state = machine.seen = self.table.state(machine.kind, machine.total, machine.rank)
        self.machines[machine.name] = machine
        self._weight += machine.state.weight
        self.preempts |= self.policy.consider_preemption and self.matcher.prefers(machine.kind)
        if machine.retire_s > self.env.now:
            self.collector.list(machine)
        else:
            self.collector.close(machine)

    def retire(self, machine: Machine) -> None:
        """Let a machine take no job any more; those it has go on."""
        machine.retire_s = min(machine.retire_s, self.env.now)
        self.collector.close(machine)

    def leave(self, machine: Machine, ending: str) -> None:
        """Take a machine away; the jobs of a killed one come back only after their lease."""
        if not machine.alive:
            return
        if ending in {"graceful", "drain"}:
            self._drain(machine, patient=ending == "drain")
            return
        claims = list(machine.claims.values())
        if machine.due_s <= self.env.now:
            self._settle(machine)
        machine.alive = False
        machine.claims.clear()
        if ending != "kill":
            self._forget(machine)
            self._lose(claims, self.env.now, EVICTED)
            return
        policy, cut_s = self.policy, self.env.now
        for claim in claims:
            claim.serial += 1  # whatever was to end here doesn't
        self._after(policy.job_lease + policy.lease_slack, lambda: self._lose(claims, cut_s, LOST))
        # the collector forgets a silent machine between one and two lifetimes after its last ad (real-pool facts §6)
        forget_s = policy.classad_lifetime * (1 + self.streams.losses.uniform())
        self._after(forget_s, lambda: self._forget(machine))

    def _forget(self, machine: Machine) -> None:
        self.collector.close(machine)
        if self.machines.get(machine.name) is machine:
            del self.machines[machine.name]
            self._weight -= self.matcher.weight(machine.kind, machine.total)

    def _drain(self, machine: Machine, *, patient: bool) -> None:
        """Take no new job; evict the running ones after their retirement time, or not at all; then go."""
        machine.draining = True
        self.collector.close(machine)
        if not patient:
            for claim in list(machine.claims.values()):
                serial = claim.serial
                ripe = claim.began_s + self.policy.max_job_retirement
                self._at(
                    max(ripe, self.env.now) + self.policy.vacate_time,
                    lambda claim=claim, serial=serial: self._evict(claim, serial),  # type: ignore[misc]
                )
        self._gone_if_empty(machine)

    def _gone_if_empty(self, machine: Machine) -> None:
        if machine.draining and machine.alive and not machine.claims:
            machine.alive = False
            self._forget(machine)

    def _lose(self, claims: Iterable[Claim], cut_s: float, outcome: int) -> None:
        """End the attempts of lost claims; one that never began is undone, its match was for nothing."""
        for claim in claims:
            claim.person.usage -= claim.shape.weight
            job = claim.job
            self._disinherit(claim)
            if job is None:
                continue
            if claim.active_s > cut_s:
                self.recorder.undo(claim.attempt, self.env.now)
            else:
                self._save(job, claim, cut_s)
                self.recorder.end(claim.attempt, self.env.now, outcome)
                job.ready_s = self.env.now
            self._vacate(claim)
            self._requeue(job)

    def _save(self, job: Job, claim: Claim, cut_s: float) -> None:
        """Keep the progress of a job that checkpoints, up to its last one."""
        if job.checkpoint_s > 0:
            ran = (cut_s - self.recorder.executing(claim.attempt)) * self._speed(claim)
            job.done_s = (job.done_s + max(0.0, ran)) // job.checkpoint_s * job.checkpoint_s

    def _vacate(self, claim: Claim) -> None:
        """Take the job off a claim; what was planned for it counts no more."""
        claim.serial += 1
        if claim.job is not None:
            claim.job.claim = None
            claim.job = None
            self._busy -= 1

    def _evict(self, claim: Claim, serial: int) -> None:
        """Send a running job back to the queue and hand its slot on, or back to its machine."""
        job = claim.job
        if claim.serial != serial or job is None or not claim.machine.alive:
            return
        now = self.env.now
        self._save(job, claim, now)
        self.recorder.end(claim.attempt, now, EVICTED)
        job.ready_s = now
        self._vacate(claim)
        self._requeue(job)
        self._let_go(claim, self.env.now)

    # --- the negotiator

    def _negotiate(self) -> Events:
        env, policy = self.env, self.policy
        if policy.first_cycle is None:
            yield from self._await_cycle(self._cycle_before())  # submissions bring the first one forward, too
        else:
            yield env.timeout(policy.first_cycle)
        while True:
            started = env.now
            self._cycle(started)
            yield from self._await_cycle(started)

    def _await_cycle(self, started: float) -> Events:
        """Wait for the cycle after one that began at `started`."""
        env, policy = self.env, self.policy
        next_s = self._next_cycle(started)
        due = env.timeout(max(0.0, next_s - env.now))
        if policy.reschedule and policy.reschedule_from_rest:
            for one in self._rounds_until(next_s):
                if one.at_s < 0:
                    continue
                # what a submission finds in the queue isn't known before it comes
                yield env.timeout(max(0.0, one.at_s - env.now))
                self._catch_up(env.now)
                if one.reschedule and self._woken_s >= one.at_s:
                    yield env.timeout(max(0.0, self._next_cycle(started, [one.at_s]) - env.now))
                    return
        elif policy.reschedule and started >= 0:
            while self._ghosts and self._ghosts[-1].at_s < next_s:
                yield from self._look_out(started, next_s)
        yield due

    def _round_before(self, told_s: float | None) -> float:
        """When the schedd last counted its jobs before the run began [s]: it tells whole seconds, one round an interval."""
        interval, drawn = self.policy.schedd_interval, self.streams.phase.uniform()
        if told_s is None:
            return -drawn * interval
        return (told_s + min(drawn, -told_s)) % -interval

    def _cycle_before(self) -> float:
        """When the last cycle before the run began [s]: at any time within an interval, where the record doesn't tell.

        A negotiator tells a cycle's time in whole seconds, and may have had more cycles since: one every interval.
        """
        interval = self.policy.negotiator_interval
        drawn = self.streams.phase.uniform()
        if self._told_cycle_s is None:
            return -drawn * interval
        return (self._told_cycle_s + min(drawn, -self._told_cycle_s)) % -interval

    def _next_cycle(self, started: float, requests: Sequence[float] | None = None) -> float:
        """When the cycle after one that began at `started` begins [s]; without `requests` those that are known count."""
        policy = self.policy
        if requests is None and (not policy.reschedule or policy.reschedule_from_rest):
            requests = ()
        until_s = started + policy.negotiator_interval + policy.negotiator_cycle_delay
        return next_cycle(
            started,
            started + policy.cycle_overhead,
            self._requests(until_s) if requests is None else requests,
            interval_s=policy.negotiator_interval,
            delay_s=policy.negotiator_cycle_delay,
            min_interval_s=policy.negotiator_min_interval,
            phase=self.start_unix % 1,
        )

    def _ask_round(self, now: float) -> None:
        """Let the schedd count its jobs anew as soon as it may: a submitter has got all that it asked for."""
        policy, place = self.policy, self._next
        self._rounds = rounds(
            self._times,
            policy.schedd_interval,
            policy.schedd_min_interval,
            last=self._round_before_s,
            place=place,
            asked=now,
            fresh=place > 0 and self._times[place - 1] > self._round_before_s,
            phase=self.start_unix % 1,
        )
        self._round = next(self._rounds, NO_ROUND)

    def _rounds_until(self, until_s: float) -> Iterator[Round]:
        """The schedd's rounds to come: submissions are known, so its rounds are too."""
        self._rounds, ahead = tee(self._rounds)
        for one in chain([self._round], ahead):
            if one.at_s > until_s:
                return
            yield one

    def _requests(self, until_s: float) -> Iterator[float]:
        """When the schedd will ask for a cycle [s]."""
        for one in self._rounds_until(until_s):
            if one.reschedule and one.at_s >= 0:  # what came before the run has had its cycle
                yield one.at_s

    def _cycle(self, now: float) -> None:
        self._catch_up(now)
        self._update_priorities(now)
        self._publish(now)
        waiting = any(person.advertised for person in self.submitters.values())
        self._hear_ghosts(now)
        if not waiting and not self._asking:
            return
        self._matched = []
        idle = sum(person.n_idle for person in self.submitters.values())
        cycle = self._serve(now)
        cycle.idle = idle
        self._fill()
        if cycle.satisfied and self.policy.update_when_satisfied:
            self._ask_round(now)
        self.recorder.cycle_log.add(now, cycle)
        if not cycle.matched:
            self._check_stalled()

    def _update_priorities(self, now: float) -> None:
        """Decay the priorities and charge what was used since the last cycle (fact sheet §1.3)."""
        self._note_priorities(now)
        elapsed, self._last_cycle_s = now - self._last_cycle_s, now
        halflife = self.policy.priority_halflife
        for person in self.submitters.values():
            if elapsed > 0 and (person.charged or person.priority > 0.5):
                person.priority = decayed(person.priority, person.charged, elapsed, halflife)
            person.charged = person.usage

    def _note_priorities(self, now: float) -> None:
        """Note priorities for the moments since the last cycle that ask for them."""
        while self._priorities_at and self._priorities_at[-1] < now:
            moment = self._priorities_at.pop()
            self.recorder.priorities += [
                (moment, person.name, person.priority) for person in self.submitters.values()
            ]

    def _publish(self, now: float) -> None:
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

    def _settle(self, machine: Machine) -> None:
        """Let a change be seen that has reached the collector; a dead machine sends nothing more."""
        machine.due_s = FOREVER
        if machine.alive:
            self.collector.show(machine, machine.state)

    def _serve(self, now: float) -> Cycle:
        observers = self._observers()
        probe = self._probe if observers else None
        if self._limited:
            self.negotiator.ledger.count(
                claim.limits
                for machine in self.machines.values()
                for claim in machine.claims.values()
                if claim.limits
            )
        unix = self.start_unix + now
        preemption = self._preemption(now) if self.preempts else None
        if not self.groups:
            return self.negotiator.negotiate(
                self.submitters.values(),
                self._weight,
                unix,
                self._schedd,
                preemption=preemption,
                observers=observers,
                probe=probe,
            )
        return self._serve_groups(unix, preemption, observers, probe)

    def _serve_groups(
        self,
        unix: float,
        preemption: Preemption | None,
        observers: list[Submitter],
        probe: Callable[[Submitter, float, float], None] | None,
    ) -> Cycle:
        """Serve accounting groups one after another within their allocations (fact sheet §1.9)."""
        members: dict[str, list[Submitter]] = {name: [] for name in (ROOT, *self.policy.groups)}
        for person in self.submitters.values():
            members[person.group].append(person)
        total = Cycle(self.collector.count)
        quota = quotas(self.groups, self._weight)
        usage = {name: sum(person.charged for person in people) for name, people in members.items()}
        demand = {name: sum(person.demand for person in people) for name, people in members.items()}
        for turn in range(GROUP_ROUNDS):
            given = allocate(self.groups, demand, self._weight)
            for name in serving_order(quota, usage):
                if given[name] <= 0 or (usage[name] >= given[name] and not self.policy.consider_preemption):
                    continue
                cycle = self.negotiator.negotiate(
                    members[name],
                    self._weight,
                    unix,
                    self._schedd,
                    quota=math.floor(
                        max(given[name], quota[name])
                    ),  # whole cores (`hgq_negotiate_with_all_groups`)
                    preemption=preemption,
                    observers=[person for person in observers if person in members[name]] if not turn else (),
                    probe=probe if not turn else None,
                )
                self._fill()
                _add(total, cycle)
            usage = {name: sum(person.charged for person in people) for name, people in members.items()}
            # a group that couldn't use what it was given asks for no more than it has
            demand = {name: usage[name] if usage[name] < given[name] else demand[name] for name in demand}
            if all(usage[name] >= given[name] for name in given):
                break
        again = [
            person
            for group in self.groups
            if group.autoregroup or self.policy.group_autoregroup
            for person in members[group.name]
        ]
        if again:
            people = [*members[ROOT], *again]
            _add(total, self.negotiator.negotiate(people, self._weight, unix, self._schedd))
        return total

    def _check_stalled(self) -> None:
        """End the run where nothing runs, nothing is to come, and nothing that waits fits anything there is."""
        if (
            self._busy
            or self._ahead
            or self.patient
            or self.asking
            or self._changes
            or self._stale
            or self._times[self._next] < FOREVER
            or any(
                ready_s > self.env.now
                for machine in self.machines.values()
                for ready_s in machine.pollable_s.values()
            )
            or any(
                self.table.varies(queue.cluster, machine.kind)
                for person in self.submitters.values()
                for queue in person.waiting.values()
                for machine in self.machines.values()
            )
        ):
            return
        if not self._finished.triggered:
            self._finished.succeed()

    def _deliver(self, person: Submitter, cluster: Autocluster, machine: Machine) -> bool:
        """Give a match to the schedd; False if its job has started meanwhile or the startd refuses."""
        if self._matched and self._matched[-1][0] is not person:
            self._fill()  # the submitter before has long filled its machines when the next one's matches arrive
        now = self.env.now
        if cluster.id not in person.waiting or not self._claimable(cluster, machine, now):
            return False
        claim = self._carve(person, cluster, machine, now)
        self._start(claim, self._pop(person, cluster, now), MATCH, self._match_delay(), now)
        if machine.state.open:
            self._matched.append((person, machine))
        return True

    def _smallest(self) -> float:
        """The least weight of a slot: of partitionable ones what is left of them, of dynamic ones a core at least."""
        least = FOREVER
        for machine in self.machines.values():
            if machine.seen.weight < least:
                least = machine.seen.weight
                if least <= 0:
                    return least
        if least <= 1:
            return least
        claims = (
            claim.shape.weight for machine in self.machines.values() for claim in machine.claims.values()
        )
        return min(least, min(claims, default=FOREVER))

    def _match_delay(self) -> float:
        tail = self.policy.match_to_start_tail
        return self.policy.match_to_start + (tail * self.streams.delays.exponential() if tail else 0.0)

    def _claimable(self, cluster: Autocluster, machine: Machine, now: float) -> bool:
        if not machine.alive or machine.draining or now >= machine.retire_s:
            return False
        if machine.pollable_s and cluster.gpus:
            return self._ready_picks(cluster, machine) is not None and self.table.fits(
                cluster, machine.state, self.start_unix + now
            )
        return self.table.fits(cluster, machine.state, self.start_unix + now)

    def _ready_picks(self, cluster: Autocluster, machine: Machine) -> tuple[int, ...] | None:
        """The devices that the startd would give, as places among the free ones; None if too few are ready (23.x)."""
        now, pollable = self.env.now, machine.pollable_s
        for place, ready_s in list(pollable.items()):
            if ready_s <= now:
                del pollable[place]
        suits = self.matcher.device_suits
        fitting = [
            index
            for index, place in enumerate(machine.free)
            if place not in pollable and suits(cluster, machine.devices[place])
        ]
        return tuple(fitting[: cluster.gpus]) if len(fitting) >= cluster.gpus else None

    def _fill(self) -> None:
        """Fill the rest of matched machines with their submitter's further jobs, round robin (fact sheet §2.2).

        Jobs with ConcurrencyLimits aren't among them: the negotiator counts those, and only a claim that it made for the
        same limits may run them (CLAIM_RECYCLING_CONSIDER_LIMITS).
        """
        if not self._matched:
            return
        matched, self._matched = self._matched, []
        if not self.policy.claim_leftovers:
            return
        now = self.env.now
        open_machines = [
            (person, machine) for person, machine in matched if machine.kind.partitionable and person.waiting
        ]
        while open_machines:
            still_open = []
            for person, machine in open_machines:
                for queue in person.in_order():
                    cluster = queue.cluster
                    if not cluster.limits and self._claimable(cluster, machine, now):
                        claim = self._carve(person, cluster, machine, now)
                        job = self._pop(person, cluster, now)
                        self._start(claim, job, LEFTOVER, self._match_delay(), now)
                        if machine.state.open:
                            still_open.append((person, machine))
                        break
            open_machines = still_open

    # --- claims

    def _carve(self, person: Submitter, cluster: Autocluster, machine: Machine, now: float) -> Claim:
        """Make a dynamic slot for a job, or take a static one."""
        if machine.due_s <= now:
            self._settle(machine)
        carving = machine.state.carvings.get(cluster.id) or self.table.carve(cluster, machine.state)
        picks = carving.picks
        if picks and machine.pollable_s:
            ready = self._ready_picks(cluster, machine)
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
        machine.slots_made += 1
        number = self._claims = self._claims + 1
        claim = Claim(machine, person, carving.shape, places, now, number, machine.slots_made, cluster.limits)
        if self.preempts:
            claim.job_rank = self.matcher.slot_rank(cluster, machine.kind)
        machine.claims[number] = claim
        person.usage += carving.shape.weight
        if machine.due_s == FOREVER:
            if self._prompt and machine.taken:
                machine.seen = carving.rest  # its ad will have come by the next cycle
            else:
                self._changed(machine, now)
        return claim

    def _changed(self, machine: Machine, now: float) -> None:
        """Note that a machine's resources changed: its ad reaches the collector a little later."""
        spread = self._update_spread
        delay = self.policy.update_delay_low
        machine.due_s = now + (delay + spread * self.streams.delays.uniform() if spread else delay)
        self._changes.append(machine)

    def _start(self, claim: Claim, job: Job, origin: int, delay_s: float, now: float) -> None:
        policy = self.policy
        claim.job = job
        claim.began_s = now
        active = claim.active_s = now + delay_s
        claim.serial += 1
        job.claim = claim
        self._busy += 1
        executing = active + policy.image_start
        if self.delivery is None:
            claim.attempt = self.recorder.start(job, claim, origin, now, executing)
        else:
            ask = self.delivery.resume if origin == RUNNING_BEFORE else self.delivery.start
            brought = ask(claim.machine, job.row, active)
            executing += brought.seconds
            claim.attempt = self.recorder.start(job, claim, origin, now, executing, brought)
            if brought.failure:
                self._end_at(
                    active + brought.seconds,
                    claim,
                    HELD if brought.failure == "held" else FAILED,
                    brought.failure,
                )
                return
        length = job.run_s - job.done_s
        if self.speeds:
            length /= self._speed(claim)
        outcome = DONE
        if length > job.limit_s:
            length, outcome = job.limit_s, HELD
        self._end_at(executing + length + policy.run_overhead, claim, outcome)

    def _end_at(self, when_s: float, claim: Claim, outcome: int, failure: str = "") -> None:
        """Let a claim's attempt end then, unless it is cut short."""
        env = self.env
        timeout = simpy.Timeout(env, when_s - env.now, (claim, claim.serial, outcome, failure))
        assert timeout.callbacks is not None
        timeout.callbacks.append(self._ended)

    def _speed(self, claim: Claim) -> float:
        """How much faster than recorded a job runs here [1]."""
        if not claim.places or not self.speeds:
            return 1.0
        return self.speeds.get(claim.machine.models[claim.places[0]], 1.0)

    def _ended(self, event: Any) -> None:
        claim, serial, outcome, failure = event.value
        job = claim.job
        if claim.serial != serial or job is None:
            return  # the attempt was cut short
        now = self.env.now
        if self._times[self._next] <= now or self._round.at_s <= now:
            self._catch_up(now)
        self.recorder.end(claim.attempt, now, outcome)
        claim.job = job.claim = None
        self._busy -= 1
        if failure:
            self._fail(claim, job, failure)
            return
        self.unfinished -= 1
        if not (claim.person.waiting and self._reuse(claim, now)):
            self._let_go(claim, now)
        if not self.unfinished:
            self._check_finished()

    def _fail(self, claim: Claim, job: Job, failure: str) -> None:
        """Hold a job whose software didn't come, or let it try again; a pilot may take no more."""
        now = self.env.now
        if failure == "stopped":
            self.retire(claim.machine)
        self._let_go(claim, now)
        if failure == "held":
            self._gone()
        else:
            job.ready_s = now
            self._requeue(job)

    def _reuse(self, claim: Claim, now: float) -> bool:
        """Start the submitter's next job that fits the claim's slot as it is (fact sheet §2.3)."""
        policy, machine, person = self.policy, claim.machine, claim.person
        if (
            not policy.claim_reuse
            or claim.heir is not None
            or machine.draining
            or now >= machine.retire_s
            or not machine.alive
        ):
            return False
        worklife = policy.claim_worklife
        if worklife == 0 or 0 <= worklife < now - claim.born_s:
            return False
        unix = self.start_unix + now
        for queue in person.in_order():
            cluster = queue.cluster
            if (
                cluster.limits == claim.limits
                and self.table.reusable(cluster, claim.shape, unix)
                and (not self.preempts or self.matcher.slot_rank(cluster, machine.kind) >= claim.job_rank)
            ):
                delay = policy.reuse_to_start
                if policy.reuse_slow_share and self.streams.delays.uniform() < policy.reuse_slow_share:
                    delay += policy.reuse_slow_extra
                self._start(claim, self._pop(person, cluster, now), REUSE, delay, now)
                return True
        return False

    def _let_go(self, claim: Claim, now: float) -> None:
        """Give a claim without a job to who preempted it, else its resources back to the machine."""
        machine = claim.machine
        machine.claims.pop(claim.number, None)
        claim.person.usage -= claim.shape.weight
        if claim.heir is not None and machine.alive and not machine.draining:
            self._inherit(claim)
            return
        self._disinherit(claim)
        if not machine.alive:
            return
        if machine.due_s <= now:
            self._settle(machine)
        machine.state = self.table.give_back(machine, claim.shape, claim.places)
        if self.policy.device_release_poll and claim.places:
            # 23.x: a freed device can't be claimed before the startd's next poll (real-pool facts §7.3)
            wait = self.policy.device_release_poll * self.streams.delays.uniform()
            for place in claim.places:
                machine.pollable_s[place] = now + wait
        if machine.draining:
            self._gone_if_empty(machine)
        elif machine.due_s == FOREVER:
            self._changed(machine, now)

    # --- preemption (fact sheet §1.7, §4.1)

    def _preemption(self, now: float) -> Preemption | None:
        """The claimed slots whose retirement time is over."""
        retirement = self.policy.max_job_retirement
        ripe = [
            claim
            for machine in self.machines.values()
            if machine.alive and not machine.draining and machine.retire_s > now
            for claim in machine.claims.values()
            if claim.job is not None and claim.heir is None and now - claim.began_s >= retirement
        ]
        return Preemption(ripe, self._preemptible, self._preemption_rank) if ripe else None

    def _preemptible(self, claim: Claim, person: Submitter, cluster: Autocluster) -> bool:
        """PREEMPTION_REQUIREMENTS, with what the negotiator adds to both ads."""
        text = self.policy.preemption_requirements
        if text.lower() == "false":
            return False
        now = self.env.now
        holder = claim.person
        entered = self.start_unix + claim.began_s
        slot: dict[str, str | float] = {
            "RemoteUser": holder.name,
            "RemoteOwner": holder.name,
            "RemoteUserPrio": holder.effective,
            "RemoteUserResourcesInUse": holder.usage,
            "RemoteGroup": holder.group or "<none>",
            "CurrentRank": claim.job_rank,
            "State": "Claimed",
            "Activity": "Busy",
            "EnteredCurrentState": math.floor(self.start_unix + claim.born_s),
            "EnteredCurrentActivity": math.floor(entered),
            "JobStart": math.floor(entered),
            "TotalJobRunTime": math.floor(now - claim.began_s),
            "MyCurrentTime": math.floor(self.start_unix + now),
        }
        job: dict[str, str | float] = {
            "SubmitterUserPrio": person.effective,
            "SubmitterUserResourcesInUse": person.usage,
            "SubmitterGroup": person.group or "<none>",
            "User": person.name,
        }
        return self.matcher.preempts(
            text, cluster, claim.shape.kind, claim.shape.size, slot, job, self.start_unix + now
        )

    def _preemption_rank(self, claim: Claim) -> float:
        """PREEMPTION_RANK as by default: the worst user first, then the shortest loss (fact sheet §1.6)."""
        return 1e6 * claim.person.effective - (self.env.now - claim.began_s)

    def _preempt(self, person: Submitter, cluster: Autocluster, claim: Claim) -> bool:
        """Let a match on a claimed slot push its job out."""
        if cluster.id not in person.waiting or claim.job is None or not claim.machine.alive:
            return False
        claim.heir = self._pop(person, cluster, self.env.now)
        serial = claim.serial
        self._after(self.policy.vacate_time, lambda: self._evict(claim, serial))
        return True

    def _inherit(self, claim: Claim) -> None:
        heir = claim.heir
        assert heir is not None
        claim.heir = None
        machine, person, cluster = claim.machine, heir.queue.person, heir.cluster
        self._claims += 1
        rank = self.matcher.slot_rank(cluster, machine.kind)
        machine.slots_made += 1
        fresh = Claim(
            machine,
            person,
            claim.shape,
            claim.places,
            self.env.now,
            self._claims,
            machine.slots_made,
            cluster.limits,
        )
        fresh.job_rank = rank
        machine.claims[fresh.number] = fresh
        person.usage += fresh.shape.weight
        self._start(fresh, heir, MATCH, self._match_delay(), self.env.now)

    def _disinherit(self, claim: Claim) -> None:
        """Send back the job that waited for this claim."""
        heir, claim.heir = claim.heir, None
        if heir is not None:
            self._requeue(heir)

    # --- ghost probes

    def _hear_ghosts(self, now: float) -> None:
        ghosts = self._ghosts
        while ghosts and ghosts[-1].at_s <= now:
            self._asking.append(ghosts.pop())

    def _observers(self) -> list[Submitter]:
        return [self.submitter(name) for name in dict.fromkeys(ghost.submitter for ghost in self._asking)]

    def _look_out(self, started: float, next_s: float) -> Events:
        """Let ghosts that come between two cycles have the cycle that their RESCHEDULE would have brought forward.

        Nothing is negotiated in it, so that no other job's wait changes: a ghost is answered if it would have gone
        first. Otherwise it waits for the next cycle of the others.
        """
        env, policy = self.env, self.policy
        yield env.timeout(max(0.0, self._ghosts[-1].at_s - env.now))
        self._catch_up(env.now)
        known = len(self._asking)
        self._hear_ghosts(env.now)
        come = self._asking[known:]
        told_s = max(env.now, self._round_before_s + policy.schedd_min_interval)
        look_s = self._next_cycle(started, [told_s])
        if look_s >= next_s:
            return
        yield env.timeout(max(0.0, look_s - env.now))
        best = min(
            (person.effective for person in self.submitters.values() if person.waiting), default=FOREVER
        )
        answers: dict[int, bool] = {}
        for ghost in come:
            if self.submitter(ghost.submitter).effective <= best:
                if ghost.cluster.id not in answers:
                    answers[ghost.cluster.id] = self._shows_room(ghost.cluster, env.now)
                if answers[ghost.cluster.id]:
                    self._answer(ghost, env.now)
        self._check_finished()

    def _answer(self, ghost: Ghost, now: float) -> None:
        self._asking.remove(ghost)
        self.recorder.probes.append(ProbeResult(ghost.label, ghost.at_s, now))

    def _probe(self, person: Submitter, limit: float, now: float) -> None:
        """Let a submitter's ghosts look for a slot at its turn; one that finds one is answered and takes nothing."""
        answers: dict[int, bool] = {}
        for ghost in [ghost for ghost in self._asking if ghost.submitter == person.name]:
            cluster = ghost.cluster
            if cluster.id not in answers:
                answers[cluster.id] = limit > 0 and self._would_match(cluster, now)
            if answers[cluster.id]:
                self._answer(ghost, self.env.now)
        self._check_finished()

    def _shows_room(self, cluster: Autocluster, now: float) -> bool:
        """Whether the best slot for such a job, by what the collector would show now, would take it."""
        unix, shown = self.start_unix + now, {}
        for machine in self.machines.values():
            if machine.alive and not machine.closed:
                state = machine.state if machine.due_s <= now else machine.seen
                shown[state.id] = (state, machine)
        fitting = [
            (self.table.ranks(cluster, state), machine)
            for state, machine in shown.values()
            if state.open and self.table.fits(cluster, state, unix)
        ]
        return bool(fitting) and self._claimable(cluster, max(fitting, key=_rank)[1], now)

    def _would_match(self, cluster: Autocluster, now: float) -> bool:
        """Whether the best slot for such a job would take it; 23.x may refuse although its ad shows a device."""
        for entry in self.collector.candidates(cluster, now).ranked:
            state = entry[4]
            if state.machines and self.table.fits(cluster, state, now):
                return self._claimable(cluster, state.machines[0], self.env.now)
        return False


def _rank(pair: tuple[tuple[float, float, float], Machine]) -> tuple[float, float, float]:
    return pair[0]


@contextmanager
def uncollected() -> Iterator[None]:
    """Let Python's cycle collector pause: a run makes no cycles, but very many objects."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def _order(job: Job) -> tuple[float, int, int]:
    return job.order


def _submitted(job: Job) -> float:
    return job.submitted_s


def _demand(person: Submitter) -> float:
    """What a submitter's idle jobs ask for [weighted cores]."""
    return sum(queue.cluster.cpus * len(queue.heap) for queue in person.waiting.values())


def _add(total: Cycle, part: Cycle) -> None:
    total.considered += part.considered
    total.matched += part.matched
    total.rejected += part.rejected
    total.spins += part.spins
    total.satisfied |= part.satisfied
    for name, count in part.by_submitter.items():
        total.by_submitter[name] = total.by_submitter.get(name, 0) + count
