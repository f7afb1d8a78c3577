"""A process of its own that asks HTCondor's daemons, so that a question can be given up.

htcondor2's calls block in C and hold Python's interpreter lock: no thread of the same process runs while a daemon keeps
silent, and some calls (a schedd's history, a negotiator's priorities) have no time limit of their own. The process
that asks can be killed. It makes the frames as well, because ads are dearer to hand over than frames.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from sim.errors import PoolscopeError, SourceError

# before anything imports htcondor2, here and in the process that inherits this environment: the configuration comes
# from the environment alone, and a collector that accepts but never answers is given up after 5 s
os.environ.setdefault("CONDOR_CONFIG", "ONLY_ENV")
os.environ.setdefault("_CONDOR_QUERY_TIMEOUT", "5")
# the process that asks gives back what a reading took, a fifth of all memory; its own memory is set by the systemd unit
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "524288")
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

Answer = TypeVar("Answer")
_LOOK_UP_S = 0.25
_START_S = 60.0
_READY = "ready"
_MOST = 2000  # questions that one process answers: a night of a small pool
SILENCE_S = 120.0  # a daemon that kept silent is left alone for so long
SLOW_S = 4.0  # refusals come at once; what takes so long to fail is htcondor2's own limit on silence


class Worker:
    """Asks questions one after another; started with the first question, and again after it was killed.

    A process that has answered many questions is replaced, so that nothing in it can grow for months.

    stop : when set, a question in hand is given up
    """

    def __init__(self, stop: threading.Event | None = None) -> None:
        self._stop = stop or threading.Event()
        self._asked = 0
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._silent: dict[str, float] = {}

    def ask(
        self, where: str, question: Callable[..., Answer], *arguments: Any, deadline_s: float, to: str = ""
    ) -> Answer:
        """Run ``question(*arguments)`` in the other process.

        where : who is asked, for the message
        deadline_s : after that the question is given up and the process killed [s]
        to : key of the daemon; one that kept silent isn't asked again for 2 min

        Raises
        ------
        SourceError : no answer in time, unreachable or refused
        """
        if time.monotonic() - self._silent.get(to, -SILENCE_S) < SILENCE_S:
            raise SourceError(f"{where}: not asked, because it kept silent a moment ago")
        try:
            connection = self._started()
            began = time.monotonic()
            connection.send((question, arguments))
            if not self._answers(connection, deadline_s):
                self.close()
                if self._stop.is_set():
                    raise SourceError(f"{where}: not waited for, because collecting was stopped")
                self._note_silence(to)
                raise SourceError(
                    f"{where}: no answer within {deadline_s:g} s; check that the daemon isn't overloaded or stopped"
                )
            good, answer = _received(connection)
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            raise SourceError(
                f"{where}: what it answered can't be read (the asking process broke down)"
            ) from error
        if good:
            return answer  # type: ignore[no-any-return]
        kind, text = answer
        if kind == "refused":
            if time.monotonic() - began > SLOW_S:
                self._note_silence(to)
            raise SourceError(
                f"{where}: unreachable or refused; check the address, that the daemon runs, and that it lets you READ "
                f"(a firewall, ALLOW_READ, a token){f': {text}' if 'JOB_EPOCH_HISTORY' in text else ''}"
            )
        raise SourceError(text if kind == "told" else f"{where}: {text}")

    def _answers(self, connection: Connection, deadline_s: float) -> bool:
        """Whether an answer comes in time; looks up now and then whether to stop."""
        end = time.monotonic() + deadline_s
        while not self._stop.is_set():
            left = end - time.monotonic()
            if connection.poll(max(0.0, min(left, _LOOK_UP_S))):
                return True
            if left <= 0:
                return False
        return False

    def _note_silence(self, to: str) -> None:
        if to:
            self._silent[to] = time.monotonic()

    def close(self) -> None:
        """Stop the process, whatever it is waiting for."""
        if self._process is not None and self._connection is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._connection.close()
        self._process = self._connection = None

    def _started(self) -> Connection:
        self._asked += 1
        if self._asked > _MOST:
            self._asked = 1
            self.close()
        if self._connection is None or self._process is None or not self._process.is_alive():
            self.close()
            context = multiprocessing.get_context("spawn")
            self._connection, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other,), daemon=True)
            self._process.start()
            other.close()
            # what a busy machine takes to start it is no daemon's silence
            if not self._answers(self._connection, _START_S):
                self.close()
                raise SourceError(
                    "the asking process doesn't start; check that this machine isn't overloaded"
                )
            self._connection.recv()
        return self._connection


def _serve(connection: Connection) -> None:
    """Answer questions until the other side is gone; a signal to stop is the other side's to obey."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    importlib.import_module("collectors.questions")
    connection.send(_READY)
    while True:
        try:
            question, arguments = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            answer: tuple[bool, Any] = (True, question(*arguments))
        except Exception as error:  # whatever it is, it is told to the process that asked
            answer = (False, _told(error))
        _send(connection, answer)
        del answer
        _give_back()


def _give_back() -> None:
    """Give the system what freed ads took; glibc keeps it otherwise, hundreds of MB between two rounds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _send(connection: Connection, answer: tuple[bool, Any]) -> None:
    """Hand over an answer, its arrays one at a time and not copied into one: a large pool's texts are megabytes."""
    arrays: list[pickle.PickleBuffer] = []
    told = pickle.dumps(answer, protocol=5, buffer_callback=arrays.append)
    connection.send((told, len(arrays)))
    for array in arrays:
        connection.send_bytes(array.raw())


def _received(connection: Connection) -> tuple[bool, Any]:
    told, n = connection.recv()
    answer: tuple[bool, Any] = pickle.loads(told, buffers=[connection.recv_bytes() for _ in range(n)])  # noqa: S301
    return answer


def _told(error: Exception) -> tuple[str, str]:
    import htcondor2

    if isinstance(error, htcondor2.HTCondorException):
        return "refused", str(error)
    if isinstance(error, PoolscopeError):
        return "told", str(error)
    return (
        "broken",
        f"its ads could not be made into a frame ({type(error).__name__}: {str(error)[:150]}); please report this",
    )
