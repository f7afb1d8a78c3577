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
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collectors.kept import Kept
from sim.classads.columns import Columns
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

    def __init__(self, before: Memory | None = None) -> None:
        self.read_at = float("-inf")
        self.kept: Kept = before.kept if before else Kept()
        self.watched: frozenset[str] = frozenset()  # volatile attributes that expressions read
        self._asked = frozenset(name.lower() for name in attributes("slots", "devices"))
        # one daemon says Start and another START, and a collector spells a name as the expression that reads it does
        self.names: dict[str, str] = dict(before.names) if before else {}
        self._own: set[str] = set()
        self._lines: dict[str, int] = {}
        self._asides: dict[bytes, NDArray[np.int32]] = {}  # what is alike is kept once
        self._rest: dict[str, tuple[str, bytes]] = {}

    def settle(self, at: float, demand: frozenset[str]) -> None:
        """Choose what is asked in between, once all of a whole reading was added."""
        self.read_at = at
        own = named_in(self._own)
        more = {name for name in self.names if name in own or name in demand or _WILD.match(name)}
        self._asked |= more
        asked = [name.partition(" = ")[0].lower() in more for name in self._lines]
        kept = ~np.array(asked, np.bool_)
        for key, held in self._asides.items():
            self._asides[key] = held[kept[held]]

    def add(self, columns: Columns) -> Columns:
        """Take in whole ads, also of startds that have come since; gives them back with names spelled as always."""
        for name, spelled in columns.spelled().items():
            self.names.setdefault(name, spelled)
        columns = columns.respelled(self.names)
        for name in _OWN:
            self._own.update(text for text in set(columns.sources(name)) if text is not None)
        asides = columns.aside(self._asked)
        used = np.unique(np.concatenate(asides)) if asides else np.empty(0, np.int64)
        number = np.zeros(len(columns.lines), np.int32)
        for line in used.tolist():
            number[line] = self._lines.setdefault(columns.text(line), len(self._lines))
        told = zip(_lives(columns), columns.texts("SlotType"), asides, strict=True)
        for (key, life), kind, aside in told:
            held = number[aside]
            rest = held.tobytes()
            if rest not in self._asides:
                self._asides[rest] = np.frombuffer(rest, np.int32)
            self._rest[key] = (life, rest)
            if kind == "Partitionable":
                self._rest.setdefault(_startd(key), self._rest[key])
        return columns

    def projection(self, demand: frozenset[str]) -> list[str]:
        """What is asked in between: names as the ads spell them."""
        names = [self.names.get(name, name) for name in self._asked]
        more = [spelled for name, spelled in self.names.items() if name in demand and name not in self._asked]
        return sorted([*names, *more], key=str.lower)

    def completed(self, columns: Columns) -> tuple[Columns, list[int]]:
        """Slots' ads with what the whole reading told of them, or of their startds; and those of unknown startds."""
        unknown, more = [], []
        for row, (key, life) in enumerate(_lives(columns)):
            held = self._rest.get(key)
            if held is None or held[0] != life:
                held = self._rest.get(_startd(key))
            if held is None or held[0] != life:
                unknown.append(row)
                more.append(_NOTHING)
            else:
                more.append(self._asides[held[1]])
        rows = np.repeat(np.arange(columns.n), [len(aside) for aside in more])
        held_lines = np.concatenate([_NOTHING, *more]).astype(np.int64)
        return columns.joined(pa.array(self._lines, pa.large_string()), rows, held_lines, self.names), unknown


_NOTHING: NDArray[np.int32] = np.empty(0, np.int32)


def _lives(columns: Columns) -> Iterator[tuple[str, str]]:
    """The names of slots, and when their startds began: one that was started anew may say other things."""
    names = (name or "" for name in columns.texts("Name"))
    return zip(names, map(str, columns.values("DaemonStartTime")), strict=True)


def _startd(name: str) -> str:
    return "@" + name.partition("@")[2]
