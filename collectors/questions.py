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
import numpy as np
import pandas as pd

from collectors.kept import Kept, Texts, heard_by, said_by
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
    is_capacity,
    jobs_frame,
    priorities_frame,
    submitters_frame,
    together,
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
    stored: str | None = None,
) -> tuple[Framed, Framed]:
    """Slot ads of a collector as the frames slots and devices: all, or a part of a large pool.

    demand : what the requirements of queued jobs read, in lower case; see `collectors.projection`
    extra : attributes that are asked every time beside those
    stored : the snapshot of this day that needn't be told again; see `collectors.kept`
    """
    demand |= {name.lower() for name in extra}
    memory = _memory(address, part)
    kept = memory.kept if memory.kept.snapshot == stored else Kept()
    reading = _Reading(at, snapshot, kept)
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
        memory = Memory(memory)
        began = time.monotonic()
        for columns in reading.columns(_ask(address, part.constraint)):
            reading.add(memory.add(columns))
        memory.settle(began, demand)
        _memories[address, part] = memory
    else:
        ads = list(reading.columns(_ask(address, part.constraint, memory.projection(demand))))
        reading.take_over(ads, memory.watched)
        while ads:
            changed = reading.changed(ads.pop())
            if changed.n:
                columns, unknown = _completed(changed, address, memory)
                reading.add(columns, unknown)
                memory.watched |= columns.watched()
    found = reading.framed()
    memory.kept = reading.kept(*found)
    return found


def _ask(address: Address, constraint: str | None, projection: list[str] | None = None) -> list[Any]:
    return collector(address).query(htcondor2.AdType.Startd, constraint=constraint, projection=projection)


class _Reading:
    """Slot ads that become frames some at a time, so that the rest of them can be forgotten meanwhile."""

    def __init__(self, at: pd.Timestamp, snapshot: str, before: Kept) -> None:
        self._at, self._snapshot, self._before = at, snapshot, before
        self._texts = Texts(before.slots["ad"])
        self._slots, self._devices = SlotRows(self._texts.shortened), Devices(at)
        self._unread: Counter[str] = Counter()
        self._taken: Kept | None = None
        self._said: dict[str, int] = {}
        self._same: set[str] = set()
        self._restless: set[str] = set()

    def columns(self, ads: list[Any]) -> Iterator[Columns]:
        """The ads by attribute; they are taken out of the list."""
        ads.reverse()
        while ads:
            some = [ads.pop() for _ in range(min(_AT_ONCE, len(ads)))]
            columns, unread = columns_of(some)
            self._unread += unread
            del some
            yield columns

    def take_over(self, ads: Sequence[Columns], watched: frozenset[str]) -> None:
        """Take the rows of machines that say what they said before from there."""
        self._said = said_by(ads, watched)
        self._same = self._before.unchanged(self._said, self._at)
        if self._same:
            self._taken = self._before.of(self._same, heard_by(ads), self._at, self._snapshot)

    def changed(self, ads: Columns) -> Columns:
        """The ads of machines whose rows were not taken over."""
        return ads.where(np.array([name not in self._same for name in ads.texts("Machine")], np.bool_))

    def add(self, columns: Columns, unknown: Sequence[int] = ()) -> None:
        """Make rows of these ads; those of unknown startds lack what only a whole reading tells."""
        sound = self._slots.add(columns, seen_at=self._at, snapshot=self._snapshot)
        self._devices.add(columns)
        anew = is_capacity(columns) & ~sound  # to be counted again
        anew[[*columns.momentary, *unknown]] = True
        self._restless.update(columns.texts("Machine")[anew])

    def framed(self) -> tuple[Framed, Framed]:
        """The frames slots and devices."""
        slots, devices = self._slots.framed(), self._devices.framed(self._snapshot)
        if self._taken is not None:
            slots = together([Framed(self._taken.slots, Counter()), slots])
            devices = together([Framed(self._taken.devices, Counter()), devices])
        return Framed(slots.frame, slots.rejects + self._unread), devices

    def kept(self, slots: Framed, devices: Framed) -> Kept:
        """These frames for the next reading."""
        keys = [*([] if self._taken is None else self._taken.slots["ad"]), *self._texts.keys]
        said = {name: number for name, number in self._said.items() if name not in self._restless}
        return Kept(self._snapshot, self._at, slots.frame.assign(ad=keys), devices.frame, said)


def _completed(columns: Columns, address: Address, memory: Memory) -> tuple[Columns, list[int]]:
    """Slots' ads with what changes from memory; startds that are new there are asked whole.

    Gives the ads, and which of them remain of startds that memory doesn't know.
    """
    completed, unknown = memory.completed(columns)
    machines = sorted({name for name in columns.texts("Machine")[unknown] if name})
    if not machines:
        return completed, unknown
    if len(machines) > _NEW_ONES:
        memory.read_at = float("-inf")  # the next round asks for everything
        return completed, unknown
    names = quoted(",".join(machines))
    whole = _ask(address, f"stringListMember(Machine, {names})")
    memory.add(columns_of(whole)[0])
    return memory.completed(columns)


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
