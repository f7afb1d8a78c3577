"""The sentence under a figure: which data, how old, how many, which seed."""

from __future__ import annotations

import math

import pandas as pd

from sim.units import format_duration


def moment(at: pd.Timestamp) -> str:
    """A time as people read it, always with its zone.

    Examples
    --------
    >>> moment(pd.Timestamp("2026-11-24 14:05:09", tz="UTC"))
    '24 Nov 2026 14:05 UTC'
    """
    return f"{at.tz_convert('UTC'):%-d %b %Y %H:%M} UTC"


def span(since: pd.Timestamp, until: pd.Timestamp) -> str:
    """A window of time, without repeating the day.

    Examples
    --------
    >>> span(pd.Timestamp("2026-11-24 14:05", tz="UTC"), pd.Timestamp("2026-11-24 14:25", tz="UTC"))
    '24 Nov 2026 14:05 to 14:25 UTC'
    >>> span(pd.Timestamp("2026-11-23 14:05", tz="UTC"), pd.Timestamp("2026-11-24 14:25", tz="UTC"))
    '23 Nov 2026 14:05 to 24 Nov 2026 14:25 UTC'
    """
    if since.date() == until.date():
        return f"{since:%-d %b %Y %H:%M} to {until:%H:%M} UTC"
    return f"{since:%-d %b %Y %H:%M} to {moment(until)}"


#: What stands where there is no value.
NONE = "\u2013"


def seconds(value: float) -> str:
    """A wait as text; a missing one is a wait that censoring hides.

    Examples
    --------
    >>> seconds(130.0), seconds(float("nan"))
    ('2 min 10', 'not reached')
    """
    return "not reached" if math.isnan(value) else format_duration(value)


#: A quantile with fewer jobs behind it is shown, but greyed.
FEW = 30


def percent(share: float | None) -> str:
    """A share as text.

    Examples
    --------
    >>> percent(0.738), percent(None), percent(0.0024)
    ('74 %', '–', '0.24 %')
    """
    if share is None or math.isnan(share):
        return NONE
    return f"{100 * share:.2g} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def number(value: float) -> str:
    """A number that may be a mean.

    Examples
    --------
    >>> number(12.0), number(0.25), number(12500.4), number(float("nan"))
    ('12', '0.25', '12,500', '–')
    """
    if math.isnan(value):
        return NONE
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"


def count(n: int, noun: str) -> str:
    """A number with its noun.

    Examples
    --------
    >>> count(1, "job"), count(12500, "job")
    ('1 job', '12,500 jobs')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def step(lost: float, left: int) -> str:
    """What a rung costs over the one before: nothing, some GPUs, or (a cliff) as many as it leaves.

    Examples
    --------
    >>> step(0.0, 8), step(2.0, 8), step(14.0, 8), step(math.nan, 8)
    ('flat', '\u22122', '\u221214 cliff', '')
    """
    if math.isnan(lost):
        return ""
    if not lost:
        return "flat"
    return f"\N{MINUS SIGN}{lost:.0f}{' cliff' if lost >= left else ''}"


def waited(value: float, low: float, high: float, longest: float) -> str:
    """A wait with the interval over replications; one that the record is too short for is told as longer than it.

    Examples
    --------
    >>> waited(130.0, 120.0, 180.0, 1440.0)
    '2 min 10 (2 min to 3 min)'
    >>> waited(math.nan, 600.0, math.nan, 1440.0)
    '> 24 min (10 min to > 24 min)'
    >>> waited(math.nan, math.nan, math.nan, math.nan)
    '\u2013'
    """
    if math.isnan(value) and math.isnan(longest):
        return NONE
    told = bounded(value, longest)
    if math.isnan(low) and math.isnan(high):
        return told
    return f"{told} ({bounded(low, longest)} to {bounded(high, longest)})"


def bounded(value: float, longest: float) -> str:
    """A wait, or that it is longer than the longest that was seen."""
    if not math.isnan(value):
        return seconds(value)
    return "not reached" if math.isnan(longest) else f"> {seconds(longest)}"
