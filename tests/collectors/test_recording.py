"""A folder of a pool's own artefacts: what the reader makes of folders unlike the recorded ones."""

import json
import lzma
from datetime import datetime
from pathlib import Path

import pytest

from collectors.recording import load_recording

T0 = 1_795_000_000
SLOT = {
    "MyType": "Machine", "Name": "slot1@ep.example", "Machine": "ep.example", "SlotType": "Partitionable",
    "PartitionableSlot": True, "Cpus": 4, "Memory": 4096, "Disk": 1000000, "State": "Unclaimed",
}  # fmt: skip


def job(schedd: str, number: int, submitted: int) -> dict[str, object]:
    return {
        "MyType": "Job", "ClusterId": number, "ProcId": 0, "GlobalJobId": f"{schedd}#{number}.0#{submitted}",
        "User": "alice@x", "Owner": "alice", "JobStatus": 4, "QDate": submitted, "JobStartDate": submitted + 20,
        "EnteredCurrentStatus": submitted + 90, "CompletionDate": submitted + 90, "RequestCpus": 1,
    }  # fmt: skip


def event(kind: str, number: int, second: float) -> dict[str, object]:
    return {
        "MyType": kind, "Cluster": number, "Proc": 0, "EventTime": f"2026-11-18T11:06:{40 + second:06.3f}+00:00",
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Jobs 1 and 2 of ap1, and a job 1 of ap2, whose event log nobody has."""
    lines = [json.dumps({"t": T0 + at, "ads": [SLOT]}) for at in (0, 60)]
    (tmp_path / "startd_ads.jsonl").write_text("\n".join(lines))
    ads = [job("ap1", 1, T0), job("ap1", 2, T0 + 1), job("ap2", 1, T0 + 10)]
    (tmp_path / "history.json").write_text(json.dumps(ads))
    events = [
        event(kind, number, at + number / 10)
        for number in (1, 2)
        for kind, at in (("SubmitEvent", number - 1), ("ExecuteEvent", 18))
    ]
    (tmp_path / "EventLog").write_text("\n".join(map(json.dumps, events)))
    return tmp_path


def test_jobs_of_two_schedds_with_the_same_ids(folder: Path) -> None:
    """Each is there, and the log's times are those of the schedd whose submissions it has."""
    jobs = load_recording(folder).jobs
    assert list(zip(jobs["schedd"], jobs["job_id"], strict=True)) == [
        ("ap1", "1.0"), ("ap1", "2.0"), ("ap2", "1.0"),
    ]  # fmt: skip
    waits = (jobs["first_started_at"] - jobs["submitted_at"]).dt.total_seconds().tolist()
    assert waits == pytest.approx([18, 17, 20])


def test_a_log_that_begins_late(folder: Path) -> None:
    """What it doesn't tell of a job, the history does."""
    held = (folder / "EventLog").read_text().splitlines()
    (folder / "EventLog").write_text("\n".join(held[2:]))
    jobs = load_recording(folder).jobs
    assert jobs["first_started_at"].notna().all()


@pytest.mark.slow
def test_when_no_negotiator_was_to_be_found(shared_data: Path) -> None:
    """The schedd logged each RESCHEDULE that it could not send: in these times, to the seconds between two looks at the ads."""
    for run in (1, 2, 3):
        folder = shared_data / "pool" / f"recording-w1-r{run}"
        spans = load_recording(folder).unheard
        assert len(spans) == 4
        with lzma.open(folder / "logs" / "SchedLog.xz", "rt", errors="replace") as lines:
            told = [line[:21] for line in lines if "Failed to send RESCHEDULE" in line]
        failed = [datetime.strptime(f"{when}+0000", "%m/%d/%y %H:%M:%S.%f%z").timestamp() for when in told]
        assert len(failed) > 40
        assert all(any(begin - 10 < at < end + 1 for begin, end in spans) for at in failed)
        assert all(any(begin < at < end for at in failed) for begin, end in spans[:3])
