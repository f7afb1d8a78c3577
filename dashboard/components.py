"""Pieces that pages are made of: cards with a chart and its table, numbers, badges, notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import dash
import dash_mantine_components as dmc
import pandas as pd
from dash import dcc, html

from dashboard.columns import Column
from dashboard.figures.labels import FEW, NONE
from dashboard.figures.theme import Scheme, blank

Children = Any

#: No logo, no zoom buttons on axes that have nothing to zoom; nothing that uploads a figure of a private pool.
GRAPH_CONFIG: Any = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtons": [["toImage"]],
    "displayModeBar": False,
}

ROWS_SHOWN = 50


def aria(**words: str) -> dict[str, Any]:
    """The aria attributes of an element, as keywords.

    Examples
    --------
    >>> aria(label="Runs")
    {'aria-label': 'Runs'}
    """
    return {f"aria-{name}": word for name, word in words.items()}


def link(path: str) -> str:
    """The address of a path of ours, wherever the application lies behind its proxy."""
    return str(dash.get_relative_path(path))


def page(title: str, question: str, *children: Children) -> dmc.Stack:
    """A page: its title, the question it answers, its cards."""
    head = html.Header(
        [dmc.Title(title, order=1, className="page-title"), html.P(question, className="page-question")]
    )
    return dmc.Stack([head, *children], gap="md", className="page")


def chart_card(
    name: str, title: str, *, height: int = 260, csv: str | None = None, note: str = ""
) -> dmc.Card:
    """A card with a chart, the sentence about its data, and the same numbers as a table and a CSV.

    The callback of the page fills `{name}-graph`, `{name}-caption` and `{name}-table`.
    """
    head: list[Children] = [dmc.Title(title, order=2, className="card-title", id=f"{name}-title")]
    if csv:
        head.append(
            html.A(
                "CSV",
                href=link(csv),
                id=f"{name}-csv",
                className="quiet-link",
                **aria(label=f"{title}: CSV file"),
            )
        )
    graph = dcc.Loading(
        dcc.Graph(
            id=f"{name}-graph", figure=blank(height=height), config=GRAPH_CONFIG, style={"height": height}
        ),
        delay_show=400,
        overlay_style={"visibility": "visible", "opacity": 0.5},
        custom_spinner=html.Div("Loading", className="loading", role="status"),
        target_components=cast("Any", {f"{name}-graph": "figure"}),
    )
    return dmc.Card(
        [
            html.Div(head, className="card-head"),
            *([html.P(note, className="card-note")] if note else []),
            html.Figure(
                [graph, html.Figcaption(id=f"{name}-caption", className="caption")],
                **aria(labelledby=f"{name}-title"),
            ),
            twin(f"{name}-table"),
        ],
        withBorder=True,
        className="card",
        id=f"{name}-card",
    )


def twin(name: str) -> html.Details:
    """The fold that holds a chart's numbers."""
    return html.Details(
        [html.Summary("Show as table"), html.Div(id=name, className="table-fold")], className="twin"
    )


def table(frame: pd.DataFrame, columns: Sequence[Column], *, caption: str) -> Children:
    """A frame as a table; more than `ROWS_SHOWN` rows are left to the CSV, and it says so."""
    shown = frame.head(ROWS_SHOWN).to_dict("records")
    body = [html.Tr([_cell(column, row) for column in columns]) for row in shown]
    made = html.Table(
        [
            html.Caption(caption, className="visually-hidden"),
            html.Thead(
                html.Tr([html.Th(column.header, scope="col", className=_kind(column)) for column in columns])
            ),
            html.Tbody(body),
        ],
        className="table",
    )
    more = len(frame) - len(shown)
    rest = [html.P(f"and {more:,} more rows in the CSV", className="caption")] if more > 0 else []
    # A region that scrolls has to be reachable with the keyboard.
    return [
        html.Div(made, className="table-scroll", tabIndex="0", role="region", **aria(label=caption)),
        *rest,
    ]


def _kind(column: Column) -> str:
    return "number" if column.number else ""


def _cell(column: Column, row: Mapping[Any, Any]) -> html.Td:
    n = row.get(column.behind) if column.behind else None
    written = column.write(row[column.name])
    if n is None or pd.isna(n) or not 0 < n < FEW or written == NONE:
        return html.Td(written, className=_kind(column))
    return html.Td(written, className=f"{_kind(column)} few", title=f"n={n:.0f}: fewer than {FEW} jobs")


def kpi(label: str, value: str, detail: str = "", *, few: bool = False) -> dmc.Card:
    """A number with its label and one line about it; grey where fewer than `FEW` jobs stand behind it, as its detail tells."""
    return dmc.Card(
        [
            html.Div(label, className="kpi-label"),
            html.Div(value, className="kpi-value few" if few else "kpi-value"),
            html.Div(detail, className="kpi-detail"),
        ],
        withBorder=True,
        className="card kpi",
    )


def kpis(*cards: dmc.Card) -> html.Div:
    """A row of numbers that wraps on a phone."""
    return html.Div(list(cards), className="kpis")


def notice(title: str, *children: Children, colour: str = "scope") -> dmc.Alert:
    """A designed sentence where there is nothing to draw."""
    return dmc.Alert(list(children), title=title, color=colour, variant="light", className="notice")


def status_badge(status: str) -> html.Span:
    """The status of a run; never by colour alone."""
    return html.Span(status, className=f"status status-{status}")


def progress(label: str, fraction: float, note: str) -> html.Div:
    """A progress bar with its text, announced to screen readers."""
    percent = round(100 * fraction)
    return html.Div(
        [
            html.Div(
                [html.Span(note or label), html.Span(f"{percent} %")],
                className="progress-text",
                role="status",
            ),
            dmc.Progress(value=percent, size="sm", **aria(label=label)),
        ],
        className="progress",
    )


def graph_size(figure: Any) -> Mapping[str, Any]:
    """The style that gives a graph its figure's own height."""
    return {"height": figure.layout.height}


def scheme_of(value: object) -> Scheme:
    """What a browser said, held to light or dark."""
    return "dark" if value == "dark" else "light"
