"""Concurrency limits: how many jobs of a kind may be matched at once (fact sheet §1.9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

NO_LIMIT = 2308032.0  # CONCURRENCY_LIMIT_DEFAULT of param_info.in


@lru_cache(maxsize=10_000)
def read_limits(text: str) -> tuple[tuple[str, float], ...]:
    """A job's ConcurrencyLimits as names and amounts; what is no amount counts as 1.

    Examples
    --------
    >>> read_limits("xsw_license:2, museum.db")
    (('xsw_license', 2.0), ('museum.db', 1.0))
    """
    found = []
    for part in text.lower().split(","):
        name, _, amount = part.strip().partition(":")
        if name.strip():
            try:
                value = float(amount)
            except ValueError:
                value = 1.0
            found.append((name.strip(), value if value > 0 else 1.0))
    return tuple(found)


class LimitLedger:
    """What is in use of each limit, counted from the claims at the start of a cycle and from its own matches.

    Parameters
    ----------
    caps : by name in lower case: that of NAME_LIMIT, and of ``name.`` for CONCURRENCY_LIMIT_DEFAULT_<name>
    default : CONCURRENCY_LIMIT_DEFAULT
    """

    def __init__(self, caps: Mapping[str, float], default: float = NO_LIMIT) -> None:
        self._caps = {name.lower(): cap for name, cap in caps.items()}
        self._default = default
        self._used: dict[str, float] = {}

    def count(self, claims: Iterable[str]) -> None:
        """Begin a cycle: what the limits of these claims use."""
        self._used = {}
        for text in claims:
            self.take(text)

    def take(self, text: str) -> None:
        """Note a match."""
        for name, amount in read_limits(text):
            self._used[name] = self._used.get(name, 0.0) + amount

    def permits(self, text: str) -> bool:
        """Whether one more job with these limits may be matched."""
        return all(self._used.get(name, 0.0) + amount <= self.cap(name) for name, amount in read_limits(text))

    def cap(self, name: str) -> float:
        """The cap of a limit: its own, else that of its group (what stands before its last dot), else the default."""
        own = self._caps.get(name)
        if own is None and "." in name:
            own = self._caps.get(name.rpartition(".")[0] + ".")
        return self._default if own is None else own
