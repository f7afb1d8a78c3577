"""Accounting groups: how much of the pool each may use in a cycle, as pure functions (fact sheet §1.9).

Names are those of GROUP_NAMES; a dot makes a subgroup. The root, whose name is empty, holds all who are in no group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

ROOT = ""


class Group(NamedTuple):
    """A group as it is configured.

    quota : GROUP_QUOTA [weighted cores] or, if `dynamic`, GROUP_QUOTA_DYNAMIC, a share of its parent's quota [1]
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
    share = {group.name: group.quota * whole for group in children if group.dynamic}
    squeeze = min(1.0, whole / sum(fixed.values())) if sum(fixed.values()) > 0 else 1.0
    wanted = {name: quota * squeeze for name, quota in fixed.items()}
    left = whole - sum(wanted.values())
    squeeze = min(1.0, left / sum(share.values())) if sum(share.values()) > 0 else 1.0
    wanted |= {name: quota * squeeze for name, quota in share.items()}
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

    A group gets its demand up to its quota. What is left over goes to those that accept surplus (the root always does)
    and want more, in proportion to their quotas (equally, where those are all zero), until nobody wants more.
    """
    quota = quotas(groups, weight)
    given = {name: min(demand.get(name, 0.0), own) for name, own in quota.items()}
    accepts = {group.name for group in groups if group.accept_surplus} | {ROOT}
    surplus = weight - sum(given.values())
    while surplus > 1e-9:
        hungry = [name for name in quota if name in accepts and demand.get(name, 0.0) > given[name] + 1e-9]
        if not hungry:
            break
        total = sum(quota[name] for name in hungry)
        portions = {name: surplus * (quota[name] / total if total else 1 / len(hungry)) for name in hungry}
        moved = 0.0
        for name in hungry:
            more = min(portions[name], demand[name] - given[name])
            given[name] += more
            moved += more
        if moved <= 1e-9:
            break
        surplus -= moved
    return given


def serving_order(quota: Mapping[str, float], usage: Mapping[str, float]) -> list[str]:
    """Groups in ascending order of use against quota (GROUP_SORT_EXPR as by default), then by name, the root last."""

    def key(name: str) -> tuple[bool, float, str]:
        own = quota[name]
        return name == ROOT, usage.get(name, 0.0) / own if own > 0 else float("inf"), name

    return sorted(quota, key=key)
