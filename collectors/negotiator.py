"""Negotiators → frames "cycles" and "priorities"."""

from __future__ import annotations

from collectors.daemons import Daemons
from collectors.source import Moment, Reading
from sim.errors import SourceError
from sim.inventory import cycles_frame, priorities_frame


class NegotiatorSource:
    """The last cycles of every negotiator, and what each submitter's priority is."""

    name = "negotiator"

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons

    def read(self, moment: Moment) -> Reading:
        """Ask the collector for negotiator ads and the negotiators for priorities.

        A negotiator that can't be asked itself is no failure as long as the collector has its accounting ads.
        """
        negotiators = self.daemons.negotiators()
        cycles = cycles_frame(negotiators)
        people = []
        for negotiator in negotiators:
            try:
                people += self.daemons.priorities(negotiator)
            except SourceError:
                people += [
                    ad
                    for ad in self.daemons.accounting()
                    if ad.get("NegotiatorName") in {None, negotiator.get("Name")}
                ]
        priorities = priorities_frame(people, seen_at=moment.at, snapshot=moment.snapshot)
        return Reading(
            {"cycles": cycles.frame, "priorities": priorities.frame}, cycles.rejects + priorities.rejects
        )
