"""A store's upkeep: merging a day's files, deleting old days, looking for damage, saying what there is."""

from __future__ import annotations

import fcntl
import gzip
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sim.errors import InputError, StoreError
from sim.schema import conform, describe
from sim.store.files import VanishedError, footer_of, source, write_batches, write_bytes
from sim.store.reading import TEXTS, TIMES, Reader, required_columns

FRAMES = (*TIMES, TEXTS)
EXPORTED = tuple(name for name in TIMES if name != "imports")
Change = Callable[[pd.DataFrame], pd.DataFrame]
_ORDER = (
    "name",
    "machine",
    "device_id",
    "schedd",
    "job_id",
    "submitter",
)  # equal things side by side pack well
_ABANDONED_S = 86_400.0  # a temporary file this old belongs to a writer that was killed
_SQL = {"str": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN", "time": "TIMESTAMPTZ"}
_BATCH = 131_072  # rows in memory at a time, and in a row group


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Say in one sentence that the folder can't be written."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: can't write ({error.strerror or error}); check space and permissions"
        ) from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One upkeep at a time."""
    if not path.is_dir():
        yield
        return
    with (path / ".compact.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def days(store: Reader) -> list[str]:
    """The days of which there is anything, in order."""
    return sorted({folder.name.removeprefix("day=") for folder in store.path.glob("frame=*/day=*")})


# --- compaction


def compact_day(store: Reader, day: str) -> int:
    """Merge a day's files (``2026-11-24``) into one per frame and one of records; give the number of files merged."""
    merged = 0
    with written(store.path), _alone(store.path):
        for name in FRAMES:
            merged += _compact_frame(store, name, day)
        _compact_records(store, day)
        _sweep(store)
    return merged


def _compact_frame(store: Reader, name: str, day: str) -> int:
    folder = store.path / f"frame={name}" / f"day={day}"
    for file in _superseded(folder):  # a compaction was killed before it had taken them away
        file.unlink(missing_ok=True)
    files = store.whole(store.listed(name, day), name)
    if len(files) < 2:
        return 0
    with store.connected(files) as connection:
        batches = connection.sql(_merging(name, files)).to_arrow_reader(_BATCH)
        target = folder / f"day-{uuid.uuid4().hex[:8]}.parquet"
        write_batches(target, batches, supersedes=[file.name for file in files])
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def _merging(name: str, files: list[Path]) -> str:
    """The SQL that merges files; columns of a newer version stay, those of this one are there with their types."""
    there = sorted(frozenset[str]().union(*(footer_of(file).columns for file in files)))
    if name == TEXTS:  # alike texts side by side pack well
        return f"SELECT key, any_value(ad) AS ad FROM {source(files)} GROUP BY key ORDER BY ad, key"  # noqa: S608
    columns, order = [], [column for column in _ORDER if column in there and "seen_at" in there]
    for column in describe(name):
        value = f'"{column.name}"' if column.name in there else "NULL"
        columns.append(f'CAST({value} AS {_SQL[column.dtype]}) AS "{column.name}"')
    known = {column.name for column in describe(name)}
    columns += [f'"{column}"' for column in there if column not in known]
    by = ", ".join(f'"{column}"' for column in [*order, TIMES[name]])
    return f"SELECT {', '.join(columns)} FROM {source(files)} ORDER BY {by}"  # noqa: S608


def _compact_records(store: Reader, day: str) -> None:
    """Merge a day's snapshot records into one file; those stay single whose day isn't this."""
    folder = store.path / "snapshots"
    target = folder / f"day-{day}.json.gz"
    single = {}
    for file in sorted(folder.glob("*.json")):
        single[file.stem] = file
    known = {name: record for name, record in store.records().items() if f"{record.taken_at:%Y-%m-%d}" == day}
    merging = [name for name in known if name in single]
    if len(merging) < 2 and not (target.exists() and merging):
        return
    last = next(reversed(known), None)
    lines = []
    for name, one in known.items():
        told = json.loads(one.text)
        if name != last:
            told.pop("cursors", None)  # where sources go on from: the day's last word is enough
        lines.append(json.dumps(told))
    write_bytes(target, gzip.compress("\n".join(lines).encode(), mtime=0))
    for name in merging:
        single[name].unlink(missing_ok=True)


def _superseded(folder: Path) -> list[Path]:
    """Files of a folder that a merged file replaces."""
    found = []
    for file in folder.glob("day-*.parquet"):
        try:
            found += [folder / replaced for replaced in footer_of(file).supersedes]
        except (OSError, pa.ArrowException):
            continue  # reported when it is read
    return [file for file in found if file.exists()]


def _sweep(store: Reader) -> None:
    """Delete what killed writers left: temporary files, and frames of snapshots that were never finished."""
    left = list(store.path.glob("**/.*.part"))
    for name in TIMES:
        all_of_it = set((store.path / f"frame={name}").glob("day=*/*.parquet"))
        left += all_of_it - set(store.listed(name))
    for file in left:
        try:
            if file.stat().st_mtime < time.time() - _ABANDONED_S:
                file.unlink(missing_ok=True)
        except FileNotFoundError:
            continue


# --- retention


def prune(
    store: Reader, *, keep_s: float | None = None, keep_bytes: int | None = None, now: datetime | None = None
) -> list[str]:
    """Delete whole days, oldest first: those older than `keep_s`, and until the store takes at most `keep_bytes`.

    The newest day always stays. Gives the days that were deleted.
    """
    known = days(store)
    at = now or datetime.now(UTC)
    doomed = []
    if keep_s is not None:
        last = f"{at - timedelta(seconds=keep_s):%Y-%m-%d}"
        doomed = [day for day in known[:-1] if day < last]
    if keep_bytes is not None:
        sizes = {day: _day_bytes(store, day) for day in known}
        total = sum(size for day, size in sizes.items() if day not in doomed)
        for day in known[:-1]:
            if total <= keep_bytes:
                break
            if day not in doomed:
                doomed.append(day)
                total -= sizes[day]
    with written(store.path), _alone(store.path):
        for day in doomed:
            _delete_day(store, day)
    return doomed


def _delete_day(store: Reader, day: str) -> None:
    """Delete a day's frames, then its records: a snapshot without record doesn't exist, one without frames is empty."""
    names = [name for name, record in store.records().items() if f"{record.taken_at:%Y-%m-%d}" == day]
    for folder in store.path.glob(f"frame=*/day={day}"):
        gone = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)  # at once out of every reader's pattern
        shutil.rmtree(gone)
    (store.path / "snapshots" / f"day-{day}.json.gz").unlink(missing_ok=True)
    for name in names:
        (store.path / "snapshots" / f"{name}.json").unlink(missing_ok=True)


def _day_bytes(store: Reader, day: str) -> int:
    return sum(_bytes(file) for file in store.path.glob(f"frame=*/day={day}/*"))


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


# --- what there is, and whether it is whole


def info(store: Reader) -> dict[str, Any]:
    """What a store holds: snapshots, their span, rows, files and bytes by frame, and bytes a day and slot."""
    records = list(store.records().values())
    frames = {}
    for name in FRAMES:
        files = list((store.path / f"frame={name}").glob("day=*/*.parquet"))
        if not files:
            continue
        kept = store.steady(lambda name=name: [(file, footer_of(file)) for file in store.files(name)])  # type: ignore[misc]
        frames[name] = {
            "rows": sum(footer.rows for _, footer in kept),
            "files": len(kept),
            "bytes": sum(_bytes(file) for file, _ in kept),
        }
    total = sum(_bytes(file) for file in store.path.rglob("*") if file.is_file())
    told: dict[str, Any] = {
        "path": str(store.path),
        "snapshots": len(records),
        "first": records[0].taken_at.isoformat() if records else None,
        "last": records[-1].taken_at.isoformat() if records else None,
        "days": len(days(store)),
        "bytes": total,
        "files": sum(1 for file in store.path.rglob("*") if file.is_file()),
        "frames": frames,
        "problems": list(store.problems),
    }
    slots = frames.get("slots", {}).get("rows", 0)
    if slots and records:
        taken = sum("slots" in record.rows or not record.rows for record in records) or len(records)
        told["slots"] = round(slots / taken, 1)
        told["bytes_per_slot_and_day"] = round(total / max(1, len(days(store))) / max(1.0, slots / taken), 1)
    return told


def verify(store: Reader) -> dict[str, Any]:
    """Read every file whole and compare it with the records.

    Gives files and rows that were read, and `problems`: damaged or foreign files, rows that their schema refuses,
    snapshots whose rows are fewer than their record says, ads whose text is lost. What a killed writer left behind
    (`leftovers`) is no problem.
    """
    found = Reader(store.path)
    problems: list[str] = []
    files = rows = 0
    keys: set[str] = set()
    counted: dict[str, dict[str, int]] = {}
    records = found.records()
    for name in FRAMES:
        for file in found.steady(lambda name=name: found.files(name)):  # type: ignore[misc]
            files += 1
            try:
                rows += _verify_file(file, name, keys, counted.setdefault(name, {}))
            except (OSError, pa.ArrowException, InputError, VanishedError) as error:
                problems.append(f"{file}: {' '.join(str(error).split())[:150]}")
    lost = keys - _all_keys(found)
    if lost:
        problems.append(f"{store.path}: {len(lost)} ads whose text is lost")
    for record in records.values():
        for name, n in record.rows.items():
            there = counted.get(name, {}).get(record.id, 0)
            if "snapshot" in required_columns(name) and there < n:
                problems.append(f"snapshot {record.id}: {there} of {n} rows of {name}")
    leftovers = len(list(store.path.glob("**/.*.part")))
    for name in TIMES:
        leftovers += len(
            set((store.path / f"frame={name}").glob("day=*/*.parquet")) - set(found.listed(name))
        )
    return {
        "clean": not (problems or found.problems),
        "files": files,
        "rows": rows,
        "snapshots": len(records),
        "problems": [*found.problems, *problems],
        "leftovers": leftovers,
    }


def _verify_file(file: Path, name: str, keys: set[str], counted: dict[str, int]) -> int:
    table = pq.read_table(file, partitioning=None)
    if name == TEXTS:
        return int(table.num_rows)
    frame = table.to_pandas()
    if "ad" in frame:
        keys.update(frame["ad"].dropna())
    conform(frame, name)
    if "snapshot" in frame:
        for snapshot, n in frame["snapshot"].value_counts().items():
            counted[str(snapshot)] = counted.get(str(snapshot), 0) + int(n)
    return len(frame)


def _all_keys(store: Reader) -> set[str]:
    files = store.files(TEXTS)
    return set(store.scan(files, columns=["key"])["key"]) if files else set()


# --- export


def export(
    store: Reader, out: Path, *, frames: Sequence[str], form: str,
    since: datetime | None = None, until: datetime | None = None, change: Change | None = None,
) -> list[Path]:  # fmt: skip
    """Write frames into a folder, a file each, in order of time.

    form : ``parquet``, ``csv`` or ``json`` (a record a line)
    change : of a frame before it is written
    """
    written_to = []
    out.mkdir(parents=True, exist_ok=True)
    for name in frames:
        frame = _exported(store, name, since, until)
        frame = change(frame) if change else frame
        target = out / f"{name}.{form}"
        match form:
            case "parquet":
                frame.to_parquet(target, index=False)
            case "csv":
                frame.to_csv(target, index=False)
            case _:
                frame.to_json(target, orient="records", lines=True, date_format="iso", date_unit="us")
        written_to.append(target)
    return written_to


def _exported(store: Reader, name: str, since: datetime | None, until: datetime | None) -> pd.DataFrame:
    frame = store.read(name, since=since, until=until)
    return frame.sort_values(TIMES[name], kind="stable", ignore_index=True)
