"""What the daemons were really told → the engine's policy, where a scenario doesn't say otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress

import pandas as pd

from sim.scenario import GroupSection, PolicySection


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
    "nice_user_prio_factor": ("negotiator", "NICE_USER_PRIO_FACTOR", _seconds),
    "preemption_requirements": ("negotiator", "PREEMPTION_REQUIREMENTS", str),
    "concurrency_limit_default": ("negotiator", "CONCURRENCY_LIMIT_DEFAULT", _seconds),
    "group_accept_surplus": ("negotiator", "GROUP_ACCEPT_SURPLUS", _flag),
    "group_autoregroup": ("negotiator", "GROUP_AUTOREGROUP", _flag),
    "max_job_retirement": ("startd", "MAXJOBRETIREMENTTIME", _seconds),
    "claim_worklife": ("startd", "CLAIM_WORKLIFE", _seconds),
}
"""Field of a scenario's policy → kind of daemon, its configuration macro, how its value is read."""

MACROS: dict[str, tuple[str, ...]] = {
    kind: tuple(macro for daemon, macro, _ in FIELDS.values() if daemon == kind)
    for kind in ("negotiator", "schedd", "collector", "startd")
}

NAMED = re.compile(
    r"(?P<group>GROUP_(NAMES|QUOTA_DYNAMIC_.+|QUOTA_.+|ACCEPT_SURPLUS_.+|AUTOREGROUP_.+|PRIO_FACTOR_.+))"
    r"|CONCURRENCY_LIMIT_DEFAULT_(?P<family>.+)|(?P<limit>[\w.]+)_LIMIT",
    re.IGNORECASE,
)
"""Macros of the negotiator that carry the name of a group or of a limit."""

POLL_S = 5.0  # POLLING_INTERVAL of the startd


def effective_policy(policy: PolicySection, settings: pd.DataFrame, slots: pd.DataFrame) -> PolicySection:
    """Fill what a scenario leaves open with what the daemons said of themselves; the rest stays HTCondor's default.

    settings : frame "settings"; the last value of each macro counts
    slots : frame "slots", for the startds' version: 23.x releases a device at its next poll (real-pool facts §7.3), the
        schedd of 25.x asks for a cycle only if its last update had no job pressure (as its own log says)
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
    told_by_name = {name: value for (daemon, name), value in values.items() if daemon == "negotiator"}
    if "groups" not in policy.model_fields_set:
        found["groups"] = _groups(told_by_name)
    if "group_prio_factors" not in policy.model_fields_set:
        found["group_prio_factors"] = _numbers(told_by_name, "GROUP_PRIO_FACTOR_")
    if "concurrency_limits" not in policy.model_fields_set:
        found["concurrency_limits"] = _limits(told_by_name)
    if "device_release_poll" not in policy.model_fields_set and _major(slots) == 23:
        found["device_release_poll"] = POLL_S
    if "reschedule_from_rest" not in policy.model_fields_set:
        found["reschedule_from_rest"] = (_major(slots) or 0) >= 25
    return policy.model_copy(update=found)


def _numbers(told: Mapping[str, str], prefix: str) -> dict[str, float]:
    """The macros that begin with `prefix`, by the rest of their names in lower case, as far as they are numbers."""
    found = {}
    for name, value in told.items():
        if name.upper().startswith(prefix):
            with suppress(ValueError):
                found[name[len(prefix) :].lower()] = float(value)
    return found


def _groups(told: Mapping[str, str]) -> dict[str, GroupSection]:
    """GROUP_NAMES with their quotas; a group without one gets none of its own (fact sheet §1.9)."""
    upper = {name.upper(): value for name, value in told.items()}
    names = [name for name in re.split(r"[,\s]+", upper.get("GROUP_NAMES", "")) if name]
    fixed, shares = _numbers(told, "GROUP_QUOTA_"), _numbers(told, "GROUP_QUOTA_DYNAMIC_")

    def flag(macro: str, name: str) -> bool:
        text = upper.get(f"{macro}_{name}".upper(), upper.get(macro, "false"))
        try:
            return _flag(text)
        except ValueError:
            return False

    known: dict[str, GroupSection] = {}
    for name in sorted(map(str.lower, names)):
        if "." in name and name.rpartition(".")[0] not in known:
            continue  # the negotiator ignores a group whose parent is missing
        known[name] = GroupSection(
            quota=fixed.get(name, shares.get(name, 0.0)),  # a static quota counts before a dynamic one
            dynamic=name in shares and name not in fixed,
            accept_surplus=flag("GROUP_ACCEPT_SURPLUS", name),
            autoregroup=flag("GROUP_AUTOREGROUP", name),
        )
    return known


def _limits(told: Mapping[str, str]) -> dict[str, float]:
    """NAME_LIMIT and CONCURRENCY_LIMIT_DEFAULT_<name>, as `sim.engine.concurrency.LimitLedger` reads them."""
    found = {}
    for name, value in told.items():
        match = NAMED.fullmatch(name)
        key = match and (f"{match['family']}." if match["family"] else match["limit"])
        if key:
            with suppress(ValueError):
                found[key.lower()] = float(value)
    return found


def _major(slots: pd.DataFrame) -> int | None:
    """The most frequent major version of the startds."""
    versions = slots["condor_version"].dropna().drop_duplicates()
    majors = [
        int(match[1]) for text in versions if (match := re.search(r"CondorVersion: (\d+)\.", str(text)))
    ]
    return max(set(majors), key=majors.count) if majors else None
