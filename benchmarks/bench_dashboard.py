"""Server CPU of the pages' callbacks: the bundled sample beside a store of 2,000 slots over 30 days.

`python -m benchmarks.bench_dashboard [--every 60]` prints CPU per callback on both stores and their ratio; the first answer
after a snapshot (cold) apart from those that follow (warm). The large store is made in a temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import store as month
from dashboard.app import create_app
from dashboard.commands.serve import settings_for
from dashboard.data import Data
from dashboard.pages import about, inventory, pool, waits
from dashboard.runs import Runs
from dashboard.settings import Settings
from sim.classads.request import Request, job_ad
from sim.schema import conform
from sim.store import Snapshot, Store, sample_path

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
    store = month.fill(path, days=days, slots=slots, rounds=rounds)
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
        store.compact(f"{taken_at:%Y-%m-%d}")
    return store


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


def callbacks(data: Data, runs: Runs) -> dict[str, Callable[[], object]]:
    """What the pages' callbacks do, by name."""
    return {
        "pool": lambda: pool.content(data, "light"),
        "waits": lambda: waits.content(data, runs, "GPU jobs", "", "light"),
        "inventory, all": lambda: inventory.content(data, "", "any"),
        "inventory, an expression": lambda: inventory.content(data, "GPUs_Capability >= 8.0", "free"),
        "inventory, by hour": lambda: inventory.hours_content(data, "light"),
        "about": lambda: about.content(data, runs, "light"),
        "an answer": lambda: data.answer(
            "GPUs_Capability >= 7.5 && GPUs_GlobalMemoryMb >= 20000", gpus=1, cpus=1, memory_mib=1024.0
        ),
    }


def measure(call: Callable[[], object]) -> tuple[float, float]:
    """CPU of the first call and of the quickest of five that follow [ms]."""
    times = []
    for _ in range(6):
        begun = time.process_time()
        call()
        times.append(1000 * (time.process_time() - begun))
    return times[0], min(times[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--every", type=int, default=60, help="minutes between snapshots of the large store")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        large = fill(Path(folder) / "store", every_min=chosen.every)
        sample = settings_for(sample_path())
        settings = Settings(runs=Path(folder) / "runs", class_by="ReqClass", source=str(large.path))
        runs = Runs(settings.runs, model="benchmark")
        create_app(Data(large, settings), settings, runs)  # links ask Dash where the application lies
        small_calls = callbacks(Data(Store(sample_path()), sample), runs)
        large_calls = callbacks(Data(large, settings), runs)
        print(
            f"{'callback':<28}{'sample, warm':>14}{'large, warm':>14}{'ratio':>8}{'large, cold':>14}   (CPU, ms)"
        )
        for name, call in small_calls.items():
            _, warm = measure(call)
            cold, large_warm = measure(large_calls[name])
            print(
                f"{name:<28}{warm:>14.1f}{large_warm:>14.1f}{large_warm / max(warm, 0.1):>8.1f}{cold:>14.0f}"
            )


if __name__ == "__main__":
    main()
