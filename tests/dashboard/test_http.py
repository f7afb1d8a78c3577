"""What the server answers, without a browser."""

from __future__ import annotations

import gzip
import io
from importlib import resources
from pathlib import Path

import pandas as pd
import plotly.offline
import pytest
from dash import Dash
from flask.testing import FlaskClient

from dashboard.app import create_app
from dashboard.data import Data
from dashboard.figures.theme import DRAWABLE
from dashboard.runs import Runs
from dashboard.settings import Settings


@pytest.fixture
def client(app: Dash) -> FlaskClient:
    made: FlaskClient = app.server.test_client()
    return made


def test_the_index_is_small_and_says_its_language(client: FlaskClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert len(answer.data) < 10_000
    assert b'<html lang="en">' in answer.data
    assert b"/assets/early.js" in answer.data


@pytest.mark.parametrize(
    "path", ["/", "/waits", "/requirements?req=true", "/runs", "/healthz", "/assets/poolscope.css"]
)
def test_every_answer_carries_the_headers(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:
        assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe-eval" not in policy
    assert "script-src 'self' 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_every_inline_script_is_in_the_policy(client: FlaskClient, app: Dash) -> None:
    client.get("/")
    policy = client.get("/").headers["Content-Security-Policy"]
    for found in app.csp_hashes():
        assert found in policy


@pytest.mark.parametrize(
    ("accepts", "encoding"), [("gzip, deflate, br, zstd", "br"), ("gzip", "gzip"), ("", None)]
)
def test_static_files_are_compressed_once_and_recognised(
    client: FlaskClient, accepts: str, encoding: str | None
) -> None:
    path, headers = "/assets/plotly-cartesian.min.js", {"Accept-Encoding": accepts}
    with client.get(path, headers=headers) as answer:
        assert answer.headers.get("Content-Encoding") == encoding
        assert len(answer.data) < (520_000 if encoding else 2_000_000)
        etag = answer.headers["ETag"]
    with client.get(path, headers={**headers, "If-None-Match": etag}) as again:
        assert again.status_code == 304


def test_a_compressed_file_is_the_file(client: FlaskClient) -> None:
    with client.get("/assets/poolscope.js", headers={"Accept-Encoding": "gzip"}) as answer:
        text = gzip.decompress(answer.data)
    assert text == (resources.files("dashboard") / "assets/poolscope.js").read_bytes()


def test_no_data_leaks_into_the_index(client: FlaskClient) -> None:
    assert b"A100" not in client.get("/").data


def test_outputs_belong_to_one_callback(client: FlaskClient) -> None:
    outputs: list[str] = []
    for callback in client.get("/_dash-dependencies").get_json():
        outputs += callback["output"].strip(".").split("...")
    assert len(outputs) == len(set(outputs))


def test_a_form_cannot_call_a_callback(client: FlaskClient) -> None:
    answer = client.post("/_dash-update-component", data={"output": "x"})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("devices-by-model", {"model", "capability", "free", "gpus"}),
        ("devices-by-site", {"site", "free", "gpus"}),
        ("supply", {"seen_at", "claimed", "gpus"}),
        ("waits-by-class", {"group", "n", "n_censored", "p50_s", "p90_s", "sim_p90_s"}),
        ("started", {"wait_s", "share_started", "low", "high"}),
    ],
)
def test_each_chart_has_its_numbers_as_csv(client: FlaskClient, name: str, columns: set[str]) -> None:
    answer = client.get(f"/api/{name}.csv")
    assert answer.status_code == 200
    assert f"poolscope-{name}-20261123T141945Z.csv" in answer.headers["Content-Disposition"]
    frame = pd.read_csv(io.BytesIO(answer.data))
    assert columns <= set(frame.columns)
    assert len(frame) > 0


def test_the_csv_of_a_class_holds_that_class(client: FlaskClient) -> None:
    whole = pd.read_csv(io.BytesIO(client.get("/api/started.csv").data))
    part = pd.read_csv(io.BytesIO(client.get("/api/started.csv?class=2+GPUs").data))
    assert 0 < len(part) < len(whole)


@pytest.mark.parametrize("name", ["by-model", "clauses", "ladder"])
def test_an_answer_has_its_numbers_as_csv(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/api/requirements/{name}.csv?req=GPUs_Capability+%3E%3D+7.5")
    assert answer.status_code == 200
    assert len(pd.read_csv(io.BytesIO(answer.data))) > 0


def test_a_wrong_expression_is_a_wrong_request(client: FlaskClient) -> None:
    answer = client.get("/api/requirements/clauses.csv?req=A+%3E%3D")
    assert answer.status_code == 400
    assert answer.data.startswith(b"column ")


@pytest.mark.parametrize("path", ["/api/nothing.csv", "/api/requirements/nothing.csv"])
def test_an_unknown_table_is_not_found(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_vendored_plotly_is_the_one_that_the_figures_are_made_for() -> None:
    bundle = (resources.files("dashboard") / "assets/plotly-cartesian.min.js").read_text("utf-8")
    version = plotly.offline.get_plotlyjs_version()
    assert f"plotly.js (cartesian - minified) v{version}" in bundle[:200]
    assert f"{version}, Copyright" in (Path(__file__).parents[2] / "NOTICE").read_text("utf-8")
    for trace in DRAWABLE:
        assert f'"{trace}"' in bundle
    assert "sankey" not in DRAWABLE


def test_the_vendored_scripts_need_no_eval() -> None:
    for name in ("early.js", "poolscope.js"):
        text = (resources.files("dashboard") / "assets" / name).read_text("utf-8")
        assert "eval(" not in text
        assert "innerHTML" not in text


def test_whoever_comes_first_is_told_of_every_callback(data: Data, tmp_path: Path) -> None:
    """Dash adds the pages' callback with a first request; another one that comes meanwhile must not miss it."""
    made = create_app(data, Settings(runs=tmp_path), Runs(tmp_path, model="test"))
    assert any("_pages_content" in name for name in made.callback_map)
