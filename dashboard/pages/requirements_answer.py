"""How an answer is shown: verdict, numbers, lints, charts, the simulated wait."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import dash_mantine_components as dmc
import pandas as pd
from dash import Output, html

from dashboard.columns import Column
from dashboard.components import graph_size, kpi, kpis, notice, table
from dashboard.data import Data
from dashboard.figures import requirements as figures
from dashboard.figures.labels import FEW, NONE, bounded, count, moment, percent, span, step, waited
from dashboard.figures.theme import MOST_ROWS, Scheme
from dashboard.pages.requirements_state import Question
from dashboard.pages.requirements_submit import told
from dashboard.pages.requirements_tables import clause_table, ladder_table
from dashboard.runs import Runs
from sim.analysis import Answer
from sim.analysis.rewritten import is_submit_file

# word, what it means, colour class
VERDICTS = {
    "impossible": ("Impossible", "no machine seen here could ever run it", "bad"),
    "blocked": ("Blocked", "machines fit, but none takes such a job now", "bad"),
    "busy": ("Busy", "machines fit, all of them are in use", "wait"),
    "outranked": ("Outranked", "others come first", "wait"),
    "free": ("Free now", "a slot could take it in the next cycle", "good"),
}


class Shown(NamedTuple):
    """What the page's callback gives, in the order of `outputs`."""

    answer: Any
    charts_style: dict[str, str]
    wait: Any
    clauses_figure: Any
    clauses_style: Any
    clauses_caption: Any
    clauses_table: Any
    ladder_figure: Any
    ladder_style: Any
    ladder_caption: Any
    ladder_table: Any
    models_figure: Any
    models_style: Any
    models_caption: Any
    models_table: Any
    models_card_style: dict[str, str]

    @staticmethod
    def outputs() -> list[Output]:
        """Where each part goes."""
        charts = [
            Output(f"req-{name}-{part}", prop)
            for name in ("clauses", "ladder", "models")
            for part, prop in (
                ("graph", "figure"),
                ("graph", "style"),
                ("caption", "children"),
                ("table", "children"),
            )
        ]
        return [
            Output("req-answer", "children"),
            Output("req-charts", "style"),
            Output("req-wait", "children"),
            *charts,
            Output("req-models-card", "style"),
        ]


def show_answer(data: Data, runs: Runs, question: Question, done: str, scheme: Scheme) -> Shown:
    """Everything the page shows for a question; `done` is the probe run whose waits belong to it, if any."""
    answer = data.answer(
        question.expression, gpus=question.gpus, cpus=question.cpus, memory_mib=question.memory_mib
    )
    entry = runs.get(done) if done else None
    fits = entry is not None and entry.status == "done" and _asks(entry.spec, question)
    waits = runs.frame(done, "rungs") if fits else None
    summary = runs.summary(done) if fits else None
    clauses, rungs = clause_table(answer), ladder_table(answer, waits, question.ladder)
    by_clause, ladder = figures.clauses(clauses, scheme), figures.ladder(rungs, scheme)
    by_model = figures.by_model(answer.by_model, scheme)
    source = _source(data)
    simulated = (
        f" · simulated with seed {summary.get('seed')} and on, n={summary.get('n')} probes a rung in "
        f"{summary.get('replications', 1)} replications, intervals from 5 to 95 % of these"
        if summary
        else ""
    )
    told = f"{question.ladder}: {_drawn(len(rungs), 'rung')}" if len(rungs) else _no_ladder(question)
    return Shown(
        verdict(answer, question, data),
        {},
        wait_numbers(summary),
        by_clause,
        graph_size(by_clause),
        f"{_drawn(len(clauses), 'clause')} · {source}",
        _clause_rows(clauses),
        ladder,
        graph_size(ladder),
        f"{told} · {source}{simulated}",
        _ladder_rows(rungs),
        by_model,
        graph_size(by_model),
        f"{source} · window {span(data.coverage().since, data.coverage().until)}",
        _model_rows(answer.by_model),
        {} if len(answer.by_model) else {"display": "none"},
    )


def _drawn(n: int, noun: str) -> str:
    """How many there are, and that a chart shows the first of them."""
    return count(n, noun) + (f", the first {MOST_ROWS} drawn" if n > MOST_ROWS else "")


def _source(data: Data) -> str:
    coverage = data.coverage()
    return f"{moment(coverage.until)}, snapshot {coverage.snapshot}"


def _asks(spec: dict[str, Any], question: Question) -> bool:
    """Whether a run was about this question, whatever ladder is shown."""
    return all(
        spec.get(name) == getattr(question, name) for name in ("expression", "gpus", "cpus", "memory_mib")
    )


def _no_ladder(question: Question) -> str:
    return f"{question.ladder}: no ladder, as the pool has only one value of it or the job asks for no GPU"


def verdict(answer: Answer, question: Question, data: Data) -> Any:
    """The verdict with its sentence, the counts, and what to write instead."""
    word, meaning, kind = VERDICTS.get(answer.verdict, (answer.verdict.capitalize(), "", "wait"))
    head = html.Div(
        [
            html.Div([html.Span(word, className=f"verdict-word verdict-{kind}"), html.Span(meaning)]),
            html.P(answer.sentence, className="verdict-sentence"),
            *_states(answer),
            *_ahead(answer),
            html.P(
                [
                    *_asked(question),
                    f" · {_source(data)}",
                ],
                className="caption",
            ),
        ],
        className=f"verdict verdict-card-{kind}",
        role="status",
    )
    machines = ", ".join(answer.machines[:3]) + ("…" if len(answer.machines) > 3 else "")
    numbers = kpis(
        kpi("Match now", str(answer.gpus.now), "free GPUs"),
        kpi("If drained", str(answer.gpus.drained), "GPUs of machines that are there"),
        kpi(
            "Seen in the window",
            NONE if answer.gpus.seen is None else str(answer.gpus.seen),
            "GPUs, also of machines that left",
        ),
        kpi("Machines", str(len(answer.machines)), machines or "none fits"),
    )
    return [
        dmc.Card(head, withBorder=True, className="card"),
        numbers,
        *told(data, question.expression),
        *_lints(answer),
        *_rewrites(answer),
    ]


def _asked(question: Question) -> list[Any]:
    if is_submit_file(question.expression):
        return ["The submit file above"]
    return [dmc.Code(question.expression, className="asked"), f" with {question.told()}"]


def _ahead(answer: Answer) -> list[Any]:
    """Who comes first, by class of what they ask for."""
    if not answer.ahead:
        return []
    items = [
        html.Li(
            f"{group.jobs} job{'s' * (group.jobs != 1)} asking for {group.who}: {group.gpus} of these GPUs"
        )
        for group in answer.ahead
    ]
    return [html.P("First come", className="caption"), html.Ul(items, className="lints")]


def _rewrites(answer: Answer) -> list[Any]:
    """What to write instead, with what it gains and gives up, and the clauses that only together exclude."""
    shown: list[Any] = []
    if answer.rewrites:
        items = [
            html.Li([dmc.Code(rewrite.text, block=True), f"+{rewrite.gained} GPUs; {rewrite.given_up}"])
            for rewrite in answer.rewrites
        ]
        shown.append(notice("Rewrites, best first", html.Ul(items, className="lints")))
    if answer.pairs:
        items = [
            html.Li([dmc.Code(pair.first), " with ", dmc.Code(pair.second), f": +{pair.gained} GPUs"])
            for pair in answer.pairs
        ]
        shown.append(notice("Only together do these exclude", html.Ul(items, className="lints")))
    return shown


def _states(answer: Answer) -> list[Any]:
    """In which states the matching GPUs are."""
    states = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in answer.states.items() if n)
    return [html.P(f"GPUs: {states}", className="caption")] if states else []


def _lints(answer: Answer) -> list[Any]:
    if not answer.lints:
        return []
    items = [
        html.Li(
            [
                html.Div(lint.message, className="lint-message"),
                *(
                    [html.Div(["Write ", dmc.Code(lint.suggestion, className="asked")])]
                    if lint.suggestion
                    else []
                ),
            ]
        )
        for lint in answer.lints
    ]
    return [notice("Better written otherwise", html.Ul(items, className="lints"), colour="yellow")]


def wait_numbers(summary: dict[str, Any] | None) -> Any:
    """The simulated wait of the question itself: p90 first, with how many probes stand behind it."""
    if summary is None:
        return html.P(
            "Ghost probes with this expression take part in a simulated replay of the record: "
            "they negotiate like a job and take nothing.",
            className="card-note",
        )
    never = int(summary.get("n_censored", 0))
    n = f"n={summary.get('n')}"
    details = {
        "p90": f"{n}, {never} never started" if never else f"{n} probes, all started",
        "p50": f"{count(int(summary.get('replications', 1)), 'replication')} from seed {summary.get('seed')}",
    }
    return kpis(*(_quantile(summary, name, detail) for name, detail in details.items()))


def _quantile(summary: dict[str, Any], name: str, detail: str) -> Any:
    longest = _known(summary, "longest_s")
    low, value, high = (
        bounded(_known(summary, f"{name}{part}"), longest) for part in ("_low_s", "_s", "_high_s")
    )
    between = "" if "replications" not in summary else f"{low} to {high} over replications; "
    few = int(summary.get("n") or 0) < FEW
    return kpi(f"{name} wait", value, between + detail, few=few)


def _known(summary: dict[str, Any], name: str) -> float:
    value = summary.get(name)
    return math.nan if value is None else float(value)


def _clause_rows(frame: pd.DataFrame) -> Any:
    columns = [
        Column("text", "Clause", _code),
        Column("gpus", "GPUs it admits", str, number=True),
        Column("gained_if_dropped", "gained if dropped", lambda n: f"+{n}", number=True),
        Column("next_value", "next value", _text),
        Column("gained_at_next", "gained there", lambda n: NONE if pd.isna(n) else f"+{int(n)}", number=True),
    ]
    return table(frame, columns, caption="What each clause costs")


def _ladder_rows(frame: pd.DataFrame) -> Any:
    rows = frame.assign(
        step=[step(lost, left) for lost, left in zip(frame["lost"], frame["gpus"], strict=True)]
    )
    columns = [
        Column("rung", "Rung", _code),
        Column("gpus", "GPUs if drained", str, number=True),
        Column("now", "match now", str, number=True),
        Column("step", "step", str, number=True),
    ]
    if frame["n"].notna().any():
        for name in ("p90", "p50"):
            told = (frame[part] for part in (f"{name}_s", f"{name}_low_s", f"{name}_high_s", "longest_s"))
            rows[name] = [waited(*each) for each in zip(*told, strict=True)]
        rows["never"] = frame["n_censored"] / frame["n"]
        columns += [
            Column("p90", "p90 wait", str, number=True),
            Column("p50", "p50 wait", str, number=True),
            Column("never", "never started", percent, number=True),
            Column("n", "probes", lambda n: NONE if math.isnan(n) else f"{n:.0f}", number=True),
        ]
    columns += [
        Column("seen", "seen in the window", _text, number=True),
        Column("share", "share", percent, number=True),
    ]
    return table(rows, columns, caption="Rungs from loose to strict")


def _model_rows(frame: pd.DataFrame) -> Any:
    columns = [
        Column("model", "Model", _text),
        Column("now", "match now", str, number=True),
        Column("drained", "if drained", str, number=True),
        Column("seen", "seen in the window", str, number=True),
    ]
    return table(frame, columns, caption="Matching GPUs by model")


def _code(text: Any) -> Any:
    return html.Code(str(text))


def _text(value: Any) -> str:
    return NONE if pd.isna(value) else str(value)
