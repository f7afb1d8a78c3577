"""Machines that come and go at random as the snapshots show: arrivals and lifetimes by site and kind.

All slots of a startd come and go together: it is startds that are counted and drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.classads.matching import assigned_devices
from sim.engine.supply.lifetimes import Lifetimes
from sim.engine.supply.stays import Stay


@dataclass(frozen=True)
class Group:
    """Startds of one site and kind: lives that were seen, arrivals [1/s], lifetimes, how often they vanish unannounced.

    seen : the stays of each startd's slots
    """

    site: str
    kind: str
    seen: tuple[tuple[Stay, ...], ...]
    rate: float
    lifetimes: Lifetimes
    killed: float

    def row(self) -> dict[str, Any]:
        """What was fitted, for people."""
        return {
            "what": "supply",
            "group": f"{self.site or 'no site'}: {self.kind}",
            "n": self.lifetimes.n,
            "n_ended": self.lifetimes.n_ended,
            "arrivals_per_day": self.rate * 86400,
            "median_s": self.lifetimes.median_s,
            "killed": self.killed,
        }


def kind_of(*slots: Stay) -> str:
    """What a machine is, in words that are the same for equal ones."""
    words = [_words(stay) for stay in slots]
    times = {word: f"{words.count(word)} x " if len(words) > 1 else "" for word in sorted(set(words))}
    return "; ".join(f"{count}{word}" for word, count in times.items())


def _words(stay: Stay) -> str:
    models = [device.model or "unknown" for device in assigned_devices(stay.ad)]
    devices = " + ".join(f"{models.count(model)} {model}" for model in dict.fromkeys(models)) or "no GPU"
    return f"{stay.cpus:g} cores, {stay.memory_mib / 1024:.0f} GiB, {devices}"


def fit_groups(stays: Sequence[Stay], *, start: float, end: float) -> list[Group]:
    """Fit the stays that were watched from `start` to `end` [s, Unix]."""
    startds: dict[str, list[Stay]] = {}
    for stay in stays:
        startds.setdefault(stay.name, []).append(stay)
    members: dict[tuple[str, str], list[tuple[Stay, ...]]] = {}
    for slots in startds.values():
        members.setdefault((slots[0].site, kind_of(*slots)), []).append(tuple(slots))
    groups = []
    for (site, kind), lives in sorted(members.items()):
        seen = [slots[0] for slots in lives]  # any of a startd's slots tells when it was there
        born = np.array([_born(stay, start) for stay in seen])
        entered = np.maximum([max(stay.up, start) for stay in seen] - born, 0.0)
        left = np.maximum([min(stay.down, end) for stay in seen] - born, entered)
        ended = np.array([stay.down < end for stay in seen])
        arrived = sum(stay.up > start for stay in seen)
        gone = int(ended.sum())
        killed = sum(stay.ending == "kill" for stay in seen) / gone if gone else 0.0
        rate = arrived / (end - start) if end > start else 0.0
        groups.append(Group(site, kind, tuple(lives), rate, Lifetimes.fit(entered, left, ended), killed))
    return groups


def _born(stay: Stay, start: float) -> float:
    """When a machine's life began: as it says, else when it was first seen."""
    if math.isfinite(stay.born):
        return min(stay.born, max(stay.up, start))
    return max(stay.up, start)


def draw_stays(
    groups: Sequence[Group], rng: np.random.Generator, *, present_at: float, start: float, length_s: float
) -> list[Stay]:
    """Draw the machines of a window.

    Those that were there at `present_at` begin it and stay for what is left of their lives; others arrive at their groups'
    rates. A glidein's own windows are kept, those of one that arrives are moved with it.
    """
    found: list[Stay] = []
    for group, own in zip(groups, rng.spawn(len(groups)), strict=True):
        for slots in group.seen:
            stay = slots[0]
            if stay.up <= present_at < stay.down:
                age = max(0.0, present_at - _born(stay, present_at))
                down = start + group.lifetimes.residual(own, age)
                found += _ended([slot._replace(up=-math.inf) for slot in slots], down, group, own)
        times, lives = own.spawn(2)  # so that a longer window begins with the machines of a shorter one
        up_s = float(times.exponential(1 / group.rate)) if group.rate > 0 else math.inf
        number = 0
        while up_s < length_s:
            number += 1
            found += _arrived(group, lives, number, start + up_s)
            up_s += float(times.exponential(1 / group.rate))
    return found


def _arrived(group: Group, rng: np.random.Generator, number: int, up: float) -> list[Stay]:
    slots = group.seen[int(rng.integers(len(group.seen)))]
    life = group.lifetimes.residual(rng)
    stays = []
    for like in slots:
        known = math.isfinite(like.born)
        moved = up - like.born if known else 0.0
        stays.append(
            like._replace(
                name=f"new{number}.{like.name}",
                machine=f"new{number}.{like.machine}",
                up=up,
                born=up,
                retire=like.retire + moved if known else math.inf,
                die=like.die + moved if known else math.inf,
            )
        )
    return _ended(stays, up + life, group, rng)


def _ended(slots: list[Stay], down: float, group: Group, rng: np.random.Generator) -> list[Stay]:
    """The stays of a startd's slots, which end then, or at its own GLIDEIN_ToDie if that is sooner."""
    ending = "kill" if rng.random() < group.killed else "quit"
    if (die := slots[0].die) <= down:
        down, ending = die, "quit" if math.isfinite(die) else "open"
    return [stay._replace(down=down, ending=ending) for stay in slots]
