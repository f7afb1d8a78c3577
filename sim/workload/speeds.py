"""Run times that depend on the device: a stated table of how fast device models are."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from sim.classads.matching import assigned_devices


def at_unit_speed(
    jobs: pd.DataFrame, attempts: pd.DataFrame, slots: pd.DataFrame, speeds: Mapping[str, float]
) -> pd.DataFrame:
    """The jobs with the run times that they would have had on a device of speed 1.

    A recorded run time was measured on some device. A job without a known one (no GPU, no epoch record) keeps its own.

    Parameters
    ----------
    jobs, attempts, slots : frames; the first device of a job's last attempt counts
    speeds : how many times as fast as on a device of speed 1 a job runs [1], by device model; 1 for those not named
    """
    used = attempts.dropna(subset=["device_ids"])
    if not speeds or used.empty:
        return jobs
    known, keys = models(slots), ["schedd", "job_id"]
    last = used.sort_values("started_at").drop_duplicates(keys, keep="last")
    first = last["device_ids"].str.partition(",")[0].str.strip()
    named = pd.Series([known.get(place) for place in zip(last["machine"], first, strict=True)], last.index)
    last = last[keys].assign(speed=last["device_model"].fillna(named).map(dict(speeds)))
    found = jobs[keys].merge(last, on=keys, how="left")["speed"].astype("float64").fillna(1.0)
    return jobs.assign(run_s=jobs["run_s"].astype("float64") * found.to_numpy())


def models(slots: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The models of the devices in slot ads, as the ads spell them, by machine and device id."""
    whole = slots[slots["slot_type"] != "dynamic"].drop_duplicates(["machine", "ad"])
    return {
        (machine, device.id): device.model
        for machine, text in zip(whole["machine"], whole["ad"], strict=True)
        for device in assigned_devices(str(text))
        if device.model
    }
