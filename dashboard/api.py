"""Downloads, readiness and metrics as plain routes: linkable and scriptable; nothing here changes anything."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from dash import Dash
from flask import Response, abort, request

from dashboard import metrics, tables
from dashboard.data import Data
from dashboard.pages import containers
from dashboard.pages import window as windows
from dashboard.pages.requirements_state import Question
from dashboard.pages.requirements_tables import answer_tables
from dashboard.pages.scenario_comparison import compare, means_of
from dashboard.pages.scenario_draft import parse_compared
from dashboard.pages.waits import replayed
from dashboard.reports.archive import Archive
from dashboard.reports.text import guarded
from dashboard.runs import Entry, Runs
from dashboard.spec import replay_spec, strategies_spec
from dashboard.tables import ALL
from dashboard.validate import text
from sim.errors import PoolscopeError

Load = Callable[[], pd.DataFrame]

FORMATS = ("csv", "json")
_KINDS = {
    ".html": "text/html",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".csv": "text/csv",
    ".md": "text/markdown",
}
_HTML_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; sandbox allow-scripts"


def register(app: Dash, data: Data, runs: Runs) -> None:
    """Add the routes to `app`."""
    loads: dict[str, Load] = {
        "devices-by-model": lambda: _asked(data).counts("model"),
        "devices-by-site": lambda: _asked(data).counts("site"),
        "devices": lambda: _asked(data).devices(),
        "supply": lambda: windows.over(_asked(data), request.args.get("win")).supply(),
        "waits-by-class": lambda: _waits(_asked(data), runs),
        "started": lambda: _asked(data).curve(text(request.args.get("class", ALL), "class")),
        "free-by-hour": lambda: _asked(data).free_by_hour(),
        "sources": lambda: tables.sources(data.snapshots()),
        "strategies": lambda: _strategies(data, runs),
        "warm-up": _warm_up,
        "publication": _publication,
        "repositories": data.repositories,
        "abilities": data.abilities,
    }

    def download(name: str, kind: str) -> Response:
        load = loads.get(name)
        if load is None or kind not in FORMATS or data.is_empty():
            abort(404)
        return _table(load(), name, _asked(data).coverage().snapshot, kind)

    def download_answer(name: str, kind: str) -> Response:
        question = Question.parse(request.args.to_dict())
        answer = data.answer(
            question.expression, gpus=question.gpus, cpus=question.cpus, memory_mib=question.memory_mib
        )
        frames = answer_tables(answer)
        if name not in frames or kind not in FORMATS:
            abort(404)
        return _table(frames[name], name, data.coverage().snapshot, kind)

    def report_file(kind: str, period: str, name: str) -> Response:
        folder = data.settings.reports
        found = Archive(folder).file(kind, period, name) if folder is not None else None
        if found is None:
            abort(404)
        answer = Response(found.read_bytes(), mimetype=_KINDS.get(found.suffix, "application/octet-stream"))
        if found.suffix not in {".html", ".pdf", ".png"}:
            answer.headers["Content-Disposition"] = f'attachment; filename="{found.name}"'
        if found.suffix == ".html":
            # The report brings its own scripts; a sandbox keeps them away from the dashboard's origin.
            answer.headers["X-Own-Policy"] = _HTML_POLICY
        return answer

    def wrong(error: PoolscopeError) -> Response:
        return Response(f"{error}\n", status=400, mimetype="text/plain")

    prefix = app.config.routes_pathname_prefix
    server = app.server
    server.register_error_handler(PoolscopeError, wrong)
    server.add_url_rule(f"{prefix}api/<name>.<kind>", "download", download)
    server.add_url_rule(f"{prefix}api/requirements/<name>.<kind>", "download_answer", download_answer)
    server.add_url_rule(f"{prefix}reports/<kind>/<period>/<name>", "report_file", report_file)
    _register_runs(app, runs)
    metrics.register(app, data, runs)


def _register_runs(app: Dash, runs: Runs) -> None:
    """The routes of runs and of comparisons."""

    def compared(kind: str) -> Response:
        names = parse_compared(request.args.to_dict())
        what = "compare" if request.path.rpartition("/")[2].startswith("compare") else "scenarios"
        frame = compare(runs, names) if what == "compare" else means_of(runs, names)
        if frame.empty or kind not in FORMATS:
            abort(404)
        return _table(frame, what, "-".join(names), kind)

    def download_run(name: str) -> Response:
        entry = _known(runs, name)
        told = _told(entry)
        if entry.status == "done":
            told |= {"summary": runs.summary(name), "tables": runs.tables(name)}
        return _json(told)

    def download_run_table(name: str, frame: str, kind: str) -> Response:
        entry = _known(runs, name)
        if entry.status != "done" or frame not in runs.tables(name) or kind not in FORMATS:
            abort(404)
        return _table(runs.frame(name, frame), frame, name, kind)

    prefix = app.config.routes_pathname_prefix
    server = app.server
    server.add_url_rule(f"{prefix}api/compare.<kind>", "compared", compared)
    server.add_url_rule(f"{prefix}api/scenarios.<kind>", "scenario_means", compared)
    server.add_url_rule(f"{prefix}api/runs/<name>.json", "download_run", download_run)
    server.add_url_rule(f"{prefix}api/runs/<name>/<frame>.<kind>", "download_run_table", download_run_table)


def _asked(data: Data) -> Data:
    """The data of the days in the address, if there are some."""
    window = windows.parse_span(request.args.to_dict())
    return windows.pinned(data, request.query_string.decode()) if window is None else data.over(window)


def _known(runs: Runs, name: str) -> Entry:
    entry = runs.get(name)
    if entry is None:
        abort(404)
    return entry


def _told(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id, "status": entry.status, "fraction": entry.fraction, "note": entry.note, "spec": entry.spec,
        "model": entry.model, "asked_at": entry.asked_at, "started_at": entry.started_at, "ended_at": entry.ended_at,
    }  # fmt: skip


def _waits(data: Data, runs: Runs) -> pd.DataFrame:
    """Observed waits by class, beside the simulated ones if they are there already."""
    entry = None if data.window else runs.find(replay_spec(data))
    if entry is not None and entry.status == "done":
        return replayed(runs, entry.id, data.settings.class_by).waits
    return tables.compare_waits(data.waits(), None)


def _table(frame: pd.DataFrame, name: str, source: str, kind: str) -> Response:
    stem = re.sub(r"[^A-Za-z0-9_-]", "-", f"poolscope-{name}-{source}")
    headers = {"Content-Disposition": f'attachment; filename="{stem}.{kind}"'}
    if kind == "csv":
        return Response(guarded(frame).to_csv(index=False), mimetype="text/csv", headers=headers)
    rows = frame.to_json(orient="records", date_format="iso", date_unit="us")
    return Response(rows, mimetype="application/json", headers=headers)


def _json(told: Mapping[str, Any]) -> Response:
    return Response(json.dumps(told, default=str), mimetype="application/json")


def _strategies(data: Data, runs: Runs) -> pd.DataFrame:
    """The strategies side by side, if they were compared; else nothing there (404)."""
    entry = runs.find(strategies_spec(data))
    if entry is None or entry.status != "done":
        abort(404)
    return runs.frame(entry.id, "strategies")


def _warm_up() -> pd.DataFrame:
    """The warm-up of both variants that the page shows."""
    event, variant = containers.chosen(request.args.get("event"), request.args.get("variant"))
    parts = [containers.warming(event, name).assign(variant=name) for name in (containers.BASE, variant)]
    return pd.concat(parts, ignore_index=True)


def _publication() -> pd.DataFrame:
    """The chance of being visible by image size and minute."""
    return pd.concat([curve.assign(image=name) for name, curve in containers.publishing().items()])
