"""Ads become frames, the same way for live and for recorded sources.

Every function takes ads as they come and never fails on a bad one: it is left out and counted by reason.
"""

from sim.inventory.cycles import cycles_frame, priorities_frame, submitters_frame
from sim.inventory.devices import Devices, devices_frame, supply
from sim.inventory.jobs import SLOTLESS, attempts_frame, jobs_frame, located, submitter_of
from sim.inventory.rows import Framed, together
from sim.inventory.slots import SlotRows, columns_of, is_capacity, moments, slots_frame

__all__ = [
    "SLOTLESS",
    "Devices",
    "Framed",
    "SlotRows",
    "attempts_frame",
    "columns_of",
    "cycles_frame",
    "devices_frame",
    "is_capacity",
    "jobs_frame",
    "located",
    "moments",
    "priorities_frame",
    "slots_frame",
    "submitter_of",
    "submitters_frame",
    "supply",
    "together",
]
