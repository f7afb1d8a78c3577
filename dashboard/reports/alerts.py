"""Alerts: the findings of the last day, told when they come up and when they are over, and never twice.

Hysteresis: a finding is told once it held in `RAISE_AFTER` looks in a row, and is over once it was absent in `CLEAR_AFTER`.
A finding that comes back within `QUIET_S` after it was told is not told again until that time is over.
"""

from __future__ import annotations

import fcntl
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dashboard.reports.archive import write
from dashboard.reports.findings import Finding
from sim.errors import InputError, SourceError, StoreError

RAISE_AFTER, CLEAR_AFTER = 2, 3
QUIET_S = 24 * 3600.0
TIMEOUT_S = 20.0


@dataclass
class Matter:
    """What is known of a finding's key: looks in a row with (`seen`) and without it (`missed`), when it was told [s, Unix]."""

    key: str
    sentence: str
    severity: str
    seen: int = 0
    missed: int = 0
    raised: bool = False
    told_at: float | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """What is to be told: that a matter came up, or that it is over."""

    key: str
    event: Literal["raised", "cleared"]
    severity: str
    sentence: str


def look(
    matters: Mapping[str, Matter], found: Sequence[Finding], *, now: float
) -> tuple[dict[str, Matter], list[Alert]]:
    """One look: the matters as they stand then, and what is to be told. Pure; `told` marks what was told.

    Parameters
    ----------
    found : `findings.findings` of the last day; resolved ones don't count
    now : the time [s, Unix]
    """
    current = {each.key: each for each in found if each.state != "resolved"}
    made: dict[str, Matter] = {}
    alerts: list[Alert] = []
    for key in {**matters, **current}:
        old, new = matters.get(key), current.get(key)
        matter = Matter(**asdict(old)) if old else Matter(key, new.sentence, new.severity)  # type: ignore[union-attr]
        if new is not None:
            matter.sentence, matter.severity = new.sentence, new.severity
            matter.seen, matter.missed = matter.seen + 1, 0
            quiet = matter.told_at is not None and 0 <= now - matter.told_at < QUIET_S
            if not matter.raised and matter.seen >= RAISE_AFTER and not quiet:
                matter.raised, matter.told_at = True, now
                alerts.append(Alert(key, "raised", matter.severity, matter.sentence))
        else:
            matter.seen, matter.missed = 0, matter.missed + 1
            if matter.raised and matter.missed >= CLEAR_AFTER:
                matter.raised = False
                alerts.append(Alert(key, "cleared", matter.severity, matter.sentence))
        forgotten = (
            not matter.raised
            and matter.missed >= CLEAR_AFTER
            and (matter.told_at is None or now - matter.told_at >= QUIET_S)
        )
        if not forgotten:
            made[key] = matter
    return made, alerts


class Memory:
    """What was seen and told, in a file; locked, so that two looks at a time can't tell the same."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def held(self) -> Iterator[dict[str, Matter]]:
        """The matters, locked; StoreError if the folder can't be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_name(f".{self.path.name}.lock").open("w")
        except OSError as error:
            raise StoreError(
                f"{self.path.parent}: can't write ({error.strerror or error}); name another folder"
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._read()

    def _read(self) -> dict[str, Matter]:
        try:
            held = json.loads(self.path.read_text("utf-8"))
            return {key: Matter(**matter) for key, matter in held.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError):
            raise StoreError(
                f"{self.path}: damaged; remove it, and what holds now will be told once more"
            ) from None

    def keep(self, matters: Mapping[str, Matter]) -> None:
        """Write the matters down."""
        write(
            self.path, json.dumps({key: asdict(matter) for key, matter in matters.items()}, indent=1).encode()
        )


def tell(
    memory: Memory,
    found: Sequence[Finding],
    *,
    now: float,
    deliver: Sequence[Callable[[Sequence[Alert]], None]],
) -> list[Alert]:
    """Look, write down what is about to be told, then tell it: an interrupted telling is not repeated.

    Raises
    ------
    SourceError : somebody couldn't be told; the others were, and the next look doesn't repeat it to them
    """
    with memory.held() as matters:
        new, alerts = look(matters, found, now=now)
        memory.keep(new)
        failures = []
        for way in deliver if alerts else ():
            try:
                way(alerts)
            except SourceError as error:
                failures.append(str(error))
        if failures and len(failures) == len(deliver):
            memory.keep(matters)  # nobody heard of it: the next look tries again
        if failures:
            raise SourceError("; ".join(failures))
    return alerts


def call(url: str, alerts: Sequence[Alert]) -> None:
    """Post alerts as JSON to a webhook; SourceError unless it answers 2xx."""
    check_webhook(url)
    body: Any = {"source": "poolscope", "alerts": [asdict(alert) for alert in alerts]}
    request = urllib.request.Request(  # noqa: S310 - checked to be http(s)
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "poolscope"},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S):
            return
    except urllib.error.HTTPError as error:
        raise SourceError(f"webhook answered {error.code}; expected 2xx") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"webhook can't be reached ({error})") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_keywords: Any) -> None:
        """A webhook that sends elsewhere is refused: it could send the report anywhere."""


def check_webhook(url: str) -> None:
    """Refuse what is no web address."""
    if not url.startswith(("http://", "https://")):
        raise InputError(f"--webhook {url[:80]}: expected an address that begins with https:// or http://")


def words(alerts: Sequence[Alert]) -> str:
    """The alerts as the text of a mail."""
    return "".join(f"{alert.event}: {alert.sentence}\n" for alert in alerts)
