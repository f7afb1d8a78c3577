"""Downloads and readiness as plain routes: linkable, scriptable, streamed."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd
from dash import Dash
from flask import Response, abort, request

from dashboard import tables
from dashboard.data import Data
from dashboard.pages import containers
from dashboard.pages.requirements_state import Question
from dashboard.pages.requirements_tables import answer_tables
from dashboard.pages.waits import replayed
from dashboard.runs import Runs
from dashboard.spec import replay_spec, strategies_spec
from dashboard.tables import ALL
from sim.errors import PoolscopeError

Load = Callable[[], pd.DataFrame]


def register(app: Dash, data: Data, runs: Runs) -> None:
    """Add the routes to `app`."""
    loads: dict[str, Load] = {
        "devices-by-model": lambda: data.counts("model"),
        "devices-by-site": lambda: data.counts("site"),
        "supply": data.supply,
        "waits-by-class": lambda: _waits(data, runs),
        "strategies": lambda: _strategies(data, runs),
        "warm-up": _warm_up,
        "publication": _publication,
        "repositories": data.repositories,
        "abilities": data.abilities,
        "started": lambda: data.curve(request.args.get("class", ALL)[:200]),
    }

    def download(name: str) -> Response:
        load = loads.get(name)
        if load is None or data.is_empty():
            abort(404)
        return _csv(load(), name, data)

    def download_answer(name: str) -> Response:
        question = Question.parse(request.args.to_dict())
        try:
            answer = data.answer(
                question.expression, gpus=question.gpus, cpus=question.cpus, memory_mib=question.memory_mib
            )
        except PoolscopeError as error:
            return Response(f"{error}\n", status=400, mimetype="text/plain")
        frames = answer_tables(answer)
        if name not in frames:
            abort(404)
        return _csv(frames[name], name, data)

    prefix = app.config.routes_pathname_prefix
    app.server.add_url_rule(f"{prefix}api/<name>.csv", "download", download)
    app.server.add_url_rule(f"{prefix}api/requirements/<name>.csv", "download_answer", download_answer)


def _waits(data: Data, runs: Runs) -> pd.DataFrame:
    """Observed waits by class, beside the simulated ones if they are there already."""
    entry = runs.find(replay_spec(data))
    if entry is not None and entry.status == "done":
        return replayed(runs, entry.id, data.settings.class_by).waits
    return tables.compare_waits(data.waits(), None)


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


def _csv(frame: pd.DataFrame, name: str, data: Data) -> Response:
    stem = re.sub(r"[^A-Za-z0-9_-]", "-", f"poolscope-{name}-{data.coverage().snapshot}")
    headers = {"Content-Disposition": f'attachment; filename="{stem}.csv"'}
    return Response(frame.to_csv(index=False), mimetype="text/csv", headers=headers)
