"""What a browser sent, held to what the page offers: a callback gets whatever a client posts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from sim.errors import InputError

T = TypeVar("T", bound=str)


def text(value: Any, what: str, *, most: int = 200) -> str:
    """A text of at most `most` characters without control characters other than line breaks and tabs; InputError otherwise."""
    if not isinstance(value, str):
        raise InputError(f"{what}: found {type(value).__name__}, expected a text")
    if len(value) > most:
        raise InputError(f"{what}: found {len(value):,} characters, expected at most {most:,}")
    bad = next((letter for letter in value if _is_odd(letter)), None)
    if bad is not None:
        raise InputError(f"{what}: found the character U+{ord(bad):04X}, expected text that can be read")
    return value


def _is_odd(letter: str) -> bool:
    code = ord(letter)
    return (code < 32 and letter not in "\n\r\t") or code == 127 or 0xD800 <= code <= 0xDFFF


def one_of(value: Any, what: str, offered: Collection[str]) -> str:
    """One of the offered words; InputError otherwise."""
    if not isinstance(value, str) or value not in offered:
        found = value[:60] if isinstance(value, str) else type(value).__name__
        raise InputError(f"{what}: found {found!r}, expected one of {', '.join(sorted(offered))[:300]}")
    return value


def whole(value: Any, what: str, *, least: int, most: int) -> int:
    """A whole number within bounds; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise InputError(
            f"{what}: found {str(value)[:40]!r}, expected a whole number from {least:,} to {most:,}"
        )
    if not least <= value <= most:
        raise InputError(f"{what}: found {value:g}, expected {least:,} to {most:,}")
    return int(value)


def number(value: Any, what: str, *, least: float, most: float) -> float:
    """A number within bounds; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InputError(f"{what}: found {str(value)[:40]!r}, expected a number from {least:g} to {most:g}")
    return float(value)
