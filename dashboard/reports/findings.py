"""Findings: what a reader should know, by fixed rules over the facts of a period and of the period before.

A rule names what it found by a key that stays the same while the matter does, such as ``impossible:CLASS``: with it a
finding is new, ongoing or resolved, and an alert knows what it has told already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from dashboard.figures.labels import count, moment, percent, seconds
from dashboard.reports.facts import Facts
from dashboard.reports.mismatch import FREE_SHARE, SPIKE
from dashboard.tables import ALL, GPU

State = Literal["new", "ongoing", "resolved"]
Severity = Literal["act", "look"]

#: A wait or a supply counts as changed from this ratio on, and with at least so many jobs on both sides.
WAIT_RATIO, SUPPLY_RATIO, LEAST_JOBS = 1.5, 0.8, 30
COVERED, GOODPUT, UNUSABLE, ERRORS = 0.9, 0.8, 0.1, 0.1


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, and what to call the matter."""

    key: str
    severity: Severity
    sentence: str
    state: State = "new"

    @property
    def told(self) -> str:
        """State and severity in words: never by colour alone."""
        return self.state if self.state == "resolved" else f"{self.severity}, {self.state}"


def findings(now: Facts, before: Facts | None, *, recorded: bool = False) -> list[Finding]:
    """What holds now, and what held before and does no longer: by severity, then new before ongoing before resolved.

    Parameters
    ----------
    before : facts of the period before; None without data from it
    recorded : a fixed recording: how much of a period it covers says nothing about a collector
    """
    held = {found.key: found for found in _find(now, before, recorded=recorded)}
    # The period before is judged alone: its own predecessor would need the one before that, and so on for ever.
    past = {found.key: found for found in _find(before, None, recorded=recorded)} if before else {}
    made = [replace(found, state="ongoing" if key in past else "new") for key, found in held.items()]
    made += [replace(found, state="resolved") for key, found in past.items() if key not in held]
    order = ("new", "ongoing", "resolved")
    return sorted(
        made,
        key=lambda found: (
            found.state == "resolved",
            found.severity != "act",
            order.index(found.state),
            found.key,
        ),
    )


def _find(now: Facts, before: Facts | None, *, recorded: bool) -> Iterable[Finding]:
    rules: tuple[Callable[[Facts], Iterable[Finding]], ...] = (
        _impossible,
        _mismatch,
        _starved,
        _goodput,
        _unusable,
        *(() if recorded else (_gaps, _errors)),
    )
    for rule in rules:
        yield from rule(now)
    if before is not None:
        yield from _slower(now, before)
        yield from _fewer(now, before)


def _impossible(facts: Facts) -> Iterable[Finding]:
    """Jobs of these classes wait for a machine that was never seen."""
    for row in _rows(facts.demand[facts.demand["impossible"].astype(bool)]):
        yield Finding(
            f"impossible:{row['class']}",
            "act",
            f"{count(row['waiting'], 'waiting job')} of class {row['class']} ask for {count(row['gpus_waiting'], 'GPU')} "
            "that no machine seen in the window has.",
        )


def _mismatch(facts: Facts) -> Iterable[Finding]:
    spells = facts.mismatch.spells
    if len(spells):
        longest = spells.sort_values("hours").iloc[-1]
        yield Finding(
            "mismatch",
            "act",
            f"GPUs stood idle while jobs waited: {count(len(spells), 'spell')}, the longest {longest['hours']} h from "
            f"{moment(longest['since'])} with {longest['free']:.0f} GPUs free and a median wait of up to "
            f"{seconds(longest['median_s'])} (at least {SPIKE:g} times the usual, at least {percent(FREE_SHARE)} free).",
        )


def _starved(facts: Facts) -> Iterable[Finding]:
    """Classes of which no job ever started, though machines fit."""
    impossible = set(facts.demand[facts.demand["impossible"].astype(bool)]["class"])
    classes = facts.waits[~facts.waits["group"].isin([ALL, GPU])]
    for row in _rows(classes[(classes["n"] == classes["n_censored"]) & (classes["n"] >= 3)]):
        if row["group"] not in impossible:
            yield Finding(
                f"starved:{row['group']}",
                "act",
                f"None of the {row['n']} jobs of class {row['group']} has started; the longest has waited {seconds(row['longest_s'])}.",
            )


def _goodput(facts: Facts) -> Iterable[Finding]:
    good, hours = facts.numbers["gpu_goodput"], facts.numbers["gpu_h"] or 0
    if good is not None and good < GOODPUT and hours >= 1:
        yield Finding(
            "goodput",
            "look",
            f"{percent(1 - good)} of {hours:,.0f} GPU-hours were lost to attempts that didn't complete.",
        )


def _unusable(facts: Facts) -> Iterable[Finding]:
    for row in _rows(facts.models):
        lost = row["prevented"] + row["offline"]
        if row["gpus"] >= 1 and lost > UNUSABLE * row["gpus"]:
            yield Finding(
                f"unusable:{row['model']}",
                "look",
                f"{lost:.1f} of {row['gpus']:.1f} {row['model']} took no jobs on average (offline, or their machine refuses all).",
            )


def _gaps(facts: Facts) -> Iterable[Finding]:
    share, silent = facts.numbers["coverage"] or 0.0, facts.numbers["silent_s"] or 0.0
    length = (facts.window.until - facts.window.since).total_seconds()
    if share < COVERED:
        yield Finding(
            "coverage",
            "act",
            f"The collector covers {percent(share)} of the window; its numbers stand on that part.",
        )
    if silent > 0.1 * length:
        yield Finding(
            "silent", "act", f"The collector has been silent for the last {seconds(silent)} of the window."
        )


def _errors(facts: Facts) -> Iterable[Finding]:
    for row in _rows(facts.sources[facts.sources["errors"] > ERRORS * facts.sources["rounds"]]):
        yield Finding(
            f"source:{row['source']}",
            "act",
            f"The source {row['source']} failed in {row['errors']} of {row['rounds']} rounds: {row['last_error']}.",
        )


def _slower(now: Facts, before: Facts) -> Iterable[Finding]:
    both = now.waits.merge(before.waits, on="group", suffixes=("", "_before"))
    enough = (both["n"] >= LEAST_JOBS) & (both["n_before"] >= LEAST_JOBS)
    worse = both["p90_s"] >= WAIT_RATIO * both["p90_s_before"]
    for row in _rows(both[enough & worse & (both["p90_s"] >= 60)]):
        yield Finding(
            f"slower:{row['group']}",
            "look",
            f"p90 wait of {row['group']} rose from {seconds(row['p90_s_before'])} to {seconds(row['p90_s'])} (n={row['n']}).",
        )


def _fewer(now: Facts, before: Facts) -> Iterable[Finding]:
    both = before.models.merge(now.models, on="model", how="left", suffixes=("_before", ""))
    both["gpus"] = both["gpus"].fillna(0.0)
    for row in _rows(both[(both["gpus_before"] >= 1) & (both["gpus"] < SUPPLY_RATIO * both["gpus_before"])]):
        yield Finding(
            f"fewer:{row['model']}",
            "look",
            f"On average {row['gpus']:.1f} {row['model']} instead of {row['gpus_before']:.1f}.",
        )


def _rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.to_dict("records")
