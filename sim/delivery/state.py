"""The state of delivery in a pool: what nodes and sites hold, who loads what now; asked once per start of a job.

A link's share is decided when a load begins and not again until it ends: loads that begin later find the link busier, those
under way don't slow down. Isolation isn't simulated, its start cost is.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from sim.delivery.caches import Cache
from sim.delivery.images import ImageClass, classes, classify, fit_zipf, zipf
from sim.delivery.paths import Abilities, abilities_by_machine, path_of, short_name
from sim.delivery.section import MIB_IN_MB, DeliverySection
from sim.delivery.start import Client, Network, Part, Rates, bandwidth

HOOK_ANSWERS_S = 2.0  # a prepare hook that finds no image says so at once
LOWEST_MB_S = 1.0
DEFAULT = "the pilot's default image"
FEW = 20  # uses of images below which nothing is fitted
EXPONENT = 0.9
OSDF_CACHE_MB = 2e6  # the smallest that is recommended
DEFAULT_LIMIT_S = 240.0  # of a pilot's download, first by Pelican, then by HTTP


class Host(Protocol):
    """What is read of a machine: the name of its startd, its host, its site."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def host(self) -> str: ...  # noqa: D102
    @property
    def site(self) -> str: ...  # noqa: D102


class Start(NamedTuple):
    """What a start took: seconds until the job's own code runs, whether its image was cold (None: not known), MB by level.

    failure : empty; ``held`` (the job waits for its user), ``requeued`` (it tries again elsewhere), ``stopped`` (the pilot
        takes no more jobs, the job tries again)
    """

    seconds: float
    cold: bool | None = False
    squid_mb: float = 0.0
    origin_mb: float = 0.0
    access_point_mb: float = 0.0
    pulls: int = 0
    failure: str = ""

    @property
    def moved_mb(self) -> float:
        """What came to the node, from wherever."""
        return self.squid_mb + self.origin_mb + self.access_point_mb


class Piece(NamedTuple):
    """What caches hold as one: the base that images share, or the rest of an image."""

    key: Hashable
    part: Part


class Software(NamedTuple):
    """What a job brings: its path, its image's key and class, the pieces a start of it touches, input [MB]."""

    path: str
    image: str
    kind: ImageClass
    pieces: tuple[Piece, ...]
    input_mb: float


class _Image(NamedTuple):
    """What a start of a present image needs: its pieces' keys, and the start from memory and from disk, always the same."""

    keys: tuple[Hashable, ...]
    hot: Start
    warm: Start

    @classmethod
    def of(cls, software: Software, client: Client) -> _Image:
        """Of the image that a job brings."""
        files = sum(piece.part.files for piece in software.pieces)
        return cls(
            tuple(piece.key for piece in software.pieces),
            Start(software.kind.hot_s),
            Start(software.kind.hot_s + files * client.warm_s),
        )


class Nothing:
    """Delivery that adds nothing: for pools where it isn't asked about."""

    def start(self, machine: Host, row: int, now_s: float) -> Start:
        """Start at once; what was moved isn't known."""
        return _UNKNOWN

    def resume(self, machine: Host, row: int, now_s: float) -> Start:
        """Go on."""
        return _UNKNOWN


_UNKNOWN = Start(0.0, cold=None)


@dataclass(slots=True)
class _Bucket:
    """Pulls left for an address, refilled evenly over the window."""

    left: float
    at_s: float = 0.0


@dataclass(slots=True)
class _Site:
    """A site: its squid, the ends of loads from it and from beyond, when a load in flight will be in it; its OSDF cache."""

    squid: Cache
    loading: list[float] = field(default_factory=list)
    leading: list[float] = field(default_factory=list)
    flights: dict[Hashable, float] = field(default_factory=dict)
    osdf: Cache = field(default_factory=lambda: Cache(OSDF_CACHE_MB))
    transfers: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Node:
    """A node: its CVMFS cache and its kernel's, loads in flight by piece and until when, files it keeps whole, its faults."""

    cache: Cache
    pages: Cache
    loaded_s: float = 0.0
    flights: dict[Hashable, float] = field(default_factory=dict)
    files: set[Hashable] = field(default_factory=set)
    mounted: bool = False
    broken: bool = False
    full: bool = False


class Delivery:
    """Delivery in one run.

    Parameters
    ----------
    section : of the scenario
    software : of each job, by its row
    abilities : of machines by startd name; one that isn't there can serve every path
    popular : what pre-warmed nodes have by frequency; by default what the jobs bring
    rng : a stream of its own
    """

    def __init__(
        self,
        section: DeliverySection,
        software: Sequence[Software],
        rng: np.random.Generator,
        *,
        abilities: Mapping[str, Abilities] | None = None,
        popular: Sequence[Software] | None = None,
    ) -> None:
        self.section = section
        self.software = software
        self._abilities = abilities or {}
        self._able = Abilities()
        self._rng = rng
        self._sites: dict[str, _Site] = {}
        self._nodes: dict[str, _Node] = {}
        self._images: dict[str, _Image] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._pilots: dict[str, float] = {}
        self._base = pieces_of(DEFAULT, classes()["base"])
        self._uploads: list[float] = []
        self._client = Client(
            round_trips=section.round_trips,
            object_s=section.object_time,
            decompress_mb_s=section.unpack_speed,
            warm_s=section.warm_time,
            mount_s=section.mount_time,
        )
        self._network = Network(
            squid=section.squid,
            rtt_squid_s=section.rtt_squid,
            rtt_stratum1_s=section.rtt_stratum1,
            node_mb_s=section.node_speed,
            squid_mb_s=section.squid_speed,
            wan_mb_s=section.wan_speed,
        )
        self._rates = Rates.of(self._client, self._network)
        self._warm = _popular(software if popular is None else popular) if section.prewarm else []
        self._ways = {
            "cvmfs": self._cvmfs,
            "osdf": self._osdf,
            "sandbox": self._sandbox,
            "registry": self._registry,
            "default": self._default,
            "install": self._install,
            "none": self._none,
        }

    def start(self, machine: Host, row: int, now_s: float) -> Start:
        """What the start of a job on a machine takes; the caches change as it says."""
        software = self.software[row]
        found = self._ways[software.path](machine, software, now_s)
        if software.input_mb and not found.failure:
            waited = self._upload(software.input_mb, now_s)
            found = found._replace(
                seconds=found.seconds + waited, access_point_mb=found.access_point_mb + software.input_mb
            )
        return found

    def resume(self, machine: Host, row: int, now_s: float) -> Start:
        """Let a job go on that was running before: its start is over, and what it brought is where it is."""
        software = self.software[row]
        if software.path == "cvmfs" and self._can(machine).cvmfs:
            node, site = self._node(machine), self._site(machine.site)
            node.mounted, node.broken = True, False
            for key, part in software.pieces:
                node.cache.add(key, part.unpacked_mb)
                node.pages.add(key, part.unpacked_mb)
                site.squid.add(key, part.wire_mb)
        elif software.path == "registry":
            self._node(machine).files.add(f"layers {software.image}")
        elif software.path == "osdf":
            self._node(machine).files.add(f"sif {software.image}")
            self._site(machine.site).osdf.add(f"sif {software.image}", software.kind.sif_mb)
        elif software.path == "default":
            self._pilots.setdefault(machine.name, now_s)
        return _UNKNOWN

    def lose_nodes(self) -> None:
        """Let every node lose its cache, as after a reinstallation; the sites keep theirs."""
        self._nodes.clear()

    # --- the paths

    def _cvmfs(self, machine: Host, software: Software, now: float) -> Start:
        node = self._node(machine)
        if node.broken or not self._can(machine).cvmfs:
            return Start(HOOK_ANSWERS_S, failure="stopped")  # hook status 307
        image = self._images.get(software.image)
        if image is None:
            image = self._images[software.image] = _Image.of(software, self._client)
        if node.mounted and now >= node.loaded_s and node.cache.touch_all(image.keys):
            return image.hot if _in_memory(node, software.pieces) else image.warm
        return self._load(machine, node, software, now)

    def _load(self, machine: Host, node: _Node, software: Software, now: float) -> Start:
        """A start that doesn't find everything on its node: take the pieces into the caches that lack them."""
        site, proxied = self._site(machine.site), self._network.squid
        disk_files = near_files = far_files = near_mb = far_mb = unpacked_mb = waits_s = 0.0
        fetched, led = [], []
        for key, (files, wire_mb, size_mb) in software.pieces:
            node.pages.request(key, size_mb)
            if node.cache.request(key, size_mb):
                waits_s = max(waits_s, node.flights.get(key, 0.0) - now)
                disk_files += files
                continue
            fetched.append(key)
            unpacked_mb += size_mb
            if proxied and site.squid.request(key, wire_mb):
                waits_s = max(waits_s, site.flights.get(key, 0.0) - now)
                near_files += files
                near_mb += wire_mb
            else:
                led.append(key)
                far_files += files
                far_mb += wire_mb
        mb_s = math.inf
        if fetched:
            leaders = 1 + _under_way(site.leading, now) if led else 0
            mb_s = bandwidth(self._network, 1 + _under_way(site.loading, now), leaders)
        own_s = software.kind.hot_s + self._rates.seconds(
            disk_files, near_files, far_files, near_mb + far_mb, unpacked_mb, mb_s
        )
        if not node.mounted:
            own_s += self._rates.mount_s
            node.mounted = True
        seconds = max(own_s, waits_s)
        self._note(node, site, fetched, led, now + seconds)
        return Start(seconds, bool(fetched), near_mb, far_mb)

    @staticmethod
    def _note(node: _Node, site: _Site, fetched: list[Hashable], led: list[Hashable], end_s: float) -> None:
        """Note until when what was missing is under way."""
        if fetched:
            heapq.heappush(site.loading, end_s)
            node.loaded_s = max(node.loaded_s, end_s)
            for key in fetched:
                node.flights[key] = end_s
        if led:
            heapq.heappush(site.leading, end_s)
            for key in led:
                site.flights[key] = end_s

    def _osdf(self, machine: Host, software: Software, now: float) -> Start:
        node, site, section = self._node(machine), self._site(machine.site), self.section
        if not self._can(machine).sif or node.full:
            return Start(HOOK_ANSWERS_S, failure="held")
        key, size = f"sif {software.image}", software.kind.sif_mb
        if section.osdf_shared and key in node.files:
            # one slot downloads, the others wait for its lock
            waits = node.flights.get(key, 0.0) - now
            if waits > section.lock:
                return Start(section.lock, failure="requeued")
            return Start(max(section.launch + software.kind.hot_s, waits))
        hit = site.osdf.request(key, size)
        speed = min(section.osdf_speed / (1 + _under_way(site.transfers, now)), section.node_speed)
        seconds = section.osdf_overhead + size / speed + (0.0 if hit else size / section.osdf_origin_speed)
        heapq.heappush(site.transfers, now + seconds)
        node.files.add(key)
        node.flights[key] = now + seconds
        whole = seconds + section.launch + software.kind.hot_s
        return Start(whole, cold=True, squid_mb=size if hit else 0.0, origin_mb=0.0 if hit else size)

    def _sandbox(self, machine: Host, software: Software, now: float) -> Start:
        if not self._can(machine).sif or self._node(machine).full:
            return Start(HOOK_ANSWERS_S, failure="held")
        seconds = self._upload(software.kind.sif_mb, now) + self.section.launch + software.kind.hot_s
        return Start(seconds, cold=True, access_point_mb=software.kind.sif_mb)

    def _registry(self, machine: Host, software: Software, now: float) -> Start:
        node, section = self._node(machine), self.section
        if not self._can(machine).registry or node.full:
            return Start(HOOK_ANSWERS_S, failure="held")
        waits = self._pull(machine.site if section.nat else machine.host, now)
        key = f"layers {software.image}"
        cold = key not in node.files
        seconds = waits + section.launch + software.kind.hot_s
        size = software.kind.image_wire_mb if cold else 0.0
        if cold:
            site = self._site(machine.site)
            speed = min(section.wan_speed / (1 + _under_way(site.leading, now)), section.node_speed)
            heapq.heappush(site.leading, now + waits + size / speed)
            seconds += size / speed + software.kind.image_mb / section.convert_speed
        else:
            seconds = max(seconds, node.flights.get(key, 0.0) - now)
        if waits > section.hook_timeout or seconds > section.hook_timeout + section.launch:
            return Start(section.hook_timeout, cold=cold, origin_mb=size, pulls=1, failure="requeued")
        node.files.add(key)
        if cold:
            node.flights[key] = now + seconds
        return Start(seconds, cold=cold, origin_mb=size, pulls=1)

    def _default(self, machine: Host, software: Software, now: float) -> Start:
        """Starting the pilot's image is all there is, unless the first job of a glidein has to wait for it."""
        section, able = self.section, self._can(machine)
        if not (able.sif or able.cvmfs):
            return Start(0.0)  # no container there at all
        if section.default_loaded:
            return Start(section.launch)
        ready = self._pilots.get(machine.name)
        if ready is not None:
            return Start(max(section.launch, ready - now))
        waits, source = default_image(section.default_image, section.pelican_speed, section.http_speed)
        self._pilots[machine.name] = now + waits
        size = section.default_image if source != "CVMFS" else 0.0
        found = Start(waits + section.launch, cold=True, squid_mb=size)
        if source == "CVMFS":
            unpacked = self._cvmfs(machine, software._replace(pieces=self._base, image=DEFAULT), now + waits)
            found = unpacked._replace(seconds=unpacked.seconds + waits)
        return found

    def _install(self, machine: Host, software: Software, now: float) -> Start:
        section, site = self.section, self._site(machine.site)
        work = section.install * math.exp(section.install_spread * float(self._rng.standard_normal()))
        speed = min(section.wan_speed / (1 + _under_way(site.leading, now)), section.node_speed)
        load = section.install_size / speed
        heapq.heappush(site.leading, now + load)
        seconds = work + load
        failed = float(self._rng.random()) < section.install_fails
        return Start(seconds, cold=True, origin_mb=section.install_size, failure="requeued" if failed else "")

    def _none(self, machine: Host, software: Software, now: float) -> Start:
        return Start(0.0)

    # --- what they share

    def _upload(self, size_mb: float, now: float) -> float:
        """Send something from the access point through its transfer queue; gives how long it takes [s]."""
        queue = self._uploads
        running = _under_way(queue, now)
        begins = now
        if running >= self.section.transfer_queue:
            begins = heapq.nsmallest(running - self.section.transfer_queue + 1, queue)[-1]
        sharing = min(running + 1, self.section.transfer_queue)
        speed = min(self.section.access_point_speed / sharing, self.section.node_speed)
        ends = begins + size_mb / speed
        heapq.heappush(queue, ends)
        return ends - now

    def _pull(self, address: str, now: float) -> float:
        """Take one of an address's pulls; gives how long it has to wait for it [s]."""
        section = self.section
        rate = section.hub_pulls / section.hub_window
        bucket = self._buckets.setdefault(address, _Bucket(float(section.hub_pulls)))
        bucket.left = min(float(section.hub_pulls), bucket.left + rate * (now - bucket.at_s))
        bucket.at_s = now
        if bucket.left >= 1.0:
            bucket.left -= 1.0
            return 0.0
        return (1.0 - bucket.left) / rate

    def _can(self, machine: Host) -> Abilities:
        return self._abilities.get(machine.name, self._able)

    def _node(self, machine: Host) -> _Node:
        section = self.section
        contained = machine.site in section.container_sites
        key = machine.name if contained or section.node_cache == "glidein" else machine.host
        node = self._nodes.get(key)
        if node is None:
            quota = section.container_quota if contained else section.quota
            node = self._nodes[key] = _Node(Cache(quota, keep=0.5), Cache(section.page_cache))
            if self.section.broken or self.section.disk_full:
                node.broken = float(self._rng.random()) < self.section.broken
                node.full = float(self._rng.random()) < self.section.disk_full
            for piece in self._warm:
                if node.cache.used_mb + piece.part.unpacked_mb > quota * node.cache.keep:
                    break
                node.cache.add(piece.key, piece.part.unpacked_mb)
        return node

    def _site(self, name: str) -> _Site:
        site = self._sites.get(name)
        if site is None:
            site = self._sites[name] = _Site(Cache(self.section.squid_cache))
        return site


def _in_memory(node: _Node, pieces: Sequence[Piece]) -> bool:
    """Whether the kernel has all of an image's pieces still; it has them now."""
    found = True
    for key, part in pieces:
        found = node.pages.request(key, part.unpacked_mb) and found
    return found


def _under_way(ends: list[float], now: float) -> int:
    """How many of the loads that end at these times are not over yet."""
    while ends and ends[0] <= now:
        heapq.heappop(ends)
    return len(ends)


def _popular(software: Sequence[Software]) -> list[Piece]:
    """The pieces of the jobs' images, the most frequent ones first."""
    counts: dict[Piece, int] = {}
    for item in software:
        for piece in item.pieces:
            counts[piece] = counts.get(piece, 0) + 1
    return sorted(counts, key=lambda piece: (-counts[piece], str(piece.key)))


def pieces_of(image: str, kind: ImageClass) -> tuple[Piece, ...]:
    """What a start of an image touches: the base that its class shares, and the rest."""
    base = classes().get(kind.base)
    if base is None:
        return (Piece(f"base {kind.name}", kind.touched),)
    own = Part(
        kind.touched.files - base.touched.files,
        kind.touched.wire_mb - base.touched.wire_mb,
        kind.touched.unpacked_mb - base.touched.unpacked_mb,
    )
    return (Piece(f"base {base.name}", base.touched), Piece(f"image {image}", own))


def software_of(jobs: pd.DataFrame, section: DeliverySection, rng: np.random.Generator) -> list[Software]:
    """What each job brings.

    A job that names no image although its path has one gets one by popularity, its class by the classes' shares.

    jobs : frame "jobs"; its image, delivery and input_mib are read
    """
    drawn = _drawn_images(len(jobs), section, rng, popularity_of(jobs["image"], section))
    known: dict[tuple[str, str, str, float], Software] = {}
    found = []
    inputs = (jobs["input_mib"].fillna(0.0).to_numpy(dtype="float64") * MIB_IN_MB).tolist()
    for row, (image, source) in enumerate(zip(jobs["image"], jobs["delivery"], strict=True)):
        name = None if pd.isna(image) else str(image)
        path = (
            path_of(name, None if pd.isna(source) else str(source))
            if section.path == "jobs"
            else section.path
        )
        label, kind_name = (short_name(name), "") if name else drawn[row]
        key = (path, label, kind_name, inputs[row])
        item = known.get(key)
        if item is None:
            kind = classes()[kind_name] if kind_name else classify(label)
            item = known[key] = Software(
                path, label, kind, pieces_of(label, kind), inputs[row] or section.input
            )
        found.append(item)
    return found


def popularity_of(images: pd.Series, section: DeliverySection) -> float:
    """The exponent of the images' popularity: as told, else fitted to those that jobs name, else 0.9."""
    if section.popularity is not None:
        return section.popularity
    counts = images.dropna().value_counts()
    if len(counts) < 3 or counts.sum() < FEW:
        return EXPONENT
    return fit_zipf(counts.tolist())


def _drawn_images(
    count: int, section: DeliverySection, rng: np.random.Generator, exponent: float
) -> list[tuple[str, str]]:
    """An image and its class for each job, by popularity; an image's class never changes."""
    kinds = list(classes().values())
    shares = np.array([kind.share for kind in kinds])
    which = rng.choice(len(kinds), section.images, p=shares / shares.sum())
    ranks = rng.choice(section.images, count, p=zipf(section.images, exponent))
    return [(f"image{rank}", kinds[which[rank]].name) for rank in ranks.tolist()]


def default_image(sif_mb: float, pelican_mb_s: float, http_mb_s: float) -> tuple[float, str]:
    """How long a pilot needs for its default image before it takes jobs [s], and from where it has it in the end.

    Pelican gives up after 240 s or below 1 MB/s, HTTP after 240 s; what is left is the copy in CVMFS.

    Examples
    --------
    >>> default_image(4000, 50, 50), default_image(4000, 10, 20), default_image(4000, 10, 10)
    ((80.0, 'OSDF'), (440.0, 'HTTP'), (480.0, 'CVMFS'))
    """
    waited = 0.0
    for source, speed in (("OSDF", pelican_mb_s), ("HTTP", http_mb_s)):
        if speed >= LOWEST_MB_S and sif_mb / speed <= DEFAULT_LIMIT_S:
            return waited + sif_mb / speed, source
        waited += DEFAULT_LIMIT_S if speed >= LOWEST_MB_S or source == "HTTP" else 0.0
    return waited, "CVMFS"


def make_delivery(
    section: DeliverySection, jobs: pd.DataFrame, slots: pd.DataFrame, seed: int
) -> Delivery | Nothing:
    """The delivery of a run; its draws depend on the seed alone and touch no other stream.

    jobs : frame "jobs", by whose rows `start` is asked; slots : frame "slots", for what machines can serve
    """
    if section.path == "recorded":
        return Nothing()
    images, draws = (np.random.default_rng(child) for child in np.random.SeedSequence([seed, 5]).spawn(2))
    able = abilities_by_machine(slots, assumed=section.machines == "apptainer")
    return Delivery(section, software_of(jobs, section, images), draws, abilities=able)
