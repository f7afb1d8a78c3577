"""Names of objects in a CVMFS repository: the hash of their bytes, by one of its algorithms."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from sim.errors import InputError, SourceError

_HASH = re.compile(r"([0-9a-f]{40})(-rmd160|-shake128)?|([0-9a-f]{32})")


class Hash(NamedTuple):
    """The name of an object: hexadecimal digits and what follows them for other algorithms than SHA-1."""

    digits: str
    suffix: str = ""

    @classmethod
    def parse(cls, text: str, where: str) -> Hash:
        """Read a hash; InputError where it is none."""
        match = _HASH.fullmatch(text)
        if match is None:
            raise InputError(f"{where}: {text[:60]!r} is no hash of an object")
        return cls(match[1] or match[3], match[2] or "")

    def __str__(self) -> str:
        return self.digits + self.suffix

    def path(self, kind: str) -> str:
        """Where the object lies below the repository: C catalog, H history, X certificate, M metainfo."""
        return f"data/{self.digits[:2]}/{self.digits[2:]}{self.suffix}{kind}"

    def of(self, content: bytes) -> str:
        """The digits that this algorithm gives for some bytes."""
        if self.suffix == "-shake128":
            return hashlib.shake_128(content).hexdigest(20)
        if self.suffix == "-rmd160":
            try:
                return hashlib.new("ripemd160", content).hexdigest()
            except ValueError as error:
                raise SourceError(
                    "this Python has no RIPEMD-160, so the repository's objects can't be verified"
                ) from error
        name = "md5" if len(self.digits) == 32 else "sha1"
        return hashlib.new(name, content, usedforsecurity=False).hexdigest()
