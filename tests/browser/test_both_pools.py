"""The journeys of tester, planner and reader, over the bundled sample and over a store that a running collector fills."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, expect

from dashboard.commands.serve import settings_for
from dashboard.data import Data
from dashboard.reports.archive import Archive
from dashboard.reports.make import Order, make
from dashboard.reports.period import Period
from dashboard.settings import Settings
from sim.store import Store, sample_path
from tests.browser.conftest import Open, serving, visiting
from tests.realpool.pool import Pool

pytestmark = [pytest.mark.browser, pytest.mark.slow]

JOBS = (
    "executable = /bin/sleep\narguments = 4\nrequest_gpus = 1\nrequest_memory = 64\nrequest_disk = 1\n"
    "requirements = GPUs_Capability >= 7.5\nqueue 14"
)


@dataclass(frozen=True)
class Place:
    """A dashboard and what it stands on."""

    site: str
    store: Store
    settings: Settings


@contextmanager
def placed(store: Store, folder: Path) -> Iterator[Place]:
    settings = replace(
        settings_for(store.path), runs=folder / "runs", reports=folder / "reports", replications=1
    )
    with serving(store, settings) as site:
        yield Place(site, store, settings)


@contextmanager
def collected(pool: Pool, folder: Path) -> Iterator[Store]:
    """A store that `poolscope collect` fills all the while; when it is given, jobs have run and been seen."""
    pool.submit(JOBS)
    command = [
        sys.executable, "-c", "from dashboard.cli import main; main()", "--data", str(folder), "collect",
        "--pool", pool.address, "--every", "3s", "--test-pool",
    ]  # fmt: skip
    log = folder.with_suffix(".log")
    with log.open("w") as lines:
        process = subprocess.Popen(command, stdout=lines, stderr=lines)
    store = Store(folder)
    try:
        until = time.monotonic() + 90
        while time.monotonic() < until:
            done = 0 if store.is_empty() else int(store.jobs()["first_started_at"].notna().sum())
            if done >= 10 and len(store.snapshots()) >= 5:
                break
            assert process.poll() is None, log.read_text("utf-8")
            time.sleep(1)
        else:
            pytest.fail(f"the collector saw no jobs start: {log.read_text('utf-8')[-2000:]}")
        yield store
        assert process.poll() is None, log.read_text("utf-8")
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module", params=["sample", pytest.param("collected", marks=pytest.mark.pool)])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sample":
        with placed(Store(sample_path()), folder) as made:
            yield made
        return
    pool: Pool = request.getfixturevalue("pool")
    with collected(pool, folder / "store") as store, placed(store, folder) as made:
        yield made


@pytest.fixture
def visit(browser: Browser, place: Place) -> Iterator[Open]:
    with visiting(browser, place.site) as open_page:
        yield open_page


def test_a_tester_tightens_asks_leaves_and_comes_back(visit: Open) -> None:
    seen = visit("/requirements?req=GPUs_Capability%20%3E%3D%207.5")
    seen.drawn("req-ladder", "req-clauses")  # counted, nothing has run
    seen.page.get_by_label("Requirements", exact=True).fill(
        "GPUs_Capability >= 7.5 && GPUs_GlobalMemoryMb >= 20000"
    )
    expect(seen.page.locator("#req-clauses-caption")).to_contain_text("2 clauses")
    seen.page.get_by_role("button", name="Simulate the wait").click()
    seen.page.wait_for_url("**/requirements?req=GPUs_Capability%20%3E%3D%207.5*20000")
    address = seen.page.url
    seen.page.goto("about:blank")
    seen.go("/runs")
    row = seen.page.get_by_role("row").filter(has_text="GPUs_GlobalMemoryMb >= 20000")
    expect(row).to_contain_text("done", timeout=120_000)
    seen.page.goto(address)
    # A collector that goes on makes a newer snapshot, whose wait is another question.
    expect(seen.page.locator("#req-answer")).to_contain_text("GPUs_GlobalMemoryMb >= 20000")
    expect(seen.page.get_by_label("Requirements", exact=True)).to_have_value(re.compile("20000$"))
    seen.go("/runs")
    row.get_by_role("link").first.click()
    seen.drawn("run-result")
    expect(seen.page.locator("#run-result-caption")).to_contain_text("ghost probes")
    assert seen.violations() == []


def test_a_planner_adds_gpus_and_a_colleague_gets_the_same_page(visit: Open) -> None:
    seen = visit("/scenarios")
    file = seen.page.get_by_label("Scenario file")
    expect(file).to_have_value(re.compile("title: as it is"))
    seen.page.get_by_label("Name").fill("sixteen more")
    expect(file).to_have_value(re.compile("title: sixteen more"))
    seen.page.get_by_label("Seeds").fill("2")
    expect(file).to_have_value(re.compile("replications: 2"))
    seen.page.get_by_role("textbox", name="of model").fill("NVIDIA A100-SXM4-80GB")
    expect(seen.page.get_by_label("memory each")).to_have_value("80 GB")
    seen.page.get_by_label("Add GPUs").fill("16")
    seen.page.get_by_role("button", name="Add them").click()
    expect(file).to_have_value(re.compile("count: 2\n.*NVIDIA A100-SXM4-80GB", re.S))
    seen.page.get_by_role("button", name="Run this scenario").click()
    expect(seen.page.locator("#sc-differences-caption")).to_contain_text("2 seeds in common", timeout=240_000)
    seen.drawn("sc-differences", "sc-curves")
    assert seen.violations() == []
    link = seen.page.locator("#sc-differences-csv").get_attribute("href")
    with urlopen(f"{seen.site}{link}", timeout=20) as answer:
        rows = list(csv.DictReader(io.StringIO(answer.read().decode())))
    gained = {row["measure"]: float(row["mean"]) for row in rows if row["by"] == "gpu" and row["mean"]}
    assert gained["mean_s"] <= 0  # nobody waits longer for it
    shown = seen.page.locator("#sc-differences-table").inner_text()
    colleague = visit(seen.page.url.removeprefix(seen.site), scheme="dark", width=390)
    colleague.drawn("sc-differences")
    assert colleague.page.locator("#sc-differences-table").inner_text() == shown
    assert not colleague.wide()


def test_a_reader_goes_from_the_report_to_those_days(visit: Open, place: Place, browser: Browser) -> None:
    data, archive = Data(place.store, place.settings), Archive(place.settings.reports or Path())
    period = Period.holding("day", data.coverage().until)
    status = make(data, archive, Order(period, formats=("html", "csv"), link=place.site))
    context = browser.new_context(viewport={"width": 390, "height": 844}, offline=True)
    report = context.new_page()
    report.goto((archive.place(period) / f"poolscope-day-{period.name}.html").as_uri())
    report.wait_for_selector("#plot-supply .main-svg .scatterlayer path", state="attached")
    expect(report.locator(".headline")).to_have_text(status.headline)
    assert not report.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    link = report.get_by_role("link", name="Open the live dashboard for this window").get_attribute("href")
    context.close()
    assert link is not None
    seen = visit(link.removeprefix(place.site))
    expect(seen.page.get_by_text("A window of the past")).to_be_visible()
    jobs = len(Data(place.store, place.settings).over(period.window).jobs())
    expect(seen.page.locator("#waits-classes-caption")).to_contain_text(re.compile(rf"\b{jobs:,} jobs"))
    seen.go("/reports")
    expect(seen.page.get_by_role("row").nth(1)).to_contain_text(status.headline)


def test_pages_are_at_rest_and_accessible(visit: Open) -> None:
    seen = visit("/healthz")
    for path in ("/", "/waits", "/inventory", "/containers", "/about"):
        seen.go(path)
        expect(seen.page.get_by_role("heading", level=1)).to_be_visible()
        seen.page.wait_for_function("() => !document.querySelector('[data-dash-is-loading]')")
        expect(seen.page.locator("#error")).to_be_empty()
        assert seen.violations() == [], path
