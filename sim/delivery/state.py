"""The state of delivery in a pool: what nodes and sites hold, who loads what now; asked once per start of a job.

A link's share is decided when a load begins and not again until it ends: loads that begin later find the link busier, those
under way don't slow down. Isolation isn't simulated, its start cost is.
"""

from __future__ import annotations

import heapq
import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from sim.delivery.caches import Cache
from sim.delivery.images import ImageClass, classes, classify, fit_zipf, zipf
from sim.delivery.paths import Abilities, abilities_by_machine, path_of, short_name
from sim.delivery.section import MIB_IN_MB, DeliverySection, TagMove
from sim.delivery.start import Client, Network, Part, Rates

HOOK_ANSWERS_S = 2.0  # a prepare hook that finds no image says so at once
LOWEST_MB_S = 1.0
DEFAULT = "the pilot's default image"
FEW = 20  # uses of images below which nothing is fitted
EXPONENT = 0.9
OSDF_CACHE_MB = 2e6  # the smallest that is recommended
DEFAULT_LIMIT_S = 240.0  # of a pilot's download, first by Pelican, then by HTTP


class Host(Protocol):
    """What is read of a machine: the name of its startd's stay, its startd, its host, its site."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def startd(self) -> str: ...  # noqa: D102
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


# what `Start(...)` does, at a third of its cost: a run makes one of them for every attempt
_start: Callable[[tuple[float, bool | None, float, float, float, int, str]], Start] = partial(
    tuple.__new__, Start
)


class Piece(NamedTuple):
    """What caches hold as one: the base that images share, or the rest of an image."""

    key: Hashable
    part: Part


@dataclass(frozen=True, slots=True)
class Software:
    """What a job brings: its path, its image's key and class, the pieces a start of it touches, input [MB]."""

    path: str
    image: str
    kind: ImageClass
    pieces: tuple[Piece, ...]
    input_mb: float


class _Piece(NamedTuple):
    """A piece with what it costs from each level [s]: reading it from disk, asking a squid or a Stratum 1 for it, unpacking it."""

    key: Hashable
    wire_mb: float
    unpacked_mb: float
    disk_s: float
    squid_s: float
    stratum1_s: float
    unpack_s: float


@dataclass(frozen=True, slots=True)
class _Image:
    """An image's pieces, and its start from memory and from disk, always the same.

    shared : keys of all pieces but the image's own, the last
    shared_s : a start without the own piece: the hot one, and the others read from disk
    """

    pieces: tuple[_Piece, ...]
    keys: tuple[Hashable, ...]
    shared: tuple[Hashable, ...]
    own: _Piece
    hot_s: float
    shared_s: float
    hot: Start
    warm: Start

    @classmethod
    def of(cls, software: Software, rates: Rates) -> _Image:
        """Of the image that a job brings."""
        pieces = tuple(
            _Piece(
                key,
                part.wire_mb,
                part.unpacked_mb,
                part.files * rates.disk_s,
                part.files * rates.squid_s,
                part.files * rates.stratum1_s,
                part.unpacked_mb * rates.unpack_s,
            )
            for key, part in software.pieces
        )
        hot_s, keys = software.kind.hot_s, tuple(piece.key for piece in pieces)
        shared_s = hot_s + sum(piece.disk_s for piece in pieces[:-1])
        return cls(
            pieces=pieces,
            keys=keys,
            shared=keys[:-1],
            own=pieces[-1],
            hot_s=hot_s,
            shared_s=shared_s,
            hot=Start(hot_s, cold=False),
            warm=Start(hot_s + sum(piece.disk_s for piece in pieces), cold=False),
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
_AT_ONCE = Start(0.0)
_STOPPED = Start(HOOK_ANSWERS_S, failure="stopped")  # hook status 307
_HELD = Start(HOOK_ANSWERS_S, failure="held")


@dataclass(slots=True)
class _Bucket:
    """Pulls left for an address, refilled evenly over the window."""

    left: float
    at_s: float = 0.0


@dataclass(slots=True)
class _Site:
    """A site: its squid, the ends of loads from it and from beyond, when a load will be or was in it; its OSDF cache."""

    squid: Cache
    loading: list[float] = field(default_factory=list)
    leading: list[float] = field(default_factory=list)
    flights: dict[Hashable, float] = field(default_factory=dict)
    osdf: Cache = field(default_factory=lambda: Cache(OSDF_CACHE_MB))
    transfers: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Node:
    """A node: its CVMFS cache, loads in flight by piece and until when, files it keeps whole, its faults.

    What its kernel has in memory is what the cache used last.
    """

    cache: Cache
    loaded_s: float = 0.0
    flights: dict[Hashable, float] = field(default_factory=dict)
    files: set[Hashable] = field(default_factory=set)
    mounted: bool = False
    broken: bool = False
    full: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a machine is: its name, the address that registries see, its node and site, and what it can run."""

    name: str
    address: str
    node: _Node
    site: _Site
    can: Abilities


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
        self._memory_mb = section.page_cache
        self._uniform = _one_by_one(rng.random).__next__
        self._normal = _one_by_one(rng.standard_normal).__next__
        self._sites: dict[str, _Site] = {}
        self._nodes: dict[str, _Node] = {}
        self._places: dict[str, _Place] = {}
        self._images: dict[str, _Image] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._pilots: dict[str, float] = {}
        self._versions = _versions(software, section.updates) if section.updates else {}
        self._base = pieces_of(DEFAULT, classes()["base"])
        self._uploads: list[float] = []
        client = Client(
            round_trips=section.round_trips,
            object_s=section.object_time,
            decompress_mb_s=section.unpack_speed,
            warm_s=section.warm_time,
            mount_s=section.mount_time,
        )
        network = Network(
            squid=section.squid,
            rtt_squid_s=section.rtt_squid,
            rtt_stratum1_s=section.rtt_stratum1,
            node_mb_s=section.node_speed,
            squid_mb_s=section.squid_speed,
            wan_mb_s=section.wan_speed,
        )
        self._rates = Rates.of(client, network)
        self._proxied = section.squid
        self._links = (
            section.node_speed,
            section.squid_speed if section.squid else math.inf,
            section.wan_speed,
        )
        known = software if popular is None else popular
        self._warm = _popular([self._version(each, 0.0) for each in known]) if section.prewarm else []
        self._ways: dict[str, Callable[[_Place, Software, float], Start]] = {
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
        if self._versions:
            software = self._version(software, now_s)
        place = self._places.get(machine.name) or self._place(machine)
        found = self._ways[software.path](place, software, now_s)
        if software.input_mb and not found.failure:
            waited = self._upload(software.input_mb, now_s)
            found = found._replace(
                seconds=found.seconds + waited, access_point_mb=found.access_point_mb + software.input_mb
            )
        return found

    def resume(self, machine: Host, row: int, now_s: float) -> Start:
        """Let a job go on that was running before: its start is over, and what it brought is where it is."""
        software = self._version(self.software[row], now_s)
        place = self._place(machine)
        if software.path == "cvmfs" and place.can.cvmfs:
            node = place.node
            node.mounted, node.broken = True, False
            for key, part in software.pieces:
                node.cache.add(key, part.unpacked_mb)
                place.site.squid.add(key, part.wire_mb)
        elif software.path == "registry":
            place.node.files.add(f"layers {software.image}")
        elif software.path == "osdf":
            place.node.files.add(f"sif {software.image}")
            place.site.osdf.add(f"sif {software.image}", software.kind.sif_mb)
        elif software.path == "default":
            self._pilots.setdefault(machine.name, now_s)
        return _UNKNOWN

    def lose_nodes(self) -> None:
        """Let every node lose its cache, as after a reinstallation; the sites keep theirs."""
        self._nodes.clear()
        self._places.clear()

    # --- the paths

    def _cvmfs(self, place: _Place, software: Software, now: float) -> Start:
        node = place.node
        if node.broken or not place.can.cvmfs:
            return _STOPPED
        image = self._images.get(software.image)
        if image is None:
            image = self._images[software.image] = _Image.of(software, self._rates)
        if now < node.loaded_s or not node.mounted:
            return self._load(node, place.site, image, now)
        cache = node.cache
        if image.own.key in cache.held:
            in_memory = cache.recent(image.keys, self._memory_mb)
            if cache.touch_all(image.keys):
                return image.hot if in_memory else image.warm
        elif cache.touch_all(image.shared):
            return self._load_own(node, place.site, image, now)
        return self._load(node, place.site, image, now)

    def _load_own(self, node: _Node, site: _Site, image: _Image, now: float) -> Start:
        """Load what an image has to itself, on a node that has the rest and loads nothing: what most cold starts do."""
        key, wire_mb, size_mb, _, squid_s, stratum1_s, unpack_s = image.own
        node.cache.request(key, size_mb)
        near = self._proxied and site.squid.request(key, wire_mb)
        wired_s = wire_mb / self._share(site, now, far=not near)
        own_s = image.shared_s + (squid_s if near else stratum1_s)
        ends = now + own_s + (unpack_s if unpack_s > wired_s else wired_s)
        if near:
            ready_s = site.flights.get(key, now)
            ends = ready_s if ready_s > ends else ends
        else:
            heapq.heappush(site.leading, ends)
            site.flights[key] = ends
        heapq.heappush(site.loading, ends)
        node.loaded_s = ends
        node.flights.clear()
        node.flights[key] = ends
        return _start((ends - now, True, wire_mb if near else 0.0, 0.0 if near else wire_mb, 0.0, 0, ""))

    def _load(self, node: _Node, site: _Site, image: _Image, now: float) -> Start:
        """A start that doesn't find everything on its node: take the pieces into the caches that lack them."""
        own_s, ready_s = image.hot_s, now
        near_mb = far_mb = unpack_s = 0.0
        fetched, led = [], []
        if now >= node.loaded_s:
            node.flights.clear()
        for key, wire_mb, size_mb, disk_s, squid_s, stratum1_s, unpacking_s in image.pieces:
            if node.cache.request(key, size_mb):
                ready_s = max(ready_s, node.flights.get(key, now))
                own_s += disk_s
                continue
            fetched.append(key)
            unpack_s += unpacking_s
            if self._proxied and site.squid.request(key, wire_mb):
                ready_s = max(ready_s, site.flights.get(key, now))
                own_s += squid_s
                near_mb += wire_mb
            else:
                led.append(key)
                own_s += stratum1_s
                far_mb += wire_mb
        if fetched:
            own_s += max(unpack_s, (near_mb + far_mb) / self._share(site, now, far=bool(led)))
        if not node.mounted:
            own_s += self._rates.mount_s
            node.mounted = True
        ends = max(now + own_s, ready_s)
        if fetched:  # note until when what was missing is under way
            heapq.heappush(site.loading, ends)
            node.loaded_s = max(node.loaded_s, ends)
            node.flights.update(dict.fromkeys(fetched, ends))
        if led:
            heapq.heappush(site.leading, ends)
            site.flights.update(dict.fromkeys(led, ends))
        return Start(ends - now, bool(fetched), near_mb, far_mb)

    def _share(self, site: _Site, now: float, *, far: bool) -> float:
        """What a load that begins now gets of the slowest link [MB/s], as `bandwidth`; `far`: of the wide-area one too."""
        node_mb_s, mb_s, wan_mb_s = self._links
        loading = site.loading
        while loading and loading[0] <= now:
            heapq.heappop(loading)
        mb_s /= 1 + len(loading)
        if far:
            leading = site.leading
            while leading and leading[0] <= now:
                heapq.heappop(leading)
            wan_mb_s /= 1 + len(leading)
            mb_s = wan_mb_s if wan_mb_s < mb_s else mb_s
        return node_mb_s if node_mb_s < mb_s else mb_s

    def _osdf(self, place: _Place, software: Software, now: float) -> Start:
        node, site, section = place.node, place.site, self.section
        if not place.can.sif or node.full:
            return _HELD
        key, size = f"sif {software.image}", software.kind.sif_mb
        if section.osdf_shared and key in node.files:
            # one slot downloads, the others wait for its lock
            waits = node.flights.get(key, 0.0) - now
            if waits > section.lock:
                return Start(section.lock, failure="requeued")
            return Start(max(section.launch + software.kind.hot_s, waits))
        hit = site.osdf.request(key, size)
        share, speed = section.osdf_speed / (1 + _under_way(site.transfers, now)), section.node_speed
        speed = share if share < speed else speed
        seconds = section.osdf_overhead + size / speed + (0.0 if hit else size / section.osdf_origin_speed)
        heapq.heappush(site.transfers, now + seconds)
        if section.osdf_shared:
            node.files.add(key)
            node.flights[key] = now + seconds
        whole = seconds + section.launch + software.kind.hot_s
        return _start((whole, True, size if hit else 0.0, 0.0 if hit else size, 0.0, 0, ""))

    def _sandbox(self, place: _Place, software: Software, now: float) -> Start:
        if not place.can.sif or place.node.full:
            return _HELD
        seconds = self._upload(software.kind.sif_mb, now) + self.section.launch + software.kind.hot_s
        return Start(seconds, cold=True, access_point_mb=software.kind.sif_mb)

    def _registry(self, place: _Place, software: Software, now: float) -> Start:
        node, section = place.node, self.section
        if not place.can.registry or node.full:
            return _HELD
        waits = self._pull(place.address, now)
        key = f"layers {software.image}"
        cold = key not in node.files
        seconds = waits + section.launch + software.kind.hot_s
        size = software.kind.image_wire_mb if cold else 0.0
        if cold:
            leading = place.site.leading
            share, speed = section.wan_speed / (1 + _under_way(leading, now)), section.node_speed
            speed = share if share < speed else speed
            heapq.heappush(leading, now + waits + size / speed)
            seconds += size / speed + software.kind.image_mb / section.convert_speed
        else:
            seconds = max(seconds, node.flights.get(key, 0.0) - now)
        if waits > section.hook_timeout or seconds > section.hook_timeout + section.launch:
            return Start(section.hook_timeout, cold=cold, origin_mb=size, pulls=1, failure="requeued")
        if cold:
            node.files.add(key)
            node.flights[key] = now + seconds
        return _start((seconds, cold, 0.0, size, 0.0, 1, ""))

    def _default(self, place: _Place, software: Software, now: float) -> Start:
        """Starting the pilot's image is all there is, unless the first job of a glidein has to wait for it."""
        section = self.section
        if not (place.can.sif or place.can.cvmfs):
            return Start(0.0)  # no container there at all
        if section.default_loaded:
            return Start(section.launch)
        ready = self._pilots.get(place.name)
        if ready is not None:
            return Start(max(section.launch, ready - now))
        waits, source = default_image(section.default_image, section.pelican_speed, section.http_speed)
        self._pilots[place.name] = now + waits
        if source != "CVMFS":
            return Start(waits + section.launch, cold=True, squid_mb=section.default_image)
        unpacked = self._cvmfs(place, replace(software, pieces=self._base, image=DEFAULT), now + waits)
        return unpacked._replace(seconds=unpacked.seconds + waits)

    def _install(self, place: _Place, software: Software, now: float) -> Start:
        section, leading = self.section, place.site.leading
        share, speed = section.wan_speed / (1 + _under_way(leading, now)), section.node_speed
        load = section.install_size / (share if share < speed else speed)
        heapq.heappush(leading, now + load)
        seconds = section.install * math.exp(section.install_spread * self._normal()) + load
        failed = self._uniform() < section.install_fails
        return _start((seconds, True, 0.0, section.install_size, 0.0, 0, "requeued" if failed else ""))

    def _none(self, place: _Place, software: Software, now: float) -> Start:
        return _AT_ONCE

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
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = _Bucket(float(section.hub_pulls))
        bucket.left = min(float(section.hub_pulls), bucket.left + rate * (now - bucket.at_s))
        bucket.at_s = now
        if bucket.left >= 1.0:
            bucket.left -= 1.0
            return 0.0
        return (1.0 - bucket.left) / rate

    def _version(self, software: Software, now: float) -> Software:
        """What a tag means at a time: its image is another one after the tag has moved."""
        versions = self._versions.get(software.image)
        if versions is None:
            return software
        return versions[bisect_right(versions, now, lo=1, key=lambda version: version[0]) - 1][1]

    def _place(self, machine: Host) -> _Place:
        """Where a machine is; made when it is asked for the first time."""
        place = self._places.get(machine.name)
        if place is None:
            site = self._sites.get(machine.site)
            if site is None:
                site = self._sites[machine.site] = _Site(Cache(self.section.squid_cache))
            address = machine.site if self.section.nat else machine.host
            can = self._abilities.get(machine.startd, self._able)
            place = self._places[machine.name] = _Place(machine.name, address, self._node(machine), site, can)
        return place

    def _node(self, machine: Host) -> _Node:
        section = self.section
        contained = machine.site in section.container_sites
        key = machine.name if contained or section.node_cache == "glidein" else machine.host
        node = self._nodes.get(key)
        if node is None:
            quota = section.container_quota if contained else section.quota
            node = self._nodes[key] = _Node(Cache(quota, keep=0.5))
            if section.broken or section.disk_full:
                node.broken = self._uniform() < section.broken
                node.full = self._uniform() < section.disk_full
            for piece in self._warm:
                if node.cache.used_mb + piece.part.unpacked_mb > quota * node.cache.keep:
                    break
                node.cache.add(piece.key, piece.part.unpacked_mb)
        return node


def _one_by_one(draw: Callable[[int], np.ndarray]) -> Iterator[float]:
    """Random numbers one at a time, drawn in blocks."""
    while True:
        yield from draw(512).tolist()


def _versions(
    software: Sequence[Software], updates: Sequence[TagMove]
) -> dict[str, list[tuple[float, Software]]]:
    """What each image's tag means from when on [s], for images whose tag moves.

    A move changes a share of the image's own objects, always the same ones first: of two moves, one of which changes 10 %
    and one 40 %, the smaller's objects are among the larger's. Files that are moved whole are new after every move.
    """
    found: dict[str, list[tuple[float, Software]]] = {}
    for item in {item.image: item for item in software}.values():
        moves = sorted((move.at, move.changed) for move in updates if fnmatchcase(item.image, move.image))
        if not moves or item.image in found:
            continue
        *shared, own = item.pieces or pieces_of(item.image, item.kind)
        edges = sorted({0.0, *(changed for _, changed in moves), 1.0})
        for number in range(len(moves) + 1):
            pieces = list(shared)
            for low, high in itertools.pairwise(edges):
                age = sum(changed >= high for _, changed in moves[:number])
                pieces.append(Piece(f"image {item.image} {high:g} {age}", own.part.times(high - low)))
            label = f"{item.image}, moved {number}" if number else item.image
            found.setdefault(item.image, []).append(
                (moves[number - 1][0] if number else 0.0, replace(item, image=label, pieces=tuple(pieces)))
            )
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
    image_of, names = pd.factorize(jobs["image"])
    source_of, sources = pd.factorize(jobs["delivery"])
    inputs_mb, input_of = np.unique(
        jobs["input_mib"].fillna(0.0).to_numpy(dtype="float64") * MIB_IN_MB, return_inverse=True
    )
    ranks, kinds = _drawn_images(len(jobs), section, rng, popularity_of(jobs["image"], section))
    # jobs that bring the same share one object: a code for each combination, then one of each is made
    codes = np.where(image_of < 0, len(names) + ranks, image_of)
    codes = (codes * (len(sources) + 1) + source_of + 1) * len(inputs_mb) + input_of
    _, firsts, where = np.unique(codes, return_index=True, return_inverse=True)
    made = []
    for row in firsts.tolist():
        name = None if image_of[row] < 0 else str(names[image_of[row]])
        source = None if source_of[row] < 0 else str(sources[source_of[row]])
        path = path_of(name, source) if section.path == "jobs" else section.path
        label = short_name(name) if name else f"image{ranks[row]}"
        kind = classify(label) if name else kinds[ranks[row]]
        size_mb = float(inputs_mb[input_of[row]]) or section.input
        made.append(Software(path, label, kind, pieces_of(label, kind), size_mb))
    return [made[number] for number in where.tolist()]


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
) -> tuple[np.ndarray, list[ImageClass]]:
    """The rank of an image for each job, by popularity, and the class of each rank, which never changes."""
    kinds = list(classes().values())
    shares = np.array([kind.share for kind in kinds])
    which = rng.choice(len(kinds), section.images, p=shares / shares.sum())
    ranks = rng.choice(section.images, count, p=zipf(section.images, exponent))
    return ranks, [kinds[number] for number in which.tolist()]


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
