"""What a run writes down: columns while it goes, frames when it has ended."""

from __future__ import annotations

import json
from array import array
from math import isnan
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sim.delivery.state import Start
from sim.engine.entities import FOREVER, Claim, Job, Machine, Shape
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


def slot_of(machine: Machine, dynamic: int) -> str:
    """What the collector calls the slot of a claim: a dynamic one by its id, or the static one itself."""
    slot = f"{machine.slot}_{dynamic}" if machine.kind.partitionable else machine.slot
    return f"{slot}@{machine.startd}"


class Held(NamedTuple):
    """What of an attempt's claim is known after it has gone: its number in the pool, and the dynamic slot's on its machine."""

    number: int
    machine: Machine
    shape: Shape
    slot: int


class Attempt(NamedTuple):
    """An attempt: times in seconds since the run began, `ended_s` missing (None) while it runs."""

    job: Job
    number: int
    ready_s: float
    matched_s: float
    executing_s: float
    ended_s: float | None
    claim: Held
    places: tuple[int, ...]
    origin: str
    outcome: str


class CycleLog:
    """What the cycles of a run did, as columns; matches by submitter one after another, up to `ends` of each cycle."""

    def __init__(self) -> None:
        self._began_s = array("d")
        self._counts = array("i")
        self._names: list[str] = []
        self._matches = array("i")
        self._ends = array("q")

    def add(self, began_s: float, cycle: Cycle) -> None:
        """Write down a cycle that began at `began_s` [s since the run began]."""
        self._began_s.append(began_s)
        self._counts.extend(
            (
                cycle.slots,
                cycle.idle,
                cycle.considered,
                cycle.matched,
                cycle.rejected,
                cycle.spins,
                cycle.satisfied,
            )
        )
        self._names += cycle.by_submitter
        self._matches.extend(cycle.by_submitter.values())
        self._ends.append(len(self._names))

    def read(self) -> list[tuple[float, Cycle]]:
        """When each cycle began [s since the run began], and what it did."""
        found, begin = [], 0
        for place, (began_s, end) in enumerate(zip(self._began_s, self._ends, strict=True)):
            told = self._counts[7 * place : 7 * place + 7]
            cycle = Cycle(told[0])
            cycle.idle, cycle.considered, cycle.matched, cycle.rejected, cycle.spins = told[1:6]
            cycle.satisfied = bool(told[6])
            cycle.by_submitter = dict(zip(self._names[begin:end], self._matches[begin:end], strict=True))
            found.append((began_s, cycle))
            begin = end
        return found


class Recorder:
    """The rows of one run, attempts and cycles as columns: nothing of a claim or an attempt is kept alive by them."""

    def __init__(self) -> None:
        self.cycle_log = CycleLog()
        self.probes: list[ProbeResult] = []
        self.priorities: list[tuple[float, str, float]] = []
        """Moments [s], submitters, their real priorities then."""
        self.departures: list[tuple[Job, float, str]] = []
        """Jobs that left the queue without a run that tells it, when [s], and as what: removed, held, or completed in vain."""
        self._jobs: list[Job] = []
        self._machines: list[Machine] = []
        self._shapes: list[Shape] = []
        self._places: list[tuple[int, ...]] = []
        self._claims, self._slots = array("i"), array("i")
        self._ready_s, self._matched_s, self._active_s = array("d"), array("d"), array("d")
        self._executing_s, self._ended_s = array("d"), array("d")
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
        self._machines.append(claim.machine)
        self._shapes.append(claim.shape)
        self._places.append(claim.places)
        self._claims.append(claim.number)
        self._slots.append(claim.slot)
        self._active_s.append(claim.active_s)
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
    def cycles(self) -> list[tuple[float, Cycle]]:
        """When each cycle began [s since the run began], and what it did."""
        return self.cycle_log.read()

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts, those that never started among them."""
        return [
            Attempt(
                job,
                number,
                self._ready_s[place],
                self._matched_s[place],
                self._executing_s[place],
                None if isnan(self._ended_s[place]) else self._ended_s[place],
                Held(self._claims[place], self._machines[place], self._shapes[place], self._slots[place]),
                self._places[place],
                ORIGINS[self._origins[place]],
                OUTCOMES[self._outcomes[place]],
            )
            for place, (job, number) in enumerate(zip(self._jobs, self._numbers(), strict=True))
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
        kept = self._kept()
        rows = [self._jobs[number].row for number in kept]
        machines = [self._machines[number] for number in kept]
        sizes = [self._shapes[number].size for number in kept]
        held = [self._places[number] for number in kept]
        first = [places[0] if places else None for places in held]
        brought = self._brought_to(kept)

        def times(column: array[float]) -> pd.Series:
            return at(start_unix, np.asarray(column, dtype="float64")[kept])

        frame = pd.DataFrame(
            {
                "job_id": jobs["job_id"].to_numpy()[rows],
                "schedd": jobs["schedd"].to_numpy()[rows],
                "submitter": jobs["submitter"].to_numpy()[rows],
                "attempt": np.asarray(self._numbers(), dtype="int64")[kept],
                "ready_at": times(self._ready_s),
                "matched_at": times(self._matched_s),
                "started_at": times(self._matched_s),
                "executing_at": at(start_unix, self._executed(kept)),
                "ended_at": times(self._ended_s),
                "slot": [
                    slot_of(machine, self._slots[number])
                    for number, machine in zip(kept, machines, strict=True)
                ],
                "machine": [machine.host for machine in machines],
                "site": [machine.site for machine in machines],
                "device_ids": [
                    ",".join(machine.device_ids[place] for place in places)
                    for machine, places in zip(machines, held, strict=True)
                ],
                "device_model": [
                    None if place is None else machine.models[place]
                    for machine, place in zip(machines, first, strict=True)
                ],
                "capability": [
                    np.nan if place is None else machine.capabilities[place]
                    for machine, place in zip(machines, first, strict=True)
                ],
                "cpus": [size.cpus for size in sizes],
                "memory_mib": [size.memory_mib for size in sizes],
                "gpus": [len(places) for places in held],
                "origin": [ORIGINS[self._origins[number]] for number in kept],
                "cold": pd.Series([start.cold for start in brought], dtype="boolean"),
                "moved_mib": [np.nan if s.cold is None else s.moved_mb * 1e6 / 2**20 for s in brought],
                "outcome": [OUTCOMES[self._outcomes[number]] for number in kept],
            }
        )
        return conform(frame, "attempts")

    def _kept(self) -> list[int]:
        """The numbers of the attempts that started."""
        return [number for number, outcome in enumerate(self._outcomes) if outcome != UNSTARTED]

    def priorities_frame(self, start_unix: float) -> pd.DataFrame:
        """Real priorities at the moments that were asked for: at, submitter, real_priority."""
        frame = pd.DataFrame(self.priorities, columns=["at", "submitter", "real_priority"])
        return frame.assign(at=at(start_unix, frame["at"].tolist()))

    def starts_frame(self, start_unix: float) -> pd.DataFrame:
        """How software reached each attempt: row of the job, when, where, seconds, cold, MB by level, pulls, failure."""
        kept = self._kept()
        machines = [self._machines[number] for number in kept]
        frame = pd.DataFrame(self._brought_to(kept), columns=list(Start._fields))
        frame.insert(0, "row", [self._jobs[number].row for number in kept])
        frame.insert(1, "at", at(start_unix, [self._active_s[number] for number in kept]))
        frame.insert(2, "site", pd.Series([machine.site for machine in machines], dtype="str"))
        frame.insert(3, "host", pd.Series([machine.host for machine in machines], dtype="str"))
        return frame

    def _brought_to(self, places: list[int]) -> list[Start]:
        """What delivery brought to attempts; not known in a run without it."""
        return [self._brought[place] for place in places] if self._brought else [NOTHING] * len(places)

    def _executed(self, places: list[int], end_s: float = FOREVER) -> np.ndarray:
        """When the programs of attempts began [s]; missing where the attempt, or the run, ended before."""
        executing = np.asarray(self._executing_s)[places]
        ended = np.fmin(np.asarray(self._ended_s)[places], end_s)
        return np.where(executing > ended, np.nan, executing)

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
        kept = self._kept()
        if kept:
            rows = np.array([self._jobs[place].row for place in kept])
            ended, code = outcomes[kept], np.asarray(self._ended_s)[kept]
            began = self._executed(kept, end_s)
            begins = np.asarray(self._matched_s)[kept] if clock == "shadow" else began
            begun = ~np.isnan(begins)
            first[rows[begun][::-1]] = begins[begun][::-1]
            last[rows] = np.asarray(self._matched_s)[kept]
            executing[rows] = began
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
        for job, at_s, word in self.departures:
            status[job.row] = word
            (done if word == "completed" else left)[job.row] = at_s
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
        told = self.cycles
        cycles = [cycle for _, cycle in told]
        frame = pd.DataFrame(
            {
                "negotiator": "simulated",
                "started_at": at(start_unix, [began_s for began_s, _ in told]),
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
