"""A seeded workload of real jobs that sleep: who submits what, when, and how long it runs."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.realpool.configuration import SUBMITTERS, Submitter

SECONDS = 1200
"""Length of the full workload [s]."""

IMAGE = "/cvmfs/singularity.opensciencegrid.org/opensciencegrid/tensorflow-gpu:latest"


@dataclass(frozen=True, slots=True)
class RequirementClass:
    """Jobs that ask for the same; the name travels in the job's attribute RequirementClass."""

    name: str
    jobs: int
    """How many in the full workload."""
    lines: tuple[str, ...]
    """What their submit description says, beyond program, user and run time."""
    gpus: int = 1


CLASSES = (
    RequirementClass("any-gpu", 44, ("request_gpus = 1", "request_cpus = 2", "request_memory = 4 GB")),
    RequirementClass(
        "capability-7.0", 40,
        ("request_gpus = 1", "gpus_minimum_capability = 7.0", "request_cpus = 4", "request_memory = 8 GB"),
    ),
    RequirementClass(
        "capability-7.5", 28,
        ("request_gpus = 1", "gpus_minimum_capability = 7.5", "request_cpus = 4", "request_memory = 8 GB"),
    ),
    RequirementClass(
        "capability-8.0", 30,
        ("request_gpus = 1", "gpus_minimum_capability = 8.0", "request_cpus = 4", "request_memory = 16 GB"),
    ),
    RequirementClass(
        "memory-40gb", 18,
        ("request_gpus = 1", "gpus_minimum_memory = 40000", "request_cpus = 4", "request_memory = 32 GB"),
    ),
    RequirementClass(
        "classic-6.0", 22,
        ("request_gpus = 1", "requirements = CUDACapability >= 6.0", "request_cpus = 2", "request_memory = 4 GB"),
    ),
    RequirementClass(
        "model-titan", 12,
        ("request_gpus = 1", 'requirements = GPUs_DeviceName == "TITAN RTX"', "request_cpus = 2", "request_memory = 4 GB"),
    ),
    RequirementClass(
        "two-gpus", 16,
        ("request_gpus = 2", "gpus_minimum_capability = 7.0", "request_cpus = 8", "request_memory = 16 GB"),
        gpus=2,
    ),
    RequirementClass(
        "site-nebula", 18,
        ("request_gpus = 1", 'requirements = GLIDEIN_Site == "Nebula-HPC"', "request_cpus = 2", "request_memory = 8 GB"),
    ),
    RequirementClass(
        "image-gpu", 20,
        (
            "request_gpus = 1",
            "requirements = HAS_CVMFS_singularity_opensciencegrid_org && HasSingularity",
            f'+SingularityImage = "{IMAGE}"',
            "request_cpus = 2",
            "request_memory = 8 GB",
        ),
    ),
    RequirementClass("cpu", 48, ("request_cpus = 2", "request_memory = 2 GB"), gpus=0),
    RequirementClass("cpu-big-memory", 20, ("request_cpus = 4", "request_memory = 48 GB"), gpus=0),
    RequirementClass(
        "never", 4,
        ("request_gpus = 1", "gpus_minimum_capability = 9.0", "request_cpus = 2", "request_memory = 4 GB"),
    ),
)  # fmt: skip
"""Every class needs something else of the pool; no device of it is good enough for the last."""

ACTIVITY = (0.35, 0.30, 0.25, 0.10)
"""Share of the bursts by submitter, in the order of `SUBMITTERS` [1]."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Jobs of one class that one user submits at once."""

    at_s: float
    """When, from the start of the workload [s]."""
    submitter: Submitter
    requirement_class: RequirementClass
    runs_s: tuple[int, ...]
    """How long each job sleeps [s]."""
    first_row: int = 0
    """Place of the first job in the whole workload; it travels in the attribute WorkloadRow."""

    @property
    def description(self) -> str:
        """The submit description, one job for each run time."""
        lines = (
            "arguments = $(run_s)",
            *self.submitter.submit_lines,
            *self.requirement_class.lines,
            f'+RequirementClass = "{self.requirement_class.name}"',
            "+PlannedRunSeconds = $(run_s)",
            "+WorkloadRow = $(place)",
            "queue run_s, place from (",
            *(f"  {run_s}, {self.first_row + place}" for place, run_s in enumerate(self.runs_s)),
            ")",
        )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Mix:
    """Who submits what: the makings of a workload."""

    classes: tuple[RequirementClass, ...] = CLASSES
    submitters: tuple[Submitter, ...] = SUBMITTERS
    activity: tuple[float, ...] = ACTIVITY
    """Share of the bursts by submitter [1]."""
    log_run_s: tuple[float, float] = (4.44, 0.75)
    """Mean and standard deviation of the logarithm of a run time; the median is 85 s."""
    longest_run_s: float = 400.0


MIX = Mix()


def workload(seed: int = 1, *, duration_s: float = SECONDS, mix: Mix = MIX) -> list[Burst]:
    """Return the bursts in order of time; the same for the same arguments.

    Parameters
    ----------
    duration_s : the last jobs come at 0.9 of it; the number of jobs is in proportion to it [s]
    """
    rng = random.Random(seed)
    bursts = [
        Burst(
            _arrival_s(rng, duration_s),
            rng.choices(mix.submitters, mix.activity)[0],
            one,
            tuple(_run_s(rng, mix) for _ in range(size)),
        )
        for one in mix.classes
        for size in _sizes(rng, max(1, round(one.jobs * duration_s / SECONDS)))
    ]
    bursts.sort(key=lambda burst: burst.at_s)
    rows = itertools.accumulate((len(burst.runs_s) for burst in bursts), initial=0)
    return [replace(burst, first_row=row) for burst, row in zip(bursts, rows, strict=False)]


def _sizes(rng: random.Random, jobs: int) -> Iterator[int]:
    """Cut a number of jobs into bursts of 2 to 10."""
    while jobs > 0:
        size = min(jobs, rng.randint(2, 10))
        yield size
        jobs -= size


def _arrival_s(rng: random.Random, duration_s: float) -> float:
    """Draw a time: half of the bursts come in three rushes, so that queues form and empty again."""
    if rng.random() < 0.5:
        rush = rng.choice((0.0, 0.3, 0.62))
        return round((rush + rng.random() * 0.05) * duration_s, 1)
    return round(rng.random() * 0.9 * duration_s, 1)


def _run_s(rng: random.Random, mix: Mix) -> int:
    """Draw a run time, skewed as run times are, of 20 s at least."""
    return round(min(mix.longest_run_s, max(20.0, rng.lognormvariate(*mix.log_run_s))))
