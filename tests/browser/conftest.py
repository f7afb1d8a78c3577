"""One server and one Chromium for all browser tests; a new context, and with it an empty profile, per test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from werkzeug.serving import make_server

from benchmarks import bench_dashboard
from dashboard.app import create_app
from dashboard.commands.serve import settings_for
from dashboard.data import Data
from dashboard.reports.archive import Archive
from dashboard.reports.make import Order, make
from dashboard.reports.period import Period
from dashboard.runs import Runs
from dashboard.settings import Settings
from dashboard.simulation import execute
from dashboard.worker import work
from sim.errors import PoolscopeError
from sim.store import Store, sample_path
from tests.browser.watch import FLAGS, Watched
from tests.dashboard import synthetic

Open = Callable[..., Watched]


@contextmanager
def serving(store: Store, settings: Settings, *, workers: bool = True) -> Iterator[str]:
    """The address of a dashboard over a store, with a worker."""
    runs = Runs(settings.runs, model="test")
    stop = threading.Event()
    worker = threading.Thread(target=work, args=(runs, execute), kwargs={"stop": stop})
    data = Data(store, settings)
    app = create_app(data, settings, runs)
    with suppress(PoolscopeError):  # of an empty store there is nothing to load
        data.warm()
    server = make_server("127.0.0.1", 0, app.server, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    if workers:
        worker.start()
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        stop.set()
        server.shutdown()
        thread.join(10)
        if workers:
            worker.join(30)
        server.server_close()


@dataclass(frozen=True)
class Place:
    """A dashboard and what it stands on."""

    site: str
    store: Store
    settings: Settings


@contextmanager
def placed(store: Store, folder: Path) -> Iterator[Place]:
    """A dashboard over a store as `poolscope serve` would have it, with a worker; runs and reports lie in a folder."""
    settings = replace(
        settings_for(store.path), runs=folder / "runs", reports=folder / "reports", replications=1
    )
    with serving(store, settings) as site:
        yield Place(site, store, settings)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard over the synthetic pool, with a worker."""
    store = synthetic.fill(tmp_path_factory.mktemp("store"))
    settings = Settings(
        runs=tmp_path_factory.mktemp("runs"),
        sample=True,
        class_by="ReqClass",
        source=str(store.path),
        replications=1,
        reports=tmp_path_factory.mktemp("reports"),
    )
    archive = Archive(settings.reports or store.path)
    for day in ("2026-11-22", "2026-11-23"):
        period = Period("day", pd.Timestamp(day, tz="UTC"))
        with suppress(PoolscopeError):  # of the first day there is no data, and the page says so
            make(Data(store, settings), archive, Order(period, formats=("html", "csv")))
    with serving(store, settings) as address:
        yield address


@pytest.fixture(scope="session")
def empty_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard whose collector hasn't run yet."""
    folder = tmp_path_factory.mktemp("empty")
    settings = Settings(runs=folder / "runs", source=str(folder), reports=folder / "reports")
    with serving(Store(folder / "store"), settings, workers=False) as address:
        yield address


@pytest.fixture(scope="session")
def sample_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A dashboard over the bundled sample, with a worker."""
    with placed(Store(sample_path()), tmp_path_factory.mktemp("sample")) as made:
        yield made


@pytest.fixture(scope="session")
def sample_site(sample_place: Place) -> str:
    """Its address."""
    return sample_place.site


@pytest.fixture(scope="session")
def large_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard over 2,000 slots and a month."""
    # As many days as the budgets are of, though with four snapshots a day; `benchmarks.bench_dashboard` has all of them.
    store = bench_dashboard.fill(tmp_path_factory.mktemp("large"), rounds=4)
    folder = tmp_path_factory.mktemp("large-state")
    settings = Settings(
        runs=folder / "runs", class_by="ReqClass", source=str(store.path), reports=folder / "reports"
    )
    with serving(store, settings, workers=False) as address:
        yield address


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Open]:
    """Open a page of the site; at the end every console error, page error and HTTP error fails the test."""
    with visiting(browser, site) as open_page:
        yield open_page


@contextmanager
def visiting(browser: Browser, site: str) -> Iterator[Open]:
    """What opens pages of a site; at the end every fault that they had is raised."""
    contexts: list[BrowserContext] = []
    seen: list[Watched] = []

    def open_page(path: str, *, scheme: str = "light", width: int = 1280) -> Watched:
        context = browser.new_context(
            viewport={"width": width, "height": 844 if width < 600 else 900},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        page: Page = context.new_page()
        page.set_default_timeout(20_000)
        watched = Watched(page, site)
        seen.append(watched)
        watched.go(path)
        return watched

    yield open_page
    for context in contexts:
        context.close()
    assert [fault for watched in seen for fault in watched.faults] == []


@pytest.fixture(autouse=True)
def _downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
