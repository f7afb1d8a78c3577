"""The `delivery:` section of a scenario: how software reaches the jobs, with defaults that docs/delivery.md explains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sim.errors import InputError
from sim.units import MIB, parse_duration, parse_size

MIB_IN_MB = 2**20 / 1e6


def _seconds(value: object) -> float:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError("expected a duration such as '20 min' or '0.5 s'")
    try:
        return parse_duration(value)
    except InputError as error:
        raise ValueError(str(error)) from error


def _megabytes(value: object) -> float:
    """A size as MB of 10^6 bytes; HTCondor's and CVMFS's "MB" is 2^20 bytes (sim.units)."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError(f"expected a size such as '20 GB'; units: {', '.join(MIB)}")
    try:
        return parse_size(value) * MIB_IN_MB
    except InputError as error:
        raise ValueError(str(error)) from error


Duration = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
Size = Annotated[float, BeforeValidator(_megabytes), Field(ge=0)]
Room = Annotated[float, BeforeValidator(_megabytes), Field(gt=0)]
Speed = Annotated[float, Field(gt=0)]  # MB/s
Share = Annotated[float, Field(ge=0, le=1)]

PATHS = ("cvmfs", "osdf", "sandbox", "registry", "default", "install", "none")
PathName = Literal["cvmfs", "osdf", "sandbox", "registry", "default", "install", "none"]


class TagMove(BaseModel):
    """A tag that comes to mean another image while the pool runs.

    image : by name, or a pattern such as ``*``; images that are drawn are called image0 (the most popular), image1, …
    at : from when on in the run nodes see it
    changed : share of what a start touches of the image's own objects that is new
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(min_length=1, max_length=400)
    at: Duration
    changed: Share = 1.0


class DeliverySection(BaseModel):
    """How software reaches the jobs.

    path : ``recorded`` adds nothing to a start; ``jobs`` lets each job's own image decide; the others send every job this way
    machines : what a machine can serve: as its ad says (``ads``), or every container path wherever there is Apptainer
        (``apptainer``), for pools whose ads don't tell, and for plans
    images, popularity : of jobs that name no image although their path has one: how many there are, and the exponent of
        their popularity (Zipf); without one it is fitted to the images that jobs do name, or 0.9 where they are few
    updates : tags that move during the run
    node_cache : whether a node's CVMFS cache outlives its glideins (``host``) or dies with each (``glidein``)
    container_sites, container_quota : sites whose caches live and die with a glidein's container, and how large they are there
    page_cache : of a node's memory, what its kernel keeps of files: an image in it starts hot
    prewarm : whether nodes begin with the most popular images in their caches
    squid : whether sites have a proxy cache; the times, speeds [MB/s] and sizes below are a site's
    osdf_shared : whether a SIF from OSDF is transferred once per glidein instead of once per job
    hub_pulls, hub_window : a registry's limit per address; nat says that a site's nodes share one address
    lock : how long a slot waits for another of its glidein that downloads the same image
    default_image, pelican_speed, http_speed : the pilot's own image, and whence it comes; default_loaded says whether the
        pilot loads it before it takes jobs, or the first job waits for it
    install, install_size, install_fails : installing inside the job
    input : what is sent with each job beside its software, where its ad doesn't say
    broken : share of nodes where the repository can't be read although their ads say so
    disk_full : share of nodes with too little room for images
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Literal[
        "recorded", "jobs", "cvmfs", "osdf", "sandbox", "registry", "default", "install", "none"
    ] = "recorded"
    machines: Literal["ads", "apptainer"] = "ads"
    images: int = Field(default=562, ge=1, le=100_000)
    popularity: float | None = Field(default=None, ge=0, le=5)
    updates: tuple[TagMove, ...] = ()

    quota: Room = 20_000 * MIB_IN_MB
    node_cache: Literal["host", "glidein"] = "host"
    container_sites: tuple[str, ...] = ()
    container_quota: Room = 4_000 * MIB_IN_MB
    page_cache: Size = 4_000 * MIB_IN_MB
    prewarm: bool = False
    squid: bool = True
    squid_cache: Room = 50_000 * MIB_IN_MB
    rtt_squid: Duration = 0.0005
    rtt_stratum1: Duration = 0.030
    node_speed: Speed = 125.0
    squid_speed: Speed = 125.0
    wan_speed: Speed = 100.0
    round_trips: float = Field(default=1.1, ge=0)
    object_time: Duration = 0.001
    unpack_speed: Speed = 400.0
    warm_time: Duration = 0.0007
    mount_time: Duration = 0.5

    osdf_speed: Speed = 100.0
    osdf_origin_speed: Speed = 50.0
    osdf_overhead: Duration = 3.0
    osdf_shared: bool = False
    access_point_speed: Speed = 125.0
    transfer_queue: int = Field(default=100, ge=1)
    input: Size = 0.0

    hub_pulls: int = Field(default=100, ge=1)
    hub_window: Annotated[float, BeforeValidator(_seconds), Field(gt=0)] = 6 * 3600.0
    nat: bool = True
    convert_speed: Speed = 80.0
    hook_timeout: Duration = 900.0
    lock: Duration = 600.0
    default_image: Size = 3000 * MIB_IN_MB
    default_loaded: bool = True
    pelican_speed: Speed = 50.0
    http_speed: Speed = 50.0
    launch: Duration = 0.5

    install: Duration = 300.0
    install_spread: float = Field(default=0.4, ge=0, le=3)
    install_size: Size = 2500.0
    install_fails: Share = 0.05

    broken: Share = 0.0
    disk_full: Share = 0.0
