"""One simulated pool: SimPy wakes the negotiator, brings jobs and machines, ends attempts; the rest are plain methods.

The order of events after a match follows fact sheet §2 and §8.3: the schedd carves the matched job's slot, then fills
what is left of the matched machines with further jobs of the same submitter, round robin; an ended attempt's claim is
reused while it is young enough.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
import simpy

from sim.classads.matching import Autocluster, Matcher, Remainder
from sim.delivery.state import Delivery, Nothing
from sim.engine.entities import Claim, Job, Machine, Submitter
from sim.engine.fairshare import decayed
from sim.engine.negotiator import Negotiator, Offers
from sim.engine.records import ProbeResult, Recorder
from sim.scenario import PolicySection

Events = Generator[simpy.Event, Any, None]


class Session(NamedTuple):
    """A machine's stay in the pool [s since the run began]; `ending` is quit, kill or open."""

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


class Streams(NamedTuple):
    """Separate random streams, so that scenarios can share them (common random numbers)."""

    ties: np.random.Generator
    delays: np.random.Generator
    phase: np.random.Generator

    @classmethod
    def of(cls, seed: int) -> Streams:
        """The streams of a seed."""
        return cls(*(np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)))


class Pool:
    """A pool that runs.

    Parameters
    ----------
    jobs : the workload, each with its submitter's name, by submission time
    sessions : machines and when they are there
    matcher : table of matches
    policy : what the daemons do
    start_unix : when the run begins [s, Unix]; ads are judged at this time plus the simulated one
    delivery : how software reaches the jobs; nothing is added to a start without it
    """

    def __init__(
        self,
        jobs: Sequence[tuple[Job, str]],
        sessions: Sequence[Session],
        *,
        matcher: Matcher,
        policy: PolicySection,
        start_unix: float,
        streams: Streams,
        ghosts: Sequence[Ghost] = (),
        delivery: Delivery | Nothing | None = None,
    ) -> None:
        self.env = simpy.Environment()
        self.delivery = delivery or Nothing()
        self.policy = policy
        self.matcher = matcher
        self.start_unix = start_unix
        self.streams = streams
        self.recorder = Recorder()
        self.machines: dict[str, Machine] = {}
        self.submitters: dict[str, Submitter] = {}
        self.negotiator = Negotiator(
            matcher,
            streams.ties,
            consider_preemption=policy.consider_preemption,
            one_match_per_slot=policy.one_match_per_slot,
        )
        self.unfinished = len(jobs)
        self.ghosts = sorted(ghosts, key=lambda ghost: ghost.at_s)
        self._wake = self.env.event()
        self._finished = self.env.event()
        self._advertised_s = -float("inf")
        self._advert_due = False
        self._matched: list[tuple[Submitter, Machine]] = []
        self._numbers: dict[str, int] = {}
        self._last_cycle_s = 0.0
        self._sessions = sessions
        self.env.process(self._submit(jobs))
        for session in sessions:
            self.env.process(self._stay(session))
        self.env.process(self._negotiate())

    # --- running

    def run(self, until_s: float, progress: Callable[[float], None] | None = None) -> float:
        """Run until `until_s`, or until no job is left and no probe waits; give the end [s]."""
        steps = 100 if progress else 1
        for step in range(1, steps + 1):
            mark = until_s * step / steps
            if mark > self.env.now and (self.unfinished or self.ghosts):
                self.env.run(until=self.env.timeout(mark - self.env.now) | self._finished)
            if progress is not None:
                progress(step / steps)
        for ghost in self.ghosts:
            if ghost.at_s <= self.env.now:
                self.recorder.probes.append(ProbeResult(ghost.label, ghost.at_s, float("nan")))
        return float(self.env.now)

    def submitter(self, name: str) -> Submitter:
        """The submitter of this name, made known with its factor when it first appears."""
        person = self.submitters.get(name)
        if person is None:
            factor = self.policy.prio_factors.get(name, self.policy.default_prio_factor)
            person = self.submitters[name] = Submitter(name, factor)
        return person

    def place(self, job: Job, name: str, machine_name: str) -> bool:
        """Let a job be running as the run begins; False if its machine isn't there or has no room for it."""
        session = next((s for s in self._sessions if s.machine.name == machine_name and s.up_s <= 0), None)
        if session is None:
            return False
        machine = session.machine
        if not machine.alive:
            self._arrive(machine)
        if not self._claimable(job.cluster, machine):
            return False
        self.unfinished += 1
        size, places = self._carve(job.cluster, machine)
        number = self._numbers[machine.name] = self._numbers.get(machine.name, 0) + 1
        person = self.submitter(name)
        claim = Claim(machine, person, size, places, 0.0, number, job.cluster.limits)
        machine.claims.add(claim)
        person.usage += size.cpus
        machine.left = None
        machine.seen = machine.remainder()
        self._start(claim, job, "running", 0.0)
        return True

    # --- jobs arrive

    def _submit(self, jobs: Sequence[tuple[Job, str]]) -> Events:
        env = self.env
        for job, name in jobs:
            if job.submitted_s > env.now:
                yield env.timeout(job.submitted_s - env.now)
            job.ready_s = job.submitted_s
            self.submitter(name).push(job)
            self._announce(reschedule=True)

    def _announce(self, *, reschedule: bool) -> None:
        """Send submitter ads, at most every SCHEDD_MIN_INTERVAL; a submission also asks for a cycle (RESCHEDULE)."""
        due = self._advertised_s + self.policy.schedd_min_interval
        if self.env.now >= due:
            self._advertise()
        elif not self._advert_due:
            self._advert_due = True
            self._after(due - self.env.now, self._advertise)
        if reschedule and self.policy.reschedule and not self._wake.triggered:
            self._wake.succeed()

    def _advertise(self) -> None:
        self._advert_due = False
        self._advertised_s = self.env.now
        for person in self.submitters.values():
            person.advertised = person.n_idle

    def _after(self, delay_s: float, call: Callable[[], object]) -> None:
        def fire(_: simpy.Event) -> None:
            call()

        timeout = self.env.timeout(delay_s)
        assert timeout.callbacks is not None
        timeout.callbacks.append(fire)

    # --- machines come and go

    def _stay(self, session: Session) -> Events:
        env, machine = self.env, session.machine
        if session.up_s > env.now:
            yield env.timeout(session.up_s - env.now)
        if not machine.alive:
            self._arrive(machine)
        if session.down_s == float("inf"):
            return
        if machine.retire_s < session.down_s:
            yield env.timeout(max(0.0, machine.retire_s - env.now))
            self._changed(machine)
        yield env.timeout(max(0.0, session.down_s - env.now))
        self._leave(machine, killed=session.ending == "kill")

    def _arrive(self, machine: Machine) -> None:
        total = machine.total
        machine.cpus, machine.memory_mib, machine.disk_mib = total.cpus, total.memory_mib, total.disk_mib
        machine.free_devices = list(range(len(machine.devices)))
        machine.alive = machine.reachable = True
        machine.left = None
        machine.seen = machine.remainder()
        self.machines[machine.name] = machine

    def _leave(self, machine: Machine, *, killed: bool) -> None:
        """Take a machine away; the jobs of a killed one come back only after their lease."""
        machine.alive = machine.reachable = False
        claims = sorted(machine.claims, key=lambda claim: claim.number)
        machine.claims.clear()
        for claim in claims:
            claim.serial += 1  # whatever was to end here doesn't
        if not killed:
            del self.machines[machine.name]
            self._requeue(claims, self.env.now, "evicted")
            return
        policy, cut_s = self.policy, self.env.now
        self._after(policy.job_lease + policy.lease_slack, lambda: self._requeue(claims, cut_s, "lost"))
        # the collector forgets a silent machine between one and two lifetimes after its last ad (real-pool facts §6)
        forget_s = policy.classad_lifetime * (1 + float(self.streams.delays.random()))
        self._after(forget_s, lambda: self.machines.pop(machine.name, None))

    def _requeue(self, claims: list[Claim], cut_s: float, outcome: str) -> None:
        """Let the jobs of lost claims be idle again, in their old places; an attempt that never began is undone."""
        for claim in claims:
            claim.submitter.usage -= claim.size.cpus
            job, claim.job = claim.job, None
            if job is None:
                continue
            if self.recorder.attempts[claim.attempt][4] > cut_s:
                self.recorder.undo(claim.attempt)
                job.starts -= 1
            else:
                self.recorder.end(claim.attempt, self.env.now, outcome)
                job.ready_s = self.env.now
            claim.submitter.push(job)
        self._announce(reschedule=False)

    def _changed(self, machine: Machine) -> None:
        """Note that a machine's resources changed: its ad reaches the collector a little later."""
        if machine.due_s <= self.env.now:
            machine.seen = machine.remainder() if machine.alive else machine.seen
        machine.left = None
        if machine.due_s <= self.env.now or machine.due_s == float("inf"):
            low, high = self.policy.update_delay_low, self.policy.update_delay_high
            machine.due_s = self.env.now + low + (high - low) * float(self.streams.delays.random())

    # --- the negotiator

    def _negotiate(self) -> Events:
        env, policy = self.env, self.policy
        yield env.timeout(float(self.streams.phase.random()) * policy.negotiator_interval)
        while True:
            started = env.now
            self._cycle(started)
            ended = started + policy.cycle_overhead
            due = max(ended + policy.negotiator_cycle_delay, started + policy.negotiator_interval)
            earliest = max(ended + policy.negotiator_cycle_delay, started + policy.negotiator_min_interval)
            if earliest < due:
                # only a request that comes after the cycle has begun brings the next one forward
                self._wake = env.event()
                yield env.timeout(due - env.now) | self._wake
            yield env.timeout(max(0.0, (earliest if self._wake.triggered else due) - env.now))

    def _cycle(self, now: float) -> None:
        elapsed = now - self._last_cycle_s
        self._last_cycle_s = now
        for person in self.submitters.values():
            if elapsed > 0:
                person.priority = decayed(
                    person.priority, person.charged, elapsed, self.policy.priority_halflife
                )
            person.charged = person.usage
        weight = 0.0
        for machine in self.machines.values():
            if machine.due_s <= now and machine.alive:
                machine.seen, machine.due_s = machine.remainder(), float("inf")
            weight += machine.total.cpus
        observers = self._observers() if self.ghosts else []
        if observers or any(person.advertised for person in self.submitters.values()):
            offers = Offers.of(machine for machine in self.machines.values() if machine.retire_s > now)
            count = offers.count
            self._matched = []
            cycle = self.negotiator.negotiate(
                self.submitters.values(),
                offers,
                weight,
                self.start_unix + now,
                self._deliver,
                observers=observers,
                probe=self._probe if observers else None,
            )
            self._fill()
            self.recorder.cycles.append((now, cycle, count))

    def _deliver(self, person: Submitter, cluster: Autocluster, machine: Machine) -> bool:
        """Give a match to the schedd; False if its job has started meanwhile or the startd refuses."""
        if self._matched and self._matched[-1][0] is not person:
            self._fill()  # the submitter before has long filled its machines when the next one's matches arrive
        queue = person.queues.get(cluster.id)
        if not queue or not machine.alive or not self._claimable(cluster, machine):
            return False
        self._claim(person, person.pop(cluster), machine, "match")
        self._matched.append((person, machine))
        return True

    def _claimable(self, cluster: Autocluster, machine: Machine) -> bool:
        now = self.env.now
        if not machine.reachable or machine.draining or now >= machine.retire_s:
            return False
        left = machine.remainder()
        if machine.pollable_s and cluster.gpus:
            ready = [place for place in machine.free_devices if machine.pollable_s.get(place, 0.0) <= now]
            left = left._replace(devices=tuple(machine.devices[place] for place in ready))
        return self.matcher.fits(cluster, machine.kind, left, self.start_unix + now)

    def _fill(self) -> None:
        """Fill the rest of matched machines with their submitter's further jobs, round robin (fact sheet §2.2)."""
        matched, self._matched = self._matched, []
        if not self.policy.claim_leftovers:
            return
        open_machines = [(person, machine) for person, machine in matched if machine.kind.partitionable]
        while open_machines:
            still_open = []
            for person, machine in open_machines:
                cluster = next((c for c in person.idle_clusters() if self._claimable(c, machine)), None)
                if cluster is not None:
                    self._claim(person, person.pop(cluster), machine, "leftover")
                    still_open.append((person, machine))
            open_machines = still_open

    # --- claims

    def _claim(self, person: Submitter, job: Job, machine: Machine, origin: str) -> None:
        size, places = self._carve(job.cluster, machine)
        number = self._numbers[machine.name] = self._numbers.get(machine.name, 0) + 1
        claim = Claim(machine, person, size, places, self.env.now, number, job.cluster.limits)
        machine.claims.add(claim)
        person.usage += size.cpus
        self._changed(machine)
        tail = (
            float(self.streams.delays.exponential(self.policy.match_to_start_tail))
            if self.policy.match_to_start_tail
            else 0.0
        )
        self._start(claim, job, origin, self.policy.match_to_start + tail)

    def _carve(self, cluster: Autocluster, machine: Machine) -> tuple[Remainder, tuple[int, ...]]:
        """Take the request, rounded as MODIFY_REQUEST_EXPR_* rounds it, and the first devices that suit."""
        if not machine.kind.partitionable:
            places = tuple(machine.free_devices)
            size = machine.remainder()
            machine.cpus = machine.memory_mib = machine.disk_mib = 0.0
            machine.free_devices = []
            return size, places
        cpus = -(-cluster.cpus // 1)
        memory = -(-cluster.memory_mib // 128) * 128
        disk = -(-cluster.disk_mib // 1)
        cpus = cpus if cpus <= machine.cpus else cluster.cpus
        memory = memory if memory <= machine.memory_mib else cluster.memory_mib
        disk = disk if disk <= machine.disk_mib else cluster.disk_mib
        now = self.env.now
        places = ()
        if cluster.gpus:
            suits = self.matcher.device_suits
            poll = machine.pollable_s
            fitting = [
                p
                for p in machine.free_devices
                if suits(cluster, machine.devices[p]) and poll.get(p, 0.0) <= now
            ]
            places = tuple(fitting[: cluster.gpus])
            machine.free_devices = [place for place in machine.free_devices if place not in places]
        machine.cpus -= cpus
        machine.memory_mib -= memory
        machine.disk_mib -= disk
        return Remainder(cpus, memory, disk, tuple(machine.devices[place] for place in places)), places

    def _start(self, claim: Claim, job: Job, origin: str, delay_s: float) -> None:
        env = self.env
        claim.job = job
        claim.serial += 1
        job.starts += 1
        started = env.now + delay_s
        ask = self.delivery.resume if origin == "running" else self.delivery.start
        brought = ask(claim.machine, job.row, started)
        claim.attempt = self.recorder.start(job, claim, origin, env.now, started, brought)
        works = 0.0 if brought.failure else self.policy.image_start + job.run_s + self.policy.run_overhead
        length = delay_s + brought.seconds + works
        serial = claim.serial
        timeout = env.timeout(length)
        assert timeout.callbacks is not None
        timeout.callbacks.append(lambda _: self._finish(claim, serial, brought.failure))
        self._announce(reschedule=False)

    def _finish(self, claim: Claim, serial: int, failure: str = "") -> None:
        if claim.serial != serial or claim.job is None:
            return  # the attempt was cut short
        if failure:
            self._fail(claim, claim.job, failure)
            return
        self.recorder.end(claim.attempt, self.env.now, "done")
        claim.job.ended = True
        claim.job = None
        self.unfinished -= 1
        if not self._reuse(claim):
            self._release(claim)
        self._check_finished()

    def _fail(self, claim: Claim, job: Job, failure: str) -> None:
        """End an attempt whose software didn't come: the job is held or idle again, and a pilot may take no more."""
        claim.job = None
        self.recorder.end(claim.attempt, self.env.now, "held" if failure == "held" else "failed")
        if failure == "stopped":
            claim.machine.retire_s = min(claim.machine.retire_s, self.env.now)
        self._release(claim)
        if failure == "held":
            self.unfinished -= 1
            self._check_finished()
        else:
            job.ready_s = self.env.now
            claim.submitter.push(job)
            self._announce(reschedule=False)

    def _check_finished(self) -> None:
        if not self.unfinished and not self.ghosts and not self._finished.triggered:
            self._finished.succeed()

    def _reuse(self, claim: Claim) -> bool:
        """Start the submitter's next job that fits the claim's slot as it is (fact sheet §2.3)."""
        policy, machine, now = self.policy, claim.machine, self.env.now
        age = now - claim.born_s
        if not policy.claim_reuse or not machine.alive or now >= machine.retire_s or machine.draining:
            return False
        if policy.claim_worklife == 0 or 0 <= policy.claim_worklife < age:
            return False
        fits = self.matcher.dynamic_fits
        for cluster in claim.submitter.idle_clusters():
            if cluster.limits == claim.limits and fits(
                cluster, machine.kind, claim.size, self.start_unix + now
            ):
                slow = float(self.streams.delays.random()) < policy.reuse_slow_share
                delay = policy.reuse_to_start + (policy.reuse_slow_extra if slow else 0.0)
                self._start(claim, claim.submitter.pop(cluster), "reuse", delay)
                return True
        return False

    def _release(self, claim: Claim) -> None:
        machine = claim.machine
        machine.claims.discard(claim)
        claim.submitter.usage -= claim.size.cpus
        machine.cpus += claim.size.cpus
        machine.memory_mib += claim.size.memory_mib
        machine.disk_mib += claim.size.disk_mib
        machine.free_devices = sorted([*machine.free_devices, *claim.places])
        if self.policy.device_release_poll:
            # 23.9: a freed device can't be claimed before the startd's next poll (real-pool facts §7.3)
            wait = self.policy.device_release_poll * float(self.streams.delays.random())
            for place in claim.places:
                machine.pollable_s[place] = self.env.now + wait
        self._changed(machine)

    # --- ghost probes

    def _observers(self) -> list[Submitter]:
        now = self.env.now
        return [
            self.submitter(name) for name in dict.fromkeys(g.submitter for g in self.ghosts if g.at_s <= now)
        ]

    def _probe(self, person: Submitter, limit: float, now: float, offers: Offers) -> None:
        """Let a submitter's ghosts look for a slot at its turn; one that finds one is answered and takes nothing."""
        elapsed, fits = now - self.start_unix, self.matcher.fits
        for ghost in [
            ghost for ghost in self.ghosts if ghost.submitter == person.name and ghost.at_s <= elapsed
        ]:
            if limit > 0 and any(fits(ghost.cluster, kind, left, now) for kind, left in offers.states):
                self.ghosts.remove(ghost)
                self.recorder.probes.append(ProbeResult(ghost.label, ghost.at_s, elapsed))
        self._check_finished()
