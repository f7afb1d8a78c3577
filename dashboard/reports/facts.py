"""What a period was like, in numbers: the same loaders as the pages', over the period's window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dashboard import tables
from dashboard.data import Data, Window
from dashboard.figures.theme import STATES
from dashboard.reports import mismatch
from dashboard.reports.mismatch import Mismatch
from dashboard.tables import ALL, GPU
from sim.classads.expression import Expression
from sim.errors import ExpressionError
from sim.waits import first_waits
from sim.workload.classes import label_classes

#: Waiting classes whose verdict is asked for, the largest first.
JUDGED = 40
#: More than this many usual steps without a snapshot is a pause of the collector.
PAUSE = 4.0

_KINDS = {
    "capability": ("capability",),
    "device memory": ("globalmemorymb", "gpusminmemory"),
    "device name": ("devicename",),
    "site": ("glidein_site", "glidein_resourcename"),
    "machine": ("machine", "name"),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """The numbers of a window.

    numbers : the scalars, each with its unit in its name; None where there is nothing to tell
    waits : `Data.waits`; models : model, capability, mean GPUs per state, gpus; supply : `Data.supply`
    demand : class, waiting, gpus_waiting, verdict, gpu_hours (waited in the window), impossible
    strictness : kind, jobs, share; outcomes : outcome, attempts, gpu_hours; ladder : rung, gpus, now
    sources : source, rounds, errors, last_error
    """

    window: Window
    numbers: dict[str, float | int | None]
    waits: pd.DataFrame
    models: pd.DataFrame
    supply: pd.DataFrame
    demand: pd.DataFrame
    strictness: pd.DataFrame
    outcomes: pd.DataFrame
    ladder: pd.DataFrame
    sources: pd.DataFrame
    mismatch: Mismatch


def gather(data: Data) -> Facts:
    """The facts of the window that `data` was made for."""
    window, supply, jobs = data.span(), data.supply(), data.jobs()
    waits = data.waits()
    outcomes, running = _outcomes(data, window)
    demand = _demand(data, jobs, window)
    return Facts(
        window=window,
        numbers={
            **_coverage(data, window),
            **_supply(data, supply),
            **_waited(waits),
            **running,
            **_asked(demand),
        },
        waits=waits,
        models=_models(data),
        supply=supply,
        demand=demand,
        strictness=_strictness(jobs),
        outcomes=outcomes,
        ladder=_ladder(data),
        sources=tables.sources(data.snapshots()),
        mismatch=mismatch.find(data.over(_with_baseline(window)).jobs(), supply),
    )


def _with_baseline(window: Window) -> Window:
    return Window(window.since - pd.Timedelta(hours=mismatch.BASELINE_H), window.until)


def _coverage(data: Data, window: Window) -> dict[str, float | int | None]:
    """How much of the window the snapshots cover: the time between neighbours, pauses of the collector left out."""
    times = data.snapshots()["taken_at"]
    steps = times.diff().dt.total_seconds().dropna()
    usual = float(steps.median()) if len(steps) else math.nan
    whole = steps <= PAUSE * usual
    covered = float(steps[whole].sum()) + (0.0 if math.isnan(usual) else usual)
    return {
        "snapshots": len(times),
        "coverage": min(1.0, covered / (window.until - window.since).total_seconds()),
        "pauses": int((~whole).sum()),
        "silent_s": max(0.0, (window.until - times.iloc[-1]).total_seconds()),
    }


def _supply(data: Data, supply: pd.DataFrame) -> dict[str, float | int | None]:
    sessions = data.query(
        "SELECT machine, started_at, min(seen_at) AS first, max(seen_at) AS last FROM slots WHERE slot_type <> 'dynamic'"
        " AND IN_WINDOW GROUP BY machine, started_at"
    )
    edge = pd.Timedelta(minutes=1)
    first, last = sessions["first"].min(), sessions["last"].max()
    came, left = sessions["first"] > first + edge, sessions["last"] < last - edge
    begun = sessions["started_at"].fillna(sessions["first"])
    length = (sessions["last"] - begun).dt.total_seconds()[left]
    return {
        "gpus_mean": number(supply["gpus"].mean()),
        "gpus_least": int(supply["gpus"].min()) if len(supply) else None,
        "gpus_most": int(supply["gpus"].max()) if len(supply) else None,
        "free_mean": number(supply["free"].mean()),
        "free_now": int(supply["free"].iloc[-1]) if len(supply) else None,
        "allocation": number(tables.allocation(supply)),
        "machines": int(sessions["machine"].nunique()),
        "arrivals": int(came.sum()),
        "departures": int(left.sum()),
        "session_p50_s": float(length.median()) if len(length) else None,
    }


def _waited(waits: pd.DataFrame) -> dict[str, float | int | None]:
    held = waits.set_index("group")
    found: dict[str, float | int | None] = {"jobs": 0, "gpu_jobs": 0, "gpu_jobs_waiting": 0}
    if ALL in held.index:
        found["jobs"] = int(held.loc[ALL, "n"])  # type: ignore[arg-type]
    for name in ("p50", "p90", "p99", "mean"):
        found[f"{name}_wait_s"] = None
    if GPU in held.index:
        row: Any = held.loc[GPU]
        found["gpu_jobs"], found["gpu_jobs_waiting"] = int(row["n"]), int(row["n_censored"])
        for name in ("p50", "p90", "p99", "mean"):
            found[f"{name}_wait_s"] = number(row[f"{name}_s"])
    return found


def _asked(demand: pd.DataFrame) -> dict[str, float | int | None]:
    lost = demand[demand["impossible"].astype(bool)]
    return {
        "gpus_failing_to_match": int(lost["gpus_waiting"].sum()),
        "jobs_failing_to_match": int(lost["waiting"].sum()),
        "unmet_gpu_h": float(demand["gpu_hours"].sum() - lost["gpu_hours"].sum()),
        "impossible_gpu_h": float(lost["gpu_hours"].sum()),
    }


def _outcomes(data: Data, window: Window) -> tuple[pd.DataFrame, dict[str, float | int | None]]:
    """Attempts by how they ended; their time within the window, times their GPUs."""
    attempts = data.attempts()
    edge = data.coverage().until
    started, ended_at = attempts["started_at"], attempts["ended_at"].fillna(edge)
    begin = started.where(started >= window.since, window.since)
    end = ended_at.where(ended_at <= window.until, window.until)
    hours = (end - begin).dt.total_seconds().clip(lower=0) / 3600
    gpus = attempts["gpus"].fillna(0).astype(float)
    whole = attempts.assign(
        gpu_hours=hours * gpus, hours=hours, outcome=attempts["outcome"].fillna("running")
    )
    rows = whole.groupby("outcome").agg(
        attempts=("job_id", "count"), gpu_hours=("gpu_hours", "sum"), hours=("hours", "sum")
    )
    rows = rows.sort_values("attempts", ascending=False).reset_index()
    ended = rows[rows["outcome"] != "running"].set_index("outcome")
    gpu_h, wall_h = float(ended["gpu_hours"].sum()), float(ended["hours"].sum())
    evicted = attempts["outcome"].isin(["evicted", "lost"]) & (gpus > 0)
    setup = (attempts["executing_at"] - attempts["started_at"]).dt.total_seconds().dropna()
    setup = setup[setup >= 0]
    return rows, {
        "attempts": int(ended["attempts"].sum()),
        "gpu_h": gpu_h,
        "goodput": float(ended["hours"].get("done", 0.0)) / wall_h if wall_h else None,
        "gpu_goodput": float(ended["gpu_hours"].get("done", 0.0)) / gpu_h if gpu_h else None,
        "evictions": int(attempts["outcome"].isin(["evicted", "lost"]).sum()),
        "evictions_per_1000_gpu_h": 1000 * int(evicted.sum()) / gpu_h if gpu_h else None,
        "setup_p50_s": float(setup.quantile(0.5)) if len(setup) else None,
        "setup_p90_s": float(setup.quantile(0.9)) if len(setup) else None,
    }


def _models(data: Data) -> pd.DataFrame:
    """Mean GPUs by model and state over the window's snapshots."""
    counted = data.query(
        "SELECT family, model, mig, state, max(capability) AS capability, count(*) AS n FROM devices"
        " WHERE IN_WINDOW GROUP BY family, model, mig, state"
    )
    counted["model"] = tables.device_labels(counted)
    rows = counted.pivot_table(index="model", columns="state", values="n", aggfunc="sum", fill_value=0)
    rows = rows.reindex(columns=list(STATES), fill_value=0) / max(1, len(data.snapshots()))
    rows["gpus"] = rows.sum(axis=1)
    rows.insert(0, "capability", counted.groupby("model")["capability"].max())
    rows.columns.name = None
    return rows.sort_values(["capability", "gpus"], na_position="first").reset_index()


def _demand(data: Data, jobs: pd.DataFrame, window: Window) -> pd.DataFrame:
    """GPU jobs by class: how many wait at the end, for how long, and whether any machine could take them."""
    columns = ["class", "waiting", "gpus_waiting", "gpu_hours", "verdict", "impossible"]
    gpu = jobs[(jobs["request_gpus"] > 0).to_numpy()]
    if gpu.empty:
        return pd.DataFrame(columns=columns).astype({"gpu_hours": "float64"})
    until = min(window.until, data.coverage().until)
    waits = first_waits(gpu)
    waited = waits["wait_s"].clip(upper=(until - gpu["submitted_at"]).dt.total_seconds().clip(lower=0)) / 3600
    gpus = gpu["request_gpus"].astype(float)
    idle = tables.waiting(jobs)[gpu.index] & ~waits["started"]
    held = pd.DataFrame(
        {
            "class": label_classes(gpu, by=data.settings.class_by).fillna("no class"),
            "idle": idle,
            "gpus": gpus.where(idle, 0.0),
            "gpu_hours": waited * gpus,
            "ad": gpu["ad"],
        }
    )
    rows = held.groupby("class").agg(
        waiting=("idle", "sum"), gpus_waiting=("gpus", "sum"), gpu_hours=("gpu_hours", "sum")
    )
    rows = rows.sort_values(["waiting", "gpu_hours"], ascending=False)
    verdicts = {
        str(name): data.verdict(str(held[held["class"].eq(name) & held["idle"]]["ad"].iloc[0]))
        for name in rows.index[rows["waiting"] > 0][: JUDGED if data.snapshots()["slots"].any() else 0]
    }
    rows["verdict"] = [verdicts.get(str(name), "") for name in rows.index]
    rows["impossible"] = rows["verdict"].eq("impossible")
    return rows.astype({"waiting": int, "gpus_waiting": int}).reset_index()[columns]


def _strictness(jobs: pd.DataFrame) -> pd.DataFrame:
    """Share of GPU jobs whose expressions name a capability, a device's memory, its name, a site or a machine."""
    gpu = jobs[(jobs["request_gpus"] > 0).to_numpy()]
    texts = (gpu["requirements"].fillna("") + "\n" + gpu["require_gpus"].fillna("")).astype(str)
    counts = dict.fromkeys(_KINDS, 0)
    for text, n in texts.value_counts().items():
        for kind in kinds(str(text)):
            counts[kind] += int(n)
    total = max(1, len(gpu))
    return pd.DataFrame([{"kind": kind, "jobs": n, "share": n / total} for kind, n in counts.items()])


def kinds(texts: str) -> set[str]:
    """The kinds of clause that expressions, one a line, have.

    Examples
    --------
    >>> sorted(kinds('TARGET.GPUs_Capability >= 7.5 && TARGET.GLIDEIN_Site == "A"'))
    ['capability', 'site']
    """
    found = set()
    for line in texts.split("\n"):
        try:
            names = (
                {reference.name.lower() for reference in Expression.parse(line).references()}
                if line
                else set()
            )
        except ExpressionError:
            continue
        for kind, words in _KINDS.items():
            exact = kind in {"site", "machine"}
            if any(name in words if exact else any(word in name for word in words) for name in names):
                found.add(kind)
    return found


def _ladder(data: Data) -> pd.DataFrame:
    answer = data.answer("true", gpus=1, cpus=1, memory_mib=1024.0)
    rows = [{"rung": rung.rung, "gpus": rung.gpus, "now": rung.now} for rung in answer.ladder]
    return pd.DataFrame(rows, columns=["rung", "gpus", "now"])


def number(value: float) -> float | None:
    """A number for scripts: a missing one is None."""
    return None if pd.isna(value) else float(value)
