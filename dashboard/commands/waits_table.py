"""Waits observed beside simulated, as a table for people and as a result for scripts; simulate and replay print it."""

from __future__ import annotations

import sys
from typing import Any

import click
import pandas as pd

from sim.comparison import compare_waits, score
from sim.engine.run import Plan, Run
from sim.units import format_duration
from sim.workload.classes import label_classes


def run_many(plan: Plan, *, first_seed: int, replications: int) -> list[Run]:
    """Run a plan with seeds in a row, telling on a terminal how far it is."""
    shown = sys.stderr.isatty()
    runs = []
    for number in range(replications):
        if shown:
            click.echo(f"\rrun {number + 1} of {replications}", nl=False, err=True)
        runs.append(plan.run(first_seed + number))
    if shown:
        click.echo("\r" + " " * 30 + "\r", nl=False, err=True)
    return runs


def report(plan: Plan, *, first_seed: int, replications: int) -> tuple[dict[str, Any], str]:
    """Run a plan and compare: the result for scripts (design §8) and the words for people."""
    runs = run_many(plan, first_seed=first_seed, replications=replications)
    by = plan.scenario.workload.class_by
    observed = runs[0].observed
    labels = [label_classes(each.jobs, by) for each in runs]
    table = compare_waits(observed, [each.jobs for each in runs], label_classes(observed, by), labels)
    result = {
        "waits": table.to_dict("records"),
        "evictions": sum(each.evictions for each in runs) / replications,
        "real_evictions": runs[0].observed_evictions,
        "goodput": sum(each.goodput for each in runs) / replications,
        "makespan_s": sum(each.makespan_s for each in runs) / replications,
        "score": score(table),
        "manifest": runs[0].manifest | {"replications": replications},
    }
    return result, _words(plan.scenario.title, table, result, replications)


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
