"""One simulated pool: its daemons are made and told of each other here, and SimPy runs them.

Which daemon does what: `job_queue` and `schedd` the access point, `startd` the execution points, `collector` the ads,
`accountant`, `negotiator` and `negotiation` the central manager; `sessions` brings and takes machines, `ghosts` probes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import simpy

from sim.classads.matching import Matcher
from sim.delivery.state import Delivery, Nothing
from sim.engine.accountant import Accountant
from sim.engine.collector import Collector
from sim.engine.concurrency import LimitLedger
from sim.engine.entities import FOREVER, Job, Machine, Submitter
from sim.engine.ghosts import Ghost, Ghosts
from sim.engine.job_queue import JobQueue
from sim.engine.negotiation import Negotiation
from sim.engine.negotiator import Negotiator
from sim.engine.preemption import PreemptionPolicy
from sim.engine.records import Recorder
from sim.engine.schedd import Schedd
from sim.engine.sessions import Session, Sessions
from sim.engine.slots import SlotTable
from sim.engine.startd import Startds
from sim.engine.streams import Streams
from sim.engine.timers import Timers
from sim.scenario import PolicySection


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
    speeds : how many times as fast as on a device of speed 1 a job runs [1], by device model; 1 for those not named
    last_cycle_s : when the last negotiation cycle before the run began; drawn where nothing is known
    last_round_s : when the schedd last counted its jobs before the run; drawn where nothing is known
    unheard_s : when schedds find no negotiator that they could ask for a cycle
    priorities_at : moments at which priorities are noted, as the last cycle left them, ascending

    not_placed : how many of the running jobs found no room where they were said to run; they are left out
    patient : whether the run goes on although nothing it knows of can change any more; set by who brings machines
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
        unheard_s: Sequence[tuple[float, float]] = (),
        priorities_at: Sequence[float] = (),
    ) -> None:
        self.env = simpy.Environment()
        self.recorder = Recorder()
        self.patient = False
        self._finished = self.env.event()
        self._accountant = Accountant(policy, self.recorder, priorities or {}, priorities_at)
        with uncollected():
            self._queue = JobQueue(
                jobs,
                ((job, name) for job, name, _ in running),
                accountant=self._accountant,
                policy=policy,
                phase=start_unix % 1,
                last_round_s=last_round_s,
                unheard_s=unheard_s,
                uniform=streams.schedd.uniform,
            )
        self._timers = Timers(self.env, self._queue.catch_up)
        table = SlotTable(matcher)
        collector = Collector(table)
        self._startds = Startds(
            table, collector, policy, uniform=streams.delays.uniform, start_unix=start_unix
        )
        self._schedd = Schedd(
            self._queue,
            self._startds,
            self.recorder,
            self._timers,
            policy,
            delays=streams.delays,
            start_unix=start_unix,
            delivery=None if isinstance(delivery, Nothing) else delivery,
            speeds=speeds or {},
            when_done=self._check_finished,
        )
        self._ghosts = Ghosts(
            ghosts,
            self._accountant,
            self._startds,
            self.recorder.probes,
            start_unix=start_unix,
            when_answered=self._check_finished,
        )
        self._sessions = Sessions(self._startds, self._schedd, self._timers, policy, streams.losses.uniform)
        negotiator = Negotiator(
            collector,
            streams.ties,
            probes=streams.probes,
            consider_preemption=policy.consider_preemption,
            one_match_per_slot=policy.one_match_per_slot,
            fair_share=policy.fair_share,
            ceilings=policy.ceilings,
            floors=policy.floors,
            ledger=LimitLedger(policy.concurrency_limits, policy.concurrency_limit_default),
        )
        self._negotiation = Negotiation(
            negotiator,
            self._accountant,
            self._queue,
            self._schedd,
            self._startds,
            PreemptionPolicy(self._startds, policy, start_unix=start_unix, uniform=streams.phase.uniform),
            self._ghosts,
            self.recorder.cycle_log,
            policy,
            env=self.env,
            start_unix=start_unix,
            last_cycle_s=last_cycle_s,
            uniform=streams.phase.uniform,
            when_idle=self._check_stalled,
        )
        for job in self._queue.jobs:
            if job.removed_s < FOREVER:
                self._timers.at(job.removed_s, lambda job=job: self._schedd.remove(job))  # type: ignore[misc]
        for session in sessions:
            self.add(session)
        self.not_placed = sum(
            not self._schedd.resume(job, self.machines.get(machine)) for job, _, machine in running
        )
        self.env.process(self._negotiation.run())

    # --- running

    def run(self, until_s: float, progress: Callable[[float], None] | None = None) -> float:
        """Run until `until_s`, until no job is left and no probe waits, or until nothing can change any more; give the end [s]."""
        with uncollected():
            self._step(until_s, progress)
        now = float(self.env.now)
        self._queue.catch_up(now)
        self._ghosts.hear(now)
        self._accountant.note(now)
        self._ghosts.give_up()
        return now

    def _step(self, until_s: float, progress: Callable[[float], None] | None) -> None:
        steps = 100 if progress else 1
        for step in range(1, steps + 1):
            mark = until_s * step / steps
            if mark > self.env.now and (self.unfinished or self.asking) and not self._finished.triggered:
                self.env.run(until=self.env.timeout(mark - self.env.now) | self._finished)
            if progress is not None:
                progress(step / steps)

    def _check_finished(self) -> None:
        """End the run once no job is left and no probe waits."""
        if not self.unfinished and not self.asking and not self._finished.triggered:
            self._finished.succeed()

    def _check_stalled(self) -> None:
        """End the run where nothing runs, nothing is to come, and nothing that waits fits anything there is."""
        startds = self._startds
        if (
            self.out
            or self._timers.ahead
            or self.patient
            or self.asking
            or not self._queue.quiet
            or startds.changing(self.env.now)
            or any(
                startds.table.varies(waiting.cluster, machine.kind)
                for person in self.submitters.values()
                for waiting in person.waiting.values()
                for machine in self.machines.values()
            )
        ):
            return
        if not self._finished.triggered:
            self._finished.succeed()

    # --- what others ask of it

    @property
    def submitters(self) -> Mapping[str, Submitter]:
        """The submitters by name, in the order of their first jobs."""
        return self._accountant.submitters

    @property
    def machines(self) -> Mapping[str, Machine]:
        """The machines that the collector knows, by their slots' names."""
        return self._startds.machines

    @property
    def unfinished(self) -> int:
        """How many jobs have not ended, those that are still to come among them."""
        return self._schedd.unfinished

    @property
    def out(self) -> int:
        """How many jobs are neither in the queue nor ended: running, or on a machine that died and not given up yet."""
        return self._schedd.out

    @property
    def asking(self) -> bool:
        """Whether a ghost waits for its answer, or will."""
        return self._ghosts.asking

    @property
    def preempts(self) -> bool:
        """Whether a claim may be taken from its job."""
        return self._startds.preempts

    def submitted(self) -> list[Job]:
        """The jobs that have been submitted so far; those that ran as the run began are not among them."""
        return self._queue.submitted

    def job(self, place: int) -> Job:
        """The job in this place of the schedd's order."""
        return self._queue.jobs[place]

    # --- what others do to it

    def add(self, session: Session) -> None:
        """Let a machine come and go."""
        self._sessions.add(session)

    def retire(self, machine: Machine) -> None:
        """Let a machine take no job any more; those it has go on."""
        self._sessions.retire(machine)

    def leave(self, machine: Machine, ending: str) -> None:
        """Take a machine away as a `Session` ends."""
        self._sessions.leave(machine, ending)


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
