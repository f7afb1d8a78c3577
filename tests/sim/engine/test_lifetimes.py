"""Lifetimes with censoring and truncation, and the machines drawn from them."""

import math

import numpy as np
import pytest

from sim.engine.supply.lifetimes import Lifetimes
from sim.engine.supply.renewal import draw_stays, fit_groups
from sim.engine.supply.stays import Stay

# Freireich et al. 1963, remission of leukaemia under 6-MP [weeks]: the textbooks' example of Kaplan and Meier
TIMES = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
ENDED = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def stay(name: str, up: float, down: float, **changes: object) -> Stay:
    ending = "open" if math.isinf(down) else "quit"
    whole = Stay(name, name, "here", "[ Cpus = 8 ]", 8, 1024, 1024, up, down, math.inf, math.inf, ending, up)
    return whole._replace(**changes)  # type: ignore[arg-type]


def test_kaplan_and_meier_as_in_the_textbook() -> None:
    """0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448 (Klein and Moeschberger, table 4.1B)."""
    curve = Lifetimes.fit(np.zeros(21), np.array(TIMES), np.array(ENDED, dtype=bool))
    assert curve.ages.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert curve.survival.round(3).tolist() == [0.857, 0.807, 0.753, 0.69, 0.627, 0.538, 0.448]
    assert curve.median_s == 23
    assert curve.beyond(12) == pytest.approx(0.753, abs=0.001)


def test_machines_that_were_there_before_count_from_the_age_they_had() -> None:
    """Exponential lives watched for a while only: counting the old ones from birth would make them too long."""
    rng = np.random.default_rng(1)
    born = rng.uniform(-20_000, 10_000, 4000)
    life = rng.exponential(3000, 4000)
    there = born + life > 0  # the others were gone before the watch began
    entered = np.maximum(0 - born, 0)[there]
    left = np.minimum(life, 10_000 - born)[there]
    ended = (born + life < 10_000)[there]
    curve = Lifetimes.fit(entered, left, ended)
    assert curve.median_s == pytest.approx(3000 * math.log(2), rel=0.1)
    assert curve.hazard == pytest.approx(1 / 3000, rel=0.1)
    assert Lifetimes.fit(np.zeros(there.sum()), left, ended).median_s > 1.3 * 3000 * math.log(2)


def test_residuals_follow_the_curve() -> None:
    """What is left at an age has the curve's own conditional distribution."""
    life = np.random.default_rng(2).exponential(3000, 3000)
    curve = Lifetimes.fit(np.zeros(3000), life, np.ones(3000, dtype=bool))
    rng = np.random.default_rng(3)
    left = np.array([curve.residual(rng, 2000.0) for _ in range(4000)])
    assert left.mean() == pytest.approx((life[life > 2000] - 2000).mean(), rel=0.06)


def test_few_ends_make_a_constant_hazard_and_none_make_for_ever() -> None:
    """Two ends in 10,000 watched seconds: one in 5,000; without an end a machine stays."""
    few = Lifetimes.fit(np.zeros(4), np.full(4, 2500.0), np.array([True, True, False, False]))
    assert few.hazard == 2 / 10_000
    assert few.median_s == pytest.approx(5000 * math.log(2))
    never = Lifetimes.fit(np.zeros(2), np.full(2, 1000.0), np.zeros(2, dtype=bool))
    assert never.residual(np.random.default_rng(1)) == math.inf


def test_renewal_keeps_the_number_of_machines() -> None:
    """In a pool that was in balance, the drawn one is: arrivals times mean life = machines (Little's law)."""
    rng = np.random.default_rng(4)
    ups = np.sort(rng.uniform(-20_000, 100_000, 600))  # one in 200 s
    watched = []
    for number, (up, life) in enumerate(zip(ups, rng.exponential(4000, 600), strict=True)):
        down = up + life
        if down > 0:
            watched.append(stay(f"g{number}@h", up, down if down < 100_000 else math.inf))
    groups = fit_groups(watched, start=0, end=100_000)
    assert len(groups) == 1
    counts = []
    for seed in range(20):
        drawn = draw_stays(
            groups, np.random.default_rng(seed), present_at=100_000, start=100_000, length_s=50_000
        )
        assert len({each.name for each in drawn}) == len(drawn)
        counts += [
            sum(each.up <= 100_000 + t < each.down for each in drawn) for t in range(10_000, 50_000, 10_000)
        ]
    assert np.mean(counts) == pytest.approx(20, abs=2)


def test_a_glideins_own_windows_move_with_it() -> None:
    """One that arrives retires as long after its start as those that were seen, and is gone at its ToDie."""
    seen = [
        stay(f"g{n}@h", 100.0 * n, 100.0 * n + 5000, retire=100.0 * n + 3000, die=100.0 * n + 5000)
        for n in range(1, 40)
    ]
    drawn = draw_stays(
        fit_groups(seen, start=0, end=10_000),
        np.random.default_rng(5),
        present_at=10_000,
        start=10_000,
        length_s=20_000,
    )
    came = [each for each in drawn if each.up > 10_000]
    assert came
    assert all(
        each.retire - each.up == pytest.approx(3000) and each.down - each.up <= 5000.01 for each in came
    )


def test_a_machine_that_is_there_has_only_the_rest_of_its_life() -> None:
    """Where all live about 5000 s, one that is 4000 s old has about 1000 s left; who is younger has more."""
    rng = np.random.default_rng(6)
    gone = [stay(f"g{n}@h", 100.0 * n, 100.0 * n + rng.normal(5000, 100)) for n in range(1, 80)]
    there = [stay("old@h", 16_000.0, math.inf), stay("young@h", 19_500.0, math.inf)]
    groups = fit_groups([*gone, *there], start=0, end=20_000)
    for seed in range(10):
        drawn = {
            each.name: each
            for each in draw_stays(
                groups, np.random.default_rng(seed), present_at=20_000, start=20_000, length_s=1
            )
        }
        assert drawn["old@h"].down == pytest.approx(21_000, abs=400)
        assert drawn["young@h"].down == pytest.approx(24_500, abs=400)
        assert math.isinf(drawn["old@h"].up)
