"""The answer for one job: every clause judged by classad2 on every kind of machine, then arithmetic on what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import pandas as pd

from sim.analysis.answer import Answer, Clause, Counts, Pair
from sim.analysis.fleet import Flags, every
from sim.analysis.ladders import ladders_of
from sim.analysis.lints import find_lints
from sim.analysis.pool import PoolView
from sim.analysis.queue import Queue, ahead_of
from sim.analysis.rewrites import find_rewrites
from sim.analysis.truth import Groups, Parsed, Truth
from sim.classads.expression import Comparison, Expression
from sim.classads.job import JobDescription, of_ad
from sim.classads.matching import read_ad
from sim.classads.request import Request
from sim.errors import ExpressionError

MOST_CLAUSES = 60  # of one job; more than that is a list, which stringListMember says in one
MOST_PAIRS = 8


def analyse(
    asked: str | JobDescription,
    pool: PoolView,
    *,
    request: Request | None = None,
    queue: Queue | None = None,
    submitter: str = "",
    with_names: bool = False,
) -> Answer:
    """Tell what a job costs in `pool`.

    Parameters
    ----------
    asked : a requirements expression, or a whole job
    request : what a job with this expression asks for (default: one GPU, one core); of no account for a whole job
    queue : who waits; without it nobody is ahead
    submitter : whose job it is; a newcomer's if nobody's
    with_names : say who is ahead by submitter, not by class of requests

    Raises
    ------
    ExpressionError : the expression is not one whole ClassAd expression, or too long to be looked at
    """
    if isinstance(asked, JobDescription):
        job = asked
    else:
        Expression.parse(asked)  # an empty one is a mistake here, not a job without requirements
        job = (request or Request()).describe(asked)
    truth = Truth(job, pool)
    if len(truth.clauses) > MOST_CLAUSES:
        raise ExpressionError(
            f"more than {MOST_CLAUSES} clauses joined by &&; stringListMember(…) says a long list in one",
            column=truth.clauses[MOST_CLAUSES].node.start + 1,
            text=truth.clauses[0].whole.text,
        )
    found = Found(truth)
    verdict = found.verdict
    blocked_by = found.blocked_by if verdict == "blocked" else ""
    submitter = submitter or job.account
    refusal = queue.allowance.refusal(job, submitter) if queue and verdict in {"free", "busy"} else None
    if refusal is not None:
        verdict, blocked_by = "blocked", refusal[0]
    # Who comes first is counted in GPUs; what a job without one has before it isn't known.
    counted = queue if verdict == "free" and truth.gpus else None
    ahead = ahead_of(truth, counted, submitter, with_names=with_names) if counted else None
    if ahead is not None and ahead.takes_all:
        verdict = "outranked"
    ladders = ladders_of(truth)
    lints = tuple(find_lints(truth))
    return Answer(
        expression=asked if isinstance(asked, str) else job.expression,
        verdict=verdict,
        sentence=_sentence(verdict, found, refusal[1] if refusal else ""),
        machines=found.drained_names,
        gpus=found.counts,
        by_model=found.by_model(),
        clauses=tuple(_clauses(truth, found)),
        lints=lints,
        ladder=ladders.get("capability", ()),
        slots=truth.fleet.slots_of(truth.drained.views(found.drained)),
        hosts=found.hosts,
        states=found.states(),
        pairs=tuple(_pairs(truth, found)),
        rewrites=tuple(find_rewrites(truth)),
        ladders=ladders,
        ahead=ahead.groups if ahead is not None else (),
        blocked_by=blocked_by,
    )


def judge(ad: str, pool: PoolView) -> str:
    """The verdict on a whole job ad, as a job of the queue brings it, queue aside; ExpressionError if it can't be read."""
    return Found(Truth(of_ad(read_ad(ad)), pool)).verdict


class Found:
    """The groups of machines that match, and what is counted of them."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.suits = truth.devices()
        self.now = self._matching(truth.now, self.suits)
        self.drained = self._matching(truth.drained, self.suits)
        fitting = truth.drained.fitting(every(truth.drained.clauses), self.suits, truth.needed)
        self.refused = fitting & ~truth.drained.takes
        self.counts = Counts(
            self._devices(truth.now, self.suits), self._devices(truth.drained, self.suits), self._seen()
        )

    def _matching(self, groups: Groups, suits: Flags) -> Flags:
        return groups.matching(every(groups.clauses), suits, self.truth.needed)

    def _devices(self, groups: Groups, suits: Flags) -> int:
        return groups.count(every(groups.clauses), suits, self.truth.needed)

    def _seen(self) -> int | None:
        """A machine that came back has a new startd name; its devices are the same."""
        seen = self.truth.seen
        if seen is None:
            return None
        suits = self.truth.devices(seen.fleet)
        matched = seen.numbers(self._matching(seen, suits), suits)
        return int((matched | self.truth.drained.numbers(self.drained, self.suits)).sum())

    @property
    def verdict(self) -> str:
        """The verdict, queue aside."""
        if self._any(self.truth.now, self.now):
            return "free"
        if self._any(self.truth.drained, self.drained):
            return "busy"
        if self._any(self.truth.drained, self.refused) or self.was_seen:
            return "blocked"
        return "impossible"

    @property
    def blocked_by(self) -> str:
        """What blocks a job whose clauses hold somewhere: the machines' policy, their retirement, or that they are gone."""
        if not self._any(self.truth.drained, self.refused):
            return "gone"
        return "retirement" if self.retiring == self._refused_machines else "policy"

    @cached_property
    def retiring(self) -> int:
        """Groups of machines that refuse the job only because of the time."""
        samples = self.truth.fleet.kinds(self.truth.names).samples
        return sum(
            self.truth.takes_at(int(samples[number]), 0.0) for number in np.flatnonzero(self.refused).tolist()
        )

    @property
    def _refused_machines(self) -> int:
        return int(self.refused.sum())

    @property
    def was_seen(self) -> bool:
        """Whether a machine of the window matched."""
        seen = self.truth.seen
        return seen is not None and bool(
            len(seen.views(self._matching(seen, self.truth.devices(seen.fleet))))
        )

    @staticmethod
    def _any(groups: Groups, matching: Flags) -> bool:
        return bool(len(groups.views(matching)))

    def machine_names(self, groups: Groups, matching: Flags) -> tuple[str, ...]:
        """The names of the machines of these groups."""
        return groups.fleet.machines_of(groups.views(matching))

    @cached_property
    def drained_names(self) -> tuple[str, ...]:
        """The names of the machines that match if drained."""
        return self.machine_names(self.truth.drained, self.drained)

    @cached_property
    def hosts(self) -> Counts:
        """Machines instead of GPUs."""
        truth = self.truth
        now, drained = self.machine_names(truth.now, self.now), self.drained_names
        if truth.seen is None:
            return Counts(len(now), len(drained), None)
        matching = self._matching(truth.seen, truth.devices(truth.seen.fleet))
        return Counts(len(now), len(drained), len({*drained, *self.machine_names(truth.seen, matching)}))

    def seen_names(self) -> tuple[str, ...]:
        """The machines of the window that matched."""
        seen = self.truth.seen
        return (
            ()
            if seen is None
            else self.machine_names(seen, self._matching(seen, self.truth.devices(seen.fleet)))
        )

    def states(self) -> dict[str, int]:
        """The devices that match if drained, by what is with them now, and those whose machine refuses the job."""
        truth, fleet, groups = self.truth, self.truth.fleet, self.truth.drained
        group = groups.view_group[fleet.device_view]
        rows = np.flatnonzero(np.append(self.drained, False)[group] & self.suits[fleet.device_kind])
        numbers = fleet.device_number[rows]
        found, idle, going = (np.zeros(fleet.n_numbers, dtype=bool) for _ in range(3))
        found[numbers] = True
        idle[numbers[fleet.device_free[rows]]] = True
        going[numbers[fleet.draining[fleet.device_view[rows]]]] = True
        free = truth.now.numbers(self.now, self.suits)
        rest = found & ~free
        told = {
            "free": free, "claimed": rest & ~idle & ~going, "no_room": rest & idle & ~going, "draining": rest & going,
        }  # fmt: skip
        counts = {name: int(flags.sum()) for name, flags in told.items()}
        retiring = sum(
            int(groups.total[number] @ self.suits)
            for number in np.flatnonzero(self.refused).tolist()
            if truth.takes_at(int(fleet.kinds(truth.names).samples[number]), 0.0)
        )
        refused = int((groups.total[self.refused] @ self.suits).sum()) if self.refused.any() else 0
        return {**counts, "retiring": retiring, "refused": refused - retiring}

    def by_model(self) -> pd.DataFrame:
        """The devices by family: now, if drained, in the window."""
        truth = self.truth
        now, drained = (
            truth.fleet.families(groups.by_kind(matching, self.suits))
            for groups, matching in ((truth.now, self.now), (truth.drained, self.drained))
        )
        seen: Counter[str] = Counter()
        if truth.seen is not None:
            suits = truth.devices(truth.seen.fleet)
            known = truth.drained.numbers(self.drained, self.suits)
            before = truth.seen.numbers(self._matching(truth.seen, suits), suits) & ~known
            seen = drained + truth.seen.fleet.count_families(before)
        names = sorted({*now, *drained, *seen}, key=lambda name: (-drained[name], -seen[name], name))
        columns = {"model": names, **{column: [count[name] for name in names] for column, count in
                   (("now", now), ("drained", drained), ("seen", seen))}}  # fmt: skip
        return pd.DataFrame(columns)


def matching(n: int, noun: str) -> str:
    """How many match.

    Examples
    --------
    >>> matching(1, "GPU"), matching(2, "GPU")
    ('1 GPU matches', '2 GPUs match')
    """
    return f"{n} {noun} matches" if n == 1 else f"{n} {noun}s match"


def _sentence(verdict: str, found: Found, refusal: str) -> str:
    counts, gpus = found.counts, found.truth.gpus
    what = f"{gpus} GPU{'s' * (gpus != 1)}" if gpus else "no GPU"
    free = f"{counts.now} matching GPU{'s are' if counts.now != 1 else ' is'} free"
    in_all = f"{counts.drained} match{'es' * (counts.drained == 1)} in all"
    if verdict in {"free", "busy"} and not gpus:
        n_now, n_all = found.hosts.now, found.hosts.drained
        room = (
            f"{n_now} {'have' if n_now != 1 else 'has'} room now"
            if n_now
            else "none has room now: the job would have to wait"
        )
        return f"{matching(n_all, 'machine')} a job that asks for no GPU; {room}."
    if verdict == "free":
        return f"A job that asks for {what} could start now: {free}, {in_all}."
    if verdict == "outranked":
        return (
            f"{free}, but the jobs that come first take {'them all' if counts.now != 1 else 'it'}; {in_all}."
        )
    if verdict == "busy":
        return f"{matching(counts.drained, 'GPU')}, but none is free now: the job would have to wait."
    if refusal:
        told = matching(counts.drained, "GPU") if gpus else matching(found.hosts.drained, "machine")
        return f"{told}, but {refusal}: nothing more is given until some of those jobs end."
    if verdict == "blocked":
        refusing = found.machine_names(found.truth.drained, found.refused)
        names = refusing or found.seen_names()
        shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        if refusing:
            why = (
                "but they are too close to their retirement to take it"
                if found.blocked_by == "retirement"
                else "but their own policy (START) refuses the job"
            )
            return f"The expression holds on {len(names)} machine{'s' * (len(names) != 1)}, {why}: {shown}."
        n = counts.seen or 0
        seen = f"{n} matching GPU{'s were' if n != 1 else ' was'}" if gpus else "matching machines were"
        return f"No machine that is there now matches; {seen} seen earlier: {shown}."
    scope = "ever seen here" if found.truth.pool.seen is not None else "of this pool"
    return f"No machine {scope} could run this job, however long it waits."


def _clauses(truth: Truth, found: Found) -> Iterable[Clause]:
    """What each clause costs, those on devices after those on slots."""
    groups, suits, table = truth.drained, found.suits, truth.drained.clauses
    everything = np.ones(table.shape[0], dtype=bool)
    any_device = np.ones(len(suits), dtype=bool)
    drained, needed = found.counts.drained, truth.needed
    for place, clause in enumerate(truth.clauses):
        others = every(np.delete(table, place, axis=1))
        without = groups.count(others, suits, needed)
        value, gained = _next_looser(truth, clause, others & ~table[:, place], suits)
        yield Clause(
            clause.text, clause.node.start + 1, groups.count(table[:, place], any_device, needed), without - drained, value, gained
        )  # fmt: skip
    slots = every(table)
    for place, clause in enumerate(truth.device_clauses):
        own = truth.device_table[:, place]
        others = every(np.delete(truth.device_table, place, axis=1))
        value, gained = _next_looser_device(truth, clause, slots, others, drained)
        yield Clause(
            clause.text, clause.node.start + 1, groups.count(everything, own, needed),
            groups.count(slots, others, needed) - drained, value, gained, "require_gpus",
        )  # fmt: skip


def _pairs(truth: Truth, found: Found) -> Iterable[Pair]:
    """Pairs of clauses that exclude more together than the two alone."""
    slots, devices = truth.drained.clauses, truth.device_table
    names = [clause.text for clause in (*truth.clauses, *truth.device_clauses)]
    n = slots.shape[1]
    failing = {
        tuple(np.flatnonzero(np.concatenate([~slot, ~device])).tolist())
        for slot in np.unique(slots, axis=0)
        for device in (np.unique(devices, axis=0) if devices.shape[1] else np.ones((1, 0), dtype=bool))
    }
    alone: dict[int, int] = {}

    def gained(*left_out: int) -> int:
        kept = [place for place in range(n) if place not in left_out]
        picked = [place - n for place in range(n, len(names)) if place not in left_out]
        count = truth.drained.count(every(slots[:, kept]), every(devices[:, picked]), truth.needed)
        return count - found.counts.drained

    rows = []
    for first, second in sorted(pair for pair in failing if len(pair) == 2):
        for place in (first, second):
            alone.setdefault(place, gained(place))
        more = gained(first, second) - alone[first] - alone[second]
        if more > 0:
            rows.append(Pair(names[first], names[second], more))
    yield from sorted(rows, key=lambda pair: -pair.gained)[:MOST_PAIRS]


def _looser(comparison: Comparison, values: Iterable[float]) -> list[float]:
    """The values that would loosen a comparison, the nearest first."""
    limit = comparison.value
    if (
        comparison.operator not in {">", ">=", "<", "<="}
        or not isinstance(limit, int | float)
        or isinstance(limit, bool)
    ):
        return []
    upward = comparison.operator.startswith("<")
    held = sorted({value for value in values if not np.isnan(value)}, reverse=not upward)
    return [value for value in held if (value > limit if upward else value < limit)]


def _with_value(clause: Parsed, comparison: Comparison, value: float) -> str:
    """The clause with another constant."""
    start, end = (
        comparison.value_node.start - clause.node.start,
        comparison.value_node.end - clause.node.start,
    )
    return f"{clause.text[:start]}{value:.15g}{clause.text[end:]}"


def _next_looser(truth: Truth, clause: Parsed, stopped: Flags, suits: Flags) -> tuple[str | None, int]:
    """The nearest looser value of a clause with one comparison by size that gains something, and how much.

    stopped : the groups that this clause alone stops
    """
    comparisons = clause.whole.comparisons(clause.node)
    if len(comparisons) != 1:
        return None, 0
    comparison = comparisons[0]
    rows = np.flatnonzero(truth.drained.matching(stopped, suits, truth.needed))
    values = truth.values(comparison.reference.name, rows)
    looser = _looser(comparison, values)
    bare = clause.node.bare() == comparison.node

    def let_in(value: float) -> Flags:
        mask = np.zeros(len(stopped), dtype=bool)
        if bare:
            with np.errstate(invalid="ignore"):
                mask[rows] = _compare(comparison.operator, values, value)
        else:
            mask[rows] = truth.judge(_with_value(clause, comparison, value), rows)
        return mask

    if comparison.operator in {">", "<"} and bare and looser:  # what has the value itself is still left out
        looser = _looser(comparison, truth.fleet.levels(comparison.reference.name.lower()))
    if not looser or truth.drained.count(let_in(looser[-1]), suits, truth.needed) <= 0:
        return None, 0
    low, high = 0, len(looser) - 1
    while low < high:
        middle = (low + high) // 2
        more = truth.drained.count(let_in(looser[middle]), suits, truth.needed) > 0
        low, high = (low, middle) if more else (middle + 1, high)
    return f"{looser[low]:.15g}", truth.drained.count(let_in(looser[low]), suits, truth.needed)


def _next_looser_device(
    truth: Truth, clause: Parsed, slots: Flags, others: Flags, drained: int
) -> tuple[str | None, int]:
    comparisons = clause.whole.comparisons(clause.node)
    comparison = comparisons[0] if len(comparisons) == 1 else truth.threshold(clause)
    if comparison is None:
        return None, 0
    values = truth.fleet.device_numbers(comparison.reference.name)
    for value in _looser(comparison, values):
        with np.errstate(invalid="ignore"):
            suits = others & _compare(comparison.operator, values, value)
        gained = truth.drained.count(slots, suits, truth.needed) - drained
        if gained > 0:
            return f"{value:.15g}", gained
    return None, 0


def _compare(operator: str, values: np.ndarray, limit: float) -> Flags:
    compared = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}[operator]
    return np.asarray(compared(values, limit), dtype=bool)
