"""The Containers page as plain functions: what it shows, and that it says where from."""

from __future__ import annotations

import gzip
import io
import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dash import Dash
from dash.development.base_component import Component
from plotly.utils import PlotlyJSONEncoder

from dashboard import spec as specs
from dashboard import tables
from dashboard.data import Data
from dashboard.figures import containers as figures
from dashboard.figures.theme import DRAWABLE, Scheme
from dashboard.pages import containers
from dashboard.runs import Runs
from dashboard.simulation import execute
from tests.dashboard.test_pages import GARBAGE, text

STRATEGIES = pd.DataFrame(
    {
        "strategy": ["cvmfs", "pin"],
        "words": ["container, unpacked in CVMFS", "no container, one GPU type: <b>T4</b>"],
        "jobs": [252, 252], "done": [248.0, 142.0], "censored": [4.0, 110.0],
        "wait_p50_s": [200.0, np.nan], "wait_p90_s": [800.0, np.nan], "start_up_s": [40.0, 0.0],
        "total_mean_s": [570.0, 2800.0], "total_mean_low_s": [560.0, np.nan], "total_mean_high_s": [590.0, np.nan],
        "gained_s": [0.0, 2230.0], "squid_mb": [4600.0, 0.0], "origin_mb": [27000.0, 0.0], "access_point_mb": [0.0, 0.0],
        "pulls": [0.0, 0.0], "failures": [0.0, 0.0], "held": [0.0, 0.0],
    }
)  # fmt: skip
BY_GPU = pd.DataFrame(
    {
        "strategy": ["cvmfs"],
        "model": ["T4"],
        "starts": [12.0],
        "wait_p50_s": [60.0],
        "start_up_s": [41.0],
        "cold": [0.5],
    }
)


@pytest.mark.parametrize("query", [{}, GARBAGE, {"event": "new site", "variant": "no squid"}])
def test_the_layout_bears_any_address(query: dict[str, Any]) -> None:
    Dash(__name__)  # links need to know under which path the application is
    assert isinstance(containers.layout(**query), Component)


def test_an_address_is_held_to_what_there_is() -> None:
    assert containers.chosen("new site", "no squid") == ("new site", "no squid")
    assert containers.chosen(["x"], "<script>") == ("new image", "quota 4 GB")


def test_strategies_are_empty_until_they_are_compared(data: Data, runs: Runs) -> None:
    shown = containers.strategies_content(data, runs, "", "light")
    assert shown[1].startswith("Not compared yet")


def test_done_strategies_are_shown(data: Data, runs: Runs) -> None:
    """Rows, numbers, the seed; a model's name is text, never markup; by GPU, too."""
    entry = runs.ask(specs.strategies_spec(data))
    claim = runs.claim("w")
    assert claim is not None
    runs.finish(claim, {"strategies": STRATEGIES, "by_gpu": BY_GPU, "summary": {}})
    figure, caption, shown, style = containers.strategies_content(data, runs, entry.id, "light")
    assert "n=252 GPU jobs" in caption
    assert "from seed 1" in caption
    assert "not reached" in text(shown)
    assert "T4" in text(shown[-1])
    markup = json.dumps(shown, cls=PlotlyJSONEncoder)
    assert re.findall(r'"title": "n=(\d+): fewer', markup) == [
        "12"
    ]  # one wait of twelve starts, none of 252 jobs
    assert style["height"] == figure.layout.height
    assert "&lt;b&gt;" in figure.to_json().replace("\\u003c", "<").replace("\\u0026", "&")


def test_the_command_stars_quantiles_of_few_jobs() -> None:
    from dashboard.commands.strategies import _words

    said = _words("title with * in it", STRATEGIES.assign(total_mean_low_s=1.0, total_mean_high_s=2.0, gained_low_s=0.0,
                  gained_high_s=0.0, cold=0.5), BY_GPU, 2)  # fmt: skip
    assert re.search(r"cvmfs +12 +1 min\* +41 s", said)
    assert said.endswith("* of fewer than 30 jobs")
    many = _words(
        "title",
        STRATEGIES.assign(gained_low_s=0.0, gained_high_s=0.0, cold=0.5),
        BY_GPU.assign(starts=30.0),
        2,
    )
    assert "*" not in many


def test_a_strategies_run_compares_all_of_them(data: Data) -> None:
    """The engine behind the page: seven strategies on the record."""
    shares: list[float] = []
    result = execute(specs.strategies_spec(data), lambda share, _note: shares.append(share))
    assert len(result["strategies"]) == 7
    assert result["strategies"]["jobs"].nunique() == 1
    assert shares == sorted(shares)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_are_light_and_drawable(scheme: Scheme) -> None:
    frames = {name: containers.warming("new image", name) for name in ("as it is", "no squid")}
    counts = pd.DataFrame({"repository": ["oasis.opensciencegrid.org"], "available": [3], "machines": [8]})
    made = [
        figures.strategies(STRATEGIES, scheme),
        figures.hits(frames, scheme),
        figures.start_ups(frames, scheme),
        figures.moved(frames["as it is"], scheme),
        figures.publication(containers.publishing(), scheme),
        figures.repositories(counts, scheme),
    ]
    for figure in made:
        assert {trace.type for trace in figure.data} <= DRAWABLE
        assert len(gzip.compress(figure.to_json().encode())) < 20_000
        assert figure.layout.xaxis.title.text


def test_the_publication_curve_has_the_references_quantiles() -> None:
    """p10, p50, p90 of the large image: 26, 40, 54 minutes, within 10 %."""
    curve = containers.publishing()["CUDA image, 3 GB"]
    found = [float(curve["minute"][curve["share"] >= share].iloc[0]) for share in (0.1, 0.5, 0.9)]
    assert found == pytest.approx([26, 40, 54], rel=0.1)


def test_repositories_and_abilities_of_a_snapshot(data: Data) -> None:
    shown = containers.repositories_content(data, "light")
    assert "snapshot" in shown[1]
    assert "Apptainer" in text(containers.abilities_table(data))


def test_abilities_tell_docker_from_apptainer() -> None:
    slots = pd.DataFrame(
        {
            "site": ["A", "A", "B"], "machine": ["a", "b", "c"], "slot_type": "partitionable",
            "has_singularity": [True, True, False], "has_sif": [True, False, False], "has_sandbox_image": False,
            "has_docker_url": False, "has_docker": [False, False, True], "cvmfs": ["x_org", None, "x_org"],
        }
    )  # fmt: skip
    found = tables.count_abilities(slots, "x_org")
    columns = ["site", "machines", "has_singularity", "has_sif", "has_docker", "images"]
    assert found[columns].to_numpy().tolist() == [["A", 2, 2, 1, 0, 1], ["B", 1, 0, 0, 1, 1]]


@pytest.mark.parametrize("name", ["warm-up", "publication", "repositories", "abilities"])
def test_every_chart_has_its_csv(app: Dash, name: str) -> None:
    answer = app.server.test_client().get(f"/api/{name}.csv?event=new+site&variant=no+squid")
    assert answer.status_code == 200
    frame = pd.read_csv(io.BytesIO(answer.data))
    assert len(frame.columns) >= 3


def test_without_a_comparison_there_is_no_csv(app: Dash) -> None:
    assert app.server.test_client().get("/api/strategies.csv").status_code == 404
