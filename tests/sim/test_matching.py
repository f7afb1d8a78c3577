"""The matcher's shortcuts against the whole truth: symmetricMatch of the full job ad with the full slot ad."""

import json
import lzma
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.classads.ads import Ad, ad_of_json, parse_one, read_ads
from sim.classads.matching import (
    NOW,
    Kind,
    Matcher,
    Remainder,
    assigned_devices,
    copy_ad,
    is_arithmetic,
    read_ad,
)
from sim.errors import InputError
from sim.inventory.jobs import jobs_frame
from sim.inventory.slots import slots_frame
from tests import needs

import classad2  # isort: skip
import pandas as pd

DATA = needs.shared_data_folder() / "pool"
recorded = pytest.mark.usefixtures("shared_data")


class Slot(NamedTuple):
    """A recorded slot: as recorded, as the product keeps it, and when."""

    raw: Ad
    text: str
    at: float


def _snapshots(folder: Path, every: int) -> Iterator[tuple[float, list[Ad]]]:
    with lzma.open(folder / "startd_ads.jsonl.xz", "rt") as lines:
        for number, line in enumerate(lines):
            if number % every == 0:
                record = json.loads(line)
                yield record["t"], [ad_of_json(ad) for ad in record["ads"]]


def _kept(ads: list[Ad], at: float) -> list[Slot]:
    frame = slots_frame(ads, seen_at=pd.Timestamp(at, unit="s", tz="UTC"), snapshot="s").frame
    texts = dict(zip(frame["name"], frame["ad"], strict=True))
    return [Slot(read_ad(str(ad)), texts[str(ad["Name"])], at) for ad in ads if str(ad["Name"]) in texts]


@cache
def slots() -> list[Slot]:
    """Every slot of the idle and the busy pool, and of some snapshots of a run with glideins that come and go."""
    found: list[Slot] = []
    for name in ("slots_idle.ads", "slots_busy.ads"):
        ads = read_ads(DATA / name)
        found += _kept(ads, max(float(ad["MyCurrentTime"]) for ad in ads))
    for at, ads in _snapshots(DATA / "recording-w1-r1", every=35):
        found += _kept(ads, at)
    return found


@cache
def whole_slots() -> list[Slot]:
    """One slot of each name and time that can be carved."""
    return [slot for slot in slots() if slot.raw.get("SlotType") != "Dynamic"]


@cache
def jobs() -> list[tuple[Ad, str]]:
    """One job of each kind of request: as recorded, and as the product keeps it."""
    ads = [*read_ads(DATA / "queue.ads"), *read_ads(DATA / "history.ads")]
    ads += read_ads(DATA / "recording-w1-r1" / "history.json.xz")
    frame = jobs_frame(ads, seen_at=pd.Timestamp(0, tz="UTC"), snapshot="s", schedd="x").frame
    chosen: dict[str, tuple[Ad, str]] = {}
    for ad, text in zip(ads, frame["ad"], strict=True):
        kept = parse_one(text)
        asked = "RequestCpus RequestMemory RequestDisk RequestGPUs RequireGPUs Requirements Rank"
        chosen.setdefault(
            repr([str(kept.lookup(name)) if name in kept else "" for name in asked.split()]),
            (read_ad(str(ad)), text),
        )
    return list(chosen.values())


@cache
def matcher() -> Matcher:
    return Matcher([text for _, text in jobs()], [slot.text for slot in whole_slots()])


def kind_of(slot: Slot) -> tuple[Kind, tuple[int, ...], tuple[str, ...]]:
    """Its kind, the kinds of its devices and their attribute names."""
    devices = assigned_devices(slot.text)
    kind, kinds = matcher().kind(slot.text, [device.attribute for device in devices])
    return kind, kinds, tuple(device.attribute for device in devices)


def truth(slot: Ad, job: Ad, at: float, **changes: Any) -> bool:
    """What HTCondor's own evaluator says about the ads as recorded (but for the clock), at the time of the recording."""
    whole, asking = copy_ad(slot), copy_ad(job)
    for name, value in changes.items():
        whole[name] = value
    whole[NOW] = asking[NOW] = at
    return bool(whole.symmetricMatch(asking))


def test_truth_is_not_always_the_same() -> None:
    """The oracle sees time, so it must be able to say both."""
    glidein = read_ad("[ R = 100; Start = time() < R; Requirements = Start ]")
    assert truth(glidein, read_ad("[ Requirements = true ]"), 99.0)
    assert not truth(glidein, read_ad("[ Requirements = true ]"), 101.0)


@recorded
@pytest.mark.slow
def test_every_recorded_slot_as_it_was() -> None:
    """What was left of it when it was recorded, for every kind of request; both answers occur."""
    answers = {True: 0, False: 0}
    for slot in whole_slots():
        kind, kinds, names = kind_of(slot)
        raw = slot.raw
        listed = raw.get("AvailableGPUs")
        free = {str(item).lower() for item in listed} if isinstance(listed, list) else set()
        left = Remainder(
            float(raw["Cpus"]), float(raw["Memory"]), float(raw["Disk"]) / 1024,
            tuple(device for device, name in zip(kinds, names, strict=True) if name.lower() in free),
        )  # fmt: skip
        for ad, text in jobs():
            expected = truth(raw, ad, slot.at)
            assert matcher().fits(matcher().autocluster(text), kind, left, slot.at) is expected
            answers[expected] += 1
    assert min(answers.values()) > 300, answers


def _near(most: float, asked: float) -> st.SearchStrategy[int]:
    """Anything there is, more often just enough, just too little and all."""
    return st.one_of(
        st.integers(0, int(most)), st.sampled_from([int(asked), max(0, int(asked) - 1), int(most)])
    )


@recorded
@settings(max_examples=400, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_any_remainder_of_any_slot(data: st.DataObject) -> None:
    """The arithmetic, the devices and both policies together say what one full evaluation says."""
    slot = data.draw(st.sampled_from(whole_slots()))
    ad, text = data.draw(st.sampled_from(jobs()))
    kind, kinds, names = kind_of(slot)
    raw = slot.raw
    cluster = matcher().autocluster(text)
    cpus = data.draw(_near(raw["TotalSlotCpus"], cluster.cpus))
    memory = data.draw(_near(raw["TotalSlotMemory"], cluster.memory_mib))
    disk = data.draw(_near(raw["Disk"], cluster.disk_mib * 1024))
    free = data.draw(st.lists(st.sampled_from(range(len(names))), unique=True)) if names else []
    free.sort()
    at = slot.at + data.draw(st.sampled_from([0, 600, 7 * 86400]))
    left = Remainder(cpus, memory, disk / 1024, tuple(kinds[place] for place in free))
    tree = classad2.ExprTree("{" + ", ".join(names[place] for place in free) + "}")
    expected = truth(
        raw, ad, at, Cpus=cpus, Memory=memory, Disk=disk, GPUs=len(free), AvailableGPUs=tree
    )  # fmt: skip
    assert matcher().fits(cluster, kind, left, at) is expected
    built, asking = matcher().slot_ad(kind, left), read_ad(text)
    built[NOW] = asking[NOW] = at
    assert bool(built.symmetricMatch(asking)) is expected


@recorded
@pytest.mark.slow
def test_dynamic_slots_as_recorded() -> None:
    """A claim that is reused: the dynamic slot's own ad decides, with the properties of its own devices."""
    answers = {True: 0, False: 0}
    parents = {(str(slot.raw["Name"]), slot.at): slot for slot in whole_slots()}
    for slot in slots():
        raw = slot.raw
        if raw.get("SlotType") != "Dynamic":
            continue
        parent = parents.get(("slot1@" + str(raw["Name"]).partition("@")[2], slot.at))
        if parent is None:
            continue
        kind, kinds, names = kind_of(parent)
        own = [device.attribute for device in assigned_devices(str(raw))]
        size = Remainder(
            float(raw["Cpus"]), float(raw["Memory"]), float(raw["Disk"]) / 1024,
            tuple(kinds[names.index(name)] for name in own),
        )  # fmt: skip
        for ad, text in jobs():
            expected = truth(raw, ad, slot.at)
            cluster = matcher().autocluster(text)
            assert matcher().dynamic_fits(cluster, kind, size, slot.at) is expected, (raw["Name"], text)
            answers[expected] += 1
    assert min(answers.values()) > 200, answers


@recorded
def test_neither_too_many_kinds_nor_too_few() -> None:
    """Three hundred jobs are a few autoclusters; a machine's ad of every snapshot is not a kind of its own."""
    clusters = {matcher().autocluster(text).id for _, text in jobs()}
    assert len(clusters) == len(jobs())
    machines = {str(slot.raw["Name"]) for slot in whole_slots()}
    kinds = {kind_of(slot)[0].id for slot in whole_slots()}
    assert len(whole_slots()) > len(machines) + 8
    assert len(kinds) <= len(machines)


# --- hand-made ads: policies and properties that the recordings lack

LIMITS = (
    "MY.Cpus > 0 && TARGET.RequestCpus <= MY.Cpus && MY.Memory > 0 && TARGET.RequestMemory <= MY.Memory && MY.Disk > 0 "
    "&& TARGET.RequestDisk <= MY.Disk && (TARGET.RequestGPUs =?= undefined || MY.GPUs >= TARGET.RequestGPUs)"
)
LIMITS_25 = LIMITS.replace(
    "TARGET.RequestDisk <= MY.Disk",
    '(TARGET.RequestDisk - ifthenelse(MappingMethod ?: "" != "Copy",ifthenelse(RequestedCatalogs =?= undefined || '
    "catalogs =?= undefined,0,sum(evalInEachContext(member(CatalogID,RequestedCatalogIDs) ? CatalogSize : 0,catalogs))),0)) "
    "<= MY.Disk",
)  # as a startd of 25.14.1 writes it
V100, TITAN, SLICE = "V100", "TITAN RTX", None
DEVICES = {V100: (7.0, 16_000), TITAN: (7.5, 24_000), SLICE: (None, 4_861)}


def slot_text(
    models: tuple[str | None, ...] = (),
    *,
    start: str = "true",
    nested: bool = True,
    limits: str = LIMITS,
    **more: str,
) -> str:
    """A partitionable slot of 32 cores and 64 GiB with these devices."""
    held: dict[str, str] = {
        "Name": '"slot1@a"', "Machine": '"a"', "Cpus": "32", "Memory": "65536", "Disk": "10485760",
        "TotalSlotCpus": "32", "TotalSlotMemory": "65536", "TotalSlotDisk": "10485760",
        "GPUs": str(len(models)), "TotalSlotGPUs": str(len(models)), "PartitionableSlot": "true",
        "SlotType": '"Partitionable"', "Arch": '"X86_64"', "OpSys": '"LINUX"', "HasFileTransfer": "true",
        "CondorVersion": '"$CondorVersion: 23.9.6 2026-07-12 $"',
        "Start": start, "WithinResourceLimits": limits, "Requirements": "START && (WithinResourceLimits)",
    }  # fmt: skip
    ids = [f"{'MIG' if model is None else 'GPU'}-{place:08x}" for place, model in enumerate(models)]
    names = ["GPUs_" + one.replace("-", "_") for one in ids]
    if models:
        held["AssignedGPUs"] = '"' + ",".join(ids) + '"'
        held["AvailableGPUs"] = "{" + ", ".join(names) + "}"
    if nested:
        for one, name, model in zip(ids, names, models, strict=True):
            capability, memory = DEVICES[model]
            told = f'Capability = {capability}; DeviceName = "{model}"; ' if model else ""
            held[name] = f'[ Id = "{one}"; {told}GlobalMemoryMb = {memory}; DeviceUuid = "{one}-u" ]'
    if len(set(models)) == 1 and models[0] is not None:
        capability, memory = DEVICES[models[0]]
        prefix = "GPUs_" if nested else "CUDA"
        held |= {f"{prefix}Capability": str(capability), f"{prefix}DeviceName": f'"{models[0]}"'}
    held.update(more)
    return "[ " + "; ".join(f"{name} = {value}" for name, value in held.items()) + " ]"


def job_text(
    requirements: str = "true", *, gpus: int = 1, require: str = "", disk_25: bool = False, **more: Any
) -> str:
    """A job ad as condor_submit makes it."""
    disk = "(TARGET.Disk >= RequestDisk)"
    if disk_25:
        disk = f'(versionGE(split(TARGET.CondorVersion)[1], "25.12.0") || {disk})'
    counted = "countMatches(MY.RequireGPUs, TARGET.AvailableGPUs)" if require else "TARGET.GPUs"
    gpu = f" && ({counted} >= RequestGPUs)" if gpus else ""
    held = {
        "Requirements": f'({requirements}) && (TARGET.Arch == "X86_64") && {disk} && (TARGET.Memory >= RequestMemory){gpu}',
        "RequestCpus": "1", "RequestMemory": "1024", "RequestDisk": "1024", "Rank": "0.0", "JobUniverse": "5",
    }  # fmt: skip
    if gpus:
        held["RequestGPUs"] = str(gpus)
    if require:
        held["RequireGPUs"] = require
    held.update(more)
    return "[ " + "; ".join(f"{name} = {value}" for name, value in held.items()) + " ]"


def names_of(text: str) -> list[str]:
    return [device.attribute for device in assigned_devices(text)]


def agreed(
    table: Matcher, job: str, slot: str, left: tuple[float, float, float, tuple[int, ...]], now: float
) -> bool:
    """What the matcher says, having checked it against the full evaluation; `left` holds places of free devices."""
    kind, kinds = table.kind(slot, names_of(slot))
    names = names_of(slot)
    remainder = Remainder(left[0], left[1], left[2], tuple(kinds[place] for place in left[3]))
    tree = classad2.ExprTree("{" + ", ".join(names[place] for place in left[3]) + "}")
    expected = truth(
        read_ad(slot), read_ad(job), now,
        Cpus=left[0], Memory=left[1], Disk=left[2] * 1024, GPUs=len(left[3]), AvailableGPUs=tree,
    )  # fmt: skip
    assert table.fits(table.autocluster(job), kind, remainder, now) is expected, (job, slot, left)
    return expected


ROOM = "ifThenElse((TARGET.RequestGPUs ?: 0) > 0, true, Cpus > 8 * GPUs && TARGET.RequestCpus <= Cpus - 8 * GPUs)"
WINDOW = "GLIDEIN_ToDie - time() >= 36000 && time() < GLIDEIN_ToRetire"
POLICIES = [
    "true", ROOM, WINDOW, f"({ROOM}) && ({WINDOW})", "SlotType == \"Partitionable\" || GPUs == 0",
    "TARGET.RequestMemory <= Memory / 2", "size(AvailableGPUs) > 1", "Policy", "TARGET.Wants",
    "(TARGET.ProjectName ?: \"\") != \"Banned\"", "stringListMember(TARGET.Owner ?: \"x\", \"alice,bob\")",
    "Cpus == TotalSlotCpus", "SlotWeight > 4",
]  # fmt: skip
REQUESTS = [
    "true", "GPUs_Capability >= 7.5", "CUDACapability >= 6.0", "GPUs_DeviceName == \"V100\"", "TARGET.Cpus >= 16",
    "TARGET.SlotWeight > 3", "TotalSlotCpus > 8", "Site == \"A\"", "TARGET.TimeLeft > 40000", "Memory > 4 * RequestMemory",
    "isUndefined(GPUs_Capability)", "TARGET.Policy =!= false",
]  # fmt: skip
REQUIRES = [
    "",
    "Capability >= 7.5",
    "Capability >= MinCap",
    "GlobalMemoryMb > 20000",
    'DeviceUuid != "GPU-00000001-u"',
]
POOLS = [(), (V100,) * 2, (TITAN,) * 2, (V100, TITAN, V100, TITAN), (SLICE,) * 7]


def _table() -> tuple[Matcher, list[str], list[str]]:
    extra: dict[str, Any] = {
        "GLIDEIN_ToDie": "100000", "GLIDEIN_ToRetire": "90000", "Site": '"A"', "SlotWeight": "Cpus",
        "TimeLeft": "GLIDEIN_ToDie - time()",
    }  # fmt: skip
    made = [
        slot_text(models, start=start, **extra, Policy=policy)
        for models in POOLS
        for start, policy in [
            *((policy, "true") for policy in POLICIES),
            ("Policy", ROOM),
            ("Policy", WINDOW),
        ]
    ]
    made += [slot_text((V100,) * 2, nested=False, **extra), slot_text((V100,), limits=LIMITS_25, **extra)]
    asked = [
        job_text(text, gpus=gpus, require=require, disk_25=bool(gpus), MinCap="7.2", **more)
        for text in REQUESTS
        for gpus, require in [
            (0, ""),
            (1, ""),
            (2, ""),
            *((1, require) for require in REQUIRES[1:]),
            (2, REQUIRES[1]),
        ]
        for more in (
            {},
            {"ProjectName": '"Banned"', "Owner": '"alice"', "Wants": "RequestMemory < 2048 && time() < 50"},
        )
    ]
    return Matcher(asked, made), asked, made


TABLE = _table()
lefts = st.tuples(
    st.sampled_from([0, 1, 3, 8, 15, 16, 17, 31, 32]),
    st.sampled_from([0, 512, 1024, 2047, 2048, 4097, 65536]),
    st.sampled_from([0.0, 0.5, 1.0, 10240.0]),
)


@settings(max_examples=700, deadline=None)
@given(st.sampled_from(TABLE[1]), st.sampled_from(TABLE[2]), lefts, st.data())
@pytest.mark.slow
def test_policies_that_read_what_is_left_and_the_time(
    job: str, slot: str, left: tuple[float, float, float], data: st.DataObject
) -> None:
    """One table for all: what it remembers for one remainder, time, job or slot is never given for another."""
    count = len(names_of(slot))
    free = data.draw(st.lists(st.sampled_from(range(count)), unique=True)) if count else []
    if "CUDACapability" in slot:
        free = []  # its device ads are not there, which HTCondor counts as no device; see the test below
    now = data.draw(st.sampled_from([40.0, 60.0, 63_999.0, 64_001.0, 89_999.0, 90_001.0]))
    agreed(TABLE[0], job, slot, (*left, tuple(sorted(free))), now)


def _attributes_read(table: Matcher, job: str, slot: str) -> tuple[int, int]:
    return table.autocluster(job).id, table.kind(slot, names_of(slot))[0].id


def test_the_same_autocluster_matches_the_same_slots() -> None:
    """Within an autocluster and a kind, full evaluation never tells two members apart."""
    table, asked, made = TABLE
    answers: dict[tuple[int, int, float], bool] = {}
    slot_ads = {slot: read_ad(slot) for slot in made[::2]}
    for job in asked[::5]:
        asking = read_ad(job)
        for slot, whole in slot_ads.items():
            for now in (40.0, 95_000.0):
                key = (*_attributes_read(table, job, slot), now)
                whole[NOW] = asking[NOW] = now
                found = bool(whole.symmetricMatch(asking))
                assert answers.setdefault(key, found) is found, (job, slot)


@pytest.mark.parametrize(
    ("slot_more", "job_more", "name", "values"),
    [
        ({"Policy": "TARGET.Wants"}, {}, "Wants", ("true", "false")),
        ({"Policy": "(TARGET.Size ?: 0) < 5"}, {"Size": "Inner * 2"}, "Inner", ("1", "9")),
        ({"Policy": "Level > 3", "Level": "TARGET.Depth"}, {}, "Depth", ("9", "1")),
        ({"Policy": "Unscoped"}, {}, "Unscoped", ("true", "false")),
    ],
)
def test_jobs_that_a_policy_tells_apart_are_apart(
    slot_more: dict[str, Any], job_more: dict[str, Any], name: str, values: tuple[str, str]
) -> None:
    """A job attribute counts if any slot's policy reads it, through whatever expressions; though the START is the same text."""
    plain = slot_text((V100,), start="Policy", Policy="true")
    slot = slot_text((V100,), start="Policy", **slot_more)
    pair = [job_text(**(job_more | {name: value})) for value in values]
    table = Matcher(pair, [plain, slot])
    assert table.autocluster(pair[0]) is not table.autocluster(pair[1])
    left = (32.0, 65536.0, 10240.0, (0,))
    assert [agreed(table, job, slot, left, 0.0) for job in pair] == [True, False]
    alone = Matcher(pair, [plain])
    assert alone.autocluster(pair[0]) is alone.autocluster(pair[1])


def test_slots_that_a_job_tells_apart_are_apart() -> None:
    """A slot attribute counts if a job reads it, also through an expression of the slot's."""
    pair = [slot_text((V100,), Has="Deep > 3", Deep=value) for value in ("1", "5")]
    reader, other = job_text("TARGET.Has"), job_text()
    table = Matcher([reader, other], pair)
    left = (32.0, 65536.0, 10240.0, (0,))
    assert [agreed(table, reader, slot, left, 0.0) for slot in pair] == [False, True]
    alone = Matcher([other], pair)
    assert alone.kind(pair[0], names_of(pair[0]))[0] is alone.kind(pair[1], names_of(pair[1]))[0]


def test_what_nobody_reads_makes_no_kind() -> None:
    """Names, disk sizes and clocks differ from machine to machine and day to day."""
    made = [
        slot_text(
            (V100,),
            Name=f'"slot1@{n}"',
            Machine=f'"{n}"',
            TotalSlotDisk=str(n),
            Disk=str(n),
            LastHeard=str(n),
        )
        for n in range(9_000, 9_020)
    ]
    asked = [job_text(QDate=str(n), ClusterId=str(n)) for n in range(20)]
    table = Matcher(asked, made)
    assert len({table.autocluster(job).id for job in asked}) == 1
    assert len({table.kind(slot, names_of(slot))[0].id for slot in made}) == 1


def test_a_few_evaluations_serve_many_questions() -> None:
    """A pair is evaluated once, if neither side reads what is left or the time; 25.x's disk clauses included."""
    for limits, disk_25 in ((LIMITS, False), (LIMITS_25, True)):
        slot, job = slot_text((V100,) * 4, limits=limits), job_text(disk_25=disk_25)
        table = Matcher([job], [slot])
        kind, kinds = table.kind(slot, names_of(slot))
        for cpus in range(1, 33):
            for now in range(10):
                assert table.fits(
                    table.autocluster(job), kind, Remainder(cpus, 2048, 100, kinds[:2]), float(now)
                )
        assert table.evaluations == 1


def test_pairs_that_agree_in_what_is_read_share_an_evaluation() -> None:
    """Sizes of jobs and racks that nobody reads cost nothing; what hides what it reads is asked of every kind."""
    made = [slot_text(Rack=f'"{rack}"') for rack in "abc"]
    sizes = [job_text(gpus=0, RequestMemory=str(1024 * size)) for size in (1, 2, 3)]
    open_one = job_text('TARGET.Rack == "b"', gpus=0)
    hidden = job_text('eval(strcat("TARGET.", "Rack")) == "b"', gpus=0)
    table = Matcher([*sizes, open_one, hidden], made)
    left = Remainder(32, 65536, 10240, ())

    def answers(job: str) -> list[bool]:
        found = [
            table.fits(table.autocluster(job), table.kind(slot, names_of(slot))[0], left, 0.0)
            for slot in made
        ]
        assert found == [truth(read_ad(slot), read_ad(job), 0.0) for slot in made]
        return found

    assert [answers(job) for job in sizes] == [[True] * 3] * 3
    assert table.evaluations == 1
    assert answers(open_one) == [False, True, False]
    assert table.evaluations == 4
    assert answers(hidden) == [False, True, False]
    assert table.evaluations == 7


@pytest.mark.parametrize("limits", [LIMITS, LIMITS_25])
@pytest.mark.parametrize("version", ["23.9.6", "25.14.1"])
@pytest.mark.parametrize("disk_25", [True, False])
def test_disk_clauses_of_both_releases(limits: str, version: str, disk_25: bool) -> None:
    """Old job and new slot, new job and old slot: too little disk is refused by one of the two sides."""
    slot = slot_text((V100,), limits=limits, CondorVersion=f'"$CondorVersion: {version} 2026-07-12 $"')
    job = job_text(disk_25=disk_25)
    table = Matcher([job], [slot])
    assert agreed(table, job, slot, (1, 1024, 1.0, (0,)), 0.0)
    assert not agreed(table, job, slot, (1, 1024, 0.5, (0,)), 0.0)


def test_common_files_are_not_taken_for_plain_disk() -> None:
    """A job that names catalogs needs less disk where they are: then the slot's own expression decides."""
    slot = slot_text((V100,), limits=LIMITS_25, catalogs='{ [ CatalogID = "c"; CatalogSize = 900 ] }')
    job = job_text(disk_25=True, RequestedCatalogs='"c"', RequestedCatalogIDs='{ "c" }')
    table = Matcher([job], [slot])
    kind, kinds = table.kind(slot, names_of(slot))
    assert "withinresourcelimits" in str(kind.fixed.lookup("Requirements")).lower()
    assert not table.fits(table.autocluster(job), kind, Remainder(1, 1024, 0.1, kinds), 0.0)


def test_mixed_host_old_host_and_slices() -> None:
    """What a mixed host hides from GPUs_Capability, RequireGPUs finds, device by device; old hosts and slices tell too little."""
    mixed, old = slot_text((V100, TITAN)), slot_text((V100,) * 2, nested=False)
    slices = slot_text((SLICE,) * 7)
    flat, floor = job_text("GPUs_Capability >= 7.5"), job_text(require="Capability >= 7.5")
    classic, roomy = job_text("CUDACapability >= 6.0"), job_text(require="GlobalMemoryMb >= 4000")
    table = Matcher([flat, floor, classic, roomy], [mixed, old, slices])
    room = (32.0, 65536.0, 10240.0)
    assert not agreed(table, flat, mixed, (*room, (0, 1)), 0.0)
    assert agreed(table, floor, mixed, (*room, (0, 1)), 0.0)
    assert not agreed(table, floor, mixed, (*room, (0,)), 0.0)  # only the V100 is free
    assert agreed(table, floor, mixed, (*room, (1,)), 0.0)
    assert [agreed(table, job, slices, (*room, tuple(range(7))), 0.0) for job in (floor, roomy)] == [
        False,
        True,
    ]
    kind, kinds = table.kind(old, names_of(old))
    left = Remainder(*room, kinds)
    fits = {job: table.fits(table.autocluster(job), kind, left, 0.0) for job in (classic, floor, roomy)}
    assert fits == {classic: True, floor: False, roomy: False}
    assert not table.fits(table.autocluster(classic), kind, left._replace(devices=()), 0.0)


def test_a_dynamic_slot_tells_its_own_devices() -> None:
    """Carved from a mixed host, it has the flat attributes that its parent lacks (fact sheet §3.2)."""
    mixed = slot_text((V100, TITAN))
    job, small = job_text("GPUs_Capability >= 7.5"), job_text("TotalSlotCpus < 8", gpus=0)
    table = Matcher([job, small], [mixed])
    kind, (v100, titan) = table.kind(mixed, names_of(mixed))
    cluster = table.autocluster(job)
    fits = [
        table.dynamic_fits(cluster, kind, Remainder(1, 1024, 1.0, held), 0.0)
        for held in ((v100,), (titan,), ())
    ]
    assert fits == [False, True, False]
    sizes = [Remainder(cpus, 1024, 1.0, (v100,)) for cpus in (4, 16)]
    assert [table.dynamic_fits(table.autocluster(small), kind, size, 0.0) for size in sizes] == [True, False]


def test_a_dynamic_slot_without_a_device_tells_none() -> None:
    """Recorded ones of uniform hosts have no GPUs_Capability either."""
    uniform = slot_text((TITAN,) * 2)
    job = job_text("GPUs_Capability >= 7.5", gpus=0)
    table = Matcher([job], [uniform])
    kind, kinds = table.kind(uniform, names_of(uniform))
    cluster = table.autocluster(job)
    fits = [table.dynamic_fits(cluster, kind, Remainder(1, 1024, 1.0, held), 0.0) for held in ((), kinds[:1])]
    assert fits == [False, True]


def test_a_full_slot_takes_nothing() -> None:
    """Not even a job that asks for nothing: WithinResourceLimits wants something left of each."""
    slot = slot_text((V100,))
    job = job_text(gpus=0, RequestCpus="0", RequestMemory="0", RequestDisk="0")
    table = Matcher([job], [slot])
    for left, fits in (((1, 1, 1), True), ((0, 1, 1), False), ((1, 0, 1), False), ((1, 1, 0), False)):
        assert agreed(table, job, slot, (*left, (0,)), 0.0) is fits


def test_one_remainder_is_not_taken_for_another() -> None:
    """What is remembered of a pair whose policy reads the remainder or the clock holds for that remainder and moment only."""
    slot = slot_text((V100,) * 2, start=f"({ROOM}) && time() < 50")
    cores, device = job_text(gpus=0), job_text()
    table = Matcher([cores, device], [slot])
    free = (65536.0, 10240.0, (0, 1))
    assert [agreed(table, cores, slot, (cpus, *free), 0.0) for cpus in (16, 17, 16, 32)] == [
        False,
        True,
        False,
        True,
    ]
    assert [agreed(table, device, slot, (16, *free), now) for now in (49.0, 51.0, 49.0)] == [
        True,
        False,
        True,
    ]


def test_a_job_that_avoids_one_device() -> None:
    """Two devices that differ in their ids only are alike, unless a job asks for the id."""
    slot = slot_text((V100,) * 2)
    avoiding, plain = job_text(require='DeviceUuid != "GPU-00000001-u"'), job_text(require="Capability >= 7")
    table = Matcher([avoiding, plain], [slot])
    room = (32.0, 65536.0, 10240.0)
    assert [agreed(table, avoiding, slot, (*room, (place,)), 0.0) for place in (0, 1)] == [True, False]
    alone = Matcher([plain], [slot])
    assert len(set(alone.kind(slot, names_of(slot))[1])) == 1


def test_ranks_of_both_sides() -> None:
    """A number, a truth value, what is left of the slot; anything else counts as nothing, as in the negotiator."""
    slot = slot_text((TITAN,), Rank='TARGET.Owner == "alice" ? 5 : 0', Speed="2.5")
    ranks = {"Speed * 2": 5.0, "Memory": 512.0, "TARGET.Cpus": 3.0, "GPUs_DeviceName == \"TITAN RTX\"": 1.0,
             "undefined": 0.0, "Missing + 1": 0.0, "\"x\"": 0.0, "0.0": 0.0}  # fmt: skip
    asked = {rank: job_text(Rank=rank, Owner='"alice"') for rank in ranks}
    stranger = job_text(Owner='"bob"')
    table = Matcher([*asked.values(), stranger], [slot])
    kind, kinds = table.kind(slot, names_of(slot))
    for rank, text in asked.items():
        table.rank(
            table.autocluster(text), kind, Remainder(9, 9, 9, kinds)
        )  # remembered wrongly, it would come back
        assert table.rank(table.autocluster(text), kind, Remainder(3, 512, 9, kinds)) == ranks[rank], rank
    assert table.slot_rank(table.autocluster(asked["0.0"]), kind) == 5.0
    assert table.slot_rank(table.autocluster(stranger), kind) == 0.0


def test_what_htcondor_gives_up_on_does_not_match() -> None:
    """A policy too deep to be evaluated, or one that goes in circles, refuses; it doesn't end the run."""
    deep = slot_text((V100,), start=" && ".join(["TARGET.RequestGPUs > 0"] * 900))
    circle = slot_text((V100,), start="Round", Round="START && true")
    job = job_text()
    table = Matcher([job], [deep, circle])
    for slot in (deep, circle):
        kind, kinds = table.kind(slot, names_of(slot))
        assert not table.fits(table.autocluster(job), kind, Remainder(32, 65536, 10240, kinds), 0.0)


@pytest.mark.parametrize(
    "text", ["", "[ a = 1", "a = 1; b", "[ a = [ b = 1 ]", "no ad at all", "[ a = 1; b = ]"]
)
def test_text_that_is_no_ad_is_refused(text: str) -> None:
    """classad2 gives an empty ad for some of them, which would match whatever asks for nothing."""
    with pytest.raises(InputError, match="no ClassAd"):
        read_ad(text)


def test_only_plain_comparisons_are_arithmetic() -> None:
    """A clause that looks like condor_submit's own but asks more is evaluated."""
    assert is_arithmetic("(TARGET.Memory >= RequestMemory)")
    assert is_arithmetic("countMatches(MY.RequireGPUs,TARGET.AvailableGPUs) >= RequestGPUs")
    assert is_arithmetic(
        '(versionGE(split(TARGET.CondorVersion)[1],"25.12.0") || (TARGET.Disk >= RequestDisk))'
    )
    for text in (
        "TARGET.Memory >= 2 * RequestMemory",
        "TARGET.Memory > RequestMemory",
        "TARGET.GPUs >= 2",
        "true",
    ):
        assert not is_arithmetic(text)
