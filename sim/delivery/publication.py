"""From a push to the jobs: when an image that cvmfs-singularity-sync publishes is seen by CVMFS clients.

A sum of waits: for the next pass over the list, for the image's place in it, for pulling and unpacking, publishing, the
snapshots of one or two levels of Stratum 1, and the client's time to live. A pass that fails for the image costs a pass.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The steps' parameters.

    pass_s : from the start of a pass to the next; 28 min is what the repository's revision count says, 15-60 plausible
    position : share of a pass within which the image's turn comes [1]
    pull_mb_s, pull_s : pulling and unpacking, per compressed MB and per image (assumed)
    publish_mb_s, publish_s : publishing, per unpacked MB and per image (measured 35-80 MB/s)
    snapshot_s : a Stratum 1 looks for changes this often
    levels : of Stratum 1 between the release manager and the client [1]
    replicate_mb_s : a snapshot's copying
    ttl_s, drain_s : the client's catalog time to live, and the kernel cache's drain before it takes a new revision
    fail : chance that all three tries of a pass fail for this image [1]
    stuck, stuck_s, stuck_sigma : share of images that somebody must help along, and how long that takes (lognormal)
    """

    pass_s: float = 28 * 60.0
    position: float = 0.8
    pull_mb_s: float = 30.0
    pull_s: float = 30.0
    publish_mb_s: float = 55.0
    publish_s: float = 30.0
    snapshot_s: float = 300.0
    levels: int = 2
    replicate_mb_s: float = 50.0
    ttl_s: float = 240.0
    drain_s: float = 60.0
    fail: float = 0.0
    stuck: float = 0.0
    stuck_s: float = 4 * DAY_S
    stuck_sigma: float = 0.8


STEPS = ("pass", "position", "retry", "pull", "publish", "stratum1", "client", "stuck")


class Delays(NamedTuple):
    """Draws of the delay by step [s], a row per draw, and their sums."""

    steps: np.ndarray
    total_s: np.ndarray

    def quantiles(self, shares: Sequence[float] = (0.1, 0.5, 0.9, 0.99)) -> tuple[float, ...]:
        """Quantiles of the whole delay [s]."""
        return tuple(float(value) for value in np.quantile(self.total_s, shares))

    def visible(self, after_s: float) -> float:
        """The chance that a job that starts this long after the push sees the image [1]."""
        return float((self.total_s <= after_s).mean())

    def means(self) -> dict[str, float]:
        """The mean of each step [s]."""
        return {name: float(mean) for name, mean in zip(STEPS, self.steps.mean(axis=0), strict=True)}


def delays(
    wire_mb: float,
    unpacked_mb: float,
    pipeline: Pipeline,
    rng: np.random.Generator,
    *,
    draws: int = 100_000,
) -> Delays:
    """Draw how long it takes from a push until a client sees the image [s]; sizes [MB] compressed and unpacked."""
    p = pipeline
    stratum1 = (
        rng.uniform(0, p.snapshot_s, (draws, p.levels)).sum(axis=1) + p.levels * wire_mb / p.replicate_mb_s
    )
    retries = rng.geometric(1 - p.fail, draws) - 1 if p.fail else np.zeros(draws)
    stuck = np.where(
        rng.random(draws) < p.stuck, p.stuck_s * np.exp(p.stuck_sigma * rng.standard_normal(draws)), 0.0
    )
    steps = np.column_stack(
        [
            rng.uniform(0, p.pass_s, draws),
            rng.uniform(0, p.position * p.pass_s, draws),
            retries * p.pass_s,
            np.full(draws, wire_mb / p.pull_mb_s + p.pull_s),
            np.full(draws, unpacked_mb / p.publish_mb_s + p.publish_s),
            stratum1,
            rng.uniform(0, p.ttl_s, draws) + p.drain_s,
            stuck,
        ]
    )
    return Delays(steps, steps.sum(axis=1))


def expand(
    tag: str, listed: Iterable[str], linked: Iterable[str], *, listing_failed: bool = False
) -> list[str]:
    """The tags that a pass publishes for a tag of the list, which may hold `*`.

    listed : the tags that the registry names; linked : those that are published now. If the registry's list can't be
    read, links that fit the pattern stay, and no new tag appears.
    """
    if "*" not in tag:
        return [tag]
    return sorted(fnmatch.filter(linked if listing_failed else listed, tag))


def deletions(
    unlinked_s: Sequence[float], pipeline: Pipeline, *, keep_s: float = 2 * DAY_S, most: int = 50
) -> list[float]:
    """When images whose last link went away are deleted [s]: at the end of a pass, two days later, at most 50 per pass.

    Passes end at multiples of the pass period. A job that is shorter than `keep_s` keeps its files.
    """
    order = sorted(range(len(unlinked_s)), key=lambda index: unlinked_s[index])
    found = [0.0] * len(unlinked_s)
    number, left = 0, most
    for index in order:
        due = int(-(-(unlinked_s[index] + keep_s) // pipeline.pass_s))
        if due > number:
            number, left = due, most
        elif not left:
            number, left = number + 1, most
        left -= 1
        found[index] = number * pipeline.pass_s
    return found
