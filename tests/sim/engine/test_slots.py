"""Startds with several slots: static ones, and partitionable ones beside each other."""

import pandas as pd

from sim.classads.ads import parse_one
from sim.engine.run import Plan, Recording, Run
from sim.inventory import jobs_frame, slots_frame
from sim.scenario import parse
from sim.schema import empty

T0 = 1_795_000_000
AT = pd.Timestamp(T0, unit="s", tz="UTC")


def slot(number: int, kind: str, cpus: int, startd: str = "ep_1@h.example") -> str:
    return (
        f'[ MyType = "Machine"; Name = "slot{number}@{startd}"; Machine = "h.example"; SlotID = {number}; '
        f'SlotType = "{kind}"; PartitionableSlot = {str(kind == "Partitionable").lower()}; State = "Unclaimed"; Activity = "Idle"; Cpus = {cpus}; TotalSlotCpus = {cpus}; '
        f"Memory = {cpus * 1024}; TotalSlotMemory = {cpus * 1024}; Disk = 10000000; TotalSlotDisk = 10000000; "
        "Start = true; Requirements = Start; Rank = 0; DaemonStartTime = 1790000000 ]"
    )


def job(number: int, more: str = "") -> str:
    return (
        f'[ MyType = "Job"; ClusterId = {number}; ProcId = 0; Owner = "alice"; User = "alice@x"; JobPrio = 0; '
        f"QDate = {T0 + 1}; JobStatus = 4; CompletionDate = {T0 + 500}; ActivationExecutionDuration = 100.0; "
        f"RequestCpus = 1; RequestMemory = 100; RequestDisk = 100; Requirements = true; {more} ]"
    )


def run(slots: list[str], jobs: list[str], start: str = "beginning") -> Run:
    """Replay jobs on slots, which are there all the time; each job runs for 100 s."""
    scenario = parse({"title": "slots", "run": {"start": start, "horizon": "20 min"}}, where="test")
    record = Recording(
        slots=slots_frame([parse_one(text) for text in slots], seen_at=AT, snapshot="s").frame,
        jobs=jobs_frame([parse_one(text) for text in jobs], seen_at=AT, snapshot="s").frame,
        attempts=empty("attempts"),
        priorities=empty("priorities"),
        settings=empty("settings"),
        start=T0,
        end=T0 + 600,
        name="slots",
    )
    return Plan.of(scenario, record).run(1)


def test_static_slots_of_a_startd_are_used_whole_and_by_their_ids() -> None:
    """Each takes one job at a time, whatever it has left; NEGOTIATOR_POST_JOB_RANK prefers the lowest SlotID."""
    found = run([slot(n, "Static", 4) for n in (1, 2, 3)], [job(n) for n in range(1, 6)]).attempts
    assert found["slot"].head(3).tolist() == [f"slot{n}@ep_1@h.example" for n in (1, 2, 3)]
    assert set(found["slot"]) == {f"slot{n}@ep_1@h.example" for n in (1, 2, 3)}
    assert len(found) == 5
    for _, own in found.sort_values("started_at").groupby("slot"):
        assert (own["started_at"].iloc[1:].to_numpy() >= own["ended_at"].iloc[:-1].to_numpy()).all()


def test_partitionable_slots_beside_each_other() -> None:
    """Dynamic slots are named after the one they were carved from; ids count anew in each."""
    found = run([slot(1, "Partitionable", 2), slot(2, "Partitionable", 3)], [job(n) for n in range(1, 6)])
    assert set(found.attempts["slot"]) == {
        "slot1_1@ep_1@h.example", "slot1_2@ep_1@h.example",
        "slot2_1@ep_1@h.example", "slot2_2@ep_1@h.example", "slot2_3@ep_1@h.example",
    }  # fmt: skip


def test_a_dynamic_slot_takes_the_lowest_free_id() -> None:
    """As every StartLog shows: ids are those of slots that are there, not a count of all that ever were."""
    jobs = [job(n, 'User = "bob@x"; Owner = "bob"' if n % 2 else "") for n in range(1, 13)]
    found = run([slot(1, "Partitionable", 3)], jobs).attempts
    assert len(found) == 12
    assert set(found["slot"]) <= {f"slot1_{n}@ep_1@h.example" for n in (1, 2, 3)}
