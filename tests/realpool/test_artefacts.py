"""A recorded pool of another shape is a folder that a replay reads."""

import dataclasses
import json
from pathlib import Path

import pytest

from collectors.recording import load_recording
from sim.engine.run import Plan
from sim.scenario import parse
from tests.realpool.artefacts import record
from tests.realpool.play import HostEvent
from tests.realpool.shapes import SHAPES, VERSION_25, Shape
from tests.realpool.workload import Mix, workload


def test_shapes_are_unlike_each_other() -> None:
    """Pools of at least ten minutes; enough jobs that several classes have twenty."""
    assert {shape.suite for shape in SHAPES.values()} == {"trixie", "sid"}
    assert len({shape.spec.negotiator_interval_s for shape in SHAPES.values()}) >= 4
    for shape in SHAPES.values():
        assert shape.duration_s >= 600
        bursts = workload(1, duration_s=shape.duration_s, mix=shape.mix)
        jobs = [one for burst in bursts for one in burst.runs_s]
        assert 140 <= len(jobs) <= 400, shape.name
        assert [burst.first_row for burst in bursts] == [
            sum(len(before.runs_s) for before in bursts[:place]) for place in range(len(bursts))
        ]


@pytest.mark.pool
def test_a_recording_replays(tmp_path: Path) -> None:
    """Half a minute of a real pool with a host that quits and returns: every job, both stays, settings and priorities."""
    spec = dataclasses.replace(
        VERSION_25.spec,
        hosts=VERSION_25.spec.hosts[2:4],
        negotiator_interval_s=3,
        negotiator_cycle_delay_s=2,
        negotiator_min_interval_s=1,
        schedd_interval_s=3,
        update_interval_s=5,
    )
    mix = Mix(VERSION_25.mix.classes[:1], log_run_s=(1.0, 0.1), longest_run_s=25)
    events = (HostEvent(8, "rtx1", "quit"), HostEvent(10, "rtx1", "add"))
    shape = Shape("small", "a test", spec, mix, events, duration_s=24, longest_s=60)
    folder = tmp_path / "small-r1"
    record(shape, folder, seed=1, say=lambda _: None)
    meta = json.loads((folder / "meta.json").read_text())
    found = load_recording(folder)
    assert len(found.jobs) == meta["jobs"] > 0
    assert (found.jobs["run_s"] >= 20).all()  # as asked, not as measured
    lives = found.lifetimes["rtx1.ridge.example"]
    assert [life.ending for life in lives] == ["quit", "open"]
    assert lives[0].down < lives[1].up
    plan = Plan.of(parse({"title": "x", "workload": {"class_by": meta["class_by"]}}, where="x"), found)
    assert plan.policy.negotiator_interval == 3
    assert plan.policy.claim_worklife == spec.claim_worklife_s
    assert (folder / "config/dump.startd.txt.xz").stat().st_size > 1000
    factors = {one.name: one.factor for one in spec.submitters}
    assert all(plan.policy.prio_factors[name] == factors[name] for name in found.jobs["submitter"])
    assert found.rounds  # the schedd's ad tells when it counted its jobs
    assert found.unheard == []
    assert plan.run(1).jobs["first_started_at"].notna().all()
