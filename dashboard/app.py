"""The application: `create_app` puts shell, pages, downloads and headers together on Flask."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from typing import Any

import dash
from dash import Dash, set_props

from dashboard import api, security, shell
from dashboard.answers import keep_ready, make_ready
from dashboard.components import notice, page
from dashboard.compression import compress_static
from dashboard.data import Data
from dashboard.index import PAGE, Dashboard
from dashboard.pages import (
    about,
    containers,
    inventory,
    pool,
    reports,
    requirements,
    run,
    runs,
    scenarios,
    waits,
)
from dashboard.pages.inventory import EVERY
from dashboard.pages.requirements_state import Question
from dashboard.pages.window import USUAL
from dashboard.runs import Runs
from dashboard.settings import Settings, Trust
from dashboard.tables import GPU
from sim.errors import PoolscopeError, StoreError

log = logging.getLogger("poolscope.dashboard")

#: Callbacks whose answer is the same for everybody until there is a newer snapshot or a run ends, by their first output;
#: with what a visitor's browser asks them first, besides the scheme. None: that depends on the visitor.
STEADY: dict[str, dict[str, object] | None] = {
    "_pages_content.children": None,
    "about-numbers.children": {},
    "containers-hits-graph.figure": None,
    "containers-publication-graph.figure": None,
    "containers-strategies-graph.figure": None,
    "inv-grid.rowData": {"inv-expression.value": "", "inv-state.value": EVERY},
    "inv-hours-graph.figure": {},
    "pool-kpis.children": {"pool-window.value": USUAL},
    "req-answer.children": {"req-question.data": Question.parse({}).kept(), "req-done.data": ""},
    "sc-jobs.data": None,
    "waits-class.data": {"waits-class.id": "waits-class"},
    "waits-started-graph.figure": {"waits-class.value": GPU, "waits-done.data": ""},
}


#: Name, path, title and module of each page; registered by hand, as pages found in a folder can't be imported by tests.
PAGES = (
    ("pool", "/", "Pool", pool),
    ("waits", "/waits", "Waits", waits),
    ("requirements", "/requirements", "Requirements", requirements),
    ("inventory", "/inventory", "Inventory", inventory),
    ("scenarios", "/scenarios", "Scenarios", scenarios),
    ("containers", "/containers", "Containers", containers),
    ("runs", "/runs", "Runs", runs),
    ("run", "/runs/<name>", "Run", run),
    ("reports", "/reports", "Reports", reports),
    ("about", "/about", "About the numbers", about),
)


def create_app(data: Data, settings: Settings, runs_table: Runs) -> Dash:
    """Make the dashboard over `data`.

    Parameters
    ----------
    data : loaders over a store
    settings : how it is served
    runs_table : where long questions wait and answers lie
    """
    app = Dashboard(
        __name__,
        title="poolscope",
        update_title="",
        use_pages=True,
        pages_folder="",
        # Otherwise each index.html carries every page's layout.
        suppress_callback_exceptions=True,
        compress=True,
        health_endpoint="healthz",
        assets_ignore=r"early\.js",
        on_error=report_error,
        requests_pathname_prefix=settings.prefix,
        routes_pathname_prefix=settings.prefix,
    )
    app.index_string = PAGE.replace("EARLY", app.get_asset_url("early.js")).replace(
        "ICON", app.get_asset_url("logo.svg")
    )
    for name, path, title, module in PAGES:
        place = {"path_template": path} if "<" in path else {"path": path}
        dash.register_page(name, **place, name=title, title=f"{title} · poolscope", layout=module.layout)
    dash.register_page("not_found_404", path="/404", title="Not found · poolscope", layout=not_found)
    app.layout = shell.layout()
    shell.register(app, data)
    pool.register(app, data)
    waits.register(app, data, runs_table)
    requirements.register(app, data, runs_table)
    inventory.register(app, data)
    scenarios.register(app, data, runs_table)
    containers.register(app, data, runs_table)
    runs.register(app, runs_table)
    run.register(app, data, runs_table)
    reports.register(app, data)
    about.register(app, data, runs_table)
    api.register(app, data, runs_table)
    security.protect(app, settings.trust)
    keep_ready(app, STEADY.keys(), lambda: f"{data.mark()} {runs_table.mark()}")
    compress_static(app)
    # Dash finishes setting itself up with the first request, and a second one that comes meanwhile may be told of half the
    # callbacks, which leaves its page blank for good: so the first request is our own.
    app.server.test_client().get(f"{settings.prefix}healthz")
    return app


def welcome(app: Dash, trust: Trust) -> None:
    """Make ready what a visitor sees first, in both schemes."""
    headers = {trust.user_header: "poolscope"} if trust.user_header else {}
    for scheme in ("light", "dark"):
        shared = {"scheme.data": scheme, "url.search": ""}
        asked = {name: {**shared, **own} for name, own in STEADY.items() if own is not None}
        make_ready(app, asked, headers, peer=next(iter(trust.proxies), "127.0.0.1"))


def follow(app: Dash, data: Data) -> Callable[[], None]:
    """Start what loads each newer snapshot before it is shown; give what ends it."""
    stop = threading.Event()
    thread = threading.Thread(
        target=data.follow,
        args=(stop,),
        kwargs={"seen": lambda: welcome(app, data.settings.trust)},
        daemon=True,
    )
    thread.start()

    def end() -> None:
        # Python would abort if it ended amid a query of DuckDB.
        stop.set()
        thread.join()

    return end


def not_found() -> Any:
    """The page for a path that leads nowhere."""
    return page(
        "Not found",
        "Where does this lead?",
        notice("There is no such page", "Take one of the pages at the left.", colour="yellow"),
    )


def report_error(error: Exception) -> None:
    """Show a failed callback to its user, with an id that stands in the log; without this they'd see nothing."""
    if isinstance(error, StoreError) and str(error).startswith("no data yet"):
        set_props(
            "error",
            {
                "children": notice(
                    "No data yet", str(error)[len("no data yet: ") :].capitalize(), colour="yellow"
                )
            },
        )
        return
    if isinstance(error, PoolscopeError):
        set_props("error", {"children": notice("That didn't work", str(error), colour="yellow")})
        return
    name = uuid.uuid4().hex[:8]
    log.error("callback failed, id %s", name, exc_info=error)
    text = f"A fault of ours, id {name}: the log has the details. Reload the page to try again."
    set_props("error", {"children": notice("Something broke", text, colour="red")})
