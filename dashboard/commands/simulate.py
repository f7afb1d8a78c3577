"""poolscope simulate: a scenario's waits beside the observed ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import pandas as pd

from dashboard.commands.options import print_json, shared, wants_json
from sim.units import format_duration


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
@shared
def simulate(
    scenario: str,
    seed: int | None,
    replications: int | None,
    settings: tuple[str, ...],
    out: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Run SCENARIO, a file or the name of a bundled one, and print waits by class, observed beside simulated."""
    from sim.comparison import compare_waits, score
    from sim.engine.run import Plan, Recording
    from sim.scenario import load
    from sim.workload.classes import label_classes

    overrides = (*settings, *([f"pool.source={data}"] if data else []))
    plan = load(scenario, overrides)
    ready = Plan.of(plan, Recording.load(plan.pool.source))
    first = plan.run.seed if seed is None else seed
    count = replications or plan.run.replications
    shown = sys.stderr.isatty()
    runs = []
    for number in range(count):
        if shown:
            click.echo(f"\rrun {number + 1} of {count}", nl=False, err=True)
        runs.append(ready.run(first + number))
    if shown:
        click.echo("\r" + " " * 30 + "\r", nl=False, err=True)
    by = plan.workload.class_by
    labels = [label_classes(each.jobs, by) for each in runs]
    observed = runs[0].observed
    table = compare_waits(observed, [each.jobs for each in runs], label_classes(observed, by), labels)
    if out:
        _write(out, runs[0])
    result = {
        "waits": table.to_dict("records"),
        "evictions": sum(each.evictions for each in runs) / count,
        "real_evictions": runs[0].observed_evictions,
        "goodput": sum(each.goodput for each in runs) / count,
        "makespan_s": sum(each.makespan_s for each in runs) / count,
        "score": score(table),
        "manifest": runs[0].manifest | {"replications": count},
    }
    if wants_json(as_json):
        print_json(result)
    else:
        click.echo(_words(plan.title or scenario, table, result, count))


def _write(out: Path, run: Any) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in ("jobs", "attempts", "cycles"):
        getattr(run, name).to_parquet(out / f"{name}.parquet")


def _words(title: str, table: pd.DataFrame, result: dict[str, Any], count: int) -> str:
    lines = [
        f"{title}: first waits, observed beside simulated ({count} runs, 5-95 % of their means)",
        "",
        f"{'':<26} {'jobs':>4}  {'mean':>9} {'simulated':>9} {'':>20}  {'p90':>9} {'simulated':>9}  {'never':>5} {'sim.':>5}",
    ]
    rows = table.to_dict("records")
    for by in ("all", "gpu", "class", "submitter"):
        if by in {"class", "submitter"}:
            lines += ["", f"by {by}"]
        lines += [_line(row) for row in rows if row["by"] == by]
    foot = (
        f"evictions {result['real_evictions']} observed, {result['evictions']:.1f} simulated; "
        f"mean error of the groups' means {result['score']:.0%} (groups of 20 jobs and more)"
    )
    return "\n".join([*lines, "", foot])


def _line(row: dict[Any, Any]) -> str:
    low, high = format_duration(row["mean_low_s"]), format_duration(row["mean_high_s"])
    return (
        f"{row['group'][:26]:<26} {row['n']:>4}  {format_duration(row['real_mean_s']):>9} {format_duration(row['mean_s']):>9} "
        f"{f'{low} – {high}':>20}  {format_duration(row['real_p90_s']):>9} {format_duration(row['p90_s']):>9}  "
        f"{row['real_n_censored']:>5} {row['n_censored']:>5.1f}"
    )
