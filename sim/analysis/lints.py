"""What the author of an expression should know, each with a rule id; they look at the pool, not at a rule book.

docs/lints.md explains every rule.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import classad2
import numpy as np

from sim.analysis.answer import Lint
from sim.analysis.fleet import Fleet, every, references_of
from sim.analysis.truth import Parsed, Truth
from sim.classads.expression import Comparison, Node
from sim.classads.matching import NOW
from sim.units import format_duration

MODERN = {
    "cudacapability": ("capability", "gpus_minimum_capability"),
    "cudaglobalmemorymb": ("memory", "gpus_minimum_memory"),
    "cudadevicename": ("device name", None),
    "cudadriverversion": ("runtime", "gpus_minimum_runtime"),
    "cudaruntimeversion": ("runtime", "gpus_minimum_runtime"),
    "cudamaxsupportedversion": ("runtime", "gpus_minimum_runtime"),
}
PER_DEVICE = {
    "gpus_capability": "gpus_minimum_capability",
    "gpus_globalmemorymb": "gpus_minimum_memory",
    "gpus_devicename": None,
    "gpus_maxsupportedversion": "gpus_minimum_runtime",
}
# attributes that a slot may have without advertising them in every ad
_IMPLIED = {
    "time", "currenttime", "undefined", "poolscopenow", "availablegpus", "remoteowner", "remoteuser", "draining",
    "offline", "jobid", "accountinggroup", "rank", "currentrank", "keyboardidle", "loadavg", "condorloadavg",
}  # fmt: skip
_EXACT = {"==", "=?="}


def find_lints(truth: Truth) -> Iterable[Lint]:
    """Give what is worth knowing about a job in this pool."""
    names = {
        reference.name.lower(): reference.name
        for part in truth.clauses
        for reference in references_of(part.text)
        if reference.scope != "my"
    }
    yield from _legacy(truth, names)
    yield from _mixed(truth, names)
    yield from _mig(truth, names)
    yield from _unknown_names(truth, names)
    for part in (*truth.clauses, *truth.device_clauses):
        on_device = part in truth.device_clauses
        for comparison in _comparisons(truth, part):
            yield from _unknown_value(truth, comparison, on_device=on_device)
            yield from _exact_number(truth, comparison, on_device=on_device)
            yield from _nominal(truth, comparison)
        yield from _undefined(part)
    yield from _contradictions(truth)
    yield from _always_true(truth)
    yield from _many(truth)
    yield from _too_long(truth)
    if "gpus" in names and truth.device_clauses and truth.gpus and not truth.needed:
        yield Lint(
            "drops-gpu-clause",
            "condor_submit leaves out its own clause on GPUs where requirements mention GPUs: nothing then asks for devices "
            "that satisfy require_gpus",
            f"request_gpus = {truth.gpus}, and no GPUs in requirements",
        )


def _comparisons(truth: Truth, part: Parsed) -> list[Comparison]:
    found = list(part.whole.comparisons(part.node))
    threshold = truth.threshold(part)
    return [*found, threshold] if threshold is not None else found


def _having(fleet: Fleet, name: str) -> np.ndarray:
    """Whether each machine advertises an attribute."""
    column = fleet.column(name.lower())
    there = np.array([text not in {"", "undefined"} for text in column.texts], dtype=bool)
    return there[column.codes] if len(there) else np.zeros(len(fleet.views), dtype=bool)


def _legacy(truth: Truth, names: dict[str, str]) -> Iterable[Lint]:
    fleet = truth.fleet
    with_gpus = fleet.n_devices > 0
    for lowered, name in sorted(names.items()):
        if lowered not in MODERN:
            continue
        having = _machines(fleet, _having(fleet, lowered))
        what, command = MODERN[lowered]
        value = next((c.value for c in _all_comparisons(truth) if c.reference.name.lower() == lowered), None)
        suggestion = (
            f"{command} = {_shown(value)}" if command else f"require_gpus = DeviceName == {_quoted(value)}"
        )
        yield Lint(
            "legacy-attribute",
            f"{name} is the old name of the {what}: {len(having)} of {len(_machines(fleet, with_gpus))} machines with GPUs "
            "advertise it, the others never match",
            suggestion,
        )


def _all_comparisons(truth: Truth) -> list[Comparison]:
    return [comparison for part in truth.clauses for comparison in part.whole.comparisons(part.node)]


def _machines(fleet: Fleet, marked: np.ndarray) -> list[str]:
    return list(fleet.machines_of(np.flatnonzero(marked)))


def _mixed(truth: Truth, names: dict[str, str]) -> Iterable[Lint]:
    fleet = truth.fleet
    mixed = fleet.mixed
    for lowered, command in PER_DEVICE.items():
        if lowered not in names or not mixed.any():
            continue
        lacking = _machines(fleet, mixed & ~_having(fleet, lowered))
        if not lacking:
            continue
        found = [c for c in _all_comparisons(truth) if c.reference.name.lower() == lowered]
        shown = _shown(found[0].value) if found else "…"
        floor = bool(found) and found[0].operator in {">=", ">"} and command is not None
        device_property = names[lowered].split("_", 1)[1]
        suggestion = (
            f"{command} = {shown}"
            if floor
            else f"require_gpus = {device_property} {found[0].operator if found else '=='} {shown}"
        )
        yield Lint(
            "mixed-hosts",
            f"{names[lowered]} is only there where all devices of a machine agree: it misses {len(lacking)} mixed "
            f"machine{'s' * (len(lacking) > 1)} ({', '.join(lacking[:3])})",
            suggestion,
        )


def _mig(truth: Truth, names: dict[str, str]) -> Iterable[Lint]:
    asked = set(names) | {r.name.lower() for part in truth.device_clauses for r in references_of(part.text)}
    if not any("capability" in name for name in asked):
        return
    fleet = truth.fleet
    silent = [kind for kind, d in enumerate(fleet.device_samples) if d.mig and d.capability is None]
    count = int(fleet.weights[silent].sum()) if silent else 0
    sizes = [size for kind in silent if (size := fleet.device_samples[kind].memory_mib)]
    if count:
        yield Lint(
            "mig-capability",
            f"{count} MIG slices of this pool don't tell their capability, so no clause on capability matches them",
            f"gpus_minimum_memory = {min(sizes, default=4096):g}, if a slice would do",
        )


def _unknown_names(truth: Truth, names: dict[str, str]) -> Iterable[Lint]:
    attributes = truth.pool.attributes
    devices = {
        f"gpus_{name.lower()}" for d in truth.fleet.device_samples if d.ad is not None for name in d.ad
    }
    own = {name.lower() for name in truth.job.attributes}
    wanted_absent = {name for part in truth.clauses for name in _asked_for_absence(part.node.walk(), part)}
    for lowered, name in sorted(names.items()):
        known = lowered in attributes or lowered in MODERN or lowered in _IMPLIED or lowered in devices
        if known or lowered in own or lowered in wanted_absent or lowered.startswith("request"):
            continue
        near = difflib.get_close_matches(lowered, list(attributes), n=3, cutoff=0.7)
        suggestion = ", ".join(attributes[hit] for hit in near) or "an attribute of `condor_status -long`"
        yield Lint("unknown-attribute", f"no slot of this pool advertises {name}", suggestion)
    if not truth.device_clauses:
        return
    properties = {name.lower(): name for d in truth.fleet.device_samples if d.ad is not None for name in d.ad}
    read = {r.name.lower(): r.name for part in truth.device_clauses for r in references_of(part.text)}
    for lowered, name in sorted(read.items()):
        if lowered in properties or lowered in own or not properties:
            continue
        near = difflib.get_close_matches(lowered, list(properties), n=3, cutoff=0.6)
        suggestion = ", ".join(properties[hit] for hit in near) or ", ".join(sorted(properties.values())[:6])
        yield Lint("unknown-attribute", f"no device of this pool has a property {name}", suggestion)


def _asked_for_absence(nodes: Iterable[Node], part: Parsed) -> Iterable[str]:
    """The names that are compared with undefined: their absence is what is asked about."""
    for node in nodes:
        undefined = any(
            side.bare().kind == "literal" and side.bare().name.lower() == "undefined" for side in node.parts
        )
        if (node.kind == "binary" and undefined) or (
            node.kind == "call" and node.name.lower() == "isundefined"
        ):
            yield from (reference.name.lower() for reference in part.whole.references(node))


def _unknown_value(truth: Truth, comparison: Comparison, *, on_device: bool) -> Iterable[Lint]:
    if not isinstance(comparison.value, str) or comparison.operator not in _EXACT:
        return
    held = _texts(truth.fleet, comparison.reference.name, on_device=on_device)
    exact = comparison.operator == "=?="
    same = [v for v in held if v == comparison.value or (not exact and v.lower() == comparison.value.lower())]
    if not held or same:
        return
    bare = comparison.value.removeprefix("NVIDIA ")
    near = [v for v in held if v.removeprefix("NVIDIA ") == bare]
    vendor = bool(near)
    near = near or difflib.get_close_matches(comparison.value, sorted(held), n=3, cutoff=0.4)
    yield Lint(
        "vendor-prefix" if vendor else "unknown-value",
        f"no {'device' if on_device else 'slot'} has {comparison.reference.name} == {_quoted(comparison.value)}",
        " or ".join(_quoted(value) for value in near or sorted(held)[:4]),
    )


def _texts(fleet: Fleet, name: str, *, on_device: bool) -> set[str]:
    found: set[str] = set()
    if not on_device:
        for text in fleet.column(name.lower()).texts:
            if text.startswith('"'):
                value = classad2.ExprTree(text).eval()
                found |= {value} if isinstance(value, str) else set()
        if name.lower() != "gpus_devicename":
            return found
        name = "DeviceName"
    return found | {text for text in fleet.device_texts(name) if text is not None}


def _exact_number(truth: Truth, comparison: Comparison, *, on_device: bool) -> Iterable[Lint]:
    """A number compared for equality: newer devices are left out, and =?= wants the same type as well."""
    value = comparison.value
    if comparison.operator not in _EXACT or not isinstance(value, int | float) or isinstance(value, bool):
        return
    name = comparison.reference.name
    if "capability" not in name.lower() and "version" not in name.lower():
        return
    fleet = truth.fleet
    device_name = name.split("_", 1)[1] if name.lower().startswith("gpus_") else name
    held = (
        fleet.device_numbers(device_name)
        if on_device or name.lower().startswith("gpus_")
        else np.array([np.nan])
    )
    held = np.append(held, fleet.levels(name.lower())) if not on_device else held
    above = sorted({v for v in held.tolist() if v > value})
    if not above:
        return
    floor = "gpus_minimum_capability" if "capability" in name.lower() else "gpus_minimum_runtime"
    yield Lint(
        "exact-number",
        f"{name} {comparison.operator} {value:g} leaves out what is newer: {', '.join(f'{v:g}' for v in above[:4])} "
        f"{'are' if len(above) > 1 else 'is'} there, too",
        f"{floor} = {value:g}",
    )


def _nominal(truth: Truth, comparison: Comparison) -> Iterable[Lint]:
    """A floor just above what devices really report: a nominal size (24 GB is reported as 24,220 MiB and less)."""
    value = comparison.value
    if "globalmemorymb" not in comparison.reference.name.lower() or comparison.operator not in {">", ">="}:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    sizes = {d.memory_mib for d in truth.fleet.device_samples if d.memory_mib}
    just_below = {size for size in sizes if 0.9 * value <= size < value}
    if just_below:
        yield Lint(
            "nominal-memory",
            f"{value:g} MiB is more than devices of that size report: {max(just_below):g} MiB",
            f"gpus_minimum_memory = {min(just_below):g}",
        )


def _undefined(part: Parsed) -> Iterable[Lint]:
    """X == undefined is never true: it is undefined itself."""
    for node in part.node.walk():
        if node.kind != "binary" or node.name not in {"==", "!="}:
            continue
        sides = [side.bare() for side in node.parts]
        if any(side.kind == "literal" and side.name.lower() == "undefined" for side in sides):
            strict = "=?=" if node.name == "==" else "=!="
            text = part.whole.text_of(node)
            yield Lint(
                "compared-with-undefined",
                f"{text} is undefined whatever the slot says, so it never matches",
                text.replace(node.name, strict, 1),
            )


def _contradictions(truth: Truth) -> Iterable[Lint]:
    """Bounds of one attribute that nothing can keep together."""
    for clauses in (truth.clauses, truth.device_clauses):
        bounds: dict[str, list[tuple[Comparison, str]]] = {}
        for part in clauses:
            for comparison in _comparisons(truth, part):
                if comparison.node == part.node.bare():
                    bounds.setdefault(comparison.reference.name.lower(), []).append((comparison, part.text))
        for found in bounds.values():
            for place, (first, text) in enumerate(found):
                for second, other in found[place + 1 :]:
                    if _exclude(first, second):
                        yield Lint(
                            "contradiction",
                            f"{text} and {other} can't both hold",
                            f"one of them: {text}, or {other}",
                        )


def _exclude(first: Comparison, second: Comparison) -> bool:
    a, b = first.value, second.value
    if isinstance(a, str) and isinstance(b, str):
        return first.operator in _EXACT and second.operator in _EXACT and a.lower() != b.lower()
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b)):
        return False
    low, high = -np.inf, np.inf
    strict = False
    for operator, value in ((first.operator, float(str(a))), (second.operator, float(str(b)))):
        if operator in {">", ">=", *_EXACT} and value >= low:
            strict |= operator == ">"
            low = max(low, value)
        if operator in {"<", "<=", *_EXACT} and value <= high:
            strict |= operator == "<"
            high = min(high, value)
    return bool(low > high or (low == high and strict))


def _always_true(truth: Truth) -> Iterable[Lint]:
    """A clause that would hold on a machine that says nothing at all; =!= is meant to."""
    if len(truth.clauses) == 1 and truth.clauses[0].text.strip("() ").lower() == "true":
        return
    for part in truth.clauses:
        nodes = list(part.node.walk())
        if any(n.kind == "binary" and n.name.lower() in {"=?=", "=!=", "is", "isnt"} for n in nodes):
            continue
        if any(node.kind == "call" for node in nodes):
            continue
        if truth.holds_on_nothing(part.text):
            yield Lint("always-true", f"{part.text} holds whatever the slot says", "leave it out")


def _many(truth: Truth) -> Iterable[Lint]:
    most = int(truth.fleet.n_devices.max(initial=0))
    if truth.gpus > most:
        yield Lint(
            "too-many-gpus",
            f"{truth.gpus} GPU{'s' * (truth.gpus != 1)} asked, but no machine has {f'more than {most}' if most else 'any'}",
            f"request_gpus = {most}",
        )


def _too_long(truth: Truth) -> Iterable[Lint]:
    """A running time that no machine has left: all of them have an end, and it comes before the job's."""
    asked = [
        value for name in ("AllowedExecuteDuration", "AllowedJobDuration") if (value := truth.job.value(name))
    ]
    matching = truth.drained.matching(every(truth.drained.clauses), truth.devices(), truth.needed)
    places = truth.drained.views(matching)
    if not asked or not len(places):
        return
    fleet = truth.fleet
    left = fleet.numbers("glidein_todie", now=False)[places] - fleet.numbers(NOW.lower(), now=False)[places]
    if np.isnan(left).any() or min(asked) <= left.max():
        return
    yield Lint(
        "too-long",
        f"the job may run {format_duration(min(asked))}, but no matching machine stays longer than "
        f"{format_duration(float(left.max()))}",
        "a checkpoint (checkpoint_exit_code, transfer_checkpoint_files), or shorter jobs",
    )


def _shown(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if number else _quoted(value)


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else "…"
