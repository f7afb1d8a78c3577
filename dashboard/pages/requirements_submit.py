"""A submit file on the Requirements page: dropped on it, told of, and given back rewritten."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from dash import html

from dashboard.columns import Column
from dashboard.components import notice, table
from dashboard.data import Data
from sim.analysis import Request
from sim.analysis.rewritten import is_submit_file, rewritten, submit_file
from sim.classads.submit import read_submit
from sim.errors import InputError

MOST_BYTES = 20_000
MOST_SHAPES = 12


def read_dropped(contents: object, name: object) -> str:
    """The text of a dropped file, as the browser sends it (``data:…;base64,…``).

    Raises
    ------
    InputError : it is too large, no text, or no submit file
    """
    said = str(name)[:60]
    if not isinstance(contents, str) or not contents.startswith("data:") or "," not in contents:
        raise InputError(f"{said}: no file arrived; drop a submit file")
    packed = contents.partition(",")[2]
    if len(packed) > MOST_BYTES * 4 // 3 + 4:
        raise InputError(
            f"{said}: more than {MOST_BYTES:,} bytes; poolscope match --submit reads larger files"
        )
    try:
        text = base64.b64decode(packed, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InputError(f"{said}: no UTF-8 text; a submit file is plain text") from error
    if not is_submit_file(text):
        raise InputError(
            f"{said}: no queue statement, so no job; expected a submit file with a line such as queue"
        )
    read_submit(text, where=said)
    return text


def told(data: Data, text: str) -> list[Any]:
    """What a submit file describes: its jobs by what slots can tell of them, and the lines that are not followed."""
    if not is_submit_file(text):
        return []
    submission = read_submit(text)
    shapes = submission.shapes()
    rows = [
        {"jobs": count, "asks": _asks(shape), "verdict": answer.verdict, "now": answer.gpus.now, "drained": answer.gpus.drained}
        for shape, count in shapes[:MOST_SHAPES]
        for answer in [data.answer_job(shape.description)]
    ]  # fmt: skip
    parts: list[Any] = [html.P(_counted(submission.n_jobs, len(shapes)), className="caption")]
    if len(shapes) > 1:
        import pandas as pd

        columns = [
            Column("jobs", "Jobs", str, number=True), Column("asks", "They ask for", str), Column("verdict", "Verdict", str),
            Column("now", "GPUs free now", str, number=True), Column("drained", "if drained", str, number=True),
        ]  # fmt: skip
        shown = table(pd.DataFrame(rows), columns, caption="The jobs of the file by what they ask for")
        parts.append(html.Div(shown, className="table-fold"))
    if submission.notes:
        items = [
            html.Li([f"line {note.line}: ", html.Code(note.command), f" {note.reason}"])
            for note in submission.notes[:MOST_SHAPES]
        ]
        more = len(submission.notes) - len(items)
        parts.append(html.P("Not followed:", className="caption"))
        parts.append(html.Ul([*items, *([html.Li(f"and {more} more")] if more else [])], className="lints"))
    return [notice("The submit file", *parts)]


def _asks(shape: Any) -> str:
    from sim.analysis.queue import told_of

    job = shape.description
    memory = job.value("RequestMemory")
    return told_of(job) + (f", {memory:g} MiB" if memory is not None else "")


def _counted(jobs: int, shapes: int) -> str:
    said = f"{jobs:,} job{'s' * (jobs != 1)}"
    return f"{said}." if shapes < 2 else f"{said} of {shapes} kinds; the answer is for the first kind."


def file_to_give(data: Data, text: str, request: Request) -> str:
    """The submit file of a question, with the best rewrite in it if there is one."""
    whole = text if is_submit_file(text) else submit_file(text, request)
    answer = data.answer_job(read_submit(whole).shapes()[0][0].description)
    best = next((rewrite for rewrite in answer.rewrites if rewrite.gained > 0), None)
    return whole if best is None else rewritten(whole, answer, best)
