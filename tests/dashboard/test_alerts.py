"""Alerts: raised after two looks, cleared after three, never told twice; and the timer that runs reports."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.commands.schedule import installed, quoted
from dashboard.reports.alerts import Alert, Matter, Memory, call, look, tell
from dashboard.reports.findings import Finding
from sim.errors import InputError, SourceError

HOLDS = [Finding("goodput", "look", "much is lost")]
HOUR = 3600.0


def looks(sequence: str, *, step_s: float = HOUR) -> list[str]:
    """The events of looks at a finding that holds (x) or doesn't (.)."""
    matters: dict[str, Matter] = {}
    events = []
    for number, letter in enumerate(sequence):
        matters, alerts = look(matters, HOLDS if letter == "x" else [], now=1e9 + number * step_s)
        events += [f"{number} {alert.event}" for alert in alerts]
    return events


@pytest.mark.parametrize(
    ("sequence", "events"),
    [
        ("x", []),
        ("x.x.x.x", []),
        ("xxxxx", ["1 raised"]),
        ("xx..xx..xx", ["1 raised"]),
        ("xx...", ["1 raised", "4 cleared"]),
        ("xx...xxx", ["1 raised", "4 cleared"]),  # within the quiet period it isn't told again
        ("xx..." + "." * 24 + "xx", ["1 raised", "4 cleared", "30 raised"]),
    ],
)
def test_hysteresis(sequence: str, events: list[str]) -> None:
    assert looks(sequence) == events


@given(st.text(alphabet="x.", max_size=200))
def test_raised_and_cleared_take_turns(sequence: str) -> None:
    events = [event.split()[1] for event in looks(sequence, step_s=30 * HOUR)]
    assert events == [("raised", "cleared")[place % 2] for place in range(len(events))]


def test_what_was_told_is_remembered_over_processes(tmp_path: Path) -> None:
    told: list[Alert] = []
    for number in range(5):
        tell(Memory(tmp_path / "alerts.json"), HOLDS, now=1e9 + number, deliver=[told.extend])
    assert [alert.event for alert in told] == ["raised"]


def test_what_nobody_heard_is_told_at_the_next_look(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "alerts.json")
    told: list[Alert] = []

    def deaf(_alerts: object) -> None:
        raise SourceError("no route")

    tell(memory, HOLDS, now=1e9, deliver=[deaf])
    with pytest.raises(SourceError, match="no route"):
        tell(memory, HOLDS, now=1e9 + 1, deliver=[deaf])
    tell(memory, HOLDS, now=1e9 + 2, deliver=[told.extend])
    tell(memory, HOLDS, now=1e9 + 3, deliver=[told.extend])
    assert len(told) == 1


@pytest.fixture
def hook() -> Iterator[tuple[str, list[bytes]]]:
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(302 if self.path == "/elsewhere" else 204)
            self.send_header("Location", "/")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_json(hook: tuple[str, list[bytes]]) -> None:
    address, got = hook
    call(address, [Alert("goodput", "raised", "look", "much is lost")])
    assert json.loads(got[0])["alerts"] == [
        {"key": "goodput", "event": "raised", "severity": "look", "sentence": "much is lost"}
    ]


def test_a_webhook_that_sends_elsewhere_is_refused(hook: tuple[str, list[bytes]]) -> None:
    address, got = hook
    with pytest.raises(SourceError, match="302"):
        call(f"{address}/elsewhere", [Alert("a", "raised", "look", "b")])
    assert len(got) == 1


def test_a_webhook_is_a_web_address() -> None:
    with pytest.raises(InputError, match="begins with https"):
        call("file:///etc/passwd", [])


@given(
    st.lists(
        st.text(alphabet=st.characters(blacklist_categories=["Cc", "Cs"]), min_size=0, max_size=20),
        min_size=1,
        max_size=6,
    )
)
def test_a_unit_holds_its_command(tmp_path_factory: pytest.TempPathFactory, command: list[str]) -> None:
    unit = tmp_path_factory.mktemp("unit") / "x.service"
    unit.write_text(f"[Service]\nExecStart={quoted(command)}\n", "utf-8")
    assert installed(unit) == command
