"""Negotiators → frames "cycles" and "priorities"."""

from __future__ import annotations

from collectors.daemons import Daemons
from collectors.schedd import joined, rejected
from collectors.source import Moment, Reading
from sim.errors import SourceError
from sim.inventory import Framed


class NegotiatorSource:
    """The last cycles of every negotiator, and what each submitter's priority is."""

    name = "negotiator"

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons

    def read(self, moment: Moment) -> Reading:
        """Ask the collector for negotiator ads and the negotiators for priorities.

        A negotiator that can't be asked itself is no failure as long as the collector has its accounting ads.
        """
        cycles, negotiators = self.daemons.cycles()
        people: list[Framed] = []
        errors: list[str] = []
        for negotiator in negotiators:
            try:
                people.append(self.daemons.priorities(negotiator, moment.at, moment.snapshot))
            except SourceError as error:
                known = self.daemons.accounting(negotiator, moment.at, moment.snapshot)
                people.append(known)
                if known.frame.empty:
                    errors.append(str(error))
        frames = {"cycles": cycles.frame, "priorities": joined("priorities", people)}
        return Reading(frames, cycles.rejects + rejected(people), errors)
