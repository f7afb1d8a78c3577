"""A dashboard over the synthetic pool; nothing here starts a process or opens a port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dash import Dash, _get_paths

from dashboard.app import create_app
from dashboard.data import Data
from dashboard.runs import Runs
from dashboard.settings import Settings
from sim.store import Store
from tests.dashboard import synthetic


@pytest.fixture(scope="session")
def at_root() -> Any:
    """What Dash holds of an application that lies at /."""
    return Dash("at_root", assets_folder="none").config


@pytest.fixture(autouse=True)
def _links_from_the_root(at_root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dash makes links for the application that was made last in the process: in each test, one at / unless it makes its own."""
    monkeypatch.setattr(_get_paths, "CONFIG", at_root)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return synthetic.fill(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def settings(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        runs=tmp_path_factory.mktemp("runs"),
        sample=True,
        class_by="ReqClass",
        source=str(store.path),
        replications=1,
    )


@pytest.fixture(scope="session")
def data(store: Store, settings: Settings) -> Data:
    return Data(store, settings)


@pytest.fixture(scope="session")
def app(data: Data, settings: Settings) -> Dash:
    return create_app(data, settings, Runs(settings.runs, model="test"))


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path, model="test")
