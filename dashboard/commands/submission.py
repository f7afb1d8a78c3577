"""A submit file named on the command line, and what of it is not followed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dashboard.commands.options import Command
from sim.errors import InputError

if TYPE_CHECKING:
    from sim.classads.job import JobDescription
    from sim.classads.submit import Submission


def read_submission(path: Path) -> Submission:
    """The jobs of a submit file, of standard input for -; InputError says which option named it."""
    from sim.classads.submit import LONGEST, Files, read_submit

    if str(path) == "-":
        try:
            text = sys.stdin.read(LONGEST + 1)
        except UnicodeDecodeError as error:
            raise InputError("standard input: can't be read as text (UnicodeDecodeError)") from error
        return read_submit(text, where="standard input", environment=os.environ)
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--submit {path}: can't be read as text ({error.__class__.__name__})") from error
    return read_submit(text, where=str(path), files=Files.below(path.parent), environment=os.environ)


def shapes_of(submission: Submission, most: int) -> tuple[Submission, list[tuple[JobDescription, int]]]:
    """The `most` shapes with the most jobs, in the file's order; a note says how many others there are."""
    from sim.classads.submit import Note

    shapes = [(job.description, count) for job, count in submission.shapes()]
    if len(shapes) <= most:
        return submission, shapes
    places = sorted(range(len(shapes)), key=lambda place: -shapes[place][1])[:most]
    reason = f"{len(shapes):,} kinds of job, the {most:,} with the most jobs are answered (--kinds)"
    noted = replace(submission, notes=(*submission.notes, Note(0, "queue", reason)))
    return noted, [shapes[place] for place in sorted(places)]


def kinds_option(default: int) -> Callable[[Command], Command]:
    """Add --kinds."""
    return click.option(
        "--kinds",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        help="With --submit: how many kinds of job are answered, those with the most jobs.",
    )


def notes_of(submission: Submission) -> list[dict[str, object]]:
    """What of a submit file is not followed, as plain data."""
    return [{"line": note.line, "command": note.command, "reason": note.reason} for note in submission.notes]


def not_followed(submission: Submission | None) -> list[str]:
    """The same as a paragraph, if there is anything."""
    if submission is None or not submission.notes:
        return []
    told = [f"line {note.line}: {note.command} {note.reason}" for note in submission.notes]
    return ["not followed:\n  " + "\n  ".join(told)]
