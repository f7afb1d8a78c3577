"""What is asked of HTCondor's daemons, and frames made of the answers; each function runs in the asking process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import htcondor2
import pandas as pd

from collectors.projection import Memory, attributes, cycle_attributes
from collectors.unchanged import Unchanged, told_by
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
    submitters_frame,
)
from sim.policy import NAMED

Made = TypeVar("Made")
WHOLE_S = 3600.0
_NEW_ONES = 200  # machines that are asked whole by name
_NAMED = 500  # macros of groups and limits: each is a question of its own
_NOT_DEFINED = "Not defined"  # how a daemon says that a macro it knows has no value
_LOCATION = ["Name", "MyAddress", "AddressV1", "CondorVersion", "Machine", "MyType"]
_KINDS = {
    "negotiator": htcondor2.AdType.Negotiator,
    "schedd": htcondor2.AdType.Schedd,
    "collector": htcondor2.AdType.Collector,
    "startd": htcondor2.AdType.Startd,
}


Address = tuple[str, ...]
"""HOST:PORT of a collector, and of those that are asked where it doesn't answer."""


def collector(address: Address) -> htcondor2.Collector:
    """The collector at this address; the next one where it doesn't answer."""
    return htcondor2.Collector(list(address) if len(address) > 1 else address[0])


class Location(NamedTuple):
    """Where a daemon is: its name and the text of its location ad."""

    name: str
    text: str


class Part(NamedTuple):
    """A share of a pool's slots: of the machines from `first` up to, not with, `until`; None is open."""

    first: str | None = None
    until: str | None = None

    @property
    def constraint(self) -> str:
        """The ClassAd expression that a collector chooses these slots by; a nameless machine is in the first part."""
        tests = [] if self.first is None else [f"Machine >= {quoted(self.first)}"]
        if self.until is not None:
            tests.append(f"Machine < {quoted(self.until)}")
        within = " && ".join(tests) or "true"
        return within if self.first is not None else f"(isString(Machine) ? ({within}) : true)"


WHOLE = Part()


def parts(address: Address, most: int) -> list[Part]:
    """Shares of a pool of about `most` slots each, machines whole; one for a pool that has no more.

    A collector compares names without regard to case, and so do we.
    """
    ads = collector(address).query(htcondor2.AdType.Startd, projection=["Machine"])
    names = sorted((text_of(ad, "Machine") or "").lower() for ad in ads)
    bounds = dict.fromkeys(names[place] for place in range(most, len(names), most))
    edges = [None, *(bound for bound in bounds if bound), None]
    return [Part(first, until) for first, until in pairwise(edges)]


def slots(
    address: Address,
    at: pd.Timestamp,
    snapshot: str,
    demand: frozenset[str] = frozenset(),
    part: Part = WHOLE,
    extra: tuple[str, ...] = (),
) -> tuple[Framed, Framed]:
    """Slot ads of a collector as the frames slots and devices: all, or a part of a large pool.

    demand : what the requirements of queued jobs read, in lower case; see `collectors.projection`
    extra : attributes that are asked every time beside those
    """
    demand |= {name.lower() for name in extra}
    memory = _memory(address, part)
    # what is made here lives on; to look through it for cycles costs as much as making it
    gc.disable()
    try:
        if time.monotonic() - memory.read_at > WHOLE_S:
            views, unread = _each(View, _ask(address, part))
            memory.learn(views, time.monotonic(), demand)
            _last[address, part] = Unchanged()  # what stands beside the ads is another's now
            slots, devices = _frames(views, at, snapshot)
        else:
            told, unread = _each(told_by, _ask(address, part, projection=memory.projection(demand)))

            def make(ads: list[Any]) -> tuple[list[View], Framed, Framed]:
                views = list(map(View, ads))
                _complete(views, address, memory)
                return views, *_frames(views, at, snapshot)

            slots, devices = _last[address, part].renew(told, at, snapshot, make)
        if unread:
            slots.rejects["an ad that is no text"] += unread
        return slots, devices
    finally:
        gc.enable()


def _ask(address: Address, part: Part, projection: list[str] | None = None) -> list[Any]:
    constraint = None if part == WHOLE else part.constraint
    return collector(address).query(htcondor2.AdType.Startd, constraint=constraint, projection=projection)


def _frames(views: list[View], at: pd.Timestamp, snapshot: str) -> tuple[Framed, Framed]:
    return slots_frame(views, seen_at=at, snapshot=snapshot), devices_frame(
        views, seen_at=at, snapshot=snapshot
    )


def _each(take: Callable[[Any], Made], ads: Iterable[Any]) -> tuple[list[Made], int]:
    """The ads taken apart, and how many can't be: somebody's startd may say anything."""
    made, unread = [], 0
    for ad in ads:
        try:
            made.append(take(ad))
        except Exception:  # bytes that are no text, among others
            unread += 1
    return made, unread


def _complete(views: list[View], address: Address, memory: Memory) -> None:
    """Complete slots' ads of what changes from memory; startds that are new there are asked whole."""
    unknown = [view for view in views if not memory.complete(view)]
    machines = sorted({machine for view in unknown if (machine := view.text("Machine"))})
    if not machines:
        return
    if len(machines) > _NEW_ONES:
        memory.read_at = float("-inf")  # the next round asks for everything
        return
    names = quoted(",".join(machines))
    whole = collector(address).query(
        htcondor2.AdType.Startd, constraint=f"stringListMember(Machine, {names})"
    )
    memory.add(_each(View, whole)[0])
    for view in unknown:
        memory.complete(view)


_memories: dict[tuple[Address, Part], Memory] = {}
_last: dict[tuple[Address, Part], Unchanged] = {}


def _memory(address: Address, part: Part = WHOLE) -> Memory:
    """What the asking process remembers of a pool's part; parts that weren't asked for hours were cut anew."""
    now = time.monotonic()
    for key in [key for key, held in _memories.items() if now - held.read_at > 2 * WHOLE_S]:
        del _memories[key]
        _last.pop(key, None)
    return _memories.setdefault((address, part), Memory())


def locations(address: Address, kind: str) -> list[Location]:
    """The daemons of a kind that a collector knows."""
    return _located(collector(address).query(_KINDS[kind], projection=_LOCATION))


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


def cycles(address: Address) -> tuple[Framed, list[Location]]:
    """The last cycles of all negotiators as the frame cycles, and where the negotiators are."""
    wanted = [*_LOCATION, *cycle_attributes()]
    ads = collector(address).query(htcondor2.AdType.Negotiator, projection=wanted)
    return cycles_frame(ads), _located(ads)


def priorities(negotiator: Location, at: pd.Timestamp, snapshot: str) -> Framed:
    """What a negotiator says of its submitters, as the frame priorities."""
    ads = htcondor2.Negotiator(parse_one(negotiator.text)).getPriorities()
    return priorities_frame(ads, seen_at=at, snapshot=snapshot)


def accounting(address: Address, negotiator: str, at: pd.Timestamp, snapshot: str) -> Framed:
    """What a collector knows of a negotiator's submitters, as the frame priorities."""
    ads = collector(address).query(
        htcondor2.AdType.Accounting, projection=[*attributes("priorities"), "NegotiatorName"]
    )
    own = [ad for ad in ads if text_of(ad, "NegotiatorName") in {None, negotiator}]
    return priorities_frame(own, seen_at=at, snapshot=snapshot)


def submitters(address: Address, at: pd.Timestamp, snapshot: str) -> Framed:
    """What the schedds say of their users' jobs, as the frame submitters."""
    ads = collector(address).query(htcondor2.AdType.Submitter, projection=attributes("submitters"))
    return submitters_frame(ads, seen_at=at, snapshot=snapshot)


def settings(daemon: Location, names: Sequence[str], *, named: bool = False) -> dict[str, str | None]:
    """What a daemon's configuration says of these macros; None where it has none.

    named : also of those that carry the name of an accounting group or of a concurrency limit
    """
    values = htcondor2.RemoteParam(parse_one(daemon.text))
    found = sorted(name for name in values if named and NAMED.fullmatch(name))
    told = {name: values.get(name) for name in dict.fromkeys([*names, *found[:_NAMED]])}
    return {name: None if value == _NOT_DEFINED else value for name, value in told.items()}


def quoted(text: str) -> str:
    """A text as a string of a ClassAd expression."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _since(mark: Any) -> dict[str, Any]:
    return {} if mark is None else {"since": mark}


def _located(ads: Iterable[Any]) -> list[Location]:
    found = []
    for ad in ads:
        text = "; ".join(f"{name} = {ad.lookup(name)}" for name in _LOCATION if name in ad)
        found.append(Location(text_of(ad, "Name") or "?", f"[ {text} ]"))
    return found
