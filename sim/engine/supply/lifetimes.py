"""How long machines stay: Kaplan and Meier's estimate, with those that were there before and those still there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

ENOUGH = 5  # ends that a curve needs; with fewer a constant hazard says all there is


@dataclass(frozen=True)
class Lifetimes:
    """The share that stays longer than an age: steps of a curve, then a constant hazard.

    ages : where the curve falls [s]; survival : what is left there [1]
    hazard : ends per second beyond the last step, and everywhere where there are no steps [1/s]
    n, n_ended : stays, and those whose end was seen
    """

    n: int
    n_ended: int
    hazard: float
    ages: np.ndarray = field(default_factory=lambda: np.array([]), repr=False)
    survival: np.ndarray = field(default_factory=lambda: np.array([]), repr=False)

    @classmethod
    def fit(cls, entered: np.ndarray, left: np.ndarray, ended: np.ndarray) -> Lifetimes:
        """Fit ages of stays.

        The risk set at an age holds those that were watched at it: a machine that was there when the watch began counts
        from the age it then had (left truncation), one that is still there until the age it has (right censoring); Kaplan
        and Meier 1958; Klein and Moeschberger, Survival Analysis, 2003, §4.6. Beyond the last end, and everywhere where
        fewer than `ENOUGH` ended, the hazard is constant: ends over time watched.

        Parameters
        ----------
        entered, left : ages at which each was first and last watched [s]
        ended : whether it went then
        """
        entered, left = np.asarray(entered, dtype="float64"), np.asarray(left, dtype="float64")
        ended = np.asarray(ended, dtype=bool)
        exposure = float(np.sum(left - entered))
        count = int(ended.sum())
        hazard = count / exposure if exposure > 0 else 0.0
        if count < ENOUGH:
            return cls(len(left), count, hazard)
        ages, deaths = np.unique(left[ended], return_counts=True)
        at_risk = np.array([np.sum((entered < age) & (left >= age)) for age in ages])
        survival = np.cumprod(1 - deaths / np.maximum(at_risk, 1))
        return cls(len(left), count, hazard, ages, survival)

    def beyond(self, age_s: float) -> float:
        """The share that stays longer than an age [1]."""
        if not len(self.ages):
            return math.exp(-self.hazard * max(age_s, 0.0))
        place = int(np.searchsorted(self.ages, age_s, side="right"))
        left = 1.0 if place == 0 else float(self.survival[place - 1])
        over = age_s - float(self.ages[-1])
        return left * math.exp(-self.hazard * over) if over > 0 else left

    def residual(self, rng: np.random.Generator, age_s: float = 0.0) -> float:
        """Draw how much longer a machine of this age stays [s]; infinity where none was ever seen to go."""
        chance = 1 - float(rng.random())
        if self.hazard == 0:
            return math.inf
        now = self.beyond(age_s)
        if now <= 0:  # older than any that was seen: only the constant hazard is left
            return -math.log(chance) / self.hazard
        target = chance * now
        later = (
            np.flatnonzero((self.ages > age_s) & (self.survival <= target))
            if len(self.ages)
            else np.array([])
        )
        if len(later):
            return float(self.ages[int(later[0])]) - age_s
        last = max(age_s, float(self.ages[-1])) if len(self.ages) else age_s
        return last - age_s - math.log(target / self.beyond(last)) / self.hazard

    @property
    def median_s(self) -> float:
        """The age that half of them reach [s]; infinity where none was seen to go."""
        if self.hazard == 0:
            return math.inf
        fallen = np.flatnonzero(self.survival <= 0.5) if len(self.ages) else np.array([])
        if len(fallen):
            return float(self.ages[int(fallen[0])])
        last = float(self.ages[-1]) if len(self.ages) else 0.0
        return last + math.log(self.beyond(last) / 0.5) / self.hazard
