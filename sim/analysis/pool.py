"""A pool as an expression sees it: every machine's ad, as it is now and as it would be if drained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import classad2
import pandas as pd

from sim.classads.matching import NOW, assigned_devices, copy_ad, device_ads, read_ad
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
    """A partitionable or static slot: its ad now, and drained (everything free); times are those of its snapshot."""

    name: str
    machine: str
    now: classad2.ClassAd = field(repr=False, compare=False)
    drained: classad2.ClassAd = field(repr=False, compare=False)
    devices: tuple[DeviceView, ...]
    usable: bool

    @property
    def mixed(self) -> bool:
        """Whether its devices differ, so that the slot ad lacks flat properties."""
        return len({device.family for device in self.devices}) > 1


@dataclass(frozen=True)
class PoolView:
    """The machines of the last snapshot, and all that were seen in the window (None if only one snapshot is known)."""

    machines: tuple[MachineView, ...]
    seen: tuple[MachineView, ...] | None
    attributes: dict[str, str] = field(repr=False)
    seen_at: pd.Timestamp | None = None

    @classmethod
    def from_frames(cls, slots_now: pd.DataFrame, slots_window: pd.DataFrame | None = None) -> PoolView:
        """Build the view from frames "slots": one snapshot, and those of a window.

        A machine of the window is judged as it was when it was first seen: a glidein that retires later did take jobs.
        """
        views: dict[tuple[str, float], MachineView] = {}
        machines = tuple(_views(slots_now, views))
        seen = None
        if slots_window is not None:
            whole = slots_window[slots_window["slot_type"].isin(["partitionable", "static"])]
            seen = tuple(_views(whole.sort_values("seen_at").drop_duplicates("name", keep="first"), views))
        attributes = {name.lower(): name for view in (*machines, *(seen or ())) for name in view.now}
        return cls(machines, seen, attributes, None if slots_now.empty else slots_now["seen_at"].max())


def _views(slots: pd.DataFrame, known: dict[tuple[str, float], MachineView]) -> Iterable[MachineView]:
    whole = slots[slots["slot_type"].isin(["partitionable", "static"]) & ~slots["backfill"].astype(bool)]
    for row in whole.itertuples():
        key = (str(row.ad), row.seen_at.timestamp())
        if key not in known:
            known[key] = _view(row)
        yield known[key]


def _view(row: object) -> MachineView:
    text, moment = str(row.ad), row.seen_at.timestamp()  # type: ignore[attr-defined]
    static = row.slot_type == "static"  # type: ignore[attr-defined]
    ad = read_ad(text)
    ad[NOW] = moment
    nested = {name.lower(): value for name, value in device_ads(ad).items()}
    listed = ad.lookup("AvailableGPUs") if "AvailableGPUs" in ad else None
    free_names = {str(item).lower() for item in listed} if isinstance(listed, list) else None
    devices = assigned_devices(text)
    n_free = int(ad.get("GPUs") or 0) if isinstance(ad.get("GPUs"), int) else 0
    busy_static = static and row.state not in {"Unclaimed", "Owner"}  # type: ignore[attr-defined]
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
                memory_mib=float(memory) if isinstance(memory, int | float) else None,
                free=free and not busy_static,
                mig=mig,
                ad=own,
            )
        )
    return MachineView(
        name=str(row.name),  # type: ignore[attr-defined]
        machine=str(row.machine),  # type: ignore[attr-defined]
        now=ad,
        drained=_drained(ad, [view.attribute for view in views]),
        devices=tuple(views),
        usable=not (bool(row.offline) or busy_static),  # type: ignore[attr-defined]
    )


def _drained(ad: classad2.ClassAd, attributes: list[str]) -> classad2.ClassAd:
    """The ad with everything free: what it would be if all its jobs were gone."""
    whole = copy_ad(ad)
    for name in ("Cpus", "Memory", "Disk"):
        total = ad.get(f"TotalSlot{name}")
        if isinstance(total, int | float):
            whole[name] = int(total) if total == int(total) else total
    whole["GPUs"] = len(attributes)
    if attributes:
        whole["AvailableGPUs"] = classad2.ExprTree("{" + ", ".join(attributes) + "}")
    return whole
