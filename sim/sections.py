"""The parts of a scenario file that say which machines and which jobs there are: frozen models, checked as they are read."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sim.classads.editing import Gpus, check
from sim.errors import InputError
from sim.units import parse_duration, parse_size


def _seconds(value: object) -> float:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError("expected a duration such as '20 min' or '7 d'")
    try:
        return parse_duration(value)
    except InputError as error:
        raise ValueError(str(error)) from error


def _mib(value: object) -> float:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError("expected a size such as '16 GB' or '150 MB'")
    try:
        return parse_size(value)
    except InputError as error:
        raise ValueError(str(error)) from error


def _text(value: object) -> object:
    """Numbers and truth values as the expressions they are: YAML reads 8.0 and true."""
    return (
        str(value).lower()
        if isinstance(value, bool)
        else str(value)
        if isinstance(value, int | float)
        else value
    )


Duration = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
Positive = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Size = Annotated[float, BeforeValidator(_mib), Field(ge=0)]
Expr = Annotated[str, BeforeValidator(_text), AfterValidator(check)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of a scenario: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GpuSection(Section):
    """Equal devices of a machine."""

    model: str
    capability: float = Field(gt=0, lt=100)
    memory: Size
    count: int = Field(default=1, ge=1, le=64)

    @property
    def gpus(self) -> Gpus:
        """The devices as an ad describes them."""
        return Gpus(self.count, self.model, self.capability, self.memory)


class MachineSection(Section):
    """Equal machines, each with one partitionable slot; `attributes` are further attributes of the ad, as expressions."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    count: int = Field(default=1, ge=1, le=100_000)
    site: str = ""
    cpus: int = Field(gt=0, le=10_000)
    memory: Annotated[float, BeforeValidator(_mib), Field(gt=0)]
    disk: Annotated[float, BeforeValidator(_mib), Field(gt=0)] = 1e6
    gpus: tuple[GpuSection, ...] = ()
    start: Expr = "true"
    rank: Expr = "0.0"
    attributes: dict[Name, Expr] = Field(default_factory=dict)


class _Step(Section):
    """One change: exactly one of its actions, on what `where` chooses."""

    @model_validator(mode="after")
    def _one_action(self) -> Self:
        actions = [name for name in type(self).model_fields if name != "where"]
        given = [name for name in actions if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"expected exactly one of {', '.join(actions)}, found {found}")
        if getattr(self, "where", None) is not None and given[0] not in {"scale", "rewrite"}:
            raise ValueError(f"where goes with scale or rewrite; {given[0]} has its expression itself")
        return self


class PoolStep(_Step):
    """A change of the machines; expressions are about their ads.

    keep, drop : only those, all but those
    scale : so many times as many (0.5: every second one)
    rewrite : attributes set to expressions, in which {old} stands for what they were
    add : further machines
    """

    keep: Expr | None = None
    drop: Expr | None = None
    scale: Annotated[float, Field(ge=0, le=1000)] | None = None
    rewrite: dict[Name, str] | None = None
    add: MachineSection | None = None
    where: Expr | None = None

    @model_validator(mode="after")
    def _writable(self) -> Self:
        fixed = {"gpus", "assignedgpus", "availablegpus", "name", "machine"}
        wrong = [
            name for name in self.rewrite or () if name.lower() in fixed or name.lower().startswith("gpus_")
        ]
        if wrong:
            raise ValueError(f"can't rewrite {', '.join(wrong)}: drop the machines and add others instead")
        _check_rewrite(self.rewrite)
        return self


class ArrivalSection(Section):
    """Jobs that arrive in batches.

    every : mean time between batches
    variation : standard deviation of that time over its mean; 1 is a Poisson process, more comes in bursts
    batch : mean size of a batch; sizes are geometric
    """

    every: Positive
    variation: float = Field(default=1.0, gt=0, le=100)
    batch: float = Field(default=1.0, ge=1, le=1e6)


class RunTimeSection(Section):
    """Run times: lognormal with a median and a spread (standard deviation of the logarithm), at most `longest`.

    tail : exponent of a Pareto tail above the 95th percentile; smaller is heavier
    """

    median: Positive
    spread: float = Field(default=1.0, ge=0, le=10)
    tail: float | None = Field(default=None, gt=0, le=100)
    longest: Positive | None = None


class JobClassSection(Section):
    """Jobs of one class: who submits them, what they ask for, how they arrive, how long they run."""

    name: str
    submitters: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=lambda: {"user": 1.0}, min_length=1
    )
    requirements: Expr = "true"
    require_gpus: Expr | None = None
    gpus: int = Field(default=1, ge=0, le=1000)
    cpus: float = Field(default=1.0, gt=0, le=10_000)
    memory: Size = 1024.0
    attributes: dict[Name, Expr] = Field(default_factory=dict)
    arrivals: ArrivalSection
    run: RunTimeSection


class SyntheticSection(Section):
    """A made-up workload: of classes, or of the classes that the pool's record shows, fitted.

    demand : so many times as many batches as told or fitted
    """

    fit: Literal["recorded"] | None = None
    classes: tuple[JobClassSection, ...] = ()
    demand: float = Field(default=1.0, gt=0, le=1000)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if (self.fit is None) == (not self.classes):
            raise ValueError("expected either fit: recorded or a list of classes")
        return self


class TraceSection(Section):
    """A workload trace from a file: SWF, Alibaba openb pods, or a Philly-style CSV.

    time_scale : times between submissions, times this
    gpu_models : ClassAd expression on the device by model name of the trace (openb's gpu_spec)
    """

    file: str
    format: Literal["swf", "openb", "philly"]
    time_scale: float = Field(default=1.0, gt=0, le=1000)
    gpu_models: dict[str, Expr] = Field(default_factory=dict)
    most: int | None = Field(default=None, ge=1)


class JobStep(_Step):
    """A change of the jobs; expressions are about their ads, otherwise as for the pool.

    scale : 2 is every job twice, 0.5 every second one
    rewrite : Requirements included; the requests may be rewritten, too
    add : a class of jobs
    """

    keep: Expr | None = None
    drop: Expr | None = None
    scale: Annotated[float, Field(ge=0, le=1000)] | None = None
    rewrite: dict[Name, str] | None = None
    add: JobClassSection | None = None
    where: Expr | None = None

    @model_validator(mode="after")
    def _writable(self) -> Self:
        _check_rewrite(self.rewrite)
        return self


def _check_rewrite(rewrite: dict[str, str] | None) -> None:
    for value in (rewrite or {}).values():
        check(value.replace("{old}", "(true)"))


class QueueSection(Section):
    """How long a request for a pilot waits in a site's own batch queue: lognormal, median and spread."""

    median: Duration = 600.0
    spread: float = Field(default=1.0, ge=0, le=10)


class EntrySection(Section):
    """A factory entry: what its pilots are and how they live.

    machine : what a pilot offers (its count doesn't matter)
    kind : ``glidein`` comes on demand and has the windows of a glidein; ``container`` is an execution point that its
        owner keeps running, `count` of them, with long acceptance
    walltime : GLIDEIN_Max_Walltime, the wall time of the site's batch job
    job_time : GLIDEIN_Job_Max_Time; a glidein takes no jobs in its last `job_time`
    max_idle, max_running : idle (queued or jobless) and all pilots of this entry at most
    accept, retirement, accept_idle : a container takes jobs so long, lets them end so long, and ends after so long without
    failed : share of pilots that never come up
    lost_per_day : rate of pilots that vanish without notice [1/day]
    """

    machine: MachineSection
    kind: Literal["glidein", "container"] = "glidein"
    walltime: Positive = 86400.0
    job_time: Positive = 36000.0
    queue: QueueSection = QueueSection()
    max_idle: int = Field(default=50, ge=0)
    max_running: int = Field(default=10_000, ge=0)
    count: int = Field(default=1, ge=1, le=10_000)
    accept: Positive = 336 * 3600.0
    retirement: Positive = 24 * 3600.0
    accept_idle: Positive = 1800.0
    failed: Share = 0.0
    lost_per_day: float = Field(default=0.0, ge=0)


class OnDemandSection(Section):
    """A glidein front end with its factory entries.

    jobs : which idle jobs it counts, an expression on the job's ad
    loop : time between two looks
    attenuation : it keeps so many times fewer pilots queued than jobs are idle
    relative_to_queue : all pilots at most, over idle and running jobs
    idle_total, running_total : idle and all pilots of the whole group at most; half the requests from `curb` of it on
    graceful, update : GLIDEIN_Graceful_Shutdown, and the allowance for the last ad
    max_idle, max_tail : a pilot ends after so long without any job, and without a further one
    start_up : from the start of the pilot to its first ad
    """

    entries: tuple[EntrySection, ...] = Field(min_length=1)
    jobs: Expr = "RequestGPUs > 0"
    loop: Positive = 60.0
    attenuation: float = Field(default=3.0, ge=1)
    relative_to_queue: float = Field(default=5.0, gt=0)
    idle_total: int = Field(default=500, ge=0)
    running_total: int = Field(default=5000, ge=0)
    curb: Share = 0.98
    graceful: Duration = 120.0
    update: Duration = 370.0
    max_idle: Positive = 1200.0
    max_tail: Positive = 400.0
    start_up: Duration = 180.0


class DrainSection(Section):
    """A drain: machines take no more jobs from then on, and go.

    where : which machines, an expression on the slot's ad
    at : since the run began
    how : as of condor_off. ``peaceful`` waits for the jobs' ends, ``graceful`` evicts those older than their retirement
        time, ``fast`` all at once
    lasts : after so long without jobs they come back; without it they don't. A peaceful drain ends with its last job, nobody knows
        when, so its machines stay away
    """

    where: Expr = "true"
    at: Duration
    how: Literal["peaceful", "graceful", "fast"] = "graceful"
    lasts: Positive | None = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.how == "peaceful" and self.lasts is not None:
            raise ValueError(
                "a peaceful drain lasts as long as its jobs: leave out lasts, or drain gracefully"
            )
        return self


class CheckpointSection(Section):
    """Which jobs save their progress, and how often; an evicted one goes on from there.

    where : which jobs, an expression on the job's ad
    """

    where: Expr = "true"
    every: Positive


class FailureSection(Section):
    """Which jobs' runs end with an exit code other than 0, somewhere in the run.

    where : which jobs, an expression on the job's ad
    share : so many of their runs
    retries : max_retries, after which the job leaves the queue; without it the job's own JobMaxRetries
    """

    where: Expr = "true"
    share: Share
    retries: int | None = Field(default=None, ge=0, le=1000)


class HoldSection(Section):
    """A policy of the access point: which jobs it holds after what time of execution.

    where : which jobs, an expression on the job's ad
    """

    where: Expr = "true"
    after: Positive


class SupplySection(Section):
    """How capacity comes and goes.

    model : ``recorded``, as the snapshots say; ``fixed``, as the last snapshot has it, for ever; ``renewal``, arrivals and
        lifetimes fitted to the snapshots, by site and kind; ``on_demand``, a glidein front end beside a fixed pool
    drains : of machines that are there beside what a front end sends for
    """

    model: Literal["recorded", "fixed", "renewal", "on_demand"] = "recorded"
    on_demand: OnDemandSection | None = None
    drains: tuple[DrainSection, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.model == "on_demand") != (self.on_demand is not None):
            raise ValueError("model: on_demand and a section on_demand go together")
        return self


class PoolSection(Section):
    """Where the machines come from: the bundled sample, a store's folder, or ``generated`` from a list of machines."""

    source: str = "sample"
    machines: tuple[MachineSection, ...] = ()
    adjust: tuple[PoolStep, ...] = ()

    @model_validator(mode="after")
    def _machines_are_generated(self) -> Self:
        if self.machines and self.source != "generated":
            raise ValueError("machines go with source: generated; to add machines to a record use adjust")
        return self


class WorkloadSection(Section):
    """Which jobs arrive when.

    source : ``recorded``, those of the pool's own record; ``trace``; ``synthetic``
    class_by : the job attribute whose value is a job's class; without it, the job's shape
    checkpoints, failures : the first rule that is true of a job counts
    speeds : by device model, how many times as fast as on one of speed 1 a job runs there [1]; 1 for those not named
    """

    source: Literal["recorded", "trace", "synthetic"] = "recorded"
    class_by: str | None = None
    checkpoints: tuple[CheckpointSection, ...] = ()
    failures: tuple[FailureSection, ...] = ()
    speeds: dict[str, Annotated[float, Field(gt=0, le=1000)]] = Field(default_factory=dict)
    trace: TraceSection | None = None
    synthetic: SyntheticSection | None = None
    adjust: tuple[JobStep, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name in ("trace", "synthetic"):
            if (self.source == name) != (getattr(self, name) is not None):
                raise ValueError(f"source: {name} and a section {name} go together")
        return self


class RunSection(Section):
    """What is run: how often, with which seed, from when and until when.

    start : ``beginning`` of the record; or its ``end``, from where machines, queue, running jobs and priorities are taken
    horizon : length of a run; without it, until the last job of the workload has ended or can't start any more
    warm_up : jobs submitted and attempts begun before this are left out of what is reported
    check : let every run be checked: nothing given twice, nothing lost (sim/engine/invariants.py)
    """

    seed: int = Field(default=1, ge=0)
    replications: int = Field(default=10, ge=1, le=10_000)
    start: Literal["beginning", "end"] = "beginning"
    horizon: Positive | None = None
    warm_up: Duration = 0.0
    check: bool = False

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if self.horizon is not None and self.warm_up >= self.horizon:
            raise ValueError(
                f"warm_up of {self.warm_up:g} s leaves nothing of a horizon of {self.horizon:g} s"
            )
        return self
