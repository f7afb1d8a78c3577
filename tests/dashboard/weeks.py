"""A store of two weeks with an hourly snapshot, small enough to be written in a moment; the second is worse."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sim.classads.request import Request, job_ad
from sim.schema import conform
from sim.store import Snapshot, Store
from tests.dashboard import synthetic

FIRST = pd.Timestamp("2026-11-09", tz="UTC")
SECOND = FIRST + pd.Timedelta(days=7)
STEP = pd.Timedelta(hours=2)
HOSTILE = "<script>alert(1)</script> Memory<b && c>1"
#: First waits of the GPU jobs of each week: 40 equal ones, so that every quantile is known.
WAIT_S = {0: 600.0, 1: 3600.0}


def jobs(week: int) -> pd.DataFrame:
    """40 jobs that waited `WAIT_S`, and 4 that ask for what no machine has; of the second week one is hostile."""
    begin = FIRST + week * pd.Timedelta(days=7)
    end = begin + pd.Timedelta(days=7) - STEP
    rows = []
    for number in range(44):
        lost = number >= 40
        submitted = begin + pd.Timedelta(hours=3 * (number % 40))
        started = None if lost else submitted + pd.Timedelta(seconds=WAIT_S[week])
        name = HOSTILE if lost and week else "huge" if lost else "usual"
        requirements = "TARGET.GPUs_GlobalMemoryMb >= 900000" if lost else "TARGET.GPUs_Capability >= 7.0"
        rows.append(
            {
                "snapshot": f"w{week}", "seen_at": end, "job_id": f"{100 * week + number + 1}.0", "schedd": "ap.example",
                "submitter": "bob@example", "submitted_at": submitted, "status": "idle" if lost else "completed",
                "first_started_at": started, "started_at": started, "priority": 0, "request_cpus": 1,
                "request_memory_mib": 1024, "request_disk_mib": 100, "request_gpus": 1, "requirements": requirements,
                "n_starts": int(not lost),
                "ad": job_ad(requirements, Request(1, 1, 1024)).replace("[", f'[ ReqClass = "{name}";', 1),
            }
        )  # fmt: skip
    return conform(pd.DataFrame(rows), "jobs")


def attempts(week: int) -> pd.DataFrame:
    """The 40 starts: 30 minutes each, every fourth evicted in the second week."""
    held = jobs(week).head(40)
    outcome = ["evicted" if week and number % 4 == 0 else "done" for number in range(40)]
    frame = held[["job_id", "schedd", "submitter", "started_at"]].assign(
        attempt=1, ready_at=held["submitted_at"], matched_at=held["started_at"],
        executing_at=held["started_at"] + pd.Timedelta(seconds=5),
        ended_at=held["started_at"] + pd.Timedelta(minutes=30), gpus=1, outcome=outcome,
    )  # fmt: skip
    return conform(frame, "attempts")


def fill(path: Path) -> Store:
    """The store."""
    store = Store(path)
    devices, slots = synthetic.devices(), synthetic.slots()
    at, number = FIRST, 0
    while at < SECOND + pd.Timedelta(days=7):
        week = int(at >= SECOND)
        # Everything free, so that the second week's waits have no excuse.
        source = synthetic.snapshot(0 if not week else 60)
        name = f"{at:%Y%m%dT%H%M%SZ}-{number:04d}"
        parts = {
            key: frame[frame["snapshot"] == source].assign(snapshot=name, seen_at=at).reset_index(drop=True)
            for key, frame in (("devices", devices), ("slots", slots))
        }
        parts["devices"] = parts["devices"].assign(state="free")
        if at + STEP >= SECOND and at < SECOND:
            parts |= {"jobs": jobs(0).assign(snapshot=name, seen_at=at), "attempts": attempts(0)}
        if at + STEP >= SECOND + pd.Timedelta(days=7):
            parts |= {"jobs": jobs(1).assign(snapshot=name, seen_at=at), "attempts": attempts(1)}
        told = {
            "sources": {
                "pool": {"rows": 9, "error": None},
                "schedd": {"rows": 0, "error": "refused" if week else None},
            }
        }
        store.append(Snapshot(name, at.to_pydatetime(), parts, told))
        at, number = at + STEP, number + 1
    return store
