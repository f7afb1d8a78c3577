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

from dashboard.app import create_app
from dashboard.commands.serve import settings_for
from dashboard.data import Data
from dashboard.pages import about, inventory, pool, waits
from dashboard.runs import Runs
from dashboard.settings import Settings
from sim.schema import conform
from sim.store import Snapshot, Store, sample_path
from tests.dashboard import synthetic

MACHINES, GPUS, DAYS = 500, 4, 30
START = pd.Timestamp("2026-10-25", tz="UTC")
MODELS = (
    ("A100-SXM4-40GB", 8.0),
    ("A40", 8.6),
    ("Tesla V100-PCIE-16GB", 7.0),
    ("TITAN RTX", 7.5),
    ("L40S", 8.9),
    ("GTX 1080", 6.1),
)


def fill(path: Path, *, every_min: int) -> Store:
    """A store of `MACHINES` machines with `GPUS` GPUs each; a fifth of its devices changes its state at each snapshot."""
    rng, store = np.random.default_rng(1), Store(path)
    machines = pd.DataFrame({"machine": [f"n{n}.site{n % 24}.example" for n in range(MACHINES)]})
    picked = [MODELS[n % len(MODELS)] for n in range(MACHINES)]
    machines = machines.assign(
        site=[f"site{n % 24}" for n in range(MACHINES)],
        model=[m for m, _ in picked],
        capability=[c for _, c in picked],
    )
    ads = [
        synthetic.slot_ad(row.machine, row.site, row.model, row.capability, 40000.0, GPUS, [])  # type: ignore[arg-type]
        for row in machines.itertuples()
    ]
    devices = machines.loc[machines.index.repeat(GPUS)].reset_index(drop=True)
    states = rng.choice(["claimed", "free"], len(devices), p=[0.8, 0.2])
    template = synthetic.slots().iloc[[0]]
    slots = pd.concat([template] * MACHINES, ignore_index=True).assign(
        machine=machines["machine"],
        name="slot1@" + machines["machine"],
        site=machines["site"],
        total_gpus=GPUS,
        ad=ads,
    )
    whole = int(DAYS * 24 * 60 / every_min)
    for number in range(whole):
        at = START + pd.Timedelta(minutes=every_min * number)
        name = f"{at:%Y%m%dT%H%M%SZ}-{number:05d}"
        change = rng.random(len(devices)) < 0.2
        states = np.where(change, rng.choice(["claimed", "free"], len(devices), p=[0.8, 0.2]), states)
        frame = devices.assign(
            snapshot=name, seen_at=at, device_id=[f"GPU-{n % GPUS}" for n in range(len(devices))], startd=devices["machine"],
            family=devices["model"], memory_mib=40000.0, mig=False, shares=1, slot="slot1@" + devices["machine"],
            slot_type="partitionable", state=states,
        )  # fmt: skip
        parts = {
            "devices": conform(frame, "devices"),
            "slots": conform(slots.assign(snapshot=name, seen_at=at), "slots"),
        }
        if number == whole - 1:
            jobs = pd.concat([synthetic.jobs(seed) for seed in range(60)], ignore_index=True)
            shift = at - jobs["seen_at"].max()
            for column in ("seen_at", "submitted_at", "first_started_at", "started_at"):
                jobs[column] += shift
            parts["jobs"] = conform(
                jobs.assign(job_id=[f"{n}.0" for n in range(len(jobs))], snapshot=name), "jobs"
            )
        store.append(Snapshot(name, at.to_pydatetime(), parts))
    for day in pd.date_range(START, periods=DAYS):
        store.compact(f"{day:%Y-%m-%d}")
    return store


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
