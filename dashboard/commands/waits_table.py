"""Waits observed beside simulated, as a table for people and as a result for scripts; simulate and replay print it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import click
import numpy as np
import pandas as pd

from dashboard.commands.progress import Progress
from sim.comparison import compare_waits, score
from sim.course import compare_courses
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
    plan: Plan, *, first_seed: int, replications: int, workers: int | None = None, course: bool = False
) -> tuple[dict[str, Any], str, bool]:
    """Run a plan and compare: the result for scripts (design §8), the words for people, and whether all runs ended.

    course : whether also how the pool went over time is compared, which needs a record of all its attempts
    """
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
        "held": sum(each.held for each in runs) / replications,
        "failed": sum(each.failed for each in runs) / replications,
        "unserved": sum(each.unserved for each in runs) / replications,
        "goodput": sum(each.goodput for each in runs) / replications,
        "makespan_s": sum(each.makespan_s for each in runs) / replications,
        "score": score(table),
        **({"course": _course(plan, runs)} if course else {}),
        "manifest": runs[0].manifest | {"replications": replications},
    }
    words = _words(plan.scenario.title or plan.record.name, table, result, replications, course=course)
    return result, words, complete


def _course(plan: Plan, runs: Sequence[Run]) -> dict[str, Any]:
    record = plan.record
    last = record.attempts["ended_at"].max()
    ended = record.end if pd.isna(last) else last.timestamp()
    return compare_courses(
        [each.attempts for each in runs],
        [each.priorities for each in runs],
        real_attempts=record.attempts,
        real_origins=record.origins,
        real_priorities=record.priorities,
        start=plan.start,
        end=max(ended, plan.start + 1.0),
    )


def _words(
    title: str, table: pd.DataFrame, result: dict[str, Any], count: int, *, course: bool = False
) -> str:
    seen = bool(table["real_mean_s"].notna().any())
    lines = [
        f"{title}: first waits{', observed beside simulated' if seen else ''} ({count} runs, 5-95 % of their means)",
        "",
        (
            f"{'':<26} {'jobs':>6}  {'mean':>9} {'simulated':>9} {'':>20}  {'p90':>9} {'simulated':>9}  {'never':>5} {'sim.':>5}"
            if seen
            else f"{'':<26} {'jobs':>6}  {'mean':>9} {'':>20}  {'p90':>9}  {'never':>7}"
        ),
    ]
    rows = table.to_dict("records")
    for by in ("all", "gpu", "class", "submitter"):
        if by in {"class", "submitter"}:
            lines += ["", f"by {by}"]
        lines += [_line(row, seen=seen) for row in rows if row["by"] == by]
    lines += ["", _foot(result, seen=seen), *_lost(result)]
    if course:
        lines += _went(result["course"])
    if result["manifest"].get("impossible"):
        lines.append(
            f"{result['manifest']['impossible']} jobs ask for what no machine has, even empty: they never start and count as censored"
        )
    return "\n".join([*lines, *_fitted(result["manifest"].get("fitted", ()))])


def _foot(result: dict[str, Any], *, seen: bool) -> str:
    goodput = f"goodput {result['goodput']:.0%}"
    if not seen:
        return f"evictions {result['evictions']:.1f}; {goodput}"
    return (
        f"evictions {result['real_evictions']} observed, {result['evictions']:.1f} simulated; {goodput}; "
        f"mean error of the groups' means {result['score']:.0%} (groups of 20 jobs and more)"
    )


def _lost(result: dict[str, Any]) -> list[str]:
    """What ended otherwise than jobs should, where something did."""
    told = []
    if result["held"] or result["failed"]:
        told.append(f"{result['held']:.1f} jobs held, {result['failed']:.1f} runs failed")
    if result["unserved"]:
        told.append(
            f"{result['unserved']:.1f} of them on machines that can't take software by this path (their ads don't say so, or the disk is "
            "full); delivery.machines: apptainer takes all for able"
        )
    return told


def _went(course: dict[str, Any]) -> list[str]:
    """Origins of starts, use over time and priorities over time, for people."""
    told = [
        f"{row['origin']} {_percent(row['real_share'])} / {_percent(row['share'])}"
        for row in course["origins"]
    ]
    lines = ["", f"starts by origin, observed / simulated: {', '.join(told)}"]
    use = course["use"]
    lines += ["", "in use, mean     cores  simulated   GPUs  simulated"]
    step = len(use["at_s"]) // 8
    for place in range(0, len(use["at_s"]), step):
        cells = [
            "–" if use[name] is None else f"{np.mean(use[name][place : place + step]):.1f}"
            for name in ("real_cpus", "cpus", "real_gpus", "gpus")
        ]
        at = format_duration(float(np.mean(use["at_s"][place : place + step])))
        lines.append(f"  at {at:>9} {cells[0]:>8} {cells[1]:>10} {cells[2]:>6} {cells[3]:>10}")
    if course["priorities"]:
        near = ", ".join(f"{row['submitter']} {row['near_share']:.0%}" for row in course["priorities"])
        lines += ["", f"share of the run in which a priority is within 10 % of the observed: {near}"]
    return lines


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _line(row: dict[Any, Any], *, seen: bool) -> str:
    low, high = format_duration(row["mean_low_s"]), format_duration(row["mean_high_s"])
    spread = f"{f'{low} – {high}':>20}"
    head = f"{row['group'][:26]:<26} {row['n']:>6}"
    if not seen:
        return f"{head}  {format_duration(row['mean_s']):>9} {spread}  {format_duration(row['p90_s']):>9}  {row['n_censored']:>7.1f}"
    return (
        f"{head}  {format_duration(row['real_mean_s']):>9} {format_duration(row['mean_s']):>9} "
        f"{spread}  {format_duration(row['real_p90_s']):>9} {format_duration(row['p90_s']):>9}  "
        f"{row['real_n_censored']:>5.0f} {row['n_censored']:>5.1f}"
    )


def _fitted(notes: Sequence[dict[str, Any]]) -> list[str]:
    """What was fitted to a record, and what was left out of a trace, for people to judge."""
    lines = []
    for note in notes:
        match note["what"]:
            case "arrivals":
                told = f"{note['batches']} batches, one every {format_duration(note['every_s'])}, variation {note['variation']:.1f}"
            case "run times":
                tail = "" if note["tail"] is None else f", tail exponent {note['tail']:.1f}"
                own = "" if note["own"] else " (too few of its own: all jobs' fit)"
                told = (
                    f"{note['n']} completed, median {format_duration(note['median_s'])}, spread {note['spread']:.2f}{tail}, "
                    f"Kolmogorov's distance {note['distance']:.2f}{own}"
                )
            case "supply":
                stays = f"{note['n']} stays, {note['n_ended']} ended, {note['arrivals_per_day']:.1f} arrivals a day"
                median = note["median_s"]
                told = (
                    f"{stays}, half stay {'for ever' if median == float('inf') else format_duration(median)}"
                )
            case _:
                told = f"{note['n']} rows"
        lines.append(f"  {note['what']}, {note['group']}: {told}")
    return ["", "fitted", *lines] if lines else []
