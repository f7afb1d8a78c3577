"""The benchmark's jobs and slots for poolscope's engine."""

from __future__ import annotations

from benchmarks.workload import CAPABILITIES, RESTRICTED_CAPABILITY, SLOTS_EACH, Task
from sim.classads.matching import Matcher, Remainder, assigned_devices
from sim.classads.request import Request, job_ad
from sim.engine.entities import Job, Machine
from sim.engine.pool import Pool
from sim.engine.sessions import Session
from sim.engine.streams import Streams
from sim.scenario import PolicySection

PLAIN = PolicySection(
    negotiator_interval=60,
    negotiator_cycle_delay=0,
    negotiator_min_interval=0,
    cycle_overhead=0,
    first_cycle=60,
    schedd_min_interval=0,
    fair_share=False,
    claim_leftovers=False,
    claim_reuse=False,
    reschedule=False,
    update_delay_low=0,
    update_delay_high=0,
    match_to_start=0,
    match_to_start_tail=0,
    run_overhead=0,
)
"""Only the cycle is left of HTCondor: no fair share, no chaining on a partitionable slot, no delays."""

LEAST_CAPABLE_FIRST = "0 - GPUs_Capability"
MOST_CAPABLE_FIRST = "GPUs_Capability"
CAPABLE_IN_THE_MIDDLE = "ifThenElse(GPUs_Capability == 6.0, 5, ifThenElse(GPUs_Capability >= 8.0, 12 - GPUs_Capability, 9 - GPUs_Capability))"


def slot_ad(capability: float) -> str:
    """A slot with one core and one GPU."""
    return f"""[ Arch = "X86_64"; OpSys = "LINUX"; HasFileTransfer = true; SlotType = "Partitionable"; PartitionableSlot = true;
        Cpus = 1; Memory = 4096; Disk = 10000000; GPUs = 1; TotalSlotCpus = 1; TotalSlotMemory = 4096; TotalSlotGPUs = 1;
        AssignedGPUs = "GPU-00000000"; AvailableGPUs = {{ GPUs_GPU_00000000 }}; GPUs_Capability = {capability};
        GPUs_GPU_00000000 = [ Id = "GPU-00000000"; DeviceName = "model {capability}"; Capability = {capability} ];
        Start = true; Rank = 0.0;
        WithinResourceLimits = (MY.Cpus > 0 && TARGET.RequestCpus <= MY.Cpus && MY.Memory > 0 && TARGET.RequestMemory <= MY.Memory
          && MY.Disk > 0 && TARGET.RequestDisk <= MY.Disk && (TARGET.RequestGPUs is undefined || MY.GPUs >= TARGET.RequestGPUs));
        Requirements = START && (WithinResourceLimits) ]"""


def pool(tasks: list[Task], policy: PolicySection, *, rank: str = LEAST_CAPABLE_FIRST, seed: int = 1) -> Pool:
    """A pool that is ready to run these jobs."""
    request = Request(1, 1, 1024)
    texts = [
        job_ad("true", request).rstrip(" ]") + f"; Rank = {rank} ]",
        job_ad(f"GPUs_Capability >= {RESTRICTED_CAPABILITY}", request).rstrip(" ]") + f"; Rank = {rank} ]",
    ]
    slots = [slot_ad(capability) for capability in CAPABILITIES]
    matcher = Matcher(texts, slots)
    clusters = [matcher.autocluster(text) for text in texts]
    jobs = (
        (Job(number, (0.0, number, 0), clusters[task.restricted], task.submitted_s, task.run_s), "one@pool")
        for number, task in enumerate(tasks)
    )
    sessions = []
    for capability, text in zip(CAPABILITIES, slots, strict=True):
        (device,) = assigned_devices(text)
        kind, devices = matcher.kind(text, [device.attribute])
        for number in range(SLOTS_EACH):
            name = f"{capability}-{number}"
            total = Remainder(1.0, 4096.0, 9765.625, devices)
            machine = Machine(
                name, name, "here", kind, devices, (device.id,), (str(device.model),), (capability,), total
            )
            sessions.append(Session(machine, 0.0, float("inf"), "open"))
    return Pool(
        jobs, sessions, matcher=matcher, policy=policy, start_unix=1_795_000_000.0, streams=Streams.of(seed)
    )


def waits(tasks: list[Task], policy: PolicySection, **more: str) -> list[float]:
    """The first wait of each job [s]."""
    made = pool(tasks, policy, **more)
    made.run(float("inf"))
    found = [float("nan")] * len(tasks)
    for attempt in made.recorder.attempts:
        found[attempt.job.row] = attempt.executing_s - tasks[attempt.job.row].submitted_s
    return found
