"""Requirements: what an expression matches, what each clause costs, and how long such a job would wait."""

from __future__ import annotations

import time
from typing import Any

import dash_mantine_components as dmc
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboard.components import aria, chart_card, notice, page, scheme_of
from dashboard.data import Data
from dashboard.pages import progressing
from dashboard.pages.progressing import Panel
from dashboard.pages.requirements_answer import Shown, show_answer
from dashboard.pages.requirements_beside import side_by_side
from dashboard.pages.requirements_state import LADDERS, LONGEST, MOST, Question, read_memory
from dashboard.pages.requirements_submit import MOST_BYTES, file_to_give, read_dropped
from dashboard.pages.window import PAST, pinned
from dashboard.runs import Runs
from dashboard.spec import probe_spec
from sim.analysis import Request
from sim.analysis.rungs import rungs_to_ask
from sim.errors import ExpressionError, InputError

ASK = "Simulate the wait"
#: The address may pin the page to a snapshot.
SEARCH = State("url", "search")

EXAMPLES = (
    "GPUs_Capability >= 7.5",
    "GPUs_Capability >= 8.0 && GPUs_GlobalMemoryMb >= 40000",
    'GPUs_DeviceName == "TITAN RTX"',
    "CUDACapability >= 6.0",
)


def layout(**query: Any) -> dmc.Stack:
    """The page for the question of its address."""
    question = Question.parse(query)
    return page(
        "Requirements",
        "What does my expression match, which clause costs most, and how long would my job wait?",
        dmc.Card(_form(question), withBorder=True, className="card"),
        html.Div(id="req-answer", className="answer awaits"),
        html.Div(
            [
                dmc.Card(
                    [
                        dmc.Title("How long would it wait?", order=2, className="card-title"),
                        html.Div(id="req-wait"),
                        progressing.panel("req", ASK),
                    ],
                    withBorder=True,
                    className="card",
                ),
                chart_card(
                    "req-clauses",
                    "What each clause costs",
                    note="GPUs that a clause admits alone, and GPUs gained if only it were dropped. Clauses overlap: gains don't add up.",
                ),
                _ladder_card(question),
                chart_card(
                    "req-models",
                    "Where it runs",
                    note="Free now, if all machines were drained, and seen in the window; each holds the one before.",
                ),
            ],
            id="req-charts",
            className="stack",
            style={"display": "none"},
        ),
        # The last question that had an answer: what the charts and the simulation are about.
        dcc.Store(id="req-question"),
        html.Div(id="req-url", hidden=True),
        dcc.Store(id="req-query"),
    )


def _ladder_card(question: Question) -> dmc.Card:
    card = chart_card(
        "req-ladder",
        "How strict can it be?",
        note="The same job with one of its demands at every value in the pool. Free now, and if all machines were drained; "
        "a cliff loses at least as many GPUs as it leaves. Waits once they are simulated.",
    )
    choice = dmc.Select(
        id="req-ladder-name",
        label="Ladder of",
        data=list(LADDERS),
        value=question.ladder,
        allowDeselect=False,
        className="control",
    )
    card.children.insert(1, choice)
    return card


def _form(question: Question) -> list[Any]:
    examples = [
        html.Button(text, id={"type": "req-example", "text": text}, className="chip", type="button")
        for text in EXAMPLES
    ]
    return [
        dmc.Textarea(
            id="req-text",
            label="Requirements",
            description="What your job asks of a slot, as in a submit file; or a whole submit file",
            value=question.expression,
            debounce=250,
            autosize=True,
            minRows=2,
            maxRows=10,
            spellCheck=False,
            className="expression",
            inputProps={"maxLength": LONGEST},
        ),
        html.Div([html.Span("Try", className="caption"), *examples], className="chips"),
        dcc.Upload(
            html.Div(
                ["Drop a submit file here, or ", html.Span("choose one", className="link"), ", or write it above"]
            ),
            id="req-upload", className="drop", accept=".sub,.submit,.txt,text/plain", max_size=MOST_BYTES, multiple=False,
        ),
        html.Div(id="req-dropped", role="status"),
        html.Div(
            [
                dmc.NumberInput(
                    id="req-gpus", label="request_gpus", value=question.gpus, min=0, max=MOST["gpus"],
                    allowDecimal=False, debounce=250, className="control",
                ),
                dmc.NumberInput(
                    id="req-cpus", label="request_cpus", value=question.cpus, min=0, max=MOST["cpus"],
                    allowDecimal=False, debounce=250, className="control",
                ),
                dmc.TextInput(
                    id="req-memory", label="request_memory", value=question.memory, debounce=250, className="control"
                ),
            ],
            className="controls",
        ),
        html.Details(
            [
                html.Summary("Beside another expression"),
                dmc.Textarea(
                    id="req-beside", label="Other requirements", value=question.beside, debounce=250, autosize=True,
                    minRows=1, maxRows=6, spellCheck=False, className="expression", inputProps={"maxLength": LONGEST},
                ),
                html.Div(id="req-compared"),
            ],
            open=bool(question.beside),
            className="twin",
        ),
        html.Div(
            [
                html.Button("Copy the submit lines", id="req-copy", className="chip", type="button"),
                html.Button("Download as a submit file", id="req-give", className="chip", type="button"),
                html.Span(id="req-copied", role="status", className="caption"),
            ],
            className="chips",
        ),
        dcc.Store(id="req-lines"),
        dcc.Download(id="req-file"),
    ]  # fmt: skip


def register(app: Dash, data: Data, runs: Runs) -> None:
    """Wire the page."""
    _register_files(app, data)

    @app.callback(
        Output("req-question", "data"),
        Output("req-text", "error"),
        Output("req-memory", "error"),
        Output("req-query", "data"),
        Input("req-text", "value"),
        Input("req-gpus", "value"),
        Input("req-cpus", "value"),
        Input("req-memory", "value"),
        Input("req-beside", "value"),
        Input("req-ladder-name", "value"),
        SEARCH,
    )
    def ask(
        text: Any, gpus: Any, cpus: Any, memory: Any, beside: Any, ladder: Any, search: Any
    ) -> tuple[Any, ...]:
        return check(pinned(data, search), text, gpus, cpus, memory, beside, ladder)

    @app.callback(
        Output("req-text", "value"),
        Input({"type": "req-example", "text": ALL}, "n_clicks"),
        prevent_initial_call=True,
    )
    def take_example(clicks: list[int | None]) -> Any:
        asked = ctx.triggered_id
        return asked["text"] if isinstance(asked, dict) and any(clicks) else no_update

    @app.callback(
        *Shown.outputs(),
        Input("req-question", "data"),
        Input("req-done", "data"),
        Input("scheme", "data"),
        State("req-text", "error"),
        SEARCH,
        prevent_initial_call=True,
    )
    def show(asked: dict[str, Any] | None, done: str, scheme: str, _error: Any, search: Any) -> Any:
        if not asked:
            return [no_update] * len(Shown._fields)
        return show_answer(pinned(data, search), runs, Question.held(asked), done, scheme_of(scheme))

    @app.callback(
        *progressing.outputs("req"),
        *progressing.inputs("req"),
        Input("req-question", "data"),
        progressing.shown("req"),
        SEARCH,
    )
    def follow(
        _ticks: int | None,
        clicked: int | None,
        cancel: int | None,
        asked: dict[str, Any] | None,
        shown: Any,
        search: Any,
    ) -> Panel:
        if not asked:
            return progressing.beside(shown, progressing.standing(None, runs, ask=ASK, now=time.time()))
        here, by = pinned(data, search), ctx.triggered_id
        if by == "req-ask" and here is not data:  # a run is of the whole record
            raise InputError(PAST)
        panel = step(here, runs, Question.held(asked), by=by, clicked=bool(clicked), cancel=bool(cancel))
        return progressing.beside(shown, panel)

    app.clientside_callback(
        ClientsideFunction("poolscope", "address"), Output("req-url", "children"), Input("req-query", "data")
    )
    app.clientside_callback(
        ClientsideFunction("poolscope", "stale"),
        Output("req-answer", "className"),
        Input("req-text", "error"),
    )


def _register_files(app: Dash, data: Data) -> None:
    """Wire what goes in and out as files, and the expression beside."""

    @app.callback(
        Output("req-text", "value", allow_duplicate=True),
        Output("req-dropped", "children"),
        Input("req-upload", "contents"),
        State("req-upload", "filename"),
        prevent_initial_call=True,
    )
    def take_file(contents: Any, name: Any) -> tuple[Any, Any]:
        if contents is None:
            return no_update, no_update
        try:
            return read_dropped(contents, name), ""
        except InputError as error:
            return no_update, notice("This file can't be read", str(error), colour="yellow")

    def written(asked: Any, search: Any) -> str:
        question = Question.held(asked)
        request = Request(gpus=question.gpus, cpus=question.cpus, memory_mib=question.memory_mib)
        return file_to_give(pinned(data, search), question.expression, request)

    @app.callback(
        Output("req-file", "data"),
        Input("req-give", "n_clicks"),
        State("req-question", "data"),
        SEARCH,
        prevent_initial_call=True,
    )
    def give_file(clicks: Any, asked: Any, search: Any) -> Any:
        if not clicks or not asked:
            return no_update
        return {"content": written(asked, search), "filename": "poolscope.sub"}

    @app.callback(
        Output("req-lines", "data"),
        Input("req-copy", "n_clicks"),
        State("req-question", "data"),
        SEARCH,
        prevent_initial_call=True,
    )
    def give_lines(clicks: Any, asked: Any, search: Any) -> Any:
        if not clicks or not asked:
            return no_update
        # The count makes it news to the browser when the same is copied again.
        return {"text": written(asked, search), "n": clicks}

    app.clientside_callback(
        ClientsideFunction("poolscope", "copyLines"),
        Output("req-copied", "children"),
        Input("req-lines", "data"),
        prevent_initial_call=True,
    )

    @app.callback(Output("req-compared", "children"), Input("req-question", "data"), SEARCH)
    def compare(asked: Any, search: Any) -> Any:
        return side_by_side(pinned(data, search), Question.held(asked)) if asked else no_update


def check(
    data: Data, text: Any, gpus: Any, cpus: Any, memory: Any, beside: Any = "", ladder: Any = ""
) -> tuple[Any, ...]:
    """The question if it has an answer (else the last one stays), errors under the fields, the address."""
    query: dict[str, Any] = {
        "req": text if isinstance(text, str) else "",
        "gpus": gpus,
        "cpus": cpus,
        "memory": memory,
        "beside": beside,
        "ladder": ladder,
    }
    question = Question.parse(query)
    try:
        read_memory(memory)
    except InputError as error:
        return no_update, None, str(error), question.to_query()
    if not question.expression.strip():
        return (
            no_update,
            "Column 1: write an expression, such as GPUs_Capability >= 7.5",
            None,
            question.to_query(),
        )
    try:
        answer_of(data, question)
    except ExpressionError as error:
        return no_update, point(error), None, question.to_query()
    except InputError as error:  # of a submit file, with its line
        return no_update, str(error), None, question.to_query()
    return question.kept(), None, None, question.to_query()


def point(error: ExpressionError) -> Any:
    """The error under the field: its column, the reason, and the place in the text."""
    lines = error.text.splitlines() or [""]
    column, row = max(error.column, 1), 0
    # The column counts through line breaks; the line that holds it is the one to show.
    while row < len(lines) - 1 and column > len(lines[row]) + 1:
        column -= len(lines[row]) + 1
        row += 1
    left = lines[row][max(0, column - 31) : column - 1]
    shown = f"{left}{lines[row][column - 1 : column + 28]}"
    marked = html.Pre(f"{shown}\n{' ' * len(left)}^", className="pointer", **aria(hidden="true"))
    return html.Div([f"Column {error.column}: {error.reason}", marked])


def answer_of(data: Data, question: Question) -> Any:
    """The answer to a question."""
    return data.answer(
        question.expression, gpus=question.gpus, cpus=question.cpus, memory_mib=question.memory_mib
    )


def run_spec(data: Data, question: Question) -> dict[str, Any]:
    """The probe run of a question and of all its ladders; of a submit file, of its first kind of job."""
    return probe_spec(
        data,
        question.expression,
        gpus=question.gpus,
        cpus=question.cpus,
        memory_mib=question.memory_mib,
        rungs=rungs_to_ask(answer_of(data, question).ladders),
    )


def step(data: Data, runs: Runs, question: Question, *, by: Any, clicked: bool, cancel: bool) -> Panel:
    """Ask for, cancel or look at the probe run of a question."""
    button = by if clicked or cancel else None
    return progressing.press(button, run_spec(data, question), runs, ask=ASK, now=time.time())
