"""Scenarios that ask for the impossible: a sentence or a censored count, never an endless run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sim.classads.request import Request
from sim.engine.run import Plan, Recording, Run
from sim.errors import InputError
from sim.scenario import parse
from sim.schema import conform
from sim.workload.frames import made_jobs, template

HOST = {"name": "m", "cpus": 4, "memory": "4 GB"}
SMALL = {
    "name": "small",
    "gpus": 0,
    "memory": "100 MB",
    "arrivals": {"every": "30 min"},
    "run": {"median": "20 min"},
}
BIG = SMALL | {"name": "big", "gpus": 8}


def plan(content: dict[str, Any]) -> Plan:
    scenario = parse({"pool": {"source": "generated", "machines": [HOST]}} | content, where="test")
    return Plan.of(scenario, Recording.load(scenario.pool.source))


def synthetic(*classes: dict[str, Any]) -> dict[str, Any]:
    return {"source": "synthetic", "synthetic": {"classes": list(classes)}}


def traced(folder: Path, rows: str, **more: Any) -> dict[str, Any]:
    path = folder / "trace.csv"
    path.write_text(f"timestamp,duration,num_gpus\n{rows}")
    return {"workload": {"source": "trace", "trace": {"file": str(path), "format": "philly", **more}}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"pool": {"source": "generated"}, "workload": synthetic(SMALL), "run": {"horizon": "1 d"}}, "the pool has no machine"),
        ({"workload": synthetic(SMALL)}, r"run\.horizon: a synthetic workload has no end of its own"),
        ({"run": {"horizon": "1 d"}}, "the pool's record has no jobs"),
        ({}, r"run\.horizon: the record has no length to go by"),
        ({"pool": {"source": "generated", "machines": [HOST, HOST]}, "workload": synthetic(SMALL), "run": {"horizon": "1 d"}}, "two machines are called m"),
        ({"pool": {"source": "sample", "adjust": [{"drop": "true"}]}}, r"pool\.adjust\.0: no machine is left"),
        ({"pool": {"source": "sample", "adjust": [{"rewrite": {"Cpus": "0"}}]}}, r"pool\.adjust: Cpus = '0' gives"),
        ({"pool": {"source": "sample"}, "workload": {"adjust": [{"keep": "RequestGPUs > 99"}]}}, r"workload\.adjust\.0: no job is left"),
        ({"pool": {"source": "sample"}, "workload": {"adjust": [{"add": SMALL}]}}, r"what workload\.adjust\.0 adds has no end"),
    ],
)  # fmt: skip
def test_what_can_not_be_run_is_said(content: dict[str, Any], said: str) -> None:
    """Each is one sentence that names the key and what to do."""
    with pytest.raises(InputError, match=said):
        plan(content)


def ended_s(run: Run) -> float:
    """When the last cycle began [s]."""
    return float(run.cycles["started_at"].max().timestamp() - run.manifest["start"])


def test_more_than_any_host_has_is_counted_and_ends(tmp_path: Path) -> None:
    """A job of eight GPUs where there are none: reported, censored, and no run of twenty times the trace for its sake."""
    made = plan(traced(tmp_path, "0,600,0\n60,600,8\n120,0,0\n"))
    run = made.run(1)
    assert run.manifest["impossible"] == 1
    assert run.jobs["first_started_at"].isna().sum() == 1
    assert run.jobs[run.jobs["request_gpus"] == 8]["status"].tolist() == ["idle"]
    assert ended_s(run) < 0.1 * made.horizon_s
    assert run.observed.empty  # the trace tells no starts


def test_only_impossible_jobs() -> None:
    """A workload of nothing else ends, too, all of it censored."""
    run = plan({"workload": synthetic(BIG), "run": {"horizon": "30 d"}}).run(1)
    assert run.manifest["impossible"] == len(run.jobs) > 1000
    assert run.attempts.empty
    assert run.evictions == 0


def test_a_trace_ends_with_its_last_job(tmp_path: Path) -> None:
    """Jobs that run for no time complete; the run is over when all have."""
    run = plan(traced(tmp_path, "0,0,0\n10,0,0\n4000,60,0\n")).run(1)
    assert run.jobs["status"].tolist() == ["completed"] * 3
    assert 4000 <= run.makespan_s < 4200


def test_a_few_of_a_trace(tmp_path: Path) -> None:
    """`most` takes the first rows only."""
    assert len(plan(traced(tmp_path, "0,60,0\n10,60,0\n20,60,0\n", most=2)).run(1).jobs) == 2


def test_half_the_machines_and_one_more() -> None:
    """Scaled, dropped and added machines are those that a run has; copies have names of their own."""
    steps = [
        {"scale": 3, "where": 'Machine == "m"'},
        {"add": {"name": "n", "count": 2, "cpus": 2, "memory": "1 GB"}},
        {"rewrite": {"Cpus": "{old} * 2"}, "where": "Cpus == 2"},
    ]
    pool = {"source": "generated", "machines": [HOST], "adjust": steps}
    made = plan({"pool": pool, "workload": synthetic(SMALL), "run": {"horizon": "1 d"}})
    assert sorted((stay.name, stay.cpus) for stay in made.supply.seen) == [
        ("copy1.m", 4), ("copy2.m", 4), ("m", 4), ("n-1", 4), ("n-2", 4),
    ]  # fmt: skip


def test_priorities_are_those_that_the_negotiator_last_told() -> None:
    """Two jobs wait for one core as the run begins: the user with less usage goes first, whatever the seed."""
    empty = Recording.load("generated")
    rows = [template(name, "true", Request(0, 1, 100)) for name in ("ana", "ben")]
    jobs = made_jobs(pd.DataFrame(rows), [0, 1], np.full(2, empty.start - 100), np.full(2, 600.0))
    told = [
        {"snapshot": "1", "seen_at": pd.Timestamp(empty.start, unit="s", tz="UTC"), "submitter": row["submitter"], "is_group": False,
         "real_priority": priority, "effective_priority": priority * 1000, "factor": 1000.0}
        for row, priority in zip(rows, (80.0, 0.5), strict=True)
    ]  # fmt: skip
    record = replace(empty, jobs=jobs, priorities=conform(pd.DataFrame(told), "priorities"))
    scenario = parse(
        {
            "pool": {"source": "generated", "machines": [HOST | {"cpus": 1}]},
            "policy": {"schedd_min_interval": 0},  # both are in the submitter ads before the first cycle
            "run": {"start": "end", "horizon": "1 h"},
        },
        where="test",
    )
    made = Plan.of(scenario, record)
    for seed in range(1, 7):
        first = made.run(seed).attempts.sort_values("started_at").iloc[0]
        assert first["submitter"].startswith("ben")


def test_a_start_at_the_end_keeps_the_pools_state() -> None:
    """From the sample's end on: running jobs go on, what waits is in the queue, priorities are the last ones."""
    made = plan(
        {
            "pool": {"source": "sample"},
            "supply": {"model": "renewal"},
            "workload": {"source": "synthetic", "synthetic": {"fit": "recorded"}},
            "run": {"start": "end", "horizon": "10 min"},
        }
    )
    run = made.run(1)
    assert run.manifest["start"] == made.record.end
    assert run.manifest["running_not_placed"] == 0
    origins = run.attempts["origin"].value_counts().to_dict()
    assert origins["running"] == 3
    waiting = run.jobs[run.jobs["submitted_at"].dt.as_unit("ns") < made.record.jobs["seen_at"].max()]
    assert (waiting["ad"].str.contains("GPUsMinCapability = 9")).all()  # the four that no device suits
    assert len(waiting) == 4
