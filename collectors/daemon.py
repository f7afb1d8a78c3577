"""The watch: rounds for months, in a process nobody looks at.

A source that fails is left alone for longer and longer while the others go on; a store that can't be written is tried
again; the day that has passed is compacted, what is too old deleted. Whether all is well stands in the store's
`collector.json` and in the metrics.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from collectors.rounds import Change, Round, collect_once, stored_cursors
from collectors.source import Source
from sim.derived import keep_day
from sim.errors import InputError, PoolscopeError, StoreError
from sim.store import Store, upkeep
from sim.store.files import write_bytes

JITTER = 0.1
STATUS = "collector.json"
LOCK = ".collect.lock"
_LONGEST_REST_S = 3600.0
_JUMP_S = 30.0  # wall and steady clock part by more only when somebody sets the clock
_COMPACT_EVERY = 48  # rounds: four hours of every 5 min

log = logging.getLogger("poolscope.collect")


class Clock:
    """Time as a watch needs it; tests have a faster one."""

    def now(self) -> pd.Timestamp:
        """The time of day (UTC)."""
        return pd.Timestamp.now(tz="UTC").floor("us")

    def steady(self) -> float:
        """Seconds that nobody can set."""
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Wait, but not longer than until `stop` is set."""
        stop.wait(max(0.0, seconds))


@dataclass(frozen=True)
class Upkeep:
    """What is kept: for how long [s], how many bytes; None for ever."""

    keep_s: float | None = None
    keep_bytes: int | None = None


@dataclass
class Health:
    """How a source does: failures in a row, when it last answered, what it last said."""

    failures: int = 0
    last_ok: str | None = None
    last_error: str | None = None
    rows: int = 0
    seconds: float = 0.0
    rejects: dict[str, int] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)
    rest_until: float = float("-inf")

    def answered(self, told: Mapping[str, Any], at: pd.Timestamp) -> None:
        """Note an answer; one that is whole ends a row of failures."""
        self.rows, self.seconds = told["rows"], told["seconds"]
        for kind in ("rejects", "gaps"):
            for reason, count in told.get(kind, {}).items():
                held = getattr(self, kind)
                held[reason] = held.get(reason, 0) + count
        self.last_error = told["error"]
        if told["error"] is None or told["rows"]:
            self.failures, self.last_ok = 0, at.isoformat()
        else:
            self.failures += 1


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock of a store; the system lets go of it when the process ends, however it ends.

    Raises
    ------
    StoreError : another collector has it, or the folder can't be written
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"{path}: can't write ({error.strerror or error}); check the path and permissions"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read(200).strip() or "another process"
            raise StoreError(
                f"{path}: another collector is at work here ({holder}); stop it first, or name another --data"
            ) from error
        lock.seek(0)
        lock.truncate()
        lock.write(
            f"pid {os.getpid()} on {socket.gethostname()} since {datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z}"
        )
        lock.flush()
        yield


class Watch:
    """Rounds of collecting until it is stopped.

    Parameters
    ----------
    sources, store : who is asked, and where the answers go
    every_s : from start to start [s]
    stop : when set, the write in hand is finished and nothing else begun
    tell : told of every round, and of every one that failed
    jitter : share of `every_s` by which a start may be late [1]
    change : of every frame before it is stored
    """

    def __init__(
        self,
        sources: Sequence[Source],
        store: Store,
        every_s: float,
        *,
        stop: threading.Event,
        tell: Callable[[Round | PoolscopeError], None],
        jitter: float = JITTER,
        upkeep: Upkeep | None = None,
        change: Change | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.sources, self.store, self.every_s = list(sources), store, every_s
        self.health = {source.name: Health() for source in sources}
        self.rounds = self.failed = 0
        self.counts: Mapping[str, Mapping[tuple[str, ...], int]] = {}
        self.upkeep, self.change = upkeep or Upkeep(), change
        self._stop, self._tell, self._jitter = stop, tell, jitter
        self._clock = clock or Clock()
        self._cursors = stored_cursors(store)
        self._pairs: tuple[pd.Timestamp, float] | None = None
        self._day = ""
        self._began = self._clock.now()

    def run(self) -> None:
        """Collect until stopped.

        Raises
        ------
        StoreError : the store can't be written, in the first round; later it is tried again
        """
        due = self._clock.steady()
        while not self._stop.is_set():
            self.round()
            due = max(due + self.every_s, self._clock.steady())
            late = random.uniform(0, self._jitter * self.every_s)  # noqa: S311  politeness, no secret
            self._clock.wait(self._stop, due - self._clock.steady() + late)

    def round(self) -> None:
        """Ask, store, note how it went, and look after the store."""
        at = self._clock.now()
        notes = self._clock_notes(at)
        resting = self._resting()
        self.rounds += 1
        try:
            done = collect_once(
                self.sources, self.store, self._cursors,
                at=at, resting=resting, change=self.change, notes=notes,
            )  # fmt: skip
        except StoreError as error:
            self.failed += 1
            if self.rounds == 1:
                raise
            self._failed(error, at)
            return
        except PoolscopeError as error:
            self.failed += 1
            if not self._stop.is_set():
                self._all_failed(error, at, resting)
            return
        for name, told in done.sources.items():
            self._note(name, told, at, resting)
        self.counts = done.counts
        self._tell(done)
        self._look_after(at)
        self.write_status(at)

    def _note(self, name: str, told: Mapping[str, Any], at: pd.Timestamp, resting: Mapping[str, str]) -> None:
        if name in resting or (
            told["error"] and self._stop.is_set()
        ):  # given up by us is no failure of theirs
            return
        held = self.health[name]
        held.answered(told, at)
        if held.failures > 1:  # the first failure may be chance
            held.rest_until = self._clock.steady() + min(
                self.every_s * 2 ** (held.failures - 1), max(_LONGEST_REST_S, self.every_s)
            )
        if told["error"]:
            log.warning(
                "source failed",
                extra={"told": {"source": name, "error": told["error"], "in_a_row": held.failures}},
            )

    def _all_failed(self, error: PoolscopeError, at: pd.Timestamp, resting: Mapping[str, str]) -> None:
        for name in self.health:
            self._note(name, {"rows": 0, "seconds": 0.0, "error": str(error)}, at, resting)
        self._failed(error, at)

    def _failed(self, error: PoolscopeError, at: pd.Timestamp) -> None:
        self._tell(error)
        log.error("round failed", extra={"told": {"error": str(error)}})
        self.write_status(at, error=str(error))

    def _resting(self) -> dict[str, str]:
        now = self._clock.steady()
        return {
            name: f"{name}: not asked, because it failed {held.failures} times in a row ({held.last_error})"
            for name, held in self.health.items()
            if held.rest_until > now
        }

    def _clock_notes(self, at: pd.Timestamp) -> dict[str, Any]:
        """How far somebody set the clock since the last round [s], if he did."""
        steady = self._clock.steady()
        before, self._pairs = self._pairs, (at, steady)
        if before is None:
            return {}
        jump = (at - before[0]).total_seconds() - (steady - before[1])
        if abs(jump) < _JUMP_S:
            return {}
        log.warning("the clock jumped", extra={"told": {"seconds": round(jump)}})
        return {"clock_jump_s": round(jump, 1)}

    def _look_after(self, at: pd.Timestamp) -> None:
        """Compact days that have passed, and today now and then; delete what is too old."""
        today = f"{at:%Y-%m-%d}"
        try:
            if self._day != today:
                passed = [day for day in upkeep.days(self.store) if day < today]
                # at the start all that is left of an earlier run, then the day that has just passed
                for day in passed if not self._day else passed[-2:]:
                    upkeep.compact_day(self.store, day)
                    keep_day(self.store, day)
                self._day = today
                if self.upkeep.keep_s is not None or self.upkeep.keep_bytes is not None:
                    gone = upkeep.prune(
                        self.store,
                        keep_s=self.upkeep.keep_s,
                        keep_bytes=self.upkeep.keep_bytes,
                        now=at.to_pydatetime(),
                    )
                    if gone:
                        log.info("days deleted", extra={"told": {"days": gone}})
            elif self.rounds % _COMPACT_EVERY == 0:
                upkeep.compact_day(self.store, today)
        except StoreError as error:
            log.error("upkeep failed", extra={"told": {"error": str(error)}})

    def status(self, at: pd.Timestamp, error: str | None = None) -> dict[str, Any]:
        """What `collector.json` says."""
        sources = {}
        for name, held in self.health.items():
            sources[name] = asdict(held)
            rest = sources[name].pop("rest_until") - self._clock.steady()
            sources[name]["asked_again_in_s"] = round(rest, 1) if rest > 0 else 0.0
        return {
            "pid": os.getpid(), "host": socket.gethostname(), "began_at": self._began.isoformat(),
            "at": at.isoformat(), "every_s": self.every_s, "rounds": self.rounds, "failed": self.failed,
            "error": error, "sources": sources,
        }  # fmt: skip

    def write_status(self, at: pd.Timestamp, error: str | None = None) -> None:
        """Write `collector.json`; where that can't be done, the round itself has said so."""
        if not self.store.path.is_dir():
            return  # nothing was ever stored here
        try:
            write_bytes(self.store.path / STATUS, json.dumps(self.status(at, error), indent=1).encode())
        except OSError as failure:
            log.error("status not written", extra={"told": {"error": str(failure)}})


def collect_every(
    sources: Sequence[Source],
    store: Store,
    every_s: float,
    *,
    stop: threading.Event,
    tell: Callable[[Round | PoolscopeError], None],
    jitter: float = JITTER,
) -> None:
    """Collect until `stop` is set; the write in hand is finished. See `Watch`."""
    Watch(sources, store, every_s, stop=stop, tell=tell, jitter=jitter).run()


class JsonLines(logging.Formatter):
    """Log records as JSON, one a line: time, level, message, and what else is told."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as one line."""
        at = pd.Timestamp(record.created, unit="s", tz="UTC").isoformat()
        told = getattr(record, "told", {})
        return json.dumps(
            {"at": at, "level": record.levelname.lower(), "message": record.getMessage(), **told}
        )


def check_status(path: Path, now: pd.Timestamp) -> dict[str, Any]:
    """The age and health of each source of the collector that works on a store, from its status file.

    Gives `healthy`, and per source `age_s` (since it last answered) and `health`: fresh, late (older than two rounds),
    failing, or silent (it never answered). Without a collector there is nothing to say.

    Raises
    ------
    InputError : the status file is damaged
    """
    file = path / STATUS
    if not file.exists():
        return {"healthy": True, "running": False, "sources": {}}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        every_s, at = float(told["every_s"]), pd.Timestamp(told["at"])
        sources = {name: _health(held, every_s, now) for name, held in told["sources"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: damaged; delete it, the collector writes it anew") from error
    late = (now - at).total_seconds() > 2 * every_s + 60
    return {
        "healthy": not late and all(held["health"] == "fresh" for held in sources.values()),
        "running": not late,
        "pid": told.get("pid"),
        "host": told.get("host"),
        "last_round_age_s": round((now - at).total_seconds(), 1),
        "error": told.get("error"),
        "sources": sources,
    }


def _health(held: Mapping[str, Any], every_s: float, now: pd.Timestamp) -> dict[str, Any]:
    age_s = (now - pd.Timestamp(held["last_ok"])).total_seconds() if held["last_ok"] else None
    if age_s is None:
        health = "silent"
    elif held["failures"]:
        health = "failing"
    else:
        health = "fresh" if age_s <= 2 * every_s + 60 else "late"
    return {
        "health": health, "age_s": age_s, "failures": held["failures"], "error": held["last_error"],
        "rows": held["rows"], "seconds": held["seconds"], "rejects": held["rejects"], "gaps": held["gaps"],
    }  # fmt: skip
