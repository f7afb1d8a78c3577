"""What the negotiator lets a job have, however many slots match: its group's quota and its concurrency limits.

Rules: fact sheet §1.9. A group that takes no surplus and is not regrouped gets nothing beyond its quota; a limit counts what
the claims in use have taken of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from sim.classads.job import JobDescription
from sim.engine.concurrency import NO_LIMIT, LimitLedger, read_limits
from sim.engine.groups import Group, group_of, quotas
from sim.policy import effective_policy
from sim.scenario import PolicySection

LEAST_PRIORITY = 0.5  # real priority of who never ran (fact sheet §1.3)
RECENT = pd.Timedelta(minutes=5)  # rows of one round of questions


@dataclass(frozen=True)
class Allowance:
    """Groups and limits as the negotiator is configured, and what is in use of them.

    weight : of the pool [weighted cores]
    usage : of each submitter [weighted cores]
    caps, default : of concurrency limits, as `LimitLedger` takes them
    in_use : of each limit
    newcomer, nice : effective priority of a submitter, and of a nice user, who never ran
    """

    groups: tuple[Group, ...] = ()
    weight: float = 0.0
    usage: Mapping[str, float] = field(default_factory=dict)
    caps: Mapping[str, float] = field(default_factory=dict)
    default: float = NO_LIMIT
    in_use: Mapping[str, float] = field(default_factory=dict)
    newcomer: float = LEAST_PRIORITY * 1000.0
    nice: float = LEAST_PRIORITY * 1e10

    @classmethod
    def from_frames(
        cls, settings: pd.DataFrame, slots: pd.DataFrame, jobs: pd.DataFrame, priorities: pd.DataFrame | None
    ) -> Allowance:
        """Build it from frames "settings", "slots" (of one snapshot), "jobs" and "priorities", of which the newest rows count."""
        policy = effective_policy(PolicySection(), settings, slots)
        groups = tuple(
            Group(name, section.quota, section.dynamic, section.accept_surplus, section.autoregroup)
            for name, section in policy.own_groups().items()
        )
        primary = slots[~slots["backfill"].astype(bool)]
        running = newest(jobs)
        running = running[running["status"].isin(["running", "transferring", "suspended"])]
        in_use: Counter[str] = Counter()
        for text in running["concurrency_limits"].dropna().astype(str):
            for name, amount in read_limits(text):
                in_use[name] += amount  # type: ignore[assignment]  # a Counter of amounts
        return cls(
            groups,
            float(primary["slot_weight"].fillna(primary["cpus"]).fillna(0.0).sum()),
            _usage(running, priorities),
            dict(policy.concurrency_limits),
            policy.concurrency_limit_default,
            dict(in_use),
            LEAST_PRIORITY * policy.default_prio_factor,
            LEAST_PRIORITY * policy.nice_user_prio_factor,
        )

    def refusal(self, job: JobDescription, submitter: str) -> tuple[str, str] | None:
        """Why such a job gets nothing now: quota or limit, and a clause of a sentence; None if it may get something.

        submitter : as the negotiator names it
        """
        return self._over_quota(job, submitter) or self._over_limit(job)

    def _over_quota(self, job: JobDescription, submitter: str) -> tuple[str, str] | None:
        names = [group.name for group in self.groups]
        own = group_of(submitter, names)
        group = next((group for group in self.groups if group.name == own), None)
        if group is None or group.accept_surplus or group.autoregroup:
            return None
        quota = quotas(self.groups, self.weight)[own]
        used = sum(usage for name, usage in self.usage.items() if group_of(name, names) == own)
        if used + (job.value("RequestCpus") or 1.0) <= quota:
            return None
        return (
            "quota",
            f"the accounting group {own} uses {used:g} of its quota of {quota:g} cores and takes no surplus",
        )

    def _over_limit(self, job: JobDescription) -> tuple[str, str] | None:
        ledger = LimitLedger(self.caps, self.default)
        for name, amount in read_limits(job.string("ConcurrencyLimits")):
            used, cap = self.in_use.get(name, 0.0), ledger.cap(name)
            if used + amount > cap:
                return (
                    "limit",
                    f"the concurrency limit {name} is at {used:g} of {cap:g}, and the job needs {amount:g}",
                )
        return None


def newest(jobs: pd.DataFrame) -> pd.DataFrame:
    """The jobs that were still in a queue in the last round of questions."""
    return jobs[jobs["seen_at"] >= jobs["seen_at"].max() - RECENT] if len(jobs) else jobs


def _usage(running: pd.DataFrame, priorities: pd.DataFrame | None) -> dict[str, float]:
    """What submitters use: by the negotiator's own account, else the cores of their running jobs."""
    if priorities is not None and len(priorities) and priorities["usage_cores"].notna().any():
        last = priorities[priorities["seen_at"] == priorities["seen_at"].max()]
        own = last[~last["is_group"].astype(bool)]
        return dict(
            zip(own["submitter"].astype(str), own["usage_cores"].fillna(0.0).astype(float), strict=True)
        )
    cores = running.groupby("submitter")["request_cpus"].sum()
    return {str(name): float(value) for name, value in cores.items()}
