"""The one door to the engine: `execute` turns a run's question into frames and a summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from sim import scenario
from sim.classads.expression import Expression
from sim.classads.request import Request
from sim.engine.run import Plan, Probe, Recording
from sim.errors import InputError
from sim.replication import replicate
from sim.scenario import Scenario
from sim.strategies import compare, strategies
from sim.sweep import Sweep, Variant, summarise
from sim.waits import quantile, survival

Tick = Callable[[float, str], None]

#: Probes ask as often as this many fit into a record.
PROBES = 120
OWN = "as asked"


def execute(spec: Mapping[str, Any], tick: Tick) -> dict[str, Any]:
    """Answer the question of a run.

    Parameters
    ----------
    spec : made by `dashboard.spec`
    tick : told the share done [1] and what is going on; raises when nobody waits for the answer any more

    Raises
    ------
    InputError : no such kind of question, or one that the model refuses
    """
    if spec["kind"] == "scenario":
        return _seeds(scenario.parse(spec["content"], where="the scenario"), tick)
    made = _scenario(spec)
    if spec["kind"] == "replay":
        return _replay(made, spec, tick)
    if spec["kind"] == "probe":
        return _probe(made, spec, tick)
    if spec["kind"] == "strategies":
        return _strategies(made, spec, tick)
    raise InputError(
        f"no run is of the kind {spec['kind']!r}; there are replay, probe, scenario and strategies"
    )


def _scenario(spec: Mapping[str, Any]) -> Scenario:
    """The scenario of that name; none means HTCondor's defaults, as for a store of one's own."""
    if not spec["scenario"]:
        return scenario.parse({"pool": {"source": spec["source"]}}, where="defaults")
    made = scenario.load(spec["scenario"])
    return made.model_copy(update={"pool": made.pool.model_copy(update={"source": spec["source"]})})


def _replay(made: Scenario, spec: Mapping[str, Any], tick: Tick) -> dict[str, Any]:
    """The record's jobs in every replication, one after another, and the same jobs as they were observed."""
    tick(0.0, "reading the record")
    plan = Plan.of(made, Recording.load(made.pool.source))
    count, parts = int(spec["replications"]), []
    for number in range(count):
        told = _part(tick, number, count, f"replication {number + 1} of {count}")
        run = plan.run(int(spec["seed"]) + number, told)
        parts.append(run.jobs.assign(replication=number + 1))
    summary = {"seed": spec["seed"], "replications": count, "n": len(parts[0]), "manifest": run.manifest}
    return {"jobs": pd.concat(parts, ignore_index=True), "observed": run.observed, "summary": summary}


def _seeds(made: Scenario, tick: Tick) -> dict[str, Any]:
    """A scenario once per seed, measured as `poolscope sweep` measures its variants, so that scenarios can be paired."""
    tick(0.0, "reading the record")
    record, count = Recording.load(made.pool.source), made.run.replications
    seeds = range(made.run.seed, made.run.seed + count)
    sweep = Sweep([Variant(made.title or "scenario", (), made)], seeds, Path())

    def tell(done: float, ended: int) -> None:
        number = min(ended, count - 1)
        tick(done / count, f"seed {seeds[number]}, {number + 1} of {count}")

    plan = partial(Plan.of, made, record)
    for task, outcome in replicate([plan], sweep.todo, summarise, workers=1, tell=tell):
        sweep.outcomes[task.plan, task.seed] = outcome
    waits = sweep.waits().drop(columns="variant")
    summary = {
        "seed": made.run.seed,
        "replications": count,
        "n": int(waits["n"].max()) if len(waits) else 0,
        "manifest": sweep.manifest(),
    }
    return {"waits": waits, "totals": sweep.runs().drop(columns="variant"), "summary": summary}


def _probe(made: Scenario, spec: Mapping[str, Any], tick: Tick) -> dict[str, Any]:
    """Waits of ghost jobs with the expression as asked and for each rung of its ladder."""
    tick(0.0, "reading the record")
    record = Recording.load(made.pool.source)
    every = max(5.0, (record.end - record.start) / PROBES)
    if "ad" in spec:  # a job of a submit file
        probes = [Probe(OWN, ad=str(spec["ad"]), every_s=every)]
    else:
        probes = [
            Probe(label, requirements, request=request, every_s=every)
            for label, (requirements, request) in questions(spec).items()
        ]
    run = Plan.of(made, record, probes).run(int(spec["seed"]), _part(tick, 0, 1, "simulating"))
    rungs = pd.DataFrame([_waits(label, part) for label, part in run.probes.groupby("label", sort=False)])
    own = rungs[rungs["rung"] == OWN].iloc[0]
    summary = {
        "seed": spec["seed"],
        "n": int(own["n"]),
        "n_censored": int(own["n_censored"]),
        "p50_s": _number(own["p50_s"]),
        "p90_s": _number(own["p90_s"]),
        "every_s": every,
        "manifest": run.manifest,
    }
    return {"rungs": rungs, "probes": run.probes, "summary": summary}


def _strategies(made: Scenario, spec: Mapping[str, Any], tick: Tick) -> dict[str, Any]:
    """The record's jobs once per strategy, every container path wherever there is Apptainer."""
    tick(0.0, "reading the record")
    record = Recording.load(made.pool.source)
    able = made.delivery.model_copy(update={"machines": "apptainer"})
    found = compare(
        made.model_copy(update={"delivery": able}),
        record,
        strategies(record),
        replications=int(spec["replications"]),
        first_seed=int(spec["seed"]),
        tell=tick,
    )
    summary = {
        "seed": spec["seed"],
        "replications": spec["replications"],
        "n": int(found.table["jobs"].iloc[0]),
    }
    return {"strategies": found.table, "by_gpu": found.by_gpu, "summary": summary}


def questions(spec: Mapping[str, Any]) -> dict[str, tuple[str, Request]]:
    """The ghost jobs of a probe run by label: the question itself and its rungs, as `sim.analysis` counts them."""
    whole = Expression.parse(spec["expression"])
    kept = [
        whole.text_of(node)
        for node in whole.conjuncts()
        if not any("capability" in reference.name.lower() for reference in whole.references(node))
    ]
    loose = " && ".join(f"({text})" for text in kept) or "true"
    asked = Request(gpus=spec["gpus"], cpus=spec["cpus"], memory_mib=spec["memory_mib"])
    made = {OWN: (spec["expression"], asked)}
    for rung in spec["rungs"]:
        picky = rung if rung.startswith("Capability") else ""
        made[rung] = (loose, Request(asked.gpus, asked.cpus, asked.memory_mib, picky))
    return made


def _waits(label: object, probes: pd.DataFrame) -> dict[str, Any]:
    curve = survival(probes["wait_s"], probes["started"])
    return {
        "rung": label,
        "n": len(probes),
        "n_censored": int((~probes["started"]).sum()),
        "p50_s": quantile(curve, 0.5),
        "p90_s": quantile(curve, 0.9),
    }


def _number(value: float) -> float | None:
    return float(value) if pd.notna(value) else None


def _part(tick: Tick, number: int, count: int, note: str) -> Tick:
    """A tick for one of several equal parts of a run."""

    def tell(share: float, _text: str) -> None:
        tick((number + share) / count, note)

    return tell
