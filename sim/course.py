"""How runs went beside how the pool went: origins of starts, use over time, priorities over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

ORIGINS = ("match", "leftover", "reuse")
POINTS = 24  # of a course of time
NEAR = 0.1  # two priorities agree within this share of the real one


def compare_courses(
    attempts: Sequence[pd.DataFrame],
    priorities: Sequence[pd.DataFrame],
    *,
    real_attempts: pd.DataFrame,
    real_origins: Mapping[str, int],
    real_priorities: pd.DataFrame,
    start: float,
    end: float,
) -> dict[str, Any]:
    """Set the course of simulated runs beside the real one.

    Parameters
    ----------
    attempts, priorities : of each run; frame "attempts", and at, submitter, real_priority
    real_attempts, real_priorities : frames "attempts" and "priorities" as recorded
    real_origins : how many attempts began with a match, a leftover, a reused claim; empty where no log tells
    start, end : of what is compared [s, Unix]

    Returns
    -------
    origins : share of starts [1] by origin, simulated (mean over runs) and real (None where not known)
    use : cores and GPUs in use, means of equal parts of the time: at_s (middle, since `start`), simulated and real
    priorities : by submitter the moments compared, and the share of them [1] at which the runs' mean is within 10 %
    """
    shares = [origin_shares(each["origin"].value_counts()) for each in attempts]
    real = origin_shares(pd.Series(real_origins, dtype="float64"))
    edges = np.linspace(start, end, POINTS + 1)
    use: dict[str, Any] = {"at_s": ((edges[:-1] + edges[1:]) / 2 - start).tolist()}
    for column in ("cpus", "gpus"):
        use[column] = np.mean([in_use(each, column, edges) for each in attempts], axis=0).tolist()
        use[f"real_{column}"] = in_use(real_attempts, column, edges).tolist() if len(real_attempts) else None
    return {
        "origins": [
            {
                "origin": name,
                "share": float(np.nanmean([each[name] for each in shares]))
                if any(each for each in shares)
                else None,
                "real_share": real.get(name),
            }
            for name in ORIGINS
        ],
        "use": use,
        "priorities": agreement(priorities, real_priorities),
    }


def origin_shares(counts: pd.Series) -> dict[str, float]:
    """The share of each origin among the starts that have one [1]; empty without any."""
    kept = {name: float(counts.get(name, 0.0)) for name in ORIGINS}
    total = sum(kept.values())
    return {name: value / total for name, value in kept.items()} if total else {}


def in_use(attempts: pd.DataFrame, column: str, edges: np.ndarray) -> np.ndarray:
    """What attempts hold of a resource, as means between edges [s, Unix]; who hasn't ended holds it to the last edge."""
    began = _unix(attempts["started_at"])
    ended = np.where(attempts["ended_at"].isna(), edges[-1], _unix(attempts["ended_at"]))
    held = attempts[column].fillna(0).to_numpy(dtype=float)
    kept = np.isfinite(began)
    began, ended, held = began[kept], ended[kept], held[kept]
    low, high = edges[:-1, None], edges[1:, None]
    overlap = np.clip(np.minimum(high, ended) - np.maximum(low, began), 0.0, None)
    return np.asarray((overlap * held).sum(axis=1) / np.diff(edges))


def agreement(simulated: Sequence[pd.DataFrame], real: pd.DataFrame) -> list[dict[str, Any]]:
    """For each submitter, how often the runs' mean priority is within 10 % of the recorded one."""
    if not simulated or not any(len(each) for each in simulated):
        return []
    together = pd.concat(simulated).groupby(["submitter", "at"])["real_priority"].mean().rename("simulated")
    people = real[~real["is_group"].astype(bool)].dropna(subset=["real_priority"])
    both = people.rename(columns={"seen_at": "at"}).merge(together.reset_index(), on=["submitter", "at"])
    found = []
    for name, part in both.groupby("submitter"):
        near = (part["simulated"] - part["real_priority"]).abs() <= NEAR * part["real_priority"]
        found.append({"submitter": str(name), "n": len(part), "near_share": float(near.mean())})
    return found


def _unix(times: pd.Series) -> np.ndarray:
    return np.asarray((times - pd.Timestamp(0, unit="s", tz="UTC")).dt.total_seconds(), dtype=float)
