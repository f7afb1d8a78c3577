"""Machines that say what they said a round ago: their rows are taken over instead of being made again.

What the frames say of a machine follows from its slots' ads and the time alone. Most of them say the same from round to
round but for when the collector heard of them last; so a hash of classad2's print without that is remembered. A machine
is made anew

* when any of its ads differs, or one came or went,
* when one of its slots has come to its GLIDEIN_ToRetire since, or the clock went back,
* every time, when something that a frame holds is an expression of the time or of chance, and when one of its ads was
  left out, so that it is counted again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from collectors.projection import attributes
from sim.classads.ads import text_of
from sim.classads.view import View
from sim.inventory import Framed
from sim.inventory.rows import UNREADABLE
from sim.schema import conform

_BEGINNING = "\n        "
_MOMENTS = ("LastHeardFrom", "MyCurrentTime")
_GREATEST = 7.3e9  # the year 2200, as in `sim.inventory.rows.moment`
_AS_TEXT = {"Start", "Requirements"}  # held as they are written, not evaluated


class Told(NamedTuple):
    """A slot's ad, whose it is, a hash of what it says, and when the collector heard of it last [s since 1970]."""

    ad: Any
    machine: str
    name: str
    print: bytes
    heard_s: int | None


Make = Callable[[list[Any]], tuple[list[View], Framed, Framed]]
"""Of ads: their views, one for each, and the frames slots and devices."""


def told_by(ad: Any) -> Told:
    """What a slot's ad says; an error of classad2's for one that is no text."""
    text, heard_s = str(ad), None
    lowered = text.lower()
    for name in _MOMENTS:
        begin = text.find(f"{_BEGINNING}{name} = ")
        if begin < 0 or lowered.count(name.lower()) != 1:  # an expression reads it
            continue
        end = text.find("\n", begin + 1)
        value = text[begin + len(_BEGINNING) + len(name) + 3 : end].rstrip("; ")
        if value.isdigit() and 0 < int(value) < _GREATEST:
            text = text[:begin] + text[end:]
            heard_s = int(value) if name == "LastHeardFrom" else heard_s
    key = blake2b(text.encode(), digest_size=12).digest()
    return Told(ad, (text_of(ad, "Machine") or "").lower(), text_of(ad, "Name") or "", key, heard_s)


class Unchanged:
    """The last reading of slots, machines whole; the texts of a part's slots are megabytes alike, kept compressed."""

    def __init__(self) -> None:
        self._prints: dict[str, list[bytes]] = {}
        self._made_at: pd.Timestamp | None = None
        self._slots: pa.Buffer | None = None
        self._devices: pa.Buffer | None = None

    def renew(
        self, ads: Iterable[Told], at: pd.Timestamp, snapshot: str, make: Make
    ) -> tuple[Framed, Framed]:
        """The frames slots and devices of these ads, as `make` would make them of all."""
        machines: dict[str, list[Told]] = {}
        for told in ads:
            machines.setdefault(told.machine, []).append(told)
        prints = {name: sorted(told.print for told in listed) for name, listed in machines.items()}
        same: set[str] = set()
        old_slots = old_devices = None
        if self._slots is not None and self._devices is not None and self._made_at is not None:
            old_slots, old_devices = _opened(self._slots, "slots"), _opened(self._devices, "devices")
            if at >= self._made_at:
                retire = old_slots["to_retire_at"]
                due = old_slots["machine"][(retire > self._made_at) & (retire <= at)]
                same = {name for name, said in prints.items() if self._prints.get(name) == said}
                same -= set(due.str.lower())
        other = [name for name in machines if name not in same]
        views, slots, devices = make([told.ad for name in other for told in machines[name]])
        held = _worth_keeping([(name, machines[name]) for name in other], views, slots, devices)
        if same and old_slots is not None and old_devices is not None:
            heard = {told.name: told.heard_s for name in same for told in machines[name]}
            kept = _of(old_slots, same).assign(snapshot=snapshot, seen_at=at)
            heard_s = kept["name"].map(heard).astype("float64")
            kept["heard_at"] = pd.to_datetime(heard_s, unit="s", utc=True)
            slots = _with(kept, slots, "slots")
            devices = _with(_of(old_devices, same).assign(snapshot=snapshot, seen_at=at), devices, "devices")
        self._prints = {name: prints[name] for name in (*same, *held)}
        self._slots, self._devices = _pressed(slots.frame), _pressed(devices.frame)
        self._made_at = at
        return slots, devices


def _worth_keeping(
    machines: list[tuple[str, list[Told]]], views: list[View], slots: Framed, devices: Framed
) -> list[str]:
    """The machines whose rows follow from their prints."""
    if devices.rejects[UNREADABLE]:
        return []
    evaluated = [name for name in attributes("slots", "devices") if name not in _AS_TEXT]
    rows = slots.frame["machine"].str.lower().value_counts().to_dict()
    kept, place = [], 0
    for name, listed in machines:
        own = views[place : place + len(listed)]
        place += len(listed)
        apart = len({told.name for told in listed}) == len(listed)
        whole = not slots.rejects or rows.get(name, 0) == len(listed)
        if name and apart and whole and all(view.steady(evaluated) for view in own):
            kept.append(name)
    return kept


def _of(frame: pd.DataFrame, machines: set[str]) -> pd.DataFrame:
    return frame[frame["machine"].str.lower().isin(machines)].reset_index(drop=True)


def _with(kept: pd.DataFrame, made: Framed, name: str) -> Framed:
    frames = [conform(kept, name), *([made.frame] if len(made.frame) else [])]
    return Framed(pd.concat(frames, ignore_index=True), made.rejects)


def _pressed(frame: pd.DataFrame) -> pa.Buffer:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _opened(pressed: pa.Buffer, name: str) -> pd.DataFrame:
    return conform(pa.ipc.open_stream(pressed).read_all().to_pandas(), name)
