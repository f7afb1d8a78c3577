"""What is asked of HTCondor's daemons, and frames made of the answers; each function runs in the asking process."""

from __future__ import annotations

import gc
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import htcondor2
import pandas as pd

from collectors.projection import Memory, attributes, cycle_attributes
from sim.classads.ads import Ad, expression, number_of, parse_one, text_of
from sim.classads.columns import Columns
from sim.inventory import (
    SLOTLESS,
    Devices,
    Framed,
    SlotRows,
    attempts_frame,
    columns_of,
    cycles_frame,
    jobs_frame,
    priorities_frame,
    submitters_frame,
)

WHOLE_S = 3600.0
_AT_ONCE = 1_000  # ads: enough for pyarrow to be quick
_NEW_ONES = 200  # machines that are asked whole by name
_NAMED = 500  # macros of groups and limits: each is a question of its own
_FOR_SLOTS = " && ".join(f"JobUniverse =!= {number}" for number in SLOTLESS)
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
    def constraint(self) -> str | None:
        """The ClassAd expression that a collector chooses these slots by; nameless machines are in the last part."""
        tests = [] if self.until is None else [f"(Machine < {quoted(self.until)}) =?= true"]
        if self.first is not None:
            tests.append(f"(Machine < {quoted(self.first)}) =!= true")
        return " && ".join(tests) or None


WHOLE = Part()


def parts(address: Address, most: int) -> list[Part]:
    """Shares of a pool of about as many slots, at most `most`, machines whole; one for a pool that has no more.

    A collector compares names without regard to case, and so do we.
    """
    ads = collector(address).query(htcondor2.AdType.Startd, projection=["Machine"])
    names = sorted((text_of(ad, "Machine") or "").lower() for ad in ads)
    share = -(-len(names) // max(1, -(-len(names) // most))) or 1
    bounds = dict.fromkeys(names[place] for place in range(share, len(names), share))
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
    reading = _Reading(at, snapshot)
    # what is made here lives on; to look through it for cycles costs as much as making it
    gc.disable()
    try:
        return _read(reading, address, part, memory, demand)
    finally:
        gc.enable()


def _read(
    reading: _Reading, address: Address, part: Part, memory: Memory, demand: frozenset[str]
) -> tuple[Framed, Framed]:
    """All attributes where the last whole reading is an hour old, else those that change."""
    if time.monotonic() - memory.read_at > WHOLE_S:
        memory = Memory()
        memory.learn(map(reading.add, reading.columns(_ask(address, part))), time.monotonic(), demand)
        _memories[address, part] = memory
    else:
        for columns in reading.columns(_ask(address, part, projection=memory.projection(demand))):
            reading.add(_completed(columns, address, memory))
    return reading.framed()


def _ask(address: Address, part: Part, projection: list[str] | None = None) -> list[Any]:
    return collector(address).query(
        htcondor2.AdType.Startd, constraint=part.constraint, projection=projection
    )


class _Reading:
    """Slot ads that become frames some at a time, so that the rest of them can be forgotten meanwhile."""

    def __init__(self, at: pd.Timestamp, snapshot: str) -> None:
        self._at, self._snapshot = at, snapshot
        self._slots, self._devices = SlotRows(), Devices(at)
        self._unread: Counter[str] = Counter()

    def columns(self, ads: list[Any]) -> Iterator[Columns]:
        """The ads by attribute; they are taken out of the list."""
        ads.reverse()
        while ads:
            some = [ads.pop() for _ in range(min(_AT_ONCE, len(ads)))]
            columns, unread = columns_of(some)
            self._unread += unread
            del some
            yield columns

    def add(self, columns: Columns) -> Columns:
        """Make rows of these ads; gives them back."""
        self._slots.add(columns, seen_at=self._at, snapshot=self._snapshot)
        self._devices.add(columns)
        return columns

    def framed(self) -> tuple[Framed, Framed]:
        """The frames slots and devices."""
        frame, rejects = self._slots.framed()
        return Framed(frame, rejects + self._unread), self._devices.framed(self._snapshot)


def _completed(columns: Columns, address: Address, memory: Memory) -> Columns:
    """Slots' ads with what changes from memory; startds that are new there are asked whole."""
    completed, unknown = memory.completed(columns)
    machines = sorted({name for name in columns.texts("Machine")[unknown] if name})
    if not machines:
        return completed
    if len(machines) > _NEW_ONES:
        memory.read_at = float("-inf")  # the next round asks for everything
        return completed
    names = quoted(",".join(machines))
    whole = collector(address).query(
        htcondor2.AdType.Startd, constraint=f"stringListMember(Machine, {names})"
    )
    memory.add(columns_of(whole)[0])
    return memory.completed(columns)[0]


_memories: dict[tuple[Address, Part], Memory] = {}


def _memory(address: Address, part: Part = WHOLE) -> Memory:
    """What the asking process remembers of a pool's part; parts that weren't asked for hours were cut anew."""
    now = time.monotonic()
    for key in [key for key, held in _memories.items() if now - held.read_at > 2 * WHOLE_S]:
        del _memories[key]
    return _memories.setdefault((address, part), Memory())


def locations(address: Address, kind: str) -> list[Location]:
    """The daemons of a kind that a collector knows."""
    return _located(collector(address).query(_KINDS[kind], projection=_LOCATION))


def queue(schedd: Location, at: pd.Timestamp, snapshot: str) -> Framed:
    """The queue of a schedd as the frame jobs."""
    ads = htcondor2.Schedd(parse_one(schedd.text)).query(constraint=_FOR_SLOTS)
    return jobs_frame(ads, seen_at=at, snapshot=snapshot, schedd=schedd.name)


def history(
    schedd: Location, at: pd.Timestamp, snapshot: str, since: str | None, most: int
) -> tuple[Framed, str | None]:
    """The jobs that left a schedd's queue after job `since` did, at most `most`, and the id of the last that left."""
    ads = htcondor2.Schedd(parse_one(schedd.text)).history(constraint=_FOR_SLOTS, match=most, **_since(since))
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
    return priorities_frame(told_apart(ads), seen_at=at, snapshot=snapshot)


def told_apart(ads: Iterable[Mapping[str, Any]]) -> list[Ad]:
    """Each submitter's own ad out of those that getPriorities gives.

    The negotiator answers with one ad of numbered attributes, and the bindings sort these by the last digit alone (seen in
    htcondor 25.14): with ten submitters or more, Name1 in an ad that has a Name is the name of another one.
    """
    apart: dict[tuple[int, str], Ad] = {}
    for place, ad in enumerate(ads):
        for attribute, value in ad.items():
            plain = attribute.rstrip("0123456789")
            apart.setdefault((place, attribute[len(plain) :]), Ad())[plain] = value
    return list(apart.values())


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


def settings(
    daemon: Location, names: Sequence[str], *, named: re.Pattern[str] | None = None
) -> dict[str, str | None]:
    """What a daemon's configuration says of these macros; None where it has none.

    named : also of those whose names are such
    """
    values = htcondor2.RemoteParam(parse_one(daemon.text))
    found = sorted(name for name in values if named and named.fullmatch(name))
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
