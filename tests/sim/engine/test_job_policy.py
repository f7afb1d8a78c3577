"""What becomes of jobs besides running to their end: checkpoints, policies that hold, runs that fail, drains, removals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from sim.engine.run import Plan, Recording, Run
from sim.errors import ScenarioError
from sim.scenario import parse
from sim.schema import conform

MINUTE = 60.0


def run(**sections: dict[str, Any]) -> Run:
    """A job of two hours each day on one of two hosts with one slot each, checked by the invariants."""
    content: dict[str, Any] = {
        "pool": {
            "source": "generated",
            "machines": [{"name": "m", "count": 1, "cpus": 1, "memory": "2 GB"}],
        },
        "supply": {"model": "fixed"},
        "workload": {
            "source": "synthetic",
            "synthetic": {
                "classes": [
                    {"name": "c", "gpus": 0, "arrivals": {"every": "1 d", "variation": 0.01}, "run": {"median": "2 h", "spread": 0}}
                ]
            },
        },
        "policy": {"run_overhead": 0, "match_to_start_tail": 0},
        "run": {"horizon": "30 d", "check": True},
    }  # fmt: skip
    for name, told in sections.items():
        content[name] = content.get(name, {}) | told
    return Plan.of(parse(content, where="policy"), Recording.load("generated")).run(1)


def attempts(found: Run) -> pd.DataFrame:
    """The attempts of the run's second job, with minutes executed."""
    ours = found.attempts[found.attempts["job_id"] == found.jobs["job_id"].iloc[1]]
    told: pd.DataFrame = ours.assign(
        minutes=(ours["ended_at"] - ours["executing_at"]).dt.total_seconds() / MINUTE
    )
    return told


def second_start() -> float:
    """When the second job begins in a run without anything [s since the run began]."""
    plain = run()
    began = attempts(plain)["executing_at"].iloc[0]
    return float((began - pd.Timestamp(plain.manifest["start"], unit="s", tz="UTC")).total_seconds())


def drain(after_s: float, how: str = "fast", lasts: str | None = "5 min") -> dict[str, Any]:
    """A drain of everything, so long after the second job's start."""
    told: dict[str, Any] = {"at": second_start() + after_s, "how": how}
    return {"drains": [told | ({"lasts": lasts} if lasts else {})]}


class TestCheckpoints:
    def test_an_evicted_job_goes_on_from_its_last_checkpoint(self) -> None:
        """55 minutes with a checkpoint every 25 are 50 saved: 70 of 120 are left."""
        found = attempts(run(supply=drain(55 * MINUTE), workload={"checkpoints": [{"every": "25 min"}]}))
        assert found["outcome"].tolist() == ["evicted", "done"]
        assert found["minutes"].tolist() == pytest.approx([55, 70], abs=0.1)

    def test_without_one_it_begins_anew(self) -> None:
        rule = {"where": 'Owner == "somebody else"', "every": "25 min"}
        found = attempts(run(supply=drain(55 * MINUTE), workload={"checkpoints": [rule]}))
        assert found["minutes"].tolist() == pytest.approx([55, 120], abs=0.1)


class TestPrograms:
    def test_an_attempt_cut_short_before_its_program_began_never_executed(self) -> None:
        """Its image took an hour, the machine went after five minutes: the job's first execution is that of the next attempt."""
        found = run(supply=drain(5 * MINUTE), policy={"image_start": "1 h"})
        told = attempts(found)
        assert told["outcome"].tolist() == ["evicted", "done"]
        assert told["executing_at"].isna().tolist() == [True, False]
        assert found.jobs["executing_at"].iloc[1] == told["executing_at"].iloc[1]


class TestHolds:
    @pytest.mark.parametrize(
        ("attributes", "holds", "minutes"),
        [
            ({}, [{"where": 'JobDurationCategory == "Long"', "after": "40 h"}, {"after": "90 min"}], 90),
            ({"JobDurationCategory": '"Long"'}, [{"where": 'JobDurationCategory == "Long"', "after": "100 min"}, {"after": "90 min"}], 100),
            ({"AllowedExecuteDuration": "3600"}, [], 60),  # allowed_execute_duration of the submit file
            ({"AllowedJobDuration": "1800"}, [{"after": "90 min"}], 30),
        ],
    )  # fmt: skip
    def test_the_first_rule_and_the_jobs_own_limits(
        self, attributes: dict[str, str], holds: list[dict[str, str]], minutes: float
    ) -> None:
        job = {
            "name": "c", "gpus": 0, "attributes": attributes, "arrivals": {"every": "1 d", "variation": 0.01},
            "run": {"median": "2 h", "spread": 0},
        }  # fmt: skip
        found = run(workload={"synthetic": {"classes": [job]}}, policy={"holds": holds})
        told = attempts(found)
        assert (told["outcome"].tolist(), found.jobs["status"].iloc[1]) == (["held"], "held")
        assert told["minutes"].iloc[0] == pytest.approx(minutes, abs=0.1)

    @pytest.mark.parametrize(
        ("name", "minutes"), [("AllowedExecuteDuration", 30), ("AllowedJobDuration", 20)]
    )
    def test_what_brings_the_software_counts_for_the_job_not_for_its_program(
        self, name: str, minutes: float
    ) -> None:
        """AllowedJobDuration is the time in the running state, AllowedExecuteDuration leaves transfers out; minutes are the program's."""
        job = {
            "name": "c", "gpus": 0, "attributes": {name: "1800"}, "arrivals": {"every": "1 d", "variation": 0.01},
            "run": {"median": "2 h", "spread": 0},
        }  # fmt: skip
        found = run(workload={"synthetic": {"classes": [job]}}, policy={"image_start": "10 min"})
        told = attempts(found)
        assert told["outcome"].tolist() == ["held"]
        assert told["minutes"].iloc[0] == pytest.approx(minutes, abs=0.1)


class TestFailures:
    def test_a_run_that_fails_is_retried_and_evictions_are_no_retries(self) -> None:
        """max_retries = 2: three runs, then the job is completed although none of them succeeded."""
        found = run(workload={"failures": [{"share": 1.0, "retries": 2}]})
        told = attempts(found)
        assert told["outcome"].tolist() == ["failed"] * 3
        assert (told["minutes"] < 120).all()
        assert found.jobs["status"].iloc[1] == "completed"
        assert found.goodput == 0

    def test_the_jobs_own_retries(self) -> None:
        """JobMaxRetries of the ad counts where the rule says nothing; none without it."""
        for attributes, runs in (({}, 1), ({"JobMaxRetries": "4"}, 5)):
            job = {
                "name": "c", "gpus": 0, "attributes": attributes, "arrivals": {"every": "1 d", "variation": 0.01},
                "run": {"median": "2 h", "spread": 0},
            }  # fmt: skip
            found = run(workload={"synthetic": {"classes": [job]}, "failures": [{"share": 1.0}]})
            assert len(attempts(found)) == runs

    @pytest.mark.slow
    def test_the_share_that_fails(self) -> None:
        """Of many runs as many fail as was said; each failure has a further run, so runs = jobs / (1 - share)."""
        job = {
            "name": "c", "gpus": 0, "arrivals": {"every": "3 h", "variation": 0.1}, "run": {"median": "1 min", "spread": 0},
        }  # fmt: skip
        found = run(
            workload={"synthetic": {"classes": [job]}, "failures": [{"share": 0.25, "retries": 1000}]},
            run={"horizon": "300 d"},
        )
        n = len(found.attempts)
        failed = (found.attempts["outcome"] == "failed").mean()
        assert failed == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / n) ** 0.5)
        assert (found.jobs["status"] == "completed").mean() > 0.99


class TestDrains:
    def test_peaceful_lets_the_job_end(self) -> None:
        found = run(supply=drain(30 * MINUTE, "peaceful", None))
        assert attempts(found)["outcome"].tolist() == ["done"]
        assert len(found.attempts) == 2  # nobody starts there afterwards

    def test_graceful_grants_the_retirement_time(self) -> None:
        """MaxJobRetirementTime counts from the job's start; the machine comes back after that and the pause."""
        found = attempts(
            run(supply=drain(30 * MINUTE, "graceful", "1 h"), policy={"run_overhead": 0, "max_job_retirement": "50 min"})
        )  # fmt: skip
        assert found["outcome"].tolist() == ["evicted", "done"]
        assert found["minutes"].iloc[0] == pytest.approx(50, abs=0.2)
        pause = (found["executing_at"].iloc[1] - found["executing_at"].iloc[0]).total_seconds() / MINUTE
        assert 30 + 50 + 60 <= pause <= 30 + 50 + 60 + 2

    def test_only_where(self) -> None:
        told = drain(30 * MINUTE)
        told["drains"][0]["where"] = 'Machine == "another"'
        assert attempts(run(supply=told))["outcome"].tolist() == ["done"]

    def test_a_peaceful_one_has_no_length(self) -> None:
        with pytest.raises(ScenarioError, match="a peaceful drain lasts as long as its jobs"):
            run(supply={"drains": [{"at": "1 h", "how": "peaceful", "lasts": "1 h"}]})


class TestRemovals:
    @pytest.mark.parametrize("status", ["removed", "held"])
    def test_who_was_taken_away_while_idle_waits_no_longer(self, status: str) -> None:
        """A job of the record that no machine runs and its user took away after ten minutes."""
        record = Recording.load("sample")
        never = record.jobs[record.jobs["status"] == "idle"].index[0]
        jobs = record.jobs.copy()
        left = jobs.loc[never, "submitted_at"] + pd.Timedelta(10, "min")
        jobs.loc[never, "status"] = status
        jobs.loc[never, "entered_status_at"] = left
        scenario = parse({"run": {"check": True}}, where="removals")
        found = Plan.of(scenario, replace(record, jobs=conform(jobs, "jobs"))).run(1).jobs
        ours = found[found["job_id"] == jobs.loc[never, "job_id"]].iloc[0]
        assert ours["status"] == status
        assert ours["entered_status_at"] == left
        assert pd.isna(ours["first_started_at"])
