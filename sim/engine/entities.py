"""The things of a pool inside the engine: jobs, submitters, machines, claims.

Times are seconds since the run began; cores [1], memory and disk [MiB].
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from sim.classads.matching import Autocluster, Kind, Remainder

OrderKey = tuple[float, int, int]  # −JobPrio, ClusterId, ProcId: prio_compar of the schedd's qmgmt.cpp


@dataclass(eq=False, slots=True)
class Job:
    """A job of the workload; `row` is its place in the jobs frame."""

    row: int
    order: OrderKey
    cluster: Autocluster
    submitted_s: float
    run_s: float
    ready_s: float = 0.0
    starts: int = 0
    ended: bool = False

    def __lt__(self, other: Job) -> bool:
        return self.order < other.order


@dataclass(eq=False, slots=True)
class Submitter:
    """Whom the negotiator charges, with the idle jobs of the schedd's queue, by autocluster and in job order.

    charged : cores that count as used until the next cycle (real-pool facts §7.4)
    advertised : idle jobs in the last submitter ad
    """

    name: str
    factor: float
    priority: float = 0.5
    usage: float = 0.0
    charged: float = 0.0
    advertised: int = 0
    n_idle: int = 0
    queues: dict[int, list[Job]] = field(default_factory=dict)
    clusters: dict[int, Autocluster] = field(default_factory=dict)

    @property
    def effective(self) -> float:
        """Effective priority: smaller is better."""
        return self.priority * self.factor

    def push(self, job: Job) -> None:
        """Put a job back into its place in the queue."""
        cluster = job.cluster
        queue = self.queues.get(cluster.id)
        if queue is None:
            queue = self.queues[cluster.id] = []
            self.clusters[cluster.id] = cluster
        heapq.heappush(queue, job)
        self.n_idle += 1

    def pop(self, cluster: Autocluster) -> Job:
        """Take the first idle job of an autocluster."""
        self.n_idle -= 1
        return heapq.heappop(self.queues[cluster.id])

    def idle_clusters(self) -> Iterator[Autocluster]:
        """The autoclusters with idle jobs, in the order of their first jobs."""
        heads = [(queue[0].order, number) for number, queue in self.queues.items() if queue]
        heads.sort()
        for _, number in heads:
            yield self.clusters[number]


@dataclass(eq=False, slots=True)
class Machine:
    """An execution point with one partitionable (or static) slot.

    free_devices : places of the free devices in `devices`, in inventory order
    seen : what its ad in the collector says is left; None while no ad is there
    due_s : when a change reaches the collector; infinity if none is under way
    pollable_s : when a freed device can be claimed again (23.9 only), by place
    """

    name: str
    host: str
    site: str
    kind: Kind
    devices: tuple[int, ...]
    device_ids: tuple[str, ...]
    models: tuple[str, ...]
    capabilities: tuple[float, ...]
    total: Remainder
    retire_s: float
    die_s: float
    cpus: float = 0.0
    memory_mib: float = 0.0
    disk_mib: float = 0.0
    free_devices: list[int] = field(default_factory=list)
    alive: bool = False
    reachable: bool = False
    draining: bool = False
    seen: Remainder | None = None
    due_s: float = float("inf")
    pollable_s: dict[int, float] = field(default_factory=dict)
    claims: set[Claim] = field(default_factory=set)
    left: Remainder | None = None

    def remainder(self) -> Remainder:
        """What is left of the slot now."""
        if self.left is None:
            devices = self.devices
            self.left = Remainder(
                self.cpus,
                self.memory_mib,
                self.disk_mib,
                tuple([devices[place] for place in self.free_devices]),
            )
        return self.left


@dataclass(eq=False, slots=True)
class Claim:
    """A dynamic slot (or a whole static one) held for a submitter; it keeps its size while it is reused."""

    machine: Machine
    submitter: Submitter
    size: Remainder
    places: tuple[int, ...]
    born_s: float
    number: int
    limits: str
    job: Job | None = None
    attempt: int = -1
    serial: int = 0
