"""Answers that are ready: the same as those made anew, and made anew as soon as something changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dash import Dash
from flask.testing import FlaskClient

from dashboard.answers import Kept
from dashboard.app import STEADY, create_app, welcome
from dashboard.data import Data
from dashboard.runs import Runs
from dashboard.settings import Settings, Trust
from dashboard.spec import replay_spec
from sim.store import Store
from tests.dashboard import synthetic
from tests.dashboard.posting import call, first_output

POOL = "pool-kpis.children"


def post(client: FlaskClient, asked: dict[str, Any], **headers: str) -> Any:
    return client.post("/_dash-update-component", json=asked, headers=headers)


@pytest.fixture
def fresh(tmp_path: Path) -> tuple[Dash, Store, Runs]:
    store = synthetic.fill(tmp_path / "store")
    settings = Settings(runs=tmp_path / "runs", sample=True, class_by="ReqClass", source=str(store.path))
    data, runs = Data(store, settings), Runs(tmp_path / "runs", model="test")
    app = create_app(data, settings, runs)
    app.server.config["data"] = data
    return app, store, runs


def test_a_ready_answer_is_the_one_that_was_made(
    fresh: tuple[Dash, Store, Runs], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _, _ = fresh
    client, asked = app.server.test_client(), call(app, POOL, pool_window="7d", scheme="light")
    made = post(client, asked).get_json()
    assert "29" in json.dumps(made["response"]["pool-kpis"])
    monkeypatch.setattr("dashboard.pages.pool.content", None)  # whoever makes it anew fails
    assert post(client, asked).get_json() == made
    packed = post(client, asked, **{"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == "Accept-Encoding"
    assert packed.headers["Content-Security-Policy"]


def test_a_newer_snapshot_or_an_ended_run_makes_it_anew(
    fresh: tuple[Dash, Store, Runs], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, store, runs = fresh
    data: Data = app.server.config["data"]
    calls: list[str] = []
    real = __import__("dashboard.pages.pool", fromlist=["content"]).content

    def content(*arguments: Any) -> Any:
        calls.append("made")
        return real(*arguments)

    monkeypatch.setattr("dashboard.pages.pool.content", content)
    client, asked = app.server.test_client(), call(app, POOL, pool_window="7d", scheme="light")
    for _ in range(3):
        post(client, asked)
    assert len(calls) == 1
    runs.ask(replay_spec(data))
    post(client, asked)
    assert len(calls) == 2
    monkeypatch.setattr("dashboard.data.CHECK_S", 0.0)
    data._check_at = 0.0
    synthetic.append_again(store)
    post(client, asked)
    post(client, asked)
    assert len(calls) == 3
    post(client, call(app, POOL, pool_window="24h", scheme="light"))
    post(client, call(app, POOL, pool_window="7d", scheme="dark"))
    assert len(calls) == 5


def test_a_fault_is_not_kept(fresh: tuple[Dash, Store, Runs], monkeypatch: pytest.MonkeyPatch) -> None:
    app, _, _ = fresh
    client, asked = app.server.test_client(), call(app, POOL, pool_window="7d", scheme="light")
    with monkeypatch.context() as broken:
        broken.setattr("dashboard.pages.pool.content", None)
        assert "Something broke" in post(client, asked).get_data(as_text=True)
    assert "Something broke" not in post(client, asked).get_data(as_text=True)


def test_nobody_is_answered_from_memory_who_may_not_come_in(tmp_path: Path, data: Data) -> None:
    settings = Settings(runs=tmp_path, trust=Trust("X-User", None, ("127.0.0.1",)))
    app = create_app(data, settings, Runs(tmp_path, model="test"))
    client, asked = app.server.test_client(), call(app, POOL, pool_window="7d", scheme="light")
    assert post(client, asked, **{"X-User": "ada"}).status_code == 200
    assert post(client, asked).status_code == 401


def test_steady_callbacks_exist(app: Dash) -> None:
    firsts = {first_output(name) for name in app.callback_map}
    app.server.test_client().get("/")  # Dash adds the callback of its pages with the first request
    firsts |= {first_output(name) for name in app.callback_map}
    assert firsts >= STEADY.keys()


def test_what_is_kept_has_its_room() -> None:
    kept = Kept(100)
    for number in range(10):
        kept.put(bytes([number]), bytes(30))
        kept.get(b"\0")
    assert kept.size <= 100
    assert kept.get(b"\0") is not None
    assert kept.get(b"\1") is None
    kept.put(b"\0", bytes(90))
    assert kept.size == 90


def test_what_a_visitor_sees_first_is_ready(
    fresh: tuple[Dash, Store, Runs], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _, _ = fresh
    welcome(app, Trust())
    monkeypatch.setattr("dashboard.pages.pool.content", None)  # whoever makes it anew fails
    monkeypatch.setattr("dashboard.pages.waits.content", None)
    client = app.server.test_client()
    for scheme in ("light", "dark"):
        # As Chromium posts them: what is not there yet has no value.
        asked = call(app, POOL, pool_window="7d", scheme=scheme)
        waits = call(app, "waits-started-graph.figure", waits_class="GPU jobs", waits_done="", scheme=scheme)
        for part in waits["state"]:
            if part["id"] == "waits-span":
                del part["value"]
        for body in (asked, waits):
            body["changedPropIds"] = ["scheme.data"]
            assert "Something broke" not in post(client, body).get_data(as_text=True)
