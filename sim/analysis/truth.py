"""Which clause of a job holds on which machines and devices, as tables that every count is read off.

classad2 judges every clause, all clauses of one pair of job and machine in a single call; what follows (a clause left
out, two left out, a rung of a ladder) is arithmetic on the tables. The clauses on free resources that condor_submit and
the startd add are arithmetic themselves, as in `sim.classads.matching`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import classad2
import numpy as np
import numpy.typing as npt

from sim.analysis.fleet import REMAINDER, UNIQUE, Flags, Fleet, Ints, compact, every, references_of, true
from sim.analysis.pool import PoolView
from sim.classads.ads import number_of
from sim.classads.expression import COMPARISONS, Comparison, Expression, Node, Reference
from sim.classads.job import GPUS, JobDescription
from sim.classads.matching import NOW, copy_ad, is_arithmetic, normalise, read_ad

_CHUNK = 40  # clauses told by one whole number
_SIZES = (("Cpus", "requestcpus"), ("Memory", "requestmemory"), ("Disk", "requestdisk"))


class Parsed(NamedTuple):
    """A clause: the expression it is part of, its place in that, its text."""

    whole: Expression
    node: Node
    text: str


def parts(text: str) -> tuple[Parsed, ...]:
    """The conjuncts of an expression; none of an empty one."""
    if not text:
        return ()
    whole = Expression.parse(text)
    return tuple(Parsed(whole, node, whole.text_of(node)) for node in whole.conjuncts())


@dataclass(frozen=True)
class Groups:
    """Machines that a job can't tell apart.

    clauses : groups x the job's own clauses
    willing : the other clauses of the job, and enough of everything but devices
    takes : the machine's own Requirements
    each, total : devices by kind, of one machine and of all of the group; `total` leaves out devices known twice
    view_group : the group of each machine, -1 if it is in none
    """

    fleet: Fleet
    clauses: Flags
    willing: Flags
    takes: Flags
    each: Ints
    total: Ints
    view_group: Ints
    free_only: bool

    def fitting(self, slots: Flags, devices: Flags, gpus: int) -> Flags:
        """The groups among `slots` with enough of these devices, their policy aside."""
        return slots & self.willing & ((self.each @ devices) >= gpus)

    def matching(self, slots: Flags, devices: Flags, gpus: int) -> Flags:
        """The groups that match."""
        return self.fitting(slots, devices, gpus) & self.takes

    def count(self, slots: Flags, devices: Flags, gpus: int) -> int:
        """Devices that the job could have, each once."""
        matching = self.matching(slots, devices, gpus)
        counted = int((self.total[matching] @ devices).sum())
        twice = self._twice
        if len(twice):
            counted += int(self.numbers(matching, devices, twice).sum())
        return counted

    def numbers(self, matching: Flags, devices: Flags, rows: Ints | None = None) -> Flags:
        """Marks the devices themselves, by their number in the pool; of these rows only, if given."""
        fleet = self.fleet
        here = slice(None) if rows is None else rows
        group = self.view_group[fleet.device_view[here]]
        marked = np.append(matching, False)[group] & devices[fleet.device_kind[here]]
        if self.free_only:
            marked &= fleet.device_free[here]
        found = np.zeros(fleet.n_numbers, dtype=bool)
        found[fleet.device_number[here][marked]] = True
        return found

    def has_text(self, name: str, text: str) -> Flags:
        """The groups whose machines have this text as an attribute that the groups were told apart by."""
        column = self.fleet.column(name)
        marked = np.zeros(len(self.clauses), dtype=bool)
        if text in column.texts:
            views = np.flatnonzero((column.codes == column.texts.index(text)) & (self.view_group >= 0))
            marked[self.view_group[views]] = True
        return marked

    @cached_property
    def _twice(self) -> Ints:
        return np.flatnonzero(self.fleet.device_twice)

    def views(self, groups: Flags) -> Ints:
        """The machines of these groups."""
        return np.flatnonzero(np.append(groups, False)[self.view_group])  # -1 finds the False at the end


class Truth:
    """A job's clauses on a pool."""

    def __init__(self, job: JobDescription, pool: PoolView) -> None:
        self.job = job
        self.pool = pool
        self.clauses = parts(job.expression)
        self.device_clauses = parts(job.require_gpus)
        named = {name for part in self.device_clauses for name in _names(part.text)}
        self.apart = bool(named & UNIQUE)
        self.gpus = job.gpus
        self._ad = read_ad(job.text)
        self._judged: dict[int, Flags] = {}
        self._sizes = {name: job.value(attribute) for name, attribute in _SIZES}
        self._attributes = {name.lower(): text for name, text in job.attributes.items()}
        user = {reference.name.lower() for part in self.clauses for reference in references_of(part.text)}
        standards = [text for names, text in job.standards if not names & user and not job.forced]
        self.standards = frozenset(standards)
        self._counts_devices = GPUS in standards and job.gpus_asked
        whole = [text for text in standards if text != GPUS]
        self._arithmetic = {normalise(text) for text in whole if is_arithmetic(text)}
        self._fixed = [text for text in whole if not is_arithmetic(text)]
        if job.forced:
            self.clauses = parts(job.forced)
        self._texts = [part.text for part in self.clauses]
        rest = " && ".join(self._fixed) or "true"
        # Arch, OpSys and their like: the same for every job, so remembered with the machines
        alike = all(r.scope == "target" for r in references_of(rest))
        self._alike = f"(({rest}) && true) =?= true" if alike else ""
        self._trees = _bit_trees([*self._texts, "true" if alike else rest])

    @cached_property
    def fleet(self) -> Fleet:
        """The machines of the last snapshot."""
        return self.pool.fleet(apart=self.apart)

    @cached_property
    def names(self) -> frozenset[str]:
        """What of a machine is read."""
        return self.fleet.significant(self._attributes, [*self._texts, *self._fixed, "GLIDEIN_Site"])

    @cached_property
    def drained(self) -> Groups:
        """The machines as if nothing ran on them."""
        return self._groups(self.fleet)

    @cached_property
    def seen(self) -> Groups | None:
        """The machines of the window, each as it was when it came."""
        fleet = self.pool.seen_fleet(apart=self.apart)
        return None if fleet is None else self._groups(fleet)

    @cached_property
    def now(self) -> Groups:
        """The machines as they are, those that take no jobs now left out."""
        fleet = self.fleet
        reads = self.names & REMAINDER
        room = fleet.open & self._room(fleet, now=True)
        kinds = fleet.kinds(self.names)
        codes = kinds.of * (fleet.free_composition.max(initial=0) + 1) + fleet.free_composition
        for name in sorted(reads - {"availablegpus", "gpus"}):
            levels = np.unique(np.nan_to_num(fleet.numbers(name, now=True), nan=-1.0), return_inverse=True)[1]
            codes = compact(codes * (levels.max(initial=0) + 1) + levels)[0]
        here = np.flatnonzero(room)
        of, first = compact(codes[here])
        samples = here[first]
        view_group = np.full(len(fleet.views), -1, dtype=np.int64)
        view_group[here] = of
        table = self._table(fleet, samples, now=True) if reads else self._drained_table[kinds.of[samples]]
        each = fleet.free_devices[samples]
        return self._made(fleet, table, each, view_group, free_only=True)

    @cached_property
    def _drained_table(self) -> Flags:
        return self._table(self.fleet, self.fleet.kinds(self.names).samples, now=False)

    def _groups(self, fleet: Fleet) -> Groups:
        names = self.names if fleet is self.fleet else self._names_of(fleet)
        kinds = fleet.kinds(names)
        table = self._drained_table if fleet is self.fleet else self._table(fleet, kinds.samples, now=False)
        room = fleet.usable & self._room(fleet, now=False)
        # what a drained machine has may differ within a kind: those too small are left out one by one
        view_group = np.where(room, kinds.of, -1)
        return self._made(fleet, table, fleet.all_devices[kinds.samples], view_group, free_only=False)

    def _names_of(self, fleet: Fleet) -> frozenset[str]:
        return fleet.significant(self._attributes, [*self._texts, *self._fixed, "GLIDEIN_Site"])

    def _made(self, fleet: Fleet, table: Flags, each: Ints, view_group: Ints, *, free_only: bool) -> Groups:
        count = len(table)
        once = ~fleet.device_twice
        if free_only:
            once = once & fleet.device_free
        group = view_group[fleet.device_view]
        once = once & (group >= 0)
        width = max(1, fleet.n_kinds_of_devices)
        flat = group[once] * width + fleet.device_kind[once]
        total = np.bincount(flat, minlength=count * width).reshape(count, width)
        n = len(self._texts)
        return Groups(fleet, table[:, :n], table[:, n], table[:, n + 1], each, total, view_group, free_only)

    def _table(self, fleet: Fleet, samples: Ints, *, now: bool) -> Flags:
        """Machines x clauses, then the rest of the job's Requirements, then the machine's."""
        width = len(self._texts) + 2
        told = np.zeros((len(samples), width), dtype=bool)
        if not now:
            told[:, width - 1] = fleet.takes(samples, self._ad, self._told_to(fleet))
        for row, place in enumerate(samples.tolist()):
            view = fleet.views[place]
            slot = view.now if now else view.drained
            if now:
                told[row, width - 1] = true(fleet.policy(place), slot, self._ad)
            for number, tree in enumerate(self._trees):
                bits = _whole(tree, self._ad, slot)
                for column in range(number * _CHUNK, min(width - 1, (number + 1) * _CHUNK)):
                    told[row, column] = bits >> (column - number * _CHUNK) & 1
        if self._alike:
            told[:, width - 2] &= fleet.holds(samples, self._alike)
        return told

    def _told_to(self, fleet: Fleet) -> tuple[tuple[str, str], ...] | None:
        """What the machines' policies read of the job; None where that hangs on more."""
        read = fleet.reads_of_jobs
        told = tuple((name, text) for name, text in sorted(self._attributes.items()) if name in read)
        plain = "requirements" not in read and all(not references_of(text) for _, text in told)
        return told if plain else None

    def _room(self, fleet: Fleet, *, now: bool) -> Flags:
        """Whether there is enough of everything but devices: by the startd's own check or by the job's clauses."""
        limits = fleet.limits
        fits = np.ones(len(fleet.views), dtype=bool)
        for name, value in self._sizes.items():
            there = fleet.numbers(name.lower(), now=now)
            asked = np.nan if value is None else value
            with np.errstate(invalid="ignore"):
                enough = there >= asked
                checked = limits & ~(enough & (there > 0))
            lowered = name.lower()
            own = bool({f"{lowered}>=request{lowered}", f"request{lowered}<={lowered}"} & self._arithmetic)
            fits &= ~checked & (enough | (not own))
        devices = fleet.free_devices if now else fleet.all_devices
        return np.asarray(fits & ~(limits & (devices.sum(axis=1) < self.gpus)))

    @cached_property
    def device_table(self) -> Flags:
        """Kinds of devices x clauses of RequireGPUs."""
        return self.judge_devices(self.fleet, [part.text for part in self.device_clauses])

    def judge_devices(self, fleet: Fleet, clauses: list[str]) -> Flags:
        """Which clauses hold on which kinds of devices; on a device without an ad of its own none does."""
        told = np.zeros((max(1, fleet.n_kinds_of_devices), len(clauses)), dtype=bool)
        job = self._ad
        for column, clause in enumerate(clauses):
            job["PoolscopeClause"] = classad2.ExprTree(f"({clause})")
            tree = classad2.ExprTree("countMatches(MY.PoolscopeClause, TARGET.AvailableGPUs) == 1")
            for row, device in enumerate(fleet.device_samples):
                if device.ad is None:
                    continue
                slot = classad2.ClassAd()
                slot["GPUs_GPU_0"] = device.ad
                slot["AvailableGPUs"] = classad2.ExprTree("{GPUs_GPU_0}")
                told[row, column] = true(tree, job, slot)
        return told

    def judged(self, fleet: Fleet) -> Flags:
        """As `device_table`, for another fleet."""
        key = id(fleet)
        if key not in self._judged:
            self._judged[key] = self.judge_devices(fleet, [part.text for part in self.device_clauses])
        return self._judged[key]

    def devices(self, fleet: Fleet | None = None) -> Flags:
        """The kinds of devices that RequireGPUs picks; all where there is none."""
        fleet = fleet or self.fleet
        if not self.device_clauses:
            return np.ones(max(1, fleet.n_kinds_of_devices), dtype=bool)
        table = self.device_table if fleet is self.fleet else self.judged(fleet)
        return every(table)

    @property
    def needed(self) -> int:
        """How many suitable devices a machine must have; none where no clause counts them."""
        return self.gpus if self._counts_devices else 0

    def holds_on_nothing(self, clause: str) -> bool:
        """Whether a clause of the job is true on a machine that advertises nothing."""
        (tree,) = _bit_trees([clause])
        return _whole(tree, self._ad, classad2.ClassAd()) == 1

    def takes_at(self, place: int, moment_s: float) -> bool:
        """Whether a drained machine's Requirements would take the job at another time [s since 1970]."""
        slot = copy_ad(self.fleet.views[place].drained)
        slot[NOW] = moment_s
        return true(self.fleet.policy(place), slot, self._ad)

    def threshold(self, clause: Parsed) -> Comparison | None:
        """A clause of RequireGPUs that compares a property with a number among the job's own attributes."""
        node = clause.node.bare()
        if node.kind != "binary" or node.name not in COMPARISONS:
            return None
        left, right = (part.bare() for part in node.parts)
        if left.kind != "reference" or right.kind != "reference":
            return None
        value = self.job.value(right.name)
        return None if value is None else Comparison(Reference("", left.name), node.name, value, node, right)

    def judge(self, clause: str, rows: Ints) -> Flags:
        """Whether another clause of the job holds on the drained machines of these groups."""
        samples = self.fleet.kinds(self.names).samples
        (tree,) = _bit_trees([clause])
        return np.array(
            [_whole(tree, self._ad, self.fleet.views[samples[row]].drained) == 1 for row in rows.tolist()],
            dtype=bool,
        )

    def values(self, name: str, rows: Ints) -> npt.NDArray[np.float64]:
        """A numeric attribute of the drained machines of these groups; NaN where it has none."""
        samples = self.fleet.kinds(self.names).samples[rows]
        found = [number_of(self.fleet.views[place].drained, name) for place in samples.tolist()]
        return np.array([np.nan if value is None else value for value in found], dtype=float)


def _bit_trees(clauses: list[str]) -> list[classad2.ExprTree]:
    """Expressions whose value tells, bit by bit, which of the clauses are true."""
    trees = []
    for begin in range(0, len(clauses), _CHUNK):
        told = [
            f"ifThenElse((({clause}\n) && true) =?= true, {1 << place}, 0)"
            for place, clause in enumerate(clauses[begin : begin + _CHUNK])
        ]
        trees.append(classad2.ExprTree(" + ".join(told)))
    return trees


def _whole(tree: classad2.ExprTree, job: classad2.ClassAd, slot: classad2.ClassAd) -> int:
    try:
        value = tree.eval(job, slot)
    except classad2.ClassAdException:  # too deep or circular: no match
        return 0
    return value if type(value) is int else 0


def _names(text: str) -> set[str]:
    return {reference.name.lower() for reference in references_of(text)}
