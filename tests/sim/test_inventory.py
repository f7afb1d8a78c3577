"""Ads become frames: recorded pools against what their text says, made-up ads against HTCondor's rules."""

import csv
import json
import lzma
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.classads.ads import Ad, ad_of_json, parse_ads, parse_one, read_ads
from sim.inventory import (
    attempts_frame,
    cycles_frame,
    devices_frame,
    jobs_frame,
    located,
    priorities_frame,
    slots_frame,
    submitter_of,
    supply,
)
from sim.schema import describe

AT = pd.Timestamp("2026-11-24 12:00", tz="UTC")
NOW = int(AT.timestamp())


def slots_of(ads: list[Ad]) -> pd.DataFrame:
    return slots_frame(ads, seen_at=AT, snapshot="s").frame


def devices_of(*ads: Ad) -> pd.DataFrame:
    return devices_frame(ads, seen_at=AT, snapshot="s").frame


def jobs_of(*ads: Ad) -> pd.DataFrame:
    return jobs_frame(ads, seen_at=AT, snapshot="s").frame


def by(frame: pd.DataFrame, *keys: str) -> dict[Any, dict[str, Any]]:
    """The rows of a frame by the value of a column, or of several."""
    rows: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()} for row in frame.to_dict("records")
    ]
    return {row[keys[0]] if len(keys) == 1 else tuple(row[key] for key in keys): row for row in rows}


def plain(path: Path) -> list[dict[str, str]]:
    """What a file of ads says, read without our reader and without HTCondor's: lines of ``Name = value``."""
    blocks = path.read_text().split("\n\n")
    found = [
        dict(line.split(" = ", 1) for line in block.splitlines() if " = " in line)
        for block in blocks
        if block.strip()
    ]
    return [{name: value.strip('"') for name, value in ad.items()} for ad in found]


def ids(ad: dict[str, str]) -> set[str]:
    return {part for part in ad.get("AssignedGPUs", "").split(",") if part}


class TestRecordedPool:
    """Six hosts, idle and busy (shared data: real HTCondor 23.9.6, simulated GPUs)."""

    @pytest.fixture(params=["slots_idle.ads", "slots_busy.ads"])
    def path(self, request: pytest.FixtureRequest, shared_data: Path) -> Path:
        path: Path = shared_data / "pool" / request.param
        return path

    def test_every_slot_as_its_ad_says(self, path: Path) -> None:
        told = {ad["Name"]: ad for ad in plain(path)}
        slots = by(slots_of(read_ads(path)), "name")
        assert set(slots) == set(told)
        for name, ad in told.items():
            row = slots[name]
            assert row["state"] == ad["State"]
            assert row["activity"] == ad["Activity"]
            assert row["slot_type"] == ad["SlotType"].lower()
            assert row["cpus"] == float(ad["Cpus"])
            assert row["memory_mib"] == float(ad["Memory"])
            assert row["disk_mib"] == float(ad["Disk"]) / 1024
            assert row["gpus"] == int(ad["GPUs"])
            assert row["total_gpus"] == int(ad["TotalSlotGPUs"])
            assert row["total_cpus"] == float(ad["TotalSlotCpus"])
            assert row["site"] == ad["GLIDEIN_Site"]
            assert row["start"] == ad["Start"]
            assert ad["SlotWeight"] == "Cpus"
            assert row["slot_weight"] == float(ad["Cpus"])
            assert row["to_die_at"] == pd.Timestamp(int(ad["GLIDEIN_ToDie"]), unit="s", tz="UTC")

    def test_every_device_once(self, path: Path) -> None:
        whole = {
            (ad["Machine"], device)
            for ad in plain(path)
            if ad["SlotType"] == "Partitionable"
            for device in ids(ad)
        }
        devices = devices_of(*read_ads(path))
        assert Counter(zip(devices["machine"], devices["device_id"], strict=True)) == Counter(whole)
        assert len(whole) == 17

    def test_who_has_which_device(self, path: Path) -> None:
        lent = {
            (ad["Machine"], device): (ad["Name"], ad["AccountingGroup"])
            for ad in plain(path)
            if ad["SlotType"] == "Dynamic" and ad["State"] == "Claimed"
            for device in ids(ad)
        }
        devices = devices_of(*read_ads(path))
        busy = devices[devices["state"] == "claimed"]
        found = {
            key: (row["slot"], row["submitter"]) for key, row in by(busy, "machine", "device_id").items()
        }
        assert found == lent
        rest = devices[devices["state"] != "claimed"]
        assert set(rest["state"]) <= {"free"}
        assert set(rest["slot_type"]) <= {"partitionable"}

    def test_models_of_a_mixed_host(self, path: Path) -> None:
        """Its slot ad has neither GPUs_DeviceName nor GPUs_Capability."""
        devices = devices_of(*read_ads(path)).sort_values("device_id")
        mixed = devices[devices["machine"] == "gpu-a1.site-a.example"]
        assert list(zip(mixed["model"], mixed["family"], mixed["capability"], strict=True)) == [
            ("Tesla V100-PCIE-16GB", "V100-PCIE-16GB", 7.0),
            ("TITAN RTX", "TITAN RTX", 7.5),
        ]

    def test_slices_without_model_and_capability(self, path: Path) -> None:
        devices = devices_of(*read_ads(path))
        devices = devices[devices["machine"] == "gpu-c1.site-c.example"]
        assert len(devices) == 7
        assert devices["mig"].all()
        assert devices[["model", "capability"]].isna().all(axis=None)
        assert set(devices["memory_mib"]) == {4861.0}

    def test_texts_hold_no_secret_and_no_address(self, path: Path) -> None:
        for text in slots_of(read_ads(path))["ad"]:
            assert not re.search(r"(?i)claimid|<127\.0\.0\.1|\[ p=|LoadAvg|MonitorSelf|MyCurrentTime", text)

    def test_a_text_matches_as_its_ad_did(self, path: Path) -> None:
        """What is left out is nothing that Requirements reads."""
        job = parse_one("[ RequestCpus = 1; RequestMemory = 100; RequestDisk = 100; Requirements = true ]")
        for ad, text in zip(read_ads(path), slots_of(read_ads(path))["ad"], strict=True):
            assert parse_one(text).symmetricMatch(job) == ad.symmetricMatch(job)


def test_real_devices_of_execute_events(shared_data: Path) -> None:
    """159 copies of slot ads in event logs: Name, Machine and nested devices, but no State and no AssignedGPUs."""
    path = shared_data / "pool/ospool_gpu_slot_fragments.ads"
    told: dict[tuple[str, str], tuple[str, float, float]] = {}
    for block in path.read_text().split("\n\n"):
        machine = re.search(r'^Machine = "(.*)"$', block, re.MULTILINE)
        for nested in re.findall(r"^GPUs_GPU_\w+ = \[(.*)\]$", block, re.MULTILINE):
            assert machine
            device = dict(part.strip().split(" = ", 1) for part in nested.split(";"))
            key = machine[1], device["Id"].strip('"')
            told[key] = (
                device["DeviceName"].strip('"'),
                float(device["Capability"]),
                float(device["GlobalMemoryMb"]),
            )
    devices = devices_of(*read_ads(path))
    found = {
        key: (row["model"], row["capability"], row["memory_mib"])
        for key, row in by(devices, "machine", "device_id").items()
    }
    assert found == told
    assert len(slots_of(read_ads(path))) == 159
    assert set(devices["family"]) == {
        "A100-SXM4-80GB", "A40", "RTX A5000", "A100 80GB PCIe", "A100-SXM4-40GB", "V100-SXM2-32GB", "L40S", "L4",
    }  # fmt: skip


class TestRecordedJobs:
    """Sixteen queued and fourteen finished `sleep` jobs of four users."""

    def test_queue(self, shared_data: Path) -> None:
        path = shared_data / "pool/queue.ads"
        told = {f"{ad['ClusterId']}.{ad['ProcId']}": ad for ad in plain(path)}
        jobs = by(jobs_of(*read_ads(path)), "job_id")
        assert set(jobs) == set(told)
        for name, ad in told.items():
            row = jobs[name]
            assert row["status"] == {"1": "idle", "2": "running"}[ad["JobStatus"]]
            assert row["submitter"] == f"{ad['AccountingGroup']}@pool.example"
            assert row["owner"] == "games"
            assert row["submitted_at"] == pd.Timestamp(int(ad["QDate"]), unit="s", tz="UTC")
            assert row["seen_at"] == pd.Timestamp(int(ad["ServerTime"]), unit="s", tz="UTC")
            assert row["request_gpus"] == int(ad.get("RequestGPUs", 0))
            assert row["request_disk_mib"] == float(ad["RequestDisk"]) / 1024
            assert row["requirements"] == ad["Requirements"]
            assert pd.isna(row["first_started_at"]) == ("JobStartDate" not in ad)
            assert pd.isna(row["completed_at"])
            assert (
                row["image"] == ad["SingularityImage"] if "SingularityImage" in ad else pd.isna(row["image"])
            )

    def test_history_ran_as_long_as_asked(self, shared_data: Path) -> None:
        """The oracle is the argument of `sleep`."""
        path = shared_data / "pool/history.ads"
        asked = {f"{ad['ClusterId']}.{ad['ProcId']}": float(ad["Args"]) for ad in plain(path)}
        jobs = jobs_of(*read_ads(path)).set_index("job_id")
        done = jobs[jobs["status"] == "completed"]
        assert len(done) > 10
        for name, run_s in done["run_s"].items():
            assert run_s == pytest.approx(asked[str(name)], abs=2)
        assert (done["completed_at"] > done["first_started_at"]).all()
        assert not jobs["ad"].str.contains(r"(?i)\bargs\b|\bcmd\b|claimid|environment", regex=True).any()


@pytest.fixture(scope="module", params=["recording-w1-r1", "recording-w1-r2"])
def recording(request: pytest.FixtureRequest, shared_data: Path) -> Path:
    path: Path = shared_data / "pool" / request.param
    return path


class TestRecordedRun:
    """300 jobs in 20 minutes; the oracle is the pool's event log as trace.csv tells it."""

    def trace(self, folder: Path) -> Iterator[dict[str, str]]:
        with (folder / "trace.csv").open() as lines:
            yield from csv.DictReader(lines)

    def started(self, folder: Path) -> float:
        return float(json.loads((folder / "meta.json").read_text())["t0"])

    def devices(self, folder: Path) -> pd.DataFrame:
        with lzma.open(folder / "startd_ads.jsonl.xz", "rt") as lines:
            shots = [json.loads(line) for line in lines]
        frames = []
        for shot in shots[::4]:
            at = pd.Timestamp(int(shot["t"]), unit="s", tz="UTC")
            ads = [ad_of_json(record) for record in shot["ads"]]
            frames.append(devices_frame(ads, seen_at=at, snapshot=str(at)).frame)
        return pd.concat(frames)

    def test_attempts(self, recording: Path) -> None:
        """Every start of the log is an attempt: when, where, on which device, and how it ended."""
        zero = self.started(recording)
        made = attempts_frame(read_ads(recording / "epochs.json.xz"))
        assert not made.rejects
        attempts = located(made.frame, self.devices(recording))
        ran = attempts[attempts["executing_at"].notna()]
        assert set(attempts[attempts["executing_at"].isna()]["outcome"]) <= {
            "failed"
        }  # its claim wasn't activated
        numbered = by(ran.assign(start_no=ran.groupby("job_id").cumcount() + 1), "job_id", "start_no")
        trace = list(self.trace(recording))
        assert len(trace) == len(ran)
        for told in trace:
            row = numbered[told["job_id"], int(told["start_no"])]
            assert row["executing_at"].timestamp() - zero == pytest.approx(float(told["start"]), abs=2)
            assert row["ended_at"].timestamp() - zero == pytest.approx(float(told["end"]), abs=2)
            if row["attempt"] == int(told["start_no"]):
                assert row["ready_at"].timestamp() - zero == pytest.approx(float(told["ready"]), abs=2)
            assert row["started_at"] <= row["executing_at"]
            assert row["slot"] == told["slot"]
            assert row["machine"] == told["slot"].split("@")[-1]
            assert row["outcome"] == told["how"]
            if told["gpu_ids"]:
                assert row["device_ids"].replace("-", "_").split(",") == told["gpu_ids"].split()
                assert row["gpus"] == int(told["gpus"])
                assert row["device_model"] == told["gpu_model"]
                assert row["capability"] == float(told["gpu_capability"])

    def test_jobs_are_charged_to_whom_the_negotiator_knows(self, recording: Path) -> None:
        """A job's submitter is a name of the priorities: physics.alice@…, nice-user.dave@…."""
        jobs = jobs_of(*read_ads(recording / "history.json.xz"))
        with lzma.open(recording / "priorities.jsonl.xz", "rt") as lines:
            ads = [ad_of_json(record) for record in json.loads(list(lines)[-1])["ads"]]
        people = priorities_frame(ads, seen_at=AT, snapshot="s").frame
        users = by(people[~people["is_group"]], "submitter")
        assert set(jobs["submitter"]) == set(users) == {
            "physics.alice@pool.example", "chem.bob@pool.example", "vision.carol@pool.example",
            "nice-user.dave@pool.example",
        }  # fmt: skip
        table = (recording / "userprio.txt").read_text()
        for name, row in users.items():
            told = re.search(
                rf"^{re.escape(str(name))}\s+([\d.]+)\s+([\d.]+)\s+([\d.e+]+)", table, re.MULTILINE
            )
            assert told
            assert row["factor"] == pytest.approx(float(told[3]), rel=1e-3)

    def test_waits_of_jobs(self, recording: Path) -> None:
        with (recording / "jobs.csv").open() as lines:
            told = {row["job_id"]: row for row in csv.DictReader(lines)}
        jobs = by(jobs_of(*read_ads(recording / "history.json.xz")), "job_id")
        assert set(jobs) == set(told)
        for name, row in jobs.items():
            # the log counts up to the user's code: later by the transfer of files, and by a start that failed
            wait_s = (row["first_started_at"] - row["submitted_at"]).total_seconds()
            late_s = float(told[name]["wait"]) - wait_s
            assert -1 <= late_s <= 5 or row["n_starts"] > int(told[name]["n_starts"])
            assert row["run_s"] == pytest.approx(float(told[name]["run_seconds"]), abs=2.5)
            assert row["n_starts"] >= int(told[name]["n_starts"])
        assert sum(row["n_starts"] != int(told[name]["n_starts"]) for name, row in jobs.items()) <= 1

    def test_devices_of_machines(self, recording: Path) -> None:
        """Each machine has as many devices as its description says, at every moment, whatever glidein it has."""
        with (recording / "nodes.csv").open() as lines:
            told = {row["machine"]: int(row["gpus"]) for row in csv.DictReader(lines)}
        counts = self.devices(recording).groupby(["seen_at", "machine"]).size().rename("n").reset_index()
        assert len(counts) > 100
        assert list(counts["n"]) == [told[machine] for machine in counts["machine"]]


def test_cycles(shared_data: Path) -> None:
    """A negotiator's ad holds three cycles, newest first."""
    path = shared_data / "pool/negotiator.ads"
    (told,) = plain(path)
    cycles = cycles_frame(read_ads(path)).frame
    assert len(cycles) == 3
    for place, row in enumerate(by(cycles, "started_at").values()):
        assert row["started_at"].timestamp() == int(told[f"LastNegotiationCycleTime{place}"])
        assert row["matched"] == int(told[f"LastNegotiationCycleMatches{place}"])
        assert row["rejected"] == int(told[f"LastNegotiationCycleRejections{place}"])
        assert row["considered"] == int(told[f"LastNegotiationCycleNumJobsConsidered{place}"])
        assert row["candidate_slots"] == int(told[f"LastNegotiationCycleCandidateSlots{place}"])


def slot(name: str = "slot1@a.example", more: str = "", **attributes: Any) -> Ad:
    """A slot ad; keyword arguments and `more` (in new syntax) are added or replace."""
    ad = parse_one(
        '[ MyType = "Machine"; SlotType = "Partitionable"; State = "Unclaimed"; Activity = "Idle"; Cpus = 8;'
        " Memory = 1000; Disk = 1024; GPUs = 1; Requirements = Start; Start = true; " + more + " ]"
    )
    ad["Name"] = name
    ad["Machine"] = name.rsplit("@", maxsplit=1)[-1]
    for key, value in attributes.items():
        ad[key] = value
    return ad


def dynamic(name: str, **attributes: Any) -> Ad:
    return slot(name, SlotType="Dynamic", State="Claimed", Activity="Busy", **attributes)


class TestSlots:
    def test_absent_flags_are_false(self) -> None:
        (row,) = slots_of([slot()]).to_dict("records")
        flags = [column.name for column in describe("slots") if column.dtype == "bool"]
        assert len(flags) > 8
        assert not any(row[name] for name in flags)

    def test_either_spelling_of_singularity(self) -> None:
        ads = [slot("slot1@a", HasSingularity=True), slot("slot1@b", HAS_SINGULARITY=True), slot("slot1@c")]
        assert list(slots_of(ads)["has_singularity"]) == [True, True, False]

    def test_repositories(self) -> None:
        """Only those that are there; their dots are underscores, as in the ad."""
        ad = slot(
            HAS_CVMFS_singularity_opensciencegrid_org=True,
            HAS_CVMFS_oasis_opensciencegrid_org=False,
            Has_Cvmfs_cms_cern_ch=True,
        )
        assert slots_of([ad])["cvmfs"][0] == "cms_cern_ch,singularity_opensciencegrid_org"

    def test_expressions_are_evaluated(self) -> None:
        (row,) = slots_of([slot(more="SlotWeight = Cpus * 2; HasSIF = Cpus > 4")]).to_dict("records")
        assert (row["slot_weight"], row["has_sif"]) == (16.0, True)

    def test_requirements_keep_their_blanks(self) -> None:
        """A text in an expression is as it was, and numbers are as people write them."""
        (row,) = slots_of([slot(more='Start = TARGET.Group == "a  b" && TARGET.X >= 7.5')]).to_dict("records")
        assert row["start"] == 'TARGET.Group == "a  b" && TARGET.X >= 7.5'

    def test_parent_of_a_dynamic_slot(self) -> None:
        ads = [slot("slot1@ep_1@a.example"), dynamic("slot1_2@ep_1@a.example")]
        assert slots_of(ads)["parent"].to_list()[1] == "slot1@ep_1@a.example"

    def test_data_slots_are_no_slots(self) -> None:
        made = slots_frame([slot(), slot("data1_1@a", IsDataSlot=True)], seen_at=AT, snapshot="s")
        assert list(made.frame["name"]) == ["slot1@a.example"]
        assert not made.rejects

    def test_bad_ads_are_counted(self) -> None:
        nameless = parse_one('[ Machine = "a"; State = "Unclaimed" ]')
        made = slots_frame([nameless, slot(Cpus=-1), slot()], seen_at=AT, snapshot="s")
        assert len(made.frame) == 1
        assert made.rejects == {"no Name or Machine": 1, "a negative amount": 1}

    def test_what_start_reads_is_kept(self) -> None:
        """Load and idle time change at every update and are left out, unless START is about them."""
        desktop = "KeyboardIdle = 900; LoadAvg = 0.2; "
        without, with_it = slots_of([slot(more=desktop), slot(more=desktop + "Start = KeyboardIdle > 600")])[
            "ad"
        ]
        assert "KeyboardIdle" not in without
        assert "KeyboardIdle = 900" in with_it
        assert "LoadAvg" not in with_it


MIXED = (
    'AssignedGPUs = "GPU-1,GPU-2"; AvailableGPUs = { GPUs_GPU_1, GPUs_GPU_2 };'
    'GPUs_GPU_1 = [ Id = "GPU-1"; DeviceName = "NVIDIA L40S"; Capability = 8.9; GlobalMemoryMb = 45458;'
    ' NvidiaDriver = "575.57"; MaxSupportedVersion = 12090 ];'
    'GPUs_GPU_2 = [ Id = "GPU-2"; DeviceName = "Tesla V100-SXM2-32GB"; Capability = 7.0; GlobalMemoryMb = 32501 ];'
)


class TestDevices:
    def test_nested(self) -> None:
        first, second = devices_of(slot(more=MIXED)).to_dict("records")
        assert (first["family"], first["capability"], first["memory_mib"]) == ("L40S", 8.9, 45458.0)
        assert (first["driver"], first["max_runtime"]) == ("575.57", 12090.0)
        assert (second["family"], second["capability"]) == ("V100-SXM2-32GB", 7.0)

    def test_common_properties(self) -> None:
        """Old nested ads had the id alone; what all devices share stands at slot level."""
        ad = slot(
            more='AssignedGPUs = "GPU-1"; GPUs_DeviceName = "A40"; GPUs_Capability = 8.6; GPUs_GPU_1 = [ Id = "GPU-1" ]'
        )
        (row,) = devices_of(ad).to_dict("records")
        assert (row["model"], row["capability"]) == ("A40", 8.6)

    def test_old_family(self) -> None:
        ad = slot(
            more='AssignedGPUs = "CUDA0,CUDA1"; CUDADeviceName = "GeForce GTX 1080 Ti"; CUDACapability = 6.1;'
            "CUDAGlobalMemoryMb = 11178"
        )
        devices = devices_of(ad)
        assert list(devices["family"]) == ["GTX 1080 Ti", "GTX 1080 Ti"]
        assert set(devices["capability"]) == {6.1}
        assert set(devices["memory_mib"]) == {11178.0}

    def test_old_family_on_a_mixed_host(self) -> None:
        """What differs carries the device's id in its name."""
        ad = slot(
            more='AssignedGPUs = "GPU-1a,GPU-2b"; GPU_1aCapability = 7.0; GPU_2bCapability = 7.5;'
            'GPU_1aDeviceName = "V100"; GPU_2bDeviceName = "TITAN RTX"'
        )
        devices = devices_of(ad).set_index("device_id")
        assert devices["capability"].to_dict() == {"GPU-1a": 7.0, "GPU-2b": 7.5}
        assert devices["model"].to_dict() == {"GPU-1a": "V100", "GPU-2b": "TITAN RTX"}

    def test_a_slice_that_knows_its_parent(self) -> None:
        ad = slot(
            more='AssignedGPUs = "MIG-1-2"; GPUs_MIG_1_2 = [ Id = "MIG-1-2"; DeviceUuid = "MIG-1-2"; Capability = 8.0;'
            ' DeviceName = "NVIDIA A100-SXM4-80GB MIG 3g.40gb"; ParentUuid = "GPU-9" ]'
        )
        (row,) = devices_of(ad).to_dict("records")
        assert row["mig"]
        assert (row["family"], row["capability"], row["mig_parent"]) == (
            "A100-SXM4-80GB MIG 3g.40gb", 8.0, "GPU-9",
        )  # fmt: skip

    def test_shares_are_one_device(self) -> None:
        """-repeat and -divide list a device several times."""
        (row,) = devices_of(slot(more='AssignedGPUs = "GPU-1,GPU-1,GPU-1"')).to_dict("records")
        assert row["shares"] == 3

    def test_offline(self) -> None:
        """The id of an offline device may be the beginning of another's."""
        ad = slot(more='AssignedGPUs = "GPU-1,GPU-12,GPU-2"; OfflineGPUs = "GPU-12, GPU-3"')
        states = devices_of(ad).set_index("device_id")["state"]
        assert states.to_dict() == {"GPU-1": "free", "GPU-12": "offline", "GPU-2": "free", "GPU-3": "offline"}

    @pytest.mark.parametrize("first", [0, 1])
    def test_a_claim_wins_over_an_offer(self, first: int) -> None:
        """In whatever order the ads come; the claim's gaps are filled from the offer."""
        offer = slot(more=MIXED)
        claim = dynamic("slot1_1@a.example", AssignedGPUs="GPU-2", AccountingGroup="alice@x")
        rows = devices_of(*([offer, claim] if first else [claim, offer])).set_index("device_id")
        assert rows["state"].to_dict() == {"GPU-1": "free", "GPU-2": "claimed"}
        assert rows.loc["GPU-2", "family"] == "V100-SXM2-32GB"
        assert rows.loc["GPU-2", "slot"] == "slot1_1@a.example"
        assert rows.loc["GPU-2", "submitter"] == "alice@x"

    @pytest.mark.parametrize(
        ("primary", "backfill", "state", "slot_name"),
        [
            ("Unclaimed", "Unclaimed", "free", "slot1_1@a.example"),
            ("Claimed", "Unclaimed", "claimed", "slot1_1@a.example"),
            ("Unclaimed", "Claimed", "backfill", "backfill2_1@a.example"),
            ("Claimed", "Claimed", "claimed", "slot1_1@a.example"),
        ],
    )
    def test_backfill(self, primary: str, backfill: str, state: str, slot_name: str) -> None:
        """A device is offered twice and counted once."""
        ads = [
            slot("backfill2_1@a.example", SlotType="Dynamic", State=backfill, AssignedGPUs="GPU-1"),
            slot("slot1_1@a.example", SlotType="Static", State=primary, AssignedGPUs="GPU-1"),
        ]
        (row,) = devices_of(*ads).to_dict("records")
        assert (row["state"], row["slot"]) == (state, slot_name)

    def test_lent_without_a_dynamic_slot_ad(self) -> None:
        """What a partitionable slot can't give is not free, even where the ad of who has it is missing."""
        ad = slot(more=MIXED.replace("{ GPUs_GPU_1, GPUs_GPU_2 }", "{ GPUs_GPU_1 }"))
        assert list(devices_of(ad)["state"]) == ["free", "claimed"]

    @pytest.mark.parametrize(
        ("more", "state"),
        [
            ("", "free"),
            ("Cpus = 0", "prevented"),
            ("Memory = 0", "prevented"),
            (f"GLIDEIN_ToRetire = {NOW + 1}", "free"),
            (f"GLIDEIN_ToRetire = {NOW}", "prevented"),
            ('State = "Owner"', "prevented"),
            ('State = "Drained"', "draining"),
            ("Draining = true", "draining"),
            ("Offline = true", "offline"),
        ],
    )
    def test_states(self, more: str, state: str) -> None:
        assert list(devices_of(slot(more='AssignedGPUs = "GPU-1"; ' + more))["state"]) == [state]

    def test_a_successor_on_the_same_host(self) -> None:
        """A dead glidein's ad lives on beside its successor's: one host, the same GPUs."""
        both = [slot(f"slot1@glidein_{n}@a.example", AssignedGPUs="GPU-1,GPU-2") for n in (1, 2)]
        assert len(devices_of(*both)) == 2

    def test_two_startds_with_different_devices_under_one_id(self) -> None:
        """Simulated devices of two startds on one host share their ids; another model is another device."""
        first = slot("slot1@a100@h", AssignedGPUs="GPU-1", GPUs_DeviceName="A100")
        second = slot("slot1@titan@h", AssignedGPUs="GPU-1", GPUs_DeviceName="TITAN RTX")
        lent = dynamic("slot1_1@titan@h", AssignedGPUs="GPU-1", GPUs_DeviceName="TITAN RTX")
        rows = devices_of(first, second, lent).set_index("startd")
        assert rows["state"].to_dict() == {"a100@h": "free", "titan@h": "claimed"}

    def test_same_id_on_two_hosts(self) -> None:
        ads = [slot("slot1@a", AssignedGPUs="GPU-1"), slot("slot1@b", AssignedGPUs="GPU-1")]
        assert list(devices_of(*ads)["machine"]) == ["a", "b"]

    def test_supply(self) -> None:
        devices = devices_of(slot(more=MIXED), slot("slot1@b", AssignedGPUs="GPU-1", GPUs_DeviceName="L40S"))
        assert supply(devices, ["family"]).to_dict("list") == {
            "family": ["L40S", "V100-SXM2-32GB"],
            "gpus": [2, 1],
        }
        assert supply(devices)["gpus"].sum() == 3


def job(more: str = "", **attributes: Any) -> Ad:
    ad = parse_one(
        f'[ MyType = "Job"; ClusterId = 7; ProcId = 1; JobStatus = 1; QDate = {NOW - 600}; User = "alice@x"; '
        f'Owner = "alice"; Requirements = true; JobPrio = 0; {more} ]'
    )
    for key, value in attributes.items():
        ad[key] = value
    return ad


class TestJobs:
    def test_jobs_that_ask_for_no_slot_are_left_out(self) -> None:
        """A DAGMan runs on the access point for days; as a job it would wait for nothing and fill a slot."""
        ads = [job(JobUniverse=number, ClusterId=number) for number in (5, 7, 9, 11, 12)]
        made = jobs_frame(ads, seen_at=AT, snapshot="s")
        assert made.frame["job_id"].tolist() == ["5.1", "11.1"]
        assert made.rejects == Counter(
            {
                f"jobs of the {name} universe, which ask for no slot": 1
                for name in ("scheduler", "grid", "local")
            }
        )

    def test_requests_that_are_expressions(self) -> None:
        """The row has their value, and the text too, because what they read is not kept."""
        (row,) = jobs_of(
            job("RequestMemory = MemoryUsage * 2; MemoryUsage = 300; RequestCpus = 2 + 2; RequestDisk = 2048")
        ).to_dict("records")
        assert (row["request_memory_mib"], row["request_cpus"], row["request_disk_mib"]) == (600.0, 4.0, 2.0)
        assert re.search(r"RequestMemory = 600[ ;]", row["ad"])
        assert row["request_gpus"] == 0

    @pytest.mark.parametrize(
        ("more", "submitter"),
        [
            ("", "alice@x"),
            ('AccountingGroup = "physics.alice"', "physics.alice@x"),
            ('AccountingGroup = "physics.alice"; UidDomain = "dom"', "physics.alice@dom"),
            ('AccountingGroup = "nice-user.alice"; UidDomain = "dom"', "nice-user.alice@dom"),
            ('AccountingGroup = "physics.alice@other"', "physics.alice@other"),
        ],
    )
    def test_submitter(self, more: str, submitter: str) -> None:
        assert submitter_of(job(more)) == submitter

    @pytest.mark.parametrize(
        "name", ["ContainerImageFullPath", "ContainerImage", "SingularityImage", "DockerImage"]
    )
    def test_images(self, name: str) -> None:
        """The full path counts where the image's name was reduced to its base."""
        more = 'ContainerImage = "base.sif"; ' if name == "ContainerImageFullPath" else ""
        assert list(jobs_of(job(f'{more}{name} = "osdf:///a/x.sif"'))["image"]) == ["osdf:///a/x.sif"]

    def test_the_text_keeps_what_the_user_added_and_no_secret(self) -> None:
        more = (
            'MyStage = 3; Note = "a  b"; Environment = "TOKEN=1"; Env = "X=1"; Args = "secret"; Cmd = "/bin/x"; '
            'ClaimId = "c"; PublicClaimId = "p"; MyAddress = "<1.2.3.4:5>"; JobStatus = 2; RemoteHost = "h"'
        )
        (text,) = jobs_of(job(more))["ad"]
        assert "MyStage = 3" in text
        assert 'Note = "a  b"' in text
        assert not re.search("TOKEN|secret|/bin/x|ClaimId|1.2.3.4|JobStatus|RemoteHost", text)

    def test_a_run_leaves_the_text_as_it_was(self) -> None:
        """What a schedd notes about a job's run is in columns: a text is kept once."""
        idle = job("RequestGPUs = 1")
        running = job(
            "RequestGPUs = 1", JobStatus=2, RemoteHost="slot1@a", JobCurrentStartDate=NOW, ServerTime=NOW
        )
        first, second = jobs_of(idle)["ad"][0], jobs_of(running)["ad"][0]
        assert first == second

    def test_removed_before_it_started(self) -> None:
        (row,) = jobs_of(job(JobStatus=3, CompletionDate=0, JobStartDate=0)).to_dict("records")
        assert row["status"] == "removed"
        assert pd.isna(row["completed_at"])
        assert pd.isna(row["first_started_at"])

    def test_bad_ads_are_counted(self) -> None:
        made = jobs_frame([job(JobStatus=12), job(), Ad()], seen_at=AT, snapshot="s")
        assert len(made.frame) == 1
        assert sum(made.rejects.values()) == 2

    def test_waits_again_after_an_eviction(self) -> None:
        """An attempt is ready when the one before ended, the first when the job was submitted."""
        run: dict[str, Any] = {
            "JobStatus": 2,
            "EpochWriteDate": NOW - 100,
            "NumShadowStarts": 1,
            "JobCurrentStartDate": NOW - 300,
        }
        again: dict[str, Any] = {"EpochWriteDate": NOW, "NumShadowStarts": 2, "JobCurrentStartDate": NOW - 50}
        attempts = attempts_frame([job(**{**run, **again}), job(**run)]).frame
        assert [moment.timestamp() for moment in attempts["ready_at"]] == [NOW - 600, NOW - 100]
        assert list(attempts["outcome"]) == ["evicted", "evicted"]


values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=20),
    st.lists(st.integers(-5, 5), max_size=3),
    st.sampled_from(["/Expr(undefined)/", "/Expr(error)/", "/Expr(Name)/", "/Expr(1/0)/", "/Expr({ A, B })/"]),
    st.dictionaries(st.sampled_from(["Id", "Capability", "DeviceName"]), st.integers(-9, 9) | st.text(max_size=5), max_size=3),
)  # fmt: skip
NAMES = [
    "Name", "Machine", "State", "SlotType", "Cpus", "Memory", "Disk", "GPUs", "AssignedGPUs", "AvailableGPUs",
    "GPUs_GPU_1", "OfflineGPUs", "GPUs_Capability", "CUDACapability", "GLIDEIN_ToRetire", "SlotWeight", "Requirements",
    "ClusterId", "ProcId", "JobStatus", "QDate", "User", "AccountingGroup", "RequestMemory", "RequestGPUs", "ToE",
    "EpochWriteDate", "JobCurrentStartDate", "CompletionDate", "Priority", "PriorityFactor", "GlobalJobId", "ExitCode",
    "LastNegotiationCycleTime0", "LastNegotiationCycleMatches0", "JobPrio", "NumShadowStarts", "DaemonStartTime",
]  # fmt: skip


def _readable(record: dict[str, Any]) -> bool:
    try:
        ad_of_json(record)
    except (ValueError, TypeError, UnicodeEncodeError):
        return False
    return True


@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), values, max_size=12).filter(_readable), max_size=4))
@pytest.mark.slow
def test_garbage_is_left_out_and_never_raises(records: list[dict[str, Any]]) -> None:
    ads = [ad_of_json(record) for record in records]
    named = [slot(), *ads]
    assert len(slots_frame(named, seen_at=AT, snapshot="s").frame) >= 1
    devices_frame(named, seen_at=AT, snapshot="s")
    jobs = [job(), *ads]
    assert len(jobs_frame(jobs, seen_at=AT, snapshot="s").frame) >= 1
    attempts_frame(jobs)
    cycles_frame(ads)
    priorities_frame(ads, seen_at=AT, snapshot="s")


def test_all_formats_make_the_same_frames() -> None:
    text = str(slot(more=MIXED))
    (new,) = parse_ads(text, where="new")
    (json_ad,) = parse_ads(f"[{slot(more=MIXED).printJson()}]", where="json")
    (old,) = parse_ads(slot(more=MIXED).printOld() + "\n", where="old")
    frames = [slots_of([ad]) for ad in (new, json_ad, old)]
    assert frames[0].equals(frames[1])
    assert frames[0].equals(frames[2])
