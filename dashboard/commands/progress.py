"""How far long work is, on standard error: nothing in the first two seconds, then what is done and how long it will take."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from sim.units import format_duration

QUIET_S = 2.0
"""Shorter work is not worth a word [s]."""


class Progress:
    """A line that is rewritten on a terminal; elsewhere a line now and then.

    The estimate is the time since the first part ended, carried on at the pace of what was done since: what it takes to
    start processes and read the record is not in it.
    """

    def __init__(
        self, total: int, noun: str = "runs", *, to: TextIO | None = None, every_s: float = 15.0
    ) -> None:
        self.total = total
        self.noun = noun
        self.to = to or sys.stderr
        self.every_s = every_s
        self.began_s = time.monotonic()
        self.first: tuple[float, float] | None = None
        self.said_s = 0.0
        self.shown = False
        self.done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.shown and self.to.isatty():
            self.to.write("\r\x1b[K")
            self.to.flush()

    def __call__(self, parts: float, done: int) -> None:
        """Take note: parts of the whole done, unfinished ones included, and how many are finished."""
        now = time.monotonic()
        self.done = done
        if self.first is None:
            self.first = (now, parts)
        if now - self.began_s < QUIET_S or done >= self.total:
            return
        if now - self.said_s < (0.2 if self.to.isatty() else self.every_s):
            return
        self.said_s, self.shown = now, True
        line = f"{done} of {self.total} {self.noun}{self._left(now, parts)}"
        self.to.write(f"\r\x1b[K{line}" if self.to.isatty() else f"{line}\n")
        self.to.flush()

    def _left(self, now: float, parts: float) -> str:
        assert self.first is not None
        begun_s, before = self.first
        pace = (parts - before) / (now - begun_s) if now > begun_s else 0.0
        if parts - before < 0.02 or pace <= 0:
            return ", too early to say how long"
        return f", about {format_duration((self.total - parts) / pace)} left"
