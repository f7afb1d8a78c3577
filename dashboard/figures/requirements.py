"""Figures of the Requirements page: GPUs by model, what each clause costs, the strictness ladder."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures import labels, theme
from dashboard.figures.pool import with_others
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
    rows = with_others(frame.iloc[::-1], "model", ["now", "seen", "drained"])
    figure = _rows_figure(len(rows), 54, scheme)
    # Nested, so drawn over one another with a narrower bar inside a wider one, never stacked.
    _nested(figure, rows, rows["model"], ("seen", "seen"), (0.5, colours.muted, 0.28))
    _nested(figure, rows, rows["model"], ("drained", "drained"), (0.34, colours.observed, 0.6))
    _nested(figure, rows, rows["model"], ("now", "now"), (0.16, colours.good, 1.0))
    figure.update_xaxes(**theme.count_axis(rows["seen"].max() if len(rows) else 1))
    theme.name_rows(figure, [theme.literal(str(name), width=NAME_WIDTH) for name in rows["model"]], scheme)
    return figure


def clauses(frame: pd.DataFrame, scheme: Scheme) -> go.Figure:
    """A row per clause, the first of many: GPUs it admits alone, and GPUs gained if only this clause were dropped.

    Parameters
    ----------
    frame : text, gpus, gained_if_dropped
    """
    colours = theme.palette(scheme)
    rows = frame.head(theme.MOST_ROWS).iloc[::-1]
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
    figure.update_xaxes(**theme.count_axis(widest), range=[0, widest * 1.12])
    theme.name_rows(figure, _names(rows["text"]), scheme, mono=True)
    return figure


def ladder(frame: pd.DataFrame, scheme: Scheme) -> go.Figure:
    """A row per rung, in the order of the frame: eligible GPUs at the left with what the step costs, waits at the right.

    Parameters
    ----------
    frame : rung, gpus, now, lost, and p50_s, p90_s with _low_s and _high_s, longest_s, n, n_censored; the waits may be missing
    """
    colours = theme.palette(scheme)
    rows = frame.head(theme.MOST_ROWS).iloc[::-1].reset_index(drop=True)
    figure = _rows_figure(len(rows), 56, scheme)
    _nested(figure, rows, rows["rung"], ("gpus", "drained"), (0.36, colours.observed, 0.5))
    _nested(figure, rows, rows["rung"], ("now", "now"), (0.18, colours.good, 1.0))
    figure.data[0].update(
        text=[labels.step(lost, left) for lost, left in zip(rows["lost"], rows["gpus"], strict=True)],
        textposition="outside",
        cliponaxis=False,
        textfont={"color": colours.text, "size": 12},
    )
    theme.name_rows(figure, _names(rows["rung"]), scheme, mono=True)
    widest = max(1, int(rows["gpus"].max() if len(rows) else 1))
    figure.update_xaxes(**theme.count_axis(widest), range=[0, 1.3 * widest])
    if rows["n"].notna().any():
        _ladder_waits(figure, rows, scheme)
    return figure


def _rows_figure(n: int, row: int, scheme: Scheme) -> go.Figure:
    return theme.figure(scheme, height=96 + row * max(n, 1), barmode="overlay", hovermode="closest")


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
    """Quantiles with their intervals; one that the record is too short for is a triangle at the longest wait seen."""
    colours = theme.palette(scheme)
    ends = []
    for name, symbol, size, shift in (("p90", "diamond", 11, 0.02), ("p50", "circle", 9, -0.3)):
        value, low, high = (rows[f"{name}{part}"].astype(float) for part in ("_s", "_low_s", "_high_s"))
        longest = rows["longest_s"].astype(float)
        at = value.fillna(longest).clip(lower=1.0)
        left, right = low.fillna(at).clip(lower=1.0, upper=at), high.fillna(longest).fillna(at).clip(lower=at)
        ends += [*left.dropna(), *right.dropna()]
        told = [labels.waited(*each) for each in zip(value, low, high, longest, strict=True)]
        figure.add_scatter(
            x=at.tolist(),
            y=[place + shift for place in range(len(rows))],
            xaxis="x2",
            mode="markers",
            name=f"{name} wait",
            marker={
                "color": colours.simulated,
                "symbol": [symbol if reached else "triangle-right" for reached in value.notna()],
                "size": size,
            },
            error_x={
                "type": "data", "symmetric": False, "array": (right - at).tolist(), "arrayminus": (at - left).tolist(),
                "color": colours.simulated, "thickness": 1.5, "width": 4,
            },
            customdata=[
                [theme.literal(str(rung)), theme.literal(words), labels.number(n), labels.percent(never)]
                for rung, words, n, never in zip(
                    rows["rung"], told, rows["n"], rows["n_censored"] / rows["n"], strict=True
                )
            ],
            hovertemplate=f"%{{customdata[0]}}<br>{name} wait: <b>%{{customdata[1]}}</b>"
            "<br>n=%{customdata[2]}, %{customdata[3]} never started<extra></extra>",
        )  # fmt: skip
    axis = theme.duration_axis(min(ends), max(ends), "simulated wait (log scale)", most=4)
    figure.update_layout(xaxis_domain=[0, 0.46], xaxis2={**axis, "domain": [0.54, 1], "anchor": "y"})


def _names(texts: pd.Series) -> list[str]:
    return [theme.literal(str(text), width=NAME_WIDTH) for text in texts]
