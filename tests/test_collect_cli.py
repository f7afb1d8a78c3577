"""`poolscope collect` from outside: what it keeps of a real pool, and what it says where there is none."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sim.store import Store
from tests import needs
from tests.realpool.configuration import PoolSpec
from tests.realpool.hosts import HOSTS, Host
from tests.realpool.pool import Pool

PROGRAM = str(Path(sys.executable).with_name("poolscope"))
SOURCES = {"pool", "schedd", "history", "negotiator"}


def environment(**more: str) -> dict[str, str]:
    """A user's environment without HTCondor configuration and without a store of one's own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("_CONDOR", "CONDOR", "POOLSCOPE"))
    }
    return {**kept, **more}


def poolscope(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(**more),
    )


def ads(text: str) -> list[dict[str, str]]:
    """What a tool printed with -long, read line by line."""
    blocks = [
        dict(line.split(" = ", 1) for line in block.splitlines() if " = " in line)
        for block in text.split("\n\n")
    ]
    return [{name: value.strip('"') for name, value in block.items()} for block in blocks if block]


class TestNoPool:
    def test_closed_port(self, tmp_path: Path) -> None:
        began = time.monotonic()
        ended = poolscope("collect", "--once", "--pool", "127.0.0.1:1", "--data", str(tmp_path / "s"))
        assert time.monotonic() - began < 10
        assert (ended.returncode, ended.stdout) == (3, "")
        assert ended.stderr.count("\n") == 1
        assert "127.0.0.1:1" in ended.stderr
        assert "unreachable or refused" in ended.stderr
        assert not (tmp_path / "s").exists()

    @pytest.mark.slow
    def test_open_but_silent_port(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            began = time.monotonic()
            ended = poolscope(
                "collect", "--once", "--pool", f"127.0.0.1:{port}", "--data", str(tmp_path / "s")
            )
        assert time.monotonic() - began < 15
        assert (ended.returncode, ended.stdout) == (3, "")
        assert re.search(rf"127\.0\.0\.1:{port}: (unreachable or refused|no answer within)", ended.stderr)
        assert ended.stderr.count("\n") == 1
        assert not (tmp_path / "s").exists()

    def test_unknown_host(self, tmp_path: Path) -> None:
        ended = poolscope(
            "collect", "--once", "--pool", "no-such-host.invalid", "--data", str(tmp_path / "s")
        )
        assert ended.returncode == 3
        assert "no-such-host.invalid:9618" in ended.stderr
        assert not (tmp_path / "s").exists()

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--every", "15s"], r"--every 15 s: at least 60 s; .*--test-pool"),
            (["--every", "15s", "--test-pool", "--pool", "cm.example.org"], r"loopback address.*'cm.example.org'"),
            (["--every", "0s", "--test-pool"], r"--every 0 s"),
            (["--every", "soon"], r"'soon' is no quantity"),
            (["--every", "5m", "--once"], r"choose one"),
            (["--evry", "5m"], r"No such option"),
            (["now"], r"unexpected extra argument"),
        ],
    )  # fmt: skip
    def test_wrong_use(self, tmp_path: Path, arguments: list[str], said: str) -> None:
        began = time.monotonic()
        ended = poolscope("collect", "--data", str(tmp_path / "s"), *arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert re.search(said, ended.stderr)
        assert "Traceback" not in ended.stderr
        assert time.monotonic() - began < 10
        assert not (tmp_path / "s").exists()


class TestWhichStore:
    """Reading commands say `no data` where somebody named an empty folder, and use the sample where nobody did."""

    @pytest.mark.parametrize("place", ["after", "before"])
    def test_a_named_empty_store(self, tmp_path: Path, place: str) -> None:
        data = ["--data", str(tmp_path)]
        arguments = ["match", "true", *data] if place == "after" else [*data, "match", "true"]
        ended = poolscope(*arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert f"--data {tmp_path}: no data" in ended.stderr
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["POOLSCOPE_DATA", "XDG_DATA_HOME"])
    def test_an_empty_store_of_ones_own(self, tmp_path: Path, name: str) -> None:
        ended = poolscope("match", "true", "--json", **{name: str(tmp_path / "none")})
        assert ended.returncode == 0
        assert "bundled sample" in ended.stderr
        assert json.loads(ended.stdout)["gpus"]["drained"] > 0


@pytest.fixture(scope="module")
def growing() -> Iterator[Pool]:
    """A pool that has no host yet."""
    if obstacle := needs.pool_obstacle():
        needs.need(obstacle)
    with Pool(PoolSpec(hosts=(), submitters=(), update_interval_s=2)) as running:
        yield running


@pytest.mark.pool
def test_a_pool_without_slots_and_one_without_gpus(growing: Pool, tmp_path: Path) -> None:
    """Each is wrong input, said in one sentence with the address; nothing is written."""
    once = ("collect", "--once", "--pool", growing.address, "--data", str(tmp_path / "s"))
    ended = poolscope(*once)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(rf"poolscope: .*{growing.address}: .*no slots.*\n", ended.stderr)
    growing.add_host(Host("cpu", "c1.site.example", 4, 4096, "Site", "Site-CE"))
    ended = poolscope(*once)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(rf"poolscope: .*{growing.address}: 1 slots?, but no GPU.*\n", ended.stderr)
    assert not (tmp_path / "s").exists()


class Kept:
    """A snapshot as the program kept it, and what the pool's own tools said just before and after."""

    def __init__(self, pool: Pool, store: Path) -> None:
        self.started = pool.submit(
            'request_gpus = 1\narguments = 600\n+RequirementClass = "a  b"\n+ExpectedRuntime = 3600'
        )
        self.cpu = pool.submit('request_cpus = 2\narguments = 600\nenvironment = "PASSWORD=tops3cret"')
        self.never = pool.submit('request_gpus = 1\nrequirements = GPUs_Capability > 99 && Machine != "a  b"')
        self.removed = pool.submit("arguments = 600\nrequirements = false")
        self.done = pool.submit("arguments = 0\nrequest_gpus = 1")
        pool.tool("condor_rm", *map(str, self.removed))
        pool.wait_for_jobs(self.done)
        pool.wait_for(lambda: len(pool.executing([*self.started, *self.cpu])) == 2, 30, "both jobs run")
        pool.wait_for(
            lambda: sum(slot["State"] == "Claimed" for slot in pool.slots("DynamicSlot")) >= 2, 30, "seen"
        )
        for _ in range(3):
            before, accounted = self.slots_now(pool), self.accounted_now(pool)
            self.ended = poolscope("collect", "--pool", pool.address, "--data", str(store), "--json")
            self.accounted = accounted & self.accounted_now(pool)
            if before == self.slots_now(pool):
                break
        self.slots = before
        self.queue = ads(pool.tool("condor_q", "-allusers", "-long"))
        self.history = ads(pool.tool("condor_history", "-long"))
        self.answer: dict[str, Any] = json.loads(self.ended.stdout)
        self.store = Store(store)

    @staticmethod
    def accounted_now(pool: Pool) -> set[str]:
        """Whom the accounting ads that the collector still has name."""
        return {
            str(ad["Name"])
            for ad in ads(
                pool.tool("condor_status", "-any", "-constraint", 'MyType == "Accounting"', "-long")
            )
        }

    @staticmethod
    def slots_now(pool: Pool) -> dict[str, dict[str, str]]:
        wanted = (
            "Name",
            "Machine",
            "State",
            "SlotType",
            "Cpus",
            "Memory",
            "GPUs",
            "AssignedGPUs",
            "TotalSlotGPUs",
        )
        return {
            ad["Name"]: {name: ad[name] for name in wanted if name in ad}
            for ad in ads(pool.tool("condor_status", "-long"))
        }

    def read(self, frame: str) -> pd.DataFrame:
        return self.store.read(frame, snapshot=self.answer["snapshot"])


@pytest.fixture(scope="module")
def kept(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    made = Kept(pool, tmp_path_factory.mktemp("collect") / "store")
    yield made
    pool.tool("condor_rm", *map(str, [*made.started, *made.cpu, *made.never]))


@pytest.mark.pool
class TestRealPool:
    def test_what_it_says(self, kept: Kept) -> None:
        """One JSON object: the snapshot, and rows, seconds and error of each source."""
        assert kept.ended.returncode == 0
        assert set(kept.answer["sources"]) >= SOURCES
        for told in kept.answer["sources"].values():
            assert told["error"] is None
            assert told["rows"] > 0
            assert 0 <= told["seconds"] < 30
            # a submitter that only has a factor is told without a priority; it is counted, not kept
            assert set(told.get("rejects", {})) <= {"no Name, Priority or PriorityFactor"}
        assert kept.store.latest() == kept.answer["snapshot"]
        assert kept.store.problems == []

    def test_slots(self, kept: Kept) -> None:
        found = kept.read("slots").set_index("name")
        assert set(found.index) == set(kept.slots)
        for name, true in kept.slots.items():
            row = found.loc[name]
            assert (row["machine"], row["state"], row["slot_type"]) == (
                true["Machine"],
                true["State"],
                true["SlotType"].lower(),
            )
            assert (row["cpus"], row["memory_mib"], row["gpus"]) == (
                float(true["Cpus"]), float(true["Memory"]), int(true.get("GPUs", 0)),
            )  # fmt: skip

    def test_devices(self, kept: Kept) -> None:
        """Every physical device once: what the simulated hosts were made of, and what condor_status lists."""
        devices = kept.read("devices")
        listed = {
            (ad["Machine"], one)
            for ad in kept.slots.values()
            if "AssignedGPUs" in ad
            for one in ad["AssignedGPUs"].split(",")
        }
        assert set(zip(devices["machine"], devices["device_id"], strict=True)) == listed
        assert len(devices) == len(listed)
        expected = Counter[tuple[str, str | None, float | None, float]]()
        for host in HOSTS:
            for kind, n in host.gpus:
                expected[host.machine, kind.model, kind.capability, float(kind.memory_mib)] += n * (
                    7 if kind.model is None else 1
                )
        plain = devices[["machine", "model", "capability", "memory_mib"]].astype(object)
        found = Counter(plain.where(plain.notna(), None).itertuples(index=False, name=None))
        assert found == expected
        claimed = {
            (ad["Machine"], one): name
            for name, ad in kept.slots.items()
            if ad["State"] == "Claimed" and "AssignedGPUs" in ad
            for one in ad["AssignedGPUs"].split(",")
        }
        mine = devices[devices["state"] == "claimed"]
        assert (
            dict(zip(zip(mine["machine"], mine["device_id"], strict=True), mine["slot"], strict=True))
            == claimed
        )
        assert len(claimed) >= 1

    def test_queue_and_history(self, kept: Kept) -> None:
        """Every job, with the status that the tools show."""
        jobs = kept.store.jobs().set_index("job_id")
        names = {"1": "idle", "2": "running", "3": "removed", "4": "completed", "5": "held"}
        true = {
            f"{ad['ClusterId']}.{ad['ProcId']}": ad
            for ad in [*kept.history, *kept.queue]
            if ad["JobUniverse"] == "5"  # another test of this pool submits jobs that ask for no slot
        }
        assert set(jobs.index) == set(true)
        for job, ad in true.items():
            row = jobs.loc[job]
            assert row["status"] == names[ad["JobStatus"]]
            assert (row["request_cpus"], row["request_gpus"]) == (
                float(ad["RequestCpus"]),
                int(ad.get("RequestGPUs", 0)),
            )
            assert row["submitted_at"].timestamp() == int(ad["QDate"])
            assert str(row["requirements"]).count("(") == ad["Requirements"].count("(")
        status = jobs["status"]
        assert status[[f"{one}.0" for one in [*kept.started, *kept.cpu]]].tolist() == ["running"] * 2
        assert status[[f"{one}.0" for one in [*kept.never, *kept.removed, *kept.done]]].tolist() == [
            "idle", "removed", "completed",
        ]  # fmt: skip

    def test_attempts(self, kept: Kept, pool: Pool) -> None:
        """One per epoch ad that condor_history prints; running jobs have none yet."""
        epochs = ads(pool.tool("condor_history", "-epochs", "-long"))
        attempts = kept.store.attempts()
        true = Counter((f"{ad['ClusterId']}.{ad['ProcId']}", int(ad["JobCurrentStartDate"])) for ad in epochs)
        found = Counter(
            (job, int(at.timestamp()))
            for job, at in zip(attempts["job_id"], attempts["started_at"], strict=True)
        )
        assert found == true
        assert f"{kept.done[0]}.0" in set(attempts["job_id"])

    def test_priorities(self, kept: Kept, pool: Pool) -> None:
        rows = [line.split() for line in pool.tool("condor_userprio", "-allusers", "-priority").splitlines()]
        true = {row[0]: float(row[3]) for row in rows if len(row) > 3 and "@" in row[0]}
        people = kept.read("priorities")
        people = people[~people["is_group"]].set_index("submitter")
        found = people["factor"].to_dict()
        # a negotiator that is too busy to be asked is read from its accounting ads, and they fall silent, and out of the
        # collector, for submitters without use: whom an ad named just before and just after, the frame has
        assert kept.accounted & set(true)
        assert kept.accounted & set(true) <= set(found)
        assert found == pytest.approx({name: true[str(name)] for name in found})

    def test_own_attributes_and_no_secrets(self, kept: Kept) -> None:
        jobs = kept.store.jobs().set_index("job_id")
        text = str(jobs.loc[f"{kept.started[0]}.0", "ad"])
        assert 'RequirementClass = "a  b"' in text
        assert "ExpectedRuntime = 3600" in text
        assert '"a  b"' in str(jobs.loc[f"{kept.never[0]}.0", "requirements"])
        for frame in ("slots", "jobs"):
            texts = "\n".join(kept.store.read(frame)["ad"])
            assert not re.search(
                r"(?i)claimid|\bCapability = \"|Environment|tops3cret|MyAddress|<127\.0\.0\.1", texts
            )
        held = b"".join(path.read_bytes() for path in kept.store.path.rglob("*") if path.is_file())
        assert b"tops3cret" not in held

    @pytest.mark.slow
    def test_stopped_by_a_signal(self, kept: Kept, pool: Pool, tmp_path: Path) -> None:
        """Every few seconds, once stopped it ends at once with what it has written whole; told once more, no job comes twice."""
        store = tmp_path / "s"
        command = [
            PROGRAM,
            "collect",
            "--every",
            "1s",
            "--test-pool",
            "--pool",
            pool.address,
            "--data",
            str(store),
            "--json",
        ]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        ) as running:
            assert running.stdout is not None
            rounds = [json.loads(running.stdout.readline()) for _ in range(2)]
            time.sleep(0.7)
            running.send_signal(signal.SIGTERM)
            rest, errors = running.communicate(timeout=20)
        rounds += [json.loads(line) for line in rest.splitlines()]
        assert (running.returncode, errors) == (0, "")
        reader = Store(store)
        assert reader.snapshots()["id"].tolist() == [one["snapshot"] for one in rounds]
        assert set(reader.read("slots")["snapshot"]) == {one["snapshot"] for one in rounds}
        assert not list(store.rglob("*.part"))
        raw = reader.read("jobs")
        assert not raw[raw["status"].isin(["completed", "removed"])].duplicated(["schedd", "job_id"]).any()
        assert not reader.read("attempts").duplicated(["schedd", "job_id", "started_at"]).any()
        assert len(reader.jobs()) == len(kept.store.jobs())

    def test_words(self, kept: Kept, pool: Pool, tmp_path: Path) -> None:
        """Without --json one line for people; POOLSCOPE_DATA names the store."""
        ended = poolscope("collect", "--once", "--pool", pool.address, POOLSCOPE_DATA=str(tmp_path / "s"))
        assert ended.returncode == 0
        (snapshot,) = Store(tmp_path / "s").snapshots()["id"]
        assert re.match(
            rf"snapshot {snapshot}: pool \d+, schedd \d+, history \d+, negotiator \d+.* rows\n$", ended.stdout
        )

    @pytest.mark.slow
    def test_a_store_that_cannot_be_written(self, kept: Kept, pool: Pool, tmp_path: Path) -> None:
        (tmp_path / "s").write_text("a file")
        ended = poolscope("collect", "--once", "--pool", pool.address, "--data", str(tmp_path / "s"))
        assert (ended.returncode, ended.stdout) == (2, "")
        assert re.search(r"s: can't (write|be read).*\n$", ended.stderr)
        assert "Traceback" not in ended.stderr
