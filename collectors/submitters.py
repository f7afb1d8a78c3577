"""Submitter ads → frame "submitters": what each schedd says of its users' jobs."""

from __future__ import annotations

from collectors.daemons import Daemons
from collectors.source import Moment, Reading


class SubmitterSource:
    """The demand of every submitter at every schedd, as the negotiator sees it."""

    name = "submitters"

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons

    def read(self, moment: Moment) -> Reading:
        """Ask the collector for submitter ads."""
        found = self.daemons.submitters(moment.at, moment.snapshot)
        return Reading({"submitters": found.frame}, found.rejects)
