"""Jobs that really were submitted, as the engine's workload."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from sim.errors import InputError

_PRIO = re.compile(r"\b(P(?:re|ost)JobPrio[12]) = (-?\d+)")


class RecordedJob(NamedTuple):
    """A job of the record: place in the frame, order, submitter, when [s, Unix], how long [s], its ad.

    estimated : the run time is a guess, because the job never completed
    running_on : the slot on which it was running when the window began, with `run_s` left to run; empty for others
    leaves, leaves_as : when its user took it away [s, Unix], infinity if never; ``removed`` or ``held``
    schedd : where it was submitted, if the jobs come from several
    """

    row: int
    order: tuple[float, int, int]
    submitter: str
    submitted: float
    run_s: float
    ad: str
    estimated: bool
    running_on: str = ""
    leaves: float = math.inf
    leaves_as: str = "removed"
    schedd: str = ""


def recorded_jobs(
    jobs: pd.DataFrame, classes: pd.Series, *, start: float, end: float, by_time: bool = False
) -> list[RecordedJob]:
    """The jobs of a window [s, Unix], by submission: those submitted in it, idle at its start, or running then.

    A job that never completed runs as long as the median of its class (of all, where its class has none), or as long as
    it was seen running if that is longer. One that has run so long as the window begins runs as long as the median of those
    of its class, or of all, that ran longer; where none did, twice as long as so far.

    Parameters
    ----------
    by_time : a submitter's jobs go in the order of their submission, because the ids of a mixed workload don't

    Raises
    ------
    InputError : the window has no job, or a run time is impossible, or none is known
    """
    submitted = unix(jobs["submitted_at"])
    first, last = unix(jobs["first_started_at"]), unix(jobs["started_at"])
    left = unix(jobs["entered_status_at"].where(jobs["status"].isin(["completed", "removed", "held"])))
    there = (submitted <= end) & ~(left < start)
    # what is idle again was taken off its slot, whenever it first ran; its state is that of its last sight
    idle_again = (jobs["status"] == "idle").to_numpy() & (unix(jobs["entered_status_at"]) <= start)
    running = there & (submitted < start) & (last < start) & ~idle_again
    waiting = there & (~(first < start) | (idle_again & (submitted < start)))
    if not (running | waiting).any():
        raise InputError(
            "the recording has no job that was submitted in its window; collect queue and history first"
        )
    runs = jobs["run_s"].astype("float64")
    if (runs < 0).any():
        raise InputError(f"job {jobs['job_id'][int((runs < 0).to_numpy().argmax())]}: a run time below zero")
    if runs.isna().all() and not by_time:
        raise InputError(
            "no job of the recording has completed, so nobody knows how long they run; collect history first"
        )
    median = runs.groupby(classes).transform("median").fillna(runs.median()).fillna(0.0)
    seen_s = (
        (jobs["seen_at"] - jobs["started_at"])
        .dt.total_seconds()
        .where(jobs["status"] == "running")
        .fillna(0.0)
    )
    length = runs.fillna(pd.concat([median, seen_s], axis=1).max(axis=1)).to_numpy(copy=True)
    late = np.flatnonzero(running & runs.isna().to_numpy() & (length <= start - last + 1))
    if len(late):
        known = runs.dropna().sort_values()
        of_class = {label: own.to_numpy() for label, own in known.groupby(classes)}
        for row in late:
            ran = start - last[row]
            own = _longer(of_class.get(classes.iloc[row], known.to_numpy()), ran)
            guess = own or _longer(known.to_numpy(), ran) or 2 * ran
            length[row] = max(guess, length[row])
    chosen = np.flatnonzero(running | waiting)
    part = jobs.iloc[chosen]
    orders = _orders(part, submitted[chosen], by_time=by_time)
    slots = part["slot"].where(running[chosen] & part["slot"].notna(), "")
    # what is drawn beside recorded jobs is of no schedd that one could name
    several = part["schedd"].nunique() > 1 and not by_time
    schedds = part["schedd"].tolist() if several else [""] * len(part)
    taken = part["status"].isin(["removed", "held"]).to_numpy()
    leaves = np.where(taken & ~np.isnan(left[chosen]), left[chosen], math.inf)
    leaves = np.maximum(
        leaves, submitted[chosen]
    )  # a hold is told in whole seconds, a submission on hold exactly
    found = [
        RecordedJob(
            row=int(row),
            order=order,
            submitter=submitter,
            submitted=float(submitted[row]),
            run_s=max(0.0, float(length[row]) - (start - float(last[row]))) if on else float(length[row]),
            ad=ad,
            estimated=guessed,
            running_on=on,
            leaves=leaving,
            leaves_as="held" if status == "held" else "removed",
            schedd=schedd,
        )
        for row, order, submitter, ad, guessed, on, leaving, status, schedd in zip(
            chosen,
            orders,
            part["submitter"].tolist(),
            part["ad"].tolist(),
            part["run_s"].isna().tolist(),
            slots.tolist(),
            leaves.tolist(),
            part["status"].tolist(),
            schedds,
            strict=True,
        )
    ]
    return sorted(found, key=lambda job: (job.submitted, job.order))


def _longer(lengths: np.ndarray, ran_s: float) -> float:
    """The median of those of these ascending lengths that are beyond `ran_s` [s]; 0 if none is."""
    beyond = lengths[np.searchsorted(lengths, ran_s, side="right") :]
    return float(beyond[len(beyond) // 2]) if len(beyond) else 0.0


def _orders(jobs: pd.DataFrame, submitted: np.ndarray, *, by_time: bool) -> list[tuple[float, int, int]]:
    """JobPrio and the four beside it, then the ids; see `prio_compar` of the schedd."""
    priorities = _ranked(jobs)
    if by_time:
        moments = np.round(submitted * 1000).astype("int64").tolist()
        return [
            (-float(priority), moment, place)
            for place, (priority, moment) in enumerate(zip(priorities, moments, strict=True))
        ]
    ids = [name.partition(".") for name in jobs["job_id"].tolist()]
    return [
        (-float(priority), int(cluster), int(proc or 0))
        for priority, (cluster, _, proc) in zip(priorities, ids, strict=True)
    ]


def _ranked(jobs: pd.DataFrame) -> list[int]:
    """JobPrio; where jobs have PreJobPrio1, PreJobPrio2, PostJobPrio1 or PostJobPrio2, a number that ranks as all five do.

    Who lacks one of the four comes after all who have it.
    """
    priorities: list[int] = jobs["priority"].tolist()
    held = [
        dict(_PRIO.findall(ad)) if "reJobPrio" in ad or "stJobPrio" in ad else {}
        for ad in jobs["ad"].tolist()
    ]
    if not any(held):
        return priorities
    keys = [
        tuple(
            float(own.get(name, "-inf")) if name else float(priority)
            for name in ("PreJobPrio1", "PreJobPrio2", "", "PostJobPrio1", "PostJobPrio2")
        )
        for own, priority in zip(held, priorities, strict=True)
    ]
    places = {key: place for place, key in enumerate(sorted(set(keys)))}
    return [places[key] for key in keys]


def unix(times: pd.Series) -> np.ndarray:
    """Times as Unix seconds; missing ones are NaN, which compares with nothing."""
    held = pd.to_datetime(times, utc=True).astype("datetime64[us, UTC]")
    seconds = held.astype("int64").to_numpy() / 1e6
    return np.where(held.isna().to_numpy(), np.nan, seconds)
