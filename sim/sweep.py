"""Sweeps: a scenario with keys varied, every variant run with the same seeds, and what the difference is worth.

Variants share their random streams (common random numbers), so a variant is compared with the first one seed by seed: the
mean of the paired differences has a far narrower interval than two means have. What has run is kept in a folder, a file per
run; the same sweep begun again goes on from there.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import sim
from sim.comparison import GROUPINGS, Measures, measure_waits
from sim.engine.run import Plan, Recording, Run
from sim.errors import InputError, ScenarioError
from sim.replication import Task, Tell, replicate
from sim.scenario import Scenario, load
from sim.workload.classes import label_classes

WAIT_MEASURES = ("mean_s", "p50_s", "p90_s")
RUN_MEASURES = ("goodput", "evictions", "makespan_s", "never_started", "gpu_s", "core_s")


class Variant(NamedTuple):
    """One point of the grid: what is set, as key=value, and the scenario it gives."""

    name: str
    settings: tuple[str, ...]
    scenario: Scenario


def grid(scenario: str | Path, vary: Sequence[str], settings: Sequence[str] = ()) -> list[Variant]:
    """The variants of a scenario: every combination of the values, the first ones first.

    Parameters
    ----------
    vary : key=a,b,c each; keys reach into sections with dots
    settings : key=value, the same in every variant

    Raises
    ------
    ScenarioError : a key, a value or the scenario is wrong; all that are found are told
    """
    axes: list[tuple[str, list[str]]] = []
    for text in vary:
        key, equals, values = text.partition("=")
        told = [value.strip() for value in values.split(",")]
        if not equals or not key.strip() or not all(told):
            raise ScenarioError(f"--vary {text!r}: expected key=a,b such as policy.claim_worklife=0,1200")
        if len(set(told)) < len(told):
            raise ScenarioError(f"--vary {text!r}: a value stands there twice")
        axes.append((key.strip(), told))
    keys = [key for key, _ in axes]
    if len(set(keys)) < len(keys):
        raise ScenarioError(f"--vary: {next(key for key in keys if keys.count(key) > 1)} is varied twice")
    variants, wrong = [], []
    for point in itertools.product(*(told for _, told in axes)):
        own = tuple(f"{key}={value}" for key, value in zip(keys, point, strict=True))
        try:
            made = load(scenario, (*settings, *own))
        except ScenarioError as error:
            wrong += [line for line in str(error).splitlines() if line not in wrong]
            continue
        variants.append(Variant(", ".join(own) or "as it is", own, made))
    if wrong:
        raise ScenarioError("\n".join(wrong))
    return variants


@dataclass(frozen=True)
class Outcome:
    """What is kept of one run: waits by group, and numbers of the whole run."""

    waits: Measures
    totals: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        rows = [{"by": by, "group": group, **found} for (by, group), found in self.waits.items()]
        return {"waits": rows, "totals": self.totals}

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Outcome:
        """From plain data."""
        waits = {
            (row["by"], row["group"]): {
                name: math.nan if value is None else value
                for name, value in row.items()
                if name not in {"by", "group"}
            }
            for row in told["waits"]
        }
        return cls(
            waits, {name: math.nan if value is None else value for name, value in told["totals"].items()}
        )


def summarise(plan: Plan, run: Run) -> Outcome:
    """What a sweep keeps of a run, jobs submitted and attempts begun during the warm-up left out."""
    warm = plan.scenario.run.warm_up
    since = pd.Timestamp(round((plan.start + warm) * 1e6), unit="us", tz="UTC") if warm else None
    waits = measure_waits(run.jobs, label_classes(run.jobs, plan.scenario.workload.class_by), since=since)
    attempts = run.attempts if since is None else run.attempts[run.attempts["started_at"] >= since]
    ended = attempts[attempts["ended_at"].notna()]
    length = (ended["ended_at"] - ended["executing_at"]).dt.total_seconds()
    done = ended["outcome"] == "done"
    total = float(length.sum())
    last = attempts["ended_at"].max()
    totals = {
        "goodput": float(length[done].sum()) / total if total else math.nan,
        "evictions": float(attempts["outcome"].isin(["evicted", "lost"]).sum()),
        "makespan_s": math.nan if pd.isna(last) else float(last.timestamp()) - plan.start,
        "never_started": float(waits["all", "all"]["n_censored"]) if ("all", "all") in waits else 0.0,
        "gpu_s": float((length * ended["gpus"].fillna(0))[done].sum()),
        "core_s": float((length * ended["cpus"].fillna(0))[done].sum()),
    }
    return Outcome(waits, totals)


@lru_cache(maxsize=1)
def model_version() -> str:
    """What decides a run's records beside its question: the version, and the text of the model itself."""
    digest = hashlib.sha256(sim.__version__.encode())
    root = Path(str(resources.files("sim")))
    for path in sorted(root.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def record_mark(record: Recording) -> str:
    """What tells one record from another."""
    parts = [f"{record.start} {record.end} {record.clock} {sorted(record.lifetimes.items())}"]
    for frame, columns in (
        (record.slots, ["name", "seen_at"]),
        (record.jobs, ["job_id", "submitted_at", "run_s", "status"]),
        (record.priorities, ["submitter", "seen_at", "effective_priority"]),
        (record.settings, ["name", "value"]),
    ):
        parts.append(str(int(pd.util.hash_pandas_object(frame[columns], index=False).sum())))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


@dataclass
class Sweep:
    """A grid over seeds, and the folder where its runs are kept.

    Parameters
    ----------
    seeds : the same for every variant
    folder : where runs are kept; made when the first one has ended
    """

    variants: Sequence[Variant]
    seeds: Sequence[int]
    folder: Path
    records: dict[str, Recording] = field(default_factory=dict, repr=False)
    outcomes: dict[tuple[int, int], Outcome] = field(default_factory=dict, repr=False)
    marks: list[str] = field(default_factory=list, repr=False)

    @classmethod
    def prepare(
        cls, variants: Sequence[Variant], seeds: Sequence[int], folder: Callable[[str], Path]
    ) -> Sweep:
        """Read the records and what has run already.

        folder : gives the folder for the sweep's mark, which names what is asked and of which record and model
        """
        records = {
            source: Recording.load(source)
            for source in dict.fromkeys(v.scenario.pool.source for v in variants)
        }
        told = {source: record_mark(record) for source, record in records.items()}
        marks = [_mark(variant.scenario, told[variant.scenario.pool.source]) for variant in variants]
        named = folder(hashlib.sha256("".join(marks).encode()).hexdigest()[:12])
        made = cls(variants, seeds, named, records, marks=marks)
        for place, seed in itertools.product(range(len(variants)), seeds):
            kept = made._kept(place, seed)
            if kept is not None:
                made.outcomes[place, seed] = kept
        return made

    @property
    def todo(self) -> list[Task]:
        """The runs that are missing, seed by seed, so that what an interrupted sweep leaves can be compared."""
        return [
            Task(place, seed)
            for seed in self.seeds
            for place in range(len(self.variants))
            if (place, seed) not in self.outcomes
        ]

    def run(self, *, workers: int | None = None, tell: Tell | None = None) -> Iterator[Task]:
        """Run what is missing; each run is kept before it is told of."""
        plans = [
            partial(Plan.of, variant.scenario, self.records[variant.scenario.pool.source])
            for variant in self.variants
        ]
        for task, outcome in replicate(plans, self.todo, summarise, workers=workers, tell=tell):
            self._keep(task, outcome)
            self.outcomes[task.plan, task.seed] = outcome
            yield task

    # --- frames

    def runs(self) -> pd.DataFrame:
        """A row per run: variant, seed, and the numbers of `RUN_MEASURES`."""
        rows = [
            {"variant": self.variants[place].name, "seed": seed, **outcome.totals}
            for (place, seed), outcome in sorted(self.outcomes.items())
        ]
        return pd.DataFrame(rows, columns=["variant", "seed", *RUN_MEASURES])

    def waits(self) -> pd.DataFrame:
        """A row per run and group: variant, seed, by, group, n, n_censored, mean_s, p50_s, p90_s [s]."""
        rows = [
            {"variant": self.variants[place].name, "seed": seed, "by": by, "group": group, **found}
            for (place, seed), outcome in sorted(self.outcomes.items())
            for (by, group), found in outcome.waits.items()
        ]
        return pd.DataFrame(
            rows, columns=["variant", "seed", "by", "group", "n", "n_censored", *WAIT_MEASURES]
        )

    def means(self) -> pd.DataFrame:
        """Each variant's mean over seeds with its 95 % interval: variant, by, group, measure, mean, low, high, n.

        The numbers of a whole run have ``run`` as `by` and `group`.
        """
        return pd.DataFrame(
            [
                {
                    "variant": self.variants[place].name,
                    "by": by,
                    "group": group,
                    "measure": name,
                    **interval(values),
                }
                for place in range(len(self.variants))
                for (by, group, name), values in self._values(place).items()
            ],
            columns=["variant", "by", "group", "measure", "mean", "low", "high", "n"],
        )

    def differences(self) -> pd.DataFrame:
        """Each variant less the first one, paired by seed, with the 95 % interval of the mean; columns as `means`."""
        base = self._values(0, by_seed=True)
        rows = []
        for place in range(1, len(self.variants)):
            own = self._values(place, by_seed=True)
            for key in own:
                both = [(own[key][seed], base[key][seed]) for seed in own[key] if seed in base.get(key, {})]
                values = [mine - first for mine, first in both if math.isfinite(mine - first)]
                by, group, name = key
                rows.append(
                    {
                        "variant": self.variants[place].name,
                        "by": by,
                        "group": group,
                        "measure": name,
                        **interval(values),
                    }
                )
        return pd.DataFrame(rows, columns=["variant", "by", "group", "measure", "mean", "low", "high", "n"])

    def _values(self, place: int, *, by_seed: bool = False) -> dict[tuple[str, str, str], Any]:
        found: dict[tuple[str, str, str], dict[int, float]] = {}
        for (variant, seed), outcome in sorted(self.outcomes.items()):
            if variant != place:
                continue
            for name, value in outcome.totals.items():
                found.setdefault(("run", "run", name), {})[seed] = float(value)
            for (by, group), told in outcome.waits.items():
                for name in WAIT_MEASURES:
                    found.setdefault((by, group, name), {})[seed] = float(told[name])
        ordered = dict(
            sorted(found.items(), key=lambda item: (["run", *GROUPINGS].index(item[0][0]), item[0][1]))
        )
        if by_seed:
            return ordered
        return {
            key: [value for value in values.values() if math.isfinite(value)]
            for key, values in ordered.items()
        }

    def write(self) -> list[Path]:
        """Write the frames as Parquet beside the runs, and the manifest; give the files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name in ("runs", "waits", "means", "differences"):
            path = self.folder / f"{name}.parquet"
            frame: pd.DataFrame = getattr(self, name)()
            frame.to_parquet(path.with_suffix(".writing"))
            path.with_suffix(".writing").replace(path)
            written.append(path)
        path = self.folder / "sweep.json"
        _write_json(path, self.manifest())
        return [*written, path]

    def manifest(self) -> dict[str, Any]:
        """What was asked of which model, so that anybody can repeat it."""
        return {
            "variants": [
                {
                    "name": variant.name,
                    "settings": list(variant.settings),
                    "scenario": variant.scenario.model_dump(),
                }
                for variant in self.variants
            ],
            "seeds": list(self.seeds),
            "runs": len(self.outcomes),
            "poolscope": sim.__version__,
            "model": model_version(),
        }

    # --- what is kept

    def _path(self, place: int, seed: int) -> Path:
        return self.folder / "runs" / f"{self.marks[place]}-{seed}.json"

    def _kept(self, place: int, seed: int) -> Outcome | None:
        try:
            return Outcome.of_json(json.loads(self._path(place, seed).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or broken: it runs again

    def _keep(self, task: Task, outcome: Outcome) -> None:
        path = self._path(task.plan, task.seed)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_json(path, outcome.to_json())
        except OSError as error:
            raise InputError(
                f"{path.parent}: can't be written ({error.strerror}); choose another folder with --out"
            ) from error


def _mark(scenario: Scenario, record: str) -> str:
    """What a variant's runs depend on, beside the seed."""
    asked = scenario.model_dump(exclude={"title": True, "run": {"seed", "replications"}})
    trace = scenario.workload.trace
    file = (
        hashlib.sha256(Path(trace.file).read_bytes()).hexdigest()
        if trace and Path(trace.file).is_file()
        else ""
    )
    whole = json.dumps([asked, record, file, model_version()], sort_keys=True, default=str)
    return hashlib.sha256(whole.encode()).hexdigest()[:24]


def _write_json(path: Path, content: Any) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(_plain(content)), encoding="utf-8")
    temporary.replace(path)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean and its 95 % interval by Student's t: mean, low, high, n; no interval from a single value.

    Examples
    --------
    >>> found = interval([1.0, 2.0, 3.0])
    >>> found["mean"], round(found["low"], 3), round(found["high"], 3)
    (2.0, -0.484, 4.484)
    """
    count = len(values)
    if not count:
        return {"mean": math.nan, "low": math.nan, "high": math.nan, "n": 0}
    mean = float(np.mean(values))
    if count == 1:
        return {"mean": mean, "low": math.nan, "high": math.nan, "n": 1}
    half = t95(count - 1) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": count}


def t95(freedom: int) -> float:
    """The 97.5 % quantile of Student's t.

    Exact for one and two degrees of freedom, else Hill's expansion in the normal quantile (Abramowitz and Stegun 26.7.5),
    within 0.02 of the tables from three on.

    Examples
    --------
    >>> [round(t95(freedom), 2) for freedom in (1, 2, 4, 9, 29, 1000)]
    [12.71, 4.3, 2.78, 2.26, 2.05, 1.96]
    """
    if freedom == 1:
        return math.tan(math.pi * 0.475)
    if freedom == 2:
        return 0.95 / math.sqrt(2 * 0.975 * 0.025)
    z, n = 1.959963984540054, float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / n**power for power, term in enumerate(terms, start=1))
