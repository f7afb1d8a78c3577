"""A round is one whole snapshot or none; one source's failure stops no other; rounds go on where the store left off."""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from collectors.daemon import collect_every
from collectors.rounds import Round, check_interval, collect_once
from collectors.source import Reading
from sim.classads.ads import parse_one
from sim.errors import InputError, PoolscopeError, SourceError, StoreError
from sim.inventory import attempts_frame, jobs_frame
from sim.store import Snapshot, Store
from tests.collectors.made import Told, pool, slots

AT = pd.Timestamp("2026-11-24 12:00", tz="UTC")
JOB = '[ ClusterId = 1; ProcId = 0; JobStatus = 4; QDate = 1795000000; User = "a@x"; JobCurrentStartDate = 1795000100; '
EPOCH = JOB + 'EpochWriteDate = 1795000200; RemoteHost = "slot1_1@ep@a.example"; AssignedGPUs = "GPU-1" ]'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


class TestOnce:
    def test_a_snapshot(self, store: Store) -> None:
        done = collect_once([pool()], store)
        assert store.latest() == done.snapshot
        assert done.sources["pool"]["rows"] == 2
        assert done.sources["pool"]["error"] is None
        assert done.sources["pool"]["seconds"] >= 0
        (meta,) = store.snapshots()["meta"]
        assert meta["sources"] == done.sources

    @pytest.mark.parametrize("error", [SourceError("gone"), InputError("no slots")])
    def test_without_slots_nothing_is_written(self, store: Store, error: PoolscopeError) -> None:
        with pytest.raises(type(error), match=str(error)):
            collect_once([Told("pool", error), pool()], store)
        assert not store.path.exists()

    def test_another_failure_is_noted(self, store: Store) -> None:
        """And those after it are asked."""
        sources = [pool(), Told("schedd", SourceError("schedd ap1: gone")), Told("last", Reading({}))]
        done = collect_once(sources, store)
        assert done.sources["schedd"] | {"seconds": 0} == {
            "rows": 0,
            "seconds": 0,
            "error": "schedd ap1: gone",
        }
        assert done.sources["last"]["error"] is None
        assert store.latest() == done.snapshot

    def test_part_of_a_source(self, store: Store) -> None:
        """What could be read is kept beside what could not."""
        jobs = jobs_frame([parse_one(JOB + "]")], seen_at=AT, snapshot="s").frame
        part = Reading({"jobs": jobs}, {"no user": 2}, ["schedd b: gone", "schedd c: gone"])
        done = collect_once([pool(), Told("schedd", part)], store)
        assert done.sources["schedd"] | {"seconds": 0} == {
            "rows": 1, "seconds": 0, "error": "schedd b: gone; schedd c: gone", "rejects": {"no user": 2},
        }  # fmt: skip
        assert len(store.jobs()) == 1

    def test_two_sources_of_one_frame(self, store: Store) -> None:
        frames = [
            jobs_frame(
                [parse_one(f"{JOB.replace('ClusterId = 1', f'ClusterId = {n}')}]")], seen_at=AT, snapshot="s"
            )
            for n in (1, 2)
        ]
        sources = [Told(f"s{n}", Reading({"jobs": made.frame})) for n, made in enumerate(frames)]
        collect_once([pool(), *sources], store)
        assert list(store.jobs()["job_id"]) == ["1.0", "2.0"]


class TestCursors:
    def test_go_on_where_the_last_round_was(self, store: Store) -> None:
        """In this process, and in the next one that uses the store."""
        source = Told("history", Reading({}, cursor={"ap1": "1.0"}), Reading({}, cursor={"ap1": "2.0"}))
        cursors: dict[str, object] = {}
        for _ in range(3):
            collect_once([pool(), source], store, cursors)
        assert source.cursors == [None, {"ap1": "1.0"}, {"ap1": "2.0"}]
        later = Told("history", Reading({}))
        collect_once([pool(), later], Store(store.path))
        assert later.cursors == [{"ap1": "2.0"}]

    def test_a_failure_keeps_the_cursor(self, store: Store) -> None:
        source = Told("history", Reading({}, cursor=5), SourceError("gone"), Reading({}))
        for _ in range(3):
            collect_once([pool(), source], store)
        assert source.cursors == [None, 5, 5]

    def test_what_was_not_stored_is_asked_again(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        source = Told("history", Reading({}, cursor=5))
        cursors: dict[str, object] = {}

        def full(snapshot: Snapshot) -> None:
            raise StoreError("no space")

        with monkeypatch.context() as patch:
            patch.setattr(store, "append", full)
            with pytest.raises(StoreError):
                collect_once([pool(), source], store, cursors)
        collect_once([pool(), source], store, cursors)
        assert source.cursors == [None, None]

    def test_a_store_of_another_kind(self, store: Store) -> None:
        """A snapshot that knows no cursors, such as an import's."""
        store.append(Snapshot("20260101T000000Z-1", datetime(2026, 1, 1, tzinfo=UTC), {}, {}))
        source = Told("history", Reading({}))
        collect_once([pool(), source], store)
        assert source.cursors == [None]


class TestAttemptsKnowTheirDevice:
    def test_of_a_host_that_is_there(self, store: Store) -> None:
        attempts = attempts_frame([parse_one(EPOCH)]).frame
        collect_once([pool(), Told("history", Reading({"attempts": attempts}))], store)
        (row,) = store.attempts().to_dict("records")
        assert (row["device_model"], row["capability"], row["site"]) == ("NVIDIA L40S", 8.9, "Site")

    def test_of_a_host_that_has_gone(self, store: Store) -> None:
        attempts = attempts_frame([parse_one(EPOCH)]).frame
        collect_once([pool()], store)

        def elsewhere(moment: object) -> Reading:
            frames = slots(moment)  # type: ignore[arg-type]
            return Reading({name: frame.assign(machine="b.example") for name, frame in frames.items()})

        collect_once([Told("pool", elsewhere), Told("history", Reading({"attempts": attempts}))], store)
        (row,) = store.attempts().to_dict("records")
        assert (row["device_model"], row["site"]) == ("NVIDIA L40S", "Site")

    def test_of_an_unknown_host(self, store: Store) -> None:
        attempts = attempts_frame([parse_one(EPOCH.replace("a.example", "c.example"))]).frame
        collect_once([pool(), Told("history", Reading({"attempts": attempts}))], store)
        (row,) = store.attempts().to_dict("records")
        assert pd.isna(row["device_model"])
        assert row["device_ids"] == "GPU-1"


class TestEvery:
    def test_until_stopped(self, store: Store) -> None:
        """A round that fails is told, and the next one tried; the round in hand is finished."""
        stop = threading.Event()
        told: list[Round | PoolscopeError] = []

        def tell(result: Round | PoolscopeError) -> None:
            told.append(result)
            if len(told) == 3:
                stop.set()

        good = pool().answers[0]
        source = Told("pool", good, SourceError("gone"), good)
        began = time.monotonic()
        collect_every([source], store, 0.4, stop=stop, tell=tell, jitter=0.0)
        assert 0.75 < time.monotonic() - began < 10
        assert [type(one) for one in told] == [Round, SourceError, Round]
        assert len(store.snapshots()) == 2

    def test_a_slow_round_is_not_caught_up(self, store: Store) -> None:
        """After a round that took three periods the next one comes at once, and those missed are not made up."""
        stop = threading.Event()
        starts: list[float] = []

        def slow(moment: object) -> Reading:
            starts.append(time.monotonic())
            if len(starts) == 1:
                time.sleep(0.9)
            if len(starts) == 3:
                stop.set()
            return Reading(slots(moment))  # type: ignore[arg-type]

        collect_every([Told("pool", slow)], store, 0.3, stop=stop, tell=lambda _: None, jitter=0.0)
        assert starts[2] - starts[1] > 0.25

    def test_a_store_that_cannot_be_written_ends_it(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError):
            collect_every(
                [pool()], Store(tmp_path / "file"), 1, stop=threading.Event(), tell=lambda _: None, jitter=0.0
            )


class TestInterval:
    @pytest.mark.parametrize(("every_s", "pool_name", "test_pool"), [
        (60, "cm.example", False), (300, "cm.example", True), (1, "127.0.0.1:9620", True), (1, "localhost", True),
        (1, "[::1]:9618", True), (0.1, "127.1.2.3", True),
    ])  # fmt: skip
    def test_allowed(self, every_s: float, pool_name: str, test_pool: bool) -> None:
        check_interval(every_s, pool_name, test_pool=test_pool)

    @pytest.mark.parametrize(("every_s", "pool_name", "test_pool", "said"), [
        (59, "cm.example", False, "at least 60 s"), (1, "127.0.0.1", False, "--test-pool"),
        (1, "cm.example", True, "'cm.example'"), (1, "10.0.0.1:9618", True, "'10.0.0.1'"),
        (0, "127.0.0.1", True, "--every 0 s"), (-5, "127.0.0.1", True, "--every -5 s"),
        (1, "localhost.evil.example", True, "loopback"),
    ])  # fmt: skip
    def test_refused(self, every_s: float, pool_name: str, test_pool: bool, said: str) -> None:
        with pytest.raises(InputError, match=said):
            check_interval(every_s, pool_name, test_pool=test_pool)
