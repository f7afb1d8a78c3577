"""Defaults of options from a file: a TOML table per command, an entry per option.

```toml
data = "/srv/poolscope"

[serve]
port = 9000
workers = 2

[report]
to = ["pool-admins@example.org"]
```
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import platformdirs

from sim.errors import InputError

VARIABLE = "POOLSCOPE_CONFIG"


def config_file() -> Path | None:
    """The file of defaults: $POOLSCOPE_CONFIG, else poolscope.toml in the user's folder of settings, if it is there."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    usual = Path(platformdirs.user_config_dir("poolscope")) / "poolscope.toml"
    return usual if usual.is_file() else None


def read_defaults(path: Path, commands: Collection[str]) -> dict[str, Any]:
    """The tables of the file, and what stands above them.

    Raises
    ------
    InputError : it can't be read, is no TOML, or has a table for no command
    """
    try:
        held = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({(error.strerror or str(error)).lower()})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no TOML ({error})") from error
    for name, value in held.items():
        if name == "data" and not isinstance(value, str):
            raise InputError(f"{path}: data: found {value!r}, expected the store's folder as a text")
        if name != "data" and (name not in commands or not isinstance(value, dict)):
            raise InputError(f"{path}: {name}: expected data, or a table such as [serve] for a command")
    return held


def defaults_of(command: click.Command, table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What a command's table says, by the names of its parameters.

    Raises
    ------
    InputError : the command has no such option, or the value can't be one of its values
    """
    if isinstance(command, click.Group):
        parts = {name: command.commands.get(name) for name in table}
        for name, part in parts.items():
            if part is None or not isinstance(table[name], dict):
                expected = ", ".join(f"[{command.name}.{each}]" for each in command.commands)
                raise InputError(f"{path}: [{command.name}] {name}: expected tables such as {expected}")
        return {name: defaults_of(part, table[name], path) for name, part in parts.items() if part}
    options = {_spelling(option): option for option in _options(command)}
    made: dict[str, Any] = {}
    for name, value in table.items():
        option = options.get(name.replace("_", "-"))
        where = f"{path}: [{command.name}] {name}"
        if option is None:
            raise InputError(f"{where}: no such option; there are {', '.join(sorted(options))}")
        if not option.multiple and isinstance(value, list | dict):
            raise InputError(f"{where}: found {value!r}, expected one value")
        try:
            option.type_cast_value(click.Context(command), _plain(value))
        except (click.BadParameter, ValueError, TypeError) as error:
            told = error.message if isinstance(error, click.BadParameter) else str(error)
            raise InputError(f"{where}: {told}") from error
        made[option.name or name] = _plain(value)
    return made


def _plain(value: Any) -> Any:
    """A value as the command line would have it."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool) else str(value)


def _options(command: click.Command) -> Iterable[click.Option]:
    return (each for each in command.params if isinstance(each, click.Option))


def _spelling(option: click.Option) -> str:
    """The option's name as it is written."""
    return max(option.opts, key=len).lstrip("-")
