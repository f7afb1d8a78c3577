"""What the schedd does with matches and claims: start jobs, fill machines, use claims again, let jobs go and come back.

The order of events after a match follows fact sheet §2 and §8.3: the schedd has the matched job's slot carved, then fills
what is left of the matched machines with further jobs of the same submitter, round robin; an ended attempt's claim is
used again while it is young enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sim.classads.matching import Autocluster
from sim.delivery.state import Delivery
from sim.engine.entities import Claim, Job, Machine, Submitter
from sim.engine.job_queue import JobQueue
from sim.engine.records import (
    DONE,
    EVICTED,
    FAILED,
    HELD,
    LEFTOVER,
    MATCH,
    REMOVED,
    REUSE,
    RUNNING_BEFORE,
    Recorder,
)
from sim.engine.startd import Startds
from sim.engine.streams import Draws
from sim.engine.timers import Timers
from sim.scenario import PolicySection

EXIT = "exit"  # what befell a run: its program's exit code


class Schedd:
    """The access points of a pool: each uses its matches and claims for its own jobs.

    Parameters
    ----------
    delays : draws for delays
    start_unix : when the run begins [s, Unix]
    delivery : how software reaches the jobs; nothing is added to the policy's constant without it
    speeds : how many times as fast as on a device of speed 1 a job runs [1], by device model; 1 for those not named
    when_done : called when no job is left

    unfinished : how many jobs have not ended, those that are still to come among them
    out : how many are neither in the queue nor ended: running, or on a machine that died and not given up yet
    """

    def __init__(
        self,
        queue: JobQueue,
        startds: Startds,
        recorder: Recorder,
        timers: Timers,
        policy: PolicySection,
        *,
        delays: Draws,
        start_unix: float,
        delivery: Delivery | None,
        speeds: Mapping[str, float],
        when_done: Callable[[], None],
    ) -> None:
        self.queue = queue
        self.startds = startds
        self.recorder = recorder
        self.timers = timers
        self.policy = policy
        self.out = 0
        self.unfinished = queue.to_come
        self._env = timers.env
        self._delays = delays
        self._start_unix = start_unix
        self._delivery = delivery
        self._speeds = dict(speeds)
        self._when_done = when_done
        self._matched: list[tuple[Submitter, Machine, str]] = []

    # --- matches

    def deliver(self, person: Submitter, cluster: Autocluster, machine: Machine) -> bool:
        """Take a match; False if its job has started meanwhile or the startd refuses."""
        if self._matched and self._matched[-1][0] is not person:
            self.fill()  # the submitter before has long filled its machines when the next one's matches arrive
        now, startds = self._env.now, self.startds
        if cluster.id not in person.waiting or not startds.claimable(cluster, machine, now):
            return False
        claim = startds.carve(person, cluster, machine, now)
        self._start(claim, self.queue.pop(person, cluster), MATCH, self._match_delay(), now)
        if machine.state.open:
            self._matched.append((person, machine, cluster.schedd))
        return True

    def fill(self) -> None:
        """Fill the rest of matched machines with their submitter's further jobs, round robin (fact sheet §2.2).

        Jobs with ConcurrencyLimits aren't among them: the negotiator counts those, and only a claim that it made for the
        same limits may run them (CLAIM_RECYCLING_CONSIDER_LIMITS).
        """
        if not self._matched:
            return
        matched, self._matched = self._matched, []
        if not self.policy.claim_leftovers:
            return
        now, startds = self._env.now, self.startds
        open_machines = [one for one in matched if one[1].kind.partitionable and one[0].waiting]
        while open_machines:
            still_open = []
            for person, machine, schedd in open_machines:
                for queue in person.in_order():
                    cluster = queue.cluster
                    if (
                        not cluster.limits
                        and cluster.schedd == schedd
                        and startds.claimable(cluster, machine, now)
                    ):
                        claim = startds.carve(person, cluster, machine, now)
                        job = self.queue.pop(person, cluster)
                        self._start(claim, job, LEFTOVER, self._match_delay(), now)
                        if machine.state.open:
                            still_open.append((person, machine, schedd))
                        break
            open_machines = still_open

    def preempt(self, person: Submitter, cluster: Autocluster, claim: Claim) -> bool:
        """Take a match on a claimed slot, which pushes its job out; False if its job has started meanwhile."""
        if cluster.id not in person.waiting or claim.job is None or not claim.machine.alive:
            return False
        claim.heir = self.queue.pop(person, cluster)
        serial = claim.serial
        self.timers.after(self.policy.vacate_time, lambda: self.evict(claim, serial))
        return True

    def _match_delay(self) -> float:
        tail = self.policy.match_to_start_tail
        return self.policy.match_to_start + (tail * self._delays.exponential() if tail else 0.0)

    # --- attempts

    def resume(self, job: Job, machine: Machine | None) -> bool:
        """Let a job be running as the run begins; False if its machine isn't there or has no room for it.

        It goes on where a machine takes no more jobs such as this one: a retiring glidein, a START of which the hour is over.
        """
        now, startds = self._env.now, self.startds
        matcher = startds.table.matcher
        if machine is None or not machine.alive or not matcher.has_room(job.cluster, machine.state.left):
            return False
        self.unfinished += 1
        claim = startds.carve(job.queue.person, job.cluster, machine, now)
        startds.collector.show(machine, machine.state)
        self._start(claim, job, RUNNING_BEFORE, 0.0, now)
        return True

    def _start(self, claim: Claim, job: Job, origin: int, delay_s: float, now: float) -> None:
        policy = self.policy
        claim.job = job
        claim.began_s = now
        active = claim.active_s = now + delay_s
        claim.serial += 1
        job.claim = claim
        self.out += 1
        executing = active + policy.image_start
        if self._delivery is None:
            claim.attempt = self.recorder.start(job, claim, origin, now, executing)
        else:
            ask = self._delivery.resume if origin == RUNNING_BEFORE else self._delivery.start
            brought = ask(claim.machine, job.row, active)
            executing += brought.seconds
            claim.attempt = self.recorder.start(job, claim, origin, now, executing, brought)
            if brought.failure:
                outcome = HELD if brought.failure == "held" else FAILED
                self._end_at(active + brought.seconds, claim, outcome, brought.failure)
                return
        length = job.run_s - job.done_s
        if self._speeds:
            length /= self._speed(claim)
        outcome = DONE
        failure = ""
        if job.failures:
            length, outcome, failure = job.failures[0].share * length, FAILED, EXIT
        if length > job.limit_s:
            length, outcome, failure = job.limit_s, HELD, ""
        if executing + length > active + job.running_s:
            executing, length, outcome, failure = active, job.running_s, HELD, ""
        self._end_at(executing + length + policy.run_overhead, claim, outcome, failure)

    def _end_at(self, when_s: float, claim: Claim, outcome: int, failure: str = "") -> None:
        """Let a claim's attempt end then, unless it is cut short."""
        self.timers.end(when_s, self._ended, (claim, claim.serial, outcome, failure))

    def _speed(self, claim: Claim) -> float:
        """How many times as fast as on a device of speed 1 a job runs here [1]."""
        if not claim.places or not self._speeds:
            return 1.0
        return self._speeds.get(claim.machine.models[claim.places[0]], 1.0)

    def _ended(self, event: Any) -> None:
        claim, serial, outcome, failure = event.value
        job = claim.job
        if claim.serial != serial or job is None:
            return  # the attempt was cut short
        now = self._env.now
        if self.queue.due_s <= now:
            self.queue.catch_up(now)
        self.recorder.end(claim.attempt, now, outcome)
        claim.job = job.claim = None
        self.out -= 1
        if failure == EXIT:
            self._retry(job, now)
        elif failure:
            self._fail(claim, job, failure)
            return
        else:
            self.unfinished -= 1
        if not (claim.person.waiting and self._reuse(claim, now)):
            self._let_go(claim, now)
        if not self.unfinished:
            self._when_done()

    def _retry(self, job: Job, now: float) -> None:
        """Let a job whose run failed begin anew, or leave the queue after its last retry (OnExitRemove of max_retries)."""
        retried = job.failures[0].retried
        job.failures = job.failures[1:]
        if retried:
            job.done_s = 0.0
            job.ready_s = now
            self.queue.push(job)
        else:
            self.unfinished -= 1
            self.recorder.departures.append((job, now, "completed"))

    def _fail(self, claim: Claim, job: Job, failure: str) -> None:
        """Hold a job whose software didn't come, or let it try again; a pilot may take no more."""
        now = self._env.now
        if failure == "stopped":
            self.startds.retire(claim.machine, now)
        self._let_go(claim, now)
        if failure == "held":
            self._gone()
        else:
            job.ready_s = now
            self.queue.push(job)

    def _gone(self) -> None:
        self.unfinished -= 1
        if not self.unfinished:
            self._when_done()

    # --- claims

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
        unix = self._start_unix + now
        startds = self.startds
        table = startds.table
        for queue in person.in_order():
            cluster = queue.cluster
            if (
                cluster.limits == claim.limits
                and cluster.schedd == claim.schedd
                and table.reusable(cluster, claim.shape, unix)
                and (not startds.preempts or table.matcher.slot_rank(cluster, machine.kind) >= claim.job_rank)
            ):
                delay = policy.reuse_to_start
                if policy.reuse_slow_share and self._delays.uniform() < policy.reuse_slow_share:
                    delay += policy.reuse_slow_extra
                self._start(claim, self.queue.pop(person, cluster), REUSE, delay, now)
                return True
        return False

    def _let_go(self, claim: Claim, now: float) -> None:
        """Give a claim without a job to who preempted it, else its resources back to the machine."""
        machine, heir = claim.machine, claim.heir
        self.startds.give_up(claim)
        if heir is not None and machine.alive and not machine.draining:
            claim.heir = None
            fresh = self.startds.pass_on(claim, heir.queue.person, heir.cluster, now)
            self._start(fresh, heir, MATCH, self._match_delay(), now)
            return
        self._disinherit(claim)
        self.startds.give_back(claim, now)

    def _renounce(self, job: Job) -> bool:
        """Let a job that waits for the claim which it preempted wait no more; False if it waits for none."""
        for machine in self.startds.machines.values():
            for claim in machine.claims.values():
                if claim.heir is job:
                    claim.heir = None
                    return True
        return False

    def _disinherit(self, claim: Claim) -> None:
        """Send back the job that waited for this claim."""
        heir, claim.heir = claim.heir, None
        if heir is not None:
            self.queue.push(heir)

    def _vacate(self, claim: Claim) -> None:
        """Take the job off a claim; what was planned for it counts no more."""
        claim.serial += 1
        if claim.job is not None:
            claim.job.claim = None
            claim.job = None
            self.out -= 1

    # --- jobs that are cut short

    def remove(self, job: Job) -> None:
        """Let a user take a job away, for good or on hold."""
        now = self._env.now
        if job.claim is not None:
            claim = job.claim
            self.recorder.end(claim.attempt, now, HELD if job.leaves_as == "held" else REMOVED)
            self._vacate(claim)
            self._let_go(claim, now)
        elif job.queue.drop(job.place) or self._renounce(job):
            self.recorder.departures.append((job, now, job.leaves_as))
        else:
            return  # it has ended
        self.queue.note(job.queue.person)
        self._gone()

    def evict(self, claim: Claim, serial: int) -> None:
        """Send a running job back to the queue and hand its slot on, or back to its machine.

        serial : of the attempt that is meant; nothing happens if it has ended
        """
        job = claim.job
        if claim.serial != serial or job is None or not claim.machine.alive:
            return
        now = self._env.now
        self._save(job, claim, now)
        self.recorder.end(claim.attempt, now, EVICTED)
        job.ready_s = now
        self._vacate(claim)
        self.queue.push(job)
        self._let_go(claim, now)

    def lose(self, claims: Iterable[Claim], cut_s: float, outcome: int) -> None:
        """End the attempts of claims lost at `cut_s` [s]; one that never began is undone, its match was for nothing."""
        now = self._env.now
        for claim in claims:
            claim.person.usage -= claim.shape.weight
            job = claim.job
            self._disinherit(claim)
            if job is None:
                continue
            if claim.active_s > cut_s:
                self.recorder.undo(claim.attempt, now)
            else:
                self._save(job, claim, cut_s)
                self.recorder.end(claim.attempt, now, outcome)
                job.ready_s = now
            self._vacate(claim)
            self.queue.push(job)

    def _save(self, job: Job, claim: Claim, cut_s: float) -> None:
        """Keep the progress of a job that checkpoints, up to its last one."""
        if job.checkpoint_s > 0:
            ran = (cut_s - self.recorder.executing(claim.attempt)) * self._speed(claim)
            job.done_s = (job.done_s + max(0.0, ran)) // job.checkpoint_s * job.checkpoint_s
