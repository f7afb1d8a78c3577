"""A scenario's pool and supply → the machines of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sim.classads.ads import number_of, parse_one
from sim.classads.editing import changed, selector
from sim.engine.entities import SLOT
from sim.engine.supply.on_demand import generated_ad, pilot_ad
from sim.engine.supply.renewal import draw_stays, fit_groups
from sim.engine.supply.stays import Stay, fixed_stays, recorded_stays
from sim.errors import InputError
from sim.sections import MachineSection, OnDemandSection, PoolSection, PoolStep, SupplySection
from sim.workload.adjust import copies


class Supply:
    """The machines of a scenario: the same in every run, or drawn anew.

    Parameters
    ----------
    draw : the machines of a run, from the run's own generator
    seen : machines whose ads are those of all that can be drawn
    on_demand : what a front end sends for beside them
    notes : what was fitted, for people to see
    """

    def __init__(
        self,
        draw: Callable[[np.random.Generator], list[Stay]],
        seen: Sequence[Stay],
        *,
        on_demand: OnDemandSection | None = None,
        notes: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.draw = draw
        self.seen = list(seen)
        self.on_demand = on_demand
        self.notes = tuple(notes)

    def ads(self) -> list[str]:
        """Every slot ad that can appear."""
        pilots = [pilot_ad(entry) for entry in self.on_demand.entries] if self.on_demand else []
        return list(dict.fromkeys([*(stay.ad for stay in self.seen), *pilots]))


def make_supply(
    section: SupplySection,
    pool: PoolSection,
    slots: pd.DataFrame,
    *,
    window: tuple[float, float],
    start: float,
    length_s: float,
    told: Callable[[Stay], Stay] = lambda stay: stay,
) -> Supply:
    """The supply of a scenario.

    Parameters
    ----------
    slots : frame "slots" of the pool's record
    window : when the pool was watched [s, Unix]
    start, length_s : the run's window [s, Unix; s]
    told : a recorded stay with what is known of it beside the snapshots

    Raises
    ------
    InputError : there is no machine
    """
    made = [
        _generated(told_machine, number)
        for told_machine in pool.machines
        for number in range(told_machine.count)
    ]
    recorded = (
        [] if pool.source == "generated" else _recorded(section, slots, told, at_end=start >= window[1])
    )
    known = adjust_stays([*made, *recorded], pool.adjust)
    names = [stay.name if stay.slot == SLOT else f"{stay.slot}@{stay.name}" for stay in known]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InputError(f"two machines are called {twice[0]}; give each a name of its own")
    if not known and section.on_demand is None:
        raise InputError("the pool has no machine: give it some, or a supply on demand")
    if section.model != "renewal":
        return Supply(lambda rng: known, known, on_demand=section.on_demand)
    groups = fit_groups(recorded, start=window[0], end=window[1])

    def draw(rng: np.random.Generator) -> list[Stay]:
        present_at = min(start, window[1])
        drawn = draw_stays(groups, rng, present_at=present_at, start=start, length_s=length_s)
        return adjust_stays([*made, *drawn], pool.adjust)

    return Supply(draw, known, notes=[group.row() for group in groups])


def _recorded(
    section: SupplySection, slots: pd.DataFrame, told: Callable[[Stay], Stay], *, at_end: bool
) -> list[Stay]:
    if slots.empty:
        return []
    if section.model in {"fixed", "on_demand"} or (section.model == "recorded" and at_end):
        # a record tells nothing beyond its end: there "recorded" means what was there last
        return fixed_stays(slots)
    return [told(stay) for stay in recorded_stays(slots)]


def _generated(machine: MachineSection, number: int) -> Stay:
    host = f"{machine.name}-{number + 1}" if machine.count > 1 else machine.name
    return Stay(
        name=host,
        machine=host,
        site=machine.site,
        ad=generated_ad(machine, machine.name),  # one text for all that are alike
        cpus=float(machine.cpus),
        memory_mib=float(machine.memory),
        disk_mib=float(machine.disk),
        up=-math.inf,
        down=math.inf,
        retire=math.inf,
        die=math.inf,
        ending="open",
    )


def adjust_stays(
    stays: Sequence[Stay], steps: Sequence[PoolStep], *, where: str = "pool.adjust"
) -> list[Stay]:
    """Change the machines step by step; expressions are judged when each came, or at the beginning.

    Raises
    ------
    InputError : a step leaves no machine
    """
    found = list(stays)
    for place, step in enumerate(steps):
        before, found = found, _applied(found, step)
        if before and not found:
            raise InputError(f"{where}.{place}: no machine is left after this step; check its expression")
    return found


def _applied(stays: list[Stay], step: PoolStep) -> list[Stay]:
    if step.add is not None:
        return [*stays, *(_generated(step.add, number) for number in range(step.add.count))]
    expression = step.keep or step.drop or step.where
    holds = selector(expression) if expression is not None else None
    chosen = [
        holds is None or holds(_whole(stay), stay.up if math.isfinite(stay.up) else 0.0) for stay in stays
    ]
    if step.keep is not None or step.drop is not None:
        return [stay for stay, yes in zip(stays, chosen, strict=True) if yes == (step.keep is not None)]
    if step.scale is not None:
        return _scaled(stays, chosen, step.scale)
    return [
        _rewritten(stay, step.rewrite or {}) if yes else stay for stay, yes in zip(stays, chosen, strict=True)
    ]


def _scaled(stays: list[Stay], chosen: list[bool], factor: float) -> list[Stay]:
    times = iter(copies(sum(chosen), factor))
    found: list[Stay] = []
    for stay, yes in zip(stays, chosen, strict=True):
        for number in range(next(times) if yes else 1):
            named = f"copy{number}." if number else ""
            found.append(stay._replace(name=f"{named}{stay.name}", machine=f"{named}{stay.machine}"))
    return found


def _whole(stay: Stay) -> str:
    """A machine's ad as it would be without jobs: a recorded one tells what was left then."""
    amounts = {"Cpus": stay.cpus, "Memory": stay.memory_mib, "Disk": stay.disk_mib * 1024}
    return changed(stay.ad, {name: f"{value:.0f}" for name, value in amounts.items()})


def _rewritten(stay: Stay, changes: dict[str, str]) -> Stay:
    """A machine with attributes changed; what it has in all follows Cpus, Memory and Disk."""
    named = {name.lower(): value for name, value in changes.items()}
    totals = {
        f"TotalSlot{name}": named[name.lower()]
        for name in ("Cpus", "Memory", "Disk")
        if name.lower() in named
    }
    text = changed(_whole(stay), {**totals, **changes})
    ad = parse_one(text)
    amounts = {name: number_of(ad, name) for name in ("Cpus", "Memory", "Disk")}
    wrong = [name for name in amounts if name.lower() in named and not (amounts[name] or 0) > 0]
    if wrong:
        raise InputError(
            f"pool.adjust: {wrong[0]} = {named[wrong[0].lower()]!r} gives {stay.name} nothing; expected more than 0"
        )
    return stay._replace(
        ad=text,
        cpus=float(amounts["Cpus"] or 0) if "cpus" in named else stay.cpus,
        memory_mib=float(amounts["Memory"] or 0) if "memory" in named else stay.memory_mib,
        disk_mib=float(amounts["Disk"] or 0) / 1024 if "disk" in named else stay.disk_mib,
    )
