"""Fixtures that every test may use: a real pool, a browser, the shared recordings."""

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

# `tests.realpool` must be importable from a checkout that isn't installed, too
_CHECKOUT = str(Path(__file__).resolve().parent.parent)
if _CHECKOUT not in sys.path:
    sys.path.insert(0, _CHECKOUT)

# before anything imports htcondor2: the machine's own configuration must not leak into tests
os.environ["CONDOR_CONFIG"] = "ONLY_ENV"

import pytest  # noqa: E402

from tests import needs  # noqa: E402
from tests.realpool.pool import Pool  # noqa: E402


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("pool"):
        obstacle = needs.pool_obstacle()
        if obstacle:
            needs.need(obstacle)
    if item.get_closest_marker("browser") and needs.chromium() is None:
        needs.need("no browser: chromium is not installed")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    yield  # ours comes last
    lines = needs.summary(terminalreporter.stats.get("skipped", []))
    if lines:
        terminalreporter.section("what this machine lacks")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """A running pool of `tests.realpool.hosts.HOSTS`; leave it as you found it."""
    obstacle = needs.pool_obstacle()
    if obstacle:
        needs.need(obstacle)
    with Pool() as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of chromium."""
    found = needs.chromium()
    if found is None:
        needs.need("no browser: chromium is not installed")
    return found


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recordings beside the checkout; CI has it, a user's clone does not."""
    folder = needs.shared_data_folder()
    if not folder.is_dir():
        needs.need(f"no shared data: {folder} does not exist", hard=False)
    return folder
