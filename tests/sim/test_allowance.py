"""What the negotiator lets a job have: groups' quotas and concurrency limits, from the frames of a store."""

from typing import Any

import pandas as pd
import pytest

from sim.analysis import PoolView, Queue, analyse, analyse_queue
from sim.analysis.allowance import Allowance
from sim.classads.submit import read_submit
from tests.sim.test_analysis import NOON, UNIFORM, frame, host
from tests.sim.test_matching import V100

QUOTAS = {"GROUP_NAMES": "lab, lab.ml, chem", "GROUP_QUOTA_LAB": "8", "GROUP_QUOTA_DYNAMIC_lab.ml": "0.5", "GROUP_QUOTA_chem": "4",
          "GROUP_ACCEPT_SURPLUS_chem": "true", "LICENCE_LIMIT": "3", "CONCURRENCY_LIMIT_DEFAULT_db": "2"}  # fmt: skip


def job(text: str) -> Any:
    whole = f"executable = a\nshould_transfer_files = yes\nrequest_gpus = 1\n{text}\nqueue"
    return read_submit(whole).jobs[0].description


def settings(told: dict[str, str]) -> pd.DataFrame:
    rows = [{"seen_at": NOON, "daemon": "negotiator", "name": name, "value": value} for name, value in told.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["seen_at", "daemon", "name", "value"])


def queued(*jobs: tuple[str, str, str]) -> pd.DataFrame:
    """Jobs by submitter, status and further lines of their submit files."""
    rows = []
    for number, (submitter, status, text) in enumerate(jobs):
        asked = job(text)
        rows.append({
            "job_id": f"{number}.0", "submitter": submitter, "status": status, "seen_at": NOON, "ad": asked.ad(0, number),
            "requirements": asked.requirements, "require_gpus": None, "request_cpus": asked.value("RequestCpus"),
            "request_memory_mib": 1.0, "request_disk_mib": 1.0, "request_gpus": asked.gpus,
            "concurrency_limits": asked.string("ConcurrencyLimits") or None,
        })  # fmt: skip
    return pd.DataFrame(rows)


def queue(
    *jobs: tuple[str, str, str], told: dict[str, str] = QUOTAS, usage: dict[str, float] | None = None
) -> tuple[Queue, PoolView]:
    slots = frame(UNIFORM, host("v", (V100,) * 4))
    pool = PoolView.from_frames(slots)
    priorities = pd.DataFrame(
        [
            {"submitter": name, "is_group": "@" not in name, "usage_cores": cores, "seen_at": NOON, "effective_priority": 500.0}
            for name, cores in (usage or {}).items()
        ],
        columns=["submitter", "is_group", "usage_cores", "seen_at", "effective_priority"],
    )  # fmt: skip
    frame_of_jobs = queued(*jobs)
    allowance = Allowance.from_frames(settings(told), slots, frame_of_jobs, priorities)
    return Queue.from_frames(frame_of_jobs, priorities, pool=pool, allowance=allowance), pool


@pytest.mark.parametrize(
    ("text", "usage", "blocked_by", "words"),
    [
        # lab has 8 cores, half of which are lab.ml's
        ("accounting_group = lab", {"lab.ann@x": 4.0}, "quota", "the accounting group lab uses 4 of its quota of 4 cores"),
        ("accounting_group = lab", {"lab.ann@x": 3.0, "lab": 99.0, "lab.ml.bob@x": 4.0}, "", ""),
        ("accounting_group = lab\nrequest_cpus = 2", {"lab.ann@x": 3.0}, "quota", "uses 3 of its quota of 4"),
        ("accounting_group = lab.ml", {"lab.ml.bob@x": 4.0}, "quota", "the accounting group lab.ml uses 4 of its quota of 4"),
        ("accounting_group = chem", {"chem.ann@x": 99.0}, "", ""),  # takes surplus
        ("accounting_group = other", {"other.ann@x": 99.0}, "", ""),  # no group of the pool's
        ("", {"ann@x": 99.0}, "", ""),
        ("concurrency_limits = licence", {}, "limit", "the concurrency limit licence is at 3 of 3, and the job needs 1"),
        ("concurrency_limits = db.big:2", {}, "limit", "the concurrency limit db.big is at 1 of 2, and the job needs 2"),
        ("concurrency_limits = db.big", {}, "", ""),
        ("concurrency_limits = unknown:1000", {}, "", ""),
    ],
)  # fmt: skip
def test_blocked_by_quota_or_limit(text: str, usage: dict[str, float], blocked_by: str, words: str) -> None:
    """GPUs are free and match; three licences and one of db.big are in use."""
    running = [("ann@x", "running", "concurrency_limits = licence:2"), ("bob@x", "running", "concurrency_limits = LICENCE, db.big"),
               ("bob@x", "completed", "concurrency_limits = licence")]  # fmt: skip
    waiting, pool = queue(*running, usage=usage or {"bob@x": 1.0})
    answer = analyse(job(text), pool, queue=waiting)
    assert answer.blocked_by == blocked_by
    assert answer.verdict == ("blocked" if blocked_by else "free")
    assert words in answer.sentence
    assert answer.gpus.now == 6


def test_usage_is_that_of_running_jobs_where_the_negotiator_tells_none() -> None:
    waiting, pool = queue(*[("lab.ann@x", "running", "accounting_group = lab\nrequest_cpus = 2")] * 2)
    assert analyse(job("accounting_group = lab"), pool, queue=waiting).blocked_by == "quota"
    assert analyse("true", pool, queue=waiting, submitter="lab.ann@x").blocked_by == "quota"
    assert analyse("true", pool, queue=waiting).verdict == "free"


def test_the_queue_says_which_shapes_a_quota_blocks() -> None:
    jobs = [
        ("lab.ann@x", "running", "request_cpus = 4"),
        ("lab.ann@x", "idle", "request_memory = 7"),
        ("eve@x", "idle", ""),
    ]
    waiting, pool = queue(*jobs)
    rows = {row.submitters[0][0]: row for row in analyse_queue(waiting, pool)}
    assert rows["lab.ann@x"].verdict == "blocked"
    assert "quota" in rows["lab.ann@x"].blocking[0]
    assert rows["eve@x"].verdict == "free"


def test_what_blocks_without_a_queue() -> None:
    """The machines' own policy, their retirement, or that they are gone."""
    retiring = host("glidein", (V100,), start=f"time() < {NOON.timestamp() - 60}")
    choosy = host("choosy", (V100,), start='TARGET.Owner == "ann"')
    both = PoolView.from_frames(frame(retiring, choosy))
    assert analyse("true", PoolView.from_frames(frame(retiring))).blocked_by == "retirement"
    assert analyse("true", PoolView.from_frames(frame(choosy))).blocked_by == "policy"
    assert analyse("true", both).blocked_by == "policy"
    before = pd.concat([frame(host("left", (V100,)), at=NOON - pd.Timedelta(hours=1)), frame(UNIFORM)])
    gone = PoolView.from_frames(frame(UNIFORM), before)
    assert analyse('Machine == "left"', gone).blocked_by == "gone"
