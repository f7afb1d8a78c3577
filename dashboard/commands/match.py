"""poolscope match: what a requirements expression costs in a pool."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pandas as pd

from dashboard.commands.options import data_to_read, print_json, shared, wants_json
from sim.errors import ExpressionError, InputError
from sim.units import parse_size

_LONGEST = 1_000_000  # of what is read from standard input; the expression's own limit is far below


@click.command()
@click.argument("expression")
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
@shared
def match(
    expression: str,
    slots: Path | None,
    gpus: int,
    cpus: float,
    memory: str,
    require_gpus: str,
    data: Path | None,
    as_json: bool,
) -> None:
    """Tell which GPUs match EXPRESSION, what each clause costs, and what to write instead.

    EXPRESSION may be - (read from standard input) or @FILE.
    """
    from sim.analysis import PoolView, Request, analyse

    text = _text(expression)
    now, window = _slots(slots) if slots else _stored(data)
    request = Request(gpus=gpus, cpus=cpus, memory_mib=parse_size(memory), require_gpus=require_gpus)
    try:
        answer = analyse(text, PoolView.from_frames(now, window), request=request)
    except ExpressionError as error:
        raise InputError(_place(error, expression, text)) from error
    if wants_json(as_json):
        print_json(_json(answer))
    else:
        click.echo(_words(answer))


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
        return sys.stdin.read(_LONGEST).rstrip()
    if expression.startswith("@"):
        try:
            return Path(expression[1:]).read_text(encoding="utf-8").rstrip()
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


def _stored(data: Path | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    from sim.store import Store

    store = Store(data_to_read(data))
    window = store.read("slots")
    if window.empty:
        raise InputError(f"{store.path}: the store holds no slots; run poolscope collect --once --pool HOST")
    last = window["seen_at"].max()
    window = window[window["seen_at"] >= last - pd.Timedelta(days=7)]
    return window[window["seen_at"] == last], window


def _json(answer: object) -> dict[str, object]:
    from dataclasses import asdict

    whole = asdict(answer)  # type: ignore[call-overload]
    whole["by_model"] = whole["by_model"].rename(columns={"seen": "seen_7d"}).to_dict("records")
    if whole["gpus"]["seen"] is None:
        for row in whole["by_model"]:
            row["seen_7d"] = None
    whole["gpus"] = {"seen_7d" if name == "seen" else name: count for name, count in whole["gpus"].items()}
    return dict(whole)


def _words(answer: object) -> str:
    from sim.analysis import Answer

    assert isinstance(answer, Answer)
    seen = "–" if answer.gpus.seen is None else str(answer.gpus.seen)
    lines = [
        f"{answer.verdict}: {answer.sentence}",
        "",
        f"GPUs   free now {answer.gpus.now}   if drained {answer.gpus.drained}   seen in 7 days {seen}   on {len(answer.machines)} machines",
    ]
    lines += [f"  {row.model:<24} {row.now:>4} free of {row.drained}" for row in answer.by_model.itertuples()]
    if answer.clauses:
        lines += ["", "clause                                         alone   if dropped   next looser"]
    for clause in answer.clauses:
        looser = f"{clause.next_value}: +{clause.gained_at_next}" if clause.next_value else ""
        lines.append(
            f"  {clause.text[:44]:<44} {clause.gpus:>5}   {clause.gained_if_dropped:>+10}   {looser}"
        )
    if answer.ladder:
        lines += ["", "ladder                              GPUs   free now"]
        lines += [f"  {rung.rung:<32} {rung.gpus:>5}   {rung.now:>8}" for rung in answer.ladder]
    for lint in answer.lints:
        lines += ["", f"{lint.rule}: {lint.message}", f"  write instead: {lint.suggestion}"]
    return "\n".join(lines)
