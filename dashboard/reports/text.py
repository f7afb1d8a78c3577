"""A report as text: Markdown for a file, the summary for a mail, and its tables as CSV."""

from __future__ import annotations

import html
import re
from typing import Any

from dashboard.reports.document import Block, Chart, Note, Report, Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


def markdown(report: Report) -> str:
    """The report in Markdown; charts are left to HTML and PDF, their numbers stand in tables."""
    lines = [f"# {_escape(report.title)}", "", f"**{_escape(report.headline)}**", "", _escape(report.source)]
    for section in report.sections:
        parts = [_block(block) for block in section.blocks]
        lines += ["", f"## {_escape(section.title)}", "", "\n\n".join(part for part in parts if part)]
    return "\n".join(lines) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Note):
        return _escape(block.text)
    if isinstance(block, Chart):
        return ""
    head = "| " + " | ".join(_escape(column.header) for column in block.columns) + " |"
    rule = "|" + "|".join("---:" if column.number else "---" for column in block.columns) + "|"
    body = [f"| {' | '.join(_escape(cell) for cell in row)} |" for row in cells(block)]
    return "\n".join([f"{_escape(block.caption)}:", "", head, rule, *body])


def cells(table: Table) -> list[list[str]]:
    """The rows of a table as written."""
    return [
        [str(column.write(row[column.name])) for column in table.columns]
        for row in table.frame.to_dict("records")
    ]


def _escape(text: str) -> str:
    r"""Text that Markdown leaves as it is.

    Examples
    --------
    >>> _escape("Memory<b && c>1")
    'Memory\\<b && c\\>1'
    """
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def csv(report: Report) -> dict[str, str]:
    """The tables' raw numbers (seconds, shares) by the name of their file."""
    return {table.name: guarded(table.frame).to_csv(index=False) for table in report.tables()}


def guarded(frame: Any) -> Any:
    """A frame whose texts no spreadsheet takes for a formula: one that begins like one gets an apostrophe before it."""
    held = frame.copy()
    for name in held.columns:
        if held[name].dtype == object or str(held[name].dtype) in {"str", "string"}:
            held[name] = [
                f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
                for value in held[name]
            ]
    return held


def summary(report: Report, link: str | None) -> str:
    """The text part of the mail."""
    lines = [report.headline, "", report.source, ""]
    lines += [f"[{found.told}] {found.sentence}" for found in report.findings] or [
        "Nothing that the rules look for was found."
    ]
    totals = next((table for table in report.tables() if table.name == "totals"), None)
    if totals is not None:
        rows = [[column.header for column in totals.columns], *cells(totals)]
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        lines.append("")
        for row in rows:
            first, *rest = (
                cell.ljust(width) if not place else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            lines.append("  ".join([first, *rest]).rstrip())
    if link:
        lines += ["", f"The live page of this window: {link}"]
    return "\n".join(lines) + "\n"


def mail_html(report: Report, link: str | None, picture: str | None) -> str:
    """The HTML part of the mail: inline styles and tables only, since mail programs run no scripts."""
    cell = "padding:5px 12px 5px 0;border-bottom:1px solid #dee2e6;text-align:"
    parts = [
        '<html lang="en"><body style="font:15px/1.5 Arial,sans-serif;color:#212529;max-width:680px">',
        f'<p style="font-size:18px;font-weight:bold;margin:0 0 4px">{html.escape(report.headline)}</p>',
        f'<p style="color:#495057;font-size:13px;margin:0 0 12px">{html.escape(report.source)}</p>',
    ]
    if report.findings:
        items = "".join(f"<li><b>{f.told}</b>: {html.escape(f.sentence)}</li>" for f in report.findings)
        parts.append(f'<ul style="padding-left:18px;margin:0 0 12px">{items}</ul>')
    if picture:
        chart = next(iter(report.charts()))
        parts.append(
            f'<img src="cid:{picture}" width="640" style="max-width:100%;height:auto" '
            f'alt="{html.escape(f"{chart.title}: {chart.caption}")}">'
        )
    for table in report.tables():
        if table.name in {"totals", "waits-by-class"}:
            head = "".join(
                f'<th style="{cell}{"right" if c.number else "left"};color:#495057">{html.escape(c.header)}</th>'
                for c in table.columns
            )
            body = "".join(
                "<tr>"
                + "".join(
                    f'<td style="{cell}{"right" if c.number else "left"}">{html.escape(text)}</td>'
                    for c, text in zip(table.columns, row, strict=True)
                )
                + "</tr>"
                for row in cells(table)
            )
            parts.append(
                f'<p style="font-weight:bold;margin:14px 0 2px">{html.escape(table.caption)}</p>'
                f'<table style="border-collapse:collapse;font-size:13px"><tr>{head}</tr>{body}</table>'
            )
    if link:
        parts.append(f'<p><a href="{html.escape(link)}">Open the live page of this window</a></p>')
    return "".join([*parts, "</body></html>"])
