"""Durations and sizes as people write them; inside, seconds and MiB.

Units of size follow HTCondor: a bare number is MiB for memory, and ``MB`` means MiB (condor_submit reads
``request_memory = 2 GB`` as 2048).
"""

from __future__ import annotations

import math
import re

from sim.errors import InputError

SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
MIB = {"b": 2.0**-20, "k": 2.0**-10, "kb": 2.0**-10, "kib": 2.0**-10, "m": 1.0, "mb": 1.0, "mib": 1.0,
       "g": 1024.0, "gb": 1024.0, "gib": 1024.0, "t": 2.0**20, "tb": 2.0**20, "tib": 2.0**20}  # fmt: skip

_QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_duration(text: str | float) -> float:
    """Read a duration; a bare number is seconds.

    Examples
    --------
    >>> parse_duration("20 min"), parse_duration("1.5 h"), parse_duration(30)
    (1200.0, 5400.0, 30.0)
    """
    return _parse(text, SECONDS, default="s", example="'20 min' or '7 d'")


def parse_size(text: str | float) -> float:
    """Read a size in MiB; a bare number is MiB.

    Examples
    --------
    >>> parse_size("2 GB"), parse_size("512"), parse_size("150 MB")
    (2048.0, 512.0, 150.0)
    """
    return _parse(text, MIB, default="mb", example="'16 GB' or '150 MB'")


def _parse(text: str | float, units: dict[str, float], *, default: str, example: str) -> float:
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text) * units[default]
    match = _QUANTITY.fullmatch(str(text))
    unit = match[2].lower() or default if match else ""
    if match is None or unit not in units:
        known = ", ".join(units)
        raise InputError(
            f"{str(text)[:80]!r} is no quantity: expected a number and one of {known}, such as {example}"
        )
    return float(match[1]) * units[unit]


def format_duration(seconds: float) -> str:
    """Write a duration as people read it.

    Examples
    --------
    >>> format_duration(8), format_duration(1320), format_duration(7800), format_duration(180000)
    ('8 s', '22 min', '2 h 10', '2 d 2 h')
    >>> format_duration(72.4), format_duration(float("nan"))
    ('1 min 12', '–')
    """
    if math.isnan(seconds):
        return "–"
    if seconds < 0:
        return f"−{format_duration(-seconds)}"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s" if seconds < 10 and seconds != whole else f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02d}" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 60 * 24:
        return f"{minutes // 60} h {minutes % 60:02d}" if minutes % 60 else f"{minutes // 60} h"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def format_size(mib: float) -> str:
    """Write a size as people read it.

    Examples
    --------
    >>> format_size(512), format_size(24220)
    ('512 MiB', '23.7 GiB')
    """
    if math.isnan(mib):
        return "–"
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"
