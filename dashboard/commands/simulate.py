"""poolscope simulate: a scenario's waits beside the observed ones."""

from __future__ import annotations

from pathlib import Path

import click

from dashboard.commands.options import STOPPED, chosen_data, print_json, shared, wants_json, workers_option


@click.command()
@click.argument("scenario")
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the scenario's.")
@click.option("--replications", type=click.IntRange(1, 10_000), help="Instead of the scenario's.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key, such as policy.claim_worklife=0.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the frames of the first run, as Parquet."
)
@workers_option
@shared
def simulate(
    scenario: str,
    seed: int | None,
    replications: int | None,
    settings: tuple[str, ...],
    out: Path | None,
    workers: int | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Run SCENARIO, a file or the name of a bundled one, and print waits by class, observed beside simulated."""
    from dashboard.commands.waits_table import report
    from sim.engine.run import Plan, Recording
    from sim.scenario import load

    path, explicit = chosen_data(data)
    named = load(scenario, (*settings, *([f"pool.source={path}"] if explicit else [])))
    plan = Plan.of(named, Recording.load(named.pool.source))
    first = named.run.seed if seed is None else seed
    result, words, complete = report(
        plan, first_seed=first, replications=replications or named.run.replications, workers=workers
    )
    if out:
        _write(out, plan, first)
    if wants_json(as_json):
        print_json(result)
    else:
        click.echo(words)
    if not complete:
        raise click.exceptions.Exit(STOPPED)


def _write(out: Path, plan: object, seed: int) -> None:
    from sim.engine.run import Plan

    assert isinstance(plan, Plan)
    run = plan.run(seed)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("jobs", "attempts", "cycles"):
        getattr(run, name).to_parquet(out / f"{name}.parquet")
