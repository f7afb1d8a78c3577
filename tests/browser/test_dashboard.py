"""The dashboard in a real Chromium: pages, journeys, schemes and widths."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import FilePayload, expect

from tests.browser.conftest import Open

pytestmark = pytest.mark.browser


def test_an_emptied_inventory_is_relaxed_with_one_click(visit: Open) -> None:
    seen = visit("/inventory?expr=GPUs_Capability%20%3E%3D%207.0%20%26%26%20Memory%20%3E%20999999999")
    expect(seen.page.locator("#inv-told")).to_contain_text("0 of 29 GPUs match")
    seen.page.get_by_role("button", name="Drop Memory > 999999999").click()
    expect(seen.page.get_by_label("Expression")).to_have_value("GPUs_Capability >= 7.0")
    expect(seen.page.locator("#inv-caption")).to_contain_text("of 29 GPUs")
    seen.page.wait_for_url("**/inventory?expr=GPUs_Capability%20%3E%3D%207.0")


def test_the_first_page_is_light_and_never_fetches_the_full_plotly(visit: Open) -> None:
    seen = visit("/")
    seen.drawn("pool-models")
    sizes = seen.page.evaluate("performance.getEntriesByType('resource').map(entry => entry.encodedBodySize)")
    assert sum(sizes) < 1_500_000
    assert seen.requests <= 25
    names = seen.page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in names if "package_data/plotly" in name or "async-plotlyjs" in name] == []
    assert [name for name in names if not name.startswith(seen.site)] == []


def test_the_pool_page_tells_its_sample_and_shows_numbers_as_a_table(visit: Open) -> None:
    seen = visit("/")
    expect(seen.page.locator("#freshness")).to_contain_text(
        "Recorded sample of 23 Nov 2026, HTCondor 23.9.6, a real negotiator"
    )
    expect(seen.page.locator("#pool-models-caption")).to_contain_text("29 GPUs")
    table = seen.page.locator("#pool-models-table")
    expect(table).not_to_be_visible()
    seen.page.locator("#pool-models-card summary").click()
    expect(table.get_by_role("row").nth(1)).to_contain_text("A100-SXM4-40GB")


def test_the_scheme_is_switched_and_remembered(visit: Open) -> None:
    seen = visit("/")
    seen.drawn("pool-models")
    ink = "getComputedStyle(document.querySelector('#pool-models-graph .xtick text')).fill"
    before = seen.page.evaluate(ink)
    seen.page.get_by_role("button", name="Switch between light and dark").click()
    seen.page.wait_for_function(f"() => {ink} !== '{before}'")
    seen.go("/waits")
    assert seen.page.evaluate("document.documentElement.dataset.mantineColorScheme") == "dark"


def test_the_phone_has_its_pages_behind_the_burger(visit: Open) -> None:
    seen = visit("/", width=390)
    seen.page.get_by_role("button", name="Show the pages").click()
    seen.page.get_by_role("link", name="Waits").click()
    expect(seen.page.get_by_role("heading", level=1)).to_have_text("Waits")
    expect(seen.page.get_by_role("link", name="Runs")).not_to_be_in_viewport()


def test_the_keyboard_reaches_the_content_first(visit: Open) -> None:
    seen = visit("/")
    seen.drawn("pool-models")
    seen.page.keyboard.press("Tab")
    expect(seen.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    seen.page.keyboard.press("Enter")
    expect(seen.page.locator("#main")).to_be_focused()


def test_an_expression_shows_its_answer_and_a_typo_keeps_it(visit: Open) -> None:
    seen = visit("/requirements")
    field, answer = seen.page.get_by_label("Requirements", exact=True), seen.page.locator("#req-answer")
    field.fill("GPUs_Capability >= 8.0")
    expect(answer).to_contain_text("4 matching GPUs are free, 8 match in all")
    expect(answer.locator(".verdict code")).to_have_text("GPUs_Capability >= 8.0")
    seen.page.wait_for_url("**/requirements?req=GPUs_Capability%20%3E%3D%208.0")

    field.fill("GPUs_Capability >= && true")
    expect(seen.page.get_by_text("Column 20: ")).to_be_visible()
    expect(answer).to_have_class(re.compile(r"\bstale\b"))
    expect(answer.locator(".verdict code")).to_have_text("GPUs_Capability >= 8.0")

    field.fill("CUDACapability >= 6.0")
    expect(answer).to_contain_text("Impossible")
    expect(answer).to_contain_text("gpus_minimum_capability = 6")
    expect(seen.page.get_by_text("Column 20: ")).not_to_be_visible()
    expect(seen.page.locator("#req-models-card")).not_to_be_visible()


def test_an_address_brings_its_question(visit: Open) -> None:
    seen = visit("/requirements?req=GPUs_Capability%20%3E%3D%207.5&gpus=2&memory=4096")
    expect(seen.page.get_by_label("Requirements", exact=True)).to_have_value("GPUs_Capability >= 7.5")
    expect(seen.page.get_by_label("request_gpus")).to_have_value("2")
    expect(seen.page.get_by_label("request_memory")).to_have_value("4 GB")
    expect(seen.page.locator("#req-answer")).to_contain_text("with 2 GPUs, 1 CPU, 4.0 GiB")


def test_hostile_text_stays_text(visit: Open) -> None:
    seen = visit("/requirements")
    field = seen.page.get_by_label("Requirements", exact=True)
    field.fill('"<img src=x onerror=alert(1)>" == Name && GPUs_Capability<9')
    expect(seen.page.locator("#req-answer .verdict code")).to_contain_text("<img src=x onerror=alert(1)>")
    seen.drawn("req-clauses")
    names = seen.page.locator("#req-clauses-graph .annotation-text").all_text_contents()
    assert "GPUs_Capability<9" in names
    assert any("<img" in name for name in names)


def test_the_wait_of_an_expression_is_simulated(visit: Open) -> None:
    seen = visit("/requirements?req=GPUs_Capability%20%3E%3D%208.0")
    seen.drawn("req-ladder")
    asked: list[str] = []
    seen.page.on("request", lambda made: asked.append(made.post_data or ""))
    seen.page.get_by_role("button", name="Simulate the wait").click()
    wait = seen.page.locator("#req-wait")
    expect(wait).to_contain_text("p90 wait", timeout=120_000)  # ten replications
    looks = [body for body in asked if "req-told.children" in body]
    drawn = [body for body in asked if "req-answer.children" in body]
    assert len(looks) > 2 >= len(drawn)  # looking at the run draws nothing anew
    expect(wait).to_contain_text("n=")
    expect(seen.page.locator("#req-ladder-caption")).to_contain_text("simulated with seed 1", timeout=20_000)
    expect(seen.page.locator("#req-ladder-graph .x2title")).to_have_text("simulated wait (log scale)")
    seen.page.locator("#req-ladder-name").click()
    seen.page.get_by_role("option", name="memory", exact=True).click()
    expect(seen.page.locator("#req-ladder-caption")).to_contain_text("memory: 5 rungs", timeout=20_000)
    expect(seen.page.locator("#req-ladder-graph .x2title")).to_have_text("simulated wait (log scale)")
    expect(seen.page).to_have_url(re.compile(r"ladder=memory"))
    field = seen.page.get_by_label("Requirements", exact=True)
    field.fill("true")
    expect(seen.page.get_by_role("button", name="Simulate the wait")).to_be_visible()


def test_the_record_is_simulated_and_the_run_is_listed(visit: Open) -> None:
    seen = visit("/waits")
    seen.page.get_by_role("button", name="Simulate this record").click()
    expect(seen.page.locator("#waits-told")).to_contain_text("Simulated", timeout=60_000)
    expect(seen.page.locator("#waits-started-caption")).to_contain_text(
        "simulated 1 times from seed 1", timeout=20_000
    )
    expect(seen.page.locator("#waits-started-graph .legendtext")).to_have_text(["observed", "simulated"])
    seen.page.get_by_role("link", name="Runs").click()
    expect(seen.page.locator("#runs-table")).to_contain_text("done")


def test_a_class_is_chosen_and_stands_in_the_address(visit: Open) -> None:
    seen = visit("/waits?class=2%20GPUs")
    expect(seen.page.locator("#waits-started-caption")).to_contain_text("2 GPUs: n=22")
    seen.page.get_by_role("textbox", name="Jobs").click()
    seen.page.get_by_role("option", name="container").click()
    expect(seen.page.locator("#waits-started-caption")).to_contain_text("container: n=28")
    seen.page.wait_for_url("**/waits?class=container")


def test_the_window_of_the_pool_page_stands_in_the_address(visit: Open) -> None:
    seen = visit("/?win=24h")
    seen.drawn("pool-supply")
    expect(seen.page.get_by_role("radio", name="24 hours")).to_be_checked()
    seen.page.get_by_text("30 days").click()
    seen.page.wait_for_url("**/?win=30d")
    expect(seen.page.locator("#pool-supply-csv")).to_have_attribute("href", "/api/supply.csv?win=30d")


def test_a_path_that_leads_nowhere_says_so(visit: Open) -> None:
    seen = visit("/nowhere")
    expect(seen.page.get_by_text("There is no such page")).to_be_visible()


def test_a_submit_file_is_dropped_and_given_back(visit: Open) -> None:
    """Its text stands in the field and in the link, its first kind of job is answered, and it comes back as a file."""
    seen = visit("/requirements")
    text = "executable = a\nrequest_gpus = 1\ngpus_minimum_capability = 8.0\nlog_xml = true\nqueue 3\n"
    file = FilePayload(name="job.sub", mimeType="text/plain", buffer=text.encode())
    seen.page.set_input_files("#req-upload input[type=file]", files=[file])
    answer = seen.page.locator("#req-answer")
    expect(answer).to_contain_text("The submit file above")
    expect(answer).to_contain_text("3 jobs.")
    expect(answer).to_contain_text("log_xml")
    seen.page.wait_for_url("**/requirements?req=executable**")
    with seen.page.expect_download() as given:
        seen.page.get_by_role("button", name="Download as a submit file").click()
    assert "gpus_minimum_capability = 8.0" in given.value.path().read_text()

    refused = FilePayload(name="no.sub", mimeType="text/plain", buffer=b"request_gpus = 1\n")
    seen.page.set_input_files("#req-upload input[type=file]", files=[refused])
    expect(seen.page.locator("#req-dropped")).to_contain_text("no.sub: no queue statement")
    expect(answer).to_contain_text("The submit file above")


def test_two_expressions_stand_side_by_side(visit: Open) -> None:
    seen = visit("/requirements?req=GPUs_Capability%20%3E%3D%208.0&beside=GPUs_Capability%20%3E%3D%207.0")
    rows = seen.page.locator("#req-compared").get_by_role("row")
    expect(rows.filter(has_text="GPUs if drained").first).to_contain_text("+")
    seen.page.get_by_label("Other requirements").fill("CUDACapability >= 6.0")
    seen.page.wait_for_url("**beside=CUDACapability**")
    expect(rows.filter(has_text="Verdict")).to_be_visible()
