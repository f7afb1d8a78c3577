"""What a run writes down: columns while it goes, frames when it has ended."""

from __future__ import annotations

import json
from array import array
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sim.delivery.state import Start
from sim.engine.entities import Claim, Job
from sim.engine.negotiator import Cycle
from sim.schema import conform

ORIGINS = ("match", "leftover", "reuse", "running")
OUTCOMES = ("running", "done", "failed", "evicted", "lost", "held", "removed", "unstarted")
MATCH, LEFTOVER, REUSE, RUNNING_BEFORE = range(len(ORIGINS))
RUNNING, DONE, FAILED, EVICTED, LOST, HELD, REMOVED, UNSTARTED = range(len(OUTCOMES))
NAN = float("nan")
NOTHING = Start(0.0, cold=None)


class ProbeResult(NamedTuple):
    """A ghost probe: asked at `at_s`, answered at `started_s` (missing if it never was) [s]."""

    label: str
    at_s: float
    started_s: float


class Attempt(NamedTuple):
    """An attempt: times in seconds since the run began, `ended_s` missing (None) while it runs."""

    job: Job
    number: int
    ready_s: float
    matched_s: float
    executing_s: float
    ended_s: float | None
    claim: Claim
    places: tuple[int, ...]
    origin: str
    outcome: str


class Recorder:
    """The rows of one run, attempts as columns."""

    def __init__(self) -> None:
        self.cycles: list[tuple[float, Cycle]] = []
        self.probes: list[ProbeResult] = []
        self.priorities: list[tuple[float, str, float]] = []
        """Moments [s], submitters, their real priorities then."""
        self.removals: list[tuple[Job, float]] = []
        """Jobs that were removed while they were idle, and when [s]."""
        self._jobs: list[Job] = []
        self._claims: list[Claim] = []
        self._ready_s, self._matched_s, self._executing_s, self._ended_s = (array("d") for _ in range(4))
        self._origins, self._outcomes = bytearray(), bytearray()
        self._brought: list[Start] = []
        """Of each attempt, where delivery is asked about; else of none."""

    def start(
        self,
        job: Job,
        claim: Claim,
        origin: int,
        matched_s: float,
        executing_s: float,
        brought: Start | None = None,
    ) -> int:
        """Write down the start of an attempt, got by one of `ORIGINS`, and give its number.

        brought : what delivery brought to it, in a run where delivery is asked about; its program may never begin for it
        """
        number = len(self._jobs)
        self._jobs.append(job)
        self._claims.append(claim)
        self._ready_s.append(job.ready_s)
        self._matched_s.append(matched_s)
        if brought is None:
            self._executing_s.append(executing_s)
        else:
            self._brought.append(brought)
            self._executing_s.append(NAN if brought.failure else executing_s)
        self._ended_s.append(NAN)
        self._origins.append(origin)
        self._outcomes.append(0)
        return number

    def end(self, number: int, ended_s: float, outcome: int) -> None:
        """Write down how an attempt ended, as one of `OUTCOMES`."""
        self._ended_s[number] = ended_s
        self._outcomes[number] = outcome

    def undo(self, number: int, at_s: float) -> None:
        """Mark an attempt that never reached its start (its machine went away before): its job is idle again."""
        self._ended_s[number] = at_s
        self._outcomes[number] = UNSTARTED

    def executing(self, number: int) -> float:
        """When the program of an attempt begins [s]."""
        return self._executing_s[number]

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts, those that never started among them."""
        numbers = self._numbers()
        return [
            Attempt(
                job,
                number,
                ready_s,
                matched_s,
                executing_s,
                None if np.isnan(ended_s) else ended_s,
                claim,
                claim.places,
                ORIGINS[origin],
                OUTCOMES[outcome],
            )
            for job, number, ready_s, matched_s, executing_s, ended_s, claim, origin, outcome in zip(
                self._jobs,
                numbers,
                self._ready_s,
                self._matched_s,
                self._executing_s,
                self._ended_s,
                self._claims,
                self._origins,
                self._outcomes,
                strict=True,
            )
        ]

    def _numbers(self) -> list[int]:
        """How many attempts of its job each one is, those that never started not counted."""
        counts: dict[int, int] = {}
        numbers = []
        for job, outcome in zip(self._jobs, self._outcomes, strict=True):
            number = counts.get(job.row, 0) + 1
            numbers.append(number)
            if outcome != UNSTARTED:
                counts[job.row] = number
        return numbers

    def attempts_frame(self, jobs: pd.DataFrame, start_unix: float) -> pd.DataFrame:
        """The frame "attempts" of a run; `jobs` is the frame the workload was read from."""
        outcomes = np.frombuffer(bytes(self._outcomes), dtype="uint8")
        kept = np.flatnonzero(outcomes != UNSTARTED)
        places = [self._jobs[place].row for place in kept]
        claims = [self._claims[place] for place in kept]
        first = [claim.places[0] if claim.places else None for claim in claims]
        brought = self._brought_to(kept.tolist())

        def times(column: array[float]) -> pd.Series:
            return at(start_unix, np.asarray(column, dtype="float64")[kept])

        frame = pd.DataFrame(
            {
                "job_id": jobs["job_id"].to_numpy()[places],
                "schedd": jobs["schedd"].to_numpy()[places],
                "submitter": jobs["submitter"].to_numpy()[places],
                "attempt": np.asarray(self._numbers(), dtype="int64")[kept],
                "ready_at": times(self._ready_s),
                "matched_at": times(self._matched_s),
                "started_at": times(self._matched_s),
                "executing_at": times(self._executing_s),
                "ended_at": times(self._ended_s),
                "slot": [f"slot1_{claim.slot}@{claim.machine.name}" for claim in claims],
                "machine": [claim.machine.host for claim in claims],
                "site": [claim.machine.site for claim in claims],
                "device_ids": [
                    ",".join(claim.machine.device_ids[p] for p in claim.places) for claim in claims
                ],
                "device_model": [
                    None if p is None else c.machine.models[p] for p, c in zip(first, claims, strict=True)
                ],
                "capability": [
                    np.nan if p is None else c.machine.capabilities[p]
                    for p, c in zip(first, claims, strict=True)
                ],
                "cpus": [claim.shape.size.cpus for claim in claims],
                "memory_mib": [claim.shape.size.memory_mib for claim in claims],
                "gpus": [len(claim.places) for claim in claims],
                "origin": [ORIGINS[self._origins[place]] for place in kept],
                "cold": pd.Series([start.cold for start in brought], dtype="boolean"),
                "moved_mib": [np.nan if s.cold is None else s.moved_mb * 1e6 / 2**20 for s in brought],
                "outcome": [OUTCOMES[self._outcomes[place]] for place in kept],
            }
        )
        return conform(frame, "attempts")

    def priorities_frame(self, start_unix: float) -> pd.DataFrame:
        """Real priorities at the moments that were asked for: at, submitter, real_priority."""
        frame = pd.DataFrame(self.priorities, columns=["at", "submitter", "real_priority"])
        return frame.assign(at=at(start_unix, frame["at"].tolist()))

    def starts_frame(self, start_unix: float) -> pd.DataFrame:
        """How software reached each attempt: row of the job, when, where, seconds, cold, MB by level, pulls, failure."""
        kept = [place for place, outcome in enumerate(self._outcomes) if outcome != UNSTARTED]
        claims = [self._claims[place] for place in kept]
        frame = pd.DataFrame(self._brought_to(kept), columns=list(Start._fields))
        frame.insert(0, "row", [self._jobs[place].row for place in kept])
        frame.insert(1, "at", at(start_unix, [claim.active_s for claim in claims]))
        frame.insert(2, "site", pd.Series([claim.machine.site for claim in claims], dtype="str"))
        frame.insert(3, "host", pd.Series([claim.machine.host for claim in claims], dtype="str"))
        return frame

    def _brought_to(self, places: list[int]) -> list[Start]:
        """What delivery brought to attempts; not known in a run without it."""
        return [self._brought[place] for place in places] if self._brought else [NOTHING] * len(places)

    def jobs_frame(
        self, jobs: pd.DataFrame, start_unix: float, end_s: float, *, clock: str = "shadow"
    ) -> pd.DataFrame:
        """The frame "jobs" as the run left it: first start, last start, end, status; censored at the run's end.

        clock : what a start is: ``shadow`` (the schedd has the slot; JobStartDate) or ``execution`` (user code begins)
        """
        count = len(jobs)
        first, last, executing, done = (np.full(count, np.nan) for _ in range(4))
        starts, vacated, left = np.zeros(count), np.zeros(count), np.full(count, np.nan)
        status = np.full(count, "idle", dtype=object)
        outcomes = np.frombuffer(bytes(self._outcomes), dtype="uint8")
        kept = np.flatnonzero(outcomes != UNSTARTED)
        if len(kept):
            rows = np.array([self._jobs[place].row for place in kept])
            ended, code = outcomes[kept], np.asarray(self._ended_s)[kept]
            begins = np.asarray(self._matched_s if clock == "shadow" else self._executing_s)[kept]
            begun = ~np.isnan(begins)
            first[rows[begun][::-1]] = begins[begun][::-1]
            last[rows] = np.asarray(self._matched_s)[kept]
            executing[rows] = np.asarray(self._executing_s)[kept]
            np.add.at(starts, rows, 1)
            np.add.at(vacated, rows[np.isin(ended, (EVICTED, LOST))], 1)
            done[rows[ended == DONE]] = code[ended == DONE]
            for outcome, named in ((RUNNING, "running"), (HELD, "held"), (REMOVED, "removed")):
                status[rows[ended == outcome]] = named
            status[rows[ended == DONE]] = "completed"
            gone = np.isin(ended, (HELD, REMOVED))
            left[rows[gone]] = code[gone]
        frame = jobs.copy().reset_index(drop=True)
        frame["seen_at"] = at(start_unix, [end_s] * count)
        for job, at_s in self.removals:
            status[job.row], left[job.row] = "removed", at_s
        frame["entered_status_at"] = at(start_unix, left).fillna(frame["entered_status_at"])
        frame["first_started_at"] = at(start_unix, first)
        frame["started_at"] = at(start_unix, last)
        frame["executing_at"] = at(start_unix, executing)
        frame["completed_at"] = at(start_unix, done)
        frame["status"] = status
        frame["n_starts"] = starts.astype("int64")
        frame["n_vacates"] = vacated.astype("int64")
        frame["slot"] = None
        return conform(frame, "jobs")

    def cycles_frame(self, start_unix: float) -> pd.DataFrame:
        """The frame "cycles" of a run."""
        cycles = [cycle for _, cycle in self.cycles]
        frame = pd.DataFrame(
            {
                "negotiator": "simulated",
                "started_at": at(start_unix, [started for started, _ in self.cycles]),
                "duration_s": 0.0,
                "considered": [cycle.considered for cycle in cycles],
                "matched": [cycle.matched for cycle in cycles],
                "rejected": [cycle.rejected for cycle in cycles],
                "spins": [cycle.spins for cycle in cycles],
                "slots": [cycle.slots for cycle in cycles],
                "by_submitter": [json.dumps(cycle.by_submitter) for cycle in cycles],
            }
        )
        return conform(frame, "cycles")

    def probes_frame(self, start_unix: float, end_s: float) -> pd.DataFrame:
        """Ghost probes: label, at, wait_s [s] and whether it was answered; an unanswered one is censored at the end."""
        started = np.array([probe.started_s for probe in self.probes], dtype="float64")
        asked = np.array([probe.at_s for probe in self.probes], dtype="float64")
        return pd.DataFrame(
            {
                "label": pd.Series([probe.label for probe in self.probes], dtype="str"),
                "at": at(start_unix, asked),
                "wait_s": np.where(np.isnan(started), end_s - asked, started - asked),
                "started": ~np.isnan(started),
            }
        )


def at(start_unix: float, seconds: np.ndarray | list[float] | pd.Series | Any) -> pd.Series:
    """Times of a run [s since its start] as UTC times; NaN becomes missing."""
    values = np.asarray(seconds, dtype="float64") + start_unix
    whole = np.where(np.isnan(values), np.iinfo("int64").min, np.round(np.nan_to_num(values) * 1e6)).astype(
        "int64"
    )
    return pd.Series(whole.view("datetime64[us]")).dt.tz_localize("UTC")
