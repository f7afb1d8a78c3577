"""A watch on a fast clock against made-up sources, to be killed, starved and run for months."""

import logging
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pandas as pd

import collectors.daemon
from collectors.daemon import Clock, Upkeep, Watch
from collectors.source import Moment, Reading
from sim.classads.ads import parse_one
from sim.inventory import attempts_frame, devices_frame, jobs_frame, slots_frame
from sim.store import Store, upkeep

BEGAN = pd.Timestamp("2026-01-01 00:00", tz="UTC")


class FastClock(Clock):
    """Five minutes pass while nobody waits."""

    def __init__(self, rounds: int, stop: threading.Event, at: pd.Timestamp = BEGAN) -> None:
        self._at, self._left, self._stop, self._steady = at, rounds, stop, 0.0

    def now(self) -> pd.Timestamp:
        return self._at

    def steady(self) -> float:
        return self._steady

    def wait(self, stop: threading.Event, seconds: float) -> None:
        self._steady += seconds
        self._at += pd.Timedelta(seconds=seconds).round("us")
        self._left -= 1
        if self._left <= 0:
            self._stop.set()


class Pool:
    """A source of some machines, of which one comes and goes, with a queue and a history."""

    name = "pool"

    def __init__(self, machines: int = 6, jobs: int = 4) -> None:
        self._machines, self._jobs = machines, jobs
        self._round = 0

    def read(self, moment: Moment) -> Reading:
        self._round += 1
        number = int(moment.cursor or 0) + 1
        here = self._machines - (number // 7) % 2
        ads = [parse_one(_slot(place, moment)) for place in range(here)]
        at, name = moment.at, moment.snapshot
        queue = [parse_one(_job(number + place, 1)) for place in range(self._jobs)]
        left = [parse_one(_job(number - 1, 4, moment.at))]
        frames = {
            "slots": slots_frame(ads, seen_at=at, snapshot=name).frame,
            "devices": devices_frame(ads, seen_at=at, snapshot=name).frame,
            "jobs": jobs_frame([*queue, *left], seen_at=at, snapshot=name, schedd="ap1").frame,
            "attempts": attempts_frame(left, schedd="ap1").frame,
        }
        return Reading(frames, cursor=number)


def _slot(place: int, moment: Moment) -> str:
    host = f"n{place}.example"
    return (
        f'[ MyType = "Machine"; Name = "slot1@{host}"; Machine = "{host}"; SlotType = "Partitionable"; State = "Unclaimed";'
        f' Cpus = {8 - place % 3}; TotalSlotCpus = 8; Memory = 9000; AssignedGPUs = "GPU-{place}"; GPUs = 1; TotalSlotGPUs = 1;'
        f' GPUs_DeviceName = "NVIDIA A{place % 3}0"; GPUs_Capability = 8.{place % 3}; Start = true; Requirements = Start;'
        f" DaemonStartTime = 1767000000; LastHeardFrom = {int(moment.at.timestamp())} ]"
    )


def _job(number: int, status: int, ended: pd.Timestamp | None = None) -> str:
    end = 0 if ended is None else int(ended.timestamp())
    return (
        f'[ ClusterId = {number}; ProcId = 0; JobStatus = {status}; QDate = {1767000000 + number}; User = "u{number % 9}@x";'
        f" RequestGPUs = 1; RequestCpus = 1; RequestMemory = 100; RequestDisk = 100; Requirements = TARGET.GPUs >= RequestGPUs"
        + (
            f"; CompletionDate = {end}; EpochWriteDate = {end}; JobCurrentStartDate = {end - 100}; JobStartDate = {end - 100};"
            f' RemoteHost = "slot1_1@n{number % 6}.example"; AssignedGPUs = "GPU-{number % 6}"; NumShadowStarts = 1 ]'
            if ended is not None
            else " ]"
        )
    )


def watch(path: Path, rounds: int, *, every_s: float = 300.0, **more: Any) -> Watch:
    """A watch of so many rounds; goes on after the store's last snapshot."""
    stop = threading.Event()
    store = Store(path)
    records = list(store.records().values())
    at = records[-1].taken_at + pd.Timedelta(minutes=5) if records else BEGAN
    clock = FastClock(rounds, stop, at)
    return Watch([Pool()], store, every_s, stop=stop, tell=lambda _: None, jitter=0.0, clock=clock, **more)


_MOST_ROUNDS = 9  # of a writer before it is killed: two compactions


def write(path: Path, told: Connection) -> None:
    """Collect and compact until killed; says so after every round."""
    logging.disable(logging.CRITICAL)
    collectors.daemon._COMPACT_EVERY = 4
    made = watch(path, 10**6)
    made._tell = lambda _: told.send(made.rounds)
    made.run()


def killed(path: Path, times: int, *, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Kill a collecting and compacting process at random moments with readers open; say what the store holds each time.

    A moment is so many rounds and a part of one, whatever a round takes on a busy machine.
    """
    chance = random.Random(seed)
    reader = Store(path)
    context = multiprocessing.get_context("forkserver")  # writers begin at once
    context.set_forkserver_preload([__name__])
    for _ in range(times):
        before = set(reader.records())
        heard, told = context.Pipe(duplex=False)
        writer = context.Process(target=write, args=(path, told), daemon=True)
        writer.start()
        told.close()
        seen: set[str] = set()
        began = time.monotonic()
        for _ in range(chance.randint(1, _MOST_ROUNDS)):
            rounds = heard.recv()
            finished = set(reader.records())
            found = set(reader.read("slots", columns=["snapshot"])["snapshot"])
            assert finished <= found | before
            seen |= found
        time.sleep(chance.uniform(0.0, (time.monotonic() - began) / rounds))
        writer.kill()
        writer.join()
        heard.close()
        after = set(Store(path).records())
        yield {
            "lost": (before | seen) - after,
            "new": len(after - before),
            "verified": upkeep.verify(Store(path)),
            "problems": list(reader.problems),
        }


def handles() -> int:
    """Open file handles of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def resident_mib() -> float:
    """Resident memory of this process [MiB]."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") / 1048576


Look = dict[str, float]


def soak(
    path: Path,
    rounds: int,
    *,
    keep_days: float,
    probes: int = 20,
    every_s: float = 300.0,
    tell: Callable[[Look], None] = lambda _: None,
) -> list[Look]:
    """Run a watch and look at it now and then: rounds done, resident MiB, handles, files and bytes of the store."""
    told: list[Look] = []
    made = watch(path, rounds, every_s=every_s, upkeep=Upkeep(keep_s=keep_days * 86_400.0))
    every = max(1, rounds // probes)

    def look(_: object) -> None:
        if made.rounds % every == 0:
            files = [file for file in path.rglob("*") if file.is_file()]
            told.append(
                {
                    "rounds": made.rounds, "resident_mib": resident_mib(), "handles": handles(), "files": len(files),
                    "bytes": sum(file.stat().st_size for file in files), "seconds": time.process_time(),
                }
            )  # fmt: skip
            tell(told[-1])

    made._tell = look
    made.run()
    return told
