"""What holds in every run: random pools and workloads, checked from the records alone."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.classads.request import Request
from sim.engine.invariants import BrokenInvariantError, verify
from sim.engine.pool import Pool
from sim.engine.records import CycleLog
from tests.sim.engine.made import Made, slot_text

MODELS = [("GTX 480", 2.0), ("V100", 7.0), ("TITAN RTX", 7.5), ("A100", 8.0)]
machines = st.tuples(
    st.integers(1, 16),
    st.lists(st.sampled_from(MODELS), max_size=4),
    st.sampled_from([None, 300.0, 900.0]),
    st.sampled_from(["quit", "kill"]),
)
work = st.tuples(
    st.sampled_from("abc"), st.integers(1, 6), st.floats(0, 1500), st.floats(0, 900), st.integers(0, 2), st.integers(1, 6),
    st.sampled_from(["", "Capability >= 7.0", "Capability >= 8.0"]),
)  # fmt: skip


def made(hosts: list[tuple], jobs: list[tuple]) -> Made:  # type: ignore[type-arg]
    pool = Made(job_lease=100, classad_lifetime=90, claim_worklife=400, device_release_poll=5)
    for place, (cpus, devices, down, ending) in enumerate(hosts):
        text = slot_text(cpus=cpus, devices=devices)
        pool.machine(f"m{place}", text, down=float("inf") if down is None else down, ending=ending)
    for submitter, count, at, run, gpus, cpus, picky in jobs:
        pool.jobs(submitter, count, at=at, run=run, request=Request(gpus, cpus, 128, picky if gpus else ""))
    return pool


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(machines, min_size=1, max_size=4), st.lists(work, min_size=1, max_size=8), st.integers(0, 99))
def test_nothing_is_given_twice(hosts: list[tuple], jobs: list[tuple], seed: int) -> None:  # type: ignore[type-arg]
    """No device, core or job is in two places at once; nothing fits that doesn't; use is never negative."""
    pool = made(hosts, jobs).run(until=6000, seed=seed)
    verify(pool)
    rows = [row for row in pool.recorder.attempts if row[9] != "unstarted"]
    check_devices(rows)
    check_jobs(pool, rows)
    check_cores(rows)
    assert all(person.usage >= 0 for person in pool.submitters.values())
    for machine in pool.machines.values():
        held = sum(claim.shape.size.cpus for claim in machine.claims.values())
        assert not machine.alive or machine.state.left.cpus + held == pytest.approx(machine.total.cpus)


def spans(rows: list, key: int) -> dict:  # type: ignore[type-arg]
    """Intervals per machine; a claim's resources are held from the match to the attempt's end."""
    found: dict = {}  # type: ignore[type-arg]
    for row in rows:
        end = float("inf") if row[5] is None else row[5]
        found.setdefault(row[6].machine.name, []).append((row[key], end, row))
    return found


def check_devices(rows: list) -> None:  # type: ignore[type-arg]
    for intervals in spans(rows, 3).values():
        by_place: dict = {}  # type: ignore[type-arg]
        for begin, end, row in intervals:
            for place in row[7]:
                by_place.setdefault(place, []).append((begin, end))
        for held in by_place.values():
            held.sort()
            assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(held))


def check_jobs(pool: Pool, rows: list) -> None:  # type: ignore[type-arg]
    by_job: dict = {}  # type: ignore[type-arg]
    for row in rows:
        by_job.setdefault(row[0].row, []).append((row[4], float("inf") if row[5] is None else row[5], row[9]))
    for held in by_job.values():
        held.sort()
        assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(held))
        assert [outcome for _, _, outcome in held].count("done") <= 1
    done = sum(row[9] == "done" for row in rows)
    idle = sum(person.n_idle for person in pool.submitters.values())
    assert done + pool.unfinished == len({row[0].row for row in rows}) + sum(
        1
        for person in pool.submitters.values()
        for queue in person.queues.values()
        for place in queue.heap
        if pool.job(place).row not in by_job
    )
    assert idle >= 0


def check_cores(rows: list) -> None:  # type: ignore[type-arg]
    for intervals in spans(rows, 3).values():
        claims = {row[6] for _, _, row in intervals}
        total = next(iter(claims)).machine.total
        events = []
        for claim in claims:
            ends = [end for _, end, row in intervals if row[6] == claim]
            begins = [begin for begin, _, row in intervals if row[6] == claim]
            events += [(min(begins), 1, claim.shape.size.cpus), (max(ends), 0, -claim.shape.size.cpus)]
        used = 0.0
        for _, _, change in sorted(events):
            used += change
            assert used <= total.cpus


def test_same_seed_same_records() -> None:
    """The same scenario and seed give the same records; another seed gives others."""
    hosts = [(8, [MODELS[1], MODELS[3]], None, "quit"), (4, [MODELS[2]], 900.0, "kill")]
    jobs = [
        ("a", 6, 0.0, 300.0, 1, 1, ""),
        ("b", 6, 3.0, 200.0, 1, 2, "Capability >= 7.0"),
        ("c", 6, 5.0, 100.0, 0, 1, ""),
    ]

    def records(seed: int) -> list[tuple[object, ...]]:
        pool = made(hosts, jobs).run(until=6000, seed=seed)
        return [(row[0].row, *row[1:6], *row[7:]) for row in pool.recorder.attempts]

    assert records(7) == records(7)
    assert records(7) != records(8)


def broken(spoil: Callable[[Pool], None]) -> str:
    """What `verify` says of a run whose state or records were spoilt."""
    work = [("a", 4, 0.0, 300.0, 1, 1, ""), ("b", 3, 5.0, 300.0, 0, 1, "")]
    pool = made([(4, [MODELS[1], MODELS[3]], None, "quit")], work).run(until=6000)
    verify(pool)
    spoil(pool)
    with pytest.raises(BrokenInvariantError) as error:
        verify(pool)
    return str(error.value)


def test_the_check_sees_what_is_wrong() -> None:
    """Each invariant can fail: a core too many, a device given twice, a job run twice, a queue that isn't the records'."""

    def shrink(pool: Pool) -> None:
        machine = pool.recorder.attempts[0].claim.machine
        machine.total = machine.total._replace(cpus=1.0)

    def share(pool: Pool) -> None:
        recorder = pool.recorder
        recorder._places = [(0,) if places else () for places in recorder._places]

    def repeat(pool: Pool) -> None:
        first, second = pool.recorder.attempts[:2]
        second.job.row = first.job.row

    def forget(pool: Pool) -> None:
        began_s, first = pool.recorder.cycles[0]
        first.idle += 1
        pool.recorder.cycle_log = CycleLog()
        pool.recorder.cycle_log.add(began_s, first)

    def overdraw(pool: Pool) -> None:
        next(iter(pool.submitters.values())).usage = -1.0

    assert "of 1 cores" in broken(shrink)
    assert "gave device 0 to 2 claims" in broken(share)
    assert "runs twice" in broken(repeat)
    assert "by the records" in broken(forget)
    assert "uses -1" in broken(overdraw)
