"""Claims of jobs that no queue of the record tells of: of schedds that nobody asked, or that don't answer."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sim.classads.request import Request
from sim.workload.frames import made_jobs, template


def strangers(slots: pd.DataFrame, jobs: pd.DataFrame, at: float) -> pd.DataFrame:
    """The frame "jobs" of those that hold a slot of the last snapshot and aren't among `jobs`; empty without any.

    How long they run is not known.

    Parameters
    ----------
    slots, jobs : frames of the record
    at : when it ends [s, Unix]; they are taken to have come just before
    """
    last = slots[slots["seen_at"] == slots["seen_at"].max()]
    taken = last[
        last["slot_type"].isin(["dynamic", "static"])
        & (last["state"] == "Claimed")
        & last["job_id"].notna()
        & last["submitter"].notna()
        & ~last["backfill"].astype(bool)
    ]
    running = set(jobs["slot"][~jobs["status"].isin(["completed", "removed"])].dropna())
    known = set(
        zip(jobs["job_id"], jobs["submitter"], strict=True)
    )  # the queue may have been asked a moment earlier
    rows = [
        row
        for row in taken.to_dict("records")
        if row["name"] not in running and (row["job_id"], row["submitter"]) not in known
    ]
    if not rows:
        return jobs.iloc[:0]
    asked = [Request(int(row["gpus"]), float(row["cpus"]), float(row["memory_mib"])) for row in rows]
    templates = pd.DataFrame(
        [template(str(row["submitter"]), "true", own) for row, own in zip(rows, asked, strict=True)]
    )
    count = len(rows)
    moments = np.full(count, at - 1.0)
    found = made_jobs(templates, range(count), moments, np.full(count, np.nan), schedd="unknown")
    came = found["submitted_at"]
    names = [str(row["name"]) for row in rows]
    return found.assign(
        status="running",
        entered_status_at=came,
        first_started_at=came,
        started_at=came,
        slot=names,
        n_starts=1,
    )
