"""The workload that the engines are compared on (docs/benchmarks.md): one kind of job, five kinds of slot.

J single-GPU jobs arrive as a Poisson stream, run for a log-normal time (mean 3,600 s, σ 1) and meet 1,000 slots of five
kinds, 200 of each; 30 % of the jobs take only the two newest kinds. Drawn from one seeded generator, in a fixed order of
draws, so that any engine replays the same jobs.
"""

from __future__ import annotations

import math
import random
from typing import NamedTuple

CAPABILITIES = (6.0, 7.0, 7.5, 8.0, 9.0)
SLOTS_EACH = 200
MEAN_RUN_S = 3600.0
SIGMA = 1.0
RESTRICTED_SHARE = 0.30
RESTRICTED_CAPABILITY = 8.0
CYCLE_S = 60.0
SEED = 20261123


class Task(NamedTuple):
    """A job of the benchmark."""

    submitted_s: float
    run_s: float
    restricted: bool


def tasks(count: int, load: float, seed: int = SEED) -> list[Task]:
    """The first `count` jobs at this offered load [1]."""
    draw = random.Random(seed)
    rate = load * SLOTS_EACH * len(CAPABILITIES) / MEAN_RUN_S
    mu = math.log(MEAN_RUN_S) - SIGMA**2 / 2
    now, found = 0.0, []
    for _ in range(count):
        now += draw.expovariate(rate)
        run_s = max(1.0, draw.lognormvariate(mu, SIGMA))
        found.append(Task(now, run_s, draw.random() < RESTRICTED_SHARE))
    return found
