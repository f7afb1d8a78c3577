"""One contract for all sources, live and recorded; and the live ones against HTCondor's own tools."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from collectors.daemons import Daemons
from collectors.history import HistorySource
from collectors.negotiator import NegotiatorSource
from collectors.pool import PoolSource
from collectors.recorded import RecordedSource
from collectors.schedd import ScheddSource
from collectors.settings import SettingsSource
from collectors.source import Moment, Reading, Source
from sim.errors import PoolscopeError, SourceError
from sim.schema import conform, describe
from tests.collectors.made import SLOT
from tests.realpool.pool import Pool

LIVE: dict[str, Callable[[Daemons], Source]] = {
    "pool": PoolSource, "schedd": ScheddSource, "history": HistorySource, "negotiator": NegotiatorSource,
    "settings": SettingsSource,
}  # fmt: skip
FRAMES = {
    "pool": {"slots", "devices"}, "schedd": {"jobs"}, "history": {"jobs", "attempts"},
    "negotiator": {"cycles", "priorities"}, "settings": {"settings"}, "recorded": {"slots", "devices"},
}  # fmt: skip


def now(name: str = "s") -> Moment:
    return Moment(pd.Timestamp.now(tz="UTC").floor("us"), name)


@pytest.fixture
def daemons(pool: Pool) -> Iterator[Daemons]:
    asked = Daemons(pool.address)
    yield asked
    asked.close()


@pytest.fixture(params=["recorded", *(pytest.param(name, marks=pytest.mark.pool) for name in LIVE)])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    if request.param == "recorded":
        (tmp_path / "slots").write_text(SLOT)
        return RecordedSource([tmp_path / "slots"])
    daemons: Daemons = request.getfixturevalue("daemons")
    return LIVE[request.param](daemons)


class TestEverySource:
    def test_frames_are_whole(self, source: Source) -> None:
        """Known frames that conform to their schema, of this snapshot, and none of its ads left out."""
        moment = now()
        reading = source.read(moment)
        assert set(reading.frames) == FRAMES[source.name]
        assert not reading.errors
        assert not reading.rejects
        for name, frame in reading.frames.items():
            pd.testing.assert_frame_equal(frame, conform(frame, name))
            if "snapshot" in frame and len(frame):
                assert set(frame["snapshot"]) == {moment.snapshot}
                assert (frame["seen_at"] - moment.at).abs().max() < pd.Timedelta(seconds=5)

    def test_can_be_read_again(self, source: Source) -> None:
        assert set(source.read(now("a")).frames) == set(source.read(now("b")).frames)

    def test_rows_are_counted(self, source: Source) -> None:
        reading = source.read(now())
        assert reading.rows == sum(len(frame) for frame in reading.frames.values())

    def test_times_are_utc(self, source: Source) -> None:
        for name, frame in source.read(now()).frames.items():
            for column in describe(name):
                if column.dtype == "time":
                    assert str(frame[column.name].dt.tz) == "UTC"


@pytest.mark.parametrize("name", LIVE)
def test_no_pool(name: str) -> None:
    """Each says where, and what to check."""
    daemons = Daemons("127.0.0.1:1")
    with pytest.raises(
        SourceError, match=r"collector 127\.0\.0\.1:1: unreachable or refused; check the address"
    ):
        LIVE[name](daemons).read(now())
    daemons.close()


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(PoolscopeError, match="no such file"):
        RecordedSource([tmp_path / "x"]).read(now())


@pytest.mark.pool
class TestAgainstTools:
    """What condor_status and condor_q print is read as the daemons' own answers are."""

    @pytest.fixture
    def busy(self, pool: Pool) -> Iterator[Pool]:
        """A pool with a running GPU job, one on a whole host, and one that can't run."""
        clusters = [
            *pool.submit("request_gpus = 1\narguments = 600\ngpus_minimum_capability = 7.5", owner="alice"),
            *pool.submit("request_gpus = 4\narguments = 600\nrequest_memory = 4 GB"),
            *pool.submit("request_gpus = 1\nrequirements = Machine == \"a  b\" && GPUs_Capability >= 9.5"),
        ]  # fmt: skip
        pool.wait_for(lambda: len(pool.executing(clusters)) == 2, 40, "two jobs run")
        pool.wait_for(
            lambda: sum(ad["State"] == "Claimed" for ad in pool.slots("DynamicSlot")) >= 2,
            30,
            "two claims seen",
        )
        yield pool
        pool.tool("condor_rm", *map(str, clusters))

    @pytest.mark.parametrize("form", ["-long", "-json", "-xml"])
    def test_slots_and_queue(self, busy: Pool, tmp_path: Path, form: str) -> None:
        """All columns but those that count the time; tried again where the pool moved in between."""
        daemons = Daemons(busy.address)
        different: list[str] = []
        for _ in range(20):
            live = {**PoolSource(daemons).read(now()).frames, **ScheddSource(daemons).read(now()).frames}
            (tmp_path / "status").write_text(busy.tool("condor_status", form))
            (tmp_path / "queue").write_text(busy.tool("condor_q", "-allusers", form))
            told = RecordedSource([tmp_path]).read(now()).frames
            assert set(told) == set(live) == {"slots", "devices", "jobs"}
            different = _differences(live, told)
            if not different:
                break
            time.sleep(1)
        daemons.close()
        assert different == []
        assert (live["devices"]["state"] == "claimed").sum() == 5
        assert len(live["jobs"]) == 3
        assert sorted(live["jobs"]["status"]) == ["idle", "running", "running"]

    @pytest.mark.slow
    def test_history_goes_on_where_it_was(self, pool: Pool, daemons: Daemons) -> None:
        """Jobs and attempts that were read are not asked for again, and none is missed."""
        source = HistorySource(daemons)
        first = pool.submit("arguments = 0\nrequest_gpus = 1\nqueue 2")
        pool.wait_for_jobs(first)
        before = _settled(pool, source, first)
        assert {f"{first[0]}.0", f"{first[0]}.1"} <= set(before.frames["jobs"]["job_id"])
        again = source.read(Moment(now().at, "t", before.cursor))
        assert again.frames["jobs"].empty
        second = pool.submit("arguments = 0", owner="bob")
        pool.wait_for_jobs(second)
        after = _settled(pool, source, second, before.cursor)
        assert list(after.frames["jobs"]["job_id"]) == [f"{second[0]}.0"]
        assert f"{second[0]}.0" in set(after.frames["attempts"]["job_id"])
        assert len(after.frames["attempts"]) <= 3
        assert after.cursor != before.cursor

    def test_history_without_the_mark(self, pool: Pool, daemons: Daemons) -> None:
        """Where the last known job has left the history, all of it is read."""
        done = pool.submit("arguments = 0")
        pool.wait_for_jobs(done)
        source = HistorySource(daemons)
        whole = _settled(pool, source, done)
        (schedd,) = whole.cursor
        lost = {schedd: {"job": "999999.0", "epoch_s": None}}
        assert len(source.read(Moment(now().at, "t", lost)).frames["jobs"]) == len(whole.frames["jobs"])

    @pytest.mark.slow
    def test_a_silent_schedd_hides_no_other(self, pool: Pool, daemons: Daemons) -> None:
        """The collector knows a second schedd that accepts and never answers."""
        with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
            port = server.getsockname()[1]
            ad = (
                'MyType = "Scheduler"\nName = "silent.example"\nMachine = "silent.example"\n'
                f'MyAddress = "<127.0.0.1:{port}>"\nScheddIpAddr = "<127.0.0.1:{port}>"\n'
                'CondorVersion = "$CondorVersion: 23.9.6 2026-07-12 PackageID: 23.9.6 $"\n'
            )
            pool.tool("condor_advertise", "UPDATE_SCHEDD_AD", "-", stdin=ad)
            job = pool.submit("requirements = false")
            try:
                began = time.monotonic()
                queue = ScheddSource(daemons).read(now())
                history = HistorySource(daemons).read(now())
                assert time.monotonic() - began < 60
            finally:
                pool.tool("condor_rm", str(job[0]))
                gone = 'MyType = "Query"\nTargetType = "Scheduler"\nRequirements = Name == "silent.example"\n'
                pool.tool("condor_advertise", "INVALIDATE_SCHEDD_ADS", "-", stdin=gone)
        assert f"{job[0]}.0" in set(queue.frames["jobs"]["job_id"])
        assert len(queue.errors) == len(history.errors) == 1
        assert queue.errors[0].startswith("schedd silent.example: ")
        assert history.errors[0].startswith("history of schedd silent.example: not asked")
        assert "silent.example" not in {name for name, marks in history.cursor.items() if marks}

    def test_jobs_that_run_on_the_access_point(self, pool: Pool, daemons: Daemons) -> None:
        """A DAGMan's kind of job is neither in the queue nor in the history: it asks for no slot."""
        (waits,) = pool.submit("requirements = false")
        (runs,) = pool.submit("universe = scheduler\narguments = 600")
        (ends,) = pool.submit("universe = scheduler\narguments = 0")
        pool.wait_for_jobs([ends])
        printed = pool.tool("condor_q", "-allusers", "-af", "ClusterId").split()
        assert {str(waits), str(runs)} <= set(printed)
        reading = ScheddSource(daemons).read(now())
        past = HistorySource(daemons).read(now())
        pool.tool("condor_rm", str(waits), str(runs))
        found = {job.partition(".")[0] for job in reading.frames["jobs"]["job_id"]}
        assert str(waits) in found
        assert str(runs) not in found
        assert str(ends) not in {job.partition(".")[0] for job in past.frames["jobs"]["job_id"]}
        assert not reading.rejects

    def test_cycles_and_priorities(self, pool: Pool, daemons: Daemons) -> None:
        """Three cycles; every submitter with the factor that condor_userprio prints."""
        source = NegotiatorSource(daemons)
        pool.wait_for(lambda: len(source.read(now()).frames["cycles"]) >= 3, 30, "three cycles")
        frames = source.read(now()).frames
        (ad,) = pool.ads("condor_status", "-negotiator")
        assert len(frames["cycles"]) == 3
        assert set(frames["cycles"]["negotiator"]) == {ad["Name"]}
        people = frames["priorities"]
        factors = dict(zip(people["submitter"], people["factor"], strict=True))
        for submitter in pool.spec.submitters:
            assert factors[submitter.name] == pytest.approx(submitter.factor)

    @pytest.mark.slow
    def test_priorities_of_more_than_ten(self, pool: Pool, daemons: Daemons) -> None:
        """The bindings take the last digit of a submitter's number for the whole of it."""
        _, (negotiator,) = daemons.cycles()
        many = {f"one-of-many-{n}@pool.example": 100.0 + n for n in range(120)}
        for name, factor in many.items():
            pool.tool("condor_userprio", "-setfactor", name, str(factor))
        bounded = "one-of-many-77@pool.example"
        pool.tool("condor_userprio", "-setceil", bounded, "7")
        pool.tool("condor_userprio", "-setfloor", bounded, "3")
        try:
            rows = [
                line.split() for line in pool.tool("condor_userprio", "-allusers", "-priority").splitlines()
            ]
            people = daemons.priorities(negotiator, now().at, "s").frame
        finally:
            for name in many:
                pool.tool("condor_userprio", "-delete", name)
        true = {row[0]: float(row[3]) for row in rows if len(row) > 3 and "@" in row[0]}
        assert many.items() <= true.items()
        own = people[~people["is_group"]]
        assert dict(zip(own["submitter"], own["factor"], strict=True)) == pytest.approx(true)
        told = own.set_index("submitter")[["ceiling_cores", "floor_cores"]].dropna()
        assert told.to_dict("index") == {bounded: {"ceiling_cores": 7.0, "floor_cores": 3.0}}

    @pytest.mark.slow
    def test_accounting_ads_say_the_same(self, pool: Pool, daemons: Daemons) -> None:
        """They stand in for a negotiator that can't be asked."""
        for owner in ("erin", "frank"):  # the collector hears of users once they have used something
            pool.wait_for_jobs(pool.submit("arguments = 0", owner=owner))
        _, (negotiator,) = daemons.cycles()
        pool.wait_for(
            lambda: len(daemons.accounting(negotiator, now().at, "s").frame) > 2,
            60,
            "accounting ads are there",
        )
        known = daemons.accounting(negotiator, now().at, "s").frame
        merged = daemons.priorities(negotiator, now().at, "s").frame.merge(
            known, on=["submitter", "is_group"]
        )
        assert len(merged) == len(known) > 1
        users = merged[~merged["is_group"]]  # the two give the root group different factors
        assert len(users) > 1
        assert list(users["factor_x"]) == pytest.approx(list(users["factor_y"]))


def _settled(pool: Pool, source: Source, clusters: list[int], cursor: Any = None) -> Reading:
    """A reading that knows the attempts of these clusters: the epoch may be written a moment after the job has left."""

    def read() -> Reading | None:
        reading = source.read(Moment(now().at, "s", cursor))
        known = {job.partition(".")[0] for job in reading.frames["attempts"]["job_id"]}
        return reading if {str(cluster) for cluster in clusters} <= known else None

    found: Reading | None = pool.wait_for(read, 20, "the attempts are in the history")
    assert found is not None
    return found


def _differences(first: Mapping[str, pd.DataFrame], second: Mapping[str, pd.DataFrame]) -> list[str]:
    """Columns in which two readings differ, but for times of asking and the free disk, which wobbles."""
    found = []
    keys = {"slots": ["name"], "devices": ["machine", "device_id"], "jobs": ["job_id"]}
    wobbling = {"seen_at", "heard_at", "snapshot", "disk_mib", "total_disk_mib", "wall_s"}
    for name, key in keys.items():
        left, right = (
            frames[name].sort_values(key, ignore_index=True).drop(columns=wobbling & set(frames[name]))
            for frames in (first, second)
        )
        if len(left) != len(right):
            found.append(f"{name}: {len(left)} and {len(right)} rows")
            continue
        if "ad" in left:
            left, right = (
                frame.assign(
                    ad=frame["ad"].str.replace(r"\b(Total|TotalSlot)?Disk = [\d.e+]+", "", regex=True)
                )
                for frame in (left, right)
            )
        found += [f"{name}.{column}" for column in left if not left[column].equals(right[column])]
        if f"{name}.ad" in found:
            for a, b in zip(left["ad"], right["ad"], strict=True):
                found += sorted(set(a.split(";")) ^ set(b.split(";")))
    return found
