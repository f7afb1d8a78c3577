"""Mismatch: GPUs stand idle while jobs wait longer than usual. One rule for reports and alerts.

An hour is a mismatch when the median wait of the GPU jobs of the last 12 h is at least twice that of the last 14 d and at
least a tenth of the GPUs are free; hours with a burst of submissions (500 and more) explain themselves and don't count.
Four such hours in a row are flagged. Waits are capped at 48 h, and how many were is told. Constants follow what a
campus GPU pool settled on for its own reports.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sim.waits import first_waits

ROLLING_H, BASELINE_H = 12, 14 * 24
SPIKE = 2.0
FREE_SHARE = 0.10
BURST_JOBS = 500
FLAG_H = 4
CAP_S = 48 * 3600.0
LEAST_H = 8


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What the rule found.

    hours : hour, median_s, baseline_s, free, gpus, arrivals, correlation, mismatch
    spells : since, until, hours, free (mean), median_s (worst): runs of `FLAG_H` hours and more
    capped : share of waits that were capped [1]
    judged : False with fewer than `LEAST_H` hours of data
    """

    hours: pd.DataFrame
    spells: pd.DataFrame
    capped: float
    judged: bool


def find(jobs: pd.DataFrame, supply: pd.DataFrame) -> Mismatch:
    """Apply the rule.

    Parameters
    ----------
    jobs : frame "jobs"
    supply : `tables.supply`
    """
    gpu = jobs[jobs["request_gpus"] > 0]
    waits = first_waits(gpu)
    wait, capped = (
        waits["wait_s"].clip(upper=CAP_S),
        float((waits["wait_s"] > CAP_S).mean()) if len(gpu) else 0.0,
    )
    # A job that still waits counts with its age, at the time it was last seen waiting.
    at = gpu["submitted_at"] + pd.to_timedelta(waits["wait_s"], unit="s")
    hourly = supply.set_index("seen_at")[["free", "gpus"]].resample("1h").mean()
    if len(hourly.dropna()) < LEAST_H or gpu.empty:
        return Mismatch(_hours(hourly.iloc[:0]), _spells(_hours(hourly.iloc[:0])), capped, False)
    hours = hourly.reset_index(names="hour")
    ends = _unix(hours["hour"]) + 3600.0
    order = np.argsort(_unix(at), kind="stable")
    moments, held = _unix(at)[order], wait.to_numpy()[order]
    for name, length in (("median_s", ROLLING_H), ("baseline_s", BASELINE_H)):
        first = np.searchsorted(moments, ends - 3600.0 * length, side="right")
        last = np.searchsorted(moments, ends, side="right")
        hours[name] = [
            float(np.median(held[a:b])) if b > a else np.nan for a, b in zip(first, last, strict=True)
        ]
    submitted = gpu["submitted_at"].dt.floor("h").value_counts()
    hours["arrivals"] = hours["hour"].map(submitted).fillna(0).astype(int)
    hours["correlation"] = hours["free"].rolling(24, min_periods=LEAST_H).corr(hours["median_s"])
    hours["mismatch"] = (
        (hours["median_s"] >= SPIKE * hours["baseline_s"])
        & (hours["free"] >= FREE_SHARE * hours["gpus"])
        & (hours["arrivals"] < BURST_JOBS)
    )
    made = _hours(hours)
    return Mismatch(made, _spells(made), capped, True)


def _unix(times: pd.Series) -> np.ndarray:
    """Times in seconds."""
    return np.asarray(times.dt.as_unit("us").astype("int64"), dtype="float64") / 1e6


def _hours(frame: pd.DataFrame) -> pd.DataFrame:
    columns = ["hour", "median_s", "baseline_s", "free", "gpus", "arrivals", "correlation", "mismatch"]
    return frame.reindex(columns=columns)


def _spells(hours: pd.DataFrame) -> pd.DataFrame:
    columns = ["since", "until", "hours", "free", "median_s"]
    if hours.empty:
        return pd.DataFrame(columns=columns)
    number = (hours["mismatch"] != hours["mismatch"].shift()).cumsum()
    rows = [
        {
            "since": part["hour"].iloc[0],
            "until": part["hour"].iloc[-1] + pd.Timedelta(hours=1),
            "hours": len(part),
            "free": part["free"].mean(),
            "median_s": part["median_s"].max(),
        }
        for _, part in hours.groupby(number)
        if part["mismatch"].iloc[0] and len(part) >= FLAG_H
    ]
    return pd.DataFrame(rows, columns=columns)
