"""Questions become engine runs; only `dashboard.simulation` knows the engine."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import dashboard
from dashboard import spec as specs
from dashboard.data import Data
from dashboard.pages.requirements import run_spec
from dashboard.pages.requirements_state import Question
from dashboard.simulation import OWN, execute, questions
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


def test_a_probe_run_gives_waits_for_each_rung(data: Data) -> None:
    result = execute(run_spec(data, Question("GPUs_Capability >= 7.5")), quiet)
    rungs = result["rungs"].set_index("rung")
    assert rungs.loc["Capability >= 8.0", "p90_s"] > rungs.loc["any capability", "p90_s"]
    assert result["summary"]["n"] > 100
    assert result["summary"]["p90_s"] == pytest.approx(rungs.loc["Capability >= 7.5", "p90_s"])


def test_equal_seeds_give_equal_answers(data: Data) -> None:
    spec = run_spec(data, Question("true"))
    assert execute(spec, quiet)["rungs"].equals(execute(spec, quiet)["rungs"])


def test_a_tick_may_stop_the_engine(data: Data) -> None:
    def stop(share: float, _note: str) -> None:
        if share > 0.2:
            raise KeyError("cancelled")

    with pytest.raises(KeyError, match="cancelled"):
        execute(specs.replay_spec(data), stop)


def test_a_rung_leaves_the_clauses_on_capability_out() -> None:
    spec: dict[str, Any] = {
        "expression": "GPUs_Capability >= 7.5 && HasSingularity",
        "gpus": 1,
        "cpus": 1,
        "memory_mib": 128.0,
        "rungs": ["any capability", "Capability >= 8.0"],
    }
    made = questions(spec)
    assert made[OWN][0] == spec["expression"]
    assert made["any capability"][0] == "(HasSingularity)"
    assert made["Capability >= 8.0"][1].require_gpus == "Capability >= 8.0"


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
