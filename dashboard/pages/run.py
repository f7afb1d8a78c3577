"""A run: what was asked, how far it is, what came out; the page to share."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import dash_mantine_components as dmc
import pandas as pd
from dash import Dash, Input, Output, State, ctx, dcc, html

from dashboard import comparison, tables
from dashboard import spec as specs
from dashboard.columns import Column
from dashboard.components import (
    aria,
    chart_card,
    graph_size,
    link,
    notice,
    page,
    scheme_of,
    status_badge,
    table,
)
from dashboard.data import Data
from dashboard.figures import waits as figures
from dashboard.figures.labels import NONE, count, seconds
from dashboard.figures.theme import Scheme, blank
from dashboard.identity import runner
from dashboard.pages import progressing
from dashboard.pages.containers import strategies_content
from dashboard.pages.waits import replayed
from dashboard.runs import Entry, Runs, is_id
from dashboard.tables import ALL, GPU
from dashboard.validate import text
from sim.units import format_duration

ASK = "Run it again"


def layout(name: Any = None, **_query: Any) -> dmc.Stack:
    """The page of the run that the address names."""
    known = name if is_id(name) else ""
    chart = html.Div(
        chart_card("run-result", "First waits", height=320), id="run-charts", style={"display": "none"}
    )
    return page(
        f"Run {known}" if known else "Run",
        "What was asked, and what came out?",
        html.Div(id="run-head"),
        html.Div(
            dmc.Card(progressing.panel("run", ASK), withBorder=True, className="card"),
            style={} if known else {"display": "none"},
        ),
        chart,
        html.Div(id="run-inputs"),
        dcc.Store(id="run-name", data=known),
    )


def register(app: Dash, data: Data, runs: Runs) -> None:
    """Wire the page."""

    @app.callback(
        *progressing.outputs("run"),
        Output("run-head", "children"),
        *progressing.inputs("run"),
        progressing.shown("run"),
        State("run-name", "data"),
    )
    def follow(
        _ticks: int | None, ask: int | None, cancel: int | None, shown: Any, name: Any
    ) -> tuple[Any, ...]:
        entry = runs.get(text(name or "", "the run"))
        if entry is not None and ctx.triggered_id == "run-cancel" and cancel:
            runs.cancel(entry.id, by=runner().cancels_as)
            entry = runs.get(entry.id)
        elif entry is not None and ctx.triggered_id == "run-ask" and ask and not entry.live:
            entry = runs.ask(entry.spec, owner=runner().name)
        panel = progressing.standing(entry, runs, ask=ASK, now=time.time())
        return (*progressing.beside(shown, panel), head(entry))

    @app.callback(
        Output("run-charts", "style"),
        Output("run-result-graph", "figure"),
        Output("run-result-graph", "style"),
        Output("run-result-caption", "children"),
        Output("run-result-table", "children"),
        Output("run-inputs", "children"),
        Input("run-done", "data"),
        Input("scheme", "data"),
        State("run-name", "data"),
    )
    def show(_done: str, scheme: str, name: Any) -> tuple[Any, ...]:
        return content(data, runs, text(name or "", "the run"), scheme_of(scheme))


def head(entry: Entry | None) -> Any:
    """What was asked, by whom, when; or that there is no such run."""
    if entry is None:
        return notice(
            "This run is not known here",
            "It was forgotten (results are kept for 90 days), or the link is from another dashboard. Ask anew on the ",
            html.A("Requirements", href=link("/requirements")),
            " or the ",
            html.A("Scenarios", href=link("/scenarios")),
            " page.",
            colour="yellow",
        )
    asked = datetime.fromtimestamp(entry.asked_at, UTC)
    took = (
        format_duration(max(0, round((entry.ended_at or entry.started_at or 0) - entry.started_at)))
        if entry.started_at
        else NONE
    )
    by = f" by {entry.owner}" if entry.owner else ""
    return dmc.Card(
        [
            html.Div(
                [
                    status_badge(entry.status),
                    " ",
                    html.Span(specs.title(entry.spec), className="run-question"),
                ],
                role="status",
            ),
            html.P(
                f"asked {asked:%-d %b %Y %H:%M} UTC{by}, took {took}, model version {entry.model}",
                className="caption",
            ),
        ],
        withBorder=True,
        className="card",
    )


def content(data: Data, runs: Runs, name: str, scheme: Scheme) -> tuple[Any, ...]:
    """The result's chart with sentence and table, and the inputs."""
    entry = runs.get(name)
    if entry is None or entry.status != "done":
        return {"display": "none"}, blank(scheme), {}, "", None, inputs(entry, runs)
    if entry.spec.get("kind") == "strategies":
        figure, told, shown, style = strategies_content(data, runs, name, scheme)
        return {}, figure, style, told, shown, inputs(entry, runs)
    if entry.spec.get("kind") == "probe":
        rungs, probes = runs.frame(name, "rungs"), runs.frame(name, "probes")
        own = probes[probes["label"] == "as asked"]
        curve = comparison.probe_curve(own)
        figure = figures.started({figures.SIMULATED: curve}, scheme)
        told = f"ghost probes of the expression as asked, n={len(own)}, seed {entry.spec.get('seed')}"
        columns = [
            Column("rung", "Rung", html.Code),
            Column("n", "probes", str, number=True),
            Column("n_censored", "never started", str, number=True),
            Column("p90_s", "p90", seconds, number=True, behind="n"),
            Column("p50_s", "p50", seconds, number=True, behind="n"),
        ]
        shown = table(rungs, columns, caption="Waits by rung")
    elif entry.spec.get("kind") == "scenario":
        waits = runs.frame(name, "waits")
        means = _means(waits)
        figure = figures.by_class(means, scheme, name=figures.SIMULATED)
        told = f"means over {count(int(waits['seed'].nunique()), 'seed')} from {waits['seed'].min()}"
        shown = _waits(means)
    else:
        replay = replayed(runs, name, data.settings.class_by)
        figure = figures.started(
            {figures.OBSERVED: replay.curve("observed", GPU), figures.SIMULATED: replay.curve("jobs", GPU)},
            scheme,
        )
        both = replay.waits
        group = both[both["group"].isin([GPU, ALL])].iloc[-1]
        told = f"{group['group']}, n={group['n']}, simulated {entry.spec.get('replications')} times from seed {entry.spec.get('seed')}"
        columns = [
            Column("group", "Class"),
            Column("n", "n", str, number=True),
            *(
                Column(key, word, seconds, number=True, behind="sim_n" if key.startswith("sim_") else "n")
                for key, word in (
                    ("p90_s", "p90"),
                    ("sim_p90_s", "p90 simulated"),
                    ("p50_s", "p50"),
                    ("sim_p50_s", "p50 simulated"),
                )
            ),
        ]
        shown = table(both, columns, caption="Waits by class")
    return {}, figure, graph_size(figure), told, shown, inputs(entry, runs)


def _means(waits: pd.DataFrame) -> pd.DataFrame:
    """Waits of a scenario's classes, means over its seeds, as `tables.compare_waits` has them."""
    kept = waits[waits["by"].isin(["all", "gpu", "class"])]
    groups = kept["group"].where(kept["by"] == "class", kept["by"].map({"all": ALL, "gpu": GPU}))
    measures = ["n", "n_censored", "p90_s", "p50_s", "mean_s"]
    means = kept.groupby(groups, sort=False)[measures].mean().rename_axis("group").reset_index()
    means = means.assign(n=means["n"].round().astype(int), p99_s=float("nan"), longest_s=float("nan"))
    return tables.compare_waits(means, None)


def _waits(means: Any) -> Any:
    columns = [
        Column("group", "Class"),
        Column("n", "n", lambda v: f"{v:.0f}", number=True),
        Column("n_censored", "never started", lambda v: f"{v:.1f}", number=True),
        Column("p90_s", "p90", seconds, number=True, behind="n"),
        Column("p50_s", "p50", seconds, number=True, behind="n"),
        Column("mean_s", "mean", seconds, number=True),
    ]
    return table(means, columns, caption="Waits by class, means over the seeds")


def inputs(entry: Entry | None, runs: Runs) -> Any:
    """The question as it was asked, and the result's files."""
    if entry is None:
        return None
    files: list[Any] = [html.A("JSON", href=link(f"/api/runs/{entry.id}.json"))]
    if entry.status == "done":
        files += [
            html.A(f"{frame}.csv", href=link(f"/api/runs/{entry.id}/{quote(frame)}.csv"))
            for frame in runs.tables(entry.id)
        ]
    again: list[Any] = []
    if entry.spec.get("kind") == "probe":
        asked = quote(str(entry.spec.get("expression", "")))
        again = [
            html.A(
                "Change the question",
                href=link("/requirements") + f"?req={asked}&gpus={entry.spec.get('gpus', 1)}",
            )
        ]
    elif entry.spec.get("kind") == "scenario":
        again = [html.A("Compare it", href=link("/scenarios") + f"?cmp={entry.id}")]
    return dmc.Card(
        [
            dmc.Title("Inputs and files", order=2, className="card-title"),
            html.Div([*again, *files], className="files"),
            html.Pre(
                json.dumps(entry.spec, indent=1, ensure_ascii=False, sort_keys=True)[:20_000],
                className="asked mistakes",
                tabIndex="0",
                role="region",
                **aria(label="The question as it was asked"),
            ),
        ],
        withBorder=True,
        className="card",
    )
