"""Ghost probes beside real jobs: the same pool with ghosts, and with jobs of a second injected at the same times."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sim.classads.request import Request
from sim.engine.run import Plan, Probe, Recording, stream
from sim.scenario import Scenario, parse
from sim.schema import conform
from sim.sections import JobClassSection
from sim.workload.frames import made_jobs, template
from sim.workload.synthetic import from_classes

EVERY_S = 1234.0  # no multiple of a cycle's period

CLASSES = [
    JobClassSection.model_validate(told)
    for told in (
        {"name": "any", "submitters": {"ana": 1, "ben": 1}, "arrivals": {"every": "4 min", "batch": 3}, "run": {"median": "12 min", "spread": 0.8}},
        {"name": "new", "submitters": {"cho": 1}, "require_gpus": "Capability >= 8.0", "cpus": 2,
         "arrivals": {"every": "6 min", "batch": 2, "variation": 2}, "run": {"median": "15 min", "spread": 0.8}},
        {"name": "cpu", "submitters": {"dia": 1}, "gpus": 0, "arrivals": {"every": "3 min"}, "run": {"median": "10 min"}},
    )
]  # fmt: skip


@dataclass(frozen=True)
class Pools:
    """Pools of one make: their hours, and how loaded they are."""

    hours: float = 8.0
    demand: float = 1.0
    reschedule: bool = True

    @property
    def scenario(self) -> Scenario:
        """Fourteen GPUs of two kinds on eight machines."""
        return parse(
            {
                "pool": {
                    "source": "generated",
                    "machines": [
                        {"name": "old", "count": 4, "cpus": 8, "memory": "64 GB", "gpus": [{"model": "TITAN RTX", "capability": 7.5, "memory": 24220, "count": 2}]},
                        {"name": "new", "count": 3, "cpus": 8, "memory": "64 GB", "gpus": [{"model": "A100", "capability": 8.0, "memory": 40536, "count": 2}]},
                        {"name": "cpu", "cpus": 16, "memory": "64 GB"},
                    ],
                },
                "supply": {"model": "fixed"},
                "policy": {"reschedule": self.reschedule, "job_lease": "10 min"},
                "run": {"horizon": f"{self.hours:g} h"},
            },
            where="ghosts",
        )  # fmt: skip

    def background(self, seed: int) -> pd.DataFrame:
        """The jobs of a pool that goes about its business."""
        rng = stream(seed, "background")
        start = Recording.load("generated").start
        return from_classes(CLASSES).jobs(rng, start, self.hours * 3600, demand=self.demand)

    def ghost_waits(self, seed: int, request: Request) -> tuple[np.ndarray, np.ndarray]:
        """Waits of ghosts, and whether they ended."""
        run = Plan.of(
            self.scenario,
            self.record(self.background(seed)),
            [Probe("ghost", request=request, every_s=EVERY_S)],
        ).run(seed)
        return run.probes["wait_s"].to_numpy(), run.probes["started"].to_numpy()

    def job_waits(self, seed: int, request: Request) -> tuple[np.ndarray, np.ndarray]:
        """Waits of real jobs of one second, each of a submitter of its own, submitted when the ghosts were asked."""
        start = Recording.load("generated").start
        times = np.arange(0.0, self.hours * 3600, EVERY_S)
        rows = [template(f"newcomer{place}", "true", request) for place in range(len(times))]
        ids = [f"{10**6 + place}.0" for place in range(len(rows))]
        injected = made_jobs(pd.DataFrame(rows), range(len(rows)), start + times, np.ones(len(rows)), ids=ids)
        both = conform(pd.concat([self.background(seed), injected], ignore_index=True), "jobs")
        run = Plan.of(self.scenario, self.record(both)).run(seed)
        mine = run.jobs[run.jobs["submitter"].str.startswith("newcomer")].sort_values("submitted_at")
        wait = (mine["first_started_at"] - mine["submitted_at"]).dt.total_seconds().to_numpy()
        began = ~np.isnan(wait)
        return np.where(began, wait, self.hours * 3600 - times), began

    def both(self, seed: int, request: Request) -> tuple[np.ndarray, np.ndarray]:
        """Waits of the ghosts and of the jobs of which both began, to the millisecond: a quarter of them are alike."""
        ghosts, answered = self.ghost_waits(seed, request)
        jobs, began = self.job_waits(seed, request)
        ended = answered & began
        return ghosts[ended].round(3), jobs[ended].round(3)

    def record(self, jobs: pd.DataFrame) -> Recording:
        """A record that has these jobs and nothing else."""
        return replace(Recording.load("generated"), jobs=jobs)


def kolmogorov(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Distance of two samples and the chance of a larger one if both are from one distribution (Smirnov 1948)."""
    values = np.sort(np.concatenate([first, second]))
    distance = float(
        np.max(
            np.abs(
                np.searchsorted(np.sort(first), values, side="right") / len(first)
                - np.searchsorted(np.sort(second), values, side="right") / len(second)
            )
        )
    )
    root = math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:
        return distance, 1.0
    terms = [(-1) ** (k - 1) * math.exp(-2 * k * k * scaled * scaled) for k in range(1, 101)]
    return distance, min(1.0, max(0.0, 2 * sum(terms)))
