"""Figures of the Reports page: a headline number over the periods."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures import theme
from dashboard.figures.labels import seconds
from dashboard.figures.theme import Scheme


def p90_by_period(frame: pd.DataFrame, scheme: Scheme) -> go.Figure:
    """p90 wait of GPU jobs by period.

    Parameters
    ----------
    frame : period, p90_wait_s (missing where censoring hides it)
    """
    colours = theme.palette(scheme)
    figure = theme.figure(scheme, height=220, hovermode="closest", showlegend=False)
    values = frame["p90_wait_s"]
    figure.add_scatter(
        x=frame["period"].tolist(),
        y=(values / 60).tolist(),
        mode="lines+markers",
        line={"color": colours.observed, "width": 2},
        marker={"size": 8},
        customdata=[seconds(value) for value in values],
        hovertemplate="%{x}: <b>%{customdata}</b><extra></extra>",
    )
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(title_text="p90 wait of GPU jobs (min)", rangemode="tozero", nticks=5)
    return figure
