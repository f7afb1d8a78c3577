"""Planned drains: machines that take no more jobs from a moment on, go, and perhaps come back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sim.classads.editing import selector
from sim.engine.supply.stays import Stay
from sim.sections import DrainSection

_ENDINGS = {"peaceful": "drain", "graceful": "graceful", "fast": "quit"}


def drained(
    stays: Sequence[Stay], drains: Sequence[DrainSection], *, start: float, longest_s: float
) -> list[Stay]:
    """The stays as drains cut them; what comes back is a stay of its own.

    Parameters
    ----------
    start : when the run begins [s, Unix]
    longest_s : how long a job may go on on a machine that drains gracefully [s]
    """
    found = list(stays)
    for drain in drains:
        holds, at = selector(drain.where), start + drain.at
        parts: list[Stay] = []
        for stay in found:
            if not (stay.up < at < stay.down and holds(stay.ad, at)):
                parts.append(stay)
                continue
            parts.append(stay._replace(down=at, ending=_ENDINGS[drain.how]))
            back = math.inf if drain.lasts is None else at + drain.lasts
            if drain.how == "graceful":
                back += longest_s
            if back < stay.down:
                parts.append(stay._replace(up=back, born=-math.inf))
        found = parts
    return found
