"""How compared scenarios are shown: their runs, their differences from the base, their quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import dash_mantine_components as dmc
import pandas as pd
from dash import Output, dcc, html

from dashboard import comparison
from dashboard.columns import Column
from dashboard.components import aria, graph_size, link, notice, progress, status_badge, table
from dashboard.figures import scenarios as figures
from dashboard.figures import waits as wait_figures
from dashboard.figures.labels import NONE, count, seconds
from dashboard.figures.scenarios import signed
from dashboard.figures.theme import Scheme, blank
from dashboard.runs import Entry, Runs
from dashboard.spec import scenario_title
from sim.units import format_duration


class Compared(NamedTuple):
    """What the page's callback gives, in the order of `outputs`."""

    charts_style: dict[str, str]
    differences_figure: Any
    differences_style: Any
    differences_caption: Any
    differences_table: Any
    differences_csv: str
    curves_figure: Any
    curves_style: Any
    curves_caption: Any
    curves_table: Any
    curves_csv: str

    @staticmethod
    def outputs() -> list[Output]:
        """Where each part goes."""
        parts = (("graph", "figure"), ("graph", "style"), ("caption", "children"), ("table", "children"))
        return [
            Output("sc-charts", "style"),
            *(Output(f"sc-differences-{part}", prop) for part, prop in parts),
            Output("sc-differences-csv", "href"),
            *(Output(f"sc-curves-{part}", prop) for part, prop in parts),
            Output("sc-curves-csv", "href"),
        ]


def told_runs(compared: Sequence[str], entries: Sequence[Entry | None], runs: Runs, *, now: float) -> Any:
    """A row per compared run: its name, how far it is, what can be done with it."""
    if not compared:
        return notice(
            "Nothing is compared yet", "Run the draft: the base is run with it, and both are compared here."
        )
    rows = []
    for place, (name, entry) in enumerate(zip(compared, entries, strict=True)):
        if entry is None:
            parts: list[Any] = [
                html.Span(f"Run {name} is not known here: it was forgotten, or the link is from elsewhere.")
            ]
        else:
            word = "Base: " if not place else ""
            parts = [
                dcc.Link(f"{word}{scenario_title(entry.spec)}", href=link(f"/runs/{name}")),
                html.Div(_how(entry, runs, now), className="caption"),
            ]
        rows.append(
            html.Div(
                [
                    html.Div(parts, className="compared-name"),
                    status_badge(entry.status) if entry else "",
                    html.Div(
                        _buttons(name, live=bool(entry and entry.live), known=entry is not None),
                        className="run-buttons",
                    ),
                ],
                className="compared-row",
            )
        )
    return html.Div(rows, className="compared")


def _buttons(name: str, *, live: bool, known: bool) -> list[Any]:
    made = [
        *([("Clone", "sc-clone")] if known else []),
        ("Remove", "sc-remove"),
        *([("Cancel", "sc-cancel")] if live else []),
    ]
    return [
        dmc.Button(
            word,
            id={"type": kind, "run": name},
            size="compact-xs",
            variant="default",
            **aria(label=f"{word} {name}"),
        )
        for word, kind in made
    ]


def _how(entry: Entry, runs: Runs, now: float) -> Any:
    if entry.status == "queued":
        ahead = runs.ahead(entry)
        return f"queued, {ahead} before it" if ahead else "queued, next in line"
    if entry.status == "running":
        lasting = format_duration(max(0, round(now - (entry.started_at or now))))
        return progress(f"Run {entry.id}", entry.fraction, f"{entry.note or 'running'} · {lasting}")
    if entry.status == "done":
        run = entry.spec["content"].get("run", {})
        return f"{count(int(run.get('replications', 10)), 'seed')} from {run.get('seed', 1)}, run {entry.id}"
    return f"{entry.note} (run {entry.id})"


@lru_cache(maxsize=64)
def waits_of(runs: Runs, name: str) -> pd.DataFrame:
    """Waits of a done scenario by seed and group; they never change."""
    return runs.frame(name, "waits")


def compare(runs: Runs, compared: Sequence[str], group: str) -> pd.DataFrame:
    """`comparison.paired` of every compared scenario that is done with the first: scenario, run, …, base of n_seeds."""
    done = [
        entry
        for name in compared
        if (entry := runs.get(name)) is not None
        and entry.status == "done"
        and entry.spec.get("kind") == "scenario"
    ]
    if not done or done[0].id != (compared[0] if compared else None):
        return pd.DataFrame()
    titles = _titles(done)
    base = waits_of(runs, done[0].id)
    parts = [
        comparison.paired(base, waits_of(runs, entry.id), group).assign(
            scenario=titles[entry.id], run=entry.id
        )
        for entry in done[1:]
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _titles(entries: Sequence[Entry]) -> dict[str, str]:
    """A name for each run; equal ones get their run's id."""
    names = [scenario_title(entry.spec) for entry in entries]
    return {
        entry.id: name if names.count(name) == 1 else f"{name} ({entry.id})"
        for entry, name in zip(entries, names, strict=True)
    }


def show_comparison(runs: Runs, compared: Sequence[str], group: str, scheme: Scheme) -> Compared:
    """Both charts; hidden until the base and another scenario are done."""
    frame = compare(runs, compared, group)
    if frame.empty:
        empty = blank(scheme)
        return Compared(
            {"display": "none"},
            empty,
            {},
            "",
            None,
            link("/api/compare.csv"),
            empty,
            {},
            "",
            None,
            link("/api/scenarios.csv"),
        )
    made = figures.differences(frame, scheme)
    means = means_of(runs, compared, group)
    curves = wait_figures.by_class(means, scheme, name=wait_figures.SIMULATED)
    seeds = int(frame["n_seeds"].max())
    return Compared(
        {},
        made,
        graph_size(made),
        f"{group}, {count(seeds, 'seed')} in common, 95 % intervals of the mean difference{_hidden(frame)}",
        _table(frame),
        link("/api/compare.csv") + "?cmp=" + ",".join(compared),
        curves,
        graph_size(curves),
        f"{group}, mean over {count(seeds, 'seed')}",
        _means_table(means),
        link("/api/scenarios.csv") + "?cmp=" + ",".join(compared),
    )


def _hidden(frame: pd.DataFrame) -> str:
    """A word about quantiles that lie beyond the record, and so have no difference."""
    lost = frame[frame["difference"].isna() & frame["measure"].isin(["p90_s", "p50_s"])]["measure"].unique()
    return (
        f"; {' and '.join(name.removesuffix('_s') for name in lost)} beyond the record" if len(lost) else ""
    )


def means_of(runs: Runs, compared: Sequence[str], group: str) -> pd.DataFrame:
    """Each done scenario's quantiles, as `tables.compare_waits` has classes."""
    entries = [entry for name in compared if (entry := runs.get(name)) is not None and entry.status == "done"]
    entries = [entry for entry in entries if entry.spec.get("kind") == "scenario"]
    if not entries:
        return pd.DataFrame()
    titles, rows = _titles(entries), []
    for entry in entries:
        held = waits_of(runs, entry.id)
        part = held[held["group"] == group]
        row = {
            name: float(part[name].mean()) if len(part) else float("nan")
            for name in ("mean_s", "p50_s", "p90_s", "p99_s", "longest_s")
        }
        rows.append(
            {
                "group": titles[entry.id],
                "n": int(part["n"].max()) if len(part) else 0,
                "n_censored": float(part["n_censored"].mean()),
                **row,
            }
        )
    frame = pd.DataFrame(rows)
    return frame.assign(
        sim_n=0,
        sim_n_censored=0,
        **{f"sim_{name}": float("nan") for name in ("mean_s", "p50_s", "p90_s", "p99_s", "longest_s")},
    )


def _table(frame: pd.DataFrame) -> Any:
    columns = [
        Column("scenario", "Scenario"),
        Column("measure", "Measure", lambda name: str(name).removesuffix("_s")),
        Column("base", "base", seconds, number=True),
        Column("value", "scenario", seconds, number=True),
        Column("difference", "difference", signed, number=True),
        Column("low", "from", signed, number=True),
        Column("high", "to", signed, number=True),
        Column("n_seeds", "seeds", str, number=True),
    ]
    return table(frame, columns, caption="Differences from the base")


def _means_table(frame: pd.DataFrame) -> Any:
    columns = [
        Column("group", "Scenario"),
        Column("n", "n", str, number=True),
        Column(
            "n_censored", "never started, mean", lambda v: NONE if pd.isna(v) else f"{v:.1f}", number=True
        ),
        Column("p90_s", "p90", seconds, number=True),
        Column("p50_s", "p50", seconds, number=True),
        Column("mean_s", "mean", seconds, number=True),
    ]
    return table(frame, columns, caption="p90 and p50 by scenario")
