"""How long a job with a requirements expression would wait, asked of ghost probes that start at the latest snapshot.

The pool is taken as the snapshot shows it: machines, running jobs with what is left of their run times, the queue, users'
priorities. From there many futures are drawn: jobs that arrive as they did in the record, machines that go and come as they
did (renewal). In each a ghost with the job's ad negotiates at its submitter's turn and takes nothing. What the forecast
can't stand on, it refuses, saying why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from sim.classads.ads import number_of, parse_one
from sim.engine.run import Plan, Probe, Recording, Run
from sim.replication import Task, Tell, replicate
from sim.scenario import Scenario, parse
from sim.store import Store
from sim.units import format_duration
from sim.waits import first_waits, quantile, survival
from sim.workload.recorded import unix

ENOUGH = 60
"""Comparable jobs below which nothing is forecast (design §6)."""

WINDOW_S = 28 * 86400.0
"""How far back a comparable job may have been submitted [s]."""

REFRESH_S = 300.0
"""How often a store is refilled, where it has too few snapshots to tell [s]."""

_SHORTEST_S, _LONGEST_S = 3600.0, 14 * 86400.0
_SHORT = 8  # so much shorter is the first look at a future


@dataclass(frozen=True)
class Basis:
    """What a forecast stands on: the record, whether it is of a pool that goes on, and how often it is refilled [s]."""

    record: Recording = field(repr=False)
    live: bool
    refresh_s: float = REFRESH_S

    @classmethod
    def of(cls, source: str) -> Basis:
        """Read a store's folder or the bundled sample; a store is live if its last snapshot came from a pool itself."""
        record = Recording.load(source)
        if source == "sample":
            return cls(record, live=False)
        taken = Store(source).snapshots().sort_values("taken_at")
        gaps = taken["taken_at"].diff().dt.total_seconds().dropna().tail(20)
        refresh = float(gaps.median()) if len(gaps) else REFRESH_S
        last = taken["meta"].iloc[-1] if len(taken) else {}
        return cls(record, "pool" in last.get("sources", {}), max(refresh, 1.0))


@dataclass(frozen=True)
class Forecast:
    """A forecast of the first wait [s], or why there is none.

    p50_s, p90_s, p95_s : so long at most in half, nine tenths, nineteen twentieths of the futures; missing where fewer
        futures than that saw a start within the horizon
    low_s, high_s : 95 % interval of p90_s, what the number of futures leaves open
    n, n_censored : futures asked, and those without a start
    comparable : jobs of the record that ask for as many devices
    data_age_s : age of the last snapshot; of a fixed recording, which is judged as of its own end, 0
    """

    p50_s: float = math.nan
    p90_s: float = math.nan
    p95_s: float = math.nan
    low_s: float = math.nan
    high_s: float = math.nan
    n: int = 0
    n_censored: int = 0
    method: str = "simulation"
    data_age_s: float = 0.0
    refused: str | None = None
    as_of: str = ""
    fixed: bool = False
    comparable: int = 0
    horizon_s: float = math.nan
    seed: int = 1

    def to_json(self) -> dict[str, Any]:
        """As plain data (design §8)."""
        return asdict(self)


def predict(
    basis: Basis,
    ad: str,
    *,
    now: float,
    submitter: str = "newcomer",
    futures: int = 100,
    seed: int = 1,
    workers: int | None = None,
    tell: Tell | None = None,
) -> Forecast:
    """Forecast the wait of a job submitted as the record ends.

    Parameters
    ----------
    ad : the job's ad as text, its requests evaluated (`sim.classads.request.job_ad` makes one of an expression)
    now : the wall clock [s, Unix], for the age of a live record
    submitter : as whom; somebody the pool doesn't know by default
    futures : how many are drawn

    Raises
    ------
    InputError : the record has nothing to draw futures from
    """
    record = basis.record
    gpus = int(number_of(parse_one(ad), "RequestGPUs") or 0)
    comparable = comparable_jobs(record, gpus)
    told = Forecast(
        method="simulation",
        data_age_s=max(0.0, now - record.end) if basis.live else 0.0,
        as_of=pd.Timestamp(record.end, unit="s", tz="UTC").isoformat(timespec="seconds"),
        fixed=not basis.live,
        comparable=len(comparable),
        seed=seed,
    )
    why = _refusal(basis, told, gpus)
    if why is not None:
        return _refused(told, why)
    horizon_s = _horizon(comparable)
    make = partial(_plan, record, ad, submitter, horizon_s)
    if not make().answerable():
        return _refused(
            told,
            "no machine of the pool could run this job, even if it were empty; poolscope match says which clause it is",
        )
    waits = _waits(
        partial(_plan, record, ad, submitter, horizon_s / _SHORT),
        make,
        [seed + each for each in range(futures)],
        workers,
        tell,
    )
    return _summed(
        told, np.array([wait for wait, _ in waits]), np.array([began for _, began in waits]), horizon_s
    )


def _plan(record: Recording, ad: str, submitter: str, horizon_s: float) -> Plan:
    probe = Probe("asked", ad=ad, submitter=submitter, every_s=horizon_s)
    return Plan.of(_scenario(record, horizon_s), record, [probe], until_answered=True)


def _waits(
    soon: Callable[[], Plan],
    late: Callable[[], Plan],
    seeds: Sequence[int],
    workers: int | None,
    tell: Tell | None,
) -> list[tuple[float, bool]]:
    """The wait in each future [s], and whether it ended.

    A longer future begins with the shorter one of its seed, so only those that are open after a short one are drawn on.
    """
    found: dict[int, tuple[float, bool]] = {}
    for plan in (soon, late):
        tasks = [Task(0, seed) for seed in seeds if not found.get(seed, (0.0, False))[1]]
        for task, answer in replicate([plan], tasks, _answer, workers=workers, tell=tell):
            found[task.seed] = answer
    return [found[seed] for seed in seeds]


def comparable_jobs(record: Recording, gpus: int) -> pd.DataFrame:
    """The jobs of the record's last four weeks that ask for as many devices: none, one, or several."""
    jobs = record.jobs
    alike = np.minimum(jobs["request_gpus"].to_numpy(dtype="int64"), 2) == min(gpus, 2)
    recent = unix(jobs["submitted_at"]) >= record.end - WINDOW_S
    chosen: pd.DataFrame = jobs[alike & recent]
    return chosen


def _refusal(basis: Basis, told: Forecast, gpus: int) -> str | None:
    if told.comparable < ENOUGH:
        devices = "no GPU" if gpus == 0 else "1 GPU" if gpus == 1 else "several GPUs"
        return (
            f"{told.comparable} comparable job{'s' * (told.comparable != 1)} ({devices}, submitted in the last 4 weeks of the record); "
            f"a forecast needs {ENOUGH}: collect longer"
        )
    if told.data_age_s > 2 * basis.refresh_s:
        return (
            f"the last snapshot is {format_duration(told.data_age_s)} old, more than twice the "
            f"{format_duration(basis.refresh_s)} between snapshots: is poolscope collect running?"
        )
    return None


def _refused(told: Forecast, why: str) -> Forecast:
    return Forecast(**{**asdict(told), "refused": why})


def _horizon(comparable: pd.DataFrame) -> float:
    """How far a future reaches: five times the longest wait of comparable jobs, from one hour to two weeks [s]."""
    longest = float(first_waits(comparable)["wait_s"].max())
    return min(max(_SHORTEST_S, 5 * longest), _LONGEST_S)


def _scenario(record: Recording, horizon_s: float) -> Scenario:
    return parse(
        {
            "title": "forecast",
            "pool": {"source": record.name},
            "supply": {"model": "renewal"},
            "workload": {"source": "synthetic", "synthetic": {"fit": "recorded"}},
            "run": {"start": "end", "horizon": horizon_s},
        },
        where="forecast",
    )


def _answer(_plan: Plan, run: Run) -> tuple[float, bool]:
    return float(run.probes["wait_s"].iloc[0]), bool(run.probes["started"].iloc[0])


def _summed(told: Forecast, waits: np.ndarray, started: np.ndarray, horizon_s: float) -> Forecast:
    curve = survival(waits, started)
    low, high = _band(waits, started, 0.9)
    return Forecast(
        **{
            **asdict(told),
            "p50_s": quantile(curve, 0.5),
            "p90_s": quantile(curve, 0.9),
            "p95_s": quantile(curve, 0.95),
            "low_s": low,
            "high_s": high,
            "n": len(waits),
            "n_censored": int((~started).sum()),
            "horizon_s": horizon_s,
        }
    )


def _band(waits: np.ndarray, started: np.ndarray, q: float) -> tuple[float, float]:
    """The distribution-free 95 % interval of a quantile, from order statistics (Conover 1999, §3.2); censored ones last."""
    ordered: Sequence[float] = sorted(np.where(started, waits, np.inf).tolist())
    count = len(ordered)
    half = 1.96 * math.sqrt(count * q * (1 - q))
    low, high = (
        ordered[max(0, math.floor(count * q - half) - 1)],
        ordered[min(count - 1, math.ceil(count * q + half) - 1)],
    )
    return low if math.isfinite(low) else math.nan, high if math.isfinite(high) else math.nan
