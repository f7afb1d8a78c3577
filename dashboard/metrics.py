"""What a monitor asks: `/readyz` whether pages can be shown and runs made, `/metrics` in Prometheus' text format."""

from __future__ import annotations

import json
from collections.abc import Iterable

from dash import Dash
from flask import Response

import sim
from dashboard import tables
from dashboard.data import Data
from dashboard.figures.theme import STATES
from dashboard.runs import LIVE, Runs
from sim.errors import PoolscopeError
from sim.units import format_duration

STATUSES = (*LIVE, "done", "failed", "cancelled")
#: A live store is ready while its last snapshot is at most this many refreshes old.
STALE_AFTER = 12


def register(app: Dash, data: Data, runs: Runs) -> None:
    """Add both routes to `app`."""

    def ready() -> Response:
        found = state(data, runs)
        good = all(value is True for value in found.values())
        return Response(
            json.dumps({"ready": good, **found}), 200 if good else 503, mimetype="application/json"
        )

    def metrics() -> Response:
        return Response("".join(lines(data, runs)), mimetype="text/plain; version=0.0.4")

    prefix = app.config.routes_pathname_prefix
    app.server.add_url_rule(f"{prefix}readyz", "readyz", ready)
    app.server.add_url_rule(f"{prefix}metrics", "metrics", metrics)


def state(data: Data, runs: Runs) -> dict[str, object]:
    """Each condition: True, or the sentence that says what is wrong."""
    found: dict[str, object] = {"store": True, "fresh": True, "runs": True, "workers": True}
    if data.loading:
        return {**found, "store": "the first snapshot is being loaded"}
    try:
        data.coverage()
        age, limit = data.age_s(), STALE_AFTER * data.settings.refresh_s
        if age > limit:
            found["fresh"] = f"the last snapshot is {format_duration(age)} old: is the collector running?"
        if age < 0:
            found["fresh"] = (
                f"the last snapshot is of a time {format_duration(-age)} ahead: a clock is or was wrong"
            )
    except PoolscopeError as error:
        found["store"] = str(error)
    try:
        runs.counts()
        if not runs.workers():
            found["workers"] = "no worker has given a sign of life: runs wait until one is started"
    except (PoolscopeError, OSError) as error:
        found["runs"] = str(error)
    return found


def lines(data: Data, runs: Runs) -> Iterable[str]:
    """The metrics, line by line; what can't be read is left out rather than told wrongly."""
    yield from _metric(
        "poolscope_info", "gauge", "Version of poolscope.", [(f'version="{sim.__version__}"', 1)]
    )
    try:
        coverage, devices = data.coverage(), data.devices()
        yield from _metric(
            "poolscope_snapshot_age_seconds", "gauge", "Age of the latest snapshot.", [("", data.age_s())]
        )
        yield from _metric(
            "poolscope_snapshots",
            "gauge",
            "Snapshots in the window of the pages.",
            [("", coverage.n_snapshots)],
        )
        counts = devices["state"].value_counts()
        yield from _metric(
            "poolscope_gpus",
            "gauge",
            "GPUs by state, each device once.",
            [(f'state="{s}"', int(counts.get(s, 0))) for s in STATES],
        )
        jobs = data.jobs()
        waiting = jobs[tables.waiting(jobs).to_numpy()]
        yield from _metric(
            "poolscope_jobs_waiting", "gauge", "Idle jobs of the window.",
            [('gpu="yes"', int((waiting["request_gpus"] > 0).sum())), ('gpu="no"', int((waiting["request_gpus"] == 0).sum()))],
        )  # fmt: skip
    except PoolscopeError:
        pass
    try:
        counted = runs.counts()
        yield from _metric(
            "poolscope_runs",
            "gauge",
            "Runs in the table by status.",
            [(f'status="{s}"', counted.get(s, 0)) for s in STATUSES],
        )
        yield from _metric(
            "poolscope_workers", "gauge", "Workers with a recent sign of life.", [("", runs.workers())]
        )
    except (PoolscopeError, OSError):
        pass


def _metric(name: str, kind: str, meaning: str, values: list[tuple[str, float]]) -> Iterable[str]:
    yield f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"
    for labels, value in values:
        yield f"{name}{{{labels}}} {value:g}\n" if labels else f"{name} {value:g}\n"
