"""A recorded pool of HTCondor 25, replayed: what the reader finds in it, and that the simulation resembles it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collectors.recording import load_recording
from sim.comparison import compare_waits, score
from sim.course import origin_shares
from sim.engine.run import Plan, Recording
from sim.scenario import parse
from sim.workload.classes import label_classes

FOLDER = Path(__file__).parent / "recordings" / "version-25-r1"
BY = "RequirementClass"


@pytest.fixture(scope="module")
def record() -> Recording:
    return load_recording(FOLDER)


@pytest.fixture(scope="module")
def plan(record: Recording) -> Plan:
    return Plan.of(parse({"title": "v25", "workload": {"class_by": BY}}, where="test"), record)


def test_evictions_of_epochs_without_exit_notes(record: Recording) -> None:
    """146 jobs, 153 starts; the event log has seven evictions: four by the host that quit, three by the killed one."""
    outcomes = record.attempts["outcome"].value_counts().to_dict()
    assert outcomes == {"done": 146, "evicted": 4, "lost": 3}


def test_a_host_that_returns_has_two_stays(record: Recording, plan: Plan) -> None:
    """Two hosts come back under their old names: their stays follow each other, ended as they really were."""
    stays = {stay.name: stay for stay in plan.supply.seen}
    assert len(stays) == 7
    for host, ending in (("rtx1.ridge.example", "quit"), ("mix1.basin.example", "kill")):
        first, second = stays[f"{host}#1"], stays[host]
        assert first.ending == ending
        assert record.start < first.down < second.up < record.end
        assert second.ending == "open"
    assert all(
        stay.ending == "open" for name, stay in stays.items() if name.startswith(("big1", "flat1", "rtx2"))
    )


def test_macros_without_a_value_are_empty(record: Recording, plan: Plan) -> None:
    """`GROUP_NAMES =` in a daemon's dump names no group, whatever stands in the next line."""
    told = record.settings.set_index(["daemon", "name"])["value"]
    assert told["negotiator", "GROUP_NAMES"] == ""
    assert told["negotiator", "NEGOTIATOR_INTERVAL"] == str(int(plan.policy.negotiator_interval))
    assert plan.policy.groups == {}


def test_the_cycle_before_the_first_submission_is_known(record: Recording) -> None:
    """The accounting ads tell when the priorities were last updated, which every cycle begins with."""
    began = record.last_cycle(record.start)
    assert began is not None
    assert 0 <= record.start - began < 60


def test_the_replay_resembles_the_run(record: Recording, plan: Plan) -> None:
    """Means of groups within a third, that of all jobs within a fifth, evictions within three.

    Two real runs of this pool differ by 0.15 in the same score; an engine without leftovers and claim reuse errs by more than 0.3.
    """
    runs = [plan.run(seed) for seed in range(1, 9)]
    labels = [label_classes(run.jobs, BY) for run in runs]
    table = compare_waits(
        runs[0].observed, [run.jobs for run in runs], label_classes(runs[0].observed, BY), labels
    )
    assert score(table) < 0.3
    everybody = table[table["by"] == "all"].iloc[0]
    assert everybody["mean_s"] == pytest.approx(everybody["real_mean_s"], rel=0.2)
    assert np.mean([run.evictions for run in runs]) == pytest.approx(7, abs=3)


def test_starts_come_about_as_the_logs_tell(record: Recording, plan: Plan) -> None:
    """Shares of fresh matches, leftovers and claim reuse within ten points of what MatchLog and StartLogs show."""
    assert sum(record.origins.values()) >= len(record.attempts) - 3
    real = origin_shares(pd.Series(record.origins))
    runs = [origin_shares(plan.run(seed).attempts["origin"].value_counts()) for seed in range(1, 9)]
    for name, share in real.items():
        assert np.mean([run[name] for run in runs]) == pytest.approx(share, abs=0.1)
