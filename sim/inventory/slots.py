"""Startd ads → frame "slots"."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from sim.classads.ads import Ad, flag_of, number_of, print_ad, source_of, text_of
from sim.inventory.rows import Framed, Rejected, Row, framed, kib, moment

_DYNAMIC = re.compile(r"\w+\d+_\d+@")
_AMOUNTS = ("Cpus", "Memory", "Disk", "GPUs", "TotalSlotGPUs")
_TYPES = {"partitionable", "dynamic", "static"}


def slots_frame(ads: Iterable[Ad], *, seen_at: pd.Timestamp, snapshot: str) -> Framed:
    """Give a row per slot ad; data slots (25.11 and later) are no capacity and are left out."""
    return framed("slots", ads, lambda ad: slot_row(ad, seen_at, snapshot))


def is_capacity(ad: Ad) -> bool:
    """Whether a startd ad is a slot that runs jobs."""
    return not flag_of(ad, "IsDataSlot")


def is_backfill(ad: Ad) -> bool:
    """Whether a slot offers devices a second time (fact sheet §3.2)."""
    return (
        flag_of(ad, "BackfillSlot", "SlotBackfill")
        or "backfill" in (text_of(ad, "Name") or "").split("@")[0].lower()
    )


def slot_type(ad: Ad) -> str:
    """Type of a slot: partitionable, dynamic or static."""
    told = (text_of(ad, "SlotType") or "").lower()
    if told in _TYPES:
        return told
    if flag_of(ad, "PartitionableSlot"):
        return "partitionable"
    dynamic = flag_of(ad, "DynamicSlot") or _DYNAMIC.match(text_of(ad, "Name") or "")
    return "dynamic" if dynamic else "static"


def state_of(ad: Ad) -> str:
    """State of a slot; a copy in a job's event log has none, and there a dynamic slot is claimed."""
    return text_of(ad, "State") or ("Claimed" if slot_type(ad) == "dynamic" else "Unclaimed")


def cvmfs_repositories(ad: Ad) -> str | None:
    """The CVMFS repositories a slot says it has; the dots of their names are underscores in HAS_CVMFS_…."""
    names = [name for name in ad if name[:10].lower() == "has_cvmfs_"]
    return ",".join(sorted(name[10:] for name in names if flag_of(ad, name))) or None


def parent_of(ad: Ad) -> str | None:
    """Name of the partitionable slot that a dynamic slot was carved from: slot1_2@host → slot1@host."""
    name = text_of(ad, "Name") or ""
    slot, at, rest = name.partition("@")
    return f"{slot.rsplit('_', 1)[0]}@{rest}" if at and "_" in slot else None


def identity(ad: Ad) -> tuple[str, str]:
    """The name and machine of a slot; Rejected where it has none, or a negative amount of something."""
    name, machine = text_of(ad, "Name"), text_of(ad, "Machine")
    if name is None or machine is None:
        raise Rejected("no Name or Machine")
    if any((number_of(ad, amount) or 0) < 0 for amount in _AMOUNTS):
        raise Rejected("a negative amount")
    return name, machine


def slot_row(ad: Ad, seen_at: pd.Timestamp, snapshot: str) -> Row | None:
    """The row of a slot ad; Rejected where it has no Name or Machine, or a negative amount."""
    if not is_capacity(ad):
        return None
    name, machine = identity(ad)
    amounts = {key: number_of(ad, key) for key in _AMOUNTS}
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
        "activity": text_of(ad, "Activity"),
        "site": text_of(ad, "GLIDEIN_Site", "GLIDEIN_ResourceName"),
        "resource": text_of(ad, "GLIDEIN_ResourceName"),
        "cpus": amounts["Cpus"],
        "total_cpus": number_of(ad, "TotalSlotCpus", "Cpus"),
        "memory_mib": amounts["Memory"],
        "total_memory_mib": number_of(ad, "TotalSlotMemory", "Memory"),
        "disk_mib": kib(ad, "Disk"),
        "total_disk_mib": kib(ad, "TotalSlotDisk") or kib(ad, "Disk"),
        "gpus": int(amounts["GPUs"] or 0),
        "total_gpus": int(number_of(ad, "TotalSlotGPUs", "GPUs") or 0),
        "slot_weight": number_of(ad, "SlotWeight"),
        "started_at": moment(ad, "DaemonStartTime"),
        "to_retire_at": moment(ad, "GLIDEIN_ToRetire"),
        "to_die_at": moment(ad, "GLIDEIN_ToDie"),
        "has_singularity": flag_of(ad, "HasSingularity", "HAS_SINGULARITY"),
        "has_docker": flag_of(ad, "HasDocker"),
        "has_container": flag_of(ad, "HasContainer"),
        "has_sif": flag_of(ad, "HasSIF"),
        "has_sandbox_image": flag_of(ad, "HasSandboxImage"),
        "has_docker_url": flag_of(ad, "HasDockerURL"),
        "cvmfs": cvmfs_repositories(ad),
        "owner": text_of(ad, "RemoteOwner"),
        "submitter": text_of(ad, "AccountingGroup", "RemoteUser"),
        "job_id": text_of(ad, "JobId"),
        "draining": flag_of(ad, "Draining"),
        "offline": flag_of(ad, "Offline"),
        "backfill": is_backfill(ad),
        "condor_version": text_of(ad, "CondorVersion"),
        "start": source_of(ad, "Start"),
        "requirements": source_of(ad, "Requirements"),
        "ad": print_ad(ad),
    }
