"""What is asked of HTCondor's daemons, and frames made of the answers; each function runs in the asking process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import htcondor2
import pandas as pd

from sim.classads.ads import expression, number_of, parse_one, text_of
from sim.classads.view import View
from sim.inventory import (
    Framed,
    attempts_frame,
    cycles_frame,
    devices_frame,
    jobs_frame,
    priorities_frame,
    slots_frame,
)

_LOCATION = ["Name", "MyAddress", "AddressV1", "CondorVersion", "Machine", "MyType"]
_KINDS = {
    "negotiator": htcondor2.AdType.Negotiator,
    "schedd": htcondor2.AdType.Schedd,
    "collector": htcondor2.AdType.Collector,
    "startd": htcondor2.AdType.Startd,
}


class Location(NamedTuple):
    """Where a daemon is: its name and the text of its location ad."""

    name: str
    text: str


def slots(address: str, at: pd.Timestamp, snapshot: str) -> tuple[Framed, Framed]:
    """All slot ads of a collector as the frames slots and devices."""
    ads = [View(ad) for ad in htcondor2.Collector(address).query(htcondor2.AdType.Startd)]
    return (
        slots_frame(ads, seen_at=at, snapshot=snapshot),
        devices_frame(ads, seen_at=at, snapshot=snapshot),
    )


def locations(address: str, kind: str) -> list[Location]:
    """The daemons of a kind that a collector knows."""
    return _located(htcondor2.Collector(address).query(_KINDS[kind], projection=_LOCATION))


def queue(schedd: Location, at: pd.Timestamp, snapshot: str) -> Framed:
    """The queue of a schedd as the frame jobs."""
    ads = htcondor2.Schedd(parse_one(schedd.text)).query()
    return jobs_frame(ads, seen_at=at, snapshot=snapshot, schedd=schedd.name)


def history(
    schedd: Location, at: pd.Timestamp, snapshot: str, since: str | None, most: int
) -> tuple[Framed, str | None]:
    """The jobs that left a schedd's queue after job `since` did, at most `most`, and the id of the last that left."""
    ads = htcondor2.Schedd(parse_one(schedd.text)).history(match=most, **_since(since))
    newest = f"{number_of(ads[0], 'ClusterId'):.0f}.{number_of(ads[0], 'ProcId'):.0f}" if ads else since
    return jobs_frame(ads, seen_at=at, snapshot=snapshot, schedd=schedd.name), newest


def epochs(schedd: Location, since_s: int | None, most: int) -> tuple[Framed, int | None]:
    """The attempts that ended at `since_s` or later, at most `most`, and the end of the last [s since 1970]."""
    # a job's id can't be the mark, as in a history: a later attempt of the same job would hide what lies between
    since = None if since_s is None else expression(f"EpochWriteDate < {since_s}")
    ads = htcondor2.Schedd(parse_one(schedd.text)).jobEpochHistory(match=most, **_since(since))
    ends = [int(end) for ad in ads if (end := number_of(ad, "EpochWriteDate")) is not None]
    return attempts_frame(ads, schedd=schedd.name), max(ends, default=since_s)


def cycles(address: str) -> tuple[Framed, list[Location]]:
    """The last cycles of all negotiators as the frame cycles, and where the negotiators are."""
    ads = htcondor2.Collector(address).query(htcondor2.AdType.Negotiator)
    return cycles_frame(ads), _located(ads)


def priorities(negotiator: Location, at: pd.Timestamp, snapshot: str) -> Framed:
    """What a negotiator says of its submitters, as the frame priorities."""
    ads = htcondor2.Negotiator(parse_one(negotiator.text)).getPriorities()
    return priorities_frame(ads, seen_at=at, snapshot=snapshot)


def accounting(address: str, negotiator: str, at: pd.Timestamp, snapshot: str) -> Framed:
    """What a collector knows of a negotiator's submitters, as the frame priorities."""
    ads = htcondor2.Collector(address).query(htcondor2.AdType.Accounting)
    own = [ad for ad in ads if text_of(ad, "NegotiatorName") in {None, negotiator}]
    return priorities_frame(own, seen_at=at, snapshot=snapshot)


def settings(daemon: Location, names: Sequence[str]) -> dict[str, str | None]:
    """What a daemon's configuration says of these macros; None where it has none."""
    values = htcondor2.RemoteParam(parse_one(daemon.text))
    return {name: values.get(name) for name in names}


def _since(mark: Any) -> dict[str, Any]:
    return {} if mark is None else {"since": mark}


def _located(ads: Iterable[Any]) -> list[Location]:
    found = []
    for ad in ads:
        text = "; ".join(f"{name} = {ad.lookup(name)}" for name in _LOCATION if name in ad)
        found.append(Location(text_of(ad, "Name") or "?", f"[ {text} ]"))
    return found
