"""A report as one HTML file that needs nothing else: styles, figures and plotly's cartesian bundle are inside."""

from __future__ import annotations

import html
import json
from functools import cache
from importlib import resources
from typing import Any

import plotly.graph_objects as go

from dashboard.columns import Column
from dashboard.reports.document import Block, Chart, Note, Report, Section, Table
from dashboard.reports.findings import Finding

ROWS = 400

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<p class="brand">{pool}</p>
<h1>{period}</h1>
<p class="headline">{headline}</p>
<p class="quiet">{source}</p>
{link}
</header>
{sections}
</main>
{scripts}
</body>
</html>
"""

_STYLE = """
:root { --ink: #212529; --muted: #495057; --line: #dee2e6; --page: #f4f6f8; --card: #ffffff; --act: #b3420f; --act-wash: #fdebe3;
  --look: #8f5a00; --look-wash: #fdf1dc; --good: #00785a; --good-wash: #e3f5ef; --accent: #00639f; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e9ecef; --muted: #c1c2c5; --line: #363b42; --page: #16191d; --card: #22262b; --act: #ff9a6b; --act-wash: #40241a;
    --look: #f2bb55; --look-wash: #3a2e17; --good: #5fd3b0; --good-wash: #16352d; --accent: #7cc4f0; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 Inter, ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 28px 20px 60px; }
.brand { margin: 0; color: var(--muted); font-size: 13px; font-weight: 600; }
h1 { margin: 2px 0 6px; font-size: 28px; line-height: 1.2; letter-spacing: -0.02em; }
h1::first-letter { text-transform: uppercase; }
.headline { margin: 0 0 6px; font-size: 18px; font-weight: 600; }
h2 { margin: 0 0 10px; font-size: 18px; letter-spacing: -0.01em; }
h3 { margin: 0 0 2px; font-size: 14px; font-weight: 640; }
section { margin-top: 16px; padding: 18px 20px; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
p { margin: 0 0 8px; }
.quiet { color: var(--muted); font-size: 13px; }
figure { margin: 0 0 14px; }
figcaption { color: var(--muted); font-size: 13px; }
.plot { width: 100%; }
.scroll { overflow-x: auto; margin-bottom: 10px; }
table { width: 100%; border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
caption { padding: 0 0 4px; text-align: left; font-size: 14px; font-weight: 640; }
th { color: var(--muted); font-weight: 600; text-align: left; white-space: nowrap; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: break-word; }
th:first-child, td:first-child { min-width: 9em; }
.number + :not(.number) { padding-left: 14px; }
tr:last-child td { border-bottom: 0; }
.number { text-align: right; padding-right: 10px; white-space: nowrap; }
ul.findings { margin: 0 0 8px; padding: 0; list-style: none; }
ul.findings li { display: flex; gap: 10px; align-items: baseline; padding: 7px 0; border-bottom: 1px solid var(--line); }
ul.findings li:last-child { border-bottom: 0; }
.tag { flex: none; min-width: 84px; padding: 1px 9px; border-radius: 999px; font-size: 12px; font-weight: 640; text-align: center; }
.tag-act { background: var(--act-wash); color: var(--act); }
.tag-look { background: var(--look-wash); color: var(--look); }
.tag-resolved { background: var(--good-wash); color: var(--good); }
a { color: var(--accent); }
@page { size: A4; margin: 14mm 14mm 16mm; }
@media print {
  body { background: none; font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  section { border: 0; padding: 0; margin-top: 16px; border-radius: 0; }
  figure, tr, li, section:last-of-type { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
}
@media (max-width: 480px) { main { padding: 18px 12px 40px; } section { padding: 14px; } h1 { font-size: 23px; }
  th, td { padding-right: 9px; } }
"""

# The scheme follows the reader's system; on paper it is light. `#print` and `#picture` are how the PDF and the mail's picture ask.
_DRAW = """
(function () {
  var asked = window.location.hash.slice(1);
  var paper = asked === "print" || asked === "picture";
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var figures = JSON.parse(document.getElementById("figures").textContent);
  if (asked === "print") { document.querySelector("main").style.width = "688px"; }
  if (asked === "picture") {
    document.querySelectorAll("section, header").forEach(function (part) { part.style.display = "none"; });
    var first = document.querySelector("figure");
    if (first) {
      document.body.style.background = "#ffffff";
      document.querySelector("main").style.cssText = "max-width: none; padding: 12px";
      document.querySelector("main").replaceChildren(first);
    }
  }
  function draw() {
    document.querySelectorAll(".plot").forEach(function (place) {
      var both = figures[place.id];
      var figure = both[!paper && dark.matches ? "dark" : "light"];
      Plotly.react(place, figure.data, figure.layout, {
        displaylogo: false, displayModeBar: false, responsive: !paper, staticPlot: paper
      });
    });
  }
  draw();
  dark.addEventListener("change", draw);
})();
"""


def render(report: Report, *, link: str | None = None) -> str:
    """The file's content; `link` leads to the live page of the same window."""
    charts = report.charts()
    scripts = ""
    if charts:
        figures = {
            f"plot-{chart.name}": {"light": _figure(chart.draw("light")), "dark": _figure(chart.draw("dark"))}
            for chart in charts
        }
        scripts = (
            f'<script type="application/json" id="figures">{_json(figures)}</script>'
            f"<script>{bundle()}</script><script>{_DRAW}</script>"
        )
    return _PAGE.format(
        title=html.escape(report.title),
        style=_STYLE,
        pool=html.escape(report.pool),
        period=html.escape(report.period.title),
        headline=html.escape(report.headline),
        source=html.escape(report.source),
        link=f'<p class="quiet"><a href="{html.escape(link)}">Open the live dashboard for this window</a></p>'
        if link
        else "",
        sections="\n".join(_section(section, report.findings) for section in report.sections),
        scripts=scripts,
    )


@cache
def bundle() -> str:
    """The vendored plotly.js, fit to stand in an element."""
    text = resources.files("dashboard").joinpath("assets/plotly-cartesian.min.js").read_text(encoding="utf-8")
    return text.replace("</script", "<\\/script")


def _figure(figure: go.Figure) -> Any:
    return json.loads(figure.to_json())


def _json(held: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    text = json.dumps(held, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _section(section: Section, findings: Any) -> str:
    parts = [_block(block, findings) for block in section.blocks]
    return f"<section><h2>{html.escape(section.title)}</h2>{''.join(parts)}</section>"


def _block(block: Block, findings: Any) -> str:
    if isinstance(block, Note):
        return f"<p{' class=quiet' if block.quiet else ''}>{html.escape(block.text)}</p>"
    if isinstance(block, Chart):
        height = int(block.draw("light").layout.height)
        return (
            f'<figure aria-label="{html.escape(block.title)}"><h3>{html.escape(block.title)}</h3>'
            f'<div class="plot" id="plot-{block.name}" style="height:{height}px"></div>'
            f"<figcaption>{html.escape(block.caption)}</figcaption></figure>"
        )
    if block.name == "findings":
        return _findings(findings)
    return _table(block)


def _findings(findings: list[Finding]) -> str:
    rows = []
    for found in findings:
        kind = "resolved" if found.state == "resolved" else found.severity
        rows.append(
            f'<li><span class="tag tag-{kind}">{found.told}</span><span>{html.escape(found.sentence)}</span></li>'
        )
    return f'<ul class="findings">{"".join(rows)}</ul>'


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_kind(column)}>{html.escape(column.header)}</th>' for column in table.columns
    )
    body = [
        "".join(
            f"<td{_kind(column)}>{html.escape(str(column.write(row[column.name])))}</td>"
            for column in table.columns
        )
        for row in table.frame.head(ROWS).to_dict("records")
    ]
    rows = "".join(f"<tr>{cells}</tr>" for cells in body)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(table.caption)}"><table><caption>{html.escape(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _kind(column: Column) -> str:
    return ' class="number"' if column.number else ""
