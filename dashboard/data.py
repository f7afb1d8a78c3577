"""Named loaders over a store: each answer is kept until there is a newer snapshot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar

import pandas as pd

from dashboard import comparison, tables
from dashboard.settings import Settings
from sim.analysis import Answer, PoolView, Request, analyse
from sim.delivery.paths import IMAGES
from sim.errors import StoreError
from sim.inventory.repositories import attribute_name, cvmfs_frame
from sim.store import Store

WINDOW = pd.Timedelta(days=7)
#: At most so many snapshots are read whole for "seen in the window", however often machines come and go.
VIEWED = 96
#: How long the list of snapshots is believed; reading it costs a file per snapshot.
CHECK_S = 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the charts stand on: the latest snapshot and the window before it."""

    snapshot: str
    since: pd.Timestamp
    until: pd.Timestamp
    n_snapshots: int
    condor_version: str
    sample: bool


class Data:
    """Frames and answers for the pages, cached by the id of the latest snapshot."""

    def __init__(
        self, store: Store, settings: Settings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.settings = settings
        self._store = store
        self._clock = clock
        self._lock = threading.RLock()
        self._held: dict[str, object] = {}
        self._held_for = ""
        self._check_at = 0.0
        self._answer = lru_cache(maxsize=256)(self._analyse)

    def is_empty(self) -> bool:
        """Tell whether the store holds no snapshot yet."""
        return self._store.is_empty()

    def coverage(self) -> Coverage:
        """The latest snapshot and its window."""
        return self._keep("coverage", self._coverage)

    def age_s(self) -> float:
        """Age of the latest snapshot; a recording is judged as of its own end, so the sample is never old [s]."""
        if self.settings.sample:
            return 0.0
        return max(0.0, (pd.Timestamp(self._clock()) - self.coverage().until).total_seconds())

    def devices(self) -> pd.DataFrame:
        """Frame "devices" of the latest snapshot."""
        return self._keep("devices", lambda: self._store.read("devices", snapshot=self.coverage().snapshot))

    def counts(self, by: str) -> pd.DataFrame:
        """GPUs now by model or site and state."""
        return self._keep(f"counts {by}", lambda: tables.count_devices(self.devices(), by))

    def supply(self) -> pd.DataFrame:
        """GPUs by state over the window."""
        return self._keep("supply", self._supply)

    def repositories(self) -> pd.DataFrame:
        """CVMFS repositories of the latest snapshot: repository, available and machines, oldest_revision."""
        return self._keep("repositories", self._repositories)

    def abilities(self) -> pd.DataFrame:
        """Which kinds of image the machines of each site can run, in the latest snapshot."""
        return self._keep("abilities", self._abilities)

    def jobs(self) -> pd.DataFrame:
        """Frame "jobs": the last known row of each job."""
        return self._keep("jobs", self._store.jobs)

    def waits(self) -> pd.DataFrame:
        """Observed first waits by class."""
        return self._keep("waits", lambda: comparison.summarise(self.jobs(), self.settings.class_by))

    def curve(self, group: str) -> pd.DataFrame:
        """Observed share of jobs of a group that started within t."""
        by = self.settings.class_by
        return self._keep(
            f"curve {group}", lambda: comparison.curve(comparison.members(self.jobs(), by, group))
        )

    def answer(self, expression: str, *, gpus: int, cpus: int, memory_mib: float) -> Answer:
        """What `sim.analysis` says of an expression on the latest snapshot; raises ExpressionError."""
        return self._answer(self.coverage().snapshot, expression, gpus, cpus, memory_mib)

    def warm(self) -> None:
        """Load what the pages need first, so that the first visitor doesn't wait for it."""
        for load in (
            self.coverage,
            self.supply,
            self.waits,
            lambda: self._keep("pool view", self._pool_view),
        ):
            load()
        for by in ("model", "site"):
            self.counts(by)

    def _analyse(self, snapshot: str, expression: str, gpus: int, cpus: int, memory_mib: float) -> Answer:
        pool = self._keep("pool view", self._pool_view)
        return analyse(expression, pool, request=Request(gpus=gpus, cpus=cpus, memory_mib=memory_mib))

    def _pool_view(self) -> PoolView:
        now = self._store.read("slots", snapshot=self.coverage().snapshot)
        return PoolView.from_frames(now, self._window_slots())

    def _window_slots(self) -> pd.DataFrame:
        """The slots of the window, each machine at least once as it was when it was first seen.

        Only the snapshots in which a machine appeared are read whole: ads are most of a store.
        """
        columns = ["snapshot", "seen_at", "name", "slot_type"]
        since = self.coverage().since.to_pydatetime()
        known = self._store.read("slots", since=since, columns=columns)
        whole = known[known["slot_type"].isin(["partitionable", "static"])].sort_values("seen_at")
        firsts = whole.drop_duplicates("name")["snapshot"].drop_duplicates().tolist()
        picked = firsts[:: max(1, -(-len(firsts) // VIEWED))]
        parts = [self._store.read("slots", snapshot=name) for name in picked]
        return pd.concat(parts, ignore_index=True) if parts else self._store.read("slots")

    def _snapshots(self) -> pd.DataFrame:
        return self._keep("snapshots", self._recent_snapshots)

    def _recent_snapshots(self) -> pd.DataFrame:
        found: pd.DataFrame = self._store.snapshots()
        recent: pd.DataFrame = found[found["taken_at"] >= found["taken_at"].max() - WINDOW]
        return recent.reset_index(drop=True)

    def _coverage(self) -> Coverage:
        found = self._snapshots()
        if found.empty:
            raise StoreError(
                "no data yet: start the collector with `poolscope collect --pool HOST --every 5m`"
            )
        last = found.iloc[-1]
        versions = self._store.read("slots", snapshot=last["id"], columns=["condor_version"])[
            "condor_version"
        ]
        return Coverage(
            snapshot=str(last["id"]),
            since=found["taken_at"].iloc[0],
            until=last["taken_at"],
            n_snapshots=len(found),
            condor_version=_release(versions),
            sample=self.settings.sample,
        )

    def _abilities(self) -> pd.DataFrame:
        slots = self._store.read("slots", snapshot=self.coverage().snapshot)
        return tables.count_abilities(slots, attribute_name(IMAGES))

    def _repositories(self) -> pd.DataFrame:
        slots = self._store.read("slots", snapshot=self.coverage().snapshot)
        return tables.count_repositories(cvmfs_frame(slots), slots["machine"].nunique())

    def _supply(self) -> pd.DataFrame:
        columns = ["snapshot", "seen_at", "state"]
        return tables.supply(
            self._store.read("devices", since=self.coverage().since.to_pydatetime(), columns=columns)
        )

    def _renew(self) -> None:
        """Forget everything once there is a newer snapshot; asked for at most every `CHECK_S`."""
        now = time.monotonic()
        if now < self._check_at:
            return
        self._check_at = now + CHECK_S
        latest = self._store.latest() or ""
        if latest != self._held_for:
            self._held, self._held_for = {}, latest

    def _keep(self, name: str, load: Callable[[], T]) -> T:
        """The answer of `load`, made once per snapshot even when several requests ask at the same time."""
        with self._lock:
            self._renew()
            if name not in self._held:
                self._held[name] = load()
            return self._held[name]  # type: ignore[return-value]  # `name` stands for one `load`, whose type is T


def _release(versions: pd.Series) -> str:
    """The newest "23.9.6" of texts such as "$CondorVersion: 23.9.6 2026-07-12 ... $"."""
    found = versions.dropna().str.extract(r"(\d+)\.(\d+)\.(\d+)").dropna().astype(int).drop_duplicates()
    return ".".join(map(str, max(map(tuple, found.to_numpy().tolist())))) if len(found) else "unknown"
