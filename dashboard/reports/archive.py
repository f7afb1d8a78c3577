"""The folder of reports: one folder per period with its files and `status.json`, which tells how each report ended.

```
OUT/week/2026-W48/poolscope-week-2026-W48.html  .pdf  .md
OUT/week/2026-W48/poolscope-week-2026-W48-waits-by-class.csv …
OUT/week/2026-W48/status.json
```
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dashboard.reports.period import KINDS, Period
from sim.errors import StoreError

STATUS = "status.json"


@dataclass
class Status:
    """How a report ended, and what has become of its mails.

    state : done | partial (some of what was asked for is missing) | failed
    stamp : what it was made from; the same stamp means the same report
    sent : by address: sending, then sent; an address that stands here gets nothing twice
    """

    kind: str
    period: str
    title: str
    state: str = "failed"
    headline: str = ""
    files: list[str] = field(default_factory=list)
    error: str | None = None
    stamp: str = ""
    made_at: str = ""
    sent: dict[str, str] = field(default_factory=dict)
    told_operator: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)


class Archive:
    """Reports in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, period: Period) -> Path:
        """The folder of a period."""
        return self.folder / period.kind / period.name

    @contextmanager
    def held(self, period: Period) -> Iterator[Path]:
        """The folder of a period, made and locked: two reports of it at a time would send twice.

        Raises
        ------
        StoreError : it can't be made or written
        """
        place = self.place(period)
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock = (place / ".lock").open("w")
        except OSError as error:
            raise StoreError(
                f"{place}: can't write ({error.strerror or error}); name another folder with --out"
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield place

    def status(self, period: Period) -> Status:
        """The status of a period; a fresh one if there is none or it is damaged."""
        found = read_status(self.place(period))
        return found or Status(kind=period.kind, period=period.name, title=period.title)

    def keep(self, period: Period, status: Status) -> None:
        """Write the status; StoreError if the folder can't be written."""
        write(self.place(period) / STATUS, json.dumps(vars(status), indent=1).encode())

    def all(self) -> list[Status]:
        """Every report's status, newest period first within its kind."""
        found = []
        for kind in KINDS:
            places = (
                sorted((self.folder / kind).glob("*/"), reverse=True) if (self.folder / kind).is_dir() else []
            )
            found += [
                status
                for place in places
                if (status := read_status(place)) is not None and status.kind == kind
            ]
        return found

    def file(self, kind: str, period: str, name: str) -> Path | None:
        """A report's file, if its status names it; no other path can be had."""
        status = next((held for held in self.all() if held.kind == kind and held.period == period), None)
        if status is None or name not in status.files:
            return None
        found = self.folder / kind / period / name
        return found if found.is_file() else None


def read_status(place: Path) -> Status | None:
    """The status in a folder; None if there is none or it is damaged."""
    try:
        held = json.loads((place / STATUS).read_text("utf-8"))
        return Status(**{name: held[name] for name in Status.__dataclass_fields__ if name in held})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(target: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        scratch.write_bytes(content)
        scratch.replace(target)
    except OSError as error:
        raise StoreError(
            f"{target}: can't write ({error.strerror or error}); check space and permissions"
        ) from error
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
