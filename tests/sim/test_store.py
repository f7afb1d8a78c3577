"""The store keeps every row once: whatever is killed, damaged, merged or written at the same time."""

import errno
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sim.store.files
from sim.errors import FrameError, InputError, StoreError
from sim.schema import conform, describe, empty
from sim.store import Snapshot, Store, snapshot_id

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = "2026-11-24"


def slots(name: str, at: datetime, n: int = 3, ad: str = "") -> pd.DataFrame:
    rows = [
        {
            "snapshot": name, "seen_at": at, "name": f"slot1@{place}", "machine": f"{place}.example",
            "slot_type": "partitionable", "state": "Unclaimed", "cpus": 4.0, "gpus": 1, "has_singularity": True,
            "has_docker": False, "has_container": False, "has_sif": False, "has_sandbox_image": False,
            "has_docker_url": False, "draining": False, "offline": False, "backfill": False,
            "ad": ad or f"[ Name = \"slot1@{place}\" ]",
        }
        for place in range(n)
    ]  # fmt: skip
    return conform(pd.DataFrame(rows), "slots")


def job(
    name: str, at: datetime, status: str, number: int = 1, ad: str = "[ ClusterId = 1 ]"
) -> dict[str, object]:
    return {
        "snapshot": name, "seen_at": at, "job_id": f"{number}.0", "schedd": "ap1", "submitter": "a@x", "submitted_at": START,
        "status": status, "priority": 0, "request_cpus": 1.0, "request_memory_mib": 1.0, "request_disk_mib": 1.0,
        "request_gpus": 1, "requirements": "true", "n_starts": 0, "ad": ad,
    }  # fmt: skip


def attempts(n: int, *, ended: bool = True) -> pd.DataFrame:
    rows = [
        {
            "job_id": f"{number}.0", "schedd": "ap1", "submitter": "a@x", "attempt": 1, "ready_at": START,
            "started_at": START + timedelta(seconds=number), "ended_at": START + timedelta(hours=1) if ended else None,
        }
        for number in range(n)
    ]  # fmt: skip
    return conform(pd.DataFrame(rows), "attempts")


def taken(place: int, *, n: int = 3, **more: pd.DataFrame) -> Snapshot:
    at = START + timedelta(minutes=place)
    name = f"{at:%Y%m%dT%H%M%SZ}-{place:06d}"
    return Snapshot(name, at, {"slots": slots(name, at, n), **more}, {"sources": {"pool": {"rows": n}}})


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


class TestWhatIsKept:
    def test_a_snapshot_comes_back_as_it_was(self, store: Store) -> None:
        snapshot = taken(0)
        store.append(snapshot)
        pd.testing.assert_frame_equal(Store(store.path).read("slots"), snapshot.frames["slots"])
        known = store.snapshots()
        assert known["id"].tolist() == [snapshot.id]
        assert known["taken_at"].tolist() == [pd.Timestamp(START)]
        assert known["meta"][0] == {"sources": {"pool": {"rows": 3}}}
        assert (store.latest(), store.problems) == (snapshot.id, [])

    def test_opening_makes_nothing(self, store: Store) -> None:
        assert store.is_empty()
        assert store.latest() is None
        assert store.read("slots").empty
        assert store.jobs().empty
        assert store.query("SELECT count(*) AS n FROM devices")["n"].tolist() == [0]
        assert not store.path.exists()

    @pytest.mark.parametrize("path", ["s3://bucket/pool", Path("gs://bucket/pool"), "abfs://pool@account/x"])
    def test_an_object_store_is_refused(self, path: Path | str) -> None:
        """A folder called s3: would be made otherwise."""
        with pytest.raises(InputError, match="object stores"):
            Store(path)

    def test_filters(self, store: Store) -> None:
        for place in range(4):
            store.append(taken(place))
        minute = timedelta(minutes=1)
        window = store.read("slots", since=START + minute, until=START + 3 * minute)
        assert sorted(window["seen_at"].unique()) == [START + minute, START + 2 * minute]
        one = store.read("slots", snapshot=taken(2).id)
        assert one["seen_at"].unique().tolist() == [pd.Timestamp(START + 2 * minute)]
        some = store.read("slots", columns=["gpus", "seen_at", "ad", "to_die_at"])
        assert some.dtypes.astype(str).tolist() == [
            "Int64",
            "datetime64[us, UTC]",
            "str",
            "datetime64[us, UTC]",
        ]
        assert some["ad"].str.startswith("[ Name").all()

    @pytest.mark.parametrize("folder", ["it's here", "run[1]", "what?*", "site=Prairie", "day=1/frame=x"])
    def test_paths_that_look_like_something_else(self, tmp_path: Path, folder: str) -> None:
        """Hive partitions, SQL quotes and patterns in the store's own path mean nothing."""
        store = Store(tmp_path / folder)
        store.append(taken(0))
        assert store.read("slots")["site"].isna().all()
        assert store.query("SELECT count(*) AS n FROM slots")["n"].tolist() == [3]

    def test_sql_over_every_frame(self, store: Store) -> None:
        store.append(taken(0, attempts=attempts(5)))
        found = store.query(
            "SELECT count(*) AS n FROM attempts WHERE started_at < $t", {"t": START + timedelta(seconds=2)}
        )
        assert found["n"].tolist() == [2]
        with pytest.raises(StoreError, match="nonsense"):
            store.query("SELECT nonsense FROM slots")

    def test_a_job_that_left_stays_as_it_left(self, store: Store) -> None:
        """Also when a slow schedd showed it running afterwards."""
        later = START + timedelta(hours=1)
        rows = [
            job("a", START, "completed"),
            job("b", later, "running"),
            job("b", later, "idle", 2),
            job("a", START, "running", 2),
        ]
        store.append(taken(0, jobs=pd.DataFrame(rows)))
        jobs = store.jobs().set_index("job_id")["status"].to_dict()
        assert jobs == {"1.0": "completed", "2.0": "idle"}

    def test_what_is_told_again_is_written_once(self, store: Store) -> None:
        """History and attempts are told at every round, also to the next process; the queue is news each time."""
        for place in range(3):
            name = taken(place).id
            rows = [job(name, START, "completed", 1), job(name, START, "idle", 2)]
            writer = Store(store.path)
            writer.append(taken(10 + place, attempts=empty("attempts"), jobs=empty("jobs")))
            writer.append(taken(place, attempts=attempts(4), jobs=pd.DataFrame(rows)))
        assert len(store.read("attempts")) == 4
        assert store.read("jobs")["status"].value_counts().to_dict() == {"idle": 3, "completed": 1}

    def test_an_attempts_end_is_news(self, store: Store) -> None:
        store.append(taken(0, attempts=attempts(2, ended=False)))
        store.append(taken(1, attempts=attempts(2)))
        store.append(taken(2, attempts=attempts(2, ended=False)))
        assert store.attempts()["ended_at"].notna().tolist() == [True, True]
        store.compact(DAY)
        assert store.attempts()["ended_at"].notna().tolist() == [True, True]

    def test_an_attempt_waits_from_the_end_of_the_one_before(self, store: Store) -> None:
        """Also where a later round told of it, without the one before."""
        first, again = attempts(1), attempts(2).tail(1).assign(job_id="0.0", attempt=2)
        again["started_at"] += timedelta(hours=2)
        again["ended_at"] += timedelta(hours=2)
        store.append(taken(0, attempts=attempts(3)))
        store.append(taken(1, attempts=again))
        found = store.attempts()
        assert found["job_id"].tolist() == ["0.0", "0.0", "1.0", "2.0"]
        assert found["ready_at"].tolist() == [START, first["ended_at"][0], START, START]

    def test_ids_sort_by_time_and_never_repeat(self) -> None:
        ids = [snapshot_id(START + timedelta(seconds=second)) for second in range(20)]
        assert ids == sorted(ids)
        assert len({snapshot_id(START) for _ in range(1000)}) == 1000


class TestAllOrNothing:
    def test_a_frame_that_is_wrong_leaves_nothing(self, store: Store) -> None:
        with pytest.raises(FrameError, match="devices"):
            store.append(taken(0, devices=pd.DataFrame({"machine": ["x"]})))
        assert not store.path.exists()

    @pytest.mark.parametrize("failing", range(1, 4))
    def test_a_full_disk(self, store: Store, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
        """Whichever write fails, readers see the snapshot before and nothing of the new one."""
        store.append(taken(0))
        before = files(store.path)
        calls = 0
        synced = sim.store.files.sync

        def full(path: Path) -> None:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            synced(path)

        monkeypatch.setattr(sim.store.files, "sync", full)
        rows = pd.DataFrame([job("b", START, "idle", 7, "[ New = 7 ]")])
        with pytest.raises(StoreError, match=r"No space left on device.*check space"):
            store.append(taken(1, jobs=rows))
        monkeypatch.undo()
        for reader in (store, Store(store.path)):
            assert reader.snapshots()["id"].tolist() == [taken(0).id]
            assert (len(reader.read("slots")), len(reader.read("jobs"))) == (3, 0)
        left = files(store.path) - before
        assert all(name.startswith("frame=ad_texts/") and name.endswith(".parquet") for name in left)
        store.append(taken(1, jobs=rows))
        assert Store(store.path).read("jobs")["ad"].tolist() == ["[ New = 7 ]"]

    def test_a_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "store").write_text("mine")
        with pytest.raises(StoreError, match=r"store: can't write"):
            Store(tmp_path / "store").append(taken(0))
        assert (tmp_path / "store").read_text() == "mine"

    @pytest.mark.slow
    def test_killed_at_any_moment(self, tmp_path: Path) -> None:
        """Two writers at a time, each killed at random: a snapshot is there whole, in all frames, or not at all."""
        checkout = str(Path(__file__).resolve().parents[2])
        done = subprocess.run(
            [sys.executable, "-c", NURSERY, str(tmp_path / "s"), checkout], timeout=60, check=False
        )
        assert done.returncode == 0
        store = Store(tmp_path / "s")
        ids = set(store.snapshots()["id"])
        assert len(ids) >= 6
        assert store.problems == []
        read = store.read("slots").groupby("snapshot").size()
        assert set(read.index) == ids
        assert set(read) == {3}
        assert set(store.read("jobs")["snapshot"]) == ids
        store.compact(DAY)
        assert set(Store(store.path).read("slots")["snapshot"]) == ids
        assert store.problems == []

    def test_a_snapshot_without_its_record_does_not_exist(self, store: Store) -> None:
        """What a killed writer leaves is no data, and a day later compaction takes it away."""
        store.append(taken(0))
        store.append(taken(1))
        (store.path / "snapshots" / f"{taken(1).id}.json").unlink()
        assert set(store.read("slots")["snapshot"]) == {taken(0).id}
        (orphan,) = store.path.glob(f"frame=slots/*/{taken(1).id}.parquet")
        (orphan.parent / ".x.part").write_bytes(b"half")
        store.compact(DAY)
        assert orphan.exists()
        for file in (orphan, orphan.parent / ".x.part"):
            os.utime(file, (time.time() - 2 * 86400,) * 2)
        store.compact(DAY)
        assert len(list(orphan.parent.iterdir())) == 1


class TestDamage:
    @pytest.mark.parametrize("damage", ["empty", "truncated", "text", "middle", "foreign"])
    def test_a_damaged_file_is_named_and_the_rest_read(self, store: Store, damage: str) -> None:
        store.append(taken(0, n=200))
        store.append(taken(1, n=200))
        (file,) = store.path.glob(f"frame=slots/*/{taken(1).id}.parquet")
        whole = file.read_bytes()
        match damage:
            case "empty":
                file.write_bytes(b"")
            case "truncated":
                file.write_bytes(whole[: len(whole) // 2])
            case "text":
                file.write_bytes(b"<html>not found</html>")
            case "middle":
                file.write_bytes(whole[:4] + b"\0" * 3000 + whole[3004:])
            case "foreign":
                pq.write_table(pa.table({"name": ["x"], "n": [1]}), file)
        reader = Store(store.path)
        assert set(reader.read("slots")["snapshot"]) == {taken(0).id}
        assert len(reader.problems) == 1
        assert taken(1).id in reader.problems[0]
        assert reader.query("SELECT count(*) AS n FROM slots")["n"].tolist() == [200]

    @pytest.mark.parametrize(
        "content", [b"", b"[]", b"5", b'{"id": 1}', b"\xff\xd8\xff", b'{"id": "x", "taken_at": "soon"}']
    )
    def test_a_damaged_record(self, store: Store, content: bytes) -> None:
        store.append(taken(0))
        (store.path / "snapshots" / "20990101T000000Z-0.json").write_bytes(content)
        assert store.latest() == taken(0).id
        assert len(store.problems) == 1

    def test_a_lost_text_is_told(self, store: Store) -> None:
        """Rows without their ad are left out, with a word; written anew, the text is back."""
        store.append(taken(0))
        for file in store.path.glob("frame=ad_texts/*/*.parquet"):
            file.write_bytes(b"PAR1 gone PAR1")
        reader = Store(store.path)
        assert reader.read("slots").empty
        assert any("3 rows whose ad's text is lost" in problem for problem in reader.problems)
        Store(store.path).append(taken(1))
        assert len(reader.read("slots")) == 6

    def test_old_files_lack_columns(self, store: Store) -> None:
        """What an older version didn't know is missing, with the right type, also beside new files and merged."""
        store.append(taken(0))
        (file,) = store.path.glob("frame=slots/*/*.parquet")
        old = pq.read_table(file).drop_columns(["heard_at", "slot_weight", "cvmfs", "total_gpus"])
        pq.write_table(old.append_column("forgotten", pa.array([1] * 3)), file)

        def check(store: Store) -> None:
            read = store.read("slots")
            assert [str(column.name) for column in describe("slots")] == read.columns.tolist()
            assert str(read["heard_at"].dtype) == "datetime64[us, UTC]"
            assert store.read("slots", columns=["total_gpus"])["total_gpus"].dtype == "Int64"

        check(Store(store.path))
        store.append(taken(1))
        check(Store(store.path))
        store.compact(DAY)
        check(Store(store.path))
        assert len(store.read("slots")) == 6


class TestCompaction:
    def test_keeps_every_row(self, store: Store) -> None:
        for place in range(5):
            rows = pd.DataFrame([job(taken(place).id, START, "idle", place, f"[ ClusterId = {place} ]")])
            store.append(taken(place, n=place + 1, attempts=attempts(place + 1), jobs=rows))
        order = ["snapshot", "name"]
        before = store.read("slots").sort_values(order, ignore_index=True)
        jobs, tried = store.jobs(), store.attempts()
        assert store.compact(DAY) == 25  # 5 of slots, jobs and attempts, 10 of texts
        assert store.compact(DAY) == 0
        reader = Store(store.path)
        pd.testing.assert_frame_equal(reader.read("slots").sort_values(order, ignore_index=True), before)
        pd.testing.assert_frame_equal(reader.jobs(), jobs)
        pd.testing.assert_frame_equal(reader.attempts(), tried)
        assert len(list(store.path.glob("frame=slots/*/*"))) == 1
        store.append(taken(7))
        assert len(store.read("slots")) == len(before) + 3
        store.compact(DAY)
        assert len(store.read("slots")) == len(before) + 3
        assert store.compact("2020-01-01") == 0

    def test_killed_between_writing_and_deleting(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        for place in range(3):
            store.append(taken(place))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
            store.compact(DAY)
        assert len(list(store.path.glob("frame=slots/*/*.parquet"))) == 4
        reader = Store(store.path)
        assert len(reader.read("slots")) == 9
        assert len(reader.query("SELECT name FROM slots")) == 9
        store.append(taken(3))
        store.compact(DAY)
        assert len(Store(store.path).read("slots")) == 12
        assert len(list(store.path.glob("frame=slots/*/*.parquet"))) == 1

    def test_a_reader_sees_every_row_once_at_all_times(self, store: Store) -> None:
        """While a process writes and compacts, a snapshot that was seen is seen whole ever after."""
        store.append(taken(0))
        writer = multiprocessing.get_context("spawn").Process(target=_write_and_compact, args=(store.path,))
        writer.start()
        seen: set[str] = set()
        n_reads = 0
        while writer.is_alive():
            finished = set(store.snapshots()["id"])
            for found in (store.read("slots"), store.query("SELECT snapshot FROM slots")):
                rows = found.groupby("snapshot").size()
                assert set(rows) == {3}
                assert finished <= set(rows.index)
                assert seen <= set(rows.index)
                seen = set(rows.index)
            n_reads += 1
        writer.join()
        assert writer.exitcode == 0
        assert n_reads > 5
        assert store.problems == []
        assert len(store.read("slots")) == 3 * 16

    def test_two_compactions_at_once(self, store: Store) -> None:
        for place in range(6):
            store.append(taken(place))
        several = [threading.Thread(target=Store(store.path).compact, args=(DAY,)) for _ in range(4)]
        for one in several:
            one.start()
        for one in several:
            one.join()
        assert len(store.read("slots")) == 18


class TestTexts:
    def test_kept_once(self, store: Store) -> None:
        for place in range(4):
            store.append(taken(place))
        kept = pd.concat(
            pd.read_parquet(file, partitioning=None) for file in store.path.glob("frame=ad_texts/*/*")
        )
        assert len(kept) == 3

    def test_a_reader_learns_of_texts_written_since(self, store: Store) -> None:
        reader = Store(store.path)
        store.append(taken(0))
        assert len(reader.read("slots")) == 3
        name = taken(1).id
        new = slots(name, START, n=2, ad='[ Quite = "new" ]')
        store.append(Snapshot(name, START, {"slots": new}))
        assert reader.read("slots", snapshot=name)["ad"].tolist() == ['[ Quite = "new" ]'] * 2
        assert reader.problems == []

    def test_two_writers(self, store: Store) -> None:
        """Both believe that they are the first to see an ad."""
        one, other = Store(store.path), Store(store.path)
        one.append(taken(0))
        other.append(taken(1))
        one.append(taken(2, n=5))
        other.append(taken(3, n=6))
        store.compact(DAY)
        assert len(Store(store.path).read("slots")) == 3 + 3 + 5 + 6
        (merged,) = store.path.glob("frame=ad_texts/*/*")
        assert pq.read_metadata(merged).num_rows == 6

    def test_text_survives_as_it_is(self, store: Store) -> None:
        odd = '[ A = "two  blanks, \\"quotes\\", Ä€😀 and\\nbreaks"; B = "' + "x" * 1_000_000 + '" ]'
        store.append(Snapshot("s", START, {"slots": slots("s", START, 1, odd)}))
        assert Store(store.path).read("slots")["ad"].tolist() == [odd]


NURSERY = """
import os, random, signal, sys, time
sys.path.insert(0, sys.argv[2])
from tests.sim.test_store import *

def write(first, told):
    store = Store(sys.argv[1])
    for place in range(first, first + 50):
        os.write(told, b".")
        name = taken(place).id
        store.append(taken(place, attempts=attempts(9), jobs=pd.DataFrame([job(name, START, "idle", place)])))

chance = random.Random(5)
for number in range(3):
    writers = []
    for half in range(2):
        told, telling = os.pipe()
        pid = os.fork()
        if pid == 0:
            write(50 * (2 * number + half), telling)
            os._exit(0)
        writers.append((pid, told))
    for pid, told in writers:
        os.read(told, 1)
        began = time.monotonic()
        os.read(told, 1)  # one snapshot is written, the next begun
        time.sleep(chance.uniform(0, 1.2) * (time.monotonic() - began))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
"""
"""Forks writers and kills them: a fork of its own is a writer at once, without imports."""


def _write_and_compact(path: Path) -> None:
    store = Store(path)
    for place in range(1, 16):
        store.append(taken(place))
        if place % 3 == 0:
            Store(path).compact(DAY)
