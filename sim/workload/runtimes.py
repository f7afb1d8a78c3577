"""How long jobs run: a lognormal body with a Pareto tail, fitted to times of which some were cut short."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

TAIL_FROM = 0.95  # the share of the lognormal above which a tail begins
_Z95 = 1.6448536269514722  # its quantile
_SQRT2 = math.sqrt(2.0)


@dataclass(frozen=True)
class RunTimes:
    """Run times: median [s], spread of the logarithm, exponent of the tail (none: no tail), the longest possible [s]."""

    median_s: float
    spread: float
    tail: float | None = None
    longest_s: float = math.inf

    @property
    def tail_from_s(self) -> float:
        """Where the tail begins [s]."""
        return self.median_s * math.exp(_Z95 * self.spread)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw run times [s]."""
        found = self.median_s * np.exp(self.spread * rng.standard_normal(count))
        beyond = rng.random(
            count
        )  # drawn always, so that with and without a tail share the rest of the stream
        if self.tail is not None:
            far = found > self.tail_from_s
            found[far] = self.tail_from_s * (1 - beyond[far]) ** (-1 / self.tail)
        return np.minimum(found, self.longest_s)

    def residual(self, rng: np.random.Generator, age_s: np.ndarray) -> np.ndarray:
        """Draw how much longer jobs run that have run for `age_s` already [s], by rejection; at worst as long again."""
        ages = np.asarray(age_s, dtype="float64")
        whole = self.draw(rng, len(ages))
        for _ in range(200):
            short = whole <= ages
            if not short.any():
                break
            whole[short] = self.draw(rng, int(short.sum()))
        return np.where(whole > ages, whole - ages, ages)

    def cdf(self, times_s: np.ndarray) -> np.ndarray:
        """The share of jobs that run at most so long [1]."""
        times = np.asarray(times_s, dtype="float64")
        with np.errstate(divide="ignore"):
            z = (np.log(times) - math.log(self.median_s)) / max(self.spread, 1e-9)
        share = 0.5 * _erfc(-z / _SQRT2)
        if self.tail is not None:
            far = times > self.tail_from_s
            with np.errstate(divide="ignore", invalid="ignore"):
                beyond = 1 - (1 - TAIL_FROM) * (times / self.tail_from_s) ** -self.tail
            share = np.where(far, beyond, share)
        return np.where(times >= self.longest_s, 1.0, share)


def fit_run_times(times_s: np.ndarray, ended: np.ndarray) -> RunTimes:
    """Fit run times, those that were cut short or still run counted as longer than seen.

    The body is the lognormal of greatest likelihood, by expectation and maximisation over the censored normal of the
    logarithms (Dempster, Laird and Rubin 1977). The tail's exponent is Hill's estimate (Hill 1975) over the times above the
    body's 95th percentile, where at least ten ended there; without them the lognormal stands alone.

    Parameters
    ----------
    times_s : run times [s], all above 0
    ended : False where a job was still running
    """
    times, ended = np.asarray(times_s, dtype="float64"), np.asarray(ended, dtype=bool)
    logs = np.log(np.maximum(times, 1e-3))
    whole = logs[ended] if ended.any() else logs
    mean, spread = float(whole.mean()), float(whole.std())
    for _ in range(200 if (~ended).any() and spread > 0 else 0):
        a = (logs[~ended] - mean) / spread
        hazard = _hazard(a)
        expected = mean + spread * hazard
        second = spread**2 * (1 - hazard * (hazard - a)) + expected**2
        new_mean = float((logs[ended].sum() + expected.sum()) / len(logs))
        variance = float(((logs[ended] ** 2).sum() + second.sum()) / len(logs)) - new_mean**2
        moved = abs(new_mean - mean) + abs(math.sqrt(max(variance, 0.0)) - spread)
        mean, spread = new_mean, math.sqrt(max(variance, 0.0))
        if moved < 1e-9 or spread == 0:
            break
    body = RunTimes(math.exp(mean), spread)
    far = times[ended & (times > body.tail_from_s)]
    tail = None
    if len(far) >= 10:
        hill = float(np.log(far / body.tail_from_s).mean())
        exponent = 1 / hill if hill > 0 else math.inf
        # a lognormal's own tail seen through Hill's eyes at the same place; only a heavier one is worth its own parameter
        tail = exponent if exponent < _lognormal_hill(spread) * 0.8 else None
    return RunTimes(body.median_s, body.spread, tail)


def distance(model: RunTimes, times_s: np.ndarray) -> float:
    """Kolmogorov's distance between the model and times that all ended [1]."""
    times = np.sort(np.asarray(times_s, dtype="float64"))
    if not len(times):
        return math.nan
    share = model.cdf(np.maximum(times, 1e-3))
    steps = np.arange(len(times) + 1) / len(times)
    return float(max(np.max(steps[1:] - share), np.max(share - steps[:-1])))


def _lognormal_hill(spread: float) -> float:
    """What Hill's estimate tends to above the 95th percentile of a lognormal: 1 / E[log excess]."""
    mean_excess = spread * (math.exp(-_Z95 * _Z95 / 2) / math.sqrt(2 * math.pi) / (1 - TAIL_FROM) - _Z95)
    return 1 / mean_excess if mean_excess > 0 else math.inf


def _hazard(z: np.ndarray) -> np.ndarray:
    """The normal distribution's hazard rate (the inverse Mills ratio)."""
    tail = 0.5 * _erfc(z / _SQRT2)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    # far out both vanish; there the hazard is z + 1/z
    return np.where(tail > 1e-300, density / np.maximum(tail, 1e-300), z + 1 / np.where(z == 0, 1.0, z))


def _erfc(values: np.ndarray) -> np.ndarray:
    return np.array([math.erfc(value) for value in np.asarray(values, dtype="float64")], dtype="float64")
