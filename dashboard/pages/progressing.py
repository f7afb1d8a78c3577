"""The panel of a run on the page that asks for it: ask, progress, cancel, and how it ended."""

from __future__ import annotations

from typing import Any, NamedTuple

import dash_mantine_components as dmc
from dash import Input, Output, State, dcc, html, no_update

from dashboard import spec as specs
from dashboard.components import progress
from dashboard.identity import runner
from dashboard.runs import Entry, Runs
from sim.units import format_duration

POLL_MS = 700
QUEUED_POLL_MS = 2500  # many may wait for one run, and every look costs the machine that simulates
_HIDDEN = {"display": "none"}


class Panel(NamedTuple):
    """What the callback of a panel gives, in the order of `outputs`."""

    told: Any
    ask_style: dict[str, str]
    ask_label: str
    cancel_style: dict[str, str]
    still: bool
    done: Any
    poll_ms: int = POLL_MS


def panel(name: str, ask: str) -> html.Div:
    """The panel; its buttons stay in place, because a button made anew would trigger its own callback."""
    return html.Div(
        [
            html.Div(id=f"{name}-told", className="run-told"),
            html.Div(
                [
                    dmc.Button(ask, id=f"{name}-ask", size="sm", style=_HIDDEN),
                    dmc.Button("Cancel", id=f"{name}-cancel", size="sm", variant="default", style=_HIDDEN),
                ],
                className="run-buttons",
            ),
            dcc.Interval(id=f"{name}-poll", interval=POLL_MS, disabled=True),
            dcc.Store(id=f"{name}-done", data=""),
        ],
        className="run-panel",
    )


def outputs(name: str) -> list[Output]:
    """Where a `Panel` goes."""
    return [
        Output(f"{name}-told", "children"),
        Output(f"{name}-ask", "style"),
        Output(f"{name}-ask", "children"),
        Output(f"{name}-cancel", "style"),
        Output(f"{name}-poll", "disabled"),
        Output(f"{name}-done", "data"),
        Output(f"{name}-poll", "interval"),
    ]


def inputs(name: str) -> list[Input]:
    """What moves a panel: the poll and its two buttons."""
    return [
        Input(f"{name}-poll", "n_intervals"),
        Input(f"{name}-ask", "n_clicks"),
        Input(f"{name}-cancel", "n_clicks"),
    ]


def shown(name: str) -> State:
    """Which run the page shows."""
    return State(f"{name}-done", "data")


def beside(shown: object, panel: Panel) -> Panel:
    """The panel beside the run that the page shows: told of the same run again, the page would draw all its charts anew."""
    return panel._replace(done=no_update) if panel.done == (shown or "") else panel


def press(button: object, spec: specs.Spec, runs: Runs, *, ask: str, now: float) -> Panel:
    """Do what the pressed button says to a question's run, and show the run there is then.

    Parameters
    ----------
    button : the id of what was pressed, such as `waits-ask` or `waits-cancel`; anything else only looks
    ask : label of the button that asks for the run
    now : the clock [s]
    """
    what = str(button).rpartition("-")[2]
    entry = runs.find(spec)
    if what == "cancel" and entry is not None:
        runs.cancel(entry.id, by=runner().cancels_as)
        entry = runs.find(spec)
    elif what == "ask":
        entry = runs.ask(spec, owner=runner().name)
    return standing(entry, runs, ask=ask, now=now)


def standing(entry: Entry | None, runs: Runs, *, ask: str, now: float) -> Panel:
    """The panel for the run there is, if there is one.

    Parameters
    ----------
    ask : label of the button that asks for the run
    now : the clock [s]
    """
    if entry is None:
        return Panel(html.Span("Not simulated yet.", className="caption"), {}, ask, _HIDDEN, True, "")
    if entry.status == "done":
        first, count = specs.seeds(entry.spec)
        told = f"Simulated {f'{count} times from' if count != 1 else 'with'} seed {first}: run {entry.id}."
        return Panel(html.Span(told, className="caption"), _HIDDEN, ask, _HIDDEN, True, entry.id)
    if entry.live:
        poll_ms = QUEUED_POLL_MS if entry.status == "queued" else POLL_MS
        return Panel(_bar(entry, runs, now), _HIDDEN, ask, {}, False, "", poll_ms)
    reason = (
        "Cancelled."
        if entry.status == "cancelled"
        else f"The simulation failed: {entry.note} (run {entry.id})."
    )
    colour = "caption" if entry.status == "cancelled" else "caption failed"
    return Panel(html.Span(reason, className=colour, role="status"), {}, f"{ask} again", _HIDDEN, True, "")


def _bar(entry: Entry, runs: Runs, now: float) -> html.Div:
    if entry.status == "queued":
        ahead = runs.ahead(entry)
        return progress("Simulation", 0.0, f"Queued, {ahead} before it" if ahead else "Queued, next in line")
    lasting = format_duration(round(max(0.0, now - (entry.started_at or now))))
    return progress("Simulation", entry.fraction, f"{entry.note or 'Simulating'} · {lasting}")
