"""poolscope check: whether the evaluator, the store, the collector's sources and the pool are well."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
import pandas as pd

from dashboard.commands.options import data_to_write, print_json, shared, wants_json
from sim.errors import PoolscopeError
from sim.units import format_duration

#: Two clocks differ by less than this if both are right [s].
_SKEW_S = 300.0


@click.command()
@click.option("--pool", help="HOST[:PORT] of a collector to reach; commas between several.")
@shared
def check(pool: str | None, data: Path | None, as_json: bool) -> None:
    """Say the age and health of each source; exit 3 if one is not well, 2 if the store isn't."""
    path = data_to_write(data)
    told: dict[str, Any] = {"evaluator": _evaluator(), "store": _store(path), "collector": _collector(path)}
    if pool:
        told["pool"] = _pool(pool)
    if wants_json(as_json):
        print_json(told)
    else:
        _print(told)
    if told["evaluator"]["error"]:
        sys.exit(1)
    if told["store"]["error"]:
        sys.exit(2)
    if not told["collector"].get("healthy", True) or told.get("pool", {}).get("error"):
        sys.exit(3)


def _evaluator() -> dict[str, Any]:
    """A match that comes out wrong wherever classad2 was loaded without htcondor2."""
    from sim.classads.ads import parse_one

    slot = parse_one(
        '[ MyType = "Machine"; Requirements = true; AvailableGPUs = { GPUs_GPU_1 }; Has = "a,b";'
        " GPUs_GPU_1 = [ Capability = 8.0 ] ]"
    )
    job = parse_one(
        "[ RequireGPUs = Capability >= 7.5; Requirements ="
        ' countMatches(MY.RequireGPUs, TARGET.AvailableGPUs) >= 1 && stringListMember("b", Has) ]'
    )
    good = bool(slot.symmetricMatch(job))
    return {"error": None if good else "ClassAds are evaluated wrongly; import htcondor2 before classad2"}


def _store(path: Path) -> dict[str, Any]:
    from sim.store import Store

    held = Store(path)
    records = list(held.records().values())
    there = path.is_dir()
    error = None
    if there and not os.access(path, os.R_OK | os.X_OK):
        error = f"{path}: can't be read; check permissions"
    elif held.problems:
        error = f"{len(held.problems)} damaged files; see poolscope store verify"
    return {
        "path": str(path),
        "snapshots": len(records),
        "age_s": (_now() - records[-1].taken_at).total_seconds() if records else None,
        "writable": os.access(path if there else path.parent, os.W_OK),
        "error": error,
    }


def _collector(path: Path) -> dict[str, Any]:
    from collectors.daemon import check_status

    try:
        return check_status(path, _now())
    except PoolscopeError as error:
        return {"healthy": False, "running": False, "error": str(error), "sources": {}}


def _pool(pool: str) -> dict[str, Any]:
    from collectors.daemons import Daemons

    daemons = Daemons(pool)
    try:
        found = {kind: len(daemons.locations(kind)) for kind in ("negotiator", "schedd", "collector")}
    except PoolscopeError as error:
        return {"error": str(error)}
    finally:
        daemons.close()
    return {"error": None, "daemons": found}


def _now() -> pd.Timestamp:
    return pd.Timestamp.now(tz="UTC")


def _age(age_s: float | None) -> str:
    """How old the last snapshot is; the clock of who took it may have been wrong."""
    if age_s is None:
        return ""
    if age_s < -_SKEW_S:
        return f", the last of a time {format_duration(-age_s)} ahead: the clock here, or of who took it, is wrong"
    return f", the last {format_duration(max(age_s, 0.0))} old"


def _print(told: dict[str, Any]) -> None:
    click.echo(f"evaluator: {told['evaluator']['error'] or 'well'}")
    store = told["store"]
    n = store["snapshots"]
    click.echo(
        f"store {store['path']}: {store['error'] or 'well'}, {n} snapshot{'s' * (n != 1)}{_age(store['age_s'])}"
    )
    collector = told["collector"]
    if not collector["sources"]:
        click.echo(f"collector: {collector.get('error') or 'none has worked on this store'}")
    else:
        state = "at work" if collector["running"] else "not at work"
        click.echo(f"collector: {state}, last round {collector['last_round_age_s']:.0f} s ago")
    for name, held in collector["sources"].items():
        age = "never answered" if held["age_s"] is None else f"{held['age_s']:.0f} s old"
        click.echo(f"  {name}: {held['health']}, {age}{'; ' + held['error'] if held['error'] else ''}")
    if "pool" in told:
        click.echo(f"pool: {told['pool']['error'] or told['pool']['daemons']}")
