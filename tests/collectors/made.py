"""Sources and frames for tests without a pool."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from collectors.source import Moment, Reading
from sim.classads.ads import parse_one
from sim.inventory import devices_frame, slots_frame

SLOT = (
    '[ MyType = "Machine"; Name = "slot1@a.example"; Machine = "a.example"; SlotType = "Partitionable"; '
    'State = "Unclaimed"; Cpus = 8; Memory = 1000; AssignedGPUs = "GPU-1"; GPUs_DeviceName = "NVIDIA L40S"; '
    'GPUs_Capability = 8.9; GLIDEIN_Site = "Site"; TotalSlotGPUs = 1; GPUs = 1 ]'
)


def slots(moment: Moment) -> dict[str, pd.DataFrame]:
    """One slot with one device."""
    ads = [parse_one(SLOT)]
    return {
        "slots": slots_frame(ads, seen_at=moment.at, snapshot=moment.snapshot).frame,
        "devices": devices_frame(ads, seen_at=moment.at, snapshot=moment.snapshot).frame,
    }


class Told:
    """A source that says what it is told to, or raises it."""

    def __init__(self, name: str, *answers: Reading | Exception | Callable[[Moment], Reading]) -> None:
        self.name = name
        self.answers = list(answers)
        self.cursors: list[Any] = []

    def read(self, moment: Moment) -> Reading:
        self.cursors.append(moment.cursor)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(moment) if callable(answer) else answer


def pool() -> Told:
    """A source of one slot."""
    return Told("pool", lambda moment: Reading(slots(moment)))
