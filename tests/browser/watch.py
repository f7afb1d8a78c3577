"""A browser page that remembers what went wrong on it."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import ConsoleMessage, Page, Response

AXE = Path(__file__).parent / "vendor/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Watched:
    """A page, its site, and its faults: console errors, page errors, HTTP errors."""

    def __init__(self, page: Page, site: str) -> None:
        self.page = page
        self.site = site
        self.faults: list[str] = []
        self.bytes = 0
        self.requests = 0
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        page.on("response", self._response)

    def go(self, path: str) -> None:
        """Go to a path and wait until nothing is on its way any more."""
        self.page.goto(self.site + path, wait_until="networkidle")

    def drawn(self, *charts: str) -> None:
        """Wait until the charts have marks and Dash is at rest."""
        for chart in charts:
            self.page.wait_for_selector(
                f"#{chart}-graph .main-svg .trace, #{chart}-graph .main-svg .scatterlayer path, #{chart}-graph .heatmaplayer image",
                state="attached",
            )
        self.rest()

    def rest(self) -> None:
        """Wait until Dash is at rest."""
        self.page.wait_for_function("() => !document.querySelector('[data-dash-is-loading]')")

    def show(self, scheme: str) -> None:
        """Switch to light or dark as a user does, without loading the page again, and wait until it is so."""
        held = "document.documentElement.dataset.mantineColorScheme"
        if self.page.evaluate(held) != scheme:
            self.page.get_by_role("button", name="Switch between light and dark").click()
            self.page.wait_for_function(f"() => {held} === '{scheme}'")
        self.rest()

    def figure(self, chart: str) -> str:
        """Data and layout of a chart as JSON."""
        return str(
            self.page.evaluate(
                f"(() => {{ const g = document.querySelector('#{chart}-graph .js-plotly-plot');"
                " return JSON.stringify([g.data, g.layout]); })()"
            )
        )

    def violations(self) -> list[str]:
        """What axe finds against WCAG 2.2 AA and best practice; evaluating it bypasses the content policy."""
        self.page.wait_for_selector("h1")
        if not self.page.evaluate("typeof axe === 'object'"):
            self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate(
            f"axe.run(document, {{runOnly: {RULES}, resultTypes: ['violations'], preload: false}})"
        )
        return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found["violations"]]

    def wide(self) -> bool:
        """Whether the page scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(f"console {message.type}: {message.text}")

    def _response(self, response: Response) -> None:
        self.requests += 1
        if response.status >= 400:
            self.faults.append(f"HTTP {response.status}: {response.url}")
