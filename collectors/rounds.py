"""Rounds of collecting: each asks every source once and writes one snapshot."""

from __future__ import annotations

import ipaddress
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from sim.errors import InputError, PoolscopeError, SourceError
from sim.inventory import located
from sim.store import Snapshot, Store, snapshot_id

FLOOR_S = 60.0  # a remote tool has no use for less than a negotiation period (fact sheet §6.4)
JITTER = 0.1
KNOWN_FOR = pd.Timedelta(days=2)  # how far back the host of an attempt is looked for


@dataclass(frozen=True)
class Round:
    """What a round did: the snapshot's id, and per source rows, seconds and error (a sentence or None)."""

    snapshot: str
    sources: dict[str, dict[str, Any]]


def live_sources(pool: str) -> list[Source]:
    """Every source of a live pool; the slots first, because without them there is no snapshot."""
    daemons = Daemons(pool)
    return [
        PoolSource(daemons),
        ScheddSource(daemons),
        HistorySource(daemons),
        NegotiatorSource(daemons),
        SettingsSource(daemons),
    ]


def collect_once(sources: Sequence[Source], store: Store, cursors: dict[str, Any] | None = None) -> Round:
    """Ask every source once and write a snapshot.

    The first source must answer: without slots nothing is written. Another's failure is noted and stops nobody.

    cursors : where each source goes on from, brought up to date; as the store's last snapshot says, if not given

    Raises
    ------
    SourceError, InputError : the first source failed
    StoreError : the store can't be written
    """
    cursors = stored_cursors(store) if cursors is None else cursors
    at = pd.Timestamp.now(tz="UTC").floor("us")
    name = snapshot_id(at.to_pydatetime())
    frames: dict[str, list[pd.DataFrame]] = {}
    told: dict[str, dict[str, Any]] = {}
    reached: dict[str, Any] = {}
    for place, source in enumerate(sources):
        began = time.monotonic()
        try:
            reading = source.read(Moment(at, name, cursors.get(source.name)))
        except PoolscopeError as error:
            if place == 0:
                raise
            reading = Reading({}, errors=[str(error)])
        for kind, frame in reading.frames.items():
            frames.setdefault(kind, []).append(frame)
        told[source.name] = {
            "rows": reading.rows,
            "seconds": round(time.monotonic() - began, 3),
            "error": "; ".join(reading.errors) or None,
        }
        if reading.rejects:
            told[source.name]["rejects"] = dict(reading.rejects)
        if reading.cursor is not None:
            reached[source.name] = reading.cursor
    joined = {kind: pd.concat(parts, ignore_index=True) for kind, parts in frames.items()}
    if "attempts" in joined and "devices" in joined:
        joined["attempts"] = _with_devices(joined["attempts"], joined["devices"], store, at)
    meta = {"sources": told, "version": sim.__version__, "cursors": {**cursors, **reached}}
    store.append(Snapshot(name, at.to_pydatetime(), joined, meta))
    cursors.update(reached)
    return Round(name, told)


def _with_devices(
    attempts: pd.DataFrame, devices: pd.DataFrame, store: Store, at: pd.Timestamp
) -> pd.DataFrame:
    """Attempts with the model of their device: an epoch ad has its id alone, and its host may have gone since."""
    present = set(devices["machine"])
    gone = attempts[attempts["device_ids"].notna() & ~attempts["machine"].isin(present)]
    if not gone.empty:
        before = store.read("devices", since=(at - KNOWN_FOR).to_pydatetime())
        devices = pd.concat([before[before["machine"].isin(set(gone["machine"]))], devices])
    return located(attempts, devices)


def stored_cursors(store: Store) -> dict[str, Any]:
    """Where each source goes on from, as the store's last snapshot says; nothing for an empty store."""
    known = store.snapshots()
    told = {} if known.empty else known["meta"].iloc[-1].get("cursors")
    return dict(told) if isinstance(told, dict) else {}


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


def collect_every(
    sources: Sequence[Source],
    store: Store,
    every_s: float,
    *,
    stop: threading.Event,
    tell: Callable[[Round | PoolscopeError], None],
    jitter: float = JITTER,
) -> None:
    """Collect until `stop` is set; the write in hand is finished. A round that fails is told and the next one tried.

    every_s : from start to start [s]
    jitter : share of `every_s` by which a start may be late [1]
    """
    due, cursors = time.monotonic(), stored_cursors(store)
    while not stop.is_set():
        try:
            tell(collect_once(sources, store, cursors))
        except (SourceError, InputError) as error:
            tell(error)
        due = max(due + every_s, time.monotonic())
        stop.wait(due - time.monotonic() + random.uniform(0, jitter * every_s))  # noqa: S311  politeness, no secret
