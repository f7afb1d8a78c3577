"""Run times: what a fit finds again, with censoring and with a tail."""

import numpy as np
import pytest

from sim.workload.runtimes import RunTimes, distance, fit_run_times


def test_a_fit_finds_what_was_drawn() -> None:
    """Median and spread of a lognormal come back from 20,000 draws."""
    times = np.random.default_rng(1).lognormal(7, 0.8, 20_000)
    model = fit_run_times(times, np.ones(20_000, dtype=bool))
    assert model.median_s == pytest.approx(np.exp(7), rel=0.02)
    assert model.spread == pytest.approx(0.8, rel=0.02)
    assert model.tail is None
    assert distance(model, times) < 0.01


def test_what_is_cut_short_is_not_taken_for_short() -> None:
    """With half of the times cut at the median, the fit is that of the whole times; ignoring the cut, it is not."""
    times = np.random.default_rng(2).lognormal(7, 0.8, 20_000)
    cut = np.minimum(times, np.exp(7))
    ended = times <= np.exp(7)
    model = fit_run_times(cut, ended)
    assert model.median_s == pytest.approx(np.exp(7), rel=0.03)
    assert model.spread == pytest.approx(0.8, rel=0.04)
    assert fit_run_times(cut[ended], ended[ended]).median_s < 0.7 * np.exp(7)


def test_a_heavy_tail_is_found() -> None:
    """Draws from a model with a Pareto tail give its exponent back, and 5 % of them lie in it."""
    drawn = RunTimes(600, 1.0, tail=0.9).draw(np.random.default_rng(3), 50_000)
    assert (drawn > RunTimes(600, 1.0).tail_from_s).mean() == pytest.approx(0.05, abs=0.003)
    model = fit_run_times(drawn, np.ones(len(drawn), dtype=bool))
    assert model.tail == pytest.approx(0.9, rel=0.25)
    assert distance(RunTimes(600, 1.0, tail=0.9), drawn) < 0.01


def test_what_is_left_of_a_run() -> None:
    """The residual of a run of a given age is the time beyond it of runs that get so old."""
    model = RunTimes(600, 1.0, longest_s=36_000)
    rng = np.random.default_rng(4)
    left = model.residual(rng, np.full(20_000, 1200.0))
    whole = model.draw(rng, 200_000)
    assert left.mean() == pytest.approx((whole[whole > 1200] - 1200).mean(), rel=0.05)
    assert model.residual(rng, np.array([40_000.0])).tolist() == [
        40_000.0
    ]  # older than any can be: as long again


def test_longest_is_kept() -> None:
    """No run is longer than the longest."""
    assert RunTimes(600, 2.0, tail=0.5, longest_s=3600).draw(np.random.default_rng(5), 10_000).max() == 3600
