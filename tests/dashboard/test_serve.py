"""`poolscope serve` as a user starts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboard.commands.serve import Workers, address, listen
from dashboard.runs import Runs
from sim.errors import InputError
from sim.store import Store
from sim.sweep import model_version

COMMAND = [sys.executable, "-c", "from dashboard.cli import main; main()"]


def start(*arguments: str, state: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(state),
        "XDG_DATA_HOME": str(state),
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("POOLSCOPE_DATA", None)
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def workers(parent: int) -> list[int]:
    """The process ids of the workers of a server."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[1]) == parent and words[0] != "Z":
                found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_server_and_worker_start_and_stop_together(
    store: Store, tmp_path: Path, ending: signal.Signals
) -> None:
    process = start("--data", str(store.path), "serve", "--port", "0", state=tmp_path)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("poolscope is at http://127.0.0.1:"), process.stderr and process.stderr.read()
        url = line.split()[3]
        with urllib.request.urlopen(f"{url}healthz", timeout=10) as answer:
            assert answer.status == 200
        found = workers(process.pid)
        assert len(found) == 1
        process.send_signal(ending)
        assert process.wait(20) == 0
        time.sleep(0.2)
        assert not any(Path(f"/proc/{worker}").exists() for worker in found)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    before = set(workers(os.getpid()))  # other tests of this process may have started some

    def own() -> list[int]:
        return [pid for pid in workers(os.getpid()) if pid not in before]

    started = Workers(1, Runs(tmp_path, model="test"))
    try:
        (first,) = own()
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while own() in ([], [first]) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(own()) == 1
    finally:
        started.stop()
    assert own() == []


def test_a_busy_port_is_one_sentence(store: Store, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start("serve", "--port", str(port), "--data", str(store.path), state=tmp_path)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert err == (
        f"poolscope: can't listen on 127.0.0.1 port {port}: address already in use; name another with --port\n"
    )


def test_an_empty_folder_that_was_named_is_no_data(tmp_path: Path) -> None:
    process = start("serve", "--data", str(tmp_path / "nothing"), "--port", "0", state=tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "no data" in err
    assert len(err.splitlines()) == 1


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(InputError, match=r"can't listen on 192\.0\.2\.1 port 1"):
        listen("192.0.2.1", 1)


def test_the_address_is_a_link() -> None:
    with listen("127.0.0.1", 0) as listening:
        assert address(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}/"


def until(true: Callable[[], bool], *, within_s: float = 60.0) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it didn't happen"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_server_killed_outright_leaves_its_run_waiting_for_the_next(tmp_path: Path) -> None:
    first = start("serve", "--port", "0", state=tmp_path)  # it asks for the sample's replay by itself
    try:
        assert first.stdout is not None
        assert first.stdout.readline().startswith("poolscope is at")
        runs = Runs(tmp_path / "poolscope" / "runs", model=model_version())
        until(lambda: runs.counts().get("running") == 1)
        [worker] = workers(first.pid)
        first.kill()
        first.wait()
        # The worker sees that its server is gone, puts the run back and ends.
        until(lambda: not Path(f"/proc/{worker}").exists())
        # a fast machine may have ended the run in that moment; what must not be is one that runs without anybody
        assert runs.counts() in ({"queued": 1}, {"done": 1})
    finally:
        first.kill()
        first.communicate()
    second = start("serve", "--port", "0", state=tmp_path)
    try:
        until(lambda: runs.counts() == {"done": 1})
    finally:
        second.terminate()
        second.communicate()
