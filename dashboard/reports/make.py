"""Making a report: files, mails, and a status that tells the truth about both."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import sim
from dashboard.data import Data
from dashboard.reports import chromium, html, text
from dashboard.reports.archive import Archive, Status, write
from dashboard.reports.contents import compose
from dashboard.reports.document import Report
from dashboard.reports.mail import Letter, Server, check_address, send
from dashboard.reports.period import Period
from sim.errors import InputError, PoolscopeError, SourceError

FORMATS = ("html", "pdf", "md", "csv")

log = logging.getLogger("poolscope.report")


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for.

    again : make and send it even if that was done before
    operator : who is told when it fails
    picture : the mail shows its first chart
    link : address of the live dashboard
    """

    period: Period
    formats: Sequence[str] = ("html",)
    to: Sequence[str] = ()
    sender: str = "poolscope@localhost"
    server: Server = field(default_factory=Server)
    operator: str | None = None
    link: str | None = None
    again: bool = False
    picture: bool = True

    def check(self) -> None:
        """Refuse an order with anything wrong in it, before anything is made."""
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise InputError(
                f"--format {','.join(unknown) or '(none)'}: expected some of {', '.join(FORMATS)}"
            )
        for address in (*self.to, self.sender, *([self.operator] if self.operator else [])):
            check_address(address)
        if self.to or self.operator:
            self.server.check()
        if self.link is not None and not self.link.startswith(("http://", "https://")):
            raise InputError(
                f"--link {self.link[:80]}: expected an address that begins with http:// or https://"
            )


def make(data: Data, archive: Archive, order: Order) -> Status:
    """Make and send a report unless that was done; the status is written whatever happens.

    Raises
    ------
    InputError : the order, or no data for the period
    SourceError : Chromium or the mail server; what could be made is there, and the status says what isn't
    StoreError : the folder can't be written
    """
    order.check()
    with archive.held(order.period) as place:
        status = archive.status(order.period)
        try:
            report = _files(data, place, status, order)
            archive.keep(order.period, status)
            _mails(report or data, archive, place, status, order)
        except PoolscopeError as error:
            _failed(archive, status, order, str(error))
            raise
        except Exception as error:
            _failed(archive, status, order, f"a fault of ours: {error.__class__.__name__}: {error}")
            raise
        status.error, status.state, status.told_operator = None, "done", ""
        archive.keep(order.period, status)
        return status


def _files(data: Data, place: Path, status: Status, order: Order) -> Report | None:
    """Make the files that are asked for and not there yet; give the report if it was composed for that."""
    here = data.over(order.period.window)
    stamp = _stamp(here, order)
    wanted = {name: f".{name}" for name in order.formats}
    if order.again or status.stamp != stamp:
        status.files = []
    missing = [
        name
        for name, suffix in wanted.items()
        if not any(_there(place, file, suffix) for file in status.files)
    ]
    if not missing:
        return None
    report = compose(data, order.period)
    status.headline, status.numbers, status.stamp = report.headline, report.numbers, stamp
    status.made_at = datetime.now(UTC).isoformat(timespec="seconds")
    stem = _stem(order.period)
    parts: dict[str, str] = {}
    if "csv" in missing:
        parts |= {f"{stem}-{name}.csv": content for name, content in text.csv(report).items()}
    if "md" in missing:
        parts[f"{stem}.md"] = text.markdown(report)
    if "html" in missing or "pdf" in missing:
        parts[f"{stem}.html"] = html.render(report, link=_live(order))
    for (
        name,
        content,
    ) in parts.items():  # each is told as soon as it is there: the disk may be full with the next
        write(place / name, content.encode())
        status.files = sorted({*status.files, name})
    if "pdf" in missing:
        chromium.print_pdf(place / f"{stem}.html", place / f"{stem}.pdf")
        status.files = sorted({*status.files, f"{stem}.pdf"})
    return report


def _there(place: Path, file: str, suffix: str) -> bool:
    return file.endswith(suffix) and (place / file).is_file()


def _stem(period: Period) -> str:
    return f"poolscope-{period.kind}-{period.name}"


def _live(order: Order) -> str | None:
    """The live dashboard's page of the same window."""
    if order.link is None:
        return None
    return f"{order.link.rstrip('/')}/waits?{urlencode({'since': f'{order.period.since:%Y-%m-%d}', 'until': f'{order.period.until:%Y-%m-%d}'})}"


def _stamp(here: Data, order: Order) -> str:
    """What a report is made from: the snapshots of its window, the version, the link it carries."""
    coverage = here.coverage()
    parts = (coverage.snapshot, coverage.n_snapshots, sim.__version__, order.link or "")
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def _mails(source: Report | Data, archive: Archive, place: Path, status: Status, order: Order) -> None:
    if order.again:
        status.sent = {address: when for address, when in status.sent.items() if address not in order.to}
    waiting = [address for address in dict.fromkeys(order.to) if address not in status.sent]
    stuck = [address for address in order.to if status.sent.get(address) == "sending"]
    if stuck:
        log.warning(
            "an earlier run was interrupted while it sent to %s; --again sends it anew", ", ".join(stuck)
        )
    if not waiting:
        return
    report = source if isinstance(source, Report) else compose(source, order.period)
    letter = _letter(report, place, status, order)
    failures = []
    for address in waiting:
        # Marked before: a run that is killed in between must not send twice.
        status.sent[address] = "sending"
        archive.keep(order.period, status)
        try:
            send(order.server, letter.to(address))
        except SourceError as error:
            del status.sent[address]
            failures.append(str(error))
        else:
            status.sent[address] = datetime.now(UTC).isoformat(timespec="seconds")
        archive.keep(order.period, status)
    if failures:
        raise SourceError("; ".join(dict.fromkeys(failures)))


def _letter(report: Report, place: Path, status: Status, order: Order) -> Letter:
    attached = [place / name for name in status.files if name.endswith((".pdf", ".csv"))]
    if not any(path.suffix == ".pdf" for path in attached):
        attached += [place / name for name in status.files if name.endswith(".html")]
    picture = _picture(report, place, status, order)
    words = text.summary(report, _live(order))
    return Letter(
        sender=order.sender,
        subject=f"[poolscope] {report.subject}",
        text=words,
        html=text.mail_html(report, _live(order), "chart" if picture else None),
        picture=picture,
        attachments=attached,
        thread=f"report {order.period.kind} {order.period.name}",
    )


def _picture(report: Report, place: Path, status: Status, order: Order) -> bytes | None:
    """The first chart as a PNG, made once; without Chromium the mail goes without it: its numbers stand in tables."""
    if not order.picture or not report.charts():
        return None
    target = place / f"{_stem(order.period)}-chart.png"
    try:
        if target.name not in status.files:
            page = place / f".{_stem(order.period)}-chart.html"
            write(page, html.render(report).encode())
            height = int(report.charts()[0].draw("light").layout.height) + 74
            try:
                chromium.picture(page, target, height=height)
            finally:
                page.unlink(missing_ok=True)
            status.files = sorted({*status.files, target.name})
        return target.read_bytes()
    except (SourceError, OSError) as error:
        log.warning("the mail goes without its picture: %s", error)
        return None


def _failed(archive: Archive, status: Status, order: Order, reason: str) -> None:
    """Write down a failure and tell the operator, once for each reason; neither may hide the failure itself."""
    status.error, status.state = reason, "partial" if status.files else "failed"
    try:
        if order.operator and status.told_operator != reason:
            try:
                send(order.server, _complaint(order, reason).to(order.operator))
                status.told_operator = reason
            except PoolscopeError as error:
                log.warning("the operator can't be told: %s", error)
        archive.keep(order.period, status)
    except PoolscopeError as error:
        log.warning("the failure can't be written down: %s", error)


def _complaint(order: Order, reason: str) -> Letter:
    return Letter(
        sender=order.sender,
        subject=f"[poolscope] the report for the {order.period.title} failed",
        text=f"The report for the {order.period.title} failed:\n\n{reason}\n",
        thread=f"failure {order.period.kind} {order.period.name} {reason}",
    )
