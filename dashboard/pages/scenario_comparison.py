"""How compared scenarios are shown: their runs, their differences from the base, their quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import dash_mantine_components as dmc
import pandas as pd
from dash import Output, dcc, html, no_update

from dashboard import tables
from dashboard.columns import Column
from dashboard.components import aria, graph_size, link, notice, progress, status_badge, table
from dashboard.figures import scenarios as figures
from dashboard.figures import waits as wait_figures
from dashboard.figures.labels import count, number, percent, seconds
from dashboard.figures.scenarios import signed, signed_number, signed_points
from dashboard.figures.theme import Scheme, blank
from dashboard.runs import Entry, Runs
from dashboard.spec import scenario_title
from dashboard.tables import ALL, GPU
from sim import scenario
from sim.sweep import Outcome, Sweep, Variant
from sim.units import format_duration

#: The jobs that are compared unless others are chosen.
USUAL = "gpu gpu"


class Compared(NamedTuple):
    """What the page's callback gives, in the order of `outputs`."""

    jobs_offered: Any
    jobs_chosen: Any
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

    def beside(self, jobs: object, offered: object) -> Compared:
        """The same beside what the chooser has: told its own value again, late, it would undo a choice made meanwhile."""
        return self._replace(
            jobs_offered=no_update if self.jobs_offered == offered else self.jobs_offered,
            jobs_chosen=no_update if self.jobs_chosen == jobs else self.jobs_chosen,
        )

    @staticmethod
    def outputs() -> list[Output]:
        """Where each part goes."""
        parts = (("graph", "figure"), ("graph", "style"), ("caption", "children"), ("table", "children"))
        return [
            Output("sc-jobs", "data"),
            Output("sc-jobs", "value"),
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
def outcomes(runs: Runs, name: str) -> dict[int, Outcome]:
    """What a done scenario gave by seed; it never changes."""
    told: dict[int, Outcome] = {}
    waits = {seed: rows for seed, rows in runs.frame(name, "waits").groupby("seed")}  # noqa: C416 - dict() would ask for keys
    for row in runs.frame(name, "totals").to_dict("records"):
        seed = int(row.pop("seed"))
        rows = waits[seed].drop(columns="seed").to_dict("records") if seed in waits else []
        told[seed] = Outcome.of_json({"waits": rows, "totals": row})
    return told


def swept(runs: Runs, compared: Sequence[str]) -> Sweep | None:
    """The compared scenarios as a sweep, those that aren't done yet left out; None until the first, the base, is done."""
    found = {name: runs.get(name) for name in compared}
    done = [
        entry
        for entry in found.values()
        if entry is not None and entry.status == "done" and entry.spec.get("kind") == "scenario"
    ]
    if not done or done[0].id != compared[0]:
        return None
    titles = _titles(done)
    variants = [
        Variant(titles[entry.id], (), scenario.parse(entry.spec["content"], where=f"run {entry.id}"))
        for entry in done
    ]
    held = {
        (place, seed): outcome
        for place, entry in enumerate(done)
        for seed, outcome in outcomes(runs, entry.id).items()
    }
    return Sweep(variants, sorted({seed for _, seed in held}), runs.folder, outcomes=held)


def compare(runs: Runs, compared: Sequence[str]) -> pd.DataFrame:
    """`Sweep.differences` of the compared scenarios: variant, by, group, measure, mean, low, high, n; empty until two are done."""
    sweep = swept(runs, compared)
    return pd.DataFrame() if sweep is None else sweep.differences()


def means_of(runs: Runs, compared: Sequence[str]) -> pd.DataFrame:
    """`Sweep.means` of the compared scenarios; columns as `compare`."""
    sweep = swept(runs, compared)
    return pd.DataFrame() if sweep is None else sweep.means()


def _titles(entries: Sequence[Entry]) -> dict[str, str]:
    """A name for each run; equal ones get their run's id."""
    names = [scenario_title(entry.spec) for entry in entries]
    return {
        entry.id: name if names.count(name) == 1 else f"{name} ({entry.id})"
        for entry, name in zip(entries, names, strict=True)
    }


def offer_jobs(waits: pd.DataFrame) -> dict[str, str]:
    """The groups of jobs that a sweep's waits tell apart, as the chooser's values and their words."""
    found = waits[["by", "group"]].drop_duplicates().itertuples(index=False)
    words = {("gpu", "gpu"): GPU, ("all", "all"): ALL}
    offered = {f"{by} {group}": words.get((by, group), f"{group} ({by})") for by, group in found}
    return dict(sorted(offered.items(), key=lambda item: (item[1] not in (GPU, ALL), item[1])))


def show_comparison(runs: Runs, compared: Sequence[str], scheme: Scheme, jobs: str = USUAL) -> Compared:
    """Both charts; hidden until the base and another scenario are done.

    jobs : a value of `offer_jobs`; another one falls back to the GPU jobs, or to all
    """
    links = [f"{link(f'/api/{name}.csv')}?cmp={','.join(compared)}" for name in ("compare", "scenarios")]
    sweep = swept(runs, compared)
    if sweep is None or len(sweep.variants) < 2:
        empty = blank(scheme)
        return Compared(
            no_update, no_update, {"display": "none"}, empty, {}, "", None, links[0], empty, {}, "", None, links[1]
        )  # fmt: skip
    differences, means = sweep.differences(), sweep.means()
    offered = offer_jobs(sweep.waits())
    chosen = next((name for name in (jobs, USUAL) if name in offered), "all all")
    by, _, group = chosen.partition(" ")
    own = differences[(differences["by"] == by) & (differences["group"] == group)]
    made, quantiles = figures.differences(own, scheme), _quantiles(sweep, by, group)
    curves = wait_figures.by_class(quantiles, scheme, name=wait_figures.SIMULATED)
    seeds = count(int(differences["n"].max()), "seed")
    words = offered[chosen]
    return Compared(
        [{"value": value, "label": label} for value, label in offered.items()],
        chosen,
        {},
        made,
        graph_size(made),
        f"{words}, {seeds} in common, 95 % intervals of the mean difference{_hidden(own)}",
        _table(differences, means, by, group),
        links[0],
        curves,
        graph_size(curves),
        f"{words}, means over the seeds, the base first in the table",
        _means_table(quantiles),
        links[1],
    )


def _hidden(differences: pd.DataFrame) -> str:
    """A word about quantiles that lie beyond the record, and so have no difference."""
    lost = differences[differences["mean"].isna() & differences["measure"].isin(["p90_s", "p50_s"])]
    names = lost["measure"].unique()
    return (
        f"; {' and '.join(name.removesuffix('_s') for name in names)} beyond the record" if len(names) else ""
    )


def _quantiles(sweep: Sweep, by: str, group: str) -> pd.DataFrame:
    """Each scenario's mean quantiles, as `tables.compare_waits` has classes."""
    rows = sweep.waits()
    held = rows[(rows["by"] == by) & (rows["group"] == group)].groupby("variant")[
        ["n", "n_censored", "p50_s", "p90_s", "mean_s"]
    ]
    names = [variant.name for variant in sweep.variants]
    observed = held.mean().reindex(names).rename_axis("group").reset_index()
    observed["n"] = observed["n"].fillna(0).round().astype(int)
    return tables.compare_waits(observed.assign(p99_s=float("nan"), longest_s=float("nan")), None)


#: What the table of differences shows: a measure, its words, and how its values are written.
_MEASURES = {
    "p90_s": ("p90 wait", seconds, signed),
    "p50_s": ("p50 wait", seconds, signed),
    "mean_s": ("mean wait", seconds, signed),
    "never_started": ("jobs that never started", number, signed_number),
    "goodput": ("goodput", percent, signed_points),
    "evictions": ("evictions", number, signed_number),
    "gpu_s": ("GPU time of jobs that ended well", seconds, signed),
}


def _of(rows: pd.DataFrame, by: str, group: str) -> pd.Series:
    """Rows of a group of jobs, and those of the whole run."""
    return ((rows["by"] == by) & (rows["group"] == group)) | (rows["by"] == "run")


def _table(differences: pd.DataFrame, means: pd.DataFrame, by: str, group: str) -> Any:
    """Base, scenario, and what lies between them, for the waits of a group and for the whole run."""
    held = means[_of(means, by, group)].set_index(["variant", "measure"])["mean"]
    base = means["variant"].iloc[0]
    rows: list[dict[str, Any]] = []
    for row in differences[_of(differences, by, group)].to_dict("records"):
        if row["measure"] not in _MEASURES:
            continue
        words, plain, sign = _MEASURES[row["measure"]]
        rows.append(
            {
                "order": list(_MEASURES).index(row["measure"]),
                "scenario": row["variant"],
                "measure": words,
                "base": plain(held[base, row["measure"]]),
                "value": plain(held[row["variant"], row["measure"]]),
                "difference": sign(row["mean"]),
                "low": sign(row["low"]),
                "high": sign(row["high"]),
                "seeds": row["n"],
            }
        )
    columns = [
        Column("scenario", "Scenario"),
        Column("measure", "Measure"),
        Column("base", "base", number=True),
        Column("value", "scenario", number=True),
        Column("difference", "difference", number=True),
        Column("low", "from", number=True),
        Column("high", "to", number=True),
        Column("seeds", "seeds", number=True),
    ]
    frame = pd.DataFrame(rows, columns=["order", *(column.name for column in columns)])
    frame = frame.sort_values(["scenario", "order"], ignore_index=True)
    return table(frame, columns, caption="Differences from the base")


def _means_table(frame: pd.DataFrame) -> Any:
    columns = [
        Column("group", "Scenario"),
        Column("n", "n", number=True),
        Column("n_censored", "never started, mean", number, number=True),
        Column("p90_s", "p90", seconds, number=True, behind="n"),
        Column("p50_s", "p50", seconds, number=True, behind="n"),
        Column("mean_s", "mean", seconds, number=True),
    ]
    return table(frame, columns, caption="p90 and p50 by scenario")
