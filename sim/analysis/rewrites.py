"""What to write instead, in the user's own syntax: what it gains, and what it gives up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from sim.analysis.answer import Rewrite
from sim.analysis.fleet import every
from sim.analysis.lints import MODERN, PER_DEVICE
from sim.analysis.truth import Parsed, Truth
from sim.classads.expression import Comparison
from sim.classads.job import JobDescription

MOST = 8
_PROPERTY = {
    "gpus_minimum_capability": ("Capability", "GPUsMinCapability"),
    "gpus_minimum_memory": ("GlobalMemoryMb", "GPUsMinMemory"),
    "gpus_minimum_runtime": ("MaxSupportedVersion", "GPUsMinRuntime"),
}
_DEVICE_NAMES = {"gpus_devicename", "cudadevicename", "devicename"}


def find_rewrites(truth: Truth, drained: int) -> list[Rewrite]:
    """The rewrites that change what matches, those that gain most first."""
    if not truth.gpus or truth.job.forced:
        return []
    before = _devices(truth)
    made = [
        rewrite
        for text, replaces, job in _candidates(truth)
        if (rewrite := _judged(truth, before, text, replaces, job)) is not None
    ]
    unique = {rewrite.text: rewrite for rewrite in made}
    return sorted(unique.values(), key=lambda rewrite: -rewrite.gained)[:MOST]


def _devices(truth: Truth) -> dict[int, str]:
    groups = truth.drained
    suits = truth.devices()
    return groups.families(groups.matching(every(groups.clauses), suits, truth.needed), suits)


def _judged(
    truth: Truth, before: dict[int, str], text: str, replaces: str, job: JobDescription
) -> Rewrite | None:
    after = _devices(Truth(job, truth.pool))
    lost = Counter(family for number, family in before.items() if number not in after)
    new = Counter(family for number, family in after.items() if number not in before)
    if not new:
        return None
    given_up = []
    if lost:
        given_up.append("no longer: " + _listed(lost))
    given_up.append("also takes: " + _listed(new))
    return Rewrite(text, replaces, len(after) - len(before), "; ".join(given_up))


def _listed(families: Counter[str]) -> str:
    shown = [f"{count} {name}" for name, count in families.most_common(3)]
    return ", ".join(shown) + (" …" if len(families) > 3 else "")


def _candidates(truth: Truth) -> Iterable[tuple[str, str, JobDescription]]:
    for place, part in enumerate(truth.clauses):
        others = [other.text for index, other in enumerate(truth.clauses) if index != place]
        yield from _floors(truth, part, others)
        yield from _names(truth, part, others)
    for place, part in enumerate(truth.device_clauses):
        yield from _reported(truth, part, place)


def _floors(truth: Truth, part: Parsed, others: list[str]) -> Iterable[tuple[str, str, JobDescription]]:
    """An old or slot-level attribute becomes the command on devices."""
    for comparison in part.whole.comparisons(part.node):
        if comparison.node != part.node.bare():
            continue
        lowered = comparison.reference.name.lower()
        command = MODERN.get(lowered, ("", PER_DEVICE.get(lowered)))[1]
        if command and comparison.operator in {">=", ">"} and isinstance(comparison.value, int | float):
            for value in (float(comparison.value), *_reported_size(truth, comparison)):
                written = f"{command} = {value:g}"
                yield _said(others, written), part.text, _with_floor(truth.job, others, command, value)
        elif lowered in {*MODERN, *PER_DEVICE}:
            name = re.sub(r"(?i)^(gpus_|cuda)", "", comparison.reference.name)
            clause = f"{name} {comparison.operator} {part.whole.text_of(comparison.value_node)}"
            yield (
                _said(others, f"require_gpus = {clause}"),
                part.text,
                _with_clause(truth.job, others, clause),
            )


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


def _reported(truth: Truth, part: Parsed, place: int) -> Iterable[tuple[str, str, JobDescription]]:
    """A nominal floor on memory among the clauses on devices becomes the reported one."""
    comparison = truth.threshold(part) or next(iter(part.whole.comparisons(part.node)), None)
    if comparison is None or comparison.node != part.node.bare():
        return
    for value in _reported_size(truth, comparison):
        kept = [p.text for index, p in enumerate(truth.device_clauses) if index != place]
        clause = " && ".join(f"({text})" for text in [*kept, f"GlobalMemoryMb >= {value:g}"])
        yield f"gpus_minimum_memory = {value:g}", part.text, truth.job.changed(RequireGPUs=clause)


def _names(truth: Truth, part: Parsed, others: list[str]) -> Iterable[tuple[str, str, JobDescription]]:
    """A device by name, or a list of names, becomes the capability and memory that they have in common."""
    read = {reference.name.lower() for reference in part.whole.references(part.node)}
    if not read or not read <= _DEVICE_NAMES:
        return
    texts = [
        node.name.strip('"')
        for node in part.node.walk()
        if node.kind == "literal" and node.name.startswith('"')
    ]
    wanted = {name.strip() for text in texts for name in text.split(",")}
    held = [
        d for d in truth.fleet.device_samples if d.ad is not None and str(d.ad.get("DeviceName")) in wanted
    ]
    capabilities = [d.capability for d in held if d.capability is not None]
    sizes = [d.memory_mib for d in held if d.memory_mib]
    if not capabilities or not sizes:
        return
    floor, size = min(capabilities), min(sizes)
    job = _with_clause(truth.job, others, f"Capability >= {floor} && GlobalMemoryMb >= {size:g}")
    written = f"gpus_minimum_capability = {floor:g}\ngpus_minimum_memory = {size:g}"
    yield _said(others, written), part.text, job


def _said(others: list[str], commands: str) -> str:
    requirements = " && ".join(others)
    return f"requirements = {requirements}\n{commands}" if requirements else commands


def _with_floor(job: JobDescription, others: list[str], command: str, value: float) -> JobDescription:
    name, attribute = _PROPERTY[command]
    clause = f"{name} >= {attribute}"
    changed = _with_clause(job, others, clause)
    return changed.changed(**{attribute: f"{value:.15g}"})


def _with_clause(job: JobDescription, others: list[str], clause: str) -> JobDescription:
    kept = f"({job.require_gpus}) && {clause}" if job.require_gpus else clause
    return job.changed(" && ".join(f"({text})" for text in others), RequireGPUs=kept)
