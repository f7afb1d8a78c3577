"""Figures of the Scenarios page: what a change is worth, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures import theme
from dashboard.figures.labels import NONE, number
from dashboard.figures.theme import Scheme
from sim.units import format_duration

MEASURES = {"p90_s": ("p90", "diamond", 11), "p50_s": ("p50", "circle", 9)}


def differences(frame: pd.DataFrame, scheme: Scheme) -> go.Figure:
    """A row per scenario: by how much its p90 (diamond) and p50 (circle) differ from the base, with 95 % intervals.

    Parameters
    ----------
    frame : `sim.sweep.Sweep.differences` of one group: variant, measure, mean, low, high [s], n
    """
    colours = theme.palette(scheme)
    names = list(dict.fromkeys(frame["variant"]))[::-1]
    figure = theme.figure(scheme, height=110 + 58 * max(1, len(names)), hovermode="closest")
    for measure, (word, symbol, size) in MEASURES.items():
        rows = frame[frame["measure"] == measure].set_index("variant")
        shift = -0.08 if measure == "p90_s" else -0.28
        kept = [name for name in names if name in rows.index and math.isfinite(rows.loc[name, "mean"])]
        values = rows.loc[kept]
        figure.add_scatter(
            x=values["mean"].tolist(),
            y=[names.index(name) + shift for name in kept],
            mode="markers",
            name=f"{word} wait",
            marker={
                "symbol": symbol,
                "size": size,
                "color": colours.simulated if measure == "p90_s" else colours.observed,
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": (values["high"] - values["mean"]).tolist(),
                "arrayminus": (values["mean"] - values["low"]).tolist(),
                "thickness": 2,
                "width": 0,
            },
            customdata=[
                [theme.literal(name), told(row)]
                for name, row in zip(kept, values.to_dict("records"), strict=True)
            ],
            hovertemplate=f"%{{customdata[0]}}<br>{word} wait: <b>%{{customdata[1]}}</b><extra></extra>",
        )
    figure.add_vline(x=0, line={"color": colours.muted, "width": 1})
    figure.update_xaxes(title_text="difference from the base (s); left is shorter", **_ticks(frame))
    theme.name_rows(figure, [theme.literal(name, width=52) for name in names], scheme)
    return figure


def told(row: dict[object, float]) -> str:
    """A difference with its interval in words."""
    low, high = signed(row["low"]), signed(row["high"])
    return f"{signed(row['mean'])} ({low} to {high})"


def signed(seconds: float) -> str:
    """A difference of durations.

    Examples
    --------
    >>> signed(90), signed(-5), signed(0), signed(float("nan"))
    ('+1 min 30', '−5 s', '±0 s', '–')
    """
    if math.isnan(seconds):
        return "–"
    if round(seconds, 1) == 0:
        return "±0 s"
    return f"+{format_duration(seconds)}" if seconds > 0 else format_duration(seconds)


def signed_number(value: float) -> str:
    """A difference of numbers.

    Examples
    --------
    >>> signed_number(1.5), signed_number(-3.0), signed_number(0.0), signed_number(float("nan"))
    ('+1.5', '−3', '±0', '–')
    """
    if math.isnan(value) or value == 0:
        return "±0" if value == 0 else NONE
    return f"{'+' if value > 0 else '−'}{number(abs(value))}"


def signed_points(value: float) -> str:
    """A difference of shares, in percentage points.

    Examples
    --------
    >>> signed_points(0.021), signed_points(-0.005)
    ('+2.1 points', '−0.5 points')
    """
    return NONE if math.isnan(value) else f"{signed_number(round(100 * value, 2))} points"


def _ticks(frame: pd.DataFrame) -> dict[str, Sequence[object]]:
    values = frame[frame["measure"].isin(MEASURES)][["low", "high", "mean"]].to_numpy(dtype=float)
    finite = values[~pd.isna(values)]
    most = float(max(1.0, abs(finite).max())) if finite.size else 60.0
    steps = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 7 * 86400)
    step = next((s for s in steps if most / s <= 2.5), 7 * 86400)
    ticks = [step * number for number in range(-3, 4) if abs(step * number) <= 1.15 * most or number == 0]
    return {
        "tickvals": ticks,
        "ticktext": [signed(tick) for tick in ticks],
        "range": [-1.25 * most, 1.25 * most],
    }
