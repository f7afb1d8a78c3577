"""Published workload traces → frame "jobs": SWF, Alibaba's openb pods, and CSV in the manner of Philly.

What a trace tells of starts and ends is kept, so that simulated waits can stand beside those of the trace. Times are placed
at the trace's own start where it tells one, else at `EPOCH`. A row that says nothing usable is left out and counted by
reason; a row that can't be read is an error with its line.

Formats: SWF 2.2 (Chapin et al. 1999, Feitelson's Parallel Workloads Archive); openb as in Alibaba's cluster-trace-gpu-v2023;
CSV with the columns of the Philly, Helios and spot-GPU traces under any of their names.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sim.classads.ads import read_text
from sim.classads.request import Request
from sim.errors import InputError
from sim.workload.frames import EPOCH, made_jobs, template

FORMATS = ("swf", "openb", "philly")


class Trace(NamedTuple):
    """A trace as a frame "jobs", by submission, and how many rows were left out, by reason."""

    frame: pd.DataFrame
    rejects: Counter[str]


class _Job(NamedTuple):
    """A row of a trace; times are seconds after its start, NaN where unknown."""

    id: str
    submitted_s: float
    started_s: float
    run_s: float
    submitter: str
    gpus: int
    cpus: float
    memory_mib: float
    label: str
    models: str
    finished: bool


def read_trace(
    path: Path,
    form: str,
    *,
    gpu_models: Mapping[str, str] | None = None,
    time_scale: float = 1.0,
    most: int | None = None,
) -> Trace:
    """Read a trace, also one packed by xz.

    Parameters
    ----------
    form : one of `FORMATS`
    gpu_models : expression on a device for each model name of the trace; without one, the device's name is compared
    time_scale : times between submissions, times this; run times stay
    most : only so many rows from the beginning

    Raises
    ------
    InputError : the file is something else, a row can't be read, or no row is usable; the sentence has the line
    """
    readers: dict[str, Callable[[str, Path], tuple[float, Iterator[_Job | str]]]] = {
        "swf": _swf, "openb": _openb, "philly": _philly,
    }  # fmt: skip
    if form not in readers:
        raise InputError(f"{form!r} is no format of a trace; expected one of {', '.join(FORMATS)}")
    start, rows = readers[form](read_text(path), path)
    jobs: list[_Job] = []
    rejects: Counter[str] = Counter()
    for row in rows:
        if isinstance(row, str):
            rejects[row] += 1
        else:
            jobs.append(row)
            if most is not None and len(jobs) >= most:
                break
    if not jobs:
        why = "; ".join(f"{count} times {reason}" for reason, count in rejects.items()) or "it has no row"
        raise InputError(f"{path}: no usable job in this trace ({why})")
    return Trace(
        _frame(sorted(jobs, key=lambda job: job.submitted_s), start, time_scale, gpu_models or {}, path),
        rejects,
    )


def _frame(
    jobs: list[_Job], start: float, time_scale: float, gpu_models: Mapping[str, str], path: Path
) -> pd.DataFrame:
    places: dict[tuple[Any, ...], int] = {}
    templates: list[dict[str, Any]] = []
    taken = []
    for job in jobs:
        memory = (
            math.ceil(job.memory_mib / 128) * 128
        )  # as a startd rounds it, so that few shapes are told apart
        key = (job.submitter, job.gpus, job.cpus, memory, job.label, job.models)
        if key not in places:
            places[key] = len(templates)
            request = Request(job.gpus, job.cpus, memory, _device(job, gpu_models))
            templates.append(template(job.submitter, "true", request, label=job.label))
        taken.append(places[key])
    begin = jobs[0].submitted_s
    submitted = np.array([start + begin + (job.submitted_s - begin) * time_scale for job in jobs])
    waits = np.array([job.started_s - job.submitted_s for job in jobs])
    runs = np.array([job.run_s for job in jobs])
    frame = made_jobs(
        pd.DataFrame(templates), taken, submitted, runs, ids=[job.id for job in jobs], schedd=path.name
    )
    started = _moments(submitted + waits)
    finished = np.array([job.finished for job in jobs])
    ended = _moments(submitted + waits + runs)
    return frame.assign(
        first_started_at=started,
        started_at=started,
        completed_at=ended.where(finished),
        entered_status_at=ended.where(finished),
        status=np.where(finished, "completed", "idle"),
        n_starts=started.notna().astype("int64"),
        seen_at=ended.fillna(frame["submitted_at"]),
    )


def _moments(seconds: np.ndarray) -> pd.Series:
    known = np.isfinite(seconds)
    micro = np.where(known, np.round(np.nan_to_num(seconds) * 1e6), np.iinfo("int64").min).astype("int64")
    return pd.Series(micro.view("datetime64[us]")).dt.tz_localize("UTC")


def _device(job: _Job, gpu_models: Mapping[str, str]) -> str:
    """What a job asks of its devices: one of the models it names."""
    if not job.models or not job.gpus:
        return ""
    clauses = []
    for model in job.models.split("|"):
        bare = model.replace("\\", "").replace('"', "")
        clauses.append(gpu_models.get(model, f'DeviceName == "{bare}"'))
    return " || ".join(f"({clause})" for clause in clauses) if len(clauses) > 1 else clauses[0]


# --- SWF

_SWF_FIELDS = 18


def _swf(text: str, path: Path) -> tuple[float, Iterator[_Job | str]]:
    lines = text.splitlines()
    start = EPOCH
    for line in lines:
        if not line.startswith(";"):
            continue
        name, _, value = line.lstrip("; ").partition(":")
        if name.strip().lower() == "unixstarttime" and value.strip().isdigit() and int(value) > 0:
            start = float(value)
    return start, _swf_jobs(lines, path)


def _swf_jobs(lines: list[str], path: Path) -> Iterator[_Job | str]:
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(";"):
            continue
        parts = line.split()
        if len(parts) != _SWF_FIELDS:
            raise InputError(
                f"{path}, line {number}: {len(parts)} fields; expected the {_SWF_FIELDS} of the Standard Workload Format"
            )
        values = [_number(part, path, number, f"field {place}") for place, part in enumerate(parts, start=1)]
        job_id, submit, wait, run, allocated, _, used, requested, _, asked, status, user = values[:12]
        processors = requested if requested > 0 else allocated
        if run < 0 or submit < 0:
            yield "a job without run time or submission"
        elif processors <= 0:
            yield "a job without processors"
        else:
            memory = asked if asked > 0 else max(used, 0.0)
            yield _Job(
                id=f"{int(job_id)}.0",
                submitted_s=submit,
                started_s=submit + wait if wait >= 0 else math.nan,
                run_s=run,
                submitter=f"user{int(user)}" if user >= 0 else "user",
                gpus=0,
                cpus=processors,
                memory_mib=memory * processors / 1024,
                label=f"{int(processors)} cpus",
                models="",
                finished=wait >= 0 and status in {0, 1, -1},
            )


# --- openb

_OPENB = ("name", "cpu_milli", "memory_mib", "num_gpu", "creation_time", "deletion_time", "scheduled_time")


def _openb(text: str, path: Path) -> tuple[float, Iterator[_Job | str]]:
    rows = _rows(text, path)
    return EPOCH, _openb_jobs(rows, path)


def _openb_jobs(rows: Iterator[tuple[int, dict[str, str]]], path: Path) -> Iterator[_Job | str]:
    for place, (number, row) in enumerate(rows):
        lacking = [name for name in _OPENB if name not in row]
        if lacking:
            raise InputError(
                f"{path}: lacks the column {lacking[0]}; expected openb's pods ({', '.join(_OPENB)}, …)"
            )
        cell = {name: _number(row[name] or "nan", path, number, name) for name in _OPENB[1:]}
        run = cell["deletion_time"] - cell["scheduled_time"]
        if math.isnan(cell["scheduled_time"]) or math.isnan(cell["deletion_time"]):
            yield "a pod that was never scheduled or never ended"
        elif run < 0 or cell["scheduled_time"] < cell["creation_time"]:
            yield "a pod that ends before it begins"
        else:
            gpus = int(cell["num_gpu"])
            models = row.get("gpu_spec", "").strip("|")
            yield _Job(
                id=f"{place + 1}.0",
                submitted_s=cell["creation_time"],
                started_s=cell["scheduled_time"],
                run_s=run,
                submitter=row.get("qos", "").lower() or "openb",
                gpus=gpus,
                cpus=max(1.0, math.ceil(cell["cpu_milli"] / 1000)),
                memory_mib=cell["memory_mib"],
                label=(models if models else "any model") if gpus else "no GPU",
                models=models,
                finished=True,
            )


# --- CSV in the manner of Philly

_ALIASES = {
    "submitted": ("timestamp", "submit_time", "submitted_time", "submission_time", "submit_offset_s"),
    "run": ("duration", "run_time", "runtime", "run_seconds", "run_s"),
    "gpus": ("num_gpus", "num_gpu", "gpu_num", "gpus", "gpu_request", "request_gpus"),
    "workers": ("worker_num",),
    "submitter": ("user", "user_id", "vc", "organization", "owner"),
    "model": ("gpu_type", "gpu_model"),
    "started": ("start_time", "started_time"),
    "class": ("job_type", "reqclass", "class"),
    "cpus": ("cpu_num", "num_cpus", "request_cpus"),
    "memory": ("request_memory", "memory_mib"),
}
_NEEDED = ("submitted", "run", "gpus")


def _philly(text: str, path: Path) -> tuple[float, Iterator[_Job | str]]:
    rows = list(_rows(text, path))
    if not rows:
        raise InputError(f"{path}: no row; expected a CSV with a header and a row per job")
    header = {name.strip().lower(): name for name in rows[0][1]}
    columns = {
        what: next((header[name] for name in names if name in header), None)
        for what, names in _ALIASES.items()
    }
    for what in _NEEDED:
        if columns[what] is None:
            raise InputError(f"{path}: no column for {what}; expected one of {', '.join(_ALIASES[what])}")
    numbers: list[tuple[int, dict[str, str], float]] = []
    for number, row in rows:
        numbers.append((number, row, _moment(row[str(columns["submitted"])], path, number)))
    first = min(moment for _, _, moment in numbers)
    start = first if first > 1e8 else EPOCH  # seconds since 1970, or since the trace's own beginning
    return start, _philly_jobs(numbers, columns, first if first > 1e8 else 0.0, path)


def _philly_jobs(
    rows: list[tuple[int, dict[str, str], float]], columns: Mapping[str, str | None], base: float, path: Path
) -> Iterator[_Job | str]:
    def told(row: dict[str, str], what: str, default: str = "") -> str:
        name = columns[what]
        return (row[name] or default).strip() if name is not None else default

    for place, (number, row, moment) in enumerate(rows):
        run = _number(told(row, "run", "nan"), path, number, str(columns["run"]))
        if math.isnan(run) or run < 0:
            yield "a job without run time"
            continue
        gpus = _number(told(row, "gpus", "0"), path, number, str(columns["gpus"]))
        gpus *= _number(told(row, "workers", "1"), path, number, str(columns["workers"]))
        begun = told(row, "started")
        started = _moment(begun, path, number) - base if begun else math.nan
        models = told(row, "model")
        cpus = _number(told(row, "cpus", "1"), path, number, str(columns["cpus"]))
        memory = _number(told(row, "memory", "0"), path, number, str(columns["memory"]))
        yield _Job(
            id=f"{place + 1}.0",
            submitted_s=moment - base,
            started_s=started if not started < moment - base else math.nan,
            run_s=run,
            submitter=_plain(told(row, "submitter", "user")),
            gpus=math.ceil(gpus),
            cpus=max(1.0, cpus),
            memory_mib=max(0.0, memory),
            label=told(row, "class") or (f"{math.ceil(gpus)} GPU" if gpus else "no GPU"),
            models=models,
            finished=not math.isnan(started),
        )


def _plain(name: str) -> str:
    """A submitter's name from whatever stands there."""
    return "".join(letter if letter.isalnum() or letter in "._-@" else "_" for letter in name) or "user"


def _rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(text))
    try:
        for row in reader:
            if None in row or any(value is None for value in row.values()):
                raise InputError(
                    f"{path}, line {reader.line_num}: another number of cells than the header's {len(reader.fieldnames or ())}"
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: no CSV ({error})") from error


def _number(text: str, path: Path, line: int, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{path}, line {line}, {what}: found {text[:40]!r}, expected a number") from None
    if math.isinf(value):
        raise InputError(f"{path}, line {line}, {what}: found {text[:40]!r}, expected a finite number")
    return value


def _moment(text: str, path: Path, line: int) -> float:
    """A time as seconds: a number as it is, or an ISO date, UTC where it says nothing else."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(
            f"{path}, line {line}: found {text[:40]!r}, expected seconds or a date such as 2017-10-03 12:00:00"
        ) from None
    return pd.Timestamp(found, tz="UTC" if found.tzinfo is None else None).timestamp()
