"""Replays of recorded real pools, scored against what really happened.

python -m benchmarks.validate [--seeds N] FOLDER…     writes docs/validation.md

FOLDERs are recordings (see `poolscope replay`); those whose names differ only by their last -rN are runs of one pool. New
ones are recorded by `python -m tests.realpool shape NAME FOLDER`.
"""

import argparse
import json
import re
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from collectors.recording import load_recording
from sim.comparison import Measures, measure_waits
from sim.course import NEAR
from sim.engine.run import Plan, Run
from sim.replication import Task, replicate
from sim.scenario import parse
from sim.sweep import model_version
from sim.waits import first_waits
from sim.workload.classes import label_classes
from tests.sim.engine.ghosts import kolmogorov

DOCUMENT = Path(__file__).parent.parent / "docs" / "validation.md"
ENOUGH = 20  # jobs that a group needs to be scored
MEASURES = ("mean_s", "p50_s", "p90_s")
STEP_S, LONGEST_S = (
    15.0,
    86400.0,
)  # between moments at which priorities are compared; how long a recording may be

Curves = dict[str, np.ndarray]


class Told(NamedTuple):
    """What is kept of a run: waits by group, all waits, evictions, how attempts began, real priorities over time."""

    waits: Measures
    all: np.ndarray
    evictions: int
    origins: dict[str, int]
    priorities: pd.DataFrame


class Scores(NamedTuple):
    """How well a pool's replays fit its runs."""

    name: str
    runs: int
    jobs: int
    mean_s: float
    score: float
    worst: tuple[str, float]
    all_jobs: float
    distance: float
    inside: float
    evictions: tuple[float, float]
    between: float
    priorities: tuple[dict[str, float], dict[str, float]]
    load: str
    version: str


def plan_of(folder: Path) -> Plan:
    scenario = parse({"title": folder.name, "workload": {"class_by": class_of(folder)}}, where="validate")
    return Plan.of(scenario, load_recording(folder))


def class_of(folder: Path) -> str:
    """The job attribute that names a class: what the recording says, else that of the older ones."""
    return str(meta_of(folder).get("class_by", "RealpoolClass"))


def meta_of(folder: Path) -> dict[str, object]:
    path = folder / "meta.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def told(plan: Plan, run: Run) -> Told:
    waits = first_waits(run.jobs)
    return Told(
        measure_waits(run.jobs, label_classes(run.jobs, plan.scenario.workload.class_by)),
        waits["wait_s"].to_numpy(),
        run.evictions,
        {str(name): int(count) for name, count in run.attempts["origin"].value_counts().items()},
        course(run.priorities, "at", plan.start),
    )


def real(folder: Path) -> Told:
    record = load_recording(folder)
    jobs = record.jobs
    return Told(
        measure_waits(jobs, label_classes(jobs, class_of(folder))),
        first_waits(jobs)["wait_s"].to_numpy(),
        int(record.attempts["outcome"].isin(["evicted", "lost"]).sum()),
        {},
        course(
            record.priorities[~record.priorities["is_group"].astype(bool)],
            "seen_at",
            plan_of(folder).start,
        ),
    )


def course(priorities: pd.DataFrame, column: str, start: float) -> pd.DataFrame:
    """Real priorities by submitter and time since `start`, where the simulation begins [s]."""
    after = (priorities[column] - pd.Timestamp(start, unit="s", tz="UTC")).dt.total_seconds()
    told = priorities[["submitter", "real_priority"]].assign(after_s=after)
    return told[told["after_s"] >= 0].dropna().sort_values("after_s")


def near(told: Curves, truth: Curves) -> dict[str, float]:
    """By submitter, the share of the moments [1] at which a priority is within 10 % of the true one."""
    found = {}
    for name in told.keys() & truth.keys():
        both = np.isfinite(told[name]) & np.isfinite(truth[name])
        if both.any():
            within = np.abs(told[name] - truth[name])[both] <= NEAR * truth[name][both]
            found[name] = float(within.mean())
    return found


def curves(priorities: pd.DataFrame) -> Curves:
    """A run's real priorities by submitter, `STEP_S` apart; missing beyond what was seen."""
    moments = np.arange(0.0, LONGEST_S, STEP_S)
    return {
        str(name): np.interp(moments, part["after_s"], part["real_priority"], left=np.nan, right=np.nan)
        for name, part in priorities.groupby("submitter")
    }


def middle(runs: list[Curves]) -> Curves:
    """The mean of runs, by submitter, as long as all of those last that know the submitter."""
    names = {name for run in runs for name in run}
    return {name: np.mean([run[name] for run in runs if name in run], axis=0) for name in names}


def follow(found: list[Told], truths: list[Told]) -> tuple[dict[str, float], dict[str, float]]:
    """How long priorities stay near the mean of the real runs': those of the simulated runs' mean; and a real run near another."""
    simulated, real = [[curves(one.priorities) for one in runs] for runs in (found, truths)]
    others = [near(other, one) for one in real for other in real if other is not one]
    return near(middle(simulated), middle(real)), _mean(others)


def _mean(shares: list[dict[str, float]]) -> dict[str, float]:
    return {str(name): float(share) for name, share in pd.DataFrame(shares).mean().items()}


def error(
    simulated: dict[tuple[str, str], float], truth: dict[tuple[str, str], float]
) -> dict[tuple[str, str], float]:
    return {
        key: abs(simulated[key] - truth[key]) / truth[key]
        for key in truth
        if key in simulated and truth[key] > 0
    }


def means(found: list[Measures], name: str = "mean_s") -> dict[tuple[str, str], float]:
    """The mean over runs of a measure, for groups large enough in each of them."""
    keys = [key for key in found[0] if all(key in each and each[key]["n"] >= ENOUGH for each in found)]
    return {key: float(np.nanmean([each[key][name] for each in found])) for key in keys}


def judge(name: str, folders: list[Path], seeds: int) -> Scores:
    truths = [real(folder) for folder in folders]
    plans = [partial(plan_of, folder) for folder in folders]
    each = -(-seeds // len(folders))
    tasks = [Task(place, 1 + number) for place in range(len(folders)) for number in range(each)]
    runs = list(replicate(plans, tasks, told))
    found = [result for _, result in runs]
    truth = means([one.waits for one in truths])
    simulated = means([one.waits for one in found])
    wrong = error(simulated, truth)
    classes = {key: value for key, value in wrong.items() if key[0] == "class"} or wrong
    worst = max(classes, key=lambda key: classes[key])
    pooled = np.concatenate([one.all for one in found])
    inside = []
    for key in truth:
        for measure in MEASURES:
            values = [one.waits[key][measure] for one in found if key in one.waits]
            if not np.isfinite(values).any():
                continue
            low, high = np.nanquantile(values, [0.05, 0.95])
            inside += [low <= one.waits[key][measure] <= high for one in truths]
    pairs = [
        np.mean(list(error(means([first.waits]), means([second.waits])).values()))
        for first in truths
        for second in truths
        if first is not second
    ]
    meta = meta_of(folders[0])
    loads = [str(meta_of(folder).get("load_mean", "")) for folder in folders]
    version = re.search(r"CondorVersion: ([\d.]+)", str(meta.get("condor_version", "")))
    return Scores(
        name,
        len(folders),
        len(truths[0].all),
        truth["all", "all"],
        float(np.mean(list(wrong.values()))),
        (worst[1], classes[worst]),
        simulated["all", "all"] / truth["all", "all"] - 1,
        max(kolmogorov(pooled, one.all)[0] for one in truths),
        float(np.mean(inside)),
        (float(np.mean([one.evictions for one in truths])), float(np.mean([one.evictions for one in found]))),
        float(np.mean(pairs)) if pairs else float("nan"),
        follow(found, truths),
        ", ".join(load for load in loads if load) or "–",
        version[1] if version else "–",
    )


def row(score: Scores) -> str:
    real_evictions, evictions = score.evictions
    return (
        f"| {score.name} | {score.version} | {score.runs} | {score.jobs} | {score.mean_s:.0f} | **{score.score:.3f}** | "
        f"{score.worst[1]:.2f} ({score.worst[0]}) | {score.all_jobs:+.1%} | {score.distance:.3f} | {score.inside:.0%} | "
        f"{real_evictions:.1f} / {evictions:.1f} | {score.between:.2f} | {lowest(score.priorities[0])} / {lowest(score.priorities[1])} | {score.load} |"
    )


def lowest(shares: dict[str, float]) -> str:
    """The mean over submitters, and the lowest of them."""
    if not shares:
        return "–"
    return f"{np.mean(list(shares.values())):.0%} ({min(shares.values()):.0%})"


HEAD = """# Validation: replays of recorded real pools

Written by `python -m benchmarks.validate`; {when}, model {model}, {seeds} seeds for each pool. Every recording is of real
HTCondor daemons with simulated GPUs and jobs that sleep. The simulation reads submission times, asked run times, hosts'
lifetimes, the daemons' configuration, and when the negotiator last began a cycle and the access point last counted its jobs
before the first submission; starts, waits and evictions are only what it is compared with. No constant was fitted to these
waits. The rules were held against the logs of recording-w1, of earlier recordings of these shapes, and of three of the recordings that
are judged here: version-25 (when its schedd counts submissions), owners (what the negotiator's call answers, what autoregroup
gives the root) and preemption (whose ad tells the retirement time). The recordings of the other four shapes decided nothing.

- *score*: mean absolute relative error of the mean waits of all jobs, GPU jobs, each submitter and each class (20 jobs and more)
  against the mean of the real runs; *worst class* is the largest of the classes' errors.
- *distance*: Kolmogorov's, of the seeds' waits to those of the real run that is farthest.
- *inside*: how many of the real means, medians and 90 % quantiles lie in the 5-95 % band over seeds.
- *between runs*: the same score of one real run against another. Runs recorded side by side share the load of the machine, so
  they may be closer to each other than to any model.
- *priorities*: the share of the run in which the mean of the simulated runs' priorities is within 10 % of the mean of the real
  runs', mean over submitters and the lowest of them / the same of one real run beside another.
- *load*: the recording machine's mean load over its two cores, where it was noted; other work ran beside the recordings.

| pool | HTCondor | runs | jobs | real mean wait, s | score | worst class | all jobs | distance | inside | evictions real / simulated | between runs | priorities | load |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""

FOOT = """
Recorded anew with `python -m tests.realpool shape NAME FOLDER` (10 to 16 minutes each; several may run side by side), where NAME is one of:

{shapes}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=50)
    options = parser.parse_args()
    groups: dict[str, list[Path]] = {}
    for folder in sorted(options.folders):
        groups.setdefault(re.sub(r"-r\d+$", "", folder.name), []).append(folder)
    rows = []
    for name, folders in groups.items():
        rows.append(row(judge(name, folders, options.seeds)))
        print(rows[-1], flush=True)
    from tests.realpool.shapes import SHAPES

    shapes = "\n".join(f"- `{shape.name}`: {shape.what}" for shape in SHAPES.values())
    when = pd.Timestamp(time.time(), unit="s", tz="UTC").strftime("%Y-%m-%d")
    head = HEAD.format(when=when, model=model_version(), seeds=options.seeds)
    DOCUMENT.write_text(head + "\n".join(rows) + "\n" + FOOT.format(shapes=shapes))


if __name__ == "__main__":
    main()
