"""The store's files: how one is written so that no reader sees half of it, and what its footer says.

A file is written under a hidden name that no reader's pattern matches, put to disk, and renamed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SUPERSEDES = b"poolscope.supersedes"
_PAGE_BYTES = 1 << 23  # texts are alike over megabytes; zstd finds that within a page
_LEVEL = 9


class VanishedError(OSError):
    """A listed file is gone: compaction merged it meanwhile; look again."""


class Footer(NamedTuple):
    """What a Parquet file says of itself: its columns, the files it replaces, its rows, and columns' least and greatest."""

    columns: frozenset[str]
    supersedes: frozenset[str]
    rows: int
    bounds: dict[str, tuple[Any, Any]]


def write_frame(target: Path, frame: pd.DataFrame, *, supersedes: Iterable[str] = ()) -> None:
    """Write a frame as a Parquet file."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), SUPERSEDES: _names(supersedes)})
    with renamed(target) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=_LEVEL)


def write_batches(target: Path, batches: pa.RecordBatchReader, *, supersedes: Iterable[str]) -> int:
    """Write record batches as one Parquet file, a batch in memory at a time; give the number of rows."""
    schema = batches.schema.with_metadata({SUPERSEDES: _names(supersedes)})
    rows = 0
    with (
        renamed(target) as temporary,
        pq.ParquetWriter(
            temporary, schema, compression="zstd", compression_level=_LEVEL, data_page_size=_PAGE_BYTES
        ) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))
            rows += batch.num_rows
    return rows


def write_bytes(target: Path, content: bytes) -> None:
    """Write a small file."""
    with renamed(target) as temporary:
        temporary.write_bytes(content)


def _names(supersedes: Iterable[str]) -> bytes:
    return json.dumps(sorted(supersedes)).encode()


@contextmanager
def renamed(target: Path) -> Iterator[Path]:
    """A hidden name to write to; afterwards the file is on disk under its own name, or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Put a file to disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def identity(file: Path) -> tuple[str, int, int]:
    """What stays the same as long as a file is the same: its name, time and size."""
    state = file.stat()
    return str(file), state.st_mtime_ns, state.st_size


_broken: set[tuple[str, int, int]] = set()
"""Files with a good footer whose data can't be read, found when reading failed."""


def note_broken(file: Path) -> None:
    """Remember that a file's data can't be read although its footer can."""
    _broken.add(identity(file))


def footer_of(file: Path) -> Footer:
    """A file's footer, read once as long as the file stays as it is.

    Raises
    ------
    VanishedError : the file is gone
    OSError, pyarrow.ArrowException : it is damaged or no Parquet file
    """
    try:
        known = identity(file)
        if known in _broken:
            raise OSError(f"{file}: damaged")
        return _read_footer(*known)
    except FileNotFoundError as error:
        raise VanishedError from error


@lru_cache(maxsize=16_384)  # three years of merged days and a busy one, some 16 MB
def _read_footer(path: str, changed: int, size: int) -> Footer:
    found = pq.read_metadata(path)
    told = (found.metadata or {}).get(SUPERSEDES, b"[]")
    names = _once(tuple(found.schema.to_arrow_schema().names))
    return Footer(names, frozenset(json.loads(told)), found.num_rows, _bounds(found))


@lru_cache(maxsize=256)
def _once(names: tuple[str, ...]) -> frozenset[str]:
    """The same set for the same columns: thousands of files have them in common."""
    return frozenset(names)


_BOUNDED = ("snapshot", "seen_at", "started_at")


def _bounds(found: pq.FileMetaData) -> dict[str, tuple[Any, Any]]:
    """The least and greatest value of the columns that readers choose files by, where all row groups tell them."""
    bounds: dict[str, tuple[Any, Any]] = {}
    groups = [found.row_group(place) for place in range(found.num_row_groups)]
    for place in range(found.num_columns):
        name = found.schema.column(place).path
        if name not in _BOUNDED:
            continue
        told = [group.column(place).statistics for group in groups]
        if told and all(statistics is not None and statistics.has_min_max for statistics in told):
            bounds[name] = (min(one.min for one in told), max(one.max for one in told))
    return bounds


def source(files: Iterable[Path]) -> str:
    """The SQL that reads files; blanks, quotes and what a pattern is made of may stand in the store's path."""
    listed = list(files)
    alike = len({footer_of(file).columns for file in listed}) == 1
    names = ", ".join(f"'{_literal(str(file))}'" for file in listed)
    by_name = "" if alike else "union_by_name = true, "
    return f"read_parquet([{names}], {by_name}hive_partitioning = false)"


def _literal(path: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path).replace("'", "''")
