"""The run table: questions that take longer than a click, shared by everyone who asks the same."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sim.errors import InputError, StoreError

Spec = Mapping[str, Any]

LIVE = ("queued", "running")
LOST_AFTER_S = 30.0
QUEUE_LIMIT = 50
#: Runs that one user may have waiting or running at a time.
USER_LIMIT = 10
#: Ended runs older than this are forgotten with their results [s].
KEEP_S = 90 * 86400.0

_TABLE = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, spec TEXT NOT NULL, model TEXT NOT NULL, status TEXT NOT NULL,
    fraction REAL NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '', claim TEXT, heartbeat REAL,
    asked_at REAL NOT NULL, started_at REAL, ended_at REAL,
    owner TEXT NOT NULL DEFAULT '', place INTEGER NOT NULL DEFAULT 0, boot TEXT NOT NULL DEFAULT ''
)
"""
# What tables of older versions lack.
_ADDED = {
    "owner": "TEXT NOT NULL DEFAULT ''",
    "place": "INTEGER NOT NULL DEFAULT 0",
    "boot": "TEXT NOT NULL DEFAULT ''",
}
# The queue is ordered by `place`, not by time: the machine's clock may be set back.
_ASK = """
INSERT INTO runs (id, spec, model, status, note, asked_at, owner, place)
VALUES (:id, :spec, :model, 'queued', '', :now, :owner, (SELECT coalesce(max(place), 0) + 1 FROM runs))
ON CONFLICT (id) DO UPDATE SET status = 'queued', fraction = 0, note = '', claim = NULL, heartbeat = NULL,
    asked_at = :now, started_at = NULL, ended_at = NULL, owner = :owner,
    place = (SELECT coalesce(max(place), 0) + 1 FROM runs)
WHERE status IN ('failed', 'cancelled') OR (status = 'done' AND :missing)
"""
# One statement, so that two workers can't take the same run.
_CLAIM = """
UPDATE runs SET status = 'running', claim = :claim, heartbeat = :beat, boot = :boot, started_at = :now, fraction = 0
WHERE id = (SELECT id FROM runs WHERE status = 'queued' AND model = :model ORDER BY place LIMIT 1) RETURNING *
"""


class Cancelled(Exception):  # noqa: N818 - not an error: the run isn't wanted any more
    """Raised by a tick of a run that was cancelled, lost or given to another worker."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table."""

    id: str
    spec: dict[str, Any]
    status: str
    fraction: float
    note: str
    claim: str | None
    asked_at: float
    started_at: float | None
    ended_at: float | None
    owner: str = ""
    place: int = 0
    model: str = ""

    @property
    def live(self) -> bool:
        """Waiting or running."""
        return self.status in LIVE


def run_id(spec: Spec, model: str) -> str:
    """The id of a question: equal questions to the same model version have the same id.

    Examples
    --------
    >>> run_id({"seed": 1, "kind": "replay"}, "0.1.0") == run_id({"kind": "replay", "seed": 1}, "0.1.0")
    True
    """
    return hashlib.sha256(f"{model}\n{_canonical(spec)}".encode()).hexdigest()[:12]


def is_id(name: object) -> bool:
    """Whether this could be a run's id.

    Examples
    --------
    >>> is_id("0123456789ab"), is_id("../../etc"), is_id(None)
    (True, False, False)
    """
    return isinstance(name, str) and re.fullmatch(r"[0-9a-f]{12}", name) is not None


def _boot() -> str:
    """What tells this start of the machine from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
    except OSError:
        return ""


def _canonical(spec: Spec) -> str:
    return json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Runs:
    """Runs in a folder: the table in SQLite (WAL), results as files beside it.

    Parameters
    ----------
    folder : on a local disk; SQLite's WAL doesn't work over NFS
    model : version of the model, part of every run's id
    clock : the time that people read [s, Unix]
    beats : what heartbeats are told by: a clock that all processes of the machine share and nobody can set [s]
    boot : since when that clock runs: a heartbeat from before the machine was started anew says nothing
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: str,
        clock: Callable[[], float] = time.time,
        beats: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_MONOTONIC),
        boot: str | None = None,
    ) -> None:
        self.folder = folder
        self.model = model
        self._clock = clock
        self._beats = beats
        self._boot = _boot() if boot is None else boot
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._connect() as table:
                table.execute("PRAGMA journal_mode=WAL")
                table.execute(_TABLE)
                known = {row["name"] for row in table.execute("PRAGMA table_info(runs)")}
                for name, kind in _ADDED.items():
                    if name not in known:
                        table.execute(f"ALTER TABLE runs ADD COLUMN {name} {kind}")
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"{folder}: the run table can't be opened ({error}); name a writable folder"
            ) from error

    def ask(self, spec: Spec, *, owner: str = "") -> Entry:
        """The run of this question: the one there is, or a new one in the queue.

        Parameters
        ----------
        owner : who asks; may cancel it later. Empty where nobody logs in

        Raises
        ------
        InputError : the queue is full, or this user has too many runs in it
        """
        name = run_id(spec, self.model)
        with self._connect() as table:
            table.execute("BEGIN IMMEDIATE")
            waiting = table.execute("SELECT count(*) FROM runs WHERE status = 'queued'").fetchone()[0]
            if waiting >= QUEUE_LIMIT and not self._known(table, name):
                table.execute("ROLLBACK")
                raise InputError(f"{waiting} runs are waiting already: try again when some of them are done")
            live = "SELECT count(*) FROM runs WHERE owner = ? AND status IN ('queued', 'running')"
            own = table.execute(live, (owner,)).fetchone()[0] if owner else 0
            if own >= USER_LIMIT and not self._known(table, name):
                table.execute("ROLLBACK")
                raise InputError(f"you have {own} runs waiting or running: cancel one, or wait for one")
            missing = not (self._place(name) / "summary.json").exists()
            given = {
                "owner": owner,
                "id": name,
                "spec": _canonical(spec),
                "model": self.model,
                "now": self._clock(),
            }
            table.execute(_ASK, {**given, "missing": missing})
            table.execute("COMMIT")
        found = self.get(name)
        if found is None:
            raise StoreError(f"run {name} vanished from {self.folder}")
        return found

    def get(self, name: str) -> Entry | None:
        """The run of this id, if there is one."""
        if not is_id(name):
            return None
        self.bury()
        with self._connect() as table:
            row = table.execute("SELECT * FROM runs WHERE id = ?", (name,)).fetchone()
        return _entry(row) if row else None

    def find(self, spec: Spec) -> Entry | None:
        """The run of this question, if it was asked before."""
        return self.get(run_id(spec, self.model))

    def recent(self, limit: int = 50) -> list[Entry]:
        """The latest runs, newest first."""
        self.bury()
        with self._connect() as table:
            rows = table.execute(
                "SELECT * FROM runs ORDER BY place DESC, asked_at DESC LIMIT ?", (limit,)
            ).fetchall()
        return [_entry(row) for row in rows]

    def ahead(self, entry: Entry) -> int:
        """How many queued or running runs stand before a queued one."""
        with self._connect() as table:
            found = table.execute(
                "SELECT count(*) FROM runs WHERE status = 'running' OR (status = 'queued' AND place < ?)",
                (entry.place,),
            ).fetchone()
        return int(found[0])

    def cancel(self, name: str, *, by: str | None = None) -> None:
        """Take a run from the queue, or let its next tick stop it.

        Parameters
        ----------
        by : who asks; None may cancel anything

        Raises
        ------
        InputError : it is another user's run
        """
        mine, given = ("", ()) if by is None else (" AND owner = ?", (by,))
        ended = self._end(
            name,
            "cancelled",
            f"cancelled by {by}" if by else "cancelled by a user",
            where=f"status IN ('queued', 'running'){mine}",
            given=given,
        )
        if not ended and by is not None:
            entry = self.get(name)
            if entry is not None and entry.live and entry.owner != by:
                raise InputError(
                    f"run {name} is {entry.owner or 'somebody'}'s: only they or an administrator may cancel it"
                )

    def claim(self, worker: str) -> Entry | None:
        """Take the oldest queued run for `worker`, atomically; one that was asked of another version can't be answered."""
        self.bury()
        with self._connect() as table:
            table.execute(
                "UPDATE runs SET status = 'failed', note = 'asked of version ' || model || ': run it again', ended_at = ?"
                " WHERE status = 'queued' AND model <> ?",
                (self._clock(), self.model),
            )
            row = table.execute(
                _CLAIM,
                {
                    "claim": worker,
                    "now": self._clock(),
                    "beat": self._beats(),
                    "boot": self._boot,
                    "model": self.model,
                },
            ).fetchone()
        return _entry(row) if row else None

    def tick(self, entry: Entry, fraction: float, note: str) -> None:
        """Record progress; raises Cancelled when the run isn't this worker's any more."""
        share = min(max(fraction, 0.0), 1.0)
        if not self._mine(entry, "fraction = ?, note = ?, heartbeat = ?", (share, note[:200], self._beats())):
            raise Cancelled(entry.id)

    def beat(self, entry: Entry) -> None:
        """Say that the worker lives, without progress."""
        self._mine(entry, "heartbeat = ?", (self._beats(),))

    def release(self, entry: Entry) -> None:
        """Put a run back into the queue: its worker was asked to stop."""
        self._mine(entry, "status = 'queued', claim = NULL, heartbeat = NULL, fraction = 0", ())

    def finish(self, entry: Entry, result: Mapping[str, Any]) -> None:
        """Keep the result, then mark the run done; raises Cancelled when nobody waits for it any more."""
        self.tick(entry, 1.0, "writing the result")
        place = self._place(entry.id)
        scratch = place.with_name(f"{place.name}.{entry.claim}.tmp")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        frames = {name: held for name, held in result.items() if isinstance(held, pd.DataFrame)}
        for name, frame in frames.items():
            frame.to_parquet(scratch / f"{name}.parquet")
        (scratch / "summary.json").write_text(
            json.dumps(result.get("summary", {}), indent=1, default=str), "utf-8"
        )
        shutil.rmtree(place, ignore_errors=True)
        scratch.rename(place)
        self._mine(entry, "status = 'done', fraction = 1, note = '', ended_at = ?", (self._clock(),))

    def fail(self, entry: Entry, reason: str) -> None:
        """Mark a run failed, with its reason."""
        self._end(entry.id, "failed", reason, where="status = 'running' AND claim = ?", given=(entry.claim,))

    def bury(self) -> None:
        """Fail the runs whose worker hasn't given a sign of life."""
        with self._connect() as table:
            table.execute(
                "UPDATE runs SET status = 'failed', note = 'worker lost: run it again', ended_at = ?"
                " WHERE status = 'running' AND (boot <> ? OR heartbeat < ?)",
                (self._clock(), self._boot, self._beats() - LOST_AFTER_S),
            )

    def prune(self, *, older_s: float = KEEP_S) -> int:
        """Forget ended runs that ended longer ago than `older_s`, with their results, and results that nobody knows."""
        before = {"before": self._clock() - older_s}
        with self._connect() as table:
            old = table.execute(
                "DELETE FROM runs WHERE status IN ('done', 'failed', 'cancelled') AND ended_at < :before",
                before,
            ).rowcount
            known = {row["id"] for row in table.execute("SELECT id FROM runs")}
        results = self.folder / "results"
        for place in results.iterdir() if results.is_dir() else ():
            # A scratch folder belongs to a live worker unless its run has gone.
            if place.name.partition(".")[0] not in known:
                shutil.rmtree(place, ignore_errors=True)
        return int(old)

    def mark(self) -> str:
        """What changes when a run is asked for, begins or ends, but not while it only goes on."""
        with self._connect() as table:
            row = table.execute(
                "SELECT count(*), max(place), total(status = 'queued'), total(status = 'running'), total(status = 'done'), max(ended_at)"
                " FROM runs"
            ).fetchone()
        return " ".join(str(value) for value in tuple(row))

    def counts(self) -> dict[str, int]:
        """How many runs there are in each status."""
        self.bury()
        with self._connect() as table:
            rows = table.execute("SELECT status, count(*) AS n FROM runs GROUP BY status").fetchall()
        return {str(row["status"]): int(row["n"]) for row in rows}

    def beat_idle(self, worker: str) -> None:
        """Say that an idle worker lives; a file per worker, so that the table isn't written all the time."""
        folder = self.folder / "workers"
        folder.mkdir(exist_ok=True)
        scratch = folder / f".{worker}.part"
        scratch.write_text(json.dumps({"beat": self._beats(), "boot": self._boot}), "utf-8")
        scratch.replace(folder / worker)

    def workers(self) -> int:
        """How many workers gave a sign of life lately; the files of others are taken away."""
        alive = 0
        folder = self.folder / "workers"
        for file in folder.iterdir() if folder.is_dir() else ():
            try:
                told = json.loads(file.read_text("utf-8"))
                fresh = told["boot"] == self._boot and told["beat"] >= self._beats() - LOST_AFTER_S
            except (OSError, ValueError, KeyError, TypeError):
                continue
            alive += fresh
            if not fresh:
                file.unlink(missing_ok=True)
        return alive

    def tables(self, name: str) -> list[str]:
        """The names of the frames of a done run's result."""
        place = self._place(name)
        return sorted(file.stem for file in place.glob("*.parquet")) if place.is_dir() else []

    def frame(self, name: str, frame: str) -> pd.DataFrame:
        """A frame of a done run's result."""
        try:
            return pd.read_parquet(self._place(name) / f"{frame}.parquet")
        except OSError as error:
            raise StoreError(f"run {name}: its result {frame!r} can't be read; run it again") from error

    def summary(self, name: str) -> dict[str, Any]:
        """The small part of a done run's result."""
        try:
            held: dict[str, Any] = json.loads((self._place(name) / "summary.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(f"run {name}: its summary can't be read; run it again") from error
        return held

    def _place(self, name: str) -> Path:
        if not is_id(name):
            raise InputError(f"{name[:40]!r} is no run's id")
        return self.folder / "results" / name

    def _known(self, table: sqlite3.Connection, name: str) -> bool:
        return bool(table.execute("SELECT 1 FROM runs WHERE id = ?", (name,)).fetchone())

    def _mine(self, entry: Entry, change: str, given: tuple[object, ...]) -> bool:
        with self._connect() as table:
            # `change` is one of this module's own texts; values only ever go in as parameters.
            statement = f"UPDATE runs SET {change} WHERE id = ? AND status = 'running' AND claim = ?"  # noqa: S608
            return table.execute(statement, (*given, entry.id, entry.claim)).rowcount > 0

    def _end(self, name: str, status: str, note: str, *, where: str, given: tuple[object, ...]) -> bool:
        with self._connect() as table:
            statement = f"UPDATE runs SET status = ?, note = ?, ended_at = ? WHERE id = ? AND {where}"  # noqa: S608
            return table.execute(statement, (status, note[:500], self._clock(), name, *given)).rowcount > 0

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        # Short connections: SQLite objects belong to one thread, requests come on many.
        table = sqlite3.connect(self.folder / "runs.sqlite", isolation_level=None, timeout=10)
        table.row_factory = sqlite3.Row
        try:
            yield table
        finally:
            table.close()


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(
        id=row["id"],
        spec=json.loads(row["spec"]),
        status=row["status"],
        fraction=row["fraction"],
        note=row["note"],
        claim=row["claim"],
        asked_at=row["asked_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        owner=row["owner"],
        place=row["place"],
        model=row["model"],
    )
