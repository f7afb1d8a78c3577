"""Figures of the Containers page: strategies side by side, caches warming up, from push to jobs, who has the images."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.figures import labels, theme
from dashboard.figures.theme import Scheme

#: Rows of the strategies' figure: column, word, symbol of the mark.
MARKS = (
    ("total_mean_s", "to the result (mean)", "diamond"),
    ("wait_p50_s", "p50 wait", "circle"),
    ("start_up_s", "start-up (mean)", "square"),
)


def strategies(table: pd.DataFrame, scheme: Scheme) -> go.Figure:
    """A row per strategy on a logarithmic axis: time to the result with its spread over seeds, wait, start-up.

    Parameters
    ----------
    table : `sim.strategies.Comparison.table`
    """
    colours = theme.palette(scheme)
    rows = table.iloc[::-1].reset_index(drop=True)
    figure = theme.figure(scheme, height=110 + 50 * max(len(rows), 1), hovermode="closest")
    hues = {"total_mean_s": colours.observed, "wait_p50_s": colours.simulated, "start_up_s": colours.good}
    names = [theme.literal(str(words), width=50) for words in rows["words"]]
    bars: tuple[list[float | None], list[float | None]] = ([], [])
    for place, row in enumerate(rows.to_dict("records")):
        if math.isfinite(row["total_mean_low_s"]):
            bars[0].extend([row["total_mean_low_s"], row["total_mean_high_s"], None])
            bars[1].extend([place - 0.2, place - 0.2, None])
    figure.add_scatter(
        x=bars[0], y=bars[1], mode="lines", line={"color": hues["total_mean_s"], "width": 4}, opacity=0.45,
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    for column, word, symbol in MARKS:
        figure.add_scatter(
            x=rows[column].clip(lower=1.0).tolist(),
            y=[place - 0.2 for place in range(len(rows))],
            mode="markers",
            name=word,
            marker={"color": hues[column], "symbol": symbol, "size": 11},
            customdata=[
                [name, labels.seconds(value)] for name, value in zip(names, rows[column], strict=True)
            ],
            hovertemplate="%{customdata[0]}<br>" + word + ": <b>%{customdata[1]}</b><extra></extra>",
        )
    values = rows[[column for column, _, _ in MARKS]].to_numpy(dtype=float)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (1.0, 600.0)
    figure.update_xaxes(**theme.duration_axis(low, high, "duration (log scale; below 1 s drawn at 1 s)"))
    theme.name_rows(figure, names, scheme)
    return figure


def hits(frames: Mapping[str, pd.DataFrame], scheme: Scheme) -> go.Figure:
    """Share of starts that moved nothing over the hours after an event, a line per variant.

    Parameters
    ----------
    frames : `sim.delivery.warmup.warm_up` by variant
    """
    figure = theme.figure(scheme, height=300, hovermode="x unified")
    for name, frame in frames.items():
        figure.add_scatter(
            x=frame["hour"].round(3).tolist(), y=(100 * frame["hit"]).round(1).tolist(), name=theme.literal(name),
            mode="lines+markers", line={"shape": "linear"}, hovertemplate="%{y:.0f} %",
        )  # fmt: skip
    figure.update_xaxes(title_text="time after the event (h)", rangemode="tozero")
    figure.update_yaxes(title_text="warm starts (%)", range=[0, 102])
    return figure


def start_ups(frames: Mapping[str, pd.DataFrame], scheme: Scheme) -> go.Figure:
    """Start-up over the hours after an event: p90 as a line, p50 dotted, a colour per variant; see `hits`."""
    colours = theme.palette(scheme)
    hues = (colours.observed, colours.simulated)
    figure = theme.figure(scheme, height=300, hovermode="x unified")
    for hue, (name, frame) in zip(hues, frames.items(), strict=False):
        for column, word, dash in (("start_p90_s", "p90", "solid"), ("start_p50_s", "p50", "dot")):
            figure.add_scatter(
                x=frame["hour"].round(3).tolist(), y=frame[column].round(2).tolist(),
                name=f"{word} {theme.literal(name)}", mode="lines", line={"color": hue, "dash": dash},
                customdata=[labels.seconds(value) for value in frame[column]], hovertemplate="%{customdata}",
            )  # fmt: skip
    figure.update_xaxes(title_text="time after the event (h)", rangemode="tozero")
    figure.update_yaxes(title_text="start-up (s)", rangemode="tozero")
    return figure


def moved(frame: pd.DataFrame, scheme: Scheme) -> go.Figure:
    """Bytes by level over the hours after an event; see `hits`."""
    colours = theme.palette(scheme)
    figure = theme.figure(scheme, height=300, hovermode="x unified", barmode="stack")
    for column, word, hue in (
        ("squid_mb", "from the site's squid", colours.observed),
        ("origin_mb", "from a Stratum 1", colours.simulated),
    ):
        figure.add_bar(
            x=frame["hour"].round(3).tolist(), y=(frame[column] / 1e3).round(3).tolist(), name=word,
            marker={"color": hue}, hovertemplate="%{y:.2f} GB",
        )  # fmt: skip
    figure.update_xaxes(title_text="time after the event (h)", rangemode="tozero")
    figure.update_yaxes(title_text="moved (GB)", rangemode="tozero")
    return figure


def publication(curves: Mapping[str, pd.DataFrame], scheme: Scheme) -> go.Figure:
    """The chance that a job sees a pushed image over the minutes after the push, a line per image size.

    Parameters
    ----------
    curves : by name, columns minute and share
    """
    figure = theme.figure(scheme, height=300, hovermode="x unified")
    for name, curve in curves.items():
        figure.add_scatter(
            x=curve["minute"].tolist(), y=(100 * curve["share"]).round(1).tolist(), name=theme.literal(name),
            mode="lines", hovertemplate="%{y:.0f} %",
        )  # fmt: skip
    figure.update_xaxes(title_text="time after the push (min)", rangemode="tozero")
    figure.update_yaxes(title_text="visible to jobs (%)", range=[0, 102])
    return figure


def repositories(counts: pd.DataFrame, scheme: Scheme) -> go.Figure:
    """A row per repository: how many machines of the snapshot have it.

    Parameters
    ----------
    counts : columns repository, available, machines
    """
    colours = theme.palette(scheme)
    rows = counts.iloc[::-1].reset_index(drop=True)
    figure = theme.figure(scheme, height=90 + 44 * max(len(rows), 1), barmode="overlay", hovermode="closest")
    places = [place - 0.16 for place in range(len(rows))]
    names = [theme.literal(str(name), width=44) for name in rows["repository"]]
    figure.add_bar(
        y=places, x=rows["machines"].tolist(), orientation="h", width=0.4, name="machines",
        marker={"color": colours.grid, "line": {"color": colours.muted, "width": 1}}, hoverinfo="skip",
    )  # fmt: skip
    figure.add_bar(
        y=places, x=rows["available"].tolist(), orientation="h", width=0.4, name="with the repository",
        marker={"color": colours.observed}, customdata=names,
        hovertemplate="%{customdata}<br>machines with it: <b>%{x}</b><extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title_text="machines", rangemode="tozero", tickformat=",d", nticks=8)
    theme.name_rows(figure, names, scheme)
    return figure
