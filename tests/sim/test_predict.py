"""Forecasts from ghosts at the latest snapshot: what they say, what they refuse."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sim.classads.request import Request, job_ad
from sim.engine.run import Recording
from sim.predict import Basis, Forecast, comparable_jobs, predict

ANY = job_ad("true", Request())


@pytest.fixture(scope="module")
def sample() -> Basis:
    return Basis.of("sample")


def asked(basis: Basis, ad: str = ANY, **more: object) -> Forecast:
    return predict(basis, ad, now=basis.record.end, futures=20, workers=1, **more)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_forecast_from_the_sample(sample: Basis) -> None:
    """At its end the sample's pool has free GPUs: a newcomer waits for the next cycle, at most 20 s at this interval."""
    found = asked(sample)
    assert found.refused is None
    assert found.fixed
    assert 0 < found.p50_s <= found.p90_s <= found.p95_s <= 21
    assert found.low_s <= found.p90_s <= found.high_s
    assert (found.n, found.n_censored, found.data_age_s) == (20, 0, 0)
    assert asked(sample) == found  # and repeats


def test_too_few_comparable_jobs(sample: Basis) -> None:
    """16 jobs asked for two GPUs: no forecast for such, and the sentence has the figures."""
    found = asked(sample, job_ad("true", Request(gpus=2)))
    assert found.refused is not None
    assert "16 comparable jobs" in found.refused
    assert "60" in found.refused
    assert np.isnan(found.p90_s)
    assert len(comparable_jobs(sample.record, 0)) == 68


@pytest.mark.slow
def test_old_live_data_is_refused_and_a_fixed_recording_is_not(sample: Basis) -> None:
    """Twice the time between snapshots is the limit, for a pool that goes on."""
    live = replace(sample, live=True, refresh_s=15.0)
    end = sample.record.end
    fresh = predict(live, ANY, now=end + 29, futures=20, workers=1)
    stale = predict(live, ANY, now=end + 31, futures=20, workers=1)
    assert fresh.refused is None
    assert fresh.data_age_s == pytest.approx(29)
    assert stale.refused is not None
    assert "31 s old" in stale.refused
    assert predict(sample, ANY, now=end + 1e9, futures=20, workers=1).refused is None


def test_what_no_machine_could_run(sample: Basis) -> None:
    """An impossible job gets no forecast but the reason."""
    found = asked(sample, job_ad("GPUs_Capability >= 12", Request()))
    assert found.refused is not None
    assert "no machine of the pool could run this job" in found.refused


def test_a_store_tells_whether_it_is_live_and_how_often_it_is_refilled() -> None:
    """The sample's own snapshots, read as somebody's store: 15 s apart and from a pool."""
    from sim.store import sample_path

    basis = Basis.of(str(sample_path()))
    assert basis.live
    assert basis.refresh_s == pytest.approx(15, abs=0.5)


@pytest.mark.slow
def test_running_jobs_keep_running(sample: Basis) -> None:
    """A pool whose only GPU runs a job of two hours that began an hour ago: half of the futures say about an hour."""
    end = pd.Timestamp(sample.record.end, unit="s", tz="UTC")
    jobs = sample.record.jobs
    history = jobs[jobs["request_gpus"] == 1].head(100).copy()
    history = history.assign(
        run_s=np.random.default_rng(1).uniform(7100, 7300, len(history)), status="completed"
    )
    history["submitted_at"] = end - pd.Timedelta(days=2)
    history["entered_status_at"] = history["completed_at"] = end - pd.Timedelta(days=1)
    history["first_started_at"] = history["started_at"] = end - pd.Timedelta(days=1, hours=2)
    slots = sample.record.slots
    one = slots[(slots["machine"] == "n12.lakeside.example")].copy()
    busy = history.iloc[[0, 1, 2, 3]].assign(
        job_id=["9001.0", "9002.0", "9003.0", "9004.0"],
        status="running",
        run_s=np.nan,
        submitted_at=end - pd.Timedelta(hours=1),
        entered_status_at=end - pd.Timedelta(hours=1),
        completed_at=None,
        first_started_at=end - pd.Timedelta(hours=1),
        started_at=end - pd.Timedelta(hours=1),
        slot="slot1_1@n12.lakeside.example",
    )
    record = Recording(
        slots=one.reset_index(drop=True),
        jobs=pd.concat([history, busy], ignore_index=True),
        attempts=sample.record.attempts.iloc[:0],
        priorities=sample.record.priorities.iloc[:0],
        settings=sample.record.settings,
        start=sample.record.end - 3 * 86400,
        end=sample.record.end,
        name="made",
    )
    found = predict(Basis(record, live=False), ANY, now=record.end, futures=20, workers=1)
    assert found.refused is None
    assert found.p50_s == pytest.approx(3600, abs=300)
