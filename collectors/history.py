"""The schedds' history and job epochs → frames "jobs" and "attempts"; each record once while the process lives."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from collectors.daemons import Daemons
from collectors.source import Moment, Reading
from sim.errors import SourceError
from sim.inventory import attempts_frame, jobs_frame
from sim.schema import empty


class HistorySource:
    """Jobs that left the queue, and every execution attempt.

    Records read before are not handed over again; the store keeps each once anyway.
    """

    name = "history"

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons
        self._known: dict[str, set[tuple[str, ...]]] = {"jobs": set(), "attempts": set()}

    def read(self, moment: Moment) -> Reading:
        """Ask each schedd for its history; where job epochs are switched off, attempts stay empty."""
        frames: dict[str, list[pd.DataFrame]] = {"jobs": [empty("jobs")], "attempts": [empty("attempts")]}
        rejects = Counter[str]()
        for schedd in self.daemons.schedds():
            name = str(schedd.get("Name", ""))
            ended = jobs_frame(
                self.daemons.history(schedd), seen_at=moment.at, snapshot=moment.snapshot, schedd=name
            )
            try:
                tried = attempts_frame(self.daemons.epochs(schedd), schedd=name)
            except SourceError:  # the schedd has no JOB_EPOCH_HISTORY; it was reached a moment ago
                tried = attempts_frame([])
                rejects["job epochs not available"] += 1
            frames["jobs"].append(self._new("jobs", ended.frame, ["schedd", "job_id"]))
            frames["attempts"].append(
                self._new("attempts", tried.frame, ["schedd", "job_id", "started_at", "ended_at"])
            )
            rejects += ended.rejects + tried.rejects
        return Reading({kind: pd.concat(parts, ignore_index=True) for kind, parts in frames.items()}, rejects)

    def _new(self, kind: str, frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
        marks = [tuple(str(part) for part in row) for row in frame[keys].itertuples(index=False)]
        fresh = [mark not in self._known[kind] for mark in marks]
        self._known[kind].update(marks)
        return frame[fresh]
