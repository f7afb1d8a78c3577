"""Made-up workloads: arrivals as the theory of renewal processes has them, and fits that find them again."""

import math

import numpy as np
import pandas as pd
import pytest

from sim.errors import InputError
from sim.sections import JobClassSection
from sim.workload.recorded import recorded_jobs, unix
from sim.workload.runtimes import RunTimes
from sim.workload.synthetic import Choice, Stream, fitted, from_classes

DAY = 86400.0


def told(**changes: object) -> JobClassSection:
    content = {
        "name": "any",
        "submitters": {"ana": 3, "ben": 1},
        "arrivals": {"every": "10 min"},
        "run": {"median": "1 h"},
    }
    return JobClassSection.model_validate(content | changes)


def test_as_many_batches_as_told_from_the_beginning_on() -> None:
    """A stationary renewal process has length / mean gap events in a window, whatever its variation."""
    for variation in (0.5, 1.0, 3.0):
        stream = Stream("s", 600, variation, (Choice(1, (0,), RunTimes(60, 1)),))
        rng = np.random.default_rng(1)
        counts = [len(stream.arrivals(rng, 0, 10 * 600)) for _ in range(2000)]
        assert np.mean(counts) == pytest.approx(10, abs=4 * float(np.std(counts)) / math.sqrt(2000)), (
            variation
        )


def test_bursts_have_overdispersed_counts() -> None:
    """Counts in long windows have variance over mean that tends to the square of the gaps' variation (Cox 1962)."""
    stream = Stream("s", 60, 3.0, (Choice(1, (0,), RunTimes(60, 1)),))
    rng = np.random.default_rng(2)
    counts = np.array([len(stream.arrivals(rng, 0, 60_000)) for _ in range(600)])
    assert counts.var() / counts.mean() == pytest.approx(9, rel=0.25)


@pytest.mark.slow
def test_batches_submitters_and_run_times() -> None:
    """Mean batch, shares of submitters and the median run time are those told."""
    frame = from_classes([told(arrivals={"every": "1 min", "batch": 4})]).jobs(
        np.random.default_rng(3), 0, 30 * DAY
    )
    sizes = frame.groupby(frame["job_id"].str.partition(".")[0]).size()
    assert sizes.mean() == pytest.approx(4, rel=0.05)
    assert frame["submitter"].str.startswith("ana").mean() == pytest.approx(0.75, abs=0.02)
    assert frame["run_s"].median() == pytest.approx(3600, rel=0.03)
    assert unix(frame["submitted_at"]).max() < 30 * DAY


def test_a_longer_window_begins_with_the_shorter_one() -> None:
    """The same seed gives the same first jobs, however long the window is."""
    made = from_classes([told(), told(name="other")])
    short, long = (made.jobs(np.random.default_rng(4), 0, length) for length in (DAY, 3 * DAY))
    pd.testing.assert_frame_equal(short, long.iloc[: len(short)])
    assert len(long) > 2 * len(short)


@pytest.mark.slow
def test_a_fit_finds_the_workload_again() -> None:
    """Fitted to what it drew itself, a workload has the same rate, batches and run times."""
    made = from_classes(
        [told(submitters={"ana": 1}, arrivals={"every": "10 min", "batch": 3, "variation": 2})]
    )
    frame = made.jobs(np.random.default_rng(5), 0, 60 * DAY)
    model = fitted(frame, pd.Series("any", index=frame.index), start=0, end=60 * DAY)
    (arrivals,) = (row for row in model.fit if row["what"] == "arrivals")
    (runs,) = (row for row in model.fit if row["what"] == "run times")
    assert arrivals["every_s"] == pytest.approx(600, rel=0.05)
    assert arrivals["variation"] == pytest.approx(2, rel=0.1)
    assert runs["median_s"] == pytest.approx(3600, rel=0.05)
    assert runs["distance"] < 0.02
    again = model.jobs(np.random.default_rng(6), 0, 60 * DAY)
    assert len(again) == pytest.approx(len(frame), rel=0.1)


def test_nothing_to_fit_is_said() -> None:
    """A record without submissions, or without a completed job, can't be fitted."""
    frame = from_classes([told()]).jobs(np.random.default_rng(7), 0, DAY)
    labels = pd.Series("any", index=frame.index)
    with pytest.raises(InputError, match="no job was submitted in the record's window"):
        fitted(frame, labels, start=2 * DAY, end=3 * DAY)
    with pytest.raises(InputError, match="no job of the record has completed"):
        fitted(frame.assign(run_s=np.nan), labels, start=0, end=DAY)


def test_jobs_that_run_for_no_time_are_jobs_and_negative_ones_are_not() -> None:
    """A run length of 0 is taken; a negative one is a sentence."""
    frame = from_classes([told()]).jobs(np.random.default_rng(8), 0, DAY)
    labels = pd.Series("any", index=frame.index)
    assert {job.run_s for job in recorded_jobs(frame.assign(run_s=0.0), labels, start=0, end=DAY)} == {0.0}
    with pytest.raises(InputError, match="a run time below zero"):
        recorded_jobs(frame.assign(run_s=-1.0), labels, start=0, end=DAY)
