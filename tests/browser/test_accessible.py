"""Every page and state, light and dark, wide and narrow, over three stores: accessible, quiet, and light.

One page of one browser goes through them: each address is loaded once and then looked at in both schemes and widths.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import visiting
from tests.browser.watch import Watched

pytestmark = pytest.mark.browser

PAGES = {
    "/": ("Pool", ("pool-models", "pool-sites", "pool-supply")),
    "/waits": ("Waits", ("waits-started", "waits-classes")),
    "/inventory": ("Inventory", ("inv-hours",)),
    "/requirements": ("Requirements", ("req-clauses", "req-ladder", "req-models")),
    "/scenarios": ("Scenarios", ()),
    "/containers": (
        "Containers",
        ("containers-hits", "containers-starts", "containers-moved", "containers-publication"),
    ),
    "/runs": ("Runs", ()),
    "/reports": ("Reports", ()),
    "/about": ("About the numbers", ("about-record",)),
    "/runs/0123456789ab": ("Run 0123456789ab", ()),
    "/nowhere": ("Not found", ()),
}
STATES = {
    "never matches": "/requirements?req=GPUs_Capability%20%3E%3D%20900",
    "parse error": "/requirements?req=GPUs_Capability%20%3E%3D",
    "emptied by a filter": "/inventory?expr=GPUs_Capability%20%3E%3D%207.0%20%26%26%20Memory%20%3E%20999999999",
    "a mistake in the filter": "/inventory?expr=A%20%3E%3D",
    "a window without data": "/waits?since=2020-01-06&until=2020-01-13",
    "a link to runs that are gone": "/scenarios?cmp=0123456789ab,ba9876543210",
    "another event": "/containers?event=new%20site&variant=no%20squid",
}
#: Pages that are the same over any store.
ALIKE = ("/runs/0123456789ab", "/nowhere")
#: What an empty store has to show all the same.
WITHOUT_DATA = ("/scenarios", "/runs", "/reports")
VIEWS = ((1280, "light"), (1280, "dark"), (390, "dark"), (390, "light"))
LARGEST_FIGURE = 150_000

CASES = [
    *(("sample", path, VIEWS) for path in PAGES),
    *(("sample", path, VIEWS[::2]) for path in STATES.values()),
    *(("empty", path, VIEWS) for path in PAGES if path not in ALIKE),
    *(("large", path, VIEWS) for path in PAGES if path not in ALIKE),
    *(("large", path, VIEWS[::2]) for path in list(STATES.values())[:3]),
]


@pytest.fixture(scope="module")
def walker(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Watched]:
    """A page that goes through a dashboard; at the end its faults are raised."""
    with visiting(browser, request.getfixturevalue(f"{request.param}_site")) as open_page:
        yield open_page("/healthz")


@pytest.mark.parametrize(
    ("walker", "path", "views"),
    [
        pytest.param(store, path, views, id=f"{store} {path}", marks=[pytest.mark.slow] * (store == "large"))
        for store, path, views in CASES
    ],
    indirect=["walker"],
    scope="module",
)
def test_a_page_is_accessible_in_both_schemes_and_widths(
    walker: Watched, path: str, views: tuple[tuple[int, str], ...], request: pytest.FixtureRequest
) -> None:
    empty = request.node.callspec.id.startswith("empty")
    title, charts = PAGES.get(path, (None, ()))
    walker.go(path)
    if title:
        expect(walker.page.get_by_role("heading", level=1)).to_have_text(title)
    walker.rest()
    if not empty:
        walker.drawn(*charts)
    elif path not in WITHOUT_DATA:
        expect(walker.page.locator("#error")).to_contain_text("No data yet")
        expect(walker.page.locator("#error")).to_contain_text("poolscope collect")
    for width, scheme in views:
        walker.page.set_viewport_size({"width": width, "height": 900 if width > 600 else 844})
        walker.show(scheme)
        assert not walker.wide(), (width, scheme)
        assert walker.violations() == [], (width, scheme)
    for chart in charts if not empty else ():
        assert len(gzip.compress(walker.figure(chart).encode())) < LARGEST_FIGURE, chart
    assert walker.faults == []
