"""A folder of a pool's own artefacts → what a replay needs (`poolscope replay`).

Read are: slot-ad snapshots (startd_ads.jsonl), history, epochs and what was left in the queue (JSON), the schedd's event
log (logs/EventLog, JSON), priorities (priorities.jsonl), asked run times (workload.csv), machines' lifetimes
(glidein_events.jsonl) and the daemons' configuration (config/). Any of them may be packed by xz. Whatever was derived
from them is not looked at.

Submission times, run times, lifetimes and configuration feed the simulation; starts, waits and evictions are only what
it is compared with.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from collectors.origins import count_origins
from sim.classads.ads import ad_of_json, number_of, read_ads, read_text, text_of
from sim.engine.run import Lifetime, Recording
from sim.errors import InputError
from sim.inventory import SlotRows, attempts_frame, columns_of, jobs_frame, priorities_frame
from sim.policy import MACROS, NAMED
from sim.schema import conform, describe, empty

CYCLE_TIME = re.compile(r"LastNegotiationCycleTime\d+")
_SUBMITTED_S = 2.0  # a schedd's QDate and its log's submission are the same second or the next
_STARTED_S = 5.0  # from the start of a glidein to its first ad (real-pool facts §1)


def load_recording(folder: Path) -> Recording:
    """Read a recorded run.

    Raises
    ------
    InputError : the folder lacks slot-ad snapshots or jobs, or a file is damaged; the sentence names it
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; expected a recording with startd_ads.jsonl and history.json"
        )
    slots = _slots(folder)
    jobs = _jobs(folder)
    events = _events(folder)
    clock = "shadow"
    if events:
        jobs = _timed(jobs, events)
        clock = "execution"
    jobs["run_s"] = _asked_run_s(folder, jobs)
    epochs = _found(folder, "epochs.json")
    attempts = attempts_frame(read_ads(epochs)).frame if epochs else empty("attempts")
    first, last = slots["seen_at"].min().timestamp(), slots["seen_at"].max().timestamp()
    start = min(first, float(jobs["submitted_at"].min().timestamp()))
    settings = _settings(folder)
    return Recording(
        slots=slots,
        jobs=conform(jobs, "jobs"),
        attempts=attempts,
        priorities=_priorities(folder),
        settings=settings,
        start=start,
        end=max(last, float(jobs["seen_at"].max().timestamp())),
        name=folder.name,
        clock=clock,
        lifetimes=_lifetimes(folder, _update_interval(settings)),
        cycles=sorted(_cycles(folder)),
        rounds=sorted(_rounds(folder)),
        unheard=_unheard(folder),
        origins=_origins(folder),
    )


def _found(folder: Path, name: str) -> Path | None:
    for candidate in (
        folder / name,
        folder / f"{name}.xz",
        folder / "logs" / name,
        folder / "logs" / f"{name}.xz",
    ):
        if candidate.is_file():
            return candidate
    return None


def _needed(folder: Path, name: str) -> Path:
    path = _found(folder, name)
    if path is None:
        raise InputError(f"{folder}: lacks {name} (or {name}.xz); expected a recorded run of a pool")
    return path


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: no JSON ({error})") from error
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number}: expected an object, found {type(record).__name__}")
        yield record


def _moment(seconds: float) -> pd.Timestamp:
    return pd.Timestamp(round(seconds * 1e6), unit="us", tz="UTC")


def _slots(folder: Path) -> pd.DataFrame:
    path = _needed(folder, "startd_ads.jsonl")
    rows = SlotRows()
    for number, record in enumerate(_json_lines(path)):
        if not isinstance(record.get("t"), int | float) or not isinstance(record.get("ads"), list):
            raise InputError(f"{path}, line {number + 1}: expected t (Unix seconds) and ads (a list)")
        # whole machines only: dynamic slots are what the simulation itself makes
        ads = [ad_of_json(ad) for ad in record["ads"] if ad.get("SlotType") != "Dynamic"]
        rows.add(columns_of(ads)[0], seen_at=_moment(record["t"]), snapshot=f"{number:06d}")
    frame = rows.framed().frame
    if frame.empty:
        raise InputError(f"{path}: no slot ad in it")
    return frame


def _jobs(folder: Path) -> pd.DataFrame:
    """Every job once, as it left the queue or as it was at the end."""
    paths = [
        path for name in ("history.json", "queue_left.json", "queue.json") if (path := _found(folder, name))
    ]
    if not paths:
        _needed(folder, "history.json")
    ads: dict[tuple[str | None, float | None, float | None], Any] = {}
    for path in reversed(paths):
        for ad in read_ads(path):
            schedd = (text_of(ad, "GlobalJobId") or "").partition("#")[0]  # ids are each schedd's own
            ads[schedd, number_of(ad, "ClusterId"), number_of(ad, "ProcId")] = ad
    ended = [number_of(ad, "EnteredCurrentStatus", "CompletionDate", "QDate") or 0.0 for ad in ads.values()]
    frame = jobs_frame(ads.values(), seen_at=_moment(max(ended, default=0.0)), snapshot="history").frame
    if frame.empty:
        raise InputError(f"{paths[0]}: no job ad in it")
    return frame.sort_values("submitted_at", kind="stable", ignore_index=True)


def _events(folder: Path) -> dict[str, list[tuple[str, float]]]:
    """The events of each job by id: (kind, Unix seconds), in order; times without zone are UTC."""
    path = _found(folder, "EventLog")
    if path is None:
        return {}
    text, decoder, position = read_text(path).strip(), json.JSONDecoder(), 0
    found: dict[str, list[tuple[str, float]]] = {}
    while position < len(text):
        try:
            event, position = decoder.raw_decode(text, position)
        except ValueError:
            break  # a log that breaks off ends with its last whole event
        while position < len(text) and text[position] in " \t\r\n,":
            position += 1
        if isinstance(event, dict) and "Cluster" in event and "EventTime" in event:
            at = pd.Timestamp(event["EventTime"])
            at = at.tz_localize("UTC") if at.tz is None else at
            found.setdefault(f"{event['Cluster']}.{event.get('Proc', 0)}", []).append(
                (event["MyType"], at.timestamp())
            )
    return found


def _timed(jobs: pd.DataFrame, events: dict[str, list[tuple[str, float]]]) -> pd.DataFrame:
    """The jobs with submission and first execution as the event log has them, to the millisecond.

    A job of which it has no submission stays as it is. Where there are several schedds, the log is that of one of them.
    """
    frame = jobs.copy()
    first = {job: dict(reversed(held)) for job, held in events.items()}
    submitted = pd.Series(
        [first.get(job_id, {}).get("SubmitEvent") for job_id in frame["job_id"]], frame.index, dtype="float64"
    )
    told = submitted.notna()
    if frame["schedd"].nunique() > 1:
        queued = frame["submitted_at"].astype("datetime64[us, UTC]").astype("int64") / 1e6
        told &= (submitted - queued).abs() <= _SUBMITTED_S
    for column, kind in (("submitted_at", "SubmitEvent"), ("first_started_at", "ExecuteEvent")):
        values = [first.get(job_id, {}).get(kind) for job_id in frame["job_id"]]
        moments = pd.Series([pd.NaT if at is None else _moment(at) for at in values], index=frame.index)
        frame[column] = frame[column].where(~told, pd.to_datetime(moments, utc=True))
    return frame


def _asked_run_s(folder: Path, jobs: pd.DataFrame) -> pd.Series:
    """Run times as they were asked for (workload.csv, a row per job in order of submission), else as they were measured."""
    path = _found(folder, "workload.csv")
    measured = jobs["run_s"].astype("float64")
    if path is None:
        return measured
    rows = list(csv.DictReader(io.StringIO(read_text(path))))
    name = next(
        (column for column in ("run_seconds", "run_s", "runtime_s") if rows and column in rows[0]), None
    )
    if name is None or len(rows) < len(jobs):
        return measured
    try:
        asked = np.array([float(row[name]) for row in rows], dtype="float64")
    except ValueError as error:
        raise InputError(f"{path}: a run time that is no number ({error})") from error
    clusters = jobs["job_id"].map(lambda job: tuple(int(part) for part in job.split(".")))
    place = clusters.rank(method="first").astype(int) - 1 if len(rows) == len(jobs) else None
    own = _row_numbers(jobs)
    rows_of = own if own is not None else place
    if rows_of is None:
        return measured
    told = pd.Series(asked[rows_of.to_numpy()], index=jobs.index)
    known = measured.notna()
    if known.any() and float((told[known] - measured[known]).abs().median()) > 5:
        return measured  # the file is about other jobs
    return told


def _row_numbers(jobs: pd.DataFrame) -> pd.Series | None:
    """The row of the workload file that a job says it came from (an attribute that ends in Row)."""
    found = jobs["ad"].str.extract(r"\b\w*Row\s*=\s*(\d+)\b", expand=False)
    return found.astype(int) if found.notna().all() else None


def _priorities(folder: Path) -> pd.DataFrame:
    path = _found(folder, "priorities.jsonl")
    if path is None:
        return empty("priorities")
    parts = [
        priorities_frame(
            [ad_of_json(ad) for ad in record.get("ads", [])],
            seen_at=_moment(record["t"]),
            snapshot=str(number),
        ).frame
        for number, record in enumerate(_json_lines(path))
    ]
    return pd.concat(parts, ignore_index=True) if parts else empty("priorities")


def _cycles(folder: Path) -> set[float]:
    """When negotiation cycles began, as the negotiator's own ads and its accounting ads tell [s, Unix].

    An accounting ad's LastUpdate is when the priorities were last brought up to date, which every cycle begins with.
    """
    found: set[float] = set()
    for name in ("other_ads.jsonl", "priorities.jsonl"):
        path = _found(folder, name)
        for record in _json_lines(path) if path else ():
            for ad in record.get("ads", []):
                told = ad.get("LastUpdate") if ad.get("MyType") == "Accounting" else None
                values = [ad[key] for key in ad if CYCLE_TIME.fullmatch(key)] if told is None else [told]
                found.update(float(value) for value in values if isinstance(value, int | float) and value > 0)
    return found


def _origins(folder: Path) -> dict[str, int]:
    """How attempts began, as the MatchLog and the StartLogs tell; empty without them."""
    matches = _found(folder, "MatchLog")
    logs = [read_text(path) for path in sorted((folder / "logs").glob("StartLog.*"))]
    return count_origins(read_text(matches), logs) if matches and logs else {}


def _rounds(folder: Path) -> set[float]:
    """When the schedd sent its ad, as the ads themselves tell, in whole seconds [s, Unix]."""
    path = _found(folder, "other_ads.jsonl")
    return {
        float(ad["MyCurrentTime"])
        for record in (_json_lines(path) if path else ())
        for ad in record.get("ads", [])
        if ad.get("MyType") == "Scheduler" and isinstance(ad.get("MyCurrentTime"), int | float)
    }


def _unheard(folder: Path) -> list[tuple[float, float]]:
    """When the collector had no ad of the negotiator, from half-way between two looks until the next ad came [s, Unix].

    A schedd that finds no negotiator can't send RESCHEDULE. It happens where an ad's lifetime is shorter than the time
    between two updates (real-pool facts §7.9).
    """
    path = _found(folder, "other_ads.jsonl")
    found: list[tuple[float, float]] = []
    last, gone = float("-inf"), None
    for record in _json_lines(path) if path else ():
        heard = [ad.get("LastHeardFrom") for ad in record.get("ads", []) if ad.get("MyType") == "Negotiator"]
        if not heard:
            gone = (last + record["t"]) / 2 if gone is None else gone
        elif gone is not None:
            found.append((gone, heard[0] if isinstance(heard[0], int | float) else record["t"]))
            gone = None
        last = record["t"]
    return found if gone is None else [*found, (gone, float("inf"))]


def _settings(folder: Path) -> pd.DataFrame:
    """The macros that a replay needs, from the daemons' dumps, else from the configuration files they were started with."""
    files = sorted((folder / "config").glob("*")) if (folder / "config").is_dir() else []
    rows = []
    for kind, names in MACROS.items():
        own = [file for file in files if kind in file.name.lower()]
        central = [file for file in files if "central" in file.name.lower()]
        daemons = tuple(MACROS)  # another daemon's dump tells its own defaults, not what this one was told
        others = [
            file
            for file in files
            if file not in central and not any(name in file.name.lower() for name in daemons)
        ]
        named = _named_macros([*own, *central]) if kind == "negotiator" else []
        for name in [*names, *named]:
            order = [*own, *others, *central] if kind == "startd" else [*own, *central]
            value = next(
                (value for file in order if (value := _macro(read_text(file), name)) is not None), None
            )
            rows.append(
                {"daemon": kind, "daemon_name": "", "name": name, "value": value, "snapshot": "config"}
            )
    frame = pd.DataFrame(rows, columns=[column.name for column in describe("settings")])
    frame["seen_at"] = _moment(0.0)
    return conform(frame, "settings")


def _named_macros(files: list[Path]) -> list[str]:
    """The macros in these files that carry the name of an accounting group or of a concurrency limit."""
    written = (
        match[1]
        for file in files
        for match in re.finditer(r"^\s*(\w[\w.]*)\s*=", read_text(file), flags=re.MULTILINE)
    )
    return sorted({name for name in written if NAMED.fullmatch(name)})


def _macro(text: str, name: str, depth: int = 5) -> str | None:
    """The value of a macro in a configuration's text, $(OTHER) in it replaced; the last assignment counts."""
    blank = r"[^\S\n]*"  # an empty value must not reach into the next line
    line = rf"^{blank}{re.escape(name)}{blank}={blank}(.*?){blank}$"
    found = re.findall(line, text, flags=re.MULTILINE | re.IGNORECASE)
    if not found or not depth:
        return None
    return re.sub(r"\$\((\w+)\)", lambda inner: _macro(text, inner[1], depth - 1) or "", found[-1])


def _update_interval(settings: pd.DataFrame) -> float:
    """How often a startd sends its ad [s]; HTCondor's default where the configuration doesn't say it."""
    told = settings[(settings["daemon"] == "startd") & (settings["name"] == "UPDATE_INTERVAL")][
        "value"
    ].dropna()
    return float(told.iloc[-1]) if len(told) and str(told.iloc[-1]).isdigit() else 300.0


def _lifetimes(folder: Path, update_s: float) -> dict[str, list[Lifetime]]:
    """When each glidein was started and stopped, by the startd's name; what stayed has no end.

    One that ends by itself (DAEMON_SHUTDOWN) looks at its clock when it sends its ad, every `update_s` seconds.
    """
    path = _found(folder, "glidein_events.jsonl")
    found: dict[str, list[Lifetime]] = {}
    for record in _json_lines(path) if path else ():
        name, what, at = str(record.get("glidein", "")), record.get("what"), record.get("t")
        if not isinstance(at, int | float) or what not in {"start", "stop"}:
            continue
        lives = found.setdefault(name, [])
        if what == "start":
            lives.append(Lifetime(at + _STARTED_S, float("inf"), "open"))
        elif lives:
            up, how, down = lives[-1].up, record.get("how"), float(at)
            if how in {"daemon_shutdown", "expire"}:
                down = up + math.ceil((down - up) / update_s) * update_s
            lives[-1] = Lifetime(up, down, how if how in {"kill", "graceful"} else "quit")
    return found
