"""Accounting groups: how much of the pool each may use in a cycle, as pure functions (fact sheet §1.9).

Names are those of GROUP_NAMES; a dot makes a subgroup. The root, whose name is empty, holds all who are in no group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

ROOT = ""


class Group(NamedTuple):
    """A group as it is configured.

    quota : GROUP_QUOTA [weighted cores] or, if `dynamic`, GROUP_QUOTA_DYNAMIC, a share [1] of what its parent's quota has left
        beside the static ones
    accept_surplus : may use what others leave
    autoregroup : its submitters negotiate once more with those of the root
    """

    name: str
    quota: float
    dynamic: bool = False
    accept_surplus: bool = False
    autoregroup: bool = False


def group_of(submitter: str, names: Sequence[str]) -> str:
    """The group of a submitter: the longest of the names that its own begins with, else the root.

    Examples
    --------
    >>> group_of("physics.atlas.ann@pool", ["physics", "physics.atlas"])
    'physics.atlas'
    >>> group_of("ann@pool", ["physics"])
    ''
    """
    path = submitter.partition("@")[0].lower()
    fitting = [name for name in names if path.startswith(name.lower() + ".")]
    return max(fitting, key=len, default=ROOT)


def quotas(groups: Sequence[Group], weight: float) -> dict[str, float]:
    """What each group is entitled to [weighted cores]: static quotas first, then shares; the rest stays with the parent.

    Quotas that exceed the parent's are scaled down together.
    """
    found = {ROOT: weight}
    for group in sorted(groups, key=lambda group: group.name.count(".")):
        found[group.name] = 0.0
    _divide(ROOT, weight, groups, found)
    return found


def _divide(parent: str, whole: float, groups: Sequence[Group], found: dict[str, float]) -> None:
    children = [group for group in groups if _parent(group.name, groups) == parent]
    fixed = {group.name: group.quota for group in children if not group.dynamic}
    share = {group.name: group.quota for group in children if group.dynamic}
    squeeze = min(1.0, whole / sum(fixed.values())) if sum(fixed.values()) > 0 else 1.0
    wanted = {name: quota * squeeze for name, quota in fixed.items()}
    left = whole - sum(wanted.values())
    wanted |= {name: part * left / max(1.0, sum(share.values())) for name, part in share.items()}
    found[parent] = max(0.0, whole - sum(wanted.values()))
    for name, quota in wanted.items():
        found[name] = quota
        _divide(name, quota, groups, found)


def _parent(name: str, groups: Sequence[Group]) -> str:
    known = {group.name for group in groups}
    above = name.rpartition(".")[0]
    while above and above not in known:
        above = above.rpartition(".")[0]
    return above


def allocate(groups: Sequence[Group], demand: Mapping[str, float], weight: float) -> dict[str, float]:
    """What each group may use in this round [weighted cores].

    Parameters
    ----------
    demand : what each group uses and asks for together [weighted cores], by name, the root's under its empty name
    weight : of the pool

    A group gets its demand up to its quota. What is left over is shared out where it is, between a group and those of its
    subgroups that accept surplus, and only what none of them wants goes up to the group above (`hgq_fairshare`).
    """
    quota = quotas(groups, weight)
    given = {name: min(demand.get(name, 0.0), own) for name, own in quota.items()}
    below: dict[str, list[Group]] = {name: [] for name in quota}
    for group in groups:
        below[_parent(group.name, groups)].append(group)

    def whole(name: str) -> float:
        return quota[name] + sum(whole(child.name) for child in below[name])

    def lacks(name: str) -> float:
        own = max(0.0, demand.get(name, 0.0) - given[name])
        return own + sum(lacks(child.name) for child in below[name] if child.accept_surplus)

    def hand_out(name: str, surplus: float) -> float:
        """Share a surplus out among a group and those below it; give what is left of it."""
        wanted = {child.name: lacks(child.name) for child in below[name] if child.accept_surplus}
        weights = {child: whole(child) for child in wanted} | {name: quota[name]}
        wanted[name] = max(0.0, demand.get(name, 0.0) - given[name])
        for one, more in _poured(surplus, wanted, weights).items():
            surplus -= more
            if one == name:
                given[name] += more
            elif more > 0:
                hand_out(one, more)
        return surplus

    def collect(name: str) -> float:
        """Share out what is left over in a group and below it; give what nobody there wants."""
        left = sum(collect(child.name) for child in below[name])
        return hand_out(name, left + quota[name] - given[name])

    collect(ROOT)
    return given


def _poured(surplus: float, wanted: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """A surplus in proportion to weights (equally, where those are all zero), nobody more than wanted."""
    got = dict.fromkeys(wanted, 0.0)
    while surplus > 1e-9:
        hungry = [name for name in wanted if wanted[name] > got[name] + 1e-9]
        total = sum(weights[name] for name in hungry)
        moved = 0.0
        for name in hungry:
            portion = surplus * (weights[name] / total if total else 1 / len(hungry))
            more = min(portion, wanted[name] - got[name])
            got[name] += more
            moved += more
        if moved <= 1e-9:
            break
        surplus -= moved
    return got


def serving_order(quota: Mapping[str, float], usage: Mapping[str, float]) -> list[str]:
    """Groups in ascending order of use against quota (GROUP_SORT_EXPR as by default), then by name, the root last."""

    def key(name: str) -> tuple[bool, float, str]:
        own = quota[name]
        return name == ROOT, usage.get(name, 0.0) / own if own > 0 else float("inf"), name

    return sorted(quota, key=key)
