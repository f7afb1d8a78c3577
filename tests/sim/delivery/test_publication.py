"""How long a pushed image takes to be seen, against an independent Monte Carlo and the pipeline's own rules."""

from __future__ import annotations

import numpy as np
import pytest

from sim.delivery.publication import DAY_S, STEPS, Pipeline, delays, deletions, expand


@pytest.mark.parametrize(
    ("wire_mb", "unpacked_mb", "minutes"),
    [(3000, 6300, (26, 40, 54, 62)), (300, 740, (21, 35, 49, 57))],
)
def test_quantiles_of_two_images(wire_mb: float, unpacked_mb: float, minutes: tuple[float, ...]) -> None:
    """p10, p50, p90 and p99 within 10 % of the reference's."""
    found = delays(wire_mb, unpacked_mb, Pipeline(), np.random.default_rng(1))
    assert [value / 60 for value in found.quantiles()] == pytest.approx(minutes, rel=0.10)


def test_the_answer_to_from_when() -> None:
    """Nobody sees it before the least that the steps need, everybody after their most; in between it grows."""
    found = delays(300, 740, Pipeline(), np.random.default_rng(1))
    least = 300 / 30 + 30 + 740 / 55 + 30 + 2 * 300 / 50 + 60
    assert found.visible(least - 1) == 0
    chances = [found.visible(minutes * 60) for minutes in (20, 30, 40, 50, 60, 75)]
    assert chances == sorted(chances)
    assert chances[-1] == 1
    assert set(found.means()) == set(STEPS)


@pytest.mark.parametrize(("wire_mb", "unpacked_mb"), [(3000, 6300), (300, 740)])
def test_the_mean_is_the_sum_of_the_steps_means(wire_mb: float, unpacked_mb: float) -> None:
    """Uniform waits count half; what sizes cost counts whole, copying once per level."""
    expected_s = (
        28 * 60 * (0.5 + 0.4)
        + wire_mb / 30
        + 30
        + unpacked_mb / 55
        + 30
        + 2 * (150 + wire_mb / 50)
        + 120
        + 60
    )
    found = delays(wire_mb, unpacked_mb, Pipeline(), np.random.default_rng(1))
    assert float(found.total_s.mean()) == pytest.approx(expected_s, rel=0.01)


def test_a_failed_pass_costs_a_pass() -> None:
    """Where all tries fail half of the time, one more pass is needed on average."""
    pipeline = Pipeline(fail=0.5)
    found = delays(300, 740, pipeline, np.random.default_rng(1))
    assert found.means()["retry"] == pytest.approx(pipeline.pass_s, rel=0.03)


def test_stuck_images_wait_for_days() -> None:
    found = delays(300, 740, Pipeline(stuck=0.05), np.random.default_rng(1))
    assert float((found.total_s > DAY_S).mean()) == pytest.approx(
        0.05 * 0.958, rel=0.1
    )  # P(4 d lognormal 0.8 > 1 d)


def test_a_wildcard_is_a_glob_over_what_the_registry_lists() -> None:
    assert expand("*", ["a", "b"], ["a"]) == ["a", "b"]
    assert expand("2.*", ["2.1", "3.0", "2.0"], []) == ["2.0", "2.1"]
    assert expand("latest", [], []) == ["latest"]


def test_links_stay_where_the_registry_lists_nothing() -> None:
    assert expand("2.*", [], ["2.0", "3.0"], listing_failed=True) == ["2.0"]


def test_deletion_waits_two_days_and_takes_fifty_at_a_time() -> None:
    """A backlog of 120 leaves over three passes; nothing goes before two days."""
    pipeline = Pipeline()
    gone = deletions([0.0] * 120, pipeline)
    assert min(gone) >= 2 * DAY_S
    assert min(gone) < 2 * DAY_S + pipeline.pass_s
    assert sorted({gone.count(moment) for moment in gone}) == [20, 50]
    assert max(gone) - min(gone) == pytest.approx(2 * pipeline.pass_s)
