"""The worker: a process that takes runs from the table, one after another.

Started by `poolscope serve`; stops with it, and puts an unfinished run back into the queue.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dashboard.runs import Cancelled, Entry, Runs
from sim.errors import PoolscopeError

Tick = Callable[[float, str], None]
Execute = Callable[[Mapping[str, Any], Tick], Mapping[str, Any]]

BEAT_S = 5.0
IDLE_S = 0.3

log = logging.getLogger("poolscope.worker")


class _Stopped(BaseException):
    """Raised by a tick when the worker was asked to stop; passes through the model's own handlers."""


def work(runs: Runs, execute: Execute, *, stop: threading.Event, idle_s: float = IDLE_S) -> None:
    """Take and execute runs until `stop` is set."""
    name = uuid.uuid4().hex[:12]
    while not stop.is_set():
        entry = runs.claim(name)
        if entry is None:
            stop.wait(idle_s)
        else:
            run_one(runs, entry, execute, stop=stop)


def run_one(runs: Runs, entry: Entry, execute: Execute, *, stop: threading.Event) -> None:
    """Execute a claimed run and record how it ended."""
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(runs, entry, ended), daemon=True)
    beat.start()

    def tick(fraction: float, note: str) -> None:
        if stop.is_set():
            raise _Stopped
        runs.tick(entry, fraction, note)

    try:
        runs.finish(entry, execute(entry.spec, tick))
    except Cancelled:
        log.info("run %s was cancelled", entry.id)
    except _Stopped:
        runs.release(entry)
    except PoolscopeError as error:
        runs.fail(entry, str(error))
    except Exception as error:
        log.exception("run %s failed", entry.id)
        runs.fail(entry, "".join(traceback.format_exception_only(error)).strip())
    finally:
        ended.set()
        beat.join()


def _beat(runs: Runs, entry: Entry, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        runs.beat(entry)


def main(arguments: list[str]) -> None:
    """Entry point of the process: folder of the runs, version of the model."""
    from dashboard.simulation import execute

    folder, model = arguments
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    parent = os.getppid()
    threading.Thread(target=_follow, args=(parent, stop), daemon=True).start()
    work(Runs(Path(folder), model=model), execute, stop=stop)


def _follow(parent: int, stop: threading.Event) -> None:
    """Stop when the server is gone, even if it was killed without a word."""
    while not stop.wait(1.0):
        if os.getppid() != parent:
            stop.set()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    main(sys.argv[1:])
