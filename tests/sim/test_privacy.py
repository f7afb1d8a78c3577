"""Pseudonyms are stable, lead nowhere back, and leave what matching needs as it is."""

import os
import stat
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from collectors.rounds import collect_once
from collectors.source import Reading
from dashboard.cli import cli
from sim.classads.ads import read_ads
from sim.errors import StoreError
from sim.inventory import attempts_frame, devices_frame, jobs_frame, slots_frame
from sim.privacy import KEY_FILE, Pseudonyms
from sim.store import Store
from tests.collectors.made import Told

AT = pd.Timestamp("2026-11-24 12:00", tz="UTC")
NAMES = ("alice", "carol", "physics", "vision", "lakeside.example", "nebula.example", "ap1", "glidein_rtxl")


def recorded(folder: Path) -> dict[str, pd.DataFrame]:
    """Frames of a recorded pool: slots, devices, jobs, attempts."""
    run = folder / "pool/recording-w1-r1"
    slots = read_ads(folder / "pool/slots_busy.ads")
    return {
        "slots": slots_frame(slots, seen_at=AT, snapshot="s").frame,
        "devices": devices_frame(slots, seen_at=AT, snapshot="s").frame,
        "jobs": jobs_frame(read_ads(run / "history.json.xz"), seen_at=AT, snapshot="s").frame,
        "attempts": attempts_frame(read_ads(run / "epochs.json.xz")).frame,
    }


@pytest.fixture
def names() -> Pseudonyms:
    return Pseudonyms(b"0123456789abcdef")


def test_no_name_is_left(shared_data: Path, names: Pseudonyms) -> None:
    """Neither in columns nor in ads: users, groups, hosts, access points, startds."""
    frames = recorded(shared_data)
    before = "".join(frame.to_csv() for frame in frames.values())
    after = "".join(names.frame(frame).to_csv() for frame in frames.values())
    for name in NAMES:
        assert name in before
        assert name not in after, name
    hosts = set(frames["slots"]["machine"]) | set(frames["attempts"]["machine"].dropna())
    assert not [host for host in hosts if host in after]


def test_frames_still_belong_together(shared_data: Path, names: Pseudonyms) -> None:
    """The same name is the same everywhere; numbers, models, sites and what expressions read of them stay."""
    frames = recorded(shared_data)
    changed = {name: names.frame(frame) for name, frame in frames.items()}
    for one, other, key in (("slots", "devices", "machine"), ("jobs", "attempts", "submitter")):
        left, right = frames[one][key].isin(frames[other][key]), changed[one][key].isin(changed[other][key])
        assert left.equals(right)
    for name, kept in (
        ("devices", ["model", "device_id", "site", "state"]),
        ("jobs", ["job_id", "request_gpus", "run_s"]),
    ):
        pd.testing.assert_frame_equal(changed[name][kept], frames[name][kept])
    assert changed["slots"]["name"].str.match(r"slot\d+(_\d+)?@host-[0-9a-f]{12}").all()
    assert changed["jobs"]["submitter"].nunique() == frames["jobs"]["submitter"].nunique() == 4


def test_another_key_another_name(names: Pseudonyms) -> None:
    assert names.person("physics.alice@pool.example") == names.person("physics.alice@pool.example")
    other = Pseudonyms(b"fedcba9876543210")
    assert names.host("n1.example") != other.host("n1.example")
    assert names.person("a.b@x").count(".") == 1
    with pytest.raises(StoreError, match="too short"):
        Pseudonyms(b"short")


def test_the_key_of_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made once, for its owner's eyes alone; the environment's counts instead."""
    first = Pseudonyms.of(tmp_path / "store").host("n1")
    assert Pseudonyms.of(tmp_path / "store").host("n1") == first
    mode = stat.S_IMODE((tmp_path / "store" / KEY_FILE).stat().st_mode)
    assert mode == 0o600
    monkeypatch.setenv("POOLSCOPE_PSEUDONYM_KEY", "k" * 20)
    assert Pseudonyms.of(tmp_path / "store").host("n1") != first
    assert os.environ["POOLSCOPE_PSEUDONYM_KEY"]


def test_in_the_store_itself_and_only_in_outputs(shared_data: Path, tmp_path: Path) -> None:
    frames = recorded(shared_data)
    plain, hidden = Store(tmp_path / "plain"), Store(tmp_path / "hidden")
    source = Told("pool", Reading(frames))
    collect_once([source], plain)
    collect_once([source], hidden, change=Pseudonyms.of(hidden.path).frame)
    kept = b"".join(file.read_bytes() for file in hidden.path.rglob("*.json"))
    assert b"lakeside" not in kept
    assert "lakeside.example" not in hidden.read("slots").to_csv() + hidden.attempts().to_csv()
    assert "lakeside.example" in plain.attempts().to_csv()
    options = ["--data", str(plain.path), "--out", str(tmp_path / "out"), "--format", "csv", "--pseudonyms"]
    done = CliRunner().invoke(cli, ["store", "export", *options])
    assert done.exit_code == 0, done.output
    told = "".join(
        file.read_text().partition("\n")[2] for file in (tmp_path / "out").iterdir()
    )  # "revision" is a column
    assert not [name for name in NAMES if name in told]
