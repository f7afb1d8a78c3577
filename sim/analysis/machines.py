"""A machine as an expression sees it: its ad as it is now and as it would be if drained, and its devices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import classad2
import pandas as pd

from sim.classads.matching import NOW, as_number, assigned_devices, copy_ad, device_ads, read_ad
from sim.inventory.devices import family


@dataclass(frozen=True)
class DeviceView:
    """A device of a machine: id, attribute of its nested ad, family, and whether it is free."""

    id: str
    attribute: str
    family: str
    capability: float | None
    memory_mib: float | None
    free: bool
    mig: bool
    ad: classad2.ClassAd | None = field(repr=False, compare=False)


@dataclass(frozen=True)
class MachineView:
    """A partitionable or static slot: its ad now, and drained (everything free); times are those of its snapshot.

    usable : it is not offline
    open : it takes jobs now: neither a static slot that has one nor a machine that is being drained
    """

    name: str
    machine: str
    now: classad2.ClassAd = field(repr=False, compare=False)
    drained: classad2.ClassAd = field(repr=False, compare=False)
    devices: tuple[DeviceView, ...]
    usable: bool
    open: bool = True
    draining: bool = False

    @property
    def mixed(self) -> bool:
        """Whether its devices differ, so that the slot ad lacks flat properties."""
        return len({device.family for device in self.devices}) > 1


def views_of(slots: pd.DataFrame, known: dict[tuple[str, float], MachineView]) -> Iterable[MachineView]:
    """The machines of a frame "slots", dynamic and backfill slots left out; `known` keeps those made already."""
    whole = slots[slots["slot_type"].isin(["partitionable", "static"]) & ~slots["backfill"].astype(bool)]
    row: Any
    for row in whole.itertuples():
        key = (str(row.ad), row.seen_at.timestamp())
        if key not in known:
            known[key] = _view(row)
        yield known[key]


def _view(row: Any) -> MachineView:
    text, moment = str(row.ad), row.seen_at.timestamp()
    static = row.slot_type == "static"
    ad = read_ad(text)
    ad[NOW] = moment
    nested = {name.lower(): value for name, value in device_ads(ad).items()}
    listed = ad.get("AvailableGPUs")
    free_names = {str(item).lower() for item in listed} if isinstance(listed, list) else None
    devices = assigned_devices(text)
    n_free = int(as_number(ad.get("GPUs")) or 0)
    busy_static = static and row.state not in {"Unclaimed", "Owner"}
    draining = ad.get("Draining") is True or row.state == "Drained"
    views = []
    for place, device in enumerate(devices):
        own = nested.get(device.attribute.lower())
        # a -not-nested startd says how many devices are free, not which; any of them will do, they are alike
        known = free_names is not None and own is not None
        free = device.attribute.lower() in free_names if known and free_names is not None else place < n_free
        memory = (
            own.get("GlobalMemoryMb")
            if own is not None
            else ad.get("GPUs_GlobalMemoryMb", ad.get("CUDAGlobalMemoryMb"))
        )
        mig = device.id.startswith("MIG")
        views.append(
            DeviceView(
                id=device.id,
                attribute=device.attribute,
                family="MIG slice" if mig and device.model is None else family(device.model),
                capability=device.capability,
                memory_mib=as_number(memory),
                free=free and not (busy_static or draining),
                mig=mig,
                ad=own,
            )
        )
    return MachineView(
        name=str(row.name),
        machine=str(row.machine),
        now=ad,
        drained=_drained(ad, [view.attribute for view in views]),
        devices=tuple(views),
        usable=not bool(row.offline),
        open=not (busy_static or draining),
        draining=draining,
    )


def _drained(ad: classad2.ClassAd, attributes: list[str]) -> classad2.ClassAd:
    """The ad with everything free: what it would be if all its jobs were gone."""
    whole = copy_ad(ad)
    for name in ("Cpus", "Memory", "Disk"):
        total = ad.get(f"TotalSlot{name}")
        if (number := as_number(total)) is not None:
            whole[name] = int(number) if number == int(number) else number
    whole["GPUs"] = len(attributes)
    if ad.get("State") in {"Claimed", "Matched", "Preempting"}:
        whole["State"], whole["Activity"] = "Unclaimed", "Idle"
    if attributes:
        whole["AvailableGPUs"] = classad2.ExprTree("{" + ", ".join(attributes) + "}")
    return whole
