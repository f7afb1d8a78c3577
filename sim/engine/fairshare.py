"""Fair share as HTCondor's accountant and matchmaker compute it, as pure functions (fact sheet §1.3, §1.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LEAST_PRIORITY = 0.5


def decayed(priority: float, usage: float, elapsed_s: float, halflife_s: float) -> float:
    """The real priority after `elapsed_s` of constant use of `usage` weighted cores.

    P ← max(0.5, βP + (1−β)U) with β = 0.5^(elapsed/half-life) (`Accountant.cpp`).

    Examples
    --------
    >>> decayed(0.5, 100, 86400, 86400)
    50.25
    """
    beta: float = 0.5 ** (elapsed_s / halflife_s)
    return max(LEAST_PRIORITY, beta * priority + (1 - beta) * usage)


def shares(effective: Sequence[float]) -> list[float]:
    """The share of each submitter present: inverse to its effective priority.

    Examples
    --------
    >>> shares([500.0, 500.0, 1000.0])
    [0.4, 0.4, 0.2]
    """
    inverse = [1 / priority for priority in effective]
    total = sum(inverse)
    return [value / total for value in inverse]


def limits(effective: Mapping[str, float], usage: Mapping[str, float], weight: float) -> dict[str, float]:
    """What each submitter may take in this spin [weighted cores]: its share of the pool's weight less its use."""
    parts = shares(list(effective.values()))
    return {
        name: left if (left := part * weight - usage[name]) > 0 else 0.0
        for name, part in zip(effective, parts, strict=True)
    }
