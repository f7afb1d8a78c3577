"""Frames "jobs" that are made and not collected: rows from templates, submitted at given times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from sim.classads.editing import changed
from sim.classads.request import SCRATCH_KIB, Request, job_ad
from sim.schema import conform

CLASS = "WorkloadClass"
"""Attribute of a made job's ad that names its class."""

DOMAIN = "workload.poolscope"


def template(
    submitter: str,
    requirements: str,
    request: Request,
    attributes: dict[str, str] | None = None,
    *,
    label: str = "",
) -> dict[str, Any]:
    """The columns of a job that is like all of its kind: submitter, requests, requirements, ad.

    label : its class, kept in the attribute `CLASS`
    """
    name = submitter if "@" in submitter else f"{submitter}@{DOMAIN}"
    owner = name.partition("@")[0].rpartition(".")[2]
    quoted = {"Owner": _quoted(owner), "User": _quoted(name)} | ({CLASS: _quoted(label)} if label else {})
    ad = changed(job_ad(requirements, request), quoted | (attributes or {}))
    return {
        "submitter": name,
        "owner": owner,
        "request_cpus": float(request.cpus),
        "request_memory_mib": float(request.memory_mib),
        "request_disk_mib": SCRATCH_KIB / 1024,
        "request_gpus": request.gpus,
        "requirements": requirements,
        "require_gpus": request.require_gpus or None,
        "ad": ad,
    }


def _quoted(text: str) -> str:
    """A string as a ClassAd literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def made_jobs(
    templates: pd.DataFrame,
    places: np.ndarray | Sequence[int],
    submitted: np.ndarray,
    run_s: np.ndarray,
    *,
    ids: Sequence[str] | None = None,
    schedd: str = "workload",
) -> pd.DataFrame:
    """The frame "jobs" of jobs that are still to be submitted.

    Parameters
    ----------
    templates : rows as `template` gives them, or of a frame "jobs"
    places : row of each job's template
    submitted : when each is submitted [s, Unix], ascending
    run_s : how long each runs [s]
    ids : cluster.proc of each; by default every job is a cluster
    """
    frame = templates.iloc[np.asarray(places, dtype="int64")].reset_index(drop=True)
    count = len(frame)
    at = pd.Series(
        np.round(np.asarray(submitted, dtype="float64") * 1e6).astype("int64").view("datetime64[us]")
    )
    at = at.dt.tz_localize("UTC")
    frame = frame.assign(
        snapshot="workload",
        seen_at=at,
        job_id=list(ids) if ids is not None else [f"{number}.0" for number in range(1, count + 1)],
        schedd=schedd,
        submitted_at=at,
        status="idle",
        entered_status_at=None,
        first_started_at=None,
        started_at=None,
        executing_at=None,
        completed_at=None,
        run_s=np.asarray(run_s, dtype="float64"),
        n_starts=0,
        n_vacates=0,
        slot=None,
    )
    if "priority" not in frame:
        frame["priority"] = 0
    return conform(frame, "jobs")


EPOCH = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""When a pool begins that was never seen [s, Unix]: made pools have no date of their own."""
