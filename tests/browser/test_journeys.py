"""What three people do with the dashboard, from beginning to end; and runs that many ask for at a time."""

from __future__ import annotations

import csv
import io
import re
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
from tests.browser.conftest import Open, serving, visiting
from tests.dashboard import weeks

pytestmark = pytest.mark.browser


def test_a_tester_asks_leaves_and_comes_back_by_the_link(visit: Open) -> None:
    seen = visit("/requirements?req=GPUs_Capability%20%3E%3D%207.5")
    seen.drawn("req-ladder")
    before = seen.page.locator("#req-clauses-caption").inner_text()
    field = seen.page.get_by_label("Requirements", exact=True)
    field.fill("GPUs_Capability >= 7.5 && GPUs_GlobalMemoryMb >= 40000")
    expect(seen.page.locator("#req-clauses-caption")).not_to_have_text(before)
    expect(seen.page.locator("#req-clauses-caption")).to_contain_text("2 clauses")
    seen.page.get_by_role("button", name="Simulate the wait").click()
    seen.page.wait_for_url("**/requirements?req=GPUs_Capability%20%3E%3D%207.5*40000")
    address = seen.page.url
    seen.page.goto("about:blank")  # leaves while it runs
    seen.go("/runs")
    row = seen.page.get_by_role("row").filter(has_text="GPUs_GlobalMemoryMb >= 40000")
    expect(row).to_contain_text("done", timeout=60_000)
    row.get_by_role("link").click()
    seen.page.wait_for_url("**/runs/*")
    seen.drawn("run-result")
    expect(seen.page.locator("#run-result-caption")).to_contain_text("ghost probes")
    expect(seen.page.locator("#run-inputs")).to_contain_text("GPUs_GlobalMemoryMb >= 40000")
    assert seen.violations() == []
    seen.page.goto(address)
    expect(seen.page.locator("#req-wait")).to_contain_text("p90 wait", timeout=20_000)


def test_a_planner_compares_a_change_with_the_base_and_a_colleague_sees_the_same(visit: Open) -> None:
    seen = visit("/scenarios")
    seen.page.get_by_label("Name").fill("eight more L40S")
    file = seen.page.get_by_label("Scenario file")
    expect(file).to_have_value(re.compile("title: eight more L40S"))
    seen.page.get_by_label("Seeds").fill("3")
    expect(file).to_have_value(re.compile("replications: 3"))
    seen.page.get_by_role("button", name="Add them").click()
    expect(file).to_have_value(re.compile("NVIDIA L40S"))
    file.fill(file.input_value().replace("seed: 1", "seed: 1\n  replication: 3") + "\nrun2: {}\n")
    expect(seen.page.locator("#sc-mistakes")).to_contain_text("run2: unknown key")
    file.fill(file.input_value().replace("\nrun2: {}\n", ""))
    expect(seen.page.locator("#sc-mistakes")).to_be_empty()
    seen.page.get_by_role("button", name="Run this scenario").click()
    expect(seen.page.locator("#sc-differences-caption")).to_contain_text("3 seeds in common", timeout=90_000)
    seen.drawn("sc-differences", "sc-curves")
    assert re.search(r"cmp=[0-9a-f]{12},[0-9a-f]{12}$", seen.page.url)
    assert seen.violations() == []
    link = seen.page.locator("#sc-differences-csv").get_attribute("href")
    with urlopen(f"{seen.site}{link}", timeout=20) as answer:
        rows = list(csv.DictReader(io.StringIO(answer.read().decode())))
    told = {row["measure"]: float(row["mean"]) for row in rows if row["by"] == "gpu" and row["mean"]}
    assert told["mean_s"] < -10  # capability 8.9 and 48 GB are what many of the jobs that wait ask for
    assert {row["n"] for row in rows if row["by"] == "all" and row["measure"] == "mean_s"} == {"3"}
    shown = seen.page.locator("#sc-differences-table").inner_text()

    colleague = visit(seen.page.url.removeprefix(seen.site), scheme="dark", width=390)
    colleague.drawn("sc-differences")
    assert colleague.page.locator("#sc-differences-table").inner_text() == shown
    assert not colleague.wide()
    assert colleague.violations() == []
    colleague.page.get_by_role("button", name=re.compile("^Clone")).last.click()
    expect(colleague.page.get_by_label("Scenario file")).to_have_value(
        re.compile("title: eight more L40S, changed")
    )


def watched(page: Page) -> list[str]:
    """What goes wrong on a page from now on."""
    faults: list[str] = []
    page.on(
        "console",
        lambda message: faults.append(message.text) if message.type in {"error", "warning"} else None,
    )
    page.on("pageerror", lambda error: faults.append(str(error)))
    return faults


def test_a_reader_opens_the_report_offline_and_goes_on_to_that_week(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = weeks.fill(tmp_path_factory.mktemp("weeks"))
    folder = tmp_path_factory.mktemp("reports")
    settings = Settings(
        runs=tmp_path_factory.mktemp("runs"), class_by="ReqClass", source=str(store.path), reports=folder
    )
    period = Period("week", weeks.SECOND)
    with serving(store, settings, workers=False) as site, visiting(browser, site) as visit:
        status = make(
            Data(store, settings), Archive(folder), Order(period, formats=("html", "csv"), link=site)
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
            report.evaluate(Path(__file__).with_name("vendor").joinpath("axe.min.js").read_text("utf-8"))
            found = report.evaluate(
                "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']})"
            )
            assert [rule["id"] for rule in found["violations"]] == []
            assert faults == []
            href = report.get_by_role("link", name="Open the live dashboard for this window").get_attribute(
                "href"
            )
            context.close()
        assert href is not None
        seen = visit(href.removeprefix(site))
        expect(seen.page.get_by_text("A window of the past")).to_be_visible()
        expect(seen.page.locator("#waits-classes-caption")).to_contain_text("44 jobs")
        seen.drawn("waits-classes")
        assert seen.violations() == []
        seen.go("/reports")
        expect(seen.page.get_by_role("row").nth(1)).to_contain_text(status.headline)
        archived = seen.page.get_by_role("link", name="HTML of week of 16 Nov 2026")
        seen.page.goto(f"{site}{archived.get_attribute('href')}")
        seen.page.wait_for_selector("#plot-waits .main-svg .trace", state="attached")


def test_ten_people_who_press_run_all_get_their_answer(visit: Open) -> None:
    # Half of them ask the same.
    people = [
        visit(f"/requirements?req=GPUs_Capability%20%3E%3D%20{7 if n % 2 else 2 + n / 10}&gpus=1&memory=1500")
        for n in range(10)
    ]
    for seen in people:
        seen.drawn("req-ladder")
    for seen in people:
        seen.page.get_by_role("button", name="Simulate the wait").click()
    for seen in people:
        expect(seen.page.locator("#req-wait")).to_contain_text("p90 wait", timeout=120_000)
    people[0].go("/runs")
    asked = (
        people[0]
        .page.get_by_role("row")
        .filter(has_text=re.compile(r"Wait of GPUs_Capability >= (7|2(\.\d)?), 1 GPU"))
    )
    expect(asked).to_have_count(6)
    expect(asked.filter(has_text="done")).to_have_count(6)
