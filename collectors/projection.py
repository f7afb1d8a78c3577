"""Which attributes are asked of which ads: derived from the schema's column "source", here alone.

An attribute may stand in anybody's requirements, so slot ads are kept whole. But only what frames hold and what
expressions read changes by the minute. So all attributes of all slots are asked once an hour, and in between those
that

* the frames slots and devices are made of (the schema),
* the slots' own expressions read, and HAS_CVMFS_… and the like, whose names only the ads tell,
* the requirements of queued jobs read, as far as slots have them;

what else a slot's ad said in that hour's whole reading stands beside them. A startd that has come since is asked
whole at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from sim.classads.view import Aside, View
from sim.schema import describe

_ALWAYS = {
    "slots": ("PartitionableSlot", "DynamicSlot", "IsDataSlot", "SlotBackfill"),
    "jobs": ("MyType", "GlobalJobId", "User", "UidDomain", "ProcId"),
}
_NAME = re.compile(r"[A-Za-z_]\w*")
_WILD = re.compile(r"has_cvmfs_|gpus_\w+$|cuda", re.IGNORECASE)
_OWN = ("start", "requirements", "rank", "slotweight")
_CYCLES = 3


@cache
def attributes(*frames: str) -> list[str]:
    """The attributes that these frames are made of, by name.

    Examples
    --------
    >>> attributes("submitters")[:4]
    ['HeldJobs', 'IdleJobs', 'Machine', 'Name']
    """
    found: set[str] = set()
    for frame in frames:
        found.update(_ALWAYS.get(frame, ()))
        for column in describe(frame):
            found.update(name for name in column.source.split("|") if name and "*" not in name)
    return sorted(found)


@cache
def cycle_attributes() -> list[str]:
    """The attributes of a negotiator's last three cycles, and where it is."""
    numbered = [name for name in attributes("cycles") if name.startswith("LastNegotiationCycle")]
    return [f"{name}{place}" for name in numbered for place in range(_CYCLES)]


def named_in(texts: Iterable[str]) -> frozenset[str]:
    """Everything in expressions that may be an attribute, in lower case."""
    return frozenset(name.lower() for text in texts for name in _NAME.findall(text))


class Memory:
    """What a whole reading of slot ads told that the readings in between don't ask for."""

    def __init__(self) -> None:
        self.read_at = float("-inf")
        self._asked: frozenset[str] = frozenset()
        self._names: dict[str, str] = {}
        self._rest: dict[str, tuple[str, Aside]] = {}

    def learn(self, views: Iterable[View], at: float, demand: frozenset[str]) -> None:
        """Take in a whole reading."""
        views = list(views)
        names: dict[str, str] = {}
        for view in views:
            view.note_names(names)
        own = named_in({text for view in views for name in _OWN if (text := view.source(name))})
        asked = {name.lower() for name in attributes("slots", "devices")}
        asked |= {name for name in names if name in own or name in demand or _WILD.match(name)}
        self._asked, self._names, self.read_at = frozenset(asked), names, at
        self._rest = {}
        self.add(views)

    def add(self, views: Iterable[View]) -> None:
        """Take in whole ads of startds that have come since."""
        same: dict[Any, Any] = {}  # what is alike is kept once
        for _, held in self._rest.values():
            same[held], same[held.names] = held, held.names
        for view in views:
            rest = view.set_aside(self._asked)
            rest = same.setdefault(rest, Aside(same.setdefault(rest.names, rest.names), rest.lines))
            self._rest[_key(view)] = (_life(view), rest)
            if (view.text("SlotType") or "") == "Partitionable":
                self._rest.setdefault(_startd(view), self._rest[_key(view)])

    def projection(self, demand: frozenset[str]) -> list[str]:
        """What is asked in between: names as the ads spell them."""
        names = [self._names.get(name, name) for name in self._asked]
        more = [
            spelled for name, spelled in self._names.items() if name in demand and name not in self._asked
        ]
        return sorted([*names, *more], key=str.lower)

    def complete(self, view: View) -> bool:
        """Add to a slot's ad what the whole reading told of it, or of its startd; False for an unknown startd."""
        for key in (_key(view), _startd(view)):
            held = self._rest.get(key)
            if held is not None and held[0] == _life(view):
                view.put_back(held[1])
                return True
        return False


def _key(view: View) -> str:
    return view.text("Name") or ""


def _startd(view: View) -> str:
    return "@" + _key(view).partition("@")[2]


def _life(view: View) -> str:
    """A startd that was started anew may say other things."""
    return str(view.value("DaemonStartTime"))
