"""poolscope predict: how long a job with these requirements would wait."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dashboard.commands.options import data_to_read, print_json, shared, wants_json, workers_option
from dashboard.commands.submission import kinds_option, not_followed, notes_of, read_submission, shapes_of
from sim.classads.request import Request
from sim.errors import InputError
from sim.units import format_duration, parse_size

if TYPE_CHECKING:
    from dashboard.commands.progress import Progress
    from sim.classads.submit import Submission
    from sim.predict import Forecast
    from sim.replication import Tell


@click.command()
@click.argument("expression", required=False)
@click.option(
    "--submit", type=click.Path(path_type=Path), help="The jobs of a submit file, - for standard input."
)
@click.option("--gpus", default=1, show_default=True, type=click.IntRange(min=0), help="request_gpus.")
@click.option("--cpus", default=1.0, show_default=True, type=click.FloatRange(min=0), help="request_cpus.")
@click.option("--memory", default="128 MB", show_default=True, help="request_memory.")
@click.option("--require-gpus", default="", help="require_gpus: an expression on the device.")
@click.option(
    "--as",
    "submitter",
    help="Submitter, as the negotiator names it: the file's accounting group and user, else a newcomer.",
)
@click.option(
    "--futures", default=100, show_default=True, type=click.IntRange(20, 10_000), help="Futures to draw."
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="The first seed.")
@kinds_option(12)
@workers_option
@shared
def predict(
    expression: str | None,
    submit: Path | None,
    gpus: int,
    cpus: float,
    memory: str,
    require_gpus: str,
    submitter: str | None,
    futures: int,
    seed: int,
    kinds: int,
    workers: int | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Forecast the wait of a job with EXPRESSION as requirements, or of the jobs of a submit file.

    A forecast that has nothing to stand on is refused, saying why.
    """
    from dashboard.commands.progress import Progress
    from sim.predict import Basis
    from sim.predict import predict as forecast
    from sim.store import sample_path

    if (expression is None) == (submit is None):
        raise InputError(
            f"{'both' if submit else 'nothing'} given; expected one of EXPRESSION and --submit FILE"
        )
    if submit is not None:
        submission = read_submission(submit)
        submission, shapes = shapes_of(submission, kinds)
    else:
        request = Request(gpus, cpus, parse_size(memory), require_gpus)
        shapes, submission = [(request.describe(expression or ""), 1)], None
    path = data_to_read(data)
    basis = Basis.of("sample" if path == sample_path() else str(path))
    answers = []
    with Progress(futures * len(shapes), "futures") as progress:
        for place, (job, count) in enumerate(shapes):
            answer = forecast(
                basis,
                job.fixed().text,
                now=time.time(),
                submitter=submitter or job.account or "newcomer",
                futures=futures,
                seed=seed,
                workers=workers,
                tell=_after(place * futures, progress),
            )
            answers.append((answer, count))
    if wants_json(as_json):
        print_json(_json(answers, submission))
    else:
        parts = [
            f"{count} job{'s' * (count != 1)}: {_words(answer)}" if len(answers) > 1 else _words(answer)
            for answer, count in answers
        ]
        click.echo("\n\n".join([*parts, *not_followed(submission)]))


def _after(before: int, progress: Progress) -> Tell:
    """Tell the progress of one forecast after others."""

    def tell(parts: float, done: int) -> None:
        progress(before + parts, before + done)

    return tell


def _json(answers: list[tuple[Forecast, int]], submission: Submission | None) -> dict[str, object]:
    """The first shape's forecast at the top, and of a submit file all of them."""
    first = answers[0][0].to_json() if answers else {}
    if submission is None:
        return first
    shapes = [{**answer.to_json(), "jobs": count} for answer, count in answers]
    return {**first, "jobs": submission.n_jobs, "shapes": shapes, "notes": notes_of(submission)}


def _words(answer: Forecast) -> str:
    age = (
        f"{format_duration(answer.data_age_s)} old"
        if not answer.fixed
        else "a fixed recording, judged as of its end"
    )
    basis = f"as of {answer.as_of} ({age}), {answer.comparable} comparable job{'s' * (answer.comparable != 1)} in the record"
    if answer.refused is not None:
        return f"no forecast: {answer.refused}\n{basis}"
    beyond = f"more than {format_duration(answer.horizon_s)}"

    def at_most(value: float) -> str:
        return beyond if value != value else format_duration(value)  # noqa: PLR0124

    wait = (
        f"half of such jobs start within {at_most(answer.p50_s)}, nine of ten within {at_most(answer.p90_s)} "
        f"(95 % interval {at_most(answer.low_s)} to {at_most(answer.high_s)}), 95 % within {at_most(answer.p95_s)}"
    )
    futures = (
        f"from {answer.n} simulated futures, {answer.n_censored} of them without a start within "
        f"{format_duration(answer.horizon_s)}; seed {answer.seed}"
    )
    return f"{wait}\n{futures}\n{basis}"
