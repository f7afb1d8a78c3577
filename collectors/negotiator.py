"""Negotiators → frames "cycles" and "priorities"."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

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
        last: dict[str, float] = dict(moment.cursor or {})
        missed = missed_cycles(cycles.frame, last)
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
        newest = cycles.frame.groupby("negotiator")["started_at"].max()
        last.update({str(name): at.timestamp() for name, at in newest.items()})
        gaps = {"cycles": missed} if missed else {}
        return Reading(frames, cycles.rejects + rejected(people), errors, last, gaps)


def missed_cycles(cycles: pd.DataFrame, last: Mapping[str, float]) -> int:
    """About how many cycles came and went unseen: an ad holds three, and says how long before each the last one began.

    last : start of the newest cycle that was seen of each negotiator before [s, Unix]
    """
    missed = 0
    for name, held in cycles.groupby("negotiator"):
        known = last.get(str(name))
        if known is None:
            continue
        oldest = held.sort_values("started_at").iloc[0]
        period_s = float(oldest["period_s"]) if pd.notna(oldest["period_s"]) else 0.0
        unseen_s = oldest["started_at"].timestamp() - known - period_s
        if unseen_s > max(1.0, 0.5 * period_s):  # the cycle before the oldest isn't the last one known
            missed += max(1, round(unseen_s / period_s)) if period_s > 0 else 1
    return missed
