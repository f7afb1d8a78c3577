"""The dashboard over a store that a running collector fills from the real pool."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from collectors.rounds import collect_once, live_sources
from dashboard.settings import Settings
from sim.store import Store
from tests.browser.conftest import serving, visiting
from tests.realpool.pool import Pool

pytestmark = [pytest.mark.browser, pytest.mark.pool, pytest.mark.slow]


def test_pages_show_the_pool_that_is_collected(pool: Pool, browser: Browser, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    sources = live_sources(pool.address)
    clusters = pool.submit(
        "executable = /bin/sleep\narguments = 600\nrequest_gpus = 1\nrequest_memory = 64\nrequest_disk = 1\n"
        "requirements = GPUs_Capability >= 99\nqueue 3"
    )
    try:
        collect_once(sources, store)
        devices = sum(int(slot.get("TotalSlotGPUs", 0)) for slot in pool.slots("PartitionableSlot =?= true"))
        settings = Settings(runs=tmp_path / "runs", source=str(store.path), reports=tmp_path / "reports")
        with serving(store, settings, workers=False) as site, visiting(browser, site) as visit:
            seen = visit("/")
            seen.drawn("pool-models")
            expect(seen.page.locator("#freshness")).to_contain_text("Live")
            expect(seen.page.locator("#pool-models-caption")).to_contain_text(f"{devices} GPUs")
            assert seen.violations() == []
            seen.go("/requirements?req=GPUs_Capability%20%3E%3D%208.0")
            seen.drawn("req-ladder")
            told = pool.tool("condor_status", "-af", "Name", "-constraint", "GPUs_Capability >= 8.0")
            expect(seen.page.locator("#req-answer")).to_contain_text(
                "matching GPU" if told.strip() else "no machine"
            )
            seen.go("/waits")
            expect(seen.page.locator("#waits-classes-caption")).to_contain_text("job")
            seen.go("/inventory")
            expect(seen.page.locator("#inv-caption")).to_contain_text(f"{devices} of {devices} GPUs")
            collect_once(sources, store)
            seen.go("/about")
            expect(seen.page.locator("#about-coverage")).to_contain_text("2 snapshots", timeout=15_000)
    finally:
        pool.tool("condor_rm", *map(str, clusters), owner="pool")
