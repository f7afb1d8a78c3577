"""Startd ads → frame "devices": each physical GPU once, whichever slots list it.

A GPU stands in its partitionable slot's ad (which lists all its devices, lent out or not), again in the dynamic slot
that has it, and perhaps in a backfill slot. The key is machine and device id, whichever startd tells of it: a glidein
that has just died and its successor on the same host offer the same GPUs, and for up to 15 minutes the collector has
both. A claim wins over an offer, a primary slot over a backfill one (fact sheet §3.2). Ids are only unique per host; two
startds that report different models under one id (test pools do) have different devices.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pandas as pd

from sim.classads.ads import Ad, text_of
from sim.classads.view import View, view_of
from sim.inventory.rows import UNREADABLE, Framed, Rejected, Row, moment
from sim.inventory.slots import identity, is_backfill, is_capacity, slot_type, state_of
from sim.schema import conform, describe

_VENDOR = re.compile(r"^(?:NVIDIA|AMD|Intel(?:\(R\))?|Tesla|GeForce|Quadro|Radeon)\s+", re.IGNORECASE)
_NAMES = re.compile(r"\{[\w, ]*\}")
_BUSY = {"Claimed", "Preempting", "Matched"}
_LOWERED = {
    name: name.lower()
    for name in ("DeviceName", "Capability", "GlobalMemoryMb", "MaxSupportedVersion", "NvidiaDriver")
}
_TOLD = ("model", "capability", "memory_mib", "max_runtime", "driver", "mig_parent", "site")


class _Slot(NamedTuple):
    """What is the same for all devices of a slot ad."""

    ad: View
    name: str
    machine: str
    kind: str
    state: str
    claimed: bool
    backfill: bool
    nested: dict[str, Mapping[str, Any]]
    available: frozenset[str] | None
    offline: frozenset[str]

    @property
    def precedence(self) -> int:
        """Whose word counts for a device that several slots list."""
        partitionable = self.kind == "partitionable"
        return (4 if self.claimed else 0) + (0 if self.backfill else 2) + (0 if partitionable else 1)


@lru_cache(maxsize=1 << 12)
def family(model: str | None) -> str:
    """A model without the vendor's prefixes; ``unknown`` for none.

    Examples
    --------
    >>> family("NVIDIA GeForce RTX 2080 Ti"), family("Tesla V100-PCIE-16GB"), family(None)
    ('RTX 2080 Ti', 'V100-PCIE-16GB', 'unknown')
    """
    name = (model or "").strip()
    while (shorter := _VENDOR.sub("", name)) != name:
        name = shorter
    return name or "unknown"


def devices_frame(ads: Iterable[Ad | View], *, seen_at: pd.Timestamp, snapshot: str) -> Framed:
    """Give a row per physical device of these slot ads."""
    known: dict[tuple[str, str], list[tuple[int, Row]]] = {}
    rejects: Counter[str] = Counter()
    for ad in map(view_of, ads):
        try:
            _add_devices(ad, known, seen_at, snapshot)
        except Rejected as reason:
            rejects[str(reason)] += 1
        except Exception:  # as in `framed`
            rejects[UNREADABLE] += 1
    rows = [row for same_id in known.values() for _, row in same_id]
    columns = [column.name for column in describe("devices")]
    return Framed(conform(pd.DataFrame(rows, columns=columns), "devices"), rejects)


def _add_devices(
    ad: View, known: dict[tuple[str, str], list[tuple[int, Row]]], seen_at: pd.Timestamp, snapshot: str
) -> None:
    """Add what a slot's ad tells of its devices to what is known of them."""
    if not is_capacity(ad) or not (listed := _listed(ad)):
        return
    name, machine = identity(ad)
    slot = _slot(ad, name, machine)
    for device_id, shares in listed.items():
        row = _row(slot, device_id, shares, seen_at, snapshot)
        _merge(known.setdefault((machine, device_id), []), slot.precedence, row)


def _merge(same_id: list[tuple[int, Row]], precedence: int, row: Row) -> None:
    """Add what a slot tells of a device to what other slots told: the better witness first, the rest fills gaps."""
    for place, (rank, other) in enumerate(same_id):
        if row["model"] is not None and other["model"] is not None and row["model"] != other["model"]:
            continue
        better, worse = (row, other) if precedence > rank else (other, row)
        for name in _TOLD:
            if better[name] is None:
                better[name] = worse[name]
        if better["family"] == "unknown":
            better["family"] = worse["family"]
        better["shares"] = max(better["shares"], worse["shares"])
        same_id[place] = (max(rank, precedence), better)
        return
    same_id.append((precedence, row))


def _slot(ad: View, name: str, machine: str) -> _Slot:
    kind, state = slot_type(ad), state_of(ad)
    return _Slot(
        ad,
        name,
        machine,
        kind,
        state,
        state in _BUSY and kind != "partitionable",
        is_backfill(ad),
        _nested(ad),
        _available(ad),
        frozenset(_split(ad.text("OfflineGPUs"))),
    )


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _available(ad: View) -> frozenset[str] | None:
    """The ids of the devices that a slot can give; None where it doesn't say."""
    text = ad.source("AvailableGPUs")
    if text is None:
        return None
    if _NAMES.fullmatch(text):  # as startds write it: names of nested ads
        owns = (ad.nested(name) for name in _split(text.strip("{ }")))
        return frozenset(str(own["id"]) for own in owns if own is not None and own.get("id"))
    held = ad.value("AvailableGPUs")
    ids = (
        (text_of(device, "Id") for device in held if isinstance(device, Ad)) if isinstance(held, list) else ()
    )
    return frozenset(told for told in ids if told)


def _listed(ad: View) -> Counter[str]:
    """The ids of a slot's devices and how often each is listed (-repeat and -divide list a device several times)."""
    ids = Counter(_split(ad.text("AssignedGPUs")))
    offline = _split(ad.text("OfflineGPUs"))
    if not ids and not offline:  # an execute event's copy of a slot ad has no other list
        return Counter(sorted(_available(ad) or ()))
    if slot_type(ad) == "partitionable":
        ids.update({gone: 1 for gone in offline if gone not in ids})
    return ids


def _nested(ad: View) -> dict[str, Mapping[str, Any]]:
    """The nested ads of a slot's devices by Id; their attributes are called GPUs_<id with underscores>."""
    owns = (ad.nested(name) for name in ad.names("gpus_"))
    return {str(own["id"]): own for own in owns if own is not None and own.get("id")}


def _property(slot: _Slot, device_id: str, name: str) -> object:
    """A property of a device: its own ad, else what all the slot's devices have in common, else the old family.

    The old family is CUDACapability for all, and GPU_a0223334Capability (or CUDA0Capability) where devices differ.
    """
    own = slot.nested.get(device_id)
    if own is not None and (value := own.get(_LOWERED[name])) is not None:
        return value
    for attribute in (f"GPUs_{name}", f"{device_id.replace('-', '_')}{name}", f"CUDA{name}"):
        if (value := slot.ad.value(attribute)) is not None:
            return value
    return None


def _row(slot: _Slot, device_id: str, shares: int, seen_at: pd.Timestamp, snapshot: str) -> Row:
    own = slot.nested.get(device_id)
    model = _text(_property(slot, device_id, "DeviceName"))
    told = own or {}
    mig = "MIG-" in device_id or "MIG-" in str(told.get("deviceuuid"))
    return {
        "snapshot": snapshot,
        "seen_at": seen_at,
        "machine": slot.machine,
        "device_id": device_id,
        "startd": slot.name.split("@", 1)[-1],
        "site": slot.ad.text("GLIDEIN_Site", "GLIDEIN_ResourceName"),
        "model": model,
        "family": "MIG slice" if mig and model is None else family(model),
        "capability": _number(_property(slot, device_id, "Capability")),
        "memory_mib": _number(_property(slot, device_id, "GlobalMemoryMb")),
        "max_runtime": _number(_property(slot, device_id, "MaxSupportedVersion")),
        "driver": _text(_property(slot, device_id, "NvidiaDriver")),
        "mig": mig,
        "mig_parent": _text(told.get("parentuuid")),
        "shares": shares,
        "slot": slot.name,
        "slot_type": slot.kind,
        "state": _state(slot, device_id, seen_at),
        "submitter": slot.ad.text("AccountingGroup", "RemoteUser") if slot.claimed else None,
    }


def _state(slot: _Slot, device_id: str, seen_at: pd.Timestamp) -> str:
    """What a slot's ad says of one of its devices: free, claimed, backfill, draining, offline or prevented.

    Prevented: free, but its slot has no core or memory left, is past GLIDEIN_ToRetire, or belongs to its owner.
    """
    if device_id in slot.offline or slot.ad.flag("Offline"):
        return "offline"
    # a partitionable slot's AvailableGPUs lacks what it has lent out, also where the dynamic slot's ad is missing
    lent = slot.kind == "partitionable" and slot.available is not None and device_id not in slot.available
    if slot.claimed or (lent and slot.nested):
        return "backfill" if slot.backfill else "claimed"
    if slot.state == "Drained" or slot.ad.flag("Draining"):
        return "draining"
    retire = moment(slot.ad, "GLIDEIN_ToRetire")
    starved = any(slot.ad.number(name) == 0 for name in ("Cpus", "Memory"))
    if starved or slot.state == "Owner" or (retire is not None and seen_at >= retire):
        return "prevented"
    return "free"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def supply(devices: pd.DataFrame, by: Sequence[str] = ("family", "state")) -> pd.DataFrame:
    """The number of devices per group: the columns `by` and gpus [1], most first."""
    counted = devices.groupby(list(by), dropna=False).size().rename("gpus").reset_index()
    return counted.sort_values(["gpus", *by], ascending=[False, *[True] * len(by)], ignore_index=True)
