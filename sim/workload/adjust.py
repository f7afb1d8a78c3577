"""Changes of a workload: jobs kept, dropped, multiplied or rewritten, chosen by an expression on their ads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sim.classads.ads import number_of, parse_one, source_of
from sim.classads.editing import changed, selector
from sim.errors import InputError
from sim.schema import conform
from sim.sections import JobStep
from sim.workload.recorded import unix

_NUMBERS = {
    "RequestCpus": "request_cpus",
    "RequestMemory": "request_memory_mib",
    "RequestGPUs": "request_gpus",
}
_TEXTS = {"Requirements": "requirements", "RequireGPUs": "require_gpus", "Rank": "rank"}
_COPY = 1_000_000  # between the proc ids of a job and of its copies


def adjust_jobs(
    jobs: pd.DataFrame, steps: Sequence[JobStep], *, where: str = "workload.adjust"
) -> pd.DataFrame:
    """Change a frame "jobs" step by step; expressions are judged at each job's submission.

    Raises
    ------
    InputError : a step leaves no job
    """
    for place, step in enumerate(steps):
        if step.add is not None or jobs.empty:
            continue  # what is added arrives by itself (see `sim.workload.source`)
        jobs = _applied(jobs, step)
        if jobs.empty:
            raise InputError(f"{where}.{place}: no job is left after this step; check its expression")
    return jobs


def _applied(jobs: pd.DataFrame, step: JobStep) -> pd.DataFrame:
    if step.keep is not None:
        return jobs[_chosen(jobs, step.keep)].reset_index(drop=True)
    if step.drop is not None:
        return jobs[~_chosen(jobs, step.drop)].reset_index(drop=True)
    chosen = _chosen(jobs, step.where) if step.where is not None else np.ones(len(jobs), dtype=bool)
    if step.scale is not None:
        return _scaled(jobs, chosen, step.scale)
    return _rewritten(jobs, chosen, step.rewrite or {})


def _chosen(jobs: pd.DataFrame, expression: str) -> np.ndarray:
    holds = selector(expression)
    moments = unix(jobs["submitted_at"])
    timeless = "time" not in expression.lower()
    return np.array(
        [holds(ad, 0.0 if timeless else at) for ad, at in zip(jobs["ad"].tolist(), moments, strict=True)],
        dtype=bool,
    )


def copies(count: int, factor: float) -> list[int]:
    """How often each of `count` things is there when there shall be `factor` times as many, spread evenly.

    Examples
    --------
    >>> copies(5, 0.5), copies(3, 2), copies(4, 1.25)
    ([0, 1, 0, 1, 0], [2, 2, 2], [1, 1, 1, 2])
    """
    marks = [math.floor(number * factor + 1e-9) for number in range(count + 1)]
    return [later - earlier for earlier, later in itertools.pairwise(marks)]


def _scaled(jobs: pd.DataFrame, chosen: np.ndarray, factor: float) -> pd.DataFrame:
    times = np.ones(len(jobs), dtype="int64")
    times[chosen] = copies(int(chosen.sum()), factor)
    places = np.repeat(np.arange(len(jobs)), times)
    frame = jobs.iloc[places].reset_index(drop=True)
    number = np.concatenate([np.arange(count) for count in times]) if len(times) else np.array([])
    ids = frame["job_id"].str.partition(".")
    procs = ids[2].replace("", "0").astype("int64") + number * _COPY
    return frame.assign(job_id=ids[0] + "." + procs.astype(str))


def _rewritten(jobs: pd.DataFrame, chosen: np.ndarray, changes: dict[str, str]) -> pd.DataFrame:
    known = {text: changed(text, changes) for text in dict.fromkeys(jobs["ad"][chosen])}
    named = {name.lower() for name in changes}
    frame = jobs.copy()
    frame["ad"] = [known[text] if yes else text for text, yes in zip(jobs["ad"], chosen, strict=True)]
    parsed = {text: parse_one(text) for text in known.values()}
    for name, column in {**_NUMBERS, **_TEXTS}.items():
        if name.lower() not in named:
            continue
        told: dict[str, Any] = {
            text: number_of(ad, name) if name in _NUMBERS else source_of(ad, name)
            for text, ad in parsed.items()
        }
        if name in _NUMBERS and not all(
            value is not None and 0 <= value < math.inf for value in told.values()
        ):
            raise InputError(
                f"workload.adjust: {name} is no number of at least 0 in every job's ad after it is rewritten"
            )
        held: Any = [
            told[text] if yes else old
            for text, old, yes in zip(frame["ad"], frame[column], chosen, strict=True)
        ]
        frame[column] = held
    return conform(frame, "jobs")
