"""Machines side by side: which of them no expression can tell apart, and how many devices they have.

An expression is evaluated once for every *kind* of machine: machines that agree in all it reads, at any remove, of the
slot ad (the negotiator's idea of significant attributes, fact sheet §1.8). Columns and groupings are kept, so that the
next expression on the same pool finds them there.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple, TypeVar

import classad2
import numpy as np
import numpy.typing as npt

from sim.analysis.machines import DeviceView, MachineView
from sim.classads.expression import Expression, Reference
from sim.classads.matching import as_number, is_limits, normalise
from sim.errors import ExpressionError

T = TypeVar("T")
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_ALWAYS_READ = ("TARGET.Arch", "TARGET.OpSys", "TARGET.HasFileTransfer", "TARGET.GLIDEIN_Site")
SIZES = ("cpus", "memory", "disk")
REMAINDER = frozenset({"cpus", "memory", "disk", "gpus", "availablegpus"})
_NOW = "\0now"  # tells a grouping of machines as they are from one of drained machines
_MOST_READINGS = 500
_MOST_REMEMBERED = 64
UNIQUE = frozenset({"id", "deviceuuid", "devicepcibusid"})
_NOBODY = classad2.ClassAd()
_LITERAL = re.compile(
    r'"(?:[^"\\]|\\.)*"|-?[0-9.]+(?:[eE][+-]?\d+)?|true|false|undefined|error|', re.IGNORECASE
)


class Patience:
    """How long an answer may evaluate: a regexp can take classad2 a tenth of a second on every machine.

    Half a second of CPU time, and a fifth of a millisecond for each evaluation, ten times what it takes.
    """

    LEAST_S, EACH_S = 0.5, 0.0002

    def __init__(self, text: str) -> None:
        self._text = text
        self._spent_s = 0.0
        self._count = 0

    def note(self, began_s: float) -> None:
        """Take note of an evaluation that began at this `time.thread_time`; ExpressionError once it is too much."""
        self._spent_s += time.thread_time() - began_s
        self._count += 1
        if self._spent_s > self.LEAST_S + self.EACH_S * self._count:
            raise ExpressionError(
                "it takes too long to evaluate, which a regular expression such as (a+)+ does; write a simpler one",
                column=1,
                text=self._text,
            )


class Column(NamedTuple):
    """An attribute of every machine: a number for each distinct text, the texts, and what those that are expressions read."""

    codes: Ints
    texts: tuple[str, ...]
    reads: tuple[Reference, ...]


class Kinds(NamedTuple):
    """Groups of machines: the group of each, and one machine of every group."""

    of: Ints
    samples: Ints


class Fleet:
    """The machines of a snapshot or a window.

    keys : numbers the devices of a pool by machine and id, so that two fleets can be united
    apart : devices are told apart by their own ids, too
    """

    def __init__(
        self, views: Sequence[MachineView], keys: dict[tuple[str, str], int], *, apart: bool = False
    ) -> None:
        self.views = views
        self.device_samples: list[DeviceView] = []
        self._columns: dict[str, Column] = {}
        self._kinds: dict[frozenset[str], Kinds] = {}
        self._numbers: dict[tuple[str, bool], npt.NDArray[np.float64]] = {}
        self._device_numbers: dict[str, npt.NDArray[np.float64]] = {}
        self._levels: dict[tuple[str, bool], tuple[Ints, int]] = {}
        self._remembered: dict[Hashable, object] = {}
        self._readings: dict[tuple[frozenset[str], bool], Kinds] = {}
        self._held: dict[str, dict[int, bool]] = {}
        self._taken: dict[Hashable, dict[int, bool]] = {}
        known: dict[Hashable, int] = {}
        rows: list[tuple[int, int, int, bool]] = []
        for place, view in enumerate(views):
            for device in view.devices:
                key = device_key(device, apart=apart)
                if key not in known:
                    known[key] = len(self.device_samples)
                    self.device_samples.append(device)
                number = keys.setdefault((view.machine, device.id), len(keys))
                rows.append((place, number, known[key], device.free))
        table = np.array(rows, dtype=np.int64).reshape(-1, 4)
        self.device_view, self.device_number, self.device_kind = table[:, 0], table[:, 1], table[:, 2]
        self.device_free: Flags = table[:, 3].astype(bool)
        self.n_kinds_of_devices = len(self.device_samples)
        counts = np.bincount(self.device_number, minlength=len(keys)) if len(table) else np.zeros(0, int)
        self._keys = keys
        self.device_twice: Flags = counts[self.device_number] > 1
        self.usable: Flags = np.array([view.usable for view in views], dtype=bool)
        self.open: Flags = np.array([view.open and view.usable for view in views], dtype=bool)
        self.draining: Flags = np.array([view.draining for view in views], dtype=bool)

    def prepare(self) -> None:
        """Read what every question needs: the machines' own policies, sizes and names."""
        self.kinds(self.significant({}, _ALWAYS_READ))
        for name in SIZES:
            for now in (False, True):
                self._levels_of(name, now=now)
        for told in (
            self.limits,
            self.mixed,
            self.free_composition,
            self.machine_names,
            self.slot_names,
            self.policy_names,
        ):
            assert told is not None

    @property
    def n_numbers(self) -> int:
        """How many devices the pool has numbered."""
        return len(self._keys)

    @cached_property
    def kind_of_number(self) -> Ints:
        """The kind of each numbered device, -1 for those of another fleet."""
        kinds = np.full(self.n_numbers, -1, dtype=np.int64)
        kinds[self.device_number] = self.device_kind
        return kinds

    def count_families(self, numbers: Flags) -> Counter[str]:
        """These devices by the family of their models."""
        kinds = self.kind_of_number[numbers]
        return self.families(np.bincount(kinds[kinds >= 0]))

    def families(self, by_kind: Ints) -> Counter[str]:
        """Devices counted by kind, by the family of their models."""
        counted: Counter[str] = Counter()
        for kind in np.flatnonzero(by_kind).tolist():
            counted[self.device_samples[kind].family] += int(by_kind[kind])
        return counted

    def by_group(self, view_group: Ints, count: int, *, free_only: bool) -> Ints:
        """Groups x kinds of devices: how many, those that are known twice left out.

        view_group : the group of each machine, below `count`; -1 if it is in none
        """
        width = max(1, self.n_kinds_of_devices)
        group = view_group[self.device_view]
        once = (group >= 0) & ~self.device_twice
        if free_only:
            once &= self.device_free
        flat = (group * width + self.device_kind)[once]
        return np.bincount(flat, minlength=count * width).reshape(count, width)

    def remember(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, kept for questions that differ in other things; the oldest is forgotten."""
        if key not in self._remembered:
            while len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[key] = make()
        return self._remembered[key]  # type: ignore[return-value]  # a key stands for one `make`

    def per_view(self, devices: Flags) -> Ints:
        """How many devices of each kind every machine has, of those that `devices` marks; machines x kinds."""
        width = max(1, self.n_kinds_of_devices)
        flat = self.device_view[devices] * width + self.device_kind[devices]
        counted = np.bincount(flat, minlength=len(self.views) * width)
        return counted.reshape(len(self.views), width)

    @cached_property
    def all_devices(self) -> Ints:
        """Machines x kinds of devices."""
        return self.per_view(np.ones(len(self.device_view), dtype=bool))

    @cached_property
    def free_devices(self) -> Ints:
        """The same of the devices that are free now."""
        return self.per_view(self.device_free)

    @cached_property
    def n_devices(self) -> Ints:
        """How many devices every machine has."""
        return np.asarray(self.all_devices.sum(axis=1))

    @cached_property
    def n_free(self) -> Ints:
        """How many of them are free now."""
        return np.asarray(self.free_devices.sum(axis=1))

    @cached_property
    def weights(self) -> Ints:
        """How many devices of each kind there are."""
        return np.asarray(self.all_devices.sum(axis=0))

    @cached_property
    def composition(self) -> Ints:
        """A number for each set of devices that a machine has."""
        return _numbered(row.tobytes() for row in self.all_devices)[0]

    @cached_property
    def free_composition(self) -> Ints:
        """A number for each set of devices that are free on a machine."""
        return _numbered(row.tobytes() for row in self.free_devices)[0]

    @cached_property
    def mixed(self) -> Flags:
        """Whether the devices of each machine differ."""
        return np.array([view.mixed for view in self.views], dtype=bool)

    @cached_property
    def machine_names(self) -> tuple[Ints, npt.NDArray[np.object_]]:
        """The machine of each slot as a number, and their names in order."""
        codes, names = _numbered(view.machine for view in self.views)
        order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return place[codes] if len(codes) else codes, np.array(
            [names[i] for i in order.tolist()], dtype=object
        )

    @cached_property
    def slot_names(self) -> tuple[Ints, npt.NDArray[np.object_]]:
        """The slots in the order of their names, and those names."""
        names = [view.name for view in self.views]
        order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
        return order, np.array([names[i] for i in order.tolist()], dtype=object)

    def machines_of(self, views: Ints) -> tuple[str, ...]:
        """The names of the machines of these slots, in order, each once."""
        codes, names = self.machine_names
        marked = np.zeros(len(names), dtype=bool)
        marked[codes[views]] = True
        return tuple(names[marked].tolist())

    def slots_of(self, views: Ints) -> tuple[str, ...]:
        """The names of these slots, in order."""
        order, names = self.slot_names
        marked = np.zeros(len(names), dtype=bool)
        marked[views] = True
        return tuple(names[marked[order]].tolist())

    def device_numbers(self, name: str) -> npt.NDArray[np.float64]:
        """A numeric property of each kind of device; NaN where it has none or no ad of its own."""
        if name not in self._device_numbers:
            told = [None if d.ad is None else as_number(_evaluated(d.ad, name)) for d in self.device_samples]
            self._device_numbers[name] = _floats(told or [None])
        return self._device_numbers[name]

    def device_texts(self, name: str) -> list[str | None]:
        """A property of each kind of device that is a string; None where it has none."""
        told = [None if d.ad is None else _evaluated(d.ad, name) for d in self.device_samples]
        return [value if isinstance(value, str) else None for value in told]

    def numbers(self, name: str, *, now: bool) -> npt.NDArray[np.float64]:
        """A numeric attribute of every machine, now or as if drained; NaN where it has none."""
        if (name, now) not in self._numbers:
            ads = (view.now if now else view.drained for view in self.views)
            self._numbers[name, now] = _floats([as_number(_evaluated(ad, name)) for ad in ads])
        return self._numbers[name, now]

    def levels(self, name: str) -> tuple[float, ...]:
        """The numbers that machines have for an attribute (in lower case) if drained, each once."""
        column = self.column(name)
        first = np.full(len(column.texts), -1, dtype=np.int64)
        first[column.codes[::-1]] = np.arange(len(self.views))[::-1]
        found = {as_number(_evaluated(self.views[place].drained, name)) for place in first.tolist()}
        return tuple(sorted(value for value in found if value is not None))

    def column(self, name: str) -> Column:
        """An attribute (in lower case) of the drained machines, as written."""
        if name not in self._columns:
            codes, texts = _numbered(_written(view.drained, name) for view in self.views)
            found = {
                reference
                for text in texts
                if _LITERAL.fullmatch(text) is None
                for reference in references_of(text)
            }
            self._columns[name] = Column(codes, texts, tuple(found))
        return self._columns[name]

    def kinds(self, names: frozenset[str]) -> Kinds:
        """Machines that agree in these attributes, in their devices and in whether they are usable."""
        if names not in self._kinds:
            self._kinds[names] = self._grouped(self.composition * 2 + self.usable, names, now=False)
        return self._kinds[names]

    def readings(self, names: frozenset[str], *, now: bool) -> Kinds:
        """Machines that agree in these attributes only, as they are now or as if drained."""
        if (names, now) not in self._readings:
            codes = np.zeros(len(self.views), dtype=np.int64)
            if names & {"gpus", "availablegpus"}:
                codes = self.free_composition if now else self.composition
            if len(self._readings) > _MOST_READINGS:
                self._readings.clear()
            self._readings[names, now] = self._grouped(codes, names, now=now)
        return self._readings[names, now]

    def _grouped(self, codes: Ints, names: frozenset[str], *, now: bool) -> Kinds:
        for name in sorted(names - REMAINDER):
            column = self.column(name)
            if len(column.texts) > 1:
                codes = compact(codes * len(column.texts) + column.codes)[0]
        for name in sorted(names & REMAINDER - {"gpus", "availablegpus"}):
            levels, count = self._levels_of(name, now=now)
            codes = compact(codes * count + levels)[0]
        return Kinds(*compact(codes))

    def _levels_of(self, name: str, *, now: bool) -> tuple[Ints, int]:
        """A numeric attribute of every machine as a number for each distinct value, and how many these are."""
        if (name, now) not in self._levels:
            values = np.nan_to_num(self.numbers(name, now=now), nan=-1.0)
            levels = np.unique(values, return_inverse=True)[1]
            self._levels[name, now] = levels, int(levels.max(initial=0)) + 1
        return self._levels[name, now]

    def free_kinds(self, names: frozenset[str]) -> Kinds:
        """Machines that agree in these attributes as they are now, in their devices and in those that are free."""
        key = names | {_NOW}
        if key not in self._kinds:
            kinds = self.kinds(names)
            codes = kinds.of * (self.free_composition.max(initial=0) + 1) + self.free_composition
            remainder = names & REMAINDER - {"gpus", "availablegpus"}
            self._kinds[key] = self._grouped(compact(codes)[0], remainder, now=True)
        return self._kinds[key]

    @cached_property
    def reads_of_jobs(self) -> frozenset[str]:
        """What the machines' own expressions may read of a job, names in lower case."""
        names = self.policy_names
        return frozenset(r.name.lower() for name in names for r in self.column(name).reads if r.scope != "my")

    @cached_property
    def policy_names(self) -> frozenset[str]:
        """What of a machine its own Requirements reads, a job's own attributes aside."""
        return self.significant({}, [])

    @cached_property
    def _policy_references(self) -> tuple[Reference, ...]:
        """What the machines' Requirements refer to, the startd's own arithmetic left out."""
        requirements, limits = self.column("requirements"), self.column("withinresourcelimits")
        pairs = set(zip(requirements.codes.tolist(), limits.codes.tolist(), strict=True))
        kept = {_kept(requirements.texts[a], limits.texts[b])[0] for a, b in pairs}
        return tuple({reference for text in kept for reference in references_of(text)})

    def holds(self, places: Ints, text: str) -> Flags:
        """Whether an expression that reads nothing of a job is true of drained machines; remembered."""
        known = self._held.setdefault(text, {})
        for place in places.tolist():
            if place not in known:
                known[place] = true(_tree(text), _NOBODY, self.views[place].drained)
        return np.array([known[place] for place in places.tolist()], dtype=bool)

    def takes(self, places: Ints, job: classad2.ClassAd, told: Hashable, patience: Patience) -> Flags:
        """Whether drained machines' own Requirements take a job; remembered by what they read of it, `told`."""
        known = self._taken.setdefault(told, {}) if told is not None else {}
        for place in places.tolist():
            if place not in known:
                known[place] = true(self.policy(place), self.views[place].drained, job, patience)
        return np.array([known[place] for place in places.tolist()], dtype=bool)

    def policy(self, place: int) -> classad2.ExprTree:
        """A machine's Requirements without the arithmetic on what is left."""
        requirements, limits = self.column("requirements"), self.column("withinresourcelimits")
        kept = _kept(requirements.texts[requirements.codes[place]], limits.texts[limits.codes[place]])[0]
        return _tree(kept)

    @cached_property
    def limits(self) -> Flags:
        """Whether each machine's Requirements holds the startd's own check of what is left."""
        requirements, limits = self.column("requirements"), self.column("withinresourcelimits")
        pairs = zip(requirements.codes.tolist(), limits.codes.tolist(), strict=True)
        return np.array([_kept(requirements.texts[a], limits.texts[b])[1] for a, b in pairs], dtype=bool)

    def significant(self, job: Mapping[str, str], expressions: Iterable[str]) -> frozenset[str]:
        """What of a machine is read by these expressions of a job and by the machines' own on it.

        job : the attributes of the job as expressions, names in lower case
        """
        todo = [(False, reference) for text in expressions for reference in references_of(text)]
        todo += [(True, reference) for reference in self._policy_references]
        return self._followed(job, todo) | {"requirements", "withinresourcelimits"}

    def read_by(self, job: Mapping[str, str], expression: str) -> frozenset[str]:
        """What of a machine is read by this expression of a job alone, at any remove."""
        return self._followed(job, [(False, reference) for reference in references_of(expression)])

    def _followed(self, job: Mapping[str, str], todo: list[tuple[bool, Reference]]) -> frozenset[str]:
        found: set[str] = set()
        followed: set[tuple[bool, str]] = set()
        while todo:
            of_slot, reference = todo.pop()
            sides = {"my": (of_slot,), "target": (not of_slot,)}.get(reference.scope, (True, False))
            for side in sides:
                step = (side, reference.name.lower())
                if step in followed:
                    continue
                followed.add(step)
                if side:
                    found.add(step[1])
                    todo += [(True, further) for further in self.column(step[1]).reads]
                elif step[1] in job:
                    todo += [(False, further) for further in references_of(job[step[1]])]
        return frozenset(found)


def true(
    tree: classad2.ExprTree,
    scope: classad2.ClassAd,
    target: classad2.ClassAd,
    patience: Patience | None = None,
) -> bool:
    """Whether an expression is true; too deep or circular is no match."""
    began_s = time.thread_time()
    try:
        return tree.eval(scope, target) is True
    except classad2.ClassAdException:
        return False
    finally:
        if patience is not None:
            patience.note(began_s)


def compact(codes: Ints) -> tuple[Ints, Ints]:
    """Number codes anew without gaps; gives the numbers and where each occurs first."""
    if not len(codes):
        return codes, np.zeros(0, dtype=np.int64)
    most = int(codes.max()) + 1
    if most > 50 * len(codes) + 10_000:
        _, samples, of = np.unique(codes, return_index=True, return_inverse=True)
        return of.reshape(-1), samples
    first = np.full(most, -1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    present = np.flatnonzero(first >= 0)
    number = np.empty(most, dtype=np.int64)
    number[present] = np.arange(len(present))
    return number[codes], first[present]


def _floats(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def every(table: Flags) -> Flags:
    """The rows of a table that hold throughout."""
    return np.asarray(table.all(axis=1), dtype=bool)


def device_key(device: DeviceView, *, apart: bool) -> Hashable:
    """What tells devices apart: all that they say of themselves, their own ids only if asked for."""
    if device.ad is None:
        return (device.family, device.capability, device.memory_mib, device.id if apart else "")
    left = frozenset() if apart else UNIQUE
    return tuple(
        sorted(f"{name.lower()}={device.ad.lookup(name)}" for name in device.ad if name.lower() not in left)
    )


def _numbered(values: Iterable[Hashable]) -> tuple[Ints, tuple[str, ...]]:
    known: dict[Hashable, int] = {}
    codes = np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)
    return codes, tuple(str(value) for value in known)


@lru_cache(maxsize=50_000)
def references_of(text: str) -> tuple[Reference, ...]:
    """The attributes that an expression reads; none for what the grammar lacks."""
    try:
        return tuple(Expression.parse(text).references())
    except ExpressionError:
        return ()


@lru_cache(maxsize=10_000)
def _kept(requirements: str, limits: str) -> tuple[str, bool]:
    """A machine's Requirements without the startd's own arithmetic, and whether that was there."""
    if not requirements:
        return "false", False  # without Requirements nothing matches
    try:
        whole = Expression.parse(requirements)
    except ExpressionError:
        return requirements, False
    clauses = [whole.text_of(node) for node in whole.conjuncts()]
    standard = is_limits(limits)
    kept = [clause for clause in clauses if not (standard and normalise(clause) == "withinresourcelimits")]
    return " && ".join(f"({clause})" for clause in kept) or "true", len(kept) < len(clauses)


@lru_cache(maxsize=10_000)
def _tree(text: str) -> classad2.ExprTree:
    return classad2.ExprTree(text)


def _written(ad: classad2.ClassAd, name: str) -> str:
    """An attribute as a text that tells values apart; empty where there is none."""
    value = ad.get(name)
    if value is None:
        return ""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and not isinstance(value, classad2.Value):
        return repr(value)
    return str(ad.lookup(name))


def _evaluated(ad: classad2.ClassAd, name: str) -> object:
    try:
        return ad.eval(name)
    except (KeyError, RuntimeError):
        return None
