"""The period of a report: a day, a week from Monday, or a month, in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

import pandas as pd

from dashboard.data import Window
from sim.errors import InputError

Kind = Literal["day", "week", "month"]
KINDS: tuple[str, ...] = get_args(Kind)

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
FIRST_YEAR, LAST_YEAR = 1970, 2200
"""Days beyond are refused: their neighbours are no times that a frame can hold."""


@dataclass(frozen=True, slots=True)
class Period:
    """A day, week or month that begins at `since` (UTC)."""

    kind: Kind
    since: pd.Timestamp

    @classmethod
    def holding(cls, kind: Kind, at: pd.Timestamp) -> Period:
        """The period that holds a moment.

        Examples
        --------
        >>> Period.holding("week", pd.Timestamp("2026-11-25 10:00", tz="UTC")).name
        '2026-W48'
        """
        day = at.tz_convert("UTC").normalize()
        if kind == "week":
            day -= pd.Timedelta(days=day.weekday())
        elif kind == "month":
            day = day.replace(day=1)
        return cls(kind, day)

    @property
    def until(self) -> pd.Timestamp:
        """Its end, left out."""
        if self.kind == "month":
            return (self.since + pd.Timedelta(days=32)).replace(day=1)
        return self.since + pd.Timedelta(days=7 if self.kind == "week" else 1)

    @property
    def window(self) -> Window:
        """The span to read."""
        return Window(self.since, self.until)

    @property
    def before(self) -> Period:
        """The period before it."""
        return Period.holding(self.kind, self.since - pd.Timedelta(seconds=1))

    @property
    def name(self) -> str:
        """A short name that sorts by time; names the folder."""
        if self.kind == "week":
            year, week, _ = self.since.isocalendar()
            return f"{year}-W{week:02d}"
        return f"{self.since:%Y-%m-%d}" if self.kind == "day" else f"{self.since:%Y-%m}"

    @property
    def title(self) -> str:
        """The period in words.

        Examples
        --------
        >>> Period.holding("month", pd.Timestamp("2026-11-25", tz="UTC")).title
        'November 2026'
        """
        if self.kind == "week":
            return f"week of {self.since:%-d %b %Y}"
        return f"{self.since:%-d %b %Y}" if self.kind == "day" else f"{self.since:%B %Y}"


def choose(kind: str, of: str | None, *, now: datetime, recorded_until: pd.Timestamp | None) -> Period:
    """The period to report: the one that holds the day `of`; else the last that has ended.

    Parameters
    ----------
    recorded_until : end of a fixed recording, which is judged as of its own end; None for a pool that is watched

    Raises
    ------
    InputError : no such kind, or `of` is no day
    """
    if kind not in KINDS:
        raise InputError(f"--period {kind}: expected one of {', '.join(KINDS)}")
    chosen: Kind = kind  # type: ignore[assignment]  # checked above
    if of is not None:
        try:
            day = datetime.fromisoformat(of).replace(tzinfo=UTC)
            if not _DAY.fullmatch(of) or not FIRST_YEAR <= day.year <= LAST_YEAR:
                raise ValueError
            return Period.holding(chosen, pd.Timestamp(day))
        except ValueError:
            raise InputError(f"--of {of[:40]}: expected a day such as 2026-11-23") from None
    if recorded_until is not None:
        return Period.holding(chosen, recorded_until)
    return Period.holding(chosen, pd.Timestamp(now)).before
