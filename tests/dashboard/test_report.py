"""The report: its numbers, its files, its mails, and how it fails."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pypdf import PdfReader

from dashboard import tables
from dashboard.data import Data
from dashboard.reports import html, text
from dashboard.reports.archive import Archive, Status, write
from dashboard.reports.contents import compose
from dashboard.reports.document import Report
from dashboard.reports.facts import gather
from dashboard.reports.findings import findings
from dashboard.reports.mail import Server
from dashboard.reports.make import Order, make
from dashboard.reports.period import Period, choose
from dashboard.settings import Settings
from dashboard.tables import GPU
from sim.errors import InputError, PoolscopeError, SourceError, StoreError
from sim.store import Snapshot, Store
from tests import needs
from tests.dashboard import mailbox, weeks
from tests.dashboard.mailbox import Mailbox
from tests.realpool.privilege import as_root

COMMAND = [sys.executable, "-c", "from dashboard.cli import main; main()"]
SECOND = Period("week", weeks.SECOND)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return weeks.fill(tmp_path_factory.mktemp("weeks"))


@pytest.fixture(scope="module")
def data(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(
        store, Settings(runs=tmp_path_factory.mktemp("runs"), class_by="ReqClass", source=str(store.path))
    )


@pytest.fixture(scope="module")
def report(data: Data) -> Report:
    return compose(data, SECOND)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    with mailbox.serving(tmp_path_factory.mktemp("mail")) as running:
        yield running


@pytest.fixture
def server(box: Mailbox, tmp_path: Path) -> Server:
    box.messages.clear()
    box.refuse.clear()
    return box.server(tmp_path)


def run(*arguments: str, state: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    held = {**os.environ, "XDG_STATE_HOME": str(state), "XDG_DATA_HOME": str(state), **environment}
    held.pop("POOLSCOPE_DATA", None)
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=held, timeout=120, check=False
    )


# ---- numbers


def test_the_numbers_are_what_the_store_was_made_of(data: Data) -> None:
    facts = gather(data.over(SECOND.window))
    numbers = facts.numbers
    assert numbers["gpu_jobs"] == 44
    assert numbers["gpu_jobs_waiting"] == 4
    assert numbers["p50_wait_s"] == weeks.WAIT_S[1]
    assert numbers["p90_wait_s"] == weeks.WAIT_S[1]  # 40 of 44 started, all after an hour
    assert numbers["p99_wait_s"] is None
    assert numbers["allocation"] == 0.0
    assert numbers["gpus_failing_to_match"] == 4
    assert numbers["gpu_h"] == pytest.approx(40 * 0.5)
    assert numbers["gpu_goodput"] == pytest.approx(0.75)
    assert numbers["evictions_per_1000_gpu_h"] == pytest.approx(1000 * 10 / 20)
    assert numbers["setup_p90_s"] == 5.0
    assert numbers["coverage"] == pytest.approx(1.0)
    assert numbers["unmet_gpu_h"] == pytest.approx(40 * 1.0)
    strict = facts.strictness.set_index("kind")["share"]
    assert strict["capability"] == pytest.approx(40 / 44)
    assert strict["device memory"] == pytest.approx(4 / 44)


@pytest.mark.slow
def test_figures_equal_those_of_the_pages_for_the_same_window(
    data: Data, store: Store, report: Report, tmp_path: Path
) -> None:
    here = data.over(SECOND.window)
    row = here.waits().set_index("group").loc[GPU]
    assert report.numbers["p90_wait_s"] == row["p90_s"]
    assert report.numbers["allocation"] == tables.allocation(here.supply())
    by_class = next(table for table in report.tables() if table.name == "waits-by-class")
    told = by_class.frame.set_index("group")["p90_s"]
    pd.testing.assert_series_equal(
        told.sort_index(), here.waits().set_index("group")["p90_s"].sort_index(), check_names=False
    )
    done = run(
        "report", "--data", str(store.path), "--of", "2026-11-17", "--format", "csv,md", "--out", str(tmp_path / "out"), "--json",
        state=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert {key: answer["numbers"][key] for key in report.numbers} == pytest.approx(
        report.numbers, nan_ok=True
    )
    assert answer["period"]["name"] == "2026-W47"
    waits = next(Path(name) for name in answer["files"] if name.endswith("waits-by-class.csv"))
    assert pd.read_csv(waits).set_index("group").loc[GPU, "p90_s"] == row["p90_s"]


def test_the_headline_carries_the_change(report: Report) -> None:
    assert report.headline == "p90 wait 1 h (+500 %), allocation 0 %, 4 GPUs failing to match"
    assert report.subject.startswith("poolscope, week of 16 Nov 2026: p90 wait 1 h (+500 %)")


def test_findings_are_new_ongoing_and_resolved(report: Report) -> None:
    held = {found.key: found.state for found in report.findings}
    assert held["impossible:huge"] == "resolved"
    assert held[f"impossible:{weeks.HOSTILE}"] == "new"
    assert held["source:schedd"] == "new"
    assert held["slower:usual"] == "new"
    assert held["goodput"] == "new"


def test_a_finding_that_stays_is_ongoing(data: Data) -> None:
    facts = gather(data.over(SECOND.window))
    assert {found.state for found in findings(facts, facts)} == {"ongoing"}


# ---- the mismatch rule


def _mismatch_jobs(slow_from: int, burst_at: int | None = None) -> pd.DataFrame:
    rows = []
    for hour in range(72):
        wait = 7200.0 if hour >= slow_from else 600.0
        for _ in range(600 if hour == burst_at else 2):
            submitted = weeks.FIRST + pd.Timedelta(hours=hour, minutes=1)
            rows.append(
                {"submitted_at": submitted, "first_started_at": submitted + pd.Timedelta(seconds=wait)}
            )
    frame = pd.DataFrame(rows)
    return frame.assign(
        request_gpus=1,
        status="completed",
        entered_status_at=frame["first_started_at"],
        seen_at=frame["first_started_at"],
    )


def _mismatch_supply(free: int) -> pd.DataFrame:
    times = pd.date_range(weeks.FIRST, periods=72 * 4, freq="15min")
    return pd.DataFrame({"seen_at": times, "free": free, "gpus": 20})


def test_idle_gpus_beside_slow_starts_are_a_mismatch() -> None:
    from dashboard.reports.mismatch import find

    found = find(_mismatch_jobs(slow_from=40), _mismatch_supply(free=5))
    (spell,) = found.spells.to_dict("records")
    # From hour 40 jobs start two hours later; when most of the last 12 h of starts are slow ones, the median has jumped.
    assert weeks.FIRST + pd.Timedelta(hours=46) <= spell["since"] <= weeks.FIRST + pd.Timedelta(hours=49)
    assert spell["median_s"] == 7200.0
    assert spell["free"] == 5.0


@pytest.mark.parametrize(
    ("slow_from", "free", "why"),
    [(40, 1, "too few are free"), (72, 5, "nobody waits longer"), (0, 5, "it was always so")],
)
def test_what_is_no_mismatch(slow_from: int, free: int, why: str) -> None:
    from dashboard.reports.mismatch import find

    assert find(_mismatch_jobs(slow_from), _mismatch_supply(free)).spells.empty, why


def test_too_little_data_is_not_judged() -> None:
    from dashboard.reports.mismatch import find

    assert not find(_mismatch_jobs(40), _mismatch_supply(5).head(20)).judged


# ---- files


class _Links(HTMLParser):
    """Everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [
            f"{tag} {value}" for name, value in attrs if name in {"src", "href", "srcset", "data"} and value
        ]


def test_the_html_needs_nothing_else(report: Report) -> None:
    parser = _Links()
    parser.feed(html.render(report))
    assert parser.found == []


def test_hostile_text_stays_text_in_every_format(report: Report) -> None:
    page = html.render(report)
    head, _, _ = page.partition('<script type="application/json"')
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; Memory&lt;b &amp;&amp; c&gt;1" in head
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    names = [note["text"] for note in figures["plot-waits"]["light"]["layout"]["annotations"]]
    assert any("&lt;script&gt;alert(1)" in name for name in names)
    assert "\\<script\\>alert(1)" in text.markdown(report)
    assert "<script>alert(1)" not in text.mail_html(report, None, None)
    frame = pd.read_csv(StringIO(text.csv(report)["waits-by-class"]))
    assert weeks.HOSTILE in set(frame["group"])


def test_a_cell_is_no_formula() -> None:
    frame = text.guarded(pd.DataFrame({"group": ["=1+1", "@x", "usual", "-2"], "n": [1, 2, 3, -4]}))
    assert frame["group"].tolist() == ["'=1+1", "'@x", "usual", "'-2"]
    assert frame["n"].tolist() == [1, 2, 3, -4]


def test_the_second_call_makes_nothing(data: Data, tmp_path: Path) -> None:
    order = Order(SECOND, formats=("html", "csv"))
    first = make(data, Archive(tmp_path), order)
    place = Archive(tmp_path).place(SECOND)
    times = {name: (place / name).stat().st_mtime_ns for name in first.files}
    again = make(data, Archive(tmp_path), order)
    assert again.files == first.files
    assert {name: (place / name).stat().st_mtime_ns for name in first.files} == times


def test_two_reports_of_a_period_are_the_same(data: Data, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make(data, Archive(tmp_path / name), Order(SECOND, formats=("html", "md", "csv")))
    one, other = (
        {path.name: path.read_bytes() for path in Archive(tmp_path / name).place(SECOND).glob("poolscope*")}
        for name in ("a", "b")
    )
    assert one == other


@pytest.mark.browser
@pytest.mark.slow
def test_the_pdf_is_tagged_and_whole(data: Data, tmp_path: Path) -> None:
    status = make(data, Archive(tmp_path), Order(SECOND, formats=("pdf",)))
    (name,) = (name for name in status.files if name.endswith(".pdf"))
    reader = PdfReader(Archive(tmp_path).place(SECOND) / name)
    root: Any = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en"
    words = "\n".join(page.extract_text() for page in reader.pages)
    for title in (
        "Findings",
        "Totals",
        "Supply",
        "Demand",
        "Waits",
        "Goodput",
        "Ladder",
        "jobs started (%)",
        "GPUs, mean",
    ):
        assert title in words
    assert "Memory<b && c>1" in words
    embedded = []
    for page in reader.pages:
        for font in page["/Resources"].get("/Font", {}).values():  # type: ignore[attr-defined]
            held: Any = font.get_object()
            for part in held.get("/DescendantFonts", [held]):
                embedded.append(
                    "/FontFile2" in part.get_object()["/FontDescriptor"]
                    or "/FontFile3" in part.get_object()["/FontDescriptor"]
                )
    assert embedded
    assert all(embedded)


# ---- mail


def test_a_mail_arrives_with_all_its_parts(data: Data, box: Mailbox, server: Server, tmp_path: Path) -> None:
    order = Order(
        SECOND,
        formats=("html", "csv"),
        picture=False,
        to=["ops@example.org"],
        sender="pool@example.org",
        server=server,
        link="https://pool.example/",
    )
    status = make(data, Archive(tmp_path), order)
    assert list(status.sent) == ["ops@example.org"]
    ((recipients, message),) = box.messages
    assert recipients == ["ops@example.org"]
    assert box.clear == 0
    assert (
        message["Subject"]
        == "[poolscope] poolscope, week of 16 Nov 2026: p90 wait 1 h (+500 %), allocation 0 %, 4 GPUs failing to match"
    )
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["List-Id"]
    assert message["Message-ID"].endswith("@example.org>")
    kinds = [part.get_content_type() for part in message.walk()]
    assert kinds[0] == "multipart/mixed"
    assert {"multipart/alternative", "text/plain", "text/html", "text/csv"} <= set(kinds)
    plain = message.get_body(("plain",))
    rich = message.get_body(("html",))
    assert plain is not None
    assert rich is not None
    assert "p90 wait of GPU jobs" in plain.get_content()
    assert "https://pool.example/waits?since=2026-11-16&until=2026-11-23" in plain.get_content()
    attached = {part.get_filename() for part in message.iter_attachments()}
    assert "poolscope-week-2026-W47.html" in attached
    assert "poolscope-week-2026-W47-waits-by-class.csv" in attached


@pytest.mark.browser
@pytest.mark.slow
def test_the_mail_carries_its_picture(data: Data, box: Mailbox, server: Server, tmp_path: Path) -> None:
    make(
        data,
        Archive(tmp_path),
        Order(SECOND, to=["ops@example.org"], sender="pool@example.org", server=server),
    )
    ((_, message),) = box.messages
    (picture,) = (part for part in message.walk() if part.get_content_type() == "image/png")
    content = picture.get_content()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000
    rich = message.get_body(("related", "html"))
    assert rich is not None
    assert "cid:chart" in str(rich)
    assert picture["Content-ID"] == "<chart>"


@pytest.mark.slow
def test_running_it_twice_sends_once(data: Data, box: Mailbox, server: Server, tmp_path: Path) -> None:
    order = Order(
        SECOND, picture=False, to=["a@example.org", "b@example.org"], sender="pool@example.org", server=server
    )
    make(data, Archive(tmp_path), order)
    make(data, Archive(tmp_path), order)
    make(data, Archive(tmp_path), replace(order, to=["b@example.org", "c@example.org"]))
    assert [recipients for recipients, _ in box.messages] == [
        ["a@example.org"],
        ["b@example.org"],
        ["c@example.org"],
    ]
    ids = {message["Message-ID"] for _, message in box.messages}
    assert len(ids) == 3
    make(data, Archive(tmp_path), replace(order, to=["a@example.org"], again=True))
    assert box.messages[-1][0] == ["a@example.org"]
    assert box.messages[-1][1]["Message-ID"] in ids


def test_a_run_that_was_killed_while_it_sent_does_not_send_again(
    data: Data, box: Mailbox, server: Server, tmp_path: Path
) -> None:
    archive = Archive(tmp_path)
    order = Order(SECOND, picture=False, to=["a@example.org"], sender="pool@example.org", server=server)
    status = make(data, archive, replace(order, to=()))
    status.sent["a@example.org"] = "sending"
    archive.keep(SECOND, status)
    make(data, archive, order)
    assert box.messages == []


def test_a_refused_recipient_keeps_nobody_else_from_it(
    data: Data, box: Mailbox, server: Server, tmp_path: Path
) -> None:
    box.refuse.add("gone@example.org")
    order = Order(
        SECOND,
        picture=False,
        to=["gone@example.org", "a@example.org"],
        sender="pool@example.org",
        server=server,
        operator="root@example.org",
    )
    with pytest.raises(SourceError, match=r"refuses gone@example\.org: no such person"):
        make(data, Archive(tmp_path), order)
    status = Archive(tmp_path).status(SECOND)
    assert (status.state, list(status.sent)) == ("partial", ["a@example.org"])
    assert [recipients for recipients, _ in box.messages] == [["a@example.org"], ["root@example.org"]]
    assert "failed" in box.messages[-1][1]["Subject"]
    box.refuse.clear()
    assert make(data, Archive(tmp_path), order).state == "done"
    assert [recipients for recipients, _ in box.messages][2:] == [["gone@example.org"]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"user": "nobody"}, "refuses --smtp-user nobody"),
        ({"ca_file": None}, "its TLS certificate or protocol isn't accepted"),
        ({"port": 1}, "can't be reached"),
    ],
)
def test_a_mail_server_that_fails_is_told(
    data: Data, server: Server, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    order = Order(
        SECOND,
        picture=False,
        to=["a@example.org"],
        sender="pool@example.org",
        server=replace(server, **change),
    )
    with pytest.raises(SourceError, match=reason):
        make(data, Archive(tmp_path), order)
    status = Archive(tmp_path).status(SECOND)
    assert (status.state, status.sent) == ("partial", {})
    assert reason in str(status.error)
    assert status.files


def test_no_password_goes_in_the_clear(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs TLS"):
        Server("127.0.0.1", 25, "none", "me", tmp_path).check()
    with pytest.raises(InputError, match="this machine only"):
        Server("mail.example.org", 25, "none").check()


@pytest.mark.parametrize("address", ["a@b\nBcc: c@d", "a@b, c@d", "nobody", "Bob <a@b>", "a@b>", ""])
def test_an_address_is_one_address(address: str) -> None:
    with pytest.raises(InputError):
        Order(SECOND, picture=False, to=[address]).check()


# ---- failures


def test_a_period_without_data_says_so(data: Data, box: Mailbox, server: Server, tmp_path: Path) -> None:
    order = Order(
        Period("week", weeks.FIRST - pd.Timedelta(days=70)),
        sender="pool@example.org",
        server=server,
        operator="root@example.org",
    )
    for _ in range(2):
        with pytest.raises(
            PoolscopeError,
            match=r"no snapshot from 2026-08-31 .*; the newest in the store is of 2026-11-22 22:00",
        ):
            make(data, Archive(tmp_path), order)
    status = Archive(tmp_path).status(order.period)
    assert (status.state, status.files) == ("failed", [])
    assert len(box.messages) == 1  # the operator, once
    assert "no snapshot from 2026-08-31" in str(box.messages[0][1])


@pytest.mark.slow
def test_half_a_week_says_how_much(store: Store, tmp_path: Path) -> None:
    part = Store(tmp_path / "half")
    for name, taken_at in store.snapshots()[["id", "taken_at"]].to_numpy().tolist():
        if weeks.SECOND <= taken_at < weeks.SECOND + pd.Timedelta(days=3):
            frames = {frame: store.read(frame, snapshot=name) for frame in ("devices", "slots")}
            part.append(Snapshot(name, taken_at.to_pydatetime(), frames))
    made = compose(Data(part, Settings(runs=tmp_path, source=str(part.path))), SECOND)
    keys = {found.key for found in made.findings}
    assert {"coverage", "silent"} <= keys
    words = text.markdown(made)
    assert "The collector covers 43 % of the window" in words
    assert "No job was submitted in the window" in words
    assert made.headline.startswith("no GPU jobs")


def test_stale_data_is_no_report_of_today(store: Store, tmp_path: Path) -> None:
    """Of a collector that stopped days ago: the period that has ended since has no report, and it says until when there are data."""
    done = run(
        "report",
        "--period",
        "day",
        "--data",
        str(store.path),
        "--of",
        "2026-11-25",
        "--out",
        str(tmp_path),
        state=tmp_path,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    told = "no snapshot from 2026-11-25 00:00 to 2026-11-26 00:00 UTC; the newest in the store is of 2026-11-22 22:00 UTC"
    assert done.stderr.splitlines()[-1] == f"poolscope: {told}"
    status = Archive(tmp_path).status(Period("day", pd.Timestamp("2026-11-25", tz="UTC")))
    assert (status.state, status.error, status.files) == ("failed", told, [])


@pytest.mark.slow
def test_without_chromium_the_rest_is_there(store: Store, tmp_path: Path) -> None:
    done = run(
        "report", "--data", str(store.path), "--of", "2026-11-17", "--format", "html,pdf", "--out", str(tmp_path / "out"),
        state=tmp_path, POOLSCOPE_CHROMIUM="no-such-browser",
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith(
        "poolscope: $POOLSCOPE_CHROMIUM = no-such-browser is not installed"
    )
    status = Archive(tmp_path / "out").status(SECOND)
    assert status.state == "partial"
    assert status.files == ["poolscope-week-2026-W47.html"]


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_file(store: Store, tmp_path: Path) -> None:
    limited = f"ulimit -f 200; exec {sys.executable} -c 'from dashboard.cli import main; main()' \"$@\""
    done = subprocess.run(
        ["bash", "-c", limited, "-", "report", "--data", str(store.path), "--of", "2026-11-17", "--out", str(tmp_path / "out")],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "can't write (File too large)" in done.stderr
    place = Archive(tmp_path / "out").place(SECOND)
    assert [path.name for path in place.iterdir() if path.name not in {".lock", "status.json"}] == []
    assert Archive(tmp_path / "out").status(SECOND).state == "failed"


def test_a_disk_that_fills_between_two_files_tells_which_is_there(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.suffix == ".html":
            raise StoreError(f"{path}: can't write (No space left on device)")
        write(path, content)

    monkeypatch.setattr("dashboard.reports.make.write", full)
    with pytest.raises(StoreError, match="No space left"):
        make(data, Archive(tmp_path), Order(SECOND, formats=("md", "html")))
    status = Archive(tmp_path).status(SECOND)
    assert (status.state, status.files) == ("partial", ["poolscope-week-2026-W47.md"])


def test_a_folder_that_cannot_be_written_is_told(data: Data, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PoolscopeError, match="can't write"):
        make(data, Archive(tmp_path / "file"), Order(SECOND))


def test_a_status_that_is_damaged_is_made_anew(data: Data, tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    make(data, archive, Order(SECOND))
    (archive.place(SECOND) / "status.json").write_text("{")
    assert make(data, archive, Order(SECOND)).state == "done"


def test_the_archive_gives_only_files_that_a_report_has(data: Data, tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    status = make(data, archive, Order(SECOND))
    assert archive.file("week", "2026-W47", status.files[0]) is not None
    for name in ("status.json", "../2026-W47/status.json", "/etc/passwd", ".lock"):
        assert archive.file("week", "2026-W47", name) is None
    assert archive.file("..", "week", status.files[0]) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--period", "year"], "expected one of day, week, month"),
        (["--of", "monday"], "expected a day such as 2026-11-23"),
        (["--format", "docx"], "expected some of html, pdf, md, csv"),
        (["--to", "nobody"], "no mail address"),
        (["--smtp", "mail:x"], "expected HOST or HOST:PORT"),
        (["--link", "javascript:alert(1)"], "begins with http"),
    ],
)
def test_a_wrong_order_is_one_sentence(
    store: Store, tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = run(
        "report", "--data", str(store.path), *arguments, "--out", str(tmp_path / "out"), state=tmp_path
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_period_is_the_last_that_ended() -> None:
    monday = pd.Timestamp("2026-11-30 06:00", tz="UTC").to_pydatetime()
    assert choose("week", None, now=monday, recorded_until=None).name == "2026-W48"
    assert choose("day", None, now=monday, recorded_until=None).name == "2026-11-29"
    assert choose("month", None, now=monday, recorded_until=None).name == "2026-10"
    assert choose("week", "2026-12-31", now=monday, recorded_until=None).name == "2026-W53"
    assert Status("week", "x", "y").state == "failed"


def test_a_free_port_is_no_mail_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    order = Order(SECOND, server=Server("127.0.0.1", port, "none"), to=["a@example.org"])
    order.check()


@pytest.mark.pool
@pytest.mark.parametrize(("size", "kept"), [("300k", ["status.json"]), ("12k", [])])
def test_a_disk_that_is_really_full_ends_truthfully(
    store: Store, tmp_path: Path, size: str, kept: list[str]
) -> None:
    obstacle = needs.pool_obstacle()
    if obstacle:
        needs.need(obstacle)
    out = tmp_path / "out"
    out.mkdir()
    place = Archive(out).place(SECOND)
    program = f"{sys.executable} -c 'from dashboard.cli import main; main()'"
    # A disk of its own, in a namespace of its own: it is gone with the shell.
    script = (
        f'mount -t tmpfs -o size={size} tmpfs "{out}" && head -c 9000 /dev/zero > "{out}/other";'
        f' {program} report --data "{store.path}" --of 2026-11-17 --out "{out}"; code=$?; ls -A "{place}"; exit $code'
    )
    done = subprocess.run(
        [*as_root(), "unshare", "--mount", "--propagation", "private", "bash", "-c", script],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "No space left on device" in done.stderr.replace("no space", "No space")
    assert "Traceback" not in done.stderr
    assert [name for name in done.stdout.split() if name != ".lock"] == kept
