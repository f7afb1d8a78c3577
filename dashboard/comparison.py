"""Waits of jobs as the pages show them: the same functions for observed and for simulated jobs."""

from __future__ import annotations

import pandas as pd

from dashboard.tables import ALL, GPU
from sim.waits import first_waits, mean_wait, survival, wait_quantiles
from sim.workload.classes import label_classes


def classes(jobs: pd.DataFrame, by: str | None) -> pd.Series:
    """The class of each job, never missing."""
    return label_classes(jobs, by=by).fillna("no class").astype("str")


def members(jobs: pd.DataFrame, by: str | None, group: str) -> pd.DataFrame:
    """The jobs of a group: a class, or `ALL`, or `GPU`."""
    if group == ALL:
        return jobs
    if group == GPU:
        return jobs[jobs["request_gpus"] > 0]
    return jobs[(classes(jobs, by) == group).to_numpy()]


def curve(jobs: pd.DataFrame) -> pd.DataFrame:
    """Share of `jobs` started within t, from 0 % to the last time anybody was seen waiting.

    Returns
    -------
    wait_s, share_started, low, high
    """
    waits = first_waits(jobs)
    held = survival(waits["wait_s"], waits["started"])
    if not len(held):
        return held
    first, last = held.iloc[[0]].assign(share_started=0.0, low=0.0, high=0.0), held.iloc[[-1]]
    # The plateau: jobs that were still waiting after the last start hold the curve below 100 %.
    longest = max(float(waits["wait_s"].max()), float(last["wait_s"].iloc[0]))
    return pd.concat([first, held, last.assign(wait_s=longest)], ignore_index=True)


def probe_curve(probes: pd.DataFrame) -> pd.DataFrame:
    """`curve` of ghost probes: label, at, wait_s, started."""
    return survival(probes["wait_s"], probes["started"])


def summarise(jobs: pd.DataFrame, by: str | None) -> pd.DataFrame:
    """First waits of all jobs, of GPU jobs, and of each class.

    Returns
    -------
    group, n, n_censored, mean_s, p50_s, p90_s, p99_s, longest_s (the longest that anybody was seen waiting)
    """
    gpu = members(jobs, by, GPU)
    parts = [(jobs, pd.Series(ALL, index=jobs.index)), (gpu, pd.Series(GPU, index=gpu.index))]
    parts.append((jobs, classes(jobs, by)))
    rows = [_rows(part, groups) for part, groups in parts if len(part)]
    return pd.concat(rows, ignore_index=True) if rows else _no_rows()


def _no_rows() -> pd.DataFrame:
    columns = ["group", "n", "n_censored", "mean_s", "p50_s", "p90_s", "p99_s", "longest_s"]
    return pd.DataFrame(columns=columns).astype(dict.fromkeys(columns[3:], "float64"))


def _rows(jobs: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    quantiles = wait_quantiles(jobs, by="class", groups=groups, q=(0.5, 0.9, 0.99))
    made = quantiles.groupby("group")[["n", "n_censored"]].first().astype(int)
    for q, name in ((0.5, "p50_s"), (0.9, "p90_s"), (0.99, "p99_s")):
        made[name] = quantiles[quantiles["q"] == q].set_index("group")["wait_s"]
    waits = first_waits(jobs).groupby(groups.to_numpy())
    made["longest_s"] = waits["wait_s"].max()
    made.insert(
        2, "mean_s", pd.Series({name: mean_wait(part["wait_s"], part["started"]) for name, part in waits})
    )
    return made.reset_index()
