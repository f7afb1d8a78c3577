"""One look for every figure, in light and dark: colours, template, axes of durations."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import plotly.graph_objects as go

Scheme = Literal["light", "dark"]

FONT = (
    'Inter, ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
)
MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'

# Fixed order of stacking: busy at the bottom, free on top, so that the top edge of busy is read against the axis.
STATES = ("claimed", "backfill", "draining", "prevented", "offline", "free")

#: A chart has at most so many rows; what doesn't fit stands in its table. It still fits a printed page.
MOST_ROWS = 16

#: Trace types that the vendored cartesian bundle can draw; it draws any other silently as a scatter.
DRAWABLE = frozenset({"scatter", "bar", "box", "heatmap", "histogram", "violin"})

_TICKS_S = (1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400)
_TICK_TEXT = ("1 s", "10 s", "1 min", "10 min", "1 h", "6 h", "1 d", "7 d", "30 d")
_SPARE_TICKS_S = (2, 5, 30, 120, 300, 1800, 7200, 43200)
_SPARE_TEXT = ("2 s", "5 s", "30 s", "2 min", "5 min", "30 min", "2 h", "12 h")


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one scheme; lines have a contrast of at least 3:1 on the card, states are fills with a border."""

    text: str
    muted: str
    grid: str
    card: str
    observed: str
    simulated: str
    good: str
    extra: str
    states: dict[str, str]


_LIGHT = Palette(
    text="#212529",
    muted="#495057",
    grid="#e9ecef",
    card="#ffffff",
    observed="#0072b2",
    simulated="#d55e00",
    good="#009e73",
    extra="#cc79a7",
    states={
        "claimed": "#0072b2",
        "backfill": "#56b4e9",
        "draining": "#e69f00",
        "prevented": "#cc79a7",
        "offline": "#adb5bd",
        "free": "#2fb58f",
    },
)
_DARK = Palette(
    text="#e9ecef",
    muted="#c1c2c5",
    grid="#3b3f45",
    card="#22262b",
    observed="#56b4e9",
    simulated="#e69f00",
    good="#2fb58f",
    extra="#e09cc1",
    states={
        "claimed": "#2f8fcf",
        "backfill": "#8fd0f5",
        "draining": "#e69f00",
        "prevented": "#cc79a7",
        "offline": "#6c757d",
        "free": "#35c39b",
    },
)


def palette(scheme: Scheme) -> Palette:
    """The colours of a scheme."""
    return _DARK if scheme == "dark" else _LIGHT


@cache
def template(scheme: Scheme) -> go.layout.Template:
    """The plotly template of a scheme: transparent, so that the card's own colour shows through."""
    colours = palette(scheme)
    axis = {
        "gridcolor": colours.grid,
        "linecolor": colours.grid,
        "zeroline": False,
        "tickcolor": colours.grid,
        "tickfont": {"size": 12, "color": colours.muted},
        "title": {"font": {"size": 12, "color": colours.muted}, "standoff": 10},
        "automargin": True,
        "minorloglabels": "none",
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": colours.text},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": [colours.observed, colours.simulated, colours.good, colours.extra],
            "margin": {"l": 8, "r": 16, "t": 40, "b": 8},
            "legend": {
                "orientation": "h",
                "x": 0,
                "xref": "container",
                "y": 1.0,
                "yref": "container",
                "xanchor": "left",
                "yanchor": "top",
                "font": {"size": 12, "color": colours.text},
                "bgcolor": "rgba(0,0,0,0)",
            },
            "hoverlabel": {
                "bgcolor": colours.card,
                "bordercolor": colours.muted,
                "font": {"family": FONT, "size": 12, "color": colours.text},
                "align": "left",
            },
            "xaxis": axis,
            "yaxis": axis,
            "barcornerradius": 3,
            "bargap": 0.32,
            "dragmode": False,
        }
    )


def figure(scheme: Scheme, *, height: int, **layout: object) -> go.Figure:
    """An empty figure in the house style; a fixed height, because percent heights collapse in print."""
    made = go.Figure()
    made.update_layout(template=template(scheme), height=height, **layout)
    return made


def blank(scheme: Scheme = "light", *, height: int = 260) -> go.Figure:
    """A figure without axes: what is shown until there is something to show."""
    made = figure(scheme, height=height)
    made.update_xaxes(visible=False)
    made.update_yaxes(visible=False)
    return made


def literal(text: str, *, width: int | None = None) -> str:
    """`text` for a label of a figure, where plotly would read it as pseudo-HTML and falsify it.

    Examples
    --------
    >>> literal("Memory<b && c>1")
    'Memory&lt;b &amp;&amp; c&gt;1'
    >>> literal("Capability >= 8.0", width=12)
    'Capabi…= 8.0'
    """
    if width is not None and len(text) > width:
        # The end of an expression tells as much as its beginning.
        tail = (width - 1) // 2
        text = f"{text[: width - 1 - tail].rstrip()}…{text[len(text) - tail :].lstrip()}"
    return html.escape(text, quote=False)


def name_rows(figure: go.Figure, names: Sequence[str], scheme: Scheme, *, mono: bool = False) -> None:
    """Write each row's name above its marks, from the left edge: long names fit, and a phone keeps its plot.

    Row `i` of the figure lies at y = i; `names` are escaped already.
    """
    colours = palette(scheme)
    font = (
        {"size": 11.5, "color": colours.text, "family": MONO}
        if mono
        else {"size": 12.5, "color": colours.text}
    )
    written = [
        {
            "x": 0, "xref": "paper", "y": place + 0.5, "yref": "y", "text": name, "showarrow": False, "font": font,
            "xanchor": "left", "yanchor": "top", "align": "left", "xshift": -2, "yshift": -1,
        }
        for place, name in enumerate(names)
    ]  # fmt: skip
    # All at once: plotly checks the ones there are again with each that is added.
    figure.update_layout(annotations=[*figure.layout.annotations, *written])
    figure.update_yaxes(showticklabels=False, showgrid=False, range=[-0.5, max(len(names), 1) - 0.5])


def count_axis(most: float, title: str = "GPUs", *, nticks: int = 6) -> dict[str, object]:
    """An axis of whole numbers from 0 up to about `most`, without fractions between the ticks."""
    steps: dict[str, object] = {"dtick": 1} if most < nticks else {"nticks": nticks}
    return {"title_text": title, "rangemode": "tozero", "tickformat": ",d", **steps}


def duration_axis(low_s: float, high_s: float, title: str, *, most: int = 8) -> dict[str, object]:
    """A logarithmic axis of durations between `low_s` and `high_s`, with at most `most` ticks as people say them."""
    low_s, high_s = max(low_s, 1.0), max(high_s, 10.0)
    if high_s < 10 * low_s:
        # Equal waits would fill the axis with one tick.
        low_s, high_s = low_s / 3, high_s * 3
    ticks = [
        (s, text) for s, text in zip(_TICKS_S, _TICK_TEXT, strict=True) if low_s * 0.7 <= s <= high_s * 1.4
    ]
    if len(ticks) < 3:
        spare = zip(_SPARE_TICKS_S, _SPARE_TEXT, strict=True)
        ticks = sorted([*ticks, *((s, text) for s, text in spare if low_s * 0.7 <= s <= high_s * 1.4)])
    ticks = ticks[:: -(-len(ticks) // most)]
    return {
        "type": "log",
        "range": [float(np.log10(low_s * 0.8)), float(np.log10(high_s * 1.4))],
        "tickvals": [s for s, _ in ticks],
        "ticktext": [text for _, text in ticks],
        "title_text": title,
    }
