"""Waits: how long jobs of each class waited, and whether the simulation agrees."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import dash_mantine_components as dmc
import pandas as pd
from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html

from dashboard import comparison, tables
from dashboard.columns import Column
from dashboard.components import chart_card, graph_size, link, notice, page, scheme_of, table
from dashboard.data import Data, Window
from dashboard.figures import labels
from dashboard.figures import waits as figures
from dashboard.figures.labels import count, seconds, span
from dashboard.figures.theme import Scheme, blank
from dashboard.pages import progressing
from dashboard.pages import window as windows
from dashboard.pages.progressing import Panel
from dashboard.runs import Entry, Runs
from dashboard.spec import replay_spec
from dashboard.tables import ALL, GPU
from dashboard.validate import text

ASK = "Simulate this record"


def layout(**query: Any) -> dmc.Stack:
    """The page without its data; `?class=` chooses whose waits the first chart shows."""
    window = windows.parse_span(query)
    asked = query.get("class")
    chosen = asked[:200] if isinstance(asked, str) and asked else GPU
    select = dmc.Select(
        id="waits-class",
        label="Jobs",
        data=list(dict.fromkeys([GPU, ALL, chosen])),
        value=chosen,
        searchable=True,
        allowDeselect=False,
        className="control-wide",
    )
    bar = html.Div([select, progressing.panel("waits", ASK)], className="control-bar")
    return page(
        "Waits",
        "How long did jobs of each class wait for their first start, and does the simulation agree?",
        _window_note(window),
        dmc.Card(bar, withBorder=True, className="card"),
        chart_card(
            "waits-started",
            "Started within",
            height=340,
            csv="/api/started.csv",
            note="Jobs that still wait count as not started: the plateau below 100 %.",
        ),
        chart_card(
            "waits-classes",
            "p90 and p50 by class",
            height=420,
            csv="/api/waits-by-class.csv",
            note="Diamond: p90. Circle: p50. Open triangle: p90 lies beyond the record, so many still waited at its end. Grey: fewer than 30 jobs.",
        ),
        html.Div(id="waits-url", hidden=True),
        dcc.Store(
            id="waits-span", data=[f"{window.since:%Y-%m-%d}", f"{window.until:%Y-%m-%d}"] if window else None
        ),
    )


def _window_note(window: Window | None) -> Any:
    """Which days an address from a report shows, and the way back."""
    if window is None:
        return None
    words = f"Jobs submitted from {window.since:%-d %b %Y} until {window.until:%-d %b %Y}, as they were known then. "
    return notice("A window of the past", words, html.A("Show the latest", href=link("/waits")))


def within(data: Data, span: Any, search: Any = None) -> Data:
    """The data of the window that the page was opened with, or as of the snapshot of its address; the latest without either."""
    said = span if isinstance(span, list) and len(span) == 2 else [None, None]
    window = windows.parse_span(dict(zip(("since", "until"), said, strict=True)))
    return windows.pinned(data, search) if window is None else data.over(window)


def register(app: Dash, data: Data, runs: Runs) -> None:
    """Wire the page."""

    @app.callback(
        Output("waits-class", "data"),
        Input("waits-class", "id"),
        State("waits-span", "data"),
        State("url", "search"),
    )
    def fill(_start: str, asked: Any, search: Any) -> list[str]:
        here = within(data, asked, search)
        return [ALL] if here.jobs().empty else here.waits()["group"].tolist()

    @app.callback(*progressing.outputs("waits"), *progressing.inputs("waits"), progressing.shown("waits"))
    def follow(_ticks: int | None, ask: int | None, cancel: int | None, shown: Any) -> Panel:
        button = ctx.triggered_id if ask or cancel else None
        panel = progressing.press(button, replay_spec(data), runs, ask=ASK, now=time.time())
        return progressing.beside(shown, panel)

    @app.callback(
        Output("waits-started-graph", "figure"),
        Output("waits-started-caption", "children"),
        Output("waits-started-table", "children"),
        Output("waits-started-csv", "href"),
        Output("waits-classes-graph", "figure"),
        Output("waits-classes-graph", "style"),
        Output("waits-classes-caption", "children"),
        Output("waits-classes-table", "children"),
        Input("waits-class", "value"),
        Input("waits-done", "data"),
        Input("scheme", "data"),
        State("waits-span", "data"),
        State("url", "search"),
    )
    def show(group: str, done: str, scheme: str, asked: Any, search: Any) -> tuple[Any, ...]:
        here = within(data, asked, search)
        # A replay is of the whole record: beside the jobs of other days it would say nothing.
        return content(here, runs, group, done if here is data else "", scheme_of(scheme))

    app.clientside_callback(
        ClientsideFunction("poolscope", "classAddress"),
        Output("waits-url", "children"),
        Input("waits-class", "value"),
        State("waits-span", "data"),
    )


def content(data: Data, runs: Runs, group: str, done: str, scheme: Scheme) -> tuple[Any, ...]:
    """Both charts with captions and tables, in the order of their callback's outputs."""
    by = data.settings.class_by
    group, done = text(group, "Jobs"), text(done or "", "the run")
    if data.jobs().empty:
        return _without_jobs(data, scheme)
    entry = runs.get(done) if done else None
    known = entry is not None and entry.status == "done"
    if group not in set(data.waits()["group"]):
        group = ALL
    if known:
        replay = replayed(runs, done, by)
        both = replay.waits
        curves = {
            figures.OBSERVED: replay.curve("observed", group),
            figures.SIMULATED: replay.curve("jobs", group),
        }
    else:
        both = tables.compare_waits(data.waits(), None)
        curves = {figures.OBSERVED: data.curve(group)}
    row = row_of(both, group)
    by_class = figures.by_class(both, scheme)
    source = _source(data, entry if known else None)
    return (
        figures.started(curves, scheme),
        f"{group}: {_sizes(row)} · {source}",
        _table(both[both["group"] == group], "Waits of the chosen jobs"),
        link("/api/started.csv") + "?" + urlencode({"class": group, **_span_of(data)}),
        by_class,
        graph_size(by_class),
        f"{_groups(both)}, {count(int(row_of(both, ALL)['n']), 'job')} · {source}",
        _table(both, "Waits by class"),
    )


def _groups(both: pd.DataFrame) -> str:
    """How many groups there are, and that only some are drawn."""
    hidden = len(both) - len(figures.frequent(both)) - int(both["group"].isin(figures.TOTALS).sum())
    rest = f", {hidden:,} classes of fewer jobs in the table only" if hidden else ""
    return f"{len(both):,} groups{rest}"


def _span_of(data: Data) -> dict[str, str]:
    window = data.window
    return (
        {} if window is None else {"since": f"{window.since:%Y-%m-%d}", "until": f"{window.until:%Y-%m-%d}"}
    )


def _without_jobs(data: Data, scheme: Scheme) -> tuple[Any, ...]:
    """A window in which nobody submitted anything: said, not drawn empty."""
    told, empty = f"No job was submitted in the window · {_source(data, None)}", blank(scheme, height=120)
    quiet = link("/api/started.csv")
    return empty, told, None, quiet, empty, graph_size(empty), told, None


class Replay:
    """A done replay: the simulated jobs and the same jobs as observed; it never changes, so its waits are kept."""

    def __init__(self, runs: Runs, run: str, by: str | None) -> None:
        self._frames = {name: runs.frame(run, name) for name in ("jobs", "observed")}
        self._by = by
        simulated, observed = (comparison.summarise(self._frames[name], by) for name in ("jobs", "observed"))
        self.waits = tables.compare_waits(observed, simulated)

    def curve(self, frame: str, group: str) -> pd.DataFrame:
        """Share of the jobs of a group that started within t; `frame` is jobs (simulated) or observed."""
        return comparison.curve(comparison.members(self._frames[frame], self._by, group))


@lru_cache(maxsize=8)
def replayed(runs: Runs, run: str, by: str | None) -> Replay:
    """The replay of this id."""
    return Replay(runs, run, by)


def row_of(both: pd.DataFrame, group: str) -> pd.Series:
    """The row of a group."""
    return both[both["group"] == group].iloc[0]


def _sizes(row: pd.Series) -> str:
    return f"n={row['n']:,}, of them {row['n_censored']:,} never started"


def _source(data: Data, entry: Entry | None) -> str:
    coverage = data.coverage()
    simulated = "observed only"
    if entry is not None:
        simulated = f"simulated {entry.spec.get('replications', 1)} times from seed {entry.spec.get('seed')}"
    return f"{span(coverage.since, coverage.until)}, snapshot {coverage.snapshot} · {simulated}"


def _table(both: pd.DataFrame, caption: str) -> Any:
    compared = bool((both["sim_n"] > 0).any())
    columns = [
        Column("group", "Class"),
        Column("n", "n", labels.number, number=True),
        Column("n_censored", "never started", labels.number, number=True),
    ]
    for name, word in (("p90_s", "p90"), ("p50_s", "p50"), ("mean_s", "mean")):
        columns.append(Column(name, word, seconds, number=True, behind="n"))
        if compared:
            columns.append(Column(f"sim_{name}", f"{word} simulated", seconds, number=True, behind="sim_n"))
    return table(both, columns, caption=caption)
