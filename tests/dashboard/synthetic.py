"""A small pool that looks like the recorded sample: frames of machines, devices and jobs, made from one seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sim.classads.request import Request, job_ad
from sim.schema import conform
from sim.store import Snapshot, Store

START = pd.Timestamp("2026-11-23 14:00:00", tz="UTC")
STEP = pd.Timedelta(seconds=15)
N_SNAPSHOTS = 80

# machine, site, model, capability, device memory, devices, up at, down at (snapshots)
MACHINES: tuple[tuple[str, str, str | None, float | None, float, int, int, int], ...] = (
    ("gpu01.nebula.example", "Nebula-HPC", "A100-SXM4-40GB", 8.0, 47661, 8, 0, 80),
    ("gpu02.nebula.example", "Nebula-HPC", None, None, 4861, 7, 0, 80),
    ("wn-7.prairie.example", "Prairie-T2", "Tesla V100-PCIE-16GB", 7.0, 24220, 4, 0, 28),
    ("wn-8.prairie.example", "Prairie-T2", "Tesla V100-PCIE-16GB", 7.0, 24220, 4, 40, 80),
    ("n12.lakeside.example", "Lakeside", "Tesla V100-PCIE-16GB", 7.0, 24220, 4, 0, 80),
    ("n31.lakeside.example", "Lakeside", "TITAN RTX", 7.5, 24220, 4, 0, 20),
    ("n32.lakeside.example", "Lakeside", "TITAN RTX", 7.5, 24220, 2, 32, 80),
    ("lab5.campus.example", "Campus-Grid", "TITAN RTX", 7.5, 24220, 2, 0, 80),
    ("old1.campus.example", "Campus-Grid", "GeForce GTX 480", 2.0, 1536, 2, 0, 80),
)

CLASSES = (
    ("any GPU", "true", 1, 8.0),
    ("capability 7.0", "TARGET.GPUs_Capability >= 7.0", 1, 30.0),
    ("capability 7.5", "TARGET.GPUs_Capability >= 7.5", 1, 70.0),
    ("capability 8.0", "TARGET.GPUs_Capability >= 8.0", 1, 140.0),
    ("40 GB", "TARGET.GPUs_GlobalMemoryMb >= 40000", 1, 160.0),
    ("TITAN RTX only", 'TARGET.GPUs_DeviceName == "TITAN RTX"', 1, 220.0),
    ("2 GPUs", "TARGET.GPUs_Capability >= 7.0", 2, 260.0),
    ("4 GPUs", "TARGET.GPUs_Capability >= 7.0", 4, 420.0),
    ("container", "TARGET.HasSingularity && TARGET.GPUs_Capability >= 7.0", 1, 60.0),
    ("old attribute", "TARGET.CUDACapability >= 6.0", 1, 900.0),
    ("Nebula only", 'TARGET.GLIDEIN_Site == "Nebula-HPC"', 1, 120.0),
    ("no GPU", "true", 0, 4.0),
)


def devices(seed: int = 7) -> pd.DataFrame:
    """Frame "devices" of all snapshots."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for number in range(N_SNAPSHOTS):
        load = 0.35 + 0.6 * np.sin(np.pi * min(number, 70) / 75)
        for machine, site, model, capability, memory, n, up, down in MACHINES:
            if not up <= number < down:
                continue
            for device in range(n):
                state = "claimed" if rng.random() < load else "free"
                if machine.startswith("old1"):
                    state = "free" if rng.random() < 0.95 else "claimed"
                if number >= down - 4 and state == "free" and down < N_SNAPSHOTS:
                    state = "draining"
                if machine.startswith("gpu02") and device == 6:
                    state = "offline"
                rows.append(_device(number, machine, site, model, capability, memory, device, state))
    return conform(pd.DataFrame(rows), "devices")


def _device(
    number: int,
    machine: str,
    site: str,
    model: str | None,
    capability: float | None,
    memory: float,
    device: int,
    state: str,
) -> dict[str, Any]:
    return {
        "snapshot": snapshot(number), "seen_at": START + number * STEP, "machine": machine,
        "device_id": f"GPU-{device:x}0223334", "startd": f"glidein@{machine}", "site": site, "model": model,
        "family": model, "capability": capability, "memory_mib": memory, "max_runtime": 12040, "mig": model is None,
        "shares": 1, "slot": f"slot1@glidein@{machine}", "slot_type": "partitionable", "state": state,
    }  # fmt: skip


def snapshot(number: int) -> str:
    """Id of a snapshot."""
    return f"{START + number * STEP:%Y%m%dT%H%M%SZ}"


def counted(devices: pd.DataFrame) -> pd.DataFrame:
    """Devices of each snapshot by state, as the store counts them."""
    return (
        devices.groupby(["snapshot", "state"], observed=True)
        .agg(seen_at=("seen_at", "max"), n=("device_id", "count"))
        .reset_index()
    )


def slots() -> pd.DataFrame:
    """Frame "slots": the partitionable slot of each machine in each snapshot, its ad as a startd writes it."""
    used = devices()
    free = used[used["state"] == "free"].groupby(["snapshot", "machine"])["device_id"].agg(list).to_dict()
    rows = [
        {
            "snapshot": snapshot(number), "seen_at": START + number * STEP, "name": f"slot1@glidein@{machine}",
            "machine": machine, "slot_type": "partitionable", "state": "Unclaimed", "site": site,
            "gpus": len(free.get((snapshot(number), machine), [])), "total_gpus": n, "cpus": 32, "total_cpus": 32,
            "memory_mib": 131072, "total_memory_mib": 131072, "disk_mib": 500000, "total_disk_mib": 500000,
            "slot_weight": 32, "started_at": START + up * STEP - pd.Timedelta(seconds=8), "has_singularity": True,
            "has_docker": False, "has_container": True, "has_sif": True, "has_sandbox_image": True,
            "has_docker_url": True, "draining": False, "offline": False, "backfill": False,
            "condor_version": "$CondorVersion: 23.9.6 2026-07-12 PackageID: 23.9.6+dfsg-2.1+b10 $",
            "ad": slot_ad(machine, site, model, capability, memory, n, free.get((snapshot(number), machine), [])),
        }
        for number in range(N_SNAPSHOTS)
        for machine, site, model, capability, memory, n, up, down in MACHINES
        if up <= number < down
    ]  # fmt: skip
    return conform(pd.DataFrame(rows), "slots")


def slot_ad(
    machine: str,
    site: str,
    model: str | None,
    capability: float | None,
    memory: float,
    n: int,
    free: list[str],
) -> str:
    """The ad of a partitionable slot; old MIG slices have neither model nor capability."""
    ids = [f"GPU-{device:x}0223334" for device in range(n)]
    names = {name: f"GPUs_{name.replace('-', '_')}" for name in ids}
    known = f'DeviceName = "{model}"; Capability = {capability}; ' if model else ""
    flat = f'GPUs_DeviceName = "{model}"; GPUs_Capability = {capability}; ' if model else ""
    nested = " ".join(f'{names[i]} = [ Id = "{i}"; {known}GlobalMemoryMb = {memory} ];' for i in ids)
    within = (
        "TARGET.RequestCpus <= MY.Cpus && TARGET.RequestMemory <= MY.Memory && MY.GPUs >= TARGET.RequestGPUs"
    )
    return (
        f'[ MyType = "Machine"; Name = "slot1@glidein@{machine}"; Machine = "{machine}"; GLIDEIN_Site = "{site}"; '
        f'SlotType = "Partitionable"; PartitionableSlot = true; State = "Unclaimed"; Activity = "Idle"; Start = true; '
        f'Arch = "X86_64"; OpSys = "LINUX"; HasFileTransfer = true; HasSingularity = true; Cpus = 32; Memory = 131072; '
        f"Disk = 500000000; TotalSlotCpus = 32; TotalSlotMemory = 131072; TotalSlotDisk = 500000000; "
        f'TotalSlotGPUs = {n}; GPUs = {len(free)}; AssignedGPUs = "{",".join(ids)}"; '
        f"AvailableGPUs = {{ {', '.join(names[i] for i in free)} }}; {flat}GPUs_GlobalMemoryMb = {memory}; {nested} "
        f"SlotWeight = Cpus; Rank = 0.0; Requirements = START && ({within}) ]"
    )


def jobs(seed: int = 11, n: int = 320, scale: float = 1.0) -> pd.DataFrame:
    """Frame "jobs": the last known row per job; `scale` stretches the waits, for a simulated record."""
    rng = np.random.default_rng(seed)
    end = START + N_SNAPSHOTS * STEP
    rows = []
    for number in range(n):
        name, requirements, gpus, typical = CLASSES[int(rng.integers(len(CLASSES)))]
        submitted = START + pd.Timedelta(seconds=float(rng.uniform(0, 900)))
        wait = float(rng.lognormal(np.log(typical * scale), 0.9)) + 2.0
        started = submitted + pd.Timedelta(seconds=wait)
        done = started < end and name != "old attribute"
        rows.append(
            {
                "snapshot": snapshot(N_SNAPSHOTS - 1), "seen_at": end, "job_id": f"{number + 1}.0", "schedd": "ap.example",
                "submitter": ["physics.alice@example", "bob@example", "vision.carol@example", "nice-user.dave@example"][number % 4],
                "submitted_at": submitted, "status": "completed" if done else "idle",
                "first_started_at": started if done else None, "started_at": started if done else None,
                "priority": 0, "request_cpus": 4, "request_memory_mib": 4096, "request_disk_mib": 100,
                "request_gpus": gpus, "requirements": requirements, "run_s": 60.0, "n_starts": int(done),
                "ad": job_ad(requirements, Request(gpus, 4, 4096)).replace("[", f'[ ReqClass = "{name}";', 1),
            }
        )  # fmt: skip
    return conform(pd.DataFrame(rows), "jobs")


def fill(path: Path) -> Store:
    """A store with all of it."""
    store = Store(path)
    frames = {"devices": devices(), "slots": slots()}
    for number in range(N_SNAPSHOTS):
        name = snapshot(number)
        parts = {key: frame[frame["snapshot"] == name] for key, frame in frames.items()}
        if number == N_SNAPSHOTS - 1:
            parts["jobs"] = jobs()
        store.append(Snapshot(name, (START + number * STEP).to_pydatetime(), parts))
    return store


def append_again(store: Store) -> None:
    """One more snapshot, a step later: the devices as they were."""
    at = START + N_SNAPSHOTS * STEP
    last = snapshot(N_SNAPSHOTS - 1)
    name = snapshot(N_SNAPSHOTS)
    parts = {
        key: frame[frame["snapshot"] == last].assign(snapshot=name, seen_at=at)
        for key, frame in (("devices", devices()), ("slots", slots()))
    }
    store.append(Snapshot(name, at.to_pydatetime(), parts))
