"""Pool: which GPUs there are, in which state, and how the supply went over the recorded window."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import dash_mantine_components as dmc
import pandas as pd
from dash import ClientsideFunction, Dash, Input, Output, State, html

from dashboard import tables
from dashboard.columns import Column
from dashboard.components import aria, chart_card, graph_size, kpi, kpis, link, page, scheme_of, table
from dashboard.data import Coverage, Data
from dashboard.figures import pool as figures
from dashboard.figures.labels import FEW, NONE, count, moment, percent, seconds, span
from dashboard.figures.theme import STATES, Scheme
from dashboard.pages import window as windows
from dashboard.tables import GPU

#: Sites in the chart beside the supply, which is as high.
SITES = 9


def layout(**query: Any) -> dmc.Stack:
    """The page without its data; `?win=` chooses how far back it looks."""
    return page(
        "Pool",
        "Which GPUs are there, how many are free now, and is that usual?",
        html.Div(
            dmc.SegmentedControl(
                id="pool-window",
                value=windows.parse_choice(query.get("win")),
                data=[{"value": key, "label": label} for key, (label, _) in windows.CHOICES.items()],
                size="sm",
                **aria(label="Window"),
            ),
            className="page-controls",
        ),
        html.Div(id="pool-kpis", className="kpis-place awaits"),
        chart_card(
            "pool-models",
            "GPUs by model",
            height=340,
            csv="/api/devices-by-model.csv",
            note="Each device once, sorted by capability. What is free now stands at the right end of a bar.",
        ),
        dmc.Grid(
            [
                dmc.GridCol(
                    chart_card("pool-supply", "Supply over time", height=300, csv="/api/supply.csv"),
                    span={"base": 12, "md": 7},
                ),
                dmc.GridCol(
                    chart_card("pool-sites", "GPUs by site", height=300, csv="/api/devices-by-site.csv"),
                    span={"base": 12, "md": 5},
                ),
            ],
            gutter="md",
            className="even",
        ),
        html.Div(id="pool-url", hidden=True),
    )


def register(app: Dash, data: Data) -> None:
    """Wire the page."""

    @app.callback(
        Output("pool-kpis", "children"),
        Output("pool-models-graph", "figure"),
        Output("pool-models-graph", "style"),
        Output("pool-models-caption", "children"),
        Output("pool-models-table", "children"),
        Output("pool-sites-graph", "figure"),
        Output("pool-sites-graph", "style"),
        Output("pool-sites-caption", "children"),
        Output("pool-sites-table", "children"),
        Output("pool-supply-graph", "figure"),
        Output("pool-supply-graph", "style"),
        Output("pool-supply-caption", "children"),
        Output("pool-supply-table", "children"),
        Output("pool-supply-csv", "href"),
        Input("pool-window", "value"),
        Input("scheme", "data"),
        State("url", "search"),
    )
    def show(window: Any, scheme: str, search: Any) -> tuple[Any, ...]:
        chosen = windows.parse_choice(window)
        return (
            *content(windows.over(windows.pinned(data, search), chosen), scheme_of(scheme)),
            link(f"/api/supply.csv?win={chosen}"),
        )

    app.clientside_callback(
        ClientsideFunction("poolscope", "windowAddress"),
        Output("pool-url", "children"),
        Input("pool-window", "value"),
    )


def content(data: Data, scheme: Scheme) -> tuple[Any, ...]:
    """Everything the page shows, in the order of its callback's outputs."""
    coverage = data.coverage()
    models, sites, supply = data.counts("model"), data.counts("site"), tables.thin_supply(data.supply())
    now = f"{moment(coverage.until)}, snapshot {coverage.snapshot}"
    by_model = figures.devices(models, "model", scheme)
    by_site = figures.devices(sites, "site", scheme, most=SITES)
    # Side by side with the sites, so as high as they are.
    over_time = figures.supply(supply, scheme, height=max(300, by_site.layout.height))
    gaps = figures.pauses(supply)
    window = f"{span(coverage.since, coverage.until)}, {count(coverage.n_snapshots, 'snapshot')}"
    return (
        [numbers(data, coverage), html.P(usual(data), className="caption usual")],
        by_model,
        graph_size(by_model),
        f"{count(int(models['gpus'].sum()), 'GPU')} · {now}",
        _counts_table(models, "model", "GPUs by model and state"),
        by_site,
        graph_size(by_site),
        f"{count(len(sites), 'site')} · {now}",
        _counts_table(sites, "site", "GPUs by site and state"),
        over_time,
        graph_size(over_time),
        f"{window} · {count(gaps, 'pause')} of the collector" if gaps else window,
        _supply_table(supply),
    )


def numbers(data: Data, coverage: Coverage) -> Any:
    """The row of numbers at the top."""
    models, supply = data.counts("model"), data.supply()
    total, free = int(models["gpus"].sum()), int(models["free"].sum())
    best = models[models["free"] > 0].tail(1)
    wait = _wait(data)
    ending = " at the end of the record" if coverage.sample else ""
    idle = int(tables.waiting(data.jobs()).sum())
    return kpis(
        kpi(
            "Free GPUs",
            f"{free:,}",
            f"of {total:,}{ending}" + (f"; best: {best['model'].iloc[0]}" if len(best) else ""),
        ),
        kpi(
            "GPUs in the pool",
            f"{total:,}",
            _supplied(supply, coverage),
        ),
        wait,
        kpi("Jobs waiting", f"{idle:,}", f"of {count(len(data.jobs()), 'job')} seen"),
    )


def usual(data: Data) -> str:
    """Whether what is free now, the allocation and the waits are usual: the window's snapshots, and as long a window before it."""
    since, until = data.span()
    supply, free = data.supply(), int(data.counts("model")["free"].sum())
    if not supply["gpus"].any():
        return "Is that usual? No GPU was seen."
    less = float((supply["free"] < free).mean())
    told = f"Is that usual? Fewer GPUs were free in {percent(less)} of {count(len(supply), 'snapshot')}."
    before = data.before()
    length = seconds((until - since).total_seconds())
    if before.snapshots().empty:
        return f"{told} Nothing was recorded in the {length} before."
    then = before.supply()
    parts = [
        f"free GPUs {changed(supply['free'].median(), then['free'].median(), lambda v: f'{v:g}')} (median)",
        f"allocated {changed(tables.allocation(supply), tables.allocation(then), percent)}",
    ]
    waits = [_p90(each) for each in (data, before)]
    if all(wait is not None for wait in waits):
        parts.append(f"p90 wait {changed(waits[0], waits[1], seconds)}")
    return f"{told} Against the {length} before: {', '.join(parts)}."


def changed(now: Any, before: Any, write: Callable[[float], str]) -> str:
    """A number against what it was.

    Examples
    --------
    >>> changed(30.0, 20.0, str), changed(1.0, 0.0, str), changed(float("nan"), 1.0, str)
    ('30.0, was 20.0 (+50 %)', '1.0, was 0.0', '–, was 1.0')
    >>> changed(20.0, 20.0, str)
    '20.0, as before'
    """
    if now == before:
        return f"{write(now)}, as before"
    told = f"{NONE if math.isnan(now) else write(now)}, was {NONE if math.isnan(before) else write(before)}"
    return f"{told} ({100 * (now / before - 1):+.0f} %)" if before and not math.isnan(now / before) else told


def _p90(data: Data) -> float | None:
    """p90 of the GPU jobs, else of all; None without jobs, or where censoring hides it."""
    if data.jobs().empty:
        return None
    waits = data.waits().set_index("group")["p90_s"]
    found = float(waits[GPU if GPU in waits.index else waits.index[0]])
    return None if math.isnan(found) else found


def _wait(data: Data) -> dmc.Card:
    """p90 of the GPU jobs, else of all; a window without jobs says so."""
    if data.jobs().empty:
        return kpi("p90 wait", NONE, "no job was submitted in the window")
    waits = data.waits().set_index("group")
    group = GPU if GPU in waits.index else waits.index[0]
    row: Any = waits.loc[group]
    return kpi(
        "p90 wait",
        bounded(row["p90_s"], row["longest_s"]),
        f"{group}; p50 {seconds(row['p50_s'])}, n={row['n']:,.0f}",
        few=row["n"] < FEW,
    )


def bounded(quantile: float, longest: float) -> str:
    """A quantile, or what it is at least where censoring hides it."""
    return f"over {seconds(longest)}" if math.isnan(quantile) else seconds(quantile)


def _supplied(supply: pd.DataFrame, coverage: Coverage) -> str:
    """Between which numbers the window's GPUs were, and how many of them jobs had."""
    if supply.empty:
        return "no slots were recorded"
    least, most = int(supply["gpus"].min()), int(supply["gpus"].max())
    allocated = f"{percent(tables.allocation(supply))} allocated" if most else "none to allocate"
    if len(supply) == 1:
        return f"in 1 snapshot, {allocated}"
    length = seconds((coverage.until - coverage.since).total_seconds())
    return (
        f"{least:,} to {most:,} in {length}, {allocated}"
        if least < most
        else f"always {most:,} in {length}, {allocated}"
    )


def _counts_table(counts: pd.DataFrame, by: str, caption: str) -> Any:
    columns = [Column(by, by.capitalize())]
    if "capability" in counts:
        columns.append(
            Column("capability", "Capability", lambda v: NONE if math.isnan(v) else f"{v:.1f}", number=True)
        )
    columns += [Column(s, figures.STATE_WORDS[s], str, number=True) for s in STATES if counts[s].any()]
    columns.append(Column("gpus", "all", str, number=True))
    return table(counts.iloc[::-1], columns, caption=caption)


def _supply_table(supply: pd.DataFrame) -> Any:
    columns = [Column("seen_at", "Time (UTC)", lambda at: f"{at:%-d %b %H:%M:%S}")]
    columns += [
        Column(s, figures.STATE_WORDS[s], lambda v: f"{v:g}", number=True) for s in STATES if supply[s].any()
    ]
    columns.append(Column("gpus", "all", lambda v: f"{v:g}", number=True))
    return table(supply.iloc[::-1], columns, caption="GPUs by state over time, newest first")
