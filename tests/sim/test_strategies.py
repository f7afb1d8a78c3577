"""Strategies side by side on the sample, and the ads that they rewrite."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from sim.classads.matching import Matcher, Remainder, assigned_devices
from sim.classads.request import Request, job_ad
from sim.classads.rewriting import narrowed, pinned
from sim.engine.run import Recording
from sim.errors import InputError
from sim.scenario import load
from sim.strategies import Comparison, compare, device_models, strategies
from tests.sim.engine.made import slot_text


@pytest.fixture(scope="module")
def record() -> Recording:
    return Recording.load("sample")


@pytest.fixture(scope="module")
def found(record: Recording) -> Comparison:
    scenario = load("sample", ("delivery.machines=apptainer",))
    return compare(scenario, record, strategies(record), replications=2, first_seed=1)


def matches(job: str, slot: str) -> bool:
    matcher = Matcher([job], [slot])
    kind, kinds = matcher.kind(slot, [device.attribute for device in assigned_devices(slot)])
    return matcher.fits(matcher.autocluster(job), kind, Remainder(16, 65536, 40000, kinds), 1_795_000_000.0)


def test_a_pinned_job_takes_one_model() -> None:
    """On a host with two models it counts the devices that suit, with what the job demanded before."""
    slot = slot_text(devices=[("A100", 8.0), ("V100", 7.0)])
    one = job_ad("true", Request(gpus=1))
    assert matches(pinned(one, "V100"), slot)
    assert not matches(pinned(one, "T4"), slot)
    assert not matches(pinned(job_ad("true", Request(gpus=2)), "V100"), slot)
    picky = job_ad("true", Request(gpus=1, require_gpus="Capability >= 8.0"))
    assert matches(pinned(picky, "A100"), slot)
    assert not matches(pinned(picky, "V100"), slot)


def test_a_model_with_quotes_is_a_string() -> None:
    assert not matches(
        pinned(job_ad("true", Request(gpus=1)), 'x" || true || "'), slot_text(devices=[("A", 8.0)])
    )


def test_a_narrowed_job_asks_for_more() -> None:
    job = job_ad("true", Request(gpus=0))
    assert matches(narrowed(job, "TARGET.HasSIF =?= true"), slot_text(extra="HasSIF = true;"))
    assert not matches(narrowed(job, "TARGET.HasSIF =?= true"), slot_text())


@pytest.mark.slow
def test_all_strategies_stand_side_by_side(found: Comparison, record: Recording) -> None:
    """One row each, the same jobs; what moves is what each path moves; gains count against the first."""
    table: dict[Any, Any] = found.table.set_index("strategy").to_dict("index")
    assert list(table) == ["cvmfs", "osdf", "sandbox", "registry", "default", "install", "pin"]
    assert found.table["jobs"].nunique() == 1
    assert table["cvmfs"]["gained_s"] == 0
    assert (found.table["total_mean_low_s"] <= found.table["total_mean_high_s"]).all()
    assert table["pin"]["start_up_s"] == 0
    assert table["install"]["start_up_s"] > 250
    assert table["osdf"]["cold"] == 1
    assert table["cvmfs"]["cold"] < 1
    assert table["sandbox"]["access_point_mb"] > 0
    assert table["registry"]["pulls"] >= table["registry"]["done"]
    assert table["pin"]["done"] < table["default"]["done"], "jobs that need another GPU never start"
    assert set(found.by_gpu[found.by_gpu["strategy"] == "pin"]["model"]) - {"no GPU"} == {
        device_models(record)[0]
    }


def test_ads_that_say_nothing_of_sif_serve_none(record: Recording) -> None:
    """The sample's machines don't advertise SIF: with their ads believed, no such job starts."""
    sent = compare(load("sample"), record, strategies(record, ["osdf"]), replications=1, first_seed=1)
    assert sent.table["done"].tolist() == [0]
    assert pd.isna(sent.table["wait_p50_s"].iloc[0])


@pytest.mark.parametrize(
    ("names", "pin", "said"),
    [
        (["teleport"], None, "no strategy is called 'teleport'"),
        (["pin"], "H100", "no GPU of the record is a 'H100'"),
    ],
)
def test_wrong_choices(record: Recording, names: list[str], pin: str | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        strategies(record, names, pin)
