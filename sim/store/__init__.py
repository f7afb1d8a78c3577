"""What was collected, kept: a folder of Parquet files, one per frame, day and snapshot, read with DuckDB (design §7).

```
STORE/frame=slots/day=2026-11-24/20261124T120000Z-1a2b.parquet
STORE/snapshots/20261124T120000Z-1a2b.json        written last: without it the snapshot doesn't exist
```

A file is written under a name that no reader's pattern matches and then renamed, so readers never see half a file and
never block a writer; a killed writer loses the snapshot it was writing. Slot and job ads repeat from snapshot to
snapshot: their texts are kept once a day in `ad_texts` files, and frames hold a short key; so every day is complete in
itself and can be deleted. What daemons tell again and again (attempts, cycles, jobs that left the queue) is written
once. `compact` merges a day's files into one that names those it supersedes, and its records into one; readers leave
out what is superseded, so that a row is never seen twice and never missing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from sim.classads.keys import is_key, key_of
from sim.errors import PoolscopeError, StoreError
from sim.schema import conform
from sim.store import upkeep
from sim.store.files import write_batches, write_bytes, write_frame
from sim.store.reading import LEFT, TEXTS, Reader, typed

__all__ = ["Snapshot", "Store", "sample_path", "snapshot_id"]

_ONCE = {
    "attempts": ["schedd", "job_id", "started_at", "ended_at", "executing_at", "device_model"],
    "cycles": ["negotiator", "started_at"],
    "jobs": ["schedd", "job_id", "status"],
}
_TEXTS_AT_ONCE = 2_000  # some 10 MB
_TEXT_COLUMNS = pa.schema([("key", pa.large_string()), ("ad", pa.large_string())])
_TOLD_AGAIN = timedelta(days=3)  # how long a daemon may tell the same thing again
Key = tuple[Any, ...]


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


class Store(Reader):
    """A store's folder, to be read and written; opening never creates it, appending does."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self._keys: tuple[str, set[str]] = ("", set())  # the texts that the day in hand has
        self._once: dict[str, dict[str, set[Key]]] = {}  # what was written once, by frame and day

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
            new = {name: self._unwritten(name, frame, snapshot) for name, frame in held.items()}
            for name, frame in new.items():
                if len(frame):
                    written.append(self._write(name, self._taken_out(name, frame, snapshot), snapshot))
            record = {"id": snapshot.id, "taken_at": snapshot.taken_at.isoformat(), **snapshot.meta}
            record["rows"] = {name: len(frame) for name, frame in new.items() if len(frame)}
            folder = self.path / "snapshots"
            folder.mkdir(parents=True, exist_ok=True)
            write_bytes(folder / f"{snapshot.id}.json", json.dumps(record, indent=1).encode())
        except BaseException as error:
            for path in written:
                path.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            raise StoreError(
                f"{self.path}: can't write ({error.strerror or error}); check space and permissions"
            ) from error
        day = f"{snapshot.taken_at:%Y-%m-%d}"
        for name in self._once.keys() & new.keys():
            self._once[name].setdefault(day, set()).update(_marks(name, new[name]))

    def _unwritten(self, name: str, frame: pd.DataFrame, snapshot: Snapshot) -> pd.DataFrame:
        """The frame without rows that are kept once and were written in the last days."""
        if name not in _ONCE or frame.empty:
            return frame
        first = f"{snapshot.taken_at - _TOLD_AGAIN:%Y-%m-%d}"
        held = self._once.get(name)
        if held is None or (held and first < min(held)):  # also when a clock went back
            held = {first: self._written_since(name, first)}
        # what is older isn't told again; forgetting it keeps a watch of months small
        self._once[name] = {day: marks for day, marks in held.items() if day >= first} or {first: set()}
        known = list(self._once[name].values())
        rows = frame[_ONCE[name]].itertuples(index=False)
        fresh = [not any(mark in marks for marks in known) for mark in map(_mark, rows)]
        return frame[fresh].reset_index(drop=True)

    def _written_since(self, name: str, first: str) -> set[Key]:
        def load() -> set[Key]:
            files = [file for file in self.files(name) if file.parent.name >= f"day={first}"]
            if not files:
                return set()
            return _marks(name, typed(self.scan(files, columns=_ONCE[name]), name))

        return self.steady(load)

    def _taken_out(self, name: str, frame: pd.DataFrame, snapshot: Snapshot) -> pd.DataFrame:
        """The frame with keys instead of ad texts; texts that are new on this day go into a file of their own.

        That file stays even if the snapshot fails: another writer may count on its texts by then.
        """
        if "ad" not in frame:
            return frame
        known = self._day_keys(f"{snapshot.taken_at:%Y-%m-%d}")
        keys: list[str] = []
        new: dict[str, str] = {}
        added: set[str] = set()

        def batches() -> Iterator[pa.RecordBatch]:
            for begin in range(0, len(frame), _TEXTS_AT_ONCE):  # never all as Python's strings
                for text in frame["ad"].iloc[begin : begin + _TEXTS_AT_ONCE].array:
                    keys.append(self._key(text, known))
                    if keys[-1] not in known and keys[-1] not in added:
                        new[keys[-1]] = text
                        added.add(keys[-1])
                last = begin + _TEXTS_AT_ONCE >= len(frame)
                if new and (last or len(new) >= _TEXTS_AT_ONCE):
                    yield pa.record_batch([list(new), list(new.values())], schema=_TEXT_COLUMNS)
                    new.clear()

        made = batches()
        first = next(made, None)
        if first is not None:
            target = self._target(TEXTS, snapshot, suffix=f"-{name}")
            whole = pa.RecordBatchReader.from_batches(_TEXT_COLUMNS, chain([first], made))
            write_batches(target, whole, supersedes=())
            known |= added
        return frame.assign(ad=pd.Series(keys, index=frame.index, dtype="str"))

    def _key(self, text: str, known: set[str]) -> str:
        """The key of a text; a source that read it before may have given the key alone."""
        if not is_key(text):
            return key_of(text)
        if text not in known:
            raise StoreError(f"{self.path}: the text of an ad is no longer there; the next round asks for it")
        return text

    def _day_keys(self, day: str) -> set[str]:
        there = (self.path / f"frame={TEXTS}" / f"day={day}").exists()  # a day may be deleted meanwhile
        if self._keys[0] != day or not there:

            def load() -> set[str]:
                files = [file for file in self.files(TEXTS) if file.parent.name == f"day={day}"]
                return set(self.scan(files, columns=["key"])["key"]) if files else set()

            self._keys = (day, self.steady(load))
        return self._keys[1]

    def _target(self, name: str, snapshot: Snapshot, suffix: str = "") -> Path:
        folder = self.path / f"frame={name}" / f"day={snapshot.taken_at:%Y-%m-%d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{snapshot.id}{suffix}.parquet"

    def _write(self, name: str, frame: pd.DataFrame, snapshot: Snapshot) -> Path:
        target = self._target(name, snapshot)
        write_frame(target, frame)
        return target

    def keep(self, name: str, day: str, frame: pd.DataFrame) -> None:
        """Write a derived table of a day, in place of what was kept of it before; see `sim.derived`.

        Raises
        ------
        StoreError : the folder can't be written
        """
        with upkeep.written(self.path):
            folder = self.path / f"derived={name}"
            folder.mkdir(parents=True, exist_ok=True)
            write_frame(folder / f"{day}.parquet", conform(frame, name))

    def kept(self, name: str) -> tuple[list[pd.DataFrame], set[str]]:
        """The parts of a derived table that were kept, and their days; damaged ones are reported and left out."""
        parts, held = [], set()
        for file in sorted((self.path / f"derived={name}").glob("*.parquet")):
            try:
                parts.append(conform(pd.read_parquet(file, partitioning=None), name))
                held.add(file.stem)
            except (OSError, ValueError, PoolscopeError):  # pyarrow's errors are among these
                self.problem(f"{file}: damaged or foreign, skipped")
        return parts, held

    def days(self) -> list[str]:
        """The days of which there are frames, in order."""
        return upkeep.days(self)

    def compact(self, day: str) -> int:
        """Merge a day's files (``2026-11-24``) into one per frame; give the number of files merged.

        Readers and writers go on meanwhile; a second compaction waits.

        Raises
        ------
        StoreError : the folder can't be written
        """
        return upkeep.compact_day(self, day)


def _mark(row: Any) -> Key:
    """What tells a row that is kept once from others."""
    return tuple(None if pd.isna(value) else value for value in row)


def _marks(name: str, frame: pd.DataFrame) -> set[Key]:
    """The marks of rows that needn't be written again; a job in the queue is news every time."""
    if name == "jobs":
        frame = frame[frame["status"].isin(LEFT)]
    return {_mark(row) for row in frame[_ONCE[name]].itertuples(index=False)}
