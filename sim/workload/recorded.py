"""Jobs that really were submitted, as the engine's workload."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from sim.errors import InputError


class RecordedJob(NamedTuple):
    """A job of the record: place in the frame, order, submitter, when [s, Unix], how long [s], its ad.

    estimated : the run time is a guess, because the job never completed
    running_on : the slot on which it was running when the window began, with `run_s` left to run; empty for others
    """

    row: int
    order: tuple[float, int, int]
    submitter: str
    submitted: float
    run_s: float
    ad: str
    estimated: bool
    running_on: str = ""


def recorded_jobs(jobs: pd.DataFrame, classes: pd.Series, *, start: float, end: float) -> list[RecordedJob]:
    """The jobs of a window [s, Unix], by submission: those submitted in it, idle at its start, or running then.

    A job that never completed runs as long as the median of its class (of all, where its class has none), or as long as
    it was seen running if that is longer.

    Raises
    ------
    InputError : the window has no job, or a run time is impossible
    """
    submitted = _unix(jobs["submitted_at"])
    first, last = _unix(jobs["first_started_at"]), _unix(jobs["started_at"])
    left = _unix(jobs["entered_status_at"].where(jobs["status"].isin(["completed", "removed", "held"])))
    there = (submitted <= end) & ~(left < start)
    running = there & (submitted < start) & (last < start)
    waiting = there & ~(first < start)
    if not (running | waiting).any():
        raise InputError(
            "the recording has no job that was submitted in its window; collect queue and history first"
        )
    runs = jobs["run_s"].astype("float64")
    if (runs < 0).any():
        raise InputError(f"job {jobs['job_id'][int((runs < 0).to_numpy().argmax())]}: a run time below zero")
    median = runs.groupby(classes).transform("median").fillna(runs.median()).fillna(0.0)
    seen_s = (
        (jobs["seen_at"] - jobs["started_at"])
        .dt.total_seconds()
        .where(jobs["status"] == "running")
        .fillna(0.0)
    )
    length = runs.fillna(pd.concat([median, seen_s], axis=1).max(axis=1)).to_numpy()
    found = []
    for row in (running | waiting).nonzero()[0]:
        cluster, _, proc = str(jobs["job_id"].iloc[row]).partition(".")
        slot = jobs["slot"].iloc[row]
        on = str(slot) if running[row] and not pd.isna(slot) else ""
        found.append(
            RecordedJob(
                row=int(row),
                order=(-float(jobs["priority"].iloc[row]), int(cluster), int(proc or 0)),
                submitter=str(jobs["submitter"].iloc[row]),
                submitted=float(submitted[row]),
                run_s=max(0.0, float(length[row]) - (start - float(last[row]))) if on else float(length[row]),
                ad=str(jobs["ad"].iloc[row]),
                estimated=bool(pd.isna(runs.iloc[row])),
                running_on=on,
            )
        )
    return sorted(found, key=lambda job: (job.submitted, job.order))


def _unix(times: pd.Series) -> np.ndarray:
    """Times as Unix seconds; missing ones are NaN, which compares with nothing."""
    return np.array([np.nan if pd.isna(moment) else moment.timestamp() for moment in times], dtype="float64")
