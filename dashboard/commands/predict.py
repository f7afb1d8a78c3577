"""poolscope predict: how long a job with these requirements would wait."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dashboard.commands.options import data_to_read, print_json, shared, wants_json, workers_option
from sim.units import format_duration, parse_size

if TYPE_CHECKING:
    from sim.predict import Forecast


@click.command()
@click.argument("expression")
@click.option("--gpus", default=1, show_default=True, type=click.IntRange(min=0), help="request_gpus.")
@click.option("--cpus", default=1.0, show_default=True, type=click.FloatRange(min=0), help="request_cpus.")
@click.option("--memory", default="128 MB", show_default=True, help="request_memory.")
@click.option("--require-gpus", default="", help="require_gpus: an expression on the device.")
@click.option(
    "--as", "submitter", default="newcomer", show_default=True, help="Submitter, as the negotiator names it."
)
@click.option(
    "--futures", default=100, show_default=True, type=click.IntRange(20, 10_000), help="Futures to draw."
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="The first seed.")
@workers_option
@shared
def predict(
    expression: str,
    gpus: int,
    cpus: float,
    memory: str,
    require_gpus: str,
    submitter: str,
    futures: int,
    seed: int,
    workers: int | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Forecast the wait of a job with EXPRESSION as requirements.

    A forecast that has nothing to stand on is refused, saying why.
    """
    from dashboard.commands.progress import Progress
    from sim.classads.request import Request, job_ad
    from sim.predict import Basis
    from sim.predict import predict as forecast
    from sim.store import sample_path

    ad = job_ad(expression, Request(gpus, cpus, parse_size(memory), require_gpus))
    path = data_to_read(data)
    basis = Basis.of("sample" if path == sample_path() else str(path))
    with Progress(futures, "futures") as progress:
        answer = forecast(
            basis,
            ad,
            now=time.time(),
            submitter=submitter,
            futures=futures,
            seed=seed,
            workers=workers,
            tell=progress,
        )
    if wants_json(as_json):
        print_json(answer.to_json())
    else:
        click.echo(_words(answer))


def _words(answer: Forecast) -> str:
    age = (
        f"{format_duration(answer.data_age_s)} old"
        if not answer.fixed
        else "a fixed recording, judged as of its end"
    )
    basis = f"as of {answer.as_of} ({age}), {answer.comparable} comparable jobs in the record"
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
