"""What delivery costs the engine: CPU time of the same jobs with and without it, as a ratio in one run.

1,000 one-GPU slots of five kinds at 50 sites, jobs in a Poisson stream at 90 % load, a third restricted to two kinds. A
pool without delivery and one for each path run side by side, a slice of simulated time each by turns, so that whatever
else the machine does meets all of them alike; a second pool without delivery tells how well that works.

    python -m benchmarks.delivery [--jobs 100000] [--slices 400]
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Sequence

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


def pool_with(path: str, count: int) -> Pool:
    """The pool with so many jobs, whose software comes by this path."""
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
    delivery = make_delivery(DeliverySection.model_validate({"path": path}), frame, none, 1)
    return Pool(
        jobs, sessions, matcher=matcher, policy=PolicySection(), start_unix=START, streams=Streams.of(1), delivery=delivery,
    )  # fmt: skip


def measure(paths: Sequence[str], count: int, slices: int) -> tuple[list[float], list[float]]:
    """CPU seconds of a run for each path, all side by side, and the mean start-up of its jobs [s]."""
    pools = [pool_with(path, count) for path in paths]
    length_s = count * MEAN_S / (SLOTS * LOAD)
    spent = [0.0] * len(pools)
    gc.collect()
    gc.disable()
    for until_s in [*np.linspace(0.0, length_s, slices + 1)[1:].tolist(), 1e9]:
        for place, pool in enumerate(pools):
            began = time.process_time()
            pool.run(until_s)
            spent[place] += time.process_time() - began
    return spent, [float(pool.recorder.starts_frame(0)["seconds"].mean()) for pool in pools]


def main() -> None:
    """Run and print ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--slices", type=int, default=400)
    asked = parser.parse_args()
    paths = ("recorded", "recorded", *PATHS)
    spent, starts = measure(paths, asked.jobs, asked.slices)
    told = {
        "jobs": asked.jobs,
        "twice without": round(spent[1] / spent[0], 3),
        "ratio": {
            path: round(seconds / spent[0], 3) for path, seconds in zip(paths[2:], spent[2:], strict=True)
        },
        "mean_start_up_s": dict(zip(paths[2:], starts[2:], strict=True)),
        "cpu_s": spent,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
