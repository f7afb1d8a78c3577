"""The ways a GPU job can be made robust, side by side: the same jobs in containers, installing, or pinned to a GPU type.

Every strategy runs with the same seeds, so arrivals and losses are common and differences are the strategies' own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sim.classads.rewriting import narrowed, pinned
from sim.delivery.paths import clause_of
from sim.engine.run import Plan, Recording, Run
from sim.errors import InputError
from sim.scenario import Scenario
from sim.waits import first_waits, mean_wait, quantile, survival

Progress = Callable[[float, str], None]
LONGER = 4.0  # than the record, how long a run may take

WORDS = {
    "cvmfs": "container, unpacked in CVMFS",
    "osdf": "container, SIF from OSDF",
    "sandbox": "container, SIF with the job",
    "registry": "container, pulled from a registry",
    "default": "the pilot's default image",
    "install": "install inside the job",
    "pin": "no container, one GPU type",
}


@dataclass(frozen=True)
class Strategy:
    """A way: its name (a key of `WORDS`), the path software takes, the GPU model that jobs are pinned to, if any."""

    name: str
    path: str
    model: str | None = None

    @property
    def words(self) -> str:
        """What it is called."""
        return f"{WORDS[self.name]}: {self.model}" if self.model else WORDS[self.name]


def strategies(record: Recording, names: Sequence[str] = (), pin: str | None = None) -> list[Strategy]:
    """The strategies of these names, all by default.

    pin : model of the third; by default the one with most devices in the record

    Raises
    ------
    InputError : an unknown name, a model that the record doesn't have, or no GPU at all
    """
    unknown = [name for name in names if name not in WORDS]
    if unknown:
        raise InputError(f"no strategy is called {unknown[0]!r}; there are {', '.join(WORDS)}")
    found = []
    for name in names or WORDS:
        if name == "pin":
            models = device_models(record)
            if not models:
                raise InputError("the record shows no GPU, so no job can be pinned to a type")
            if pin is not None and pin not in models:
                raise InputError(f"no GPU of the record is a {pin!r}; there are {', '.join(models)}")
            found.append(Strategy("pin", "none", pin or models[0]))
        else:
            found.append(Strategy(name, name))
    return found


def device_models(record: Recording) -> list[str]:
    """The models of the record's GPUs as their ads spell them, the most frequent first."""
    from sim.classads.matching import assigned_devices

    counts: dict[str, int] = {}
    whole = record.slots[record.slots["slot_type"] != "dynamic"].drop_duplicates("name", keep="last")
    for text in whole["ad"]:
        for device in assigned_devices(str(text)):
            if device.model:
                counts[device.model] = counts.get(device.model, 0) + 1
    return sorted(counts, key=lambda model: (-counts[model], model))


def rewritten(record: Recording, strategy: Strategy, *, assumed: bool) -> Recording:
    """The record with its jobs' ads as the strategy's users would have written them; CPU jobs are never pinned."""
    jobs = record.jobs.copy()
    clause = clause_of(strategy.path, assumed=assumed)
    changed: dict[tuple[str, bool], str] = {}

    def ad_of(text: str, gpus: bool) -> str:
        if (text, gpus) not in changed:
            made = narrowed(text, clause) if clause else text
            changed[text, gpus] = pinned(made, strategy.model) if strategy.model and gpus else made
        return changed[text, gpus]

    jobs["ad"] = [
        ad_of(str(text), int(gpus) > 0) for text, gpus in zip(jobs["ad"], jobs["request_gpus"], strict=True)
    ]
    return dataclasses.replace(record, jobs=jobs)


@dataclass(frozen=True)
class Comparison:
    """Strategies side by side.

    table : a row per strategy: strategy, words, jobs, done, censored (never started), wait_p50_s, wait_p90_s, start_up_s
        (mean), total_p50_s, total_p90_s, total_mean_s with low and high (5-95 % over seeds), gained_s with low and high
        (total_mean_s less than the first strategy's, by pairs of seeds), moved and origin MB, pulls, failures, held
    by_gpu : a row per strategy and GPU model: starts, wait_p50_s, start_up_s, cold share
    """

    table: pd.DataFrame
    by_gpu: pd.DataFrame


def compare(
    scenario: Scenario,
    record: Recording,
    chosen: Sequence[Strategy],
    *,
    replications: int,
    first_seed: int,
    tell: Progress | None = None,
) -> Comparison:
    """Run the record's GPU jobs (all jobs, where none asks for a GPU) with each strategy."""
    assumed = scenario.delivery.machines == "apptainer"
    if scenario.run.horizon is None:  # slower strategies are to end as well
        longer = scenario.run.model_copy(update={"horizon": LONGER * (record.end - record.start)})
        scenario = scenario.model_copy(update={"run": longer})
    measured: list[list[dict[str, Any]]] = []
    by_gpu = []
    for place, strategy in enumerate(chosen):
        delivery = scenario.delivery.model_copy(update={"path": strategy.path})
        plan = Plan.of(
            scenario.model_copy(update={"delivery": delivery}), rewritten(record, strategy, assumed=assumed)
        )
        runs = []
        for number in range(replications):
            if tell:
                tell((place + number / replications) / len(chosen), strategy.words)
            run = plan.run(first_seed + number)
            runs.append(_measure(run))
            by_gpu.append(_by_gpu(run).assign(strategy=strategy.name))
        measured.append(runs)
    rows = [_row(strategy, runs, measured[0]) for strategy, runs in zip(chosen, measured, strict=True)]
    return Comparison(pd.DataFrame(rows), _joined(pd.concat(by_gpu, ignore_index=True), chosen))


def _own(jobs: pd.DataFrame) -> pd.Series:
    """Which jobs count: those with a GPU, or all where none has."""
    gpus = jobs["request_gpus"] > 0
    return gpus if gpus.any() else pd.Series(data=True, index=jobs.index)


def _measure(run: Run) -> dict[str, Any]:
    """What one run gave."""
    jobs = run.jobs[_own(run.jobs)]
    waits = survival(*_first(jobs))
    done = jobs["status"].eq("completed")
    end = jobs["completed_at"].where(done, jobs["seen_at"])
    totals = survival((end - jobs["submitted_at"]).dt.total_seconds(), done)
    attempts = run.attempts[run.attempts["gpus"] > 0] if (run.attempts["gpus"] > 0).any() else run.attempts
    starts = run.starts.loc[attempts.index]
    return {
        "jobs": len(jobs),
        "done": int(done.sum()),
        "censored": int(jobs["first_started_at"].isna().sum()),
        "wait_p50_s": quantile(waits, 0.5),
        "wait_p90_s": quantile(waits, 0.9),
        "start_up_s": float(starts["seconds"].mean()) if len(starts) else float("nan"),
        "start_up_p90_s": float(starts["seconds"].quantile(0.9)) if len(starts) else float("nan"),
        "cold": float(starts["cold"].astype("float64").mean()) if len(starts) else float("nan"),
        "total_p50_s": quantile(totals, 0.5),
        "total_p90_s": quantile(totals, 0.9),
        "total_mean_s": mean_wait((end - jobs["submitted_at"]).dt.total_seconds(), done),
        "squid_mb": float(starts["squid_mb"].sum()),
        "origin_mb": float(starts["origin_mb"].sum()),
        "access_point_mb": float(starts["access_point_mb"].sum()),
        "pulls": int(starts["pulls"].sum()),
        "failures": int(starts["failure"].ne("").sum()),
        "held": int(jobs["status"].eq("held").sum()),
    }


def _first(jobs: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    waits = first_waits(jobs)
    return waits["wait_s"], waits["started"]


_MEANS = (
    "jobs", "done", "censored", "wait_p50_s", "wait_p90_s", "start_up_s", "start_up_p90_s", "cold", "total_p50_s",
    "total_p90_s", "squid_mb", "origin_mb", "access_point_mb", "pulls", "failures", "held",
)  # fmt: skip


def _row(strategy: Strategy, runs: list[dict[str, Any]], base: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over seeds of what was measured, with intervals where two strategies are compared."""
    row: dict[str, Any] = {"strategy": strategy.name, "words": strategy.words}
    row |= {name: _mean([run[name] for run in runs]) for name in _MEANS}
    gains = [own["total_mean_s"] - other["total_mean_s"] for own, other in zip(runs, base, strict=True)]
    for name, values in (("total_mean", [run["total_mean_s"] for run in runs]), ("gained", gains)):
        row[f"{name}_s"] = _mean(values)
        row[f"{name}_low_s"], row[f"{name}_high_s"] = _spread(values)
    return row


def _mean(values: Sequence[float]) -> float:
    """The mean; missing if one value is, as that one is hidden by censoring."""
    return float(np.mean(values))


def _spread(values: Sequence[float]) -> tuple[float, float]:
    if np.isnan(values).any():
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.05, 0.95])
    return float(low), float(high)


def _by_gpu(run: Run) -> pd.DataFrame:
    """Starts by GPU model: how many, the wait before (from being ready), their start-up, how many cold."""
    attempts = run.attempts
    frame = pd.DataFrame(
        {
            "model": attempts["device_model"].fillna("no GPU"),
            "wait_s": (attempts["started_at"] - attempts["ready_at"]).dt.total_seconds(),
            "seconds": run.starts["seconds"].to_numpy(),
            "cold": run.starts["cold"].astype("float64").to_numpy(),
        }
    )
    found = frame.groupby("model").agg(
        starts=("wait_s", "size"),
        wait_p50_s=("wait_s", "median"),
        start_up_s=("seconds", "mean"),
        cold=("cold", "mean"),
    )
    return found.reset_index()


def _joined(frame: pd.DataFrame, chosen: Sequence[Strategy]) -> pd.DataFrame:
    """Means over seeds by strategy, in the order they were asked for, and model."""
    found = frame.groupby(["strategy", "model"], sort=False).mean().reset_index()
    order = {strategy.name: place for place, strategy in enumerate(chosen)}
    found = found.sort_values(
        ["strategy", "model"], key=lambda values: values.map(order) if values.name == "strategy" else values
    )
    return found[["strategy", "model", "starts", "wait_p50_s", "start_up_s", "cold"]].reset_index(drop=True)
