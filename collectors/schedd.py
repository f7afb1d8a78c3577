"""The schedds' queues → frame "jobs"."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from collectors.daemons import Daemons
from collectors.source import Moment, Reading
from sim.inventory import jobs_frame
from sim.schema import empty


class ScheddSource:
    """The queues of every schedd that the collector knows."""

    name = "schedd"

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons

    def read(self, moment: Moment) -> Reading:
        """Ask each schedd for its jobs."""
        frames, rejects = [], Counter[str]()
        for schedd in self.daemons.schedds():
            queue = self.daemons.queue(schedd)
            made = jobs_frame(
                queue, seen_at=moment.at, snapshot=moment.snapshot, schedd=str(schedd.get("Name", ""))
            )
            frames.append(made.frame)
            rejects += made.rejects
        return Reading({"jobs": pd.concat(frames, ignore_index=True) if frames else empty("jobs")}, rejects)
