"""What goes wrong in months: daemons that vanish, keep silent, refuse or talk nonsense; disks that are full or damaged."""

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from collectors.daemons import Daemons
from collectors.history import HistorySource
from collectors.pool import PoolSource
from collectors.rounds import collect_once, live_sources
from collectors.schedd import ScheddSource
from collectors.source import Moment
from sim.errors import SourceError, StoreError
from sim.store import Store, upkeep
from tests.collectors.endurance import watch
from tests.collectors.proxy import address_of, proxied, through
from tests.needs import need
from tests.realpool.configuration import PoolSpec
from tests.realpool.hosts import HOSTS
from tests.realpool.pool import Pool


def now(name: str = "s") -> Moment:
    return Moment(pd.Timestamp.now(tz="UTC").floor("us"), name)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def small() -> Iterator[Pool]:
    """A pool of its own with one host."""
    with Pool(PoolSpec(hosts=HOSTS[:1])) as running:
        yield running


@pytest.mark.pool
def _leave_history(pool: Pool) -> int:
    """Thirty jobs that nobody can run, and that are removed; give their cluster."""
    (cluster,) = pool.submit("requirements = false\nqueue 30")
    pool.tool("condor_rm", str(cluster))
    pool.wait_for_jobs([cluster])
    return cluster


class TestDaemons:
    def test_down_and_up_again(self, small: Pool, store: Store) -> None:
        with proxied(small.address) as way:
            sources = live_sources(way.address)
            assert collect_once(sources, store).sources["pool"]["rows"] > 0
            way.mode = "closed"
            with pytest.raises(SourceError, match="unreachable or refused"):
                collect_once(sources, store)
            way.mode = "open"
            assert collect_once(sources, store).sources["pool"]["error"] is None
            sources[0].daemons.close()  # type: ignore[attr-defined]
        assert len(store.records()) == 2
        assert upkeep.verify(store)["clean"]

    @pytest.mark.slow
    def test_silent(self, small: Pool) -> None:
        """Given up in time, and others are asked at once."""
        with proxied(small.address) as way:
            way.mode = "silent"
            daemons = Daemons(way.address)
            began = time.monotonic()
            with pytest.raises(SourceError):
                daemons.locations("schedd")
            assert time.monotonic() - began < 15
            daemons.close()

    def test_fail_over(self, small: Pool, store: Store) -> None:
        """The second collector of a list answers where the first is down."""
        sources = live_sources(["127.0.0.1:1", small.address])
        done = collect_once(sources, store)
        sources[0].daemons.close()  # type: ignore[attr-defined]
        assert done.sources["pool"]["rows"] > 0
        assert {name: told["error"] for name, told in done.sources.items() if told["error"]} == {}

    def test_a_schedd_that_vanishes_while_it_tells_its_history(self, small: Pool, store: Store) -> None:
        """Nothing of half an answer is kept, and the next reading has it all."""
        _leave_history(small)
        daemons = Daemons(small.address)
        (real,) = daemons.locations("schedd")
        history = HistorySource(daemons)
        first = history.read(now())
        second = history.read(Moment(now().at, "s", first.cursor))
        n = len(first.frames["jobs"])
        assert n >= 30
        assert not [*first.errors, *second.errors]
        later = _leave_history(small)
        with proxied(address_of(real)) as way:
            far = through(real, way)
            daemons.locations = lambda kind: [far]  # type: ignore[method-assign]
            history.read(Moment(now().at, "s", second.cursor))
            bytes_told = way.n_bytes // max(1, way.n_connections)
            seen, n_broken = set[str](), 0
            for cut in (2000, bytes_told // 2, bytes_told - 1500):
                way.mode, way.cut_after = "cut", cut
                reading = history.read(Moment(now().at, "s", second.cursor))
                # half an answer is none, and the next one begins where this one did
                assert reading.frames["jobs"].empty or not reading.errors
                n_broken += bool(reading.errors)
                seen |= set(reading.frames["jobs"]["job_id"])
                way.mode = "open"
                whole = history.read(Moment(now().at, "s", reading.cursor))
                seen |= set(whole.frames["jobs"]["job_id"])
        daemons.close()
        assert n_broken >= 2
        assert {f"{later}.{proc}" for proc in range(30)} <= seen

    @pytest.mark.slow
    def test_garbage(self, small: Pool, store: Store) -> None:
        """What somebody's startd says in nonsense is counted or kept as it is; the rest is as ever."""
        huge = "x" * 1_000_000
        nested = "{" * 60 + "1" + "}" * 60
        told = [
            b'Odd = "caf\xe9 \xff\xfe"', b'Memory = real("NaN")', b"GPUs = -3", f'Odd = "{huge}"'.encode(),
            f"Odd = {nested}".encode(), b"DaemonStartTime = 99999999999999", b"Cpus = undefined + 1", b'State = 5',
            b"SlotWeight = Cpus * undefined", b'AssignedGPUs = 7', b"AvailableGPUs = { GPUs_GPU_1, 5, error }",
            b"LastHeardFrom = -5", b"Requirements = MY.Requirements", b'Name = "caf\xe9@latin"',
        ]  # fmt: skip
        good = PoolSource(Daemons(small.address)).read(now())
        for place, line in enumerate(told):
            name = b"" if line.startswith(b"Name") else f'Name = "slot1@garbage{place}.example"\n'.encode()
            text = (
                b'MyType = "Machine"\n%sMachine = "garbage%d.example"\nMyAddress = "<127.0.0.1:1>"\n%s\n'
                % (name, place, line)
            )
            file = small.folder / "garbage.ads"
            file.write_bytes(text)
            file.chmod(0o644)
            small.tool("condor_advertise", "UPDATE_STARTD_AD", f"/pools/{small.folder.name}/garbage.ads")
        daemons = Daemons(small.address)
        reading = PoolSource(daemons).read(now())
        again = PoolSource(daemons).read(now())  # a round in between
        once_more = PoolSource(daemons).read(now())  # whose rows are taken over
        collect_once([PoolSource(daemons)], store)
        daemons.close()
        assert once_more.rejects == again.rejects
        assert set(once_more.frames["slots"]["name"]) == set(again.frames["slots"]["name"])
        slots = reading.frames["slots"]
        assert reading.rejects["a negative amount"] == 1
        assert len(slots) >= len(good.frames["slots"]) + 10
        assert slots["memory_mib"].dropna().ge(0).all()
        assert set(again.frames["slots"]["name"]) == set(slots["name"])
        assert upkeep.verify(store)["clean"]


@pytest.mark.pool
@pytest.mark.slow
def test_denied(store: Store) -> None:
    """A schedd that lets nobody read is named; slots and cycles are kept."""
    with Pool(PoolSpec(hosts=HOSTS[:1], settings=(("SCHEDD.DENY_READ", "*"),))) as pool:
        sources = live_sources(pool.address)
        done = collect_once(sources, store)
        daemons: Daemons = sources[0].daemons  # type: ignore[attr-defined]
        daemons.close()
    assert done.sources["pool"]["error"] is None
    assert "unreachable or refused" in str(done.sources["schedd"]["error"])
    assert "unreachable or refused" in str(done.sources["history"]["error"])
    assert done.sources["negotiator"]["error"] is None


@pytest.fixture
def root() -> None:
    """Only root may mount a small disk."""
    if os.geteuid() != 0:
        need("no root: a small disk can't be mounted")


@pytest.mark.usefixtures("root")
class TestDisk:
    @pytest.mark.slow
    def test_full(self, tmp_path: Path) -> None:
        """A disk of 3 MB fills up: what was written stays whole, and with room again the watch goes on."""
        folder = tmp_path / "small"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)], check=True)
        try:
            made = watch(folder / "store", 80)
            made.run()
            store = Store(folder / "store")
            kept = set(store.records())
            assert made.failed > 0
            assert len(kept) >= 5
            assert upkeep.verify(store)["clean"]
            subprocess.run(["mount", "-o", "remount,size=30m", str(folder)], check=True)
            more = watch(folder / "store", 5)
            more.run()
            assert more.failed == 0
            assert kept < set(store.records())
            assert upkeep.verify(store)["clean"]
        finally:
            subprocess.run(["umount", str(folder)], check=True)

    def test_read_only(self, tmp_path: Path) -> None:
        """Reading goes on; writing says what is wrong."""
        folder = tmp_path / "disk"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(folder)], check=True)
        try:
            watch(folder / "store", 3).run()
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            store = Store(folder / "store")
            assert len(store.read("slots")["snapshot"].unique()) == 3
            assert upkeep.verify(store)["clean"]
            with pytest.raises(StoreError, match=os.strerror(errno.EROFS)):
                watch(folder / "store", 3).run()
            with pytest.raises(StoreError, match="can't write"):
                store.compact("2026-01-01")
        finally:
            subprocess.run(["umount", str(folder)], check=True)


class TestForeignFiles:
    def test_reported_and_skipped(self, store: Store, tmp_path: Path) -> None:
        """A truncated, an empty and a foreign file: named by verify, skipped by readers and compaction."""
        watch(store.path, 4).run()
        files = sorted(store.path.glob("frame=slots/*/*.parquet"))
        truncated, empty = files[1], files[2]
        truncated.write_bytes(truncated.read_bytes()[:-40])
        empty.write_bytes(b"")
        shutil.copy(next(store.path.glob("frame=jobs/*/*.parquet")), files[0].parent / "day-foreign.parquet")
        (store.path / "frame=slots" / "notes.txt").write_text("mine")
        (store.path / "snapshots" / "junk.json").write_text("[")
        reader = Store(store.path)
        assert len(reader.read("slots")["snapshot"].unique()) == 2
        told = upkeep.verify(store)
        assert not told["clean"]
        for name in (truncated.name, empty.name, "day-foreign.parquet", "junk.json"):
            assert any(name in problem for problem in told["problems"]), name
        assert sum("rows of slots" in problem for problem in told["problems"]) == 2
        store.compact("2026-01-01")
        assert len(Store(store.path).read("slots")["snapshot"].unique()) == 2
        more = watch(store.path, 2)
        more.run()
        assert more.failed == 0


@pytest.mark.pool
class TestTruth:
    def test_named_schedds(self, small: Pool) -> None:
        daemons = Daemons(small.address, schedds=["elsewhere"])
        reading = ScheddSource(daemons).read(now())
        daemons.close()
        assert reading.frames["jobs"].empty
