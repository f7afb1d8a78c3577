"""Figures of the Requirements page: GPUs by model, what each clause costs, the strictness ladder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.figures import labels, theme
from dashboard.figures.theme import Scheme

#: Names of rows are cut to what a phone can show; hovering tells the whole.
NAME_WIDTH = 44


def by_model(frame: pd.DataFrame, scheme: Scheme) -> go.Figure:
    """A row per model: GPUs that match now, would match if drained, were seen in the window; each holds the one before.

    Parameters
    ----------
    frame : model, now, drained, seen
    """
    colours = theme.palette(scheme)
    rows = frame.iloc[::-1]
    figure = _rows_figure(len(rows), 54, scheme)
    # Nested, so drawn over one another with a narrower bar inside a wider one, never stacked.
    _nested(figure, rows, rows["model"], ("seen", "seen"), (0.5, colours.muted, 0.28))
    _nested(figure, rows, rows["model"], ("drained", "drained"), (0.34, colours.observed, 0.6))
    _nested(figure, rows, rows["model"], ("now", "now"), (0.16, colours.good, 1.0))
    theme.name_rows(figure, [theme.literal(str(name), width=NAME_WIDTH) for name in rows["model"]], scheme)
    return figure


def clauses(frame: pd.DataFrame, scheme: Scheme) -> go.Figure:
    """A row per clause: GPUs it admits alone, and GPUs gained if only this clause were dropped.

    Parameters
    ----------
    frame : text, gpus, gained_if_dropped
    """
    colours = theme.palette(scheme)
    rows = frame.iloc[::-1]
    figure = _rows_figure(len(rows), 66, scheme)
    for column, word, shift, colour, sign in (
        ("gpus", "alone", 0.05, colours.observed, ""),
        ("gained_if_dropped", "gained if dropped", -0.24, colours.simulated, "+"),
    ):
        figure.add_bar(
            y=[place + shift for place in range(len(rows))],
            x=rows[column].tolist(),
            name=word,
            orientation="h",
            width=0.25,
            marker={"color": colour},
            text=[f"{sign}{n}" for n in rows[column]],
            textposition="outside",
            cliponaxis=False,
            textfont={"color": colours.text, "size": 12},
            customdata=[theme.literal(str(text)) for text in rows["text"]],
            hovertemplate=f"%{{customdata}}<br>{word}: <b>{sign}%{{x}}</b><extra></extra>",
        )
    widest = max(1, int(rows[["gpus", "gained_if_dropped"]].to_numpy().max(initial=1)))
    figure.update_xaxes(range=[0, widest * 1.12])
    theme.name_rows(figure, _names(rows["text"]), scheme, mono=True)
    return figure


def ladder(frame: pd.DataFrame, scheme: Scheme) -> go.Figure:
    """A row per rung, in the order of the frame: eligible GPUs at the left, p50 and p90 wait at the right once they are known.

    Parameters
    ----------
    frame : rung, gpus, now, p50_s, p90_s; the waits may be missing
    """
    colours = theme.palette(scheme)
    rows = frame.iloc[::-1].reset_index(drop=True)
    figure = _rows_figure(len(rows), 56, scheme)
    _nested(figure, rows, rows["rung"], ("gpus", "drained"), (0.36, colours.observed, 0.5))
    _nested(figure, rows, rows["rung"], ("now", "now"), (0.18, colours.good, 1.0))
    theme.name_rows(figure, _names(rows["rung"]), scheme, mono=True)
    if rows["p90_s"].notna().any():
        _ladder_waits(figure, rows, scheme)
    return figure


def _rows_figure(n: int, row: int, scheme: Scheme) -> go.Figure:
    figure = theme.figure(scheme, height=96 + row * max(n, 1), barmode="overlay", hovermode="closest")
    figure.update_xaxes(title_text="GPUs", rangemode="tozero", tickformat=",d", nticks=6)
    return figure


def _nested(
    figure: go.Figure,
    rows: pd.DataFrame,
    names: Sequence[str] | pd.Series,
    told: tuple[str, str],
    look: tuple[float, str, float],
) -> None:
    (column, word), (width, colour, opacity) = told, look
    figure.add_bar(
        y=[place - 0.14 for place in range(len(rows))],
        x=rows[column].tolist(),
        name=word,
        orientation="h",
        width=width,
        marker={"color": colour, "opacity": opacity},
        customdata=[theme.literal(str(name)) for name in names],
        hovertemplate=f"%{{customdata}}<br>{word}: <b>%{{x}}</b><extra></extra>",
    )


def _ladder_waits(figure: go.Figure, rows: pd.DataFrame, scheme: Scheme) -> None:
    colours = theme.palette(scheme)
    for column, symbol in (("p90_s", "diamond"), ("p50_s", "circle")):
        word = f"{column[:3]} wait"
        figure.add_scatter(
            x=rows[column].clip(lower=1.0).tolist(),
            y=[place - 0.14 for place in range(len(rows))],
            xaxis="x2",
            mode="markers",
            name=word,
            marker={"color": colours.simulated, "symbol": symbol, "size": 11 if column == "p90_s" else 9},
            customdata=[
                [theme.literal(str(rung)), labels.seconds(value)]
                for rung, value in zip(rows["rung"], rows[column], strict=True)
            ],
            hovertemplate=f"%{{customdata[0]}}<br>{word}: <b>%{{customdata[1]}}</b><extra></extra>",
        )
    values = rows[["p50_s", "p90_s"]].to_numpy(dtype=float)
    finite = values[np.isfinite(values)]
    axis = theme.duration_axis(float(finite.min()), float(finite.max()), "simulated wait (s, log)", most=4)
    figure.update_layout(xaxis_domain=[0, 0.46], xaxis2={**axis, "domain": [0.54, 1], "anchor": "y"})


def _names(texts: pd.Series) -> list[str]:
    return [theme.literal(str(text), width=NAME_WIDTH) for text in texts]
