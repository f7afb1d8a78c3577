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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import classad2

from sim.classads.expression import Expression, Reference, at_time
from sim.errors import ExpressionError, InputError

NOW = "PoolscopeNow"

_REMAINDER = frozenset({"cpus", "memory", "disk", "gpus", "availablegpus"})
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
_FLAT = re.compile(r"gpus_(?!gpu_|mig_)", re.IGNORECASE)
_NESTED = re.compile(r"gpus_(gpu|mig)_", re.IGNORECASE)


class Remainder(NamedTuple):
    """What a partitionable slot still has: cores [1], memory [MiB], disk [MiB] and the kinds of its free devices."""

    cpus: float
    memory_mib: float
    disk_mib: float
    devices: tuple[int, ...]


@dataclass(eq=False, slots=True)
class Autocluster:
    """Jobs that no slot can tell apart.

    cpus, memory_mib, disk_mib, gpus : what one of them asks [1, MiB, MiB, 1]
    picky : it has a RequireGPUs that is counted over AvailableGPUs
    fixed : its Requirements without the arithmetic clauses, evaluated against the slot as a whole
    """

    id: int
    ad: classad2.ClassAd
    fixed: classad2.ClassAd
    cpus: float
    memory_mib: float
    disk_mib: float
    gpus: int
    picky: bool
    reads_remainder: bool
    reads_time: bool
    limits: str
    counts_gpus: bool = True


@dataclass(eq=False, slots=True)
class Kind:
    """Slots that no job can tell apart but by what is left of them; `devices` are the kinds of all its devices."""

    id: int
    ad: classad2.ClassAd
    fixed: classad2.ClassAd
    devices: tuple[int, ...]
    partitionable: bool
    reads_remainder: bool
    reads_time: bool
    limited: bool
    flat: dict[str, dict[int, object]] = field(default_factory=dict)


def read_ad(text: str) -> classad2.ClassAd:
    """Read an ad in new ClassAd syntax and free it from the wall clock; InputError if it is none."""
    try:
        ad = classad2.parseOne(text)
    except (classad2.ClassAdException, ValueError) as error:
        raise InputError(
            f"{text[:60]!r} is no ClassAd; expected one such as [ Cpus = 8; Memory = 4096 ]"
        ) from error
    for name, value in list(ad.items()):
        if isinstance(value, classad2.ExprTree):
            written = str(value)
            if "time" in written.lower():
                freed = at_time(written, NOW)
                if freed != written:
                    ad[name] = classad2.ExprTree(freed)
    return ad


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
    return normalise(clause) in _JOB_ARITHMETIC


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


def assigned_devices(text: str) -> tuple[Device, ...]:
    """The devices that a slot ad lists in AssignedGPUs, those taken offline left out, in inventory order.

    Model and capability come from the nested ad, else from the flat GPUs_ or CUDA attributes (design §4).
    """
    ad = classad2.parseOne(text)
    nested = {name.lower(): value for name, value in device_ads(ad).items()}
    offline = {name.strip() for name in _names(ad.get("OfflineGPUs"))}
    found = []
    for name in dict.fromkeys(part.strip() for part in _names(ad.get("AssignedGPUs"))):
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
                float(capability) if isinstance(capability, int | float) else None,
            )
        )
    return tuple(found)


def _names(value: object) -> list[str]:
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
        self._clusters: dict[tuple[str, ...], Autocluster] = {}
        self._kinds: dict[tuple[str, ...], Kind] = {}
        self._by_job_text: dict[str, Autocluster] = {}
        self._by_slot_text: dict[str, Kind] = {}
        self._device_kinds: dict[str, int] = {}
        self._device_samples: list[classad2.ClassAd | None] = []
        self._memo: dict[tuple[object, ...], bool] = {}
        self._device_memo: dict[tuple[int, int], bool] = {}
        self._rank_memo: dict[tuple[object, ...], float] = {}
        self.evaluations = 0

    def autocluster(self, text: str) -> Autocluster:
        """The autocluster of a job ad that the table was made for."""
        if text not in self._by_job_text:
            ad = self._job_ads[text]
            key = tuple(_written(ad, name) for name in self._job_reads)
            if key not in self._clusters:
                self._clusters[key] = _autocluster(len(self._clusters), ad)
            self._by_job_text[text] = self._clusters[key]
        return self._by_job_text[text]

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
                self._kinds[key] = _kind(len(self._kinds), ad, kinds, self._device_samples)
            self._by_slot_text[text] = self._kinds[key]
        return self._by_slot_text[text], kinds

    def _device_kind(self, ad: classad2.ClassAd | None) -> int:
        if ad is None:
            key = ""
        else:
            unique = {"id", "deviceuuid", "devicepcibusid"}
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
        return bool(slot.symmetricMatch(job))

    def enough_devices(self, cluster: Autocluster, devices: Sequence[int]) -> bool:
        """Tell whether the free devices, given by kind, include as many suitable ones as the job asks."""
        if not cluster.gpus:
            return True
        if not cluster.picky:
            return len(devices) >= cluster.gpus
        return sum(self.device_suits(cluster, device) for device in devices) >= cluster.gpus

    def fits(self, cluster: Autocluster, kind: Kind, left: Remainder, now: float) -> bool:
        """Tell whether a partitionable or static slot with `left` free takes such a job at time `now` [s, Unix]."""
        return (
            left.cpus >= cluster.cpus
            and left.cpus > 0
            and left.memory_mib >= cluster.memory_mib
            and left.disk_mib >= cluster.disk_mib
            and self.enough_devices(cluster, left.devices)
            and self.agrees(cluster, kind, left, now)
        )

    def agrees(self, cluster: Autocluster, kind: Kind, left: Remainder, now: float) -> bool:
        """Tell whether both sides' expressions hold, the arithmetic on free resources left aside."""
        remainder = left if cluster.reads_remainder or kind.reads_remainder else None
        moment = now if cluster.reads_time or kind.reads_time else None
        key = (cluster.id, kind.id, remainder, moment)
        found = self._memo.get(key)
        if found is None:
            found = self._judge(cluster, kind, left, now)
            if moment is None or len(self._memo) < 1_000_000:
                self._memo[key] = found
        return found

    def _judge(self, cluster: Autocluster, kind: Kind, left: Remainder, now: float) -> bool:
        slot, job = kind.fixed, cluster.fixed
        if cluster.reads_remainder or kind.reads_remainder:
            slot = self.slot_ad(kind, left, whole=False)
        if cluster.reads_time or kind.reads_time:
            slot[NOW] = now
            job[NOW] = now
        self.evaluations += 1
        return bool(slot.symmetricMatch(job))

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
        reads = cluster.reads_remainder or kind.reads_remainder
        moment = now if cluster.reads_time or kind.reads_time else None
        key = (cluster.id, kind.id, size if reads else size.devices, moment, "dynamic")
        found = self._memo.get(key)
        if found is None:
            slot = self.dynamic_ad(kind, size)
            slot[NOW] = now
            cluster.fixed[NOW] = now
            self.evaluations += 1
            found = self._memo[key] = bool(slot.symmetricMatch(cluster.fixed))
        return found

    def dynamic_ad(self, kind: Kind, size: Remainder) -> classad2.ClassAd:
        """The ad of a dynamic slot of this size carved from a slot of this kind, its Requirements without arithmetic."""
        slot = self.slot_ad(kind, size, whole=False)
        slot["SlotType"] = "Dynamic"
        slot["DynamicSlot"] = True
        slot["TotalSlotCpus"], slot["TotalSlotMemory"] = slot["Cpus"], slot["Memory"]
        slot["TotalSlotGPUs"] = len(size.devices)
        if "PartitionableSlot" in slot:
            del slot["PartitionableSlot"]
        for name, values in kind.flat.items():
            held = {str(values.get(device)) for device in size.devices}
            if len(held) == 1 and None not in (value := values.get(size.devices[0]), 0):
                slot[name] = value
            elif name in slot:
                del slot[name]
        return slot

    def rank(self, cluster: Autocluster, kind: Kind, left: Remainder) -> float:
        """The job's Rank of such a slot; anything but a number counts as 0."""
        reads = cluster.reads_remainder
        key = (cluster.id, kind.id, left if reads else None)
        if key not in self._rank_memo:
            value = _rank(cluster.ad, self.slot_ad(kind, left) if reads else kind.ad)
            self._rank_memo[key] = value
        return self._rank_memo[key]

    def slot_rank(self, cluster: Autocluster, kind: Kind) -> float:
        """The startd's RANK of such a job; anything but a number counts as 0."""
        key = ("slot", cluster.id, kind.id)
        if key not in self._rank_memo:
            self._rank_memo[key] = _rank(kind.ad, cluster.ad)
        return self._rank_memo[key]


def _rank(ranking: classad2.ClassAd, ranked: classad2.ClassAd) -> float:
    if "Rank" not in ranking:
        return 0.0
    tree = ranking.lookup("Rank")
    value = tree.eval(ranking, ranked) if isinstance(tree, classad2.ExprTree) else tree
    return float(value) if isinstance(value, int | float) else 0.0


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _written(ad: classad2.ClassAd, name: str) -> str:
    return str(ad.lookup(name)) if name in ad else ""


def _autocluster(number: int, ad: classad2.ClassAd) -> Autocluster:
    requirements = _expression(ad, "Requirements")
    clauses = [requirements.text_of(node) for node in requirements.conjuncts()]
    standard = {normalise(clause) for clause in clauses if is_arithmetic(clause)}
    kept = [clause for clause in clauses if not is_arithmetic(clause)]
    fixed = copy_ad(ad)
    fixed["Requirements"] = classad2.ExprTree(" && ".join(f"({clause})" for clause in kept) or "true")
    reads = _closure(ad, Expression.parse(str(fixed.lookup("Requirements"))), own="my", other="target")
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
        reads_remainder=any(name in _REMAINDER for name in reads.other),
        reads_time=NOW.lower() in reads.other or NOW.lower() in reads.own,
        limits=str(ad.get("ConcurrencyLimits") or "").lower(),
    )


def _kind(
    number: int, ad: classad2.ClassAd, devices: tuple[int, ...], samples: Sequence[classad2.ClassAd | None]
) -> Kind:
    requirements = _expression(ad, "Requirements")
    standard = normalise(_written(ad, "WithinResourceLimits")) == _LIMITS
    kept, limited = [], False
    for node in requirements.conjuncts():
        clause = requirements.text_of(node)
        if standard and normalise(clause) == "withinresourcelimits":
            limited = True
        else:
            kept.append(clause)
    fixed = copy_ad(ad)
    fixed["Requirements"] = classad2.ExprTree(" && ".join(f"({clause})" for clause in kept) or "true")
    reads = _closure(ad, Expression.parse(str(fixed.lookup("Requirements"))), own="my", other="target")
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
        reads_remainder=any(name in _REMAINDER for name in reads.own),
        reads_time=NOW.lower() in reads.own,
        limited=limited,
        flat=properties,
    )


class _Reads(NamedTuple):
    own: frozenset[str]
    other: frozenset[str]


def _closure(ad: classad2.ClassAd, expression: Expression, *, own: str, other: str) -> _Reads:
    """All names that an expression reads, through the expressions that its own ad's attributes hold."""
    mine: set[str] = set()
    theirs: set[str] = set()
    names = {name.lower(): name for name in ad}
    todo = list(expression.references())
    while todo:
        reference = todo.pop()
        name = reference.name.lower()
        if reference.scope == other or (reference.scope != own and name not in names):
            theirs.add(name)
        if reference.scope != other and name not in mine:
            mine.add(name)
            if name in names and isinstance(value := ad.lookup(names[name]), classad2.ExprTree):
                todo += _parsed_references(str(value))
    return _Reads(frozenset(mine), frozenset(theirs))


def _parsed_references(text: str) -> list[Reference]:
    try:
        return list(Expression.parse(text).references())
    except ExpressionError:  # what classad2 prints but the grammar lacks is read as reading nothing
        return []


def _significant(
    jobs: Iterable[classad2.ClassAd], slots: Iterable[classad2.ClassAd]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The attributes that tell jobs apart and those that tell slots apart, in lower case."""
    of_jobs = {"requirements", "rank", "requestcpus", "requestmemory", "requestdisk", "requestgpus", "requiregpus",
               "concurrencylimits"}  # fmt: skip
    of_slots = {
        "requirements",
        "rank",
        "slottype",
        "slotweight",
        "totalslotcpus",
        "totalslotmemory",
        "totalslotdisk",
    }
    seen: set[str] = set()
    for ads, mine, theirs in ((jobs, of_jobs, of_slots), (slots, of_slots, of_jobs)):
        for ad in ads:
            texts = [
                _written(ad, name) for name in ("Requirements", "Rank", "RequireGPUs", "Start") if name in ad
            ]
            fingerprint = repr(texts)
            if fingerprint in seen:
                continue
            seen.add(fingerprint)
            for text in texts:
                try:
                    reads = _closure(ad, Expression.parse(text), own="my", other="target")
                except ExpressionError:
                    continue
                mine |= reads.own
                theirs |= reads.other
    # both ads are asked for a name without scope, so each side may hold what the other's expression means
    shared = {NOW.lower(), *(name for name in _REMAINDER)}
    return tuple(sorted(of_jobs - shared)), tuple(sorted(of_slots - shared))


def _expression(ad: classad2.ClassAd, name: str) -> Expression:
    return Expression.parse(_written(ad, name) or "true")


def _number(ad: classad2.ClassAd, name: str, default: float) -> float:
    try:
        value = ad.eval(name)
    except KeyError:
        return default
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def attributes(ads: Iterable[classad2.ClassAd]) -> Mapping[str, str]:
    """Every attribute name that these ads have: lower case → as written."""
    return {name.lower(): name for ad in ads for name in ad}
