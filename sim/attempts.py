"""Execution attempts told by several witnesses: job epochs, event logs, slot snapshots.

A job's attempts never overlap, so two rows of the same job whose times overlap are the same attempt. The epoch knows the
shadow's start and the whole slot name, to the second; the event log knows when the program began and ended, to the
millisecond, and often the device; the more exact word counts, and gaps are filled from the other.
"""

from __future__ import annotations

import pandas as pd

from sim.schema import conform

_ORDER_SLACK = pd.Timedelta(seconds=2)  # both are whole seconds of two daemons

_KEY = ["schedd", "job_id"]
_SAME_START_S = 1.0  # an epoch's times are whole seconds
_WITHIN = pd.Timedelta(seconds=_SAME_START_S)
_EXACT = ("executing_at", "ended_at")


def reconciled(attempts: pd.DataFrame) -> pd.DataFrame:
    """Give each attempt once, in order of schedd, job and start; `ready_at` follows the attempt before.

    attempts : frame "attempts", in any order, with any number of rows for an attempt
    """
    if attempts.empty:
        return conform(attempts, "attempts")
    known = attempts.sort_values([*_KEY, "started_at", "ended_at"], kind="stable", ignore_index=True)
    known = known.drop_duplicates(ignore_index=True)
    known["_attempt"] = _numbered(known)
    many = known.duplicated("_attempt", keep=False)
    parts = [known[~many]]
    if many.any():
        parts.append(_merged(known[many]))
    whole = pd.concat(parts, ignore_index=True) if many.any() else parts[0]
    whole = whole.sort_values([*_KEY, "started_at"], kind="stable", ignore_index=True)
    before = whole.groupby(_KEY, sort=False)["ended_at"].shift()
    ready = before.fillna(whole["ready_at"])
    late = (ready > whole["started_at"]) & (ready - whole["started_at"] < _WITHIN)
    whole["started_at"] = whole["started_at"].where(~late, ready)  # an epoch's start is cut to the second
    whole["ready_at"] = ready.where(ready <= whole["started_at"], whole["started_at"])
    return conform(whole, "attempts")


def _numbered(known: pd.DataFrame) -> pd.Series:
    """A number for each attempt: a row goes with the one before it while it begins before that one's end."""
    jobs = known.groupby(_KEY, sort=False)
    start = known["started_at"]
    end = known["ended_at"].fillna(start)
    last_end = end.groupby(jobs.ngroup()).cummax().groupby(jobs.ngroup()).shift()
    last_start = jobs["started_at"].shift()
    near = (start - last_start).dt.total_seconds() < _SAME_START_S
    overlaps = start < last_end
    return (~(near | overlaps)).cumsum()


def _merged(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each attempt: of every column the word of the most exact witness that has one."""
    exact = sum(rows[name].dt.microsecond.fillna(0).ne(0).astype(int) for name in _EXACT)
    order = rows.assign(_ended=rows["ended_at"].notna(), _exact=exact, _long=rows["slot"].str.len().fillna(0))
    order = order.sort_values(["_attempt", "_ended", "_exact"], kind="stable")
    best = order.groupby("_attempt", sort=False).last()
    witnesses = order.groupby("_attempt", sort=False)
    best["started_at"] = witnesses["started_at"].min()
    best["attempt"] = witnesses["attempt"].max()  # a log that was cut counts too few
    longest = order.sort_values(["_attempt", "_long"], kind="stable").groupby("_attempt", sort=False)
    best["slot"] = longest["slot"].last()
    return best.reset_index().drop(columns=["_ended", "_exact", "_long"])


def ordered(attempts: pd.DataFrame, orders: pd.DataFrame) -> pd.DataFrame:
    """Attempts that ended because their job was held or removed say so.

    An epoch record is written before the schedd notes the order: it has status 2 and reason 0, like an eviction (seen on
    25.x). The queue and the history have the time of the order, which lies within the attempt.

    orders : schedd, job_id, status (held | removed), entered_status_at
    """
    evicted = attempts[attempts["outcome"] == "evicted"].rename_axis("place").reset_index()
    both = evicted[["place", "schedd", "job_id", "started_at", "ended_at"]].merge(
        orders, on=["schedd", "job_id"]
    )
    entered = pd.to_datetime(both["entered_status_at"], utc=True)
    within = (entered >= both["started_at"]) & (entered <= both["ended_at"] + _ORDER_SLACK)
    told = both[within].sort_values("entered_status_at").drop_duplicates("place").set_index("place")["status"]
    outcome = attempts["outcome"].copy()
    outcome[told.index] = told
    return attempts.assign(outcome=outcome)
