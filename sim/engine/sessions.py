"""How machines come and go, and what becomes of the jobs that they had (fact sheet §4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sim.engine.entities import FOREVER, Machine
from sim.engine.records import EVICTED, LOST
from sim.engine.schedd import Schedd
from sim.engine.startd import Startds
from sim.engine.timers import Timers
from sim.scenario import PolicySection


class Session(NamedTuple):
    """A machine's stay in the pool [s since the run began].

    ending : how it goes at `down_s`: quit (its jobs are evicted at once), kill (without a word), graceful (after their
        retirement time), drain (once they have ended), or open (it stays)
    """

    machine: Machine
    up_s: float
    down_s: float
    ending: str


class Sessions:
    """The machines' comings and goings.

    Parameters
    ----------
    uniform : draws in [0, 1) for losses
    """

    def __init__(
        self,
        startds: Startds,
        schedd: Schedd,
        timers: Timers,
        policy: PolicySection,
        uniform: Callable[[], float],
    ) -> None:
        self._startds = startds
        self._schedd = schedd
        self._timers = timers
        self._env = timers.env
        self._policy = policy
        self._uniform = uniform

    def add(self, session: Session) -> None:
        """Let a machine come and go."""
        machine, now, timers = session.machine, self._env.now, self._timers
        if session.up_s <= now:
            self._startds.arrive(machine, now)
        else:
            timers.at(session.up_s, lambda: self._startds.arrive(machine, self._env.now))
        if session.down_s < FOREVER:
            if machine.retire_s < session.down_s:
                timers.at(max(machine.retire_s, session.up_s), lambda: self.retire(machine))
            timers.at(session.down_s, lambda: self.leave(machine, session.ending))

    def retire(self, machine: Machine) -> None:
        """Let a machine take no job any more; those it has go on."""
        self._startds.retire(machine, self._env.now)

    def leave(self, machine: Machine, ending: str) -> None:
        """Take a machine away; the jobs of a killed one come back only after their lease."""
        if not machine.alive:
            return
        now, policy, startds = self._env.now, self._policy, self._startds
        if ending in {"graceful", "drain"}:
            self._drain(machine, patient=ending == "drain")
            return
        claims = startds.stop(machine, now)
        if ending != "kill":
            startds.forget(machine)
            self._schedd.lose(claims, now, EVICTED)
            return
        for claim in claims:
            claim.serial += 1  # whatever was to end here doesn't
        self._timers.after(
            policy.job_lease + policy.lease_slack, lambda: self._schedd.lose(claims, now, LOST)
        )
        # the collector forgets a silent machine between one and two lifetimes after its last ad (real-pool facts §6)
        forget_s = policy.classad_lifetime * (1 + self._uniform())
        self._timers.after(forget_s, lambda: startds.forget(machine))

    def _drain(self, machine: Machine, *, patient: bool) -> None:
        """Take no new job; evict the running ones after their retirement time, or not at all; then go."""
        now, policy = self._env.now, self._policy
        self._startds.drain(machine)
        if not patient:
            for claim in list(machine.claims.values()):
                serial = claim.serial
                ripe = claim.began_s + policy.max_job_retirement
                self._timers.at(
                    max(ripe, now) + policy.vacate_time,
                    lambda claim=claim, serial=serial: self._schedd.evict(claim, serial),  # type: ignore[misc]
                )
        self._startds.leave_if_empty(machine)
