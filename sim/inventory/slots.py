"""Startd ads → frame "slots"."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from sim.classads.ads import Ad
from sim.classads.view import View
from sim.inventory.rows import Framed, Rejected, Row, framed, kib, moment

_DYNAMIC = re.compile(r"\w+\d+_\d+@")
_AMOUNTS = ("Cpus", "Memory", "Disk", "GPUs", "TotalSlotGPUs")
_TYPES = {"partitionable", "dynamic", "static"}


def slots_frame(ads: Iterable[Ad | View], *, seen_at: pd.Timestamp, snapshot: str) -> Framed:
    """Give a row per slot ad; data slots (25.11 and later) are no capacity and are left out."""
    return framed("slots", ads, lambda ad: slot_row(ad, seen_at, snapshot))


def is_capacity(ad: View) -> bool:
    """Whether a startd ad is a slot that runs jobs."""
    return not ad.flag("IsDataSlot")


def is_backfill(ad: View) -> bool:
    """Whether a slot offers devices a second time (fact sheet §3.2)."""
    return (
        ad.flag("BackfillSlot", "SlotBackfill") or "backfill" in (ad.text("Name") or "").split("@")[0].lower()
    )


def slot_type(ad: View) -> str:
    """Type of a slot: partitionable, dynamic or static."""
    told = (ad.text("SlotType") or "").lower()
    if told in _TYPES:
        return told
    if ad.flag("PartitionableSlot"):
        return "partitionable"
    dynamic = ad.flag("DynamicSlot") or _DYNAMIC.match(ad.text("Name") or "")
    return "dynamic" if dynamic else "static"


def state_of(ad: View) -> str:
    """State of a slot; a copy in a job's event log has none, and there a dynamic slot is claimed."""
    return ad.text("State") or ("Claimed" if slot_type(ad) == "dynamic" else "Unclaimed")


def cvmfs_repositories(ad: View) -> str | None:
    """The CVMFS repositories a slot says it has; the dots of their names are underscores in HAS_CVMFS_…."""
    there = [ad.spelled(name)[10:] for name in ad.names("has_cvmfs_") if ad.flag(name)]
    return ",".join(sorted(there)) or None


def parent_of(ad: View) -> str | None:
    """Name of the partitionable slot that a dynamic slot was carved from: slot1_2@host → slot1@host."""
    name = ad.text("Name") or ""
    slot, at, rest = name.partition("@")
    return f"{slot.rsplit('_', 1)[0]}@{rest}" if at and "_" in slot else None


def identity(ad: View) -> tuple[str, str]:
    """The name and machine of a slot; Rejected where it has none, or a negative amount of something."""
    name, machine = ad.text("Name"), ad.text("Machine")
    if name is None or machine is None:
        raise Rejected("no Name or Machine")
    if any((ad.number(amount) or 0) < 0 for amount in _AMOUNTS):
        raise Rejected("a negative amount")
    return name, machine


def slot_row(ad: View, seen_at: pd.Timestamp, snapshot: str) -> Row | None:
    """The row of a slot ad; Rejected where it has no Name or Machine, or a negative amount."""
    if not is_capacity(ad):
        return None
    name, machine = identity(ad)
    amounts = {key: ad.number(key) for key in _AMOUNTS}
    kind = slot_type(ad)
    return {
        "snapshot": snapshot,
        "seen_at": seen_at,
        "name": name,
        "machine": machine,
        "slot_type": kind,
        "parent": parent_of(ad) if kind == "dynamic" else None,
        "heard_at": moment(ad, "LastHeardFrom"),
        "state": state_of(ad),
        "activity": ad.text("Activity"),
        "site": ad.text("GLIDEIN_Site", "GLIDEIN_ResourceName"),
        "resource": ad.text("GLIDEIN_ResourceName"),
        "cpus": amounts["Cpus"],
        "total_cpus": ad.number("TotalSlotCpus", "Cpus"),
        "memory_mib": amounts["Memory"],
        "total_memory_mib": ad.number("TotalSlotMemory", "Memory"),
        "disk_mib": kib(ad, "Disk"),
        "total_disk_mib": kib(ad, "TotalSlotDisk") or kib(ad, "Disk"),
        "gpus": int(amounts["GPUs"] or 0),
        "total_gpus": int(ad.number("TotalSlotGPUs", "GPUs") or 0),
        "slot_weight": ad.number("SlotWeight"),
        "started_at": moment(ad, "DaemonStartTime"),
        "to_retire_at": moment(ad, "GLIDEIN_ToRetire"),
        "to_die_at": moment(ad, "GLIDEIN_ToDie"),
        "has_singularity": ad.flag("HasSingularity", "HAS_SINGULARITY"),
        "has_docker": ad.flag("HasDocker"),
        "has_container": ad.flag("HasContainer"),
        "has_sif": ad.flag("HasSIF"),
        "has_sandbox_image": ad.flag("HasSandboxImage"),
        "has_docker_url": ad.flag("HasDockerURL"),
        "cvmfs": cvmfs_repositories(ad),
        "owner": ad.text("RemoteOwner"),
        "submitter": ad.text("AccountingGroup", "RemoteUser"),
        "job_id": ad.text("JobId"),
        "draining": ad.flag("Draining"),
        "offline": ad.flag("Offline"),
        "backfill": is_backfill(ad),
        "condor_version": ad.text("CondorVersion"),
        "start": ad.source("Start"),
        "requirements": ad.source("Requirements"),
        "ad": ad.print(),
    }
