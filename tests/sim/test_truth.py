"""The tables against classad2's own symmetricMatch: every expression, every slot, now and drained."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sim.analysis import PoolView, Request
from sim.analysis.analyse import Found, analyse
from sim.analysis.truth import Truth
from sim.classads.ads import parse_one
from sim.classads.matching import agree, read_ad
from sim.classads.submit import read_submit
from sim.errors import InputError
from tests.sim.test_analysis import BARE, MIXED, NOON, OLD, SLICES, UNIFORM, frame, host
from tests.sim.test_matching import SLICE, TITAN, V100

RETIRED = host("retired", (TITAN,), start=f"time() < {NOON.timestamp() - 60}")
CHOOSY = host("choosy", (V100, V100), start="TARGET.RequestMemory > 1000 || Memory > 32000", Memory="9000")
FULL = host("full", (TITAN, TITAN), free=[], Cpus="0")
PART = host("part", (V100, TITAN), free=[1], Cpus="2", Memory="2000", Site='"A"')
STATIC = host("static", (TITAN,), State='"Claimed"', PartitionableSlot="false", SlotType='"Static"')
LAX = host("lax", (TITAN,), Requirements="START", Cpus="0")
POOL = (MIXED, UNIFORM, OLD, SLICES, BARE, RETIRED, CHOOSY, FULL, PART, STATIC, LAX)

_NUMBERS = st.sampled_from(
    ["0", "1", "7.0", "7.5", "8", "1024", "24000", "4861", "-3", "undefined", "RequestMemory"]
)
_NAMES = st.sampled_from(
    ["GPUs_Capability", "TARGET.Memory", "Memory", "Cpus", "GPUs", "TARGET.GPUs", "Site", "Nope", "MY.RequestGPUs",
     "GPUs_GlobalMemoryMb", "CUDACapability", "TotalSlotMemory", "Disk", "HasFileTransfer", "Machine", "Name", "START"]
)  # fmt: skip
_ATOMS = (
    st.tuples(_NAMES, st.sampled_from([">=", ">", "<", "<=", "==", "!=", "=?=", "=!="]), _NUMBERS).map(" ".join)
    | st.sampled_from(["true", "false", "5", "0", "error", "undefined", '"text"', "HasFileTransfer", "Nope", "time() > 0"])
    | st.sampled_from(['Site == "A"', 'regexp("^u", Machine)', 'stringListMember(Machine, "mixed,part")',
                       "countMatches(Capability >= 7.5, TARGET.AvailableGPUs) >= 1", "isUndefined(Nope)", "Memory * 2 > 40000",
                       'GPUs_DeviceName == "titan rtx"', "ifThenElse(GPUs > 1, true, Cpus > 3)", "size(AvailableGPUs) > 1"])
)  # fmt: skip
_CLAUSES = st.recursive(
    _ATOMS,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})")
        | inner.map(lambda text: f"!({text})")
    ),
    max_leaves=4,
)
_EXPRESSIONS = (
    st.lists(_CLAUSES, min_size=1, max_size=5).map(" && ".join).filter(lambda text: len(text) < 900)
)
_DEVICES = st.sampled_from(
    [
        "",
        "",
        "Capability >= 7.5",
        "GlobalMemoryMb > 5000 && Capability < 7.5",
        'DeviceName == "V100"',
        "Nope > 3",
        "true",
    ]
)
_REQUESTS = st.builds(
    Request,
    gpus=st.integers(0, 3),
    cpus=st.sampled_from([1, 2, 40]),
    memory_mib=st.sampled_from([0.0, 128.0, 3000.0, 70000.0]),
    require_gpus=_DEVICES,
)


@pytest.fixture(scope="module")
def pool() -> PoolView:
    return PoolView.from_frames(frame(*POOL))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=_EXPRESSIONS, request_=_REQUESTS)
def test_the_tables_are_symmetric_match(pool: PoolView, expression: str, request_: Request) -> None:
    """On every slot, as it is and as it would be if drained."""
    job = request_.describe(expression)
    truth = Truth(job, pool)
    found = Found(truth)
    ad = read_ad(job.text)
    fleet = truth.fleet
    for groups, matching, name in ((truth.drained, found.drained, "drained"), (truth.now, found.now, "now")):
        ours = {fleet.views[place].name for place in groups.views(matching).tolist()}
        theirs = {
            view.name
            for view in pool.machines
            if view.usable and (name == "drained" or view.open) and agree(getattr(view, name), ad)
        }
        assert ours == theirs, name


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=_EXPRESSIONS, request_=_REQUESTS)
def test_what_the_clauses_say_is_what_leaving_them_out_gives(
    pool: PoolView, expression: str, request_: Request
) -> None:
    """Gains of one clause and of a pair are those of the job written without them."""
    answer = analyse(expression, pool, request=request_)
    own = [clause for clause in answer.clauses if clause.where == "requirements"]
    job = request_.describe(expression)

    def drained(*left_out: int) -> int:
        kept = [f"({clause.text})" for place, clause in enumerate(own) if place not in left_out]
        # what condor_submit adds is decided by the whole expression
        return Found(Truth(Kept.of(job, " && ".join(kept) or "true"), pool)).counts.drained

    class Kept:
        @staticmethod
        def of(job: Any, text: str) -> Any:
            named = Truth(job, pool)
            standards = tuple((frozenset[str](), t) for _, t in job.standards if t in named.standards)
            return type(job)(job.attributes, text, 0, standards)

    for place, clause in enumerate(own):
        assert clause.gained_if_dropped == drained(place) - answer.gpus.drained


def test_the_recorded_sample_of_every_snapshot(shared_data: Any) -> None:
    """Recorded ads of a real pool, busy: the same slots as symmetricMatch finds."""
    from sim.classads.ads import read_ads
    from sim.inventory import slots_frame

    ads = read_ads(shared_data / "pool" / "slots_busy.ads")
    at = pd.Timestamp(max(int(ad["MyCurrentTime"]) for ad in ads), unit="s", tz="UTC")
    recorded = PoolView.from_frames(slots_frame(ads, seen_at=at, snapshot="x").frame)
    for expression in (
        "true",
        "Memory > 4000",
        "GPUs_Capability >= 7.5",
        "CUDACapability >= 6.0",
        "GPUs >= 2",
    ):
        for wanted in (Request(), Request(gpus=2, require_gpus="Capability >= 7.0"), Request(gpus=0, cpus=4)):
            job = wanted.describe(expression)
            truth = Truth(job, recorded)
            found = Found(truth)
            ad = read_ad(job.text)
            ours = {truth.fleet.views[p].name for p in truth.now.views(found.now).tolist()}
            assert ours == {v.name for v in recorded.machines if v.usable and v.open and agree(v.now, ad)}


def test_devices_are_told_apart_by_their_ids_only_where_asked(pool: PoolView) -> None:
    """require_gpus on a device's own id picks that one."""
    (device, *_) = pool.machines[0].devices
    assert device.ad is not None
    identity = device.ad["Id"]
    answer = analyse("true", pool, request=Request(require_gpus=f'Id == "{identity}"'))
    assert answer.gpus.drained == sum(
        d.ad is not None and d.ad.get("Id") == identity
        for view in pool.machines
        if view.name in answer.slots
        for d in view.devices
    )


def test_a_submitted_job_is_judged_with_its_own_ad(pool: PoolView) -> None:
    """Memory as asked in the file, capability per device, its clauses among those that are counted."""
    text = 'executable = a\nshould_transfer_files = yes\nrequest_gpus = 1\nrequest_memory = 3GB\ngpus_minimum_capability = 7.5\nrequirements = Site =!= "B"\nqueue'
    (job,) = read_submit(text).jobs
    answer = analyse(job.description, pool)
    assert [(clause.text, clause.where) for clause in answer.clauses] == [
        ('Site =!= "B"', "requirements"), ("Capability >= GPUsMinCapability", "require_gpus"),
    ]  # fmt: skip
    floor = answer.clauses[1]
    assert (floor.next_value, floor.gained_at_next > 0) == ("7", True)
    ad = read_ad(job.ad)
    assert set(answer.slots) == {v.name for v in pool.machines if v.usable and agree(v.drained, ad)}
    assert parse_one(job.ad)["RequestMemory"] == 3072


def test_pairs_exclude_only_together() -> None:
    """One machine fails both clauses: dropping either gains nothing, dropping both gains its GPUs."""
    pool = PoolView.from_frames(frame(UNIFORM, host("v", (V100,) * 3, Site='"A"'), host("slow", (SLICE,))))
    answer = analyse('GPUs_Capability >= 7.5 && Site =!= "A" && Memory > 1', pool)
    told = {(pair.first, pair.second): pair.gained for pair in answer.pairs}
    assert told == {("GPUs_Capability >= 7.5", 'Site =!= "A"'): 3}


def test_states_of_what_matches() -> None:
    """Free, claimed, without room, on a draining machine, retiring, refused; together all that match or would."""
    pool = PoolView.from_frames(
        frame(
            UNIFORM, PART, FULL, RETIRED, host("drains", (TITAN,), Draining="true"), host("full2", (TITAN,), Cpus="0"),
            host("private", (TITAN,), start='TARGET.Owner == "me"'),
        )
    )  # fmt: skip
    answer = analyse("true", pool)
    assert answer.states == {
        "free": 3, "claimed": 3, "no_room": 1, "draining": 1, "retiring": 1, "refused": 1,
    }  # fmt: skip
    assert answer.gpus.drained == 8
    assert (answer.hosts.now, answer.hosts.drained) == (2, 5)


_HOSTILE = st.lists(
    st.sampled_from(
        ["GPUs_Capability", "TARGET.", "MY.", "Memory", "(", ")", "[", "]", "{", "}", ">=", "==", "&&", "||", "!", "?", ":", "7.5",
         '"a"', '"', "'", "regexp(", "countMatches(", ",", "undefined", "AvailableGPUs", "=", "\0", "\u202e", "<b>", "//", "time()"]
    ),
    max_size=14,
).map(" ".join)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=_HOSTILE)
@example(expression="TARGET. ' countMatches( time() = TARGET. - Memory '")
def test_any_text_has_an_answer_or_a_sentence(pool: PoolView, expression: str) -> None:
    """Nothing but an InputError comes out."""
    try:
        analyse(expression, pool)
    except InputError:
        return
