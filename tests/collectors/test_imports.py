"""Files become what the recorded pool's own bookkeeping says, each record once."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from collectors.imports import import_files
from sim.classads.ads import read_ads
from sim.errors import InputError
from sim.store import Store, upkeep
from tests.collectors.made import SLOT

RUNS = ["recording-w1-r1", "recording-w1-r2", "recording-w1-r3"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def text_of(path: Path) -> str:
    return lzma.open(path, "rt").read()


class TestRecordings:
    @pytest.mark.parametrize("run", RUNS)
    @pytest.mark.slow
    def test_rows_and_devices_of_the_trace(self, shared_data: Path, store: Store, run: str) -> None:
        """Every start of a program: job, times to the millisecond, how it ended, slot, GPU model."""
        folder = shared_data / "pool" / run
        names = ("epochs.json.xz", "history.json.xz", "startd_ads.jsonl.xz", "logs/EventLog.xz")
        done = import_files([folder / name for name in names], store)
        began = json.loads((folder / "meta.json").read_text())["t0"]
        attempts = store.attempts()
        found = attempts[attempts["executing_at"].notna()]
        since = pd.Timestamp(round(began * 1e6), unit="us", tz="UTC")

        def offset(times: pd.Series) -> list[float]:
            return [round((at - since).total_seconds(), 3) for at in times]

        models = found["device_model"].fillna("")
        got = list(zip(found["job_id"], found["attempt"], offset(found["ready_at"]), offset(found["executing_at"]),
                       offset(found["ended_at"]), found["outcome"], found["slot"], models, strict=True))  # fmt: skip
        with (folder / "trace.csv").open() as lines:
            expected = [
                (row["job_id"], int(row["start_no"]), float(row["ready"]), float(row["start"]), float(row["end"]),
                 row["how"], row["slot"], row["gpu_model"])
                for row in csv.DictReader(lines)
            ]  # fmt: skip
        # a job that couldn't be activated once waits anew; trace.csv counts from its submission
        again = set(attempts["job_id"][attempts["executing_at"].isna()])
        assert [row for row in sorted(got) if row[0] not in again] == [
            row for row in sorted(expected) if row[0] not in again
        ]
        assert sorted((row[0], *row[3:]) for row in got) == sorted((row[0], *row[3:]) for row in expected)
        assert len(attempts) - len(found) == len(again) <= 1
        assert done.taken > 4000

    @pytest.mark.slow
    def test_a_whole_folder_twice(self, shared_data: Path, store: Store) -> None:
        folder = shared_data / "pool" / RUNS[0]
        first = import_files([folder], store)
        before = {name: store.read(name) for name in ("slots", "jobs", "attempts", "imports")}
        second = import_files([folder], store)
        assert first.taken > 7000
        assert (second.taken, second.snapshots) == (0, 0)
        assert upkeep.verify(store)["clean"]
        assert second.skipped == first.taken + first.skipped
        for name, frame in before.items():
            pd.testing.assert_frame_equal(store.read(name), frame)
        reasons = {
            entry["path"].rpartition("/")[2]: entry["error"] for entry in first.files if entry["error"]
        }
        assert {"trace.csv", "central.conf", "queue_left.json.xz"} <= set(reasons)

    def test_parts_of_a_log_in_any_order_and_grown(
        self, shared_data: Path, store: Store, tmp_path: Path
    ) -> None:
        """A rotated log gives what the whole one gives, and growing gives the rest."""
        text = text_of(shared_data / "pool" / RUNS[0] / "logs/EventLog.xz")
        cuts = [text.index("\n{", len(text) * part // 3) + 1 for part in (1, 2)]
        parts = [text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]]
        folder = tmp_path / "log"
        folder.mkdir()
        (folder / "EventLog.1").write_text(parts[0])
        (folder / "EventLog").write_bytes(gzip.compress(parts[1].encode()))
        taken = import_files([folder], store).taken
        (folder / "EventLog").write_text(parts[1] + parts[2])
        grown = import_files([folder / "EventLog", folder / "EventLog.1"], store)
        whole = Store(tmp_path / "whole")
        (tmp_path / "one").write_text(text)
        assert import_files([tmp_path / "one"], whole).taken == taken + grown.taken
        pd.testing.assert_frame_equal(store.attempts(), whole.attempts())
        jobs, expected = store.jobs(), whole.jobs()
        assert (jobs["status"] == "completed").sum() == 300
        for column in ("job_id", "status", "first_started_at", "completed_at", "n_starts"):
            assert jobs[column].equals(expected[column])


class TestAccessPoints:
    """Every access point numbers its jobs from 1."""

    @staticmethod
    def event(code: int, job: int, clock: str, rest: str) -> str:
        return f"{code:03} ({job:03}.000.000) 2026-11-20 {clock}+00:00 {rest}\n...\n"

    def log(self, host: str, hour: int) -> tuple[str, str]:
        """Two jobs of an access point: their submission and the start of the first, and what came after."""
        submitted = "".join(
            self.event(0, job, f"{hour}:00:0{job}", f"Job submitted from host: <10.0.0.9:9618?addrs=10.0.0.9-9618&alias={host}>")
            for job in (1, 2)
        )  # fmt: skip
        starts = [
            self.event(1, job, f"{hour}:01:0{job}", f"Job executing on host: <10.1.0.1:9618?alias=ep.example>\n\tSlotName: slot1_{job}@ep.{host}")
            for job in (1, 2)
        ]  # fmt: skip
        ends = "".join(
            self.event(
                5, job, f"{hour}:11:0{job}", "Job terminated.\n\t(1) Normal termination (return value 0)"
            )
            for job in (1, 2)
        )
        return submitted + starts[0], starts[1] + ends

    @pytest.mark.parametrize("together", [True, False])
    def test_logs_of_two_access_points(self, store: Store, tmp_path: Path, together: bool) -> None:
        """The same ids are two jobs, whether the logs come at once or one after the other."""
        for host, hour in (("ap1.example", 10), ("ap2.example", 12)):
            (tmp_path / host).write_text("".join(self.log(host, hour)))
            if not together:
                import_files([tmp_path / host], store)
        if together:
            import_files([tmp_path / "ap1.example", tmp_path / "ap2.example"], store)
        jobs, attempts = store.jobs(), store.attempts()
        ids = [(host, job) for host in ("ap1.example", "ap2.example") for job in ("1.0", "2.0")]
        assert list(zip(jobs["schedd"], jobs["job_id"], strict=True)) == ids
        assert jobs["run_s"].tolist() == [600] * 4
        assert list(zip(attempts["schedd"], attempts["job_id"], strict=True)) == ids
        assert [slot.partition("@ep.")[2] for slot in attempts["slot"]] == [host for host, _ in ids]

    def test_a_part_without_submissions_is_of_who_submitted_such_a_job(
        self, store: Store, tmp_path: Path
    ) -> None:
        """Where only one access point did; of jobs of both nobody can say."""
        begin, rest = self.log("ap1.example", 10)
        other = self.event(0, 7, "12:00:00", "Job submitted from host: <10.0.0.7:9618>")
        for name, text in (("log.old", begin), ("log", rest), ("other", other)):
            (tmp_path / name).write_text(text)
        import_files([tmp_path / name for name in ("log.old", "log", "other")], store)
        jobs = store.jobs().sort_values("job_id")
        assert list(zip(jobs["job_id"], jobs["status"], strict=True)) == [
            ("1.0", "completed"), ("2.0", "completed"), ("7.0", "idle"),
        ]  # fmt: skip


class TestAds:
    def test_the_same_ads_in_another_format(self, shared_data: Path, store: Store, tmp_path: Path) -> None:
        source = shared_data / "pool/history.ads"
        ads = read_ads(source)
        assert import_files([source], store).taken == len(ads) == 14
        (tmp_path / "again.json").write_text("[" + ",".join(ad.printJson() for ad in ads) + "]")
        (tmp_path / "again.new").write_text("\n".join(str(ad) for ad in ads))
        again = import_files([tmp_path / "again.json", tmp_path / "again.new"], store)
        assert (again.taken, again.skipped) == (0, 28)

    def test_slots_and_queue(self, shared_data: Path, store: Store) -> None:
        paths = [shared_data / "pool" / name for name in ("slots_busy.ads", "queue.ads", "negotiator.ads")]
        done = import_files(paths, store)
        assert done.rows == {"slots": 20, "devices": 17, "jobs": 16, "cycles": 3}
        assert len(store.read("slots", snapshot=str(store.read("slots")["snapshot"].iloc[0]))) == 20

    def test_reasons(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "ads").write_text(SLOT + '\n[ MyType = "Machine"; Cpus = 1 ]\n[ MyType = "Scheduler" ]\n')
        (tmp_path / "notes.txt").write_text("These are my ads.\n")
        (tmp_path / "picture").write_bytes(b"\x89PNG\r\n\x1a\n")
        (tmp_path / "empty").write_text("")
        done = import_files([tmp_path], store)
        assert (done.taken, done.skipped) == (1, 5)
        assert done.reasons["no Name or Machine"] == 1
        assert done.reasons["an ad of no use here"] == 1
        assert done.reasons["a file of no known format"] == 3

    @pytest.mark.parametrize("name", ["queue.ads", "jobs.userlog"])
    @pytest.mark.parametrize("first", ["as it is", "with a mark"])
    def test_a_byte_order_mark_is_none_of_the_text(
        self, shared_data: Path, store: Store, tmp_path: Path, name: str, first: str
    ) -> None:
        """As an editor of Windows leaves it; the same file without it has nothing new, whichever comes first."""
        plain = (shared_data / "pool" / name).read_bytes()
        contents = [plain, b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n")]
        for place, content in enumerate(contents if first == "as it is" else contents[::-1]):
            (tmp_path / f"{place}.txt").write_bytes(content)
        done = import_files([tmp_path / "0.txt", tmp_path / "1.txt"], store)
        one, other = (entry["taken"] for entry in done.files)
        assert one > 0
        assert other == 0

    def test_the_last_ad_breaks_off(self, shared_data: Path, store: Store, tmp_path: Path) -> None:
        text = (shared_data / "pool" / "history.ads").read_text()
        whole = len(read_ads(shared_data / "pool" / "history.ads"))
        (tmp_path / "cut.ads").write_text(text[: text.rindex("\nRequirements") + 16])
        done = import_files([tmp_path / "cut.ads"], store)
        assert (done.files[0]["taken"], done.files[0]["reasons"]) == (whole - 1, {"an ad that breaks off": 1})

    @pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
    @pytest.mark.parametrize("damage", ["cut", "turned over"])
    def test_a_damaged_packed_file(
        self, shared_data: Path, store: Store, tmp_path: Path, pack: Callable[[bytes], bytes], damage: str
    ) -> None:
        packed = bytearray(pack((shared_data / "pool" / "queue.ads").read_bytes()))
        if damage == "cut":
            del packed[len(packed) // 2 :]
        else:
            packed[len(packed) // 2 : len(packed) // 2 + 64] = bytes(64)
        (tmp_path / "queue.packed").write_bytes(packed)
        with pytest.raises(InputError, match=r"queue\.packed: can't be read"):
            import_files([tmp_path / "queue.packed"], store)

    def test_nothing_of_use(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("These are my ads.\n")
        with pytest.raises(InputError, match=r"nothing to import .*notes\.txt.*; expected the output of"):
            import_files([tmp_path / "notes.txt"], store)
        with pytest.raises(InputError, match="absent: no such file or folder"):
            import_files([tmp_path / "absent"], store)
        assert not store.path.exists()


SWF = """\
; Version: 2.2
; UnixStartTime: 1000000000
 1     0  10  3600  4 -1 -1  4  7200  1024 1  3  1 1 -1 -1 -1 -1
 2    60  -1    -1  8 -1 -1  8  7200    -1 5  4  2 1 -1 -1 -1 -1
 3   120   0    60 -1 -1 -1  1    60    -1 0 -1 -1 1 -1 -1 -1 -1
 bad line
"""


class TestTraces:
    def test_swf(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "log.swf").write_text(SWF)
        done = import_files([tmp_path / "log.swf"], store)
        assert (done.taken, done.reasons) == (3, {"a line without 18 numbers": 1})
        jobs = store.jobs().set_index("job_id").to_dict("index")
        assert jobs["1.0"]["submitted_at"].timestamp() == 1_000_000_000
        assert (jobs["1.0"]["first_started_at"] - jobs["1.0"]["submitted_at"]).total_seconds() == 10
        assert (jobs["1.0"]["run_s"], jobs["1.0"]["request_cpus"]) == (3600, 4)
        assert jobs["1.0"]["request_memory_mib"] == 4.0
        assert [job["status"] for job in jobs.values()] == ["completed", "removed", "completed"]
        assert store.attempts()["outcome"].tolist() == ["done", "failed"]
        assert import_files([tmp_path / "log.swf"], store).taken == 0

    @pytest.mark.slow
    def test_openb(self, shared_data: Path, store: Store) -> None:
        """The figures of its description: 1,523 nodes with 6,212 GPUs; 8,152 pods, 861 never scheduled."""
        done = import_files([shared_data / "traces"], store)
        assert (done.taken, done.skipped) == (1523 + 8152, 0)
        devices = store.read("devices")
        assert len(devices) == 6212
        assert devices["model"].value_counts()[["G2", "T4", "G3", "P100", "V100M32"]].tolist() == [
            4392,
            842,
            312,
            265,
            204,
        ]
        jobs = store.jobs()
        gpu = jobs[jobs["request_gpus"] > 0]
        assert len(gpu) == 7064
        assert int(gpu["first_started_at"].isna().sum()) == 861
        waits = (gpu["first_started_at"] - gpu["submitted_at"]).dt.total_seconds().dropna()
        assert waits.quantile([0.5, 0.9, 0.99]).round().tolist() == [2, 139, 1109]
        assert (gpu["require_gpus"] == 'DeviceName == "T4"').sum() == 1291
        assert (gpu["require_gpus"] == 'DeviceName == "G2"').sum() == 331

    def test_philly(self, store: Store, tmp_path: Path) -> None:
        out = io.StringIO()
        rows = csv.writer(out)
        rows.writerow(["job_id", "user", "vc", "timestamp", "num_gpus", "duration", "status"])
        rows.writerow(["application_1", "ab12", "ee9e8c", "2017-10-03 02:15:11", 2, 3600, "Pass"])
        rows.writerow(["application_2", "ab12", "ee9e8c", "1507000000", 1, 60, "Killed"])
        rows.writerow(["application_3", "ab12", "ee9e8c", "soon", 1, 60, "Pass"])
        (tmp_path / "philly.csv").write_text(out.getvalue())
        done = import_files([tmp_path / "philly.csv"], store)
        assert (done.taken, sum(done.reasons.values())) == (2, 1)
        jobs = store.jobs().set_index("job_id").to_dict("index")
        assert jobs["1.0"]["submitted_at"] == pd.Timestamp("2017-10-03 02:15:11", tz="UTC")
        assert (jobs["1.0"]["run_s"], jobs["1.0"]["request_gpus"]) == (3600, 2)
        assert pd.isna(jobs["1.0"]["first_started_at"])


def test_under_pseudonyms(tmp_path: Path) -> None:
    """No owner or host by name, neither in columns nor in texts; the second time takes nothing."""
    from sim.privacy import Pseudonyms

    (tmp_path / "slots").write_text(SLOT)
    (machine,) = {str(ad["Machine"]) for ad in read_ads(tmp_path / "slots")}
    held = Store(tmp_path / "store")
    change = Pseudonyms.of(held.path).frame
    taken = [import_files([tmp_path / "slots"], held, change=change).taken for _ in range(2)]
    assert taken == [len(read_ads(tmp_path / "slots")), 0]
    rows = held.read("slots")
    assert len(rows)
    assert not rows.astype(str).apply(lambda column: column.str.contains(machine, regex=False)).any(axis=None)
