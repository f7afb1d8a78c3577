"""A dashboard over the synthetic pool; nothing here starts a process or opens a port."""

from __future__ import annotations

from pathlib import Path

import pytest
from dash import Dash

from dashboard.app import create_app
from dashboard.data import Data
from dashboard.runs import Runs
from dashboard.settings import Settings
from sim.store import Store
from tests.dashboard import synthetic


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
