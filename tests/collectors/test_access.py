"""A pool that answers to those alone who show a token, and what a live pool is asked besides: groups, rotated histories."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from collectors.daemons import Daemons
from collectors.history import HistorySource
from collectors.settings import SettingsSource
from collectors.source import Moment
from sim.store import Store
from tests.realpool.configuration import PoolSpec
from tests.realpool.hosts import HOSTS
from tests.realpool.pool import Pool
from tests.test_collect_cli import poolscope

pytestmark = [pytest.mark.pool, pytest.mark.slow]

LOCKED = (
    # FS proves who one is by a file that both sides see: the pool's own tools can, a collector outside its tree can't
    ("SEC_READ_AUTHENTICATION", "REQUIRED"),
    ("SEC_READ_AUTHENTICATION_METHODS", "IDTOKENS, FS"),
    ("SEC_DEFAULT_AUTHENTICATION_METHODS", "FS, IDTOKENS, CLAIMTOBE"),
    ("SEC_TOKEN_POOL_SIGNING_KEY_FILE", "$(LOCAL_DIR)/run/POOL"),
    ("TRUST_DOMAIN", "locked.example"),
)
GROUPS = (
    ("GROUP_NAMES", "group_a, group_b"), ("GROUP_QUOTA_group_a", "3"), ("GROUP_QUOTA_DYNAMIC_group_b", "0.25"),
    ("GROUP_ACCEPT_SURPLUS_group_a", "True"), ("LICENSE_LIMIT", "7"), ("CONCURRENCY_LIMIT_DEFAULT_disk", "4"),
    ("MAX_HISTORY_LOG", "20000"), ("MAX_HISTORY_ROTATIONS", "9"),
)  # fmt: skip


@pytest.fixture(scope="module")
def locked() -> Iterator[Pool]:
    with Pool(PoolSpec(hosts=HOSTS[:1], settings=LOCKED)) as running:
        yield running


@pytest.fixture(scope="module")
def told() -> Iterator[Pool]:
    with Pool(PoolSpec(hosts=HOSTS[:1], settings=GROUPS)) as running:
        yield running


def collect(pool: Pool, tokens: Path, store: Path) -> "tuple[int, str]":
    ended = poolscope(
        "collect", "--once", "--pool", pool.address, "--data", str(store),
        _CONDOR_SEC_TOKEN_DIRECTORY=str(tokens), _CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS="IDTOKENS",
    )  # fmt: skip
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr


class TestTokens:
    """HTCondor's own configuration says which token is shown; poolscope never sees one."""

    def test_the_right_one(self, locked: Pool, tmp_path: Path) -> None:
        tokens = tmp_path / "tokens"
        tokens.mkdir(mode=0o700)
        token = locked.tool(
            "condor_token_create", "-identity", "watch@pool.example", "-authz", "READ", "-lifetime", "600"
        )
        (tokens / "watch").write_text(token)
        (tokens / "watch").chmod(0o600)
        code, errors = collect(locked, tokens, tmp_path / "store")
        assert (code, errors) == (0, "")
        store = Store(tmp_path / "store")
        assert len(store.read("slots")) == 1
        (record,) = store.records().values()
        told = {name: one["error"] for name, one in record.meta["sources"].items()}
        # the host has a key of its own, so the token is none there: that is said, and the others' settings are kept
        assert "configuration of slot1@" in told.pop("settings")
        assert {"negotiator", "schedd", "collector"} == set(store.read("settings")["daemon"])
        assert told == dict.fromkeys(["pool", "schedd", "history", "negotiator", "submitters"])
        held = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
        assert token.strip().encode() not in held

    @pytest.mark.parametrize("text", [None, "nonsense", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhQGIifQ.AAAA"])
    def test_none_or_a_wrong_one(self, locked: Pool, tmp_path: Path, text: str | None) -> None:
        tokens = tmp_path / "tokens"
        tokens.mkdir(mode=0o700)
        if text is not None:
            (tokens / "watch").write_text(text)
            (tokens / "watch").chmod(0o600)
        code, errors = collect(locked, tokens, tmp_path / "store")
        assert code == 3
        (line,) = errors.splitlines()
        assert "unreachable or refused" in line
        assert "token" in line
        assert not (tmp_path / "store").exists()


def test_groups_and_limits_are_asked_for(told: Pool) -> None:
    """As condor_config_val prints them."""
    daemons = Daemons(told.address)
    try:
        frame = SettingsSource(daemons).read(Moment(pd.Timestamp.now(tz="UTC"), "s")).frames["settings"]
    finally:
        daemons.close()
    own = frame[frame["daemon"] == "negotiator"]
    found = {str(name).upper(): value for name, value in zip(own["name"], own["value"], strict=True)}
    for name, value in GROUPS[:6]:
        assert found[name.upper()] == value
        assert told.tool("condor_config_val", "-negotiator", name).strip() == value


def test_a_history_that_is_rotated_is_read_on(told: Pool) -> None:
    """The cursor goes over the files' borders: every job once, also the ones that left before the last rotation."""
    daemons = Daemons(told.address)
    source, cursor, found, done = HistorySource(daemons), None, [], []
    try:
        for _ in range(3):
            clusters = told.submit("arguments = 0\nqueue 6")
            told.wait_for_jobs(clusters)
            done += [f"{clusters[0]}.{proc}" for proc in range(6)]
            reading = source.read(Moment(pd.Timestamp.now(tz="UTC"), "s", cursor))
            assert not reading.errors
            cursor = reading.cursor
            found += list(reading.frames["jobs"]["job_id"])
    finally:
        daemons.close()
    assert len(list((told.folder / "central" / "spool").glob("history*"))) > 3
    assert sorted(found) == sorted(done)
