"""The things of a pool inside the engine: jobs, queues, submitters, machines, states of slots, claims.

Times are seconds since the run began; cores [1], memory and disk [MiB].
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from sim.classads.matching import Autocluster, Kind, Remainder

OrderKey = tuple[float, int, int]  # −JobPrio, ClusterId, ProcId: prio_compar of the schedd's qmgmt.cpp
AGAIN = "#"
"""Stands between the name of a startd and the number of its stay, where another of the same name came later."""

SLOT = "slot1"
"""What the one slot of a startd is called."""

FOREVER = float("inf")


class Failure(NamedTuple):
    """A run that fails: after which share of it [1], and whether the job then stays in the queue for another one."""

    share: float
    retried: bool


class Job:
    """A job of the workload.

    Parameters
    ----------
    row : its place in the jobs frame
    order : what the schedd sorts by; its `place` in that order replaces it as the run begins
    cluster : its autocluster
    submitted_s, run_s : when it comes and how long its program runs [s]
    removed_s, leaves_as : when its user takes it away, infinity if never; ``removed`` or ``held``
    checkpoint_s : how often it saves its progress; 0 if it starts from zero after an eviction
    limit_s, running_s : how long an attempt may execute, and be running, before the access point holds the job; infinity
        without such a policy
    failures : its next runs that will end with an exit code other than 0; evictions are none
    """

    __slots__ = (
        "checkpoint_s",
        "claim",
        "cluster",
        "done_s",
        "failures",
        "leaves_as",
        "limit_s",
        "order",
        "place",
        "queue",
        "ready_s",
        "removed_s",
        "row",
        "run_s",
        "running_s",
        "submitted_s",
    )

    queue: Queue

    def __init__(
        self,
        row: int,
        order: OrderKey,
        cluster: Autocluster,
        submitted_s: float,
        run_s: float,
        *,
        removed_s: float = FOREVER,
        leaves_as: str = "removed",
        checkpoint_s: float = 0.0,
        limit_s: float = FOREVER,
        running_s: float = FOREVER,
        failures: tuple[Failure, ...] = (),
    ) -> None:
        self.row = row
        self.order = order
        self.cluster = cluster
        self.submitted_s = self.ready_s = submitted_s
        self.run_s = run_s
        self.removed_s = removed_s
        self.leaves_as = leaves_as
        self.failures = failures
        self.checkpoint_s = checkpoint_s
        self.limit_s = limit_s
        self.running_s = running_s
        self.done_s = 0.0
        self.place = 0
        self.claim: Claim | None = None


class Queue:
    """A submitter's idle jobs of one autocluster, as places in the job order, the first on top."""

    __slots__ = ("cluster", "heap", "person")

    def __init__(self, person: Submitter, cluster: Autocluster) -> None:
        self.person = person
        self.cluster = cluster
        self.heap: list[int] = []

    def push(self, place: int) -> None:
        """Put a job into its place."""
        if not self.heap:
            self.person.waiting[self.cluster.id] = self
        heappush(self.heap, place)
        self.person.n_idle += 1

    def pop(self) -> int:
        """Take the first job."""
        place = heappop(self.heap)
        if not self.heap:
            del self.person.waiting[self.cluster.id]
        self.person.n_idle -= 1
        return place

    def drop(self, place: int) -> bool:
        """Take out a job wherever it stands; False if it isn't here."""
        if place not in self.heap:
            return False
        self.heap.remove(place)
        heapify(self.heap)
        if not self.heap:
            del self.person.waiting[self.cluster.id]
        self.person.n_idle -= 1
        return True


class Submitter:
    """Whom the negotiator charges, with the idle jobs of the schedd's queue, by autocluster and in job order.

    charged : cores that count as used until the next cycle (real-pool facts §7.4)
    advertised : idle jobs in the last submitter ad
    demand : what its idle and its running jobs ask for in that ad [weighted cores]; kept where there are groups
    waiting : the queues that hold jobs, by autocluster
    """

    __slots__ = (
        "advertised",
        "charged",
        "demand",
        "factor",
        "group",
        "n_idle",
        "name",
        "priority",
        "queues",
        "stale",
        "usage",
        "waiting",
    )

    def __init__(self, name: str, factor: float, group: str = "", priority: float = 0.5) -> None:
        self.name = name
        self.factor = factor
        self.group = group
        self.priority = priority
        self.usage = 0.0
        self.charged = 0.0
        self.advertised = 0
        self.demand = 0.0
        self.n_idle = 0
        self.stale = False
        self.queues: dict[int, Queue] = {}
        self.waiting: dict[int, Queue] = {}

    @property
    def effective(self) -> float:
        """Effective priority: smaller is better."""
        return self.priority * self.factor

    def queue(self, cluster: Autocluster) -> Queue:
        """The queue of an autocluster."""
        found = self.queues.get(cluster.id)
        if found is None:
            found = self.queues[cluster.id] = Queue(self, cluster)
        return found

    def in_order(self) -> Iterator[Queue]:
        """The queues that hold jobs, in the order of their first jobs."""
        waiting = self.waiting
        if len(waiting) > 1:
            return iter(sorted(waiting.values(), key=_head))
        return iter(list(waiting.values()))


def _head(queue: Queue) -> int:
    return queue.heap[0]


class State:
    """A partitionable or static slot with this much left.

    rank : NEGOTIATOR_POST_JOB_RANK of it; `before` NEGOTIATOR_PRE_JOB_RANK for a job that the startd's RANK doesn't prefer
    weight : what a match on it is charged, its SlotWeight [weighted cores]
    machines : those whose ad in the collector shows this state and that may be matched
    """

    __slots__ = (
        "before",
        "carvings",
        "fits",
        "given",
        "id",
        "kind",
        "left",
        "machines",
        "open",
        "rank",
        "weight",
    )

    def __init__(
        self, number: int, kind: Kind, left: Remainder, rank: float, weight: float, before: float
    ) -> None:
        self.id = number
        self.kind = kind
        self.left = left
        self.rank = rank
        self.before = before
        self.weight = weight
        self.open = left.cpus > 0 and left.memory_mib > 0 and left.disk_mib > 0
        self.machines: list[Machine] = []
        self.fits: dict[int, bool] = {}
        self.carvings: dict[int, Carving] = {}
        self.given: dict[object, State] = {}


class Shape:
    """A dynamic slot of this size, or a whole static one.

    weight : what its holder is charged, its SlotWeight [weighted cores]
    fits : by autocluster, whether its claim can be reused for such a job
    """

    __slots__ = ("fits", "id", "kind", "size", "weight")

    def __init__(self, number: int, kind: Kind, size: Remainder, weight: float) -> None:
        self.id = number
        self.kind = kind
        self.size = size
        self.weight = weight
        self.fits: dict[int, bool] = {}


class Carving(NamedTuple):
    """What a claim takes: the dynamic slot, what is left, and which of the free devices (as places among them)."""

    shape: Shape
    rest: State
    picks: tuple[int, ...]


class Machine:
    """An execution point with one partitionable (or static) slot.

    Parameters
    ----------
    name, host, site : of its startd, its host, its site; a startd with several slots is several machines of its name
    kind : of its slot
    devices : the kinds of its devices, in inventory order; `device_ids`, `models`, `capabilities` go with them
    total : all that it has
    retire_s, die_s : when it stops accepting jobs, and when it means to go [s]
    rank : NEGOTIATOR_POST_JOB_RANK of its slot
    slot : what its slot is called on the startd
    cache : what its nodes hold of software; owned by the delivery model

    startd : `name` without the number of its stay; `slot_name` tells all slots of all stays apart
    free : places of the free devices in `devices`, in inventory order
    state : what is left of it; `seen` is what its ad in the collector says
    due_s : when a change reaches the collector; infinity if none is under way
    listed, taken, closed : its ad is offered; it was matched in this cycle; it takes no job any more
    slots_made, spare_ids : the highest id that a dynamic slot had, and a heap of those that are free again
    pollable_s : when a freed device can be claimed again (23.x only), by place
    """

    __slots__ = (
        "alive",
        "cache",
        "capabilities",
        "claims",
        "closed",
        "device_ids",
        "devices",
        "die_s",
        "draining",
        "due_s",
        "free",
        "host",
        "kind",
        "listed",
        "models",
        "name",
        "place",
        "pollable_s",
        "rank",
        "retire_s",
        "seen",
        "site",
        "slot",
        "slot_name",
        "slots_made",
        "spare_ids",
        "startd",
        "state",
        "taken",
        "total",
    )

    state: State
    seen: State

    def __init__(
        self,
        name: str,
        host: str,
        site: str,
        kind: Kind,
        devices: tuple[int, ...],
        device_ids: tuple[str, ...],
        models: tuple[str, ...],
        capabilities: tuple[float, ...],
        total: Remainder,
        retire_s: float = FOREVER,
        die_s: float = FOREVER,
        rank: float = 0.0,
        slot: str = SLOT,
    ) -> None:
        self.name = name
        self.slot = slot
        self.host = host
        self.site = site
        self.kind = kind
        self.devices = devices
        self.device_ids = device_ids
        self.models = models
        self.capabilities = capabilities
        self.total = total
        self.retire_s = retire_s
        self.die_s = die_s
        self.rank = rank
        self.free: list[int] = []
        self.alive = False
        self.draining = False
        self.listed = self.taken = self.closed = False
        self.place = 0
        self.due_s = FOREVER
        self.pollable_s: dict[int, float] = {}
        self.claims: dict[int, Claim] = {}
        self.slots_made = 0
        self.startd = name.partition(AGAIN)[0]
        self.slot_name = f"{slot}@{name}"
        self.spare_ids: list[int] = []
        self.cache: object = None


class Claim:
    """A dynamic slot (or a whole static one) held for a submitter; it keeps its size while it is reused.

    number, slot : counts claims in the pool, and dynamic slots on the machine
    serial : goes up when an attempt starts or is cut short, so that an end that was planned before counts no more
    born_s, began_s, active_s : since when it exists, has its present job, and has started it
    job_rank : the startd's RANK of the job that made the claim
    limits, schedd : ConcurrencyLimits and schedd of its jobs
    heir : the job that takes it over once its own is out (preemption)
    """

    __slots__ = (
        "active_s",
        "attempt",
        "began_s",
        "born_s",
        "heir",
        "job",
        "job_rank",
        "limits",
        "machine",
        "number",
        "person",
        "places",
        "schedd",
        "serial",
        "shape",
        "slot",
    )

    def __init__(
        self,
        machine: Machine,
        person: Submitter,
        shape: Shape,
        places: tuple[int, ...],
        born_s: float,
        number: int,
        slot: int,
        limits: str,
        schedd: str = "",
    ) -> None:
        self.machine = machine
        self.person = person
        self.shape = shape
        self.places = places
        self.born_s = born_s
        self.began_s = self.active_s = born_s
        self.number = number
        self.slot = slot
        self.limits = limits
        self.schedd = schedd
        self.job_rank = 0.0
        self.job: Job | None = None
        self.attempt = -1
        self.serial = 0
        self.heir: Job | None = None
