"""What jobs' own ads and a scenario decide of their fate: saved progress, longest execution, runs that fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from sim.classads.ads import number_of, parse_one
from sim.classads.editing import selector
from sim.engine.entities import FOREVER, Failure
from sim.sections import CheckpointSection, FailureSection, HoldSection

Rule = TypeVar("Rule")

_READ = ("allowedexecuteduration", "allowedjobduration", "jobmaxretries")


class Terms(NamedTuple):
    """How often a job saves its progress [s], how long it may execute and be running at once [s], how likely a run of it fails
    [1], its retries.
    """

    checkpoint_s: float = 0.0
    limit_s: float = FOREVER
    running_s: float = FOREVER
    failing: float = 0.0
    retries: int = 0


class JobPolicy:
    """The terms of jobs; of each kind of rule the first that is true of a job's ad counts.

    A job's own AllowedExecuteDuration always counts, from the start of its program, and its AllowedJobDuration, from its
    shadow's: what brings its software is part of that (manual, "Job ClassAd Attributes").

    Parameters
    ----------
    at : the moment at which the rules' expressions are judged [s, Unix]
    """

    def __init__(
        self,
        checkpoints: Sequence[CheckpointSection],
        failures: Sequence[FailureSection],
        holds: Sequence[HoldSection],
        *,
        at: float,
    ) -> None:
        self._at = at
        self._checkpoints = [(selector(rule.where), rule) for rule in checkpoints]
        self._failures = [(selector(rule.where), rule) for rule in failures]
        self._holds = [(selector(rule.where), rule) for rule in holds]
        self._known: dict[str, Terms] = {}

    def terms(self, ad: str) -> Terms:
        """The terms of a job with this ad."""
        found = self._known.get(ad)
        if found is None:
            found = self._known[ad] = self._terms(ad)
        return found

    def _terms(self, ad: str) -> Terms:
        lowered = ad.lower()
        told = parse_one(ad) if any(name in lowered for name in _READ) else None
        own = {
            name: number_of(told, name) if told is not None else None
            for name in ("AllowedExecuteDuration", "AllowedJobDuration", "JobMaxRetries")
        }
        executing, running = own["AllowedExecuteDuration"], own["AllowedJobDuration"]
        limits = [FOREVER if executing is None or executing < 0 else executing]
        checkpoint = self._first(self._checkpoints, ad)
        failure = self._first(self._failures, ad)
        hold = self._first(self._holds, ad)
        if hold is not None:
            limits.append(hold.after)
        retries = 0
        if failure is not None:
            retries = int(own["JobMaxRetries"] or 0) if failure.retries is None else failure.retries
        return Terms(
            checkpoint.every if checkpoint is not None else 0.0,
            min(limits),
            FOREVER if running is None or running < 0 else running,
            failure.share if failure is not None else 0.0,
            max(0, retries),
        )

    def _first(self, rules: Sequence[tuple[Callable[[str, float], bool], Rule]], ad: str) -> Rule | None:
        return next((rule for holds, rule in rules if holds(ad, self._at)), None)


def draw_failures(terms: Terms, rng: np.random.Generator) -> tuple[Failure, ...]:
    """The runs of a job that will end with an exit code other than 0, one after another.

    Each is as likely as `failing` says and ends somewhere in the run, all places alike. After so many retries the job leaves
    the queue for good (OnExitRemove of ``max_retries``, fact sheet §4.4); evictions don't count.
    """
    found: list[Failure] = []
    while len(found) <= terms.retries and rng.random() < terms.failing:
        found.append(Failure(float(rng.random()), retried=len(found) < terms.retries))
    return tuple(found)
