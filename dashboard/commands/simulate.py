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
    from sim.engine.run import Recording
    from sim.engine.run import simulate as run
    from sim.scenario import load
    from sim.workload.classes import label_classes

    overrides = (*settings, *([f"pool.source={data}"] if data else []))
    plan = load(scenario, overrides)
    record = Recording.load(plan.pool.source)
    first = plan.run.seed if seed is None else seed
    count = replications or plan.run.replications
    shown = sys.stderr.isatty()
    runs = []
    for number in range(count):
        if shown:
            click.echo(f"\rrun {number + 1} of {count}", nl=False, err=True)
        runs.append(run(plan, seed=first + number, recording=record))
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
    lines = [f"{title}: first waits, observed beside simulated ({count} runs; 5-95 % of their means)", ""]
    head = f"{'':<24} {'jobs':>5}  {'mean':>10} {'simulated':>10} {'':>21}  {'p90':>10} {'simulated':>10}  {'never':>6} {'sim.':>5}"
    for by in ("all", "gpu", "class", "submitter"):
        part = table[table["by"] == by]
        if by in {"all", "class", "submitter"}:
            lines += ([""] if by != "all" else []) + [head if by == "all" else f"by {by}"]
        for row in part.itertuples():
            spread = f"{format_duration(row.mean_low_s)} – {format_duration(row.mean_high_s)}"
            lines.append(
                f"{row.group[:24]:<24} {row.n:>5}  {format_duration(row.real_mean_s):>10} {format_duration(row.mean_s):>10} "
                f"{spread:>21}  {format_duration(row.real_p90_s):>10} {format_duration(row.p90_s):>10}  "
                f"{row.real_n_censored:>6} {row.n_censored:>5.1f}"
            )
    lines += [
        "",
        f"evictions {result['real_evictions']} observed, {result['evictions']:.1f} simulated; goodput {result['goodput']:.0%} "
        f"simulated; mean error of the class means {result['score']:.0%} (classes, submitters, all; 20 jobs and more)",
    ]
    return "\n".join(lines)
