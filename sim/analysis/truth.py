"""Which clause of a job holds on which machines and devices, as tables that every count is read off.

classad2 judges every clause, all clauses of one pair of job and machine in a single call; what follows (a clause left
out, two left out, a rung of a ladder) is arithmetic on the tables. The clauses on free resources that condor_submit and
the startd add are arithmetic themselves, as in `sim.classads.matching`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import classad2
import numpy as np
import numpy.typing as npt

from sim.analysis.fleet import (
    REMAINDER,
    UNIQUE,
    Flags,
    Fleet,
    Ints,
    Patience,
    compact,
    every,
    references_of,
    true,
)
from sim.analysis.pool import PoolView
from sim.classads.ads import number_of
from sim.classads.expression import COMPARISONS, Comparison, Expression, Node, Reference, at_time
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
    samples : one machine of each group
    view_group : the group of each machine, -1 if it is in none
    """

    fleet: Fleet
    clauses: Flags
    willing: Flags
    takes: Flags
    each: Ints
    total: Ints
    samples: Ints
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

    def by_kind(self, matching: Flags, devices: Flags) -> Ints:
        """These devices counted by kind, each once."""
        counted = self.total[matching].sum(axis=0) * devices
        return np.asarray(counted + self._twice_by_kind(self._of_twice(matching, devices)))

    def difference(self, kept: tuple[Flags, Flags], taken: tuple[Flags, Flags]) -> Ints:
        """The devices of one pair of matching groups and devices that another lacks, counted by kind."""
        (groups, devices), (others, picked) = kept, taken
        marked = groups[:, None] & devices & ~(others[:, None] & picked)
        twice = self._of_twice(*kept) & ~self._of_twice(*taken)
        return np.asarray((self.total * marked).sum(axis=0) + self._twice_by_kind(twice))

    def _of_twice(self, matching: Flags, devices: Flags) -> Flags:
        return self.numbers(matching, devices, self._twice)

    def _twice_by_kind(self, numbers: Flags) -> Ints:
        kinds = self.fleet.kind_of_number[numbers]
        return np.bincount(kinds[kinds >= 0], minlength=self.total.shape[1])

    def has_text(self, name: str, text: str) -> Flags:
        """The groups whose machines have this text as an attribute that the groups were told apart by."""
        column = self.fleet.column(name)
        if text not in column.texts:
            return np.zeros(len(self.clauses), dtype=bool)
        return np.asarray(column.codes[self.samples] == column.texts.index(text))

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
        self._patience = Patience(job.expression)
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
        self._texts = [
            at_time(part.text, NOW) for part in self.clauses
        ]  # a recorded pool is judged at its own time
        rest = " && ".join(self._fixed) or "true"
        # Arch, OpSys and their like: the same for every job, so remembered with the machines
        alike = all(r.scope == "target" for r in references_of(rest))
        self._alike = f"(({rest}) && true) =?= true" if alike else ""
        self._judged_texts = [*self._texts, "true" if alike else rest]

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
        room = fleet.open & self._room(fleet, now=True)
        kinds = fleet.free_kinds(self.names)
        of, first = compact(kinds.of[room])
        samples = np.flatnonzero(room)[first]
        view_group = np.full(len(fleet.views), -1, dtype=np.int64)
        view_group[room] = of
        if self.names & REMAINDER:
            table = self._table(fleet, samples, now=True)
        else:
            table = self._drained_table[fleet.kinds(self.names).of[samples]]
        return self._made(fleet, table, samples, view_group, free_only=True)

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
        return self._made(fleet, table, kinds.samples, view_group, free_only=False)

    def _names_of(self, fleet: Fleet) -> frozenset[str]:
        return fleet.significant(self._attributes, [*self._texts, *self._fixed, "GLIDEIN_Site"])

    def _made(
        self, fleet: Fleet, table: Flags, samples: Ints, view_group: Ints, *, free_only: bool
    ) -> Groups:
        total = fleet.remember(
            ("total", view_group.tobytes(), len(table), free_only),
            lambda: fleet.by_group(view_group, len(table), free_only=free_only),
        )
        each = (fleet.free_devices if free_only else fleet.all_devices)[samples]
        n = len(self._texts)
        return Groups(
            fleet, table[:, :n], table[:, n], table[:, n + 1], each, total, samples, view_group, free_only
        )

    def _table(self, fleet: Fleet, samples: Ints, *, now: bool) -> Flags:
        """Machines x clauses, then the rest of the job's Requirements, then the machine's.

        A clause is evaluated once for each set of values that it reads.
        """
        told = np.zeros((len(samples), len(self._judged_texts) + 1), dtype=bool)
        told[:, -1] = self._takes(fleet, samples, now=now)
        together: dict[frozenset[str], list[int]] = {}
        for column, text in enumerate(self._judged_texts):
            if text == "true":
                told[:, column] = True
            else:
                together.setdefault(fleet.read_by(self._attributes, text), []).append(column)
        for names, columns in together.items():
            of = fleet.readings(names, now=now).of[samples]
            row_of, firsts = compact(of)
            for begin in range(0, len(columns), _CHUNK):
                chunk = columns[begin : begin + _CHUNK]
                tree = _bits([self._judged_texts[column] for column in chunk])
                views = [fleet.views[place] for place in samples[firsts].tolist()]
                bits = np.array(
                    [self._whole(tree, v.now if now else v.drained) for v in views], dtype=np.int64
                )
                for number, column in enumerate(chunk):
                    told[:, column] = (bits >> number & 1).astype(bool)[row_of]
        if self._alike:
            told[:, -2] &= fleet.holds(samples, self._alike)
        return told

    def _takes(self, fleet: Fleet, samples: Ints, *, now: bool) -> Flags:
        """Whether the machines' own Requirements take the job."""
        told = self._told_to(fleet)
        if not now:
            return fleet.takes(samples, self._ad, told, self._patience)
        if told is not None and not fleet.policy_names & REMAINDER:
            kinds = fleet.kinds(self.names)
            return fleet.takes(kinds.samples[kinds.of[samples]], self._ad, told, self._patience)
        views = [(fleet.policy(place), fleet.views[place].now) for place in samples.tolist()]
        return np.array([true(policy, slot, self._ad, self._patience) for policy, slot in views], dtype=bool)

    def _told_to(self, fleet: Fleet) -> tuple[tuple[str, str], ...] | None:
        """What the machines' policies read of the job; None where that hangs on more."""
        read = fleet.reads_of_jobs
        told = tuple((name, text) for name, text in sorted(self._attributes.items()) if name in read)
        plain = "requirements" not in read and all(not references_of(text) for _, text in told)
        return told if plain else None

    def _room(self, fleet: Fleet, *, now: bool) -> Flags:
        """Whether there is enough of everything but devices: by the startd's own check or by the job's clauses."""
        asked = (tuple(self._sizes.values()), frozenset(self._arithmetic), self.gpus, now)
        return fleet.remember(("room", *asked), lambda: self._fits(fleet, now=now))

    def _fits(self, fleet: Fleet, *, now: bool) -> Flags:
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
        devices = fleet.n_free if now else fleet.n_devices
        return np.asarray(fits & ~(limits & (devices < self.gpus)))

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
                told[row, column] = true(tree, job, slot, self._patience)
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
        tree = _bits([clause])
        return self._whole(tree, classad2.ClassAd()) == 1

    def takes_at(self, place: int, moment_s: float) -> bool:
        """Whether a drained machine's Requirements would take the job at another time [s since 1970]."""
        slot = copy_ad(self.fleet.views[place].drained)
        slot[NOW] = moment_s
        return true(self.fleet.policy(place), slot, self._ad, self._patience)

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

    def _whole(self, tree: classad2.ExprTree, slot: classad2.ClassAd) -> int:
        began_s = time.thread_time()
        try:
            value = tree.eval(self._ad, slot)
        except classad2.ClassAdException:  # too deep or circular: no match
            return 0
        finally:
            self._patience.note(began_s)
        return value if type(value) is int else 0

    def judge(self, clause: str, rows: Ints) -> Flags:
        """Whether another clause of the job holds on the drained machines of these groups."""
        samples = self.fleet.kinds(self.names).samples
        tree = _bits([at_time(clause, NOW)])
        return np.array(
            [self._whole(tree, self.fleet.views[samples[row]].drained) == 1 for row in rows.tolist()],
            dtype=bool,
        )

    def values(self, name: str, rows: Ints) -> npt.NDArray[np.float64]:
        """A numeric attribute of the drained machines of these groups; NaN where it has none."""
        samples = self.fleet.kinds(self.names).samples[rows]
        found = [number_of(self.fleet.views[place].drained, name) for place in samples.tolist()]
        return np.array([np.nan if value is None else value for value in found], dtype=float)


def _bits(clauses: list[str]) -> classad2.ExprTree:
    """An expression whose value tells, bit by bit, which of at most 40 clauses are true."""
    told = [
        f"ifThenElse((({clause}\n) && true) =?= true, {1 << place}, 0)"
        for place, clause in enumerate(clauses)
    ]
    return classad2.ExprTree(" + ".join(told))


def _names(text: str) -> set[str]:
    return {reference.name.lower() for reference in references_of(text)}
