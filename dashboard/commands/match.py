"""poolscope match: what a requirements expression costs in a pool."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pandas as pd

from dashboard.commands.match_words import in_words, queue_in_words
from dashboard.commands.options import data_to_read, print_json, shared, wants_json
from dashboard.commands.submission import kinds_option, not_followed, notes_of, read_submission, shapes_of
from sim.errors import ExpressionError, InputError
from sim.units import parse_size

if TYPE_CHECKING:
    from sim.analysis import Answer, PoolView, Queue
    from sim.classads.job import JobDescription
    from sim.classads.submit import Submission
    from sim.store import Store

_LONGEST = 1_000_000  # of what is read from a file or standard input; the expression's own limit is far below


@click.command()
@click.argument("expression", required=False)
@click.option(
    "--submit", type=click.Path(path_type=Path), help="The jobs of a submit file, - for standard input."
)
@click.option("--job", help="A queued job of the last snapshot, such as 123.0 or SCHEDD#123.0.")
@click.option("--queue", "whole_queue", is_flag=True, help="Every shape that waits in the last snapshot.")
@click.option(
    "--slots",
    type=click.Path(path_type=Path),
    help="Slot ads from a file (condor_status -long, -json, -xml).",
)
@click.option("--gpus", default=1, show_default=True, type=click.IntRange(min=0), help="request_gpus.")
@click.option("--cpus", default=1.0, show_default=True, type=click.FloatRange(min=0), help="request_cpus.")
@click.option("--memory", default="128 MB", show_default=True, help="request_memory.")
@click.option(
    "--require-gpus",
    default="",
    help="require_gpus: an expression on the device, such as 'Capability >= 7.5'.",
)
@click.option("--ladders", is_flag=True, help="Print every ladder, not only that of capability.")
@click.option(
    "--submitter", default="", help="Whose job it is, for who comes first; a newcomer's by default."
)
@kinds_option(100)
@click.option("--names", is_flag=True, help="Say by name who comes first and who waits.")
@shared
def match(
    expression: str | None,
    submit: Path | None,
    job: str | None,
    whole_queue: bool,
    slots: Path | None,
    gpus: int,
    cpus: float,
    memory: str,
    require_gpus: str,
    submitter: str,
    names: bool,
    ladders: bool,
    kinds: int,
    data: Path | None,
    as_json: bool,
) -> None:
    """Tell which GPUs match EXPRESSION, what each clause costs, and what to write instead.

    EXPRESSION may be - (read from standard input) or @FILE. Instead of one, a submit file (--submit), a queued job
    (--job) or the whole queue (--queue).
    """
    from sim.analysis import PoolView, Queue, Request, analyse

    asked = [
        word
        for word, said in (
            ("EXPRESSION", expression),
            ("--submit", submit),
            ("--job", job),
            ("--queue", whole_queue),
        )
        if said not in {None, False}
    ]
    if len(asked) != 1:
        raise InputError(
            f"{' and '.join(asked) or 'nothing'} given; expected one of EXPRESSION, --submit FILE, --job ID, --queue"
        )
    submission = read_submission(submit) if submit else None
    request = Request(gpus=gpus, cpus=cpus, memory_mib=parse_size(memory), require_gpus=require_gpus)
    text = _text(expression) if expression is not None else ""
    if slots and (job or whole_queue):
        raise InputError("--slots holds no jobs: --job and --queue look into a store")
    store = None if slots else _store(data)
    now, window = _stored(store) if store is not None else _slots(slots or Path())
    pool = PoolView.from_frames(now, window)
    queue = None if store is None else Queue.of_store(store, now, pool)
    if whole_queue:
        assert queue is not None
        _tell_queue(queue, pool, names=names, as_json=wants_json(as_json))
        return
    if submission is not None:
        answers = []
        submission, shapes = shapes_of(submission, kinds)
        for description, count in shapes:
            found = analyse(description, pool, queue=queue, submitter=submitter, with_names=names)
            answers.append((found, count))
        _tell_submission(submission, answers, ladders=ladders, as_json=wants_json(as_json))
        return
    if job and store is not None:
        description, submitter = _queued(store, job)
        answer = analyse(description, pool, queue=queue, submitter=submitter, with_names=names)
    else:
        try:
            answer = analyse(text, pool, request=request, queue=queue, submitter=submitter, with_names=names)
        except ExpressionError as error:
            raise InputError(_place(error, expression or "", text)) from error
    if wants_json(as_json):
        print_json(_json(answer))
    else:
        click.echo(in_words(answer, ladders=ladders))


def _tell_submission(
    submission: Submission, answers: list[tuple[Answer, int]], *, ladders: bool, as_json: bool
) -> None:
    if as_json:
        shapes = [{**_json(answer), "jobs": count} for answer, count in answers]
        first = shapes[0] if shapes else {}
        print_json({**first, "jobs": submission.n_jobs, "shapes": shapes, "notes": notes_of(submission)})
        return
    parts = [
        f"{count} job{'s' * (count != 1)}: {in_words(answer, ladders=ladders)}"
        if len(answers) > 1
        else in_words(answer, ladders=ladders)
        for answer, count in answers
    ]
    click.echo("\n\n".join([*parts, *not_followed(submission)]))


def _tell_queue(queue: Queue, pool: PoolView, *, names: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from sim.analysis import analyse_queue

    rows = analyse_queue(queue, pool)
    if not as_json:
        click.echo(queue_in_words(rows, names=names))
        return
    shapes: list[dict[str, object]] = []
    for row in rows:
        shape = asdict(row)
        whose = shape.pop("submitters")
        shapes.append({**shape, **({"submitters": dict(whose)} if names else {})})
    stuck = [row for row in rows if row.verdict == "impossible"]
    print_json({
        "shapes": shapes,
        "jobs": sum(row.jobs for row in rows),
        "impossible_jobs": sum(row.jobs for row in stuck),
        "impossible_gpus": sum(row.gpus for row in stuck),
    })  # fmt: skip


def _queued(store: Store, job_id: str) -> tuple[JobDescription, str]:
    """The description of a queued job, 123.0 or SCHEDD#123.0, and its submitter."""
    from sim.classads.ads import parse_one
    from sim.classads.job import of_ad

    schedd, _, number = job_id.strip().rpartition("#")
    wanted = number if "." in number else f"{number}.0"
    jobs = store.jobs()
    rows = jobs[(jobs["job_id"] == wanted) & ((jobs["schedd"] == schedd) | (not schedd))]
    if rows.empty:
        raise InputError(f"--job {job_id[:40]}: no such job in {store.path}; expected an id such as 123.0")
    names = sorted(rows["schedd"].unique())
    if len(names) > 1:
        raise InputError(
            f"--job {job_id[:40]}: {len(names)} schedds have such a job; say whose, as in {names[0]}#{wanted}"
        )
    row = rows.sort_values("seen_at").iloc[-1]
    return of_ad(parse_one(str(row["ad"]))), str(row["submitter"])


def _place(error: ExpressionError, expression: str, text: str) -> str:
    """The error with its place: the option or file, and the line where there are several."""
    if error.text != text:
        return f"--require-gpus, {error}"
    before = text[: error.column - 1]
    line, column = before.count("\n") + 1, error.column - before.rfind("\n") - 1
    file = f"{expression[1:]}, " if expression.startswith("@") else ""
    return f"{file}line {line}, column {column}: {error.reason}" if file or line > 1 else str(error)


def _text(expression: str) -> str:
    if expression == "-":
        try:
            return sys.stdin.read(_LONGEST).rstrip()
        except UnicodeDecodeError as error:
            raise InputError("standard input: can't be read as text (UnicodeDecodeError)") from error
    if expression.startswith("@"):
        try:
            with Path(expression[1:]).open(encoding="utf-8") as file:
                return file.read(_LONGEST).rstrip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{expression[1:]}: can't be read as text ({error.__class__.__name__})"
            ) from error
    return expression


def _slots(path: Path) -> tuple[pd.DataFrame, None]:
    from collectors.recorded import RecordedSource
    from collectors.source import Moment
    from sim.classads.ads import number_of, read_ads

    if not path.is_file():
        raise InputError(f"--slots {path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    times = [
        seconds
        for ad in read_ads(path)
        if (seconds := number_of(ad, "MyCurrentTime", "LastHeardFrom")) is not None
    ]
    at = pd.Timestamp(max(times), unit="s", tz="UTC") if times else pd.Timestamp.now(tz="UTC")
    frames = RecordedSource([path]).read(Moment(at, "file")).frames
    if "slots" not in frames:
        raise InputError(f"--slots {path}: no slot ads; expected the output of condor_status -long")
    return frames["slots"], None


def _store(data: Path | None) -> Store:
    from sim.store import Store

    return Store(data_to_read(data))


def _stored(store: Store) -> tuple[pd.DataFrame, pd.DataFrame]:
    window = store.read("slots")
    if window.empty:
        raise InputError(f"{store.path}: the store holds no slots; run poolscope collect --once --pool HOST")
    last = window["seen_at"].max()
    window = window[window["seen_at"] >= last - pd.Timedelta(days=7)]
    return window[window["seen_at"] == last], window


def _json(answer: Answer) -> dict[str, object]:
    from dataclasses import asdict

    whole = asdict(answer)
    whole["by_model"] = whole["by_model"].rename(columns={"seen": "seen_7d"}).to_dict("records")
    if whole["gpus"]["seen"] is None:
        for row in whole["by_model"]:
            row["seen_7d"] = None
    for name in ("gpus", "hosts"):
        whole[name] = _renamed(whole[name])
    whole["ladder"] = [_renamed(rung) for rung in whole["ladder"]]
    whole["ladders"] = {name: [_renamed(rung) for rung in rungs] for name, rungs in whole["ladders"].items()}
    return dict(whole)


def _renamed(counts: Mapping[str, object]) -> dict[str, object]:
    return {"seen_7d" if name == "seen" else name: count for name, count in counts.items()}
