"""Pools that are unlike the recorded ones: other jobs, other machines, several access points."""

import numpy as np
import pandas as pd
import pytest

from sim.classads.ads import parse_one
from sim.engine.run import Plan, Recording, Run
from sim.engine.supply import recorded_stays
from sim.engine.supply.renewal import draw_stays, fit_groups
from sim.errors import InputError
from sim.inventory import jobs_frame, slots_frame
from sim.scenario import parse
from sim.schema import empty
from sim.strategies import device_models
from sim.workload.strangers import strangers
from tests.sim.engine.made import Made, attempts, slot_text

T0 = 1_795_000_000
AT = pd.Timestamp(T0, unit="s", tz="UTC")


def slot(
    number: int = 1,
    *,
    cpus: int = 4,
    kind: str = "Partitionable",
    start: str = "true",
    name: str = "",
    more: str = "",
) -> str:
    return (
        f'[ MyType = "Machine"; Name = "{name or f"slot{number}@ep_1@h.example"}"; Machine = "h.example"; SlotID = {number}; '
        f'SlotType = "{kind}"; PartitionableSlot = {str(kind == "Partitionable").lower()}; State = "Unclaimed"; '
        f'Activity = "Idle"; Cpus = {cpus}; TotalSlotCpus = {cpus}; Memory = {cpus * 1024}; TotalSlotMemory = {cpus * 1024}; '
        f"Disk = 10000000; TotalSlotDisk = 10000000; LastHeardFrom = {T0}; DaemonStartTime = 1790000000; "
        f"Start = {start}; Requirements = Start; Rank = 0; {more} ]"
    )


def job(number: int, more: str = "", *, status: int = 4, schedd: str = "ap1", owner: str = "alice") -> str:
    return (
        f'[ MyType = "Job"; ClusterId = {number}; ProcId = 0; Owner = "{owner}"; User = "{owner}@x"; JobPrio = 0; '
        f'GlobalJobId = "{schedd}#{number}.0#{T0}"; QDate = {T0 + 1}; JobStatus = {status}; CompletionDate = {T0 + 500}; '
        f"ActivationExecutionDuration = 100.0; RequestCpus = 1; RequestMemory = 100; RequestDisk = 100; Requirements = true; {more} ]"
    )


def running(number: int, host: str) -> str:
    """A job that has run for 50 s on this slot as the record ends; the others run for 100 s."""
    began = T0 + 550
    return job(
        number,
        f'RemoteHost = "{host}"; JobStartDate = {began}; JobCurrentStartDate = {began}; EnteredCurrentStatus = {began}',
        status=2,
    )


def recording(slots: list[str], jobs: list[str]) -> Recording:
    return Recording(
        slots=slots_frame([parse_one(text) for text in slots], seen_at=AT, snapshot="s").frame,
        jobs=jobs_frame(
            [parse_one(text) for text in jobs], seen_at=AT + pd.Timedelta(seconds=600), snapshot="s"
        ).frame,
        attempts=empty("attempts"),
        priorities=empty("priorities"),
        settings=empty("settings"),
        start=T0,
        end=T0 + 600,
        name="unlike",
    )


def run(slots: list[str], jobs: list[str], *, start: str = "beginning", horizon: str = "20 min") -> Run:
    scenario = parse({"run": {"start": start, "horizon": horizon, "check": True}}, where="test")
    return Plan.of(scenario, recording(slots, jobs)).run(1)


def recorded_strangers(slots: list[str], jobs: list[str]) -> int:
    record = recording(slots, jobs)
    return len(strangers(record.slots, record.jobs, record.end))


def order(found: Run) -> list[str]:
    """Which job came when."""
    return found.attempts.sort_values("started_at")["job_id"].tolist()


GPU = "RequestGPUs = 1; RequireGPUs = Capability >= 7; Requirements = countMatches(MY.RequireGPUs,TARGET.AvailableGPUs) >= RequestGPUs"
DEVICE = '[ Id = "CUDA0"; Capability = 8.0; DeviceName = "A100" ]'


class TestDevices:
    def test_ids_by_index(self) -> None:
        """condor_gpu_discovery -by-index: the nested ad is GPUs_CUDA0, not GPUs_GPU_…."""
        ad = f'GPUs = 1; TotalSlotGPUs = 1; AssignedGPUs = "CUDA0"; AvailableGPUs = {{ GPUs_CUDA0 }}; GPUs_CUDA0 = {DEVICE}'
        assert run([slot(more=ad)], [job(1, GPU)]).attempts["device_ids"].tolist() == ["CUDA0"]

    def test_a_device_that_is_listed_twice_takes_two_jobs_at_once(self) -> None:
        """-repeat and -divide: the slot has two shares of one device (fact sheet §3.2)."""
        ad = (
            'GPUs = 2; TotalSlotGPUs = 2; AssignedGPUs = "CUDA0,CUDA0"; AvailableGPUs = { GPUs_CUDA0, GPUs_CUDA0 }; '
            f"GPUs_CUDA0 = {DEVICE}"
        )
        found = run([slot(more=ad)], [job(1, GPU), job(2, GPU)]).attempts
        assert found["device_ids"].tolist() == ["CUDA0", "CUDA0"]
        assert found["slot"].nunique() == 2

    def test_devices_without_names_are_a_number(self) -> None:
        """MACHINE_RESOURCE_GPUs = 2 gives a slot GPUs without AssignedGPUs."""
        plain = "RequestGPUs = 1; Requirements = TARGET.GPUs >= RequestGPUs"
        found = run([slot(more="GPUs = 2; TotalSlotGPUs = 2")], [job(n, plain) for n in (1, 2, 3)])
        assert len(found.attempts) == 3
        assert found.attempts["origin"].tolist() == ["match", "leftover", "reuse"]


class TestRequests:
    def test_a_request_for_nothing_takes_a_core(self) -> None:
        """quantize(0, {1}) is 1, and quantize(-1, {1024}) is 1024 (MODIFY_REQUEST_EXPR_*; fact sheet §2.1)."""
        nothing = [job(n, "RequestCpus = 0; RequestDisk = -1000000") for n in range(1, 7)]
        found = run([slot(cpus=2)], nothing)
        assert set(found.attempts["slot"]) == {"slot1_1@ep_1@h.example", "slot1_2@ep_1@h.example"}

    def test_jobs_go_by_all_five_priorities(self) -> None:
        """PreJobPrio1 before JobPrio, PostJobPrio1 after it; who lacks one comes last (`prio_compar`, fact sheet §1.5)."""
        found = run(
            [slot(cpus=1)],
            [job(1), job(2, "PostJobPrio1 = -3"), job(3, "PostJobPrio1 = 5"), job(4, "PreJobPrio1 = -1")],
        )
        assert order(found) == ["4.0", "3.0", "2.0", "1.0"]

    def test_a_job_submitted_on_hold_never_runs(self) -> None:
        """Its hold is of the second of its submission, which an event log tells to the millisecond."""
        record = recording([slot()], [job(1), job(2, f"EnteredCurrentStatus = {T0 + 1}", status=5)])
        record.jobs["submitted_at"] += pd.Timedelta(milliseconds=345)
        found = Plan.of(parse({"run": {"horizon": "20 min"}}, where="test"), record).run(1)
        assert order(found) == ["1.0"]

    def test_a_record_without_a_completed_job_says_so(self) -> None:
        """A queue alone tells no run times; they were taken for 0 s."""
        with pytest.raises(InputError, match="no job of the recording has completed"):
            run([slot()], [job(1, status=1)])


class TestAccessPoints:
    def test_claims_and_leftovers_are_a_schedds_own(self) -> None:
        """The same ids and the same user on two schedds: the other's jobs need matches of their own (fact sheet §2.2, §2.3)."""
        jobs = [job(number, schedd=schedd) for number in (1, 2) for schedd in ("ap1", "ap2")]
        alone = run([slot(cpus=1)], jobs).attempts
        assert alone["origin"].tolist() == ["match", "reuse", "match", "reuse"]
        assert alone["schedd"].nunique() == 2
        assert alone["schedd"].head(2).nunique() == 1
        wide = run([slot(cpus=4)], jobs).attempts
        assert wide["origin"].tolist() == ["match", "leftover", "match", "leftover"]

    def test_shares_are_a_users_whatever_the_schedd(self) -> None:
        """Fair share counts names once (fact sheet §1.4): two schedds give nobody more of the pool."""
        jobs = [job(n, schedd=schedd) for n in (1, 2, 3, 4) for schedd in ("ap1", "ap2")]
        jobs += [job(10 + n, owner="bob") for n in range(8)]
        found = run([slot(n, cpus=1, kind="Static") for n in range(1, 9)], jobs, horizon="100 s").attempts
        assert found.groupby("submitter").size().to_dict() == {"alice@x": 4, "bob@x": 4}


class TestRunning:
    @pytest.mark.parametrize(
        ("start", "more"),
        [
            ("time() < GLIDEIN_ToRetire", f"GLIDEIN_ToRetire = {T0 + 300}; GLIDEIN_ToDie = {T0 + 9000}"),
            ('TARGET.Owner == "bob"', ""),
        ],
    )
    def test_a_job_goes_on_where_no_other_would_start(self, start: str, more: str) -> None:
        """START says who may begin; a retiring glidein's job runs to its end (fact sheet §4.2)."""
        found = run(
            [slot(start=start, more=more)], [running(1, "slot1_1@ep_1@h.example"), job(9)], start="end"
        )
        assert found.manifest["running_not_placed"] == 0
        assert found.attempts[["job_id", "origin", "outcome"]].to_numpy().tolist() == [
            ["1.0", "running", "done"]
        ]
        assert found.makespan_s == pytest.approx(50, abs=1)

    def test_a_job_that_runs_longer_than_others_goes_on(self) -> None:
        """100 s is usual; one that has run for 50 s ends then, one for 150 s as the longer ones do, one for 300 s twice that."""
        jobs = []
        for number, ran in ((1, 50), (2, 150), (3, 300)):
            host, began = f"slot1_{number}@ep_1@h.example", T0 + 600 - ran
            early = running(number, host).replace(str(T0 + 550), str(began))
            jobs.append(early.replace(f"QDate = {T0 + 1}", f"QDate = {T0 - 100}"))
        jobs += [job(8), job(9), job(10).replace("Duration = 100.0", "Duration = 200.0")]
        found = run([slot()], jobs, start="end").attempts
        left = (found["ended_at"] - found["started_at"]).dt.total_seconds()
        assert left[found["origin"] == "running"].tolist() == pytest.approx([50, 50, 300], abs=1)

    def test_a_slot_that_a_stranger_holds_is_taken(self) -> None:
        """Its schedd was never asked; only the slot's ad tells of the job, which runs as long as others."""
        held = 'JobId = "7.0"; RemoteUser = "zoe@y"; RemoteOwner = "zoe@y"'
        ads = [slot(1, kind="Static", more=held).replace('"Unclaimed"', '"Claimed"'), slot(2, kind="Static")]
        found = run(ads, [job(8), job(9)], start="end", horizon="90 s").attempts
        assert list(zip(found["submitter"], found["slot"], strict=True)) == [
            ("zoe@y", "slot1@ep_1@h.example"), ("alice@x", "slot2@ep_1@h.example"),
        ]  # fmt: skip
        assert recorded_strangers(ads, [running(7, "slot1@ep_1@h.example")]) == 0
        assert recorded_strangers(ads, [job(7, owner="zoe").replace("zoe@x", "zoe@y")]) == 0

    @pytest.mark.parametrize(("kind", "host"), [("Static", "gpu_slot1"), ("Partitionable", "gpu_slot1_1")])
    def test_slots_whose_prefix_has_an_underscore(self, kind: str, host: str) -> None:
        """SLOT_TYPE_1_NAME_PREFIX = gpu_slot."""
        found = run(
            [slot(kind=kind, name="gpu_slot1@ep_1@h.example")],
            [running(1, f"{host}@ep_1@h.example"), job(9)],
            start="end",
        )
        assert found.manifest["running_not_placed"] == 0


def test_a_start_that_reads_the_state_of_its_slot() -> None:
    """The record saw it claimed; whether it is in the run is the engine's to say."""
    ad = slot(kind="Static", start='State == "Unclaimed"').replace(
        'State = "Unclaimed"; A', 'State = "Claimed"; A'
    )
    assert order(run([ad], [job(1)])) == ["1.0"]


class TestClock:
    """16:36 on a Wednesday, 5:30 h ahead of UTC."""

    TOLD = "ClockMin = 996; ClockDay = 3"

    def test_a_start_by_the_hour_opens_when_its_hour_comes(self) -> None:
        found = run(
            [slot(start="ClockMin >= 1020 && ClockDay == 3", more=self.TOLD)], [job(1)], horizon="2 h"
        )
        assert found.manifest["impossible"] == 0
        wait = (found.attempts["started_at"].iloc[0] - AT).total_seconds()
        assert 23 * 60 < wait < 26 * 60

    def test_and_closes_when_it_is_over(self) -> None:
        late = job(2).replace(f"QDate = {T0 + 1}", f"QDate = {T0 + 400}")
        found = run([slot(start="ClockMin < 1000", more=self.TOLD)], [job(1), late], horizon="2 h")
        assert order(found) == ["1.0"]

    def test_the_day_changes_at_midnight(self) -> None:
        found = run([slot(start="ClockDay == 4 && ClockMin < 90", more=self.TOLD)], [job(1)], horizon="12 h")
        wait = (found.attempts["started_at"].iloc[0] - AT).total_seconds()
        assert wait == pytest.approx((24 * 60 - 996) * 60, abs=120)


STATIC = slot_text(cpus=4).replace('"Partitionable"', '"Static"').replace("Slot = true;", "Slot = false;")


class TestSeveralSlots:
    def test_static_ones_are_used_whole_and_by_their_ids(self) -> None:
        """Each takes one job at a time, whatever it has left; NEGOTIATOR_POST_JOB_RANK prefers the lowest SlotID."""
        found = run([slot(n, kind="Static") for n in (1, 2, 3)], [job(n) for n in range(1, 6)]).attempts
        assert found["slot"].head(3).tolist() == [f"slot{n}@ep_1@h.example" for n in (1, 2, 3)]
        assert set(found["slot"]) == {f"slot{n}@ep_1@h.example" for n in (1, 2, 3)}
        assert len(found) == 5
        for _, own in found.sort_values("started_at").groupby("slot"):
            assert (own["started_at"].iloc[1:].to_numpy() >= own["ended_at"].iloc[:-1].to_numpy()).all()

    def test_partitionable_ones_beside_each_other(self) -> None:
        """Dynamic slots are named after the one they were carved from; ids count anew in each."""
        found = run([slot(1, cpus=2), slot(2, cpus=3)], [job(n) for n in range(1, 6)])
        assert set(found.attempts["slot"]) == {
            "slot1_1@ep_1@h.example", "slot1_2@ep_1@h.example",
            "slot2_1@ep_1@h.example", "slot2_2@ep_1@h.example", "slot2_3@ep_1@h.example",
        }  # fmt: skip

    def test_a_dynamic_slot_takes_the_lowest_free_id(self) -> None:
        """As every StartLog shows: ids are those of slots that are there, not a count of all that ever were."""
        found = run(
            [slot(cpus=3)], [job(n, owner="bob" if n % 2 else "alice") for n in range(1, 13)]
        ).attempts
        assert len(found) == 12
        assert set(found["slot"]) <= {f"slot1_{n}@ep_1@h.example" for n in (1, 2, 3)}

    def test_preemption_requirements_see_a_static_slot_as_it_is(self) -> None:
        made = Made(
            first_cycle=10,
            preemption_requirements='MY.SlotType == "Static" && MY.DynamicSlot is undefined',
            prio_factors={"good": 1.0, "bad": 1e6},
        )
        pool = made.machine("m", STATIC).jobs("bad", 1, run=5000).jobs("good", 1, at=100, run=50).run(1000)
        assert [row[4] for row in attempts(pool)][:2] == ["evicted", "done"]

    def test_a_claimed_static_slot_is_no_smallest_slot(self) -> None:
        """Its SlotWeight stays that of its cores; only a full partitionable slot weighs nothing."""
        made = Made(first_cycle=10).machine("m", STATIC).machine("n", STATIC).jobs("a", 1, run=5000)
        pool = made.run(until=200)
        assert pool._startds.smallest() == 4

    def test_slots_of_a_startd_are_renewed_together(self) -> None:
        """`supply: renewal` draws startds: none is there with half of its slots."""
        parts = []
        for number, names in enumerate([("a", "b"), ("a", "b"), ("b", "c"), ("c",), ("c", "d"), ("d",)]):
            ads = [slot(n, name=f"slot{n}@{name}") for name in names for n in (1, 2, 3)]
            seen = AT + pd.Timedelta(minutes=5 * number)
            parts.append(slots_frame([parse_one(ad) for ad in ads], seen_at=seen, snapshot=str(number)).frame)
        stays = recorded_stays(pd.concat(parts, ignore_index=True))
        groups = fit_groups(stays, start=T0, end=T0 + 1500)
        assert [(group.lifetimes.n, group.kind) for group in groups] == [(4, "3 x 4 cores, 4 GiB, no GPU")]
        drawn = draw_stays(groups, np.random.default_rng(1), present_at=T0, start=T0, length_s=36000)
        lives: dict[str, set[tuple[float, float, str]]] = {}
        for stay in drawn:
            lives.setdefault(stay.name, set()).add((stay.up, stay.down, stay.ending))
        assert len(lives) > 10
        assert len(drawn) == 3 * len(lives)
        assert all(len(life) == 1 for life in lives.values())


def test_models_of_a_host_with_static_slots() -> None:
    """Each slot has its own device; all of them are known, not the last slot's alone."""
    ads = [
        slot(n, kind="Static", more=f'GPUs = 1; AssignedGPUs = "GPU-{n}"; GPUs_DeviceName = "{model}"')
        for n, model in ((1, "A100"), (2, "L40S"), (3, "A100"))
    ]
    assert device_models(recording(ads, [job(1)])) == ["A100", "L40S"]
