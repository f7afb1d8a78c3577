"""The frames that cross package boundaries: one CSV table per frame, and `conform`, which holds a frame to it."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources
from typing import Any, NamedTuple, cast

import pandas as pd

from sim.errors import FrameError

DTYPES = {
    "str": "str",
    "int": "Int64",
    "float": "float64",
    "bool": "boolean",
    "time": "datetime64[us, UTC]",
}


class Column(NamedTuple):
    """A column of a frame: its kind (a key of `DTYPES`), unit and ClassAd source."""

    name: str
    dtype: str
    unit: str
    required: bool
    source: str
    meaning: str


@cache
def frames() -> tuple[str, ...]:
    """The names of all frames.

    Examples
    --------
    >>> frames()
    ('attempts', 'containers', 'cvmfs', 'cycles', 'demand', 'devices', 'imports', 'jobs', 'priorities', 'repositories', 'sessions', 'settings', 'slots', 'submitters', 'supply', 'waits')
    """
    folder = resources.files(__name__)
    return tuple(
        sorted(entry.name.removesuffix(".csv") for entry in folder.iterdir() if entry.name.endswith(".csv"))
    )


@cache
def describe(name: str) -> tuple[Column, ...]:
    """The columns of the frame `name`, in order; FrameError for an unknown frame."""
    if name not in frames():
        raise FrameError(f"no frame is called {name!r}; there are {', '.join(frames())}")
    text = (resources.files(__name__) / f"{name}.csv").read_text(encoding="utf-8")
    return tuple(
        Column(
            row["column"], row["dtype"], row["unit"], row["required"] == "yes", row["source"], row["meaning"]
        )
        for row in csv.DictReader(text.splitlines())
    )


def conform(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Give `frame` the columns, order and dtypes of its schema.

    Optional columns that are missing are added as missing values, columns that the schema doesn't know are dropped
    (older and newer stores stay readable). Times become UTC with microseconds.

    Raises
    ------
    FrameError : a required column is missing or holds missing values, or a value has the wrong type
    """
    columns = describe(name)
    if _conforms(frame, name):
        return frame.copy(deep=False)
    absent = [column.name for column in columns if column.required and column.name not in frame]
    if absent:
        raise FrameError(f"frame {name!r} lacks the column{'s' * (len(absent) > 1)} {', '.join(absent)}")
    held = {column.name: _column(frame, column, name) for column in columns}
    return pd.DataFrame(held, index=pd.RangeIndex(len(frame)))


@cache
def _form(name: str) -> tuple[list[str], list[Any], list[str]]:
    columns = describe(name)
    kinds = [pd.Series([], dtype=cast("Any", DTYPES[column.dtype])).dtype for column in columns]
    return [column.name for column in columns], kinds, [column.name for column in columns if column.required]


def _conforms(frame: pd.DataFrame, name: str) -> bool:
    """Whether a frame is what its schema says already: most are, and are looked at several times on their way."""
    names, kinds, required = _form(name)
    index = frame.index
    return (
        isinstance(index, pd.RangeIndex)
        and index.start == 0
        and index.step == 1
        and list(frame.columns) == names
        and frame.dtypes.tolist() == kinds
        and not any(frame[column].isna().any() for column in required)
    )


def empty(name: str) -> pd.DataFrame:
    """The frame `name` without rows."""
    return conform(pd.DataFrame({column.name: [] for column in describe(name)}), name)


def _column(frame: pd.DataFrame, column: Column, name: str) -> pd.Series:
    dtype: Any = DTYPES[column.dtype]
    if column.name not in frame:
        return pd.Series([None] * len(frame), dtype=dtype)
    values = frame[column.name].reset_index(drop=True)
    try:
        if column.dtype == "time":
            held = pd.to_datetime(values, utc=True).astype(dtype)
        elif column.dtype == "int" and values.dtype == object:
            held = pd.to_numeric(values).astype(dtype)
        else:
            held = values.astype(dtype)
    except (TypeError, ValueError) as error:
        raise FrameError(
            f"frame {name!r}, column {column.name!r}: expected {column.dtype}, found {values.dtype} ({error})"
        ) from error
    if column.required and held.isna().any():
        row = int(held.isna().to_numpy().argmax())
        raise FrameError(f"frame {name!r}, row {row}: required column {column.name!r} is missing a value")
    return held
