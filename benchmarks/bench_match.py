"""What the laboratory adds to the bare evaluations: ratios of CPU time in one run.

    python -m benchmarks.bench_match

Bare is one classad2 symmetricMatch of the job with one machine of each kind (for the queue: of each shape with each).
Goals: 10 for one expression over 2,000 slots of 200 kinds that nobody asked about before; over 50,000 slots of 300 kinds
that are known already, twice that answer's own time, here told as a ratio to it and, more strictly, to the bare
evaluations of the 300 kinds; 2 for a queue of 10,000 jobs in 300 autoclusters.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pandas as pd

from sim.analysis import PoolView, Queue, analyse, analyse_queue
from sim.analysis.machines import MachineView, views_of
from sim.classads.ads import parse_one
from sim.classads.matching import agree, read_ad
from sim.classads.request import Request
from sim.classads.submit import read_submit
from sim.inventory import slots_frame
from sim.store import Store, sample_path

EXPRESSION = 'GPUs_Capability >= 7.5 && Memory > 4096 && Tier =!= "tier-3" && HasSingularity'
NOW = pd.Timestamp("2026-03-01", tz="UTC")


def cpu_s(work: Callable[[], object], *, times: int = 5) -> float:
    """The least CPU time of several goes [s]."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def real_slots() -> list[str]:
    """Slot ads of the recorded pool: one of each machine with GPUs, some 180 attributes each."""
    slots = Store(sample_path()).read("slots")
    last = slots[(slots["seen_at"] == slots["seen_at"].max()) & (slots["slot_type"] == "partitionable")]
    return [str(text) for text in last["ad"] if "AssignedGPUs" in str(text)]


def machines(count: int, kinds: int) -> list[MachineView]:
    """Machines made of the recorded ones: `kinds` that an expression can tell apart, each under many names."""
    base = real_slots()
    made: list[MachineView] = []
    for number in range(kinds):
        ad = parse_one(base[number % len(base)])
        ad["Tier"] = f"tier-{number // len(base)}"
        for copy in range(count // kinds + (number < count % kinds)):
            name = f"h{number}-{copy}.example"
            if copy == 0:
                ad["Machine"], ad["Name"] = name, f"slot1@{name}"
                frame = slots_frame([ad], seen_at=NOW, snapshot="x").frame
                (first,) = views_of(frame, {})
                made.append(first)
            else:  # the same ad under another name, which is what glideins of one batch are
                made.append(_renamed(first, name))
    return made


def _renamed(view: MachineView, name: str) -> MachineView:
    from dataclasses import replace

    return replace(view, name=f"slot1@{name}", machine=name)


def pool_of(views: list[MachineView]) -> PoolView:
    attributes = {name.lower(): name for view in views[:400] for name in view.now}
    return PoolView(tuple(views), None, attributes, NOW)


def one_expression(count: int, kinds: int, *, known: bool) -> float:
    """CPU time of an answer [s]."""
    views = machines(count, kinds)
    job = read_ad(Request().describe(EXPRESSION).text)
    samples = _samples(views, kinds)
    bare = cpu_s(lambda: [agree(view.drained, job) for view in samples])
    if known:
        pool = pool_of(views)
        analyse(EXPRESSION, pool)
        limits = iter(range(1000, 9000, 7))  # another expression each time
        ours = cpu_s(lambda: analyse(EXPRESSION.replace("4096", str(next(limits))), pool), times=15)
    else:
        pools = [pool_of(views) for _ in range(5)]
        for pool in pools:
            pool.fleet()
        ready = iter(pools)
        ours = cpu_s(lambda: analyse(EXPRESSION, next(ready)))
    print(f"{count:>6} slots, {kinds} kinds, kinds {'known' if known else 'new'}: bare {bare * 1e3:.1f} ms, "
          f"answer {ours * 1e3:.1f} ms, ratio {ours / bare:.1f}")  # fmt: skip
    return ours


def _samples(views: list[MachineView], kinds: int) -> list[MachineView]:
    seen: dict[int, MachineView] = {}
    for view in views:
        seen.setdefault(id(view.drained), view)
    assert len(seen) == kinds
    return list(seen.values())


def a_queue(n_jobs: int = 10_000, n_shapes: int = 300, count: int = 2_000, kinds: int = 200) -> float:
    views = machines(count, kinds)
    pool = pool_of(views)
    rows = []
    shapes = []
    for number in range(n_shapes):
        text = (
            f"executable = a\nshould_transfer_files = yes\nrequest_gpus = {number % 2 + 1}\n"
            f"request_memory = {1000 + number}\ngpus_minimum_capability = {7 + number % 5 / 2}\n"
            f'requirements = Tier =!= "tier-{number % 7}"\nqueue'
        )
        job = read_submit(text).jobs[0].description
        shapes.append(job)
        for proc in range(n_jobs // n_shapes + (number < n_jobs % n_shapes)):
            rows.append({
                "job_id": f"{number}.{proc}", "submitter": f"u{number % 9}@x", "status": "idle", "seen_at": NOW,
                "ad": job.ad(proc, number), "requirements": job.requirements, "require_gpus": job.require_gpus,
                "request_cpus": 1.0, "request_memory_mib": 1000.0 + number, "request_disk_mib": 1.0,
                "request_gpus": job.gpus,
            })  # fmt: skip
    frame = pd.DataFrame(rows)
    samples = _samples(views, kinds)
    ads = [read_ad(job.text) for job in shapes]
    bare = cpu_s(lambda: [agree(view.drained, ad) for ad in ads for view in samples], times=2)
    analyse("true", pool)
    ours = cpu_s(lambda: analyse_queue(Queue.from_frames(frame, pool=pool), pool), times=2)
    print(f"{n_jobs} jobs in {n_shapes} shapes, {kinds} kinds: bare {bare:.2f} s, answer {ours:.2f} s, "
          f"ratio {ours / bare:.2f}")  # fmt: skip
    return ours / bare


def main() -> None:
    first = one_expression(2_000, 200, known=False)
    known = one_expression(50_000, 300, known=True)
    print(f"the second against the first: ratio {known / first:.2f}")
    a_queue()


if __name__ == "__main__":
    main()
