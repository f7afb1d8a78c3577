"""A scenario's workload → what a run draws its jobs from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sim.errors import InputError
from sim.schema import conform, empty
from sim.sections import WorkloadSection
from sim.workload.adjust import adjust_jobs
from sim.workload.classes import label_classes
from sim.workload.recorded import RecordedJob, recorded_jobs, unix
from sim.workload.synthetic import Synthetic, fitted, from_classes
from sim.workload.traces import read_trace

LONGER = 20.0  # how many times as long as its record a run may take whose jobs all ended within it


class Drawn(NamedTuple):
    """The jobs of one run, and the frame "jobs" that they are rows of."""

    frame: pd.DataFrame
    jobs: list[RecordedJob]


class Workload:
    """Jobs of a window: some that are known, and streams that each run draws anew.

    Parameters
    ----------
    section : what the scenario says
    known : frame "jobs" that every run has
    streams : what is drawn beside them
    start, length_s : the window [s, Unix; s]
    notes : what people should know: how the streams were fitted, what was left out of a trace
    """

    def __init__(
        self,
        section: WorkloadSection,
        known: pd.DataFrame,
        streams: Sequence[tuple[Synthetic, float]],
        *,
        start: float,
        length_s: float,
        notes: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.section = section
        self.streams = [(stream, demand) for stream, demand in streams if stream.streams]
        self.start = start
        self.length_s = length_s
        self.notes = tuple(notes)
        self._adjusted = adjust_jobs(known, section.adjust)
        self._known = self._jobs_of(self._adjusted) if len(self._adjusted) and not self.streams else []

    @property
    def varies(self) -> bool:
        """Whether every run has jobs of its own."""
        return bool(self.streams)

    def ads(self) -> list[str]:
        """Every job ad that can appear."""
        found = list(dict.fromkeys(self._adjusted["ad"])) if self.streams else [job.ad for job in self._known]
        for stream, _ in self.streams:
            whole = stream.jobs_of_templates(self.start)
            found += adjust_jobs(whole, self.section.adjust)["ad"].tolist()
        return list(dict.fromkeys(found))

    def draw(self, rng: np.random.Generator) -> Drawn:
        """The jobs of a run."""
        if not self.streams:
            return Drawn(self._adjusted, self._known)
        cluster = _next_cluster(self._adjusted)
        parts = [self._adjusted] if len(self._adjusted) else []
        for (stream, demand), own in zip(self.streams, rng.spawn(len(self.streams)), strict=True):
            made = stream.jobs(own, self.start, self.length_s, demand=demand, first_cluster=cluster)
            if len(made):
                cluster = _next_cluster(made)
                parts.append(adjust_jobs(made, self.section.adjust))
        frame = conform(pd.concat(parts, ignore_index=True), "jobs") if parts else empty("jobs")
        jobs = self._jobs_of(frame) if len(frame) else []
        return Drawn(frame, self._guessed(frame, jobs, rng.spawn(1)[0]))

    def _guessed(
        self, frame: pd.DataFrame, jobs: list[RecordedJob], rng: np.random.Generator
    ) -> list[RecordedJob]:
        """The jobs, those of unknown length with one drawn from their class's run times, given how long they ran so far."""
        models = {name: model for stream, _ in self.streams for name, model in stream.run_times.items()}
        guessed = [job.row for job in jobs if job.estimated]
        if not models or not guessed:
            return jobs
        part = frame.iloc[guessed]
        labels = dict(zip(guessed, label_classes(part, self.section.class_by), strict=True))
        began = dict(zip(guessed, unix(part["started_at"]).tolist(), strict=True))
        found = []
        for job in jobs:
            model = models.get(labels[job.row]) if job.estimated else None
            run_s = job.run_s
            if model is not None and job.running_on:
                ran_s = max(0.0, self.start - began[job.row])
                run_s = float(model.residual(rng, np.array([ran_s]))[0])
            elif model is not None:
                run_s = float(model.draw(rng, 1)[0])
            found.append(job._replace(run_s=run_s))
        return found

    def _jobs_of(self, frame: pd.DataFrame) -> list[RecordedJob]:
        known = frame["run_s"].notna().all()
        classes = frame["submitter"] if known else label_classes(frame, self.section.class_by)
        return recorded_jobs(
            frame, classes, start=self.start, end=self.start + self.length_s, by_time=bool(self.streams)
        )


def _next_cluster(jobs: pd.DataFrame) -> int:
    return int(jobs["job_id"].str.partition(".")[0].astype("int64").max()) + 1 if len(jobs) else 1


def make_workload(
    section: WorkloadSection,
    recorded: pd.DataFrame,
    *,
    window: tuple[float, float],
    start: float,
    length_s: float | None,
    beside: pd.DataFrame | None = None,
) -> Workload:
    """The workload of a scenario.

    Parameters
    ----------
    recorded : frame "jobs" of the pool's record
    beside : jobs that run as the run begins, of which the record's queues don't tell
    window : when the pool was watched, for a fit [s, Unix]
    start, length_s : the run's window [s, Unix; s]; without a length it is the trace's, so much longer that all can end

    Raises
    ------
    InputError : the record or the trace has nothing of use
    """
    notes: list[dict[str, Any]] = []
    streams: list[tuple[Synthetic, float]] = []
    known = recorded
    if section.trace is not None:
        told = section.trace
        trace = read_trace(
            Path(told.file),
            told.format,
            gpu_models=told.gpu_models,
            time_scale=told.time_scale,
            most=told.most,
        )
        known = _moved(trace.frame, start)
        notes += [
            {"what": "left out of the trace", "group": why, "n": count}
            for why, count in trace.rejects.items()
        ]
    elif section.synthetic is not None:
        # what waits or runs as the run begins is there whatever comes later
        known = _present(recorded, start) if start >= window[1] else recorded.iloc[:0]
        if section.synthetic.fit is not None:
            model = fitted(
                recorded, label_classes(recorded, section.class_by), start=window[0], end=window[1]
            )
        else:
            model = from_classes(section.synthetic.classes)
        streams.append((model, section.synthetic.demand))
        notes += model.fit
    added = [step.add for step in section.adjust if step.add is not None]
    if added:
        streams.append((from_classes(added), 1.0))
    if known.empty and not streams:
        raise InputError(
            "the pool's record has no jobs; collect queue and history first, or give a synthetic workload"
        )
    if beside is not None and len(beside) and section.trace is None:
        known = conform(pd.concat([known, beside], ignore_index=True), "jobs")
    return Workload(
        section,
        known,
        streams,
        start=start,
        length_s=LONGER * _span(known, start) if length_s is None else length_s,
        notes=notes,
    )


def _span(jobs: pd.DataFrame, start: float) -> float:
    """From the start to the last submission, and the longest run after it [s]."""
    return float(unix(jobs["submitted_at"]).max()) - start + float(jobs["run_s"].max()) + 3600.0


def _present(jobs: pd.DataFrame, at: float) -> pd.DataFrame:
    """The jobs that were submitted before a moment and had not left by then."""
    submitted = unix(jobs["submitted_at"])
    left = unix(jobs["entered_status_at"].where(jobs["status"].isin(["completed", "removed", "held"])))
    return jobs[(submitted <= at) & ~(left < at)].reset_index(drop=True)


def _moved(jobs: pd.DataFrame, start: float) -> pd.DataFrame:
    """The jobs, all times moved so that the first is submitted as the run begins."""
    shift = pd.Timedelta(round((start - float(unix(jobs["submitted_at"]).min())) * 1e6), unit="us")
    times = [column for column in jobs.columns if str(jobs[column].dtype).startswith("datetime64")]
    return jobs.assign(**{column: jobs[column] + shift for column in times})
