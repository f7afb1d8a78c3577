"""The engine against the bare SimPy loop and its peers: CPU time, memory and growth, every figure a ratio of one run.

python -m benchmarks.engine [--sizes 10000,100000] [--lapis PYTHON --peers FOLDER]     writes docs/benchmarks.md

PYTHON is the interpreter of an environment with `lapis-sim`. Each figure comes from a process of its own, the engine's and
the bare loop's in turns, so that other work on the machine meets both; the heavier workload runs beside them.
"""

import argparse
import cProfile
import io
import json
import math
import pstats
import re
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmarks import bare, heavy, plain
from benchmarks.workload import tasks
from sim.scenario import PolicySection
from sim.sweep import model_version

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
LOADS = (0.9, 1.3)
LIMIT_KB = 8_000_000
LARGE_REPEATS = 1
PART = 20
"""How often the largest sizes are run; which part of the heavier workload is run under the profiler."""


class Figure(NamedTuple):
    """What a process measured: CPU time [s] and peak memory over the input [B]."""

    cpu_s: float
    bytes: float


def measure(engine: str, size: int, load: float) -> Figure:
    """Run one engine over so many jobs, here."""
    if engine == "heavy":
        made = heavy.pool(size)
        before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        made.run(heavy.LENGTH_S * size / heavy.JOBS)
    else:
        jobs = tasks(size, load)
        before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        if engine == "bare":
            bare.waits(jobs)
        else:
            plain.pool(jobs, PolicySection()).run(float("inf"))
    spent = time.process_time() - begun
    return Figure(spent, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def apart(engine: str, size: int, load: float) -> Figure:
    """Run one engine in a process of its own, with a limit on its memory."""
    command = f'ulimit -v {LIMIT_KB}; exec "$0" -m benchmarks.engine --one {engine},{size},{load}'
    told = subprocess.run(["bash", "-c", command, sys.executable], check=True, capture_output=True, text=True)
    return Figure(*json.loads(told.stdout))


LAPIS = """
import sys, time
sys.path.insert(0, {folder!r})
import runners, workload
workload.LOAD = {load}
jobs = workload.jobs({size})
runners.preload("lapis_htcondor")
begun = time.process_time()
runners.lapis_htcondor(jobs)
print(time.process_time() - begun)
"""


def lapis(python: str, folder: str, size: int, load: float) -> float:
    """CPU time of LAPIS on the same jobs [s]; `folder` holds its runner."""
    script = LAPIS.format(folder=folder, size=size, load=load)
    told = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True)
    return float(told.stdout.split()[-1])


def beside_lapis(python: str, folder: str, rounds: int) -> list[tuple[float, float]]:
    """CPU time of LAPIS and of the engine [s], by turns."""
    return [
        (lapis(python, folder, 10_000, 0.9), least("engine", 10_000, 0.9, 3).cpu_s) for _ in range(rounds)
    ]


def least(engine: str, size: int, load: float, repeats: int) -> Figure:
    found = [apart(engine, size, load) for _ in range(repeats)]
    return min(found, key=lambda figure: figure.cpu_s)


def profile(size: int, lines: int = 14) -> str:
    """Where the CPU time of the heavier workload goes, the functions with most of it first."""
    made = heavy.pool(size)
    watch = cProfile.Profile(time.process_time)
    watch.runcall(made.run, heavy.LENGTH_S * size / heavy.JOBS)
    text = io.StringIO()
    pstats.Stats(watch, stream=text).sort_stats("tottime").print_stats(lines)
    root = str(Path(__file__).parent.parent)
    kept = text.getvalue().replace(root + "/", "").split("ncalls", 1)[1]
    kept = re.sub(r"\S*/(site-packages|lib/python[\d.]+)/", "", kept)
    return "ncalls" + kept.rstrip()


def weigh(size: int) -> tuple[Figure, Figure, str]:
    """The heavier workload, the bare loop on as many jobs of its own, and the profile of a part of the former."""
    part = [sys.executable, "-m", "benchmarks.engine", "--profile", str(size // PART)]
    whole, alone = apart("heavy", size, 0.9), least("bare", size, 0.9, 3)
    told = subprocess.run(part, check=True, capture_output=True, text=True)
    return whole, alone, told.stdout.rstrip()


def growth(small: float, large: float, factor: float) -> float:
    """The exponent of CPU time in the number of jobs."""
    return math.log(large / small) / math.log(factor)


HEAD = """# The engine's speed

Written by `python -m benchmarks.engine`; {when}, model {model}. Ratios of CPU time measured in one run, each figure in a process of its
own, the least of {repeats} (of {large} from 1,000,000 jobs on). The jobs are those of `benchmarks/workload.py`: single-GPU jobs of one submitter on 1,000 slots of
five kinds, three tenths of them restricted to two kinds. The engine has everything of HTCondor's on (fair share, leftovers, claim
reuse, RESCHEDULE, delays); the bare loop (`benchmarks/bare.py`) has an event for each arrival, each end and each cycle, and
counters instead of slots. Memory is the peak over what the input took.

| jobs | load | bare loop, s | engine, s | engine / bare | engine, B a job | growth |
|---|---|---|---|---|---|---|
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--profile", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--heavy", type=int, default=heavy.JOBS, help="jobs of the heavier workload")
    parser.add_argument("--lapis", metavar="PYTHON")
    parser.add_argument("--peers", metavar="FOLDER", help="the folder of the peers' runners")
    options = parser.parse_args()
    if options.one:
        engine, size, load = options.one.split(",")
        print(json.dumps(measure(engine, int(size), float(load))))
        return
    if options.profile:
        print(profile(options.profile))
        return
    beside = ThreadPoolExecutor()
    weighed = beside.submit(weigh, options.heavy)
    sizes = [int(size) for size in options.sizes.split(",")]
    rows: list[str] = []
    engines: dict[tuple[int, float], Figure] = {}
    bares: dict[tuple[int, float], Figure] = {}
    for load in LOADS:
        for place, size in enumerate(sizes):
            repeats = options.repeats if size < 1_000_000 else LARGE_REPEATS
            bares[size, load] = alone = least("bare", size, load, repeats)
            engines[size, load] = ours = least("engine", size, load, repeats)
            grown = "–"
            if place:
                before = engines[sizes[place - 1], load].cpu_s
                grown = f"J^{growth(before, ours.cpu_s, size / sizes[place - 1]):.2f}"
            rows.append(
                f"| {size:,} | {load:.0%} | {alone.cpu_s:.2f} | {ours.cpu_s:.2f} | **{ours.cpu_s / alone.cpu_s:.1f}** | "
                f"{ours.bytes / size:,.0f} | {grown} |"
            )
            print(rows[-1], flush=True)
    text = HEAD.format(
        when=pd.Timestamp(time.time(), unit="s", tz="UTC").strftime("%Y-%m-%d"),
        model=model_version(),
        repeats=options.repeats,
        large=LARGE_REPEATS,
    )
    text += "\n".join(rows) + "\n"
    if options.lapis and options.peers:
        pairs = sorted(
            beside_lapis(options.lapis, options.peers, options.repeats), key=lambda pair: pair[0] / pair[1]
        )
        spent, own = pairs[len(pairs) // 2]
        line = f"LAPIS (lapis-sim, on usim) takes {spent:.1f} s of CPU time for the first 10,000 of these jobs at 90 % load, the engine {own:.2f} s: **{spent / own:.0f}** times as long (the median of {len(pairs)} rounds, {pairs[0][0] / pairs[0][1]:.0f} to {pairs[-1][0] / pairs[-1][1]:.0f})."
        print(line)
        text += f"\n{line}\n"
    weighty, alone, spent_on = weighed.result()
    text += f"""
## A heavier pool

{options.heavy:,} jobs of {heavy.SUBMITTERS} submitters in {heavy.AUTOCLUSTERS} autoclusters with CPU, memory and GPU requests, on {heavy.HOSTS:,} partitionable hosts of
{heavy.KINDS} kinds, over {heavy.LENGTH_S * options.heavy / heavy.JOBS / 86400:.1f} days (`benchmarks/heavy.py`): {weighty.cpu_s:.0f} s of CPU time, {weighty.cpu_s / alone.cpu_s:.0f} times the bare loop's for as many jobs of
its own workload (which has 5 kinds and 2 autoclusters), {weighty.bytes / options.heavy:,.0f} B a job. Where the CPU time goes, in a {PART}th of it and under the profiler:

```
{spent_on}
```
"""
    DOCUMENT.write_text(text)
    print(DOCUMENT)


if __name__ == "__main__":
    main()
