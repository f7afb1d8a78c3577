"""Many ads taken apart together: for pools of tens of thousands of slots, where every step per ad counts.

classad2 prints an ad with one attribute to a line, and most lines are the same from slot to slot. So the lines of all ads
are split and numbered by pyarrow, and what a line means is found out once for each that differs, when somebody asks.
Only attributes that are expressions are evaluated, by classad2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sim.classads.ads import LEFT_OUT_OF_SLOTS, PRIVATE, Ad, parse_one, value_of
from sim.classads.view import EXPRESSION, GREATEST, MOMENT, cleaned, inside, literal, references
from sim.errors import InputError

Places: TypeAlias = NDArray[np.int64]
Objects: TypeAlias = NDArray[np.object_]
Flags: TypeAlias = NDArray[np.bool_]
Numbers: TypeAlias = NDArray[np.float64]

_EQUALS = " = "
_WORD = re.compile(r"[A-Za-z_]\w*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL = r'^\w+ = (?:"[^"\\]*"|-?[0-9]{1,18}|-?[0-9]+\.[0-9]+|true|false|undefined|error)$'
_LONGEST = 20_000  # characters of an expression and what it reads; classad2 crashes on chains of some 30,000 operators
_NUMBERS = (int, float)


class _Kind(NamedTuple):
    """What an attribute's name says of it."""

    private: bool
    volatile: bool


@lru_cache(maxsize=1 << 13)
def _kind(name: str) -> _Kind:
    return _Kind(PRIVATE.fullmatch(name) is not None, LEFT_OUT_OF_SLOTS.fullmatch(name) is not None)


class Columns:
    """The attributes of ads, an array for each attribute, as long as there are ads.

    Parameters
    ----------
    lines : attributes as ``Name = value``, each once
    rows, held : the lines of all ads: whose each is, and which line
    n : how many ads
    later : where lines begin that don't count where an ad has one of that name before
    """

    def __init__(
        self, lines: pa.Array, rows: Places, held: Places, n: int, *, later: int | None = None
    ) -> None:
        self.n, self.lines = n, lines
        coded = pc.dictionary_encode(pc.list_element(pc.split_pattern(lines, _EQUALS, max_splits=1), 0))
        self._spellings: list[str] = coded.dictionary.to_pylist()
        self._spelling = coded.indices.to_numpy()  # of each line
        self.names: list[str] = sorted({spelling.lower() for spelling in self._spellings})
        self._numbers = {name: number for number, name in enumerate(self.names)}
        number = np.array([self._numbers[spelling.lower()] for spelling in self._spellings], np.int64)
        self._name = number[self._spelling]  # of each line
        keys = rows * max(1, len(self.names)) + self._name[held]
        sort = np.argsort(keys) if later is None else np.lexsort((np.arange(len(keys)) >= later, keys))
        if later is not None:
            first = np.ones(len(keys), np.bool_)
            first[1:] = np.diff(keys[sort]) > 0
            sort = sort[first]
        self._rows, self._held = rows[sort], held[sort]  # by ad, then by name
        names = self._name[self._held]
        if len(self.names) < 1 << 15:  # numpy sorts short numbers by radix, in a fifth of the time
            names = names.astype(np.int16)
        self._by_name = np.argsort(names, kind="stable")
        self._bounds = np.searchsorted(names[self._by_name], np.arange(len(self.names) + 1))
        self._places: dict[str, Places] = {}
        self._known: dict[str, tuple[list[Any], Places]] = {}
        self._nested: dict[int, Mapping[str, Any] | None] = {}
        self._read: dict[int, tuple[int, list[str]]] = {}
        self._worth: dict[tuple[str | int, ...], Any] = {}  # of expressions, by the lines that they read
        self._timed: set[tuple[str | int, ...]] = set()
        self.momentary: set[int] = set()  # ads of which something was asked that reads the clock

    @classmethod
    def of(cls, texts: pa.Array) -> Columns:
        """The attributes of ads as classad2 prints them, without the bracket that ends them."""
        if not len(texts):
            return cls(texts, _none(), _none(), 0)
        # an attribute begins eight blanks deep, what is deeper belongs to a nested ad or list
        pieces = pc.split_pattern(pc.replace_substring(texts, "\n         ", "  "), "\n        ")
        coded = pc.dictionary_encode(pieces.values)
        offsets = pieces.offsets.to_numpy().astype(np.int64)
        rows = np.repeat(np.arange(len(texts)), np.diff(offsets))
        head = np.zeros(len(rows), np.bool_)  # the bracket
        head[offsets[:-1]] = True
        held = coded.indices.to_numpy().astype(np.int64)
        return cls(_clean(coded.dictionary), rows[~head], held[~head], len(texts))

    def joined(self, lines: pa.Array, rows: Places, held: Places, spelled: Mapping[str, str]) -> Columns:
        """These ads with further lines; what they say themselves counts, with names spelled as in `spelled`."""
        return Columns(
            pa.concat_arrays([self._respelled(spelled), lines]),
            np.concatenate([self._rows, rows]),
            np.concatenate([self._held, held + len(self.lines)]),
            self.n,
            later=len(self._rows),
        )

    def where(self, chosen: Flags) -> Columns:
        """Some of these ads."""
        kept = chosen[self._rows]
        used, held = np.unique(self._held[kept], return_inverse=True)
        place = np.cumsum(chosen) - 1
        return Columns(self.lines.take(pa.array(used)), place[self._rows[kept]], held, int(chosen.sum()))

    def respelled(self, spelled: Mapping[str, str]) -> Columns:
        """These ads with the names of attributes spelled as in `spelled`, which has them by lower case."""
        lines = self._respelled(spelled)
        return self if lines is self.lines else Columns(lines, self._rows, self._held, self.n)

    def _respelled(self, spelled: Mapping[str, str]) -> pa.Array:
        told = [spelled.get(spelling.lower(), spelling) for spelling in self._spellings]
        odd = np.array([was != will for was, will in zip(self._spellings, told, strict=True)], np.bool_)
        if not odd.any():
            return self.lines
        mask = odd[self._spelling]
        values = (line.partition(_EQUALS)[2] for line in self.lines.filter(pa.array(mask)).to_pylist())
        names = (told[place] for place in self._spelling[mask].tolist())
        made = [f"{name}{_EQUALS}{value}" for name, value in zip(names, values, strict=True)]
        return pc.replace_with_mask(self.lines, pa.array(mask), pa.array(made, self.lines.type))

    # --- attributes as arrays

    def numbers(self, *names: str) -> Numbers:
        """The first of these attributes that is a finite number; NaN where there is none."""
        found = np.full(self.n, np.nan)
        for name in names:
            values, which = self._values(name)
            told = np.array([_number(value) for value in values])[which]
            found = np.where(np.isnan(found), told, found)
        return found

    def texts(self, *names: str) -> Objects:
        """The first of these attributes that is a string and not empty; None where there is none."""
        found = np.full(self.n, None, np.object_)
        for name in names:
            values, which = self._values(name)
            told = _objects([_text(value) for value in values])[which]
            found = np.where(missing(found), told, found)
        return found

    def flags(self, *names: str) -> Flags:
        """Whether one of these attributes is true; absent booleans are false (fact sheet §6.4)."""
        found = np.zeros(self.n, np.bool_)
        for name in names:
            values, which = self._values(name)
            found |= np.array([value is True for value in values], np.bool_)[which]
        return found

    def values(self, name: str) -> Objects:
        """The values of an attribute as plain Python values; UNDEFINED, ERROR and what isn't there are None."""
        values, which = self._values(name)
        return _objects(values)[which]

    def value(self, row: int, name: str) -> Any:
        """The value of one ad's attribute, as in `values`."""
        values, which = self._values(name)
        return values[which[row]]

    def sources(self, name: str) -> Objects:
        """An attribute as text, not evaluated; None where it isn't there."""
        lines, which = self._lines_of(name)
        return _objects([None if line < 0 else self._source(line) for line in lines])[which]

    def _values(self, name: str) -> tuple[list[Any], Places]:
        """The values of an attribute, None for nothing, and which of them each ad has."""
        lowered = name.lower()
        if (known := self._known.get(lowered)) is not None:
            return known
        lines, which = self._lines_of(name)
        values = [None if line < 0 else literal(self._source(line)) for line in lines]
        evaluated = [value is EXPRESSION for value in values]
        if any(evaluated):
            which = which.copy()
            for row in np.flatnonzero(np.array(evaluated)[which]).tolist():
                which[row] = len(values)
                values.append(self._evaluated(row, name))
        values = [None if value is EXPRESSION else value for value in values]
        self._known[lowered] = values, which
        return values, which

    def _lines_of(self, name: str) -> tuple[list[int], Places]:
        """The lines of an attribute, each once, -1 for none, and which of them each ad has."""
        places = self._line_of(name)
        if self.n and (places == places[0]).all():
            return [int(places[0])], np.zeros(self.n, np.int64)
        lines, which = np.unique(places, return_inverse=True)
        return lines.tolist(), which

    def _line_of(self, name: str) -> Places:
        """The line of each ad's attribute of this name, -1 where it has none."""
        lowered = name.lower()
        found = self._places.get(lowered)
        if found is None:
            found = np.full(self.n, -1, np.int64)
            number = self._numbers.get(lowered)
            if number is not None:
                places = self._by_name[self._bounds[number] : self._bounds[number + 1]]
                found[self._rows[places]] = self._held[places]
            self._places[lowered] = found
        return found

    def text(self, line: int) -> str:
        """A line: ``Name = value``."""
        told: str = self._texts[line]
        return told

    def _source(self, line: int) -> str:
        source: str = self._texts[line].partition(_EQUALS)[2]
        return source

    @cached_property
    def _texts(self) -> list[str]:
        told: list[str] = self.lines.to_pylist()
        return told

    # --- groups of attributes

    def group(self, prefix: str) -> dict[int, tuple[int, ...]]:
        """The lines of each ad whose names (in lower case) begin so, in order of names; ads without one are left out."""
        begins = np.array([name.startswith(prefix) for name in self.names], np.bool_)
        chosen = np.flatnonzero(begins[self._name[self._held]]) if len(begins) else _none()
        if not len(chosen):
            return {}
        rows, first = np.unique(self._rows[chosen], return_index=True)
        ends = [*first.tolist()[1:], len(chosen)]
        held = self._held[chosen].tolist()
        told = zip(rows.tolist(), first.tolist(), ends, strict=True)
        return {row: tuple(held[begin:end]) for row, begin, end in told}

    def name(self, line: int) -> str:
        """The name of a line in lower case."""
        return self.names[int(self._name[line])]

    def is_literal(self, line: int) -> bool:
        """Whether a line says the same of whichever ad."""
        return literal(self._source(line)) is not EXPRESSION

    def flag(self, row: int, line: int) -> bool:
        """Whether a line of an ad says true."""
        name, _, source = self.text(line).partition(_EQUALS)
        value = literal(source)
        return (self._evaluated(row, name) if value is EXPRESSION else value) is True

    def nested(self, row: int, line: int) -> Mapping[str, Any] | None:
        """The literals of an ad inside an ad, names in lower case; None where the line holds none."""
        if line not in self._nested:
            source = self.text(line).partition(_EQUALS)[2]
            whole = source.startswith("[") and source.endswith("]")
            self._nested[line] = inside(source) if whole else {}
        told = self._nested[line]
        if told is not None:
            return told or None
        inner = self._evaluated(row, self.name(line))
        return {key.lower(): value_of(inner, key) for key in inner} if isinstance(inner, Ad) else None

    # --- expressions

    def _evaluated(self, row: int, name: str) -> Any:
        """The value of an ad's expression, found in an ad of what it reads alone: one that is absurd harms no other."""
        read, wanted, length = dict[str, int](), [name.lower()], 0
        while wanted:
            word = wanted.pop()
            if word in read or word not in self._numbers or (line := int(self._line_of(word)[row])) < 0:
                continue
            read[word] = line
            own, words = self._reads(line)
            length += own
            if length > _LONGEST:
                return None
            wanted += words
        key: tuple[str | int, ...] = (name, *read.values())
        if key not in self._worth:
            text = f"[ {'; '.join(self.text(read[word]) for word in sorted(read))} ]"
            if MOMENT.search(text):
                self._timed.add(key)
            self._worth[key] = _value(text, name) if key in self._timed else _value_once(text, name)
        if key in self._timed:
            self.momentary.add(row)
        return self._worth[key]

    def _reads(self, line: int) -> tuple[int, list[str]]:
        """How long a line is, its strings left out, and the words in it that may be attributes."""
        if line not in self._read:
            text = self.text(line)
            self._read[line] = len(_STRING.sub("", text)), list(_words(text.partition(_EQUALS)[2]))
        return self._read[line]

    # --- what is printed

    def prints(self) -> pa.Array:
        """The ads as texts without what is volatile or private, in order of names."""
        private, volatile = self._kinds()
        kept = ~(private | volatile)
        apart = volatile & ~private
        if apart.any():
            kept |= apart & self._read_by_own
        rows, held = self._rows[kept], self._held[kept]
        offsets = np.searchsorted(rows, np.arange(self.n + 1))
        lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), self.lines.take(pa.array(held)))
        begin, between, end, nothing = (pa.scalar(text, pa.large_string()) for text in ("[ ", "; ", " ]", ""))
        return pc.binary_join_element_wise(begin, pc.binary_join(lists, between), end, nothing)

    def _kinds(self) -> tuple[Flags, Flags]:
        """Whether each line of each ad is private, and whether it is volatile."""
        kinds = np.array([_kind(name) for name in self.names], np.bool_).reshape(-1, 2)
        private, volatile = kinds[self._name[self._held]].T
        return private, volatile

    def watched(self) -> frozenset[str]:
        """The attributes (in lower case) that are volatile, but read by expressions of an ad that has them."""
        private, volatile = self._kinds()
        apart = volatile & ~private
        read = np.unique(self._name[self._held[apart & self._read_by_own]]) if apart.any() else _none()
        return frozenset(self.names[number] for number in read.tolist())

    def digests(self, watched: frozenset[str]) -> NDArray[np.uint64]:
        """A number for what each ad says, without what is private, or volatile and not watched."""
        kinds = (_kind(name) for name in self.names)
        counted = [
            not (kind.private or kind.volatile) or name in watched
            for name, kind in zip(self.names, kinds, strict=True)
        ]
        kept = np.array(counted, np.bool_)[self._name[self._held]]
        lines = pd.util.hash_array(np.array(self._texts, np.object_), categorize=False)
        found = np.zeros(self.n, np.uint64)
        np.add.at(found, self._rows[kept], lines[self._held[kept]])
        return found

    @cached_property
    def _read_by_own(self) -> Flags:
        """Which of the ads' lines their own expressions read."""
        literals = pc.match_substring_regex(self.lines, _LITERAL).to_numpy(zero_copy_only=False)
        chosen = np.flatnonzero(~literals[self._held])
        bounds = np.searchsorted(self._rows[chosen], np.arange(self.n + 1)).tolist()
        held = self._held[chosen]
        alike: dict[bytes, int] = {}
        own = [alike.setdefault(held[begin:end].tobytes(), len(alike)) for begin, end in pairwise(bounds)]
        read = np.zeros((len(alike), len(self.names)), np.bool_)
        for lines, place in alike.items():
            expressions = map(self.text, np.frombuffer(lines, np.int64).tolist())
            names = _references(tuple(text for text in expressions if len(_STRING.sub("", text)) <= _LONGEST))
            read[place, [self._numbers[name] for name in names if name in self._numbers]] = True
        told: Flags = read[np.array(own, np.int64)[self._rows], self._name[self._held]]
        return told

    # --- what is kept of ads beside those in hand

    def spelled(self) -> dict[str, str]:
        """The names of attributes that aren't private, in lower case, as an ad spells them."""
        told = {spelling.lower(): spelling for spelling in reversed(self._spellings)}  # the first one counts
        return {name: told[name] for name in self.names if not _kind(name).private}

    def aside(self, apart_from: frozenset[str]) -> list[Places]:
        """For each ad the lines that `prints` keeps anyway beside these attributes (in lower case)."""
        private, volatile = self._kinds()
        asked = np.array([name in apart_from for name in self.names], np.bool_)
        kept = ~(private | volatile | asked[self._name[self._held]])
        rows, held = self._rows[kept], self._held[kept]
        bounds = np.searchsorted(rows, np.arange(self.n + 1)).tolist()
        return [held[begin:end] for begin, end in pairwise(bounds)]


def missing(values: Objects) -> Flags:
    """Where there is nothing."""
    return np.array([value is None for value in values], np.bool_)


def inner_text(ad: Ad) -> str:
    """An ad as classad2 prints it, without the bracket that ends it."""
    text: str = str(ad)
    return text[: text.rindex("]")]


def _clean(pieces: pa.Array) -> pa.Array:
    """Lines without what ends them, nested ads on one line; most are so already."""
    lines = pc.utf8_rtrim(pieces, "; \n")
    odd = pc.match_substring_regex(lines, r"  |\n|E[+-]")
    made = [cleaned(line) for line in lines.filter(odd).to_pylist()]
    return pc.replace_with_mask(lines, odd, pa.array(made, pa.large_string())) if made else lines


@lru_cache(maxsize=1 << 12)
def _words(text: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(text))


def _references(expressions: tuple[str, ...]) -> frozenset[str]:
    try:
        return references(expressions)
    except InputError:  # one that classad2 prints but doesn't read
        return frozenset()


def _value(text: str, name: str) -> Any:
    try:
        return value_of(parse_one(text), name)
    except InputError:  # as above
        return None


_value_once = lru_cache(maxsize=1 << 14)(_value)


def _number(value: Any) -> float:
    within = value.__class__ in _NUMBERS and -GREATEST < value < GREATEST
    return float(value) if within else float("nan")


def _text(value: Any) -> str | None:
    return str(value) if value and value.__class__ is str else None


def _true(value: Any) -> bool:
    return value is True


def _objects(values: Sequence[Any]) -> Objects:
    found = np.empty(len(values), np.object_)
    found[:] = values
    return found


def _none() -> Places:
    return np.empty(0, np.int64)
