"""Reports: what was reported, period by period, and how making it ended."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
import pandas as pd
from dash import Dash, Input, Output, dcc, html

from dashboard.columns import Column
from dashboard.components import GRAPH_CONFIG, aria, link, notice, page, scheme_of, table, twin
from dashboard.data import Data
from dashboard.figures import reports as figures
from dashboard.figures.labels import seconds
from dashboard.figures.theme import Scheme
from dashboard.reports.archive import Archive, Status

SHOWN = 60


def layout(**_query: Any) -> dmc.Stack:
    """The page without its rows."""
    return page(
        "Reports",
        "What changed since the last period?",
        html.Div(id="reports-trend"),
        dmc.Card(html.Div(id="reports-table"), withBorder=True, className="card"),
    )


def register(app: Dash, data: Data) -> None:
    """Wire the page."""

    @app.callback(
        Output("reports-table", "children"),
        Output("reports-trend", "children"),
        Input("reports-table", "id"),
        Input("scheme", "data"),
    )
    def show(_start: str, scheme: str) -> tuple[Any, Any]:
        folder = data.settings.reports
        found = Archive(folder).all() if folder is not None else []
        return rows(found), trend(found, scheme_of(scheme))


def rows(found: list[Status]) -> Any:
    """The table of reports."""
    if not found:
        return notice(
            "No report yet",
            "Make one with ",
            dmc.Code("poolscope report --period week --format html,pdf,csv"),
            ", or put it on a timer with ",
            dmc.Code("poolscope schedule install --to ADDRESS"),
            ".",
        )
    heads = ("Period", "Headline", "State", "Files", "Made")
    body = [
        html.Tr(
            [
                html.Td(
                    [html.Div(status.title), html.Div(status.kind, className="caption")], className="nowrap"
                ),
                html.Td(
                    [html.Div(status.headline), html.Div(status.error or "", className="caption failed")]
                ),
                html.Td(
                    html.Span(
                        status.state,
                        className=f"status status-{'done' if status.state == 'done' else 'failed'}",
                    )
                ),
                html.Td(_files(status)),
                html.Td(
                    status.made_at[:16].replace("T", " ") + (" UTC" if status.made_at else ""),
                    className="nowrap",
                ),
            ]
        )
        for status in found[:SHOWN]
    ]
    made = html.Table(
        [
            html.Caption("Reports, newest first", className="visually-hidden"),
            html.Thead(html.Tr([html.Th(word, scope="col") for word in heads])),
            html.Tbody(body),
        ],
        className="table",
    )
    return html.Div(made, className="table-scroll", tabIndex="0", role="region", **aria(label="Reports"))


def _files(status: Status) -> Any:
    whole = [name for name in status.files if name.endswith((".html", ".pdf", ".md"))]
    tables = [name for name in status.files if name.endswith(".csv")]

    def anchor(name: str, word: str) -> html.A:
        return html.A(
            word,
            href=link(f"/reports/{status.kind}/{status.period}/{name}"),
            **aria(label=f"{word} of {status.title}"),
        )

    parts: list[Any] = [anchor(name, name.rpartition(".")[2].upper()) for name in whole]
    if tables:
        stem = f"poolscope-{status.kind}-{status.period}-"
        named = [anchor(name, name.removeprefix(stem).removesuffix(".csv")) for name in tables]
        parts.append(html.Details([html.Summary(f"{len(tables)} CSV"), html.Div(named, className="files")]))
    return html.Div(parts, className="files")


def trend(found: list[Status], scheme: Scheme) -> Any:
    """p90 by period, for the kind with most reports, once there are two."""
    kinds = {
        kind: [status for status in found if status.kind == kind and status.numbers]
        for kind in {s.kind for s in found}
    }
    longest: list[Status] = max(kinds.values(), key=len, default=[])
    if len(longest) < 2:
        return None
    frame = pd.DataFrame(
        [
            {"period": status.period, "p90_wait_s": status.numbers.get("p90_wait_s")}
            for status in longest[:26][::-1]
        ]
    ).astype({"p90_wait_s": "float64"})
    columns = [Column("period", "Period"), Column("p90_wait_s", "p90 wait", seconds, number=True)]
    title = f"p90 wait by {longest[0].kind}"
    fold = twin("reports-trend-table")
    fold.children[1].children = table(frame, columns, caption=title)
    return dmc.Card(
        [
            html.Div(
                dmc.Title(title, order=2, className="card-title", id="reports-trend-title"),
                className="card-head",
            ),
            html.Figure(
                [
                    dcc.Graph(
                        id="reports-trend-graph",
                        figure=figures.p90_by_period(frame, scheme),
                        config=GRAPH_CONFIG,
                        style={"height": 220},
                    ),
                    html.Figcaption(f"{len(frame)} reports, GPU jobs", className="caption"),
                ],
                **aria(labelledby="reports-trend-title"),
            ),
            fold,
        ],
        withBorder=True,
        className="card",
    )
