"""What three people do with the dashboard, from beginning to end: tester, planner, reader.

Each over the bundled sample and over a store that a running collector fills from the real pool. And runs that many ask for at a time.
"""

from __future__ import annotations

import base64
import csv
import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard.data import Data
from dashboard.reports.archive import Archive
from dashboard.reports.make import Order, make
from dashboard.reports.period import Period
from dashboard.settings import Settings
from sim.classads.submit import read_submit
from sim.store import Store
from tests.browser.conftest import Open, Place, placed, visiting
from tests.browser.watch import AXE, RULES
from tests.dashboard import mailbox, weeks
from tests.realpool.pool import Pool

pytestmark = [pytest.mark.browser, pytest.mark.slow]

JOBS = (
    "executable = /bin/sleep\narguments = 4\nrequest_gpus = 1\nrequest_memory = 64\nrequest_disk = 1\n"
    "requirements = GPUs_Capability >= 7.5\nqueue 14"
)


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


@pytest.fixture(scope="session", params=["sample", pytest.param("collected", marks=pytest.mark.pool)])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if request.param == "sample":
        yield request.getfixturevalue("sample_place")
        return
    folder = tmp_path_factory.mktemp(request.param)
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
    seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    seen.page.get_by_role("button", name="Copy the submit lines").click()
    expect(seen.page.locator("#req-copied")).to_have_text("Copied")
    copied = seen.page.evaluate("navigator.clipboard.readText()")
    shape = read_submit(copied).shapes()[0][0]
    assert "GPUs_GlobalMemoryMb" in shape.description.fixed().text
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
    seen.page.get_by_role("textbox", name="Jobs", exact=True).click()
    seen.page.get_by_role("option", name="all jobs").click()
    expect(seen.page.locator("#sc-differences-caption")).to_contain_text("all jobs, 2 seeds in common")
    seen.page.wait_for_url("**/scenarios?jobs=all%20all&cmp=*")
    shown = seen.page.locator("#sc-differences-table").inner_text()
    colleague = visit(seen.page.url.removeprefix(seen.site), scheme="dark", width=390)
    colleague.drawn("sc-differences")
    assert colleague.page.locator("#sc-differences-table").inner_text() == shown
    assert not colleague.wide()


def test_a_reader_goes_from_the_mail_to_those_days(
    visit: Open, place: Place, browser: Browser, tmp_path: Path
) -> None:
    data, archive = Data(place.store, place.settings), Archive(place.settings.reports or Path())
    period = Period.holding("day", data.coverage().until)
    with mailbox.serving(tmp_path) as box:
        order = Order(
            period,
            formats=("html", "pdf"),
            link=place.site,
            to=["reader@example.org"],
            server=box.server(tmp_path),
        )
        status = make(data, archive, order)
    ((_, mail),) = box.messages
    parts = {part.get_content_type(): part for part in mail.walk()}
    assert status.headline in mail["Subject"]
    assert parts["application/pdf"].get_content().startswith(b"%PDF")
    picture = base64.b64encode(parts["image/png"].get_content()).decode()

    context = browser.new_context(viewport={"width": 390, "height": 844}, offline=True)
    read = context.new_page()
    # A mail program puts the picture where the text names it.
    text = parts["text/html"].get_content()
    read.set_content(text.replace("cid:chart", f"data:image/png;base64,{picture}"))
    expect(read.get_by_text(status.headline).first).to_be_visible()
    assert read.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert not read.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    (tmp_path / "report.html").write_bytes(
        (archive.place(period) / f"poolscope-day-{period.name}.html").read_bytes()
    )
    read.goto((tmp_path / "report.html").as_uri())
    read.wait_for_selector("#plot-supply .main-svg .scatterlayer path", state="attached")
    expect(read.locator(".headline")).to_have_text(status.headline)
    assert not read.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    link = read.get_by_role("link", name="Open the live dashboard for this window").get_attribute("href")
    context.close()
    assert link is not None
    assert link in text.replace("&amp;", "&")
    seen = visit(link.removeprefix(place.site))
    expect(seen.page.get_by_text("A window of the past")).to_be_visible()
    jobs = len(Data(place.store, place.settings).over(period.window).jobs())
    expect(seen.page.locator("#waits-classes-caption")).to_contain_text(re.compile(rf"\b{jobs:,} jobs"))
    seen.go("/reports")
    expect(seen.page.get_by_role("row").nth(1)).to_contain_text(status.headline)


@pytest.mark.pool
@pytest.mark.parametrize("place", ["collected"], indirect=True)
def test_pages_show_the_pool_that_is_collected(visit: Open, place: Place, pool: Pool) -> None:
    devices = sum(int(slot.get("TotalSlotGPUs", 0)) for slot in pool.slots("PartitionableSlot =?= true"))
    seen = visit("/")
    seen.drawn("pool-models")
    expect(seen.page.locator("#freshness")).to_contain_text("Live")
    expect(seen.page.locator("#pool-models-caption")).to_contain_text(f"{devices} GPUs")
    assert seen.violations() == []
    seen.go("/inventory")
    expect(seen.page.locator("#inv-caption")).to_contain_text(f"{devices} of {devices} GPUs")
    seen.go("/requirements?req=GPUs_Capability%20%3E%3D%208.0")
    seen.drawn("req-ladder")
    told = pool.tool("condor_status", "-af", "Name", "-constraint", "GPUs_Capability >= 8.0")
    expect(seen.page.locator("#req-answer")).to_contain_text("matching GPU" if told.strip() else "no machine")
    for path in ("/waits", "/containers", "/about"):
        seen.go(path)
        seen.rest()
        expect(seen.page.locator("#error")).to_be_empty()
        assert seen.violations() == [], path


def watched(page: Page) -> list[str]:
    """What goes wrong on a page from now on."""
    faults: list[str] = []
    page.on(
        "console",
        lambda message: faults.append(message.text) if message.type in {"error", "warning"} else None,
    )
    page.on("pageerror", lambda error: faults.append(str(error)))
    return faults


def test_the_report_works_offline_in_both_schemes(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = weeks.fill(tmp_path_factory.mktemp("weeks"))
    folder = tmp_path_factory.mktemp("reports")
    settings = Settings(
        runs=tmp_path_factory.mktemp("runs"), class_by="ReqClass", source=str(store.path), reports=folder
    )
    period = Period("week", weeks.SECOND)
    status = make(
        Data(store, settings), Archive(folder), Order(period, formats=("html",), link="https://pool.example/")
    )
    page = Archive(folder).place(period) / "poolscope-week-2026-W47.html"
    views: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1280), ("dark", 390))
    for scheme, width in views:
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True
        )
        report = context.new_page()
        faults = watched(report)
        report.goto(page.as_uri())
        report.wait_for_selector("#plot-supply .main-svg .scatterlayer path", state="attached")
        report.wait_for_selector("#plot-waits .main-svg .trace", state="attached")
        expect(report.locator(".headline")).to_have_text(status.headline)
        assert not report.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        text = report.locator("#plot-waits .annotation-text").all_text_contents()
        assert any("Memory<b && c>1" in name for name in text)
        report.evaluate(AXE.read_text("utf-8"))
        found = report.evaluate(f"axe.run(document, {{runOnly: {RULES}}})")
        assert [rule["id"] for rule in found["violations"]] == []
        assert faults == []
        context.close()


def test_ten_people_who_press_run_all_get_their_answer(browser: Browser, site: str) -> None:
    with visiting(browser, site) as visit:
        # Half of them ask the same.
        people = [
            visit(
                f"/requirements?req=GPUs_Capability%20%3E%3D%20{7 if n % 2 else 2 + n / 10}&gpus=1&memory=1500"
            )
            for n in range(10)
        ]
        for seen in people:
            seen.drawn("req-ladder")
        for seen in people:
            seen.page.get_by_role("button", name="Simulate the wait").click()
        for seen in people:
            expect(seen.page.locator("#req-wait")).to_contain_text("p90 wait", timeout=400_000)
        people[0].go("/runs")
        asked = (
            people[0]
            .page.get_by_role("row")
            .filter(has_text=re.compile(r"Wait of GPUs_Capability >= (7|2(\.\d)?), 1 GPU"))
        )
        expect(asked).to_have_count(6)
        expect(asked.filter(has_text="done")).to_have_count(6)
