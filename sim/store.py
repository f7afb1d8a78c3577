"""What was collected, kept: a folder of Parquet files, one per frame, day and snapshot, read with DuckDB (design §7).

```
STORE/frame=slots/day=2026-11-24/20261124T120000Z-1a2b.parquet
STORE/snapshots/20261124T120000Z-1a2b.json        written last: without it the snapshot doesn't exist
```

A file is written under a name that no reader's pattern matches and then renamed, so readers never see half a file and
never block a writer; a killed writer loses the snapshot it was writing. Slot and job ads repeat from snapshot to
snapshot: their texts are kept once in `ad_texts` files, and frames hold a short key. `compact` merges a day's files.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sim.errors import StoreError
from sim.schema import conform, empty, frames

TEXTS = "ad_texts"
_TIMES = {"slots": "seen_at", "devices": "seen_at", "jobs": "seen_at", "attempts": "started_at", "cycles": "started_at",
          "priorities": "seen_at"}  # fmt: skip
_KEYS = {"attempts": ["schedd", "job_id", "started_at"], "cycles": ["negotiator", "started_at"]}


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

    `problems` lists files that were skipped because they can't be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.problems: list[str] = []

    # --- writing

    def append(self, snapshot: Snapshot) -> None:
        """Add a snapshot; all of it or nothing.

        Raises
        ------
        StoreError : the folder can't be written
        """
        written: list[Path] = []
        try:
            for name, frame in snapshot.frames.items():
                held = conform(frame, name)
                if len(held):
                    written += self._write(name, self._taken_out(name, held, snapshot), snapshot)
            record = {"id": snapshot.id, "taken_at": snapshot.taken_at.isoformat(), **snapshot.meta}
            folder = self.path / "snapshots"
            folder.mkdir(parents=True, exist_ok=True)
            _replace(folder / f"{snapshot.id}.json", json.dumps(record, indent=1).encode())
        except OSError as error:
            for path in written:
                path.unlink(missing_ok=True)
            raise StoreError(
                f"{self.path}: can't write ({error.strerror or error}); check space and permissions"
            ) from error

    def _taken_out(self, name: str, frame: pd.DataFrame, snapshot: Snapshot) -> pd.DataFrame:
        """The frame with keys instead of ad texts; texts that are new go into a file of their own."""
        if "ad" not in frame:
            return frame
        keys = frame["ad"].map(_key)
        texts = dict(zip(keys, frame["ad"], strict=True))
        new = {key: text for key, text in texts.items() if key not in self._texts}
        if new:
            self._write(
                TEXTS, pd.DataFrame({"key": list(new), "ad": list(new.values())}), snapshot, suffix=f"-{name}"
            )
            self._texts.update(new)
        return frame.assign(ad=keys)

    def _write(self, name: str, frame: pd.DataFrame, snapshot: Snapshot, suffix: str = "") -> list[Path]:
        folder = self.path / f"frame={name}" / f"day={snapshot.taken_at:%Y-%m-%d}"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{snapshot.id}{suffix}.parquet"
        _write_parquet(target, frame)
        return [target]

    def compact(self, day: str) -> int:
        """Merge a day's files (``2026-11-24``) into one per frame; give the number of files merged."""
        merged = 0
        for folder in sorted(self.path.glob(f"frame=*/day={day}")):
            name = folder.parent.name.removeprefix("frame=")
            files = self._readable(sorted(folder.glob("*.parquet")))
            if len(files) < 2:
                continue
            frame = self._scan(files)
            order = [_TIMES[name]] if name in _TIMES else list(frame.columns[:1])
            by = [
                column
                for column in ("name", "machine", "job_id", "submitter")
                if column in frame and name in {"slots", "devices", "jobs", "priorities"}
            ]
            _write_parquet(
                folder / f"day-{uuid.uuid4().hex[:8]}.parquet",
                frame.sort_values([*by, *order], ignore_index=True),
            )
            for file in files:
                file.unlink()
            merged += len(files)
        return merged

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
            except (OSError, ValueError, KeyError):
                self._problem(file)
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
        files = self._readable(sorted((self.path / f"frame={frame}").glob("day=*/*.parquet")))
        if not files:
            found = empty(frame)
            return found if columns is None else found[list(columns)]
        conditions, values = self._conditions(frame, since, until, snapshot)
        found = self._scan(files, conditions, values, columns)
        if "ad" in found:
            found["ad"] = found["ad"].map(self._texts)
            found = found[found["ad"].notna()]
        return conform(found, frame) if columns is None else found

    def jobs(self) -> pd.DataFrame:
        """The last that is known of each job; a job that has left the queue stays as it left."""
        everything = self.read("jobs")
        final = everything["status"].isin(["completed", "removed"])
        order = everything.assign(_final=final).sort_values(["_final", "seen_at"], kind="stable")
        last = order.drop_duplicates(["schedd", "job_id"], keep="last").drop(columns="_final")
        return conform(last.sort_values(["submitted_at", "schedd", "job_id"]), "jobs")

    def attempts(self) -> pd.DataFrame:
        """The attempts, each once."""
        return self._distinct("attempts")

    def cycles(self) -> pd.DataFrame:
        """The negotiation cycles, each once."""
        return self._distinct("cycles")

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Run SQL over the frames, each a view of its name."""
        with duckdb.connect() as connection:
            for name in frames():
                if name == "waits":
                    continue
                files = self._readable(sorted((self.path / f"frame={name}").glob("day=*/*.parquet")))
                if files:
                    listed = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
                    connection.execute(
                        f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{listed}], union_by_name = true)"
                    )  # noqa: S608
                else:
                    connection.register(name, empty(name))
            return connection.execute(sql, dict(parameters or {})).df()

    def _distinct(self, name: str) -> pd.DataFrame:
        keys = _KEYS[name]
        return conform(self.read(name).drop_duplicates(keys, keep="last").sort_values(keys), name)

    def _conditions(
        self, frame: str, since: datetime | None, until: datetime | None, snapshot: str | None
    ) -> tuple[list[str], dict[str, Any]]:
        column = _TIMES[frame]
        conditions, values = [], {}
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
        wanted = (
            ", ".join(f'"{column}"' for column in columns)
            if columns is not None
            else "* EXCLUDE (day, frame)"
        )
        where = " AND ".join(conditions) or "true"
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            sql = f"SELECT {wanted} FROM read_parquet($files, union_by_name = true, hive_partitioning = true) WHERE {where}"  # noqa: S608
            try:
                return connection.execute(
                    sql, {"files": [str(file) for file in files], **(values or {})}
                ).df()
            except duckdb.Error as error:
                raise StoreError(
                    f"{self.path}: can't be read ({str(error).splitlines()[0][:150]})"
                ) from error

    def _readable(self, files: list[Path]) -> list[Path]:
        """The files that are whole Parquet files; others are reported and skipped."""
        kept = []
        for file in files:
            try:
                with file.open("rb") as stream:
                    head = stream.read(4)
                    stream.seek(-4, os.SEEK_END)
                    if head != b"PAR1" or stream.read(4) != b"PAR1":
                        raise OSError
                pq.read_metadata(file)
                kept.append(file)
            except (OSError, pa.ArrowException):
                self._problem(file)
        return kept

    def _problem(self, file: Path) -> None:
        text = f"{file}: damaged or foreign, skipped"
        if text not in self.problems:
            self.problems.append(text)

    @cached_property
    def _texts(self) -> dict[str, str]:
        files = self._readable(sorted((self.path / f"frame={TEXTS}").glob("day=*/*.parquet")))
        if not files:
            return {}
        held = self._scan(files, columns=["key", "ad"])
        return dict(zip(held["key"], held["ad"], strict=True))


def _key(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _write_parquet(target: Path, frame: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
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
