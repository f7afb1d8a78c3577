"""`poolscope serve`: the dashboard and its workers, started and stopped together."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click
import platformdirs

from dashboard.commands.options import data_to_read, shared
from dashboard.runs import Runs
from dashboard.settings import Settings, Trust
from sim import scenario
from sim.errors import InputError
from sim.store import Store, sample_path
from sim.sweep import model_version

STOP_AFTER_S = 5.0
RESTART_AFTER_S = 2.0

log = logging.getLogger("poolscope.serve")


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, envvar="POOLSCOPE_HOST", help="Address to listen on."
)
@click.option(
    "--port",
    default=8050,
    show_default=True,
    envvar="POOLSCOPE_PORT",
    type=click.IntRange(0, 65535),
    help="Port; 0 takes a free one.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    envvar="POOLSCOPE_WORKERS",
    type=click.IntRange(1, 64),
    help="Simulations at a time.",
)
@click.option(
    "--user-header",
    envvar="POOLSCOPE_USER_HEADER",
    help="Header in which a reverse proxy names the user it has logged in.",
)
@click.option(
    "--role-header",
    envvar="POOLSCOPE_ROLE_HEADER",
    help="Header in which it names the role: viewer, runner or admin.",
)
@click.option(
    "--trusted-proxy",
    default="127.0.0.1,::1",
    show_default=True,
    envvar="POOLSCOPE_TRUSTED_PROXY",
    help="Addresses that these headers are believed from.",
)
@click.option(
    "--prefix", default="/", envvar="POOLSCOPE_PREFIX", help="Path behind the proxy, such as /poolscope/."
)
@shared
def serve(
    host: str,
    port: int,
    workers: int,
    user_header: str | None,
    role_header: str | None,
    trusted_proxy: str,
    prefix: str,
    data: Path | None,
    as_json: bool,
) -> None:
    """Serve the dashboard until it is stopped (Ctrl+C)."""
    check_exposure(host, user_header)
    if not (prefix.startswith("/") and prefix.endswith("/")):
        raise InputError(
            f"--prefix {prefix}: expected a path that begins and ends with /, such as /poolscope/"
        )
    store = data_to_read(data)
    listening = listen(host, port)
    proxies = (*(word.strip() for word in trusted_proxy.split(",")), "")
    settings = replace(settings_for(store), trust=Trust(user_header, role_header, proxies), prefix=prefix)
    runs = Runs(settings.runs, model=model_version())
    started = Workers(workers, runs)
    try:
        serve_app(Store(store), settings, runs, listening)
    finally:
        listening.close()
        started.stop()


def check_exposure(host: str, user_header: str | None) -> None:
    """Refuse to show the pool to a network while nobody logs in.

    Raises
    ------
    InputError : the address isn't this machine's own, and no proxy vouches for users
    """
    try:
        own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = host == "localhost"
    if not own and not user_header:
        raise InputError(
            f"--host {host} would show the pool, its users' names and the Run button to everybody who reaches it: put a reverse "
            "proxy that logs users in before it and name its header with --user-header, or leave --host at 127.0.0.1"
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything slow is done.

    Raises
    ------
    InputError : the port is taken, or the address isn't this machine's
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(64)
    except OSError as error:
        made.close()
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"can't listen on {host} port {port}: {reason}; name another with --port") from error
    return made


def settings_for(store: Path) -> Settings:
    """The settings for a store; the sample has its own scenario, which knows what a class is there."""
    state = Path(platformdirs.user_state_dir("poolscope"))
    runs = Path(os.environ.get("POOLSCOPE_RUNS") or state / "runs")
    reports = Path(os.environ.get("POOLSCOPE_REPORTS") or state / "reports")
    if store != sample_path():
        return Settings(runs=runs, source=str(store.resolve()), reports=reports)
    class_by = scenario.load("sample").workload.class_by
    return Settings(
        runs=runs, sample=True, class_by=class_by, source="sample", scenario="sample", reports=reports
    )


class Workers:
    """The worker processes; one that dies is replaced, so that the queue always moves."""

    def __init__(self, count: int, runs: Runs) -> None:
        self._command = [sys.executable, "-m", "dashboard.worker", str(runs.folder), "--follow"]
        self._stopping = threading.Event()
        self._processes = [self._start() for _ in range(count)]
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.DEVNULL)  # noqa: S603 - our own interpreter and module

    def _watch(self) -> None:
        while not self._stopping.wait(RESTART_AFTER_S):
            for place, process in enumerate(self._processes):
                if process.poll() is not None:
                    log.warning("a worker ended with %s and is replaced", process.returncode)
                    self._processes[place] = self._start()

    def stop(self) -> None:
        """Let the workers put their runs back, then end those that don't."""
        self._stopping.set()
        self._watcher.join()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(STOP_AFTER_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def serve_app(store: Store, settings: Settings, runs: Runs, listening: socket.socket) -> None:
    """Serve until a signal comes; the record's replay is asked for at once, so that Waits has its answer."""
    # Late, because Dash takes a second to import and a taken port should be told before.
    from waitress.server import create_server

    from dashboard.app import create_app, follow
    from dashboard.data import Data
    from dashboard.spec import replay_spec

    logging.getLogger("waitress").setLevel(logging.ERROR)
    data = Data(store, settings)
    app = create_app(data, settings, runs)
    runs.ask(replay_spec(data))
    stop_following = follow(app, data)
    server = create_server(app.server, sockets=[listening], threads=8)

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    click.echo(f"poolscope is at {address(listening)} (Ctrl+C stops it)")
    try:
        server.run()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()
        stop_following()


def address(listening: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
