"""Figures as pure functions: what they draw, in which units, how heavy they are."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dashboard import comparison, tables
from dashboard.figures import inventory, pool, requirements, theme, waits
from dashboard.figures.theme import DRAWABLE, STATES, Scheme
from sim.waits import survival
from tests.dashboard import synthetic

CLAUSES = pd.DataFrame(
    {"text": ["Memory<b && c>1", "Memory<b && c>1"], "gpus": [12, 3], "gained_if_dropped": [0, 8]}
)
LADDER = pd.DataFrame(
    {
        "rung": ["any capability", "Capability >= 8.0"],
        "gpus": [20, 8],
        "now": [11, 4],
        "lost": [np.nan, 12.0],
        "p50_s": [10.0, 50.0],
        "p50_low_s": [8.0, 40.0],
        "p50_high_s": [12.0, 70.0],
        "p90_s": [20.0, np.nan],
        "p90_low_s": [18.0, 90.0],
        "p90_high_s": [30.0, np.nan],
        "longest_s": [60.0, 1440.0],
        "n": [1200.0, 1200.0],
        "n_censored": [0.0, 300.0],
    }
)
MODELS = pd.DataFrame({"model": ["A100", "TITAN RTX"], "now": [1, 0], "drained": [8, 4], "seen": [8, 8]})


@pytest.fixture(scope="module")
def made() -> dict[str, Callable[[Scheme], Any]]:
    devices, jobs = synthetic.devices(), synthetic.jobs()
    now = devices[devices["snapshot"] == synthetic.snapshot(synthetic.N_SNAPSHOTS - 1)]
    observed = comparison.summarise(jobs, "ReqClass")
    both = tables.compare_waits(observed, comparison.summarise(synthetic.jobs(seed=12), "ReqClass"))
    curves = {
        waits.OBSERVED: comparison.curve(jobs),
        waits.SIMULATED: comparison.curve(synthetic.jobs(seed=12)),
    }
    return {
        "models": lambda scheme: pool.devices(tables.count_devices(now, "model"), "model", scheme),
        "sites": lambda scheme: pool.devices(tables.count_devices(now, "site"), "site", scheme),
        "supply": lambda scheme: pool.supply(tables.supply(synthetic.counted(devices)), scheme),
        "started": lambda scheme: waits.started(curves, scheme),
        "classes": lambda scheme: waits.by_class(both, scheme),
        "clauses": lambda scheme: requirements.clauses(CLAUSES, scheme),
        "ladder": lambda scheme: requirements.ladder(LADDER, scheme),
        "by_model": lambda scheme: requirements.by_model(MODELS, scheme),
    }


NAMES = ["models", "sites", "supply", "started", "classes", "clauses", "ladder", "by_model"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_the_vendored_bundle_can_draw_every_trace(
    name: str, scheme: Scheme, made: dict[str, Callable[[Scheme], Any]]
) -> None:
    figure = made[name](scheme)
    assert {trace.type for trace in figure.data} <= DRAWABLE
    assert len(figure.data) > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_light(name: str, made: dict[str, Callable[[Scheme], Any]]) -> None:
    assert len(gzip.compress(made[name]("light").to_json().encode())) < 20_000


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("models", "GPUs", None),
        ("supply", "time (UTC)", "GPUs"),
        ("started", "first wait (log scale)", "jobs started (%)"),
        ("classes", "first wait (log scale)", None),
        ("clauses", "GPUs", None),
    ],
)
def test_axes_carry_their_units(
    name: str, x: str, y: str | None, made: dict[str, Callable[[Scheme], Any]]
) -> None:
    layout = made[name]("light").layout
    assert layout.xaxis.title.text == x
    assert layout.yaxis.title.text == y


def test_the_schemes_differ_in_ink_not_in_numbers(made: dict[str, Callable[[Scheme], Any]]) -> None:
    light, dark = made["models"]("light"), made["models"]("dark")
    assert [list(trace.x) for trace in light.data] == [list(trace.x) for trace in dark.data]
    assert light.layout.template.layout.font.color != dark.layout.template.layout.font.color


def test_bars_add_up_to_the_devices(made: dict[str, Callable[[Scheme], Any]]) -> None:
    assert sum(sum(trace.x) for trace in made["models"]("light").data) == 29


def test_states_keep_their_order(made: dict[str, Callable[[Scheme], Any]]) -> None:
    drawn = [trace.name for trace in made["supply"]("light").data]
    order = [pool.STATE_WORDS[state] for state in STATES]
    assert drawn == sorted(drawn, key=order.index)


def test_an_expression_is_shown_as_it_is_written(made: dict[str, Callable[[Scheme], Any]]) -> None:
    texts = [note.text for note in made["clauses"]("light").layout.annotations]
    assert texts == ["Memory&lt;b &amp;&amp; c&gt;1"] * 2


def test_a_pause_of_the_collector_is_a_gap() -> None:
    devices = synthetic.devices()
    paused = devices[~devices["snapshot"].isin([synthetic.snapshot(n) for n in range(30, 50)])]
    groups = {
        trace.stackgroup for trace in pool.supply(tables.supply(synthetic.counted(paused)), "light").data
    }
    assert len(groups) == 2


def test_started_shares_rise_and_end_below_100_percent(made: dict[str, Callable[[Scheme], Any]]) -> None:
    line = next(trace for trace in made["started"]("light").data if trace.name == waits.OBSERVED)
    assert list(line.y) == sorted(line.y)
    assert 50 < line.y[-1] < 90


def test_thinning_keeps_the_curve_within_a_percent() -> None:
    rng = np.random.default_rng(1)
    curve = survival(pd.Series(rng.lognormal(5, 2, 50_000)), pd.Series(np.ones(50_000, bool)))
    thin = waits.thin(curve)
    assert len(thin) <= 280
    at = np.searchsorted(thin["wait_s"], curve["wait_s"], side="right") - 1
    lost = (curve["share_started"].to_numpy() - thin["share_started"].to_numpy()[at.clip(0)]).max()
    assert lost < 0.01


def test_the_ladder_has_waits_only_once_they_are_known() -> None:
    unknown = LADDER.assign(p50_s=np.nan, p90_s=np.nan, longest_s=np.nan, n=np.nan)
    assert [trace.type for trace in requirements.ladder(unknown, "light").data] == ["bar", "bar"]
    assert [trace.type for trace in requirements.ladder(LADDER, "light").data] == [
        "bar",
        "bar",
        "scatter",
        "scatter",
    ]


def test_the_ladder_shows_steps_intervals_and_what_the_record_is_too_short_for() -> None:
    """A cliff is named at its bar; a quantile that was never reached is a triangle at the longest wait seen."""
    figure = requirements.ladder(LADDER, "light")
    assert list(figure.data[0].text) == ["\N{MINUS SIGN}12 cliff", ""]  # from the bottom up
    p90 = next(trace for trace in figure.data if trace.name == "p90 wait")
    assert list(p90.x) == [1440.0, 20.0]
    assert list(p90.marker.symbol) == ["triangle-right", "diamond"]
    assert list(p90.error_x.array) == [0.0, 10.0]
    assert list(p90.error_x.arrayminus) == [1350.0, 2.0]
    assert p90.customdata[0][1] == "&gt; 24 min (1 min 30 to &gt; 24 min)"
    assert p90.customdata[0][2:] == ["1,200", "25 %"]
    flat = requirements.ladder(LADDER.assign(lost=[np.nan, 0.0]), "light")
    assert flat.data[0].text[0] == "flat"


def test_p90_comes_before_p50_in_the_ladder() -> None:
    names = [trace.name for trace in requirements.ladder(LADDER, "light").data]
    assert names.index("p90 wait") < names.index("p50 wait")


def test_a_class_that_never_started_shows_a_triangle_at_the_end_of_the_record() -> None:
    jobs = synthetic.jobs()
    row = tables.compare_waits(comparison.summarise(jobs, "ReqClass"), None).query("group == 'old attribute'")
    marks = {
        trace.marker.symbol: list(trace.x)
        for trace in waits.by_class(row, "light").data
        if trace.mode == "markers"
    }
    assert np.isnan(marks["diamond"][0])
    assert marks["triangle-right-open"][0] == pytest.approx(row["longest_s"].iloc[0])


@pytest.mark.parametrize(("low", "high"), [(1, 20), (2, 90), (5, 4000), (100, 10**6), (30, 31)])
def test_an_axis_of_durations_has_ticks_that_fit(low: float, high: float) -> None:
    axis: Any = theme.duration_axis(low, high, "wait")
    start, end = (10**edge for edge in axis["range"])
    assert start <= low < high <= end
    assert len([tick for tick in axis["tickvals"] if start <= tick <= end]) >= 2
    assert len(axis["ticktext"]) == len(axis["tickvals"])


MANY = pd.DataFrame(
    {
        "site": [f"site {n}" for n in range(300)],
        **{state: [0] * 300 for state in STATES},
        "free": [n + 1 for n in range(300)],
        "gpus": [n + 1 for n in range(300)],
    }
)


def test_the_small_ones_of_many_rows_share_one_at_the_bottom() -> None:
    figure = pool.devices(MANY, "site", "light", most=10)
    names = [note.text for note in figure.layout.annotations]
    assert names[0] == f"291 other sites: {sum(range(1, 292)):,} GPUs, {sum(range(1, 292)):,} free"
    assert names[1:] == [f"site {n}" for n in range(291, 300)]
    # A bar of 42,486 beside one of 300 would leave nothing to see.
    assert list(figure.data[0].x) == [0, *range(292, 301)]
    few = pool.devices(MANY.tail(11).assign(free=1, gpus=1), "site", "light", most=11)
    assert [note.text for note in few.layout.annotations] == [f"site {n}" for n in range(289, 300)]


def test_others_that_fit_the_axis_have_a_bar() -> None:
    figure = pool.devices(
        MANY.tail(11).assign(free=[1] * 8 + [9] * 3, gpus=[1] * 8 + [9] * 3), "site", "light", most=4
    )
    assert figure.layout.annotations[0].text == "8 other sites"
    assert list(figure.data[0].x) == [8, 9, 9, 9]


def test_of_many_classes_the_most_frequent_are_drawn() -> None:
    summary = comparison.summarise(synthetic.jobs(), "ReqClass")
    row = summary[summary["group"] == "any GPU"]
    many = pd.concat([summary, *(row.assign(group=f"rare {n}", n=1) for n in range(100))], ignore_index=True)
    figure = waits.by_class(tables.compare_waits(many, None), "light")
    drawn = [note.text.partition(" <span")[0] for note in figure.layout.annotations]
    assert len(drawn) == theme.MOST_ROWS + len(waits.TOTALS)
    assert {str(group) for group in summary["group"]} <= set(drawn)


def test_the_colours_of_the_heatmap_begin_at_no_free_gpu() -> None:
    frame = pd.DataFrame(
        {
            "model": ["A40"] * 24,
            "capability": 8.6,
            "hour": range(24),
            "free": np.linspace(117, 123, 24),
            "gpus": 400.0,
        }
    )
    cells = inventory.free_by_hour(frame, "light").data[0]
    assert (cells.zmin, cells.zmax) == (0, 123.0)
    models = pd.concat([frame.assign(model=f"m{n:03d}", gpus=float(n)) for n in range(100)])
    rows = list(inventory.free_by_hour(models, "light").data[0].y)
    assert rows[0] == "77 other models"
    assert len(rows) == inventory.MOST_MODELS
