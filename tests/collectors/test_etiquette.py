"""What a round costs the pool is counted and pinned, and none of it can change anything."""

import ast
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

from collectors.daemons import Daemons
from collectors.history import HistorySource
from collectors.negotiator import NegotiatorSource, missed_cycles
from collectors.pool import PoolSource
from collectors.projection import attributes
from collectors.questions import Location
from collectors.schedd import ScheddSource
from collectors.settings import SettingsSource
from collectors.source import Moment, Source
from collectors.submitters import SubmitterSource
from tests.collectors.proxy import Proxy, address_of, proxied, through
from tests.realpool.pool import Pool

CHECKOUT = Path(__file__).resolve().parents[2]
READS = {
    "AdType", "Collector", "Schedd", "Negotiator", "RemoteParam", "HTCondorException",
}  # fmt: skip
METHODS = {"query", "history", "jobEpochHistory", "getPriorities", "get"}
# numbers of condor_commands.h: queries of the collector for startds, schedds, submitters, collectors, negotiators and
# accounting; a negotiator's priorities; a schedd's history and queue; a daemon's configuration
READING = {5, 6, 12, 20, 50, 78, 457, 515, 516, 60007}


def now(name: str = "s") -> Moment:
    return Moment(pd.Timestamp.now(tz="UTC").floor("us"), name)


class TestNothingIsWritten:
    def test_only_questions_are_called(self) -> None:
        """htcondor2 is used by one file of the collectors, and there only what reads."""
        users = {}
        for package in ("sim", "collectors", "dashboard"):
            for file in (CHECKOUT / package).rglob("*.py"):
                tree = ast.parse(file.read_text())
                imported = [
                    alias.name
                    for node in ast.walk(tree)
                    if isinstance(node, ast.Import | ast.ImportFrom)
                    for alias in node.names
                    if alias.name.startswith("htcondor")
                    or str(getattr(node, "module", "")).startswith("htcondor")
                ]
                if imported:
                    users[str(file.relative_to(CHECKOUT))] = tree
        used = {
            node.attr
            for tree in users.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "htcondor2"
        }
        assert used <= READS
        tree = users["collectors/questions.py"]
        made = [
            node.func.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Call)
        ]
        assert set(made) <= METHODS | {"join", "lower", "rpartition", "partition", "replace"}
        kept = {
            target.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and "htcondor2." in ast.unparse(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert kept <= {"ads", "whole", "values", "_KINDS", "views"}

    def test_no_other_program_is_started(self) -> None:
        """No condor_* tool is run, and no shell."""
        for package in ("sim", "collectors"):
            for file in (CHECKOUT / package).rglob("*.py"):
                assert not re.search(r"\bsubprocess\b|os\.system|os\.exec|popen", file.read_text()), file


@pytest.fixture
def ways(pool: Pool) -> Iterator[tuple[Daemons, dict[str, Proxy]]]:
    """The daemons of the pool, each behind a listener."""
    with ExitStack() as stack:
        ways = {"collector": stack.enter_context(proxied(pool.address))}
        daemons = Daemons(ways["collector"].address)
        stack.callback(daemons.close)
        real = daemons.locations

        def behind(kind: str) -> list[Location]:
            found = []
            for daemon in real(kind):
                if daemon.name not in ways:
                    ways[daemon.name] = stack.enter_context(proxied(address_of(daemon)))
                found.append(through(daemon, ways[daemon.name]))
            return found

        daemons.locations = behind  # type: ignore[method-assign]
        yield daemons, ways


@pytest.mark.pool
class TestCost:
    def test_of_a_round(self, ways: tuple[Daemons, dict[str, Proxy]]) -> None:
        """After the first round: queries, bytes, and attributes of each slot."""
        daemons, listeners = ways
        sources: list[Source] = [PoolSource(daemons), ScheddSource(daemons), HistorySource(daemons), NegotiatorSource(daemons),
                   SubmitterSource(daemons), SettingsSource(daemons)]  # fmt: skip
        cursors: dict[str, object] = {}
        sizes = []
        for _ in range(3):
            for way in listeners.values():
                way.n_connections = way.n_bytes = 0
            for source in sources:
                cursors[source.name] = source.read(Moment(now().at, "s", cursors.get(source.name))).cursor
            sizes.append({name: (way.n_connections, way.n_bytes) for name, way in listeners.items()})
        first, _, last = sizes
        # slots, where the schedds are, negotiators, submitters
        assert last["collector"][0] <= 4
        # and once an hour where collector and startds are, and how many slots there are to be read in parts
        assert first["collector"][0] <= 4 + 4
        slots = daemons.slots(now().at, "s")[0].frame
        assert last["collector"][1] < first["collector"][1]
        assert last["collector"][1] / len(slots) < 6000
        # what one query for slots asks in between: the frames' own attributes and what expressions read, not the 300 and
        # more that an ad may have
        (asked,) = {
            len(re.findall(rb"[A-Za-z_]\w*", found))
            for found in re.findall(
                rb'\bProjection ?= ?"([^"]*GLIDEIN_ToDie[^"]*)"', bytes(listeners["collector"].asked)
            )
        }
        assert len(attributes("slots", "devices")) * 0.8 < asked < 130
        for name, (connections, _) in last.items():
            assert connections <= 4, name

    def test_every_command_only_reads(self, ways: tuple[Daemons, dict[str, Proxy]]) -> None:
        """By their numbers, as they go over the wire."""
        daemons, listeners = ways
        for source in (PoolSource(daemons), ScheddSource(daemons), HistorySource(daemons), NegotiatorSource(daemons),
                       SubmitterSource(daemons), SettingsSource(daemons)):  # fmt: skip
            source.read(now())
        said = b"".join(bytes(way.asked) for way in listeners.values())
        commands = {int(number) for number in re.findall(rb"\b(?:Command|AuthCommand) ?= ?(\d+)", said)}
        assert commands
        assert commands <= READING, commands - READING


def test_cycles_that_nobody_saw() -> None:
    def cycles(*starts: int) -> pd.DataFrame:
        at = [pd.Timestamp(start, unit="s", tz="UTC") for start in starts]
        return pd.DataFrame({"negotiator": "n", "started_at": at, "period_s": 60.0})

    assert missed_cycles(cycles(100, 160, 220), {}) == 0
    assert missed_cycles(cycles(100, 160, 220), {"n": 160.0}) == 0
    assert missed_cycles(cycles(100, 160, 220), {"n": 40.0}) == 0
    assert missed_cycles(cycles(400, 460, 520), {"n": 220.0}) == 2
    assert missed_cycles(cycles(400, 460, 520), {"other": 220.0}) == 0
