"""What snapshots tell together: machines' sessions, supply and demand over time, waits.

Each is made of a store's frames on demand, an interval's worth of files at a time, so it is as fresh as the last
snapshot. `keep_day` writes supply and demand of a day, and every session's part in it, beside the frames they came from:
these small tables outlive the snapshots (`poolscope store prune` keeps them).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import pandas as pd

from sim.classads.matching import Kind, Matcher, Remainder, assigned_devices
from sim.errors import InputError
from sim.schema import conform, describe, empty
from sim.store import Store

INTERVAL = pd.Timedelta(hours=1)
_FLOORS = {
    "capability_floor": ("GPUsMinCapability", "Capability"),
    "device_memory_floor_mib": ("GPUsMinMemory", "GlobalMemoryMb"),
    "runtime_floor": ("GPUsMinRuntime", "MaxSupportedVersion"),
}
_CLASSES = re.compile(r'\b(?:JobDurationCategory|GPUJobLength) = "([^"\\]*)"', re.IGNORECASE)
_SILENCE_S = 60.0


# --- sessions


def sessions(store: Store, *, since: datetime | None = None, until: datetime | None = None) -> pd.DataFrame:
    """Give the lives of startds as the snapshots show them: frame "sessions", in order of arrival.

    A startd that was started anew, under whatever name, has a session of its own. Where the last snapshot of all still
    shows it, its end is unknown (right-censored); where the first one does, its beginning may be (left-censored).
    """
    told = store.query(
        _SESSIONS, {"since": since or _FIRST, "until": until or _LAST}, since=since, until=until
    )
    if told.empty:
        return empty("sessions")
    # a round in which the collector gave no slots is no evidence that they were gone
    rounds = store.query(
        _ROUNDS, {"since": since or _FIRST, "until": until or _LAST}, since=since, until=until
    )
    moments = pd.DatetimeIndex(pd.to_datetime(rounds["seen_at"], utc=True))
    return _ended(told, moments)


_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_ROUNDS = "SELECT DISTINCT seen_at FROM slots WHERE seen_at >= $since AND seen_at < $until ORDER BY seen_at"
_SESSIONS = """
WITH whole AS (
    SELECT *, split_part(name, '@', 1) AS slot, substr(name, strpos(name, '@') + 1) AS startd,
           coalesce(started_at, TIMESTAMPTZ '1970-01-01') AS life
    FROM slots
    WHERE slot_type IN ('partitionable', 'static') AND NOT backfill AND seen_at >= $since AND seen_at < $until
), heard AS (
    SELECT startd, machine, life, seen_at, max(heard_at) AS heard_at, max(site) AS site,
           sum(total_gpus) AS gpus, sum(total_cpus) AS cpus, sum(total_memory_mib) AS memory_mib,
           max(to_retire_at) AS to_retire_at, max(to_die_at) AS to_die_at
    FROM whole GROUP BY ALL
), gaps AS (
    SELECT *, date_diff('millisecond', lag(heard_at) OVER life_of, heard_at) / 1000.0 AS pause_s
    FROM heard WINDOW life_of AS (PARTITION BY startd, machine, life ORDER BY seen_at)
)
SELECT startd, machine, life, any_value(site) AS site,
       max(gpus)::BIGINT AS gpus, max(cpus) AS cpus, max(memory_mib) AS memory_mib,
       min(seen_at) AS first_seen_at, max(seen_at) AS last_seen_at, max(heard_at) AS heard_at,
       arg_max(to_retire_at, seen_at) AS to_retire_at, arg_max(to_die_at, seen_at) AS to_die_at,
       max(pause_s) AS longest_pause_s, count(*)::BIGINT AS snapshots
FROM gaps GROUP BY startd, machine, life
"""


def _ended(told: pd.DataFrame, moments: pd.DatetimeIndex) -> pd.DataFrame:
    frame = told.copy()
    for name in ("first_seen_at", "last_seen_at", "heard_at", "to_retire_at", "to_die_at", "life"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    before = _neighbour(moments, frame["first_seen_at"], -1)
    after = _neighbour(moments, frame["last_seen_at"], +1)
    own = frame["life"].where(frame["life"] > pd.Timestamp(0, tz="UTC"))
    second = pd.Timedelta(seconds=1)  # a DaemonStartTime is cut to the second
    exact = (own > before - second) & (own <= frame["first_seen_at"])
    frame["arrived_at"] = own.mask(own < before, before).where(exact, frame["first_seen_at"])
    frame["began"] = before.isna().map({True: "before", False: "seen"})
    silence_s = (frame["last_seen_at"] - frame["heard_at"]).dt.total_seconds()
    pause_s = frame["longest_pause_s"].where(
        frame["longest_pause_s"] > 0
    )  # unknown where only one ad was seen
    usual_s = (1.5 * pause_s.fillna(pause_s.median()).fillna(0.0)).clip(lower=_SILENCE_S)
    there = after.isna()
    expired = ~there & (frame["to_die_at"] < after)
    silent = ~there & ~expired & (silence_s > usual_s)
    half = frame["last_seen_at"] + (after - frame["last_seen_at"]) / 2
    frame["left_at"] = half.mask(silent, frame["heard_at"])
    frame["left_at"] = frame["left_at"].mask(
        expired & (frame["to_die_at"] > frame["last_seen_at"]), frame["to_die_at"]
    )
    frame["left_at"] = frame["left_at"].mask(there)
    frame["ended"] = "gone"
    frame.loc[there, "ended"] = "open"
    frame.loc[expired, "ended"] = "expired"
    frame.loc[silent, "ended"] = "silent"
    return conform(frame.sort_values(["arrived_at", "startd"]), "sessions")


def _neighbour(moments: pd.DatetimeIndex, times: pd.Series, step: int) -> pd.Series:
    """The snapshot before (-1) or after (+1) each time; missing at the ends."""
    places = moments.searchsorted(pd.DatetimeIndex(times), side="left" if step < 0 else "right")
    places = places - 1 if step < 0 else places
    found = [moments[int(place)] if 0 <= place < len(moments) else pd.NaT for place in places]
    return pd.to_datetime(pd.Series(found, index=times.index), utc=True)


def with_devices(told: pd.DataFrame, store: Store) -> pd.DataFrame:
    """Sessions with the model and capability of their first device."""
    devices = store.query(
        "SELECT machine, startd, any_value(model) AS model, any_value(capability) AS capability FROM devices "
        "WHERE NOT mig OR model IS NOT NULL GROUP BY machine, startd"
    )
    joined = told.drop(columns=["model", "capability"]).merge(devices, on=["machine", "startd"], how="left")
    return conform(joined, "sessions")


# --- supply


def supply(store: Store, *, since: datetime | None = None, until: datetime | None = None) -> pd.DataFrame:
    """Give the mean number of GPUs by hour, model, capability, site and state: frame "supply".

    A kind that was there in some of an hour's snapshots counts as none in the others.
    """
    told = store.query(_SUPPLY, {"since": since or _FIRST, "until": until or _LAST}, since=since, until=until)
    return conform(told, "supply") if len(told) else empty("supply")


_SUPPLY = """
WITH counted AS (
    SELECT date_trunc('hour', seen_at) AS begin_at, coalesce(family, 'unknown') AS family, capability, site, state, count(*) AS n
    FROM devices WHERE seen_at >= $since AND seen_at < $until GROUP BY ALL
), hours AS (
    SELECT date_trunc('hour', seen_at) AS begin_at, count(DISTINCT seen_at) AS snapshots
    FROM slots WHERE seen_at >= $since AND seen_at < $until GROUP BY ALL
)
SELECT begin_at, family, capability, site, state, n / snapshots AS gpus, snapshots
FROM counted JOIN hours USING (begin_at) ORDER BY begin_at, family, site, state
"""


# --- waits


def waits(store: Store) -> pd.DataFrame:
    """Give each job's waits: schedd, job_id, first_wait_s, total_wait_s, censored (it hasn't started, or waits still).

    First wait: from submission to the first execution's shadow start. Total wait: all times between being ready and
    starting, over all attempts. Neither holds time on hold: an attempt after a hold is ready when it was released, as far
    as that is known.
    """
    jobs, attempts = store.jobs(), store.attempts()
    own = attempts.assign(wait_s=(attempts["started_at"] - attempts["ready_at"]).dt.total_seconds())
    sums = own.groupby(["schedd", "job_id"]).agg(
        total_wait_s=("wait_s", "sum"), first_at=("started_at", "min"), last_at=("ended_at", "max")
    )
    frame = jobs[
        [
            "schedd",
            "job_id",
            "submitter",
            "submitted_at",
            "first_started_at",
            "status",
            "seen_at",
            "entered_status_at",
        ]
    ]
    frame = frame.merge(sums, left_on=["schedd", "job_id"], right_index=True, how="left")
    first = frame["first_started_at"].fillna(frame["first_at"])
    seen = frame["seen_at"].mask(
        frame["status"] == "removed", frame["entered_status_at"].fillna(frame["seen_at"])
    )
    frame["first_wait_s"] = (first.fillna(seen) - frame["submitted_at"]).dt.total_seconds().clip(lower=0)
    idle = frame["status"] == "idle"
    still_s = (
        (frame["seen_at"] - frame["last_at"].fillna(frame["submitted_at"])).dt.total_seconds().clip(lower=0)
    )
    total = frame["total_wait_s"].fillna(0.0) + still_s.where(idle, 0.0)
    frame["total_wait_s"] = total.where(frame["total_wait_s"].notna() | idle, frame["first_wait_s"])
    frame["censored"] = first.isna() | idle
    return frame[["schedd", "job_id", "submitter", "first_wait_s", "total_wait_s", "censored"]]


# --- demand


def demand(store: Store, *, since: datetime | None = None, until: datetime | None = None) -> pd.DataFrame:
    """Give what the queues asked for by hour and shape, with the GPU-hours that waited: frame "demand"."""
    jobs = store.query(_QUEUED, {"since": since or _FIRST, "until": until or _LAST}, since=since, until=until)
    jobs["ad"] = jobs["ad"].map(store.texts(set(jobs["ad"])))
    jobs = jobs[jobs["ad"].notna()].reset_index(drop=True)
    if jobs.empty:
        return empty("demand")
    hours = store.query(_HOURS, {"since": since or _FIRST, "until": until or _LAST}, since=since, until=until)
    shaped = pd.concat([shapes(jobs), jobs[["begin_at", "idle", "running"]]], axis=1)
    waiting = jobs["ad"][jobs["idle"] > 0].drop_duplicates()
    never = dict(zip(waiting, impossible(waiting, store, since, until), strict=True))
    shaped["impossible"] = jobs["idle"].where(jobs["ad"].map(never).fillna(value=False).astype(bool), 0)
    counted = shaped.groupby(["begin_at", *_SHAPE], dropna=False)[["idle", "running", "impossible"]].sum()
    frame = counted.reset_index().merge(hours, on="begin_at")
    share = frame["gpus"].astype(float) / frame["snapshots"]  # an hour's snapshots stand for an hour together
    frame["unmet_gpu_h"] = frame["idle"] * share
    frame["impossible_gpu_h"] = frame["impossible"] * share
    frame["running"] = frame["running"] / frame["snapshots"]
    frame["idle"] = frame["idle"] / frame["snapshots"]
    return conform(frame, "demand")


_QUEUED = """
SELECT date_trunc('hour', seen_at) AS begin_at, ad, any_value(require_gpus) AS require_gpus, any_value(image) AS image,
       any_value(request_gpus) AS request_gpus, any_value(request_cpus) AS request_cpus,
       any_value(request_memory_mib) AS request_memory_mib, any_value(request_disk_mib) AS request_disk_mib,
       count(*) FILTER (status = 'idle') AS idle, count(*) FILTER (status <> 'idle') AS running
FROM jobs WHERE status IN ('idle', 'running', 'transferring') AND seen_at >= $since AND seen_at < $until
GROUP BY ALL
"""
_HOURS = """
SELECT date_trunc('hour', seen_at) AS begin_at, count(DISTINCT snapshot) AS snapshots
FROM jobs WHERE seen_at >= $since AND seen_at < $until GROUP BY ALL
"""
_SHAPE = ["gpus", "cpus", "memory_mib", "disk_mib", *_FLOORS, "device_clause", "image", "duration_class"]


def shapes(jobs: pd.DataFrame) -> pd.DataFrame:
    """What each job of a frame asks for, in the columns of frame "demand"."""
    rows = [
        _shape(str(ad), None if pd.isna(picky) else str(picky))
        for ad, picky in zip(jobs["ad"], jobs["require_gpus"], strict=True)
    ]
    told = pd.DataFrame(rows, columns=[*_FLOORS, "device_clause", "duration_class"])
    for name, source in (("gpus", "request_gpus"), ("cpus", "request_cpus"), ("memory_mib", "request_memory_mib"),
                         ("disk_mib", "request_disk_mib"), ("image", "image")):  # fmt: skip
        told[name] = jobs[source].to_numpy()
    for name in _FLOORS:
        told[name] = told[name].astype("float64")
    return told


@lru_cache(maxsize=1 << 15)
def _shape(ad: str, picky: str | None) -> tuple[Any, ...]:
    floors: list[float | None] = []
    rest = picky
    for attribute, device in _FLOORS.values():
        told = re.search(rf"\b{attribute} = ([\d.]+)", ad)
        floor = float(told[1]) if told else None
        if rest is not None:
            written = re.search(rf"\b(?:TARGET\.)?{device} >=? ([\d.]+)", rest)
            if floor is None and written:
                floor = float(written[1])
            rest = re.sub(
                rf"\(*\s*(?:TARGET\.)?{device} >=? (?:[\d.]+|(?:MY\.)?{attribute})\s*\)*(?:\s*&&\s*)?",
                "",
                rest,
            )
        floors.append(floor)
    clause = (rest or "").strip().removesuffix("&&").strip() or None
    hit = _CLASSES.search(ad)
    return (*floors, clause, hit[1] if hit else "unknown")


def impossible(
    ads: pd.Series, store: Store, since: datetime | None = None, until: datetime | None = None
) -> list[bool]:
    """Tell for each job ad whether no slot seen in the interval, were it empty, could run such a job."""
    keys = store.query(
        "SELECT arg_max(snapshot, seen_at) AS snapshot, name FROM slots "
        "WHERE slot_type IN ('partitionable', 'static') AND seen_at >= $since AND seen_at < $until GROUP BY name",
        {"since": since or _FIRST, "until": until or _LAST},
        since=since,
        until=until,
    )
    parts = [store.read("slots", snapshot=name) for name in keys["snapshot"].unique()]
    slots = pd.concat(parts, ignore_index=True) if parts else empty("slots")
    return list(_never(list(ads), slots.merge(keys, on=["snapshot", "name"])))


def _never(ads: list[str], slots: pd.DataFrame) -> Iterable[bool]:
    matcher = Matcher(ads, list(dict.fromkeys(slots["ad"])))
    whole: dict[tuple[Any, ...], tuple[Kind, Remainder, float]] = {}
    for row in slots.itertuples():
        devices = assigned_devices(str(row.ad), shares=True)
        kind, kinds = matcher.kind(str(row.ad), [device.attribute for device in devices])
        amounts = (float(row.total_cpus), float(row.total_memory_mib), float(row.total_disk_mib))  # type: ignore[arg-type]
        seen = pd.Timestamp(row.seen_at).timestamp()  # type: ignore[arg-type]
        whole.setdefault((kind.id, amounts, kinds), (kind, Remainder(*amounts, kinds), seen))
    memo: dict[int, bool] = {}
    for ad in ads:
        cluster = matcher.autocluster(ad)
        if cluster.id not in memo:
            memo[cluster.id] = not any(
                matcher.fits(cluster, kind, left, now) for kind, left, now in whole.values()
            )
        yield memo[cluster.id]


# --- kept beside the frames they came from

DERIVED = {"supply": supply, "demand": demand, "sessions": sessions}


def keep_day(store: Store, day: str) -> None:
    """Write the derived tables of a day; InputError for a day that is none."""
    try:
        begin = datetime.fromisoformat(day).replace(tzinfo=UTC)
    except ValueError as error:
        raise InputError(f"{day!r} is no day; expected one such as 2026-11-24") from error
    for name, make in DERIVED.items():
        store.keep(name, day, make(store, since=begin, until=begin + timedelta(days=1)))


def kept(store: Store, name: str) -> pd.DataFrame:
    """A derived table over all days: what was kept, and what the snapshots of other days tell now."""
    if name not in DERIVED:
        raise InputError(f"no derived table is called {name!r}; there are {', '.join(DERIVED)}")
    parts, held = store.kept(name)
    for day in store.days():
        if day not in held:
            begin = datetime.fromisoformat(day).replace(tzinfo=UTC)
            parts.append(DERIVED[name](store, since=begin, until=begin + timedelta(days=1)))
    parts = [part for part in parts if len(part)]
    frame = pd.concat(parts, ignore_index=True) if parts else empty(name)
    return _joined_sessions(frame) if name == "sessions" and len(frame) else frame


def _joined_sessions(parts: pd.DataFrame) -> pd.DataFrame:
    """Sessions made of their parts in several days: one that was open at a day's end and there on the next goes on."""
    parts = parts.sort_values("first_seen_at", ignore_index=True)
    last = parts["last_seen_at"].max()
    key = ["startd", "machine"]
    again = parts.groupby(key)["ended"].shift().eq("open") & parts["began"].eq("before")
    number = (~again).groupby([parts["startd"], parts["machine"]]).cumsum()
    lives = parts.groupby([*key, number.rename("_life")], sort=False, dropna=False)
    joined = lives.last()
    for name, how in (
        ("arrived_at", "first"),
        ("began", "first"),
        ("first_seen_at", "min"),
        ("snapshots", "sum"),
    ):
        joined[name] = getattr(lives[name], how)()
    # open at a day's end, and not there the day after
    stale = joined["ended"].eq("open") & (joined["last_seen_at"] < last - INTERVAL)
    joined["left_at"] = joined["left_at"].mask(stale, joined["last_seen_at"])
    joined.loc[stale, "ended"] = "gone"
    first = parts["first_seen_at"].min()
    joined.loc[joined["first_seen_at"] > first, "began"] = "seen"
    columns = [column.name for column in describe("sessions")]
    return conform(joined.reset_index()[columns].sort_values(["arrived_at", "startd"]), "sessions")
