"""HTCondor's daemons of one pool: who they are, and what each is asked, with a deadline and read-only.

Every failure of htcondor2 is the same HTCondorException (fact sheet §6.3), so the message says what to check. The
questions themselves stand in `collectors.questions` and run in a process of their own (`collectors.worker`). Nothing
here can change a pool: only queries are called.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pandas as pd

from collectors import questions
from collectors.questions import Location
from collectors.worker import Worker
from sim.inventory import Framed, together
from sim.policy import NAMED

PORT = 9618
DEADLINE_S = 8.0
LONG_S = 120.0  # for what may be megabytes: a large pool's slots, a queue, a history
LOCATED_S = 5.0  # the sources of one round ask once where the daemons are
PART_SLOTS = (
    12_500  # a larger pool is read in parts by two processes: the whole of it is never in memory as ads
)
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


def addresses_of(pool: str | Sequence[str]) -> tuple[str, ...]:
    """The collectors of a pool: several, with commas between or in a list, stand in for each other.

    Examples
    --------
    >>> addresses_of("cm1.example, cm2.example:9620")
    ('cm1.example:9618', 'cm2.example:9620')
    """
    listed = pool.split(",") if isinstance(pool, str) else pool
    return tuple(address_of(name.strip()) for name in listed if name.strip())


class Daemons:
    """The daemons of one pool, found through its collector.

    Parameters
    ----------
    pool : HOST[:PORT] of the collector, or several, asked in this order until one answers
    schedds : names of those to ask; all that the collector knows if empty
    extra : attributes of slots that are asked in every round, beside what `collectors.projection` finds
    stop : when set, a question in hand is given up and no other asked
    """

    def __init__(
        self,
        pool: str | Sequence[str],
        *,
        schedds: Sequence[str] = (),
        extra: Sequence[str] = (),
        stop: threading.Event | None = None,
    ) -> None:
        self.addresses = addresses_of(pool)
        self.address = ", ".join(self.addresses)
        self.schedds = frozenset(schedds)
        self.demand: frozenset[str] = frozenset()
        self._located: dict[str, tuple[float, list[Location]]] = {}
        self.extra = tuple(extra)
        self._cut: list[questions.Part] = []
        self._cut_at = float("-inf")
        self._worker, self._second = Worker(stop), Worker(stop)  # the second only for large pools

    def slots(self, at: pd.Timestamp, snapshot: str, stored: str | None = None) -> tuple[Framed, Framed]:
        """The frames slots and devices of all slot ads; see `collectors.projection` for what is asked of each.

        stored : a snapshot whose texts of ads the store has on this day; they are given by their keys
        """
        where = f"collector {self.address}"
        parts = self._parts()

        def ask(worker: Worker, share: Sequence[questions.Part]) -> list[tuple[Framed, Framed]]:
            asked = (questions.slots, self.addresses, at, snapshot, self.demand)
            return [worker.ask(where, *asked, part, self.extra, stored, deadline_s=LONG_S) for part in share]

        if len(parts) == 1:
            (found,) = ask(self._worker, parts)
            return found
        readers = [self._worker, self._second]
        with ThreadPoolExecutor(len(readers)) as threads:
            shares = threads.map(
                ask, readers, (parts[place :: len(readers)] for place in range(len(readers)))
            )
            pairs = [pair for share in shares for pair in share]
        slots, devices = (together(found) for found in zip(*pairs, strict=True))
        return slots, devices

    def _parts(self) -> list[questions.Part]:
        """The parts that the slots are asked in; cut anew once an hour."""
        if time.monotonic() - self._cut_at > questions.WHOLE_S:
            where = f"collector {self.address}"
            self._cut = self._worker.ask(
                where, questions.parts, self.addresses, PART_SLOTS, deadline_s=LONG_S
            )
            self._cut_at = time.monotonic()
        return self._cut

    def locations(self, kind: str) -> list[Location]:
        """The daemons of a kind that the collector knows: negotiator, schedd, collector, startd."""
        where = f"collector {self.address}"
        asked_at, found = self._located.get(kind, (float("-inf"), []))
        if time.monotonic() - asked_at > LOCATED_S:
            found = self._worker.ask(where, questions.locations, self.addresses, kind, deadline_s=DEADLINE_S)
            self._located[kind] = (time.monotonic(), found)
        if kind == "schedd" and self.schedds:
            return [daemon for daemon in found if daemon.name in self.schedds]
        return found

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
        return self._worker.ask(where, questions.cycles, self.addresses, deadline_s=DEADLINE_S)

    def priorities(self, negotiator: Location, at: pd.Timestamp, snapshot: str) -> Framed:
        """The frame priorities as a negotiator says it."""
        where = f"negotiator {negotiator.name}"
        question = (questions.priorities, negotiator, at, snapshot)
        return self._worker.ask(where, *question, deadline_s=DEADLINE_S, to=negotiator.text)

    def accounting(self, negotiator: Location, at: pd.Timestamp, snapshot: str) -> Framed:
        """The frame priorities as the collector knows it from a negotiator's accounting ads."""
        where = f"collector {self.address}"
        question = (questions.accounting, self.addresses, negotiator.name, at, snapshot)
        return self._worker.ask(where, *question, deadline_s=DEADLINE_S)

    def submitters(self, at: pd.Timestamp, snapshot: str) -> Framed:
        """The frame submitters of the schedds' submitter ads."""
        where = f"collector {self.address}"
        question = (questions.submitters, self.addresses, at, snapshot)
        return self._worker.ask(where, *question, deadline_s=DEADLINE_S)

    def settings(
        self, daemon: Location, names: Sequence[str], *, named: bool = False
    ) -> dict[str, str | None]:
        """What a daemon's configuration says of these macros; None where it has none.

        named : also of those that carry the name of an accounting group or of a concurrency limit
        """
        where = f"configuration of {daemon.name}"
        question = (partial(questions.settings, named=NAMED if named else None), daemon, tuple(names))
        return self._worker.ask(where, *question, deadline_s=DEADLINE_S, to=daemon.text)

    def close(self) -> None:
        """End the process that asks."""
        self._worker.close()
        self._second.close()
