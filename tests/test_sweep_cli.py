"""poolscope sweep and predict as a user calls them, Ctrl-C and progress included."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dashboard.commands.progress import Progress

POOLSCOPE = [str(Path(sys.executable).with_name("poolscope"))]
ENVIRONMENT = {**os.environ, "CONDOR_CONFIG": "ONLY_ENV"}


def poolscope(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*POOLSCOPE, *args], capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=300
    )


@pytest.mark.slow
def test_sweep_prints_and_keeps(tmp_path: Path) -> None:
    """A table with the difference to the first variant; frames in the folder; the second time nothing runs."""
    asked = (
        "sweep",
        "sample",
        "--vary",
        "policy.claim_leftovers=true,false",
        "--replications",
        "3",
        "--out",
        str(tmp_path / "s"),
    )
    ended = poolscope(*asked)
    assert ended.returncode == 0, ended.stderr
    assert "mean wait, gpu" in ended.stdout
    assert "claim_leftovers=false" in ended.stdout
    assert {"runs.parquet", "waits.parquet", "means.parquet", "differences.parquet", "sweep.json"} <= {
        path.name for path in (tmp_path / "s").iterdir()
    }
    again = poolscope(*asked, "--json")
    assert "6 of 6 runs were there already" in again.stderr
    found = json.loads(again.stdout)
    row = next(r for r in found["differences"] if (r["by"], r["measure"]) == ("all", "mean_s"))
    assert row["n"] == 3
    assert row["mean"] > 0  # without leftovers machines fill one job at a time
    assert found["complete"] is True


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("sweep", "sample"), "Missing option '--vary'"),
        (("sweep", "sample", "--vary", "policy.nothing=1,2"), "policy.nothing: unknown key"),
        (("sweep", "nowhere", "--vary", "run.horizon=1 h"), "nowhere: no such scenario file"),
        (("predict", "GPUs_Capability >="), "column 19: the expression ends too early"),
        (("predict", "true", "--data", "/nonexistent"), "no data"),
        (("predict",), "nothing given; expected one of EXPRESSION and --submit FILE"),
        (("predict", "true", "--submit", "x.sub"), "both given; expected one of"),
        (("predict", "--submit", "/nonexistent"), "--submit /nonexistent: can't be read as text"),
        (
            ("simulate", "ospool", "--set", "run.horizon=null"),
            "run.horizon: a synthetic workload has no end of its own",
        ),
    ],
)
def test_wrong_input_is_one_sentence(args: tuple[str, ...], said: str) -> None:
    """Exit 2, no traceback."""
    ended = poolscope(*args)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_predict_as_a_contract() -> None:
    """The keys that scripts depend on; a refusal exits 0 and says why."""
    answer = json.loads(poolscope("predict", "true", "--futures", "20", "--json").stdout)
    assert {"p50_s", "p90_s", "low_s", "high_s", "n", "method", "data_age_s", "refused"} <= set(answer)
    assert answer["refused"] is None
    assert answer["method"] == "simulation"
    refused = poolscope("predict", "true", "--gpus", "2", "--json")
    assert refused.returncode == 0
    assert "comparable jobs" in json.loads(refused.stdout)["refused"]
    assert json.loads(refused.stdout)["p90_s"] is None


def test_predict_of_a_submit_file(tmp_path: Path) -> None:
    """Each shape has the forecast that its own expression has; the first stands at the top; what is not followed is named."""
    file = tmp_path / "job.sub"
    file.write_text(
        "executable = a\nrequest_memory = 128\nrequest_disk = 100M\nshould_transfer_files = yes\nrequest_gpus = 1\n"
        "gpus_minimum_capability = 7.5\nlog_xml = 1\nqueue 3\nrequest_gpus = 2\nqueue\n"
    )
    said = json.loads(poolscope("predict", "--submit", str(file), "--futures", "20", "--json").stdout)
    alone = poolscope("predict", "true", "--require-gpus", "Capability >= 7.5", "--futures", "20", "--json")
    assert [shape["jobs"] for shape in said["shapes"]] == [3, 1]
    assert said["jobs"] == 4
    assert said["p90_s"] == said["shapes"][0]["p90_s"] == json.loads(alone.stdout)["p90_s"] > 0
    assert "several GPUs" in said["shapes"][1]["refused"]
    assert [note["command"] for note in said["notes"]] == ["log_xml"]


def interrupted(args: list[str], ready: Path | None, seconds: float) -> "tuple[int, str, str]":
    """Run a command, press Ctrl-C for its whole process group, and give its exit code and what it said."""
    # where these tests run in the background, SIGINT is ignored and children inherit that: python -c takes it back
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from dashboard.cli import main; main()"
    started = subprocess.Popen(
        [sys.executable, "-c", program, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while ready is not None and len(list(ready.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(seconds)
    os.killpg(started.pid, signal.SIGINT)
    out, error = started.communicate(timeout=120)
    return started.returncode, out, error


@pytest.mark.slow
def test_ctrl_c_leaves_what_was_finished(tmp_path: Path) -> None:
    """Exit 130, the runs that ended are kept and counted, their table is printed, no process and no traceback stays."""
    folder = tmp_path / "s"
    args = [
        "sweep",
        "sample",
        "--vary",
        "policy.claim_worklife=300,0",
        "--replications",
        "400",
        "--out",
        str(folder),
    ]
    code, out, error = interrupted(args, folder / "runs", 0)
    kept = len(list((folder / "runs").glob("*.json")))
    assert code == 130
    assert 3 <= kept < 800
    assert f"stopped: {kept} of 800 runs are kept in {folder}" in error
    assert "the same command goes on from there" in error
    assert "Traceback" not in error
    assert "mean wait, all" in out
    assert (folder / "waits.parquet").is_file()


class _Terminal:
    """A stream that says whether it is a terminal."""

    def __init__(self, tty: bool) -> None:
        self.tty, self.text = tty, ""

    def isatty(self) -> bool:
        return self.tty

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_progress_is_quiet_at_first_then_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in two seconds; then what is done and the rest at the pace so far, start-up not counted."""
    now = [100.0]
    monkeypatch.setattr("dashboard.commands.progress.time.monotonic", lambda: now[0])
    stream = _Terminal(tty=True)
    progress = Progress(10, to=stream)  # type: ignore[arg-type]
    now[0] = 101.9
    progress(0.0, 0)
    assert not stream.text
    now[0] = 105.9  # two runs in four seconds
    progress(2.0, 2)
    assert "2 of 10 runs, about 16 s left" in stream.text


def test_progress_says_when_it_is_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anything done there is no estimate; outside a terminal each word is a line, now and then."""
    now = [0.0]
    monkeypatch.setattr("dashboard.commands.progress.time.monotonic", lambda: now[0])
    stream = _Terminal(tty=False)
    progress = Progress(4, "futures", to=stream)  # type: ignore[arg-type]
    progress(0.0, 0)
    for second in (20.0, 21.0, 40.0):
        now[0] = second
        progress(0.0, 0)
    assert stream.text == "0 of 4 futures, too early to say how long\n" * 2
