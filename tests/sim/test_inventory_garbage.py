"""One bad ad costs one row, in every frame alike; an odd value is a missing value."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sim.classads.ads import Ad, ad_of_json, parse_one, read_ads
from sim.inventory import (
    Framed,
    attempts_frame,
    cycles_frame,
    devices_frame,
    jobs_frame,
    priorities_frame,
    slots_frame,
)

AT = pd.Timestamp("2026-11-24 12:00", tz="UTC")


def slots(ads: list[Ad]) -> Framed:
    return slots_frame(ads, seen_at=AT, snapshot="s")


def devices(ads: list[Ad]) -> Framed:
    return devices_frame(ads, seen_at=AT, snapshot="s")


def jobs(ads: list[Ad]) -> Framed:
    return jobs_frame(ads, seen_at=AT, snapshot="s")


def priorities(ads: list[Ad]) -> Framed:
    return priorities_frame(ads, seen_at=AT, snapshot="s")


def slot(**more: str) -> Ad:
    """A partitionable slot with two devices; arguments are expressions, an empty one leaves the attribute out."""
    told = {
        "MyType": '"Machine"', "Name": '"slot1@h"', "Machine": '"h"', "State": '"Unclaimed"', "SlotType": '"Partitionable"',
        "Cpus": "8", "Memory": "1024", "Disk": "2048", "GPUs": "2", "AssignedGPUs": '"GPU-aa,GPU-bb"', **more,
    }  # fmt: skip
    return parse_one(f"[ {'; '.join(f'{name} = {value}' for name, value in told.items() if value)} ]")


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    "more",
    [
        {"Name": ""}, {"Name": "5"}, {"Name": "undefined"}, {"Machine": ""},
        {"GPUs": "-2"}, {"Memory": "-1"}, {"Cpus": "-0.5"}, {"TotalSlotGPUs": "0 - 1"},
    ],
)  # fmt: skip
def test_an_unusable_slot_is_left_out_of_both_frames_and_counted(more: dict[str, str], place: int) -> None:
    ads = [slot(Name='"slot1@i"', Machine='"i"')]
    ads.insert(place, slot(**more))
    for made in (slots(ads), devices(ads)):
        assert set(made.frame["machine"]) == {"i"}
        assert sum(made.rejects.values()) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"Memory": 'real("NaN")'}, {"Memory": '"much"'}, {"GPUs": "{ 1, { 2, { 3 } } }"}, {"Cpus": "error"}, {"Disk": 'real("INF")'},
        {"AssignedGPUs": "7"}, {"AssignedGPUs": '",,, ,"'}, {"AvailableGPUs": "{ 1, { 2 }, error, X }"}, {"LastHeardFrom": "-1"},
        {"AvailableGPUs": "{ AvailableGPUs, AvailableGPUs }"}, {"GLIDEIN_ToRetire": "99999999999999"}, {"State": "5"},
        {"DaemonStartTime": '"noon"'}, {"Draining": '"yes"'}, {"SlotType": "{}"}, {"GPUs_GPU_aa": "7"}, {"Start": "Start"},
        {"GLIDEIN_Site": f'"{"x" * 1_000_000}"'}, {"Rank": "1/0"}, {"TotalSlotGPUs": "1.0E+17"}, {"OfflineGPUs": "{ 1 }"},
    ],
)  # fmt: skip
def test_a_slot_with_an_odd_value_stays(more: dict[str, str]) -> None:
    made = slots([slot(**more)])
    assert (made.frame["machine"].tolist(), dict(made.rejects)) == (["h"], {})
    devices([slot(**more)])


def test_amounts_that_are_none_are_missing() -> None:
    row = slots([slot(Memory='real("NaN")', Disk='"all"', Cpus="true")]).frame.iloc[0]
    assert row[["memory_mib", "disk_mib", "cpus"]].isna().all()


def test_times_that_are_none() -> None:
    """0 is HTCondor's never, and no date lies after 2200; one in the future is what it is."""
    row = slots(
        [slot(GLIDEIN_ToDie="0", LastHeardFrom="99999999999", GLIDEIN_ToRetire="2000000000")]
    ).frame.iloc[0]
    assert row[["to_die_at", "heard_at"]].isna().all()
    assert row["to_retire_at"] == pd.Timestamp(2000000000, unit="s", tz="UTC")


@pytest.mark.parametrize("make", [slots, devices, jobs, attempts_frame, cycles_frame, priorities])
def test_any_ad_anywhere(make: Callable[[list[Ad]], Framed], shared_data: Path) -> None:
    """Ads of the wrong kind are no rows, or rows that conform, but no failure; none at all is an empty frame."""
    ads = [parse_one("[]"), parse_one("[ Name = Name; ClusterId = { 1 }; QDate = error; Priority = 1/0 ]")]
    for name in ("slots_busy.ads", "queue.ads", "history.ads", "schedd.ads", "negotiator.ads"):
        ads += read_ads(shared_data / "pool" / name)
    make(ads)
    assert make([]).frame.empty


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ({"ToE": {"How": "OF_ITS_OWN_ACCORD"}, "ExitCode": 0}, "done"),
        ({"ToE": {"How": "OF_ITS_OWN_ACCORD"}, "ExitCode": 3}, "failed"),
        ({"ToE": {"How": "OF_ITS_OWN_ACCORD"}, "ExitBySignal": True, "ExitSignal": 9}, "failed"),
        ({"JobStatus": 5}, "held"),
        ({"JobStatus": 3}, "removed"),
        ({"VacateReasonCode": 1008}, "lost"),
        ({"VacateReasonCode": 1006, "VacateReason": "Failed to activate claim"}, "failed"),
        ({"VacateReasonCode": 1013}, "evicted"),
    ],
)
def test_how_an_attempt_ended(told: dict[str, Any], outcome: str) -> None:
    """A claim that couldn't be activated ran nothing that could be evicted; a crash is no success."""
    epoch = {
        "ClusterId": 7, "ProcId": 1, "JobStatus": 2, "QDate": 1795462341, "User": "u@d", "JobCurrentStartDate": 1795462400,
        "EpochWriteDate": 1795462500, **told,
    }  # fmt: skip
    assert attempts_frame([ad_of_json(epoch)]).frame["outcome"].tolist() == [outcome]
