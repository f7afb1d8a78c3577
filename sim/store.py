"""What was collected, kept: a folder of Parquet files, one per frame, day and snapshot, read with DuckDB (design §7).

```
STORE/frame=slots/day=2026-11-24/20261124T120000Z-1a2b.parquet
STORE/snapshots/20261124T120000Z-1a2b.json        written last: without it the snapshot doesn't exist
```

A file is written under a name that no reader's pattern matches and then renamed, so readers never see half a file and
never block a writer; a killed writer loses the snapshot it was writing. Slot and job ads repeat from snapshot to
snapshot: their texts are kept once in `ad_texts` files, and frames hold a short key. What daemons tell again and again
(attempts, cycles, jobs that left the queue) is written once. `compact` merges a day's files into one that names those
it supersedes; readers leave those out, so that a row is never seen twice and never missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sim.errors import StoreError
from sim.schema import DTYPES, conform, describe, empty

TEXTS = "ad_texts"
_TIMES = {"slots": "seen_at", "devices": "seen_at", "jobs": "seen_at", "attempts": "started_at", "cycles": "started_at",
          "priorities": "seen_at", "settings": "seen_at", "repositories": "seen_at"}  # fmt: skip
_KEYS = {"attempts": ["schedd", "job_id", "started_at"], "cycles": ["negotiator", "started_at"]}
_ONCE = {
    "attempts": [*_KEYS["attempts"], "ended_at"],
    "cycles": _KEYS["cycles"],
    "jobs": ["schedd", "job_id", "status"],
}
_LEFT = ["completed", "removed"]
_ORDER = ("name", "machine", "job_id", "submitter")  # equal things side by side pack well
_SUPERSEDES = b"poolscope.supersedes"
_TRIES = 20  # a reader looks again when compaction took a file away under its hands
_ABANDONED_S = 86_400.0  # a temporary file this old belongs to a writer that was killed

Answer = TypeVar("Answer")
Key = tuple[Any, ...]


class _VanishedError(OSError):
    """A listed file is gone: compaction merged it meanwhile; look again."""


class _Footer(NamedTuple):
    """What a Parquet file says of itself: its columns, and the names of the files it replaces."""

    columns: frozenset[str]
    supersedes: frozenset[str]


@dataclass(frozen=True)
class Snapshot:
    """What one round of collecting gave: frames by name, and what each source said (rows, seconds, error)."""

    id: str
    taken_at: datetime
    frames: Mapping[str, pd.DataFrame]
    meta: Mapping[str, Any] = field(default_factory=dict)


def snapshot_id(taken_at: datetime) -> str:
    """A name for a snapshot that sorts by time and never repeats."""
    return f"{taken_at:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def sample_path() -> Path:
    """The folder of the bundled sample: a recorded real pool."""
    return Path(str(resources.files("sim"))) / "sample"


class Store:
    """A store's folder; opening never creates it, appending does.

    `problems` lists files and rows that were skipped because they can't be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.problems: list[str] = []
        self._texts_held: dict[str, str] | None = None
        self._once_held: dict[str, set[Key]] = {}

    # --- writing

    def append(self, snapshot: Snapshot) -> None:
        """Add a snapshot; all of it or nothing. What is kept once and was written before is left out.

        Raises
        ------
        FrameError : a frame isn't what its schema says
        StoreError : the folder can't be written
        """
        held = {name: conform(frame, name) for name, frame in snapshot.frames.items()}
        written: list[Path] = []
        try:
            new = {name: self._unwritten(name, frame) for name, frame in held.items()}
            for name, frame in new.items():
                if len(frame):
                    written.append(self._write(name, self._taken_out(name, frame, snapshot), snapshot))
            record = {"id": snapshot.id, "taken_at": snapshot.taken_at.isoformat(), **snapshot.meta}
            folder = self.path / "snapshots"
            folder.mkdir(parents=True, exist_ok=True)
            _replace(folder / f"{snapshot.id}.json", json.dumps(record, indent=1).encode())
        except BaseException as error:
            for path in written:
                path.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            raise StoreError(
                f"{self.path}: can't write ({error.strerror or error}); check space and permissions"
            ) from error
        for name in self._once_held.keys() & new.keys():
            self._once_held[name] |= _marks(name, new[name])

    def _unwritten(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame without rows that are kept once and are in the store already."""
        if name not in _ONCE or frame.empty:
            return frame
        if name not in self._once_held:
            self._once_held[name] = _marks(name, self.read(name, columns=_ONCE[name]))
        known = self._once_held[name]
        fresh = [_mark(name, row) not in known for row in frame[_ONCE[name]].itertuples(index=False)]
        return frame[fresh].reset_index(drop=True)

    def _taken_out(self, name: str, frame: pd.DataFrame, snapshot: Snapshot) -> pd.DataFrame:
        """The frame with keys instead of ad texts; texts that are new go into a file of their own.

        That file stays even if the snapshot fails: another writer may count on its texts by then.
        """
        if "ad" not in frame:
            return frame
        keys = frame["ad"].map(_key)
        known = self._texts()
        new = {key: text for key, text in zip(keys, frame["ad"], strict=True) if key not in known}
        if new:
            texts = pd.DataFrame({"key": list(new), "ad": list(new.values())})
            self._write(TEXTS, texts, snapshot, suffix=f"-{name}")
            known.update(new)
        return frame.assign(ad=keys)

    def _write(self, name: str, frame: pd.DataFrame, snapshot: Snapshot, suffix: str = "") -> Path:
        folder = self.path / f"frame={name}" / f"day={snapshot.taken_at:%Y-%m-%d}"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{snapshot.id}{suffix}.parquet"
        _write_parquet(target, frame)
        return target

    def compact(self, day: str) -> int:
        """Merge a day's files (``2026-11-24``) into one per frame; give the number of files merged.

        Readers and writers go on meanwhile; a second compaction waits.

        Raises
        ------
        StoreError : the folder can't be written
        """
        merged = 0
        try:
            with self._lock():
                for name in (*_TIMES, TEXTS):
                    merged += self._compact_day(name, day)
                self._sweep()
        except OSError as error:
            raise StoreError(
                f"{self.path}: can't write ({error.strerror or error}); check space and permissions"
            ) from error
        return merged

    def _compact_day(self, name: str, day: str) -> int:
        folder = self.path / f"frame={name}" / f"day={day}"
        for file in self._superseded(folder):  # a compaction was killed before it had taken them away
            file.unlink(missing_ok=True)
        files = self._whole(self._listed(name, day), name)
        if len(files) < 2:
            return 0
        frame = self._scan(files)
        if name == TEXTS:
            frame = frame.drop_duplicates("key").sort_values("key", ignore_index=True)
        else:
            by = [column for column in _ORDER if column in frame and "seen_at" in frame]
            frame = conform(frame.sort_values([*by, _TIMES[name]], kind="stable"), name)
        _write_parquet(
            folder / f"day-{uuid.uuid4().hex[:8]}.parquet", frame, supersedes=[file.name for file in files]
        )
        for file in files:
            file.unlink(missing_ok=True)
        return len(files)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if not self.path.is_dir():
            yield
            return
        with (self.path / ".compact.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _sweep(self) -> None:
        """Delete what killed writers left: temporary files, and frames of snapshots that were never finished."""
        left = list(self.path.glob("**/.*.part"))
        for name in _TIMES:
            all_of_it = set((self.path / f"frame={name}").glob("day=*/*.parquet"))
            left += all_of_it - set(self._listed(name))
        for file in left:
            if file.stat().st_mtime < time.time() - _ABANDONED_S:
                file.unlink(missing_ok=True)

    # --- reading

    def is_empty(self) -> bool:
        """Whether there is no snapshot."""
        return not any((self.path / "snapshots").glob("*.json"))

    def snapshots(self) -> pd.DataFrame:
        """The snapshots in order: id, taken_at (UTC) and meta (what the sources said)."""
        rows = []
        for file in sorted((self.path / "snapshots").glob("*.json")):
            try:
                record = json.loads(file.read_text(encoding="utf-8"))
                rows.append(
                    {"id": record.pop("id"), "taken_at": pd.Timestamp(record.pop("taken_at")), "meta": record}
                )
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                self._problem(f"{file}: damaged or foreign, skipped")
        frame = pd.DataFrame(rows, columns=["id", "taken_at", "meta"])
        frame["taken_at"] = pd.to_datetime(frame["taken_at"], utc=True)
        return frame.sort_values("taken_at", ignore_index=True)

    def latest(self) -> str | None:
        """The id of the newest snapshot, None if there is none."""
        known = self.snapshots()
        return None if known.empty else str(known["id"].iloc[-1])

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
        conditions, values = self._conditions(frame, since, until, snapshot)
        found = self._steady(lambda: self._found(frame, conditions, values, wanted))
        if "ad" in found:
            found["ad"] = self._put_back(found["ad"])
            found = found[found["ad"].notna()]
        return conform(found, frame) if wanted is None else _typed(found, frame)[wanted]

    def _found(
        self, frame: str, conditions: list[str], values: Mapping[str, Any], columns: list[str] | None
    ) -> pd.DataFrame:
        files = self._files(frame)
        return self._scan(files, conditions, values, columns) if files else empty(frame)

    def _put_back(self, keys: pd.Series) -> pd.Series:
        """The texts for these keys; a text that another process wrote since the last look is looked up again."""
        known = self._texts()
        if not keys.isin(known).all():
            self._texts_held = None
            known = self._texts()
            if lost := int((~keys.isin(known)).sum()):
                self._problem(f"{self.path}: {lost} rows whose ad's text is lost, skipped")
        return keys.map(known)

    def jobs(self) -> pd.DataFrame:
        """The last that is known of each job; a job that has left the queue stays as it left."""
        everything = self.read("jobs")
        final = everything["status"].isin(_LEFT)
        order = everything.assign(_final=final).sort_values(["_final", "seen_at"], kind="stable")
        last = order.drop_duplicates(["schedd", "job_id"], keep="last").drop(columns="_final")
        return conform(last.sort_values(["submitted_at", "schedd", "job_id"]), "jobs")

    def attempts(self) -> pd.DataFrame:
        """The attempts, each once; what was collected later waited since the end of the attempt before, too."""
        known = self._distinct("attempts")
        before = known.groupby(["schedd", "job_id"], sort=False)["ended_at"].shift()
        return known.assign(ready_at=before.fillna(known["ready_at"]))

    def cycles(self) -> pd.DataFrame:
        """The negotiation cycles, each once."""
        return self._distinct("cycles")

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Run SQL over the frames, each a view of its name.

        Raises
        ------
        StoreError : the query is wrong, or a file can't be read
        """
        return self._steady(lambda: self._queried(sql, parameters or {}))

    def _queried(self, sql: str, parameters: Mapping[str, Any]) -> pd.DataFrame:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            listed: list[Path] = []
            for name in _TIMES:
                files = self._files(name)
                if files:
                    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {_source(files)}")  # noqa: S608
                else:
                    connection.register(name, empty(name))
                listed += files
            try:
                return connection.execute(sql, dict(parameters)).df()
            except duckdb.Error as error:
                raise self._failed(listed, error) from error

    def _distinct(self, name: str) -> pd.DataFrame:
        keys = _KEYS[name]
        known = self.read(name).sort_values([*keys, "ended_at"], na_position="first", kind="stable")
        return conform(known.drop_duplicates(keys, keep="last"), name)

    def _conditions(
        self, frame: str, since: datetime | None, until: datetime | None, snapshot: str | None
    ) -> tuple[list[str], dict[str, Any]]:
        column = _TIMES[frame]
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

    def _scan(
        self,
        files: list[Path],
        conditions: Iterable[str] = (),
        values: Mapping[str, Any] | None = None,
        columns: Iterable[str] | None = None,
    ) -> pd.DataFrame:
        wanted = "*"
        if columns is not None:
            there = frozenset[str]().union(*(_footer_of(file).columns for file in files))
            wanted = ", ".join(f'"{name}"' if name in there else f'NULL AS "{name}"' for name in columns)
        where = " AND ".join(conditions) or "true"
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            try:
                return connection.execute(
                    f"SELECT {wanted} FROM {_source(files)} WHERE {where}",  # noqa: S608
                    dict(values or {}),
                ).df()
            except duckdb.Error as error:
                raise self._failed(files, error) from error

    def _failed(self, files: list[Path], error: duckdb.Error) -> Exception:
        """Why reading failed: a file that went away or turns out damaged is a reason to look again without it."""
        again = False
        for file in files:
            try:
                pq.read_table(file, partitioning=None)
            except FileNotFoundError:
                again = True
            except (OSError, pa.ArrowException):
                _BROKEN.add(_identity(file))
                again = True
        return (
            _VanishedError()
            if again
            else StoreError(f"{self.path}: can't be read ({str(error).splitlines()[0][:150]})")
        )

    def _steady(self, work: Callable[[], Answer]) -> Answer:
        """Do work that lists and reads files, again if one of them was merged away in between."""
        for _ in range(_TRIES):
            try:
                return work()
            except _VanishedError:
                continue
        raise StoreError(f"{self.path}: files vanish while they are read; is something deleting them?")

    def _files(self, name: str) -> list[Path]:
        """The files of a frame that count: whole, of a finished snapshot, not merged into another."""
        listed, before = self._listed(name), None
        while listed != before:  # a file that comes while a folder is listed may be missed
            listed, before = self._listed(name), listed
        return self._whole(listed, name)

    def _listed(self, name: str, day: str = "*") -> list[Path]:
        """Files of finished snapshots and merged ones, in order; texts count at once (see `_taken_out`)."""
        found = (self.path / f"frame={name}").glob(f"day={day}/*.parquet")
        listed = sorted(file for file in found if not file.name.startswith("."))
        if name == TEXTS:
            return listed
        finished = {file.stem for file in (self.path / "snapshots").glob("*.json")}
        return [file for file in listed if file.stem in finished or file.name.startswith("day-")]

    def _whole(self, files: list[Path], name: str) -> list[Path]:
        """The files that are whole and of this frame, without superseded ones; others are reported and skipped."""
        required = (
            {"key", "ad"} if name == TEXTS else {column.name for column in describe(name) if column.required}
        )
        kept = []
        superseded: set[Path] = set()
        for file in files:
            try:
                footer = _footer_of(file)
            except _VanishedError:
                raise
            except (OSError, pa.ArrowException):
                self._problem(f"{file}: damaged or foreign, skipped")
                continue
            if not required <= footer.columns:
                self._problem(f"{file}: damaged or foreign, skipped")
                continue
            superseded |= {file.parent / replaced for replaced in footer.supersedes}
            kept.append(file)
        return [file for file in kept if file not in superseded]

    def _superseded(self, folder: Path) -> list[Path]:
        """Files of a folder that a merged file replaces."""
        found = []
        for file in folder.glob("day-*.parquet"):
            try:
                found += [folder / replaced for replaced in _footer_of(file).supersedes]
            except (OSError, pa.ArrowException):
                continue  # reported when it is read
        return [file for file in found if file.exists()]

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def _texts(self) -> dict[str, str]:
        if self._texts_held is None:
            self._texts_held = self._steady(self._load_texts)
        return self._texts_held

    def _load_texts(self) -> dict[str, str]:
        files = self._files(TEXTS)
        if not files:
            return {}
        held = self._scan(files, columns=["key", "ad"])
        return dict(zip(held["key"], held["ad"], strict=True))


def _mark(name: str, row: Any) -> Key:
    """What tells a row that is kept once from others; of attempts, whether it has ended counts, not when."""
    values = tuple(row)
    return (*values[:-1], not pd.isna(values[-1])) if name == "attempts" else values


def _marks(name: str, frame: pd.DataFrame) -> set[Key]:
    """The marks of rows that needn't be written again; a job in the queue is news every time."""
    if name == "jobs":
        frame = frame[frame["status"].isin(_LEFT)]
    return {_mark(name, row) for row in frame[_ONCE[name]].itertuples(index=False)}


def _typed(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A selection of a frame's columns with the dtypes of its schema."""
    kinds = {column.name: column.dtype for column in describe(name)}
    held = {}
    for column in frame:
        kind = kinds[str(column)]
        values = pd.to_datetime(frame[column], utc=True) if kind == "time" else frame[column]
        held[column] = values.astype(DTYPES[kind])  # type: ignore[call-overload]
    return pd.DataFrame(held, index=pd.RangeIndex(len(frame))) if held else frame


def _source(files: Iterable[Path]) -> str:
    """The SQL that reads files; blanks, quotes and what a pattern is made of may stand in the store's path."""
    listed = ", ".join(f"'{_literal(str(file))}'" for file in files)
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def _literal(path: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path).replace("'", "''")


def _identity(file: Path) -> tuple[str, int, int]:
    state = file.stat()
    return str(file), state.st_mtime_ns, state.st_size


_BROKEN: set[tuple[str, int, int]] = set()
"""Files with a good footer whose data can't be read, found when reading failed."""


def _footer_of(file: Path) -> _Footer:
    """A file's footer, read once as long as the file stays as it is."""
    try:
        identity = _identity(file)
        if identity in _BROKEN:
            raise OSError(f"{file}: damaged")
        return _read_footer(*identity)
    except FileNotFoundError as error:
        raise _VanishedError from error


@lru_cache(maxsize=100_000)
def _read_footer(path: str, changed: int, size: int) -> _Footer:
    found = pq.read_metadata(path)
    told = (found.metadata or {}).get(_SUPERSEDES, b"[]")
    return _Footer(frozenset(found.schema.to_arrow_schema().names), frozenset(json.loads(told)))


def _key(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _write_parquet(target: Path, frame: pd.DataFrame, *, supersedes: Iterable[str] = ()) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    notes = {_SUPERSEDES: json.dumps(sorted(supersedes)).encode()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **notes})
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        pq.write_table(table, temporary, compression="zstd", compression_level=9)
        _sync(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _replace(target: Path, content: bytes) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        _sync(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
