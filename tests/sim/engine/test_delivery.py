"""Delivery in the engine: start-up adds to waits where it should, and what fails ends as HTCondor ends it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from sim.delivery.images import classes
from sim.delivery.section import DeliverySection
from sim.delivery.state import Delivery, Software, pieces_of
from sim.engine.pool import Pool
from sim.engine.run import Plan, Recording, Run
from sim.scenario import load
from tests.sim.engine.made import QUICK, Made, slot_text

TORCH = classes()["pytorch"]


def run(made: Made, delivery: Delivery, until: float = 3000.0) -> Pool:
    """Run a made pool with delivery: the pool is built by `Made` with this one in its place."""
    before = Pool.__init__

    def built(self: Pool, *arguments: object, **named: object) -> None:
        before(self, *arguments, **named, delivery=delivery)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pool, "__init__", built)
        return made.run(until=until)


def delivery(path: str, count: int, **changes: object) -> Delivery:
    section = DeliverySection(path=path, **changes)  # type: ignore[arg-type]
    software = Software(path, "x", TORCH, pieces_of("x", TORCH), 0.0)
    return Delivery(section, [software] * count, np.random.default_rng(1))


def test_a_start_takes_the_slot_longer() -> None:
    """Two jobs one after another on one core: the first is cold, the second warm, both occupy the slot meanwhile."""
    made = Made().machine("m", slot_text(cpus=1)).jobs("a", 2, run=100)
    recorder = run(made, delivery("cvmfs", 2)).recorder
    starts = recorder.starts_frame(0)
    to_start = QUICK.match_to_start  # of a reused claim, too
    lengths = [row.ended_s - row.matched_s - to_start for row in recorder.attempts if row.ended_s is not None]
    assert lengths[0] == pytest.approx(100 + starts["seconds"][0])
    assert lengths[1] == pytest.approx(100 + TORCH.hot_s)  # from the kernel's cache
    assert starts["cold"].tolist() == [True, False]
    asked = [row.matched_s + to_start for row in recorder.attempts]
    assert [at.timestamp() for at in starts["at"]] == pytest.approx(asked)


def test_a_missing_repository_stops_the_pilot_and_the_job_goes_elsewhere() -> None:
    """The broken machine takes one job and no more; the job is done by the other machine."""
    made = (
        Made()
        .machine("good", slot_text(cpus=1), up=300)
        .machine("bad", slot_text(cpus=1))
        .jobs("a", 3, run=10)
    )
    sent = delivery("cvmfs", 3)
    sent._abilities = {"bad": sent._able._replace(cvmfs=False)}
    rows = run(made, sent).recorder.attempts
    assert [(row.claim.machine.name, row.outcome) for row in rows] == [("bad", "failed")] + [
        ("good", "done")
    ] * 3


def test_a_held_job_lets_its_slot_go_and_the_run_ends() -> None:
    made = Made().machine("m", slot_text(cpus=1)).jobs("a", 2, run=10)
    pool = run(made, delivery("osdf", 2, disk_full=1.0))
    assert [row.outcome for row in pool.recorder.attempts] == ["held", "held"]
    assert pool.unfinished == 0
    assert not pool.machines["slot1@m"].claims


def test_an_install_that_fails_is_tried_again() -> None:
    """With half of the installations failing, two attempts a job on average."""
    made = Made().machine("m", slot_text(cpus=16)).jobs("a", 200, run=10)
    pool = run(made, delivery("install", 200, install="10 s", install_fails=0.5), until=1e6)
    outcomes = pd.Series([row.outcome for row in pool.recorder.attempts])
    assert (outcomes == "done").sum() == 200
    assert (outcomes == "failed").sum() == pytest.approx(200, abs=50)


@pytest.fixture(scope="module")
def sample() -> Recording:
    return Recording.load("sample")


def simulated(sample: Recording, *settings: str) -> Run:
    return Plan.of(load("sample", settings), sample).run(1)


def test_the_sample_with_delivery(sample: Recording) -> None:
    """With installation every job's own code begins later by what its start took; the shadow's start doesn't."""
    run = simulated(sample, "delivery.path=install", "delivery.install_fails=0", "delivery.wan_speed=1e6")
    attempts = run.attempts
    setup = (attempts["executing_at"] - attempts["started_at"]).dt.total_seconds()
    assert setup.median() == pytest.approx(300 + 2500 * 1.048576 / 125, rel=0.15)
    assert attempts["cold"].all()
    assert attempts["moved_mib"].median() == pytest.approx(2500e6 * 1.048576 / 2**20 / 1.048576)
    assert len(run.starts) == len(attempts)


def test_without_delivery_nothing_changes(sample: Recording) -> None:
    """Delivery that adds nothing changes no record: `recorded` and `none` give the same attempts, but for what is known."""
    off, none = simulated(sample), simulated(sample, "delivery.path=none")
    unknown = ["cold", "moved_mib"]
    pd.testing.assert_frame_equal(off.attempts.drop(columns=unknown), none.attempts.drop(columns=unknown))
    assert off.attempts["cold"].isna().all()
    assert none.attempts["moved_mib"].eq(0).all()


def test_the_same_seed_gives_the_same_records(sample: Recording) -> None:
    first, second = (simulated(sample, "delivery.path=cvmfs", "delivery.broken=0.2") for _ in range(2))
    pd.testing.assert_frame_equal(first.starts, second.starts)
    pd.testing.assert_frame_equal(first.jobs, second.jobs)


def test_waits_of_the_clock_of_execution_include_the_start(sample: Recording) -> None:
    """Where the first start is the execution's, delivery adds to the first wait; who was evicted before didn't execute."""

    record = dataclasses.replace(sample, clock="execution")
    plan = Plan.of(load("sample", ("delivery.path=install", "delivery.install_fails=0")), record)
    executed = plan.run(1)
    began = executed.attempts.dropna(subset="executing_at")
    first = began.drop_duplicates("job_id").set_index("job_id")["executing_at"]
    told = executed.jobs.set_index("job_id")["first_started_at"].dropna()
    pd.testing.assert_series_equal(told.sort_index(), first.loc[told.index].sort_index(), check_names=False)


def test_jobs_that_run_when_the_run_begins_start_nothing(sample: Recording) -> None:
    """Their attempts have no start-up, and what they brought isn't known."""
    later = dataclasses.replace(sample, start=sample.start + 600)
    run = Plan.of(load("sample", ("delivery.path=install",)), later).run(1)
    running = run.attempts[run.attempts["origin"] == "running"]
    assert len(running) > 0
    assert running["cold"].isna().all()
    assert (run.attempts[run.attempts["origin"] != "running"]["cold"] == True).all()  # noqa: E712
