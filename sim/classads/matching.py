"""Who can run where: real ClassAd evaluation, once per autocluster and kind of slot.

classad2 decides every match. Two things keep it affordable (about 25 µs an evaluation):

* Jobs that agree in all that any slot reads of them form an *autocluster*, slots that agree in all that any job or
  their own policy reads of them form a *kind* (the negotiator's own idea of significant attributes, fact sheet §1.8).
* What condor_submit and the startd write about the *rest* of a partitionable slot (``TARGET.Memory >= RequestMemory``,
  ``WithinResourceLimits``, ``countMatches(RequireGPUs, AvailableGPUs)``) is plain arithmetic on free resources. Those
  clauses are set aside; an expression that reads a remainder in any other way (the OSPool's START does) is evaluated
  and remembered per remainder.

An ad is judged at a given time: ``time()`` in it is replaced by an attribute that the caller sets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import classad2

from sim.classads.expression import Expression, Reference, at_time
from sim.errors import ExpressionError, InputError

NOW = "PoolscopeNow"

_REMAINDER = frozenset({"cpus", "memory", "disk", "gpus", "availablegpus"})
_SIZE = frozenset({"totalslotcpus", "totalslotmemory", "totalslotdisk", "totalslotgpus"})
_OF_JOBS = ("requirements", "rank", "requestcpus", "requestmemory", "requestdisk", "requestgpus", "requiregpus",
            "concurrencylimits")  # fmt: skip
_OF_SLOTS = ("requirements", "rank", "partitionableslot", "slotweight")
_JOB_ARITHMETIC = frozenset(
    {
        "disk>=requestdisk",
        "memory>=requestmemory",
        "cpus>=requestcpus",
        "gpus>=requestgpus",
        "countmatches(requiregpus,availablegpus)>=requestgpus",
        "requestdisk<=disk",
        "requestmemory<=memory",
        "requestcpus<=cpus",
        "requestgpus<=gpus",
    }
)
_LIMITS = (
    "cpus>0&&requestcpus<=cpus&&memory>0&&requestmemory<=memory&&disk>0&&requestdisk<=disk"
    "&&(requestgpusisundefined||gpus>=requestgpus)"
)
# 25.x subtracts files that a job shares with others on the machine; without RequestedCatalogs there are none
_COMMON_FILES = re.compile(r"\(requestdisk-ifthenelse\(.*?requestedcatalogs.*\)\)<=disk")
# 25.x: a startd of 25.12 or later checks the disk by itself, in WithinResourceLimits
_DISK_25 = re.compile(r'versionge\(split\(condorversion\)\[1\],"[0-9.]+"\)\|\|\(?disk>=requestdisk\)?')
_NESTED = re.compile(r"gpus_", re.IGNORECASE)  # of a UUID, or of an index: GPUs_GPU_a0223334, GPUs_CUDA0


class Remainder(NamedTuple):
    """What a partitionable slot still has: cores [1], memory [MiB], disk [MiB] and the kinds of its free devices."""

    cpus: float
    memory_mib: float
    disk_mib: float
    devices: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class _Names:
    """The attributes of an ad, and what those that hold expressions read; all in lower case. Ads that agree in it share it.

    blind : attributes of which nobody knows what they read
    """

    held: frozenset[str]
    reads: Mapping[str, tuple[Reference, ...]]
    blind: frozenset[str]


class _Reads(NamedTuple):
    """What a pair's expressions read: of what is not fixed, what is left of the slot, how large a dynamic one is, the time.

    of_job, of_slot : all attributes that they read of either; None where an expression doesn't tell
    """

    remainder: bool
    size: bool
    time: bool
    of_job: tuple[str, ...] | None
    of_slot: tuple[str, ...] | None


@dataclass(eq=False, slots=True)
class Autocluster:
    """Jobs that no slot can tell apart.

    cpus, memory_mib, disk_mib, gpus : what one of them asks [1, MiB, MiB, 1]
    picky : it has a RequireGPUs that is counted over AvailableGPUs
    fixed : its Requirements without the arithmetic clauses, evaluated against the slot as a whole
    names, whole : of `fixed` and of `ad`
    rank : its Rank where that reads nothing, and so is the same of every slot
    schedd : whose jobs they are, where that matters
    verdicts : by kind, whether both sides agree, where nothing varying is read
    """

    id: int
    ad: classad2.ClassAd
    fixed: classad2.ClassAd
    cpus: float
    memory_mib: float
    disk_mib: float
    gpus: int
    picky: bool
    limits: str
    names: _Names
    whole: _Names
    rank: float | None
    schedd: str = ""
    verdicts: dict[int, bool] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Kind:
    """Slots that no job can tell apart but by what is left of them; `devices` are the kinds of all its devices.

    names, whole : of `fixed` and of `ad`
    rank : its RANK where that reads nothing, and so is the same of every job
    """

    id: int
    ad: classad2.ClassAd
    fixed: classad2.ClassAd
    devices: tuple[int, ...]
    partitionable: bool
    names: _Names
    whole: _Names
    rank: float | None
    flat: dict[str, dict[int, object]] = field(default_factory=dict)


def read_ad(text: str) -> classad2.ClassAd:
    """Read an ad in new ClassAd syntax and free it from the wall clock; InputError if it is none."""
    try:
        ad = classad2.parseOne(text)
    except (classad2.ClassAdException, ValueError):
        ad = classad2.ClassAd()
    bare = "".join(text[:9].split())
    # what it can't read to the end, parseOne gives as an empty ad
    if not bare.startswith("[") or (not len(ad) and bare != "[]"):
        raise InputError(f"{text[:60]!r} is no ClassAd; expected one such as [ Cpus = 8; Memory = 4096 ]")
    _free(ad)
    return ad


def _free(ad: classad2.ClassAd) -> None:
    """Replace the wall clock in all expressions of an ad, those in lists and in ads inside it too."""
    for name, value in list(ad.items()):
        freed = _freed(value)
        if freed is not value:
            ad[name] = freed


def _freed(value: object) -> object:
    if isinstance(value, classad2.ExprTree):
        written = str(value)
        if "time" not in written.lower():
            return value
        try:
            freed = at_time(written, NOW)
            return value if freed == written else classad2.ExprTree(freed)
        except (ExpressionError, classad2.ClassAdException, ValueError):
            # what the tokenizer lacks stays as it is, and so does what classad2 prints without the quotes it needs
            return value
    if isinstance(value, classad2.ClassAd):
        if "time" in str(value).lower():
            fresh = copy_ad(value)
            _free(fresh)
            return fresh
        return value
    if isinstance(value, list):
        items = [_freed(item) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def as_number(value: object) -> float | None:
    """A number as float; None for anything else: truth values, and UNDEFINED and ERROR, which classad2 gives as ints."""
    if isinstance(value, int | float) and not isinstance(value, bool | classad2.Value):
        return float(value)
    return None


def copy_ad(ad: classad2.ClassAd) -> classad2.ClassAd:
    """An ad with the same attributes."""
    fresh = classad2.ClassAd()
    fresh.update(ad)
    return fresh


def normalise(text: str) -> str:
    """An expression's text without white space, scopes, outer brackets and capitals, to recognise standard clauses."""
    bare = re.sub(r"\b(?:my|target)\.", "", re.sub(r"\s+", "", re.sub(r"\s+is\s+", "is", text.lower())))
    while bare.startswith("(") and bare.endswith(")") and _encloses(bare):
        bare = bare[1:-1]
    return bare


def _encloses(text: str) -> bool:
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return index == len(text) - 1
    return False


def is_arithmetic(clause: str) -> bool:
    """Tell whether a clause of a job's Requirements only compares a request with what is left of the slot."""
    bare = normalise(clause)
    return bare in _JOB_ARITHMETIC or _DISK_25.fullmatch(bare) is not None


def is_limits(text: str, *, catalogs: bool = False) -> bool:
    """Tell whether this is the startd's own WithinResourceLimits, that of 23.9 or of 25.x."""
    bare = normalise(text)
    return bare == _LIMITS or (not catalogs and _COMMON_FILES.sub("requestdisk<=disk", bare) == _LIMITS)


def agree(slot: classad2.ClassAd, job: classad2.ClassAd) -> bool:
    """Tell whether both sides' Requirements hold; what HTCondor gives up on (too deep, circular) does not match."""
    try:
        return bool(slot.symmetricMatch(job))
    except classad2.ClassAdException:
        return False


def device_ads(ad: classad2.ClassAd) -> dict[str, classad2.ClassAd]:
    """The nested device ads of a slot ad by attribute name, such as GPUs_GPU_a0223334."""
    return {
        name: value
        for name, value in ad.items()
        if _NESTED.match(name) and isinstance(value, classad2.ClassAd)
    }


class Device(NamedTuple):
    """A device of a slot in inventory order: its id, the attribute of its nested ad, model and capability if known."""

    id: str
    attribute: str
    model: str | None
    capability: float | None


def assigned_devices(text: str, *, shares: bool = False) -> tuple[Device, ...]:
    """The devices that a slot ad lists in AssignedGPUs, those taken offline left out, in inventory order.

    Model and capability come from the nested ad, else from the flat GPUs_ or CUDA attributes (design §4).

    Parameters
    ----------
    shares : as a negotiator counts them: one that is listed several times (-repeat, -divide) each time, and those that have
        no names (MACHINE_RESOURCE_GPUs as a number) too
    """
    ad = classad2.parseOne(text)
    nested = {name.lower(): value for name, value in device_ads(ad).items()}
    offline = {name.strip() for name in _listed(ad.get("OfflineGPUs"))}
    found = []
    names = [part.strip() for part in _listed(ad.get("AssignedGPUs"))]
    if shares and "AssignedGPUs" not in ad and not nested:
        count = as_number(ad.get("TotalSlotGPUs", ad.get("GPUs"))) or 0.0
        names = [f"unnamed{number}" for number in range(int(count))]
    for name in names if shares else dict.fromkeys(names):
        if not name or name in offline:
            continue
        attribute = "GPUs_" + name.replace("-", "_")
        own = nested.get(attribute.lower())
        model = own.get("DeviceName") if own is not None else None
        capability = own.get("Capability") if own is not None else None
        if own is None:
            model = ad.get("GPUs_DeviceName", ad.get("CUDADeviceName"))
            capability = ad.get("GPUs_Capability", ad.get("CUDACapability"))
        found.append(
            Device(
                name,
                attribute,
                str(model) if isinstance(model, str) else None,
                as_number(capability),
            )
        )
    return tuple(found)


def _listed(value: object) -> list[str]:
    return value.split(",") if isinstance(value, str) else []


class Matcher:
    """The table of matches between a set of jobs and a set of slots.

    Parameters
    ----------
    jobs : job ads as text, requests evaluated
    slots : slot ads of partitionable and static slots as text
    """

    def __init__(self, jobs: Iterable[str], slots: Iterable[str]) -> None:
        self._job_ads = {text: read_ad(text) for text in dict.fromkeys(jobs)}
        self._slot_ads = {text: read_ad(text) for text in dict.fromkeys(slots)}
        self._job_reads, self._slot_reads = _significant(self._job_ads.values(), self._slot_ads.values())
        self._catalogs = any("RequestedCatalogs" in ad for ad in self._job_ads.values())
        self._told_apart = {
            reference.name
            for ad in self._job_ads.values()
            for reference in _references_of(_written(ad, "RequireGPUs"))
        }
        self._names: dict[tuple[object, ...], _Names] = {}
        self._pairs: dict[tuple[_Names, _Names], _Reads] = {}
        self._clusters: dict[tuple[str, ...], Autocluster] = {}
        self._kinds: dict[tuple[str, ...], Kind] = {}
        self._by_job_text: dict[tuple[str, str], Autocluster] = {}
        self._by_slot_text: dict[str, Kind] = {}
        self._device_kinds: dict[str, int] = {}
        self._device_samples: list[classad2.ClassAd | None] = []
        self._memo: dict[tuple[object, ...], bool] = {}
        self._job_views: dict[tuple[int, tuple[str, ...]], tuple[str, ...]] = {}
        self._slot_views: dict[tuple[int, tuple[str, ...]], tuple[str, ...]] = {}
        self._device_memo: dict[tuple[int, int], bool] = {}
        self._enough_memo: dict[tuple[int, tuple[int, ...]], bool] = {}
        self._rank_reads: dict[tuple[_Names, _Names], bool] = {}
        self._rank_memo: dict[tuple[object, ...], float] = {}
        self.evaluations = 0

    def autocluster(self, text: str, schedd: str = "") -> Autocluster:
        """The autocluster of a job ad that the table was made for; each schedd named has its own."""
        found = self._by_job_text.get((schedd, text))
        if found is None:
            ad = self._job_ads[text]
            key = (schedd, *(_written(ad, name) for name in self._job_reads))
            found = self._clusters.get(key)
            if found is None:
                found = self._clusters[key] = _autocluster(len(self._clusters), ad, self._shared)
                found.schedd = schedd
            self._by_job_text[schedd, text] = found
        return found

    def kind(self, text: str, devices: Sequence[str]) -> tuple[Kind, tuple[int, ...]]:
        """The kind of a slot ad that the table was made for, and the kinds of its devices in inventory order.

        devices : the attribute names of the devices in inventory order; one without a nested ad is a plain device
        """
        ad = self._slot_ads[text]
        nested = device_ads(ad)
        lower = {name.lower(): value for name, value in nested.items()}
        kinds = tuple(self._device_kind(lower.get(name.lower())) for name in devices)
        if text not in self._by_slot_text:
            key = (*(_written(ad, name) for name in self._slot_reads), repr(kinds))
            if key not in self._kinds:
                self._kinds[key] = _kind(
                    len(self._kinds), ad, kinds, self._device_samples, self._shared, catalogs=self._catalogs
                )
            self._by_slot_text[text] = self._kinds[key]
        return self._by_slot_text[text], kinds

    def _shared(self, names: _Names) -> _Names:
        """The first of those that are equal, so that what a pair of them reads is found once."""
        return self._names.setdefault((names.held, names.blind, *sorted(names.reads.items())), names)

    def _device_kind(self, ad: classad2.ClassAd | None) -> int:
        if ad is None:
            key = ""
        else:
            unique = {"id", "deviceuuid", "devicepcibusid"} - self._told_apart
            key = ";".join(
                sorted(f"{name.lower()}={ad.lookup(name)}" for name in ad if name.lower() not in unique)
            )
        if key not in self._device_kinds:
            self._device_kinds[key] = len(self._device_samples)
            self._device_samples.append(ad)
        return self._device_kinds[key]

    def device_suits(self, cluster: Autocluster, device: int) -> bool:
        """Tell whether a device of this kind satisfies the job's RequireGPUs."""
        if not cluster.picky:
            return True
        key = (cluster.id, device)
        found = self._device_memo.get(key)
        if found is None:
            found = self._device_memo[key] = self._judge_device(cluster, device)
        return found

    def _judge_device(self, cluster: Autocluster, device: int) -> bool:
        sample = self._device_samples[device]
        if (
            sample is None
        ):  # -not-nested: AvailableGPUs refers to attributes that are not there, countMatches gives 0
            return False
        slot = classad2.ClassAd()
        slot["GPUs_GPU_0"] = sample
        slot["AvailableGPUs"] = classad2.ExprTree("{GPUs_GPU_0}")
        slot["Requirements"] = True
        job = copy_ad(cluster.ad)
        job["Requirements"] = classad2.ExprTree("countMatches(MY.RequireGPUs, TARGET.AvailableGPUs) >= 1")
        self.evaluations += 1
        return agree(slot, job)

    def enough_devices(self, cluster: Autocluster, devices: tuple[int, ...]) -> bool:
        """Tell whether the free devices, given by kind, include as many suitable ones as the job asks."""
        if not cluster.gpus:
            return True
        if not cluster.picky:
            return len(devices) >= cluster.gpus
        key = (cluster.id, devices)
        found = self._enough_memo.get(key)
        if found is None:
            suitable = sum(self.device_suits(cluster, device) for device in devices)
            found = self._enough_memo[key] = suitable >= cluster.gpus
        return found

    def has_room(self, cluster: Autocluster, left: Remainder) -> bool:
        """Tell whether `left` is enough for such a job, whatever the two sides' expressions say."""
        return (
            0 < left.cpus >= cluster.cpus
            and 0 < left.memory_mib >= cluster.memory_mib
            and 0 < left.disk_mib >= cluster.disk_mib
            and self.enough_devices(cluster, left.devices)
        )

    def fits(self, cluster: Autocluster, kind: Kind, left: Remainder, now: float) -> bool:
        """Tell whether a partitionable or static slot with `left` free takes such a job at time `now` [s, Unix]."""
        return (
            0 < left.cpus >= cluster.cpus
            and 0 < left.memory_mib >= cluster.memory_mib
            and 0 < left.disk_mib >= cluster.disk_mib
            and (not cluster.gpus or self.enough_devices(cluster, left.devices))
            and self.agrees(cluster, kind, left, now)
        )

    def verdict(self, cluster: Autocluster, kind: Kind, now: float) -> bool | None:
        """Tell whether both sides' expressions hold whatever is left of the slot and whenever; None if it hangs on that."""
        found = cluster.verdicts.get(kind.id)
        if found is not None:
            return found
        reads = self._reads(cluster, kind)
        if reads.remainder or reads.time:
            return None
        shared = (reads, *self._views(cluster, kind, reads))
        found = self._memo.get(shared)
        if found is None:
            found = self._remember(shared, found=self._evaluate(cluster, kind.fixed, now))
        cluster.verdicts[kind.id] = found
        return found

    def agrees(self, cluster: Autocluster, kind: Kind, left: Remainder, now: float) -> bool:
        """Tell whether both sides' expressions hold, the arithmetic on free resources left aside."""
        found = self.verdict(cluster, kind, now)
        if found is not None:
            return found
        reads = self._reads(cluster, kind)
        key = (cluster.id, kind.id, left if reads.remainder else None, now if reads.time else None)
        found = self._memo.get(key)
        if found is None:
            slot = self.slot_ad(kind, left, whole=False) if reads.remainder else kind.fixed
            found = self._remember(key, found=self._evaluate(cluster, slot, now))
        return found

    def _evaluate(self, cluster: Autocluster, slot: classad2.ClassAd, now: float) -> bool:
        slot[NOW] = cluster.fixed[NOW] = now
        self.evaluations += 1
        return agree(slot, cluster.fixed)

    def _reads(self, cluster: Autocluster, kind: Kind) -> _Reads:
        pair = (cluster.names, kind.names)
        found = self._pairs.get(pair)
        if found is None:
            begin = ((False, "requirements"), (True, "requirements"))
            found = self._pairs[pair] = _reads(cluster.names, kind.names, *begin)
        return found

    def _views(self, cluster: Autocluster, kind: Kind, reads: _Reads) -> tuple[object, object]:
        """What their expressions read of both; pairs that agree in it agree in all that these expressions say."""
        if reads.of_job is None or reads.of_slot is None:
            return cluster.id, kind.id
        of_job, of_slot = (cluster.id, reads.of_job), (kind.id, reads.of_slot)
        if of_job not in self._job_views:
            self._job_views[of_job] = tuple(_written(cluster.fixed, name) for name in reads.of_job)
        if of_slot not in self._slot_views:
            self._slot_views[of_slot] = tuple(_written(kind.fixed, name) for name in reads.of_slot)
        return self._job_views[of_job], self._slot_views[of_slot]

    def _remember(self, key: tuple[object, ...], *, found: bool) -> bool:
        if len(self._memo) >= 1_000_000:
            self._memo.clear()
        self._memo[key] = found
        return found

    def slot_ad(self, kind: Kind, left: Remainder, *, whole: bool = True) -> classad2.ClassAd:
        """The ad of a slot of this kind with `left` free; with `whole`, its own full Requirements."""
        slot = copy_ad(kind.ad if whole else kind.fixed)
        slot["Cpus"] = _whole(left.cpus)
        slot["Memory"] = _whole(left.memory_mib)
        slot["Disk"] = _whole(left.disk_mib * 1024)
        slot["GPUs"] = len(left.devices)
        if kind.devices:
            self._place_devices(slot, left.devices)
        return slot

    def _place_devices(self, slot: classad2.ClassAd, devices: Sequence[int]) -> None:
        names = []
        for index, device in enumerate(devices):
            name = f"GPUs_GPU_{index:08x}"
            names.append(name)
            sample = self._device_samples[device]
            if sample is not None:
                slot[name] = sample
        slot["AvailableGPUs"] = classad2.ExprTree("{" + ", ".join(names) + "}")

    def dynamic_fits(self, cluster: Autocluster, kind: Kind, size: Remainder, now: float) -> bool:
        """Tell whether an existing dynamic slot of this size and these devices takes such a job (claim reuse).

        A dynamic slot shows the properties of its own devices, so an expression on GPUs_Capability that a mixed
        partitionable slot leaves undefined has a value here (fact sheet §3.2).
        """
        if not (
            size.cpus >= cluster.cpus
            and size.memory_mib >= cluster.memory_mib
            and size.disk_mib >= cluster.disk_mib
            and self.enough_devices(cluster, size.devices)
        ):
            return False
        if not kind.partitionable:
            return self.agrees(cluster, kind, size, now)
        reads = self._reads(cluster, kind)
        size_read = size if reads.size else size.devices
        key = (cluster.id, kind.id, size_read, now if reads.time else None, "dynamic")
        found = self._memo.get(key)
        if found is None:
            found = self._remember(key, found=self._evaluate(cluster, self.dynamic_ad(kind, size), now))
        return found

    def dynamic_ad(self, kind: Kind, size: Remainder) -> classad2.ClassAd:
        """The ad of a dynamic slot of this size carved from a slot of this kind, its Requirements without arithmetic."""
        slot = self.slot_ad(kind, size, whole=False)
        slot["SlotType"] = "Dynamic"
        slot["DynamicSlot"] = True
        slot["TotalSlotCpus"], slot["TotalSlotMemory"] = slot["Cpus"], slot["Memory"]
        slot["TotalSlotGPUs"] = len(size.devices)
        slot.pop("PartitionableSlot", None)
        for name, values in kind.flat.items():
            held = {str(values.get(device)) for device in size.devices}
            if len(held) == 1 and None not in (value := values.get(size.devices[0]), 0):
                slot[name] = value
            else:
                slot.pop(name, None)
        return slot

    def reads_time(self, cluster: Autocluster, kind: Kind) -> bool:
        """Whether either side's Requirements read the time."""
        if kind.id in cluster.verdicts:
            return False
        return self._reads(cluster, kind).time

    def prefers(self, kind: Kind) -> bool:
        """Whether the startd's RANK can tell one job from another."""
        return kind.rank is None

    def preempts(
        self,
        requirements: str,
        cluster: Autocluster,
        kind: Kind,
        size: Remainder,
        of_slot: Mapping[str, str | float],
        of_job: Mapping[str, str | float],
        now: float,
    ) -> bool:
        """PREEMPTION_REQUIREMENTS of a claimed slot (MY) for a job (TARGET) at `now` [s, Unix].

        of_slot, of_job : what the negotiator adds to the two ads: priorities, who holds the slot and for how long
        """
        slot = self.dynamic_ad(kind, size) if kind.partitionable else self.slot_ad(kind, size)
        slot.update(of_slot)
        slot[NOW] = now
        slot["Requirements"] = classad2.ExprTree(at_time(requirements, NOW))
        job = copy_ad(cluster.ad)
        job.update(of_job)
        job["Requirements"] = True
        self.evaluations += 1
        return agree(slot, job)

    def kflops(self, text: str) -> float | None:
        """What a slot ad that the table was made for says of its speed; None if it ran no benchmark."""
        return as_number(self._slot_ads[text].get("KFlops"))

    def weight(self, kind: Kind, left: Remainder) -> float:
        """The SlotWeight of such a slot, its cores by default; anything but a number counts as 1 (fact sheet §1.3)."""
        written = _written(kind.ad, "SlotWeight")
        if not written or normalise(written) == "cpus":
            return left.cpus
        value = as_number(self.slot_ad(kind, left).eval("SlotWeight"))
        return 1.0 if value is None else value

    def rank(self, cluster: Autocluster, kind: Kind, left: Remainder) -> float:
        """The job's Rank of such a slot; anything but a number counts as 0."""
        if cluster.rank is not None:
            return cluster.rank
        names = (cluster.whole, kind.whole)
        if names not in self._rank_reads:
            self._rank_reads[names] = _reads(*names, (False, "rank")).remainder
        varies = self._rank_reads[names]
        key = ("job", cluster.id, kind.id, left if varies else None)
        if key not in self._rank_memo:
            self._rank_memo[key] = _rank(cluster.ad, self.slot_ad(kind, left) if varies else kind.ad)
        return self._rank_memo[key]

    def slot_rank(self, cluster: Autocluster, kind: Kind) -> float:
        """The startd's RANK of such a job; anything but a number counts as 0."""
        if kind.rank is not None:
            return kind.rank
        key = ("slot", cluster.id, kind.id)
        if key not in self._rank_memo:
            self._rank_memo[key] = _rank(kind.ad, cluster.ad)
        return self._rank_memo[key]


def _rank(ranking: classad2.ClassAd, ranked: classad2.ClassAd) -> float:
    if "Rank" not in ranking:
        return 0.0
    tree = ranking.lookup("Rank")
    value = tree.eval(ranking, ranked) if isinstance(tree, classad2.ExprTree) else tree
    return as_number(value) or float(value is True)


def _constant_rank(ad: classad2.ClassAd) -> float | None:
    """The Rank of an ad where it reads nothing."""
    return None if _references_of(_written(ad, "Rank")) else _rank(ad, ad)


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _written(ad: classad2.ClassAd, name: str) -> str:
    return str(ad.lookup(name)) if name in ad else ""


def _autocluster(number: int, ad: classad2.ClassAd, shared: Callable[[_Names], _Names]) -> Autocluster:
    requirements = _expression(ad, "Requirements")
    clauses = [requirements.text_of(node) for node in requirements.conjuncts()]
    standard = {normalise(clause) for clause in clauses if is_arithmetic(clause)}
    kept = [clause for clause in clauses if not is_arithmetic(clause)]
    fixed = copy_ad(ad)
    fixed["Requirements"] = classad2.ExprTree(" && ".join(f"({clause})" for clause in kept) or "true")
    gpus = int(_number(ad, "RequestGPUs", 0))
    return Autocluster(
        id=number,
        ad=ad,
        fixed=fixed,
        cpus=_number(ad, "RequestCpus", 1),
        memory_mib=_number(ad, "RequestMemory", 0),
        disk_mib=_number(ad, "RequestDisk", 0) / 1024,
        gpus=gpus,
        picky="countmatches(requiregpus,availablegpus)>=requestgpus" in standard and gpus > 0,
        limits=str(ad.get("ConcurrencyLimits") or "").lower(),
        names=shared(_names(fixed)),
        whole=shared(_names(ad)),
        rank=_constant_rank(ad),
    )


def _kind(
    number: int,
    ad: classad2.ClassAd,
    devices: tuple[int, ...],
    samples: Sequence[classad2.ClassAd | None],
    shared: Callable[[_Names], _Names],
    *,
    catalogs: bool,
) -> Kind:
    requirements = _expression(ad, "Requirements")
    standard = is_limits(_written(ad, "WithinResourceLimits"), catalogs=catalogs)
    clauses = [requirements.text_of(node) for node in requirements.conjuncts()]
    kept = [clause for clause in clauses if not (standard and normalise(clause) == "withinresourcelimits")]
    fixed = copy_ad(ad)
    fixed["Requirements"] = classad2.ExprTree(" && ".join(f"({clause})" for clause in kept) or "true")
    properties: dict[str, dict[int, object]] = {}
    for device in dict.fromkeys(devices):
        for name, value in (samples[device] or {}).items():
            properties.setdefault(f"GPUs_{name}", {})[device] = value
    return Kind(
        id=number,
        ad=ad,
        fixed=fixed,
        devices=devices,
        partitionable=ad.get("PartitionableSlot") is True,
        names=shared(_names(fixed)),
        whole=shared(_names(ad)),
        rank=_constant_rank(ad),
        flat=properties,
    )


@lru_cache(maxsize=100_000)
def _references_of(text: str) -> tuple[Reference, ...]:
    try:
        found = Expression.parse(text).references()
    except ExpressionError:  # what classad2 prints but the grammar lacks is read as reading nothing
        return ()
    return tuple(Reference(reference.scope, reference.name.lower()) for reference in found)


def _names(ad: classad2.ClassAd) -> _Names:
    reads = {
        name.lower(): found
        for name, value in ad.items()
        if isinstance(value, classad2.ExprTree | list) and (found := _references_of(_written(ad, name)))
    }
    blind = frozenset(name.lower() for name, value in ad.items() if _is_blind(value))
    return _Names(frozenset(name.lower() for name in ad), reads, blind)


def _is_blind(value: object) -> bool:
    """Whether what an attribute reads is not known: the grammar lacks it, it is made of text, or it is in an ad inside."""
    if isinstance(value, classad2.ClassAd):
        return any(isinstance(inner, classad2.ExprTree | list | classad2.ClassAd) for inner in value.values())
    if not isinstance(value, classad2.ExprTree | list):
        return False
    text = str(value).lower()
    return "eval" in text or not _is_readable(text)


@lru_cache(maxsize=100_000)
def _is_readable(text: str) -> bool:
    try:
        Expression.parse(text)
    except ExpressionError:
        return False
    return True


def _significant(
    jobs: Iterable[classad2.ClassAd], slots: Iterable[classad2.ClassAd]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The attributes that tell jobs apart and those that tell slots apart, in lower case.

    What the other side's expressions read is followed through the expressions it finds there, until nothing is added.
    A name without scope may be meant for either side.
    """
    wanted = (set(_OF_JOBS), set(_OF_SLOTS))
    profiles = tuple({tuple(sorted(_names(ad).reads.items())) for ad in ads} for ads in (jobs, slots))
    before = -1
    while before != (before := sum(map(len, wanted))):
        for side in (0, 1):
            for profile in profiles[side]:
                _follow(dict(profile), wanted[side], wanted[1 - side])
    return tuple(sorted(wanted[0])), tuple(sorted(wanted[1] - _REMAINDER))


def _follow(reads: Mapping[str, tuple[Reference, ...]], mine: set[str], theirs: set[str]) -> None:
    todo = list(mine)
    while todo:
        for reference in reads.get(todo.pop(), ()):
            if reference.scope != "my":
                theirs.add(reference.name)
            if reference.scope != "target" and reference.name not in mine:
                mine.add(reference.name)
                todo.append(reference.name)


def _reads(job: _Names, slot: _Names, *begin: tuple[bool, str]) -> _Reads:
    """What of the varying is read, beginning with these attributes of the slot (True) or the job (False)."""
    todo, seen, blind = list(begin), set(begin), False
    while todo:
        of_slot, name = todo.pop()
        own = slot if of_slot else job
        blind |= name in own.blind
        for reference in own.reads.get(name, ()):
            stays = reference.scope != "target" and (reference.scope == "my" or reference.name in own.held)
            found = (of_slot if stays else not of_slot, reference.name)
            if found not in seen:
                seen.add(found)
                todo.append(found)
    of_slot_names = {name for of_slot, name in seen if of_slot}
    return _Reads(
        remainder=bool(of_slot_names & _REMAINDER),
        size=bool(of_slot_names & (_REMAINDER | _SIZE)),
        time=any(name == NOW.lower() for _, name in seen),
        of_job=None if blind else tuple(sorted(name for of_slot, name in seen if not of_slot)),
        of_slot=None if blind else tuple(sorted(of_slot_names)),
    )


def _expression(ad: classad2.ClassAd, name: str) -> Expression:
    return Expression.parse(_written(ad, name) or "true")


def _number(ad: classad2.ClassAd, name: str, default: float) -> float:
    try:
        value = ad.eval(name)
    except KeyError:
        return default
    found = as_number(value)
    return default if found is None else found


def attributes(ads: Iterable[classad2.ClassAd]) -> Mapping[str, str]:
    """Every attribute name that these ads have: lower case → as written."""
    return {name.lower(): name for ad in ads for name in ad}
