"""The frame around every page: header, navigation, freshness, colour scheme, the place for errors."""

from __future__ import annotations

from typing import Any

import dash
import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from dashboard.components import aria, link
from dashboard.data import Coverage, Data
from dashboard.figures.labels import moment
from dashboard.pages.window import parse_snap, pinned
from sim.units import format_duration

# name, path, icon (a class of the style sheet)
LINKS = (
    ("Pool", "/", "icon-pool"),
    ("Waits", "/waits", "icon-waits"),
    ("Inventory", "/inventory", "icon-inventory"),
    ("Requirements", "/requirements", "icon-requirements"),
    ("Scenarios", "/scenarios", "icon-scenarios"),
    ("Containers", "/containers", "icon-containers"),
    ("Runs", "/runs", "icon-runs"),
    ("Reports", "/reports", "icon-reports"),
    ("About the numbers", "/about", "icon-about"),
)

#: Pages whose numbers are those of one snapshot, which a link can name.
PINNED = ("", "waits", "inventory", "requirements", "containers", "about")

THEME = {
    "primaryColor": "scope",
    # 8, not Mantine's 6: white on it has a contrast of 4.5 in both schemes.
    "primaryShade": {"light": 8, "dark": 8},
    "fontFamily": 'Inter, ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
    "fontFamilyMonospace": 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace',
    "defaultRadius": "md",
    "colors": {
        "scope": [
            "#e7f4fb", "#cfe6f5", "#a0cdeb", "#6db2e0", "#449cd7", "#2a8ed2", "#1a86cf", "#0a73b7", "#00639f", "#004f80",
        ]
    },
}  # fmt: skip

REFRESH_MS = 60_000


def layout() -> dmc.MantineProvider:
    """The shell; pages come into its main landmark."""
    return dmc.MantineProvider(
        [
            html.A("Skip to the content", href="#main", className="skip-link"),
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Store(id="scheme"),
            dcc.Interval(id="refresh", interval=REFRESH_MS),
            dmc.AppShell(
                [
                    dmc.AppShellHeader(_header(), px="md"),
                    dmc.AppShellNavbar(_navigation(), p="sm", **aria(label="Pages")),
                    dmc.AppShellMain(
                        [html.Div(id="error"), html.Div(dash.page_container, className="content")],
                        id="main",
                        tabIndex=-1,
                    ),
                ],
                id="shell",
                header={"height": 56},
                navbar={"width": 216, "breakpoint": "sm", "collapsed": {"mobile": True}},
                padding="md",
            ),
        ],
        theme=THEME,
        defaultColorScheme="auto",
    )


def _header() -> html.Div:
    return html.Div(
        [
            dmc.Burger(id="burger", size="sm", hiddenFrom="sm", opened=False, **aria(label="Show the pages")),
            dcc.Link(
                [html.Span(className="logo"), html.Span("poolscope")], href=link("/"), className="brand"
            ),
            html.Div(id="freshness", className="freshness", role="status"),
            html.Span(id="shared", role="status", className="visually-hidden"),
            dmc.ActionIcon(
                html.Span(className="icon icon-share"),
                id="share",
                variant="subtle",
                size="lg",
                color="gray",
                **aria(label="Copy a link to what is shown"),
            ),
            dmc.ActionIcon(
                html.Span(className="icon icon-scheme"),
                id="scheme-toggle",
                variant="subtle",
                size="lg",
                color="gray",
                **aria(label="Switch between light and dark"),
            ),
        ],
        className="header",
    )


def _navigation() -> html.Div:
    links = [
        dmc.NavLink(
            label=name,
            href=link(path),
            variant="filled",
            active="exact" if path == "/" else "partial",
            leftSection=html.Span(className=f"icon {icon}"),
            className="nav-link",
        )
        for name, path, icon in LINKS
    ]
    return html.Div(links, className="navigation")


def freshness(
    coverage: Coverage | None, age_s: float, refresh_s: float, *, pin: str | None = None, pins: bool = False
) -> list[Any]:
    """The badge that says which data this is and how old it is.

    pin : the snapshot that the address asks for; one that is not there any more is said
    pins : the page's numbers are of one snapshot, which a shared link names
    """
    if coverage is None:
        return [_badge("No data yet", "", "stale")]
    name: Any = {"data-snapshot": coverage.snapshot} if pins else {}
    return [html.Span(_badge_of(coverage, age_s, refresh_s, pin), **name)]


def _badge_of(coverage: Coverage, age_s: float, refresh_s: float, pin: str | None) -> list[Any]:
    if pin is not None and pin != coverage.snapshot:
        return [_badge("Not the linked data", f"snapshot {pin} is gone: this is the latest", "stale")]
    if pin is not None and not coverage.sample:
        latest = html.A("latest", href="?", className="badge-link", **aria(label="Show the latest data"))
        return [_badge("Linked", f"as of {moment(coverage.until)}", "pinned"), " ", latest]
    if coverage.sample:
        detail = f"of {coverage.until:%-d %b %Y}, HTCondor {coverage.condor_version}, a real negotiator"
        return [_badge("Recorded sample", detail, "sample")]
    if age_s < 0:
        detail = f"data from {moment(coverage.until)}, which is yet to come: a clock is or was wrong"
        return [_badge("Ahead", detail, "stale")]
    if age_s > 86400:
        return [_badge("Old data", f"from {moment(coverage.until)}, {format_duration(age_s)} old", "old")]
    if age_s > 2 * refresh_s:
        return [_badge("Stale", f"data from {moment(coverage.until)}, {format_duration(age_s)} old", "stale")]
    return [_badge("Live", f"{format_duration(age_s)} old", "live")]


def _badge(word: str, detail: str, kind: str) -> html.Span:
    parts = [html.Span(className="badge-dot"), html.Strong(word)]
    if detail:
        parts.append(html.Span(f" {detail}", className="badge-detail"))
    return html.Span(parts, className=f"badge badge-{kind}", title=f"{word} {detail}".strip())


def register(app: Dash, data: Data) -> None:
    """Wire the burger, the scheme toggle and the freshness badge."""
    app.clientside_callback(
        ClientsideFunction("poolscope", "scheme"),
        Output("scheme", "data"),
        Input("scheme-toggle", "n_clicks"),
    )
    app.clientside_callback(
        ClientsideFunction("poolscope", "navbar"),
        Output("shell", "navbar"),
        Output("burger", "opened"),
        Input("burger", "opened"),
        Input("url", "pathname"),
        State("shell", "navbar"),
        prevent_initial_call=True,
    )

    app.clientside_callback(
        ClientsideFunction("poolscope", "share"),
        Output("shared", "children"),
        Output("shared", "className"),
        Input("share", "n_clicks"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("freshness", "children"),
        Input("refresh", "n_intervals"),
        Input("url", "pathname"),
        Input("url", "search"),
    )
    def show_freshness(_ticks: int | None, path: str, search: Any) -> list[Any]:
        # The other pages have no numbers of a snapshot that could be asked for.
        pins = (dash.strip_relative_path(path) or "").strip("/") in PINNED
        pin = parse_snap(search) if pins else None
        found = None if data.is_empty() else pinned(data, search if pin else None).coverage()
        age_s = data.age_s() if found else 0.0
        return freshness(found, age_s, data.settings.refresh_s, pin=pin, pins=pins)
