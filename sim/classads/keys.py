"""Short names of ads' texts, by which a text is kept and handed over once."""

from __future__ import annotations

import hashlib
import re

_KEY = re.compile(r"[0-9a-f]{24}")


def key_of(text: str) -> str:
    """The key of a text: 96 bits of its BLAKE2b hash (RFC 7693), in hexadecimal."""
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def is_key(text: str) -> bool:
    """Whether this is a key and no text of an ad, which begins with a bracket."""
    return _KEY.fullmatch(text) is not None
