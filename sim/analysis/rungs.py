"""The jobs behind the rungs of a job's ladders, for a simulation to ask how long each would wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sim.analysis.answer import Rung
from sim.analysis.ladders import FAMILIES, SITES, mentions
from sim.analysis.truth import parts
from sim.classads.job import JobDescription

MOST_ASKED = 12
"""Rungs of one ladder that are asked; of a longer one, so many from its first to its last."""

_COUNTED = "(countMatches(MY.RequireGPUs, TARGET.AvailableGPUs) >= RequestGPUs)"
_WORDS = {
    **{name: family.own for name, family in FAMILIES.items()},
    "combined": FAMILIES["capability"].own + FAMILIES["memory"].own,
    "site": SITES,
}


def job_on(job: JobDescription, ladder: str, rung: str) -> JobDescription:
    """The job as a rung of one of its ladders has it: the rung's demand instead of its own clauses on that property.

    ladder, rung : as `ladders_of` names them
    """
    if ladder == "gpus":
        return job.changed(RequestGPUs=rung.rpartition("= ")[2])
    words = _WORDS[ladder]
    demand = [] if rung.startswith("any ") else [rung]
    on_slots, on_devices = (demand, []) if ladder == "site" else ([], demand)
    picky = _joined(job.require_gpus, words, on_devices)
    if job.forced:
        counted = [_COUNTED] if on_devices else []
        whole = _joined(job.forced, words, [*on_slots, *counted]) or "true"
        return replace(job.changed(RequireGPUs=picky or None), forced=whole)
    return job.changed(_joined(job.expression, words, on_slots), RequireGPUs=picky or None)


def _joined(text: str, words: Iterable[str], more: Sequence[str]) -> str:
    """An expression without its clauses on these attributes, with more clauses."""
    kept = [part.text for part in parts(text) if not mentions(part.text, words)]
    return " && ".join(f"({clause})" for clause in [*kept, *more])


def rungs_to_ask(ladders: Mapping[str, Sequence[Rung]]) -> dict[str, dict[str, str]]:
    """Of each ladder the rungs that have a wait, each with the rung that is asked for it.

    What no device satisfies has none. A rung of a nested ladder that leaves as much as the one before leaves the very same
    devices, so it waits as long and isn't asked again.

    Examples
    --------
    >>> rungs = [Rung("any memory", 8, 8), Rung("GlobalMemoryMb >= 9", 8, 8), Rung("GlobalMemoryMb >= 90", 0, 0)]
    >>> rungs_to_ask({"memory": rungs})
    {'memory': {'any memory': 'any memory', 'GlobalMemoryMb >= 9': 'any memory'}}
    """
    asked = {}
    for name, rungs in ladders.items():
        nested = name in FAMILIES and FAMILIES[name].least
        same: dict[str, str] = {}
        before: Rung | None = None
        for rung in rungs:
            if not (rung.gpus or rung.seen):
                continue
            if not (
                nested
                and before
                and (before.gpus, before.now, before.seen) == (rung.gpus, rung.now, rung.seen)
            ):
                before = rung
            same[rung.rung] = before.rung
        heads = list(dict.fromkeys(same.values()))
        chosen = set(heads)
        if len(heads) > MOST_ASKED:
            chosen = {
                heads[place] for place in np.linspace(0, len(heads) - 1, MOST_ASKED).round().astype(int)
            }
        asked[name] = {rung: head for rung, head in same.items() if head in chosen}
    return asked
