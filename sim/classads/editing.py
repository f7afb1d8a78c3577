"""Ads chosen by an expression, ads changed, and ads made: what a scenario does to a recorded pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import classad2

from sim.classads.expression import Expression, at_time
from sim.classads.matching import NOW, copy_ad, read_ad
from sim.classads.view import print_ad
from sim.errors import ExpressionError, InputError


def selector(text: str) -> Callable[[str, float], bool]:
    """Tell of ads, given as text, whether an expression is true in them at a time [s, Unix].

    An unscoped name is the ad's own attribute, as for ``condor_status -constraint``; anything but true is false.

    Raises
    ------
    ExpressionError : `text` is not one whole expression
    """
    tree = classad2.ExprTree(at_time(Expression.parse(text).text, NOW))

    @lru_cache(maxsize=100_000)
    def holds(ad_text: str, now: float) -> bool:
        ad = copy_ad(read_ad(ad_text))
        ad[NOW] = now
        return _true(tree, ad)

    return holds


def _true(tree: classad2.ExprTree, ad: classad2.ClassAd) -> bool:
    try:
        return tree.eval(ad) is True
    except classad2.ClassAdException:
        return False


def changed(ad_text: str, changes: Mapping[str, str]) -> str:
    """An ad with attributes set to expressions; ``{old}`` in one stands for what the attribute was.

    Examples
    --------
    >>> changed("[ RequestGPUs = 2; Requirements = A > 1 ]", {"Requirements": "{old} && B"})
    '[ RequestGPUs = 2; Requirements = (A > 1) && B ]'
    """
    ad = copy_ad(classad2.parseOne(ad_text))
    for name, value in changes.items():
        old = f"({ad.lookup(name)})" if name in ad else "undefined"
        ad[name] = expression_of(value.replace("{old}", old))
    return print_ad(ad)


def expression_of(text: str) -> classad2.ExprTree:
    """One whole expression; ExpressionError if it is not."""
    return Expression.parse(text).tree


class Gpus(NamedTuple):
    """Equal devices of a machine: how many, their model, capability and memory [MiB]."""

    number: int
    model: str
    capability: float
    memory_mib: float


_LIMITS = (
    "MY.Cpus > 0 && TARGET.RequestCpus <= MY.Cpus && MY.Memory > 0 && TARGET.RequestMemory <= MY.Memory && "
    "MY.Disk > 0 && TARGET.RequestDisk <= MY.Disk && (TARGET.RequestGPUs is undefined || MY.GPUs >= TARGET.RequestGPUs)"
)


def machine_ad(
    name: str,
    *,
    cpus: float,
    memory_mib: float,
    disk_mib: float,
    gpus: Sequence[Gpus] = (),
    start: str = "true",
    rank: str = "0.0",
    attributes: Mapping[str, str] | None = None,
) -> str:
    """The ad of an empty partitionable slot as a startd of 23.x or later writes it, as text.

    Devices have nested ads; a property of all devices alike also stands flat in the slot (fact sheet §3.2).

    Parameters
    ----------
    start, rank : START and RANK, expressions
    attributes : further attributes, expressions by name

    Raises
    ------
    ExpressionError : one of them is not one whole expression
    """
    ad = classad2.ClassAd()
    values: dict[str, object] = {
        "MyType": "Machine",
        "Name": f"slot1@{name}",
        "Machine": name.rpartition("@")[2],
        "Arch": "X86_64",
        "OpSys": "LINUX",
        "HasFileTransfer": True,
        "SlotType": "Partitionable",
        "PartitionableSlot": True,
        "SlotID": 1,
        "State": "Unclaimed",
        "Activity": "Idle",
    }
    devices = [(kind, place) for kind in gpus for place in range(kind.number)]
    amounts = {
        "Cpus": _whole(cpus),
        "Memory": int(memory_mib),
        "Disk": int(disk_mib * 1024),
        "GPUs": len(devices),
    }
    values |= amounts | {f"TotalSlot{key}": value for key, value in amounts.items()}
    values["TotalGPUs"] = len(devices)
    ids = [f"GPU-{number:08x}" for number in range(len(devices))]
    names = [f"GPUs_GPU_{number:08x}" for number in range(len(devices))]
    for attribute, device_id, (kind, _) in zip(names, ids, devices, strict=True):
        nested = classad2.ClassAd()
        nested.update(_properties(kind) | {"Id": device_id})
        values[attribute] = nested
    if devices:
        values["AssignedGPUs"] = ",".join(ids)
        alike = [set(_properties(kind).items()) for kind, _ in devices]
        values |= {f"GPUs_{key}": value for key, value in set.intersection(*alike)}
    ad.update(values)
    ad["AvailableGPUs"] = classad2.ExprTree("{ " + ", ".join(names) + " }")
    for key, text in (attributes or {}).items():
        ad[key] = expression_of(text)
    ad["Start"] = expression_of(start)
    ad["Rank"] = expression_of(rank)
    ad["WithinResourceLimits"] = classad2.ExprTree(_LIMITS)
    ad["Requirements"] = classad2.ExprTree("START && (WithinResourceLimits)")
    return print_ad(ad)


def _properties(kind: Gpus) -> dict[str, object]:
    return {
        "DeviceName": kind.model,
        "Capability": float(kind.capability),
        "GlobalMemoryMb": int(kind.memory_mib),
    }


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else value


def check(text: str) -> str:
    """Give an expression back if it is one, for validators; ValueError says what is wrong with it."""
    try:
        Expression.parse(text)
    except (ExpressionError, InputError) as error:
        raise ValueError(f"no ClassAd expression: {error}") from error
    return text
