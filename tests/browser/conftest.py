"""One server and one Chromium for all browser tests; a new context, and with it an empty profile, per test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from werkzeug.serving import make_server

from dashboard.app import create_app
from dashboard.data import Data
from dashboard.runs import Runs
from dashboard.settings import Settings
from dashboard.simulation import execute
from dashboard.worker import work
from tests.browser.watch import FLAGS, Watched
from tests.dashboard import synthetic

Open = Callable[..., Watched]


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
    )
    runs = Runs(settings.runs, model="test")
    stop = threading.Event()
    worker = threading.Thread(target=work, args=(runs, execute), kwargs={"stop": stop})
    app = create_app(Data(store, settings), settings, runs)
    server = make_server("127.0.0.1", 0, app.server, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    worker.start()
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}"
    stop.set()
    server.shutdown()
    serving.join(10)
    worker.join(30)
    server.server_close()


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Open]:
    """Open a page of the site; at the end every console error, page error and HTTP error fails the test."""
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
