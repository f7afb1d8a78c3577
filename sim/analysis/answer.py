"""The parts of an answer; counts are GPUs unless their name says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Counts:
    """GPUs that a job could have: free now, if the machines were drained, seen in the window (None where unknown)."""

    now: int
    drained: int
    seen: int | None


@dataclass(frozen=True)
class Clause:
    """One conjunct of the expression: what it alone leaves, what dropping it alone regains, the next looser value."""

    text: str
    column: int
    gpus: int
    gained_if_dropped: int
    next_value: str | None
    gained_at_next: int


@dataclass(frozen=True)
class Lint:
    """Something the author should know: rule id, what is wrong, what to write instead."""

    rule: str
    message: str
    suggestion: str


@dataclass(frozen=True)
class Rung:
    """One step of a ladder of strictness; waits are missing until a simulation has given them [s]."""

    rung: str
    gpus: int
    now: int
    p50_s: float | None = None
    p90_s: float | None = None


@dataclass(frozen=True)
class Answer:
    """What an expression costs in a pool.

    verdict : impossible | blocked | busy | outranked | free
    machines : names of the machines that could run it if drained
    by_model : frame with family, now, drained, seen
    """

    expression: str
    verdict: str
    sentence: str
    machines: tuple[str, ...]
    gpus: Counts
    by_model: pd.DataFrame
    clauses: tuple[Clause, ...]
    lints: tuple[Lint, ...]
    ladder: tuple[Rung, ...]
    slots: tuple[str, ...] = ()
