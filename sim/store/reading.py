"""Reading a store: which files count, and frames made of them with DuckDB."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sim.attempts import ordered, reconciled
from sim.errors import InputError, StoreError
from sim.schema import DTYPES, conform, describe, empty
from sim.store.files import VanishedError, footer_of, identity, note_broken, source

TEXTS = "ad_texts"
TIMES = {
    "slots": "seen_at", "devices": "seen_at", "jobs": "seen_at", "attempts": "started_at", "cycles": "started_at",
    "priorities": "seen_at", "settings": "seen_at", "imports": "seen_at", "submitters": "seen_at", "repositories": "seen_at",
}  # fmt: skip
LEFT = ("completed", "removed")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # s3://bucket, which a path shortens to s3:/bucket
_TRIES = 20  # a reader looks again when compaction took a file away under its hands

Answer = TypeVar("Answer")

_ORDERS = (
    "SELECT DISTINCT schedd, job_id, status, entered_status_at FROM jobs"
    " WHERE status IN ('held', 'removed') AND entered_status_at IS NOT NULL"
)


class Record(NamedTuple):
    """A snapshot's record: its id, when it was taken, rows by frame, and all that was written of it."""

    id: str
    taken_at: pd.Timestamp
    rows: Mapping[str, int]
    text: str

    @property
    def meta(self) -> dict[str, Any]:
        """What was noted of it; read when it is wanted, because years of it take room."""
        told: dict[str, Any] = json.loads(self.text)
        return {name: value for name, value in told.items() if name not in {"id", "taken_at", "rows"}}


class Reader:
    """A store's folder, to be read; it needn't be there. InputError for the address of an object store.

    `problems` lists files and rows that were skipped because they can't be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if _ADDRESS.match(str(path)):
            raise InputError(
                f"{path}: a store is a folder, local or shared; object stores aren't read or written"
            )
        self.problems: list[str] = []
        self._days: dict[str, tuple[tuple[str, int, int], tuple[Record, ...]]] = {}

    # --- snapshots

    def is_empty(self) -> bool:
        """Whether there is no snapshot."""
        return next(iter((self.path / "snapshots").glob("*.json*")), None) is None

    def records(self, day: str = "*") -> dict[str, Record]:
        """The records of finished snapshots by id, in order of time.

        day : of those that were merged, only this day's
        """
        found: dict[str, Record] = {}
        # single records first: one that is merged into its day's file meanwhile is found there
        for file in sorted((self.path / "snapshots").glob("*.json")):
            try:
                record = _single(*identity(file))
                found[record.id] = record
            except FileNotFoundError:
                continue
            except (OSError, *_DAMAGES):
                self.problem(f"{file}: damaged or foreign, skipped")
        merged = sorted((self.path / "snapshots").glob(f"day-{day}.json.gz"))
        if day == "*":  # what was deleted is forgotten
            held = self._days  # several threads of a server may read at once
            self._days = {str(file): held[str(file)] for file in merged if str(file) in held}
        for file in merged:
            try:
                found.update({record.id: record for record in self._merged(file)})
            except FileNotFoundError:
                continue
            except (OSError, EOFError, zlib.error, *_DAMAGES):
                self.problem(f"{file}: damaged or foreign, skipped")
        return dict(sorted(found.items(), key=lambda item: (item[1].taken_at, item[0])))

    def snapshots(self) -> pd.DataFrame:
        """The snapshots in order: id, taken_at (UTC), meta (what the sources said), slots (whether it tells of some)."""
        rows = [
            (record.id, record.taken_at, record.meta, "slots" in record.rows or not record.rows)
            for record in self.records().values()
        ]
        frame = pd.DataFrame(rows, columns=["id", "taken_at", "meta", "slots"]).astype({"slots": bool})
        frame["taken_at"] = pd.to_datetime(frame["taken_at"], utc=True)
        return frame

    def latest(self) -> str | None:
        """The id of the newest snapshot, None if there is none."""
        merged = sorted((self.path / "snapshots").glob("day-*.json.gz"))
        last = self.records(merged[-1].name[4:14] if merged else "*")
        return next(reversed(last), None)

    # --- frames

    def read(
        self,
        frame: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        snapshot: str | None = None,
        columns: Iterable[str] | None = None,
    ) -> pd.DataFrame:
        """Read a frame.

        since, until : from (included) and to (left out), by the frame's time column
        snapshot : only this snapshot
        columns : only these; all by default, and then the frame conforms to its schema
        """
        wanted = None if columns is None else list(columns)
        conditions, values = _conditions(frame, since, until, snapshot)
        found = self.steady(lambda: self._found(frame, conditions, values, wanted))
        found = self._with_texts(found)
        return conform(found, frame) if wanted is None else typed(found, frame)[wanted]

    def _found(
        self, frame: str, conditions: list[str], values: Mapping[str, Any], columns: list[str] | None
    ) -> pd.DataFrame:
        files = _chosen(self.files(frame), frame, values)
        return self.scan(files, conditions, values, columns) if files else empty(frame)

    def jobs(self) -> pd.DataFrame:
        """The last that is known of each job; a job that has left the queue stays as it left."""
        found = self._with_texts(self.steady(self._last_jobs))
        return conform(found.sort_values(["submitted_at", "schedd", "job_id"]), "jobs")

    def _last_jobs(self) -> pd.DataFrame:
        files = self.files("jobs")
        if not files:
            return empty("jobs")
        left = ", ".join(f"'{status}'" for status in LEFT)
        order = f"status IN ({left}) DESC, seen_at DESC, snapshot DESC"
        with self.connected(files) as connection:
            return connection.execute(
                f"SELECT * FROM {source(files)} "  # noqa: S608
                f"QUALIFY row_number() OVER (PARTITION BY schedd, job_id ORDER BY {order}) = 1"
            ).df()

    def attempts(self) -> pd.DataFrame:
        """The attempts, each once, of all that its witnesses told; see `sim.attempts`."""
        found = reconciled(self.read("attempts"))
        return ordered(found, self.query(_ORDERS)) if found["outcome"].eq("evicted").any() else found

    def cycles(self) -> pd.DataFrame:
        """The negotiation cycles, each once."""
        keys = ["negotiator", "started_at"]
        known = self.read("cycles").sort_values([*keys, "ended_at"], na_position="first", kind="stable")
        return conform(known.drop_duplicates(keys, keep="last"), "cycles")

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> pd.DataFrame:
        """Run SQL over the frames, each a view of its name.

        since, until : files without a row of this time are not opened; the query itself says which rows it wants

        Raises
        ------
        StoreError : the query is wrong, or a file can't be read
        """
        times = {name: value for name, value in (("since", since), ("until", until)) if value is not None}
        return self.steady(lambda: self._queried(sql, parameters or {}, times))

    def _queried(self, sql: str, parameters: Mapping[str, Any], times: Mapping[str, Any]) -> pd.DataFrame:
        wanted = {name: self.files(name) for name in TIMES if re.search(rf"\b{name}\b", sql)}
        wanted = {name: _chosen(files, name, times) for name, files in wanted.items()}
        with self.connected([file for files in wanted.values() for file in files]) as connection:
            for name, files in wanted.items():
                if files:
                    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {source(files)}")  # noqa: S608
                else:
                    connection.register(name, empty(name))
            return connection.execute(sql, dict(parameters)).df()

    # --- texts

    def _with_texts(self, found: pd.DataFrame) -> pd.DataFrame:
        """The rows with their ads' texts instead of keys; a row whose text is lost is left out and told."""
        if "ad" not in found or found.empty:
            return found
        texts = self.texts(set(found["ad"].dropna()))
        ads = found["ad"].map(texts)
        if lost := int(ads.isna().sum()):
            self.problem(f"{self.path}: {lost} rows whose ad's text is lost, skipped")
        return found.assign(ad=ads)[ads.notna()]

    def texts(self, keys: set[str]) -> dict[str, str]:
        """The texts of these keys, as far as they are known."""
        return self.steady(lambda: self._texts(keys)) if keys else {}

    def _texts(self, keys: set[str]) -> dict[str, str]:
        files = self.files(TEXTS)
        if not files:
            return {}
        wanted = pd.DataFrame({"key": sorted(keys)})
        with self.connected(files) as connection:
            connection.register("wanted", wanted)
            found = connection.execute(
                f"SELECT key, any_value(ad) AS ad FROM {source(files)} SEMI JOIN wanted USING (key) GROUP BY key"  # noqa: S608
            ).df()
        return dict(zip(found["key"], found["ad"], strict=True))

    # --- files

    def scan(
        self,
        files: list[Path],
        conditions: Iterable[str] = (),
        values: Mapping[str, Any] | None = None,
        columns: Iterable[str] | None = None,
    ) -> pd.DataFrame:
        """The rows of files that meet conditions."""
        wanted = "*"
        if columns is not None:
            there = frozenset[str]().union(*(footer_of(file).columns for file in files))
            wanted = ", ".join(f'"{name}"' if name in there else f'NULL AS "{name}"' for name in columns)
        where = " AND ".join(conditions) or "true"
        with self.connected(files) as connection:
            return connection.execute(
                f"SELECT {wanted} FROM {source(files)} WHERE {where}",  # noqa: S608
                dict(values or {}),
            ).df()

    @contextmanager
    def connected(self, files: Iterable[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to read these files with; why reading failed is found out."""
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            try:
                yield connection
            except duckdb.Error as error:
                raise self._failed(files, error) from error

    def _failed(self, files: Iterable[Path], error: duckdb.Error) -> Exception:
        """Why reading failed: a file that went away or turns out damaged is a reason to look again without it."""
        again = False
        for file in files:
            try:
                pq.read_table(file, partitioning=None)
            except FileNotFoundError:
                again = True
            except (OSError, pa.ArrowException):
                note_broken(file)
                again = True
        if again:
            return VanishedError()
        return StoreError(f"{self.path}: can't be read ({str(error).splitlines()[0][:150]})")

    def steady(self, work: Callable[[], Answer]) -> Answer:
        """Do work that lists and reads files, again if one of them was merged away in between."""
        for _ in range(_TRIES):
            try:
                return work()
            except VanishedError:
                continue
        raise StoreError(f"{self.path}: files vanish while they are read; is something deleting them?")

    def files(self, name: str) -> list[Path]:
        """The files of a frame that count: whole, of a finished snapshot, not merged into another."""
        listed, before = self.listed(name), None
        while listed != before:  # a file that comes while a folder is listed may be missed
            listed, before = self.listed(name), listed
        return self.whole(listed, name)

    def listed(self, name: str, day: str = "*") -> list[Path]:
        """Files of finished snapshots and merged ones, in order; texts count at once, whosoever wrote them."""
        found = (self.path / f"frame={name}").glob(f"day={day}/*.parquet")
        listed = sorted(file for file in found if not file.name.startswith("."))
        if name == TEXTS:
            return listed
        loose = [file for file in listed if not file.name.startswith("day-")]
        if not loose:
            return listed
        finished = self._finished({file.parent.name.removeprefix("day=") for file in loose})
        return [file for file in listed if file.stem in finished or file.name.startswith("day-")]

    def _finished(self, days: Iterable[str]) -> set[str]:
        """The ids of snapshots that were finished, of those that were merged only these days'."""
        found = {file.stem for file in (self.path / "snapshots").glob("*.json")}
        for day in days:
            with suppress(OSError, EOFError, zlib.error, *_DAMAGES):
                file = self.path / "snapshots" / f"day-{day}.json.gz"
                found.update(record.id for record in self._merged(file))
        return found

    def _merged(self, file: Path) -> tuple[Record, ...]:
        """The records of a day's file, read once as long as it stays as it is."""
        known = identity(file)
        held = self._days.get(str(file))
        if held is None or held[0] != known:
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                held = (known, tuple(as_record(line) for line in lines))
            self._days[str(file)] = held
        return held[1]

    def whole(self, files: list[Path], name: str) -> list[Path]:
        """The files that are whole and of this frame, without superseded ones; others are reported and skipped."""
        required = required_columns(name)
        kept = []
        superseded: set[Path] = set()
        for file in files:
            try:
                footer = footer_of(file)
            except VanishedError:
                raise
            except (OSError, pa.ArrowException):
                self.problem(f"{file}: damaged or foreign, skipped")
                continue
            if not required <= footer.columns:
                self.problem(f"{file}: damaged or foreign, skipped")
                continue
            superseded |= {file.parent / replaced for replaced in footer.supersedes}
            kept.append(file)
        return [file for file in kept if file not in superseded]

    def problem(self, text: str) -> None:
        """Note what was skipped."""
        if text not in self.problems:
            self.problems.append(text)


_DAMAGES = (ValueError, KeyError, TypeError, AttributeError)


def required_columns(name: str) -> set[str]:
    """The columns without which a file is none of this frame."""
    return {"key", "ad"} if name == TEXTS else {column.name for column in describe(name) if column.required}


@lru_cache(maxsize=2048)
def _single(path: str, changed: int, size: int) -> Record:
    return as_record(Path(path).read_text(encoding="utf-8"))


def as_record(text: str) -> Record:
    """A record as it is written; ValueError, KeyError, TypeError or AttributeError for anything else."""
    known = json.loads(text)
    name, at, rows = known["id"], pd.Timestamp(known["taken_at"]), known.get("rows", {})
    if not isinstance(name, str) or at.tzinfo is None:
        raise ValueError(name)
    return Record(name, at, rows if isinstance(rows, dict) else {}, text)


def _chosen(files: list[Path], frame: str, values: Mapping[str, Any]) -> list[Path]:
    """The files that may hold a row of this time or snapshot, by what their footers say."""
    if not values:
        return files
    kept = []
    for file in files:
        bounds = footer_of(file).bounds
        first, last = bounds.get(TIMES[frame], (None, None))
        if first is not None and (
            ("since" in values and last < values["since"]) or ("until" in values and first >= values["until"])
        ):
            continue
        low, high = bounds.get("snapshot", (None, None))
        if low is not None and "snapshot" in values and not low <= values["snapshot"] <= high:
            continue
        kept.append(file)
    return kept


def _conditions(
    frame: str, since: datetime | None, until: datetime | None, snapshot: str | None
) -> tuple[list[str], dict[str, Any]]:
    column = TIMES[frame]
    conditions: list[str] = []
    values: dict[str, Any] = {}
    for name, operator, value in (("since", ">=", since), ("until", "<", until)):
        if value is not None:
            conditions.append(f"{column} {operator} ${name}")
            values[name] = value
    if snapshot is not None:
        conditions.append("snapshot = $snapshot")
        values["snapshot"] = snapshot
    return conditions, values


def typed(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A selection of a frame's columns with the dtypes of its schema."""
    kinds = {column.name: column.dtype for column in describe(name)}
    held = {}
    for column in frame:
        kind = kinds[str(column)]
        values = pd.to_datetime(frame[column], utc=True) if kind == "time" else frame[column]
        held[column] = values.astype(DTYPES[kind])  # type: ignore[call-overload]
    return pd.DataFrame(held, index=pd.RangeIndex(len(frame))) if held else frame
