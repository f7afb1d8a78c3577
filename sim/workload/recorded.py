"""Jobs that really were submitted, as the engine's workload."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from sim.errors import InputError


class RecordedJob(NamedTuple):
    """A job of the record: place in the frame, order, submitter, when [s, Unix], how long [s], its ad.

    estimated : the run time is a guess, because the job never completed
    """

    row: int
    order: tuple[float, int, int]
    submitter: str
    submitted: float
    run_s: float
    ad: str
    estimated: bool


def recorded_jobs(jobs: pd.DataFrame, classes: pd.Series, *, start: float, end: float) -> list[RecordedJob]:
    """The jobs submitted in a window [s, Unix], by submission.

    A job that never completed runs as long as the median of its class (of all, where its class has none), or as long as
    it was seen running if that is longer.

    Raises
    ------
    InputError : no job was submitted in the window, or a run time or submission is impossible
    """
    submitted = jobs["submitted_at"].map(lambda moment: moment.timestamp()).to_numpy(dtype="float64")
    window = (submitted >= start) & (submitted <= end)
    if not window.any():
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
    length = runs.fillna(pd.concat([median, seen_s], axis=1).max(axis=1))
    found = []
    for row in window.nonzero()[0]:
        cluster, _, proc = str(jobs["job_id"].iloc[row]).partition(".")
        found.append(
            RecordedJob(
                row=int(row),
                order=(-float(jobs["priority"].iloc[row]), int(cluster), int(proc or 0)),
                submitter=str(jobs["submitter"].iloc[row]),
                submitted=float(submitted[row]),
                run_s=float(length.iloc[row]),
                ad=str(jobs["ad"].iloc[row]),
                estimated=bool(pd.isna(runs.iloc[row])),
            )
        )
    return sorted(found, key=lambda job: (job.submitted, job.order))
