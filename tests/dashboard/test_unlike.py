"""Stores that are unlike the bundled sample: no GPU, no job, no slot, snapshots of the same second."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from dash.development.base_component import Component

from dashboard.app import create_app
from dashboard.cli import cli
from dashboard.data import Data
from dashboard.metrics import lines, state
from dashboard.pages import about, inventory, pool, waits
from dashboard.pages import window as windows
from dashboard.reports.contents import compose
from dashboard.reports.facts import gather
from dashboard.reports.period import Period, choose
from dashboard.runs import Runs
from dashboard.settings import Settings
from dashboard.shell import freshness
from sim.classads.ads import parse_one
from sim.errors import InputError
from sim.inventory import devices_frame, jobs_frame, slots_frame
from sim.store import Snapshot, Store

AT = pd.Timestamp("2026-11-18 11:00", tz="UTC")
GPUS = (
    'GPUs = 2; TotalSlotGPUs = 2; AssignedGPUs = "GPU-1, GPU-2"; AvailableGPUs = { GPUs_GPU_1, GPUs_GPU_2 }; '
    'GPUs_GPU_1 = [ Id = "GPU-1"; DeviceName = "A100"; Capability = 8.0 ]; '
    'GPUs_GPU_2 = [ Id = "GPU-2"; DeviceName = "A100"; Capability = 8.0 ]'
)
IDLE = (
    '[ ClusterId = 1; ProcId = 0; Owner = "ann"; User = "ann@x"; GlobalJobId = "ap#1.0#1"; QDate = 1795000000; '
    "JobStatus = 1; RequestCpus = 1; RequestMemory = 100; RequestDisk = 100; Requirements = true; Rank = 0.0; "
)
JOB, GPU_JOB = f"{IDLE} ]", f"{IDLE} RequestGPUs = 1 ]"


def slot(more: str = "") -> str:
    return (
        '[ Name = "slot1@h"; Machine = "h"; SlotID = 1; SlotType = "Partitionable"; PartitionableSlot = true; '
        'Arch = "X86_64"; OpSys = "LINUX"; HasFileTransfer = true; State = "Unclaimed"; Activity = "Idle"; Cpus = 8; TotalSlotCpus = 8; Memory = 8192; TotalSlotMemory = 8192; '
        f"Disk = 10000000; TotalSlotDisk = 10000000; Start = true; Requirements = Start; Rank = 0.0; {more} ]"
    )


def append(
    store: Store, minute: float, slots: Sequence[str] = (), jobs: Sequence[str] = (), name: str = ""
) -> None:
    at, name = AT + pd.Timedelta(minutes=minute), name or f"s{minute:g}"
    machines, queue = [parse_one(text) for text in slots], [parse_one(text) for text in jobs]
    frames = {
        "slots": slots_frame(machines, seen_at=at, snapshot=name).frame,
        "devices": devices_frame(machines, seen_at=at, snapshot=name).frame,
        "jobs": jobs_frame(queue, seen_at=at, snapshot=name).frame,
    }
    store.append(
        Snapshot(name, at.to_pydatetime(), {kind: held for kind, held in frames.items() if len(held)})
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def data_of(store: Store) -> Data:
    return Data(store, Settings(runs=store.path.parent / "runs", source=str(store.path)))


def words(part: object) -> str:
    """All text in a component tree."""
    if isinstance(part, Component):
        return words(getattr(part, "children", None))
    if isinstance(part, list | tuple):
        return " ".join(words(each) for each in part)
    return part if isinstance(part, str) else ""


def test_a_pool_without_gpus_has_pages_and_a_report(store: Store) -> None:
    append(store, 0, [slot()], [JOB])
    append(store, 5, [slot()], [JOB])
    data = data_of(store)
    shown = words(pool.content(data, "light"))
    assert "always 0 in 5 min, none to allocate" in shown
    assert "No GPU was seen" in shown
    assert data.supply()["gpus"].tolist() == [0, 0]
    report = compose(data, Period.holding("day", AT))
    assert report.headline == "no GPU jobs, allocation –, no GPU failing to match"
    assert report.numbers["allocation"] is None
    assert report.numbers["gpus_most"] == 0


def test_a_record_without_slots_has_pages_and_a_report(store: Store) -> None:
    append(store, 0, jobs=[JOB])
    append(store, 5, jobs=[JOB])
    data = data_of(store)
    assert "no slots were recorded" in words(pool.content(data, "light"))
    assert compose(data, Period.holding("day", AT)).numbers["gpus_most"] is None


def test_snapshots_without_a_gpu_count_in_the_supply(store: Store) -> None:
    append(store, 0, [slot(GPUS)])
    append(store, 5, [slot()])
    data = data_of(store)
    assert data.supply()["gpus"].tolist() == [2, 0]
    assert "0 to 2 in 5 min" in words(pool.content(data, "light"))


def test_snapshots_of_the_same_moment_do_not_add_up(store: Store) -> None:
    append(store, 0, [slot(GPUS)], name="a")
    append(store, 0, [slot(GPUS)], name="b")
    assert data_of(store).supply()["gpus"].tolist() == [2, 2]


def test_a_record_without_jobs_has_an_about_page_and_downloads(store: Store) -> None:
    append(store, 0, [slot(GPUS)])
    data = data_of(store)
    runs = Runs(store.path.parent / "runs", model="test")
    assert "not simulated yet" in words(about.content(data, runs, "light"))
    got = create_app(data, data.settings, runs).server.test_client().get("/api/waits-by-class.csv")
    assert got.status_code == 200
    assert got.get_data(as_text=True).startswith("group,n,n_censored,")


def test_one_snapshot_has_no_length(store: Store) -> None:
    append(store, 0, [slot(GPUS)])
    assert "in 1 snapshot, 0 % allocated" in words(pool.content(data_of(store), "light"))


def test_a_job_without_a_gpu_is_not_outranked_for_gpus(store: Store) -> None:
    """No GPU is free, and nobody comes first: there is room for it."""
    append(store, 0, [slot()], [JOB])
    assert data_of(store).answer("true", gpus=0, cpus=1, memory_mib=100.0).verdict == "free"


def test_a_snapshot_that_tells_of_no_slots_is_not_an_empty_pool(store: Store) -> None:
    """Such as an import of a history after one of the slots."""
    append(store, 0, [slot(GPUS)])
    append(store, 30, jobs=[GPU_JOB])
    data = data_of(store)
    assert data.coverage().snapshot == "s0"
    assert "Free GPUs 2 of 2; best: A100" in words(pool.content(data, "light"))
    assert data.answer("true", gpus=1, cpus=1, memory_mib=100.0).sentence == (
        "A job that asks for 1 GPU could start now: 2 matching GPUs are free, 2 match in all."
    )


def test_without_slots_the_report_calls_no_job_impossible(store: Store) -> None:
    append(store, 0, jobs=[GPU_JOB])
    report = compose(data_of(store), Period.holding("day", AT))
    assert report.numbers["gpu_jobs"] == 1
    assert report.numbers["gpus_failing_to_match"] == 0


def test_an_inventory_without_gpus_says_so(store: Store) -> None:
    append(store, 0, [slot()])
    for expression in ("", "Capability >= 8"):
        shown = words(inventory.content(data_of(store), expression, None))
        assert "The latest snapshot has none." in shown


def test_one_is_singular(store: Store) -> None:
    one = GPUS.replace("GPUs = 2", "GPUs = 1").replace(', GPU-2"', '"').replace(", GPUs_GPU_2", "")
    append(store, 0, [slot(one)], [GPU_JOB])
    data = data_of(store)
    assert data.answer("true", gpus=1, cpus=1, memory_mib=100.0).sentence == (
        "A job that asks for 1 GPU could start now: 1 matching GPU is free, 1 matches in all."
    )
    assert data.answer("true", gpus=0, cpus=1, memory_mib=100.0).sentence == (
        "1 machine matches a job that asks for no GPU; 1 has room now."
    )
    asked = CliRunner().invoke(cli, ["match", "--queue", "--data", str(store.path)])
    assert asked.output.startswith("1 job waits in 1 shape; 0 of them can never run here (0 GPUs asked)")
    asked = CliRunner().invoke(cli, ["store", "info", "--data", str(store.path)])
    assert ": 1 snapshot, " in asked.output
    asked = CliRunner().invoke(cli, ["predict", "true", "--data", str(store.path)])
    assert "no forecast: 1 comparable job (1 GPU" in asked.output


def test_a_pool_without_gpus_has_no_machine_with_any(store: Store) -> None:
    append(store, 0, [slot()])
    lints = data_of(store).answer("true", gpus=1, cpus=1, memory_mib=100.0).lints
    assert [lint.message for lint in lints] == ["1 GPU asked, but no machine has any"]


def test_check_tells_ages_as_people_read_them(store: Store) -> None:
    append(store, 0, [slot()])
    assert re.search(
        r"well, 1 snapshot, the last (of a time )?\d+ (d|h|min|s)",
        CliRunner().invoke(cli, ["check", "--data", str(store.path)]).output,
    )
    ahead = pd.Timestamp.now(tz="UTC") + pd.Timedelta(days=30) - AT
    append(store, ahead.total_seconds() / 60, [slot()])
    told = CliRunner().invoke(cli, ["check", "--data", str(store.path)]).output
    assert "the last of a time 30 d ahead: the clock here, or of who took it, is wrong" in told


def test_data_of_a_time_to_come_are_not_live(store: Store) -> None:
    """The clock of who took the snapshot had jumped; some seconds are no matter."""
    append(store, 0, [slot()])
    for hours, badge, fresh in ((0.01, "Live", True), (48, "Ahead", False)):
        now = (AT - pd.Timedelta(hours=hours)).to_pydatetime()
        data = Data(store, Settings(runs=store.path.parent / "runs"), clock=lambda at=now: at)  # type: ignore[misc]
        shown = freshness(data.coverage(), data.age_s(), 300.0)
        assert words(shown).split()[0] == badge
        told = state(data, Runs(store.path.parent / "runs", model="test"))["fresh"]
        assert told is True if fresh else "2 d ahead" in str(told)


def test_held_and_removed_jobs_are_not_told_as_waiting(store: Store) -> None:
    append(store, 5, [slot(GPUS)], [GPU_JOB.replace("JobStatus = 1", "JobStatus = 5")])
    create_app(data_of(store), data_of(store).settings, Runs(store.path.parent / "runs", model="test"))
    shown = words(
        waits.content(data_of(store), Runs(store.path.parent / "runs", model="test"), "all jobs", "", "light")
    )
    assert "n=1, of them 1 never started" in shown
    assert "waiting" not in shown


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01"])
def test_a_report_of_a_day_beyond_all_records_is_refused(day: str) -> None:
    with pytest.raises(InputError, match=f"--of {day}: expected a day such as 2026-11-23"):
        choose("week", day, now=AT.to_pydatetime(), recorded_until=None)


@pytest.mark.parametrize("since", ["9999-12-30", "0001-01-01"])
def test_days_beyond_all_records_are_no_window(since: str) -> None:
    assert windows.parse_span({"since": since, "until": f"{since[:-2]}31"}) is None


def test_who_left_the_queue_untold_is_not_waiting(store: Store) -> None:
    """One schedd tells its queue again without a job; the other one doesn't answer, and its jobs wait for all that is known."""
    other = GPU_JOB.replace("ap#1.0", "ap2#1.0")
    second = GPU_JOB.replace("ap#1.0", "ap#2.0").replace("ClusterId = 1", "ClusterId = 2")
    append(store, 5, [slot(GPUS)], [GPU_JOB, second, other])
    append(store, 10, [slot(GPUS)], [second])
    data = data_of(store)
    assert "Jobs waiting 2 of 3 jobs seen" in words(pool.content(data, "light"))
    assert 'poolscope_jobs_waiting{gpu="yes"} 2\n' in "".join(
        lines(data, Runs(store.path.parent / "runs", model="test"))
    )
    demand = gather(data).demand
    assert demand["waiting"].tolist() == [2]
