"""Event logs of all formats tell the same; times are told by zone, evidence, or what the user says."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from collectors.eventlog import is_event_log, read_event_log, sorted_by_job, zone_named
from sim.classads.ads import read_ads
from sim.errors import InputError
from sim.inventory.events import events_frames

CLASSIC = """\
000 (007.000.000) {day} 10:00:00 Job submitted from host: <10.0.0.1:9618?addrs=10.0.0.1-9618&alias=ap.example>
...
001 (007.000.000) {day} 10:05:00 Job executing on host: <10.0.0.2:9618?alias=node.example>
\tSlotName: slot1_3@node.example
\tAvailableGPUs = {{ GPUs_GPU_b1223334 }}
\tGPUs_GPU_b1223334 = [ Id = "GPU-b1223334"; Capability = 8.6; DeviceName = "NVIDIA A40"; GlobalMemoryMb = 45634 ]
\tCpus = 2
\tGPUs = 1
\tMemory = 4096
...
004 (007.000.000) {day} 10:10:00 Job was evicted.
\t(0) CPU times
...
001 (007.000.000) {day} 10:20:00 Job executing on host: <10.0.0.3:9618>
\tSlotName: slot1_1@other.example
...
005 (007.000.000) {day} 10:50:00 Job terminated.
\t(1) Normal termination (return value 3)
...
"""
XML = """\
<?xml version="1.0"?>
<!DOCTYPE classads SYSTEM "classads.dtd">
<classads>
<c>
    <a n="MyType"><s>SubmitEvent</s></a>
    <a n="EventTypeNumber"><i>0</i></a>
    <a n="EventTime"><s>2026-03-05T10:00:00</s></a>
    <a n="Cluster"><i>7</i></a>
    <a n="Proc"><i>0</i></a>
    <a n="SubmitHost"><s>&lt;10.0.0.1:9618?alias=ap.example&gt;</s></a>
</c>
<c>
    <a n="MyType"><s>ExecuteEvent</s></a>
    <a n="EventTypeNumber"><i>1</i></a>
    <a n="EventTime"><s>2026-03-05T10:05:00</s></a>
    <a n="Cluster"><i>7</i></a>
    <a n="Proc"><i>0</i></a>
    <a n="SlotName"><s>slot1_3@node.example</s></a>
    <a n="ExecuteProps"><c><a n="GPUs"><i>1</i></a>
      <a n="GPUs_GPU_b1223334"><c><a n="Id"><s>GPU-b1223334</s></a><a n="DeviceName"><s>NVIDIA A40</s></a></c></a></c></a>
</c>
"""


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def frames(text: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    return events_frames(sorted_by_job(read_event_log(text).events), snapshot="s")


class TestClassic:
    def test_a_job_s_life(self) -> None:
        jobs, attempts = frames(CLASSIC.format(day="2026-03-05"))
        (job,) = jobs.to_dict("records")
        assert (job["job_id"], job["schedd"], job["status"], job["exit_code"]) == (
            "7.0",
            "ap.example",
            "completed",
            3,
        )
        assert (job["n_starts"], job["n_vacates"], job["run_s"]) == (2, 1, 1800.0)
        assert attempts["outcome"].tolist() == ["evicted", "failed"]
        assert attempts["device_model"].tolist()[0] == "NVIDIA A40"
        assert attempts["device_ids"].tolist()[0] == "GPU-b1223334"
        assert attempts["slot"].tolist() == ["slot1_3@node.example", "slot1_1@other.example"]
        assert (attempts["ready_at"] - attempts["ready_at"][0]).dt.total_seconds().tolist() == [0, 600]

    def test_a_job_that_its_schedd_ran_itself_is_left_out(self) -> None:
        """DAGMan's own job executes at the very address that it was submitted from; its nodes' jobs don't."""
        schedd, startd = "<10.0.0.1:9618?sock=schedd_1_a>", "<10.0.0.1:9618?sock=startd_1_b>"
        events = "".join(
            f"000 ({job:03}.000.000) 2026-03-05 10:00:00 Job submitted from host: {schedd}\n...\n"
            f"001 ({job:03}.000.000) 2026-03-05 10:00:09 Job executing on host: {host}\n...\n"
            for job, host in ((7, schedd), (8, startd))
        )
        jobs, attempts = frames(events)
        assert jobs["job_id"].tolist() == attempts["job_id"].tolist() == ["8.0"]

    def test_every_code_of_the_recorded_log(self, shared_data: Path) -> None:
        """Starts and ends as the history ads of the same jobs have them."""
        text = (shared_data / "pool/jobs.userlog").read_text()
        log = read_event_log(text)
        assert sum(log.skipped.values()) == 0
        jobs, attempts = events_frames(sorted_by_job(log.events), snapshot="s")
        assert (len(log.events), len(jobs), len(attempts)) == (107, 18, 19)
        done = {f"{ad['ClusterId']}.{ad['ProcId']}": ad for ad in read_ads(shared_data / "pool/history.ads")}
        ended = attempts[attempts["outcome"] == "done"].set_index("job_id").to_dict("index")
        for job_id in set(done) & set(ended):
            ad = done[job_id]
            assert abs(ended[job_id]["executing_at"].timestamp() - ad["JobCurrentStartExecutingDate"]) <= 1
            assert abs(ended[job_id]["ended_at"].timestamp() - ad["CompletionDate"]) <= 1
        assert len(set(done) & set(ended)) >= 10

    def test_without_a_year(self) -> None:
        """The last years before the file was written; the turn of a year is noticed."""
        text = (
            CLASSIC.format(day="12/31").split("...\n001")[0] + "...\n"
            "001 (007.000.000) 01/02 10:05:00 Job executing on host: <10.0.0.2:9618>\n...\n"
        )
        events = read_event_log(text, written=datetime(2026, 2, 1, tzinfo=UTC)).events
        assert [event.at for event in events] == [at("2025-12-31T10:00Z"), at("2026-01-02T10:05Z")]

    def test_what_is_no_event_is_counted(self) -> None:
        text = (
            "no event\n...\n"
            + CLASSIC.format(day="2026-03-05")
            + "001 (007.000.000) 2026-03-05 11:00:00 Job ex"
        )
        log = read_event_log(text)
        assert len(log.events) == 5
        assert dict(log.skipped) == {"no event": 1, "an event that breaks off": 1}


class TestFormats:
    def test_xml_without_its_end(self) -> None:
        jobs, attempts = frames(XML)
        assert jobs["schedd"].tolist() == ["ap.example"]
        assert attempts["device_model"].tolist() == ["NVIDIA A40"]
        assert attempts["outcome"].tolist() == ["running"]

    def test_json(self) -> None:
        events = [
            {"EventTypeNumber": 0, "EventTime": "2026-03-05T10:00:00.250", "Cluster": 7, "Proc": 0},
            {"EventTypeNumber": 22, "EventTime": "2026-03-05T10:30:00", "Cluster": 7, "Proc": 0},
            {"EventTypeNumber": 1, "EventTime": "2026-03-05T10:05:00", "Cluster": 7, "Proc": 0},
            {"EventTypeNumber": 24, "EventTime": "2026-03-05T11:10:00", "Cluster": 7, "Proc": 0},
            {"EventTypeNumber": 4, "EventTime": "2026-03-05T11:10:10", "Cluster": 7, "Proc": 0},
        ]
        jobs, attempts = frames("\n".join(json.dumps(event, indent=1) for event in events) + '\n{"Ev')
        assert attempts["outcome"].tolist() == ["lost"]
        assert jobs["submitted_at"].tolist()[0].microsecond == 250_000

    @pytest.mark.parametrize(
        ("text", "is_one"),
        [
            (CLASSIC.format(day="03/05"), True), (XML, True), ('{"EventTypeNumber": 1, "EventTime": "x"}', True),
            ('MyType = "Job"\n', False), ("<classads></classads>", False), ('{"ClusterId": 1}', False), ("", False),
        ],
    )  # fmt: skip
    def test_told_by_content(self, text: str, is_one: bool) -> None:
        assert is_event_log(text) is is_one


class TestClock:
    def test_a_zone_in_the_time_counts(self) -> None:
        text = CLASSIC.format(day="2026-03-05").replace("10:00:00", "10:00:00+05:30", 1)
        log = read_event_log(text, zone=zone_named("America/Chicago"))
        assert log.events[0].at == at("2026-03-05T10:00+05:30")
        assert log.events[1].at == at("2026-03-05T10:05-06:00")

    def test_as_told(self) -> None:
        log = read_event_log(CLASSIC.format(day="2026-07-05"), zone=zone_named("Europe/Berlin"))
        assert (log.events[0].at, log.clock) == (at("2026-07-05T10:00+02:00"), "given")
        assert read_event_log(CLASSIC.format(day="2026-07-05")).clock == "UTC"

    def test_a_log_betrays_its_zone(self) -> None:
        """The end of a job is also told in UTC; a summer and a winter half have different offsets."""
        text = CLASSIC.format(day="2026-03-05").replace(
            "\t(1) Normal", "\tJob terminated of its own accord at 2026-03-05T16:50:00Z.\n\t(1) Normal"
        )
        log = read_event_log(text)
        assert log.clock == "derived"
        assert [event.at for event in log.events][:2] == [at("2026-03-05T16:00Z"), at("2026-03-05T16:05Z")]

    def test_the_hour_that_comes_twice(self) -> None:
        stamps = ["01:30:00", "01:50:00", "01:10:00", "02:30:00"]
        text = "".join(
            f"006 (007.000.000) 2026-11-01 {stamp} Image size of job updated: 1\n...\n" for stamp in stamps
        )
        log = read_event_log(text, zone=zone_named("America/Chicago"))
        assert [round(event.at - log.events[0].at) for event in log.events] == [0, 1200, 2400, 7200]

    def test_an_unknown_zone(self) -> None:
        with pytest.raises(InputError, match=r"--timezone Mars/Base: no such time zone; expected"):
            zone_named("Mars/Base")
        with pytest.raises(InputError, match="no such time zone"):
            zone_named("../../etc/passwd")


class TestLife:
    """What the end of an attempt was."""

    @pytest.mark.parametrize(
        ("codes", "outcomes", "status"),
        [
            ([0, 1, 4, 12], ["held"], "held"),
            ([0, 1, 12], ["held"], "held"),
            ([0, 1, 4, 9], ["removed"], "removed"),
            ([0, 9], [], "removed"),
            ([0, 12, 13], [], "idle"),
            ([0, 1, 7, 1, 5], ["failed", "failed"], "completed"),
            ([0, 1, 22, 23, 4], ["evicted"], "idle"),
            ([0, 1, 22, 24, 4, 1], ["lost", "running"], "running"),
            ([0, 1, 1, 4], ["lost", "evicted"], "idle"),
            ([1, 4], ["evicted"], None),
        ],
    )
    def test_outcomes(self, codes: list[int], outcomes: list[str], status: str | None) -> None:
        text = "".join(
            f"{code:03} (001.000.000) 2026-03-05 10:00:{place:02} x\n...\n"
            for place, code in enumerate(codes)
        )
        jobs, attempts = frames(text)
        assert attempts["outcome"].tolist() == outcomes
        assert jobs["status"].tolist() == ([] if status is None else [status])
