"""An ad taken apart by one call into classad2: for pools of tens of thousands of slots, where every call counts.

classad2 prints an ad with one attribute to a line, nested ads deeper. What stands there as a literal needs no evaluation,
and most lines are the same from slot to slot and from snapshot to snapshot, so what a line means is remembered. Only
attributes that are expressions are evaluated, by classad2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from sim.classads.ads import LEFT_OUT_OF_JOBS, LEFT_OUT_OF_SLOTS, PRIVATE, Ad, parse_one, tidy, value_of

_LITERAL = re.compile(
    r'"(?P<text>[^"\\]*)"|(?P<int>-?\d{1,18})|(?P<real>-?\d+\.\d+(?:e[+-]?\d+)?)|(?P<word>true|false|undefined|error)'
)
_NUMBERS = (int, float)
GREATEST = 1e18
_WORDS = {"true": True, "false": False, "undefined": None, "error": None}
_NESTED = re.compile(r'(\w+) = ("(?:[^"\\]|\\.)*"|[^;"\[\]{}]*?)(?:; | ?\]$)')
_DEEPER = re.compile(r"\n {9,}")
_BLANKS = re.compile(r'"(?:[^"\\]|\\.)*"| {2,}')
GROUPS = ("gpus_", "has_cvmfs_")
MOMENT = re.compile(r"\b(?:time|random|(?:my)?currenttime|daytime|formattime)\b", re.IGNORECASE)
_OWN_EXPRESSIONS = ("Requirements", "Start", "Rank", "SlotWeight", "RequireGPUs")


class _Expression:
    """Stands for a value that only classad2 can tell."""


EXPRESSION = _Expression()


class _Line(NamedTuple):
    """An attribute as it is printed, and what is known of it."""

    name: str
    text: str
    value: Any
    private: bool
    grouped: bool
    volatile_slot: bool
    volatile_job: bool


class View:
    """The attributes of an ad; the ad itself must not be changed meanwhile."""

    __slots__ = ("_grouped", "_lines", "ad")

    def __init__(self, ad: Ad) -> None:
        self.ad = ad
        lines = [_line(piece) for piece in _pieces(ad)]
        self._lines = {line.name: line for line in lines}
        self._grouped = [line.name for line in lines if line.grouped]

    def value(self, name: str) -> Any:
        """The value of an attribute as a plain Python value; UNDEFINED, ERROR and what isn't there are None."""
        line = self._lines.get(name.lower())
        if line is None:
            return None
        return value_of(self.ad, name) if line.value is EXPRESSION else line.value

    def number(self, *names: str) -> float | None:
        """The first of these attributes that is a finite number."""
        for name in names:
            line = self._lines.get(name.lower())
            if line is None:
                continue
            value = line.value
            if value is EXPRESSION:
                value = value_of(self.ad, name)
            if value.__class__ in _NUMBERS and -GREATEST < value < GREATEST:
                return float(value)
        return None

    def text(self, *names: str) -> str | None:
        """The first of these attributes that is a string and not empty."""
        for name in names:
            line = self._lines.get(name.lower())
            if line is None:
                continue
            value = line.value
            if value is EXPRESSION:
                value = value_of(self.ad, name)
            if value and value.__class__ is str:
                return str(value)
        return None

    def flag(self, *names: str) -> bool:
        """Whether one of these attributes is true; absent booleans are false (fact sheet §6.4)."""
        for name in names:
            line = self._lines.get(name.lower())
            if line is not None and (
                line.value is True or (line.value is EXPRESSION and value_of(self.ad, name) is True)
            ):
                return True
        return False

    def source(self, name: str) -> str | None:
        """An attribute as text, not evaluated."""
        line = self._lines.get(name.lower())
        return None if line is None else line.text.partition(" = ")[2]

    def names(self, prefix: str) -> list[str]:
        """The names, in lower case, that begin with `prefix`, one of `GROUPS`."""
        return [name for name in self._grouped if name.startswith(prefix)]

    def spelled(self, name: str) -> str:
        """An attribute's name as the ad spells it."""
        return self._lines[name].text.partition(" = ")[0]

    def nested(self, name: str) -> Mapping[str, Any] | None:
        """The literals of an ad inside this one, names in lower case; None where the attribute is none."""
        line = self._lines.get(name.lower())
        if line is None or not line.text.endswith("]") or " = [" not in line.text:
            return None
        told = inside(line.text.partition(" = ")[2])
        if told is None:
            inner = value_of(self.ad, name)
            told = {key.lower(): value_of(inner, key) for key in inner} if isinstance(inner, Ad) else None
        return told

    def print(self, numbers: Mapping[str, float] | None = None) -> str:
        """The ad as text without what is volatile or private, in order of names.

        Job ads also lose what the schedd notes about their run. `numbers` stand in for the attributes of these names.
        """
        put = {name.lower(): f"{name} = {_number_text(value)}" for name, value in (numbers or {}).items()}
        lines = self._lines
        if "clusterid" in lines:
            names = [name for name, line in lines.items() if not (line.private or line.volatile_job)]
            apart = [name for name, line in lines.items() if line.volatile_job and not line.private]
        else:
            names = [name for name, line in lines.items() if not (line.private or line.volatile_slot)]
            apart = [name for name, line in lines.items() if line.volatile_slot and not line.private]
        if apart:
            read = self._own_references()
            names += [name for name in apart if name in read]
        names.sort()
        kept = (
            [put.pop(name, lines[name].text) for name in names]
            if put
            else [lines[name].text for name in names]
        )
        return f"[ {'; '.join([*kept, *put.values()])} ]"

    def _own_references(self) -> frozenset[str]:
        return references(tuple([line.text for line in self._lines.values() if line.value is EXPRESSION]))


def print_ad(ad: Ad) -> str:
    """An ad as text without what is volatile or private."""
    return View(ad).print()


def view_of(ad: Ad | View) -> View:
    """The view of an ad, or the view itself."""
    return ad if isinstance(ad, View) else View(ad)


def _number_text(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _pieces(ad: Ad) -> list[str]:
    """The attributes of an ad as ``Name = value; ``.

    An attribute begins on a line of its own, eight blanks deep; what is deeper belongs to a nested ad or list.
    """
    pieces = str(ad).rstrip().removesuffix("]").rstrip().split("\n        ")
    deeper = [place for place, piece in enumerate(pieces) if piece[:1] == " "]
    for place in reversed(deeper):
        pieces[place - 1] = f"{pieces[place - 1]} {pieces.pop(place).lstrip(' ')}"
    return pieces[1:]


@lru_cache(maxsize=1 << 16)
def _line(piece: str) -> _Line:
    text = cleaned(piece)
    name, _, value = text.partition(" = ")
    lowered = name.lower()
    private = PRIVATE.fullmatch(lowered) is not None
    return _Line(
        lowered,
        text,
        literal(value),
        private,
        lowered.startswith(GROUPS),
        LEFT_OUT_OF_SLOTS.fullmatch(lowered) is not None,
        LEFT_OUT_OF_JOBS.fullmatch(lowered) is not None,
    )


def cleaned(piece: str) -> str:
    """An attribute as it is printed on one line, ``Name = value``, without what ends it."""
    text = tidy(piece).rstrip("; ")
    return _BLANKS.sub(lambda match: match[0] if match[0][0] == '"' else " ", text) if "  " in text else text


def literal(text: str) -> Any:
    """The value of a literal; a string with a backslash is left to classad2, as any expression is."""
    match = _LITERAL.fullmatch(text)
    if match is None:
        return EXPRESSION
    told = match[match.lastgroup or 0]
    match match.lastgroup:
        case "text":
            return told
        case "int":
            return int(told)
        case "real":
            return float(told)
        case _:
            return _WORDS[told]


@lru_cache(maxsize=1 << 14)
def inside(text: str) -> Mapping[str, Any] | None:
    """The attributes of a nested ad's text; None unless all are literals."""
    found: dict[str, Any] = {}
    position = 2
    for match in _NESTED.finditer(text, 2):
        value = literal(match[2])
        if match.start() != position or value is EXPRESSION:
            return None
        found[match[1].lower()] = value
        position = match.end()
    return found if position == len(text) else None


@lru_cache(maxsize=1 << 10)
def references(expressions: tuple[str, ...]) -> frozenset[str]:
    """What an ad's own expressions read, at any remove, in lower case."""
    ad = parse_one(f"[ {'; '.join(expressions)} ]")
    found: set[str] = set()
    for name in _OWN_EXPRESSIONS:
        with suppress(KeyError, ValueError):  # an expression that reads itself has no references to tell
            tree = ad.lookup(name)
            found.update(ad.internalRefs(tree), ad.externalRefs(tree))
    return frozenset(reference.lower().rpartition(".")[2] for reference in found)
