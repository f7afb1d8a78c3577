"""Machines' stays from snapshots: arrival, departure, and how it ended."""

import math

import pandas as pd
import pytest

from sim.engine.supply import fixed_stays, recorded_stays
from sim.errors import InputError

T0 = pd.Timestamp("2026-11-24T12:00:00", tz="UTC")


def at(seconds: float | None) -> pd.Timestamp | None:
    return None if seconds is None else T0 + pd.Timedelta(seconds=seconds)


def slots(*rows: tuple[str, float, dict[str, float]]) -> pd.DataFrame:
    """Rows of (name, seen, other times); every snapshot is 15 s after the one before."""
    frame = pd.DataFrame(
        [
            {
                "name": f"slot1@{name}", "machine": name, "slot_type": "partitionable", "offline": False, "backfill": False, "site": "here",
                "ad": "[]", "total_cpus": 8.0, "total_memory_mib": 1.0, "total_disk_mib": 1.0, "seen_at": at(seen),
                "started_at": at(other.get("started")), "to_retire_at": at(other.get("retire")), "to_die_at": at(other.get("die")),
                "heard_at": at(other.get("heard", seen)),
            }
            for name, seen, other in rows
        ]
    )  # fmt: skip
    for column in ("started_at", "to_retire_at", "to_die_at"):
        frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame


def stays(*rows: tuple[str, float, dict[str, float]]) -> dict[str, tuple[float, float, str]]:
    base = T0.timestamp()
    return {
        stay.name: (stay.up - base, stay.down - base, stay.ending) for stay in recorded_stays(slots(*rows))
    }


def test_always_there() -> None:
    """A machine of the first and the last snapshot was there before and stays."""
    assert stays(("m", 0, {}), ("m", 15, {})) == {"m": (-math.inf, math.inf, "open")}


def test_arrival_at_the_startds_own_start() -> None:
    """A startd that started between two snapshots arrives some seconds after its start, not at the snapshot."""
    found = stays(("m", 0, {}), ("g", 15, {"started": 3}), ("m", 15, {}))
    assert found["g"][0] == pytest.approx(8)


def test_departure_between_snapshots() -> None:
    """A machine that is missing from the next snapshot left half-way; at GLIDEIN_ToDie if that lies between."""
    found = stays(("m", 0, {}), ("g", 0, {}), ("h", 0, {"die": 4}), ("m", 15, {}), ("m", 30, {}))
    assert found["g"][1:] == (7.5, "quit")
    assert found["h"][1:] == (4, "quit")


def test_a_silent_machine_was_killed() -> None:
    """An ad that is listed on without being renewed belongs to a machine killed at its last word."""
    rows: list[tuple[str, float, dict[str, float]]] = [("m", seen, {}) for seen in range(0, 300, 15)]
    rows += [("k", seen, {"heard": min(seen, 60)}) for seen in range(0, 180, 15)]
    assert stays(*rows)["k"][1:] == (60, "kill")


def test_a_machine_that_was_seen_once_is_as_silent_as_others() -> None:
    """With UPDATE_INTERVAL 300 an ad is minutes old as a rule: its machine left, and was not killed before it was seen."""
    rows: list[tuple[str, float, dict[str, float]]] = [
        ("m", seen, {"heard": seen - 100}) for seen in (0, 300, 600, 900)
    ]
    found = stays(*rows, ("g", 600, {"heard": 400, "started": 390}))
    assert found["g"] == (395, 750, "quit")


def test_fixed_keeps_the_last_snapshot_for_ever() -> None:
    """The fixed supply has the machines of the last snapshot only, without windows."""
    found = fixed_stays(slots(("g", 0, {}), ("m", 15, {"retire": 20, "die": 30})))
    assert [(stay.name, stay.retire, stay.down) for stay in found] == [("m", math.inf, math.inf)]


def test_no_machines_is_said() -> None:
    """Snapshots without a machine can't be replayed."""
    with pytest.raises(InputError, match="no partitionable or static slot"):
        recorded_stays(slots(("m", 0, {})).iloc[:0])
