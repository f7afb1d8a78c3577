"""Which claimed slots may be taken from their jobs (fact sheet §1.7, §4.1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from sim.classads.matching import Autocluster
from sim.engine.entities import Claim, Submitter
from sim.engine.negotiator import Preemption
from sim.engine.startd import Startds
from sim.scenario import PolicySection


class PreemptionPolicy:
    """MAXJOBRETIREMENTTIME, PREEMPTION_REQUIREMENTS and PREEMPTION_RANK of a pool.

    Parameters
    ----------
    start_unix : when the run begins [s, Unix]
    uniform : draws numbers in [0, 1): when within UPDATE_INTERVAL a startd sends its ads
    """

    def __init__(
        self, startds: Startds, policy: PolicySection, *, start_unix: float, uniform: Callable[[], float]
    ) -> None:
        self._startds = startds
        self._policy = policy
        self._start_unix = start_unix
        self._uniform = uniform
        self._phases: dict[str, float] = {}

    def ripe(self, now: float) -> Preemption | None:
        """The claimed slots whose retirement time is over; None if there are none, or none may be taken."""
        if not self._startds.preempts:
            return None
        ripe = [
            claim
            for machine in self._startds.machines.values()
            if machine.alive and not machine.draining and machine.retire_s > now
            for claim in machine.claims.values()
            if claim.job is not None and claim.heir is None and self._retired(claim, now)
        ]
        if not ripe:
            return None
        return Preemption(ripe, partial(self._allowed, now), partial(self._order, now))

    def _retired(self, claim: Claim, now: float) -> bool:
        """Whether the slot's ad says that the retirement time is over: the last one since the job began, which may be old."""
        retirement, interval = self._policy.max_job_retirement, self._policy.update_interval
        if retirement <= 0:
            return True
        if now - claim.began_s < retirement:
            return False
        name = claim.machine.name
        if name not in self._phases:
            self._phases[name] = self._uniform() * interval
        sent_s = now - (now - self._phases[name]) % interval
        return sent_s - claim.began_s >= retirement

    def _allowed(self, now: float, claim: Claim, person: Submitter, cluster: Autocluster) -> bool:
        """PREEMPTION_REQUIREMENTS, with what the negotiator adds to both ads."""
        text = self._policy.preemption_requirements
        if text.lower() == "false":
            return False
        holder = claim.person
        unix = self._start_unix + now
        entered = self._start_unix + claim.began_s
        slot: dict[str, str | float] = {
            "RemoteUser": holder.name,
            "RemoteOwner": holder.name,
            "RemoteUserPrio": holder.effective,
            "RemoteUserResourcesInUse": holder.usage,
            "RemoteGroup": holder.group or "<none>",
            "CurrentRank": claim.job_rank,
            "State": "Claimed",
            "Activity": "Busy",
            "EnteredCurrentState": math.floor(self._start_unix + claim.born_s),
            "EnteredCurrentActivity": math.floor(entered),
            "JobStart": math.floor(entered),
            "TotalJobRunTime": math.floor(now - claim.began_s),
            "MyCurrentTime": math.floor(unix),
        }
        job: dict[str, str | float] = {
            "SubmitterUserPrio": person.effective,
            "SubmitterUserResourcesInUse": person.usage,
            "SubmitterGroup": person.group or "<none>",
            "User": person.name,
        }
        matcher = self._startds.table.matcher
        return matcher.preempts(text, cluster, claim.shape.kind, claim.shape.size, slot, job, unix)

    @staticmethod
    def _order(now: float, claim: Claim) -> float:
        """PREEMPTION_RANK as by default: the worst user first, then the shortest loss (fact sheet §1.6)."""
        return 1e6 * claim.person.effective - (now - claim.began_s)
