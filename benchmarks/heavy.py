"""A heavier workload than `benchmarks.workload`: what a large campus pool sees in two weeks.

200,000 jobs of 60 submitters in 300 autoclusters ask for cores, memory and GPUs; 2,000 partitionable hosts of 200 kinds
serve them for 14 days. GPUs are asked for nine tenths of the time.
"""

from __future__ import annotations

import numpy as np

from sim.classads.matching import Matcher, Remainder, assigned_devices
from sim.classads.request import Request, job_ad
from sim.engine.entities import Job, Machine
from sim.engine.pool import Pool
from sim.engine.sessions import Session
from sim.engine.streams import Streams
from sim.scenario import PolicySection

JOBS, SUBMITTERS, AUTOCLUSTERS, HOSTS, KINDS = 200_000, 60, 300, 2_000, 200
LENGTH_S = 14 * 86400.0
MEAN_RUN_S = 10 * 3600.0
MODELS = (
    ("T4", 7.5, 15000),
    ("V100", 7.0, 16000),
    ("A100", 8.0, 40000),
    ("L40S", 8.9, 46000),
    ("H100", 9.0, 80000),
)


def slot_ad(number: int) -> str:
    """A host of one of the kinds: every fifth has no GPU, the others have 1 to 8 of a model."""
    cpus, memory = (16, 32, 48, 64, 96)[number % 5], 1024 * (64 + 4 * number)
    count = (0, 1, 2, 4, 8)[number // 5 % 5]
    model, capability, size = MODELS[number // 25 % 5]
    names = [f"GPUs_GPU_{place:08x}" for place in range(count)]
    nested = " ".join(
        f'{name} = [ Id = "{name[5:].replace("_", "-")}"; DeviceName = "{model}"; Capability = {capability}; GlobalMemoryMb = {size} ];'
        for name in names
    )
    ids = ",".join(name[5:].replace("_", "-") for name in names)
    return f"""[ Arch = "X86_64"; OpSys = "LINUX"; HasFileTransfer = true; SlotType = "Partitionable"; PartitionableSlot = true;
        Cpus = {cpus}; Memory = {memory}; Disk = 500000000; GPUs = {count}; TotalSlotCpus = {cpus}; TotalSlotMemory = {memory};
        TotalSlotGPUs = {count}; AssignedGPUs = "{ids}"; AvailableGPUs = {{ {", ".join(names)} }}; {nested}
        Rack = {number}; Start = true; Rank = 0.0;
        WithinResourceLimits = (MY.Cpus > 0 && TARGET.RequestCpus <= MY.Cpus && MY.Memory > 0 && TARGET.RequestMemory <= MY.Memory
          && MY.Disk > 0 && TARGET.RequestDisk <= MY.Disk && (TARGET.RequestGPUs is undefined || MY.GPUs >= TARGET.RequestGPUs));
        Requirements = START && (WithinResourceLimits) ]"""


def request(number: int) -> Request:
    """What the jobs of an autocluster ask for: two of three ask for a GPU, some of them for a better one."""
    cpus, memory = (1, 1, 2, 4, 8)[number % 5], 1024 * (2 + number % 12)
    if number % 3 == 0:
        return Request(0, cpus, memory)
    least = (None, 7.0, 7.5, 8.0, 8.9)[number // 3 % 5]
    return Request(1 if number % 7 else 2, cpus, memory, f"Capability >= {least}" if least else "")


def pool(jobs: int = JOBS, seed: int = 1) -> Pool:
    """The pool, ready to run; fewer jobs come in a shorter time."""
    rng = np.random.default_rng(seed)
    # every autocluster avoids one rack, and so reads what tells the kinds of hosts apart
    texts = [job_ad(f"TARGET.Rack =!= {number}", request(number)) for number in range(AUTOCLUSTERS)]
    ads = [slot_ad(number) for number in range(KINDS)]
    matcher = Matcher(texts, ads)
    clusters = [matcher.autocluster(text) for text in texts]
    weight = rng.permutation(1 / np.arange(1, AUTOCLUSTERS + 1))
    chosen = rng.choice(AUTOCLUSTERS, size=jobs, p=weight / weight.sum())
    times = np.sort(rng.uniform(0, LENGTH_S * jobs / JOBS, size=jobs))
    runs = np.maximum(10.0, rng.lognormal(np.log(MEAN_RUN_S) - 0.5, 1.0, size=jobs))
    made = [
        (Job(row, (0.0, row, 0), clusters[cluster], time, run), f"user{cluster % SUBMITTERS}@pool")
        for row, (cluster, time, run) in enumerate(
            zip(chosen.tolist(), times.tolist(), runs.tolist(), strict=True)
        )
    ]
    sessions = []
    for number in range(HOSTS):
        text = ads[number % KINDS]
        devices = assigned_devices(text)
        kind, kinds = matcher.kind(text, [device.attribute for device in devices])
        total = Remainder(
            float((16, 32, 48, 64, 96)[number % KINDS % 5]),
            float(1024 * (64 + 4 * (number % KINDS))),
            488281.25,
            kinds,
        )
        machine = Machine(
            f"host{number}", f"host{number}", "here", kind, kinds, tuple(device.id for device in devices),
            tuple(device.model or "" for device in devices), tuple(device.capability or 0.0 for device in devices), total,
        )  # fmt: skip
        sessions.append(Session(machine, 0.0, float("inf"), "open"))
    policy = PolicySection()
    return Pool(
        made, sessions, matcher=matcher, policy=policy, start_unix=1_795_000_000.0, streams=Streams.of(seed)
    )
