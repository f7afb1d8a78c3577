"""Sessions, supply, demand and waits are what the recorded pools' own bookkeeping says."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from collectors.imports import import_files
from sim import derived
from sim.classads.ads import parse_one, read_ads
from sim.inventory import devices_frame, jobs_frame, slots_frame
from sim.store import Snapshot, Store, sample_path

START = datetime(2026, 11, 23, 22, tzinfo=UTC)
SLOT = (
    '[ MyType = "Machine"; Name = "slot1@{startd}@{host}"; Machine = "{host}"; SlotType = "Partitionable"; Cpus = 8;'
    " PartitionableSlot = true; TotalSlotCpus = 8; Memory = 9000; TotalSlotMemory = 9000; Disk = 90000000;"
    ' TotalSlotDisk = 90000000; State = "Unclaimed"; Start = true; Requirements = Start;'
    ' AssignedGPUs = "GPU-1"; AvailableGPUs = {{ GPUs_GPU_1 }}; GPUs = 1; TotalSlotGPUs = 1; DaemonStartTime = {began};'
    ' GPUs_GPU_1 = [ Id = "GPU-1"; DeviceName = "NVIDIA A40"; Capability = 8.6; GlobalMemoryMb = 45000 ]; LastHeardFrom = {heard} {more} ]'
)


def seen(
    store: Store, minute: int, *machines: tuple[str, int, int, str], jobs: list[str] | None = None
) -> None:
    """A snapshot with these startds: name, minute of their start, minute of their last word, further attributes."""
    at = START + timedelta(minutes=minute)
    name = f"{at:%Y%m%dT%H%M%SZ}-{minute:06d}"
    ads = [
        parse_one(
            SLOT.format(
                startd=startd, host=f"{startd}.example", more=more,
                began=int((START + timedelta(minutes=began)).timestamp()),
                heard=int((START + timedelta(minutes=heard)).timestamp()),
            )
        )
        for startd, began, heard, more in machines
    ]  # fmt: skip
    frames = {
        "slots": slots_frame(ads, seen_at=pd.Timestamp(at), snapshot=name).frame,
        "devices": devices_frame(ads, seen_at=pd.Timestamp(at), snapshot=name).frame,
    }
    if jobs is not None:
        made = jobs_frame(
            [parse_one(ad) for ad in jobs], seen_at=pd.Timestamp(at), snapshot=name, schedd="ap"
        )
        frames["jobs"] = made.frame
    store.append(Snapshot(name, at, frames))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def minutes(times: pd.Series) -> list[float]:
    return [round((at - pd.Timestamp(START)).total_seconds() / 60, 1) for at in times]


class TestSessions:
    def test_how_they_begin_and_end(self, store: Store) -> None:
        die = int((START + timedelta(minutes=27)).timestamp())
        for minute in range(0, 70, 10):
            there = [("stays", -50, minute, "")]
            if minute <= 20:
                there += [("expires", -5, minute, f"; GLIDEIN_ToDie = {die}"), ("goes", -5, minute, "")]
            if minute >= 20:
                there.append(("comes", 14, minute, ""))
            if minute <= 40:
                there.append(("falls", -5, min(minute, 21), ""))
            seen(store, minute, *there)
        found = derived.with_devices(derived.sessions(store), store)
        rows = {row["startd"].partition("@")[0]: row for row in found.to_dict("records")}
        assert {name: (row["began"], row["ended"]) for name, row in rows.items()} == {
            "stays": ("before", "open"), "expires": ("before", "expired"), "goes": ("before", "gone"),
            "comes": ("seen", "open"), "falls": ("before", "silent"),
        }  # fmt: skip
        left = {
            name: (row["left_at"] - pd.Timestamp(START)).total_seconds() / 60 for name, row in rows.items()
        }
        assert (left["expires"], left["goes"], left["falls"]) == (27, 25, 21)
        assert (rows["comes"]["arrived_at"] - pd.Timestamp(START)).total_seconds() / 60 == 14
        assert set(found["model"]) == {"NVIDIA A40"}

    def test_one_that_was_seen_once_is_as_silent_as_others(self, store: Store) -> None:
        """A startd with nothing new sends an ad every UPDATE_INTERVAL, five minutes by default."""
        for minute in range(0, 50, 10):
            brief = [("brief", 15, 16, "")] if minute == 20 else []
            seen(store, minute, ("stays", -50, minute - 4, ""), *brief)
        ends = derived.sessions(store).set_index("startd")["ended"].to_dict()
        assert ends == {"stays@stays.example": "open", "brief@brief.example": "gone"}

    def test_a_startd_that_was_started_anew(self, store: Store) -> None:
        for minute in (0, 10, 20, 30):
            seen(store, minute, ("a", -5 if minute < 15 else 14, minute, ""))
        found = derived.sessions(store)
        assert found["ended"].tolist() == ["gone", "open"]
        assert minutes(found["arrived_at"]) == [0, 14]

    def test_a_round_without_slots_is_no_evidence(self, store: Store) -> None:
        seen(store, 0, ("a", -5, 0, ""))
        at = START + timedelta(minutes=10)
        store.append(Snapshot(f"{at:%Y%m%dT%H%M%SZ}-x", at, {}))
        seen(store, 20, ("a", -5, 20, ""))
        assert derived.sessions(store)["snapshots"].tolist() == [2]

    @pytest.mark.parametrize("run", ["recording-w1-r1", "recording-w1-r2", "recording-w1-r3"])
    @pytest.mark.slow
    def test_the_glideins_of_a_recorded_pool(self, shared_data: Path, store: Store, run: str) -> None:
        """Every arrival and departure that the control script made, to one interval of 15 s."""
        folder = shared_data / "pool" / run
        import_files([folder / "startd_ads.jsonl.xz"], store)
        began = pd.Timestamp(json.loads((folder / "meta.json").read_text())["t0"], unit="s", tz="UTC")
        found = derived.with_devices(derived.sessions(store), store)
        rows = {row["startd"].partition("@")[0]: row for row in found.to_dict("records")}
        with (folder / "nodes.csv").open() as lines:
            nodes = {row["glidein"]: row for row in csv.DictReader(lines)}
        assert rows.keys() == nodes.keys()
        for name, node in nodes.items():
            row = rows[name]
            assert (row["model"] if isinstance(row["model"], str) else "") == node["gpu_model"]
            assert (row["ended"] == "open") == (node["down"] == "")
            if node["down"]:
                assert abs((row["left_at"] - began).total_seconds() - float(node["down"])) <= 15
            if float(node["up"]) > 0:
                assert abs((row["arrived_at"] - began).total_seconds() - float(node["up"])) <= 15
            assert (row["began"] == "before") == (float(node["up"]) < 0)


class TestOverTime:
    def test_supply_is_the_mean_of_an_hour(self, store: Store) -> None:
        for minute in range(0, 60, 10):
            there = [("a", -5, minute, "")] + ([("b", -5, minute, "")] if minute < 20 else [])
            seen(store, minute, *there)
        (row,) = derived.supply(store).to_dict("records")
        assert (row["family"], row["state"], row["snapshots"]) == ("A40", "free", 6)
        assert row["gpus"] == pytest.approx(1 + 2 / 6)

    def test_demand_by_shape(self, store: Store) -> None:
        """GPU-hours that waited, and those that no slot could give."""
        job = (
            '[ ClusterId = {n}; ProcId = 0; JobStatus = {status}; QDate = 1795000000; User = "a@x"; RequestGPUs = {gpus};'
            ' RequestCpus = 2; RequestMemory = 1000; RequestDisk = 1000; JobDurationCategory = "Long";'
            ' GPUsMinCapability = {floor}; RequireGPUs = Capability >= GPUsMinCapability && DeviceName != "x";'
            " Requirements = TARGET.Cpus >= RequestCpus && TARGET.Memory >= RequestMemory && TARGET.Disk >= RequestDisk"
            " && countMatches(MY.RequireGPUs, TARGET.AvailableGPUs) >= RequestGPUs ]"
        )
        queue = [
            job.format(n=1, status=1, gpus=1, floor=8.0),
            job.format(n=2, status=2, gpus=1, floor=8.0),
            job.format(n=3, status=1, gpus=1, floor=9.0),
        ]
        for minute in range(0, 60, 20):
            seen(store, minute, ("a", -5, minute, ""), jobs=queue)
        found = derived.demand(store).sort_values("capability_floor").to_dict("records")
        assert [row["capability_floor"] for row in found] == [8.0, 9.0]
        assert [(row["idle"], row["running"]) for row in found] == [(1, 1), (1, 0)]
        assert [row["unmet_gpu_h"] for row in found] == pytest.approx([1, 1])
        assert [row["impossible_gpu_h"] for row in found] == pytest.approx([0, 1])
        assert {row["device_clause"] for row in found} == {'DeviceName != "x"'}
        assert {row["duration_class"] for row in found} == {"Long"}

    @pytest.mark.slow
    def test_what_was_kept_outlives_the_snapshots(self, store: Store) -> None:
        for minute in range(0, 240, 10):  # past midnight
            seen(
                store, minute, ("a", -5, minute, ""), *([("b", 1, minute, "")] if 30 <= minute < 200 else [])
            )
        fresh = {name: derived.kept(store, name) for name in derived.DERIVED}
        for day in store.days():
            derived.keep_day(store, day)
        assert len(store.days()) == 2
        for name, frame in fresh.items():
            pd.testing.assert_frame_equal(derived.kept(store, name), frame)
        whole = derived.sessions(store)
        for column in ("startd", "arrived_at", "last_seen_at", "left_at", "ended", "snapshots"):
            assert fresh["sessions"][column].astype(str).tolist() == whole[column].astype(str).tolist()

    def test_waits_of_the_recorded_pool(self, shared_data: Path, store: Store) -> None:
        """First and total waits as jobs.csv has them, to the second that a shadow's start takes."""
        folder = shared_data / "pool/recording-w1-r1"
        import_files(
            [folder / name for name in ("epochs.json.xz", "history.json.xz", "logs/EventLog.xz")], store
        )
        found = derived.waits(store).set_index("job_id").to_dict("index")
        with (folder / "jobs.csv").open() as lines:
            for row in csv.DictReader(lines):
                mine = found[row["job_id"]]
                # the log's start is the program's, ours the shadow's: one to two seconds before
                assert -1.0 <= float(row["wait"]) - mine["first_wait_s"] <= 3.5
                assert -1.0 <= float(row["total_wait"]) - mine["total_wait_s"] <= 3.5 * int(row["n_starts"])
                assert not mine["censored"]

    def test_the_sample(self) -> None:
        """Whatever the bundled recording holds is a table."""
        store = Store(sample_path())
        assert len(derived.sessions(store)) >= 8
        assert derived.supply(store)["gpus"].sum() > 0
        assert derived.demand(store)["unmet_gpu_h"].sum() > 0


def test_shapes_of_real_jobs(shared_data: Path) -> None:
    ads = read_ads(shared_data / "pool/queue.ads")
    jobs = jobs_frame(ads, seen_at=pd.Timestamp(START), snapshot="s").frame
    shapes = derived.shapes(jobs)
    # as a command has it, or written into require_gpus by hand
    expected = [ad.get("GPUsMinCapability") for ad in ads]
    for place, ad in enumerate(ads):
        if "Capability >= 7.0" in str(ad.get("RequireGPUs", "")).replace("7.000000000000000E+00", "7.0"):
            expected[place] = 7.0
    found = [None if pd.isna(floor) else floor for floor in shapes["capability_floor"]]
    assert found == [None if floor is None else float(floor) for floor in expected]


def test_an_attempt_that_was_ended_by_an_order() -> None:
    """A hold or removal within an attempt ended it; one after it, or of another job, did not."""
    from sim.attempts import ordered

    start = pd.Timestamp("2026-11-24 12:00", tz="UTC")

    def after(seconds: float) -> pd.Timestamp:
        return start + pd.Timedelta(seconds=seconds)

    attempts = pd.DataFrame(
        [
            ("s", job, after(0), after(60), outcome)
            for job, outcome in [("1.0", "evicted"), ("2.0", "evicted"), ("3.0", "evicted"), ("4.0", "done")]
        ],
        columns=["schedd", "job_id", "started_at", "ended_at", "outcome"],
    )
    orders = pd.DataFrame(
        [
            ("s", "1.0", "held", after(40)),
            ("s", "1.0", "removed", after(90)),
            ("s", "2.0", "removed", after(61)),
            ("s", "3.0", "removed", after(90)),
            ("other", "3.0", "held", after(40)),
            ("s", "4.0", "removed", after(40)),
        ],
        columns=["schedd", "job_id", "status", "entered_status_at"],
    )
    assert ordered(attempts, orders)["outcome"].tolist() == ["held", "removed", "evicted", "done"]
    assert ordered(attempts, orders[:0])["outcome"].tolist() == ["evicted"] * 3 + ["done"]
