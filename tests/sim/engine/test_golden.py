"""The engine with its extras off gives the waits that seven other engines agree on, to every printed digit.

The figures are the golden numbers of an independent comparison of simulators on the workload of `benchmarks/workload.py`:
three separately written negotiators (Python, compiled, C++) and four event-driven ones gave the same.
"""

import statistics

import pytest

from benchmarks import plain
from benchmarks.workload import tasks

GOLDEN = {
    (0.90, 10_000): (29.92, 29.99, 29.77, 57.07, 59.98),
    (0.90, 100_000): (30.04, 30.08, 29.97, 57.04, 126.95),
    (1.30, 10_000): (2263.68, 2267.84, 2253.91, 5622.78, 6156.98),
    (1.30, 100_000): (41381.31, 41323.56, 41515.78, 79851.72, 84395.04),
}
"""Load and number of jobs → mean wait of all, of unrestricted and of restricted jobs, 95 % quantile, longest wait [s]."""

BY_ORDER = {
    plain.LEAST_CAPABLE_FIRST: (29.97, 57.0, 127, 30.1),
    plain.CAPABLE_IN_THE_MIDDLE: (69.35, 134.2, 265, 30.1),
    plain.MOST_CAPABLE_FIRST: (87.13, 150.8, 313, 30.1),
}
"""Order in which jobs take the kinds → restricted jobs' mean, 95 % quantile and longest wait, unrestricted ones' mean [s]."""


def q95(waits: list[float]) -> float:
    """The comparison's quantile: the value at place ⌊0.95 n⌋."""
    return sorted(waits)[int(0.95 * len(waits))]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"load {case[0]:g}, {case[1]} jobs")
@pytest.mark.slow
def test_the_waits_are_those_of_the_other_engines(case: tuple[float, int]) -> None:
    load, count = case
    work = tasks(count, load)
    waits = plain.waits(work, plain.PLAIN)
    free = [wait for wait, task in zip(waits, work, strict=True) if not task.restricted]
    restricted = [wait for wait, task in zip(waits, work, strict=True) if task.restricted]
    found = (
        statistics.fmean(waits),
        statistics.fmean(free),
        statistics.fmean(restricted),
        q95(waits),
        max(waits),
    )
    assert tuple(round(value, 2) for value in found) == GOLDEN[case]


@pytest.mark.parametrize("rank", BY_ORDER, ids=["least capable first", "in the middle", "most capable first"])
@pytest.mark.slow
def test_the_order_of_the_kinds_has_the_effect_of_the_others(rank: str) -> None:
    work = tasks(100_000, 0.90)
    waits = plain.waits(work, plain.PLAIN, rank=rank)
    restricted = [wait for wait, task in zip(waits, work, strict=True) if task.restricted]
    free = [wait for wait, task in zip(waits, work, strict=True) if not task.restricted]
    found = (
        round(statistics.fmean(restricted), 2),
        round(q95(restricted), 1),
        round(max(restricted)),
        round(statistics.fmean(free), 1),
    )
    assert found == BY_ORDER[rank]
