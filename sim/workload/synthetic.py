"""Workloads that are made up: batches that arrive in bursts, of classes that are told or fitted to a record.

A batch is what one submission brings: jobs of one class by one submitter. Batches of a stream form a renewal process with
gamma-distributed gaps, whose coefficient of variation makes them regular (below 1), Poisson (1) or bursting (above 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sim.classads.request import Request
from sim.errors import InputError
from sim.sections import JobClassSection
from sim.workload.frames import made_jobs, template
from sim.workload.recorded import unix
from sim.workload.runtimes import RunTimes, distance, fit_run_times

ENOUGH = 20  # completed jobs that a class needs for run times of its own


@dataclass(frozen=True)
class Choice:
    """What a batch may be: templates (rows) to take its jobs from, sizes that were seen (or a mean), run times."""

    weight: float
    rows: tuple[int, ...]
    run: RunTimes
    sizes: tuple[int, ...] = ()
    mean_size: float = 1.0


@dataclass(frozen=True)
class Stream:
    """Batches of one source: mean gap [s], coefficient of variation of the gaps [1], what they may be."""

    name: str
    every_s: float
    variation: float
    choices: tuple[Choice, ...]

    def arrivals(self, rng: np.random.Generator, start: float, length_s: float) -> np.ndarray:
        """Times of batches in a window [s], the process being old when it begins."""
        if not math.isfinite(self.every_s):
            return np.array([])
        shape, scale = 1 / self.variation**2, self.every_s * self.variation**2
        # the gap over the window's begin is length-biased, and the window begins anywhere in it
        times = [float(rng.gamma(shape + 1, scale) * rng.random())]
        while times[-1] < length_s:
            gaps = rng.gamma(shape, scale, size=max(16, int(1.2 * (length_s - times[-1]) / self.every_s)))
            times.extend((times[-1] + np.cumsum(gaps)).tolist())
        found = np.array(times)
        return start + found[found < length_s]


@dataclass(frozen=True)
class Synthetic:
    """Streams over a table of templates; `fit` is what they were fitted to, for people to see."""

    streams: tuple[Stream, ...]
    templates: pd.DataFrame = field(repr=False)
    fit: tuple[dict[str, Any], ...] = ()
    run_times: Mapping[str, RunTimes] = field(default_factory=dict, repr=False)

    def jobs(
        self,
        rng: np.random.Generator,
        start: float,
        length_s: float,
        *,
        demand: float = 1.0,
        first_cluster: int = 1,
    ) -> pd.DataFrame:
        """Draw the frame "jobs" of a window that begins at `start` [s, Unix].

        Every stream draws from its own generators, times apart from contents: a longer window begins with the jobs of a
        shorter one.
        """
        batches: list[tuple[float, np.ndarray, np.ndarray]] = []
        for stream, own in zip(self.streams, rng.spawn(len(self.streams)), strict=True):
            batches += _batches(_scaled(stream, demand), own, start, length_s)
        batches.sort(key=lambda batch: batch[0])
        sizes = [len(rows) for _, rows, _ in batches]
        empty_floats = np.array([], dtype="float64")
        return made_jobs(
            self.templates,
            np.concatenate([rows for _, rows, _ in batches]) if batches else [],
            np.repeat([at for at, _, _ in batches], sizes) if batches else empty_floats,
            np.concatenate([runs for _, _, runs in batches]) if batches else empty_floats,
            ids=[
                f"{first_cluster + place}.{proc}" for place, size in enumerate(sizes) for proc in range(size)
            ],
        )

    def jobs_of_templates(self, at: float) -> pd.DataFrame:
        """One job of every template, for whoever needs to see each ad."""
        count = len(self.templates)
        return made_jobs(self.templates, range(count), np.full(count, at), np.zeros(count))


def _scaled(stream: Stream, demand: float) -> Stream:
    return Stream(stream.name, stream.every_s / demand, stream.variation, stream.choices)


def _batches(
    stream: Stream, rng: np.random.Generator, start: float, length_s: float
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    weights = np.array([choice.weight for choice in stream.choices])
    times, contents = rng.spawn(2)
    found = []
    for at in stream.arrivals(times, start, length_s):
        choice = stream.choices[int(contents.choice(len(weights), p=weights / weights.sum()))]
        if choice.sizes:
            size = int(choice.sizes[int(contents.integers(len(choice.sizes)))])
        else:
            size = int(contents.geometric(1 / choice.mean_size))
        rows = np.array(choice.rows)[contents.integers(len(choice.rows), size=size)]
        found.append((float(at), rows, choice.run.draw(contents, size)))
    return found


def from_classes(classes: Sequence[JobClassSection]) -> Synthetic:
    """The streams of classes as a scenario tells them, one for each class."""
    rows: list[dict[str, Any]] = []
    streams = []
    for told in classes:
        request = Request(told.gpus, told.cpus, told.memory, told.require_gpus or "")
        run = RunTimes(told.run.median, told.run.spread, told.run.tail, told.run.longest or math.inf)
        choices = []
        for submitter, weight in told.submitters.items():
            rows.append(
                template(submitter, told.requirements, request, dict(told.attributes), label=told.name)
            )
            choices.append(Choice(weight, (len(rows) - 1,), run, mean_size=told.arrivals.batch))
        streams.append(Stream(told.name, told.arrivals.every, told.arrivals.variation, tuple(choices)))
    return Synthetic(tuple(streams), pd.DataFrame(rows))


def fitted(jobs: pd.DataFrame, classes: pd.Series, *, start: float, end: float) -> Synthetic:
    """The streams that a record shows: one for each submitter, of its classes, sizes of batches and run times.

    Gaps between a submitter's batches give mean and variation (1 with fewer than six batches); sizes are drawn from those
    seen; run times are fitted for each class with enough completed jobs, else for all jobs together.

    Parameters
    ----------
    jobs : frame "jobs"
    classes : class of each job, row for row
    start, end : the window that was watched [s, Unix]

    Raises
    ------
    InputError : nothing was submitted in the window, or no job ran in it
    """
    submitted = unix(jobs["submitted_at"])
    inside = (submitted >= start) & (submitted <= end)
    if not inside.any() or end <= start:
        raise InputError("no job was submitted in the record's window: there is nothing to fit a workload to")
    part = jobs[inside].reset_index(drop=True)
    labels = classes[inside].reset_index(drop=True)
    moments = submitted[inside]
    models, shown = _run_times(part, labels)
    cluster = part["schedd"] + "#" + part["job_id"].str.partition(".")[0]
    streams, rows = [], []
    for submitter, own in part.groupby("submitter", sort=True):
        batch = cluster[own.index] + "#" + labels[own.index]
        begins = np.sort(pd.Series(moments[own.index], index=own.index).groupby(batch).min().to_numpy())
        every_s = (end - start) / len(begins)
        gaps = np.diff(begins)
        variation = float(gaps.std() / gaps.mean()) if len(gaps) > 4 and gaps.mean() > 0 else 1.0
        variation = min(max(variation, 0.1), 20.0)
        choices = []
        for label, members in own.groupby(labels[own.index], sort=True):
            sizes = members.groupby(cluster[members.index]).size().tolist()
            choices.append(
                Choice(len(sizes), tuple(members.index.tolist()), models[str(label)], tuple(sizes))
            )
        streams.append(Stream(str(submitter), every_s, variation, tuple(choices)))
        rows.append(
            {
                "what": "arrivals",
                "group": str(submitter),
                "batches": len(begins),
                "n": len(own),
                "every_s": every_s,
                "variation": variation,
            }
        )
    return Synthetic(tuple(streams), part, (*rows, *shown), models)


def _run_times(jobs: pd.DataFrame, labels: pd.Series) -> tuple[dict[str, RunTimes], list[dict[str, Any]]]:
    """Run times of each class, and how well they fit."""
    seen_s = (jobs["seen_at"] - jobs["started_at"]).dt.total_seconds().where(jobs["status"] == "running")
    times = jobs["run_s"].astype("float64").fillna(seen_s)
    known = times.notna() & (times > 0)
    ended = jobs["run_s"].notna()
    if not (known & ended).any():
        raise InputError("no job of the record has completed: there are no run times to fit")
    whole = fit_run_times(times[known].to_numpy(), ended[known].to_numpy())
    models, shown = {}, []
    for label in sorted(set(labels)):
        mine = known & (labels == label)
        done = int((mine & ended).sum())
        own = done >= ENOUGH
        model = fit_run_times(times[mine].to_numpy(), ended[mine].to_numpy()) if own else whole
        models[str(label)] = model
        shown.append(
            {
                "what": "run times",
                "group": str(label),
                "n": done,
                "n_censored": int((mine & ~ended).sum()),
                "own": own,
                "median_s": model.median_s,
                "spread": model.spread,
                "tail": model.tail,
                "distance": distance(model, times[mine & ended].to_numpy()),
            }
        )
    return models, shown
