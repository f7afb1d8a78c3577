"""The questions that become runs: plain data, hashed into a run's id, read by `simulation.execute`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboard.data import Data

Spec = dict[str, Any]

#: Replications of a probe run, so that its quantiles have an interval.
LEAST_REPLICATIONS = 10


def replay_spec(data: Data) -> Spec:
    """The recorded jobs, simulated: the question of the Waits page."""
    return {
        "kind": "replay",
        "scenario": data.settings.scenario,
        "source": data.settings.source,
        "snapshot": data.coverage().snapshot,
        "seed": data.settings.seed,
        "replications": data.settings.replications,
    }


def probe_spec(
    data: Data,
    expression: str,
    *,
    gpus: int,
    cpus: int,
    memory_mib: float,
    rungs: Mapping[str, Mapping[str, str]],
) -> Spec:
    """What a job with this expression would wait, and on each rung of its ladders, from ghost probes.

    rungs : by ladder, each rung and the one that is asked for it (`sim.analysis.rungs.rungs_to_ask`)
    """
    return {
        **replay_spec(data),
        "replications": max(LEAST_REPLICATIONS, data.settings.replications),
        "kind": "probe",
        "expression": expression,
        "gpus": gpus,
        "cpus": cpus,
        "memory_mib": memory_mib,
        "rungs": [[ladder, rung, asked] for ladder, held in rungs.items() for rung, asked in held.items()],
    }


def scenario_spec(data: Data, content: dict[str, Any]) -> Spec:
    """A scenario, run once per seed: the question of the Scenarios page.

    content : as a scenario file holds it, checked already
    """
    return {
        "kind": "scenario",
        "content": content,
        "source": data.settings.source,
        "snapshot": data.coverage().snapshot,
    }


def strategies_spec(data: Data) -> Spec:
    """The recorded jobs, once per strategy: the question of the Containers page."""
    return {**replay_spec(data), "kind": "strategies"}


def title(spec: Spec) -> str:
    """One line that says what a run was asked."""
    if spec.get("kind") == "scenario":
        return f"Scenario: {scenario_title(spec)}"
    if spec.get("kind") == "probe":
        return f"Wait of {spec.get('expression', '')!s}, {spec.get('gpus', 1)} GPU"
    if spec.get("kind") == "strategies":
        return f"Strategies on {spec.get('source', '')!s}, seed {spec.get('seed', '')}"
    return f"Replay of {spec.get('source', '')!s}, seed {spec.get('seed', '')}"


def scenario_title(spec: Spec) -> str:
    """The title of a scenario's run."""
    content = spec.get("content", {})
    return str(content.get("title") or "untitled") if isinstance(content, dict) else "untitled"


def seeds(spec: Spec) -> tuple[int, int]:
    """The first seed of a run and how many there are."""
    if spec.get("kind") == "scenario":
        content = spec.get("content", {})
        run = content.get("run", {}) if isinstance(content, dict) else {}
        return int(run.get("seed", 1)), int(run.get("replications", 10))
    return int(spec.get("seed", 1)), int(spec.get("replications", 1))
