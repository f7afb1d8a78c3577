"""About the numbers: how far they can be trusted, where they come from, and what the words mean."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
import pandas as pd
from dash import Dash, Input, Output, State, html

import sim
from dashboard import tables
from dashboard.columns import Column
from dashboard.components import chart_card, kpi, kpis, page, scheme_of, table
from dashboard.data import Coverage, Data
from dashboard.figures import waits as figures
from dashboard.figures.labels import NONE, count, moment, percent, seconds, span
from dashboard.figures.theme import Scheme
from dashboard.pages.waits import replayed
from dashboard.pages.window import pinned
from dashboard.runs import Runs
from dashboard.spec import replay_spec
from dashboard.tables import ALL

#: Classes of fewer jobs say little about the model.
LEAST = 20

METHOD = (
    (
        "Waits are first waits: the first start of execution less the submission. A job that had not started when it was last seen is "
        "censored at that time, never dropped; quantiles are Kaplan-Meier's, bands are 95 %. p90 is shown before p50, since people plan by it."
    ),
    "A GPU is counted once, by machine and device id, whichever slots show it: a partitionable slot, a dynamic one, a backfill one.",
    (
        "Expressions are decided by HTCondor's own evaluator, each ad at the time it was seen, so that a glidein whose retirement has "
        "passed meanwhile still matches as it did."
    ),
    (
        "Simulated waits come from a model of the negotiator (cycles, fair share, claims and their reuse, retirement and loss of machines) "
        "that replays the recorded jobs on the recorded machines. The seed of each is told beside it; the same seed gives the same records."
    ),
)
GLOSSARY = (
    ("allocated", "A job has the GPU. What it does with it is not known here; this is not utilisation."),
    ("backfill", "The GPU is lent to a job that goes when a better one comes."),
    ("draining", "The machine takes no new jobs and lets the running ones end."),
    ("takes no jobs", "The machine's START expression refuses every job now."),
    (
        "censored",
        "Still waiting when last seen: its wait is at least as long as was seen, and longer by an unknown time.",
    ),
    ("p90", "Nine of ten jobs started within this time."),
    ("goodput", "The share of GPU time in attempts that completed."),
    ("failing to match", "No machine seen in the window could ever run the job."),
    ("rung", "A step of strictness; a looser rung contains the stricter ones, so they don't add up."),
)


def layout(**_query: Any) -> dmc.Stack:
    """The page without its data."""
    words = [
        dmc.Title("How they are made", order=2, className="card-title"),
        *(html.P(text) for text in METHOD),
    ]
    terms = [part for word, meaning in GLOSSARY for part in (html.Dt(word), html.Dd(meaning))]
    return page(
        "About the numbers",
        "Can I trust this?",
        html.Div(id="about-numbers", className="kpis-place awaits"),
        chart_card(
            "about-record",
            "Observed against simulated",
            height=340,
            csv="/api/waits-by-class.csv",
            note="All jobs of the record as they were, and as the model had them on the same machines.",
        ),
        dmc.Card(
            [
                dmc.Title("Collector", order=2, className="card-title"),
                html.P(id="about-coverage", className="caption"),
                html.Div(id="about-sources"),
            ],
            withBorder=True,
            className="card",
        ),
        dmc.Card(html.Div(words, className="prose"), withBorder=True, className="card"),
        dmc.Card(
            [dmc.Title("Words", order=2, className="card-title"), html.Dl(terms, className="prose")],
            withBorder=True,
            className="card",
        ),
    )


def register(app: Dash, data: Data, runs: Runs) -> None:
    """Wire the page."""

    @app.callback(
        Output("about-numbers", "children"),
        Output("about-record-graph", "figure"),
        Output("about-record-caption", "children"),
        Output("about-record-table", "children"),
        Output("about-coverage", "children"),
        Output("about-sources", "children"),
        Input("scheme", "data"),
        State("url", "search"),
    )
    def show(scheme: str, search: Any) -> tuple[Any, ...]:
        return content(pinned(data, search), runs, scheme_of(scheme))


def content(data: Data, runs: Runs, scheme: Scheme) -> tuple[Any, ...]:
    """Numbers, the record's chart with sentence and table, and the collector's health."""
    coverage = data.coverage()
    entry = runs.find(replay_spec(data))
    done = entry is not None and entry.status == "done"
    if entry is not None and done:
        replay = replayed(runs, entry.id, data.settings.class_by)
        both = replay.waits
        curves = {
            figures.OBSERVED: replay.curve("observed", ALL),
            figures.SIMULATED: replay.curve("jobs", ALL),
        }
        how = f"simulated {entry.spec.get('replications')} times from seed {entry.spec.get('seed')}, run {entry.id}"
    else:
        both = tables.compare_waits(data.waits(), None)
        curves = {figures.OBSERVED: data.curve(ALL)}
        how = "not simulated yet: ask for it on the Waits page"
    sources = tables.sources(data.snapshots())
    return (
        numbers(both, sources, coverage, simulated=done),
        figures.started(curves, scheme),
        f"{span(coverage.since, coverage.until)}, snapshot {coverage.snapshot} · {how}",
        _errors(both),
        f"{count(coverage.n_snapshots, 'snapshot')} from {span(coverage.since, coverage.until)}, HTCondor {coverage.condor_version}",
        _sources(sources),
    )


def numbers(both: pd.DataFrame, sources: pd.DataFrame, coverage: Coverage, *, simulated: bool) -> Any:
    """How far the model was off, and how the collector does."""
    rounds, errors = int(sources["rounds"].sum()), int(sources["errors"].sum())
    off = float("nan")
    for total in both[both["group"] == ALL].to_dict("records"):  # none without jobs
        if simulated and total["mean_s"]:
            off = abs(total["sim_mean_s"] / total["mean_s"] - 1)
    classes = errors_by_class(both)
    big = classes[classes["n"] >= LEAST]["error"].dropna()
    return kpis(
        kpi(
            "Mean wait, all jobs",
            percent(off) if simulated else NONE,
            "off the observed one" if simulated else "not simulated yet",
        ),
        kpi(
            "Mean wait by class",
            percent(float(big.mean())) if len(big) else NONE,
            f"off on average, {len(big)} classes of {LEAST} jobs and more"
            if simulated
            else "not simulated yet",
        ),
        kpi(
            "Sources that failed",
            percent(errors / rounds) if rounds else NONE,
            f"of {count(rounds, 'question')}" if rounds else "not recorded",
        ),
        kpi("poolscope", sim.__version__, f"data until {moment(coverage.until)}"),
    )


def errors_by_class(both: pd.DataFrame) -> pd.DataFrame:
    """group, n, mean_s, sim_mean_s, error (absolute, relative; missing where nothing was simulated)."""
    classes = both[both["group"] != ALL]
    return classes.assign(error=(classes["sim_mean_s"] / classes["mean_s"] - 1).abs())[
        ["group", "n", "mean_s", "sim_mean_s", "error"]
    ]


def _errors(both: pd.DataFrame) -> Any:
    columns = [
        Column("group", "Class"),
        Column("n", "n", str, number=True),
        Column("mean_s", "mean observed", seconds, number=True, behind="n"),
        Column(
            "sim_mean_s",
            "mean simulated",
            lambda v: NONE if pd.isna(v) else seconds(v),
            number=True,
            behind="n",
        ),
        Column("error", "off by", percent, number=True, behind="n"),
    ]
    return table(errors_by_class(both), columns, caption="Observed and simulated mean waits by class")


def _sources(sources: pd.DataFrame) -> Any:
    if sources.empty:
        return html.P("The snapshots don't say what their sources answered.", className="caption")
    columns = [
        Column("source", "Source"),
        Column("rounds", "asked", str, number=True),
        Column("errors", "failed", str, number=True),
        Column("last_error", "last reason", lambda v: v or NONE),
    ]
    return table(sources, columns, caption="What the collector's sources answered")
