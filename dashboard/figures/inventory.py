"""Figures of the Inventory page: when GPUs of which model are free."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures import theme
from dashboard.figures.theme import Scheme

#: With so many hours and fewer, cells carry their numbers, on a phone too.
FEW_HOURS = 8
#: Rows are lower than those of bars.
MOST_MODELS = 24


def free_by_hour(frame: pd.DataFrame, scheme: Scheme) -> go.Figure:
    """Rows: models, the best at the top; columns: hours of the day (UTC); colour: mean free GPUs. Hours without data stay empty.

    frame : `tables.free_by_hour`
    """
    colours = theme.palette(scheme)
    frame = _capped(frame)
    rows = frame.drop_duplicates("model")
    labels = [_label(str(row["model"]), float(row["capability"])) for row in rows.to_dict("records")]
    # A short record has few hours; the others would only be empty.
    seen = sorted(frame["hour"].unique())
    hours = seen if len(seen) <= FEW_HOURS else list(range(24))
    wide = (
        frame.pivot_table(index="model", columns="hour", values="free")
        .reindex(rows["model"])
        .reindex(columns=hours)
    )
    cells = [
        [None if math.isnan(value) else round(value, 1) for value in line]
        for line in wide.to_numpy().tolist()
    ]
    few = len(hours) <= FEW_HOURS
    figure = theme.figure(scheme, height=132 + 34 * max(1, len(rows)), hovermode="closest")
    figure.update_layout(margin_t=8)  # no legend stands above it
    figure.add_heatmap(
        z=cells,
        x=[f"{hour:02d}" for hour in hours],
        y=labels,
        colorscale="Cividis",
        zmin=0,
        zmax=max(1.0, float(frame["free"].max())),  # without both ends plotly chooses its own
        xgap=2,
        ygap=2,
        hoverongaps=False,
        text=[["" if cell is None else f"{cell:.3g}" for cell in line] for line in cells] if few else None,
        texttemplate="%{text}" if few else None,
        hovertemplate="%{y}<br>%{x} h UTC: <b>%{z:.1f}</b> free on average<extra></extra>",
        colorbar={
            "title": {"text": "free GPUs", "font": {"size": 12}},
            "orientation": "h",
            "y": 0,
            "ypad": 64,
            "yanchor": "top",
            "thickness": 10,
            "nticks": 4,
            "outlinewidth": 0,
            "tickfont": {"color": colours.muted},
        },
    )
    figure.update_xaxes(
        title_text="hour of the day (UTC)", type="category", showgrid=False, nticks=8, tickangle=0
    )
    figure.update_yaxes(type="category", showgrid=False)
    return figure


def _capped(frame: pd.DataFrame) -> pd.DataFrame:
    """The models with most GPUs, and all others as one at the bottom."""
    models = frame.groupby("model")["gpus"].max().nlargest(MOST_MODELS - 1).index
    other = ~frame["model"].isin(models)
    if frame.loc[other, "model"].nunique() < 2:
        return frame
    rest = frame[other].groupby("hour")[["free", "gpus"]].sum().reset_index()
    name = f"{frame.loc[other, 'model'].nunique()} other models"
    return pd.concat([rest.assign(model=name, capability=math.nan), frame[~other]], ignore_index=True)


def _label(model: str, capability: float) -> str:
    told = theme.literal(model, width=22)
    return told if math.isnan(capability) else f"{told} · {capability:.1f}"
