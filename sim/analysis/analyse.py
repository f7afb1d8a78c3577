"""The answer for one expression: real ClassAd evaluation on every machine, then arithmetic on what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import classad2
import pandas as pd

from sim.analysis.answer import Answer, Clause, Counts, Rung
from sim.analysis.lints import find_lints
from sim.analysis.pool import DeviceView, MachineView, PoolView
from sim.classads.expression import Comparison, Expression
from sim.classads.matching import agree, as_number, read_ad
from sim.classads.request import Request, job_ad
from sim.errors import ExpressionError

MOST_CLAUSES = 60  # each is evaluated alone and left out once, on every machine
_COUNT = "countMatches(MY.RequireGPUs, TARGET.AvailableGPUs) >= 1"


def analyse(expression: str, pool: PoolView, *, request: Request | None = None) -> Answer:
    """Tell what `expression` costs a job that asks for `request` (default: one GPU, one core) in `pool`.

    Raises
    ------
    ExpressionError : the expression is not one whole ClassAd expression
    """
    request = request or Request()
    whole = Expression.parse(expression)
    clauses = whole.conjuncts()
    if len(clauses) > MOST_CLAUSES:
        raise ExpressionError(
            f"more than {MOST_CLAUSES} clauses joined by &&; stringListMember(…) says a long list in one",
            column=clauses[MOST_CLAUSES].start + 1,
            text=expression,
        )
    found = _Found.of(job_ad(expression, request), pool)
    verdict = found.verdict()
    return Answer(
        expression=expression,
        verdict=verdict,
        sentence=_sentence(verdict, found, pool, request),
        machines=tuple(sorted({view.machine for view in found.drained})),
        gpus=found.counts,
        by_model=found.by_model(),
        clauses=tuple(_clauses(whole, pool, request, found.counts.drained)),
        lints=tuple(find_lints(whole, pool, request)),
        ladder=tuple(_ladder(whole, pool, request)),
        slots=tuple(sorted(view.name for view in found.drained)),
    )


def judge(ad: str, pool: PoolView) -> tuple[str, Counts]:
    """The verdict and the counts for a whole job ad, as a job of the queue brings it."""
    found = _Found.of(ad, pool)
    return found.verdict(), found.counts


class _Found:
    """The machines and devices that a job could have."""

    def __init__(self, job: classad2.ClassAd, pool: PoolView) -> None:
        self.job = job
        self.now: dict[MachineView, list[DeviceView]] = {}
        self.drained: dict[MachineView, list[DeviceView]] = {}
        self.refused: dict[MachineView, list[DeviceView]] = {}
        self.seen: dict[MachineView, list[DeviceView]] = {}
        self._suits: dict[str, bool] = {}
        self._device_job = _device_job(job)
        for view in pool.machines:
            if not view.usable:
                continue
            if agree(view.drained, job):
                self.drained[view] = self._devices(view)
                if view.open and agree(view.now, job):
                    self.now[view] = [device for device in self._devices(view) if device.free]
            elif self._large_enough(view) and view.drained.matches(job):
                self.refused[view] = self._devices(view)
        for view in pool.seen or ():
            if agree(view.drained, job):
                self.seen[view] = self._devices(view)
        self.has_window = pool.seen is not None

    def _large_enough(self, view: MachineView) -> bool:
        """Whether the whole machine has what is asked: if not, it is no policy that refuses the job."""
        return all(
            (as_number(view.drained.get(name)) or 0) >= (as_number(self.job.get(f"Request{name}")) or 0)
            for name in ("Cpus", "Memory", "Disk", "GPUs")
        )

    @classmethod
    def of(cls, text: str, pool: PoolView) -> _Found:
        return cls(read_ad(text), pool)

    @property
    def counts(self) -> Counts:
        seen = None
        if self.has_window:
            # a machine that came back has a new startd name; its devices are the same
            seen = len(_distinct(self.seen) | _distinct(self.drained))
        return Counts(_total(self.now), _total(self.drained), seen)

    def verdict(self) -> str:
        if self.now:
            return "free"
        if self.drained:
            return "busy"
        if self.refused or self.seen:
            return "blocked"
        return "impossible"

    def by_model(self) -> pd.DataFrame:
        rows: dict[str, Counter[str]] = {}
        seen = {**self.seen, **self.drained} if self.has_window else {}
        for column, found in (("now", self.now), ("drained", self.drained), ("seen", seen)):
            counted = {
                (view.machine, device.id): device.family for view, held in found.items() for device in held
            }
            for name in counted.values():
                rows.setdefault(name, Counter())[column] += 1
        frame = pd.DataFrame(
            [
                {"model": name, **{c: count[c] for c in ("now", "drained", "seen")}}
                for name, count in rows.items()
            ],
            columns=["model", "now", "drained", "seen"],
        )
        return frame.sort_values(
            ["drained", "seen", "model"], ascending=[False, False, True], ignore_index=True
        )

    def _devices(self, view: MachineView) -> list[DeviceView]:
        """The devices of a machine that the job could get: all, unless RequireGPUs picks."""
        if self._device_job is None:
            return list(view.devices)
        return [device for device in view.devices if self._device_suits(device)]

    def _device_suits(self, device: DeviceView) -> bool:
        if device.ad is None or self._device_job is None:
            return False
        key = str(device.ad)
        if key not in self._suits:
            slot = classad2.ClassAd()
            slot["GPUs_GPU_0"] = device.ad
            slot["AvailableGPUs"] = classad2.ExprTree("{GPUs_GPU_0}")
            slot["Requirements"] = True
            self._suits[key] = bool(slot.symmetricMatch(self._device_job))
        return self._suits[key]


def _device_job(job: classad2.ClassAd) -> classad2.ClassAd | None:
    if "RequireGPUs" not in job:
        return None
    alone = classad2.ClassAd()
    alone.update(job)
    alone["Requirements"] = classad2.ExprTree(_COUNT)
    return alone


def _distinct(found: dict[MachineView, list[DeviceView]]) -> set[tuple[str, str]]:
    """The devices, each once: a machine may be known under several startd names."""
    return {(view.machine, device.id) for view, held in found.items() for device in held}


def _total(found: dict[MachineView, list[DeviceView]]) -> int:
    return len(_distinct(found))


def _sentence(verdict: str, found: _Found, pool: PoolView, request: Request) -> str:
    counts = found.counts
    what = f"{request.gpus} GPU{'s' * (request.gpus != 1)}" if request.gpus else "no GPU"
    if verdict in {"free", "busy"} and not request.gpus:
        n_now, n_all = (len({view.machine for view in held}) for held in (found.now, found.drained))
        room = f"{n_now} have room now" if n_now else "none has room now: the job would have to wait"
        return f"{n_all} machine{'s' * (n_all != 1)} match a job that asks for no GPU; {room}."
    if verdict == "free":
        return f"A job that asks for {what} could start now: {counts.now} matching GPUs are free, {counts.drained} match in all."
    if verdict == "busy":
        return f"{counts.drained} GPUs match, but none is free now: the job would have to wait."
    if verdict == "blocked":
        names = sorted({view.machine for view in (found.refused or found.seen)})
        shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        if found.refused:
            return f"The expression holds on {len(names)} machines, but their own policy (START) refuses the job: {shown}."
        return (
            f"No machine that is there now matches; {counts.seen} matching GPUs were seen earlier: {shown}."
        )
    scope = "ever seen here" if pool.seen is not None else "of this pool"
    return f"No machine {scope} could run this job, however long it waits."


def _count(clauses: Iterable[str], pool: PoolView, request: Request) -> Counts:
    text = " && ".join(f"({clause})" for clause in clauses) or "true"
    return _Found.of(job_ad(text, request), pool).counts


def _clauses(whole: Expression, pool: PoolView, request: Request, drained: int) -> Iterable[Clause]:
    texts = [whole.text_of(node) for node in whole.conjuncts()]
    for place, node in enumerate(whole.conjuncts()):
        others = texts[:place] + texts[place + 1 :]
        without = _count(others, pool, request).drained
        next_value, gained = _next_looser(
            whole.comparisons(node), texts[place], node.start, others, pool, request, drained
        )
        yield Clause(
            text=texts[place],
            column=node.start + 1,
            gpus=_count([texts[place]], pool, request).drained,
            gained_if_dropped=without - drained,
            next_value=next_value,
            gained_at_next=gained,
        )


def _next_looser(
    comparisons: tuple[Comparison, ...],
    clause: str,
    clause_start: int,
    others: list[str],
    pool: PoolView,
    request: Request,
    drained: int,
) -> tuple[str | None, int]:
    """The nearest looser value of a clause with one comparison by size that gains something, and how much."""
    if len(comparisons) != 1 or comparisons[0].operator not in {">", ">=", "<", "<="}:
        return None, 0
    comparison = comparisons[0]
    if not isinstance(comparison.value, int | float) or isinstance(comparison.value, bool):
        return None, 0
    upward = comparison.operator.startswith("<")
    held = sorted(values_of(pool, comparison.reference.name), reverse=not upward)
    looser = [value for value in held if (value > comparison.value if upward else value < comparison.value)]
    begin = comparison.value_node.start - comparison.node.start
    offset = comparison.node.start - clause_start

    def gained(value: float) -> int:
        start = offset + begin
        end = start + (comparison.value_node.end - comparison.value_node.start)
        text = clause[:start] + f"{value:.15g}" + clause[end:]
        return _count([text, *others], pool, request).drained - drained

    # the looser, the more it gains: the nearest value that gains is found by halving
    if not looser or gained(looser[-1]) <= 0:
        return None, 0
    low, high = 0, len(looser) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if gained(looser[middle]) > 0 else (middle + 1, high)
    return f"{looser[low]:.15g}", gained(looser[low])


def values_of(pool: PoolView, name: str) -> set[float]:
    """The numbers that slots (or, for a device's property, their devices) have for an attribute."""
    found = set()
    for view in pool.machines:
        told = [view.drained.get(name)]
        if name.lower().startswith("gpus_"):
            told += [device.ad.get(name[len("gpus_") :]) for device in view.devices if device.ad is not None]
        found |= {number for value in told if (number := as_number(value)) is not None}
    return found


def _ladder(whole: Expression, pool: PoolView, request: Request) -> Iterable[Rung]:
    """The same job for every capability in the pool, its own clauses on capability left out."""
    if not request.gpus:
        return
    kept = [
        whole.text_of(node)
        for node in whole.conjuncts()
        if not any("capability" in reference.name.lower() for reference in whole.references(node))
    ]
    told = {device.capability for view in pool.machines for device in view.devices if device.ad is not None}
    capabilities = sorted(value for value in told if value is not None)
    base = _count(kept, pool, request)
    yield Rung("any capability", base.drained, base.now)
    for capability in capabilities:
        picky = Request(request.gpus, request.cpus, request.memory_mib, f"Capability >= {capability:.1f}")
        counts = _count(kept, pool, picky)
        yield Rung(f"Capability >= {capability:.1f}", counts.drained, counts.now)
