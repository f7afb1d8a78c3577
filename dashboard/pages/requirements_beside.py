"""Two expressions side by side: what each matches, and what one has that the other lacks."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dash import html

from dashboard.columns import Column
from dashboard.components import notice, table
from dashboard.data import Data
from dashboard.figures.labels import NONE
from dashboard.pages.requirements_state import Question
from sim.analysis import Answer
from sim.errors import InputError


def side_by_side(data: Data, question: Question) -> Any:
    """The question's own expression and the one beside it, row by row; a sentence where there is none."""
    if not question.beside.strip():
        return html.P("Write a second expression to see the two side by side.", className="caption")
    try:
        here, there = (
            data.answer(text, gpus=question.gpus, cpus=question.cpus, memory_mib=question.memory_mib)
            for text in (question.expression, question.beside)
        )
    except InputError as error:
        return notice("The other expression has no answer", str(error), colour="yellow")
    columns = [
        Column("what", "", str), Column("here", "This", str, number=True), Column("there", "The other", str, number=True),
        Column("more", "difference", str, number=True),
    ]  # fmt: skip
    return html.Div(table(pd.DataFrame(_rows(here, there)), columns, caption="This expression and the other"))


def _rows(here: Answer, there: Answer) -> list[dict[str, str]]:
    rows = [_row("Verdict", here.verdict, there.verdict)]
    for word, ours, theirs in (
        ("GPUs free now", here.gpus.now, there.gpus.now),
        ("GPUs if drained", here.gpus.drained, there.gpus.drained),
        ("GPUs seen in the window", here.gpus.seen, there.gpus.seen),
        ("Machines", len(here.machines), len(there.machines)),
    ):
        rows.append(_row(word, ours, theirs))
    models = [
        dict(zip(frame["model"].astype(str), frame["drained"].astype(int), strict=True))
        for frame in (here.by_model, there.by_model)
    ]
    for name in sorted({*models[0], *models[1]}):
        rows.append(_row(f"{name}, if drained", models[0].get(name, 0), models[1].get(name, 0)))
    return rows


def _row(what: str, ours: object, theirs: object) -> dict[str, str]:
    both = isinstance(ours, int) and isinstance(theirs, int)
    more = (
        f"{theirs - ours:+d}" if isinstance(ours, int) and isinstance(theirs, int) and theirs != ours else ""
    )
    shown = [NONE if value is None else str(value) for value in (ours, theirs)]
    return {"what": what, "here": shown[0], "there": shown[1], "more": more if both else ""}
