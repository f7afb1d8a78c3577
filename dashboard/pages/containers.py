"""Containers: how software reaches the jobs, and what each way costs."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import dash_mantine_components as dmc
import numpy as np
import pandas as pd
from dash import ClientsideFunction, Dash, Input, Output, State, ctx, html

from dashboard.columns import Column
from dashboard.components import aria, chart_card, graph_size, link, page, scheme_of, table
from dashboard.data import Data
from dashboard.figures import containers as figures
from dashboard.figures.labels import count, moment, seconds, span
from dashboard.figures.theme import Scheme, blank
from dashboard.pages import progressing
from dashboard.pages.progressing import Panel
from dashboard.pages.window import PAST, pinned
from dashboard.runs import Runs
from dashboard.spec import strategies_spec
from dashboard.tables import ABILITIES
from sim.delivery.publication import Pipeline, delays
from sim.delivery.section import DeliverySection
from sim.delivery.warmup import EVENTS, VARIANTS, Event, Workload, varied, warm_up
from sim.errors import InputError

ASK = "Compare the strategies"
BASE = next(iter(VARIANTS))
EVENT: Event = "new image"
VARIANT = "quota 4 GB"
#: Images of the publication chart: compressed and unpacked MB.
SIZES = {"small image, 0.3 GB": (300.0, 740.0), "CUDA image, 3 GB": (3000.0, 6300.0)}
SITE = Workload()


def layout(**query: Any) -> dmc.Stack:
    """The page without its data; `?event=` and `?variant=` choose what the warm-up charts show."""
    event, variant = chosen(query.get("event"), query.get("variant"))
    bar = html.Div(
        [
            dmc.Select(
                id="containers-event", label="After", data=list(EVENTS), value=event, allowDeselect=False,
                className="control-wide",
            ),
            dmc.Select(
                id="containers-variant", label="Compared with", data=list(VARIANTS)[1:], value=variant,
                allowDeselect=False, className="control-wide",
            ),
        ],
        className="control-bar",
    )  # fmt: skip
    return page(
        "Containers",
        "Should software come in a container, be installed in the job, or be replaced by a pinned GPU type?",
        dmc.Card(html.Div(progressing.panel("containers", ASK), className="control-bar"), withBorder=True, className="card"),
        chart_card(
            "containers-strategies", "Strategies side by side", height=460, csv="/api/strategies.csv",
            note="The record's GPU jobs, once per strategy with the same seeds; every container path wherever there is Apptainer. Bar: 5 to 95 % of the mean over seeds.",
        ),
        dmc.Card(bar, withBorder=True, className="card"),
        dmc.Grid(
            [
                dmc.GridCol(chart_card("containers-hits", "Warm starts", height=300, csv="/api/warm-up.csv"), span={"base": 12, "md": 6}),
                dmc.GridCol(chart_card("containers-starts", "Start-up", height=300, csv="/api/warm-up.csv"), span={"base": 12, "md": 6}),
                dmc.GridCol(chart_card("containers-moved", "Bytes by level", height=300, csv="/api/warm-up.csv"), span={"base": 12, "md": 6}),
                dmc.GridCol(
                    chart_card("containers-publication", "From push to jobs", height=300, csv="/api/publication.csv"),
                    span={"base": 12, "md": 6},
                ),
            ],
            gutter="md",
            className="even",
        ),
        chart_card("containers-repositories", "CVMFS repositories", height=300, csv="/api/repositories.csv"),
        dmc.Card(
            [
                html.Div(
                    [
                        dmc.Title("Who can run which image", order=2, className="card-title"),
                        html.A(
                            "CSV", href=link("/api/abilities.csv"), className="quiet-link",
                            **aria(label="Who can run which image: CSV file"),
                        ),
                    ],
                    className="card-head",
                ),
                html.Div(id="containers-abilities"),
            ],
            withBorder=True,
            className="card",
        ),
        html.Div(id="containers-url", hidden=True),
    )  # fmt: skip


def chosen(event: object, variant: object) -> tuple[Event, str]:
    """The event and the variant of an address, held to those there are."""
    known: Event = next((name for name in EVENTS if name == event), EVENT)
    return known, variant if isinstance(variant, str) and variant in list(VARIANTS)[1:] else VARIANT


def register(app: Dash, data: Data, runs: Runs) -> None:
    """Wire the page."""
    # The address may pin the page to a snapshot.
    search = State("url", "search")

    @app.callback(
        *progressing.outputs("containers"),
        *progressing.inputs("containers"),
        progressing.shown("containers"),
        search,
    )
    def follow(_ticks: int | None, ask: int | None, cancel: int | None, shown: Any, search: Any) -> Panel:
        here = pinned(data, search)
        if ctx.triggered_id == "containers-ask" and here is not data:
            raise InputError(PAST)
        button = ctx.triggered_id if ask or cancel else None
        panel = progressing.press(button, strategies_spec(here), runs, ask=ASK, now=time.time())
        return progressing.beside(shown, panel)

    @app.callback(
        *_chart("containers-strategies"),
        Output("containers-strategies-graph", "style"),
        Input("containers-done", "data"),
        Input("scheme", "data"),
        search,
    )
    def show_strategies(done: str, scheme: str, search: Any) -> tuple[Any, ...]:
        return strategies_content(pinned(data, search), runs, done, scheme_of(scheme))

    @app.callback(
        *_chart("containers-hits"),
        *_chart("containers-starts"),
        *_chart("containers-moved"),
        Output("containers-hits-csv", "href"),
        Output("containers-starts-csv", "href"),
        Output("containers-moved-csv", "href"),
        Input("containers-event", "value"),
        Input("containers-variant", "value"),
        Input("scheme", "data"),
    )
    def show_warm_up(event: str, variant: str, scheme: str) -> tuple[Any, ...]:
        return warm_up_content(*chosen(event, variant), scheme_of(scheme))

    @app.callback(
        *_chart("containers-publication"),
        *_chart("containers-repositories"),
        Output("containers-repositories-graph", "style"),
        Output("containers-abilities", "children"),
        Input("scheme", "data"),
        search,
    )
    def show_rest(scheme: str, search: Any) -> tuple[Any, ...]:
        shown, here = scheme_of(scheme), pinned(data, search)
        return (*publication_content(shown), *repositories_content(here, shown), abilities_table(here))

    app.clientside_callback(
        ClientsideFunction("poolscope", "containersAddress"),
        Output("containers-url", "children"),
        Input("containers-event", "value"),
        Input("containers-variant", "value"),
    )


def _chart(name: str) -> list[Output]:
    """Where a chart's figure, sentence and table go."""
    return [
        Output(f"{name}-graph", "figure"),
        Output(f"{name}-caption", "children"),
        Output(f"{name}-table", "children"),
    ]


def strategies_content(data: Data, runs: Runs, done: str, scheme: Scheme) -> tuple[Any, ...]:
    """The strategies' chart with caption, table and style; empty until the run is done."""
    entry = runs.get(done) if done else None
    if entry is None or entry.status != "done":
        return blank(scheme), "Not compared yet: ask for it above.", "", {"height": 60}
    frame = runs.frame(done, "strategies")
    figure = figures.strategies(frame, scheme)
    coverage, spec = data.coverage(), entry.spec
    caption = (
        f"n={int(frame['jobs'].iloc[0])} GPU jobs · {span(coverage.since, coverage.until)}, snapshot {coverage.snapshot} · "
        f"{spec.get('replications')} runs each, from seed {spec.get('seed')}"
    )
    columns = [
        Column("words", "Strategy"),
        Column("done", "done", _whole, number=True),
        Column("wait_p50_s", "p50 wait", seconds, number=True, behind="jobs"),
        Column("wait_p90_s", "p90 wait", seconds, number=True, behind="jobs"),
        Column("start_up_s", "start-up", seconds, number=True),
        Column("total_mean_s", "to the result", seconds, number=True),
        Column("gained_s", "against the first", seconds, number=True),
        Column("squid_mb", "near GB", _gigabytes, number=True),
        Column("origin_mb", "far GB", _gigabytes, number=True),
        Column("access_point_mb", "sent GB", _gigabytes, number=True),
        Column("pulls", "pulls", _whole, number=True),
        Column("failures", "failed", _whole, number=True),
        Column("held", "held", _whole, number=True),
    ]
    words = frame.set_index("strategy")["words"]
    by_gpu = runs.frame(done, "by_gpu").assign(words=lambda rows: rows["strategy"].map(words))
    of_models = [
        Column("model", "GPU"),
        Column("words", "Strategy"),
        Column("starts", "starts", _whole, number=True),
        Column("wait_p50_s", "p50 wait", seconds, number=True, behind="starts"),
        Column("start_up_s", "start-up", seconds, number=True),
    ]
    shown = [
        *table(frame, columns, caption="Strategies side by side"),
        *table(by_gpu.sort_values("model", kind="stable"), of_models, caption="Strategies by GPU model"),
    ]
    return figure, caption, shown, graph_size(figure)


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _gigabytes(value: float) -> str:
    return f"{value / 1e3:,.1f}"


@lru_cache(maxsize=32)
def warming(event: Event, variant: str) -> pd.DataFrame:
    """The warm-up after an event at the page's site."""
    return warm_up(varied(DeliverySection(), variant), event, SITE)


def warm_up_content(event: Event, variant: str, scheme: Scheme) -> tuple[Any, ...]:
    """The three warm-up charts with captions, tables and the addresses of their CSV."""
    frames = {name: warming(event, name) for name in (BASE, variant)}
    site = f"after a {event} · {SITE.nodes} nodes, {SITE.starts_per_h:g} starts/h, seed 1 · a model site, not this pool"
    shown = [
        table(
            frame,
            [
                Column("hour", "h", lambda value: f"{value:.2f}", number=True),
                Column("starts", "n", str, number=True),
                Column("hit", "warm", lambda value: f"{value:.0%}", number=True),
                Column("start_p50_s", "p50", seconds, number=True, behind="starts"),
                Column("start_p90_s", "p90", seconds, number=True, behind="starts"),
                Column("squid_mb", "squid GB", _gigabytes, number=True),
                Column("origin_mb", "Stratum 1 GB", _gigabytes, number=True),
            ],
            caption=f"Starts after a {event}: {name}",
        )
        for name, frame in frames.items()
    ]
    n = count(int(frames[BASE]["starts"].sum()), "start")
    href = link("/api/warm-up.csv") + "?" + urlencode({"event": event, "variant": variant})
    return (
        figures.hits(frames, scheme), f"n={n} · {site}", shown[0],
        figures.start_ups(frames, scheme), f"{BASE} and {variant} · {site}", shown[1],
        figures.moved(frames[variant], scheme), f"{variant} · {site}", shown[1],
        href, href, href,
    )  # fmt: skip


@lru_cache(maxsize=1)
def publishing() -> dict[str, pd.DataFrame]:
    """The chance of being visible over the minutes after a push, by image size."""
    minutes = np.arange(0, 91)
    found = {}
    for name, (wire_mb, unpacked_mb) in SIZES.items():
        drawn = np.sort(
            delays(wire_mb, unpacked_mb, Pipeline(), np.random.default_rng(1), draws=20_000).total_s
        )
        share = np.searchsorted(drawn, minutes * 60.0, side="right") / len(drawn)
        found[name] = pd.DataFrame({"minute": minutes, "share": share})
    return found


def publication_content(scheme: Scheme) -> tuple[Any, ...]:
    """The publication chart with caption and table."""
    curves = publishing()
    rows = pd.DataFrame(
        [
            {
                "image": name,
                **{
                    f"p{q}": float(curve["minute"][curve["share"] >= q / 100].iloc[0])
                    for q in (10, 50, 90, 99)
                },
            }
            for name, curve in curves.items()
        ]
    )
    columns = [
        Column("image", "Image"),
        *(Column(f"p{q}", f"p{q} min", _whole, number=True) for q in (10, 50, 90, 99)),
    ]
    caption = "the sync's default timing, 20,000 draws, seed 1 · stuck images not counted"
    return (
        figures.publication(curves, scheme),
        caption,
        table(rows, columns, caption="Minutes from push to jobs"),
    )


def repositories_content(data: Data, scheme: Scheme) -> tuple[Any, ...]:
    """The repositories that the snapshot's machines say they have, with caption, table and style."""
    counts = data.repositories()
    coverage = data.coverage()
    caption = f"{moment(coverage.until)}, snapshot {coverage.snapshot}"
    if counts.empty:
        return blank(scheme), f"No machine speaks of CVMFS · {caption}", "", {"height": 60}
    figure = figures.repositories(counts, scheme)
    columns = [
        Column("repository", "Repository"),
        Column("available", "with it", str, number=True),
        Column("machines", "machines", str, number=True),
        Column(
            "oldest_revision",
            "oldest revision",
            lambda value: "–" if pd.isna(value) else f"{value:,.0f}",
            number=True,
        ),
    ]
    return figure, caption, table(counts, columns, caption="Repositories by machines"), graph_size(figure)


def abilities_table(data: Data) -> Any:
    """Which kinds of image the machines of each site can run, as they say; Docker and Apptainer sites told apart."""
    counts = data.abilities()
    columns = [Column("site", "Site"), Column("machines", "machines", str, number=True)]
    columns += [Column(name, word, str, number=True) for name, word in ABILITIES.items()]
    return table(counts, columns, caption="Machines of each site by what they can run")
