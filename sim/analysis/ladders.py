"""Ladders of strictness: the same job with one of its demands at every value that the pool has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sim.analysis.answer import Rung
from sim.analysis.fleet import Flags, Fleet, every, references_of
from sim.analysis.truth import Groups, Truth

MOST_RUNGS = 40

Picks = Callable[[Fleet], Flags]


class Family(NamedTuple):
    """A demand on devices: the property, how a rung is written, and which of the job's own clauses it stands for."""

    property: str
    loosest: str
    told: str
    own: tuple[str, ...]
    least: bool


FAMILIES: Mapping[str, Family] = {
    "capability": Family("Capability", "any capability", "Capability >= {:.1f}", ("capability",), True),
    "memory": Family("GlobalMemoryMb", "any memory", "GlobalMemoryMb >= {:g}", ("globalmemorymb",), True),
    "runtime": Family(
        "MaxSupportedVersion",
        "any runtime",
        "MaxSupportedVersion >= {:g}",
        ("supportedversion", "driverversion"),
        True,
    ),
    "model": Family("DeviceName", "any model", 'DeviceName == "{}"', ("devicename",), False),
}
SITES = ("glidein_site", "glidein_resourcename")


def ladders_of(truth: Truth) -> dict[str, tuple[Rung, ...]]:
    """The ladders of a job that asks for GPUs, each from loose to strict."""
    if not truth.gpus:
        return {}
    made = {name: tuple(_by_property(truth, family)) for name, family in FAMILIES.items()}
    made["gpus"] = tuple(_by_count(truth))
    made["site"] = tuple(_by_site(truth))
    made["combined"] = tuple(_combined(truth))
    return {name: rungs for name, rungs in made.items() if len(rungs) > 1}


def mentions(text: str, words: Iterable[str]) -> bool:
    """Whether an expression reads an attribute with one of these words in its name."""
    names = {reference.name.lower() for reference in references_of(text)}
    return any(word in name for word in words for name in names)


class _Kept:
    """A job without those of its clauses that a ladder stands for."""

    def __init__(self, truth: Truth, words: tuple[str, ...]) -> None:
        self.truth = truth
        self.slots = [place for place, part in enumerate(truth.clauses) if not mentions(part.text, words)]
        self.devices = [
            place for place, part in enumerate(truth.device_clauses) if not mentions(part.text, words)
        ]

    def picks(self, fleet: Fleet) -> Flags:
        truth = self.truth
        if not truth.device_clauses:
            return np.ones(max(1, fleet.n_kinds_of_devices), dtype=bool)
        table = truth.device_table if fleet is truth.fleet else truth.judged(fleet)
        return every(table[:, self.devices])

    def rung(self, label: str, pick: Picks, loosest: int, *, gpus: int | None = None, site: str = "") -> Rung:
        truth = self.truth
        needed = truth.needed if gpus is None else gpus
        counts = []
        for groups in (truth.now, truth.drained):
            mask = self.mask(groups, site)
            counts.append(groups.count(mask, self.picks(groups.fleet) & pick(groups.fleet), needed))
        seen = None
        if truth.seen is not None:
            found = np.zeros(truth.fleet.n_numbers, dtype=bool)
            for groups in (truth.seen, truth.drained):
                suits = self.picks(groups.fleet) & pick(groups.fleet)
                found |= groups.numbers(groups.matching(self.mask(groups, site), suits, needed), suits)
            seen = int(found.sum())
        share = counts[1] / loosest if loosest else 1.0
        return Rung(label, counts[1], counts[0], seen=seen, share=round(share, 4))

    def mask(self, groups: Groups, site: str) -> Flags:
        mask = every(groups.clauses[:, self.slots])
        return mask & groups.has_text("glidein_site", site) if site else mask


def _anything(fleet: Fleet) -> Flags:
    return np.ones(max(1, fleet.n_kinds_of_devices), dtype=bool)


def _loosest(kept: _Kept, label: str) -> Rung:
    return kept.rung(label, _anything, 0)


def _by_property(truth: Truth, family: Family) -> Iterable[Rung]:
    kept = _Kept(truth, family.own)
    base = _loosest(kept, family.loosest)
    yield base
    values = _values(truth.fleet, family)
    for value in values[:MOST_RUNGS]:
        yield kept.rung(family.told.format(value), _picker(family, value), base.gpus)


def _values(fleet: Fleet, family: Family) -> Sequence[object]:
    """The values that devices have: numbers upward, names by how many devices have them."""
    if family.least:
        numbers = fleet.device_numbers(family.property)
        return sorted({float(value) for value in numbers if not np.isnan(value)})
    texts = fleet.device_texts(family.property)
    weight = fleet.weights
    counted: dict[str, int] = {}
    for text, count in zip(texts, weight.tolist(), strict=False):
        if text is not None:
            counted[text] = counted.get(text, 0) + int(count)
    return [name for name, _ in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]


def _picker(family: Family, value: object) -> Picks:
    def pick(fleet: Fleet) -> Flags:
        if family.least:
            with np.errstate(invalid="ignore"):
                return np.asarray(fleet.device_numbers(family.property) >= float(str(value)), dtype=bool)
        return np.array(
            [text == value for text in fleet.device_texts(family.property)] or [False], dtype=bool
        )

    return pick


def _by_count(truth: Truth) -> Iterable[Rung]:
    """One GPU, two, up to what the largest machine has."""
    if truth.gpus != 1:  # a machine with room for fewer is left out of the tables of the job as it is
        truth = Truth(truth.job.changed(RequestGPUs="1"), truth.pool)
    kept = _Kept(truth, ())
    most = int(truth.fleet.n_devices.max(initial=0))
    loosest = kept.rung("", _anything, 0, gpus=1).gpus
    for count in range(1, min(most, MOST_RUNGS) + 1):
        yield kept.rung(f"request_gpus = {count}", _anything, loosest, gpus=count)


def _by_site(truth: Truth) -> Iterable[Rung]:
    kept = _Kept(truth, SITES)
    base = _loosest(kept, "any site")
    yield base
    told = {text for text in truth.fleet.column("glidein_site").texts if text.startswith('"')}
    rungs = [kept.rung(f"GLIDEIN_Site == {site}", _anything, base.gpus, site=site) for site in sorted(told)]
    yield from sorted(rungs, key=lambda rung: -rung.gpus)[:MOST_RUNGS]


def _combined(truth: Truth) -> Iterable[Rung]:
    """Capability with memory, those that differ in what they leave."""
    capability, memory = FAMILIES["capability"], FAMILIES["memory"]
    kept = _Kept(truth, capability.own + memory.own)
    base = _loosest(kept, "any capability, any memory")
    yield base
    known = {base.gpus, 0}
    for least in _values(truth.fleet, capability):
        for size in _values(truth.fleet, memory):
            first, second = _picker(capability, least), _picker(memory, size)
            label = f"{capability.told.format(least)} && {memory.told.format(size)}"
            gpus = truth.drained.count(
                kept.mask(truth.drained, ""),
                kept.picks(truth.fleet) & first(truth.fleet) & second(truth.fleet),
                truth.needed,
            )
            if gpus not in known and len(known) < MOST_RUNGS:
                known.add(gpus)
                yield kept.rung(label, _both(first, second), base.gpus)


def _both(first: Picks, second: Picks) -> Picks:
    return lambda fleet: first(fleet) & second(fleet)
