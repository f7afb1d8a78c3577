"""How long jobs waited, with those that never started counted as what they are: censored.

The *first wait* is the first execution start less the submission. A job that was still idle, or removed while idle, when
it was last seen is right-censored at that time, never dropped. Estimates are Kaplan-Meier's (Kaplan and Meier 1958), bands
are Greenwood's on the log-log scale (Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data, 1980).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sim.errors import FrameError
from sim.schema import conform

Z95 = 1.959964

Numbers = Sequence[float] | pd.Series | np.ndarray
Flags = Sequence[bool] | pd.Series | np.ndarray


def first_waits(jobs: pd.DataFrame) -> pd.DataFrame:
    """The first wait of each job of a frame "jobs": wait_s [s] and started; row for row."""
    started = jobs["first_started_at"].notna()
    left = jobs["entered_status_at"].where(jobs["status"].isin(["removed", "held"]), jobs["seen_at"])
    until = jobs["first_started_at"].where(started, left.fillna(jobs["seen_at"]))
    wait = (until - jobs["submitted_at"]).dt.total_seconds().clip(lower=0)
    return pd.DataFrame({"wait_s": wait.astype("float64"), "started": started.astype(bool)})


def survival(wait_s: Numbers, started: Flags) -> pd.DataFrame:
    """The share of jobs started within a time, censored ones counted right.

    Returns
    -------
    wait_s [s], share_started [1] with its 95 % band low, high [1]; one row per distinct wait of a started job

    Examples
    --------
    >>> survival([10, 20, 30], [True, False, True])["share_started"].round(3).tolist()
    [0.333, 1.0]
    """
    waits, events = np.asarray(wait_s, dtype="float64"), np.asarray(started, dtype=bool)
    moments, deaths = np.unique(waits[events], return_counts=True)
    at_risk = len(waits) - np.searchsorted(np.sort(waits), moments, side="left")
    alive = np.cumprod(1 - deaths / at_risk) if len(moments) else np.array([])
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(deaths / (at_risk * (at_risk - deaths)))
        log = np.log(alive)
        spread = Z95 * np.sqrt(variance) / np.abs(log)
        low_alive, high_alive = alive ** np.exp(spread), alive ** np.exp(-spread)
    sure = (alive > 0) & np.isfinite(spread)
    return pd.DataFrame(
        {
            "wait_s": moments,
            "share_started": 1 - alive,
            "low": np.where(sure, 1 - high_alive, 1 - alive),
            "high": np.where(sure, 1 - low_alive, 1.0),
        }
    )


def quantile(curve: pd.DataFrame, q: float, column: str = "share_started") -> float:
    """The wait within which a share `q` had started [s]; NaN where censoring hides it."""
    place = int(np.searchsorted(curve[column].to_numpy(), q - 1e-12))
    return float(curve["wait_s"].iloc[place]) if place < len(curve) else float("nan")


def mean_wait(wait_s: Numbers, started: Flags) -> float:
    """The mean wait [s], restricted to the longest time anybody was seen waiting; without censoring the plain mean."""
    waits, events = np.asarray(wait_s, dtype="float64"), np.asarray(started, dtype=bool)
    if not len(waits):
        return float("nan")
    if events.all():
        return float(waits.mean())
    curve = survival(waits, events)
    edges = np.concatenate([[0.0], curve["wait_s"], [waits.max()]])
    alive = np.concatenate([[1.0], 1 - curve["share_started"].to_numpy()])
    return float(np.sum(np.diff(edges) * alive))


def wait_quantiles(
    jobs: pd.DataFrame, *, by: str = "all", groups: pd.Series | None = None, q: Sequence[float] = (0.5, 0.9)
) -> pd.DataFrame:
    """Quantiles of the first wait per group.

    Parameters
    ----------
    jobs : frame "jobs"
    by : name of the grouping: all, gpu, submitter, class
    groups : the group of each job, row for row; needed for class
    q : probabilities [1]

    Returns
    -------
    frame "waits"

    Raises
    ------
    FrameError : `groups` doesn't fit `jobs`, or `by` needs it and it is missing
    """
    waits = first_waits(jobs)
    rows = []
    for group, part in waits.groupby(group_labels(jobs, by, groups).to_numpy(), sort=True):
        curve = survival(part["wait_s"], part["started"])
        rows += [
            {
                "by": by,
                "group": str(group),
                "q": share,
                "wait_s": quantile(curve, share),
                "low_s": quantile(curve, share, "high"),
                "high_s": quantile(curve, share, "low"),
                "n": len(part),
                "n_censored": int((~part["started"]).sum()),
            }
            for share in q
        ]
    columns = ["by", "group", "q", "wait_s", "low_s", "high_s", "n", "n_censored"]
    return conform(pd.DataFrame(rows, columns=columns), "waits")


def group_labels(jobs: pd.DataFrame, by: str, groups: pd.Series | None = None) -> pd.Series:
    """The group of each job; jobs without a GPU have none in ``gpu`` (missing)."""
    if groups is not None and len(groups) != len(jobs):
        raise FrameError(f"{len(groups)} group labels for {len(jobs)} jobs")
    if by == "all":
        return pd.Series("all", index=jobs.index, dtype="str")
    if by == "gpu":
        return pd.Series("gpu", index=jobs.index, dtype="str").where(jobs["request_gpus"] >= 1)
    if by == "submitter":
        return jobs["submitter"]
    if groups is None:
        raise FrameError(f"grouping by {by!r} needs the group of each job")
    return groups
