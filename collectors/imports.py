"""Files of other tools → the store: ads, event logs, traces, and folders of them; the same record is taken once.

What a file holds is told by its content, never by its name. A record is an ad, an event, or a line of a trace. Records
that were imported before are known by their digest (frame "imports"), so a log that has grown gives its new events only.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from collectors.eventlog import Event, by_access_point, is_event_log, read_event_log, sorted_by_job
from collectors.recorded import KINDS, kind_of, last_moment
from collectors.traces import read_trace, trace_format
from sim.attempts import reconciled
from sim.classads.ads import ad_of_json, number_of, parse_ads, text_of
from sim.errors import InputError
from sim.inventory import (
    Framed,
    attempts_frame,
    columns_of,
    cycles_frame,
    devices_frame,
    jobs_frame,
    located,
    priorities_frame,
    slots_frame,
)
from sim.inventory.events import events_frames
from sim.inventory.slots import soundness
from sim.schema import conform
from sim.store import Snapshot, Store

TWICE = "a record that was there before"
_UNPACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"\xfd7zXZ\x00": lzma.decompress, b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress,
}  # fmt: skip
_LEFT = ("completed", "removed")
_SUBMITTED_S = 2.0  # a schedd's QDate and its log's submission are the same second or the next
_OTHER = "an ad of no use here"
_NO_FORMAT = "a file of no known format"

Tell = Callable[[str], None]


@dataclass
class Imported:
    """What an import did: records taken and skipped, why, and by file; rows written by frame."""

    taken: int = 0
    skipped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    files: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    snapshots: int = 0
    notes: list[str] = field(default_factory=list)


class _Ad(NamedTuple):
    """An ad of a file, and when it was seen [s, Unix] if the file says so."""

    ad: Any
    seen: float | None


@dataclass
class _Found:
    """Everything that was read: slot ads, events by log, frames of all else; `known` are the digests of earlier imports."""

    known: set[int]
    slots: list[_Ad] = field(default_factory=list)
    logs: list[list[Event]] = field(default_factory=list)
    frames: dict[str, list[pd.DataFrame]] = field(default_factory=lambda: defaultdict(list))
    digests: set[int] = field(default_factory=set)

    def is_new(self, digest: int, reasons: Counter[str]) -> bool:
        """Whether a record is seen for the first time; it is noted."""
        if digest in self.known or digest in self.digests:
            reasons[TWICE] += 1
            return False
        self.digests.add(digest)
        return True


@dataclass
class _File:
    """A file's text, and how its times are read."""

    path: Path
    text: str
    zone: tzinfo | None
    reasons: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


Change = Callable[[pd.DataFrame], pd.DataFrame]


def import_files(
    paths: Iterable[Path],
    store: Store,
    *,
    zone: tzinfo | None = None,
    tell: Tell = lambda _: None,
    change: Change | None = None,
) -> Imported:
    """Read files and folders (whole, hidden files apart) into the store.

    Parameters
    ----------
    zone : of times without one in event logs and traces; without it the zone that a log betrays, else UTC
    tell : told what is going on
    change : of every frame before it is stored

    Raises
    ------
    InputError : a path isn't there, or none of the files holds anything of use
    StoreError : the store can't be written
    """
    done = Imported()
    found = _Found(set(store.read("imports", columns=["digest"])["digest"]))
    files = _files(paths)
    for place, path in enumerate(files, start=1):
        tell(f"{place}/{len(files)} {path}")
        _read_file(path, zone, found, done)
    if not any(entry["format"] for entry in done.files):
        told = "; ".join(f"{entry['path']}: {entry['error']}" for entry in done.files[:3])
        raise InputError(f"nothing to import ({told or 'no files'}); {_EXPECTED}")
    if found.digests:
        tell("writing")
        _write(found, store, done, change)
    done.taken = sum(entry["taken"] for entry in done.files)
    done.skipped = sum(entry["skipped"] for entry in done.files)
    return done


_EXPECTED = (
    "expected the output of condor_status, condor_q or condor_history (-long, -json, -xml), event logs, SWF, "
    "openb or Philly-style CSV"
)


def _files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file())
            found += [path / file for file in inside if not any(part.startswith(".") for part in file.parts)]
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    return list(dict.fromkeys(found))


def _read_file(path: Path, zone: tzinfo | None, found: _Found, done: Imported) -> None:
    entry: dict[str, Any] = {"path": str(path), "format": None, "taken": 0, "skipped": 0, "error": None}
    done.files.append(entry)
    try:
        file = _File(path, _text(path), zone)
        name, reader = _reader(file.text)
        entry["taken"] = reader(file, found)
        entry["format"] = name
        reasons = file.reasons
        done.notes += file.notes
    except InputError as error:
        entry["error"] = re.sub(rf"^{re.escape(str(path))}(: |, )", "", str(error)).partition("; expected")[0]
        reasons = Counter({_NO_FORMAT: 1})
    entry["skipped"] = sum(reasons.values())
    entry["reasons"] = dict(reasons)
    done.reasons += reasons


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        for magic, unpack in _UNPACK.items():
            if data.startswith(magic):
                data = unpack(data)
                break
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} is no UTF-8 text") from error
    except (
        OSError,
        EOFError,
        ValueError,
        zlib.error,
        lzma.LZMAError,
    ) as error:  # bz2 has ValueError for a cut file
        raise InputError(f"can't be read ({error.__class__.__name__})") from error


def _reader(text: str) -> tuple[str, Callable[[_File, _Found], int]]:
    if not text.strip():
        raise InputError("an empty file")
    if kind := trace_format(text):
        return kind, _read_trace
    if is_event_log(text):
        return "event log", _read_event_log
    if re.match(r'\s*\{\s*"(t|ads)"\s*:', text):
        return "snapshots", _read_snapshots
    return "ads", _read_ads


def _digest(*parts: object) -> int:
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def _canonical(ad: Any) -> str:
    """The same text for an ad whichever format it came in."""
    lines = (line.strip(" ;") for line in str(ad).splitlines())
    return "\n".join(sorted(line for line in lines if not line.endswith(" = undefined")))  # JSON has none


def _whole_ads(file: _File) -> list[Any]:
    """The ads of a file, without the last where that breaks off: a full disk, a program that was ended."""
    where = str(file.path)
    try:
        return parse_ads(file.text, where=where)
    except InputError:
        before = re.split(r"\r?\n[ \t]*\r?\n", file.text.rstrip())[:-1]
        if not before or file.text.lstrip()[:1] in "<[{":
            raise
        found = parse_ads("\n\n".join(before), where=where)
        file.reasons["an ad that breaks off"] += 1
        return found


def _read_ads(file: _File, found: _Found) -> int:
    ads = [_Ad(ad, None) for ad in _whole_ads(file)]
    taken = _keep(ads, file, found)
    if not taken and set(file.reasons) == {_OTHER}:
        raise InputError("no slot, job, negotiator or accounting ad")
    return taken


def _read_snapshots(file: _File, found: _Found) -> int:
    """A line a moment: ``{"t": 1795462341.2, "ads": [{…}, …]}``."""
    ads: list[_Ad] = []
    for line in file.text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            if line.strip():
                file.reasons["a line that is no JSON"] += 1
            continue
        at, told = (record.get("t"), record.get("ads")) if isinstance(record, dict) else (None, None)
        if not isinstance(at, int | float) or not isinstance(told, list):
            file.reasons["a line without t and ads"] += 1
            continue
        for one in told:
            try:
                ads.append(_Ad(ad_of_json(one), float(at)))
            except Exception:  # classad2 raises many kinds
                file.reasons["no ad"] += 1
    return _keep(ads, file, found)


def _keep(ads: list[_Ad], file: _File, found: _Found) -> int:
    """Sort ads by what they describe and make frames of all but slots; gives the number of new records."""
    slots: list[tuple[_Ad, bool]] = []
    groups: dict[tuple[str, float | None], list[Any]] = defaultdict(list)
    for held in ads:
        kind = kind_of(held.ad)
        if kind not in KINDS:
            file.reasons[_OTHER] += 1
            continue
        new = found.is_new(_digest(kind, held.seen, _canonical(held.ad)), file.reasons)
        if kind == "slot":
            slots.append((held, new))
        elif new:
            groups[kind, held.seen].append(held.ad)
    taken = _keep_slots(slots, file, found)
    for (kind, seen), same in groups.items():
        frame, made = _framed(kind, same, _at(seen) if seen else last_moment(same) or _at(0.0))
        file.reasons += made.rejects
        taken += len(same) - sum(made.rejects.values())
        found.frames[frame].append(made.frame)
    return taken


def _keep_slots(slots: list[tuple[_Ad, bool]], file: _File, found: _Found) -> int:
    """Keep slot ads, also those that aren't new: a snapshot is written whole if any of it is news."""
    columns, _ = columns_of([held.ad for held, _ in slots])
    sound, _ = soundness(columns, np.ones(columns.n, np.bool_))
    file.reasons += soundness(columns, np.array([new for _, new in slots], np.bool_))[1]
    kept = [one for one, there in zip(slots, sound.tolist(), strict=True) if there]
    found.slots += [held for held, _ in kept]
    return sum(new for _, new in kept)


def _framed(kind: str, ads: list[Any], at: pd.Timestamp) -> tuple[str, Framed]:
    match kind:
        case "job":
            return "jobs", jobs_frame(ads, seen_at=at, snapshot="")
        case "epoch":
            return "attempts", attempts_frame(ads)
        case "negotiator":
            return "cycles", cycles_frame(ads)
        case _:
            return "priorities", priorities_frame(ads, seen_at=at, snapshot="")


def _read_event_log(file: _File, found: _Found) -> int:
    written = datetime.fromtimestamp(file.path.stat().st_mtime, UTC)
    log = read_event_log(file.text, zone=file.zone, written=written)
    file.reasons += log.skipped
    if log.clock == "UTC":
        file.notes.append(f"{file.path}: times without a zone, read as UTC; name theirs with --timezone")
    found.logs.append(log.events)  # all of them: a job's attempt is made of events of old and new parts
    return sum(
        found.is_new(_digest("event", event.job_id, event.code, event.text), file.reasons)
        for event in log.events
    )


def _read_trace(file: _File, found: _Found) -> int:
    kind = trace_format(file.text)
    assert kind is not None
    trace = read_trace(file.text, kind, name=file.path.name.partition(".")[0], zone=file.zone)
    file.reasons += trace.skipped
    if kind == "openb nodes":
        return _keep([_Ad(ad, 1.0) for ad in trace.slots], file, found)
    fields = trace.frames["jobs"].drop(columns=["snapshot", "seen_at", "schedd"])
    news = [found.is_new(_digest(kind, *row), file.reasons) for row in fields.itertuples(index=False)]
    ids = set(trace.frames["jobs"]["job_id"][news])
    for name, frame in trace.frames.items():
        found.frames[name].append(frame[frame["job_id"].isin(ids)])
    return sum(news)


def _write(found: _Found, store: Store, done: Imported, change: Change | None) -> None:
    """Write a snapshot for each moment of slot ads, and one with all else; the digests come last."""
    snapshots = _slot_snapshots(found)
    parts = found.frames
    last = _last(found, snapshots)
    name = _name(last, sorted(found.digests))
    if "jobs" in parts:
        parts["jobs"] = [_every_job_once(pd.concat(parts["jobs"], ignore_index=True))]
    if logs := [log for log in found.logs if log]:
        told = pd.concat([store.jobs(), *parts.get("jobs", [])], ignore_index=True)
        told = _every_job_once(told) if len(told) else told
        for events in by_access_point(logs):
            _add_events(events, told, name, parts)
    if "attempts" in parts:
        parts["attempts"] = [_attempts(pd.concat(parts["attempts"]), snapshots, store)]
    frames = {kind: pd.concat(held, ignore_index=True) for kind, held in parts.items()}
    frames = {
        kind: frame.assign(snapshot=name) if "snapshot" in frame else frame for kind, frame in frames.items()
    }
    frames["imports"] = pd.DataFrame({"snapshot": name, "seen_at": last, "digest": sorted(found.digests)})
    there = set(store.snapshots()["id"])
    for snapshot in snapshots:
        if snapshot.id not in there:
            _append(store, snapshot, done, change)
    _append(store, Snapshot(name, last.to_pydatetime(), frames, _META), done, change)


_META = {"source": "import"}


def _append(store: Store, snapshot: Snapshot, done: Imported, change: Change | None) -> None:
    if change:
        snapshot = replace(snapshot, frames={kind: change(frame) for kind, frame in snapshot.frames.items()})
    store.append(snapshot)
    done.snapshots += 1
    for kind, frame in snapshot.frames.items():
        if kind != "imports" and len(frame):
            done.rows[kind] = done.rows.get(kind, 0) + len(frame)


def _name(at: pd.Timestamp, content: Sequence[object]) -> str:
    """A snapshot's id: the same for the same content, so that an import that was killed can be repeated."""
    return f"{at:%Y%m%dT%H%M%SZ}-{_digest(*content):016x}"[:24]


def _at(seconds: float) -> pd.Timestamp:
    return pd.Timestamp(round(seconds * 1e6), unit="us", tz="UTC")


def _slot_snapshots(found: _Found) -> list[Snapshot]:
    """A snapshot for each moment of the files that tell theirs, and one for all others."""
    moments: dict[float | None, list[Any]] = defaultdict(list)
    for held in found.slots:
        moments[held.seen].append(held.ad)
    if None in moments:
        loose = _newest(moments.pop(None))
        at = last_moment(loose) or pd.Timestamp.now(tz="UTC").floor("us")
        moments[at.timestamp()] += loose
    snapshots = []
    for seen, ads in sorted(moments.items(), key=lambda item: item[0] or 0.0):
        at = _at(seen or 0.0)
        name = _name(at, sorted(_canonical(ad) for ad in ads))
        frames = {
            "slots": slots_frame(ads, seen_at=at, snapshot=name).frame,
            "devices": devices_frame(ads, seen_at=at, snapshot=name).frame,
        }
        snapshots.append(Snapshot(name, at.to_pydatetime(), frames, _META))
    return snapshots


def _newest(ads: list[Any]) -> list[Any]:
    """Each slot as it was last, where several files tell of it."""
    last: dict[str, tuple[float, Any]] = {}
    for ad in ads:
        name, time = text_of(ad, "Name") or "", number_of(ad, "MyCurrentTime", "LastHeardFrom") or 0.0
        if name not in last or time >= last[name][0]:
            last[name] = (time, ad)
    return [ad for _, ad in last.values()]


def _last(found: _Found, snapshots: list[Snapshot]) -> pd.Timestamp:
    """The newest time that the files tell of."""
    told = [pd.Timestamp(snapshot.taken_at) for snapshot in snapshots]
    told += [_at(max(event.at for event in log)) for log in found.logs if log]
    for name, frames in found.frames.items():
        column = {"attempts": "ended_at", "cycles": "started_at"}.get(name, "seen_at")
        told += [newest for frame in frames if not pd.isna(newest := frame[column].max())]
    return max(told, default=pd.Timestamp.now(tz="UTC").floor("us"))


def _every_job_once(jobs: pd.DataFrame) -> pd.DataFrame:
    """The last word on each job; one that has left the queue stays as it left."""
    order = jobs.assign(_left=jobs["status"].isin(_LEFT)).sort_values(["_left", "seen_at"], kind="stable")
    return conform(order.drop_duplicates(["schedd", "job_id"], keep="last"), "jobs")


def _add_events(
    events: Iterable[Event], told: pd.DataFrame, name: str, parts: dict[str, list[pd.DataFrame]]
) -> None:
    """Add what an access point's event logs tell: attempts, and jobs that no ad tells of or that have gone on since.

    told : the jobs that ads tell of
    """
    jobs, attempts = events_frames(sorted_by_job(events), snapshot=name)
    names = _schedds(jobs, attempts, told)
    jobs = jobs.assign(schedd=[names[job] for job in jobs["job_id"]]) if len(jobs) else jobs
    attempts = (
        attempts.assign(schedd=[names[job] for job in attempts["job_id"]]) if len(attempts) else attempts
    )
    known = told.set_index(["schedd", "job_id"])
    keys = pd.MultiIndex.from_frame(attempts[["schedd", "job_id"]]) if len(attempts) else None
    if keys is not None and len(known):
        whose = known["submitter"].reindex(keys).to_numpy()
        attempts["submitter"] = pd.Series(whose, index=attempts.index).fillna(attempts["submitter"])
    parts["attempts"].append(attempts)
    if len(jobs):
        parts["jobs"].append(_news_of(jobs, known))


def _schedds(jobs: pd.DataFrame, attempts: pd.DataFrame, told: pd.DataFrame) -> dict[str, str]:
    """The schedd of each job: of the ads with the same id and submission, else the host that the log names."""
    names = dict(zip(attempts["job_id"], attempts["schedd"], strict=True))
    names.update(zip(jobs["job_id"], jobs["schedd"], strict=True))
    submitted = dict(zip(jobs["job_id"], jobs["submitted_at"], strict=True))
    for job, schedd, at in zip(told["job_id"], told["schedd"], told["submitted_at"], strict=True):
        if (job in submitted and abs((submitted[job] - at).total_seconds()) <= _SUBMITTED_S) or (
            job in names and job not in submitted and names[job] == "unknown"
        ):
            names[job] = schedd
    return names


def _news_of(jobs: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """The jobs that are unknown, and those known ones of which the log tells more: as the ad has them, gone on."""
    keys = pd.MultiIndex.from_frame(jobs[["schedd", "job_id"]])
    there = keys.isin(known.index)
    fresh = [jobs[~there]]
    changing = ("status", "entered_status_at", "first_started_at", "started_at", "executing_at", "completed_at",
                "run_s", "n_starts", "n_vacates", "n_holds", "slot", "exit_code", "seen_at", "snapshot")  # fmt: skip
    for row, key in zip(jobs[there].to_dict("records"), keys[there], strict=True):
        before = known.loc[key]
        if before["status"] in _LEFT or row["entered_status_at"] <= before["seen_at"]:
            continue
        after = {**before.to_dict(), **dict(zip(known.index.names, key, strict=True))}
        after.update({column: row[column] for column in changing if not pd.isna(row[column])})
        fresh.append(conform(pd.DataFrame([after]), "jobs"))
    return pd.concat(fresh, ignore_index=True)


def _attempts(found: pd.DataFrame, snapshots: list[Snapshot], store: Store) -> pd.DataFrame:
    """The attempts with what the store knows of them already, and the model of their device."""
    stored = store.attempts()
    same = stored[stored["job_id"].isin(set(found["job_id"]))]
    whole = reconciled(pd.concat([same, found], ignore_index=True))
    seen = store.read("devices", columns=["seen_at", "machine", "device_id", "site", "model", "capability"])
    machines = set(whole["machine"].dropna())
    devices = [snapshot.frames["devices"] for snapshot in snapshots]
    told = pd.concat([seen[seen["machine"].isin(machines)], *devices], ignore_index=True)
    return located(whole, told) if len(told) else whole
