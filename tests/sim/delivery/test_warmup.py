"""Caches warming up: what must be true of any site."""

from __future__ import annotations

import pandas as pd
import pytest

from sim.delivery.section import DeliverySection
from sim.delivery.warmup import EVENTS, VARIANTS, Event, Workload, varied, warm_up

SITE = Workload(nodes=10, starts_per_h=400, hours=6, before_h=12)
SECTION = DeliverySection(images=50)


def warming(event: Event, variant: str = "as it is") -> pd.DataFrame:
    return warm_up(varied(SECTION, variant), event, SITE)


@pytest.mark.parametrize("event", EVENTS)
def test_caches_warm_up(event: Event) -> None:
    """More hits and shorter starts at the end than at the beginning; the share of hits stays a share."""
    found = warming(event)
    assert found["hit"].iloc[-4:].mean() > found["hit"].iloc[0] + 0.1
    assert found["start_p90_s"].iloc[-4:].mean() < found["start_p90_s"].iloc[0]
    assert found["hit"].between(0, 1).all()
    assert found["hour"].is_monotonic_increasing


def test_a_new_image_is_cold_once_per_node() -> None:
    """Ten nodes, a quota that holds everything: ten cold starts of the new image, one of them from afar."""
    found = warm_up(varied(SECTION, "quota 50 GB"), "new image", SITE)
    cold = (found["starts"] * (1 - found["hit"])).sum()
    assert cold == pytest.approx(10)
    assert found["origin_mb"].sum() == pytest.approx(450 - 5.2, abs=6)
    assert found["squid_mb"].sum() == pytest.approx(9 * (450 - 5.2), rel=0.02)


def test_after_a_moved_tag_only_what_changed_is_loaded() -> None:
    """All nodes had the old version: each loads three tenths of it once, one of them from afar; a new image costs it all."""
    found = warm_up(varied(SECTION, "quota 50 GB"), "moved tag", SITE)
    cold = (found["starts"] * (1 - found["hit"])).sum()
    assert cold == pytest.approx(10)
    assert found["origin_mb"].sum() == pytest.approx(0.3 * (450 - 5.2), rel=0.01)
    assert found["squid_mb"].sum() == pytest.approx(9 * 0.3 * (450 - 5.2), rel=0.01)
    new = warm_up(varied(SECTION, "quota 50 GB"), "new image", SITE)
    assert found["start_p90_s"].iloc[0] < new["start_p90_s"].iloc[0]


def test_after_a_cold_front_the_squid_helps() -> None:
    """Nodes lose their caches, the squid doesn't: the bytes come from it and hardly any from afar."""
    found = warming("cold front")
    assert found["squid_mb"].sum() > 10 * found["origin_mb"].sum()


def test_a_small_quota_hits_less_a_squid_starts_faster_and_prewarming_hits_at_once() -> None:
    base = warming("new site")
    assert warming("new site", "quota 4 GB")["hit"].iloc[-8:].mean() < base["hit"].iloc[-8:].mean() - 0.05
    assert warming("new site", "no squid")["start_p90_s"].mean() > base["start_p90_s"].mean()
    assert warming("new site", "pre-warmed nodes")["hit"].iloc[0] > base["hit"].iloc[0] + 0.1


def test_every_variant_runs_and_is_repeatable() -> None:
    for name in VARIANTS:
        pd.testing.assert_frame_equal(warming("new image", name), warming("new image", name))
