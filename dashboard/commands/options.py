"""Options that every command shares: where the store is, and how the answer is printed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import platformdirs

from sim.errors import InputError
from sim.store import Store, sample_path

Command = TypeVar("Command", bound=Callable[..., Any])


def shared(command: Command) -> Command:
    """Add --data and --json, which may stand before the command as well."""
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)
    return click.option("--data", type=click.Path(path_type=Path), help="Folder of the store.")(command)


STOPPED = 130
"""Exit code where Ctrl-C cut the work short."""


def workers_option(command: Command) -> Command:
    """Add --workers."""
    return click.option(
        "--workers", type=click.IntRange(1, 1024), help="Processes to run on; as many as cores by default."
    )(command)


def chosen_data(data: Path | None) -> tuple[Path, bool]:
    """The store's folder and whether somebody named it: --data, $POOLSCOPE_DATA, else the user's data folder."""
    context = click.get_current_context(silent=True)
    before: Path | None = (context.obj or {}).get("data") if context is not None else None
    named = data or before
    if named:
        return named, True
    if os.environ.get("POOLSCOPE_DATA"):
        return Path(os.environ["POOLSCOPE_DATA"]), False
    return Path(platformdirs.user_data_dir("poolscope")), False


def wants_json(as_json: bool) -> bool:
    """Whether the answer is printed as JSON."""
    context = click.get_current_context(silent=True)
    return as_json or bool((context.obj or {}).get("json") if context is not None else False)


def data_to_write(data: Path | None) -> Path:
    """The folder to write to."""
    return chosen_data(data)[0]


def data_to_read(data: Path | None) -> Path:
    """The folder to read from; without a store of one's own, the bundled sample, said on stderr.

    Raises
    ------
    InputError : an explicitly named folder holds no snapshot
    """
    path, explicit = chosen_data(data)
    if not Store(path).is_empty():
        return path
    if explicit:
        raise InputError(
            f"--data {path}: no data; collect some with `poolscope collect --once --pool HOST --data {path}`"
        )
    click.echo("no data of your own yet: using the bundled sample, a recorded real pool", err=True)
    return sample_path()


def print_json(answer: dict[str, Any]) -> None:
    """Print an answer as one JSON object; what is not a number is null."""
    click.echo(json.dumps(_plain(answer), allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in {float("inf"), float("-inf")}):  # noqa: PLR0124
        return None
    return value.item() if hasattr(value, "item") and not isinstance(value, str) else value
