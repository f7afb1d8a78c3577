"""Sweeps: the grid, common random numbers, paired differences, what is kept and what is resumed."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from sim.errors import InputError, PoolscopeError, ScenarioError
from sim.replication import Task, replicate
from sim.sweep import Sweep, grid, interval, t95

SMALL = """\
title: small
pool:
  source: generated
  machines: [{name: m, count: 4, cpus: 4, memory: 16 GB}]
supply: {model: fixed}
workload:
  source: synthetic
  synthetic:
    classes:
      - {name: any, gpus: 0, arrivals: {every: 60 s}, run: {median: 10 min, spread: 0.5}}
run: {horizon: 4 h, warm_up: 30 min, replications: 4}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def swept(scenario: Path, folder: Path, *vary: str, seeds: int = 4) -> Sweep:
    made = Sweep.prepare(grid(scenario, vary), range(1, seeds + 1), lambda mark: folder / mark)
    for _ in made.run(workers=1):
        pass
    return made


def test_a_grid_is_every_combination(scenario: Path) -> None:
    """Two keys with two values each: four variants, the first ones first."""
    variants = grid(scenario, ("policy.claim_worklife=0,1200", "policy.claim_reuse=true,false"))
    assert [variant.scenario.policy.claim_worklife for variant in variants] == [0, 0, 1200, 1200]
    assert [variant.scenario.policy.claim_reuse for variant in variants] == [True, False, True, False]
    assert variants[0].name == "policy.claim_worklife=0, policy.claim_reuse=true"


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        (("policy.claim_worklife",), "expected key=a,b"),
        (("policy.claim_worklife=1,,2",), "expected key=a,b"),
        (("policy.claim_worklife=1,1",), "a value stands there twice"),
        (("run.horizon=1 h,2 h", "run.horizon=3 h"), "run.horizon is varied twice"),
        (("policy.no_such=1,2",), "policy.no_such: unknown key"),
        (("policy.claim_worklife=1,much",), "policy.claim_worklife: found 'much'"),
    ],
)
def test_a_wrong_grid_is_said(scenario: Path, vary: tuple[str, ...], said: str) -> None:
    """Keys and values are checked before anything runs."""
    with pytest.raises(ScenarioError, match=said):
        grid(scenario, vary)


def test_what_decides_nothing_makes_no_difference(scenario: Path, tmp_path: Path) -> None:
    """Common random numbers: a key that no job of this pool feels gives exactly equal runs, and a difference of 0."""
    found = swept(scenario, tmp_path, "policy.job_lease=60,3600").differences()
    assert (found["mean"].dropna() == 0).all()
    assert len(found) > 10


@pytest.mark.slow
def test_pairing_narrows_the_interval(scenario: Path, tmp_path: Path) -> None:
    """Fewer machines: longer waits; the paired interval is narrower than the two means' are wide."""
    made = swept(scenario, tmp_path, "policy.match_to_start=1,61", seeds=6)
    row = made.differences().query("by == 'run' and measure == 'goodput'").iloc[0]
    assert row["n"] == 6
    means = made.means().query("by == 'all' and measure == 'mean_s'")
    difference = made.differences().query("by == 'all' and measure == 'mean_s'").iloc[0]
    assert difference["high"] - difference["low"] < (means["high"] - means["low"]).max()


@pytest.mark.slow
def test_runs_are_kept_and_not_repeated(scenario: Path, tmp_path: Path) -> None:
    """A second sweep has nothing to do; one with a run's file gone or broken has that run; more seeds add to it."""
    first = swept(scenario, tmp_path / "a", "policy.claim_worklife=0,1200")
    files = sorted(first.folder.glob("runs/*.json"))
    assert len(files) == 8
    files[0].unlink()
    files[1].write_text("{")
    again = Sweep.prepare(
        grid(scenario, ("policy.claim_worklife=0,1200",)), range(1, 6), lambda _: first.folder
    )
    assert len(again.todo) == 2 + 2
    for _ in again.run(workers=1):
        pass
    pd.testing.assert_frame_equal(
        first.waits(), again.waits()[again.waits()["seed"] < 5].reset_index(drop=True)
    )


def test_what_was_interrupted_is_kept(scenario: Path, tmp_path: Path) -> None:
    """Leaving after three runs leaves three; the next sweep begins with the fourth."""
    made = Sweep.prepare(
        grid(scenario, ("policy.claim_worklife=0,1200",)), range(1, 5), lambda _: tmp_path / "k"
    )
    for number, _ in enumerate(made.run(workers=1)):
        if number == 2:
            break
    assert len(list((tmp_path / "k/runs").glob("*.json"))) == 3
    written = made.write()
    assert {path.name for path in written} == {
        "runs.parquet",
        "waits.parquet",
        "means.parquet",
        "differences.parquet",
        "sweep.json",
    }
    assert json.loads((tmp_path / "k/sweep.json").read_text())["runs"] == 3
    again = Sweep.prepare(
        grid(scenario, ("policy.claim_worklife=0,1200",)), range(1, 5), lambda _: tmp_path / "k"
    )
    assert len(again.todo) == 5


def test_another_question_has_runs_of_its_own(scenario: Path, tmp_path: Path) -> None:
    """A changed scenario doesn't find the runs of the one before, in the same folder."""
    first = swept(scenario, tmp_path, "policy.claim_worklife=0,1200")
    scenario.write_text(SMALL.replace("every: 60 s", "every: 50 s"))
    assert (
        len(
            Sweep.prepare(
                grid(scenario, ("policy.claim_worklife=0,1200",)), range(1, 5), lambda _: first.folder
            ).todo
        )
        == 8
    )


def test_warm_up_is_cut(scenario: Path, tmp_path: Path) -> None:
    """Jobs of the first half hour aren't counted: with a job a minute, 210 of 240 are left."""
    with_cut = swept(scenario, tmp_path, "run.warm_up=30 min,0 s").waits().query("by == 'all'")
    mean = with_cut.groupby("variant")["n"].mean()
    assert mean["run.warm_up=30 min"] / mean["run.warm_up=0 s"] == pytest.approx(3.5 / 4, rel=0.03)


@pytest.mark.slow
def test_processes_give_what_one_gives(scenario: Path, tmp_path: Path) -> None:
    """Two workers find the same waits as none beside this process."""
    alone = swept(scenario, tmp_path / "one", "policy.claim_worklife=0,1200", seeds=2)
    made = Sweep.prepare(
        grid(scenario, ("policy.claim_worklife=0,1200",)), range(1, 3), lambda _: tmp_path / "two"
    )
    told: list[tuple[float, int]] = []
    for _ in made.run(workers=2, tell=lambda parts, done: told.append((parts, done))):
        pass
    pd.testing.assert_frame_equal(alone.waits(), made.waits())
    assert told[-1] == (4, 4)
    assert [done for _, done in told] == sorted(done for _, done in told)


def refuse() -> object:
    raise InputError("no")


def die() -> object:
    raise SystemExit(7)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refused_plan_is_said(workers: int) -> None:
    """What a worker can't do is the same sentence as without workers."""
    tasks = [Task(0, 1), Task(0, 2)]
    with pytest.raises(InputError, match=r"^no$"):
        list(replicate([refuse], tasks, print, workers=workers))  # type: ignore[list-item]


def test_a_worker_that_dies_is_said() -> None:
    """A process that ends by itself doesn't leave the others waiting."""
    with pytest.raises(PoolscopeError, match="a process that simulated ended by itself"):
        list(replicate([die], [Task(0, 1), Task(0, 2)], print, workers=2))  # type: ignore[list-item]


def test_students_t() -> None:
    """The 97.5 % quantiles of the tables, for 1 to 120 degrees of freedom."""
    table = {
        1: 12.706,
        2: 4.303,
        3: 3.182,
        4: 2.776,
        5: 2.571,
        7: 2.365,
        10: 2.228,
        20: 2.086,
        30: 2.042,
        120: 1.980,
    }
    for freedom, value in table.items():
        assert t95(freedom) == pytest.approx(value, abs=0.012), freedom


def test_intervals_of_nothing_and_of_one() -> None:
    """No value: nothing; one value: no interval."""
    assert math.isnan(interval([])["mean"])
    assert interval([3.0])["mean"] == 3
    assert math.isnan(interval([3.0])["low"])
