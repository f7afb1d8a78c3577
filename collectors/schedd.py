"""The schedds' queues → frame "jobs"."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from collectors.daemons import Daemons
from collectors.projection import named_in
from collectors.source import Moment, Reading
from sim.errors import SourceError
from sim.inventory import Framed
from sim.schema import empty


class ScheddSource:
    """The queues of every schedd that the collector knows."""

    name = "schedd"

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons

    def read(self, moment: Moment) -> Reading:
        """Ask each schedd for its jobs; one that can't be asked is named and the others' jobs are read."""
        found: list[Framed] = []
        errors: list[str] = []
        for schedd in self.daemons.locations("schedd"):
            try:
                found.append(self.daemons.queue(schedd, moment.at, moment.snapshot))
            except SourceError as error:
                errors.append(str(error))
        jobs = joined("jobs", found)
        # what the next reading of slots must have afresh
        self.daemons.demand = named_in(pd.concat([jobs["requirements"], jobs["rank"].dropna()]).unique())
        return Reading({"jobs": jobs}, rejected(found), errors)


def joined(name: str, found: list[Framed]) -> pd.DataFrame:
    """The rows of several frames `name`."""
    return pd.concat([framed.frame for framed in found], ignore_index=True) if found else empty(name)


def rejected(found: list[Framed]) -> Counter[str]:
    """How many ads were left out of several frames, by reason."""
    return sum((framed.rejects for framed in found), Counter[str]())
