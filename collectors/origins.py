"""How attempts of a recorded pool began, as its MatchLog and StartLogs tell: fresh match, leftover, claim reuse."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

_STAMP = "%m/%d/%y %H:%M:%S"
_LINE = re.compile(r"^(\d\d/\d\d/\d\d \d\d:\d\d:\d\d)(\.\d+)? (.*)$", re.MULTILINE)
_MATCHED = re.compile(r"^\s*Matched \S+ .* preempting .* <([^?>]+)[^>]*> \S+$")
_LISTENS = re.compile(r"^DaemonCore: command socket at <([^?>]+)")
_CLAIMED = re.compile(r"^(\S+): State change: claiming protocol successful")
_ACTIVATED = re.compile(r"^(\S+): Got activate_claim request")
_CLAIM_S = 5.0  # a matched slot is claimed within that, or the match came to nothing


def count_origins(matches: str, startds: Iterable[str]) -> dict[str, int]:
    """Count attempts by origin: a claim's first one is of a match, or of what a match left over; its later ones reuse it.

    Parameters
    ----------
    matches : text of the MatchLog
    startds : text of each StartLog, which begins with the startd's address

    Of the claims on a machine within seconds of a match, the first is the match's own: the schedd claims what is left over
    only after that (fact sheet §2.2).
    """
    matched: dict[str, list[float]] = {}
    for at, text in _lines(matches):
        if found := _MATCHED.match(text):
            matched.setdefault(found[1], []).append(at)
    count = {"match": 0, "leftover": 0, "reuse": 0}
    for log in startds:
        address, claims, began = "", [], dict[str, float]()
        for at, text in _lines(log):
            if listens := _LISTENS.match(text):
                address = listens[1]
            elif claimed := _CLAIMED.match(text):
                began[claimed[1]] = at
            elif (activated := _ACTIVATED.match(text)) and activated[1] in began:
                first = began[activated[1]]
                if first < 0:
                    count["reuse"] += 1
                else:
                    claims.append(first)
                    began[activated[1]] = -1.0
        fresh = _pair(matched.get(address, []), sorted(claims))
        count["match"] += fresh
        count["leftover"] += len(claims) - fresh
    return count


def _pair(matches: list[float], claims: list[float]) -> int:
    """How many matches have a claim of their own."""
    left, paired = iter(claims), 0
    claim = next(left, None)
    for at in sorted(matches):
        while claim is not None and claim < at:
            claim = next(left, None)
        if claim is not None and claim - at <= _CLAIM_S:
            paired += 1
            claim = next(left, None)
    return paired


def _lines(text: str) -> Iterable[tuple[float, str]]:
    for found in _LINE.finditer(text):
        moment = datetime.strptime(f"{found[1]} +0000", f"{_STAMP} %z").timestamp()
        yield moment + float(found[2] or 0), found[3]
