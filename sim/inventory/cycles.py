"""Negotiator, accounting and submitter ads → frames "cycles", "priorities" and "submitters"."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from sim.classads.ads import Ad
from sim.classads.view import View
from sim.inventory.rows import Framed, Rejected, Row, framed, moment

_KEPT_CYCLES = 10  # a negotiator keeps three by default (NEGOTIATOR_CYCLE_STATS_LENGTH), at most a hundred


def cycles_frame(ads: Iterable[Ad]) -> Framed:
    """Give a row per negotiation cycle that a negotiator's ad still holds, newest first."""
    return framed("cycles", ads, _cycle_rows)


def _cycle_rows(ad: View) -> list[Row]:
    name = ad.text("Name")
    if name is None:
        raise Rejected("no Name")
    rows = []
    for place in range(_KEPT_CYCLES):
        started = moment(ad, f"LastNegotiationCycleTime{place}")
        if started is None:
            continue

        def number(what: str, place: int = place) -> float | None:
            return ad.number(f"LastNegotiationCycle{what}{place}")

        rows.append(
            {
                "negotiator": name,
                "started_at": started,
                "ended_at": moment(ad, f"LastNegotiationCycleEnd{place}"),
                "duration_s": number("Duration") or 0.0,
                "period_s": number("Period"),
                "considered": number("NumJobsConsidered"),
                "matched": number("Matches") or 0,
                "rejected": number("Rejections") or 0,
                "idle_jobs": number("NumIdleJobs"),
                "slots": number("TotalSlots"),
                "candidate_slots": number("CandidateSlots"),
                "submitters": number("ActiveSubmitterCount"),
                "spins": number("PieSpins"),
            }
        )
    return rows


def priorities_frame(ads: Iterable[Ad], *, seen_at: pd.Timestamp, snapshot: str) -> Framed:
    """Give a row per submitter and group of the accounting ads (or of Negotiator.getPriorities)."""
    return framed("priorities", ads, lambda ad: _priority_row(ad, seen_at, snapshot))


def _priority_row(ad: View, seen_at: pd.Timestamp, snapshot: str) -> Row:
    name, effective, factor = ad.text("Name"), ad.number("Priority"), ad.number("PriorityFactor")
    if name is None or effective is None or factor is None:
        raise Rejected("no Name, Priority or PriorityFactor")
    return {
        "snapshot": snapshot,
        "seen_at": seen_at,
        "submitter": name,
        "is_group": ad.flag("IsAccountingGroup"),
        "real_priority": effective / factor if factor else None,
        "effective_priority": effective,
        "factor": factor,
        "usage_cores": ad.number("WeightedResourcesUsed"),
        "accumulated_core_s": ad.number("WeightedAccumulatedUsage"),
        "ceiling_cores": _set(ad.number("Ceiling")),
        "floor_cores": _set(ad.number("Floor")) or None,
    }


def _set(cores: float | None) -> float | None:
    """A ceiling or a floor that somebody has set: a negative one is none."""
    return None if cores is None or cores < 0 else cores


def submitters_frame(ads: Iterable[Ad], *, seen_at: pd.Timestamp, snapshot: str) -> Framed:
    """Give a row per submitter and schedd of the submitter ads."""
    return framed("submitters", ads, lambda ad: _submitter_row(ad, seen_at, snapshot))


def _submitter_row(ad: View, seen_at: pd.Timestamp, snapshot: str) -> Row:
    name = ad.text("Name")
    if name is None:
        raise Rejected("no Name")
    return {
        "snapshot": snapshot,
        "seen_at": seen_at,
        "submitter": name,
        "schedd": ad.text("ScheddName", "Machine") or "unknown",
        "idle": ad.number("IdleJobs") or 0,
        "running": ad.number("RunningJobs") or 0,
        "held": ad.number("HeldJobs"),
        "weighted_idle": ad.number("WeightedIdleJobs"),
        "weighted_running": ad.number("WeightedRunningJobs"),
    }
