"""What tests need from the machine, and the one way to say that it isn't there."""

import functools
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

_PREFIXES = (
    "no real pool: ",
    "no browser: ",
    "no shared data: ",
    "no registry: ",
    "no systemd: ",
    "no root: ",
)


def need(reason: str, *, hard: bool = True) -> NoReturn:
    """Skip the running test for want of something.

    Parameters
    ----------
    reason : what is missing: one of `_PREFIXES`, then why
    hard : with POOLSCOPE_NO_SKIPS=1 the test fails instead
    """
    __tracebackhide__ = True
    if hard and os.environ.get("POOLSCOPE_NO_SKIPS") == "1":
        pytest.fail(f"POOLSCOPE_NO_SKIPS=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def summary(skipped: Iterable[object]) -> list[str]:
    """Return one line for each reason that `need` gave, from pytest's reports of skipped tests."""
    reasons: Counter[str] = Counter()
    for report in skipped:
        place = getattr(report, "longrepr", None)
        reason = str(place[2]).removeprefix("Skipped: ") if isinstance(place, tuple) else ""
        if reason.startswith(_PREFIXES):
            reasons[reason] += 1
    return [f"{n} test{'s' if n > 1 else ''} skipped: {reason}" for reason, n in sorted(reasons.items())]


@functools.cache
def pool_obstacle() -> str | None:
    """Return why this machine can't have a real pool, None where it can; the first call may build the chroot."""
    from tests.realpool.chroot import prepare
    from tests.realpool.errors import NoPoolError

    try:
        prepare()
    except NoPoolError as error:
        return f"no real pool: {error}"
    return None


@functools.cache
def chromium() -> str | None:
    """Return the path of Debian's chromium, None where it is missing."""
    own = Path("/usr/bin/chromium")
    return str(own) if own.exists() else shutil.which("chromium")


def shared_data_folder() -> Path:
    """Return the folder with recordings beside the checkout; it may be missing."""
    return CHECKOUT.parent / "shared/data"
