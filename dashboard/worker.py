"""The worker: a process that takes runs from the table, one after another.

Started by `poolscope serve`; stops with it, and puts an unfinished run back into the queue.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import resource
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dashboard.runs import Cancelled, Entry, Runs
from sim.errors import InputError, PoolscopeError
from sim.sweep import model_version

Tick = Callable[[float, str], None]
Execute = Callable[[Mapping[str, Any], Tick], Mapping[str, Any]]

BEAT_S = 5.0
IDLE_S = 0.3
#: A run may take this long [s]; a model that doesn't even tick ends with its worker, which is replaced.
RUN_LIMIT_S = 3600.0
GRACE_S = 60.0
#: Address space that a worker may take [bytes].
MEMORY = 12 * 1024**3
PRUNE_EVERY_S = 3600.0

log = logging.getLogger("poolscope.worker")


class _Stopped(BaseException):
    """Raised by a tick when the worker was asked to stop; passes through the model's own handlers."""


def work(runs: Runs, execute: Execute, *, stop: threading.Event, idle_s: float = IDLE_S) -> None:
    """Take and execute runs until `stop` is set."""
    name = uuid.uuid4().hex[:12]
    pruned = beaten = -math.inf
    while not stop.is_set():
        if time.monotonic() - beaten > BEAT_S:
            runs.beat_idle(name)
            beaten = time.monotonic()
        entry = runs.claim(name)
        if entry is not None:
            run_one(runs, entry, execute, stop=stop, worker=name)
            continue
        if time.monotonic() - pruned > PRUNE_EVERY_S:
            runs.prune()
            pruned = time.monotonic()
        stop.wait(idle_s)


def run_one(
    runs: Runs,
    entry: Entry,
    execute: Execute,
    *,
    stop: threading.Event,
    worker: str = "",
    limit_s: float = RUN_LIMIT_S,
) -> None:
    """Execute a claimed run and record how it ended."""
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(runs, entry, ended, worker, limit_s), daemon=True)
    beat.start()
    begun = time.monotonic()

    def tick(fraction: float, note: str) -> None:
        if stop.is_set():
            raise _Stopped
        if time.monotonic() - begun > limit_s:
            raise InputError(_too_long(limit_s))
        runs.tick(entry, fraction, note)

    try:
        runs.finish(entry, execute(entry.spec, tick))
    except Cancelled:
        log.info("run %s was cancelled", entry.id)
    except _Stopped:
        runs.release(entry)
    except PoolscopeError as error:
        runs.fail(entry, str(error))
    except MemoryError:
        runs.fail(entry, "ran out of memory: ask for fewer replications or a shorter record")
    except Exception as error:
        log.exception("run %s failed", entry.id)
        runs.fail(entry, "".join(traceback.format_exception_only(error)).strip())
    finally:
        ended.set()
        beat.join()


def _beat(runs: Runs, entry: Entry, ended: threading.Event, worker: str, limit_s: float) -> None:
    begun = time.monotonic()
    while not ended.wait(BEAT_S):
        runs.beat(entry)
        if worker:
            runs.beat_idle(worker)
        if time.monotonic() - begun > limit_s + GRACE_S:
            runs.fail(entry, _too_long(limit_s))
            log.error("run %s doesn't tick: this worker ends with it", entry.id)
            os._exit(3)


def _too_long(limit_s: float) -> str:
    return f"took longer than {limit_s / 60:g} minutes: ask for fewer replications or a shorter record"


def main(arguments: list[str]) -> None:
    """Entry point of the process: folder of the runs; `--follow` ends it with the server that started it."""
    from dashboard.simulation import execute

    folder = arguments[0]
    with contextlib.suppress(ValueError, OSError):  # a hard limit below ours stays
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if "--follow" in arguments:
        threading.Thread(target=_follow, args=(os.getppid(), stop), daemon=True).start()
    work(Runs(Path(folder), model=model_version()), execute, stop=stop)


def _follow(parent: int, stop: threading.Event) -> None:
    """Stop when the server is gone, even if it was killed without a word."""
    while not stop.wait(1.0):
        if os.getppid() != parent:
            stop.set()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    main(sys.argv[1:])
