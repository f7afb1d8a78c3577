"""Observed waits beside simulated ones, group by group, with the spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sim.waits import first_waits, group_labels, mean_wait, quantile, survival

GROUPINGS = ("all", "gpu", "submitter", "class")
_MEASURES = ("mean_s", "p50_s", "p90_s")


Measures = dict[tuple[str, str], dict[str, float]]
"""Waits by (grouping, group): n, n_censored, mean_s, p50_s, p90_s."""


def compare_waits(
    observed: pd.DataFrame,
    simulated: Sequence[pd.DataFrame],
    classes: pd.Series,
    simulated_classes: Sequence[pd.Series],
    *,
    since: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """Set the first waits of simulated runs beside the observed ones.

    Parameters
    ----------
    observed : frame "jobs" as the pool had it; empty where nothing was observed
    simulated : frame "jobs" of each run
    classes, simulated_classes : class of each job, row for row
    since : jobs submitted before are left out (warm-up)

    Returns
    -------
    by, group, n, n_censored (simulated, mean over runs), mean_s, p50_s, p90_s (means over runs), mean_low_s, mean_high_s
    (5 and 95 % over runs), real_n_censored, real_mean_s, real_p50_s, real_p90_s [s]
    """
    real = measure_waits(observed, classes, since=since)
    runs = [
        measure_waits(jobs, labels, since=since)
        for jobs, labels in zip(simulated, simulated_classes, strict=True)
    ]
    rows = []
    for key in dict.fromkeys([*real, *sorted({key for run in runs for key in run}, key=_place)]):
        truth = real.get(key, {})
        found = [run[key] for run in runs if key in run]
        row: dict[str, Any] = {"by": key[0], "group": key[1]}
        row["n"] = truth["n"] if truth else round(float(np.mean([run["n"] for run in found])))
        row["n_censored"] = float(np.mean([run["n_censored"] for run in found])) if found else 0.0
        for name in _MEASURES:
            row[name] = _mean([run[name] for run in found])
        means = [run["mean_s"] for run in found if not math.isnan(run["mean_s"])]
        row["mean_low_s"], row["mean_high_s"] = (
            float(np.quantile(means, q)) if means else float("nan") for q in (0.05, 0.95)
        )
        row["real_n_censored"] = truth.get("n_censored", float("nan"))
        row |= {f"real_{name}": truth.get(name, float("nan")) for name in _MEASURES}
        rows.append(row)
    return pd.DataFrame(rows)


def _place(key: tuple[str, str]) -> tuple[int, str]:
    return GROUPINGS.index(key[0]), key[1]


def score(table: pd.DataFrame, *, at_least: int = 20) -> float:
    """The mean absolute relative error of the groups' mean waits, groups of fewer jobs left out."""
    big = table[table["n"] >= at_least]
    return float(((big["mean_s"] - big["real_mean_s"]).abs() / big["real_mean_s"]).mean())


def _mean(values: list[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return float(np.mean(kept)) if kept and len(kept) * 2 > len(values) else float("nan")


def measure_waits(jobs: pd.DataFrame, classes: pd.Series, *, since: pd.Timestamp | None = None) -> Measures:
    """The first waits of a frame "jobs" in every grouping.

    classes : class of each job, row for row
    since : jobs submitted before are left out
    """
    if since is not None:
        kept = (jobs["submitted_at"] >= since).to_numpy()
        jobs, classes = jobs[kept].reset_index(drop=True), classes[kept].reset_index(drop=True)
    waits = first_waits(jobs)
    found: Measures = {}
    for by in GROUPINGS:
        labels = group_labels(jobs, by, classes if by == "class" else None)
        for group, part in waits.groupby(labels.to_numpy()):
            curve = survival(part["wait_s"], part["started"])
            found[by, str(group)] = {
                "n": len(part),
                "n_censored": int((~part["started"]).sum()),
                "mean_s": mean_wait(part["wait_s"], part["started"]),
                "p50_s": quantile(curve, 0.5),
                "p90_s": quantile(curve, 0.9),
            }
    return found
