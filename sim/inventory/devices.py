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
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sim.classads.ads import Ad, text_of
from sim.classads.columns import Columns, Flags
from sim.inventory.rows import Framed, Row
from sim.inventory.slots import (
    Slots,
    columns_of,
    is_backfill,
    is_capacity,
    moments,
    slot_types,
    soundness,
    states,
)
from sim.schema import conform, describe

_VENDOR = re.compile(r"^(?:NVIDIA|AMD|Intel(?:\(R\))?|Tesla|GeForce|Quadro|Radeon)\s+", re.IGNORECASE)
_NAMES = re.compile(r"\{[\w, ]*\}")
_BUSY = ["Claimed", "Preempting", "Matched"]
_LOWERED = {
    name: name.lower()
    for name in ("DeviceName", "Capability", "GlobalMemoryMb", "MaxSupportedVersion", "NvidiaDriver")
}
_TOLD = ("model", "capability", "memory_mib", "max_runtime", "driver", "mig_parent", "site")


class _Slot(NamedTuple):
    """What is the same for all devices of a slot."""

    name: str
    machine: str
    kind: str
    claimed: bool
    backfill: bool
    gone: bool
    draining: bool
    barred: bool
    site: str | None
    submitter: str | None
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


def devices_frame(ads: Slots, *, seen_at: pd.Timestamp, snapshot: str) -> Framed:
    """Give a row per physical device of these slot ads."""
    columns, rejects = columns_of(ads)
    found = Devices(seen_at)
    found.add(columns)
    frame, reasons = found.framed(snapshot)
    return Framed(frame, rejects + reasons)


class Devices:
    """The devices of slots that are told of a part at a time."""

    def __init__(self, seen_at: pd.Timestamp) -> None:
        self._seen_at = seen_at
        self._known: dict[tuple[str, str], list[tuple[int, Row]]] = {}
        self._rejects: Counter[str] = Counter()

    def add(self, ads: Columns) -> None:
        """Add what slot ads tell of their devices to what is known of them."""
        told = _Told(ads)
        listed = [
            _listed(told, row) if capacity else _NO_IDS
            for row, capacity in enumerate(is_capacity(ads).tolist())
        ]
        sound, reasons = soundness(ads, np.array([bool(ids) for ids in listed], np.bool_))
        self._rejects += reasons
        slots = _slots(ads, told, sound, self._seen_at)
        for slot, row in slots:
            for device_id, shares in listed[row].items():
                found = _row(slot, told, row, device_id, shares)
                _merge(self._known.setdefault((slot.machine, device_id), []), slot.precedence, found)

    def framed(self, snapshot: str) -> Framed:
        """The frame devices, and what was left out."""
        rows = [row for same_id in self._known.values() for _, row in same_id]
        columns = {name: [row[name] for row in rows] for name in _COLUMNS}
        frame = pd.DataFrame(columns).assign(snapshot=snapshot, seen_at=self._seen_at)
        return Framed(conform(frame, "devices"), self._rejects)


_COLUMNS = [column.name for column in describe("devices") if column.name not in {"snapshot", "seen_at"}]
_NO_IDS: Counter[str] = Counter()


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


class _Told:
    """What slot ads say of their devices."""

    def __init__(self, ads: Columns) -> None:
        self.ads = ads
        self.kinds: list[str] = slot_types(ads).tolist()
        self.assigned: list[str | None] = ads.texts("AssignedGPUs").tolist()
        self.offline: list[str | None] = ads.texts("OfflineGPUs").tolist()
        self.available: list[str | None] = ads.sources("AvailableGPUs").tolist()
        self._groups = ads.group("gpus_")
        self._common = {name: [ads.values(f"GPUs_{name}"), ads.values(f"CUDA{name}")] for name in _LOWERED}
        self._own = {
            name: {ads_name for ads_name in ads.names if ads_name.endswith(low)}
            for name, low in _LOWERED.items()
        }
        self._nested: dict[int, Mapping[str, Any] | None] = {}

    def nested(self, row: int) -> dict[str, Mapping[str, Any]]:
        """The nested ads of a slot's devices by Id; their attributes are called GPUs_<id with underscores>."""
        owns = (self.ads.nested(row, line) for line in self._groups.get(row, ()))
        return {str(own["id"]): own for own in owns if own is not None and own.get("id")}

    def ids(self, row: int) -> frozenset[str] | None:
        """The ids of the devices that a slot can give; None where it doesn't say."""
        text = self.available[row]
        if text is None:
            return None
        if _NAMES.fullmatch(text):  # as startds write it: names of nested ads
            wanted = {name.lower() for name in _split(text.strip("{ }"))}
            lines = self._groups.get(row, ())
            owns = (self.ads.nested(row, line) for line in lines if self.ads.name(line) in wanted)
            return frozenset(str(own["id"]) for own in owns if own is not None and own.get("id"))
        held = self.ads.value(row, "AvailableGPUs")
        ids = (
            (text_of(device, "Id") for device in held if isinstance(device, Ad))
            if isinstance(held, list)
            else ()
        )
        return frozenset(told for told in ids if told)

    def common(self, row: int, device_id: str, name: str) -> object:
        """What all the slot's devices have in common, else the old family.

        The old family is CUDACapability for all, and GPU_a0223334Capability (or CUDA0Capability) where devices differ.
        """
        new, old = self._common[name]
        if new[row] is not None:
            return new[row]
        own = f"{device_id.replace('-', '_')}{name}"
        if own.lower() in self._own[name] and (value := self.ads.value(row, own)) is not None:
            return value
        return old[row]


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()] if text else []


def _listed(told: _Told, row: int) -> Counter[str]:
    """The ids of a slot's devices and how often each is listed (-repeat and -divide list a device several times)."""
    assigned, gone = told.assigned[row], told.offline[row]
    ids, offline = Counter(_split(assigned)), _split(gone)
    if not ids and not offline:  # an execute event's copy of a slot ad has no other list
        return Counter(sorted(told.ids(row) or ()))
    if told.kinds[row] == "partitionable":
        ids.update({name: 1 for name in offline if name not in ids})
    return ids


def _slots(ads: Columns, told: _Told, sound: Flags, seen_at: pd.Timestamp) -> Iterator[tuple[_Slot, int]]:
    """The slots that have devices, and which ad each is."""
    kinds = slot_types(ads)
    state = states(ads, kinds)
    claimed = np.isin(state.astype(str), _BUSY) & (kinds != "partitionable")
    retired = moments(ads, "GLIDEIN_ToRetire") <= np.datetime64(seen_at.tz_convert(None))
    starved = (ads.numbers("Cpus") == 0) | (ads.numbers("Memory") == 0)
    columns = [
        ads.texts("Name"),
        ads.texts("Machine"),
        kinds,
        claimed,
        is_backfill(ads),
        ads.flags("Offline"),
        (state == "Drained") | ads.flags("Draining"),
        starved | (state == "Owner") | retired,
        ads.texts("GLIDEIN_Site", "GLIDEIN_ResourceName"),
        ads.texts("AccountingGroup", "RemoteUser"),
    ]
    rows = np.flatnonzero(sound).tolist()
    told_of = zip(rows, *(column[sound].tolist() for column in columns), strict=True)
    for row, name, machine, kind, busy, twin, gone, draining, barred, site, submitter in told_of:
        offline = frozenset(_split(told.offline[row]))
        yield (
            _Slot(
                name, machine, kind, busy, twin, gone, draining, barred, site, submitter,
                told.nested(row), told.ids(row), offline,
            ),
            row,
        )  # fmt: skip


def _row(slot: _Slot, told: _Told, row: int, device_id: str, shares: int) -> Row:
    own = slot.nested.get(device_id, _NOTHING)

    def property_of(name: str) -> object:
        value = own.get(_LOWERED[name])
        return told.common(row, device_id, name) if value is None else value

    model = _text(property_of("DeviceName"))
    mig = "MIG-" in device_id or "MIG-" in str(own.get("deviceuuid"))
    return {
        "machine": slot.machine,
        "device_id": device_id,
        "startd": slot.name.split("@", 1)[-1],
        "site": slot.site,
        "model": model,
        "family": "MIG slice" if mig and model is None else family(model),
        "capability": _number(property_of("Capability")),
        "memory_mib": _number(property_of("GlobalMemoryMb")),
        "max_runtime": _number(property_of("MaxSupportedVersion")),
        "driver": _text(property_of("NvidiaDriver")),
        "mig": mig,
        "mig_parent": _text(own.get("parentuuid")),
        "shares": shares,
        "slot": slot.name,
        "slot_type": slot.kind,
        "state": _state(slot, device_id),
        "submitter": slot.submitter if slot.claimed else None,
    }


_NOTHING: Mapping[str, Any] = {}


def _state(slot: _Slot, device_id: str) -> str:
    """What a slot's ad says of one of its devices: free, claimed, backfill, draining, offline or prevented.

    Prevented: free, but its slot has no core or memory left, is past GLIDEIN_ToRetire, or belongs to its owner.
    """
    if device_id in slot.offline or slot.gone:
        return "offline"
    # a partitionable slot's AvailableGPUs lacks what it has lent out, also where the dynamic slot's ad is missing
    lent = slot.kind == "partitionable" and slot.available is not None and device_id not in slot.available
    if slot.claimed or (lent and slot.nested):
        return "backfill" if slot.backfill else "claimed"
    if slot.draining:
        return "draining"
    return "prevented" if slot.barred else "free"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def supply(devices: pd.DataFrame, by: Sequence[str] = ("family", "state")) -> pd.DataFrame:
    """The number of devices per group: the columns `by` and gpus [1], most first."""
    counted = devices.groupby(list(by), dropna=False).size().rename("gpus").reset_index()
    return counted.sort_values(["gpus", *by], ascending=[False, *[True] * len(by)], ignore_index=True)
