"""Figures of the Pool page: GPUs by model or site and state, supply over time."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures import theme
from dashboard.figures.theme import Scheme

STATE_WORDS = {
    "claimed": "claimed",
    "backfill": "backfill",
    "draining": "draining",
    "prevented": "takes no jobs",
    "offline": "offline",
    "free": "free",
}


def devices(counts: pd.DataFrame, by: str, scheme: Scheme, *, most: int = theme.MOST_ROWS) -> go.Figure:
    """Stacked bars: a row per model or site, a colour per state, each device once; the smallest of many share the last row.

    Parameters
    ----------
    counts : `tables.count_devices`
    by : the column that names the rows, model or site
    most : rows, with that of the others
    """
    colours = theme.palette(scheme)
    capped = len(counts) > most
    counts = with_others(counts, by, [*theme.STATES, "gpus"], most=most)
    figure = theme.figure(
        scheme,
        height=100 + 54 * max(len(counts), 1),
        barmode="stack",
        hovermode="closest",
        legend_traceorder="normal",
    )
    names = [_row_name(row, by) for row in counts.to_dict("records")]
    if capped and counts["gpus"].iloc[0] > counts["gpus"].iloc[1:].max():
        # A bar for so many would leave no length to the others.
        names[0] += f": {counts['gpus'].iloc[0]:,} GPUs, {counts['free'].iloc[0]:,} free"
        counts = counts.assign(**{state: counts[state].where(counts.index > 0, 0) for state in theme.STATES})
    for state in theme.STATES:
        if not counts[state].any():
            continue
        figure.add_bar(
            y=[place - 0.16 for place in range(len(counts))],
            x=counts[state].tolist(),
            width=0.46,
            name=STATE_WORDS[state],
            orientation="h",
            marker={"color": colours.states[state], "line": {"color": colours.card, "width": 1}},
            text=[f"{n:,}" if n else "" for n in counts[state]],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": _ink(state, scheme), "size": 12},
            customdata=names,
            hovertemplate=f"%{{customdata}}<br>{STATE_WORDS[state]}: <b>%{{x}}</b><extra></extra>",
        )
    figure.update_xaxes(**theme.count_axis(counts["gpus"].max() if len(counts) else 1, nticks=8))
    # A number that doesn't fit its bar is left to hovering and the table, not drawn too small to read.
    figure.update_layout(uniformtext={"minsize": 11, "mode": "hide"})
    theme.name_rows(figure, names, scheme)
    return figure


def with_others(
    counts: pd.DataFrame, by: str, amounts: Sequence[str], *, most: int = theme.MOST_ROWS
) -> pd.DataFrame:
    """The rows with the most, in their order, and one for all others in front, which is drawn at the bottom.

    Parameters
    ----------
    by : the column that names the rows
    amounts : the columns that add up; the last decides which rows are large

    Examples
    --------
    >>> many = pd.DataFrame({"site": [f"s{n}" for n in range(100)], "gpus": range(100)})
    >>> few = with_others(many, "site", ["gpus"])
    >>> few["site"].tolist()[:2], int(few["gpus"].sum())
    (['85 other sites', 's85'], 4950)
    """
    if len(counts) <= most:
        return counts
    large = counts[amounts[-1]].rank(method="first", ascending=False) < most
    rest = counts[~large]
    others = {by: f"{len(rest)} other {by}s", **rest[list(amounts)].sum()}
    return pd.concat([pd.DataFrame([others]), counts[large]], ignore_index=True)


def _row_name(row: Mapping[Hashable, object], by: str) -> str:
    name = theme.literal(str(row[by]), width=36)
    capability = row.get("capability")
    if isinstance(capability, float) and not math.isnan(capability):
        return f"{name}, capability {capability:.1f}"
    return name


def _ink(state: str, scheme: Scheme) -> str:
    # Black on the light fills, white on blue: the same choice in both schemes except for blue, which is lighter in dark.
    return "#ffffff" if state == "claimed" and scheme == "light" else "#101418"


def supply(frame: pd.DataFrame, scheme: Scheme, *, height: int = 300) -> go.Figure:
    """Stacked area of GPU states over time (UTC); a pause of the collector stays a gap.

    Parameters
    ----------
    frame : `tables.supply`
    """
    colours = theme.palette(scheme)
    figure = theme.figure(scheme, height=height, hovermode="x unified", legend_traceorder="normal")
    named: set[str] = set()
    for number, part in enumerate(_segments(frame)):
        # Naive UTC strings without fractions: plotly drops the zone, and 26 characters a point are the figure's weight.
        times = part["seen_at"].dt.tz_convert("UTC").dt.strftime("%Y-%m-%d %H:%M:%S").tolist()
        for state in theme.STATES:
            if not frame[state].any():
                continue
            figure.add_scatter(
                x=times,
                y=part[state].tolist(),
                name=STATE_WORDS[state],
                legendgroup=state,
                showlegend=state not in named,
                mode="lines",
                line={"width": 0, "color": colours.states[state], "shape": "hv"},
                fillcolor=_fill(colours.states[state]),
                stackgroup=f"part{number}",
                hovertemplate="%{y:.4~g}",
            )
            named.add(state)
    figure.update_xaxes(
        title_text="time (UTC)", showgrid=False, hoverformat="%-d %b %H:%M:%S", nticks=7, tickangle=0
    )
    figure.update_yaxes(
        title_text="GPUs", rangemode="tozero", nticks=6, tickformat=",~g", ticklabelstandoff=4
    )
    return figure


def pauses(frame: pd.DataFrame) -> int:
    """How often the collector paused."""
    return len(_segments(frame)) - 1


def _segments(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The frame cut where the collector paused: more than four usual steps without a snapshot."""
    steps = frame["seen_at"].diff()
    usual = steps.median()
    if pd.isna(usual):
        return [frame]
    cuts = (steps > 4 * usual).cumsum()
    return [part for _, part in frame.groupby(cuts)]


def _fill(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.85)"
