"""`poolscope store` and `poolscope import` from outside: answers, exit codes, one sentence for what is wrong."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from dashboard.cli import cli
from sim.errors import InputError
from sim.store import Store
from tests.collectors.endurance import watch


@pytest.fixture
def data(tmp_path: Path) -> Path:
    watch(tmp_path / "store", 4).run()
    return tmp_path / "store"


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_info_compact_verify(data: Path) -> None:
    before = json.loads(run("store", "info", "--data", str(data), "--json").stdout)
    assert (before["snapshots"], before["frames"]["slots"]["rows"], before["slots"]) == (4, 24, 6)
    merged = json.loads(run("store", "compact", "--data", str(data), "--json").stdout)
    assert merged["merged"] == sum(
        frame["files"] for frame in before["frames"].values() if frame["files"] > 1
    )
    after = json.loads(run("--data", str(data), "--json", "store", "info").stdout)
    assert after["bytes"] < before["bytes"] / 2
    assert {name: frame["rows"] for name, frame in after["frames"].items() if name != "ad_texts"} == {
        name: frame["rows"] for name, frame in before["frames"].items() if name != "ad_texts"
    }
    assert run("store", "verify", "--data", str(data)).stdout.startswith("clean: 4 snapshots")


def test_verify_names_the_damage(data: Path) -> None:
    next(data.glob("frame=slots/*/*.parquet")).write_bytes(b"")
    done = run("store", "verify", "--data", str(data))
    assert done.exit_code == 2
    assert "damaged or foreign" in done.stdout


@pytest.mark.slow
def test_prune(data: Path) -> None:
    again = watch(data, 30, every_s=7200.0)
    again.run()
    days = Store(data).days()
    assert len(days) == 3
    gone = json.loads(run("store", "prune", "--max-size", "1 MB", "--data", str(data), "--json").stdout)[
        "deleted"
    ]
    assert gone == []
    assert run("store", "prune", "--keep", "1d", "--data", str(data)).stdout.startswith("2 days deleted")
    assert Store(data).days() == days[-1:]
    assert run("store", "verify", "--data", str(data)).exit_code == 0
    with pytest.raises(InputError, match="say what to keep"):
        CliRunner().invoke(cli, ["store", "prune", "--data", str(data)], catch_exceptions=False)


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_export(data: Path, tmp_path: Path, form: str) -> None:
    words = [
        "--out",
        str(tmp_path / "out"),
        "--format",
        form,
        "--frame",
        "slots",
        "--since",
        "2026-01-01T00:05",
    ]
    done = run("store", "export", "--data", str(data), *words, "--json")
    (file,) = json.loads(done.stdout)["files"]
    readers = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "json": lambda path: pd.read_json(path, lines=True),
    }
    assert len(readers[form](file)) == 18  # type: ignore[operator]


def test_import_says_what_it_took(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(
        "000 (001.000.000) 2026-03-05 10:00:00 Job submitted from host: <1.2.3.4:5>\n...\nx\n...\n"
    )
    words = ["import", str(tmp_path / "log"), "--data", str(tmp_path / "s"), "--json"]
    first = json.loads(run(*words, "--timezone", "America/Chicago").stdout)
    assert (first["taken"], first["skipped"], first["reasons"]) == (1, 1, {"no event": 1})
    assert Store(tmp_path / "s").jobs()["submitted_at"][0] == pd.Timestamp("2026-03-05 16:00", tz="UTC")
    second = json.loads(run(*words, "--timezone", "America/Chicago").stdout)
    assert (second["taken"], second["skipped"]) == (0, 2)
    with pytest.raises(InputError, match="--timezone Nowhere"):
        CliRunner().invoke(cli, [*words, "--timezone", "Nowhere"], catch_exceptions=False)
