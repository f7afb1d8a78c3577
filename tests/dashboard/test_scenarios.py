"""The Scenarios page: what its form writes, and that it compares as `poolscope sweep` does."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from dash import Dash, no_update

from dashboard import spec as specs
from dashboard.data import Data
from dashboard.pages import scenario_draft as draft
from dashboard.pages.scenario_comparison import compare, means_of, show_comparison
from dashboard.pages.scenarios import change
from dashboard.runs import Runs
from dashboard.simulation import execute
from sim.errors import InputError
from sim.sweep import Sweep, grid


def _written(
    data: Data, runs: Runs, by: str, draft_now: dict[str, object], changes: tuple[object, ...]
) -> str:
    return draft.write(change(data, runs, by, draft.write(draft_now), {}, changes))


def _asked(data: Data, content: dict[str, object], runs: Runs) -> str:
    """The id of a scenario's run, which is done."""
    name = runs.ask(specs.scenario_spec(data, content)).id
    entry = runs.claim("test")
    assert entry is not None
    runs.finish(entry, execute(entry.spec, lambda *_: None))
    return name


NOTHING = (8, "NVIDIA L40S", 8.9, "48 GB", None, 2)


def test_eight_more_gpus_a_lost_site_and_twice_the_jobs_are_buttons(data: Data, runs: Runs) -> None:
    source = data.settings.source
    base = draft.base(source, "", seeds=2)
    held = draft.read(
        _written(data, runs, "sc-add", base, (12, "NVIDIA L40S", 8.9, "48 GB", None, 2)), source=source
    )
    added = [step["add"] for step in held["pool"]["adjust"]]
    assert sum(step["count"] * step["gpus"][0]["count"] for step in added) == 12
    held = draft.read(_written(data, runs, "sc-drop", held, (8, "", 1, "", 'a "b" \\', 2)), source=source)
    assert held["pool"]["adjust"][-1] == {"drop": r'(GLIDEIN_Site ?: GLIDEIN_ResourceName) == "a \"b\" \\"'}
    held = draft.read(_written(data, runs, "sc-scale-do", held, NOTHING), source=source)
    assert held["workload"]["adjust"] == [{"scale": 2.0}]
    with pytest.raises(InputError, match="choose one first"):
        _written(data, runs, "sc-drop", base, NOTHING)


def test_models_are_the_pools_own_and_the_catalogues(data: Data) -> None:
    known = draft.models(data.devices())
    assert known["NVIDIA L40S"] == (8.9, "48 GB")
    assert known["A100-SXM4-40GB"] == (8.0, "47661 MB")


@pytest.mark.slow
def test_the_page_compares_as_poolscope_sweep_does(app: Dash, data: Data, tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs", model="test")
    source = data.settings.source
    base = draft.put(draft.base(source, "", seeds=2), "workload.class_by", "ReqClass")
    slow = draft.put(draft.put(base, "policy.negotiator_interval", "5 min"), "title", "slow")
    names = [_asked(data, content, runs) for content in (base, slow)]

    file = tmp_path / "base.yaml"
    file.write_text(draft.write(base), "utf-8")
    sweep = Sweep.prepare(
        grid(file, ["policy.negotiator_interval=60,300"]), range(1, 3), lambda _: tmp_path / "sweep"
    )
    for _ in sweep.run(workers=1):
        pass
    for told, expected in (
        (compare(runs, names), sweep.differences()),
        (means_of(runs, names), sweep.means()),
    ):
        pd.testing.assert_frame_equal(told.drop(columns="variant"), expected.drop(columns="variant"))

    shown = show_comparison(runs, names, "light")
    assert shown.charts_style == {}
    assert shown.differences_caption.startswith("GPU jobs, 2 seeds in common")
    assert "slow" in str(shown.differences_table)
    assert show_comparison(runs, names[1:], "light").charts_style == {"display": "none"}
    late = shown.beside(shown.jobs_chosen, shown.jobs_offered)
    assert (late.jobs_offered, late.jobs_chosen) == (
        no_update,
        no_update,
    )  # or it would undo a choice made meanwhile
    assert shown.beside("user nobody", []) == shown
    assert compare(runs, ["0123456789ab", *names]).empty
