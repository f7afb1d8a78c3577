"""Wait statistics with censoring, against worked examples."""

import numpy as np
import pandas as pd
import pytest

from sim.errors import FrameError
from sim.waits import first_waits, group_labels, mean_wait, quantile, survival


def test_kaplan_meier_by_hand() -> None:
    """Six jobs, two of them still waiting: 1 − 5/6·4/5·(no event)·2/3·… worked by hand."""
    curve = survival([10, 20, 30, 40, 50, 60], [True, True, False, True, False, True])
    alive = [5 / 6, 5 / 6 * 4 / 5, 5 / 6 * 4 / 5 * 2 / 3, 0.0]
    assert curve["wait_s"].tolist() == [10, 20, 40, 60]
    assert (1 - curve["share_started"]).tolist() == pytest.approx(alive)
    assert (curve["low"] <= curve["share_started"] + 1e-12).all()
    assert (curve["high"] >= curve["share_started"] - 1e-12).all()


def test_without_censoring_quantiles_are_the_sample_s() -> None:
    """With every job started, the median is the sample's and the mean the plain mean."""
    waits = list(range(1, 101))
    curve = survival(waits, [True] * 100)
    assert quantile(curve, 0.5) == 50
    assert quantile(curve, 0.9) == 90
    assert mean_wait(waits, [True] * 100) == pytest.approx(50.5)


def test_hidden_quantile_is_missing() -> None:
    """If most jobs still wait, the p90 can't be known."""
    assert np.isnan(quantile(survival([5, 50, 50], [True, False, False]), 0.9))


def test_censoring_is_not_dropping() -> None:
    """A job still waiting after 100 s makes the mean larger than that of the started ones."""
    assert mean_wait([10, 100], [True, False]) > 10


def jobs(**columns: list[object]) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    for name in ("submitted_at", "first_started_at", "entered_status_at", "seen_at"):
        frame[name] = pd.to_datetime(frame[name], unit="s", utc=True)
    return frame


def test_first_wait_of_started_idle_and_removed_jobs() -> None:
    """Started: to the start. Idle: censored when last seen. Removed while idle: censored at its removal."""
    waits = first_waits(
        jobs(
            submitted_at=[0, 0, 0],
            first_started_at=[30, None, None],
            entered_status_at=[30, 0, 50],
            seen_at=[100, 100, 100],
            status=["running", "idle", "removed"],
        )
    )
    assert waits["wait_s"].tolist() == [30, 100, 50]
    assert waits["started"].tolist() == [True, False, False]


def test_groups_must_fit() -> None:
    """Group labels for other jobs than these are refused."""
    with pytest.raises(FrameError, match="2 group labels for 1 jobs"):
        group_labels(pd.DataFrame({"request_gpus": [1]}), "class", pd.Series(["a", "b"]))
