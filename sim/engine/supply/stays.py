"""What machines there are and when: from snapshots of slot ads to sessions (design §5).

A session is one stay of one startd. Glideins that come back carry a new startd name; a host that restarts keeps its name,
but its startd has a new start.
"""

from __future__ import annotations

import itertools
import math
import re
from statistics import median
from typing import NamedTuple

import pandas as pd

from sim.classads.editing import changed
from sim.engine.entities import AGAIN, SLOT
from sim.errors import InputError

_BUSY = ("Claimed", "Matched", "Preempting")
_READS_STATE = re.compile(r"\b(?:State|Activity)\b", re.IGNORECASE)
_CLOCK_MIN = re.compile(r"\bClockMin = (\d+)", re.IGNORECASE)
_CLOCK_DAY = re.compile(r"\bClockDay = (\d)", re.IGNORECASE)
ARRIVAL_S = 5.0  # from the start of a startd to its first ad: 4.3-6.5 s (real-pool facts §1)


class Stay(NamedTuple):
    """A machine's stay as the snapshots tell it; times are Unix seconds, infinity if still there.

    name : of its startd: what follows the first @ of its slots' names
    ad : text of its partitionable or static slot ad; a startd with several has a stay for each
    ending : quit, kill or open
    born : when its startd started, if that is known
    slot : what that slot is called on its startd
    """

    name: str
    machine: str
    site: str
    ad: str
    cpus: float
    memory_mib: float
    disk_mib: float
    up: float
    down: float
    retire: float
    die: float
    ending: str
    born: float = -math.inf
    slot: str = SLOT


def recorded_stays(slots: pd.DataFrame, taken: list[float] | None = None) -> list[Stay]:
    """The stays that snapshots show.

    Parameters
    ----------
    slots : frame "slots" of several snapshots
    taken : Unix times of all snapshots, also those without slots; by default those in `slots`

    A stay begins with the startd's own start if that lies between two snapshots. It ends half-way between the last
    snapshot that shows it and the next, or at GLIDEIN_ToDie if that lies between them. A machine that is listed but
    silent for longer than it was before, or than others are where only one of its ads was seen, was killed: its ad outlives it.
    """
    whole = slots[
        slots["slot_type"].isin(["partitionable", "static"]) & ~slots["offline"] & ~slots["backfill"]
    ]
    if whole.empty:
        raise InputError(
            "the snapshots hold no partitionable or static slot; collect from a pool with startds first"
        )
    moments = sorted(set(taken or []) | set(_unix(whole["seen_at"])))
    lives = [(str(name), _lives(rows)) for name, rows in whole.groupby("name", sort=True)]
    pauses = [
        longest for _, parts in lives for rows in parts if (longest := _longest_pause(rows)) is not None
    ]
    usual_s = median(pauses) if pauses else 0.0
    return [
        stay
        for name, parts in lives
        for stay in _numbered([_stay(name, rows, moments, usual_s) for rows in parts])
    ]


def _lives(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of one name, cut where another startd of that name begins."""
    rows = rows.sort_values("seen_at")
    begins = rows["started_at"].ffill()
    number = (begins.notna() & (begins != begins.shift()) & begins.shift().notna()).cumsum()
    return [part for _, part in rows.groupby(number)]


def _numbered(stays: list[Stay]) -> list[Stay]:
    """Stays of one name: each that another follows ends before it, and has a name of its own."""
    for place, (stay, following) in enumerate(itertools.pairwise(stays), start=1):
        down = min(stay.down, following.born if math.isfinite(following.born) else following.up)
        stays[place - 1] = stay._replace(
            name=f"{stay.name}{AGAIN}{place}",
            down=down,
            ending="quit" if stay.ending == "open" else stay.ending,
        )
    return stays


def fixed_stays(slots: pd.DataFrame) -> list[Stay]:
    """The machines of the last snapshot, there from the beginning and for ever."""
    last = slots[slots["seen_at"] == slots["seen_at"].max()]
    return [
        stay._replace(up=-math.inf, down=math.inf, retire=math.inf, die=math.inf, ending="open")
        for stay in recorded_stays(last)
    ]


def _stay(name: str, rows: pd.DataFrame, moments: list[float], usual_s: float) -> Stay:
    rows = rows.sort_values("seen_at")
    first, last = rows.iloc[0], rows.iloc[-1]
    seen = _unix(rows["seen_at"])
    slot, _, startd = name.partition("@") if "@" in name else (SLOT, "", name)
    before = max((moment for moment in moments if moment < seen[0]), default=-math.inf)
    after = min((moment for moment in moments if moment > seen[-1]), default=math.inf)
    started = _second(first["started_at"], -math.inf) + ARRIVAL_S
    up = started if before < started <= seen[0] else seen[0]
    if before == -math.inf:
        up = -math.inf
    retire, die = _second(last["to_retire_at"], math.inf), _second(last["to_die_at"], math.inf)
    down, ending = math.inf, "open"
    if after < math.inf:
        ending = "quit"
        down = die if seen[-1] < die < after else (seen[-1] + after) / 2
        heard = _second(last["heard_at"], seen[-1]) if "heard_at" in rows else seen[-1]
        silence = seen[-1] - heard
        own_s = _longest_pause(rows)
        if silence > max(60.0, 1.5 * (usual_s if own_s is None else own_s)):
            ending, down = "kill", heard
    return Stay(
        name=startd,
        machine=str(first["machine"]),
        site="" if pd.isna(first["site"]) else str(first["site"]),
        ad=_with_clock(_unclaimed(first), _second(first.get("heard_at"), seen[0])),
        cpus=float(first["total_cpus"]),
        memory_mib=float(first["total_memory_mib"]),
        disk_mib=float(first["total_disk_mib"]),
        up=up,
        down=down,
        retire=retire,
        die=die,
        ending=ending,
        born=_second(first["started_at"], up),
        slot=slot,
    )


def _unclaimed(row: pd.Series) -> str:
    """A slot's ad as it is without a job, where its policy reads its State: whether one runs is the engine's to say."""
    ad = str(row["ad"])
    policy = f"{row.get('start')} {row.get('requirements')}"
    if row.get("state") in _BUSY and _READS_STATE.search(policy):
        return changed(ad, {"State": '"Unclaimed"', "Activity": '"Idle"'})
    return ad


def _with_clock(ad: str, at: float) -> str:
    """A slot ad whose ClockMin and ClockDay, told at `at` [s, Unix], go on as the startd's own clock does.

    An ad in the store has them where its policy reads them: machines that take jobs by night or at weekends only.
    """
    if (told := _CLOCK_MIN.search(ad)) is None:
        return ad
    # every zone's offset is a multiple of a quarter of an hour, and an ad is younger than half of that
    ahead = round((int(told[1]) * 60 + 30 - at % 86400) / 900) * 900 % 86400
    if (day := _CLOCK_DAY.search(ad)) is not None and (at + ahead) // 86400 % 7 != (int(day[1]) + 3) % 7:
        ahead -= 86400
    local = f"int(time() + {ahead})"
    changes = {"ClockMin": f"{local} % 86400 / 60"}
    if day is not None:
        changes["ClockDay"] = f"({local} / 86400 + 4) % 7"  # 1970 began on a Thursday
    return changed(ad, changes)


def _longest_pause(rows: pd.DataFrame) -> float | None:
    """The longest time between two ads of a machine [s]; None if only one was seen."""
    heard = sorted(set(_unix(rows["heard_at"].dropna()))) if "heard_at" in rows else []
    return max((later - earlier for earlier, later in itertools.pairwise(heard)), default=None)


def _unix(times: pd.Series) -> list[float]:
    return [moment.timestamp() for moment in times]


def _second(value: object, default: float) -> float:
    return float(value.timestamp()) if isinstance(value, pd.Timestamp) and not pd.isna(value) else default
