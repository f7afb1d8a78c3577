"""Random numbers in separate streams, so that scenarios can share them (common random numbers)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

BATCH = 4096


class Draws:
    """One stream of random numbers, drawn in batches because a single draw costs as much as a hundred."""

    def __init__(self, seed: np.random.SeedSequence) -> None:
        self.rng = np.random.default_rng(seed)
        self.uniform: Callable[[], float] = self._numbers(lambda: self.rng.random(BATCH)).__next__
        """The next number in [0, 1)."""
        self.exponential: Callable[[], float] = self._numbers(
            lambda: self.rng.standard_exponential(BATCH)
        ).__next__
        """The next exponential number of mean 1."""

    @staticmethod
    def _numbers(draw: Callable[[], np.ndarray]) -> Iterator[float]:
        while True:
            yield from draw().tolist()

    def choice(self, count: int) -> int:
        """One of `count` places; nothing is drawn where there is no choice."""
        return int(self.uniform() * count) if count > 1 else 0


class Streams:
    """The streams of a seed: ties between slots, delays, the phase of the cycle, losses, arrivals of supply, probes, the schedd's
    timer.
    """

    def __init__(self, seed: int) -> None:
        children = np.random.SeedSequence(seed).spawn(7)
        self.ties, self.delays, self.phase, self.losses, self.supply, self.probes, self.schedd = map(
            Draws, children
        )

    @classmethod
    def of(cls, seed: int) -> Streams:
        """The streams of a seed."""
        return cls(seed)
