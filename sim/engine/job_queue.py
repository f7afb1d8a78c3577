"""The access point's job queue, and what its submitter ads tell of it.

Submissions are no events: nobody but the schedd sees a job before a cycle or an ended attempt looks into the queue, so
they are taken in, in order and with their own times, whenever somebody looks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, tee

from sim.classads.matching import Autocluster
from sim.engine.accountant import Accountant
from sim.engine.entities import FOREVER, Job, Submitter
from sim.engine.timing import Round, WakeUps, last_before, rounds
from sim.scenario import PolicySection

NO_ROUND = Round(FOREVER, reschedule=False, counted=sys.maxsize)


class JobQueue:
    """All jobs of a run, those submitted so far in their submitters' queues.

    Parameters
    ----------
    jobs, running : those that are to come, and those that run as the run begins, each with its submitter's name
    accountant : knows the submitters; they will stand in the order of their first jobs
    phase : what to add to a time for whole seconds to be whole [s]
    last_round_s : when the schedd last counted its jobs before the run, if that is known [s]
    unheard_s : when it finds no negotiator to ask for a cycle [s]
    uniform : draws numbers in [0, 1) for what isn't known of that time, and for what wakes the schedd

    jobs : in the schedd's order, each in its place
    limited : whether some have ConcurrencyLimits
    due_s : when the next submission or round is, as far as the queue has been brought up to date
    counted_s, woken_s : the last round, and the last in which a schedd at rest asked for a cycle
    negotiated_s : when a negotiator last called upon the schedd
    """

    def __init__(
        self,
        jobs: Iterable[tuple[Job, str]],
        running: Iterable[tuple[Job, str]],
        *,
        accountant: Accountant,
        policy: PolicySection,
        phase: float,
        last_round_s: float | None,
        unheard_s: Sequence[tuple[float, float]] = (),
        uniform: Callable[[], float],
    ) -> None:
        self._accountant = accountant
        self._policy = policy
        self._phase = phase
        arrivals = [self._known(job, name) for job, name in jobs]
        self.jobs = [*arrivals, *(self._known(job, name) for job, name in running)]
        self._unheard = unheard_s
        self.limited = False
        self._put_in_order()
        arrivals.sort(key=_submitted)
        self._arrivals = arrivals
        self._times = [*(job.submitted_s for job in arrivals), FOREVER]
        self._next = 0
        self._stale: list[Submitter] = []
        self.counted_s = last_before(last_round_s, policy.schedd_interval, uniform())
        self._wakes = WakeUps(policy.schedd_wakes_per_job * self._pace(), uniform)
        self.woken_s = self.negotiated_s = -FOREVER
        self._pressed = False  # whether the last submitter ads told of idle jobs
        self._rounds = rounds(
            self._times,
            policy.schedd_interval,
            policy.schedd_min_interval,
            last=self.counted_s,
            phase=phase,
            heeded=self._heeded,
            wakes=self._wakes,
        )
        self._round = next(self._rounds, NO_ROUND)
        self.due_s = min(self._times[0], self._round.at_s)

    def _pace(self) -> float:
        """How many jobs come a second while they come and the last one runs."""
        if not self._arrivals:
            return 0.0
        first, last = self._arrivals[0], self._arrivals[-1]
        mean_run_s = sum(job.run_s for job in self._arrivals) / len(self._arrivals)
        return len(self._arrivals) / max(1.0, last.submitted_s - first.submitted_s + mean_run_s)

    def _known(self, job: Job, name: str) -> Job:
        """A job that knows its submitter's queue."""
        job.queue = self._accountant.submitter(name).queue(job.cluster)
        return job

    def _put_in_order(self) -> None:
        """Put the jobs in the schedd's order, and the submitters in that of their first jobs."""
        self.jobs.sort(key=_order)
        for place, job in enumerate(self.jobs):
            del job.order  # its place tells as much
            job.place = place
            self.limited |= bool(job.cluster.limits)
        self._accountant.arrange(dict.fromkeys(job.queue.person for job in self.jobs))

    @property
    def submitted(self) -> list[Job]:
        """The jobs that have been submitted so far; those that ran as the run began are not among them."""
        return self._arrivals[: self._next]

    @property
    def to_come(self) -> int:
        """How many jobs are still to be submitted."""
        return len(self._arrivals) - self._next

    @property
    def quiet(self) -> bool:
        """Whether no submission is to come, and the submitter ads tell of the queues as they are."""
        return not self._stale and self._times[self._next] == FOREVER

    def pop(self, person: Submitter, cluster: Autocluster) -> Job:
        """Take the first job of a submitter's autocluster."""
        job = self.jobs[person.queues[cluster.id].pop()]
        self.note(person)
        return job

    def push(self, job: Job) -> None:
        """Let a job be idle again, in its old place."""
        job.queue.push(job.place)
        self.note(job.queue.person)

    def note(self, person: Submitter) -> None:
        """Note that a submitter's jobs changed since its last ad."""
        if not person.stale:
            person.stale = True
            self._stale.append(person)

    # --- rounds

    def catch_up(self, now: float) -> None:
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
                        self.note(queue.person)
                    place += 1
                self._next = place
            if round_s > now:
                self.due_s = min(times[place], round_s)
                return
            if self._round.reschedule and not self._pressed:
                self.woken_s = round_s
            self._advertise()
            self.counted_s = round_s
            self._round = next(self._rounds, NO_ROUND)

    def _advertise(self) -> None:
        for person in self._stale:
            person.advertised = person.n_idle
            person.stale = False
        self._stale.clear()
        if self._policy.reschedule_from_rest:
            self._pressed = any(person.advertised for person in self._accountant.submitters.values())
        if self._policy.groups:
            for person in self._accountant.submitters.values():
                person.demand = person.usage + _demand(person)

    def _heeded(self) -> bool:
        """Whether a submission lets the schedd count its jobs; that of 25.x doesn't where jobs wait already."""
        return not self._pressed

    def ask_round(self, now: float) -> None:
        """Count the jobs anew as soon as may be: a submitter has got all that it asked for."""
        policy, place = self._policy, self._next
        self._rounds = rounds(
            self._times,
            policy.schedd_interval,
            policy.schedd_min_interval,
            last=self.counted_s,
            place=place,
            asked=now,
            fresh=place > 0 and self._times[place - 1] > self.counted_s,
            phase=self._phase,
            heeded=self._heeded,
            wakes=self._wakes,
        )
        self._round = next(self._rounds, NO_ROUND)
        self.due_s = min(self._times[place], self._round.at_s)

    def rounds_until(self, until_s: float) -> Iterator[Round]:
        """The rounds to come: submissions are known, so the rounds are too."""
        self._rounds, ahead = tee(self._rounds)
        for one in chain([self._round], ahead):
            if one.at_s > until_s:
                return
            yield one

    def requests(self, until_s: float) -> Iterator[float]:
        """When the negotiator will hear that the schedd asks for a cycle [s]."""
        for one in self.rounds_until(until_s):
            if self.asks(one) and one.at_s >= 0:  # what came before the run has had its cycle
                yield one.at_s + self._policy.reschedule_delay

    def asks(self, one: Round) -> bool:
        """Whether a round asks for a cycle: not if a negotiator has called since the last submission that it counts."""
        if not one.reschedule or self._times[one.counted - 1] <= self.negotiated_s:
            return False
        return not any(begin <= one.at_s < end for begin, end in self._unheard)


def _order(job: Job) -> tuple[float, int, int]:
    return job.order


def _submitted(job: Job) -> float:
    return job.submitted_s


def _demand(person: Submitter) -> float:
    """What a submitter's idle jobs ask for [weighted cores]."""
    return sum(queue.cluster.cpus * len(queue.heap) for queue in person.waiting.values())
