"""What delivery costs the engine: CPU time of the same jobs with and without it, as a ratio in one run.

1,000 one-GPU slots of five kinds at 50 sites, jobs in a Poisson stream at 90 % load, a third restricted to two kinds; a
run without delivery and one for each path by turns, each in a process of its own; the ratio is the median of the rounds',
for a machine that other work slows down slows both of a round.

    python -m benchmarks.delivery [--jobs 100000] [--rounds 7]
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd

from sim.classads.matching import Matcher, Remainder, assigned_devices
from sim.classads.request import Request, job_ad
from sim.delivery.section import DeliverySection
from sim.delivery.state import make_delivery
from sim.engine.entities import Job, Machine
from sim.engine.pool import Pool
from sim.engine.sessions import Session
from sim.engine.streams import Streams
from sim.scenario import PolicySection

KINDS = (("P100", 6.0), ("V100", 7.0), ("T4", 7.5), ("A100", 8.0), ("H100", 9.0))
SLOTS, SITES, MEAN_S, LOAD = 1000, 50, 3600.0, 0.9
START = 1_795_000_000.0
PATHS = ("cvmfs", "osdf", "registry", "install")


def slot_text(model: str, capability: float) -> str:
    """The ad of a static-sized partitionable slot with one GPU."""
    return (
        '[ Arch = "X86_64"; OpSys = "LINUX"; HasFileTransfer = true; SlotType = "Partitionable"; PartitionableSlot = true; '
        f'Cpus = 1; Memory = 8192; Disk = 50000000; GPUs = 1; TotalSlotCpus = 1; TotalSlotGPUs = 1; AssignedGPUs = "GPU-0"; '
        f'AvailableGPUs = {{ GPUs_GPU_0 }}; GPUs_GPU_0 = [ Id = "GPU-0"; DeviceName = "{model}"; Capability = {capability}; '
        f"GlobalMemoryMb = 16000 ]; GPUs_Capability = {capability}; Start = true; Rank = 0.0; Requirements = START ]"
    )


def workload(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Submission times, run times and whether a job is restricted."""
    rng = np.random.default_rng(20261123)
    times = np.cumsum(rng.exponential(MEAN_S / (SLOTS * LOAD), count))
    runs = rng.lognormal(np.log(MEAN_S) - 0.5, 1.0, count)
    return times, runs, rng.random(count) < 0.3


def cpu_s(count: int, path: str) -> tuple[float, float]:
    """CPU seconds of a run and the mean start-up of its jobs [s]; building the pool isn't counted, making delivery is."""
    texts = [slot_text(*kind) for kind in KINDS]
    ads = [job_ad("true", Request(1, 1, 128)), job_ad("TARGET.GPUs_Capability >= 8.0", Request(1, 1, 128))]
    matcher = Matcher(ads, texts)
    clusters = [matcher.autocluster(ad) for ad in ads]
    times, runs, restricted = workload(count)
    jobs = [
        (Job(row, (0.0, row, 0), clusters[int(narrow)], at, run), "user")
        for row, (at, run, narrow) in enumerate(
            zip(times.tolist(), runs.tolist(), restricted.tolist(), strict=True)
        )
    ]
    sessions = []
    for number in range(SLOTS):
        model, capability = KINDS[number % len(KINDS)]
        text = texts[number % len(KINDS)]
        kind, devices = matcher.kind(text, [device.attribute for device in assigned_devices(text)])
        machine = Machine(
            name=f"n{number}", host=f"n{number}", site=f"site{number % SITES}", kind=kind, devices=devices, device_ids=("GPU-0",),
            models=(model,), capabilities=(capability,), total=Remainder(1.0, 8192.0, 48828.0, devices),
            retire_s=float("inf"), die_s=float("inf"),
        )  # fmt: skip
        sessions.append(Session(machine, 0.0, float("inf"), "open"))
    frame = pd.DataFrame(
        {
            "image": pd.Series([None] * count, dtype="str"),
            "delivery": pd.Series([None] * count, dtype="str"),
            "input_mib": np.nan,
        }
    )
    none = pd.DataFrame({"slot_type": [], "name": [], "cvmfs": []})
    gc.collect()
    began = time.process_time()
    pool = Pool(
        jobs, sessions, matcher=matcher, policy=PolicySection(), start_unix=START, streams=Streams.of(1),
        delivery=make_delivery(DeliverySection.model_validate({"path": path}), frame, none, 1),
    )  # fmt: skip
    pool.run(1e9)
    spent = time.process_time() - began
    return spent, float(pool.recorder.starts_frame(0)["seconds"].mean())


def main() -> None:
    """Run the rounds and print ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    spent: dict[str, list[float]] = {path: [] for path in ("recorded", *PATHS)}
    starts: dict[str, float] = {}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as process:
        for _ in range(asked.rounds):
            for path, times in spent.items():
                seconds, starts[path] = process.submit(cpu_s, asked.jobs, path).result()
                times.append(seconds)
    ratios = {path: np.array(times) / np.array(spent["recorded"]) for path, times in spent.items()}
    told = {path: round(float(np.median(each)), 3) for path, each in ratios.items() if path != "recorded"}
    print(
        json.dumps(
            {
                "jobs": asked.jobs,
                "rounds": asked.rounds,
                "ratio": told,
                "mean_start_up_s": starts,
                "cpu_s": spent,
            }
        )
    )


if __name__ == "__main__":
    main()
