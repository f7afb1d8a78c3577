"""Traces of other batch systems → frames "jobs", "attempts" and "slots": SWF, openb, and CSV files in Philly's manner.

They know no ClassAd: a list of GPU models becomes a `require_gpus`, a virtual cluster an accounting group. Their times
count from a beginning of their own; where no calendar is told, that is 1970-01-01 UTC.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

import pandas as pd

from sim.classads.ads import ad_of_json, parse_one
from sim.schema import conform, describe, empty

_SWF_LINE = re.compile(r"\s*-?\d+(?:\s+-?\d+(?:\.\d+)?){17}\s*$")
_SUBMIT = ("submit_time", "submitted_time", "submission_time", "timestamp", "submitted_at", "time")
_DURATION = ("duration", "run_time", "runtime", "job_runtime")
_GPUS = ("num_gpus", "num_gpu", "gpu_num", "gpus", "gpu_request")
_USER = ("user", "user_id", "organization")
_GROUP = ("vc", "virtual_cluster", "queue", "group")
_ID = ("job_id", "jobid", "id", "job_name", "name")
_STATUS = ("status", "state")
_MODEL = ("gpu_model", "gpu_type", "gpu_spec")
_BEYOND = 7.3e9


class _Job(NamedTuple):
    """A job of a trace: times in seconds of its clock, None where they aren't known."""

    job_id: str
    submitter: str
    group: str | None
    submitted: float
    started: float | None
    ended: float | None
    status: str
    gpus: int
    cpus: float
    memory_mib: float
    models: tuple[str, ...] = ()


@dataclass
class Trace:
    """Frames of a trace of jobs or slot ads of one of nodes, and the records that were skipped by reason."""

    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    slots: list[Any] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def trace_format(text: str) -> str | None:
    """Which kind of trace a text is: ``swf``, ``openb nodes``, ``openb pods``, ``gpu csv``, or None."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    data = next((line for line in text.splitlines() if line.strip() and not line.startswith(";")), "")
    if _SWF_LINE.match(data):
        return "swf"
    header = {name.strip().strip('"').lower() for name in first.split(",")}
    if {"sn", "cpu_milli", "memory_mib", "gpu"} <= header:
        return "openb nodes"
    if {"name", "cpu_milli", "num_gpu", "creation_time"} <= header:
        return "openb pods"
    if header & set(_SUBMIT) and header & set(_DURATION) and header & set(_GPUS):
        return "gpu csv"
    return None


def read_trace(text: str, kind: str, *, name: str, zone: tzinfo | None = None) -> Trace:
    """Read a trace of a kind that `trace_format` tells.

    name : stands for the schedd, so that traces don't mix
    zone : of calendar times without one; UTC if not given
    """
    skipped: Counter[str] = Counter()
    if kind == "openb nodes":
        return _nodes(text)
    readers = {"swf": _swf, "openb pods": _pods, "gpu csv": _gpu_csv}
    found = list(readers[kind](text, zone or UTC, skipped))
    jobs, seen = [], set()
    for job in found:
        if job.job_id in seen:
            skipped["an id that was there before"] += 1
            continue
        seen.add(job.job_id)
        jobs.append(job)
    return Trace(_frames(jobs, name), skipped=skipped)


def _swf(text: str, zone: tzinfo, skipped: Counter[str]) -> Iterator[_Job]:
    """The standard workload format: 18 numbers a job, header lines begin with a semicolon, -1 means unknown."""
    hit = re.search(r"^;\s*UnixStartTime:\s*(\d+)", text, flags=re.MULTILINE)
    begin = float(hit[1]) if hit else 0.0
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith(";"):
            continue
        if not _SWF_LINE.match(line):
            skipped["a line without 18 numbers"] += 1
            continue
        number = [float(part) for part in line.split()]
        if number[1] < 0:
            skipped["no submission time"] += 1
            continue
        submitted = begin + number[1]
        started = submitted + number[2] if number[2] >= 0 else None
        ended = started + number[3] if started is not None and number[3] >= 0 else None
        status = {0: "failed", 5: "cancelled"}.get(int(number[10]), "completed")
        if status == "cancelled" and (ended is None or number[3] == 0):
            started = ended = None
        asked = number[7] if number[7] > 0 else number[4]
        kib = number[9] if number[9] > 0 else number[6]
        yield _Job(
            f"{int(number[0])}.0", f"user{int(number[11])}", f"group{int(number[12])}" if number[12] >= 0 else None,
            submitted, started, ended, status, 0, max(1.0, asked), max(0.0, kib * max(1.0, asked) / 1024),
        )  # fmt: skip


def _pods(text: str, zone: tzinfo, skipped: Counter[str]) -> Iterator[_Job]:
    """Alibaba's openb pods: seconds since the trace's begin; a fraction of a GPU counts as one."""
    for place, row in enumerate(csv.DictReader(io.StringIO(text))):
        created, scheduled, deleted = (
            _float(row.get(name)) for name in ("creation_time", "scheduled_time", "deletion_time")
        )
        gpus = _float(row.get("num_gpu"))
        if created is None or gpus is None:
            skipped["no creation_time or num_gpu"] += 1
            continue
        phase = (row.get("pod_phase") or "").lower()
        status = {"failed": "failed", "pending": "idle", "running": "completed"}.get(phase, "completed")
        if status == "idle" or scheduled is None:
            status, scheduled = "idle" if deleted is None else "cancelled", None
        models = tuple(part for part in re.split(r"[|,;]", row.get("gpu_spec") or "") if part)
        number = re.search(r"(\d+)$", row.get("name") or "")
        yield _Job(
            f"{int(number[1]) if number else place}.0", (row.get("qos") or "unknown").lower(), None,
            created, scheduled, deleted, status, int(gpus), (_float(row.get("cpu_milli")) or 1000) / 1000,
            _float(row.get("memory_mib")) or 0.0, models,
        )  # fmt: skip


def _gpu_csv(text: str, zone: tzinfo, skipped: Counter[str]) -> Iterator[_Job]:
    """A row a job with its submission, length and number of GPUs, as Philly, Helios and their relatives have it."""
    for place, row in enumerate(csv.DictReader(io.StringIO(text)), start=1):
        cells = {(name or "").strip().lower(): value for name, value in row.items() if isinstance(value, str)}
        submitted = _clock(_first(cells, _SUBMIT), zone)
        duration, gpus = _float(_first(cells, _DURATION)), _float(_first(cells, _GPUS))
        if submitted is None or duration is None or gpus is None or duration < 0 or gpus < 0:
            skipped["no submission, length or number of GPUs"] += 1
            continue
        started = _clock(cells.get("start_time"), zone)
        told = (_first(cells, _STATUS) or "").lower()
        failed = told.startswith(("fail", "timeout", "node_fail"))
        status = "failed" if failed else "cancelled" if told.startswith(("kill", "cancel")) else "completed"
        # a trace without starts tells no wait: the run's length is all that is known
        begin = submitted if started is None else started
        group = _first(cells, _GROUP)
        number = re.search(r"(\d+)$", _first(cells, _ID) or "")
        model = _first(cells, _MODEL)
        yield _Job(
            f"{int(number[1]) if number else place}.0", _first(cells, _USER) or group or "unknown", group, submitted,
            started, begin + duration, status, int(gpus),
            _float(cells.get("cpu_num", cells.get("num_cpus"))) or 1.0,
            _float(cells.get("memory_mib")) or 0.0, tuple(model.split("|")) if model else (),
        )  # fmt: skip


def _first(cells: Mapping[str, str], names: Iterable[str]) -> str | None:
    return next((cells[name].strip() for name in names if cells.get(name, "").strip()), None)


def _float(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < _BEYOND else None


def _clock(text: str | None, zone: tzinfo) -> float | None:
    """A time as seconds, or as a calendar has it."""
    if not text:
        return None
    if (seconds := _float(text)) is not None:
        return seconds
    try:
        moment = datetime.fromisoformat(text.strip().replace("/", "-"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()


def _frames(jobs: list[_Job], name: str) -> dict[str, pd.DataFrame]:
    seen = max((max(job.submitted, job.ended or 0.0) for job in jobs), default=0.0)
    rows = [_job_row(job, name, seen) for job in jobs]
    attempts = [_attempt_row(job, name) for job in jobs if job.started is not None and job.ended is not None]
    return {"jobs": _frame(rows, "jobs"), "attempts": _frame(attempts, "attempts")}


def _frame(rows: list[dict[str, Any]], name: str) -> pd.DataFrame:
    if not rows:
        return empty(name)
    return conform(pd.DataFrame(rows, columns=[column.name for column in describe(name)]), name)


def _at(seconds: float) -> pd.Timestamp:
    return pd.Timestamp(round(seconds * 1e6), unit="us", tz="UTC")


def _job_row(job: _Job, name: str, seen: float) -> dict[str, Any]:
    picky = " || ".join(f'DeviceName == "{_quoted(model)}"' for model in job.models) or None
    gone = job.status in {"completed", "failed"} and job.ended is not None
    status = "completed" if gone else "removed" if job.status == "cancelled" else "idle"
    ended = None if job.ended is None else _at(job.ended)
    length = (
        None if job.ended is None else job.ended - (job.submitted if job.started is None else job.started)
    )
    record = {
        "ClusterId": int(job.job_id.partition(".")[0]), "ProcId": 0, "User": job.submitter,
        "RequestCpus": job.cpus, "RequestMemory": job.memory_mib, "RequestGPUs": job.gpus,
    }  # fmt: skip
    if picky:
        record["RequireGPUs"] = f"/Expr({picky})/"
    requirements = (
        "countMatches(MY.RequireGPUs, TARGET.AvailableGPUs) >= RequestGPUs"
        if picky
        else "TARGET.GPUs >= RequestGPUs"
        if job.gpus
        else "true"
    )
    record["Requirements"] = f"/Expr({requirements})/"
    return {
        "snapshot": "", "seen_at": _at(seen), "job_id": job.job_id, "schedd": name, "submitter": job.submitter,
        "accounting_group": job.group, "submitted_at": _at(job.submitted), "status": status,
        "entered_status_at": ended if status != "idle" else _at(job.submitted),
        "first_started_at": None if job.started is None else _at(job.started),
        "started_at": None if job.started is None else _at(job.started),
        "completed_at": ended if status == "completed" and job.started is not None else None,
        "priority": 0, "request_cpus": job.cpus, "request_memory_mib": job.memory_mib, "request_disk_mib": 0.0,
        "request_gpus": job.gpus, "requirements": requirements, "require_gpus": picky,
        "run_s": length if gone else None, "wall_s": length if gone else None, "n_starts": int(job.started is not None),
        "exit_code": int(job.status == "failed") if gone else None, "ad": " ".join(str(ad_of_json(record)).split()),
    }  # fmt: skip


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _attempt_row(job: _Job, name: str) -> dict[str, Any]:
    assert job.started is not None
    assert job.ended is not None
    outcome = {"completed": "done", "failed": "failed"}.get(job.status, "removed")
    return {
        "job_id": job.job_id, "schedd": name, "submitter": job.submitter, "attempt": 1,
        "ready_at": _at(job.submitted), "started_at": _at(job.started), "executing_at": _at(job.started),
        "ended_at": _at(job.ended), "cpus": job.cpus, "memory_mib": job.memory_mib, "gpus": job.gpus, "outcome": outcome,
    }  # fmt: skip


def _nodes(text: str) -> Trace:
    """Alibaba's openb nodes as partitionable slots, all free, at the trace's begin."""
    skipped: Counter[str] = Counter()
    ads = []
    for row in csv.DictReader(io.StringIO(text)):
        name, gpus = row.get("sn"), _float(row.get("gpu"))
        if not name or gpus is None:
            skipped["no sn or gpu"] += 1
            continue
        ids = [f"GPU-{place:08x}" for place in range(int(gpus))]
        attributes = {
            "MyType": "Machine", "Name": f"slot1@{name}", "Machine": name, "SlotType": "Partitionable",
            "PartitionableSlot": True, "State": "Unclaimed", "Activity": "Idle",
            "Cpus": (_float(row.get("cpu_milli")) or 0.0) / 1000, "Memory": int(_float(row.get("memory_mib")) or 0),
            "Disk": 1 << 30, "GPUs": len(ids), "TotalSlotGPUs": len(ids), "Start": "/Expr(true)/",
            "Requirements": "/Expr(Start)/",
        }  # fmt: skip
        for device in ids:
            attributes["GPUs_" + device.replace("-", "_")] = {"Id": device, "DeviceName": row.get("model")}
        ad = ad_of_json(attributes)
        if ids:
            ad["AssignedGPUs"] = ",".join(ids)
            names = ", ".join("GPUs_" + device.replace("-", "_") for device in ids)
            ad["AvailableGPUs"] = parse_one(f"[ a = {{ {names} }} ]").lookup("a")
        ads.append(ad)
    return Trace(slots=ads, skipped=skipped)
