"""Pictures for the README and the manual, taken from the bundled sample: `python -m tests.browser.screenshots OUTDIR`.

`--all` takes every scheme and width, for looking at.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from tests import needs
from tests.browser.watch import FLAGS, Watched

EXPRESSION = "GPUs_Capability >= 7.5 && GPUs_GlobalMemoryMb >= 20000"
LARGEST = 600_000
FITTED = """() => [...document.querySelectorAll(".js-plotly-plot")].filter(plot => plot.offsetParent)
    .every(plot => Math.abs(plot.clientWidth - plot.querySelector(".main-svg").clientWidth) < 2)"""
SHOTS = [("light", 1280), ("dark", 390)]
ALL_SHOTS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]


@contextmanager
def served() -> Iterator[str]:
    """The address of `poolscope serve` over the bundled sample."""
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "XDG_STATE_HOME": state, "XDG_DATA_HOME": state}
        environment.pop("POOLSCOPE_DATA", None)
        program = [sys.executable, "-c", "from dashboard.cli import main; main()"]
        order = ["report", "--period", "day", "--format", "html,pdf"]
        subprocess.run([*program, *order], env=environment, check=True, stdout=subprocess.DEVNULL)
        process = subprocess.Popen(
            [*program, "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            if len(words) < 4:
                raise SystemExit("poolscope serve didn't start; see its message above")
            yield words[3].rstrip("/")
        finally:
            process.terminate()
            process.communicate(timeout=30)


def shoot(browser: Browser, site: str, folder: Path, scheme: str, width: int) -> None:
    """The pages in one scheme and width, with their simulations done."""
    context = browser.new_context(
        viewport={"width": width, "height": 844 if width < 600 else 900},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    seen = Watched(page, site)

    def save(name: str) -> None:
        target = folder / f"{name}-{scheme}-{width}.png"
        page.evaluate("scrollTo(0, 0)")  # a header that sticks would stand in the middle of the picture
        if (scheme, width) == SHOTS[0]:
            page.screenshot(path=folder / f"{name}.png", animations="disabled")
        size_before = page.viewport_size
        page.set_viewport_size(
            {"width": width, "height": page.evaluate("document.documentElement.scrollHeight")}
        )
        page.wait_for_function(FITTED)  # another height makes the charts find their width again
        page.screenshot(path=target, full_page=True, animations="disabled")
        if size_before:
            page.set_viewport_size(size_before)
        size = target.stat().st_size
        print(f"{target} {size // 1000} KB")
        if size > LARGEST:
            raise SystemExit(f"{target} has {size} bytes; at most {LARGEST}")

    seen.go("/")
    seen.drawn("pool-models", "pool-supply", "pool-sites")
    save("pool")
    seen.go("/waits")
    expect(page.locator("#waits-started-caption")).to_contain_text("simulated", timeout=300_000)
    seen.drawn("waits-started", "waits-classes")
    save("waits")
    seen.go(f"/requirements?req={EXPRESSION.replace(' ', '%20').replace('&', '%26')}")
    seen.drawn("req-clauses", "req-ladder")
    ask = page.get_by_role("button", name="Simulate the wait")
    if ask.is_visible():
        ask.click()
    expect(page.locator("#req-ladder-caption")).to_contain_text("simulated", timeout=300_000)
    seen.drawn("req-clauses", "req-ladder")
    save("requirements")
    seen.go("/inventory?expr=GPUs_Capability%20%3E%3D%207.0")
    seen.drawn("inv-hours")
    save("inventory")
    scenarios(seen)
    save("scenarios")
    seen.go("/containers")
    seen.drawn("containers-hits", "containers-publication")
    ask = page.get_by_role("button", name="Compare the strategies")
    if ask.is_visible():
        ask.click()
    expect(page.locator("#containers-strategies-caption")).to_contain_text("GPU jobs", timeout=300_000)
    seen.drawn("containers-strategies")
    save("containers")
    seen.go("/runs")
    expect(page.locator("#runs-table")).to_contain_text("done")
    save("runs")
    page.locator("#runs-table").get_by_role("link").filter(has_text="Scenario: eight more").first.click()
    seen.drawn("run-result")
    save("run")
    seen.go("/reports")
    expect(page.get_by_role("row").nth(1)).to_be_visible()
    save("reports")
    page.goto(f"{site}{page.get_by_role('link', name=re.compile('^HTML of')).first.get_attribute('href')}")
    page.wait_for_selector("#plot-supply .main-svg .scatterlayer path", state="attached")
    save("report")
    seen.go("/about")
    seen.drawn("about-record")
    save("about")
    context.close()


def scenarios(seen: Watched) -> None:
    """The Scenarios page with eight more L40S and with twice the jobs, both run."""
    page = seen.page
    seen.go("/scenarios")
    file = page.get_by_label("Scenario file")
    expect(file).to_have_value(re.compile("title: as it is"))
    for name, button, written in (
        ("eight more L40S", "Add them", "model: NVIDIA L40S"),
        ("twice the jobs", "Scale", "scale: 2"),
    ):
        page.get_by_label("Name").fill(name)
        expect(file).to_have_value(re.compile(f"title: {name}"))
        page.get_by_label("Seeds").fill("5")
        expect(file).to_have_value(re.compile("replications: 5"))
        page.get_by_role("button", name=button).click()
        expect(file).to_have_value(re.compile(written))
        page.get_by_role("button", name="Run this scenario").click()
        expect(page.locator("#sc-runs")).to_contain_text(name, timeout=60_000)
        page.get_by_role("button", name="Start from the base").click()
        expect(file).to_have_value(re.compile("title: as it is"))
    expect(page.locator("#sc-differences-table")).to_contain_text("twice the jobs", timeout=300_000)
    seen.drawn("sc-differences", "sc-curves")


def main(folder: Path, shots: list[tuple[str, int]]) -> None:
    """Take the pictures."""
    chromium = needs.chromium()
    if chromium is None:
        raise SystemExit("no browser: chromium is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    with served() as site, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for scheme, width in shots:
            shoot(browser, site, folder, scheme, width)
        browser.close()


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--all"]
    if len(words) != 1:
        raise SystemExit("usage: python -m tests.browser.screenshots OUTDIR [--all]")
    main(Path(words[0]), ALL_SHOTS if "--all" in sys.argv else SHOTS)
