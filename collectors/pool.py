"""The collector daemon's slot ads → frames "slots" and "devices"."""

from __future__ import annotations

from typing import Any

from collectors.daemons import Daemons
from collectors.source import Moment, Reading
from sim.errors import InputError
from sim.inventory import Framed, devices_frame, slots_frame


class PoolSource:
    """All slots of a pool and their devices."""

    name = "pool"

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons

    def read(self, moment: Moment) -> Reading:
        """Ask for all slot ads; InputError for a pool without slots or without GPUs."""
        slots, devices = self.daemons.slots(moment.at, moment.snapshot)
        return checked(slots, devices, f"collector {self.daemons.address}")


def read_slots(ads: list[Any], moment: Moment, where: str) -> Reading:
    """Make the frames of a pool's slot ads; InputError if there is no slot, or no GPU in any."""
    slots = slots_frame(ads, seen_at=moment.at, snapshot=moment.snapshot)
    devices = devices_frame(ads, seen_at=moment.at, snapshot=moment.snapshot)
    return checked(slots, devices, where)


def checked(slots: Framed, devices: Framed, where: str) -> Reading:
    """The reading of these frames; InputError if there is no slot, or no GPU in any."""
    if slots.frame.empty:
        raise InputError(
            f"{where}: the pool has no slots; check that its startds run and report to this collector"
        )
    if devices.frame.empty:
        raise InputError(
            f"{where}: {len(slots.frame)} slot{'s' * (len(slots.frame) != 1)}, but no GPU in any; poolscope watches GPU pools: check `use feature : GPUs`"
        )
    return Reading({"slots": slots.frame, "devices": devices.frame}, slots.rejects + devices.rejects)
