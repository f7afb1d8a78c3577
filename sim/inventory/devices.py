"""Startd ads → frame "devices": each physical GPU once, whichever slots list it.

A GPU stands in its partitionable slot's ad (which lists all its devices, lent out or not), again in the dynamic slot
that has it, and perhaps in a backfill slot. The key is machine and device id; a dynamic or static slot's claim wins over
the partitionable slot's offer, a primary slot over a backfill one (fact sheet §3.2).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from sim.classads.ads import Ad, flag_of, number_of, text_of, value_of
from sim.inventory.rows import Framed, Row, moment
from sim.inventory.slots import is_backfill, is_capacity, slot_type
from sim.schema import conform, describe

_VENDOR = re.compile(r"^(?:NVIDIA|AMD|Intel(?:\(R\))?|Tesla|GeForce|Quadro|Radeon)\s+", re.IGNORECASE)
_OLD = {
    "DeviceName": "CUDADeviceName",
    "Capability": "CUDACapability",
    "GlobalMemoryMb": "CUDAGlobalMemoryMb",
    "MaxSupportedVersion": "CUDAMaxSupportedVersion",
}
_BUSY = {"Claimed", "Preempting", "Matched"}


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


def devices_frame(ads: Iterable[Ad], *, seen_at: pd.Timestamp, snapshot: str) -> Framed:
    """Give a row per physical device of these slot ads."""
    rows: dict[tuple[str, str], tuple[int, Row]] = {}
    rejects: Counter[str] = Counter()
    for ad in ads:
        name, machine = text_of(ad, "Name"), text_of(ad, "Machine")
        if not is_capacity(ad):
            continue
        if name is None or machine is None:
            rejects["no Name or Machine"] += 1
            continue
        rank = _precedence(ad)
        for device_id, shares in _listed(ad).items():
            known = rows.get((machine, device_id))
            if known is not None and known[0] >= rank:
                _complete(known[1], _row(ad, name, machine, device_id, shares, seen_at, snapshot))
                continue
            row = _row(ad, name, machine, device_id, shares, seen_at, snapshot)
            if known is not None:
                _complete(row, known[1])
            rows[machine, device_id] = (rank, row)
    columns = [column.name for column in describe("devices")]
    frame = pd.DataFrame([row for _, row in rows.values()], columns=columns)
    return Framed(conform(frame, "devices"), rejects)


def _precedence(ad: Ad) -> int:
    """Which of the slots that list a device tells its state: a claim before an offer, a primary slot before backfill."""
    partitionable = slot_type(ad) == "partitionable"
    claimed = text_of(ad, "State") in _BUSY and not partitionable
    return (4 if claimed else 0) + (0 if is_backfill(ad) else 2) + (0 if partitionable else 1)


def _listed(ad: Ad) -> Counter[str]:
    """The ids of a slot's devices and how often each is listed (-repeat and -divide list a device several times)."""
    assigned = text_of(ad, "AssignedGPUs") or ""
    offline = [part.strip() for part in (text_of(ad, "OfflineGPUs") or "").split(",") if part.strip()]
    ids = Counter(part.strip() for part in assigned.split(",") if part.strip())
    if slot_type(ad) == "partitionable":
        ids.update({gone: 1 for gone in offline if gone not in ids})
    return ids


def _nested(ad: Ad, device_id: str) -> Ad | None:
    name = "GPUs_" + device_id.replace("-", "_")
    value = ad.get(name)
    return value if isinstance(value, Ad) else None


def _property(ad: Ad, own: Ad | None, name: str) -> object:
    """A property of a device: its nested ad, else what all the slot's devices have in common, else the old family."""
    if own is not None and (value := value_of(own, name)) is not None:
        return value
    for flat in (f"GPUs_{name}", _OLD.get(name, "")):
        if flat and (value := value_of(ad, flat)) is not None and (own is None or flat.startswith("GPUs_")):
            return value
    return None


def _row(
    ad: Ad, name: str, machine: str, device_id: str, shares: int, seen_at: pd.Timestamp, snapshot: str
) -> Row:
    own = _nested(ad, device_id)
    model = _property(ad, own, "DeviceName")
    uuid = str(value_of(own, "DeviceUuid") or "") if own is not None else ""
    mig = device_id.startswith("MIG") or uuid.startswith("MIG")
    return {
        "snapshot": snapshot,
        "seen_at": seen_at,
        "machine": machine,
        "device_id": device_id,
        "startd": name.split("@", 1)[-1],
        "site": text_of(ad, "GLIDEIN_Site", "GLIDEIN_ResourceName"),
        "model": model if isinstance(model, str) else None,
        "family": ("MIG slice" if mig else family(None)) if not isinstance(model, str) else family(model),
        "capability": _number(_property(ad, own, "Capability")),
        "memory_mib": _number(_property(ad, own, "GlobalMemoryMb")),
        "max_runtime": _number(_property(ad, own, "MaxSupportedVersion")),
        "driver": value if isinstance(value := _property(ad, own, "NvidiaDriver"), str) else None,
        "mig": mig,
        "mig_parent": value
        if own is not None and isinstance(value := value_of(own, "ParentUuid"), str)
        else None,
        "shares": shares,
        "slot": name,
        "slot_type": slot_type(ad),
        "state": device_state(ad, device_id, seen_at),
        "submitter": text_of(ad, "AccountingGroup", "RemoteUser")
        if slot_type(ad) != "partitionable"
        else None,
    }


def device_state(ad: Ad, device_id: str, seen_at: pd.Timestamp) -> str:
    """What a slot's ad says of one of its devices: free, claimed, backfill, draining, offline or prevented.

    Prevented: free, but its slot has no core or memory left, is past GLIDEIN_ToRetire, or belongs to its owner.
    """
    if device_id in (text_of(ad, "OfflineGPUs") or "") or flag_of(ad, "Offline"):
        return "offline"
    busy = slot_type(ad) != "partitionable" and text_of(ad, "State") in _BUSY
    if busy:
        return "backfill" if is_backfill(ad) else "claimed"
    if text_of(ad, "State") == "Drained" or flag_of(ad, "Draining"):
        return "draining"
    retire = moment(ad, "GLIDEIN_ToRetire")
    starved = not (number_of(ad, "Cpus") or 0) > 0 or not (number_of(ad, "Memory") or 0) > 0
    if starved or (retire is not None and seen_at >= retire) or text_of(ad, "State") == "Owner":
        return "prevented"
    return "free"


def _complete(row: Row, other: Row) -> None:
    """Fill what one slot's ad doesn't tell of a device from another's."""
    for name in ("model", "capability", "memory_mib", "max_runtime", "driver", "mig_parent", "site"):
        if row[name] is None:
            row[name] = other[name]
    if row["family"] == "unknown":
        row["family"] = other["family"]
    row["shares"] = max(row["shares"], other["shares"])


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def supply(devices: pd.DataFrame, by: Sequence[str] = ("family", "state")) -> pd.DataFrame:
    """The number of devices per group: the columns `by` and gpus [1], most first."""
    counted = devices.groupby(list(by), dropna=False).size().rename("gpus").reset_index()
    return counted.sort_values(["gpus", *by], ascending=[False, *[True] * len(by)], ignore_index=True)
