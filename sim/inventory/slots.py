"""Startd ads → frame "slots"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from sim.classads.ads import Ad
from sim.classads.columns import Columns, Flags, Numbers, Objects, inner_text, missing
from sim.inventory.rows import GREATEST_S, UNREADABLE, Framed
from sim.schema import conform, empty

_DYNAMIC = re.compile(r"\w+\d+_\d+@")
_AMOUNTS = ("Cpus", "Memory", "Disk", "GPUs", "TotalSlotGPUs")
_TYPES = {"partitionable", "dynamic", "static"}
_CVMFS = "HAS_CVMFS_"

Moments: TypeAlias = NDArray[np.datetime64]
Slots: TypeAlias = Columns | Iterable[Ad]
"""Slot ads, or what they say by attribute."""


def slots_frame(ads: Slots, *, seen_at: pd.Timestamp, snapshot: str) -> Framed:
    """Give a row per slot ad; data slots (25.11 and later) are no capacity and are left out."""
    columns, rejects = columns_of(ads)
    found = SlotRows()
    found.add(columns, seen_at=seen_at, snapshot=snapshot)
    frame, reasons = found.framed()
    return Framed(frame, rejects + reasons)


class SlotRows:
    """The rows of slots that are told of a part at a time, of one snapshot or of several.

    shortened : what becomes of the texts of ads
    """

    def __init__(self, shortened: Callable[[pa.Array], pa.Array] = lambda texts: texts) -> None:
        self._shortened = shortened
        self._parts: list[dict[str, Any]] = []
        self._texts: list[pa.Array] = []
        self._rejects: Counter[str] = Counter()

    def add(self, ads: Columns, *, seen_at: pd.Timestamp, snapshot: str) -> Flags:
        """Add what slot ads tell; give those that have a row now."""
        sound, reasons = soundness(ads, is_capacity(ads))
        self._rejects += reasons
        part = {name: values[sound] for name, values in _attributes(ads).items()}
        n = int(sound.sum())
        part |= {"snapshot": np.full(n, snapshot, object), "seen_at": np.full(n, seen_at.asm8)}
        self._parts.append(part)
        self._texts.append(self._shortened(ads.prints().filter(pa.array(sound))))
        return sound

    def framed(self) -> Framed:
        """The frame slots, and what was left out."""
        if not self._parts:
            return Framed(empty("slots"), self._rejects)
        columns = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
        texts = pa.table({"ad": pa.chunked_array(self._texts, pa.large_string())}).to_pandas()
        frame = pd.DataFrame({**columns, "ad": texts["ad"]})
        return Framed(conform(frame, "slots"), self._rejects)


def columns_of(ads: Slots) -> tuple[Columns, Counter[str]]:
    """What these ads say, by attribute, and how many can't be read: somebody's startd may say anything."""
    if isinstance(ads, Columns):
        return ads, Counter()
    texts, rejects = [], Counter[str]()
    for ad in ads:
        try:
            texts.append(inner_text(ad))
        except Exception:  # bytes that are no text, among others
            rejects[UNREADABLE] += 1
    return Columns.of(pa.array(texts, pa.large_string())), rejects


def is_capacity(ads: Columns) -> Flags:
    """Whether startd ads are slots that run jobs."""
    return ~ads.flags("IsDataSlot")


def is_backfill(ads: Columns) -> Flags:
    """Whether slots offer devices a second time (fact sheet §3.2)."""
    named = ["backfill" in (name or "").split("@")[0].lower() for name in ads.texts("Name")]
    return ads.flags("BackfillSlot", "SlotBackfill") | np.array(named, np.bool_)


def slot_types(ads: Columns) -> Objects:
    """Types of slots: partitionable, dynamic or static."""
    told = zip(
        ads.texts("SlotType"),
        ads.flags("PartitionableSlot"),
        ads.flags("DynamicSlot"),
        ads.texts("Name"),
        strict=True,
    )
    return _objects([_slot_type(*one) for one in told])


def _slot_type(told: str | None, partitionable: bool, dynamic: bool, name: str | None) -> str:
    if (known := (told or "").lower()) in _TYPES:
        return known
    if partitionable:
        return "partitionable"
    return "dynamic" if dynamic or _DYNAMIC.match(name or "") else "static"


def states(ads: Columns, kinds: Objects) -> Objects:
    """States of slots; a copy in a job's event log has none, and there a dynamic slot is claimed."""
    return np.where(
        missing(told := ads.texts("State")), np.where(kinds == "dynamic", "Claimed", "Unclaimed"), told
    )


def soundness(ads: Columns, meant: Flags) -> tuple[Flags, Counter[str]]:
    """Which of the ads that are meant have a name and machine and no negative amount, and why others are left out."""
    nameless = missing(ads.texts("Name")) | missing(ads.texts("Machine"))
    negative = np.any([ads.numbers(name) < 0 for name in _AMOUNTS], axis=0)
    counts = {
        "no Name or Machine": int((meant & nameless).sum()),
        "a negative amount": int((meant & negative & ~nameless).sum()),
    }
    return meant & ~nameless & ~negative, Counter({reason: n for reason, n in counts.items() if n})


def moments(ads: Columns, *names: str) -> Moments:
    """The first of these attributes as times (UTC); 0 and what lies outside 1970-2200 are missing."""
    found = np.full(ads.n, np.nan)
    for name in names:
        seconds = ads.numbers(name)
        within = (seconds > 0) & (seconds < GREATEST_S)
        found = np.where(np.isnan(found) & within, seconds, found)
    known = np.nan_to_num(found * 1e6).round().astype("datetime64[us]")
    return np.where(np.isnan(found), np.datetime64("NaT", "us"), known)


def _parent(name: str | None, kind: str) -> str | None:
    """Name of the partitionable slot that a dynamic slot was carved from: slot1_2@host → slot1@host."""
    slot, at, rest = (name or "").partition("@")
    return f"{slot.rsplit('_', 1)[0]}@{rest}" if kind == "dynamic" and at and "_" in slot else None


def _repositories(ads: Columns) -> Objects:
    """The CVMFS repositories that slots say they have; the dots of their names are underscores in HAS_CVMFS_…."""
    found: list[str | None] = [None] * ads.n
    alike: dict[tuple[int, ...], str | None] = {}
    for row, lines in ads.group(_CVMFS.lower()).items():
        if lines not in alike or not all(ads.is_literal(line) for line in lines):
            there = (ads.text(line) for line in lines if ads.flag(row, line))
            alike[lines] = ",".join(sorted(text.partition(" = ")[0][len(_CVMFS) :] for text in there)) or None
        found[row] = alike[lines]
    return _objects(found)


def _attributes(ads: Columns) -> dict[str, Any]:
    """The columns that are made of the ads' attributes."""
    kinds = slot_types(ads)
    names = ads.texts("Name")
    disk_kib = ads.numbers("Disk")
    total_disk_kib = ads.numbers("TotalSlotDisk")
    return {
        "name": names,
        "machine": ads.texts("Machine"),
        "slot_type": kinds,
        "parent": _objects([_parent(*one) for one in zip(names, kinds, strict=True)]),
        "heard_at": moments(ads, "LastHeardFrom"),
        "state": states(ads, kinds),
        "activity": ads.texts("Activity"),
        "site": ads.texts("GLIDEIN_Site", "GLIDEIN_ResourceName"),
        "resource": ads.texts("GLIDEIN_ResourceName"),
        "cpus": ads.numbers("Cpus"),
        "total_cpus": ads.numbers("TotalSlotCpus", "Cpus"),
        "memory_mib": ads.numbers("Memory"),
        "total_memory_mib": ads.numbers("TotalSlotMemory", "Memory"),
        "disk_mib": disk_kib / 1024,
        "total_disk_mib": np.where(np.nan_to_num(total_disk_kib) != 0, total_disk_kib, disk_kib) / 1024,
        "gpus": _whole(ads.numbers("GPUs")),
        "total_gpus": _whole(ads.numbers("TotalSlotGPUs", "GPUs")),
        "slot_weight": ads.numbers("SlotWeight"),
        "started_at": moments(ads, "DaemonStartTime"),
        "to_retire_at": moments(ads, "GLIDEIN_ToRetire"),
        "to_die_at": moments(ads, "GLIDEIN_ToDie"),
        "has_singularity": ads.flags("HasSingularity", "HAS_SINGULARITY"),
        "has_docker": ads.flags("HasDocker"),
        "has_container": ads.flags("HasContainer"),
        "has_sif": ads.flags("HasSIF"),
        "has_sandbox_image": ads.flags("HasSandboxImage"),
        "has_docker_url": ads.flags("HasDockerURL"),
        "cvmfs": _repositories(ads),
        "owner": ads.texts("RemoteOwner"),
        "submitter": ads.texts("AccountingGroup", "RemoteUser"),
        "job_id": ads.texts("JobId"),
        "draining": ads.flags("Draining"),
        "offline": ads.flags("Offline"),
        "backfill": is_backfill(ads),
        "condor_version": ads.texts("CondorVersion"),
        "start": ads.sources("Start"),
        "requirements": ads.sources("Requirements"),
    }


def _whole(amounts: Numbers) -> NDArray[np.int64]:
    return np.nan_to_num(amounts).astype(np.int64)


def _objects(values: list[Any]) -> Objects:
    found = np.empty(len(values), np.object_)
    found[:] = values
    return found
