"""The collector daemon's slot ads → frames "slots" and "devices"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from collectors.daemons import Daemons
from collectors.source import Moment, Reading
from sim.errors import InputError
from sim.inventory import Framed, devices_frame, slots_frame

_DAY = len("20261124")  # a snapshot's id begins with it


class PoolSource:
    """All slots of a pool and their devices; texts of ads that the last stored reading had are given by their keys."""

    name = "pool"

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons

    def read(self, moment: Moment) -> Reading:
        """Ask for all slot ads; InputError for a pool without slots or without GPUs."""
        slots, devices = self.daemons.slots(moment.at, moment.snapshot, _stored(moment))
        found = checked(slots, devices, f"collector {self.daemons.address}")
        return replace(found, cursor=moment.snapshot)


def _stored(moment: Moment) -> str | None:
    """The last stored snapshot if it is of the same day: each day of a store has its own texts."""
    last = moment.cursor
    of_today = isinstance(last, str) and last[:_DAY] == moment.snapshot[:_DAY]
    return last if of_today and not moment.whole else None


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
