"""Scenarios: what happens to waits if capacity, demand or policy changes."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import dash_mantine_components as dmc
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboard.components import chart_card, notice, page, scheme_of
from dashboard.data import Data
from dashboard.identity import runner
from dashboard.pages import scenario_draft as draft
from dashboard.pages.scenario_comparison import USUAL, Compared, show_comparison, told_runs
from dashboard.runs import Runs
from dashboard.spec import scenario_spec
from dashboard.tables import GPU
from dashboard.validate import number, one_of, text, whole
from sim.errors import InputError, PoolscopeError

POLL_MS = 1500


def layout(**query: Any) -> dmc.Stack:
    """The page for its address; the draft comes by callback, for a layout knows no store."""
    compared, asked = draft.parse_compared(query), query.get("jobs")
    jobs = asked[:200] if isinstance(asked, str) and asked else USUAL
    fields = [_field(lever) for lever in draft.levers()]
    form = [
        dmc.Title("Draft", order=2, className="card-title"),
        html.P("Change a field or the file below it; each follows the other.", className="card-note"),
        html.Div(fields, className="controls"),
        *_changes(),
        dmc.Textarea(
            id="sc-yaml", label="Scenario file", value="", autosize=True, minRows=6, maxRows=26, debounce=400,
            className="yaml", spellCheck=False, inputProps={"maxLength": draft.LONGEST},
        ),
        html.Div(id="sc-mistakes", role="alert"),
        html.Div(
            [
                dmc.Button("Run this scenario", id="sc-run", size="sm"),
                dmc.Button("Start from the base", id="sc-base", size="sm", variant="default"),
            ],
            className="run-buttons controls",
        ),
    ]  # fmt: skip
    return page(
        "Scenarios",
        "What happens to waits if capacity, demand or policy changes?",
        dmc.Card(form, withBorder=True, className="card"),
        dmc.Card(
            [
                dmc.Title("Compared", order=2, className="card-title"),
                html.P("The first is the base of all differences. Up to four; the address carries them.", className="card-note"),
                html.Div(id="sc-runs"),
            ],
            withBorder=True,
            className="card",
        ),
        html.Div(
            [
                dmc.Select(
                    id="sc-jobs", label="Jobs", data=[{"value": jobs, "label": GPU if jobs == USUAL else jobs}], value=jobs,
                    searchable=True, allowDeselect=False, className="control-wide",
                ),
                chart_card(
                    "sc-differences", "Differences from the base", csv="/api/compare.csv",
                    note="Every scenario has the same seeds, so differences are taken seed by seed; bars are 95 % intervals.",
                ),
                chart_card("sc-curves", "p90 and p50 by scenario", height=300, csv="/api/scenarios.csv", note="Mean over the seeds."),
            ],
            id="sc-charts", className="stack", style={"display": "none"},
        ),
        dcc.Store(id="sc-compared", data=list(compared)),
        dcc.Store(id="sc-state"),
        dcc.Interval(id="sc-poll", interval=POLL_MS),
        html.Div(id="sc-url", hidden=True),
        dcc.Store(id="sc-query"),
    )  # fmt: skip


def _field(lever: draft.Lever) -> Any:
    name = {"type": "sc-lever", "key": lever.key}
    if lever.kind == "choice":
        return dmc.Select(
            id=name,
            label=lever.label,
            data=list(lever.offers),
            value=None,
            allowDeselect=False,
            className="control",
        )
    if lever.kind == "whole":
        return dmc.NumberInput(
            id=name,
            label=lever.label,
            value=None,
            min=lever.least,
            max=lever.most,
            allowDecimal=False,
            debounce=300,
            className="control",
        )
    if lever.kind == "flag":
        return dmc.Switch(id=name, label=lever.label, checked=False, className="control-switch")
    return dmc.TextInput(id=name, label=lever.label, value="", debounce=300, className="control")


def _written(value: Any) -> str:
    return f"{value:g} s" if isinstance(value, int | float) else str(value)


def _changes() -> list[Any]:
    """Further machines, a lost site, more jobs: each button writes one more change into the file."""
    model = "NVIDIA L40S"
    capability, memory = draft.CATALOGUE[model]
    return [
        html.Div(
            [
                dmc.NumberInput(id="sc-add-gpus", label="Add GPUs", value=8, min=1, max=10_000, allowDecimal=False, className="control"),
                dmc.Autocomplete(id="sc-add-model", label="of model", value=model, data=list(draft.CATALOGUE), debounce=300, className="control-model"),
                dmc.NumberInput(id="sc-add-capability", label="capability", value=capability, min=1, max=99, decimalScale=1, className="control"),
                dmc.TextInput(id="sc-add-memory", label="memory each", value=memory, className="control"),
                dmc.Button("Add them", id="sc-add", variant="default", size="sm"),
            ],
            className="controls changes",
        ),
        html.Div(
            [
                dmc.Select(id="sc-drop-site", label="Lose the site", data=[], value=None, placeholder="none", className="control-model"),
                dmc.Button("Drop it", id="sc-drop", variant="default", size="sm"),
                dmc.NumberInput(id="sc-scale", label="Times as many jobs", value=2, min=0.1, max=100, decimalScale=2, className="control"),
                dmc.Button("Scale", id="sc-scale-do", variant="default", size="sm"),
            ],
            className="controls changes",
        ),
    ]  # fmt: skip


def register(app: Dash, data: Data, runs: Runs) -> None:
    """Wire the page."""
    kinds = {lever.key: lever for lever in draft.levers()}

    @app.callback(
        Output("sc-yaml", "value"),
        Output("sc-mistakes", "children"),
        Output({"type": "sc-lever", "key": ALL}, "value"),
        Output({"type": "sc-lever", "key": ALL}, "checked"),
        Input("sc-yaml", "value"),
        Input({"type": "sc-lever", "key": ALL}, "value"),
        Input({"type": "sc-lever", "key": ALL}, "checked"),
        Input("sc-base", "n_clicks"),
        Input("sc-add", "n_clicks"),
        Input("sc-drop", "n_clicks"),
        Input("sc-scale-do", "n_clicks"),
        Input({"type": "sc-clone", "run": ALL}, "n_clicks"),
        State("sc-add-gpus", "value"),
        State("sc-add-model", "value"),
        State("sc-add-capability", "value"),
        State("sc-add-memory", "value"),
        State("sc-drop-site", "value"),
        State("sc-scale", "value"),
        State({"type": "sc-lever", "key": ALL}, "id"),
    )
    def edit(written: Any, values: list[Any], checks: list[Any], *rest: Any) -> Any:
        changes, names = rest[5:11], _keys(rest[11], kinds)
        by, clones = ctx.triggered_id, rest[4]
        if isinstance(by, dict) and by.get("type") == "sc-clone" and not any(clones):
            return no_update, no_update, [no_update] * len(values), [no_update] * len(checks)
        try:
            content = change(
                data,
                runs,
                by,
                written,
                dict(zip(names, zip(values, checks, strict=True), strict=True)),
                changes,
            )
            draft.read(draft.write(content), source=data.settings.source)
        except PoolscopeError as error:
            return no_update, _mistakes(str(error)), [no_update] * len(values), [no_update] * len(checks)
        shown = no_update if by == "sc-yaml" else draft.write(content)
        new = [draft.get(content, name) for name in names]
        told = [_value(kinds[name], value) for name, value in zip(names, new, strict=True)]
        ticks = [
            bool(value) if kinds[name].kind == "flag" else no_update
            for name, value in zip(names, new, strict=True)
        ]
        return shown, None, _changed(told, values), _changed(ticks, checks)

    _register_offers(app, data)

    @app.callback(
        Output("sc-compared", "data"),
        Output("sc-mistakes", "children", allow_duplicate=True),
        Input("sc-run", "n_clicks"),
        Input({"type": "sc-remove", "run": ALL}, "n_clicks"),
        Input({"type": "sc-cancel", "run": ALL}, "n_clicks"),
        State("sc-yaml", "value"),
        State("sc-compared", "data"),
        prevent_initial_call=True,
    )
    def ask(clicked: int | None, removed: list[Any], cancelled: list[Any], written: Any, held: Any) -> Any:
        compared = list(
            draft.parse_compared({"cmp": ",".join(map(str, held)) if isinstance(held, list) else ""})
        )
        by = ctx.triggered_id
        try:
            if isinstance(by, dict) and by.get("type") == "sc-remove" and any(removed):
                return [name for name in compared if name != by.get("run")], None
            if isinstance(by, dict) and by.get("type") == "sc-cancel" and any(cancelled):
                runs.cancel(text(by.get("run"), "the run"), by=runner().cancels_as)
                return compared, None
            if by == "sc-run" and clicked:
                return start(data, runs, text(written, "the scenario", most=draft.LONGEST), compared), None
        except PoolscopeError as error:
            return no_update, _mistakes(str(error))
        return no_update, no_update

    @app.callback(
        Output("sc-runs", "children"),
        Output("sc-state", "data"),
        Output("sc-poll", "disabled"),
        Output("sc-query", "data"),
        Input("sc-compared", "data"),
        Input("sc-poll", "n_intervals"),
        Input("sc-jobs", "value"),
        State("sc-state", "data"),
    )
    def follow(held: Any, _ticks: int | None, jobs: Any, before: Any) -> Any:
        compared = draft.parse_compared({"cmp": ",".join(map(str, held)) if isinstance(held, list) else ""})
        entries = [runs.get(name) for name in compared]
        state = [f"{entry.id} {entry.status}" if entry else "gone" for entry in entries]
        live = any(entry is not None and entry.live for entry in entries)
        told = told_runs(compared, entries, runs, now=time.time())
        return (
            told,
            no_update if state == before else state,
            not live,
            draft.to_query(compared, "" if jobs == USUAL else text(jobs, "Jobs")),
        )

    @app.callback(
        *Compared.outputs(),
        Input("sc-state", "data"),
        Input("scheme", "data"),
        Input("sc-jobs", "value"),
        State("sc-compared", "data"),
        State("sc-jobs", "data"),
    )
    def show(_state: Any, scheme: str, jobs: Any, held: Any, offered: Any) -> Compared:
        compared = draft.parse_compared({"cmp": ",".join(map(str, held)) if isinstance(held, list) else ""})
        shown = show_comparison(runs, compared, scheme_of(scheme), text(jobs, "Jobs"))
        return shown.beside(jobs, offered)

    app.clientside_callback(
        ClientsideFunction("poolscope", "address"), Output("sc-url", "children"), Input("sc-query", "data")
    )


def _changed(told: list[Any], held: list[Any]) -> list[Any]:
    """What fields are told: one that holds its value already is left alone, for its user may have gone on writing."""
    return [no_update if new == old else new for new, old in zip(told, held, strict=True)]


def _keys(names: Any, kinds: Collection[str]) -> list[str]:
    """The keys of the form's fields, as the page has them."""
    if not isinstance(names, list) or not all(isinstance(name, dict) for name in names):
        raise InputError("the form's fields: expected those of the page")
    return [one_of(name.get("key"), "field", kinds) for name in names]


def _register_offers(app: Dash, data: Data) -> None:
    """Wire what the form offers: the models and sites of the pool."""

    @app.callback(
        Output("sc-add-model", "data"),
        Output("sc-add-capability", "value"),
        Output("sc-add-memory", "value"),
        Output("sc-drop-site", "data"),
        Input("sc-add-model", "value"),
    )
    def offer(model: Any) -> Any:
        if data.is_empty():
            return no_update, no_update, no_update, no_update
        devices = data.devices()
        known = draft.models(devices)
        capability, memory = known.get(model if isinstance(model, str) else "", (no_update, no_update))
        return list(known), capability, memory, sorted(devices["site"].dropna().unique())


def change(
    data: Data, runs: Runs, by: Any, written: Any, fields: dict[str, tuple[Any, Any]], changes: Any
) -> dict[str, Any]:
    """The draft after what was done to it; InputError or ScenarioError if it can't be."""
    source = data.settings.source
    if by is None or by == "sc-base":
        return draft.base(source, data.settings.scenario)
    if isinstance(by, dict) and by.get("type") == "sc-clone":
        entry = runs.get(text(by.get("run"), "the run"))
        if entry is None or entry.spec.get("kind") != "scenario":
            raise InputError("that run is no scenario, or was forgotten")
        return {
            **entry.spec["content"],
            "title": f"{entry.spec['content'].get('title', 'scenario')}, changed",
        }
    content = draft.read(text(written, "the scenario", most=draft.LONGEST), source=source)
    if isinstance(by, dict) and by.get("type") == "sc-lever":
        key = one_of(by.get("key"), "field", fields)
        value, checked = fields[key]
        flag = next(lever.kind == "flag" for lever in draft.levers() if lever.key == key)
        return draft.put(
            content,
            key,
            bool(checked) if flag else value if isinstance(value, int | float) else text(value, key),
        )
    gpus, model, capability, memory, site, factor = changes
    if by == "sc-add":
        return draft.add_machines(
            content,
            gpus=whole(gpus, "Add GPUs", least=1, most=10_000),
            model=text(model, "of model", most=80),
            capability=number(capability, "capability", least=1, most=99),
            memory=text(memory, "memory each", most=20),
        )
    if by == "sc-drop":
        if not site:
            raise InputError("Lose the site: choose one first")
        return draft.drop_site(content, text(site, "Lose the site", most=80))
    if by == "sc-scale-do":
        return draft.scale_jobs(content, number(factor, "Times as many jobs", least=0.01, most=100))
    return content


def start(data: Data, runs: Runs, written: str, compared: list[str]) -> list[str]:
    """Ask for the draft's run, and for the base's before it if nothing is compared yet; the runs that are compared then."""
    content = draft.read(written, source=data.settings.source)
    owner = runner().name
    if not compared:
        seeds = int(draft.get(content, "run.replications"))
        base = draft.put(
            draft.base(data.settings.source, data.settings.scenario, seeds=seeds),
            "run.seed",
            draft.get(content, "run.seed"),
        )
        compared = [runs.ask(scenario_spec(data, base), owner=owner).id]
    name = runs.ask(scenario_spec(data, content), owner=owner).id
    if name in compared:
        return compared
    if len(compared) >= draft.MOST:
        raise InputError(
            f"{draft.MOST} scenarios are compared already: remove one; this one is run {name} on the Runs page"
        )
    return [*compared, name]


def _value(lever: draft.Lever, value: Any) -> Any:
    if lever.kind == "flag":
        return no_update
    return value if lever.kind in {"whole", "choice"} else _written(value)


def _mistakes(words: str) -> Any:
    return notice("The scenario can't be run yet", html.Div(words, className="mistakes"), colour="yellow")
