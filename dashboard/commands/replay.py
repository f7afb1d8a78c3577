"""poolscope replay: a recorded real pool, simulated beside what really happened."""

from __future__ import annotations

from pathlib import Path

import click

from dashboard.commands.options import STOPPED, print_json, shared, wants_json, workers_option
from dashboard.commands.waits_table import report


@click.command()
@click.argument("recording", type=click.Path(path_type=Path))
@click.option(
    "--replications", default=30, show_default=True, type=click.IntRange(1, 10_000), help="Seeds to run."
)
@click.option(
    "--class-by", metavar="JOB_ATTRIBUTE", help="Attribute whose value is a job's class; else its shape."
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="The first seed.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key, such as policy.claim_worklife=0.",
)
@workers_option
@shared
def replay(
    recording: Path,
    replications: int,
    class_by: str | None,
    seed: int,
    settings: tuple[str, ...],
    workers: int | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Replay RECORDING, a folder of a pool's own artefacts, and print simulated beside real: waits, how starts came
    about, use and priorities over time.
    """
    from collectors.recording import load_recording
    from sim.engine.run import Plan
    from sim.scenario import parse

    scenario = parse(
        {"title": recording.name, "workload": {"class_by": class_by}}, where="replay", overrides=settings
    )
    plan = Plan.of(scenario, load_recording(recording))
    result, words, complete = report(
        plan, first_seed=seed, replications=replications, workers=workers, course=True
    )
    if wants_json(as_json):
        print_json(result)
    else:
        click.echo(words)
    if not complete:
        raise click.exceptions.Exit(STOPPED)
