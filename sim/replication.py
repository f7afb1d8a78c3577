"""Runs of plans with many seeds, on local processes.

Every process makes its own plans, because ClassAds can't be sent from one to another; a run's seed alone decides what it
gives, so it doesn't matter where it ran.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, TypeVar

from sim.engine.run import Plan, Run
from sim.errors import InputError, PoolscopeError

T = TypeVar("T")
Each = Callable[[Plan, Run], T]
Tell = Callable[[float, int], None]

_TICK_S = 0.5  # a worker tells how far it is at most so often


class Task(NamedTuple):
    """One run: of which plan, with which seed."""

    plan: int
    seed: int


def cores() -> int:
    """How many processes this machine runs at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def replicate(
    plans: Sequence[Callable[[], Plan]],
    tasks: Sequence[Task],
    each: Each[T],
    *,
    workers: int | None = None,
    tell: Tell | None = None,
) -> Iterator[tuple[Task, T]]:
    """Run tasks and yield what `each` makes of every run, as they end; in order with one worker.

    Closing the iterator, or an exception where it is used (Ctrl-C), ends the workers; what was yielded stays.

    Parameters
    ----------
    plans : how each plan is made; with several workers it must be picklable, as must `each` and what it gives
    each : makes the result of a run, where it ran
    workers : processes; as many as there are cores by default, none beside this one for a single task
    tell : told the runs done, parts of them included, and how many have ended

    Raises
    ------
    PoolscopeError : a plan or a run was refused, or a worker ended by itself
    """
    count = max(1, min(workers or cores(), len(tasks)))
    if count == 1:
        yield from _alone(plans, tasks, each, tell)
    else:
        yield from _Crew(plans, each, count).work(tasks, tell)


def _alone(
    plans: Sequence[Callable[[], Plan]], tasks: Sequence[Task], each: Each[T], tell: Tell | None
) -> Iterator[tuple[Task, T]]:
    made: dict[int, Plan] = {}
    for done, task in enumerate(tasks):
        if task.plan not in made:
            made = {task.plan: plans[task.plan]()}
        plan = made[task.plan]
        run = plan.run(task.seed, _telling(tell, done) if tell else None)
        if tell:
            tell(done + 1.0, done + 1)
        yield task, each(plan, run)


def _telling(tell: Tell, done: int) -> Callable[[float, str], None]:
    return lambda share, _text: tell(done + share, done)


@dataclass(eq=False)
class _Worker:
    """A process, the pipe to it, and what it does."""

    process: BaseProcess
    pipe: Connection
    task: Task | None = None
    share: float = 0.0
    plan: int = -1


@dataclass(eq=False)
class _Crew(Generic[T]):
    """Processes that work through tasks."""

    plans: Sequence[Callable[[], Plan]]
    each: Each[T]
    count: int
    workers: list[_Worker] = field(default_factory=list)

    def work(self, tasks: Sequence[Task], tell: Tell | None) -> Iterator[tuple[Task, T]]:
        """Hand out tasks, to workers that have the plan already where there are some, and yield results."""
        todo, done = list(tasks), 0
        try:
            self._start()
            for worker in self.workers:
                self._hand_out(worker, todo)
            while any(worker.task is not None for worker in self.workers):
                ready = wait([worker.pipe for worker in self.workers if worker.task is not None])
                for worker in [worker for worker in self.workers if worker.pipe in ready]:
                    task, result = self._hear(worker)
                    if task is not None:
                        done += 1
                        self._hand_out(worker, todo)
                    if tell:
                        tell(done + sum(each.share for each in self.workers if each.task), done)
                    if task is not None:
                        yield task, result
        finally:
            self._stop()

    def _start(self) -> None:
        context = multiprocessing.get_context(
            "spawn"
        )  # forking a process with threads (DuckDB, Arrow) may hang
        for _ in range(self.count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self.plans, self.each), daemon=True)
            process.start()
            theirs.close()
            self.workers.append(_Worker(process, ours))

    def _hand_out(self, worker: _Worker, todo: list[Task]) -> None:
        if not todo:
            return
        busy = {other.plan for other in self.workers if other is not worker}
        same = next((task for task in todo if task.plan == worker.plan), None)
        fresh = next((task for task in todo if task.plan not in busy), None)
        task = same or fresh or todo[0]
        todo.remove(task)
        worker.task, worker.share, worker.plan = task, 0.0, task.plan
        worker.pipe.send(task)

    def _hear(self, worker: _Worker) -> tuple[Task | None, Any]:
        try:
            kind, content = worker.pipe.recv()
        except EOFError:
            worker.process.join(5)
            raise PoolscopeError(
                f"a process that simulated ended by itself (exit code {worker.process.exitcode}); "
                "was it killed, or is memory short? Try fewer workers"
            ) from None
        if kind == "share":
            worker.share = content
            return None, None
        if kind == "refused":
            raise InputError(content)
        if kind == "failed":
            raise RuntimeError(content)
        task, worker.task, worker.share = worker.task, None, 0.0
        return task, content

    def _stop(self) -> None:
        for worker in self.workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join()


def _serve(pipe: Connection, plans: Sequence[Callable[[], Plan]], each: Each[Any]) -> None:
    """Run what comes through the pipe until it is closed; Ctrl-C is for the process that asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    made: dict[int, Plan] = {}
    while True:
        try:
            task: Task = pipe.recv()
        except EOFError:
            return
        try:
            if task.plan not in made:
                made = {task.plan: plans[task.plan]()}
            run = made[task.plan].run(task.seed, _Ticker(pipe))
            answer = ("done", each(made[task.plan], run))
        except PoolscopeError as error:
            answer = ("refused" if error.exit_code == 2 else "failed", str(error))
        except Exception:  # shown by the process that asks
            answer = ("failed", traceback.format_exc())
        try:
            pipe.send(answer)
        except (BrokenPipeError, OSError):
            return


class _Ticker:
    """Tells through a pipe how far a run is, now and then."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.told_s = time.monotonic()

    def __call__(self, share: float, _text: str) -> None:
        now = time.monotonic()
        if now - self.told_s >= _TICK_S:
            self.told_s = now
            self.pipe.send(("share", share))
