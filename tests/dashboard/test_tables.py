"""Counting devices and setting waits side by side."""

from __future__ import annotations

import pandas as pd
import pytest

from dashboard import comparison, tables
from dashboard.figures.theme import STATES
from tests.dashboard import synthetic


def now() -> pd.DataFrame:
    devices = synthetic.devices()
    return devices[devices["snapshot"] == synthetic.snapshot(synthetic.N_SNAPSHOTS - 1)]


def test_models_are_sorted_by_capability_and_slices_have_a_name() -> None:
    counts = tables.count_devices(now(), "model")
    assert counts["model"].tolist()[-1] == "A100-SXM4-40GB"
    assert counts.set_index("model").loc[tables.MIG, "gpus"] == 7


def test_each_state_is_a_column_even_without_devices() -> None:
    counts = tables.count_devices(now(), "site")
    assert (counts["backfill"] == 0).all()
    assert (counts[list(STATES)].sum(axis=1) == counts["gpus"]).all()


def test_a_device_of_an_unknown_site_counts() -> None:
    counts = tables.count_devices(now().assign(site=None), "site")
    assert counts["site"].tolist() == [tables.ELSEWHERE]
    assert counts["gpus"].sum() == len(now())


def test_supply_has_a_row_per_snapshot() -> None:
    supply = tables.supply(synthetic.counted(synthetic.devices()))
    assert len(supply) == synthetic.N_SNAPSHOTS
    assert supply["seen_at"].is_monotonic_increasing
    assert supply["gpus"].iloc[0] == 31


def test_a_long_supply_is_thinned_to_means() -> None:
    days = pd.DataFrame(
        {
            "seen_at": pd.date_range("2026-11-01", periods=5000, freq="5min", tz="UTC"),
            **dict.fromkeys(STATES, 2),
            "gpus": 12,
        }
    )
    thin = tables.thin_supply(days)
    assert 300 < len(thin) <= 401
    assert (thin["gpus"] == 12).all()


def test_totals_hold_the_classes() -> None:
    waits = comparison.summarise(synthetic.jobs(), "ReqClass").set_index("group")
    classes = waits.drop([tables.ALL, tables.GPU])
    assert classes["n"].sum() == waits.loc[tables.ALL, "n"] == 320
    assert classes["n_censored"].sum() == waits.loc[tables.ALL, "n_censored"]
    assert waits["n"][tables.GPU] + waits["n"]["no GPU"] == 320


def test_an_idle_job_is_counted_not_dropped() -> None:
    waits = comparison.summarise(synthetic.jobs(), "ReqClass").set_index("group").loc["old attribute"]
    assert waits["n"] == waits["n_censored"]
    assert pd.isna(waits["p50_s"])
    assert waits["longest_s"] > 600


def test_a_curve_goes_from_nothing_to_the_longest_wait() -> None:
    curve = comparison.curve(synthetic.jobs())
    assert curve["share_started"].iloc[0] == 0
    assert curve["wait_s"].iloc[-1] == pytest.approx(
        comparison.summarise(synthetic.jobs(), None)["longest_s"].iloc[0]
    )


def test_jobs_that_never_start_have_an_empty_curve() -> None:
    idle = comparison.members(synthetic.jobs(), "ReqClass", "old attribute")
    assert comparison.curve(idle).empty


def test_without_a_simulation_the_columns_are_there_and_empty() -> None:
    both = tables.compare_waits(comparison.summarise(synthetic.jobs(), "ReqClass"), None)
    assert both["sim_p90_s"].isna().all()
    assert (both["sim_n"] == 0).all()


def test_a_class_that_the_simulation_lacks_stays() -> None:
    observed = comparison.summarise(synthetic.jobs(), "ReqClass")
    both = tables.compare_waits(observed, observed[observed["group"] != "2 GPUs"])
    row = both.set_index("group").loc["2 GPUs"]
    assert (row["n"], row["sim_n"]) == (22, 0)


def test_a_long_queue_is_told_over_some_seconds() -> None:
    """Each ad's ServerTime is its own; who is missing from the whole telling has left."""
    at = pd.to_datetime(["2026-11-30 12:00:09", "2026-11-30 12:00:00", "2026-11-30 11:55:00"], utc=True)
    jobs = pd.DataFrame({"seen_at": at, "status": "idle", "schedd": "ap1"})
    assert tables.waiting(jobs).tolist() == [True, True, False]
