"""What the daemons were really told → the engine's policy, where a scenario doesn't say otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd

from sim.scenario import PolicySection


def _seconds(text: str) -> float:
    return float(text)


def _flag(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in {"true", "t", "1", "yes"}:
        return True
    if lowered in {"false", "f", "0", "no"}:
        return False
    raise ValueError(text)


FIELDS: dict[str, tuple[str, str, Callable[[str], object]]] = {
    "negotiator_interval": ("negotiator", "NEGOTIATOR_INTERVAL", _seconds),
    "negotiator_cycle_delay": ("negotiator", "NEGOTIATOR_CYCLE_DELAY", _seconds),
    "negotiator_min_interval": ("negotiator", "NEGOTIATOR_MIN_INTERVAL", _seconds),
    "priority_halflife": ("negotiator", "PRIORITY_HALFLIFE", _seconds),
    "default_prio_factor": ("negotiator", "DEFAULT_PRIO_FACTOR", _seconds),
    "consider_preemption": ("negotiator", "NEGOTIATOR_CONSIDER_PREEMPTION", _flag),
    "schedd_interval": ("schedd", "SCHEDD_INTERVAL", _seconds),
    "schedd_min_interval": ("schedd", "SCHEDD_MIN_INTERVAL", _seconds),
    "job_lease": ("schedd", "JOB_DEFAULT_LEASE_DURATION", _seconds),
    "claim_leftovers": ("schedd", "CLAIM_PARTITIONABLE_LEFTOVERS", _flag),
    "classad_lifetime": ("collector", "CLASSAD_LIFETIME", _seconds),
    "update_interval": ("startd", "UPDATE_INTERVAL", _seconds),
    "claim_worklife": ("startd", "CLAIM_WORKLIFE", _seconds),
}
"""Field of a scenario's policy → kind of daemon, its configuration macro, how its value is read."""

MACROS: dict[str, tuple[str, ...]] = {
    kind: tuple(macro for daemon, macro, _ in FIELDS.values() if daemon == kind)
    for kind in ("negotiator", "schedd", "collector", "startd")
}

POLL_S = 5.0  # POLLING_INTERVAL of the startd


def effective_policy(policy: PolicySection, settings: pd.DataFrame, slots: pd.DataFrame) -> PolicySection:
    """Fill what a scenario leaves open with what the daemons said of themselves; the rest stays HTCondor's default.

    settings : frame "settings"; the last value of each macro counts
    slots : frame "slots", for the startds' version: 23.x releases a device at its next poll (real-pool facts §7.3)
    """
    found: dict[str, object] = {}
    told = (
        settings.dropna(subset=["value"])
        .sort_values("seen_at")
        .drop_duplicates(["daemon", "name"], keep="last")
    )
    values = {(row["daemon"], row["name"]): str(row["value"]) for row in told.to_dict("records")}
    for field, (daemon, macro, read) in FIELDS.items():
        text = values.get((daemon, macro))
        if field in policy.model_fields_set or text is None:
            continue
        try:
            found[field] = read(text)
        except ValueError:  # an expression such as $INT(...): the default stays
            continue
    if "device_release_poll" not in policy.model_fields_set and _major(slots) == 23:
        found["device_release_poll"] = POLL_S
    return policy.model_copy(update=found)


def _major(slots: pd.DataFrame) -> int | None:
    """The most frequent major version of the startds."""
    versions = slots["condor_version"].dropna().drop_duplicates()
    majors = [
        int(match[1]) for text in versions if (match := re.search(r"CondorVersion: (\d+)\.", str(text)))
    ]
    return max(set(majors), key=majors.count) if majors else None
