"""What is taken over from the last reading is what would have been made anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from collectors.unchanged import Unchanged, told_by
from sim.classads.ads import Ad, expression, parse_one, read_ads
from sim.classads.view import View
from sim.inventory import Framed, devices_frame, slots_frame

AT = pd.Timestamp("2026-11-24 12:00", tz="UTC")
LATER = AT + pd.Timedelta("5min")


def made_of(views: list[View], at: pd.Timestamp, snapshot: str) -> tuple[Framed, Framed]:
    return slots_frame(views, seen_at=at, snapshot=snapshot), devices_frame(
        views, seen_at=at, snapshot=snapshot
    )


class Watch:
    """Readings one after another, each held against frames made of all ads anew; what was made is noted."""

    def __init__(self) -> None:
        self.unchanged, self.made = Unchanged(), 0

    def read(self, ads: list[Ad], at: pd.Timestamp, snapshot: str) -> tuple[Framed, Framed]:
        self.made = 0

        def make(chosen: list[Any]) -> tuple[list[View], Framed, Framed]:
            self.made = len(chosen)
            views = list(map(View, chosen))
            return views, *made_of(views, at, snapshot)

        found = self.unchanged.renew(map(told_by, ads), at, snapshot, make)
        for got, expected, key in zip(
            found,
            made_of(list(map(View, ads)), at, snapshot),
            (["machine", "name"], ["machine", "device_id", "startd"]),
            strict=True,
        ):
            left, right = (one.frame.sort_values(key, ignore_index=True) for one in (got, expected))
            pd.testing.assert_frame_equal(left, right)
            assert got.rejects == expected.rejects
        return found


@pytest.mark.parametrize("name", ["slots_busy.ads", "slots_idle.ads"])
def test_a_pool_heard_of_again(shared_data: Path, name: str) -> None:
    ads = read_ads(shared_data / "pool" / name)
    watch = Watch()
    watch.read(ads, AT, "a")
    assert watch.made == len(ads)
    for ad in ads:
        ad["LastHeardFrom"] = int(LATER.timestamp())
    slots, _ = watch.read(ads, LATER, "b")
    assert watch.made == 0
    assert set(slots.frame["heard_at"]) == {LATER}


def slot(name: str, more: str = "") -> Ad:
    machine = name.partition("@")[2]
    return parse_one(
        f'[ Name = "{name}"; Machine = "{machine}"; State = "Unclaimed"; Cpus = 2; Memory = 10; LastHeardFrom = 1790000000;'
        f' AssignedGPUs = "GPU-1"; GPUs_DeviceName = "NVIDIA L4"; {more} ]'
    )


Change = Callable[[list[Ad]], object]


@pytest.mark.parametrize(
    ("change", "made"),
    [
        (lambda ads: ads[0].update({"State": "Owner"}), 2),
        (lambda ads: ads.pop(0), 1),
        (lambda ads: ads.append(slot("slot3@a")), 3),
        (lambda ads: ads.append(slot("slot1@c")), 1),
        (lambda ads: ads[2].update({"Memory": -1}), 1),
        (lambda ads: ads.clear(), 0),
    ],
)
def test_a_machine_is_made_anew_with_all_its_slots(change: Change, made: int) -> None:
    ads = [slot("slot1@a"), slot("slot2@a"), slot("slot1@b")]
    watch = Watch()
    watch.read(ads, AT, "a")
    change(ads)
    watch.read(ads, LATER, "b")
    assert watch.made == made
    watch.read(ads, LATER, "c")


def test_what_is_left_out_is_counted_every_time() -> None:
    ads = [slot("slot1@a"), slot("slot1@b"), slot("slot2@b", "Memory = -1"), parse_one("[ Cpus = 1 ]")]
    watch = Watch()
    for _ in range(3):
        slots, _ = watch.read(ads, AT, "a")
        assert slots.rejects.total() == 2
    assert watch.made == 3


def test_time_passes() -> None:
    """A device is prevented once its slot is past GLIDEIN_ToRetire, though the ad says nothing new."""
    retire = int((AT + pd.Timedelta("8min")).timestamp())
    ads = [slot("slot1@a", f"GLIDEIN_ToRetire = {retire}"), slot("slot1@b")]
    watch = Watch()
    made, states = [], []
    for minutes in (0, 5, 10, 15, 3):
        _, devices = watch.read(ads, AT + pd.Timedelta(minutes=minutes), "s")
        made.append(watch.made)
        states.append(devices.frame.set_index("machine")["state"]["a"])
    assert made == [2, 0, 1, 0, 2]
    assert states == ["free", "free", "prevented", "prevented", "free"]


@pytest.mark.parametrize(
    ("name", "text", "made"),
    [
        ("Offline", "time() > 5", 1),
        ("Offline", "Late", 1),
        ("Cpus", "random(8)", 1),
        ("SlotWeight", "Cpus * 2", 0),
        ("Start", "time() < 5", 0),
    ],
)
def test_an_expression_of_the_time_is_evaluated_every_time(name: str, text: str, made: int) -> None:
    ad = slot("slot1@a", "Late = CurrentTime > 7; CurrentTime = time()")
    ad[name] = expression(text)
    watch = Unchanged()
    seen = []

    def make(chosen: list[Any]) -> tuple[list[View], Framed, Framed]:
        seen.append(len(chosen))
        views = list(map(View, chosen))
        return views, *made_of(views, AT, "s")

    for _ in range(2):
        watch.renew([told_by(ad)], AT, "s", make)
    assert seen == [1, made]


def test_a_moment_that_an_expression_reads_is_no_mere_moment() -> None:
    ads = [slot("slot1@a", f"Offline = LastHeardFrom > 1790000005; Round = {place}") for place in (0, 0)]
    ads[1]["LastHeardFrom"] = 1790000009
    assert told_by(ads[0]).print != told_by(ads[1]).print
