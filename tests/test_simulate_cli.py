"""`simulate` and `replay` as scripts and people call them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

PROGRAM = str(Path(sys.executable).with_name("poolscope"))


def poolscope(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=180, check=False)


@pytest.mark.slow
def test_sample_observed_beside_simulated() -> None:
    """The JSON has one row for all, one for gpu, rows by submitter and class, observed and simulated, and a manifest."""
    ended = poolscope("simulate", "sample", "--replications", "2", "--json")
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    waits = pd.DataFrame(answer["waits"])
    assert (waits["by"] == "all").sum() == 1
    assert (waits["by"] == "gpu").sum() == 1
    assert waits[waits["by"] == "all"]["group"].tolist() == ["all"]
    assert {"capability-8.0", "never", "cpu"} <= set(waits[waits["by"] == "class"]["group"])
    assert "physics.alice@pool.example" in set(waits[waits["by"] == "submitter"]["group"])
    never = waits[waits["group"] == "never"].iloc[0]
    assert never["real_n_censored"] == never["n_censored"] == never["n"]
    assert 0 < answer["goodput"] <= 1
    assert answer["makespan_s"] > 0
    assert answer["manifest"]["seed"] == 1
    assert answer["manifest"]["policy"]["negotiator_interval"] == 20


def test_what_is_held_is_told() -> None:
    """The sample's machines don't say HasSIF: a job that gets one of them with an image file is held, and that is said."""
    told = poolscope("simulate", "containers", "--set", "delivery.path=osdf", "--replications", "1").stdout
    assert "316.0 jobs held" in told
    assert "316.0 of them on machines that can't take software by this path" in told
    assert (
        "0.0 jobs held" in poolscope("simulate", "containers", "--replications", "1").stdout
    )  # CVMFS needs no ability


@pytest.mark.slow
def test_same_seed_same_output() -> None:
    """Two processes print the same bytes for the same seed, others for another."""
    first, second, other = (
        poolscope("simulate", "sample", "--replications", "1", "--seed", seed).stdout
        for seed in ("5", "5", "6")
    )
    assert first == second
    assert first != other


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simulate", "nowhere.yaml"], "no such scenario file"),
        (["simulate", "sample", "--set", "policy.speed=3"], "policy.speed: unknown key; expected one of"),
        (["simulate", "sample", "--set", "run.seed=-1"], "run.seed"),
        (["simulate", "sample", "--data", "/nonexistent"], "holds no slots"),
        (["replay", "/nonexistent"], "no such folder"),
        (["replay", "/"], "lacks startd_ads.jsonl"),
        (["simulate"], "Missing argument"),
    ],
)
def test_wrong_input_is_one_sentence(arguments: list[str], said: str) -> None:
    """Wrong input: exit 2, what is wrong and where on stderr, nothing on stdout, no traceback."""
    ended = poolscope(*arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def waits_of(recording: Path, *more: str) -> pd.DataFrame:
    ended = poolscope("replay", str(recording), "--class-by", "RealpoolClass", "--json", *more)
    assert ended.returncode == 0, ended.stderr
    return pd.DataFrame(json.loads(ended.stdout)["waits"])


@pytest.mark.slow
def test_replay_needs_no_derived_file(shared_data: Path, tmp_path: Path) -> None:
    """Without trace, jobs, cycles, nodes and stats the simulation is the same, and so is the real column."""
    whole = shared_data / "pool" / "recording-w1-r1"
    bare = tmp_path / "recording"
    derived = shutil.ignore_patterns(
        "trace.csv", "jobs.csv", "cycles.csv", "nodes.csv", "stats.json", "submitted.csv", "meta.json"
    )
    shutil.copytree(whole, bare, ignore=derived)
    pd.testing.assert_frame_equal(
        waits_of(whole, "--replications", "2"), waits_of(bare, "--replications", "2")
    )


@pytest.mark.slow
def test_real_column_is_what_really_happened(shared_data: Path) -> None:
    """The observed means equal those that the recording's own jobs.csv gives, which the replay doesn't read."""
    folder = shared_data / "pool" / "recording-w1-r1"
    truth = pd.read_csv(folder / "jobs.csv")
    waits = waits_of(folder, "--replications", "1").set_index(["by", "group"])
    assert waits.loc[("all", "all"), "real_mean_s"] == pytest.approx(truth["wait"].mean(), abs=0.2)
    for name, part in truth.groupby("reqclass"):
        assert waits.loc[("class", str(name)), "real_mean_s"] == pytest.approx(part["wait"].mean(), abs=0.3)


@pytest.mark.slow
def test_replay_comes_near_three_real_runs(shared_data: Path) -> None:
    """The class means lie as near to the mean of three real runs as the README says: 12 %, none above 35 %."""
    folders = [shared_data / "pool" / f"recording-w1-r{number}" for number in (1, 2, 3)]
    truths = pd.concat([pd.read_csv(folder / "jobs.csv") for folder in folders])
    waits = waits_of(folders[0], "--replications", "30").set_index(["by", "group"])
    real = {
        ("all", "all"): truths["wait"].mean(),
        ("gpu", "gpu"): truths[truths["request_gpus"] >= 1]["wait"].mean(),
    }
    for name, part in truths.groupby("reqclass"):
        if len(part) >= 60:
            real["class", str(name)] = part["wait"].mean()
    for (group, owner), part in truths.groupby(["accounting_group", "owner"]):
        real["submitter", f"{group}.{owner}@pool.example"] = part["wait"].mean()
    simulated = waits["mean_s"].astype("float64").to_dict()
    errors = {key: abs(simulated[key] - mean) / mean for key, mean in real.items()}
    assert sum(errors.values()) / len(errors) <= 0.12, errors
    assert max(errors.values()) <= 0.35, errors
    assert errors["all", "all"] <= 0.08
