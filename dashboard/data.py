"""Named loaders over a store: each answer is kept until there is a newer snapshot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, TypeVar

import pandas as pd

from dashboard import comparison, tables
from dashboard.settings import Settings
from sim.analysis import Answer, PoolView, Queue, Request, analyse
from sim.analysis.analyse import judge
from sim.analysis.rewritten import is_submit_file
from sim.classads.job import JobDescription
from sim.classads.submit import read_submit
from sim.delivery.paths import IMAGES
from sim.errors import StoreError
from sim.inventory.repositories import attribute_name, cvmfs_frame
from sim.store import Store

WINDOW = pd.Timedelta(days=7)
#: At most so many snapshots are read whole for "seen in the window", however often machines come and go.
VIEWED = 96
#: How long the list of snapshots is believed; reading it costs a file per snapshot.
CHECK_S = 2.0
#: Other windows whose answers are kept.
WINDOWS_KEPT = 6

#: A condition of `Data.query`; the times are for files to be passed over, a round takes less than ten minutes.
_IN_WINDOW = (
    "seen_at BETWEEN $since - INTERVAL 10 MINUTE AND $until + INTERVAL 10 MINUTE"
    " AND snapshot IN (SELECT unnest($snapshots))"
)

T = TypeVar("T")


class Window(NamedTuple):
    """A span of time, its end left out (UTC)."""

    since: pd.Timestamp
    until: pd.Timestamp


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
    """Frames and answers for pages and reports, cached by the id of the latest snapshot.

    Parameters
    ----------
    window : judge the pool as of this window's end; without it, as of the latest snapshot and the `WINDOW` before
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        window: Window | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings = settings
        self.window = window
        self._store = store
        self._clock = clock
        self._lock = threading.RLock()
        self._held: dict[str, object] = {}
        self._held_for = ""
        self._others: dict[Window, Data] = {}
        self._check_at = 0.0
        self._answer = lru_cache(maxsize=256)(self._analyse)

    def mark(self) -> str:
        """The id of the latest snapshot; as long as it stays, every answer does."""
        with self._lock:
            self._renew()
            return self._held_for

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

    def kept(self, name: str, load: Callable[[], T]) -> T:
        """What a page makes of the latest snapshot's frames, made once.

        name : stands for one `load`, which depends on nothing else
        """
        return self._keep(f"page {name}", load)

    def counts(self, by: str) -> pd.DataFrame:
        """GPUs now by model or site and state."""
        return self._keep(f"counts {by}", lambda: tables.count_devices(self.devices(), by))

    def supply(self) -> pd.DataFrame:
        """GPUs by state over the window."""
        return self._keep("supply", self._supply)

    def free_by_hour(self) -> pd.DataFrame:
        """Mean free GPUs by model and hour of the day over the window."""
        sql = (
            "WITH seen AS (SELECT hour(seen_at) AS hour, count(DISTINCT snapshot) AS snapshots FROM devices"
            " WHERE IN_WINDOW GROUP BY 1)"
            " SELECT family, model, mig, hour(seen_at) AS hour, max(capability) AS capability,"
            " count(*) FILTER (state = 'free') AS free, count(*) AS total, any_value(seen.snapshots) AS snapshots"
            " FROM devices JOIN seen ON seen.hour = hour(seen_at) WHERE IN_WINDOW GROUP BY family, model, mig, 4"
        )
        return self._keep("free by hour", lambda: tables.free_by_hour(self.query(sql)))

    def repositories(self) -> pd.DataFrame:
        """CVMFS repositories of the latest snapshot: repository, available and machines, oldest_revision."""
        return self._keep("repositories", self._repositories)

    def abilities(self) -> pd.DataFrame:
        """Which kinds of image the machines of each site can run, in the latest snapshot."""
        return self._keep("abilities", self._abilities)

    def jobs(self) -> pd.DataFrame:
        """Frame "jobs" of those submitted in the window: the last that was known of each at its end."""
        return self._keep("jobs", self._jobs)

    def attempts(self) -> pd.DataFrame:
        """Frame "attempts" of those that had part of the window."""
        return self._keep("attempts", self._attempts)

    def snapshots(self) -> pd.DataFrame:
        """The snapshots of the window: id, taken_at, meta."""
        return self._snapshots()

    def span(self) -> Window:
        """The window whose jobs are judged; without one of its own, `WINDOW` up to the latest snapshot."""
        if self.window is not None:
            return self.window
        until = self.coverage().until
        return Window(until - WINDOW, until)

    def over(self, window: Window) -> Data:
        """The same store and settings, judged over another window; the last few are kept with what they have loaded."""
        with self._lock:
            made = self._others.pop(window, None) or Data(
                self._store, self.settings, window=window, clock=self._clock
            )
            self._others[window] = made
            while len(self._others) > WINDOWS_KEPT:
                del self._others[next(iter(self._others))]
            return made

    def as_of(self, snapshot: str) -> Data | None:
        """The same store as it stood at a snapshot of it; None if it has no such snapshot."""
        known = self._keep("every snapshot", self._store.snapshots)
        found = known.loc[known["id"] == snapshot, "taken_at"]
        if found.empty:
            return None
        at = found.iloc[-1]
        latest = snapshot == self.coverage().snapshot
        return self if latest else self.over(Window(at - WINDOW, at + pd.Timedelta(microseconds=1)))

    def query(self, sql: str) -> pd.DataFrame:
        """Run SQL over the store's frames; rows of the window's snapshots are those that are IN_WINDOW, a word for that condition."""
        coverage = self.coverage()
        bounds = {"since": coverage.since.to_pydatetime(), "until": coverage.until.to_pydatetime()}
        return self._store.query(
            sql.replace("IN_WINDOW", _IN_WINDOW), {**bounds, "snapshots": self._snapshots()["id"].tolist()}
        )

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
        """What `sim.analysis` says of an expression, or of a submit file's first kind of job, on the latest snapshot.

        Raises
        ------
        InputError : it is neither; an ExpressionError tells the column
        """
        return self._answer(self.coverage().snapshot, expression, gpus, cpus, memory_mib)

    def answer_job(self, job: JobDescription) -> Answer:
        """The same of a whole job, such as a submit file describes."""
        return analyse(job, self._keep("pool view", self._pool_view), queue=self._keep("queue", self._queue))

    def verdict(self, ad: str) -> str:
        """What `sim.analysis` says of a whole job ad on the latest snapshot: impossible, blocked, busy or free."""
        return judge(ad, self._keep("pool view", self._pool_view))

    def warm(self) -> None:
        """Load what the pages need first, so that the first visitor doesn't wait for it."""
        for load in (
            self.coverage,
            self.supply,
            self.waits,
            lambda: self._keep("pool view", self._pool_view),
            lambda: self._keep("queue", self._queue),
        ):
            load()
        for by in ("model", "site"):
            self.counts(by)

    def _analyse(self, snapshot: str, expression: str, gpus: int, cpus: int, memory_mib: float) -> Answer:
        if is_submit_file(expression):
            return self.answer_job(read_submit(expression).shapes()[0][0].description)
        pool, queue = self._keep("pool view", self._pool_view), self._keep("queue", self._queue)
        request = Request(gpus=gpus, cpus=cpus, memory_mib=memory_mib)
        return analyse(expression, pool, request=request, queue=queue)

    def _queue(self) -> Queue | None:
        """Who waits now; of another window's end it is not known."""
        if self.window is not None:
            return None
        slots = self._store.read("slots", snapshot=self.coverage().snapshot)
        return Queue.of_store(self._store, slots, self._keep("pool view", self._pool_view))

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
        if self.window is None:
            recent: pd.DataFrame = found[found["taken_at"] >= found["taken_at"].max() - WINDOW]
        else:
            since, until = self.window
            recent = found[(found["taken_at"] >= since) & (found["taken_at"] < until)]
        return recent.reset_index(drop=True)

    def _jobs(self) -> pd.DataFrame:
        since, until = self.span()
        if self.window is None:
            known = self._store.jobs()
        else:
            known = last_known(self._store.read("jobs", until=until.to_pydatetime()))
            known = known[known["submitted_at"] < until]
        return known[known["submitted_at"] >= since].reset_index(drop=True)

    def _attempts(self) -> pd.DataFrame:
        since, until = self.span()
        known = self._store.attempts()
        ended = known["ended_at"].fillna(until)
        return known[(known["started_at"] < until) & (ended >= since)].reset_index(drop=True)

    def _coverage(self) -> Coverage:
        found = self._snapshots()
        if found.empty and self.window is not None:
            raise StoreError(
                f"no snapshot from {self.window.since:%Y-%m-%d %H:%M} to {self.window.until:%Y-%m-%d %H:%M} UTC"
            )
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
        # Counted where the rows lie: a month of a large pool has tens of millions of them.
        return tables.supply(
            self.query(
                "SELECT snapshot, max(seen_at) AS seen_at, state, count(*) AS n FROM devices"
                " WHERE IN_WINDOW GROUP BY snapshot, state"
            )
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


def last_known(jobs: pd.DataFrame) -> pd.DataFrame:
    """The last row of each job; a job that has left the queue stays as it left."""
    left = jobs["status"].isin(["completed", "removed"])
    order = jobs.assign(_left=left).sort_values(["_left", "seen_at"], kind="stable")
    last = order.drop_duplicates(["schedd", "job_id"], keep="last").drop(columns="_left")
    return last.sort_values(["submitted_at", "schedd", "job_id"]).reset_index(drop=True)


def _release(versions: pd.Series) -> str:
    """The newest "23.9.6" of texts such as "$CondorVersion: 23.9.6 2026-07-12 ... $"."""
    found = versions.dropna().str.extract(r"(\d+)\.(\d+)\.(\d+)").dropna().astype(int).drop_duplicates()
    return ".".join(map(str, max(map(tuple, found.to_numpy().tolist())))) if len(found) else "unknown"
