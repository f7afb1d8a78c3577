"""Machines that come and go at random as the snapshots show: arrivals and lifetimes by site and kind."""

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
    """Machines of one site and kind: stays that were seen, arrivals [1/s], lifetimes, how often they vanish unannounced."""

    site: str
    kind: str
    seen: tuple[Stay, ...]
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


def kind_of(stay: Stay) -> str:
    """What a machine is, in words that are the same for equal ones."""
    models = [device.model or "unknown" for device in assigned_devices(stay.ad)]
    devices = " + ".join(f"{models.count(model)} {model}" for model in dict.fromkeys(models)) or "no GPU"
    return f"{stay.cpus:g} cores, {stay.memory_mib / 1024:.0f} GiB, {devices}"


def fit_groups(stays: Sequence[Stay], *, start: float, end: float) -> list[Group]:
    """Fit the stays that were watched from `start` to `end` [s, Unix]."""
    members: dict[tuple[str, str], list[Stay]] = {}
    for stay in stays:
        members.setdefault((stay.site, kind_of(stay)), []).append(stay)
    groups = []
    for (site, kind), seen in sorted(members.items()):
        born = np.array([_born(stay, start) for stay in seen])
        entered = np.maximum([max(stay.up, start) for stay in seen] - born, 0.0)
        left = np.maximum([min(stay.down, end) for stay in seen] - born, entered)
        ended = np.array([stay.down < end for stay in seen])
        arrived = sum(stay.up > start for stay in seen)
        gone = int(ended.sum())
        killed = sum(stay.ending == "kill" for stay in seen) / gone if gone else 0.0
        rate = arrived / (end - start) if end > start else 0.0
        groups.append(Group(site, kind, tuple(seen), rate, Lifetimes.fit(entered, left, ended), killed))
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
        for stay in group.seen:
            if stay.up <= present_at < stay.down:
                age = max(0.0, present_at - _born(stay, present_at))
                down = start + group.lifetimes.residual(own, age)
                found.append(_ended(stay._replace(up=-math.inf), down, group, own))
        times, lives = own.spawn(2)  # so that a longer window begins with the machines of a shorter one
        up_s = float(times.exponential(1 / group.rate)) if group.rate > 0 else math.inf
        number = 0
        while up_s < length_s:
            number += 1
            found.append(_arrived(group, lives, number, start + up_s))
            up_s += float(times.exponential(1 / group.rate))
    return found


def _arrived(group: Group, rng: np.random.Generator, number: int, up: float) -> Stay:
    like = group.seen[int(rng.integers(len(group.seen)))]
    life = group.lifetimes.residual(rng)
    moved = up - like.born if math.isfinite(like.born) else 0.0
    known = math.isfinite(like.born)
    name = f"new{number}.{like.name}"
    stay = like._replace(
        name=name,
        machine=f"new{number}.{like.machine}",
        up=up,
        born=up,
        retire=like.retire + moved if known else math.inf,
        die=like.die + moved if known else math.inf,
    )
    return _ended(stay, up + life, group, rng)


def _ended(stay: Stay, down: float, group: Group, rng: np.random.Generator) -> Stay:
    """A stay that ends then, or at its own GLIDEIN_ToDie if that is sooner."""
    killed = rng.random() < group.killed
    if stay.die <= down:
        return stay._replace(down=stay.die, ending="quit" if math.isfinite(stay.die) else "open")
    return stay._replace(down=down, ending="kill" if killed else "quit")
