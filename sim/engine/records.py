"""What a run writes down: rows while it goes, frames when it has ended."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sim.delivery.state import Start
from sim.engine.entities import Claim, Job
from sim.engine.negotiator import Cycle
from sim.schema import conform


class ProbeResult(NamedTuple):
    """A ghost probe: asked at `at_s`, answered at `started_s` (missing if it never was) [s]."""

    label: str
    at_s: float
    started_s: float


@dataclass(slots=True)
class Recorder:
    """The rows of one run; a row of `attempts` is mutable until the attempt has ended."""

    attempts: list[list[Any]] = field(default_factory=list)
    cycles: list[tuple[float, Cycle, int]] = field(default_factory=list)
    probes: list[ProbeResult] = field(default_factory=list)

    def start(
        self, job: Job, claim: Claim, origin: str, matched_s: float, started_s: float, brought: Start
    ) -> int:
        """Write down the start of an attempt, what it brought to it, and give its number."""
        self.attempts.append(
            [job, job.starts, job.ready_s, matched_s, started_s, None, claim, claim.places, origin, "running", brought]
        )  # fmt: skip
        return len(self.attempts) - 1

    def end(self, number: int, ended_s: float, outcome: str) -> None:
        """Write down how an attempt ended."""
        row = self.attempts[number]
        row[5], row[9] = ended_s, outcome

    def undo(self, number: int) -> None:
        """Mark an attempt that never reached its start (its machine went away before)."""
        self.attempts[number][9] = "unstarted"


def at(start_unix: float, seconds: np.ndarray | list[float] | pd.Series) -> pd.Series:
    """Times of a run [s since its start] as UTC times; NaN becomes missing."""
    values = np.asarray(seconds, dtype="float64") + start_unix
    whole = np.where(np.isnan(values), np.iinfo("int64").min, np.round(np.nan_to_num(values) * 1e6)).astype(
        "int64"
    )
    return pd.Series(whole.view("datetime64[us]")).dt.tz_localize("UTC")


def attempts_frame(recorder: Recorder, jobs: pd.DataFrame, start_unix: float) -> pd.DataFrame:
    """The frame "attempts" of a run; `jobs` is the frame the workload was read from."""
    rows = [row for row in recorder.attempts if row[9] != "unstarted"]
    places = [row[0].row for row in rows]
    claims: list[Claim] = [row[6] for row in rows]
    first = [claim.places[0] if claim.places else None for claim in claims]
    frame = pd.DataFrame(
        {
            "job_id": jobs["job_id"].to_numpy()[places],
            "schedd": jobs["schedd"].to_numpy()[places],
            "submitter": jobs["submitter"].to_numpy()[places],
            "attempt": [row[1] for row in rows],
            "ready_at": at(start_unix, [row[2] for row in rows]),
            "matched_at": at(start_unix, [row[3] for row in rows]),
            "started_at": at(start_unix, [row[3] for row in rows]),
            "executing_at": at(start_unix, [_executing_s(row) for row in rows]),
            "ended_at": at(start_unix, [np.nan if row[5] is None else row[5] for row in rows]),
            "slot": [f"slot1_{claim.number}@{claim.machine.name}" for claim in claims],
            "machine": [claim.machine.host for claim in claims],
            "site": [claim.machine.site for claim in claims],
            "device_ids": [",".join(claim.machine.device_ids[p] for p in claim.places) for claim in claims],
            "device_model": [
                None if p is None else c.machine.models[p] for p, c in zip(first, claims, strict=True)
            ],
            "capability": [
                np.nan if p is None else c.machine.capabilities[p] for p, c in zip(first, claims, strict=True)
            ],
            "cpus": [claim.size.cpus for claim in claims],
            "memory_mib": [claim.size.memory_mib for claim in claims],
            "gpus": [len(claim.places) for claim in claims],
            "origin": [row[8] for row in rows],
            "cold": pd.Series([row[10].cold for row in rows], dtype="boolean"),
            "moved_mib": [np.nan if row[10].cold is None else row[10].moved_mb * 1e6 / 2**20 for row in rows],
            "outcome": [row[9] for row in rows],
        }
    )
    return conform(frame, "attempts")


def _executing_s(row: list[Any]) -> float:
    """When the user's code began [s since the run began]; NaN if its software never came."""
    return float("nan") if row[10].failure else float(row[4] + row[10].seconds)


def starts_frame(recorder: Recorder, start_unix: float) -> pd.DataFrame:
    """How software reached each attempt: row of the job, when, where, seconds, cold, MB by level, pulls, failure."""
    rows = [row for row in recorder.attempts if row[9] != "unstarted"]
    frame = pd.DataFrame([row[10] for row in rows], columns=list(Start._fields))
    frame.insert(0, "row", [row[0].row for row in rows])
    frame.insert(1, "at", at(start_unix, [row[4] for row in rows]))
    frame.insert(2, "site", pd.Series([row[6].machine.site for row in rows], dtype="str"))
    frame.insert(3, "host", pd.Series([row[6].machine.host for row in rows], dtype="str"))
    return frame


def jobs_frame(
    recorder: Recorder, jobs: pd.DataFrame, start_unix: float, end_s: float, *, clock: str = "shadow"
) -> pd.DataFrame:
    """The frame "jobs" as the run left it: first start, last start, end, status; censored at the run's end.

    clock : what a start is: ``shadow`` (the schedd has the slot; JobStartDate) or ``execution`` (user code begins)
    """
    count = len(jobs)
    shadow = clock == "shadow"
    first, last, executing, done, starts = (np.full(count, np.nan) for _ in range(5))
    starts[:] = 0
    vacated = np.zeros(count)
    held = np.full(count, np.nan)
    for row in recorder.attempts:
        if row[9] == "unstarted":
            continue
        place = row[0].row
        starts[place] += 1
        if np.isnan(first[place]):
            first[place] = row[3] if shadow else _executing_s(row)
        last[place], executing[place] = row[3], _executing_s(row)
        held[place] = row[5] if row[9] == "held" else np.nan
        if row[9] == "done":
            done[place] = row[5]
        elif row[9] in {"evicted", "lost"}:
            vacated[place] += 1
    frame = jobs.copy()
    frame = frame.reset_index(drop=True)
    frame["seen_at"] = at(start_unix, [end_s] * count)
    frame["first_started_at"] = at(start_unix, first)
    frame["started_at"] = at(start_unix, last)
    frame["executing_at"] = at(start_unix, executing)
    frame["completed_at"] = at(start_unix, done)
    running = ~np.isnan(last) & np.isnan(done)
    frame["status"] = np.select(
        [~np.isnan(done), ~np.isnan(held), running], ["completed", "held", "running"], default="idle"
    )
    frame["entered_status_at"] = at(start_unix, held).fillna(frame["entered_status_at"])
    frame["n_starts"] = starts.astype("int64")
    frame["n_vacates"] = vacated.astype("int64")
    frame["slot"] = None
    return conform(frame, "jobs")


def cycles_frame(recorder: Recorder, start_unix: float) -> pd.DataFrame:
    """The frame "cycles" of a run."""
    frame = pd.DataFrame(
        {
            "negotiator": "simulated",
            "started_at": at(start_unix, [row[0] for row in recorder.cycles]),
            "duration_s": 0.0,
            "considered": [row[1].considered for row in recorder.cycles],
            "matched": [row[1].matched for row in recorder.cycles],
            "rejected": [row[1].rejected for row in recorder.cycles],
            "spins": [row[1].spins for row in recorder.cycles],
            "slots": [row[2] for row in recorder.cycles],
            "by_submitter": [json.dumps(row[1].by_submitter) for row in recorder.cycles],
        }
    )
    return conform(frame, "cycles")


def probes_frame(recorder: Recorder, start_unix: float, end_s: float) -> pd.DataFrame:
    """Ghost probes: label, at, wait_s [s] and whether it was answered; an unanswered one is censored at the end."""
    started = np.array([probe.started_s for probe in recorder.probes], dtype="float64")
    asked = np.array([probe.at_s for probe in recorder.probes], dtype="float64")
    return pd.DataFrame(
        {
            "label": pd.Series([probe.label for probe in recorder.probes], dtype="str"),
            "at": at(start_unix, asked),
            "wait_s": np.where(np.isnan(started), end_s - asked, started - asked),
            "started": ~np.isnan(started),
        }
    )
