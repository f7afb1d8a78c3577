"""Rounds of collecting: each asks every source once and writes one snapshot."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

import sim
from collectors.daemons import Daemons, address_of
from collectors.history import HistorySource
from collectors.negotiator import NegotiatorSource
from collectors.pool import PoolSource
from collectors.schedd import ScheddSource
from collectors.settings import SettingsSource
from collectors.source import Moment, Reading, Source
from collectors.submitters import SubmitterSource
from sim.errors import InputError, PoolscopeError, SourceError
from sim.inventory import located
from sim.store import Snapshot, Store, snapshot_id

FLOOR_S = 60.0  # a remote tool has no use for less than a negotiation period (fact sheet §6.4)
KNOWN_FOR = pd.Timedelta(days=2)  # how far back the host of an attempt is looked for


@dataclass(frozen=True)
class Round:
    """What a round did: the snapshot's id, and per source rows, seconds and error (a sentence or None).

    `counts` of devices (family, state), slots (type, state) and jobs (status) are the pool as it was seen.
    """

    snapshot: str
    sources: dict[str, dict[str, Any]]
    counts: Mapping[str, Mapping[tuple[str, ...], int]] = field(default_factory=dict)


def live_sources(
    pool: str | Sequence[str],
    *,
    schedds: Sequence[str] = (),
    extra: Sequence[str] = (),
    stop: threading.Event | None = None,
) -> list[Source]:
    """Every source of a live pool; the slots first, because without them there is no snapshot.

    Parameters
    ----------
    pool : HOST[:PORT] of the collector, or several, asked in this order until one answers
    schedds : names of those to ask; all that the collector knows if empty
    extra : attributes of slots that are asked in every round
    stop : when set, questions are given up
    """
    daemons = Daemons(pool, schedds=schedds, extra=extra, stop=stop)
    return [
        PoolSource(daemons),
        ScheddSource(daemons),
        HistorySource(daemons),
        NegotiatorSource(daemons),
        SubmitterSource(daemons),
        SettingsSource(daemons),
    ]


def collect_once(
    sources: Sequence[Source],
    store: Store,
    cursors: dict[str, Any] | None = None,
    *,
    at: pd.Timestamp | None = None,
    resting: Mapping[str, str] | None = None,
    change: Change | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Round:
    """Ask every source once and write a snapshot.

    Without `resting` the first source must answer: without slots nothing is written. Another's failure is noted and
    stops nobody.

    Parameters
    ----------
    cursors : where each source goes on from, brought up to date; as the store says, if not given
    at : the time of the round; now, if not given
    resting : sources that are left alone in this round, and why; with it no source is needed more than another
    change : of every frame before it is stored
    notes : what else the snapshot's record says

    Raises
    ------
    SourceError, InputError : the first source failed, or with `resting` every source
    StoreError : the store can't be written
    """
    cursors = stored_cursors(store) if cursors is None else cursors
    at = at if at is not None else pd.Timestamp.now(tz="UTC").floor("us")
    name = snapshot_id(at.to_pydatetime())
    frames: dict[str, list[pd.DataFrame]] = {}
    told: dict[str, dict[str, Any]] = {}
    reached: dict[str, Any] = {}
    failures: list[PoolscopeError] = []
    for place, source in enumerate(sources):
        began = time.monotonic()
        try:
            if resting and source.name in resting:
                raise SourceError(resting[source.name])
            moment = Moment(at, name, cursors.get(source.name), whole=change is not None)
            reading = source.read(moment)
        except PoolscopeError as error:
            if place == 0 and resting is None:
                raise
            failures.append(error)
            reading = Reading({}, errors=[str(error)])
        for kind, frame in reading.frames.items():
            frames.setdefault(kind, []).append(frame)
        told[source.name] = _told(reading, time.monotonic() - began)
        if reading.cursor is not None:
            reached[source.name] = reading.cursor
    if len(failures) == len(sources):
        raise failures[0]
    joined = {kind: pd.concat(parts, ignore_index=True) for kind, parts in frames.items()}
    if "attempts" in joined:
        joined["attempts"] = _with_devices(joined["attempts"], joined.get("devices"), store, at, change)
    if change:
        joined = {kind: change(frame) for kind, frame in joined.items()}
    meta = {"sources": told, "version": sim.__version__, "cursors": {**cursors, **reached}, **(notes or {})}
    store.append(Snapshot(name, at.to_pydatetime(), joined, meta))
    cursors.update(reached)
    return Round(
        name, told, {kind: _counted(joined[kind], by) for kind, by in _COUNTED.items() if kind in joined}
    )


_COUNTED = {"devices": ["family", "state"], "slots": ["slot_type", "state"], "jobs": ["status"]}


def _counted(frame: pd.DataFrame, by: list[str]) -> dict[tuple[str, ...], int]:
    counts = frame.groupby(by, dropna=False).size()
    return {key if isinstance(key, tuple) else (str(key),): int(n) for key, n in counts.items()}


Change = Callable[[pd.DataFrame], pd.DataFrame]


def _told(reading: Reading, seconds: float) -> dict[str, Any]:
    told: dict[str, Any] = {
        "rows": reading.rows,
        "seconds": round(seconds, 3),
        "error": "; ".join(reading.errors) or None,
    }
    if reading.rejects:
        told["rejects"] = dict(reading.rejects)
    if reading.gaps:
        told["gaps"] = reading.gaps
    return told


def _with_devices(
    attempts: pd.DataFrame,
    devices: pd.DataFrame | None,
    store: Store,
    at: pd.Timestamp,
    change: Change | None,
) -> pd.DataFrame:
    """Attempts with the model of their device: an epoch ad has its id alone, and its host may have gone since."""
    present = set() if devices is None else set(devices["machine"])
    gone = attempts[attempts["device_ids"].notna() & ~attempts["machine"].isin(present)]
    known = [] if devices is None else [devices]
    if not gone.empty:
        told = ["seen_at", "machine", "device_id", "site", "model", "capability"]
        before = store.read("devices", since=(at - KNOWN_FOR).to_pydatetime(), columns=told)
        if change:  # the store knows hosts by their pseudonyms
            names = dict(zip(change(gone)["machine"], gone["machine"], strict=True))
            before = before.assign(machine=before["machine"].map(names))
        known.insert(0, before[before["machine"].isin(set(gone["machine"]))])
    return located(attempts, pd.concat(known)) if known else attempts


def stored_cursors(store: Store) -> dict[str, Any]:
    """Where each source goes on from, as the store's last snapshot of a round says; nothing for an empty store."""
    for record in reversed(store.records().values()):
        told = record.meta.get("cursors")
        if isinstance(told, dict):
            return dict(told)
    return {}


def check_interval(every_s: float, pool: str, *, test_pool: bool) -> None:
    """Refuse to ask a pool more often than is polite; InputError says what is allowed."""
    if every_s <= 0:
        raise InputError(f"--every {every_s:g} s: expected a length of time such as 5m")
    if every_s >= FLOOR_S:
        return
    if not test_pool:
        raise InputError(
            f"--every {every_s:g} s: at least {FLOOR_S:g} s; a loopback pool may be asked more often with --test-pool"
        )
    host = address_of(pool).rpartition(":")[0].strip("[]")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InputError(
            f"--test-pool is for a pool on a loopback address such as 127.0.0.1:9618, found {host!r}"
        )
