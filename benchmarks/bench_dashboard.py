"""Server CPU of the pages' callbacks: the bundled sample beside a store of 2,000 slots over 30 days.

`python -m benchmarks.bench_dashboard [--rounds 288] [--store FOLDER]` prints per callback the CPU of what a visitor waits
for: the first answer of a process that has said it is ready, others with new inputs (an expression, a window, a class, the
other scheme), and the ratio of both stores. Each store is measured in a process of its own; exit 1 if a budget is passed.
The large store is made in a temporary folder, or in FOLDER, where it is found again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import store as month
from dashboard.app import create_app, follow
from dashboard.commands.serve import settings_for
from dashboard.data import Data
from dashboard.pages.requirements_state import Question
from dashboard.runs import Runs
from sim.classads.request import Request, job_ad
from sim.schema import conform
from sim.store import Snapshot, Store, sample_path
from tests.dashboard.posting import call

#: As a collector that asks every five minutes leaves them.
SLOTS, DAYS, ROUNDS_A_DAY = 2000, 30, 288
JOBS_A_DAY = 2000
#: Requirements, GPUs asked for, and the typical wait [s].
KINDS = (
    ("true", 1, 40.0),
    ("TARGET.GPUs_Capability >= 8.0", 1, 300.0),
    ("TARGET.GPUs_Capability >= 9.0", 1, 2400.0),
    ("TARGET.GPUs_GlobalMemoryMb >= 40000", 1, 700.0),
    ('TARGET.GPUs_DeviceName == "NVIDIA A100-SXM4-80GB"', 1, 5400.0),
    ("TARGET.HasSingularity && TARGET.GPUs_Capability >= 7.5", 1, 120.0),
    ("TARGET.GPUs_Capability >= 9.9", 1, 1e9),
    ("true", 0, 8.0),
)


def fill(path: Path, *, rounds: int = ROUNDS_A_DAY, days: int = DAYS, slots: int = SLOTS) -> Store:
    """The month of `benchmarks.store`, and the jobs that were seen in it."""
    store = month.fill(path, days=days, slots=slots, rounds=rounds, make_ad=slot_ad)
    for day in range(days):
        taken_at = pd.Timestamp(month.FIRST) + pd.Timedelta(days=day + 1) - pd.Timedelta(minutes=3)
        name = f"{taken_at:%Y%m%dT%H%M%SZ}-jobs"
        found = jobs(day, taken_at)
        if day < days - 1:  # those of earlier days left the queue long ago
            found = found[found["status"] == "completed"]
        frames = {"jobs": conform(found.assign(snapshot=name), "jobs"), "attempts": attempts(found)}
        if day == days - 1:  # the newest snapshot has everything, as every round of a collector
            last = store.latest()
            for frame in ("slots", "devices"):
                frames[frame] = store.read(frame, snapshot=last).assign(snapshot=name, seen_at=taken_at)
        store.append(Snapshot(name, taken_at.to_pydatetime(), frames))
    return store


def slot_ad(place: int) -> str:
    """The ad of `benchmarks.store`, of a slot that takes jobs all month."""
    told = month.ad(place).replace("time() < GLIDEIN_ToDie", "true")
    return told.replace("[", '[ Arch = "X86_64"; OpSys = "LINUX"; HasFileTransfer = true;', 1)


def jobs(day: int, until: pd.Timestamp, n: int = JOBS_A_DAY) -> pd.DataFrame:
    """The jobs that were submitted on a day, as they were known at its end."""
    rng = np.random.default_rng(day)
    kind = rng.integers(len(KINDS), size=n)
    requirements, gpus, typical = (np.array([each[part] for each in KINDS])[kind] for part in range(3))
    submitted = until - pd.to_timedelta(np.sort(rng.uniform(0, 86000, n))[::-1], unit="s")
    wait_s = np.minimum(rng.lognormal(np.log(typical), 0.9) + 2.0, 1e7)
    started = pd.Series(submitted + pd.to_timedelta(wait_s, unit="s"))
    begun = started < until
    ads = [job_ad(text, Request(int(count), 4, 4096)) for text, count, _ in KINDS]
    return pd.DataFrame(
        {
            "seen_at": until, "job_id": [f"{100000 * (day + 1) + number}.0" for number in range(n)], "schedd": "ap.example",
            "submitter": [f"user{number % 40}@example" for number in range(n)], "submitted_at": submitted,
            "status": np.where(begun, "completed", "idle"), "first_started_at": started.where(begun),
            "started_at": started.where(begun), "priority": 0, "request_cpus": 4, "request_memory_mib": 4096,
            "request_disk_mib": 100, "request_gpus": gpus.astype(int), "requirements": requirements,
            "run_s": 1200.0, "n_starts": begun.astype(int), "ad": [ads[number] for number in kind],
        }
    )  # fmt: skip


def attempts(jobs: pd.DataFrame) -> pd.DataFrame:
    """One start of each job that began; a tenth of them is evicted after twenty minutes."""
    held = jobs[jobs["started_at"].notna()]
    frame = held[["job_id", "schedd", "submitter", "started_at"]].assign(
        attempt=1, ready_at=held["submitted_at"], matched_at=held["started_at"],
        executing_at=held["started_at"] + pd.Timedelta(seconds=5), ended_at=held["started_at"] + pd.Timedelta(minutes=20),
        gpus=held["request_gpus"], outcome=np.where(np.arange(len(held)) % 10 == 0, "evicted", "done"),
    )  # fmt: skip
    return conform(frame, "attempts")


#: What an interactive callback may cost on the sample [ms], and how many times that on the large store.
BUDGET_MS, BUDGET_RATIO = 200.0, 2.0
SCHEMES = ("light", "dark")
EXPRESSIONS = (
    "GPUs_Capability >= 7.5",
    "GPUs_Capability >= 7.0 && GPUs_GlobalMemoryMb >= 20000",
    'GPUs_DeviceName == "NVIDIA A40" && Cpus >= 4',
    "GPUs_Capability >= 900",
    "CUDACapability >= 6.0 || HasSingularity && Memory > 1000",
)


def asked() -> dict[str, tuple[str, list[dict[str, object]]]]:
    """What visitors ask of each page: first output of its callback, and values by id, the first as the page opens."""
    held = [Question.parse({"req": text}).kept() for text in EXPRESSIONS]
    return {
        "freshness": ("freshness.children", [{}]),
        "pool": (
            "pool-kpis.children",
            [{"pool_window": window, "scheme": scheme} for window in ("7d", "24h", "30d") for scheme in SCHEMES],
        ),
        "waits, classes": ("waits-class.data", [{"waits_class": "waits-class"}]),
        "waits": (
            "waits-started-graph.figure",
            [{"waits_class": group, "waits_done": "", "scheme": scheme} for group in ("GPU jobs", "all jobs") for scheme in SCHEMES],
        ),
        "inventory": (
            "inv-grid.rowData",
            [
                {"inv_state": "any", "inv_expression": ""},
                *({"inv_state": "free", "inv_expression": text} for text in EXPRESSIONS),
            ],
        ),
        "inventory, by hour": ("inv-hours-graph.figure", [{"scheme": scheme} for scheme in SCHEMES]),
        "requirements, check": (
            "req-question.data",
            [{"req_text": f"{text} && Disk > 1", "req_gpus": 1, "req_cpus": 1, "req_memory": "1 GB"} for text in EXPRESSIONS],
        ),
        "requirements": (
            "req-answer.children",
            [{"req_question": question, "scheme": "light", "req_done": ""} for question in held],
        ),
        "about": ("about-numbers.children", [{"scheme": scheme} for scheme in SCHEMES]),
    }  # fmt: skip


def measure(path: Path, folder: Path) -> dict[str, list[float]]:
    """CPU of each answer by callback, in order [ms], in a process that has just told that it is ready."""
    settings = replace(settings_for(path), runs=folder / "runs", reports=folder / "reports")
    data = Data(Store(path), settings)
    app = create_app(data, settings, Runs(settings.runs, model="benchmark"))
    end = follow(app, data)
    while data.loading:
        time.sleep(0.05)
    client, times = app.server.test_client(), {}
    for name, (first, questions) in asked().items():
        times[name] = []
        for values in questions:
            body = call(app, first, **values)
            begun = time.process_time()
            answer = client.post("/_dash-update-component", json=body)
            times[name].append(1000 * (time.process_time() - begun))
            if answer.status_code != 200 or b"Something broke" in answer.data:
                raise SystemExit(f"{name}: {answer.status_code} {answer.get_data(as_text=True)[:300]}")
    end()
    return times


def apart(path: Path) -> dict[str, list[float]]:
    """`measure` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "benchmarks.bench_dashboard",
            "--measure",
            str(path),
            "--store",
            folder,
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS_A_DAY, help="snapshots a day of the large store")
    parser.add_argument("--store", type=Path, help="folder of the large store")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(measure(chosen.measure, chosen.store)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.store or Path(folder) / "store"
        if Store(path).is_empty():
            fill(path, rounds=chosen.rounds)
        # Twice each, the better of both counts: the machine does other things as well.
        small, large = (
            {name: [min(pair) for pair in zip(*both, strict=True)] for name, both in paired(apart(where), apart(where)).items()}
            for where in (sample_path(), path)
        )  # fmt: skip
    print(
        f"{'callback':<24}{'sample: first':>14}{'worst':>8}{'large: first':>14}{'worst':>8}{'ratio':>8}   (CPU, ms)"
    )
    over = []
    for name, times in small.items():
        ratio = max(large[name]) / max(times)
        print(
            f"{name:<24}{times[0]:>14.0f}{max(times):>8.0f}{large[name][0]:>14.0f}{max(large[name]):>8.0f}{ratio:>8.1f}"
        )
        if max(times) > BUDGET_MS or max(large[name]) > BUDGET_RATIO * BUDGET_MS:
            over.append(name)
    if over:
        raise SystemExit(
            f"over the budget of {BUDGET_MS:.0f} ms, {BUDGET_RATIO:.0f} times that on the large store: {', '.join(over)}"
        )


def paired(
    one: dict[str, list[float]], other: dict[str, list[float]]
) -> dict[str, tuple[list[float], list[float]]]:
    """Both measurements by callback."""
    return {name: (times, other[name]) for name, times in one.items()}


if __name__ == "__main__":
    main()
