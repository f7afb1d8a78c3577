"""An answer as frames: the twins of the page's charts and its CSV files."""

from __future__ import annotations

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


def ladder_table(answer: Answer, waits: pd.DataFrame | None = None) -> pd.DataFrame:
    """rung, gpus, now, p50_s, p90_s; waits of a simulation (rung, p50_s, p90_s) take the place of the answer's."""
    names = ("rung", "gpus", "now", "p50_s", "p90_s")
    made = pd.DataFrame(
        [{name: getattr(rung, name) for name in names} for rung in answer.ladder], columns=names
    )
    made = made.astype({"p50_s": "float64", "p90_s": "float64"})
    if waits is None or not len(made):
        return made
    return made.drop(columns=["p50_s", "p90_s"]).merge(
        waits[["rung", "p50_s", "p90_s"]], on="rung", how="left"
    )
