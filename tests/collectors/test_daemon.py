"""The watch goes on: back-off by source, one per store, clocks that jump, signals, upkeep, and what it says of itself."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from collectors.daemon import STATUS, Upkeep, Watch, check_status, only_one
from collectors.metrics import serve_metrics
from collectors.rounds import Round
from collectors.source import Reading
from dashboard.cli import cli
from dashboard.commands.collect import checked, from_file
from sim.errors import InputError, PoolscopeError, SourceError, StoreError
from sim.store import Store
from tests.collectors import endurance
from tests.collectors.endurance import FastClock, killed, soak
from tests.collectors.made import Told, pool
from tests.needs import need

PROGRAM = str(Path(sys.executable).with_name("poolscope"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


class Run:
    """A watch of so many rounds on a fast clock, and all it told."""

    def __init__(self, store: Store, rounds: int, *sources: Told, **more: Any) -> None:
        self.told: list[Round | PoolscopeError] = []
        stop = threading.Event()
        clock = more.pop("clock", None) or FastClock(rounds, stop)
        clock._stop = stop
        every_s = more.pop("every_s", 300.0)
        self.watch = Watch(
            sources, store, every_s, stop=stop, tell=self.told.append, jitter=0.0, clock=clock, **more
        )
        self.watch.run()


class TestBackOff:
    @pytest.mark.slow
    def test_a_source_that_fails_is_asked_less_and_less(self, store: Store) -> None:
        """And no other is asked less for it; what it says is in every record."""
        gone = Told("schedd", SourceError("schedd ap1: gone"))
        good = Told("last", Reading({}))
        run = Run(store, 40, pool(), gone, good)
        assert len(good.cursors) == 40
        assert 6 <= len(gone.cursors) <= 9
        errors = [record.meta["sources"]["schedd"]["error"] for record in store.records().values()]
        assert errors[0] == "schedd ap1: gone"
        assert errors[2] == "schedd: not asked, because it failed 2 times in a row (schedd ap1: gone)"
        assert run.watch.health["schedd"].failures == len(gone.cursors)

    def test_it_comes_back(self, store: Store) -> None:
        source = Told("schedd", *[SourceError("gone")] * 4, Reading({}))
        run = Run(store, 40, pool(), source)
        assert run.watch.health["schedd"].failures == 0
        assert len(source.cursors) > 20
        assert all(
            record.meta["sources"]["schedd"]["error"] is None
            for record in list(store.records().values())[-10:]
        )

    def test_without_slots_the_others_are_kept(self, store: Store) -> None:
        Run(store, 3, Told("pool", SourceError("collector: gone")), Told("schedd", Reading({})))
        assert len(store.records()) == 3
        assert store.read("slots").empty

    def test_nobody_answers(self, store: Store) -> None:
        run = Run(store, 3, Told("pool", SourceError("collector: gone")), Told("schedd", SourceError("gone")))
        assert str(run.told[0]) == "collector: gone"
        assert store.is_empty()
        assert run.watch.status(endurance.BEGAN)["sources"]["pool"]["failures"] == 2


class TestStore:
    def test_one_collector_at_a_time(self, store: Store) -> None:
        with only_one(store.path):
            who = rf"another collector is at work here \(pid {os.getpid()} on .* since .*\); stop it first"
            with pytest.raises(StoreError, match=who), only_one(store.path):
                pass
        with only_one(store.path):
            pass

    @pytest.mark.slow
    def test_two_programs_at_once(self, tmp_path: Path) -> None:
        command = [
            PROGRAM,
            "collect",
            "--pool",
            "127.0.0.1:1",
            "--every",
            "1s",
            "--test-pool",
            "--data",
            str(tmp_path / "s"),
        ]
        first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=_environment())
        try:
            _until(
                lambda: (tmp_path / "s/.collect.lock").exists() and (tmp_path / "s/.collect.lock").read_text()
            )
            second = subprocess.run(
                command, capture_output=True, text=True, timeout=30, check=False, env=_environment()
            )
        finally:
            first.send_signal(signal.SIGTERM)
            _, errors = first.communicate(timeout=20)
        assert second.returncode == 2
        assert f"pid {first.pid} on {socket.gethostname()}" in second.stderr
        assert first.returncode == 0
        assert "127.0.0.1:1: unreachable or refused" in errors
        assert "Traceback" not in errors + second.stderr

    def test_a_full_disk_is_tried_again(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """From the second round on; in the first it ends, because then it is a mistake."""
        append, calls = Store.append, []

        def full(self: Store, snapshot: Any) -> None:
            calls.append(1)
            if len(calls) in {2, 3}:
                raise StoreError("store: can't write (No space left on device); check space and permissions")
            append(self, snapshot)

        monkeypatch.setattr(Store, "append", full)
        run = Run(store, 5, pool())
        assert len(store.records()) == 3
        assert run.watch.failed == 2
        monkeypatch.setattr(
            Store, "append", lambda self, snapshot: (_ for _ in ()).throw(StoreError("can't write"))
        )
        with pytest.raises(StoreError):
            Run(store, 2, pool())

    @pytest.mark.slow
    def test_days_that_have_passed_are_merged_and_old_ones_deleted(self, store: Store) -> None:
        Run(store, 12 * 3 + 2, pool(), every_s=7200.0, upkeep=Upkeep(keep_s=86_400.0))
        files = list(store.path.glob("frame=slots/day=*/*.parquet"))
        days = {file.parent.name for file in files}
        assert days == {"day=2026-01-03", "day=2026-01-04"}
        assert len([file for file in files if file.parent.name == "day=2026-01-03"]) == 1
        assert {file.stem for file in store.path.glob("derived=sessions/*")} == {
            "2026-01-01",
            "2026-01-02",
            "2026-01-03",
        }


class TestClock:
    def test_a_jump_is_noted(self, store: Store) -> None:
        class Jumping(FastClock):
            def wait(self, stop: threading.Event, seconds: float) -> None:
                super().wait(stop, seconds)
                if self._left == 2:
                    self._at -= pd.Timedelta(hours=1)

        clock = Jumping(4, threading.Event())
        Run(store, 4, pool(), clock=clock)
        notes = sorted(record.meta.get("clock_jump_s", 0) for record in store.records().values())
        assert notes == [-3600.0, 0, 0, 0]
        assert len(store.read("slots")) == 4


class TestSayings:
    def test_status_and_check(self, store: Store) -> None:
        gone = Told("schedd", SourceError("schedd ap1: gone"))
        part = Told("negotiator", Reading({}, {"no Name": 2}, gaps={"cycles": 3}))
        run = Run(store, 3, pool(), gone, part)
        now = endurance.BEGAN + pd.Timedelta(minutes=11)
        told = check_status(store.path, now)
        assert (told["healthy"], told["running"], told["pid"]) == (False, True, os.getpid())
        assert {name: held["health"] for name, held in told["sources"].items()} == {
            "pool": "fresh", "schedd": "silent", "negotiator": "fresh",
        }  # fmt: skip
        assert told["sources"]["negotiator"]["gaps"] == {"cycles": 9}
        assert told["sources"]["pool"]["age_s"] == 60
        late = check_status(store.path, now + pd.Timedelta(hours=1))
        assert (late["healthy"], late["running"], late["sources"]["pool"]["health"]) == (False, False, "late")
        assert run.watch.rounds == 3

    def test_check_command(self, store: Store) -> None:
        fine = CliRunner().invoke(cli, ["check", "--data", str(store.path), "--json"])
        assert fine.exit_code == 0
        Run(store, 1, pool())
        stale = CliRunner().invoke(cli, ["check", "--data", str(store.path), "--json"])
        assert stale.exit_code == 3
        told = json.loads(stale.stdout)
        assert told["evaluator"] == {"error": None}
        assert told["store"]["snapshots"] == 1
        assert told["collector"]["sources"]["pool"]["health"] == "late"
        unreachable = CliRunner().invoke(
            cli, ["check", "--data", str(store.path / "x"), "--pool", "127.0.0.1:1"]
        )
        assert unreachable.exit_code == 3
        assert "127.0.0.1:1: unreachable or refused" in unreachable.stdout

    def test_a_damaged_status(self, store: Store) -> None:
        store.path.mkdir()
        (store.path / STATUS).write_text("{")
        with pytest.raises(InputError, match=r"collector\.json: damaged"):
            check_status(store.path, endurance.BEGAN)

    def test_metrics(self, store: Store) -> None:
        gone = Told("schedd", SourceError("gone"))
        run = Run(
            store, 2, pool(), gone, Told("negotiator", Reading({}, {'no "Name"': 2}, gaps={"cycles": 3}))
        )
        server = serve_metrics(run.watch, "127.0.0.1:0")
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{server.server_address[1]}/metrics", timeout=10
            ) as answer:
                text = answer.read().decode()
        finally:
            server.shutdown()
            server.server_close()
        lines = text.splitlines()
        assert 'poolscope_gpus{model="L40S",state="free"} 1.0' in lines
        assert 'poolscope_rejects_total{reason="no \\"Name\\"",source="negotiator"} 4.0' in lines
        assert 'poolscope_gaps_total{kind="cycles",source="negotiator"} 6.0' in lines
        assert 'poolscope_failures_in_a_row{source="schedd"} 2.0' in lines
        assert any(line.startswith('poolscope_data_age_seconds{source="pool"}') for line in lines)
        assert any(
            line.startswith("poolscope_store_bytes ") and float(line.split()[1]) > 1000 for line in lines
        )
        with pytest.raises(InputError, match="--metrics nowhere: can't listen there"):
            serve_metrics(run.watch, "nowhere")


class TestSettings:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[collect]\nevry = '5m'", r"knows no 'evry'; expected pool, every"),
            ("[collect]\nevery = 5", r"every = 5; expected a str"),
            ("[collect", r"no TOML"),
        ],
    )
    def test_wrong_files(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "x.toml").write_text(text)
        with pytest.raises(InputError, match=said):
            from_file(tmp_path / "x.toml")

    def test_a_file(self, tmp_path: Path) -> None:
        text = (Path(__file__).resolve().parents[2] / "packaging/poolscope.toml").read_text()
        (tmp_path / "x.toml").write_text(text)
        told = checked(from_file(tmp_path / "x.toml"), test_pool=False)
        assert (told.every, told.metrics, told.keep) == ("5m", "127.0.0.1:9120", "400 d")
        (tmp_path / "x.toml").write_text(text.replace('"5m"', '"5 s"'))
        with pytest.raises(InputError, match="at least 60 s"):
            checked(from_file(tmp_path / "x.toml"), test_pool=False)

    def test_attributes(self, tmp_path: Path) -> None:
        (tmp_path / "x.toml").write_text('[collect]\nattributes = ["GLIDEIN_Entry_Name"]')
        assert checked(from_file(tmp_path / "x.toml"), test_pool=False).attributes == ("GLIDEIN_Entry_Name",)
        (tmp_path / "x.toml").write_text('[collect]\nattributes = ["a b"]')
        with pytest.raises(InputError, match=r"'a b'.*expected the name of an attribute"):
            checked(from_file(tmp_path / "x.toml"), test_pool=False)

    def test_the_environment_stands_in_for_options(self, tmp_path: Path) -> None:
        ended = subprocess.run(
            [sys.executable, "-c", "from dashboard.cli import main; main()", "collect", "--once"],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "POOLSCOPE_COLLECT_POOL": "127.0.0.1:1",
                "POOLSCOPE_DATA": str(tmp_path / "s"),
                "POOLSCOPE_COLLECT_ATTRIBUTES": "A B",
            },
        )
        assert (ended.returncode, "127.0.0.1:1: unreachable" in ended.stderr) == (3, True), ended.stderr

    @pytest.mark.slow
    def test_reread_by_signal(self, tmp_path: Path) -> None:
        """New ones count from the next round on; wrong ones leave all as it is."""
        file = tmp_path / "x.toml"
        file.write_text('[collect]\npool = "127.0.0.1:1"\nevery = "1 s"\n')
        command = [
            PROGRAM,
            "collect",
            "--config",
            str(file),
            "--test-pool",
            "--log",
            "json",
            "--data",
            str(tmp_path / "s"),
        ]
        with (tmp_path / "log").open("w") as log:
            running = subprocess.Popen(command, stderr=log, env=_environment())
        try:
            read = (tmp_path / "log").read_text
            _until(lambda: "127.0.0.1:1:" in read())
            file.write_text('[collect]\npool = "127.0.0.1:2"\nevery = "1 s"\n')
            running.send_signal(signal.SIGHUP)
            _until(lambda: "127.0.0.1:2:" in read())
            file.write_text("[collect]\nevery = 7\n")
            running.send_signal(signal.SIGHUP)
            _until(lambda: "settings kept" in read())
        finally:
            running.send_signal(signal.SIGTERM)
            assert running.wait(timeout=20) == 0
        told = [json.loads(line) for line in read().splitlines() if line.startswith("{")]
        assert {"settings reread", "settings kept", "round failed"} <= {line["message"] for line in told}
        assert all({"at", "level"} <= line.keys() for line in told)


class TestEndurance:
    @pytest.mark.slow
    def test_killed_at_random_moments(self, tmp_path: Path) -> None:
        """`python -m benchmarks.kill 300` does it 300 times."""
        new = 0
        for told in killed(tmp_path / "store", 6):
            assert told["lost"] == set()
            assert told["verified"]["clean"], told["verified"]["problems"]
            assert told["problems"] == []
            new += told["new"]
        assert new >= 6

    @pytest.mark.slow
    def test_days_in_seconds(self, tmp_path: Path) -> None:
        """`python -m benchmarks.soak 20000` runs for 69 days. Handles stay, files stay below a day's and a few merged ones."""
        rows = soak(tmp_path / "store", 100, keep_days=2, probes=10, every_s=3600.0)
        # the process of all tests opens and closes a few of its own; a leak would be one a round
        assert max(row["handles"] for row in rows[1:]) < rows[1]["handles"] + 10
        assert max(row["files"] for row in rows) < 24 * 7 + 60
        assert rows[-1]["resident_mib"] < rows[3]["resident_mib"] + 100


def _environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if "CONDOR" not in name and "POOLSCOPE" not in name
    }


def _until(true: Any, timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


def test_units_name_commands_that_exist() -> None:
    folder = Path(__file__).resolve().parents[2] / "packaging"
    for unit in folder.glob("*.service"):
        (start,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
        program, *words = start.removeprefix("ExecStart=").split()
        if not program.endswith("/poolscope"):
            continue  # gunicorn and the worker, which have no command
        answer = CliRunner().invoke(cli, [words[0], "--help"])
        assert answer.exit_code == 0
        assert all(word in answer.output for word in words[1:] if word.startswith("--"))


def test_units_are_what_systemd_takes(tmp_path: Path) -> None:
    """Its own check has nothing to say; the programs needn't be installed here."""
    program = shutil.which("systemd-analyze")
    if program is None:
        need("no systemd: systemd-analyze isn't installed")
    folder = Path(__file__).resolve().parents[2] / "packaging"
    units = [*folder.glob("*.service"), *folder.glob("*.timer")]
    for unit in units:
        text = re.sub(r"(?m)^(ExecStart=)\S+", r"\1/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    command = [program, "verify", "--man=no", *(str(tmp_path / unit.name) for unit in units)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "poolscope" in line]
    assert (done.returncode, said) == (0, [])
