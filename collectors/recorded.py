"""The same frames from files: what condor_status, condor_q and condor_history printed with -long, -json or -xml.

A folder is read by what its ads are (MyType), not by its files' names; files packed by xz are unpacked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from collectors.pool import read_slots
from collectors.source import Moment, Reading
from sim.classads.ads import number_of, read_ads, text_of
from sim.errors import InputError
from sim.inventory import Framed, attempts_frame, cycles_frame, jobs_frame, priorities_frame

KINDS = ("slot", "job", "epoch", "negotiator", "priority")
_CLOCKS = (
    "MyCurrentTime",
    "LastHeardFrom",
    "ServerTime",
    "EpochWriteDate",
    "CompletionDate",
    "EnteredCurrentStatus",
)


def kind_of(ad: Any) -> str:
    """What an ad describes: slot, job, epoch, negotiator, priority, or other."""
    told = (text_of(ad, "MyType") or "").lower()
    if told == "accounting" or (number_of(ad, "PriorityFactor") is not None and "machine" not in told):
        return "priority"
    if told == "negotiator":
        return "negotiator"
    if number_of(ad, "ClusterId") is not None and told in {"", "job"}:
        return "epoch" if number_of(ad, "EpochWriteDate") is not None else "job"
    # a copy of a slot ad in a job's event log has neither MyType nor State
    if told == "machine" or (
        not told and text_of(ad, "Machine") and ("State" in ad or "AvailableGPUs" in ad)
    ):
        return "slot"
    return "other"


def last_moment(ads: Iterable[Any]) -> pd.Timestamp | None:
    """The newest time that recorded ads tell of: they are judged as of then, not as of today."""
    times = [seconds for ad in ads for name in _CLOCKS if (seconds := number_of(ad, name)) is not None]
    told = [seconds for seconds in times if 0 < seconds < 7.3e9]
    return pd.Timestamp(int(max(told)), unit="s", tz="UTC") if told else None


class RecordedSource:
    """Files of ads as a source.

    Parameters
    ----------
    paths : files, or folders whose files are all read
    """

    name = "recorded"

    def __init__(self, paths: Iterable[Path | str]) -> None:
        self.paths = [Path(path) for path in paths]

    def read(self, moment: Moment) -> Reading:
        """Read all files, as of the newest time they tell of; `moment` counts where they tell of none.

        Raises
        ------
        InputError : a file is no file of ads, or there is nothing of use in any; the sentence names it
        """
        ads: dict[str, list[Any]] = defaultdict(list)
        for path in self._files():
            for ad in read_ads(path):
                ads[kind_of(ad)].append(ad)
        where = ", ".join(str(path) for path in self.paths)
        useful = [ad for kind in KINDS for ad in ads[kind]]
        if not useful:
            raise InputError(
                f"{where}: no slot, job, negotiator or accounting ad; expected condor_status or condor_q output"
            )
        return _reading(ads, last_moment(useful) or moment.at, moment.snapshot, where)

    def _files(self) -> list[Path]:
        found: list[Path] = []
        for path in self.paths:
            if path.is_dir():
                found += sorted(
                    file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")
                )
            elif path.is_file():
                found.append(path)
            else:
                raise InputError(f"{path}: no such file or folder")
        return found


def _newest(slots: list[Any]) -> list[Any]:
    """Each slot once, where several files tell of it at known times."""
    times = [number_of(ad, "MyCurrentTime", "LastHeardFrom") for ad in slots]
    last: dict[str, float] = {}
    for ad, time in zip(slots, times, strict=True):
        if time is not None and (name := text_of(ad, "Name")):
            last[name] = max(time, last.get(name, time))
    return [
        ad
        for ad, time in zip(slots, times, strict=True)
        if time is None or time >= last.get(text_of(ad, "Name") or "", time)
    ]


def _reading(ads: dict[str, list[Any]], at: pd.Timestamp, snapshot: str, where: str) -> Reading:
    frames: dict[str, pd.DataFrame] = {}
    rejects = Counter[str]()
    if slots := _newest(ads["slot"]):
        read = read_slots(slots, Moment(last_moment(slots) or at, snapshot), where)
        frames.update(read.frames)
        rejects.update(read.rejects)
    if ads["other"]:
        rejects["other kinds of ad"] = len(ads["other"])
    seen = last_moment(ads["job"]) or at
    makers: dict[str, tuple[str, Callable[[list[Any]], Framed]]] = {
        "jobs": ("job", lambda found: jobs_frame(found, seen_at=seen, snapshot=snapshot)),
        "attempts": ("epoch", attempts_frame),
        "cycles": ("negotiator", cycles_frame),
        "priorities": ("priority", lambda found: priorities_frame(found, seen_at=at, snapshot=snapshot)),
    }
    for name, (kind, make) in makers.items():
        if ads[kind]:
            made = make(ads[kind])
            frames[name] = made.frame
            rejects += made.rejects
    return Reading(frames, rejects)
