"""Job ads → frame "jobs"; job epochs → frame "attempts"."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pandas as pd

from sim.classads.ads import Ad
from sim.classads.view import View, view_of
from sim.inventory.rows import UNREADABLE, Framed, Rejected, Row, framed, moment
from sim.schema import conform, describe

STATUS = {1: "idle", 2: "running", 3: "removed", 4: "completed", 5: "held", 6: "transferring", 7: "suspended"}

SLOTLESS = {7: "scheduler", 9: "grid", 12: "local"}
"""Universes whose jobs the negotiator never sees: they run on the access point (a DAGMan) or in somebody else's system."""


def jobs_frame(ads: Iterable[Ad], *, seen_at: pd.Timestamp, snapshot: str, schedd: str = "") -> Framed:
    """Give a row per job ad of a queue or a history.

    schedd : name of the schedd, where the ads don't tell it by their GlobalJobId
    """
    return framed("jobs", ads, lambda ad: job_row(ad, seen_at, snapshot, schedd))


def submitter_of(ad: Ad | View) -> str | None:
    """Whom the negotiator charges for a job: AccountingGroup@UidDomain, else User (fact sheet §1.3)."""
    ad = view_of(ad)
    group, user = ad.text("AccountingGroup"), ad.text("User")
    domain = ad.text("UidDomain") or (user or "").partition("@")[2]
    if group:
        return group if "@" in group or not domain else f"{group}@{domain}"
    return user or ad.text("Owner")


def schedd_of(ad: View, default: str) -> str:
    """Name of the schedd: the first part of GlobalJobId, ap1@host#12.0#1795462341."""
    return (ad.text("GlobalJobId") or "").partition("#")[0] or default or "unknown"


def job_row(ad: View, seen_at: pd.Timestamp, snapshot: str, schedd: str) -> Row:
    """The row of a job ad; Rejected where it has no id, submitter, submission or status, or asks for no slot."""
    slotless = SLOTLESS.get(int(ad.number("JobUniverse") or 0))
    if slotless:
        raise Rejected(f"jobs of the {slotless} universe, which ask for no slot")
    cluster, proc = ad.number("ClusterId"), ad.number("ProcId")
    status = STATUS.get(int(ad.number("JobStatus") or 0))
    submitter, submitted = submitter_of(ad), moment(ad, "QDate")
    if cluster is None or proc is None or status is None or submitter is None or submitted is None:
        raise Rejected("no ClusterId, ProcId, JobStatus, QDate or user")
    completed = moment(ad, "CompletionDate") if status == "completed" else None
    starts = int(ad.number("NumShadowStarts", "NumJobStarts") or 0)
    request = {
        name: ad.number(name) for name in ("RequestCpus", "RequestMemory", "RequestDisk", "RequestGPUs")
    }
    return {
        "snapshot": snapshot,
        "seen_at": moment(ad, "ServerTime") or seen_at,
        "job_id": f"{int(cluster)}.{int(proc)}",
        "schedd": schedd_of(ad, schedd),
        "submitter": submitter,
        "owner": ad.text("Owner"),
        "accounting_group": ad.text("AcctGroup"),
        "project": ad.text("ProjectName"),
        "submitted_at": submitted,
        "status": status,
        "entered_status_at": moment(ad, "EnteredCurrentStatus"),
        "first_started_at": moment(ad, "JobStartDate"),
        "started_at": moment(ad, "JobCurrentStartDate"),
        "executing_at": moment(ad, "JobCurrentStartExecutingDate"),
        "completed_at": completed,
        "priority": int(ad.number("JobPrio") or 0),
        "request_cpus": request["RequestCpus"] if request["RequestCpus"] is not None else 1.0,
        "request_memory_mib": request["RequestMemory"] or 0.0,
        "request_disk_mib": (request["RequestDisk"] or 0.0) / 1024,
        "request_gpus": int(request["RequestGPUs"] or 0),
        "requirements": ad.source("Requirements") or "true",
        "require_gpus": ad.source("RequireGPUs"),
        "rank": ad.source("Rank"),
        "concurrency_limits": ad.text("ConcurrencyLimits"),
        "image": ad.text("ContainerImageFullPath", "ContainerImage", "SingularityImage", "DockerImage"),
        "delivery": ad.text("ContainerImageSource"),
        "input_mib": ad.number("TransferInputSizeMB"),
        "run_s": _run_s(ad, completed),
        "wall_s": ad.number("RemoteWallClockTime"),
        "n_starts": starts,
        "n_vacates": int(ad.number("NumVacates") or 0),
        "n_holds": int(ad.number("NumHolds") or 0),
        "slot": ad.text("RemoteHost", "LastRemoteHost"),
        "exit_code": _whole(ad.number("ExitCode")),
        # requests may hang on the job's usage, which the text doesn't keep: there they stand evaluated
        "ad": ad.print({name: value for name, value in request.items() if value is not None}),
    }


def _run_s(ad: View, completed: datetime | None) -> float | None:
    """How long the attempt that completed ran: the activation's own measure, else its dates [s]."""
    if completed is None:
        return None
    measured = ad.number("ActivationExecutionDuration", "LastActivationExecutionDuration")
    began = moment(ad, "JobCurrentStartExecutingDate", "JobCurrentStartDate")
    if measured is not None and measured >= 0:
        return measured
    return None if began is None else max(0.0, (completed - began).total_seconds())


def attempts_frame(epochs: Iterable[Ad], *, schedd: str = "") -> Framed:
    """Give a row per job start from job epoch ads (condor_history -epochs); jobs' attempts in order.

    An epoch ad is written when an attempt ends; its EpochWriteDate is the end.
    """
    rows: list[Row] = []
    rejects: Counter[str] = Counter()
    for ad in epochs:
        try:
            rows.append(_attempt_row(view_of(ad), schedd))
        except Rejected as reason:
            rejects[str(reason)] += 1
        except Exception:  # as in `framed`
            rejects[UNREADABLE] += 1
    rows.sort(key=lambda row: (row["schedd"], row["job_id"], row["started_at"]))
    for _, group in itertools.groupby(rows, key=lambda row: (row["schedd"], row["job_id"])):
        before: Any = None
        for row in group:
            row["ready_at"] = before if before is not None else row["ready_at"]
            before = row["ended_at"]
    columns = [column.name for column in describe("attempts")]
    return Framed(conform(pd.DataFrame(rows, columns=columns), "attempts"), rejects)


def located(attempts: pd.DataFrame, devices: pd.DataFrame) -> pd.DataFrame:
    """Fill site, device_model and capability of attempts from what is known of their first device.

    devices : frame "devices" of one or more snapshots; the newest word on a device counts
    """
    if attempts.empty:
        return conform(attempts, "attempts")
    told = devices.sort_values("seen_at").drop_duplicates(["machine", "device_id"], keep="last")
    told = told.set_index(["machine", "device_id"])
    first = attempts["device_ids"].str.partition(",")[0].str.strip()
    places = told.index.get_indexer(pd.MultiIndex.from_arrays([attempts["machine"], first]))
    found = told.iloc[places].reset_index(drop=True).where(pd.Series(places >= 0))
    sources = {"site": "site", "device_model": "model", "capability": "capability"}
    filled = {
        name: attempts[name].reset_index(drop=True).fillna(found[source]) for name, source in sources.items()
    }
    return conform(attempts.reset_index(drop=True).assign(**filled), "attempts")


def _attempt_row(ad: View, schedd: str) -> Row:
    cluster, proc = ad.number("ClusterId"), ad.number("ProcId")
    started, submitted, submitter = (
        moment(ad, "JobCurrentStartDate", "ShadowBday"),
        moment(ad, "QDate"),
        submitter_of(ad),
    )
    if cluster is None or proc is None or started is None or submitted is None or submitter is None:
        raise Rejected("no ClusterId, ProcId, QDate, start or user")
    slot = ad.text("RemoteHost", "LastRemoteHost")
    return {
        "job_id": f"{int(cluster)}.{int(proc)}",
        "schedd": schedd_of(ad, schedd),
        "submitter": submitter,
        "attempt": int(ad.number("NumShadowStarts", "RunInstanceID") or 1),
        "ready_at": submitted,
        "matched_at": moment(ad, "LastMatchTime"),
        "started_at": started,
        "executing_at": moment(ad, "JobCurrentStartExecutingDate"),
        "ended_at": moment(ad, "EpochWriteDate"),
        "slot": slot,
        "machine": slot.rsplit("@", 1)[-1] if slot else None,
        "device_ids": ad.text("AssignedGPUs"),
        "cpus": ad.number("CpusProvisioned"),
        "memory_mib": ad.number("MemoryProvisioned"),
        "gpus": _whole(ad.number("GPUsProvisioned")),
        "outcome": _outcome(ad),
    }


def _outcome(ad: View) -> str:
    """How an attempt ended: its time of exit tells whether the job did so itself (ToE, the manual's epoch attributes)."""
    status = STATUS.get(int(ad.number("JobStatus") or 0))
    exit_note = ad.nested("ToE") or {}
    if exit_note.get("how") == "OF_ITS_OWN_ACCORD":
        crashed = ad.flag("ExitBySignal") or exit_note.get("exitbysignal") is True
        return "failed" if crashed or ad.number("ExitCode") not in {None, 0} else "done"
    if status in {"held", "removed"}:
        return str(status)
    code = ad.number("VacateReasonCode")
    # 25.x writes no ToE into an epoch: there an exit that no vacating explains is the job's own
    if code is None and not exit_note and status == "running" and ad.value("ExitBySignal") is False:
        return "done" if ad.number("ExitCode") == 0 else "failed"
    match code:
        case 1008:
            return "lost"
        case 1003 | 1006:  # not started, failed to activate the claim: nothing ran that could be evicted
            return "failed"
    return "done" if status == "completed" else "evicted"


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
