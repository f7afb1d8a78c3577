"""An answer as frames: the twins of the page's charts and its CSV files."""

from __future__ import annotations

import math
from itertools import pairwise

import pandas as pd

from sim.analysis import Answer


def answer_tables(answer: Answer) -> dict[str, pd.DataFrame]:
    """The tables of an answer by name: by-model, clauses, ladder."""
    return {"by-model": answer.by_model, "clauses": clause_table(answer), "ladder": ladder_table(answer)}


def clause_table(answer: Answer) -> pd.DataFrame:
    """text, column, gpus, gained_if_dropped, next_value, gained_at_next."""
    names = ("text", "column", "gpus", "gained_if_dropped", "next_value", "gained_at_next")
    return pd.DataFrame(
        [{name: getattr(clause, name) for name in names} for clause in answer.clauses], columns=names
    )


#: What a simulation tells of a rung: quantiles of the wait with their intervals [s], probes, those that never started.
WAITS = (
    "p90_s",
    "p90_low_s",
    "p90_high_s",
    "p50_s",
    "p50_low_s",
    "p50_high_s",
    "longest_s",
    "n",
    "n_censored",
)
#: Ladders whose rungs each leave some of what the one before left; others are lists.
STEPS = ("capability", "memory", "runtime", "gpus")


def ladder_table(
    answer: Answer, waits: pd.DataFrame | None = None, ladder: str = "capability"
) -> pd.DataFrame:
    """A ladder of an answer: rung, gpus, now, seen, share, lost, and the waits of a probe run if there is one.

    Parameters
    ----------
    waits : ladder, rung, and of `WAITS` those that are known

    Returns
    -------
    lost : GPUs that the rung before had and this one lacks; missing at the first rung and where the rungs are a list
    """
    names = ("rung", "gpus", "now", "seen", "share")
    rungs = answer.ladders.get(ladder, ())
    rows = [{name: getattr(rung, name) for name in names} for rung in rungs]
    for before, row in pairwise(rows):
        row["lost"] = float(before["gpus"] - row["gpus"]) if ladder in STEPS else math.nan
    if waits is None:
        return pd.DataFrame(rows, columns=[*names, "lost", *WAITS]).astype(
            dict.fromkeys(("lost", *WAITS), "float64")
        )
    known = waits[waits["ladder"] == ladder].reindex(columns=["rung", *WAITS])
    made = pd.DataFrame(rows, columns=[*names, "lost"]).astype({"lost": "float64"})
    return made.merge(known, on="rung", how="left")
