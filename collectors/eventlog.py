"""HTCondor's event logs as events: classic, XML and JSON, each also as rotated parts and with any clock.

A line of a classic log says ``001 (005.001.000) 2026-11-23 19:33:56 Job executing on host: <…>``, or ``11/23 19:33:56``
in old releases, which have no year. Times without a zone are local times of the access point. Many logs betray their
zone: the first event of a global log and the end of a job (ToE) also say the Unix time.
"""

from __future__ import annotations

import bisect
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from sim.errors import InputError

_CLASSIC = re.compile(
    r"(?P<code>\d{3}) \((?P<cluster>-?\d+)\.(?P<proc>-?\d+)\.-?\d+\) "
    r"(?P<at>\d{4}-\d\d-\d\d[ T][\d:]+(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?|\d\d/\d\d(?:/\d\d(?:\d\d)?)? [\d:]+(?:\.\d+)?)"
)
_ATTRIBUTE = re.compile(r"^\s*(\w+) ?(=|:) (.*)$")
_CTIME = re.compile(r"ctime=(\d{9,})")
_TOE = re.compile(r"at (\d{4}-\d\d-\d\dT[\d:]+(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))")
_XML_AD = re.compile(r"<(/?)c>")
_ALIAS = re.compile(r"alias=([\w.-]+)")
_ADDRESS = re.compile(r"<(\[[^\]]*\]|[^:>?]+)")
_ROUND_S = 900  # every zone's offset is a multiple of a quarter of an hour
_NEAR_S = 120  # an end that ToE and the log tell apart by more than this is no evidence of a zone


class Event(NamedTuple):
    """An event: of which job, its number in HTCondor's list (0 submit, 1 execute, …), when [s, Unix], what it says."""

    job_id: str
    code: int
    at: float
    told: Mapping[str, Any]
    text: str


@dataclass
class EventLog:
    """The events of a log, what was skipped by reason, and the clock they were read by.

    clock : ``told`` (the times have a zone), ``derived`` (the log betrays it), ``given`` or ``UTC`` (assumed)
    """

    events: list[Event] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    clock: str = "told"


class _Raw(NamedTuple):
    job_id: str
    code: int
    stamp: str
    told: dict[str, Any]
    text: str


def is_event_log(text: str) -> bool:
    """Whether a text begins as an event log does, in any of the three formats."""
    head = text.lstrip()[:4000]
    if head.startswith("<"):
        return 'n="EventTypeNumber"' in head or "Event</s>" in head
    if head.startswith("{"):
        return '"EventTypeNumber"' in head and '"EventTime"' in head
    return _CLASSIC.match(head) is not None


def read_event_log(text: str, *, zone: tzinfo | None = None, written: datetime | None = None) -> EventLog:
    """Read an event log, or a rotated part of one.

    Parameters
    ----------
    zone : of times that say none; without it the zone that the log betrays, else UTC
    written : when the file was last written, for logs without a year
    """
    log = EventLog()
    head = text.lstrip()[:1]
    if head == "<":
        found = list(_xml(text, log.skipped))
    elif head == "{":
        found = list(_json(text, log.skipped))
    else:
        found = list(_classic(text, log.skipped))
    moments = _moments(found, written or datetime.now(UTC), log.skipped)
    evidence = [] if zone else _evidence(found, moments)
    if any(moment is not None and moment.tzinfo is None for moment in moments):
        log.clock = "given" if zone else "derived" if evidence else "UTC"
    clock = _Clock(zone or UTC, evidence)
    for place, (raw, moment) in enumerate(zip(found, moments, strict=True)):
        if moment is None:
            continue
        if raw.job_id.startswith("-"):
            log.skipped["an event of no job"] += 1
            continue
        log.events.append(Event(raw.job_id, raw.code, clock.unix(moment, place), raw.told, raw.text))
    return log


class _Clock:
    """Local times to Unix seconds: by the offsets that the log betrays near an event, else by a zone."""

    def __init__(self, zone: tzinfo, evidence: list[tuple[int, int]]) -> None:
        self._zone = zone
        self._places = [place for place, _ in evidence]
        self._offsets = [offset for _, offset in evidence]
        self._last: datetime | None = None

    def unix(self, moment: datetime, place: int) -> float:
        """The Unix time of the event at this place of the log [s]."""
        if moment.tzinfo is not None:
            return moment.timestamp()
        if self._places:
            nearest = min(bisect.bisect_left(self._places, place), len(self._places) - 1)
            return (moment - timedelta(seconds=self._offsets[nearest])).replace(tzinfo=UTC).timestamp()
        there = moment.replace(tzinfo=self._zone)
        later = there.replace(fold=1)
        # the hour that comes twice when summer ends: a log goes forward
        if self._last is not None and there.timestamp() < self._last.timestamp() - 1 <= later.timestamp():
            there = later
        self._last = there
        return there.timestamp()


def _evidence(found: list[_Raw], moments: list[datetime | None]) -> list[tuple[int, int]]:
    """Places in the log and the offsets from UTC [s] that they betray."""
    told = []
    for place, (raw, moment) in enumerate(zip(found, moments, strict=True)):
        if moment is None or moment.tzinfo is not None or (when := _unix_told(raw)) is None:
            continue
        apart = moment.replace(tzinfo=UTC).timestamp() - when
        offset = round(apart / _ROUND_S) * _ROUND_S
        if abs(apart - offset) <= _NEAR_S and abs(offset) <= 50_400:
            told.append((place, offset))
    return told


def _unix_told(raw: _Raw) -> float | None:
    """The Unix time that an event tells beside its local one."""
    if raw.code == 8 and (hit := _CTIME.search(str(raw.told.get("Info", raw.text)))):
        return float(hit[1])
    if raw.code in {4, 5, 9}:
        end = raw.told.get("ToE")
        if isinstance(end, Mapping) and isinstance(end.get("When"), int | float):
            return float(end["When"])
        if hit := _TOE.search(raw.text):
            return _aware(hit[1])
    return None


def _aware(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _moments(found: list[_Raw], written: datetime, skipped: Counter[str]) -> list[datetime | None]:
    """The times of events as written; where they have no year, the last years before the file was written."""
    moments: list[datetime | None] = []
    without_year: list[int] = []
    for place, raw in enumerate(found):
        try:
            moment, yearless = _moment(raw.stamp)
        except ValueError:
            skipped["a time that can't be read"] += 1
            moments.append(None)
            continue
        if yearless:
            without_year.append(place)
        moments.append(moment)
    year, next_one = written.year, written.replace(tzinfo=None) + timedelta(days=1)
    for place in reversed(without_year):
        undated = moments[place]
        assert undated is not None
        try:
            dated = undated.replace(year=year)
            if dated > next_one + timedelta(days=1):  # a day's play: parts of a log needn't be in order
                year -= 1
                dated = undated.replace(year=year)
        except ValueError:  # February 29
            dated = undated
        moments[place] = next_one = dated
    return moments


def _moment(stamp: str) -> tuple[datetime, bool]:
    """A time as it is written, and whether its year is missing (then it is 2000)."""
    if "/" not in stamp:
        return datetime.fromisoformat(stamp), False
    day, _, clock = stamp.partition(" ")
    parts = day.split("/")
    year = 2000 if len(parts) < 3 else int(parts[2]) + (2000 if len(parts[2]) == 2 else 0)
    moment = datetime.fromisoformat(f"{year:04}-{parts[0]}-{parts[1]}T{clock}")
    return moment, len(parts) < 3


def _classic(text: str, skipped: Counter[str]) -> Iterator[_Raw]:
    blocks = re.split(r"^\.\.\.[ \t]*\r?$", text, flags=re.MULTILINE)
    for number, block in enumerate(blocks):
        body = block.strip("\r\n")
        if not body.strip():
            continue
        head = _CLASSIC.match(body)
        if head is None or number == len(blocks) - 1:
            skipped["an event that breaks off" if head else "no event"] += 1
            continue
        told: dict[str, Any] = {}
        lines = body.splitlines()
        for line in lines[1:]:
            if hit := _ATTRIBUTE.match(line):
                told.setdefault(hit[1], hit[3].strip())
        rest = lines[0][head.end() :].strip()
        if host := re.search(r"host: (<.*)$", rest):
            told["SubmitHost" if head["code"] == "000" else "ExecuteHost"] = host[1]
        yield _Raw(f"{int(head['cluster'])}.{int(head['proc'])}", int(head["code"]), head["at"], told, body)


def _json(text: str, skipped: Counter[str]) -> Iterator[_Raw]:
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        if (start := text.find("{", position)) < 0:
            return
        try:
            event, position = decoder.raw_decode(text, start)
        except ValueError:
            skipped["an event that breaks off"] += 1
            found = text.find("\n{", start + 1)
            position = found if found > 0 else len(text)
            continue
        if (raw := _raw(event, text[start:position])) is None:
            skipped["no event"] += 1
        else:
            yield raw


def _xml(text: str, skipped: Counter[str]) -> Iterator[_Raw]:
    """The ads of a log, which has no closing tag; an event may hold further ads."""
    if "<!ENTITY" in text:
        raise InputError("an XML file with entities is refused")
    depth = began = 0
    for tag in _XML_AD.finditer(text):
        if not tag[1]:
            began = tag.start() if depth == 0 else began
            depth += 1
            continue
        depth = max(0, depth - 1)
        if depth:
            continue
        ad = text[began : tag.end()]
        try:
            raw = _raw(_of_xml(ET.fromstring(ad)), ad)  # noqa: S314  no entities
        except (ET.ParseError, ValueError):
            raw = None
        if raw is None:
            skipped["no event"] += 1
        else:
            yield raw
    if depth:
        skipped["an event that breaks off"] += 1


def _of_xml(node: ET.Element) -> dict[str, Any]:
    return {
        item.attrib["n"]: _xml_value(item[0])
        for item in node.findall("a")
        if "n" in item.attrib and len(item)
    }


def _xml_value(child: ET.Element) -> Any:
    text = child.text or ""
    match child.tag:
        case "i":
            return int(text)
        case "r":
            return float(text)
        case "b":
            return child.attrib.get("v", "f").startswith("t")
        case "c":
            return _of_xml(child)
        case "l":
            return [_xml_value(item) for item in child]
        case _:
            return text


def _raw(event: Any, text: str) -> _Raw | None:
    if not isinstance(event, Mapping):
        return None
    code, stamp = event.get("EventTypeNumber"), event.get("EventTime")
    if not isinstance(code, int) or not isinstance(stamp, str):
        return None
    job_id = f"{event.get('Cluster', -1)}.{event.get('Proc', 0)}"
    return _Raw(job_id, code, stamp, dict(event), text)


def zone_named(name: str) -> tzinfo:
    """A time zone by its name (``America/Chicago``) or offset (``-06:00``); InputError for an unknown one."""
    from zoneinfo import ZoneInfo

    if hit := re.fullmatch(r"(?:UTC)?([+-])(\d\d):?(\d\d)", name):
        offset = timedelta(hours=int(hit[2]), minutes=int(hit[3]))
        if offset < timedelta(hours=24):
            return timezone(-offset if hit[1] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InputError(
            f"--timezone {name}: no such time zone; expected a name such as America/Chicago, or an offset such as -06:00"
        ) from error


def by_access_point(logs: Iterable[Sequence[Event]]) -> list[list[Event]]:
    """The events of logs by the access point whose they are, because every access point numbers its jobs from 1.

    An event's is the one that submitted its job in the same log, else the only one of that log, else the only one at all that
    submitted a job of this number.
    """
    logs = list(logs)
    submissions = [
        {event.job_id: host for event in log if event.code == 0 and (host := _submit_host(event))}
        for log in logs
    ]
    if len({host for told in submissions for host in told.values()}) < 2:
        return [[event for log in logs for event in log]]
    anywhere: dict[str, set[str]] = {}
    for told in submissions:
        for job_id, host in told.items():
            anywhere.setdefault(job_id, set()).add(host)
    found: dict[str, list[Event]] = {}
    for log, told in zip(logs, submissions, strict=True):
        own = set(told.values())
        for event in log:
            hosts = own if len(own) == 1 else anywhere.get(event.job_id, set())
            host = told.get(event.job_id) or (next(iter(hosts)) if len(hosts) == 1 else "")
            found.setdefault(host, []).append(event)
    return list(found.values())


def _submit_host(event: Event) -> str:
    """The host that a submission names: by its alias, else by its address without the port."""
    told = str(event.told.get("SubmitHost", ""))
    hit = _ALIAS.search(told) or _ADDRESS.match(told)
    return hit[1] if hit else ""


def sorted_by_job(events: Iterable[Event]) -> dict[str, list[Event]]:
    """The events of each job in order of time; parts of a rotated log may come in any order."""
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.job_id, []).append(event)
    for held in found.values():
        held.sort(key=lambda event: event.at)
    return found
