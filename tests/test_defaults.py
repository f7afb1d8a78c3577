"""Defaults of options: a TOML file, then POOLSCOPE_ variables, then the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dashboard.cli import COMMANDS, cli
from dashboard.commands.defaults import read_defaults
from sim.errors import InputError

MATCH = ["--json", "match", "GPUs_Capability >= 7.5"]


def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, *arguments: str) -> Result:
    """A command with a file of defaults."""
    file = tmp_path / "poolscope.toml"
    file.write_text(text, "utf-8")
    monkeypatch.setenv("POOLSCOPE_CONFIG", str(file))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return CliRunner().invoke(cli, list(arguments or MATCH))


def gpus(result: Result) -> str:
    """The number of GPUs that a match asked for, as it says."""
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_the_file_the_environment_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = gpus(told(tmp_path, monkeypatch, ""))
    two = gpus(told(tmp_path, monkeypatch, "", *MATCH, "--gpus", "2"))
    three = gpus(told(tmp_path, monkeypatch, "", *MATCH, "--gpus", "3"))
    assert len({plain, two, three}) == 3
    assert gpus(told(tmp_path, monkeypatch, "[match]\ngpus = 2\n")) == two
    monkeypatch.setenv("POOLSCOPE_MATCH_GPUS", "3")
    assert gpus(told(tmp_path, monkeypatch, "[match]\ngpus = 2\n")) == three
    assert gpus(told(tmp_path, monkeypatch, "[match]\ngpus = 2\n", *MATCH, "--gpus", "1")) == plain


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[match]\ngpu = 2\n", r"\[match\] gpu: no such option; there are .*gpus"),
        ("[match]\ngpus = 'many'\n", r"\[match\] gpus: 'many' is not a valid integer"),
        ("[match]\ngpus = [1, 2]\n", "expected one value"),
        ("[mtach]\ngpus = 2\n", "mtach: expected data, or a table"),
        ("serve = 5\n", "serve: expected data, or a table"),
        ("data = 5\n", "expected the store's folder"),
        ("gpus = \n", "no TOML"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    result = told(tmp_path, monkeypatch, text)
    assert isinstance(result.exception, InputError)
    assert re.search(words, str(result.exception)), str(result.exception)
    assert str(tmp_path) in str(result.exception)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        read_defaults(tmp_path / "none.toml", COMMANDS)


def test_the_stores_folder_comes_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POOLSCOPE_DATA", raising=False)
    result = told(tmp_path, monkeypatch, f'data = "{tmp_path / "store"}"\n')
    assert f"{tmp_path / 'store'}: no data" in str(result.exception)


def test_a_table_of_a_part_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = told(tmp_path, monkeypatch, "[store.inform]\nx = 1\n", "store", "info")
    assert "expected tables such as [store.info]" in str(result.exception)
