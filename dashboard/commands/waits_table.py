"""Waits observed beside simulated, as a table for people and as a result for scripts; simulate and replay print it."""

from __future__ import annotations

from functools import partial
from typing import Any

import click
import pandas as pd

from dashboard.commands.progress import Progress
from sim.comparison import compare_waits, score
from sim.engine.run import Plan, Run
from sim.replication import Task, cores, replicate
from sim.units import format_duration
from sim.workload.classes import label_classes


def run_many(
    plan: Plan, *, first_seed: int, replications: int, workers: int | None = None
) -> tuple[list[Run], bool]:
    """Run a plan with seeds in a row on local processes, telling how far it is; the runs in order, and whether all ran.

    Ctrl-C ends it; the runs that had ended are given.
    """
    tasks = [Task(0, first_seed + number) for number in range(replications)]
    found: dict[int, Run] = {}
    make = partial(Plan.of, plan.scenario, plan.record)
    plans = [make if (workers or cores()) > 1 and replications > 1 else lambda: plan]
    with Progress(replications) as progress:
        try:
            for task, run in replicate(plans, tasks, _whole, workers=workers, tell=progress):
                found[task.seed] = run
        except KeyboardInterrupt:
            if not found:
                raise
            click.echo(
                f"stopped: {len(found)} of {replications} runs had ended; what follows is theirs", err=True
            )
    return [found[seed] for seed in sorted(found)], len(found) == replications


def _whole(_plan: Plan, run: Run) -> Run:
    return run


def report(
    plan: Plan, *, first_seed: int, replications: int, workers: int | None = None
) -> tuple[dict[str, Any], str, bool]:
    """Run a plan and compare: the result for scripts (design §8), the words for people, and whether all runs ended."""
    runs, complete = run_many(plan, first_seed=first_seed, replications=replications, workers=workers)
    replications = len(runs)
    by = plan.scenario.workload.class_by
    observed = runs[0].observed
    labels = [label_classes(each.jobs, by) for each in runs]
    since = pd.Timestamp(plan.start + plan.scenario.run.warm_up, unit="s", tz="UTC")
    table = compare_waits(
        observed,
        [each.jobs for each in runs],
        label_classes(observed, by),
        labels,
        since=since if plan.scenario.run.warm_up else None,
    )
    result = {
        "waits": table.to_dict("records"),
        "evictions": sum(each.evictions for each in runs) / replications,
        "real_evictions": runs[0].observed_evictions,
        "goodput": sum(each.goodput for each in runs) / replications,
        "makespan_s": sum(each.makespan_s for each in runs) / replications,
        "score": score(table),
        "manifest": runs[0].manifest | {"replications": replications},
    }
    return result, _words(plan.scenario.title, table, result, replications), complete


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
