"""The run table: equal questions share a run, a cancel is cooperative, a lost worker is told."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dashboard import runs as table
from dashboard.data import Data
from dashboard.runs import Cancelled, Entry, Runs
from dashboard.spec import replay_spec
from dashboard.worker import Tick, run_one, work
from sim.errors import InputError, StoreError
from sim.sweep import model_version

SPEC = {"kind": "replay", "seed": 1}
RESULT = {"jobs": pd.DataFrame({"a": [1, 2]}), "summary": {"n": 2}}


def status(runs: Runs, name: str) -> str:
    entry = runs.get(name)
    assert entry is not None
    return entry.status


def claimed(runs: Runs, worker: str = "w") -> Entry:
    entry = runs.claim(worker)
    assert entry is not None
    return entry


def test_equal_questions_share_a_run(runs: Runs) -> None:
    first = runs.ask({"kind": "replay", "seed": 1})
    second = runs.ask({"seed": 1, "kind": "replay"})
    assert first.id == second.id
    assert len(runs.recent()) == 1


def test_another_seed_or_model_is_another_run(runs: Runs) -> None:
    assert runs.ask(SPEC).id != runs.ask({**SPEC, "seed": 2}).id
    assert table.run_id(SPEC, "0.1") != table.run_id(SPEC, "0.2")


def test_an_answer_that_is_there_is_not_computed_again(runs: Runs) -> None:
    runs.ask(SPEC)
    runs.finish(claimed(runs), RESULT)
    assert runs.ask(SPEC).status == "done"
    assert runs.claim("w") is None


def test_a_result_that_vanished_is_computed_again(runs: Runs) -> None:
    name = runs.ask(SPEC).id
    runs.finish(claimed(runs), RESULT)
    (runs.folder / "results" / name / "summary.json").unlink()
    assert runs.ask(SPEC).status == "queued"


def test_a_result_comes_back_as_it_was(runs: Runs) -> None:
    name = runs.ask(SPEC).id
    runs.finish(claimed(runs), RESULT)
    pd.testing.assert_frame_equal(runs.frame(name, "jobs"), RESULT["jobs"])  # type: ignore[arg-type]
    assert runs.summary(name) == {"n": 2}


def test_a_missing_result_says_so(runs: Runs) -> None:
    with pytest.raises(StoreError, match="can't be read"):
        runs.frame("0123456789ab", "jobs")


def test_two_workers_never_take_the_same_run(runs: Runs) -> None:
    for seed in range(20):
        runs.ask({**SPEC, "seed": seed})
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(runs.claim, map(str, range(24))))
    names = [entry.id for entry in taken if entry is not None]
    assert len(names) == len(set(names)) == 20


def test_the_oldest_question_goes_first(tmp_path: Path) -> None:
    now = iter(range(100))
    runs = Runs(tmp_path, model="test", clock=lambda: float(next(now)))
    first, second = runs.ask(SPEC), runs.ask({**SPEC, "seed": 2})
    assert runs.ahead(second) == 1
    assert claimed(runs).id == first.id


def test_a_cancelled_run_stops_at_its_next_tick(runs: Runs) -> None:
    name = runs.ask(SPEC).id
    entry = claimed(runs)
    runs.tick(entry, 0.3, "a third")
    runs.cancel(name)
    with pytest.raises(Cancelled):
        runs.tick(entry, 0.4, "more")
    with pytest.raises(Cancelled):
        runs.finish(entry, RESULT)
    assert status(runs, name) == "cancelled"


def test_a_queued_run_can_be_cancelled(runs: Runs) -> None:
    name = runs.ask(SPEC).id
    runs.cancel(name)
    assert runs.claim("w") is None
    assert status(runs, name) == "cancelled"


def test_a_cancelled_run_can_be_asked_again_and_its_old_worker_stays_out(runs: Runs) -> None:
    name = runs.ask(SPEC).id
    old = claimed(runs, "old")
    runs.cancel(name)
    assert runs.ask(SPEC).status == "queued"
    new = claimed(runs, "new")
    with pytest.raises(Cancelled):
        runs.tick(old, 0.9, "old")
    runs.tick(new, 0.1, "new")
    runs.fail(old, "the old worker's last word")
    assert status(runs, name) == "running"


def test_a_done_run_is_not_cancelled_any_more(runs: Runs) -> None:
    name = runs.ask(SPEC).id
    runs.finish(claimed(runs), RESULT)
    runs.cancel(name)
    assert status(runs, name) == "done"


def test_a_silent_worker_is_lost(tmp_path: Path) -> None:
    now = [1000.0]
    runs = Runs(tmp_path, model="test", clock=lambda: now[0], beats=lambda: now[0])
    name = runs.ask(SPEC).id
    entry = claimed(runs)
    now[0] += table.LOST_AFTER_S - 1
    runs.beat(entry)
    now[0] += table.LOST_AFTER_S - 1
    assert status(runs, name) == "running"
    now[0] += 2
    found = runs.get(name)
    assert found is not None
    assert (found.status, found.note) == ("failed", "worker lost: run it again")


def test_the_queue_has_an_end(runs: Runs) -> None:
    for seed in range(table.QUEUE_LIMIT):
        runs.ask({**SPEC, "seed": seed})
    with pytest.raises(InputError, match="50 runs are waiting"):
        runs.ask({**SPEC, "seed": 1000})
    assert runs.ask({**SPEC, "seed": 3}).status == "queued"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="run table can't be opened"):
        Runs(tmp_path / "file", model="test")


def test_the_worker_records_progress_and_result(runs: Runs) -> None:
    seen: list[float] = []
    name = runs.ask(SPEC).id

    def execute(spec: Mapping[str, Any], tick: Tick) -> Mapping[str, Any]:
        assert spec == SPEC
        tick(0.5, "half")
        entry = runs.get(name)
        assert entry is not None
        seen.append(entry.fraction)
        return RESULT

    run_one(runs, claimed(runs), execute, stop=threading.Event())
    assert seen == [0.5]
    assert status(runs, name) == "done"


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (InputError("no such scenario"), "no such scenario"),
        (ZeroDivisionError("a / b"), "ZeroDivisionError: a / b"),
    ],
)
def test_the_worker_tells_why_a_run_failed(runs: Runs, error: Exception, note: str) -> None:
    name = runs.ask(SPEC).id

    def execute(_spec: Mapping[str, Any], _tick: Tick) -> Mapping[str, Any]:
        raise error

    run_one(runs, claimed(runs), execute, stop=threading.Event())
    entry = runs.get(name)
    assert entry is not None
    assert (entry.status, entry.note) == ("failed", note)


def test_a_stopped_worker_puts_its_run_back(runs: Runs) -> None:
    stop = threading.Event()
    name = runs.ask(SPEC).id

    def execute(_spec: Mapping[str, Any], tick: Tick) -> Mapping[str, Any]:
        stop.set()
        tick(0.1, "on")
        raise AssertionError("the tick should have stopped this")

    work(runs, execute, stop=stop)
    assert status(runs, name) == "queued"


def test_a_cancelled_run_ends_quietly(runs: Runs) -> None:
    name = runs.ask(SPEC).id

    def execute(_spec: Mapping[str, Any], tick: Tick) -> Mapping[str, Any]:
        runs.cancel(name)
        tick(0.5, "on")
        return RESULT

    run_one(runs, claimed(runs), execute, stop=threading.Event())
    assert status(runs, name) == "cancelled"


def test_only_the_owner_or_an_administrator_cancels(runs: Runs) -> None:
    name = runs.ask(SPEC, owner="alice").id
    with pytest.raises(InputError, match="is alice's"):
        runs.cancel(name, by="mallory")
    assert status(runs, name) == "queued"
    runs.cancel(name, by="alice")
    assert status(runs, name) == "cancelled"
    runs.ask(SPEC, owner="bob")
    runs.cancel(name)
    assert status(runs, name) == "cancelled"


def test_one_user_cannot_fill_the_queue(runs: Runs) -> None:
    for seed in range(table.USER_LIMIT):
        runs.ask({**SPEC, "seed": seed}, owner="alice")
    with pytest.raises(InputError, match="you have 10 runs"):
        runs.ask({**SPEC, "seed": 99}, owner="alice")
    assert runs.ask({**SPEC, "seed": 99}, owner="bob").status == "queued"
    assert (
        runs.ask({**SPEC, "seed": 99}, owner="alice").owner == "bob"
    )  # an equal question is shared, not queued


def test_a_clock_that_is_set_back_changes_no_order_and_buries_nobody(tmp_path: Path) -> None:
    now, beat = [1e9], [100.0]
    runs = Runs(tmp_path, model="test", clock=lambda: now[0], beats=lambda: beat[0])
    first = runs.ask(SPEC)
    now[0] -= 86_400
    second = runs.ask({**SPEC, "seed": 2})
    assert (runs.ahead(first), runs.ahead(second)) == (0, 1)
    entry = claimed(runs)
    assert entry.id == first.id
    now[0] += 10 * 86_400
    beat[0] += table.LOST_AFTER_S - 1
    assert status(runs, entry.id) == "running"
    now[0] -= 20 * 86_400
    beat[0] += 2
    assert status(runs, entry.id) == "failed"


def test_a_machine_that_was_started_anew_has_lost_its_workers(tmp_path: Path) -> None:
    before = Runs(tmp_path, model="test", beats=lambda: 9e9, boot="one")
    name = before.ask(SPEC).id
    claimed(before)
    after = Runs(tmp_path, model="test", beats=lambda: 5.0, boot="two")
    assert status(after, name) == "failed"
    assert after.ask(SPEC).status == "queued"


def test_old_runs_are_forgotten_with_their_results(tmp_path: Path) -> None:
    now = [1e9]
    runs = Runs(tmp_path, model="test", clock=lambda: now[0])
    old = runs.ask(SPEC).id
    runs.finish(claimed(runs), RESULT)
    now[0] += table.KEEP_S
    young = runs.ask({**SPEC, "seed": 2}).id
    runs.finish(claimed(runs), RESULT)
    now[0] += 1
    assert runs.prune() == 1
    assert runs.get(old) is None
    assert {place.name for place in (tmp_path / "results").iterdir()} == {young}
    assert runs.tables(young) == ["jobs"]


def test_a_question_to_another_version_is_not_left_waiting(tmp_path: Path) -> None:
    name = Runs(tmp_path, model="0.1").ask(SPEC).id
    newer = Runs(tmp_path, model="0.2")
    assert newer.claim("w") is None
    found = newer.get(name)
    assert found is not None
    assert (found.status, found.note) == ("failed", "asked of version 0.1: run it again")


def test_a_table_of_an_older_version_is_taken_over(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "runs.sqlite") as old:
        old.execute(
            "CREATE TABLE runs (id TEXT PRIMARY KEY, spec TEXT NOT NULL, model TEXT NOT NULL, status TEXT NOT NULL,"
            " fraction REAL NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '', claim TEXT, heartbeat REAL,"
            " asked_at REAL NOT NULL, started_at REAL, ended_at REAL)"
        )
        old.execute(
            "INSERT INTO runs (id, spec, model, status, asked_at) VALUES ('0123456789ab', '{}', 'test', 'done', 1)"
        )
    old.close()
    runs = Runs(tmp_path, model="test")
    assert status(runs, "0123456789ab") == "done"
    assert runs.ask(SPEC).status == "queued"


def test_a_run_that_takes_too_long_says_so(runs: Runs) -> None:
    name = runs.ask(SPEC).id

    def endless(_spec: Mapping[str, Any], tick: Tick) -> Mapping[str, Any]:
        while True:
            tick(0.5, "on and on")

    run_one(runs, claimed(runs), endless, stop=threading.Event(), limit_s=0.05)
    found = runs.get(name)
    assert found is not None
    assert found.status == "failed"
    assert "took longer than" in found.note


def test_workers_are_counted_by_their_signs_of_life(tmp_path: Path) -> None:
    beat = [100.0]
    runs = Runs(tmp_path, model="test", beats=lambda: beat[0], boot="one")
    runs.beat_idle("a")
    beat[0] += table.LOST_AFTER_S
    runs.beat_idle("b")
    assert runs.workers() == 2
    beat[0] += 1
    assert runs.workers() == 1
    assert Runs(tmp_path, model="test", beats=lambda: beat[0], boot="two").workers() == 0


@pytest.mark.slow
def test_a_worker_killed_outright_leaves_a_truthful_state_and_another_finishes(
    tmp_path: Path, data: Data
) -> None:
    beat = [0.0]
    runs = Runs(
        tmp_path, model=model_version(), beats=lambda: time.clock_gettime(time.CLOCK_MONOTONIC) + beat[0]
    )
    name = runs.ask({**replay_spec(data), "replications": 40}).id
    command = [sys.executable, "-m", "dashboard.worker", str(tmp_path)]
    first = subprocess.Popen(command)
    try:
        _until(lambda: runs.get(name).status == "running" and runs.get(name).fraction > 0)  # type: ignore[union-attr]
        first.kill()
        first.wait()
        assert status(runs, name) == "running"  # nobody can know yet
        beat[0] = table.LOST_AFTER_S + 1
        assert status(runs, name) == "failed"
        beat[0] = 0.0
        assert runs.ask({**replay_spec(data), "replications": 1}).id != name
        second = subprocess.Popen(command)
        try:
            _until(lambda: runs.counts().get("done") == 1)
        finally:
            second.terminate()
            second.wait(30)
    finally:
        first.kill()
        first.wait()


def _until(true: Callable[[], bool], *, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it didn't happen"
        time.sleep(0.05)
