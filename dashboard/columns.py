"""How a column of a table is written: shared by pages and reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: header, how a value is written, whether it is a number.

    behind : the column that holds how many jobs stand behind a value; a value of few is greyed
    """

    name: str
    header: str
    write: Callable[[Any], Any] = str
    number: bool = False
    behind: str = ""
