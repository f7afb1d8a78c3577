"""Questions become engine runs; only `dashboard.simulation` knows the engine."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import dashboard
from dashboard import spec as specs
from dashboard.data import Data
from dashboard.pages.requirements import run_spec
from dashboard.pages.requirements_state import Question
from dashboard.simulation import OWN, OWN_LADDER, execute, probe_waits, questions
from sim.errors import InputError


def quiet(_share: float, _note: str) -> None:
    """A tick that nobody hears."""


def test_a_replay_has_the_records_jobs_for_each_replication(data: Data) -> None:
    shares: list[float] = []
    result = execute(
        {**specs.replay_spec(data), "replications": 2}, lambda share, _note: shares.append(share)
    )
    assert result["jobs"]["replication"].value_counts().to_dict() == {1: 320, 2: 320}
    assert len(result["observed"]) == 320
    assert shares == sorted(shares)
    assert shares[-1] > 0.9


@pytest.mark.slow
def test_a_probe_run_gives_waits_with_intervals_for_each_rung_of_every_ladder(data: Data) -> None:
    question = Question("GPUs_Capability >= 7.5")
    result = execute(run_spec(data, question), quiet)
    rungs = result["rungs"].set_index(["ladder", "rung"])
    capability = rungs.loc["capability"]
    assert capability.loc["Capability >= 8.0", "p90_s"] > capability.loc["any capability", "p90_s"]
    assert set(rungs.index.get_level_values("ladder")) == {
        OWN_LADDER, "capability", "memory", "gpus", "model", "site", "combined",
    }  # fmt: skip
    assert (rungs["n"] == result["summary"]["n"]).all()
    assert result["summary"]["n"] >= 10 * 100
    reached = rungs.dropna(subset=["p50_s", "p50_high_s"])
    assert len(reached) > 10
    assert (reached["p50_low_s"] <= reached["p50_s"]).all()
    assert (reached["p50_s"] <= reached["p50_high_s"]).all()
    # a looser demand has the wait of the question itself where it takes nothing more
    own = rungs.loc[(OWN_LADDER, OWN)]
    for same in (
        ("memory", "any memory"),
        ("memory", "GlobalMemoryMb >= 24220"),
        ("gpus", "request_gpus = 1"),
    ):
        assert rungs.loc[same, "p90_s"] == own["p90_s"]


def test_the_interval_is_of_the_replications_own_quantiles() -> None:
    """Two replications, the second too short for its p90; values by hand."""
    probes = pd.DataFrame(
        {
            "wait_s": [10.0, 20.0, 30.0, 40.0, 50.0, 60.0],
            "started": [True, True, True, True, True, False],
            "replication": [1, 1, 1, 2, 2, 2],
        }
    )
    told = probe_waits(probes)
    assert (told["n"], told["n_censored"], told["longest_s"]) == (6, 1, 60.0)
    assert (told["p50_s"], told["p50_low_s"], told["p50_high_s"]) == (30.0, 20.0, 50.0)
    assert told["p90_low_s"] == 30.0
    assert math.isnan(told["p90_s"])
    assert math.isnan(told["p90_high_s"])


def test_every_rung_of_a_submit_file_is_asked(data: Data) -> None:
    """Its own waits, with everything else that the file says."""
    file = "executable = a\nrequest_gpus = 1\nrequest_memory = 3 GB\ngpus_minimum_capability = 7.5\nqueue 2\n"
    spec = run_spec(data, Question(file))
    asked = questions(spec)
    assert "RequestMemory = 3072" in asked[OWN_LADDER, OWN]
    assert "RequestMemory = 3072" in asked["memory", "GlobalMemoryMb >= 47661"]
    assert "GlobalMemoryMb >= 47661" in asked["memory", "GlobalMemoryMb >= 47661"]
    assert "GPUsMinCapability)" not in asked["capability", "any capability"]
    result = execute({**spec, "replications": 2}, quiet)
    assert result["rungs"].groupby("ladder")["p50_s"].count().drop("").min() >= 1


@pytest.mark.slow
def test_equal_seeds_give_equal_answers(data: Data) -> None:
    spec = run_spec(data, Question("true"))
    assert execute(spec, quiet)["rungs"].equals(execute(spec, quiet)["rungs"])


def test_a_tick_may_stop_the_engine(data: Data) -> None:
    def stop(share: float, _note: str) -> None:
        if share > 0.2:
            raise KeyError("cancelled")

    with pytest.raises(KeyError, match="cancelled"):
        execute(specs.replay_spec(data), stop)


def test_a_rung_leaves_the_clauses_on_its_property_out() -> None:
    rungs = [["capability", rung, rung] for rung in ("any capability", "Capability >= 8.0")]
    spec: dict[str, Any] = {
        "expression": "GPUs_Capability >= 7.5 && HasSingularity", "gpus": 1, "cpus": 1, "memory_mib": 128.0, "rungs": rungs,
    }  # fmt: skip
    made = questions(spec)
    assert "Capability >= 7.5" in made[OWN_LADDER, OWN]
    assert "Capability" not in made["capability", "any capability"]
    assert "HasSingularity" in made["capability", "any capability"]
    assert "RequireGPUs = (Capability >= 8.0)" in made["capability", "Capability >= 8.0"]


def test_an_unknown_question_is_refused() -> None:
    with pytest.raises(InputError, match="'weather'"):
        execute({"kind": "weather", "scenario": "", "source": "sample"}, quiet)


def test_only_one_module_knows_the_engine() -> None:
    folder = Path(dashboard.__file__).parent
    guilty = set()
    for file in folder.rglob("*.py"):
        if "commands" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sim.engine"):
                guilty.add(file.name)
    assert guilty == {"simulation.py"}
