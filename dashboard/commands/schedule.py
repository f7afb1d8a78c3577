"""`poolscope schedule`: the report on a timer, as a systemd user timer or a line of crontab."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from dashboard.commands.options import print_json, shared, wants_json
from sim.errors import InputError, PoolscopeError, SourceError

UNIT = "poolscope-report"
WHEN = {"day": "*-*-* 06:00:00 UTC", "week": "Mon *-*-* 06:00:00 UTC", "month": "*-*-01 06:00:00 UTC"}
CRON = {"day": "0 6 * * *", "week": "0 6 * * 1", "month": "0 6 1 * *"}

_SERVICE = """\
[Unit]
Description=poolscope report, every {period}
After=network-online.target

[Service]
Type=oneshot
ExecStart={command}
TimeoutStartSec=30min
"""
_TIMER = """\
[Unit]
Description=poolscope report, every {period}

[Timer]
OnCalendar={when}
RandomizedDelaySec=10min
Persistent=true

[Install]
WantedBy=timers.target
"""


@click.group()
def schedule() -> None:
    """Make the report on a timer, show how that went, or make it now."""


@schedule.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--period", default="week", show_default=True, help="day, week or month.")
@click.option("--cron", is_flag=True, help="Print a line for crontab instead of writing a systemd timer.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def install(ctx: click.Context, period: str, cron: bool, options: tuple[str, ...]) -> None:
    """Install a timer; OPTIONS are those of `poolscope report`, such as --to ops@example.org --data mypool."""
    if period not in WHEN:
        raise InputError(f"--period {period}: expected one of {', '.join(WHEN)}")
    arguments = ["report", "--period", period, *_absolute([*options, *ctx.args])]
    _check(arguments)
    command = [*_program(), *_data(ctx), *arguments]
    if cron:
        # In a crontab a percent sign ends the command.
        click.echo(f"{CRON[period]} {shlex.join(command).replace('%', chr(92) + '%')}")
        return
    folder = units()
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{UNIT}-{period}"
    (folder / f"{name}.service").write_text(_SERVICE.format(period=period, command=quoted(command)), "utf-8")
    (folder / f"{name}.timer").write_text(_TIMER.format(period=period, when=WHEN[period]), "utf-8")
    click.echo(folder / f"{name}.timer")
    failed = _systemctl("daemon-reload") or _systemctl("enable", "--now", f"{name}.timer")
    if failed:
        raise SourceError(
            f"the timer is written but not started ({failed}); start it with systemctl --user enable --now {name}.timer"
        )


@schedule.command()
@shared
def show(data: Path | None, as_json: bool) -> None:
    """Show the installed timers, what they run, and how the last reports ended."""
    from dashboard.commands.report import default_folder
    from dashboard.reports.archive import Archive

    found = []
    for period, when in WHEN.items():
        service = units() / f"{UNIT}-{period}.service"
        if not service.is_file():
            continue
        command = installed(service)
        out = _option(command, "--out")
        past = [held for held in Archive(Path(out) if out else default_folder()).all() if held.kind == period]
        last = past[0] if past else None
        found.append(
            {
                "period": period, "when": when, "command": shlex.join(command),
                "last": None if last is None else {"period": last.period, "state": last.state, "error": last.error},
            }
        )  # fmt: skip
    if wants_json(as_json):
        print_json({"timers": found})
        return
    if not found:
        click.echo("no timer is installed; poolscope schedule install writes one")
    for timer in found:
        click.echo(f"every {timer['period']} ({timer['when']}): {timer['command']}")
        ended = timer["last"]
        told = "none yet"
        if isinstance(ended, dict):
            told = f"{ended['period']} {ended['state']}" + (f": {ended['error']}" if ended["error"] else "")
        click.echo(f"  last: {told}")


@schedule.command(name="run-now")
@click.option("--period", default=None, help="day, week or month; else the one that is installed.")
def run_now(period: str | None) -> None:
    """Run what a timer would run."""
    there = [name for name in WHEN if (units() / f"{UNIT}-{name}.service").is_file()]
    chosen = period or (there[0] if len(there) == 1 else None)
    if chosen is None or chosen not in there:
        told = ", ".join(there) or "none"
        raise InputError(f"--period {period or '(not given)'}: the installed timers are: {told}")
    command = installed(units() / f"{UNIT}-{chosen}.service")
    code = subprocess.call(command)  # noqa: S603 - the command that install wrote
    if code:
        raise _ReportFailedError(code)


class _ReportFailedError(PoolscopeError):
    """The report that was run said itself what was wrong; only its exit code is handed on."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the report ended with exit code {code}")
        self.exit_code = code


def units() -> Path:
    """Where systemd looks for a user's units."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "systemd/user"


def quoted(command: list[str]) -> str:
    r"""A command for ExecStart: quoted, with what systemd would expand taken literally.

    Examples
    --------
    >>> quoted(["poolscope", "--of", 'a "b" 100%'])
    '"poolscope" "--of" "a \\"b\\" 100%%"'
    """

    def one(word: str) -> str:
        if any(ord(letter) < 32 for letter in word):
            raise InputError(f"{word!r}: a control character can't stand in a unit")
        return (
            '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'
        )

    return " ".join(one(word) for word in command)


def installed(service: Path) -> list[str]:
    """The command of a unit that `install` wrote."""
    line = re.search(r"^ExecStart=(.*)$", service.read_text("utf-8"), re.MULTILINE)
    words = re.findall(r'"((?:[^"\\]|\\.)*)"', line[1]) if line else []
    if not words:
        raise InputError(f"{service}: not as poolscope schedule install wrote it; install it again")
    return [re.sub(r"\\(.)", r"\1", word).replace("%%", "%").replace("$$", "$") for word in words]


def _program() -> list[str]:
    """How to call this poolscope from anywhere."""
    beside = Path(sys.executable).with_name("poolscope")
    return (
        [str(beside)]
        if beside.is_file()
        else [sys.executable, "-c", "from dashboard.cli import main; main()"]
    )


def _data(ctx: click.Context) -> list[str]:
    before = (ctx.obj or {}).get("data") if ctx.obj else None
    return ["--data", str(Path(before).absolute())] if before else []


_FOLDERS = ("--data", "--out", "--smtp-password-file", "--smtp-ca")


def _absolute(words: list[str]) -> list[str]:
    """The options with absolute paths: a timer runs somewhere else."""
    made = list(words)
    for place, word in enumerate(made):
        name, equals, value = word.partition("=")
        if name in _FOLDERS and equals:
            made[place] = f"{name}={Path(value).absolute()}"
        elif word in _FOLDERS and place + 1 < len(made):
            made[place + 1] = str(Path(made[place + 1]).absolute())
    return made


def _check(arguments: list[str]) -> None:
    """Refuse options that `report` would refuse, now rather than on Monday."""
    from dashboard.commands.report import report
    from dashboard.reports.mail import check_address

    context = report.make_context("poolscope report", arguments[1:], resilient_parsing=False)
    for address in context.params["to"]:
        check_address(address)


def _option(command: list[str], name: str) -> str | None:
    for place, word in enumerate(command):
        if word == name and place + 1 < len(command):
            return command[place + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def _systemctl(*words: str) -> str | None:
    """Call systemctl --user; the reason if that failed."""
    program = shutil.which("systemctl")
    if program is None:
        return "there is no systemctl here"
    done = subprocess.run(  # noqa: S603 - our own words
        [program, "--user", *words], capture_output=True, text=True, timeout=30, check=False
    )
    return (
        None
        if done.returncode == 0
        else (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
    )
