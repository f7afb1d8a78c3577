"""The engine against measured facts of HTCondor (fact sheet §8.4, real-pool facts §6 and §7): each rule where it decides."""

import itertools

import pytest

from sim.classads.request import Request
from tests.sim.engine.made import Made, attempts, by_origin, slot_text

ONE_CPU = Request(gpus=0, cpus=1)
ONE_GPU = Request(gpus=1, cpus=1)


def test_first_match_takes_the_whole_machine() -> None:
    """One empty 16-core slot, two equal users with 24 one-core jobs each: 16 to 0 in the first cycle."""
    pool = Made().machine("m", slot_text(cpus=16)).jobs("a", 24).jobs("b", 24).run(until=200)
    first = [row[0] for row in attempts(pool) if row[3] in {"match", "leftover"}][:16]
    assert len(set(first)) == 1
    assert by_origin(pool) == {"match": 1, "leftover": 15}


def test_reused_claims_follow_for_the_same_user() -> None:
    """When its 16 jobs end, the first user's other 8 reuse claims; the other user gets the rest (fact sheet §1.4)."""
    pool = Made().machine("m", slot_text(cpus=16)).jobs("a", 24, run=30).jobs("b", 24, run=30).run(until=4000)
    rows = attempts(pool)
    first = rows[0][0]
    assert [row[0] for row in rows[:24]] == [first] * 24
    assert [row[3] for row in rows[16:24]] == ["reuse"] * 8


def test_without_leftovers_and_reuse_a_slot_gives_one_match_a_cycle() -> None:
    """With worklife 0 and leftovers off the result is one match per partitionable slot and cycle."""
    pool = (
        Made(claim_leftovers=False, claim_worklife=0, reschedule=False)
        .machine("m", slot_text(cpus=4))
        .jobs("a", 4, run=10_000)
        .run(until=400)
    )
    starts = [row[1] for row in attempts(pool)]
    assert by_origin(pool) == {"match": 4}
    assert [round(later - earlier) for earlier, later in itertools.pairwise(starts)] == [60, 60, 60]


def test_worklife_ends_reuse() -> None:
    """A claim older than CLAIM_WORKLIFE is given back: 30 s jobs, 100 s worklife, so at most four jobs per claim."""
    pool = Made(claim_worklife=100).machine("m", slot_text(cpus=1)).jobs("a", 12, run=30).run(until=4000)
    runs = "".join({"match": "M", "reuse": "r"}[row[3]] for row in attempts(pool))
    assert runs == "MrrrMrrrMrrr"


def test_reused_slot_keeps_its_size() -> None:
    """A CPU job of the same user takes over a GPU slot and keeps the GPU busy (fact sheet §2.3)."""
    text = slot_text(cpus=1, devices=[("V100", 7.0)])
    pool = (
        Made()
        .machine("m", text)
        .jobs("a", 1, run=50, request=ONE_GPU)
        .jobs("a", 1, at=1, run=500, request=ONE_CPU)
        .run()
    )
    rows = attempts(pool)
    assert rows[1][3] == "reuse"
    assert rows[1][5] == (0,)


def test_first_suitable_device_in_inventory_order() -> None:
    """A permissive job takes the first device listed, not the least (fact sheet §2.1)."""
    text = slot_text(devices=[("A100", 8.0), ("V100", 7.0)])
    pool = (
        Made()
        .machine("m", text)
        .jobs("a", 1, request=Request(gpus=1, cpus=1, require_gpus="Capability >= 7.0"))
        .jobs("b", 1, at=90, request=Request(gpus=1, cpus=1, require_gpus="Capability >= 8.0"))
        .run(until=2000)
    )
    rows = attempts(pool)
    assert (rows[0][0], rows[0][5]) == ("a", (0,))
    assert rows[1][1] >= 600, "the picky job waits for the device that the permissive one holds"


def test_mixed_host_is_matched_by_device_clauses_only() -> None:
    """GPUs_Capability is not there on a mixed host; RequireGPUs looks at each device."""
    text = slot_text(devices=[("A100", 8.0), ("V100", 7.0)])
    slot_level = (
        Made()
        .machine("m", text)
        .jobs("a", 1, request=ONE_GPU, expression="GPUs_Capability >= 7.0")
        .run(until=1000)
    )
    assert attempts(slot_level) == []
    device_level = (
        Made()
        .machine("m", text)
        .jobs("a", 1, request=Request(1, 1, 128, "Capability >= 7.0"))
        .run(until=1000)
    )
    assert len(attempts(device_level)) == 1


def test_packing_prefers_the_machine_with_fewest_free_cores() -> None:
    """The default pre-job rank packs: least free cores first, then least memory (fact sheet §1.6)."""
    pool = (
        Made()
        .machine("big", slot_text(cpus=64))
        .machine("small", slot_text(cpus=8))
        .jobs("a", 1)
        .run(until=200)
    )
    assert pool.recorder.attempts[0][6].machine.name == "small"


def test_users_go_in_order_of_effective_priority() -> None:
    """Factor 1000 goes before factor 10000 when both have the same real priority."""
    factors = {"first": 1000.0, "last": 10000.0}
    for seed in range(12):
        made = (
            Made(schedd_min_interval=0, prio_factors=factors)
            .machine("m", slot_text(cpus=1))
            .jobs("last", 1)
            .jobs("first", 1)
        )
        assert [row[0] for row in attempts(made.run(until=3000, seed=seed))][:1] == ["first"]


def test_a_glidein_takes_nothing_after_to_retire() -> None:
    """After GLIDEIN_ToRetire no job starts, running ones go on (fact sheet §4.2)."""
    pool = (
        Made()
        .machine("g", slot_text(cpus=1), retire=300, down=100_000)
        .jobs("a", 2, run=1000)
        .run(until=50_000)
    )
    rows = attempts(pool)
    assert len(rows) == 1
    assert rows[0][4] == "done"


def test_evicted_job_starts_again_from_zero_in_its_place() -> None:
    """A machine that quits sends its job back: idle at once, same place, whole run time again (fact sheet §4.4)."""
    pool = (
        Made()
        .machine("g", slot_text(cpus=1), down=500)
        .machine("h", slot_text(cpus=1), up=600)
        .jobs("a", 2, run=1000)
        .run(until=10_000)
    )
    rows = attempts(pool)
    assert [row[4] for row in rows] == ["evicted", "done", "done"]
    assert rows[0][2] == 500
    assert [pool.recorder.attempts[place][0].row for place in range(3)] == [0, 0, 1]
    assert (rows[1][2] or 0) - rows[1][1] == pytest.approx(1000)
    assert pool.recorder.attempts[1][2] == 500, "the second wait begins at the eviction"


def test_jobs_of_a_killed_machine_come_back_after_the_lease() -> None:
    """A killed machine's job is idle again only after lease and slack (real-pool facts §7.8)."""
    pool = (
        Made(job_lease=120, lease_slack=9)
        .machine("g", slot_text(cpus=1), down=500, ending="kill")
        .machine("h", slot_text(cpus=1), up=501)
        .jobs("a", 1, run=1000)
        .run(until=10_000)
    )
    rows = attempts(pool)
    assert [row[4] for row in rows] == ["lost", "done"]
    assert pool.recorder.attempts[1][2] == 629


def test_a_submission_brings_the_cycle_forward() -> None:
    """RESCHEDULE: with interval 60 and delay 20 cycles run every 20 s while jobs arrive (real-pool facts §7.2)."""
    # no claim is used again: these jobs end as the next are submitted, and would leave nothing to negotiate
    made = Made(claim_worklife=0).machine("m", slot_text(cpus=64))
    for second in range(0, 600, 5):
        made.jobs("a", 1, at=second, run=5)
    starts = [cycle[0] for cycle in made.run(until=600).recorder.cycles]
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert max(gaps) == pytest.approx(20)
    slow = Made(reschedule=False).machine("m", slot_text(cpus=64)).jobs("a", 200, run=5).run(until=600)
    gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(slow.recorder.cycles)]
    assert min(gaps, default=60) == pytest.approx(60)


def test_freed_device_waits_for_the_poll_where_the_version_has_it() -> None:
    """23.9: a freed GPU can't be claimed before the startd's next poll, and that cycle's match is lost."""

    def starts(poll: float) -> list[float]:
        made = Made(
            device_release_poll=poll,
            update_delay_low=0,
            update_delay_high=0,
            negotiator_interval=2,
            negotiator_cycle_delay=1,
        )
        made.machine("m", slot_text(cpus=8, devices=[("V100", 7.0)]))
        made.jobs("a", 1, run=100, request=ONE_GPU).jobs("b", 1, run=100, at=1, request=ONE_GPU)
        return [row[1] for row in attempts(made.run(until=1000, seed=3))]

    assert starts(60.0)[1] > starts(0.0)[1] + 2


def test_start_expression_with_time_is_judged_at_simulated_time() -> None:
    """START = time() < GLIDEIN_ToRetire of a recorded ad is past by the wall clock, not by the run's."""
    text = slot_text(cpus=1, start="time() < GLIDEIN_ToRetire", extra="GLIDEIN_ToRetire = 1795000500;")
    pool = Made(claim_worklife=0).machine("m", text).jobs("a", 5, run=200).run(until=3000)
    assert [row[1] < 500 for row in attempts(pool)] == [True] * len(attempts(pool))
    assert 1 <= len(attempts(pool)) < 5


def test_a_ghost_takes_nothing() -> None:
    """A probe is answered when a slot would have been its own, and changes nothing for others."""
    made = Made().machine("m", slot_text(cpus=1)).jobs("a", 2, run=100)
    before = attempts(made.run(until=2000))
    pool = made.ghost("probe", 0).run(until=2000)
    assert attempts(pool) == before
    assert [probe.label for probe in pool.recorder.probes] == ["probe"]
    assert pool.recorder.probes[0].started_s == pytest.approx(pool.recorder.attempts[0][3])


def test_a_ghost_that_nothing_fits_is_never_answered() -> None:
    """An impossible probe is censored at the end of the run."""
    pool = Made().machine("m", slot_text(cpus=1)).ghost("probe", 10, request=ONE_GPU).run(until=500)
    assert pool.recorder.probes[0].started_s != pool.recorder.probes[0].started_s
