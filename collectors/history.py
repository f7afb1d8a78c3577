"""The schedds' history and job epochs → frames "jobs" and "attempts"; only what is new since the last stored reading."""

from __future__ import annotations

from typing import Any

from collectors.daemons import FIRST_HISTORY, Daemons
from collectors.schedd import joined, rejected
from collectors.source import Moment, Reading
from sim.errors import SourceError
from sim.inventory import Framed


class HistorySource:
    """Jobs that left the queue, and every execution attempt.

    The cursor holds for each schedd the job that left last and the end of the last attempt; it is stored with the
    snapshot, so a restart goes on where the last stored round was. Attempts that ended in the same second come twice;
    the store keeps each once. Where a schedd's files were rotated beyond the mark, all that they still have is read; a
    reading that is cut by its limit is counted as a gap.
    """

    name = "history"

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons

    def read(self, moment: Moment) -> Reading:
        """Ask each schedd for its history; where job epochs are switched off, attempts stay empty."""
        cursor: dict[str, dict[str, Any]] = dict(moment.cursor or {})
        jobs: list[Framed] = []
        attempts: list[Framed] = []
        errors: list[str] = []
        cut = 0
        for schedd in self.daemons.locations("schedd"):
            marks = dict(cursor.get(schedd.name, {}))
            known = marks.get("job") is not None
            try:
                ended, marks["job"] = self.daemons.history(
                    schedd, moment.at, moment.snapshot, marks.get("job")
                )
                jobs.append(ended)
                cut += known and len(ended.frame) + sum(ended.rejects.values()) >= FIRST_HISTORY
                tried, marks["epoch_s"] = self.daemons.epochs(schedd, marks.get("epoch_s"))
                attempts.append(tried)
            except SourceError as error:
                errors.append(str(error))
            cursor[schedd.name] = marks
        frames = {"jobs": joined("jobs", jobs), "attempts": joined("attempts", attempts)}
        gaps = {"histories cut": cut} if cut else {}
        return Reading(frames, rejected(jobs) + rejected(attempts), errors, cursor, gaps)
