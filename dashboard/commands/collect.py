"""poolscope collect: snapshots of a live pool into the store."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from dashboard.commands.options import data_to_write, print_json, shared, wants_json
from sim.errors import InputError, PoolscopeError
from sim.units import parse_duration


@click.command()
@click.option("--pool", default="127.0.0.1", show_default=True, help="HOST[:PORT] of the pool's collector.")
@click.option("--once", is_flag=True, help="One snapshot (the default without --every).")
@click.option("--every", help="A snapshot every so often, such as 5m, until stopped.")
@click.option(
    "--test-pool", is_flag=True, help="A loopback pool: it may be asked more often than once a minute."
)
@click.option(
    "--repository",
    "repositories",
    multiple=True,
    metavar="URL",
    help="A CVMFS repository on a server, such as http://server:8000/cvmfs/NAME; several times; asked once a minute.",
)
@shared
def collect(
    pool: str,
    once: bool,
    every: str | None,
    test_pool: bool,
    repositories: tuple[str, ...],
    data: Path | None,
    as_json: bool,
) -> None:
    """Take snapshots of slots, queue, history, negotiator and priorities."""
    from collectors.rounds import Round, check_interval, collect_every, collect_once, live_sources
    from sim.store import Store

    if once and every:
        raise InputError("--once and --every: choose one of them")
    store = Store(data_to_write(data))
    sources = live_sources(pool)
    if repositories:
        from collectors.cvmfs import RepositorySource

        sources.append(RepositorySource(repositories))

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

    if not every:
        tell(collect_once(sources, store))
        return
    every_s = parse_duration(every)
    check_interval(every_s, pool, test_pool=test_pool)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    collect_every(sources, store, every_s, stop=stop, tell=tell, jitter=0.0 if test_pool else 0.1)
