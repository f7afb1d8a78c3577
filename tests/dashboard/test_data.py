"""Loaders: cached by snapshot, aged by the clock."""

from __future__ import annotations

import dataclasses
import queue
import threading
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from dashboard import data as module
from dashboard.data import Data, ending
from dashboard.pages import inventory, pool
from dashboard.pages import window as windows
from dashboard.settings import Settings
from sim.errors import StoreError
from sim.store import Snapshot, Store
from tests.dashboard import synthetic


def test_a_frame_is_read_once_per_snapshot(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = store.read

    def counted(frame: str, **how: object) -> pd.DataFrame:
        reads.append(frame)
        return read(frame, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "read", counted)
    data = Data(store, settings)
    for _ in range(3):
        data.counts("model")
        data.counts("site")
    assert reads.count("devices") == 1


def test_a_new_snapshot_is_seen(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_S", 0.0)
    devices, slots = synthetic.devices(), synthetic.slots()
    store = Store(tmp_path)
    data = Data(store, settings)
    for number in (0, 79):
        name, at = synthetic.snapshot(number), synthetic.START + number * synthetic.STEP
        parts = {"devices": devices[devices["snapshot"] == name], "slots": slots[slots["snapshot"] == name]}
        store.append(Snapshot(name, at.to_pydatetime(), parts))
        assert data.coverage().snapshot == name
        assert data.counts("model")["gpus"].sum() == len(parts["devices"])


def test_the_age_is_the_clocks_but_a_recording_is_never_old(store: Store, settings: Settings) -> None:
    until = Data(store, settings).coverage().until.to_pydatetime()
    live = dataclasses.replace(settings, sample=False)
    assert Data(store, live, clock=lambda: until + timedelta(minutes=7)).age_s() == 420.0
    assert Data(store, settings, clock=lambda: until + timedelta(days=400)).age_s() == 0.0


def test_an_empty_store_says_how_to_begin(tmp_path: Path, settings: Settings) -> None:
    data = Data(Store(tmp_path), settings)
    assert data.is_empty()
    with pytest.raises(StoreError, match="poolscope collect"):
        data.coverage()


def test_only_snapshots_with_a_new_machine_are_read_whole(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Data(store, settings)._window_slots()
    assert set(whole["snapshot"]) == {synthetic.snapshot(number) for number in (0, 32, 40)}
    assert whole["machine"].nunique() == len(synthetic.MACHINES)
    monkeypatch.setattr(module, "VIEWED", 2)
    assert Data(store, settings)._window_slots()["snapshot"].nunique() == 2


def test_an_answer_counts_the_pool(data: Data) -> None:
    answer = data.answer("GPUs_Capability >= 7.5", gpus=1, cpus=1, memory_mib=2048.0)
    assert (answer.gpus.now, answer.gpus.drained, answer.gpus.seen) == (7, 12, 16)


def test_windows_share_what_the_latest_snapshot_says(store: Store, settings: Settings) -> None:
    data = Data(store, settings)
    until = data.coverage().until
    for length in (pd.Timedelta(minutes=5), pd.Timedelta(days=30)):
        here, alone = data.over(ending(until, length)), Data(store, settings, window=ending(until, length))
        assert here.devices() is data.devices()
        pd.testing.assert_frame_equal(here.jobs(), alone.jobs())
        pd.testing.assert_frame_equal(here.supply(), alone.supply())
        assert here.coverage() == alone.coverage()
        begun = until - length
        counted = synthetic.counted(synthetic.devices())
        assert len(here.supply()) == counted.loc[counted["seen_at"] >= begun, "snapshot"].nunique()


@pytest.mark.slow
def test_nobody_waits_for_a_snapshot_that_is_followed(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLLOW_S", 0.01)
    store = synthetic.fill(tmp_path / "store")
    data, stop, seen = Data(store, settings), threading.Event(), queue.Queue[str]()
    following = threading.Thread(
        target=data.follow, args=(stop,), kwargs={"seen": lambda: seen.put(data.mark())}
    )
    following.start()
    try:
        assert seen.get(timeout=120) == synthetic.snapshot(synthetic.N_SNAPSHOTS - 1)
        synthetic.append_again(store)
        assert seen.get(timeout=120) == synthetic.snapshot(synthetic.N_SNAPSHOTS)
    finally:
        stop.set()
        following.join()
    assert not data.loading
    assert len(data.supply()) == synthetic.N_SNAPSHOTS + 1

    def fail(*_: object, **__: object) -> pd.DataFrame:
        raise AssertionError("somebody waits for the store")

    for name in ("read", "query", "jobs", "attempts", "snapshots", "latest"):
        monkeypatch.setattr(store, name, fail)
    for choice in ("24h", "7d", "30d"):
        pool.content(windows.over(data, choice), "light")
    inventory.hours_content(data, "dark")
    inventory.content(data, "GPUs_Capability >= 7.0 && Memory > 5", "free")
    data.answer('GPUs_DeviceName == "TITAN RTX"', gpus=1, cpus=2, memory_mib=1000.0)
