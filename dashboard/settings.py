"""What `serve` was asked for, in one frozen object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to believe about users.

    user_header : the header that names the user; None: nobody logs in, everybody may run
    role_header : the header that names the role (viewer, runner, admin); None: everybody is a runner
    proxies : addresses that the header is believed from; "" is a unix socket
    """

    user_header: str | None = None
    role_header: str | None = None
    proxies: Sequence[str] = ("127.0.0.1", "::1", "")


@dataclass(frozen=True, slots=True)
class Settings:
    """How the dashboard is served.

    Parameters
    ----------
    runs : folder of the run table and of the runs' results
    sample : the store is the bundled recording
    refresh_s : how often the store is refilled; twice that is stale [s]
    class_by : job ad attribute that names a job's class; None: the shape of the request
    source : the store as scenarios name it, `sample` or a folder
    scenario : name or path of the scenario that the pages simulate; empty: HTCondor's defaults
    seed : seed of those simulations
    replications : runs of a replay, with seeds from `seed` on
    reports : folder of the reports' archive
    trust : whom to believe about users
    prefix : where the application lies behind its proxy, such as /poolscope/
    """

    runs: Path
    sample: bool = False
    refresh_s: float = 300.0
    class_by: str | None = None
    source: str = "sample"
    scenario: str = ""
    seed: int = 1
    replications: int = 3
    reports: Path | None = None
    trust: Trust = field(default_factory=Trust)
    prefix: str = "/"
