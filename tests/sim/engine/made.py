"""Small pools and workloads made by hand, for tests of the engine."""

from collections.abc import Sequence
from typing import Any

from sim.classads.matching import Matcher, Remainder, assigned_devices, read_ad
from sim.classads.request import Request, job_ad
from sim.engine.entities import Job, Machine
from sim.engine.ghosts import Ghost
from sim.engine.pool import Pool
from sim.engine.sessions import Session
from sim.engine.streams import Streams
from sim.scenario import PolicySection

START = 1_795_000_000.0

QUICK = PolicySection(
    negotiator_interval=60,
    negotiator_cycle_delay=20,
    match_to_start=1.0,
    match_to_start_tail=0,
    reuse_to_start=1.0,
    reuse_slow_share=0,
    run_overhead=0,
    cycle_overhead=0,
    update_delay_low=1,
    update_delay_high=2,
    schedd_wakes_per_job=0,
)
"""HTCondor's defaults with delays that don't vary."""


def slot_text(
    *,
    cpus: int = 16,
    memory: int = 65536,
    devices: Sequence[tuple[str, float]] = (),
    start: str = "true",
    rank: str = "0.0",
    extra: str = "",
) -> str:
    """The ad of an empty partitionable slot; `devices` are model and capability."""
    nested = " ".join(
        f'GPUs_GPU_{place:08x} = [ Id = "GPU-{place:08x}"; DeviceName = "{model}"; Capability = {capability:.1f}; GlobalMemoryMb = 16000 ];'
        for place, (model, capability) in enumerate(devices)
    )
    ids = ",".join(f"GPU-{place:08x}" for place in range(len(devices)))
    names = ", ".join(f"GPUs_GPU_{place:08x}" for place in range(len(devices)))
    common = f"GPUs_Capability = {devices[0][1]:.1f};" if len({c for _, c in devices}) == 1 else ""
    return f"""[ Arch = "X86_64"; OpSys = "LINUX"; HasFileTransfer = true; SlotType = "Partitionable"; PartitionableSlot = true;
        Cpus = {cpus}; Memory = {memory}; Disk = 50000000; GPUs = {len(devices)}; TotalSlotCpus = {cpus}; TotalSlotMemory = {memory};
        TotalSlotGPUs = {len(devices)}; AssignedGPUs = "{ids}"; AvailableGPUs = {{ {names} }}; {nested} {common} {extra}
        Start = {start}; Rank = {rank};
        WithinResourceLimits = (MY.Cpus > 0 && TARGET.RequestCpus <= MY.Cpus && MY.Memory > 0 && TARGET.RequestMemory <= MY.Memory
          && MY.Disk > 0 && TARGET.RequestDisk <= MY.Disk && (TARGET.RequestGPUs is undefined || MY.GPUs >= TARGET.RequestGPUs));
        Requirements = START && (WithinResourceLimits) ]"""


class Made:
    """A pool under construction: add machines and jobs, then run."""

    def __init__(self, **changes: Any) -> None:
        self.policy = QUICK.model_copy(update=changes)
        self._machines: list[tuple[str, str, float, float, float, str]] = []
        self._jobs: list[tuple[str, str, float, float, dict[str, float]]] = []
        self._ghosts: list[tuple[str, str, str, float]] = []

    def machine(
        self,
        name: str,
        text: str,
        *,
        up: float = 0,
        down: float = float("inf"),
        retire: float = float("inf"),
        ending: str = "quit",
    ) -> "Made":
        """Add a machine that is there from `up` to `down` [s]."""
        self._machines.append((name, text, up, down, retire, ending))
        return self

    def jobs(
        self,
        submitter: str,
        count: int,
        *,
        at: float = 0,
        run: float = 600,
        expression: str = "true",
        request: Request | None = None,
        extra: str = "",
        prio: int = 0,
        **more: float,
    ) -> "Made":
        """Add `count` equal jobs; `extra` are attributes of their ads, `more` goes to `Job`."""
        text = job_ad(expression, request or Request(gpus=0))
        if extra:
            text = f"{text.rstrip().removesuffix(']')}; {extra} ]"
        self._jobs += [(submitter, text, at, run, {**more, "prio": prio})] * count
        return self

    def ghost(
        self,
        label: str,
        at: float,
        *,
        request: Request | None = None,
        expression: str = "true",
        submitter: str = "new",
    ) -> "Made":
        """Add a probe."""
        self._ghosts.append((label, submitter, job_ad(expression, request or Request(gpus=0)), at))
        return self

    def run(
        self,
        until: float = 86400.0,
        seed: int = 1,
        *,
        last_cycle: float | None = None,
        last_round: float | None = None,
        unheard: Sequence[tuple[float, float]] = (),
    ) -> Pool:
        """Run it and hand back the pool with its records."""
        matcher = Matcher(
            [*(job[1] for job in self._jobs), *(text for _, _, text, _ in self._ghosts)],
            [machine[1] for machine in self._machines],
        )
        jobs = []
        for row, (submitter, text, at, run, more) in enumerate(sorted(self._jobs, key=lambda job: job[2])):
            order = (-more["prio"], row, 0)
            rest: dict[str, Any] = {name: value for name, value in more.items() if name != "prio"}
            jobs.append((Job(row, order, matcher.autocluster(text), at, run, **rest), submitter))
        sessions = []
        for name, text, up, down, retire, ending in self._machines:
            devices = assigned_devices(text)
            own = read_ad(text)
            kind, kinds = matcher.kind(text, [device.attribute for device in devices])
            machine = Machine(
                name=name, host=name, site="here", kind=kind, devices=kinds, device_ids=tuple(device.id for device in devices),
                models=tuple(device.model or "" for device in devices), capabilities=tuple(device.capability or 0.0 for device in devices),
                total=Remainder(float(own["Cpus"]), float(own["Memory"]), 48828.125, kinds), retire_s=retire, die_s=down,
            )  # fmt: skip
            sessions.append(Session(machine, up, down, ending))
        ghosts = [
            Ghost(label, submitter, matcher.autocluster(text), at)
            for label, submitter, text, at in self._ghosts
        ]
        pool = Pool(
            jobs,
            sessions,
            matcher=matcher,
            policy=self.policy,
            start_unix=START,
            streams=Streams.of(seed),
            ghosts=ghosts,
            last_cycle_s=last_cycle,
            last_round_s=last_round,
            unheard_s=unheard,
        )
        pool.run(until)
        return pool


def attempts(pool: Pool) -> list[tuple[str, float, float | None, str, str, tuple[int, ...]]]:
    """The attempts as (submitter, start, end, origin, outcome, places of devices)."""
    return [
        (row[0].queue.person.name, row[4], row[5], row[8], row[9], row[7]) for row in pool.recorder.attempts
    ]


def by_origin(pool: Pool) -> dict[str, int]:
    """How many attempts began by match, leftover and reuse."""
    origins = [row[8] for row in pool.recorder.attempts]
    return {origin: origins.count(origin) for origin in dict.fromkeys(origins)}
