"""A report as sections of notes, tables and charts, before it becomes HTML, Markdown, CSV, PDF or a mail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard.columns import Column
from dashboard.figures.theme import Scheme
from dashboard.reports.findings import Finding
from dashboard.reports.period import Period


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph; `quiet` for what explains."""

    text: str
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A frame with how its columns are written; `name` is that of its CSV file."""

    name: str
    caption: str
    frame: pd.DataFrame
    columns: Sequence[Column]


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure of `dashboard.figures` with the sentence about its data; `draw` gives it in a scheme."""

    name: str
    title: str
    caption: str
    draw: Callable[[Scheme], go.Figure]


Block = Note | Table | Chart


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Report:
    """All of it.

    headline : the numbers of the subject line, with their change
    numbers : the same for scripts
    """

    period: Period
    pool: str
    headline: str
    numbers: dict[str, Any]
    findings: Sequence[Finding]
    sections: Sequence[Section] = field(default_factory=list)
    source: str = ""

    @property
    def title(self) -> str:
        """The report's title."""
        return f"{self.pool}, {self.period.title}"

    @property
    def subject(self) -> str:
        """The mail's subject."""
        return f"{self.title}: {self.headline}"

    def tables(self) -> list[Table]:
        """The tables, in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Table)]

    def charts(self) -> list[Chart]:
        """The charts, in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Chart)]
