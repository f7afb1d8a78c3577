"""Events of a job's life → frames "jobs" and "attempts".

The program's own begin and end stand in an event log to the second or better; the shadow's start doesn't. Where the
ads of the same jobs are known they say the rest: whose, what it asked for, on which startd.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import pandas as pd

from sim.classads.ads import Ad, ad_of_json, parse_one
from sim.inventory.rows import Row
from sim.schema import conform, describe

EVICTED, TERMINATED, HELD, DISCONNECTED, RECONNECTED, RECONNECT_FAILED, TRANSFER = 4, 5, 12, 22, 23, 24, 40
_AT_ONCE_S = 2.0  # a hold or removal that comes with the end of an attempt is its cause
_ALIAS = re.compile(r"alias=([\w.-]+)")
_RETURN = re.compile(r"return value (-?\d+)|[Ss]ignal (\d+)")
_DEVICES = re.compile(r"GPUs?_\w+")


class Told(Protocol):
    """An event, see `collectors.eventlog.Event`."""

    @property
    def code(self) -> int:
        """Its number in HTCondor's list."""
        ...

    @property
    def at(self) -> float:
        """When [s, Unix]."""
        ...

    @property
    def told(self) -> Mapping[str, Any]:
        """What it says."""
        ...

    @property
    def text(self) -> str:
        """The event as written."""
        ...


def events_frames(jobs: Mapping[str, Sequence[Told]], *, snapshot: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give the frames jobs and attempts of these jobs' events, each job's in order of time.

    A job whose submission isn't in the log (an older part of it is gone) has no row in jobs; its attempts wait from
    their own start. One that its schedd ran itself (a DAGMan, of the scheduler universe) asked for no slot and is left out.
    """
    rows, attempts = [], []
    last = max((held[-1].at for held in jobs.values() if held), default=0.0)
    for job_id, events in jobs.items():
        life = _Life(job_id, snapshot, last)
        for event in events:
            life.add(event)
        if life.slotless:
            continue
        life.finish()
        attempts += life.attempts
        if life.row["submitted_at"] is not None:
            rows.append(life.row)
    return _frame(rows, "jobs"), _frame(attempts, "attempts")


def _frame(rows: list[Row], name: str) -> pd.DataFrame:
    return conform(pd.DataFrame(rows, columns=[column.name for column in describe(name)]), name)


def _moment(at: float) -> datetime:
    return pd.Timestamp(round(at * 1e6), unit="us", tz=UTC).to_pydatetime()


class _Life:
    """A job's life as its events tell it.

    slotless : it ran where it was submitted from: in the schedd itself, whose address is no startd's
    """

    def __init__(self, job_id: str, snapshot: str, seen: float) -> None:
        self.attempts: list[Row] = []
        self.slotless = False
        self.row: Row = {
            "snapshot": snapshot, "seen_at": _moment(seen), "job_id": job_id, "schedd": "unknown",
            "submitter": "unknown", "submitted_at": None, "status": "idle", "priority": 0, "request_cpus": 1.0,
            "request_memory_mib": 0.0, "request_disk_mib": 0.0, "request_gpus": 0, "requirements": "true",
            "n_starts": 0, "n_holds": 0, "n_vacates": 0,
        }  # fmt: skip
        self._ready: datetime | None = None
        self._open: Row | None = None
        self._transfer: datetime | None = None
        self._ended_at = 0.0
        self._submit_host = ""

    def add(self, event: Told) -> None:
        """Take note of the next event."""
        at = _moment(event.at)
        match event.code:
            case 0:
                self._submit(event, at)
            case 28:
                self._describe(event.told)
            case 1:
                self._execute(event, at)
            case 4 | 5 | 7 | 24:
                self._end(event, at)
            case 9 | 12:
                self._stop(event, at)
            case 13:
                self._status("idle", at)
                self._ready = at
            case _:
                self._interlude(event.code, at)

    def _interlude(self, code: int, at: datetime) -> None:
        """What happens between start and end."""
        if self._open is not None and code in {DISCONNECTED, RECONNECTED}:
            self._open["_lost"] = code == DISCONNECTED
        elif self._open is None and self._transfer is None and code == TRANSFER:
            self._transfer = at

    def finish(self) -> None:
        """Write down the attempt that runs on, and what all attempts make of the job."""
        if self._open is not None:
            self._open.pop("_lost", None)
            self._open["outcome"] = "running"
            self.attempts.append(self._open)
        for place, attempt in enumerate(self.attempts, start=1):
            attempt["attempt"] = place
            attempt["submitter"], attempt["schedd"] = self.row["submitter"], self.row["schedd"]
        self.row["n_starts"] = len(self.attempts)
        self.row["n_vacates"] = sum(attempt["outcome"] == "evicted" for attempt in self.attempts)
        if self.attempts:
            first, last = self.attempts[0], self.attempts[-1]
            self.row["first_started_at"], self.row["started_at"] = first["started_at"], last["started_at"]
            self.row["executing_at"], self.row["slot"] = last["executing_at"], last["slot"]
            if self.row["status"] == "completed":
                self.row["run_s"] = (last["ended_at"] - last["executing_at"]).total_seconds()
            if not self.row["request_gpus"]:
                self.row["request_gpus"] = max(int(attempt["gpus"] or 0) for attempt in self.attempts)
        self.row["ad"] = _ad_text(self.row)

    def _status(self, status: str, at: datetime) -> None:
        self.row["status"], self.row["entered_status_at"] = status, at

    def _submit(self, event: Told, at: datetime) -> None:
        self.row["submitted_at"] = self._ready = at
        self._status("idle", at)
        self._submit_host = str(event.told.get("SubmitHost", ""))
        if hit := _ALIAS.search(self._submit_host):
            self.row["schedd"] = hit[1]
        self._describe(event.told)

    def _describe(self, told: Mapping[str, Any]) -> None:
        group, user, owner = (_text(told.get(name)) for name in ("AcctGroup", "AcctGroupUser", "Owner"))
        if owner:
            self.row["owner"] = owner
        whom = f"{group}.{user}" if group and user else user or owner
        if whom and (self.row["submitter"] == "unknown" or (group and user)):
            self.row["submitter"] = whom
        for name, column in (("AcctGroup", "accounting_group"), ("ProjectName", "project"),
                             ("Requirements", "requirements")):  # fmt: skip
            if value := _text(told.get(name)):
                self.row[column] = value
        for name, column, unit in (("RequestCpus", "request_cpus", 1.0), ("RequestMemory", "request_memory_mib", 1.0),
                                   ("RequestDisk", "request_disk_mib", 1 / 1024)):  # fmt: skip
            if (amount := _number(told.get(name))) is not None:
                self.row[column] = amount * unit
        if (gpus := _number(told.get("RequestGPUs", told.get("RequestGpus")))) is not None:
            self.row["request_gpus"] = int(gpus)

    def _execute(self, event: Told, at: datetime) -> None:
        if self._open is not None:  # its end wasn't logged: a crashed access point
            self._open.pop("_lost", None)
            self._open.update(ended_at=None, outcome="lost")
            self.attempts.append(self._open)
        host = event.told.get("ExecuteHost")
        self.slotless |= bool(host) and host == self._submit_host and "SlotName" not in event.told
        ready = self._ready or at
        began = self._transfer if self._transfer is not None and self._transfer >= ready else at
        slot = _text(event.told.get("SlotName"))
        alias = _ALIAS.search(str(event.told.get("ExecuteHost", "")))
        properties = _properties(event.told)
        devices = _devices(properties)
        self._open = {
            "job_id": self.row["job_id"], "ready_at": min(ready, began), "started_at": began, "executing_at": at,
            "ended_at": None, "slot": slot, "machine": slot.rsplit("@", 1)[-1] if slot else alias[1] if alias else None,
            "site": _text(properties.get("GLIDEIN_Site")), "cpus": _number(properties.get("Cpus")),
            "memory_mib": _number(properties.get("Memory")),
            "gpus": None if (gpus := _number(properties.get("GPUs"))) is None else int(gpus),
            "device_ids": ",".join(str(device.get("Id")) for device in devices) or None,
            "device_model": _text(devices[0].get("DeviceName")) if devices else None,
            "capability": _number(devices[0].get("Capability")) if devices else None,
        }  # fmt: skip
        self._transfer = None
        self._status("running", at)

    def _end(self, event: Told, at: datetime) -> None:
        self._ended_at = event.at
        self._transfer = None
        attempt, self._open = self._open, None
        if attempt is not None:
            lost = attempt.pop("_lost", False)
            attempt.update(ended_at=at, outcome=_outcome(event, lost=lost))
            if ids := _text(event.told.get("AssignedGpus", event.told.get("AssignedGPUs"))):
                attempt["device_ids"] = attempt["device_ids"] or ids.replace('"', "")
            self.attempts.append(attempt)
            self._ready = at
        if event.code == TERMINATED:
            self._describe(event.told)
            self._status("completed", at)
            self.row["completed_at"], self.row["exit_code"] = at, _exit_code(event)
        else:
            self._status("idle", at)

    def _stop(self, event: Told, at: datetime) -> None:
        """A hold or a removal; what ended the attempt a moment before was its doing."""
        outcome = "held" if event.code == HELD else "removed"
        if self._open is not None:
            self._open.pop("_lost", None)
            self._open.update(ended_at=at, outcome=outcome)
            self.attempts.append(self._open)
            self._open = None
        elif self.attempts and event.at - self._ended_at <= _AT_ONCE_S and self.row["status"] == "idle":
            self.attempts[-1]["outcome"] = outcome
        self._transfer = None
        self.row["n_holds"] += event.code == HELD
        self._status(outcome, at)


def _outcome(event: Told, *, lost: bool) -> str:
    if event.code == TERMINATED:
        return "done" if _exit_code(event) == 0 else "failed"
    if lost or event.code == RECONNECT_FAILED:
        return "lost"
    return "evicted" if event.code == EVICTED else "failed"


def _exit_code(event: Told) -> int | None:
    """What the program returned; 128 and the signal's number where one ended it, as shells have it."""
    told = event.told
    if "TerminatedNormally" in told:
        if told["TerminatedNormally"] is True:
            return int(_number(told.get("ReturnValue")) or 0)
        return 128 + int(_number(told.get("TerminatedBySignal")) or 0)
    hit = _RETURN.search(event.text)
    return None if hit is None else int(hit[1]) if hit[1] is not None else 128 + int(hit[2])


def _properties(told: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = told.get("ExecuteProps")
    return inner if isinstance(inner, Mapping) else told


def _devices(properties: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The nested ads of the devices of an execute event, in the order of AvailableGPUs."""
    found = {}
    for name, value in properties.items():
        if not name.lower().startswith("gpus_"):
            continue
        device = _nested(value)
        if device and device.get("Id"):
            found[name.lower()] = device
    listed = properties.get("AvailableGPUs")
    order = _DEVICES.findall(str(listed)) if listed is not None else []
    names = [name.lower() for name in order if name.lower() in found]
    return [found[name] for name in (names or sorted(found))]


def _nested(value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, str) and value.startswith("["):
        try:
            ad: Ad = parse_one(value)
        except Exception:  # classad2 raises many kinds
            return {}
        return {name: ad.get(name) for name in ad}
    return {}


def _text(value: Any) -> str | None:
    if not isinstance(value, str) or not value or value.startswith("/Expr("):
        return None
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < 1e18 else None


def _ad_text(row: Row) -> str:
    """The job ad as far as its events tell it."""
    cluster, _, proc = row["job_id"].partition(".")
    record = {
        "ClusterId": int(cluster), "ProcId": int(proc or 0), "Owner": row.get("owner"), "User": row["submitter"],
        "RequestCpus": int(row["request_cpus"]), "RequestMemory": int(row["request_memory_mib"]),
        "RequestDisk": int(row["request_disk_mib"] * 1024), "RequestGPUs": row["request_gpus"],
        "Requirements": f"/Expr({row['requirements']})/",
    }  # fmt: skip
    try:
        return " ".join(str(ad_of_json(record)).split())
    except Exception:  # a Requirements that is no expression
        row["requirements"] = "true"
        return _ad_text(row)
