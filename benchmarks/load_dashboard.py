"""Load: one user, then twenty, clicking through the dashboard behind gunicorn with two processes, on loopback.

`python -m benchmarks.load_dashboard [--seconds 300] [--users 20]` records what a browser posts on each page (Chromium), then
replays it with a pause between clicks, and prints errors, p95 of one user and of many, and their ratio. It stops by itself.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Request, sync_playwright

from tests import needs
from tests.browser.watch import FLAGS

PAGES = ("/", "/waits", "/inventory", "/requirements", "/scenarios", "/runs", "/reports", "/about")
PAUSE_S = (0.5, 3.0)
#: A machine that does other things as well answers late; only one that doesn't answer at all is at fault.
PATIENCE_S = 120

Click = tuple[str, str, str]


@contextmanager
def served() -> Iterator[int]:
    """The port of gunicorn with two processes over the bundled sample, and a worker beside it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "XDG_STATE_HOME": state, "XDG_DATA_HOME": state}
        for name in ("POOLSCOPE_DATA", "POOLSCOPE_USER_HEADER"):
            environment.pop(name, None)
        gunicorn = [
            sys.executable, "-m", "gunicorn", "-k", "gthread", "-w", "2", "--threads", "8", "--no-control-socket",
            "--bind", f"127.0.0.1:{port}", "--log-level", "warning", "dashboard.wsgi:server",
        ]  # fmt: skip
        worker = [sys.executable, "-m", "dashboard.worker", str(Path(state) / "poolscope" / "runs")]
        running = [subprocess.Popen(command, env=environment) for command in (gunicorn, worker)]
        try:
            until = time.monotonic() + PATIENCE_S
            while not healthy(port):
                if running[0].poll() is not None:
                    raise SystemExit("gunicorn didn't start; see its message above")
                if time.monotonic() > until:
                    raise SystemExit(f"gunicorn didn't answer within {PATIENCE_S} s")
                time.sleep(0.2)
            yield port
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(30)


def healthy(port: int) -> bool:
    """Tell whether the dashboard answers."""
    try:
        return ask(port, ("GET", "/healthz", ""))[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def ask(port: int, click: Click) -> tuple[int, float]:
    """Do one click; its status and how long it took [s]."""
    method, path, body = click
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    begun = time.monotonic()
    try:
        connection.request(
            method, path, body or None, {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
        )
        answer = connection.getresponse()
        answer.read()
        return answer.status, time.monotonic() - begun
    finally:
        connection.close()


def record(browser: Browser, port: int) -> list[list[Click]]:
    """What a browser asks on each page, without files that it keeps."""
    found = []
    context = browser.new_context()  # one cache for all pages
    context.set_default_timeout(1000 * PATIENCE_S)
    for path in PAGES:
        clicks: list[Click] = [("GET", path, "")]
        page = context.new_page()

        def keep(request: Request, kept: list[Click] = clicks) -> None:
            if request.method == "POST" and request.post_data:
                kept.append(("POST", "/_dash-update-component", json.dumps(json.loads(request.post_data))))

        page.on("request", keep)
        page.goto(f"http://127.0.0.1:{port}{path}")
        page.wait_for_selector("h1")
        page.wait_for_load_state("networkidle")
        page.wait_for_function("() => !document.querySelector('[data-dash-is-loading]')")
        page.close()
        found.append(clicks)
    context.close()
    return found


def warm(port: int, pages: list[list[Click]]) -> None:
    """Ask everything a few times over, until both processes have loaded the store, as they have soon after a start."""
    for _ in range(4):
        for click in (click for clicks in pages for click in clicks):
            ask(port, click)


def use(port: int, pages: list[list[Click]], *, users: int, seconds: float) -> tuple[list[float], list[int]]:
    """Let users click for a while; times of their clicks [s] and statuses of those that failed."""
    until, times, failed, lock = time.monotonic() + seconds, [], [], threading.Lock()

    def one(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < until:
            for click in rng.choice(pages):
                try:
                    status, took = ask(port, click)
                except (OSError, http.client.HTTPException):
                    status, took = 0, float(PATIENCE_S)
                with lock:
                    times.append(took)
                    if not 200 <= status < 300:
                        failed.append(status)
            time.sleep(rng.uniform(*PAUSE_S))

    threads = [threading.Thread(target=one, args=(seed,)) for seed in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, failed


def main() -> None:
    """Measure and print; exit 1 on any error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--users", type=int, default=20)
    chosen = parser.parse_args()
    with served() as port:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=needs.chromium(), args=FLAGS)
            pages = record(browser, port)
            browser.close()
        warm(port, pages)
        alone, failed_alone = use(port, pages, users=1, seconds=min(60.0, chosen.seconds / 5))
        many, failed = use(port, pages, users=chosen.users, seconds=chosen.seconds)
    one, all_of_them = (float(np.quantile(times, 0.95)) for times in (alone, many))
    print(f"one user: {len(alone)} requests, {len(failed_alone)} errors, p95 {1000 * one:.0f} ms")
    print(
        f"{chosen.users} users: {len(many)} requests, {len(failed)} errors, p95 {1000 * all_of_them:.0f} ms, ratio {all_of_them / one:.1f}"
    )
    if failed or failed_alone:
        raise SystemExit(f"statuses of the errors: {sorted(set(failed + failed_alone))}")


if __name__ == "__main__":
    main()
