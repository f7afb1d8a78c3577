"""What is asked of each ad is what the frames are made of, and nothing is lost by asking for less."""

import itertools
import re
from pathlib import Path

import htcondor2
import pandas as pd
import pytest

import sim.inventory
from collectors import questions
from collectors.projection import Memory, attributes, cycle_attributes, named_in
from sim.classads.ads import Ad, expression, parse_one, read_ads
from sim.classads.columns import Columns
from sim.inventory import columns_of, devices_frame, slots_frame
from tests.realpool.pool import Pool

AT = pd.Timestamp("2026-11-24 12:00", tz="UTC")


def frames(ads: Columns) -> tuple[pd.DataFrame, pd.DataFrame]:
    return (
        slots_frame(ads, seen_at=AT, snapshot="s").frame,
        devices_frame(ads, seen_at=AT, snapshot="s").frame,
    )


def columns(*texts: str) -> Columns:
    return columns_of([parse_one(text) for text in texts])[0]


def projected(text: str, names: list[str]) -> Ad:
    """An ad as a collector answers with a projection; asking for AvailableGPUs brings the devices' ads along."""
    ad, kept = parse_one(text), parse_one("[ ]")
    wanted = {name.lower() for name in names}
    devices = {name.strip().lower() for name in re.findall(r"GPUs_\w+", str(ad.get("AvailableGPUs", "")))}
    for name in ad:
        if name.lower() in wanted | devices:
            kept[name] = ad.lookup(name)
    return kept


def test_every_attribute_that_the_code_reads_is_in_the_schema() -> None:
    """The schema is the one place: a name in the code that it lacks would never be asked for."""
    folder = Path(sim.inventory.__file__).parent
    asked = {name.lower() for name in attributes("slots", "devices")}
    for file in ("slots.py", "devices.py"):
        read = re.findall(
            r"(?:ads\.(?:text|number|flag|value|source)s?|moments)\(([^)]*)\)", (folder / file).read_text()
        )
        names = {name for call in read for name in re.findall(r'"(\w+)"', call)}
        assert {name for name in names if name.lower() not in asked} == set()


@pytest.mark.parametrize("name", ["slots_busy.ads", "slots_idle.ads"])
def test_less_asked_same_frames(shared_data: Path, name: str) -> None:
    """A round in between gives what a whole one gives, texts included."""
    texts = [str(ad) for ad in read_ads(shared_data / "pool" / name)]
    memory = Memory()
    half = len(texts) // 2
    for some in (texts[:half], texts[half:]):
        memory.add(columns(*some))
    memory.settle(0.0, frozenset({"hassshd"}))
    less = [projected(text, memory.projection(frozenset())) for text in texts]
    completed, unknown = memory.completed(columns_of(less)[0])
    assert unknown == []
    for got, expected in zip(frames(completed), frames(columns(*texts)), strict=True):
        pd.testing.assert_frame_equal(got, expected)
    whole = sum(len(parse_one(text)) for text in texts)
    assert sum(map(len, less)) < whole / 2


def test_what_changed_counts_and_what_left_is_gone() -> None:
    whole = (
        '[ Name = "slot1@h"; Machine = "h"; State = "Claimed"; RemoteOwner = "a@x"; DaemonStartTime = 5; Cpus = 1;'
        " Start = Health > 3; Health = 4; Odd = 7 ]"
    )
    memory = Memory()
    memory.add(columns(whole))
    memory.settle(0.0, frozenset())
    names = memory.projection(frozenset({"odd"}))
    assert {"Health", "Odd"} <= set(names)
    later, unknown = memory.completed(
        columns(
            '[ Name = "slot1@h"; Machine = "h"; State = "Unclaimed"; DaemonStartTime = 5; Cpus = 2; Health = 1 ]'
        )
    )
    assert unknown == []
    (row,) = slots_frame(later, seen_at=AT, snapshot="s").frame.to_dict("records")
    assert (row["state"], row["cpus"], pd.isna(row["owner"])) == ("Unclaimed", 2, True)
    assert "Odd = 7" in row["ad"]
    assert "Health = 1" in row["ad"]
    others = columns(
        '[ Name = "slot1@h"; DaemonStartTime = 6 ]', '[ Name = "slot1_3@h"; DaemonStartTime = 5 ]'
    )
    assert memory.completed(others)[1] == [0, 1]
    again, _ = memory.completed(columns('[ Name = "slot1@h"; Machine = "h"; DaemonStartTime = 5 ]'))
    assert "Health" not in again.prints()[0].as_py()  # what is asked every time and isn't there is gone


def test_names() -> None:
    assert named_in(['TARGET.Memory >= RequestMemory && Site == "A"']) >= {"memory", "requestmemory", "site"}
    assert "LastNegotiationCycleMatches2" in cycle_attributes()
    assert "HAS_CVMFS_*" not in attributes("slots")
    assert questions.quoted('a"b\\c') == '"a\\"b\\\\c"'


@pytest.mark.pool
class TestRealPool:
    def test_rounds_in_between_are_as_whole_ones(self, pool: Pool) -> None:
        """On a pool with jobs, after a reading of everything."""
        clusters = pool.submit(["request_gpus = 1\narguments = 120\nqueue 3"])
        address = (pool.address,)
        try:
            pool.wait_for(lambda: len(pool.executing(clusters)) == 3, 40, "three jobs run")
            questions.slots(address, AT, "s")
            less = questions.slots(address, AT, "s")
            questions._memory(address).read_at = float("-inf")
            whole = questions.slots(address, AT, "s")
        finally:
            pool.tool("condor_rm", *map(str, clusters))
        for got, expected, key in zip(less, whole, (["name"], ["machine", "device_id"]), strict=True):
            unsteady = ["heard_at", "disk_mib", "total_disk_mib"]
            left, right = (
                made.frame.drop(columns=[*unsteady, "ad"], errors="ignore").sort_values(
                    key, ignore_index=True
                )
                for made in (got, expected)
            )
            pd.testing.assert_frame_equal(left, right)
        names = [
            set(re.findall(r"(?:\[ |; )(\w+) = ", ad.lower()))
            for ad in less[0].frame.sort_values("name")["ad"]
        ]
        again = [
            set(re.findall(r"(?:\[ |; )(\w+) = ", ad.lower()))
            for ad in whole[0].frame.sort_values("name")["ad"]
        ]
        told = [
            (sorted(mine - theirs), sorted(theirs - mine)) for mine, theirs in zip(names, again, strict=True)
        ]
        assert told == [([], [])] * len(told)

    def test_a_machine_that_came_since_is_asked_whole(self, pool: Pool) -> None:
        address = (pool.address,)
        memory = Memory()
        ads = htcondor2.Collector(pool.address).query(htcondor2.AdType.Startd)
        machines = sorted({str(ad["Machine"]) for ad in ads})
        known = [ad for ad in ads if ad["Machine"] != machines[0]]
        memory.add(columns_of(known)[0])
        memory.settle(0.0, frozenset())
        told = columns_of(ads)[0]
        assert len(memory.completed(told)[1]) == len(ads) - len(known)
        questions._completed(told, address, memory)
        assert memory.completed(told)[1] == []

    def test_a_large_pool_is_read_in_parts(self, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        """By two processes, each machine whole: no slot twice, none missing, and nothing said otherwise."""
        from collectors import daemons

        pool.wait_for(lambda: not pool.slots("DynamicSlot"), 60, "an idle pool")
        whole, told = questions.slots((pool.address,), AT, "s")
        monkeypatch.setattr(daemons, "PART_SLOTS", 3)
        asked = daemons.Daemons(pool.address)
        try:
            found, devices = asked.slots(AT, "s")
            again, _ = asked.slots(AT, "s")
            parts = asked._cut
        finally:
            asked.close()
        assert len(parts) > 2
        # what stays as it is while claims end
        columns = [
            "name",
            "machine",
            "slot_type",
            "site",
            "total_cpus",
            "total_memory_mib",
            "total_gpus",
            "cvmfs",
            "start",
        ]
        key = ["machine", "device_id"]
        own = [*key, "model", "capability", "memory_mib", "mig", "startd"]
        for made in (found, again):
            left, right = (one.frame[columns].sort_values("name", ignore_index=True) for one in (made, whole))
            pd.testing.assert_frame_equal(left, right)
        left, right = (one.frame[own].sort_values(key, ignore_index=True) for one in (devices, told))
        pd.testing.assert_frame_equal(left, right)


def test_parts_leave_nobody_out() -> None:
    """Whatever a machine is called, or not called at all, one part has it; judged as a collector judges."""
    from collectors.questions import Part

    edges = [None, "g", 'n"1', "z9", None]
    parts = [Part(*pair) for pair in itertools.pairwise(edges)]
    ads = [
        '[ Machine = "A" ]',
        '[ Machine = "G" ]',
        '[ Machine = "n\\"1" ]',
        '[ Machine = "zz" ]',
        "[ ]",
        "[ Machine = 5 ]",
    ]
    for text in ads:
        ad = parse_one(text)
        chosen = []
        for part in parts:
            ad["Chosen"] = expression(part.constraint or "true")
            chosen.append(ad.eval("Chosen") is True)
        assert chosen.count(True) == 1, (text, chosen)
