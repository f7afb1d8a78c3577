"""Runs: what was asked, what is running, what came out."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import dash_mantine_components as dmc
from dash import ALL, Dash, Input, Output, ctx, dcc, html, no_update

from dashboard import spec as specs
from dashboard.components import aria, link, notice, page, status_badge
from dashboard.figures.labels import NONE
from dashboard.identity import runner
from dashboard.runs import Entry, Runs
from sim.units import format_duration

POLL_MS = 2000


def layout(**_query: str) -> dmc.Stack:
    """The page without its rows."""
    return page(
        "Runs",
        "What was simulated, what is running, and for how long?",
        dmc.Card(html.Div(id="runs-table"), withBorder=True, className="card"),
        dcc.Interval(id="runs-poll", interval=POLL_MS),
        dcc.Store(id="runs-cancelled"),
    )


def register(app: Dash, runs: Runs) -> None:
    """Wire the page."""

    @app.callback(
        Output("runs-cancelled", "data"),
        Input({"type": "runs-cancel", "run": ALL}, "n_clicks"),
        prevent_initial_call=True,
    )
    def cancel(clicks: list[int | None]) -> Any:
        asked = ctx.triggered_id
        # Buttons made anew by the poll arrive here too, without a click.
        if not isinstance(asked, dict) or not any(clicks):
            return no_update
        runs.cancel(str(asked["run"]), by=runner().cancels_as)
        return f"{asked['run']} {time.time()}"

    @app.callback(
        Output("runs-table", "children"), Input("runs-poll", "n_intervals"), Input("runs-cancelled", "data")
    )
    def show(_ticks: int | None, _cancelled: str | None) -> Any:
        return rows(runs.recent(), now=time.time())


def rows(entries: list[Entry], *, now: float) -> Any:
    """The table of runs, newest first."""
    if not entries:
        return notice(
            "No runs yet",
            "Simulate the record on the ",
            html.A("Waits page", href=link("/waits")),
            " or a wait on the ",
            html.A("Requirements page", href=link("/requirements")),
            ".",
        )
    heads = ("Question", "Status", "Asked", "Took", html.Span("Action", className="visually-hidden"))
    body = [
        html.Tr([html.Td(cell, className=kind) for cell, kind in _cells(entry, now)]) for entry in entries
    ]
    head = html.Thead(html.Tr([html.Th(word, scope="col") for word in heads]))
    made = html.Table(
        [html.Caption("Runs, newest first", className="visually-hidden"), head, html.Tbody(body)],
        className="table table-runs",
    )
    return html.Div(made, className="table-scroll", tabIndex="0", role="region", **aria(label="Runs"))


def _cells(entry: Entry, now: float) -> list[tuple[Any, str]]:
    cancel: Any = ""
    if entry.live:
        cancel = dmc.Button(
            "Cancel",
            id={"type": "runs-cancel", "run": entry.id},
            size="compact-xs",
            variant="default",
            **aria(label=f"Cancel run {entry.id}"),
        )
    until = entry.ended_at or now
    took = format_duration(round(until - entry.started_at)) if entry.started_at else NONE
    told: list[Any] = [html.Code(entry.id), *([f" · {entry.note}"] if entry.note else [])]
    question = [
        html.Div(dcc.Link(specs.title(entry.spec), href=link(f"/runs/{entry.id}")), className="run-question"),
        html.Div(told, className="caption"),
    ]
    asked = datetime.fromtimestamp(entry.asked_at, UTC)
    return [
        (question, ""),
        ([status_badge(entry.status), _bar(entry)], "progress-cell"),
        (f"{asked:%-d %b %H:%M} UTC", "nowrap"),
        (took, "number nowrap"),
        (cancel, ""),
    ]


def _bar(entry: Entry) -> Any:
    if not entry.live:
        return ""
    label = f"Progress of run {entry.id}"
    return dmc.Progress(value=round(100 * entry.fraction), size="sm", **aria(label=label))
