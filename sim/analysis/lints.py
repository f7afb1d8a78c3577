"""What the author of an expression should know, each with a rule id; they look at the pool, not at a rule book."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from sim.analysis.answer import Lint
from sim.analysis.pool import PoolView
from sim.classads.expression import Comparison, Expression
from sim.classads.request import Request

_MODERN = {
    "cudacapability": ("capability", "gpus_minimum_capability"),
    "cudaglobalmemorymb": ("memory", "gpus_minimum_memory"),
    "cudadevicename": ("device name", None),
    "cudadriverversion": ("runtime", "gpus_minimum_runtime"),
    "cudaruntimeversion": ("runtime", "gpus_minimum_runtime"),
    "cudamaxsupportedversion": ("runtime", "gpus_minimum_runtime"),
}
_PER_DEVICE = {
    "gpus_capability": "gpus_minimum_capability",
    "gpus_globalmemorymb": "gpus_minimum_memory",
    "gpus_devicename": None,
    "gpus_maxsupportedversion": "gpus_minimum_runtime",
}
# attributes that a slot may have without advertising them in every ad
_IMPLIED = {
    "time",
    "currenttime",
    "undefined",
    "poolscopenow",
    "availablegpus",
    "remoteowner",
    "draining",
    "offline",
}


def find_lints(whole: Expression, pool: PoolView, request: Request) -> Iterable[Lint]:
    """Give what is worth knowing about an expression in this pool."""
    names = {
        reference.name.lower(): reference.name for reference in whole.references() if reference.scope != "my"
    }
    yield from _legacy(whole, names, pool)
    yield from _mixed(whole, names, pool)
    yield from _mig(names, pool)
    yield from _unknown_names(names, pool)
    yield from _strings(whole, pool)
    yield from _memory(whole, pool)
    yield from _many(pool, request)
    if "gpus" in names and request.require_gpus and request.gpus:
        yield Lint(
            "drops-gpu-clause",
            "condor_submit leaves out its own clause on GPUs where requirements mention GPUs: nothing then asks for devices "
            "that satisfy require_gpus",
            f"request_gpus = {request.gpus}, and no GPUs in requirements",
        )


def _gpu_hosts(pool: PoolView) -> int:
    return sum(bool(view.devices) for view in pool.machines)


def _legacy(whole: Expression, names: dict[str, str], pool: PoolView) -> Iterable[Lint]:
    for lowered, name in sorted(names.items()):
        if lowered not in _MODERN:
            continue
        having = sum(name in view.drained for view in pool.machines)
        what, command = _MODERN[lowered]
        value = next((c.value for c in whole.comparisons() if c.reference.name.lower() == lowered), None)
        shown = f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else "…"
        suggestion = f"{command} = {shown}" if command else f"require_gpus = DeviceName == {_quoted(value)}"
        yield Lint(
            "legacy-attribute",
            f"{name} is the old name of the {what}: {having} of {_gpu_hosts(pool)} machines with GPUs advertise it, the "
            f"others never match",
            suggestion,
        )


def _mixed(whole: Expression, names: dict[str, str], pool: PoolView) -> Iterable[Lint]:
    mixed = [view.machine for view in pool.machines if view.mixed]
    for lowered, command in _PER_DEVICE.items():
        if lowered not in names or not mixed:
            continue
        lacking = [
            view.machine for view in pool.machines if view.mixed and names[lowered] not in view.drained
        ]
        if not lacking:
            continue
        found = [c for c in whole.comparisons() if c.reference.name.lower() == lowered]
        value = found[0].value if found else None
        shown = (
            f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else _quoted(value)
        )
        device_property = names[lowered].split("_", 1)[1]
        floor = bool(found) and found[0].operator in {">=", ">"} and command is not None
        suggestion = (
            f"{command} = {shown}"
            if floor
            else f"require_gpus = {device_property} {found[0].operator if found else '=='} {shown}"
        )
        yield Lint(
            "mixed-hosts",
            f"{names[lowered]} is only there where all devices of a machine agree: it misses {len(lacking)} mixed "
            f"machine{'s' * (len(lacking) > 1)} ({', '.join(sorted(lacking)[:3])})",
            suggestion,
        )


def _mig(names: dict[str, str], pool: PoolView) -> Iterable[Lint]:
    silent = [
        device
        for view in pool.machines
        for device in view.devices
        if device.mig and device.capability is None
    ]
    slices, sizes = len(silent), [device.memory_mib for device in silent if device.memory_mib]
    if slices and any("capability" in lowered for lowered in names):
        yield Lint(
            "mig-capability",
            f"{slices} MIG slices of this pool don't tell their capability, so no clause on capability matches them",
            f"gpus_minimum_memory = {min(sizes, default=4096):g}, if a slice would do",
        )


def _unknown_names(names: dict[str, str], pool: PoolView) -> Iterable[Lint]:
    devices = {
        f"gpus_{name.lower()}"
        for view in pool.machines
        for device in view.devices
        if device.ad is not None
        for name in device.ad
    }
    for lowered, name in sorted(names.items()):
        if (
            lowered in pool.attributes
            or lowered in _MODERN
            or lowered in _IMPLIED
            or lowered in devices
            or lowered.startswith("request")
        ):
            continue
        near = difflib.get_close_matches(lowered, list(pool.attributes), n=3, cutoff=0.7)
        suggestion = (
            ", ".join(pool.attributes[hit] for hit in near) or "an attribute of `condor_status -long`"
        )
        yield Lint("unknown-attribute", f"no slot of this pool advertises {name}", suggestion)


def _strings(whole: Expression, pool: PoolView) -> Iterable[Lint]:
    for comparison in whole.comparisons():
        if not isinstance(comparison.value, str) or comparison.operator not in {"==", "=?="}:
            continue
        held = _strings_of(pool, comparison)
        same = [
            value
            for value in held
            if value == comparison.value
            or (comparison.operator == "==" and value.lower() == comparison.value.lower())
        ]
        if not held or same:
            continue
        near = [v for v in held if v.removeprefix("NVIDIA ") == comparison.value.removeprefix("NVIDIA ")]
        near = near or difflib.get_close_matches(comparison.value, sorted(held), n=3, cutoff=0.4)
        yield Lint(
            "unknown-value",
            f"no slot has {comparison.reference.name} == {_quoted(comparison.value)}",
            " or ".join(_quoted(value) for value in near or sorted(held)[:4]),
        )


def _strings_of(pool: PoolView, comparison: Comparison) -> set[str]:
    name = comparison.reference.name
    values = {view.drained.get(name) for view in pool.machines}
    if name.lower() == "gpus_devicename":
        values |= {
            device.ad.get("DeviceName")
            for view in pool.machines
            for device in view.devices
            if device.ad is not None
        }
    return {value for value in values if isinstance(value, str)}


def _memory(whole: Expression, pool: PoolView) -> Iterable[Lint]:
    """A floor just above what devices really report: a nominal size (24 GB is reported as 24,220 MiB and less)."""
    for comparison in whole.comparisons():
        if "globalmemorymb" not in comparison.reference.name.lower() or comparison.operator not in {
            ">",
            ">=",
        }:
            continue
        if not isinstance(comparison.value, int | float):
            continue
        just_below = {
            d.memory_mib
            for v in pool.machines
            for d in v.devices
            if d.memory_mib and 0.9 * comparison.value <= d.memory_mib < comparison.value
        }
        if just_below:
            yield Lint(
                "nominal-memory",
                f"{comparison.value:g} MiB is more than devices of that size report: {max(just_below):g} MiB",
                f"gpus_minimum_memory = {min(just_below):g}",
            )


def _many(pool: PoolView, request: Request) -> Iterable[Lint]:
    most = max((len(view.devices) for view in pool.machines), default=0)
    if request.gpus > most:
        yield Lint(
            "too-many-gpus",
            f"{request.gpus} GPUs asked, but no machine has more than {most}",
            f"request_gpus = {most}",
        )


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else "…"
