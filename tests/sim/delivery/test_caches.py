"""Caches against theory, and against what a real CVMFS client fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from sim.delivery.caches import EFFECTIVE, Cache, Fetched, Node, Object, che, replay_images
from sim.delivery.images import fit_zipf, footprints, zipf
from sim.delivery.section import MIB_IN_MB
from sim.errors import InputError
from tests.sim.delivery.traces import read_traces

CASES = [  # images, Zipf exponent, quota [MB]; then an independent simulation: Che(C), LRU, cleaned to half
    (50, 0.9, 4e3, 0.519, 0.507, 0.423),
    (200, 0.9, 4e3, 0.283, 0.280, 0.227),
    (200, 0.9, 20e3, 0.652, 0.650, 0.576),
    (200, 1.2, 20e3, 0.810, 0.808, 0.760),
    (562, 0.9, 20e3, 0.467, 0.466, 0.410),
]


@pytest.mark.parametrize(("count", "exponent", "quota_mb", "theory", "plain", "halved"), CASES)
def test_caches_agree_with_theory(
    count: int, exponent: float, quota_mb: float, theory: float, plain: float, halved: float
) -> None:
    """Plain LRU within two points of Che(C), CVMFS within two points of Che(0.72 C), occupancy 0.70-0.76 when binding."""
    rng = np.random.default_rng(0)
    sizes, rates = footprints(count, rng), zipf(count, exponent)
    requests = rng.choice(count, 60_000, p=rates)
    expected = che(rates, sizes, quota_mb).all
    lru = replay_images(Cache(quota_mb), requests, sizes, warm_up=2_000)
    assert lru.hit == pytest.approx(expected, abs=0.02)
    cvmfs = replay_images(Cache(quota_mb, keep=0.5), requests, sizes, warm_up=2_000)
    assert cvmfs.hit == pytest.approx(che(rates, sizes, EFFECTIVE * quota_mb).all, abs=0.02)
    assert 0.70 <= round(cvmfs.occupancy, 2) <= 0.76
    # an independent simulation with other draws of the sizes
    assert (expected, lru.hit, cvmfs.hit) == pytest.approx((theory, plain, halved), abs=0.025)


def test_che_of_a_cache_that_holds_everything() -> None:
    assert che([1, 2], [10, 10], 20).all == 1.0


def test_che_of_equal_objects_is_the_share_that_fits() -> None:
    """For equal rates and sizes an LRU cache hits with the share that it holds."""
    found = che(np.ones(1000), np.ones(1000), 250)
    assert found.all == pytest.approx(0.25, abs=1e-6)


def test_cleanup_takes_the_oldest_down_to_half_and_spares_the_pinned() -> None:
    cache = Cache(100, keep=0.5)
    cache.add("catalog", 10, pin=True)
    for name in "abcdefghi":
        cache.add(name, 10)
    assert cache.used_mb == 100
    cache.touch("a")
    cache.add("new", 1)
    assert cache.cleanups == 1
    assert "catalog" in cache
    assert "a" in cache
    assert "b" not in cache
    assert cache.used_mb <= 51


def test_a_single_large_object_does_not_open() -> None:
    """Measured: a library of 1.1 GB in one piece fails to open at a quota of 1000 MB."""
    assert not Cache(1000, keep=0.5).opens(1100)
    assert Cache(4000, keep=0.5).opens(1100)


def test_zipf_is_found_again() -> None:
    rng = np.random.default_rng(3)
    counts = np.bincount(rng.choice(562, 50_000, p=zipf(562, 1.1)), minlength=562)
    assert fit_zipf(counts.tolist()) == pytest.approx(1.1, abs=0.03)
    with pytest.raises(InputError, match="at least two images"):
        fit_zipf([4])


MEASURED = {  # objects, MB on the wire
    "true": (5, 1.9),
    "bashpy": (18, 5.2),
    "numpy": (153, 17),
    "sklearn": (1843, 77),
    "tf": (2932, 254),
    "torch": (1324, 450),
}


@pytest.mark.parametrize("workload", MEASURED)
def test_cold_and_repeated_starts(shared_data: Path, workload: str) -> None:
    """A cold start fetches what was measured, a repeated one nothing, one after losing the cache the same again."""
    trace = read_traces(shared_data)[workload]
    node = Node(Cache(4000 * MIB_IN_MB, keep=0.5))
    first = node.run(trace)
    assert first.objects == MEASURED[workload][0]
    assert first.wire_bytes / 1e6 == pytest.approx(MEASURED[workload][1], rel=0.03)
    assert node.run(trace) == Fetched(0, 0, 0, 0)
    node.cache.clear()
    node.drop_pages()
    assert node.run(trace) == first


def test_three_workloads_fit_into_the_default_quota(shared_data: Path) -> None:
    """Measured at 4000 MB: torch, TensorFlow and science weigh 2.0 GB together, no cleanup, second runs fetch nothing."""
    traces = read_traces(shared_data)
    node = Node(Cache(4000 * MIB_IN_MB, keep=0.5))
    for name in ("torch", "tf", "sklearn"):
        node.run(traces[name])
    assert node.cache.used_mb == pytest.approx(2000, rel=0.1)
    assert [node.run(traces[name]).objects for name in ("torch", "tf", "sklearn")] == [0, 0, 0]


EVICTED = (
    948,
    52.0,
)  # measured at 1500 MB, torch, TF, torch, TF: objects and MB that the second torch fetched


def after_eviction(
    traces: dict[str, list[Object]], lost: Callable[[list[Object]], Sequence[Object]]
) -> tuple[list[Fetched], list[Object]]:
    """Run torch, TF, torch, TF at 1500 MB; `lost` picks the evicted chunks whose pages the kernel doesn't have either."""
    node = Node(Cache(1500 * MIB_IN_MB, keep=0.5))
    runs = [node.run(traces[name]) for name in ("torch", "tf")]
    chunks = [item for item in traces["torch"] if item.kind == "partial" and item.key not in node.cache]
    node.pages -= {item.key for item in lost(chunks)}
    return runs + [node.run(traces[name]) for name in ("torch", "tf")], chunks


def test_after_an_eviction(shared_data: Path) -> None:
    """Measured: one cleanup, in the first TF; then torch fetches 948 objects again, all of them small; TF none.

    Every whole file that torch has to itself was evicted and is opened anew: that is 925 objects, and 11 MB. The rest,
    41 MB, can only be chunks of mapped libraries.
    """
    runs, chunks = after_eviction(read_traces(shared_data), lambda chunks: [])
    assert [run.cleanups for run in runs] == [0, 1, 0, 0]
    assert runs[2].objects == pytest.approx(EVICTED[0], rel=0.03)
    assert runs[2].wire_bytes < 0.03 * runs[0].wire_bytes
    assert runs[3].objects == 0
    # what is missing weighs an eighth of the evicted chunks
    missing_mb = EVICTED[1] - runs[2].wire_bytes / 1e6
    assert missing_mb / sum(item.wire_bytes / 1e6 for item in chunks) == pytest.approx(1 / 8, abs=0.01)


def test_after_an_eviction_when_the_kernel_lost_pages(shared_data: Path) -> None:
    """As many lost chunks as weigh what is missing give the measured objects too; with all of them lost nothing fits."""
    traces = read_traces(shared_data)
    rng = np.random.default_rng(4)
    found = []
    for _ in range(20):
        runs, _ = after_eviction(
            traces,
            lambda chunks: [chunks[place] for place in rng.permutation(len(chunks))[: len(chunks) // 8]],
        )
        found.append((runs[2].objects, runs[2].wire_bytes / 1e6))
    objects, wire_mb = np.mean(found, axis=0)
    assert objects == pytest.approx(EVICTED[0], rel=0.01)
    assert wire_mb == pytest.approx(EVICTED[1], rel=0.1)
    worst, _ = after_eviction(traces, lambda chunks: chunks)
    assert worst[2].wire_bytes / 1e6 > 6 * EVICTED[1]


def test_two_images_share_no_compiled_module_of_a_package(shared_data: Path) -> None:
    """TensorFlow's numpy is torch's but for the compiled modules, which hold the time of their installation."""
    traces = read_traces(shared_data)
    torch, tf = ({item.key for item in traces[name]} for name in ("torch", "tf"))
    shared = [item for item in traces["torch"] if item.key in torch & tf]
    sizes = {item.unpacked_bytes for item in shared}
    assert {2833617, 231785} <= sizes  # libgfortran and _umath_linalg.so
    assert 213994 not in sizes  # _add_newdocs.pyc
    assert len(shared) == pytest.approx(253 - 29, abs=3)


def test_a_working_set_above_the_quota_thrashes(shared_data: Path) -> None:
    """Without the kernel's help a quota below the working set fetches nearly everything again."""
    trace = read_traces(shared_data)["torch"]
    node = Node(Cache(600 * MIB_IN_MB, keep=0.5))
    first = node.run(trace)
    node.drop_pages()
    assert node.run(trace).wire_bytes > 0.5 * first.wire_bytes
