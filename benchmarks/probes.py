"""Ghost probes against injected real jobs in many simulated pools, and what a ladder costs.

python -m benchmarks.probes [POOLS]     writes docs/probes.md
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from sim.classads.request import Request
from sim.engine.run import Plan, Probe
from tests.sim.engine.ghosts import Pools, kolmogorov

ASKED = Request(1, 1, 4096, "Capability >= 8.0")
KINDS = {
    "busy": Pools(hours=16),
    "busy, no RESCHEDULE": Pools(hours=16, reschedule=False),
    "light": Pools(hours=16, demand=0.4),
    "light, no RESCHEDULE": Pools(hours=16, demand=0.4, reschedule=False),
}
DOCUMENT = Path(__file__).parent.parent / "docs" / "probes.md"


def one(pools: Pools, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return pools.both(seed, ASKED)


def compare(name: str, pools: Pools, count: int) -> str:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        found = list(processes.map(one, [pools] * count, range(1, count + 1)))
    ghosts, jobs = (np.concatenate(waits) for waits in zip(*found, strict=True))
    by_pool = np.array([ghost.mean() - job.mean() for ghost, job in found if len(ghost)])
    error = 1.96 * by_pool.std(ddof=1) / np.sqrt(len(by_pool)) / jobs.mean()
    distance, chance = kolmogorov(ghosts, jobs)
    return (
        f"| {name} | {count} | {len(ghosts):,} | {ghosts.mean():.1f} | {jobs.mean():.1f} | "
        f"{ghosts.mean() / jobs.mean() - 1:+.1%} ± {error:.1%} | {distance:.3f} | {chance:.3f} |"
    )


def ladder(pools: Pools, rungs: int, repeats: int = 5) -> tuple[float, float]:
    """CPU time with and without a ladder of probes, the least of several runs [s]."""
    probes = [
        Probe(
            f"rung {rung}",
            request=Request(1, 1, 4096, f"Capability >= {7 + rung / rungs:.2f}"),
            every_s=pools.hours * 30,
        )
        for rung in range(rungs)
    ]
    record = pools.record(pools.background(1))
    plans = [Plan.of(pools.scenario, record, asked) for asked in (probes, [])]
    spent: list[list[float]] = [[], []]
    for _ in range(repeats):
        for place, plan in enumerate(plans):
            begun = time.process_time()
            plan.run(1)
            spent[place].append(time.process_time() - begun)
    return min(spent[0]), min(spent[1])


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rows = []
    for name, pools in KINDS.items():
        rows.append(compare(name, pools, count))
        print(rows[-1], flush=True)
    with_probes, without = ladder(Pools(hours=48), 12)
    cost = f"A ladder of 12 rungs, each asked 120 times in a run, costs {with_probes / without:.2f} times the run without probes."
    print(cost)
    DOCUMENT.write_text(
        "# Ghost probes against real jobs\n\n"
        "Written by `python -m benchmarks.probes`: simulated pools of fourteen GPUs on eight machines, with ghosts asked every\n"
        "1,234 s, and again with a real job of one second, each of a submitter of its own, submitted at those moments. Waits in\n"
        "seconds; the interval of the difference is over pools; distance and chance are Kolmogorov's and Smirnov's, for all waits.\n\n"
        "| pool | pools | waits | ghosts | jobs | difference | distance | chance |\n|---|---|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n\nA real job asks the negotiator for a cycle (RESCHEDULE). A ghost looks at the moment at which that cycle would have been,\n"
        "without any negotiation, so that the jobs of the pool start exactly as they do without it.\n\n"
        + cost
        + "\n"
    )


if __name__ == "__main__":
    main()
