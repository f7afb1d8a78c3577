"""Delivery on a made machine: each path's cost, what caches make of it, and the limits that decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sim.delivery.images import classes
from sim.delivery.paths import Abilities, abilities_by_machine, path_of
from sim.delivery.section import DeliverySection
from sim.delivery.start import Client, Network, start_time
from sim.delivery.state import (
    Delivery,
    Nothing,
    Software,
    default_image,
    make_delivery,
    pieces_of,
    popularity_of,
    software_of,
)


@dataclass
class Machine:
    name: str = "glidein1@node1"
    host: str = "node1"
    site: str = "Here"

    @property
    def startd(self) -> str:
        return self.name


def delivery(path: str = "cvmfs", kinds: tuple[str, ...] = ("pytorch",) * 3, **changes: Any) -> Delivery:
    """Delivery for one job per class, all of the same image of that class."""
    section = DeliverySection(path=path, **changes)  # type: ignore[arg-type]
    software = [
        Software(path, kind, classes()[kind], pieces_of(kind, classes()[kind]), 0.0) for kind in kinds
    ]
    return Delivery(section, software, np.random.default_rng(1))


TORCH = classes()["pytorch"]
MANY = ("pytorch",) * 500


def test_cold_then_warm_then_hot() -> None:
    """The first start on a node is the formula's cold one with a mount; the next ones move nothing.

    With a page cache that holds the image the second is hot, without one it reads from the node's disk.
    """
    remembered = delivery()
    remembered.start(Machine(), 0, 0.0)
    assert remembered.start(Machine(), 1, 1000.0).seconds == TORCH.hot_s
    made = delivery(page_cache="0 MB")
    cold, warm = made.start(Machine(), 0, 0.0), made.start(Machine(), 1, 1000.0)
    formula = start_time(TORCH.hot_s, stratum1=TORCH.touched, client=Client(), network=Network(), mount=True)
    assert cold.seconds == pytest.approx(formula.total_s)
    assert cold.cold
    assert cold.moved_mb == pytest.approx(TORCH.touched.wire_mb)
    assert warm.seconds == pytest.approx(TORCH.hot_s + 1324 * 0.0007)
    assert (warm.cold, warm.moved_mb) == (False, 0.0)


def test_another_node_finds_the_image_in_the_squid() -> None:
    made = delivery()
    made.start(Machine(), 0, 0.0)
    near = made.start(Machine("g2", "node2"), 1, 1000.0)
    formula = start_time(TORCH.hot_s, squid=TORCH.touched, client=Client(), network=Network(), mount=True)
    assert near.seconds == pytest.approx(formula.total_s)
    assert near.squid_mb == pytest.approx(450)
    assert near.origin_mb == 0


def test_a_follower_ends_with_its_leader() -> None:
    """Another node of the site, and another slot of the node, that come ten seconds later."""
    made = delivery()
    leader = made.start(Machine(), 0, 0.0)
    follower = made.start(Machine("g2", "node2"), 1, 10.0)
    beside = made.start(Machine(), 2, 10.0)
    assert follower.seconds == pytest.approx(leader.seconds - 10)
    assert beside.seconds == pytest.approx(leader.seconds - 10)
    assert sum(start.origin_mb for start in (leader, follower, beside)) == pytest.approx(450), (
        "the origin is asked once"
    )
    assert beside.moved_mb == 0


def test_without_a_squid_every_node_goes_far() -> None:
    made = delivery(squid=False)
    made.start(Machine(), 0, 0.0)
    second = made.start(Machine("g2", "node2"), 1, 1000.0)
    assert second.origin_mb == pytest.approx(450)
    assert second.seconds > 40  # 1,324 objects at 30 ms


def test_a_warm_squid_is_shared_by_those_that_load() -> None:
    """Fifty nodes at once: the last finds fifty on the downlink, 450 MB x 50 / 125 MB/s."""
    made = delivery(kinds=MANY)
    made.start(Machine(), 0, 0.0)
    starts = [made.start(Machine(f"g{n}", f"n{n}"), n, 1000.0) for n in range(1, 51)]
    assert starts[-1].seconds == pytest.approx(180, rel=0.05)
    assert starts[0].seconds < 20


@pytest.mark.parametrize(("cache", "cold"), [("host", False), ("glidein", True)])
def test_whether_a_cache_outlives_its_glidein(cache: str, cold: bool) -> None:
    made = delivery(node_cache=cache)
    made.start(Machine("glidein1@node1"), 0, 0.0)
    assert made.start(Machine("glidein2@node1"), 1, 5000.0).cold == cold


def test_sites_whose_caches_live_in_containers() -> None:
    """There a new glidein is cold and its cache small; elsewhere on the same terms it isn't."""
    for sites, cold in (("Here",), True), (("Elsewhere",), False):
        made = delivery(container_sites=sites)
        made.start(Machine("glidein1@node1"), 0, 0.0)
        assert made.start(Machine("glidein2@node1"), 1, 5000.0).cold == cold


def test_images_share_their_base() -> None:
    """A second image of the same base moves less than its own start touches."""
    made = delivery(kinds=("science", "tensorflow"))
    made.start(Machine(), 0, 0.0)
    second = made.start(Machine(), 1, 1000.0)
    assert second.moved_mb == pytest.approx(254 - 5.2)


def test_a_small_quota_throws_images_out() -> None:
    """TensorFlow and PyTorch by turns: both stay in 20 GB, neither in 1.5 GB (measured: one cleanup at 1500 MB)."""
    for quota, again in (("20 GB", 0), ("1.2 GB", 4)):
        made = delivery(kinds=("pytorch", "tensorflow") * 3, quota=quota)
        colds = [made.start(Machine(), row, 1000.0 * row).cold is True for row in range(6)]
        assert sum(colds[2:]) == again


def test_prewarmed_nodes_start_warm() -> None:
    made = delivery(prewarm=True)
    assert not made.start(Machine(), 0, 0.0).cold


def test_a_missing_repository_stops_the_pilot() -> None:
    section = DeliverySection(path="cvmfs")
    software = [Software("cvmfs", "x", TORCH, pieces_of("x", TORCH), 0.0)]
    made = Delivery(
        section, software, np.random.default_rng(1), abilities={"glidein1@node1": Abilities(cvmfs=False)}
    )
    assert made.start(Machine(), 0, 0.0).failure == "stopped"
    assert made.start(Machine("other"), 0, 0.0).failure == ""


@pytest.mark.parametrize("path", ["osdf", "sandbox", "registry"])
def test_a_full_disk_holds_the_job(path: str) -> None:
    assert delivery(path, disk_full=1.0).start(Machine(), 0, 0.0).failure == "held"


def test_a_broken_node_fails_although_its_ad_says_otherwise() -> None:
    assert delivery(broken=1.0).start(Machine(), 0, 0.0).failure == "stopped"


def test_osdf_moves_the_whole_image_for_every_job() -> None:
    """The first fills the regional cache; then 33 s for 3.3 GB at 100 MB/s, each time, unless a glidein shares it."""
    made = delivery("osdf", osdf_overhead=0, launch=0)
    first, second = made.start(Machine(), 0, 0.0), made.start(Machine(), 1, 1000.0)
    assert first.seconds == pytest.approx(TORCH.hot_s + 33 + 66)
    assert second.seconds == pytest.approx(TORCH.hot_s + 33)
    assert (first.origin_mb, second.squid_mb) == (3300, 3300)
    shared = delivery("osdf", osdf_overhead=0, launch=0, osdf_shared=True)
    shared.start(Machine(), 0, 0.0)
    beside, later = shared.start(Machine(), 1, 10.0), shared.start(Machine(), 2, 1000.0)
    assert beside.seconds == pytest.approx(89, abs=1), "one slot downloads, the other waits for the lock"
    assert later.seconds == pytest.approx(TORCH.hot_s)


def test_the_transfer_queue_of_the_access_point() -> None:
    """With two uploads allowed, the third waits for the first to end, and each gets half of the link."""
    made = delivery("sandbox", transfer_queue=2, access_point_speed=100, launch=0)
    first, second, third = (made.start(Machine(), row, 0.0).seconds - TORCH.hot_s for row in range(3))
    assert first == pytest.approx(33)
    assert second == pytest.approx(66)
    assert third == pytest.approx(33 + 66)


def test_a_registry_pull_and_its_limit() -> None:
    """Layers and conversion once per glidein; but every start counts a pull, and the site's nodes share the limit."""
    made = delivery("registry", kinds=MANY, launch=0)
    first, second = made.start(Machine(), 0, 0.0), made.start(Machine(), 1, 500.0)
    assert first.seconds == pytest.approx(TORCH.hot_s + 3270 / 100 + 6330 / 80)
    assert second.seconds == pytest.approx(TORCH.hot_s)
    starts = [made.start(Machine(f"g{n}", f"n{n}"), n, 500.0) for n in range(2, 200)]
    assert all(start.pulls == 1 for start in starts)
    assert sum(start.failure == "requeued" for start in starts) > 50, (
        "above 100 pulls in 6 h the hook's time runs out"
    )
    elsewhere = made.start(Machine("far", "far", "There"), 300, 500.0)
    assert elsewhere.failure == ""


def test_nodes_with_addresses_of_their_own_have_limits_of_their_own() -> None:
    made = delivery("registry", kinds=MANY, nat=False, wan_speed=1e6, node_speed=1e6)
    starts = [made.start(Machine(f"g{n}", f"n{n}"), n, 0.0) for n in range(200)]
    assert not any(start.failure for start in starts)


def test_pulls_come_back_over_the_window() -> None:
    made = delivery("registry", kinds=MANY, hub_pulls=2, hub_window="100 s", launch=0)
    for row in range(2):
        made.start(Machine(), row, 1000.0 + row)
    waited = made.start(Machine(), 2, 2000.0)
    assert waited.seconds == pytest.approx(TORCH.hot_s)
    made.start(Machine(), 3, 2000.0)
    assert made.start(Machine(), 4, 2000.0).seconds == pytest.approx(TORCH.hot_s + 50)


def test_installing_inside_the_job() -> None:
    """Its time varies around the median, its bytes come every time, and some fail."""
    made = delivery(
        "install", kinds=("pytorch",) * 4000, install="5 min", install_size="0 MB", install_fails=0.1
    )
    starts = [made.start(Machine(), row, 10_000.0 * row) for row in range(4000)]
    assert np.median([start.seconds for start in starts]) == pytest.approx(300, rel=0.05)
    assert np.mean([start.failure == "requeued" for start in starts]) == pytest.approx(0.1, abs=0.02)


def test_nothing_and_the_default_image() -> None:
    assert delivery("none").start(Machine(), 0, 0.0).seconds == 0
    assert delivery("default").start(Machine(), 0, 0.0).seconds == 0.5
    assert Nothing().start(Machine(), 0, 0.0).seconds == 0


@pytest.mark.parametrize(
    ("pelican", "http", "seconds", "source"),
    [(50, 50, 80, "OSDF"), (0.5, 50, 80, "HTTP"), (10, 20, 440, "HTTP"), (10, 10, 480, "CVMFS")],
)
def test_the_pilots_own_download(pelican: float, http: float, seconds: float, source: str) -> None:
    """4 GB need 17 MB/s; below, up to 480 s are lost before the fallback."""
    assert default_image(4000, pelican, http) == (seconds, source)


def test_input_goes_through_the_access_point() -> None:
    section = DeliverySection(path="none")
    made = Delivery(section, [Software("none", "", TORCH, (), 1250.0)], np.random.default_rng(1))
    found = made.start(Machine(), 0, 0.0)
    assert found.seconds == pytest.approx(10)
    assert found.access_point_mb == 1250


def jobs(*images: tuple[str | None, str | None]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": pd.Series([image for image, _ in images], dtype="str"),
            "delivery": pd.Series([source for _, source in images], dtype="str"),
            "input_mib": [np.nan] * len(images),
        }
    )


def test_what_jobs_bring() -> None:
    """By their own images, or all the same way; those that name none get one by popularity."""
    frame = jobs(("docker://me/torch:1", "docker"), (None, None), ("my.sif", "cedar"))
    own = software_of(frame, DeliverySection(path="jobs"), np.random.default_rng(1))
    assert [item.path for item in own] == ["registry", "default", "sandbox"]
    assert own[0].kind.name == "pytorch"
    forced = software_of(frame, DeliverySection(path="cvmfs"), np.random.default_rng(1))
    assert [item.path for item in forced] == ["cvmfs"] * 3
    assert forced[1].image.startswith("image")


def test_drawn_images_follow_the_popularity() -> None:
    """The first image's share of Zipf 0.9 over 562 is that of theory; an image's class never changes."""
    found = software_of(
        jobs(*[(None, None)] * 20_000), DeliverySection(path="cvmfs"), np.random.default_rng(2)
    )
    names = pd.Series([item.image for item in found])
    assert (names == "image0").mean() == pytest.approx(1 / np.sum(np.arange(1, 563) ** -0.9), abs=0.01)
    kinds = pd.DataFrame({"image": names, "kind": [item.kind.name for item in found]})
    assert (kinds.groupby("image")["kind"].nunique() == 1).all()


@pytest.mark.parametrize(
    ("image", "source", "path"),
    [
        ("osdf:///ospool/x.sif", None, "osdf"), ("https://x/y.sif", None, "osdf"), ("oras://x/y", None, "registry"),
        ("/cvmfs/singularity.opensciencegrid.org/a/b:c", None, "cvmfs"), ("tensorflow/tensorflow:latest", None, "registry"),
        ("x.sif", "osdf", "osdf"), ("sandbox.img", "cedar", "sandbox"), ("", None, "default"),
    ],
)  # fmt: skip
def test_paths_by_image(image: str, source: str | None, path: str) -> None:
    assert path_of(image, source) == path


def test_abilities_by_machine() -> None:
    """Docker sites and Singularity sites are told apart."""
    frame = pd.DataFrame(
        {
            "name": ["slot1@a", "slot1@b", "slot1@c"],
            "slot_type": "partitionable",
            "has_singularity": [True, False, True],
            "has_container": False,
            "has_docker": [False, True, False],
            "has_sif": [True, False, False],
            "has_docker_url": [False, False, True],
            "cvmfs": [
                "singularity_opensciencegrid_org,oasis_opensciencegrid_org",
                None,
                "oasis_opensciencegrid_org",
            ],
        }
    )
    found = abilities_by_machine(frame)
    assert found["a"] == Abilities(cvmfs=True, sif=True, registry=False)
    assert found["b"] == Abilities(cvmfs=False, sif=False, registry=True)
    assert found["c"] == Abilities(cvmfs=False, sif=False, registry=True)


def test_the_same_seed_gives_the_same_starts() -> None:
    frame, slots = jobs(*[(None, None)] * 200), pd.DataFrame({"slot_type": [], "name": []})
    section = DeliverySection(path="install")
    first, second, other = (
        [made.start(Machine(), row, 0.0) for row in range(200)]
        for made in (make_delivery(section, frame, slots, seed) for seed in (1, 1, 2))
    )
    assert first == second
    assert first != other


def test_the_first_job_waits_for_the_pilots_image_where_the_pilot_does_not() -> None:
    """3 GB at 50 MB/s once per glidein; another slot waits with it; below 1 MB/s and too slow, CVMFS has it."""
    made = delivery("default", default_loaded=False, default_image="3000 MB", launch=0)
    first, beside = made.start(Machine(), 0, 0.0), made.start(Machine(), 1, 10.0)
    later, other = made.start(Machine(), 2, 1000.0), made.start(Machine("glidein2@node1"), 2, 1000.0)
    assert first.seconds == pytest.approx(3000 * 1.048576 / 50)
    assert beside.seconds == pytest.approx(first.seconds - 10)
    assert later.seconds == 0
    assert other.cold
    slow = delivery("default", default_loaded=False, default_image="3 GB", pelican_speed=0.5, http_speed=5)
    found = slow.start(Machine(), 0, 0.0)
    assert found.seconds == pytest.approx(240, abs=5), "HTTP's time runs out, then a small start from CVMFS"
    assert found.origin_mb == pytest.approx(5.2)


def test_a_lock_is_waited_for_ten_minutes_and_no_longer() -> None:
    made = delivery("osdf", osdf_shared=True, osdf_speed=1.0, node_speed=1.0)
    made.start(Machine(), 0, 0.0)
    beside = made.start(Machine(), 1, 10.0)
    assert (beside.seconds, beside.failure) == (600, "requeued")


def test_popularity_is_fitted_where_jobs_name_images() -> None:
    """Used 90, 30, 10 times: steeper than 1; a few uses are no data; what is told wins."""
    names = pd.Series(["a"] * 90 + ["b"] * 30 + ["c"] * 10, dtype="str")
    assert popularity_of(names, DeliverySection()) > 1.3
    assert popularity_of(names[:5], DeliverySection()) == 0.9
    assert popularity_of(names, DeliverySection(popularity=0.5)) == 0.5


@pytest.mark.parametrize(
    ("path", "seconds"), [("cvmfs", TORCH.hot_s), ("registry", TORCH.hot_s), ("osdf", TORCH.hot_s + 33)]
)
def test_a_job_that_was_running_has_left_its_image_behind(path: str, seconds: float) -> None:
    """It costs nothing and moves nothing; the next start of the image there is warm."""
    made = delivery(path, launch=0, osdf_overhead=0)
    before = made.resume(Machine(), 0, 0.0)
    assert (before.seconds, before.cold) == (0.0, None)
    assert made.start(Machine(), 1, 10.0).seconds == pytest.approx(seconds)


def moved(changed: float, **more: Any) -> Delivery:
    """Delivery of an image whose tag moves after 100 s and again after 5000 s."""
    updates = [
        {"image": "pyt*", "at": "100 s", "changed": changed},
        {"image": "*", "at": "5000 s", "changed": 0.1},
    ]
    section = DeliverySection.model_validate({"path": "cvmfs", "updates": updates, **more})
    software = [Software(section.path, "pytorch", TORCH, pieces_of("pytorch", TORCH), 0.0)] * 5
    return Delivery(section, software, np.random.default_rng(1))


@pytest.mark.parametrize("changed", [0.0, 0.1, 0.3, 1.0])
def test_a_tag_that_moves(changed: float) -> None:
    """Before, a start is as ever; after it only what changed of the image's own objects comes anew, and only once."""
    made = moved(changed)
    first, again = made.start(Machine(), 0, 0.0), made.start(Machine(), 1, 99.0)
    plain = delivery().start(Machine(), 0, 0.0)
    assert first.moved_mb == pytest.approx(plain.moved_mb)
    assert first.seconds == pytest.approx(plain.seconds)
    assert again.moved_mb == 0
    after, later = made.start(Machine(), 2, 1000.0), made.start(Machine(), 3, 2000.0)
    assert after.moved_mb == pytest.approx((450 - 5.2) * changed)
    assert after.cold is (changed > 0)
    assert later.moved_mb == 0
    assert made.start(Machine(), 4, 6000.0).moved_mb == pytest.approx((450 - 5.2) * 0.1)


def test_a_moved_tag_is_a_new_file_where_files_are_moved_whole() -> None:
    made = moved(0.1, path="osdf", osdf_shared=True)
    starts = [made.start(Machine(), row, at) for row, at in enumerate((0.0, 99.9, 1000.0, 2000.0))]
    assert [start.moved_mb for start in starts] == [3300, 0, 3300, 0]
