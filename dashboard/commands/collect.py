"""poolscope collect: snapshots of a live pool into the store."""

from __future__ import annotations

import logging
import re
import signal
import sys
import threading
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from dashboard.commands.options import data_to_write, print_json, shared, wants_json
from sim.errors import InputError, PoolscopeError
from sim.units import parse_duration, parse_size

DEFAULT_POOL = "127.0.0.1"


@dataclass(frozen=True)
class Settings:
    """What a watch is told, by options or by a file's table ``[collect]``; an option wins.

    Parameters
    ----------
    pool : HOST[:PORT] of the collector; commas between several that stand in for each other
    every : from round to round, such as 5m; None for one round
    schedds : names of those to ask; all that the collector knows if empty
    attributes : of slots, asked in every round beside what frames and expressions need
    keep, max_size : days older than this, or beyond this size, are deleted
    pseudonyms : owners, projects and hosts are stored under pseudonyms
    metrics : HOST:PORT for Prometheus
    repositories : addresses of CVMFS repositories on their servers
    """

    pool: str = DEFAULT_POOL
    every: str | None = None
    schedds: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    keep: str | None = None
    max_size: str | None = None
    pseudonyms: bool = False
    metrics: str | None = None
    repositories: tuple[str, ...] = ()


@click.command()
@click.option(
    "--pool",
    help="HOST[:PORT] of the pool's collector; commas between several.  [default: 127.0.0.1]",
)
@click.option("--once", is_flag=True, help="One snapshot (the default without --every).")
@click.option("--every", help="A snapshot every so often, such as 5m, until stopped.")
@click.option(
    "--schedd",
    "schedds",
    multiple=True,
    help="Only this schedd; may be given several times.",
)
@click.option(
    "--attribute",
    "attributes",
    multiple=True,
    help="A slot attribute that is asked every time, not once an hour; may be given several times.",
)
@click.option("--keep", metavar="AGE", help="Delete days older than this, such as 400d.")
@click.option(
    "--max-size",
    metavar="SIZE",
    help="Delete the oldest days beyond this size, such as 50GB.",
)
@click.option(
    "--pseudonyms",
    is_flag=True,
    help="Store owners, projects and hosts under pseudonyms.",
)
@click.option("--metrics", metavar="HOST:PORT", help="Serve /metrics for Prometheus there.")
@click.option(
    "--repository",
    "repositories",
    multiple=True,
    metavar="URL",
    help="A CVMFS repository on a server, such as http://server:8000/cvmfs/NAME, or mounted here, /cvmfs/NAME; several times; asked once a minute.",
)
@click.option(
    "--log",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Form of log lines on stderr.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="TOML file with a table [collect]; SIGHUP rereads it.",
)
@click.option(
    "--test-pool", is_flag=True, help="A loopback pool: it may be asked more often than once a minute."
)
@shared
def collect(
    pool: str | None, once: bool, every: str | None, schedds: tuple[str, ...], attributes: tuple[str, ...],
    keep: str | None, max_size: str | None, pseudonyms: bool, metrics: str | None, repositories: tuple[str, ...], log: str,
    config: Path | None, test_pool: bool, data: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Take snapshots of slots, queue, history, negotiator and priorities.

    HTCondor's own configuration says how to authenticate: _CONDOR_SEC_TOKEN_DIRECTORY and its like in the
    environment, or CONDOR_CONFIG.
    """
    from collectors.rounds import Round, collect_once
    from sim.store import Store

    if once and every:
        raise InputError("--once and --every: choose one of them")
    given: dict[str, Any] = {
        name: value
        for name, value in (
            ("pool", pool), ("every", every), ("schedds", schedds), ("attributes", attributes), ("keep", keep), ("max_size", max_size),
            ("pseudonyms", pseudonyms), ("metrics", metrics), ("repositories", repositories),
        )
        if value
    }  # fmt: skip
    path = data_to_write(data)

    def settings() -> Settings:
        return checked(replace(from_file(config), **given), test_pool=test_pool)

    def tell(result: Round | PoolscopeError) -> None:
        if isinstance(result, PoolscopeError):
            click.echo(str(result), err=True)
        elif wants_json(as_json):
            print_json({"snapshot": result.snapshot, "sources": result.sources})
        else:
            parts = [
                f"{name} {told['rows']}" + (f" ({told['error']})" if told["error"] else "")
                for name, told in result.sources.items()
            ]
            click.echo(f"snapshot {result.snapshot}: {', '.join(parts)} rows")
        sys.stdout.flush()

    told = settings()
    if once or not told.every:
        change = _change(path, told)
        tell(collect_once(_sources(told), Store(path), change=change))
        return
    _log_to_stderr(log)
    _watch(settings, path, tell, jitter=0.0 if test_pool else None)


def from_file(path: Path | None) -> Settings:
    """The settings of a file's table [collect]; the defaults without a file.

    Raises
    ------
    InputError : it can't be read, is no TOML, or knows other words
    """
    if path is None:
        return Settings()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("collect", {})
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path}: can't be read ({error.__class__.__name__})") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"--config {path}: no TOML ({error})") from error
    kinds = {
        name: type(value)
        for name, value in vars(Settings(every="", keep="", max_size="", metrics="")).items()
    }
    for name, value in table.items():
        if name not in kinds:
            raise InputError(f"--config {path}: [collect] knows no {name!r}; expected {', '.join(kinds)}")
        expected = list if kinds[name] is tuple else kinds[name]
        if not isinstance(value, expected):
            raise InputError(f"--config {path}: {name} = {value!r}; expected a {expected.__name__}")
    told: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in table.items()
    }
    return Settings(**told)


def checked(told: Settings, *, test_pool: bool) -> Settings:
    """The settings, if they make sense; InputError says which doesn't."""
    from collectors.rounds import check_interval

    if told.every:
        for one in told.pool.split(","):
            check_interval(parse_duration(told.every), one.strip(), test_pool=test_pool)
    if told.keep:
        parse_duration(told.keep)
    if told.max_size:
        parse_size(told.max_size)
    for name in told.attributes:
        if not re.fullmatch(r"[A-Za-z_]\w*", name, flags=re.ASCII):
            raise InputError(
                f"--attribute {name!r}: expected the name of an attribute, such as GLIDEIN_Entry_Name"
            )
    return told


def _change(path: Path, told: Settings) -> Any:
    from sim.privacy import Pseudonyms

    return Pseudonyms.of(path).frame if told.pseudonyms else None


def _watch(settings: Any, path: Path, tell: Any, *, jitter: float | None) -> None:
    """Watch until SIGTERM or SIGINT; SIGHUP rereads the settings, and wrong ones leave all as it is."""
    from collectors.daemon import JITTER, Upkeep, Watch, log, only_one
    from sim.store import Store

    ended, again = threading.Event(), threading.Event()
    pause = threading.Event()  # what a round waits on: an end, or new settings

    def stop(*_: object) -> None:
        ended.set()
        pause.set()

    def reread(*_: object) -> None:
        again.set()
        pause.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, reread)
    told = settings()
    with only_one(path):
        server = None
        while not ended.is_set():
            pause.clear()
            again.clear()
            sources = _sources(told, ended)
            keep_bytes = int(parse_size(told.max_size) * 1024 * 1024) if told.max_size else None
            watch = Watch(
                sources, Store(path), parse_duration(told.every), stop=pause, tell=tell,
                jitter=JITTER if jitter is None else jitter, change=_change(path, told),
                upkeep=Upkeep(parse_duration(told.keep) if told.keep else None, keep_bytes),
            )  # fmt: skip
            if told.metrics:
                from collectors.metrics import serve_metrics

                server = serve_metrics(watch, told.metrics)
            try:
                watch.run()
            finally:
                if server is not None:
                    server.shutdown()
                    server.server_close()
                    server = None
                close(sources)
            if again.is_set() and not ended.is_set():
                try:
                    told = settings()
                    log.info("settings reread")
                except InputError as error:
                    log.error("settings kept", extra={"told": {"error": str(error)}})


def _sources(told: Settings, stop: threading.Event | None = None) -> list[Any]:
    """The pool's daemons and the repositories that are to be asked."""
    from collectors.rounds import live_sources

    sources: list[Any] = list(live_sources(told.pool, schedds=told.schedds, extra=told.attributes, stop=stop))
    if told.repositories:
        from collectors.cvmfs import RepositorySource

        sources.append(RepositorySource(told.repositories))
    return sources


def close(sources: Any) -> None:
    """End the processes that ask for these sources; a source that asks in this one has none."""
    asking = (getattr(source, "daemons", None) for source in sources)
    for daemons in {id(found): found for found in asking if found is not None}.values():
        daemons.close()


def _log_to_stderr(form: str) -> None:
    from collectors.daemon import JsonLines, log

    handler = logging.StreamHandler()
    if form == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(message)s %(told)s", defaults={"told": ""})
        )
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
