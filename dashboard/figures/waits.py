"""Figures of the Waits page: the share of jobs started within t, and quantiles by class."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.figures import labels, theme
from dashboard.figures.theme import Scheme

OBSERVED, SIMULATED = "observed", "simulated"
#: Groups that hold all classes; they stand above them.
TOTALS = ("all jobs", "GPU jobs")
#: Marks with fewer than `labels.FEW` jobs behind them; readable on both cards.
GREY = "#868e96"


def thin(curve: pd.DataFrame, *, points: int = 270) -> pd.DataFrame:
    """A survival curve at about `points` shares, denser above 0.9, where the answers that hurt are.

    Parameters
    ----------
    curve : `sim.waits.survival`: wait_s, share_started, low, high
    """
    if len(curve) <= points:
        return curve
    shares = curve["share_started"].to_numpy(dtype=float)
    top = shares[-1]
    levels = np.concatenate(
        [np.linspace(0, 0.9 * top, points * 2 // 3), np.linspace(0.9 * top, top, points // 3)]
    )
    at = np.unique(np.clip(np.searchsorted(shares, levels), 0, len(curve) - 1))
    # The first and last rows carry the ends: where waiting begins and where the plateau of censored jobs lies.
    return curve.iloc[np.unique(np.concatenate([[0], at, [len(curve) - 1]]))]


def started(curves: Mapping[str, pd.DataFrame], scheme: Scheme) -> go.Figure:
    """Share of jobs started within t on a logarithmic axis; what censoring hides is the plateau below 100 %.

    Parameters
    ----------
    curves : by name (`OBSERVED`, `SIMULATED`) the frame of `sim.waits.survival`
    """
    colours = theme.palette(scheme)
    figure = theme.figure(scheme, height=340, hovermode="x unified", legend_traceorder="normal")
    hues = {OBSERVED: colours.observed, SIMULATED: colours.simulated}
    longest = max((float(curve["wait_s"].max()) for curve in curves.values() if len(curve)), default=10.0)
    for name, curve in curves.items():
        kept = thin(curve)
        _band(figure, kept, hues[name])
        waits = kept["wait_s"].clip(lower=1.0)
        figure.add_scatter(
            x=waits.round(3).tolist(),
            y=(100 * kept["share_started"]).round(2).tolist(),
            customdata=[labels.seconds(wait) for wait in kept["wait_s"]],
            name=name,
            mode="lines",
            line={
                "color": hues[name],
                "width": 2.4,
                "shape": "hv",
                "dash": "solid" if name == OBSERVED else "5px,3px",
            },
            hovertemplate="%{y:.0f} % within %{customdata}",
        )
    for share, word in ((50, "p50"), (90, "p90")):
        figure.add_hline(
            y=share,
            line={"color": colours.muted, "width": 1, "dash": "dot"},
            annotation={"text": word, "font": {"size": 11, "color": colours.muted}, "xanchor": "left"},
            annotation_position="top left",
        )
    shortest = min((float(c["wait_s"].clip(lower=1.0).min()) for c in curves.values() if len(c)), default=1.0)
    figure.update_xaxes(
        **theme.duration_axis(shortest, longest, "first wait (log scale)"), unifiedhovertitle_text=" "
    )
    figure.update_yaxes(title_text="jobs started (%)", range=[0, 103], tickvals=[0, 25, 50, 75, 100])
    return figure


def _band(figure: go.Figure, curve: pd.DataFrame, colour: str) -> None:
    if not {"low", "high"} <= set(curve.columns) or curve["low"].isna().all():
        return
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    for column, fill in (("low", None), ("high", "tonexty")):
        figure.add_scatter(
            x=curve["wait_s"].clip(lower=1.0).round(3).tolist(),
            y=(100 * curve[column]).round(2).tolist(),
            mode="lines",
            line={"width": 0, "shape": "hv"},
            fill=fill,
            fillcolor=f"rgba({red},{green},{blue},0.14)",
            hoverinfo="skip",
            showlegend=False,
        )


def frequent(table: pd.DataFrame) -> pd.DataFrame:
    """The classes that a chart shows: those with most jobs, as quantiles of different classes don't add up."""
    return table[~table["group"].isin(TOTALS)].nlargest(theme.MOST_ROWS, "n")


def by_class(table: pd.DataFrame, scheme: Scheme, *, name: str = OBSERVED) -> go.Figure:
    """A row per class, of many the most frequent: p50 a circle, p90 a diamond, joined; an open triangle where censoring hides one; grey if few jobs.

    Parameters
    ----------
    table : `tables.compare_waits`
    name : what its own columns are; the sim_ columns are always simulated
    """
    colours = theme.palette(scheme)
    totals = table[table["group"].isin(TOTALS)]
    classes = frequent(table).sort_values(["p90_s", "p50_s"], na_position="last")
    rows = pd.concat([classes, totals.iloc[::-1]], ignore_index=True)
    figure = theme.figure(scheme, height=104 + 52 * max(len(rows), 1), hovermode="closest")
    compared = bool((rows["sim_n"] > 0).any())
    _quantile_marks(
        figure,
        rows,
        name,
        prefix="",
        shift=-0.02 if compared else -0.12,
        colour=colours.observed if name == OBSERVED else colours.simulated,
    )
    if compared:
        _quantile_marks(figure, rows, SIMULATED, prefix="sim_", shift=-0.28, colour=colours.simulated)
    values = rows[["p50_s", "p90_s", "longest_s", "sim_p50_s", "sim_p90_s", "sim_longest_s"]].to_numpy(
        dtype=float
    )
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (1.0, 600.0)
    figure.update_xaxes(**theme.duration_axis(low, high, "first wait (log scale)"))
    names = [
        f"{theme.literal(str(row['group']), width=40)} <span style='color:{colours.muted}'>n={row['n']:,}</span>"
        for row in rows.to_dict("records")
    ]
    theme.name_rows(figure, names, scheme)
    return figure


def _quantile_marks(
    figure: go.Figure, rows: pd.DataFrame, name: str, *, prefix: str, shift: float, colour: str
) -> None:
    places = [place + shift for place in range(len(rows))]
    few = (rows["n"] < labels.FEW).tolist()
    groups = [theme.literal(str(group)) for group in rows["group"]]
    p50, p90 = rows[f"{prefix}p50_s"].clip(lower=1.0), rows[f"{prefix}p90_s"].clip(lower=1.0)
    longest = rows[f"{prefix}longest_s"]
    joined: tuple[list[float | None], list[float | None]] = ([], [])
    for place, low, high, end in zip(places, p50, p90, longest, strict=True):
        if math.isfinite(low):
            joined[0].extend([low, high if math.isfinite(high) else end, None])
            joined[1].extend([place, place, None])
    figure.add_scatter(
        x=joined[0],
        y=joined[1],
        mode="lines",
        line={"color": colour, "width": 3},
        opacity=0.45,
        hoverinfo="skip",
        showlegend=False,
    )
    hidden = longest.where(p90.isna())
    for word, values, symbol, size in (
        ("p90", p90, "diamond", 11),
        ("p50", p50, "circle", 9),
        ("beyond the record", hidden, "triangle-right-open", 10),
    ):
        figure.add_scatter(
            x=values.tolist(),
            y=places,
            mode="markers",
            name=name,
            legendgroup=name,
            showlegend=word == "p90",
            marker={
                "color": [GREY if thin else colour for thin in few],
                "symbol": symbol,
                "size": size,
                "line": {"width": 2 if values is hidden else 0},
            },
            customdata=[[group, labels.seconds(value)] for group, value in zip(groups, values, strict=True)],
            hovertemplate=_hover(word, name),
        )
    if any(few):
        # A legend entry would take the colour of the first marker.
        figure.for_each_trace(lambda trace: trace.update(showlegend=False), {"legendgroup": name})
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=name, legendgroup=name, hoverinfo="skip",
            marker={"color": colour, "symbol": "diamond", "size": 11},
        )  # fmt: skip


def _hover(word: str, name: str) -> str:
    if word == "beyond the record":
        return "%{customdata[0]}<br>" + f"p90 {name}: <b>over %{{customdata[1]}}</b><extra></extra>"
    return "%{customdata[0]}<br>" + f"{word} {name}: <b>%{{customdata[1]}}</b><extra></extra>"
