"""Caches of software: least recently used, CVMFS's cleanup to half, and what theory says of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

EFFECTIVE = 0.72  # of the quota: what a cache that is cleaned to half holds on average


@dataclass(slots=True)
class Cache:
    """A cache of objects, the least recently used ones thrown out when it is full.

    Parameters
    ----------
    quota_mb : what it may hold [MB]
    keep : down to which share of the quota a cleanup goes [1]: 1 is plain LRU, CVMFS's is hard-wired to 0.5
    """

    quota_mb: float
    keep: float = 1.0
    used_mb: float = 0.0
    cleanups: int = 0
    held: dict[Hashable, float] = field(default_factory=dict)
    """Sizes by key [MB], the least recently used first."""
    _pinned: set[Hashable] = field(default_factory=set)

    def __contains__(self, key: Hashable) -> bool:
        return key in self.held

    def __len__(self) -> int:
        return len(self.held)

    def touch(self, key: Hashable) -> bool:
        """Note a use; False if the object isn't there."""
        size_mb = self.held.pop(key, None)
        if size_mb is None:
            return False
        self.held[key] = size_mb
        return True

    def touch_all(self, keys: Iterable[Hashable]) -> bool:
        """Note the use of several objects, up to the first that isn't there; False if there is one."""
        held = self.held
        for key in keys:
            size_mb = held.pop(key, None)
            if size_mb is None:
                return False
            held[key] = size_mb
        return True

    def recent(self, keys: Sequence[Hashable], room_mb: float) -> bool:
        """Whether several objects are among those used last that together fill a room [MB]."""
        left = len(keys)
        for key, size_mb in reversed(self.held.items()):
            room_mb -= size_mb
            if room_mb < 0:
                return False
            if key in keys:
                left -= 1
                if not left:
                    return True
        return False

    def opens(self, size_mb: float) -> bool:
        """Whether CVMFS can open a single object of this size: one above the cleanup's target fails."""
        return size_mb <= self.quota_mb * self.keep

    def add(self, key: Hashable, size_mb: float, *, pin: bool = False) -> None:
        """Take in an object, or an image as one; what doesn't fit is cleaned up first, what is pinned stays.

        An image is many objects, so the cleanup falls in their midst: those that still had room count towards its target.
        """
        self.request(key, size_mb)
        if pin and key in self.held:
            self._pinned.add(key)

    def request(self, key: Hashable, size_mb: float) -> bool:
        """Use an object and take it in if it wasn't there; True if it was."""
        held = self.held
        there_mb = held.pop(key, None)
        if there_mb is not None:
            held[key] = there_mb
            return True
        if self.used_mb + size_mb > self.quota_mb and not self._make_room(size_mb):
            return False
        held[key] = size_mb
        self.used_mb += size_mb
        return False

    def _make_room(self, size_mb: float) -> bool:
        """Clean up for an object; False if it is larger than the whole cache."""
        if size_mb > self.quota_mb:
            return False
        room = self.quota_mb - self.used_mb
        self._clean(
            max(0.0, min(self.quota_mb * self.keep - room * (self.keep < 1), self.quota_mb - size_mb))
        )
        return True

    def clear(self) -> None:
        """Forget everything."""
        self.held.clear()
        self._pinned.clear()
        self.used_mb = 0.0

    def _clean(self, target_mb: float) -> None:
        self.cleanups += 1
        gone = []
        left_mb = self.used_mb
        for pinned in (False, True):  # catalogs are released when they alone are too much
            for key, size_mb in self.held.items():
                if left_mb <= target_mb:
                    break
                if (key in self._pinned) is pinned:
                    gone.append(key)
                    left_mb -= size_mb
        for key in gone:
            del self.held[key]
            self._pinned.discard(key)
        self.used_mb = left_mb


class Hits(NamedTuple):
    """What theory expects: hit ratio of each object, of all requests together [1], characteristic time [1/rate]."""

    each: np.ndarray
    all: float
    time: float


def che(
    rates: Sequence[float] | np.ndarray, sizes_mb: Sequence[float] | np.ndarray, capacity_mb: float
) -> Hits:
    """Che's approximation for an LRU cache under independent requests.

    The characteristic time T solves sum of size (1 - exp(-rate T)) = capacity; an object is hit with 1 - exp(-rate T).
    For CVMFS use a capacity of `EFFECTIVE` times the quota. Che, Tung and Wang, IEEE JSAC 20(7), 2002.
    """
    rate, size = np.asarray(rates, dtype="float64"), np.asarray(sizes_mb, dtype="float64")
    if size.sum() <= capacity_mb:
        return Hits(np.ones(len(rate)), 1.0, float("inf"))
    low, high = 0.0, 1.0 / rate.min()
    while float((size * -np.expm1(-rate * high)).sum()) < capacity_mb:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if float((size * -np.expm1(-rate * middle)).sum()) < capacity_mb:
            low = middle
        else:
            high = middle
    each = -np.expm1(-rate * high)
    return Hits(each, float((rate * each).sum() / rate.sum()), high)


class Replayed(NamedTuple):
    """What a run of requests gave: hit ratio [1], and the mean share of the quota in use when a request came [1]."""

    hit: float
    occupancy: float


def replay_images(cache: Cache, requests: Iterable[int], sizes_mb: np.ndarray, *, warm_up: int) -> Replayed:
    """Ask a cache for whole images, one after another; the first `warm_up` requests don't count."""
    hits = counted = 0
    used = 0.0
    sizes = sizes_mb.tolist()
    for number, image in enumerate(requests):
        before_mb = cache.used_mb
        hit = cache.request(image, sizes[image])
        if number >= warm_up:
            counted += 1
            hits += hit
            used += before_mb
    return Replayed(hits / counted, used / counted / cache.quota_mb)


class Object(NamedTuple):
    """An object of a trace: its key, `file`, `partial` (a chunk) or `catalog`, bytes on the wire and unpacked."""

    key: Hashable
    kind: str
    wire_bytes: int
    unpacked_bytes: int


class Fetched(NamedTuple):
    """What a start took from the network: objects [1], bytes on the wire, bytes unpacked, cleanups meanwhile [1]."""

    objects: int
    wire_bytes: int
    unpacked_bytes: int
    cleanups: int


@dataclass(slots=True)
class Node:
    """A node that runs traces object by object: its CVMFS cache and, above it, the kernel's page cache.

    A chunk of a mapped library is asked for only when its pages are gone from the kernel, and counts as used for as long as
    its process runs; a whole file is opened, and so must be in the cache, at every start. A catalog that was read stays
    loaded, and so pinned, for as long as its repository is mounted.
    """

    cache: Cache
    pages: set[Hashable] = field(default_factory=set)

    def run(self, trace: Sequence[Object]) -> Fetched:
        """Start a workload once."""
        objects = wire = unpacked = 0
        before = self.cache.cleanups
        mapped: list[Hashable] = []
        for item in trace:
            chunk = item.kind == "partial"
            if chunk:
                mapped.append(item.key)
                if item.key in self.pages:
                    continue
                self.pages.add(item.key)
            if self.cache.touch(item.key):
                continue
            objects += 1
            wire += item.wire_bytes
            unpacked += item.unpacked_bytes
            size_mb = item.unpacked_bytes / 1e6
            if self.cache.used_mb + size_mb > self.cache.quota_mb:
                self._use(mapped)
            self.cache.add(item.key, size_mb, pin=item.kind == "catalog")
        self._use(mapped)
        return Fetched(objects, wire, unpacked, self.cache.cleanups - before)

    def drop_pages(self) -> None:
        """Lose the kernel's page cache, as after a reboot or under memory pressure."""
        self.pages.clear()

    def _use(self, keys: Iterable[Hashable]) -> None:
        for key in keys:
            self.cache.touch(key)
