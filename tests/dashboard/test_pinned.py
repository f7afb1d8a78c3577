"""A shared link shows the same numbers when the pool has moved on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dash import Dash
from flask.testing import FlaskClient

from dashboard.app import create_app
from dashboard.data import Data
from dashboard.pages.window import pinned
from dashboard.runs import Runs
from dashboard.settings import Settings
from tests.dashboard import synthetic
from tests.dashboard.posting import call


def made(folder: Path) -> tuple[Dash, Data]:
    store = synthetic.fill(folder / "store")
    settings = Settings(runs=folder / "runs", class_by="ReqClass", source=str(store.path))
    data = Data(store, settings)
    return create_app(data, settings, Runs(folder / "runs", model="test")), data


def shown(client: FlaskClient, app: Dash, first: str, **values: Any) -> Any:
    return client.post("/_dash-update-component", json=call(app, first, **values)).get_json()["response"]


@pytest.mark.slow
def test_a_pinned_page_and_its_files_are_of_that_snapshot(tmp_path: Path) -> None:
    app, data = made(tmp_path)
    client = app.server.test_client()
    early, latest = synthetic.snapshot(10), synthetic.snapshot(synthetic.N_SNAPSHOTS - 1)
    pool = {"pool_window": "7d", "scheme": "light"}
    then = shown(client, app, "pool-kpis.children", **pool, url=f"?snap={early}")
    now = shown(client, app, "pool-kpis.children", **pool, url="")
    assert early in then["pool-models-caption"]["children"]
    assert latest in now["pool-models-caption"]["children"]
    # Machines that were there at snapshot 10: those whose span holds it.
    there = sum(gpus for *_, gpus, since, until in synthetic.MACHINES if since <= 10 < until)
    assert then["pool-models-caption"]["children"].startswith(f"{there} GPUs")
    assert shown(client, app, "pool-kpis.children", **pool, url=f"?snap={latest}") == now
    file = client.get(f"/api/devices.csv?snap={early}")
    assert early in file.headers["Content-Disposition"]
    assert len(file.get_data(as_text=True).splitlines()) == there + 1
    rows = shown(client, app, "inv-grid.rowData", inv_state="any", url=f"?snap={early}")
    assert len(rows["inv-grid"]["rowData"]) == there
    assert pinned(data, f"?snap={latest}") is data


def test_a_snapshot_that_is_gone_is_said(tmp_path: Path) -> None:
    app, _ = made(tmp_path)
    client = app.server.test_client()
    asked = call(app, "freshness.children")
    for search, words in (
        ("?snap=gone", "is gone"),
        ("?snap=latest", "old"),
        (f"?snap={synthetic.snapshot(3)}", "Linked"),
    ):
        for part in asked["inputs"]:
            part["value"] = {"pathname": "/", "search": search}.get(part["property"])
        told = client.post("/_dash-update-component", json=asked).get_data(as_text=True)
        assert words in told, (search, told)
