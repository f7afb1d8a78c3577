"""The bare SimPy loop: the fewest events that the benchmark's jobs need, and nothing of HTCondor.

One event for a job's arrival, one for its end, one for each cycle; counters instead of slots.
"""

from __future__ import annotations

from collections import deque
from operator import itemgetter

import simpy

from benchmarks.workload import CAPABILITIES, CYCLE_S, RESTRICTED_CAPABILITY, SLOTS_EACH, Task


def waits(tasks: list[Task]) -> list[float]:  # noqa: C901  one loop, its parts as closures
    """The wait of each job [s]."""
    env = simpy.Environment()
    free = [SLOTS_EACH] * len(CAPABILITIES)
    newest = [place for place, capability in enumerate(CAPABILITIES) if capability >= RESTRICTED_CAPABILITY]
    queues: tuple[deque[int], deque[int]] = (deque(), deque())
    kinds = (range(len(CAPABILITIES)), newest)
    started = [0.0] * len(tasks)
    left = len(tasks)
    finished = env.event()

    def arrive():
        for number, task in enumerate(tasks):
            yield env.timeout(task.submitted_s - env.now)
            queues[task.restricted].append(number)

    def end(event):
        nonlocal left
        free[event.value] += 1
        left -= 1
        if not left:
            finished.succeed()

    def first(queue, suitable):
        if queue:
            for kind in suitable:
                if free[kind]:
                    return queue[0], queue, kind
        return None

    def serve():
        now = env.now
        while True:
            found = [pick for pick in map(first, queues, kinds) if pick is not None]
            if not found:
                return
            number, queue, kind = min(found, key=itemgetter(0))
            queue.popleft()
            free[kind] -= 1
            started[number] = now
            env.timeout(tasks[number].run_s, kind).callbacks.append(end)

    def negotiate():
        while True:
            yield env.timeout(CYCLE_S)
            serve()

    env.process(arrive())
    env.process(negotiate())
    env.run(until=finished)
    return [start - task.submitted_s for start, task in zip(started, tasks, strict=True)]
