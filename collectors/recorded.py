"""The same frames from files: what condor_status, condor_q and condor_history printed with -long, -json or -xml.

A folder is read by what its ads are (MyType), not by its files' names; files packed by xz are unpacked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from collectors.pool import read_slots
from collectors.source import Moment, Reading
from sim.classads.ads import number_of, read_ads, text_of
from sim.errors import InputError
from sim.inventory import attempts_frame, cycles_frame, jobs_frame, priorities_frame


def kind_of(ad: Any) -> str:
    """What an ad describes: slot, job, epoch, negotiator, priority, or other."""
    told = (text_of(ad, "MyType") or "").lower()
    if told == "accounting" or (number_of(ad, "PriorityFactor") is not None and "machine" not in told):
        return "priority"
    if told == "negotiator":
        return "negotiator"
    if number_of(ad, "ClusterId") is not None and told in {"", "job"}:
        return "epoch" if number_of(ad, "EpochWriteDate") is not None else "job"
    if told == "machine" or (not told and text_of(ad, "Machine") and text_of(ad, "State")):
        return "slot"
    return "other"


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
        """Read all files; InputError names the file that is no ad file, or says that there is nothing."""
        ads: dict[str, list[Any]] = defaultdict(list)
        for path in self._files():
            for ad in read_ads(path):
                ads[kind_of(ad)].append(ad)
        if not any(ads[kind] for kind in ("slot", "job", "epoch", "negotiator", "priority")):
            where = ", ".join(str(path) for path in self.paths)
            raise InputError(
                f"{where}: no slot, job, negotiator or accounting ad; expected condor_status or condor_q output"
            )
        reading: dict[str, Any] = {}
        if ads["slot"]:
            reading.update(read_slots(ads["slot"], moment, str(self.paths[0])).frames)
        if ads["job"]:
            reading["jobs"] = jobs_frame(ads["job"], seen_at=moment.at, snapshot=moment.snapshot).frame
        if ads["epoch"]:
            reading["attempts"] = attempts_frame(ads["epoch"]).frame
        if ads["negotiator"]:
            reading["cycles"] = cycles_frame(ads["negotiator"]).frame
        if ads["priority"]:
            reading["priorities"] = priorities_frame(
                ads["priority"], seen_at=moment.at, snapshot=moment.snapshot
            ).frame
        return Reading(reading, {"other kinds of ad": len(ads["other"])} if ads["other"] else {})

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
