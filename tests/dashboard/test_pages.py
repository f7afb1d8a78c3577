"""Pages: layouts that need nothing, callbacks as plain functions."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dash import Dash, no_update
from dash.development.base_component import Component

from dashboard import spec as specs
from dashboard.data import Data, Window
from dashboard.pages import pool, progressing, requirements, waits
from dashboard.pages import runs as runs_page
from dashboard.pages.requirements_answer import Shown, show_answer
from dashboard.pages.requirements_state import Question
from dashboard.runs import Runs
from dashboard.settings import Settings
from dashboard.shell import freshness
from dashboard.tables import GPU
from sim.classads.request import Request, job_ad
from sim.errors import ExpressionError
from sim.schema import conform
from sim.store import Snapshot, Store
from tests.dashboard import synthetic, weeks
from tests.dashboard.posting import call

LAYOUTS = [pool.layout, waits.layout, requirements.layout, runs_page.layout]
GARBAGE: dict[str, Any] = {
    "req": ["a", "b"],
    "gpus": "many",
    "class": "",
    "memory": "-1",
    "unknown": "<script>",
}


def text(part: Any) -> str:
    """All text in a component tree."""
    if isinstance(part, str | int | float):
        return str(part)
    if isinstance(part, list | tuple):
        return " ".join(text(each) for each in part)
    if isinstance(part, Component):
        words = [
            text(getattr(part, name))
            for name in ("title", "label")
            if isinstance(getattr(part, name, None), str)
        ]
        return " ".join([*words, text(getattr(part, "children", None))])
    return ""


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("query", [{}, GARBAGE])
def test_a_layout_needs_no_data_and_bears_any_address(layout: Any, query: dict[str, Any]) -> None:
    assert isinstance(layout(**query), Component)


@pytest.mark.slow
def test_the_pool_page_says_what_is_usual(tmp_path: Path, data: Data) -> None:
    """The second of two weeks, whose waits are known; and a record without a week before."""
    store = weeks.fill(tmp_path / "store")
    second = Data(store, Settings(runs=tmp_path, class_by="ReqClass")).over(
        Window(weeks.SECOND, weeks.SECOND + pd.Timedelta(days=7))
    )
    told = pool.usual(second)
    assert "Against the 7 d before" in told
    assert "p90 wait 1 h, was 10 min (+500 %)" in told
    assert "Nothing was recorded in the 7 d before" in pool.usual(data)


def test_quantiles_of_few_jobs_are_grey_in_tables_too(data: Data, runs: Runs) -> None:
    shown = waits.content(data, runs, GPU, "", "light")[7]
    rows = shown[0].children.children[2].children
    n = {cells.children[0].children: int(cells.children[1].children) for cells in rows}
    grey = {cells.children[0].children for cells in rows if "few" in (cells.children[3].className or "")}
    assert grey == {group for group, jobs in n.items() if jobs < 30}
    assert 0 < len(grey) < len(n)


def test_the_pool_page_counts_each_device_once(data: Data) -> None:
    shown = pool.content(data, "light")
    assert "14" in text(shown[0])
    assert "of 29 at the end of the record; best: A100-SXM4-40GB" in text(shown[0])
    assert shown[3].startswith("29 GPUs · 23 Nov 2026 14:19 UTC, snapshot 20261123T141945Z")
    assert "80 snapshots" in shown[11]


def test_a_wait_that_censoring_hides_is_told_as_a_bound() -> None:
    assert pool.bounded(float("nan"), 1194.0) == "over 20 min"
    assert pool.bounded(90.0, 1194.0) == "1 min 30"


def test_waits_say_how_many_jobs_and_how_many_still_wait(data: Data, runs: Runs) -> None:
    shown = waits.content(data, runs, GPU, "", "light")
    assert shown[1].startswith("GPU jobs: n=300, of them 55 never started")
    assert shown[1].endswith("observed only")
    assert shown[3] == "/api/started.csv?class=GPU+jobs"


def test_an_unknown_class_falls_back_to_all_jobs(data: Data, runs: Runs) -> None:
    assert waits.content(data, runs, "no such class", "", "light")[1].startswith("all jobs: n=320")


def test_a_done_simulation_stands_beside_the_observed_waits(data: Data, runs: Runs) -> None:
    entry = runs.ask(specs.replay_spec(data))
    claim = runs.claim("w")
    assert claim is not None
    runs.finish(claim, {"jobs": synthetic.jobs(seed=12), "observed": data.jobs(), "summary": {}})
    shown = waits.content(data, runs, GPU, entry.id, "light")
    assert {trace.name for trace in shown[0].data} >= {"observed", "simulated"}
    assert shown[1].endswith("simulated 1 times from seed 1")
    assert "p90 simulated" in text(shown[7])


@pytest.mark.parametrize(
    ("status", "says", "ask", "cancel", "still"),
    [
        (None, "Not simulated yet.", True, False, True),
        ("queued", "Queued, next in line", False, True, False),
        ("running", "half", False, True, False),
        ("done", "Simulated with seed 1", False, False, True),
        ("failed", "The simulation failed: no jobs", True, False, True),
        ("cancelled", "Cancelled.", True, False, True),
    ],
)
def test_a_panel_shows_what_can_be_done(
    runs: Runs, status: str | None, says: str, ask: bool, cancel: bool, still: bool
) -> None:
    spec = {"kind": "replay", "seed": 1}
    if status is not None:
        name = runs.ask(spec).id
        if status not in {"queued", "cancelled"}:
            claim = runs.claim("w")
            assert claim is not None
            runs.tick(claim, 0.5, "half")
            if status == "done":
                runs.finish(claim, {"summary": {}})
            if status == "failed":
                runs.fail(claim, "no jobs")
        if status == "cancelled":
            runs.cancel(name)
    panel = progressing.standing(runs.find(spec), runs, ask="Go", now=time.time())
    assert says in text(panel.told)
    assert (panel.ask_style == {}, panel.cancel_style == {}, panel.still) == (ask, cancel, still)
    assert bool(panel.done) is (status == "done")
    assert progressing.beside("another run", panel) == panel
    assert progressing.beside(panel.done or None, panel).done is no_update


def test_a_question_that_can_be_answered_is_kept(data: Data) -> None:
    kept, wrong, wrong_memory, query = requirements.check(data, "GPUs_Capability >= 7.5", 2, 4, "8 GB")
    assert kept == {"expression": "GPUs_Capability >= 7.5", "gpus": 2, "cpus": 4, "memory_mib": 8192.0}
    assert (wrong, wrong_memory) == (None, None)
    assert query == "req=GPUs_Capability%20%3E%3D%207.5&gpus=2&cpus=4&memory=8192"


def test_a_typo_keeps_the_last_answer_and_names_its_column(data: Data) -> None:
    kept, wrong, _, query = requirements.check(data, "GPUs_Capability >= && true", 1, 1, "2 GB")
    assert kept is no_update
    assert text(wrong).startswith("Column 20: ")
    assert query.startswith("req=GPUs_Capability")


def test_a_wrong_memory_is_told_at_its_own_field(data: Data) -> None:
    kept, wrong, wrong_memory, _ = requirements.check(data, "true", 1, 1, "lots")
    assert kept is no_update
    assert wrong is None
    assert "'lots'" in wrong_memory


@pytest.mark.parametrize("empty", ["", "   ", None])
def test_an_empty_field_asks_for_an_expression(data: Data, empty: str | None) -> None:
    assert "write an expression" in text(requirements.check(data, empty, 1, 1, "2 GB")[1])


def test_the_caret_points_at_the_column_also_on_a_later_line() -> None:
    shown = requirements.point(ExpressionError("expected a value", column=13, text="true &&\nA == && b"))
    lines = shown.children[1].children.splitlines()
    assert lines == ["A == && b", "    ^"]


def test_an_answer_shows_counts_clauses_and_ladder(data: Data, runs: Runs) -> None:
    shown = show_answer(
        data, runs, Question("GPUs_Capability >= 7.5 && GPUs_GlobalMemoryMb >= 20000"), "", "light"
    )
    assert "Free now" in text(shown.answer)
    assert "GPUs_Capability >= 7.5" in text(shown.clauses_table)
    assert shown.clauses_caption.startswith("2 clauses")
    assert "Capability >= 8.0" in text(shown.ladder_table)
    assert len(Shown.outputs()) == len(Shown._fields)


def test_the_old_attribute_is_impossible_and_says_what_to_write(data: Data, runs: Runs) -> None:
    shown = show_answer(data, runs, Question("CUDACapability >= 6.0"), "", "light")
    assert "Impossible" in text(shown.answer)
    assert "gpus_minimum_capability" in text(shown.answer)
    assert shown.models_card_style == {"display": "none"}


def test_rewrites_are_shown_with_what_they_gain_and_give_up(data: Data, runs: Runs) -> None:
    """Text of an expression stays text."""
    shown = text(show_answer(data, runs, Question("CUDACapability >= 6.0 && Memory > 1"), "", "light").answer)
    assert "Rewrites, best first" in shown
    assert "requirements = Memory > 1" in shown
    assert "also takes: " in shown


@pytest.mark.parametrize(
    ("ladder", "words"), [("memory", "GlobalMemoryMb >= "), ("gpus", "request_gpus = 2"), ("site", "100 %")]
)
def test_every_ladder_is_there(data: Data, runs: Runs, ladder: str, words: str) -> None:
    """In the one chart and table, when it is chosen, with shares."""
    shown = show_answer(data, runs, Question("true", ladder=ladder), "", "light")
    assert shown.ladder_caption.startswith(f"{ladder}: ")
    assert words in text(shown.ladder_table)


def test_outranked_shows_who_comes_first_by_class(tmp_path: Path, settings: Settings, runs: Runs) -> None:
    """Users with a better priority want all eight A100s, of which some are free: first with their class, without their names."""
    name, at = synthetic.snapshot(0), synthetic.START
    frames = {key: frame[frame["snapshot"] == name] for key, frame in (("slots", synthetic.slots()),)}
    wanted = "TARGET.GPUs_Capability >= 7.0"
    waiting = synthetic.jobs(n=200).assign(
        snapshot=name, seen_at=at, status="idle", submitter="ann@example", requirements=wanted, request_gpus=1,
        ad=job_ad(wanted, Request(1, 1, 128, "Capability >= 7.0")), first_started_at=None, started_at=None,
    )  # fmt: skip
    frames["jobs"] = conform(waiting, "jobs")
    frames["priorities"] = conform(
        pd.DataFrame(
            [
                {"snapshot": name, "seen_at": at, "submitter": who, "is_group": False, "effective_priority": priority, "factor": 1.0}
                for who, priority in (("ann@example", 0.5), ("zoe@example", 900.0))
            ]
        ),
        "priorities",
    )  # fmt: skip
    store = Store(tmp_path / "store")
    store.append(Snapshot(name, at.to_pydatetime(), frames))
    shown = show_answer(
        Data(store, settings), runs, Question("GPUs_Capability >= 8.0", memory_mib=128.0), "", "light"
    )
    told = text(shown.answer)
    for words in (
        "Outranked",
        "others come first",
        "First come",
        "200 jobs asking for 1 GPU, Capability >= 7.0",
        "of these GPUs",
    ):
        assert words in told, words
    assert "ann" not in told
    # nobody waits: the same GPUs are free
    alone = Store(tmp_path / "alone")
    alone.append(Snapshot(name, at.to_pydatetime(), {"slots": frames["slots"]}))
    free = show_answer(Data(alone, settings), runs, Question("GPUs_Capability >= 8.0"), "", "light")
    assert "Free now" in text(free.answer)
    assert "First come" not in text(free.answer)


def test_a_probe_run_fills_wait_and_ladder(data: Data, runs: Runs) -> None:
    question = Question("GPUs_Capability >= 7.5")
    spec = requirements.run_spec(data, question)
    panel = requirements.step(data, runs, question, by="req-ask", clicked=True, cancel=False)
    assert not panel.still
    claim = runs.claim("w")
    assert claim is not None
    rungs = pd.DataFrame(spec["rungs"], columns=["ladder", "rung", "asked"]).drop(columns="asked")
    rungs = rungs.assign(
        p50_s=10.0, p90_s=90.0, p90_low_s=60.0, p90_high_s=120.0, longest_s=1440.0, n=1200, n_censored=3
    )
    runs.finish(
        claim,
        {
            "rungs": rungs,
            "summary": {
                "seed": 1,
                "n": 120,
                "n_censored": 2,
                "p50_s": 10.0,
                "p90_s": None,
                "longest_s": 1440.0,
            },
        },
    )
    panel = requirements.step(data, runs, question, by="req-poll", clicked=False, cancel=False)
    shown = show_answer(data, runs, question, panel.done, "light")
    assert "> 24 min" in text(shown.wait)
    assert "n=120, 2 never started" in text(shown.wait)
    assert "1 min 30 (1 min to 2 min)" in text(shown.ladder_table)
    assert "0.25 %" in text(shown.ladder_table)
    memory = show_answer(data, runs, Question("GPUs_Capability >= 7.5", ladder="memory"), panel.done, "light")
    assert memory.ladder_caption.startswith("memory: 5 rungs")
    for words in ("GlobalMemoryMb >= 24220", "flat", "1 min 30 (1 min to 2 min)"):
        assert words in text(memory.ladder_table), words
    other = show_answer(data, runs, Question("true"), panel.done, "light")
    assert "120" not in text(other.wait)


def test_the_probe_run_of_a_question_can_be_cancelled(data: Data, runs: Runs) -> None:
    question = Question("true")
    requirements.step(data, runs, question, by="req-ask", clicked=True, cancel=False)
    panel = requirements.step(data, runs, question, by="req-cancel", clicked=True, cancel=True)
    assert "Cancelled." in text(panel.told)


def test_a_page_of_the_past_starts_no_run(app: Dash, runs: Runs) -> None:
    """A run is of the whole record, so it would answer another question than the page's."""
    question = Question("GPUs_Capability >= 7.0").kept()
    client = app.server.test_client()
    for first, told in (
        ("req-told.children", {"req_question": question, "req_ask": 1}),
        ("containers-told.children", {"containers_ask": 1}),
    ):
        name = first.partition("-")[0]
        asked = call(app, first, url=f"?snap={synthetic.snapshot(20)}", **told)
        asked["changedPropIds"] = [f"{name}-ask.n_clicks"]
        answer = client.post("/_dash-update-component", json=asked).get_data(as_text=True)
        assert "open the latest to simulate" in answer, first


def test_the_requirements_page_is_pinned_to_its_snapshot(app: Dash) -> None:
    """Four TITAN RTX of n31 went after the twentieth snapshot, two of n32 came after the thirty-second."""
    client = app.server.test_client()
    told = {}
    for snap in ("latest", synthetic.snapshot(10)):
        asked = call(
            app, "req-answer.children", req_question=Question('GPUs_DeviceName == "TITAN RTX"').kept(), req_done="",
            scheme="light", url=f"?snap={snap}",
        )  # fmt: skip
        told[snap] = client.post("/_dash-update-component", json=asked).get_data(as_text=True)
    assert "4 match in all" in told["latest"]
    assert "6 match in all" in told[synthetic.snapshot(10)]


def test_looking_never_starts_a_run(data: Data, runs: Runs) -> None:
    requirements.step(data, runs, Question("true"), by="req-question", clicked=False, cancel=False)
    assert runs.recent() == []


def test_the_runs_page_lists_and_offers_a_cancel_only_for_live_runs(runs: Runs) -> None:
    runs.ask({"kind": "probe", "expression": "<b>x</b>", "gpus": 1})
    done = runs.ask({"kind": "replay", "source": "sample", "seed": 1})
    runs.cancel(done.id)
    shown = text(runs_page.rows(runs.recent(), now=time.time()))
    assert "Wait of <b>x</b>, 1 GPU" in shown
    assert shown.count("Cancel") == 1
    table = runs_page.rows(runs.recent(), now=time.time()).children
    head, body = table.children[1].children, table.children[2].children
    assert {len(row.children) for row in body} == {len(head.children)}
    assert text(head.children[1]) == "Status"
    assert text(body[0].children[1]).strip() == "cancelled"
    assert "No runs yet" in text(runs_page.rows([], now=0.0))


def test_the_badge_tells_sample_live_stale_and_old(data: Data) -> None:
    coverage = data.coverage()
    assert "Recorded sample of 23 Nov 2026, HTCondor 23.9.6, a real negotiator" in text(
        freshness(coverage, 0.0, 300.0)
    )
    live = dataclasses.replace(coverage, sample=False)
    assert text(freshness(live, 120.0, 300.0)).startswith("Live")
    assert text(freshness(live, 601.0, 300.0)).startswith("Stale")
    assert text(freshness(live, 90_000.0, 300.0)).startswith("Old data")
    assert text(freshness(None, 0.0, 300.0)).startswith("No data yet")
