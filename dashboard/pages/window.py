"""The window of a page in its address.

`?win=24h|7d|30d`; or `?since=2026-11-16&until=2026-11-23`, as reports link to it; `&snap=ID` is what a shared link stands on, so
that it shows the same numbers next month.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pandas as pd

from dashboard.data import Data, Window, ending
from dashboard.reports.period import FIRST_YEAR, LAST_YEAR

PAST = "this page shows a snapshot of the past, and a run is of the record up to now: open the latest to simulate"

CHOICES = {
    "24h": ("24 hours", pd.Timedelta(hours=24)),
    "7d": ("7 days", pd.Timedelta(days=7)),
    "30d": ("30 days", pd.Timedelta(days=30)),
}
USUAL = "7d"
LONGEST = pd.Timedelta(days=400)

_SNAP = re.compile(r"[A-Za-z0-9_-]{1,80}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def parse_choice(value: object) -> str:
    """A key of `CHOICES`; anything else is the usual one.

    Examples
    --------
    >>> parse_choice("24h"), parse_choice("1y"), parse_choice(["7d"])
    ('24h', '7d', '7d')
    """
    return value if isinstance(value, str) and value in CHOICES else USUAL


def parse_snap(search: object) -> str | None:
    """The snapshot that an address is pinned to; None for the latest.

    Examples
    --------
    >>> parse_snap("?win=24h&snap=20261124T163441Z-4c729d"), parse_snap("?snap=latest"), parse_snap("?snap=../x"), parse_snap(5)
    ('20261124T163441Z-4c729d', None, None, None)
    """
    said = parse_qs(search.lstrip("?")).get("snap", ["latest"])[-1] if isinstance(search, str) else "latest"
    return said if said != "latest" and _SNAP.fullmatch(said) else None


def pinned(data: Data, search: object) -> Data:
    """The data as they stood at the snapshot of an address; the latest without one, or with one that is not there."""
    name = parse_snap(search)
    return (data.as_of(name) if name else None) or data


def over(data: Data, choice: object) -> Data:
    """The data of a window that ends with the latest snapshot; the usual one is the data's own."""
    chosen = parse_choice(choice)
    if chosen == USUAL:
        return data
    return data.over(ending(data.coverage().until, CHOICES[chosen][1]))


def parse_span(query: Mapping[str, object]) -> Window | None:
    """The days of an address, both at midnight UTC; None if they are missing or make no window.

    Examples
    --------
    >>> parse_span({"since": "2026-11-16", "until": "2026-11-23"}).since.isoformat()
    '2026-11-16T00:00:00+00:00'
    >>> parse_span({"since": "2026-11-23", "until": "2026-11-16"}), parse_span({"since": "yesterday"})
    (None, None)
    """
    since, until = (_day(query.get(name)) for name in ("since", "until"))
    if since is None or until is None or not since < until <= since + LONGEST:
        return None
    return Window(since, until)


def to_query(window: Window | None) -> str:
    """The address of such a window."""
    return f"since={window.since:%Y-%m-%d}&until={window.until:%Y-%m-%d}" if window else ""


def _day(value: object) -> pd.Timestamp | None:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        return None
    try:
        day = datetime.fromisoformat(value).replace(tzinfo=UTC)
    except ValueError:
        return None
    return pd.Timestamp(day) if FIRST_YEAR <= day.year <= LAST_YEAR else None
