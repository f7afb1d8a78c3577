"""The pages over 2,000 slots and a month: accessible, quiet, within their budgets."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from benchmarks.bench_dashboard import fill
from dashboard.settings import Settings
from tests.browser.conftest import Open, serving, visiting
from tests.browser.test_dashboard import PAGES

pytestmark = [pytest.mark.browser, pytest.mark.slow]

STATES = {
    "never matches": "/requirements?req=GPUs_Capability%20%3E%3D%20900",
    "parse error": "/requirements?req=GPUs_Capability%20%3E%3D",
    "emptied by a filter": "/inventory?expr=GPUs_Capability%20%3E%3D%207.0%20%26%26%20Memory%20%3E%20999999999",
    "a window without data": "/waits?since=2020-01-06&until=2020-01-13",
    "another event": "/containers?event=new%20site&variant=no%20squid",
}


@pytest.fixture(scope="module")
def large_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = fill(tmp_path_factory.mktemp("large"), every_min=720)
    settings = Settings(
        runs=tmp_path_factory.mktemp("runs"), class_by="ReqClass", source=str(store.path), reports=tmp_path_factory.mktemp("reports")
    )  # fmt: skip
    with serving(store, settings, workers=False) as address:
        yield address


@pytest.fixture
def visit(browser: Browser, large_site: str) -> Iterator[Open]:
    with visiting(browser, large_site) as open_page:
        yield open_page


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_pages_and_states_are_accessible_and_light(visit: Open, scheme: str, width: int) -> None:
    seen = visit("/healthz", scheme=scheme, width=width)
    paths = {
        path: charts for path, (_, charts) in PAGES.items() if not path.startswith(("/runs/", "/nowhere"))
    }
    for path, charts in {**paths, **dict.fromkeys(STATES.values(), ())}.items():
        seen.go(path)
        seen.drawn(*charts)
        expect(seen.page.get_by_role("heading", level=1)).to_be_visible()
        assert not seen.wide(), path
        assert seen.violations() == [], path
        for chart in charts:
            figure = seen.page.evaluate(
                f"(() => {{ const g = document.querySelector('#{chart}-graph .js-plotly-plot');"
                " return JSON.stringify([g.data, g.layout]); })()"
            )
            assert len(gzip.compress(figure.encode())) < 150_000, chart
