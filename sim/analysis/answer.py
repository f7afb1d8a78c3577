"""The parts of an answer; counts are GPUs unless their name says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True)
class Counts:
    """GPUs that a job could have: free now, if the machines were drained, seen in the window (None where unknown)."""

    now: int
    drained: int
    seen: int | None


@dataclass(frozen=True)
class Clause:
    """One conjunct: what it alone leaves, what dropping it alone regains, the next looser value that gains.

    where : requirements, or require_gpus for a clause on each device
    """

    text: str
    column: int
    gpus: int
    gained_if_dropped: int
    next_value: str | None
    gained_at_next: int
    where: str = "requirements"


@dataclass(frozen=True)
class Pair:
    """Two clauses that only together exclude these GPUs: dropping one of them gains less."""

    first: str
    second: str
    gained: int


@dataclass(frozen=True)
class Lint:
    """Something the author should know: rule id, what is wrong, what to write instead."""

    rule: str
    message: str
    suggestion: str


@dataclass(frozen=True)
class Rewrite:
    """The job written otherwise: what changes, the whole of it, what it gains and what it gives up."""

    text: str
    replaces: str
    gained: int
    given_up: str


@dataclass(frozen=True)
class Rung:
    """One step of a ladder of strictness; waits are missing until a simulation has given them [s].

    share : of the ladder's loosest rung
    """

    rung: str
    gpus: int
    now: int
    p50_s: float | None = None
    p90_s: float | None = None
    seen: int | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Ahead:
    """Queued jobs that come first: who (a class of requests, or a submitter if asked), how many, and their GPUs."""

    who: str
    jobs: int
    gpus: int


@dataclass(frozen=True)
class Answer:
    """What an expression costs in a pool.

    verdict : impossible | blocked | busy | outranked | free
    machines : names of the machines that could run it if drained
    hosts : machines that match now, if drained, and were seen in the window
    states : of the GPUs that match if drained or are refused: free, claimed, draining, no_room, refused, retiring
    by_model : frame with family, now, drained, seen
    blocked_by : of a blocked job: policy (START), retirement, quota, limit, or gone (no such machine is there now)
    ladders : capability (the same as `ladder`), memory, gpus, runtime, model, site, combined
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
    hosts: Counts = Counts(0, 0, None)
    states: Mapping[str, int] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()
    ladders: Mapping[str, tuple[Rung, ...]] = field(default_factory=dict)
    ahead: tuple[Ahead, ...] = ()
    blocked_by: str = ""
