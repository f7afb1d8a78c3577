"""Asking HTCondor's daemons: one door, with a deadline, read-only.

Every failure of htcondor2 is the same HTCondorException, and its calls block in C (fact sheet §6.3): a question runs in
a thread that is given up after a deadline, and the message says what to check. Nothing here can change a pool: only
queries are called.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import sim.classads  # noqa: F401  sets CONDOR_CONFIG before htcondor2 reads it

os.environ.setdefault("_CONDOR_QUERY_TIMEOUT", "5")

import htcondor2

from sim.errors import SourceError

Answer = TypeVar("Answer")
Ads = list[Any]
DEADLINE_S = 8.0
PORT = 9618


def address_of(pool: str) -> str:
    """HOST:PORT of a collector; the port is 9618 unless given."""
    host, _, port = pool.rpartition(":")
    return pool if host and port.isdigit() else f"{pool}:{PORT}"


def ask(where: str, question: Callable[[], Answer], *, deadline_s: float = DEADLINE_S) -> Answer:
    """Put a question to a daemon; SourceError if it doesn't answer in time or refuses."""
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(question())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(deadline_s)
    if answers:
        return answers[0]
    if not errors:
        raise SourceError(
            f"{where}: no answer within {deadline_s:g} s; check that the daemon isn't overloaded or stopped"
        )
    if isinstance(errors[0], htcondor2.HTCondorException):
        raise SourceError(
            f"{where}: unreachable or refused; check the address, that the daemon runs, and that it lets you READ "
            f"(a firewall, ALLOW_READ, a token)"
        ) from errors[0]
    raise errors[0]


class Daemons:
    """The daemons of one pool, found through its collector.

    Parameters
    ----------
    pool : HOST[:PORT] of the collector
    """

    def __init__(self, pool: str) -> None:
        self.address = address_of(pool)
        self._collector = htcondor2.Collector(self.address)

    def slots(self) -> Ads:
        """The ads of all slots, whole: any attribute may stand in somebody's requirements."""
        return self._query(htcondor2.AdType.Startd)

    def negotiators(self) -> Ads:
        """The negotiators' ads with their last cycles."""
        return self._query(htcondor2.AdType.Negotiator)

    def accounting(self) -> Ads:
        """The accounting ads of the collector: submitters and groups with their priorities."""
        return self._query(htcondor2.AdType.Accounting)

    def priorities(self, negotiator: Any) -> Ads:
        """What a negotiator says of its submitters' priorities."""
        where = f"negotiator {negotiator.get('Name', '?')}"
        return list(ask(where, lambda: htcondor2.Negotiator(negotiator).getPriorities()))

    def schedds(self) -> Ads:
        """The schedds' location ads."""
        return self._query(
            htcondor2.AdType.Schedd, ["Name", "MyAddress", "AddressV1", "CondorVersion", "Machine", "MyType"]
        )

    def locations(self, kind: str) -> Ads:
        """The ads of daemons of a kind: negotiator, schedd, collector, startd."""
        kinds = {
            "negotiator": htcondor2.AdType.Negotiator,
            "schedd": htcondor2.AdType.Schedd,
            "collector": htcondor2.AdType.Collector,
            "startd": htcondor2.AdType.Startd,
        }
        return self._query(
            kinds[kind], ["Name", "MyAddress", "AddressV1", "CondorVersion", "Machine", "MyType"]
        )

    def settings(self, daemon: Any, names: Sequence[str]) -> dict[str, str | None]:
        """What a daemon's configuration says of these macros; None where it has none."""
        where = f"configuration of {daemon.get('Name', '?')}"

        def question() -> dict[str, str | None]:
            values = htcondor2.RemoteParam(daemon)
            return {name: values.get(name) for name in names}

        return ask(where, question)

    def queue(self, schedd: Any) -> Ads:
        """The ads of all jobs in a schedd's queue."""
        where = f"schedd {schedd.get('Name', '?')}"
        return list(ask(where, lambda: htcondor2.Schedd(schedd).query()))

    def history(self, schedd: Any) -> Ads:
        """The ads of jobs that left a schedd's queue, newest first."""
        where = f"history of schedd {schedd.get('Name', '?')}"
        return list(ask(where, lambda: htcondor2.Schedd(schedd).history(match=-1), deadline_s=60.0))

    def epochs(self, schedd: Any) -> Ads:
        """One ad per execution attempt, newest first; needs JOB_EPOCH_HISTORY."""
        where = f"job epochs of schedd {schedd.get('Name', '?')}"
        return list(ask(where, lambda: htcondor2.Schedd(schedd).jobEpochHistory(match=-1), deadline_s=60.0))

    def _query(self, kind: Any, projection: Sequence[str] | None = None) -> Ads:
        where = f"collector {self.address}"
        return list(ask(where, lambda: self._collector.query(kind, projection=list(projection or []))))
