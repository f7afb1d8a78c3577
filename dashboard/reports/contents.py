"""What stands in a report: the facts of a period and of those before it, as sections."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

import sim
from dashboard import tables
from dashboard.columns import Column
from dashboard.data import Data
from dashboard.figures import pool as pool_figures
from dashboard.figures import waits as wait_figures
from dashboard.figures.labels import FEW, NONE, count, moment, percent, seconds, span
from dashboard.figures.theme import STATES
from dashboard.reports.document import Chart, Note, Report, Section, Table
from dashboard.reports.facts import Facts, gather
from dashboard.reports.findings import Finding, findings
from dashboard.reports.mismatch import BURST_JOBS, CAP_S, FLAG_H, LEAST_H
from dashboard.reports.period import Period
from dashboard.tables import ALL, GPU
from sim.errors import PoolscopeError
from sim.units import format_duration

#: So many periods before this one give the median that totals are compared with.
MEDIAN_OF = 4


def compose(data: Data, period: Period) -> Report:
    """The report of a period.

    Raises
    ------
    StoreError : no snapshot lies in it
    """
    here = data.over(period.window)
    now = gather(here)
    past = _past(data, period)
    before = past[0] if past and past[0] is not None else None
    found = findings(now, before, recorded=data.settings.sample)
    sections = [
        Section("Findings", _findings(found, before is not None)),
        Section("Totals", _totals(now, past, here)),
        Section("Supply", _supply(now)),
        Section("Demand", _demand(now)),
        Section("Waits", _waits(now, here)),
        Section("Idle GPUs while jobs wait", _mismatch(now)),
        Section("Goodput", _goodput(now)),
        Section("Ladder", _ladder(now, before)),
        Section("Collector", _collector(now)),
        Section("How this was made", _method(here, period)),
    ]
    coverage = here.coverage()
    return Report(
        period=period,
        pool="poolscope, recorded sample" if data.settings.sample else "poolscope",
        headline=headline(now, before),
        numbers=now.numbers,
        findings=found,
        sections=sections,
        source=f"{span(coverage.since, coverage.until)}, {count(coverage.n_snapshots, 'snapshot')}, the last {coverage.snapshot}",
    )


def headline(now: Facts, before: Facts | None) -> str:
    """The three numbers of the subject, the first with its change."""
    p90 = now.numbers["p90_wait_s"]
    if not now.numbers["gpu_jobs"]:
        wait = "no GPU jobs"
    else:
        wait = "p90 wait " + (_beyond(now) if p90 is None else format_duration(p90))
        past = before.numbers["p90_wait_s"] if before else None
        if p90 is not None and past:
            wait += f" ({change(p90, past)})"
    failing = now.numbers["gpus_failing_to_match"] or 0
    parts = [wait, f"allocation {percent(now.numbers['allocation'])}"]
    parts.append(f"{count(int(failing), 'GPU')} failing to match" if failing else "no GPU failing to match")
    return ", ".join(parts)


def _beyond(now: Facts) -> str:
    longest = now.waits.set_index("group")["longest_s"].get(GPU, math.nan)
    return f"over {format_duration(float(longest))}"


def change(now: float, before: float) -> str:
    """How much more or less, in per cent of what was.

    Examples
    --------
    >>> change(81, 72), change(0.5, 0.5), change(3, 4)
    ('+12 %', '±0 %', '−25 %')
    """
    percent = round(100 * (now / before - 1))
    return "±0 %" if percent == 0 else f"{'+' if percent > 0 else '−'}{abs(percent)} %"


def _past(data: Data, period: Period) -> list[Facts | None]:
    """The facts of the periods before, nearest first; None for one without data."""
    found: list[Facts | None] = []
    for _ in range(MEDIAN_OF):
        period = period.before
        try:
            found.append(gather(data.over(period.window)))
        except PoolscopeError:
            found.append(None)
    return found


def _findings(found: Sequence[Finding], compared: bool) -> list[Any]:
    if not found:
        return [Note("Nothing that the rules look for was found.")]
    frame = pd.DataFrame([{"state": f.state, "severity": f.severity, "sentence": f.sentence} for f in found])
    columns = [Column("severity", "To do"), Column("state", "State"), Column("sentence", "Finding")]
    table = Table("findings", "Findings", frame, columns)
    if compared:
        return [table]
    return [table, Note("There is no data from the period before, so everything counts as new.", quiet=True)]


_TOTALS: tuple[tuple[str, str, str], ...] = (
    ("p90_wait_s", "p90 wait of GPU jobs", "time"),
    ("p50_wait_s", "p50 wait of GPU jobs", "time"),
    ("gpu_jobs", "GPU jobs submitted", "count"),
    ("gpu_jobs_waiting", "of them never started", "count"),
    ("gpus_mean", "GPUs, mean", "mean"),
    ("allocation", "allocation", "share"),
    ("gpu_h", "GPU-hours used", "mean"),
    ("gpu_goodput", "goodput", "share"),
    ("evictions", "evictions", "count"),
    ("unmet_gpu_h", "GPU-hours waited for GPUs that exist", "mean"),
    ("gpus_failing_to_match", "GPUs failing to match at the end", "count"),
    ("coverage", "share of the window with data", "share"),
)


def _written(kind: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return NONE
    if kind == "time":
        return seconds(value)
    if kind == "share":
        return percent(value)
    return f"{value:,.0f}" if kind == "count" else f"{value:,.1f}"


def _totals(now: Facts, past: Sequence[Facts | None], data: Data) -> list[Any]:
    rows = []
    known = [facts for facts in past if facts is not None]
    for name, label, kind in _TOTALS:
        value = now.numbers[name]
        before = past[0].numbers[name] if past and past[0] is not None else None
        held = [facts.numbers[name] for facts in known]
        values = [float(v) for v in held if v is not None]
        median = statistics.median(values) if len(values) == MEDIAN_OF else None
        rows.append(
            {
                "total": label,
                "value": _hidden(now) if name == "p90_wait_s" and value is None else _written(kind, value),
                "before": _written(kind, before),
                "change": change(value, before) if value is not None and before else NONE,
                "median": _written(kind, median),
            }
        )
    columns = [
        Column("total", "Total"),
        Column("value", "This period", number=True),
    ]
    if past and past[0] is not None:
        columns += [Column("before", "Before", number=True), Column("change", "Change", number=True)]
    if len(known) == MEDIAN_OF:
        columns.append(Column("median", f"Median of {MEDIAN_OF} before", number=True))
    n = int(now.numbers["gpu_jobs"] or 0)
    beside = "The period beside the one before" if past and past[0] is not None else "The period in figures"
    told = [Table("totals", beside, pd.DataFrame(rows), columns)]
    notes = [Note(_covered(now, data), quiet=True)]
    if n < FEW:
        notes.append(
            Note(f"Only {count(n, 'GPU job')} stand behind the quantiles (n={n}): read them as anecdotes.")
        )
    return [*told, *notes]


def _hidden(now: Facts) -> str:
    return _beyond(now) if now.numbers["gpu_jobs"] else NONE


def _covered(now: Facts, data: Data) -> str:
    coverage = data.coverage()
    length = format_duration((coverage.until - coverage.since).total_seconds())
    if data.settings.sample:
        return f"A recording of {length}, judged as of its own end; it is not a whole period."
    pauses = int(now.numbers["pauses"] or 0)
    gaps = f" with {count(pauses, 'pause')} of the collector" if pauses else ""
    return f"{count(coverage.n_snapshots, 'snapshot')} over {length}{gaps} cover {percent(now.numbers['coverage'])} of the window."


def _supply_chart(now: Facts) -> Chart:
    thin = tables.thin_supply(now.supply)
    return Chart(
        "supply",
        "GPUs by state",
        f"{span(now.supply['seen_at'].iloc[0], now.supply['seen_at'].iloc[-1])}, {count(len(now.supply), 'snapshot')}"
        + (
            f", {count(pool_figures.pauses(thin), 'pause')} of the collector"
            if pool_figures.pauses(thin)
            else ""
        ),
        lambda scheme: pool_figures.supply(thin, scheme, height=280),
    )


def _supply(now: Facts) -> list[Any]:
    columns = [
        Column("model", "Model"),
        Column("capability", "Capability", lambda v: NONE if math.isnan(v) else f"{v:.1f}", number=True),
    ]
    columns += [
        Column(s, pool_figures.STATE_WORDS[s], lambda v: f"{v:.1f}", number=True)
        for s in STATES
        if (now.models[s] > 0).any()
    ]
    columns.append(Column("gpus", "all", lambda v: f"{v:.1f}", number=True))
    session = now.numbers["session_p50_s"]
    moved = (
        f"{count(int(now.numbers['machines'] or 0), 'machine')}: {now.numbers['arrivals']} came and {now.numbers['departures']} left while watched"
        + (
            f"; half of those that left had stayed {seconds(session)} or longer."
            if session is not None
            else "."
        )
    )
    table = Table("supply-by-model", "Mean GPUs by model and state", now.models.iloc[::-1], columns)
    return [*([] if now.supply.empty else [_supply_chart(now)]), table, Note(moved)]


def _demand(now: Facts) -> list[Any]:
    demand, strict = now.demand, now.strictness
    blocks: list[Any] = []
    if demand.empty:
        return [Note("No GPU job was submitted in the window.")]
    hours, lost = now.numbers["unmet_gpu_h"], now.numbers["impossible_gpu_h"]
    blocks.append(
        Note(
            f"GPU jobs waited {hours:,.1f} GPU-hours for GPUs that exist, and {lost:,.1f} for GPUs that no machine seen here has."
        )
    )
    waiting = demand[demand["waiting"] > 0]
    if len(waiting):
        columns = [
            Column("class", "Class"),
            Column("waiting", "waiting jobs", str, number=True),
            Column("gpus_waiting", "GPUs asked for", str, number=True),
            Column("gpu_hours", "GPU-hours waited", lambda v: f"{v:,.1f}", number=True),
            Column("verdict", "Verdict"),
        ]
        blocks.append(
            Table("demand", "Classes that wait at the end of the window", waiting.head(10), columns)
        )
    else:
        blocks.append(Note("No GPU job was waiting at the end of the window."))
    columns = [
        Column("kind", "Clauses on"),
        Column("jobs", "GPU jobs", str, number=True),
        Column("share", "share", percent, number=True),
    ]
    blocks.append(Table("strictness", "What GPU jobs are strict about", strict, columns))
    return blocks


def _waits(now: Facts, data: Data) -> list[Any]:
    waits = now.waits
    if waits.empty:
        return [Note("No job was submitted in the window.")]
    both = tables.compare_waits(waits, None)
    worst = worst_classes(both)
    row = both[both["group"] == (GPU if GPU in set(both["group"]) else ALL)].iloc[0]
    about = f"{row['group']}: n={row['n']}, of them {row['n_censored']} never started"
    columns = [
        Column("group", "Class"),
        Column("n", "n", str, number=True),
        Column("n_censored", "never started", str, number=True),
        Column("p90_s", "p90", seconds, number=True, behind="n"),
        Column("p50_s", "p50", seconds, number=True, behind="n"),
        Column("p99_s", "p99", seconds, number=True, behind="n"),
    ]
    curve = data.curve(str(row["group"]))
    return [
        Chart(
            "waits",
            "p90 and p50 by class",
            f"{about}; grey: fewer than {FEW} jobs",
            lambda scheme: wait_figures.by_class(worst, scheme),
        ),
        Chart(
            "started",
            "Started within",
            f"{about}; jobs that still wait count as not started",
            lambda scheme: wait_figures.started({wait_figures.OBSERVED: curve}, scheme),
        ),
        Table("waits-by-class", "First waits, worst ten classes", worst, columns),
        Note(
            "The first wait of the jobs submitted in the window; “not reached”: so many never started.",
            quiet=True,
        ),
    ]


def worst_classes(both: pd.DataFrame, most: int = 10) -> pd.DataFrame:
    """The totals and the classes with the longest p90, one that censoring hides first."""
    totals = both[both["group"].isin([ALL, GPU])]
    classes = both[~both["group"].isin([ALL, GPU])].sort_values(
        ["p90_s", "p50_s"], ascending=False, na_position="first"
    )
    return pd.concat([totals, classes.head(most)], ignore_index=True)


def _mismatch(now: Facts) -> list[Any]:
    found = now.mismatch
    if not found.judged:
        return [Note(f"Not judged: the rule needs {LEAST_H} hours of data and GPU jobs.")]
    capped = (
        f" {percent(found.capped)} of the waits were over {format_duration(CAP_S)} and count as that."
        if found.capped
        else ""
    )
    rule = Note(
        f"An hour counts when the median wait of 12 h is twice that of 14 d, a tenth of the GPUs is free, and fewer than "
        f"{BURST_JOBS} GPU jobs were submitted in it; {FLAG_H} such hours in a row make a spell.{capped}",
        quiet=True,
    )
    if found.spells.empty:
        return [Note("No spell of idle GPUs while jobs waited."), rule]
    columns = [
        Column("since", "From", moment),
        Column("hours", "hours", str, number=True),
        Column("free", "GPUs free, mean", lambda v: f"{v:.1f}", number=True),
        Column("median_s", "median wait, worst", seconds, number=True),
    ]
    return [Table("mismatch", "Spells of idle GPUs while jobs waited", found.spells, columns), rule]


def _goodput(now: Facts) -> list[Any]:
    if not now.numbers["attempts"]:
        return [Note("No attempt ended in the window.")]
    columns = [
        Column("outcome", "How it ended"),
        Column("attempts", "attempts", lambda v: f"{v:,}", number=True),
        Column("gpu_hours", "GPU-hours", lambda v: f"{v:,.2f}", number=True),
    ]
    rate = now.numbers["evictions_per_1000_gpu_h"]
    words = f"Goodput {percent(now.numbers['gpu_goodput'])} of {now.numbers['gpu_h']:,.1f} GPU-hours"
    if rate is not None:
        words += f"; {rate:,.0f} evictions per 1,000 GPU-hours"
    setup50, setup90 = now.numbers["setup_p50_s"], now.numbers["setup_p90_s"]
    if setup50 is not None and setup90 is not None:
        words += f"; set-up before user code p90 {seconds(setup90)}, p50 {seconds(setup50)}"
    return [Note(words + "."), Table("outcomes", "Attempts by how they ended", now.outcomes, columns)]


def _ladder(now: Facts, before: Facts | None) -> list[Any]:
    rows = now.ladder.copy()
    columns = [
        Column("rung", "Rung"),
        Column("gpus", "GPUs if drained", str, number=True),
        Column("now", "free at the end", str, number=True),
    ]
    if before is not None:
        rows = rows.merge(
            before.ladder[["rung", "gpus"]].rename(columns={"gpus": "before"}), on="rung", how="left"
        )
        columns.append(
            Column(
                "before", "GPUs the period before", lambda v: NONE if pd.isna(v) else f"{v:.0f}", number=True
            )
        )
    return [
        Table("ladder", "GPUs that each rung of capability leaves, at the end of the window", rows, columns),
        Note("Rungs contain one another: don't add them up.", quiet=True),
    ]


def _collector(now: Facts) -> list[Any]:
    columns = [
        Column("source", "Source"),
        Column("rounds", "rounds", str, number=True),
        Column("errors", "failed", str, number=True),
        Column("last_error", "last reason"),
    ]
    if now.sources.empty:
        return [Note("The snapshots don't say what their sources answered.")]
    return [Table("sources", "What the collector's sources answered", now.sources, columns)]


def _method(data: Data, period: Period) -> list[Any]:
    coverage = data.coverage()
    return [
        Note(
            f"Window: {span(period.since, period.until)}; all times UTC. Last snapshot {coverage.snapshot}, "
            f"HTCondor {coverage.condor_version}, poolscope {sim.__version__}."
        ),
        Note(
            "The first wait is the first start less the submission, of the jobs submitted in the window; jobs that never started are "
            "censored, not dropped (Kaplan-Meier). Allocation is the share of GPUs that jobs had, each physical GPU counted once; what they "
            "did with it is not known here. Goodput is the share of GPU-hours in attempts that completed. A GPU fails to match when no "
            "machine seen in the window could ever give it to the job. Held time is no wait."
        ),
        Note(
            "Not in this report, for want of data in the store: the record of past forecasts, and standing what-ifs "
            "(the Scenarios page answers those).",
            quiet=True,
        ),
    ]
