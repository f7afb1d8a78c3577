"""Ghost probes against real jobs, in short; `benchmarks/probes.py` does it at length."""

import numpy as np
import pytest

from sim.classads.request import Request
from sim.engine.run import Plan, Probe, Recording
from tests.sim.engine.ghosts import Pools, kolmogorov
from tests.sim.engine.made import Made, slot_text

ASKED = Request(1, 1, 4096, "Capability >= 8.0")


@pytest.mark.slow
def test_ghosts_wait_as_real_jobs_do() -> None:
    """Twelve pools, hundreds of probes: means within what chance allows, distributions alike."""
    found = [Pools().both(seed, ASKED) for seed in range(1, 13)]
    ghosts, jobs = (np.concatenate(waits) for waits in zip(*found, strict=True))
    assert len(ghosts) > 200
    differences = np.array([ghost.mean() - job.mean() for ghost, job in found])
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    assert abs(differences.mean()) < 3.5 * error
    assert error < 0.25 * jobs.mean()  # else the sentence above says nothing
    assert kolmogorov(ghosts, jobs)[1] > 0.01


def test_ghosts_take_nothing() -> None:
    """With and without ghosts every job of a pool starts at the same moment, to the last digit."""
    pools = Pools(hours=4)
    many = [
        Probe(f"{rung}", request=Request(1, 1, 4096, f"Capability >= {rung}"), every_s=61)
        for rung in (7.0, 7.5, 8.0)
    ]
    for seed in range(1, 4):
        record = pools.record(pools.background(seed))
        watched, alone = (Plan.of(pools.scenario, record, probes).run(seed) for probes in (many, []))
        assert watched.attempts.equals(alone.attempts)
        assert watched.probes["started"].mean() > 0.9


def test_a_ghost_has_the_cycle_that_its_job_would_have_asked_for() -> None:
    """RESCHEDULE: in an empty pool a job waits for NEGOTIATOR_CYCLE_DELAY at most, and so does a ghost."""
    made = Made().machine("m", slot_text(cpus=1)).jobs("a", 1, at=900).ghost("quick", 65.0)
    (told,) = made.run(until=1000, last_cycle=-0.5).recorder.probes
    assert told.started_s - told.at_s < 20
    (told,) = (
        Made(reschedule=False)
        .machine("m", slot_text(cpus=1))
        .ghost("slow", 65.0)
        .run(until=1000, last_cycle=-0.5)
        .recorder.probes
    )
    assert told.started_s - told.at_s > 50


def test_a_ghost_behind_a_better_user_waits_for_the_others_cycle() -> None:
    """In the cycle that it would bring forward the other's idle job went first, so it isn't answered there."""
    made = Made(prio_factors={"good": 1.0, "new": 1000.0}).machine("m", slot_text(cpus=1), up=90)
    made.jobs("good", 1, at=1, run=400).ghost("g", 95.0, submitter="new")
    (told,) = made.run(until=1000, last_cycle=-0.5).recorder.probes
    assert told.started_s > 400


def test_a_stricter_rung_never_waits_less() -> None:
    """Of two ghosts asked at the same moment the one that fewer devices suit starts no sooner."""
    pools = Pools(hours=4)
    rungs = [
        Probe(name, request=Request(1, 1, 4096, f"Capability >= {name}"), every_s=600)
        for name in ("7.0", "8.0")
    ]
    probes = Plan.of(pools.scenario, pools.record(pools.background(1)), rungs).run(1).probes
    waits = probes.pivot(index="at", columns="label", values="wait_s")
    assert len(waits) > 20
    assert (waits["8.0"] >= waits["7.0"]).all()
    assert (waits["8.0"] > waits["7.0"]).any()


def test_kolmogorov_by_hand() -> None:
    """Equal samples have distance 0, disjoint ones 1; of samples of one distribution one in twenty is rejected at 5 %."""
    rng = np.random.default_rng(1)
    assert kolmogorov(np.arange(10.0), np.arange(10.0)) == (0.0, 1.0)
    assert kolmogorov(np.arange(50.0), 100 + np.arange(50.0))[0] == 1.0
    rejected = np.mean([kolmogorov(rng.normal(size=200), rng.normal(size=200))[1] < 0.05 for _ in range(400)])
    assert rejected == pytest.approx(0.05, abs=0.03)


def test_the_generated_pool_begins_empty() -> None:
    """A generated pool has machines and nothing that was recorded."""
    record = Recording.load("generated")
    assert record.jobs.empty
    assert record.start == record.end
