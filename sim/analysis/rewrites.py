"""What to write instead, in the user's own syntax: what it gains, and what it gives up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sim.analysis.answer import Rewrite
from sim.analysis.fleet import Flags, Ints, every
from sim.analysis.lints import MODERN, PER_DEVICE
from sim.analysis.truth import Parsed, Truth
from sim.classads.expression import Comparison

MOST = 8
_PROPERTY = {
    "gpus_minimum_capability": "Capability",
    "gpus_minimum_memory": "GlobalMemoryMb",
    "gpus_minimum_runtime": "MaxSupportedVersion",
}
_DEVICE_NAMES = {"gpus_devicename", "cudadevicename", "devicename"}


class _Candidate(NamedTuple):
    """A way to write the job: its text, what of it is replaced, the clauses left out, the clause on devices added."""

    text: str
    replaces: str
    slot: int | None
    device: int | None
    added: str


def find_rewrites(truth: Truth) -> list[Rewrite]:
    """The rewrites that let more devices in, those that gain most first."""
    if not truth.needed or truth.job.forced:
        return []
    before = _devices(truth, truth.drained.clauses, truth.device_table)
    made = [rewrite for way in _candidates(truth) if (rewrite := _judged(truth, before, way)) is not None]
    unique = {rewrite.text: rewrite for rewrite in made}
    return sorted(unique.values(), key=lambda rewrite: -rewrite.gained)[:MOST]


def _devices(truth: Truth, slots: Flags, devices: Flags) -> tuple[Flags, Flags]:
    """The groups of machines and the kinds of devices that these clauses leave."""
    suits = every(devices)
    return truth.drained.matching(every(slots), suits, truth.needed), suits


def _judged(truth: Truth, before: tuple[Flags, Flags], way: _Candidate) -> Rewrite | None:
    slots, devices = truth.drained.clauses, truth.device_table
    if way.slot is not None:
        slots = np.delete(slots, way.slot, axis=1)
    if way.device is not None:
        devices = np.delete(devices, way.device, axis=1)
    after = _devices(truth, slots, np.hstack([devices, truth.judge_devices(truth.fleet, [way.added])]))
    lost, new = truth.drained.difference(before, after), truth.drained.difference(after, before)
    if not new.any():
        return None
    given_up = [f"no longer: {_listed(truth, lost)}"] if lost.any() else []
    given_up.append(f"also takes: {_listed(truth, new)}")
    return Rewrite(way.text, way.replaces, int(new.sum() - lost.sum()), "; ".join(given_up))


def _listed(truth: Truth, by_kind: Ints) -> str:
    families = truth.fleet.families(by_kind)
    shown = [f"{count} {name}" for name, count in families.most_common(3)]
    return ", ".join(shown) + (" …" if len(families) > 3 else "")


def _candidates(truth: Truth) -> Iterable[_Candidate]:
    for place, part in enumerate(truth.clauses):
        others = " && ".join(other.text for index, other in enumerate(truth.clauses) if index != place)
        head = f"requirements = {others}\n" if others else ""
        for commands, clause in [*_floors(truth, part), *_names(truth, part)]:
            yield _Candidate(head + commands, part.text, place, None, clause)
    for place, part in enumerate(truth.device_clauses):
        comparison = truth.threshold(part) or next(iter(part.whole.comparisons(part.node)), None)
        if comparison is not None and comparison.node == part.node.bare():
            for value in _reported_size(truth, comparison):
                clause = f"GlobalMemoryMb >= {value:g}"
                yield _Candidate(f"gpus_minimum_memory = {value:g}", part.text, None, place, clause)


def _floors(truth: Truth, part: Parsed) -> Iterable[tuple[str, str]]:
    """An old or slot-level attribute becomes the command on devices."""
    for comparison in part.whole.comparisons(part.node):
        if comparison.node != part.node.bare():
            continue
        lowered = comparison.reference.name.lower()
        command = MODERN.get(lowered, ("", PER_DEVICE.get(lowered)))[1]
        if command and comparison.operator in {">=", ">"} and isinstance(comparison.value, int | float):
            for value in (float(comparison.value), *_reported_size(truth, comparison)):
                yield f"{command} = {value:g}", f"{_PROPERTY[command]} >= {value:.15g}"
        elif lowered in {*MODERN, *PER_DEVICE}:
            name = re.sub(r"(?i)^(gpus_|cuda)", "", comparison.reference.name)
            clause = f"{name} {comparison.operator} {part.whole.text_of(comparison.value_node)}"
            yield f"require_gpus = {clause}", clause


def _reported_size(truth: Truth, comparison: Comparison) -> list[float]:
    """What devices of a nominal size really report."""
    value = comparison.value
    if "globalmemorymb" not in comparison.reference.name.lower() or not isinstance(value, int | float):
        return []
    sizes = [
        d.memory_mib
        for d in truth.fleet.device_samples
        if d.memory_mib and 0.9 * value <= d.memory_mib < value
    ]
    return [min(sizes)] if sizes else []


def _names(truth: Truth, part: Parsed) -> Iterable[tuple[str, str]]:
    """A device by name, or a list of names, becomes the capability and memory that they have in common."""
    read = {reference.name.lower() for reference in part.whole.references(part.node)}
    if not read or not read <= _DEVICE_NAMES:
        return
    texts = [n.name.strip('"') for n in part.node.walk() if n.kind == "literal" and n.name.startswith('"')]
    wanted = {name.strip() for text in texts for name in text.split(",")}
    held = [
        d for d in truth.fleet.device_samples if d.ad is not None and str(d.ad.get("DeviceName")) in wanted
    ]
    capabilities = [d.capability for d in held if d.capability is not None]
    sizes = [d.memory_mib for d in held if d.memory_mib]
    if capabilities and sizes:
        floor, size = min(capabilities), min(sizes)
        commands = f"gpus_minimum_capability = {floor:g}\ngpus_minimum_memory = {size:g}"
        yield commands, f"Capability >= {floor:.15g} && GlobalMemoryMb >= {size:.15g}"
