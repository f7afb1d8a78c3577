"""Rows that become a frame, and the ads that could not become a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pandas as pd

from sim.classads.ads import Ad
from sim.classads.view import View, view_of
from sim.errors import FrameError
from sim.schema import conform, describe

Row = dict[str, Any]


UNREADABLE = "an ad that can't be read"
GREATEST_S = 7.3e9  # the year 2200


class Framed(NamedTuple):
    """A frame and how many ads were left out, by reason."""

    frame: pd.DataFrame
    rejects: Counter[str]


def together(found: Sequence[Framed]) -> Framed:
    """The rows of several frames, and what was left out of all."""
    rejects = sum((part.rejects for part in found), Counter[str]())
    return Framed(pd.concat([part.frame for part in found], ignore_index=True), rejects)


class Rejected(Exception):  # noqa: N818  not an error of ours: one ad says nothing usable
    """An ad that can't become a row; its text is the reason."""


def framed(name: str, ads: Iterable[Ad | View], row_of: Callable[[View], Row | list[Row] | None]) -> Framed:
    """Make the frame `name` from ads; `row_of` gives a row, several, none (not meant), or raises Rejected."""
    rows: list[Row] = []
    rejects: Counter[str] = Counter()
    for ad in ads:
        try:
            found = row_of(view_of(ad))
        except Rejected as reason:
            rejects[str(reason)] += 1
            continue
        except Exception:  # classad2 raises many kinds; one ad's nonsense is that ad's affair
            rejects[UNREADABLE] += 1
            continue
        rows += found if isinstance(found, list) else [found] if found else []
    columns = [column.name for column in describe(name)]
    frame = pd.DataFrame(rows, columns=columns)
    try:
        return Framed(conform(frame, name), rejects)
    except FrameError as error:
        raise FrameError(f"{error}; {len(rows)} rows from ads") from error


def moment(ad: View, *names: str) -> datetime | None:
    """The first of these attributes as a time (UTC); 0 and what lies outside 1970-2200 are missing."""
    for name in names:
        seconds = ad.number(name)
        if seconds is not None and 0 < seconds < GREATEST_S:
            return datetime.fromtimestamp(seconds, UTC)
    return None


def kib(ad: View, name: str) -> float | None:
    """An attribute that counts KiB, in MiB."""
    value = ad.number(name)
    return None if value is None else value / 1024
