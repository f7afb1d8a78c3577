"""The console script: one command per file in `commands`, loaded when it is called, errors in one place."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from keyword import iskeyword
from pathlib import Path

import click

import sim
from dashboard.commands.defaults import config_file, defaults_of, read_defaults
from sim.errors import PoolscopeError

COMMANDS = {
    "serve": "the dashboard",
    "collect": "snapshots of a pool into the store",
    "import": "files of HTCondor's tools, event logs and traces into the store",
    "store": "the store's upkeep: info, compact, prune, verify, export",
    "match": "what a requirements expression costs",
    "predict": "how long a job with these requirements would wait",
    "simulate": "a scenario's runs, observed beside simulated",
    "sweep": "a scenario with keys varied, compared seed by seed",
    "check": "whether evaluator, store, collector and pool are well",
    "strategies": "containers, installing, or one GPU type: the same jobs side by side",
    "image": "an image's size, start cost and publication",
    "replay": "a recorded real pool, simulated beside what really happened",
    "report": "the pool's day, week or month in files and by mail",
    "schedule": "the report on a timer",
    "alert": "mail or call a webhook when a finding comes up",
}


class LateGroup(click.Group):
    """Commands that are imported when they are called, for start-up time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of a user's day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, None for an unknown one."""
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(import_module(f"dashboard.commands.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LateGroup)
@click.version_option(sim.__version__, prog_name="poolscope")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the store; also after the command.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; also after the command.")
@click.pass_context
def cli(ctx: click.Context, data: Path | None, as_json: bool) -> None:
    """Watch and simulate an HTCondor GPU pool: waits, and what a requirements expression costs."""
    ctx.obj = {"data": data, "json": as_json}
    ctx.auto_envvar_prefix = "POOLSCOPE"  # of the commands' options: POOLSCOPE_SERVE_PORT
    path, name = config_file(), ctx.invoked_subcommand
    if path is None or name is None or name not in COMMANDS:
        return
    held = read_defaults(path, COMMANDS)
    if data is None and "data" in held and not os.environ.get("POOLSCOPE_DATA"):
        ctx.obj["data"] = Path(held["data"])
    # The watch reads its table itself, and again when it is told to.
    table = {"config": str(path)} if name == "collect" else held.get(name, {})
    command = cli.get_command(ctx, name)
    ctx.default_map = {
        name: table if name == "collect" or command is None else defaults_of(command, table, path)
    }


def main() -> None:
    """Run the command line; every foreseen error is one sentence and an exit code (design §8)."""
    try:
        ended = cli.main(standalone_mode=False)  # what a command exits with by itself is given back
        if isinstance(ended, int) and ended:
            sys.exit(ended)
    except click.exceptions.Exit as early:
        sys.exit(early.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except PoolscopeError as error:
        click.echo(f"poolscope: {error}", err=True)
        sys.exit(error.exit_code)
