"""The engine against queueing theory: with cycles at once and claims reused for ever a pool is a plain queue.

Erlang C for M/M/c, Pollaczek and Khinchine for M/G/1, Cobham for priorities without preemption, Little for all of them
(Kleinrock, Queueing Systems, 1975-76).
"""

import math
import statistics

import numpy as np
import pytest

from sim.classads.matching import Matcher, Remainder
from sim.classads.request import Request, job_ad
from sim.engine.entities import Job, Machine
from sim.engine.invariants import verify
from sim.engine.pool import Pool
from sim.engine.sessions import Session
from sim.engine.streams import Streams
from tests.sim.engine.made import QUICK, START, slot_text

AT_ONCE = QUICK.model_copy(
    update={
        "negotiator_interval": 1e9, "negotiator_cycle_delay": 0, "negotiator_min_interval": 0, "first_cycle": 0,
        "schedd_min_interval": 0, "schedd_interval": 1e9, "update_delay_low": 0, "update_delay_high": 0,
        "match_to_start": 0, "reuse_to_start": 0, "reschedule_delay": 0, "claim_worklife": -1,
    }
)  # fmt: skip
RUNS, JOBS, WARM_UP = 30, 4000, 500


def run(
    servers: int, gaps: np.ndarray, services: np.ndarray, prios: np.ndarray | None = None, seed: int = 1
) -> list[float]:
    """The waits of jobs that arrive with these gaps at `servers` one-core machines [s]."""
    job, slot = job_ad("true", Request(gpus=0)), slot_text(cpus=1)
    matcher = Matcher([job], [slot])
    cluster = matcher.autocluster(job)
    kind, _ = matcher.kind(slot, [])
    total = Remainder(1.0, 65536.0, 48828.125, ())
    arrivals = np.cumsum(gaps)
    ranks = np.zeros(len(gaps)) if prios is None else prios
    jobs = [
        (Job(row, (-float(ranks[row]), row, 0), cluster, float(arrivals[row]), float(services[row])), "one")
        for row in range(len(gaps))
    ]
    sessions = [
        Session(Machine(f"m{n}", f"m{n}", "here", kind, (), (), (), (), total), 0.0, math.inf, "open")
        for n in range(servers)
    ]
    pool = Pool(jobs, sessions, matcher=matcher, policy=AT_ONCE, start_unix=START, streams=Streams.of(seed))
    pool.run(math.inf)
    verify(pool)
    waits = [math.nan] * len(gaps)
    for attempt in pool.recorder.attempts:
        waits[attempt.job.row] = attempt.matched_s - attempt.job.submitted_s
    return waits


def interval(values: list[float]) -> tuple[float, float]:
    """The 99.9 % confidence interval of a mean over independent runs (Student, 29 degrees of freedom)."""
    assert len(values) == RUNS
    half = 3.659 * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half


@pytest.mark.parametrize(("servers", "load"), [(1, 0.7), (4, 0.8), (12, 0.85)])
@pytest.mark.slow
def test_erlang_c(servers: int, load: float) -> None:
    """M/M/c: mean wait C(c, a) / (cμ − λ)."""
    service = 1000.0
    rate = load * servers / service
    offered = load * servers
    below = sum(offered**k / math.factorial(k) for k in range(servers))
    last = offered**servers / math.factorial(servers) / (1 - load)
    theory = last / (below + last) / (servers / service - rate)
    means = []
    for seed in range(RUNS):
        rng = np.random.default_rng([seed, servers])
        waits = run(servers, rng.exponential(1 / rate, JOBS), rng.exponential(service, JOBS), seed=seed)
        means.append(statistics.fmean(waits[WARM_UP:]))
    low, high = interval(means)
    assert low < theory < high


def test_pollaczek_khinchine() -> None:
    """M/G/1 with log-normal service: mean wait λ E[S²] / 2(1 − ρ)."""
    service, sigma, load = 1000.0, 0.8, 0.6
    mu = math.log(service) - sigma**2 / 2
    rate = load / service
    theory = rate * math.exp(2 * mu + 2 * sigma**2) / 2 / (1 - load)
    means = []
    for seed in range(RUNS):
        rng = np.random.default_rng([seed, 77])
        waits = run(1, rng.exponential(1 / rate, JOBS), rng.lognormal(mu, sigma, JOBS), seed=seed)
        means.append(statistics.fmean(waits[WARM_UP:]))
    low, high = interval(means)
    assert low < theory < high


@pytest.mark.slow
def test_cobham() -> None:
    """M/M/1 with two JobPrio classes: R / (1 − ρ₁) before R / ((1 − ρ₁)(1 − ρ₁ − ρ₂)), with R = λ E[S²] / 2."""
    service, load, share = 1000.0, 0.7, 0.4
    rate = load / service
    residual = rate * service**2
    urgent = residual / (1 - load * share)
    patient = urgent / (1 - load)
    found: dict[int, list[float]] = {0: [], 1: []}
    for seed in range(RUNS):
        rng = np.random.default_rng([seed, 99])
        prios = (rng.random(JOBS) < share).astype(float)
        gaps, services = rng.exponential(1 / rate, JOBS), rng.exponential(service, JOBS)
        waits = np.array(run(1, gaps, services, prios, seed))[WARM_UP:]
        for prio in (0, 1):
            found[prio].append(float(waits[prios[WARM_UP:] == prio].mean()))
    for prio, theory in ((1, urgent), (0, patient)):
        low, high = interval(found[prio])
        assert low < theory < high


def test_no_wait_with_idle_machines() -> None:
    """D/D/c below capacity: nobody waits."""
    assert max(run(3, np.full(200, 100.0), np.full(200, 290.0))) == 0
