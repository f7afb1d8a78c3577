"""Inventory: which devices could match an expression, in which state they are, and when they are free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import dash_ag_grid as dag
import dash_mantine_components as dmc
import pandas as pd
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboard import tables
from dashboard.columns import Column
from dashboard.components import aria, chart_card, graph_size, kpi, kpis, link, notice, page, scheme_of, table
from dashboard.data import Data
from dashboard.figures import inventory as figures
from dashboard.figures.labels import count, moment, span
from dashboard.figures.pool import STATE_WORDS
from dashboard.figures.theme import Scheme
from dashboard.pages.window import pinned
from dashboard.validate import text
from sim.analysis import Answer
from sim.errors import ExpressionError, InputError

LONGEST = 2000
EVERY = "any"

_COLUMNS = (
    {"field": "model", "headerName": "Model", "minWidth": 165, "flex": 2, "tooltipField": "model"},
    {"field": "capability", "headerName": "Capability", "width": 110, "valueFormatter": {"function": "params.value == null ? '–' : d3.format('.1f')(params.value)"}},
    {"field": "memory_gib", "headerName": "Memory (GiB)", "width": 130, "valueFormatter": {"function": "params.value == null ? '–' : d3.format('.1f')(params.value)"}},
    {"field": "state", "headerName": "State", "width": 130},
    {"field": "site", "headerName": "Site", "minWidth": 120, "flex": 1, "tooltipField": "site"},
    {"field": "machine", "headerName": "Machine", "minWidth": 200, "flex": 3, "tooltipField": "machine"},
    {"field": "device_id", "headerName": "Device", "minWidth": 130, "flex": 1, "tooltipField": "device_id"},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """What the page shows: devices whose machines match an expression, in one state or in any."""

    expression: str = ""
    state: str = EVERY

    @classmethod
    def parse(cls, query: Mapping[str, object]) -> Filter:
        """Read an address; what it says badly gets its default.

        Examples
        --------
        >>> Filter.parse({"expr": "Memory > 5", "state": "free"})
        Filter(expression='Memory > 5', state='free')
        >>> Filter.parse({"expr": ["a", "b"], "state": "no such"})
        Filter(expression='b', state='any')
        """
        said, state = _one(query.get("expr")), _one(query.get("state"))
        return cls(said[:LONGEST] if said else "", state if state in STATE_WORDS else EVERY)

    def to_query(self) -> str:
        """The address; what is at its default is left out.

        Examples
        --------
        >>> Filter("Memory > 5").to_query(), Filter().to_query()
        ('expr=Memory%20%3E%205', '')
        """
        said = {
            name: value
            for name, value in (("expr", self.expression), ("state", self.state))
            if value not in {"", EVERY}
        }
        return urlencode(said, quote_via=quote)


def _one(value: object) -> str:
    if isinstance(value, list):
        value = value[-1] if value else ""
    return value if isinstance(value, str) and value.isprintable() else ""


def layout(**query: Any) -> dmc.Stack:
    """The page for the filter of its address."""
    asked = Filter.parse(query)
    states = [
        {"value": EVERY, "label": "any state"},
        *({"value": key, "label": word} for key, word in STATE_WORDS.items()),
    ]
    bar = html.Div(
        [
            dmc.TextInput(
                id="inv-expression", label="Expression", description="Devices of machines that match; empty shows all",
                value=asked.expression, debounce=300, className="expression inventory-expression", inputProps={"maxLength": LONGEST, "spellCheck": "false"},
            ),
            dmc.Select(id="inv-state", label="State", data=states, value=asked.state, allowDeselect=False, className="control"),
        ],
        className="control-bar",
    )  # fmt: skip
    grid = dag.AgGrid(
        id="inv-grid",
        columnDefs=[{"sortable": True, "filter": True, "resizable": True, "suppressHeaderFilterButton": True, **column} for column in _COLUMNS],
        rowData=[],
        dashGridOptions={
            "pagination": True, "paginationPageSize": 20, "paginationPageSizeSelector": [20, 50, 100],
            "theme": {"function": "themeQuartz.withPart(agGrid.colorSchemeVariable)"}, "domLayout": "autoHeight",
            "suppressCellFocus": False, "tooltipShowDelay": 400,
        },
        style={"height": None, "width": "100%"},
    )  # fmt: skip
    devices = dmc.Card(
        [
            html.Div(
                [
                    dmc.Title("Devices", order=2, className="card-title"),
                    html.A(
                        "CSV",
                        href=link("/api/devices.csv"),
                        className="quiet-link",
                        **aria(label="Devices: CSV file"),
                    ),
                ],
                className="card-head",
            ),
            html.P(id="inv-caption", className="caption"),
            html.Div(grid, id="inv-grid-place"),
        ],
        withBorder=True,
        className="card",
    )
    return page(
        "Inventory",
        "Which machines or devices could match this expression, and when are they free?",
        dmc.Card(bar, withBorder=True, className="card"),
        html.Div(id="inv-told", className="awaits"),
        devices,
        chart_card(
            "inv-hours",
            "Free by hour of the day",
            height=300,
            csv="/api/free-by-hour.csv",
            note="Mean free GPUs over the window. Hours in which nothing was collected stay empty.",
        ),
        html.Div(id="inv-url", hidden=True),
        dcc.Store(id="inv-query"),
    )


def register(app: Dash, data: Data) -> None:
    """Wire the page."""

    @app.callback(
        Output("inv-grid", "rowData"),
        Output("inv-caption", "children"),
        Output("inv-told", "children"),
        Output("inv-expression", "error"),
        Output("inv-query", "data"),
        Input("inv-expression", "value"),
        Input("inv-state", "value"),
        State("url", "search"),
    )
    def show(expression: Any, state: Any, search: Any) -> tuple[Any, ...]:
        return content(pinned(data, search), expression, state)

    @app.callback(
        Output("inv-expression", "value"),
        Input({"type": "inv-relax", "clause": ALL}, "n_clicks"),
        State("inv-expression", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def relax(clicks: list[int | None], expression: Any, search: Any) -> Any:
        asked = ctx.triggered_id
        if not isinstance(asked, dict) or not any(clicks):
            return no_update
        return without(
            pinned(data, search), text(expression, "Expression", most=LONGEST), asked.get("clause")
        )

    @app.callback(
        Output("inv-hours-graph", "figure"),
        Output("inv-hours-graph", "style"),
        Output("inv-hours-caption", "children"),
        Output("inv-hours-table", "children"),
        Input("scheme", "data"),
        State("url", "search"),
    )
    def hours(scheme: str, search: Any) -> tuple[Any, ...]:
        return hours_content(pinned(data, search), scheme_of(scheme))

    app.clientside_callback(
        ClientsideFunction("poolscope", "address"), Output("inv-url", "children"), Input("inv-query", "data")
    )


def content(data: Data, expression: Any, state: Any) -> tuple[Any, ...]:
    """Rows of the grid, its sentence, numbers or what emptied it, the field's mistake, the address."""
    said = text(expression or "", "Expression", most=LONGEST).strip()
    asked = Filter.parse({"expr": said, "state": state if isinstance(state, str) else EVERY})
    devices = data.devices()
    answer: Answer | None = None
    if said:
        try:
            answer = data.answer(said, gpus=1, cpus=1, memory_mib=1.0)
        except ExpressionError as error:
            return no_update, no_update, no_update, str(error)[:1].upper() + str(error)[1:], asked.to_query()
    shown = devices if answer is None else devices[devices["machine"].isin(answer.machines).to_numpy()]
    if asked.state != EVERY:
        shown = shown[(shown["state"] == asked.state).to_numpy()]
    coverage = data.coverage()
    caption = f"{len(shown):,} of {count(len(devices), 'GPU')} · {moment(coverage.until)}, snapshot {coverage.snapshot}"
    told = numbers(shown, len(devices)) if len(shown) else emptied(devices, answer, asked)
    # The rows as the grid takes them are made once; what is shown of them is picked by their place in the frame.
    made = data.kept("inventory", lambda: rows(devices))
    places = set(shown.index)
    return [row for place, row in made if place in places], caption, told, None, asked.to_query()


def rows(devices: pd.DataFrame) -> list[tuple[int, dict[str, Any]]]:
    """Devices as the grid takes them, the best first, each after its index in the frame."""
    held = pd.DataFrame(
        {
            "model": tables.device_labels(devices),
            "capability": devices["capability"],
            "memory_gib": (devices["memory_mib"] / 1024).round(1),
            "state": devices["state"].map(STATE_WORDS).fillna(devices["state"]),
            "site": devices["site"].fillna(tables.ELSEWHERE),
            "machine": devices["machine"],
            "device_id": devices["device_id"],
        }
    ).sort_values(
        ["capability", "model", "machine", "device_id"],
        ascending=[False, True, True, True],
        na_position="last",
    )
    # None where a value is missing: NaN is no JSON.
    columns = [held[name].astype(object).where(held[name].notna(), None).tolist() for name in held]
    names = [str(name) for name in held]
    return [
        (place, dict(zip(names, values, strict=True)))
        for place, *values in zip(held.index.tolist(), *columns, strict=True)
    ]


def numbers(shown: pd.DataFrame, total: int) -> Any:
    """What the filter leaves, in four numbers."""
    free = int((shown["state"] == "free").sum())
    models = tables.device_labels(shown).value_counts()
    return kpis(
        kpi("GPUs", f"{len(shown):,}", f"of {total:,} in the pool"),
        kpi("Free now", f"{free:,}", f"{100 * free / len(shown):.0f} % of them"),
        kpi("Machines", f"{shown['machine'].nunique():,}", count(int(shown["site"].nunique()), "site")),
        kpi("Models", f"{len(models):,}", f"most of them {models.index[0]}: {models.iloc[0]:,}"),
    )


def emptied(devices: pd.DataFrame, answer: Answer | None, asked: Filter) -> Any:
    """Why nothing is left, and how to get something with one click."""
    if devices.empty:
        return notice("No GPU is there", "The latest snapshot has none.", colour="yellow")
    if answer is None or answer.gpus.drained:
        word = STATE_WORDS.get(asked.state, asked.state)
        return notice(f"None of these GPUs is {word} now", "Choose “any state” to see them.", colour="yellow")
    gains = sorted(
        (clause for clause in answer.clauses if clause.gained_if_dropped > 0),
        key=lambda clause: -clause.gained_if_dropped,
    )
    buttons = [
        dmc.Button(
            ["Drop ", html.Code(clause.text[:80]), f": {clause.gained_if_dropped} GPUs"],
            id={"type": "inv-relax", "clause": place},
            size="compact-sm",
            variant="default",
        )
        for place, clause in enumerate(answer.clauses)
        if clause in gains[:3]
    ]
    sentence = f"0 of {len(devices)} GPUs match. "
    rest = (
        "One clause alone empties it:"
        if buttons
        else "No single clause is the reason: two or more of them exclude each other here."
    )
    return notice("No device matches", sentence + rest, html.Div(buttons, className="chips"), colour="yellow")


def without(data: Data, expression: str, clause: Any) -> str:
    """The expression without its clause number `clause`."""
    answer = data.answer(expression.strip(), gpus=1, cpus=1, memory_mib=1.0)
    if not isinstance(clause, int) or isinstance(clause, bool) or not 0 <= clause < len(answer.clauses):
        raise InputError("the clause to drop: found none of the expression's own")
    kept = [held.text for place, held in enumerate(answer.clauses) if place != clause]
    return " && ".join(kept)


def hours_content(data: Data, scheme: Scheme) -> tuple[Any, ...]:
    """The heatmap with its sentence and table."""
    frame, coverage = data.free_by_hour(), data.coverage()
    made = figures.free_by_hour(frame, scheme)
    columns = [
        Column("model", "Model"),
        Column("hour", "Hour (UTC)", str, number=True),
        Column("free", "free, mean", lambda v: f"{v:.1f}", number=True),
        Column("gpus", "all, mean", lambda v: f"{v:.1f}", number=True),
    ]
    told = f"{span(coverage.since, coverage.until)}, {count(coverage.n_snapshots, 'snapshot')}"
    return (
        made,
        graph_size(made),
        told,
        table(frame.iloc[::-1], columns, caption="Free GPUs by model and hour of the day"),
    )
