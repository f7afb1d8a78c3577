"""HTCondor's daemons of one pool: who they are, and what each is asked, with a deadline and read-only.

Every failure of htcondor2 is the same HTCondorException (fact sheet §6.3), so the message says what to check. The
questions themselves stand in `collectors.questions` and run in a process of their own (`collectors.worker`). Nothing
here can change a pool: only queries are called.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from collectors import questions
from collectors.questions import Location
from collectors.worker import Worker
from sim.inventory import Framed

PORT = 9618
DEADLINE_S = 8.0
LONG_S = 120.0  # for what may be megabytes: a large pool's slots, a queue, a history
FIRST_HISTORY = 20_000  # records of a schedd's history that are asked for when nothing is known of it


def address_of(pool: str) -> str:
    """HOST:PORT of a collector; the port is 9618 unless given.

    Examples
    --------
    >>> address_of("cm.example"), address_of("[::1]:9620")
    ('cm.example:9618', '[::1]:9620')
    """
    host, _, port = pool.rpartition(":")
    return pool if host and port.isdigit() and not host.endswith(":") else f"{pool}:{PORT}"


class Daemons:
    """The daemons of one pool, found through its collector.

    Parameters
    ----------
    pool : HOST[:PORT] of the collector
    """

    def __init__(self, pool: str) -> None:
        self.address = address_of(pool)
        self._worker = Worker()

    def slots(self, at: pd.Timestamp, snapshot: str) -> tuple[Framed, Framed]:
        """The frames slots and devices of all slot ads, whole: any attribute may stand in somebody's requirements."""
        where = f"collector {self.address}"
        return self._worker.ask(where, questions.slots, self.address, at, snapshot, deadline_s=LONG_S)

    def locations(self, kind: str) -> list[Location]:
        """The daemons of a kind that the collector knows: negotiator, schedd, collector, startd."""
        where = f"collector {self.address}"
        return self._worker.ask(where, questions.locations, self.address, kind, deadline_s=DEADLINE_S)

    def queue(self, schedd: Location, at: pd.Timestamp, snapshot: str) -> Framed:
        """The frame jobs of a schedd's queue."""
        where = f"schedd {schedd.name}"
        return self._worker.ask(
            where, questions.queue, schedd, at, snapshot, deadline_s=LONG_S, to=schedd.text
        )

    def history(
        self, schedd: Location, at: pd.Timestamp, snapshot: str, since: str | None
    ) -> tuple[Framed, str | None]:
        """The frame jobs of those that left a schedd's queue after job `since`, and the id of the last that left."""
        where = f"history of schedd {schedd.name}"
        question = (questions.history, schedd, at, snapshot, since, FIRST_HISTORY)
        return self._worker.ask(where, *question, deadline_s=LONG_S, to=schedd.text)

    def epochs(self, schedd: Location, since_s: int | None) -> tuple[Framed, int | None]:
        """The frame attempts of those that ended at `since_s` or later, and the end of the last; needs job epochs."""
        where = f"job epochs of schedd {schedd.name}"
        question = (questions.epochs, schedd, since_s, FIRST_HISTORY)
        return self._worker.ask(where, *question, deadline_s=LONG_S, to=schedd.text)

    def cycles(self) -> tuple[Framed, list[Location]]:
        """The frame cycles of the negotiators' ads, and where the negotiators are."""
        where = f"collector {self.address}"
        return self._worker.ask(where, questions.cycles, self.address, deadline_s=DEADLINE_S)

    def priorities(self, negotiator: Location, at: pd.Timestamp, snapshot: str) -> Framed:
        """The frame priorities as a negotiator says it."""
        where = f"negotiator {negotiator.name}"
        question = (questions.priorities, negotiator, at, snapshot)
        return self._worker.ask(where, *question, deadline_s=DEADLINE_S, to=negotiator.text)

    def accounting(self, negotiator: Location, at: pd.Timestamp, snapshot: str) -> Framed:
        """The frame priorities as the collector knows it from a negotiator's accounting ads."""
        where = f"collector {self.address}"
        question = (questions.accounting, self.address, negotiator.name, at, snapshot)
        return self._worker.ask(where, *question, deadline_s=DEADLINE_S)

    def settings(self, daemon: Location, names: Sequence[str]) -> dict[str, str | None]:
        """What a daemon's configuration says of these macros; None where it has none."""
        where = f"configuration of {daemon.name}"
        question = (questions.settings, daemon, tuple(names))
        return self._worker.ask(where, *question, deadline_s=DEADLINE_S, to=daemon.text)

    def close(self) -> None:
        """End the process that asks."""
        self._worker.close()
