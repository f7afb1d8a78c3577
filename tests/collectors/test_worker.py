"""The asking process answers, is given up in time, breaks down alone, and comes back."""

import os
import signal
import socket
import time
from collections.abc import Iterator

import pandas as pd
import pytest

from collectors.daemons import Daemons, address_of
from collectors.questions import Location
from collectors.worker import Worker
from sim.errors import InputError, SourceError

AT = pd.Timestamp("2026-11-24 12:00", tz="UTC")


def add(first: int, second: int) -> int:
    return first + second


def own_number() -> int:
    return os.getpid()


def fail(text: str) -> None:
    raise InputError(text)


def stumble() -> float:
    return 1 / 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def obey_no_signal() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return "still here"


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def test_one_process_answers_all(worker: Worker) -> None:
    numbers = {worker.ask("x", own_number, deadline_s=20) for _ in range(3)}
    assert len(numbers) == 1
    assert numbers != {os.getpid()}
    assert worker.ask("x", add, 2, 3, deadline_s=20) == 5


def test_given_up(worker: Worker) -> None:
    """The process is killed, the next question has a new one."""
    before = worker.ask("x", own_number, deadline_s=20)
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"^schedd ap1: no answer within 0\.5 s; check"):
        worker.ask("schedd ap1", time.sleep, 60, deadline_s=0.5)
    assert time.monotonic() - began < 3
    assert worker.ask("x", own_number, deadline_s=20) != before
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


def test_who_kept_silent_is_left_alone(worker: Worker) -> None:
    """Only that one, and at once."""
    with pytest.raises(SourceError):
        worker.ask("schedd ap1", time.sleep, 60, deadline_s=0.3, to="ap1")
    began = time.monotonic()
    with pytest.raises(SourceError, match="history of schedd ap1: not asked, because it kept silent"):
        worker.ask("history of schedd ap1", add, 1, 1, deadline_s=20, to="ap1")
    assert time.monotonic() - began < 0.2
    assert worker.ask("schedd ap2", add, 1, 1, deadline_s=20, to="ap2") == 2


def test_a_crash_is_an_error_like_others(worker: Worker) -> None:
    """classad2 can be made to crash; the collector lives on."""
    with pytest.raises(SourceError, match=r"schedd ap1: .*broke down"):
        worker.ask("schedd ap1", die, deadline_s=20)
    assert worker.ask("x", add, 1, 1, deadline_s=20) == 2


def test_errors_are_told(worker: Worker) -> None:
    with pytest.raises(SourceError, match=r"^a sentence$"):
        worker.ask("x", fail, "a sentence", deadline_s=20)
    with pytest.raises(SourceError, match=r"^schedd ap1: .*ZeroDivisionError: division by zero.*report"):
        worker.ask("schedd ap1", stumble, deadline_s=20)


def test_signals_are_for_the_process_that_asks(worker: Worker) -> None:
    """Ctrl-C and systemd reach the whole group; the answer in hand is still finished."""
    assert worker.ask("x", obey_no_signal, deadline_s=20) == "still here"


def test_closing_twice_and_before_the_start() -> None:
    worker = Worker()
    worker.close()
    worker.ask("x", add, 1, 1, deadline_s=20)
    worker.close()
    worker.close()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


@pytest.mark.slow
def test_a_silent_collector_is_given_up_in_time(silent: int) -> None:
    daemons = Daemons(f"127.0.0.1:{silent}")
    began = time.monotonic()
    with pytest.raises(SourceError, match=rf"collector 127\.0\.0\.1:{silent}: "):
        daemons.slots(AT, "s")
    assert time.monotonic() - began < 10
    daemons.close()


@pytest.mark.slow
def test_a_silent_schedd_is_given_up_and_then_left_alone(silent: int) -> None:
    """htcondor2 has no time limit on a history: in a thread it would hang for ever, and hold every other thread up."""
    daemons = Daemons("127.0.0.1:1")
    ad = (
        f'[ MyType = "Scheduler"; Name = "ap1"; Machine = "ap1"; MyAddress = "<127.0.0.1:{silent}>"; '
        'CondorVersion = "$CondorVersion: 23.9.6 2026-07-12 PackageID: 23.9.6 $" ]'
    )
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"^schedd ap1: "):
        daemons.queue(Location("ap1", ad), AT, "s")
    with pytest.raises(SourceError, match=r"^history of schedd ap1: not asked"):
        daemons.history(Location("ap1", ad), AT, "s", None)
    assert time.monotonic() - began < 40  # htcondor2 itself gives up after 20 s
    with pytest.raises(SourceError, match=r"^negotiator cm: no answer within"):
        daemons.priorities(Location("cm", ad.replace("ap1", "cm")), AT, "s")
    daemons.close()


def test_a_closed_port() -> None:
    daemons = Daemons("127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(
        SourceError, match=r"collector 127\.0\.0\.1:1: unreachable or refused; check the address"
    ):
        daemons.slots(AT, "s")
    assert time.monotonic() - began < 10
    daemons.close()


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("cm.example", "cm.example:9618"),
        ("cm.example:9620", "cm.example:9620"),
        ("127.0.0.1", "127.0.0.1:9618"),
        ("[::1]", "[::1]:9618"),
        ("[::1]:9620", "[::1]:9620"),
    ],
)
def test_addresses(typed: str, address: str) -> None:
    assert address_of(typed) == address
