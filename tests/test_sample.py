"""The bundled sample is what the pages say it is: a real pool, recorded."""

import pandas as pd
import pytest

from sim.store import Store, sample_path


@pytest.fixture(scope="module")
def sample() -> Store:
    """The bundled sample's store."""
    return Store(sample_path())


def test_long_and_dense_enough(sample: Store) -> None:
    """At least 20 minutes, snapshots every 15 s, under 2 MB."""
    taken = sample.snapshots()["taken_at"]
    assert taken.iloc[-1] - taken.iloc[0] >= pd.Timedelta(minutes=20)
    assert 14 <= taken.diff().dt.total_seconds().median() <= 17
    assert sum(file.stat().st_size for file in sample_path().rglob("*") if file.is_file()) < 2_000_000


def test_jobs_classes_and_evictions(sample: Store) -> None:
    """At least 250 jobs, 150 with GPUs, several classes, real evictions, and jobs that never start."""
    jobs, attempts = sample.jobs(), sample.attempts()
    assert len(jobs) >= 250
    assert (jobs["request_gpus"] >= 1).sum() >= 150
    assert attempts["outcome"].isin(["evicted", "lost"]).sum() >= 3
    assert jobs["first_started_at"].isna().sum() >= 1
    assert jobs["ad"].str.contains("RequirementClass").all()


def test_queues_form(sample: Store) -> None:
    """In a good part of the snapshots at least ten jobs are idle."""
    queue = sample.read("jobs")
    idle = queue[queue["status"] == "idle"].groupby("snapshot").size()
    assert (idle >= 10).sum() >= 20


def test_machines_come_and_go(sample: Store) -> None:
    """Every kind of host is there, and glideins return under new names."""
    devices = sample.read("devices")
    assert {"A100-SXM4-40GB", "V100-PCIE-16GB", "TITAN RTX", "GTX 480", "MIG slice"} <= set(devices["family"])
    assert devices["startd"].str.contains("glidein_1_2").any()


def test_nothing_private(sample: Store) -> None:
    """No claim ids, no environment, no addresses in what is kept."""
    texts = pd.concat([sample.read("slots")["ad"], sample.read("jobs")["ad"]]).unique()
    assert not any(word in text for text in texts for word in ("ClaimId", "Environment", "MyAddress"))
