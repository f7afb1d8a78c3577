"""The one door to the engine: `execute` turns a run's question into frames and a summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sim import scenario
from sim.analysis.rewritten import is_submit_file
from sim.analysis.rungs import job_on
from sim.classads.request import Request
from sim.classads.submit import read_submit
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
OWN_LADDER = ""


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
    """Waits of ghost jobs as asked and on each rung of every ladder, over replications that differ by their seeds."""
    tick(0.0, "reading the record")
    record = Recording.load(made.pool.source)
    every = max(5.0, (record.end - record.start) / PROBES)
    asked = questions(spec)
    probes = [Probe(ad, ad=ad, every_s=every) for ad in dict.fromkeys(asked.values())]
    plan = Plan.of(made, record, probes)
    count, parts = int(spec["replications"]), []
    for number in range(count):
        told = _part(tick, number, count, f"replication {number + 1} of {count}")
        run = plan.run(int(spec["seed"]) + number, told)
        parts.append(run.probes.assign(replication=number + 1))
    answers = dict(list(pd.concat(parts, ignore_index=True).groupby("label", sort=False)))
    waits = {ad: probe_waits(part) for ad, part in answers.items()}
    rows = [
        {"ladder": ladder, "rung": rung, **waits[asked[ladder, head]]}
        for ladder, rung, head in [(OWN_LADDER, OWN, OWN), *spec["rungs"]]
    ]
    own = waits[asked[OWN_LADDER, OWN]]
    summary = {
        "seed": spec["seed"],
        "replications": count,
        **{name: _number(value) if name.endswith("_s") else value for name, value in own.items()},
        "every_s": every,
        "manifest": run.manifest,
    }
    shown = answers[asked[OWN_LADDER, OWN]].assign(label=OWN).reset_index(drop=True)
    return {"rungs": pd.DataFrame(rows), "probes": shown, "summary": summary}


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


def questions(spec: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """The ads of the ghost jobs of a probe run by ladder and rung: the question itself and every rung that is asked."""
    if is_submit_file(spec["expression"]):
        job = read_submit(spec["expression"]).shapes()[0][0].description
    else:
        request = Request(gpus=spec["gpus"], cpus=spec["cpus"], memory_mib=spec["memory_mib"])
        job = request.describe(spec["expression"])
    made = {(OWN_LADDER, OWN): job.fixed().text}
    for ladder, _, head in spec["rungs"]:
        if (ladder, head) not in made:
            made[ladder, head] = job_on(job, ladder, head).fixed().text
    return made


def probe_waits(probes: pd.DataFrame) -> dict[str, Any]:
    """Quantiles of ghosts' waits, all replications together, with what nine tenths of the replications lie between.

    Parameters
    ----------
    probes : wait_s, started, replication

    Returns
    -------
    n, n_censored; longest_s, the longest that one was seen waiting; p50_s, p90_s [s], missing where censoring hides them;
    p50_low_s, p50_high_s, p90_low_s, p90_high_s, the 5 and 95 % quantiles of the replications' own ones, which are values
    that occurred; a high one is missing where that replication never reached it
    """
    whole = survival(probes["wait_s"], probes["started"])
    curves = [survival(part["wait_s"], part["started"]) for _, part in probes.groupby("replication")]
    told: dict[str, Any] = {
        "n": len(probes),
        "n_censored": int((~probes["started"]).sum()),
        "longest_s": float(probes["wait_s"].max()),
    }
    for name, q in (("p50", 0.5), ("p90", 0.9)):
        each = np.array([quantile(curve, q) for curve in curves])
        each[np.isnan(each)] = np.inf
        low, high = np.quantile(each, 0.05, method="lower"), np.quantile(each, 0.95, method="higher")
        told[f"{name}_s"] = quantile(whole, q)
        told[f"{name}_low_s"] = low if np.isfinite(low) else np.nan
        told[f"{name}_high_s"] = high if np.isfinite(high) else np.nan
    return told


def _number(value: float) -> float | None:
    return float(value) if pd.notna(value) else None


def _part(tick: Tick, number: int, count: int, note: str) -> Tick:
    """A tick for one of several equal parts of a run."""

    def tell(share: float, _text: str) -> None:
        tick((number + share) / count, note)

    return tell
