"""Named loaders over a store: each answer is kept until there is a newer snapshot."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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
from sim.errors import PoolscopeError, StoreError
from sim.inventory.repositories import attribute_name, cvmfs_frame
from sim.store import Store

log = logging.getLogger("poolscope.data")

WINDOW = pd.Timedelta(days=7)
#: What pages look back from the latest snapshot, besides `WINDOW`; each beside as long a time before it.
SPANS = (pd.Timedelta(hours=24), pd.Timedelta(days=30))
#: So far back the devices of each snapshot are counted for all windows together.
COUNTED = 2 * max(SPANS)
#: At most so many snapshots are read whole for "seen in the window", however often machines come and go.
VIEWED = 96
#: How long the list of snapshots is believed; reading it costs a file per snapshot.
CHECK_S = 2.0
#: Other windows whose answers are kept.
WINDOWS_KEPT = 12
#: How often `Data.follow` looks for a newer snapshot; nobody else looks unless it has been silent for longer than `SILENT_S`.
FOLLOW_S, SILENT_S = 5.0, 60.0
#: A job was submitted before it was seen, a snapshot taken before now, give or take this much between two machines' clocks.
SKEW = pd.Timedelta(hours=1)

#: A round of the collector takes less than this.
MARGIN = pd.Timedelta(minutes=10)
#: A condition of `Data.query`; the times are for files to be passed over.
_IN_WINDOW = (
    "seen_at BETWEEN $since - INTERVAL 10 MINUTE AND $until + INTERVAL 10 MINUTE"
    " AND snapshot IN (SELECT unnest($snapshots))"
)

#: The snapshots in which a machine appeared, in order.
_FIRSTS = """
SELECT snapshot FROM (
    SELECT arg_min(snapshot, seen_at) AS snapshot, min(seen_at) AS begun FROM slots
    WHERE slot_type IN ('partitionable', 'static') AND seen_at >= $since AND seen_at < $until GROUP BY name
) GROUP BY snapshot ORDER BY min(begun)
"""

T = TypeVar("T")


class Window(NamedTuple):
    """A span of time, its end left out (UTC)."""

    since: pd.Timestamp
    until: pd.Timestamp


@dataclass(slots=True)
class Held:
    """What was loaded of a store as it stood at a snapshot.

    answers : by name
    windows : other windows of the same store, the one asked for last at the end
    counted : snapshot, seen_at, state, n; the devices of each snapshot by state, which never change
    """

    snapshot: str = ""
    answers: dict[str, object] = field(default_factory=dict)
    windows: dict[Window, Data] = field(default_factory=dict)
    counted: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["snapshot", "seen_at", "state", "n"])
    )


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
    base : the same store as of its latest snapshot, whose frames a window shares as far as they are its own
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        window: Window | None = None,
        base: Data | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings = settings
        self.window = window
        #: A thread that follows the store has yet to load its first snapshot.
        self.loading = False
        if base is None and window is not None:
            base = Data(store, settings, clock=clock)
        self.base = base or self
        self._store = store
        self._clock = clock
        self._lock = threading.RLock()
        self.held = Held()
        self._check_at = 0.0
        self._answer = lru_cache(maxsize=256)(self._analyse)

    def mark(self) -> str:
        """The id of the latest snapshot; as long as it stays, every answer does."""
        with self._lock:
            self._renew()
            return self.held.snapshot

    def is_empty(self) -> bool:
        """Tell whether the store holds no snapshot yet."""
        return self._store.is_empty()

    def coverage(self) -> Coverage:
        """The latest snapshot and its window."""
        return self._keep("coverage", self._coverage)

    def age_s(self) -> float:
        """Age of the latest snapshot; a recording is judged as of its own end, so the sample is never old [s].

        Below 0 where the snapshot is of a time to come, by more than two clocks differ.
        """
        if self.settings.sample:
            return 0.0
        age = pd.Timestamp(self._clock()) - self.coverage().until
        return age.total_seconds() if age < -SKEW else max(0.0, age.total_seconds())

    def devices(self) -> pd.DataFrame:
        """Frame "devices" of the latest snapshot."""
        if self._ends_latest():
            return self.base.devices()
        return self._keep("devices", lambda: self._store.read("devices", snapshot=self.coverage().snapshot))

    def kept(self, name: str, load: Callable[[], T]) -> T:
        """What a page makes of the latest snapshot's frames, made once.

        name : stands for one `load`, which depends on nothing else
        """
        return self._keep(f"page {name}", load)

    def counts(self, by: str) -> pd.DataFrame:
        """GPUs now by model or site and state."""
        if self._ends_latest():
            return self.base.counts(by)
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
        if self.base is not self:
            return self.base.over(window)
        with self._lock:
            self._renew()
            windows = self.held.windows
            made = windows.pop(window, None) or Data(
                self._store, self.settings, window=window, base=self, clock=self._clock
            )
            windows[window] = made
            while len(windows) > WINDOWS_KEPT:
                del windows[next(iter(windows))]
            return made

    def as_of(self, snapshot: str) -> Data | None:
        """The same store as it stood at a snapshot of it; None if it has no such snapshot."""
        known = self._every_snapshot()
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
        """Load what the pages ask for first, so that no visitor waits for it."""
        for load in (
            self.coverage,
            self.supply,
            self.waits,
            self.free_by_hour,
            lambda: self._keep("pool view", self._pool_view),
            lambda: self._keep("queue", self._queue),
        ):
            load()
        for by in ("model", "site"):
            self.counts(by)
        self.answer("true", gpus=1, cpus=1, memory_mib=1024.0)
        until = self.coverage().until
        for length in (WINDOW, *SPANS):
            here = self if length == WINDOW else self.over(ending(until, length))
            for each in (here, here.before()):
                if not each.snapshots().empty:
                    each.supply()
                    if not each.jobs().empty:
                        each.waits()

    def before(self) -> Data:
        """As long a window before this one."""
        since, until = self.span()
        return self.over(Window(since - (until - since), since))

    def follow(self, stop: threading.Event, *, seen: Callable[[], object] = lambda: None) -> None:
        """Look for newer snapshots until told to stop; each is loaded whole before it is shown, so that nobody waits for it.

        seen : called after each
        """
        shown, self.loading = "", True
        while True:
            try:
                latest = self._store.latest() or ""
                if latest != shown:
                    if shown:
                        self._take(self._prepared(latest))
                    else:  # at first, what visitors ask for meanwhile is loaded for both
                        self.warm()
                    seen()
                    shown = self.held.snapshot
            except (PoolscopeError, OSError) as error:
                log.warning("the newest snapshot can't be loaded: %s", error)
            self.loading, self._check_at = False, time.monotonic() + SILENT_S
            if stop.wait(FOLLOW_S):
                return

    def _prepared(self, latest: str) -> Data:
        """The same store with its newest snapshot loaded; what was counted of older ones is counted."""
        made = Data(self._store, self.settings, clock=self._clock)
        made.held = Held(latest, counted=self.held.counted)
        made.stay()
        made.warm()
        return made

    def stay(self) -> None:
        """Look for no newer snapshot."""
        self._check_at = math.inf

    def _take(self, other: Data) -> None:
        """Show what another one has loaded."""
        for window in other.held.windows.values():
            window.base = self
        with self._lock:
            self.held = other.held

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
        ends = self.window.until if self.window is not None else self.coverage().until + MARGIN
        times = {"since": self.coverage().since.to_pydatetime(), "until": ends.to_pydatetime()}
        # Asked where the rows lie: a week of a large pool has millions of them.
        firsts = self._store.query(_FIRSTS, times, **times)["snapshot"].tolist()
        picked = firsts[:: max(1, -(-len(firsts) // VIEWED))]
        parts = [self._store.read("slots", snapshot=name) for name in picked]
        return pd.concat(parts, ignore_index=True) if parts else self._store.read("slots")

    def _snapshots(self) -> pd.DataFrame:
        return self._keep("snapshots", self._recent_snapshots)

    def _every_snapshot(self) -> pd.DataFrame:
        return self.base.kept("every snapshot", self._store.snapshots)

    def _ends_latest(self) -> bool:
        """Whether this is a window of its own that ends with the latest snapshot."""
        return self.base is not self and self.coverage().snapshot == self.base.coverage().snapshot

    def _recent_snapshots(self) -> pd.DataFrame:
        found = self._every_snapshot()
        if self.window is None:
            recent: pd.DataFrame = found[found["taken_at"] >= with_slots(found)["taken_at"].max() - WINDOW]
        else:
            since, until = self.window
            recent = found[(found["taken_at"] >= since) & (found["taken_at"] < until)]
        return recent.reset_index(drop=True)

    def _jobs(self) -> pd.DataFrame:
        since, until = self.span()
        if until >= self.base.coverage().until:
            known = self.base.kept("every job", self._store.jobs)
        else:  # as they were known then
            begin = (since - SKEW).to_pydatetime()
            known = last_known(self._store.read("jobs", since=begin, until=until.to_pydatetime()))
        within = (known["submitted_at"] >= since) & ((known["submitted_at"] < until) | (self.window is None))
        return known[within].reset_index(drop=True)

    def _attempts(self) -> pd.DataFrame:
        since, until = self.span()
        known = self.base.kept("every attempt", self._store.attempts)
        ended = known["ended_at"].fillna(until)
        return known[(known["started_at"] < until) & (ended >= since)].reset_index(drop=True)

    def _coverage(self) -> Coverage:
        found = self._snapshots()
        if found.empty and self.window is not None:
            raise StoreError(
                f"no snapshot from {self.window.since:%Y-%m-%d %H:%M} to {self.window.until:%Y-%m-%d %H:%M} UTC; "
                f"the newest in the store is of {self.base.coverage().until:%Y-%m-%d %H:%M} UTC"
            )
        if found.empty:
            raise StoreError(
                "no data yet: start the collector with `poolscope collect --pool HOST --every 5m`"
            )
        last = with_slots(found).iloc[-1]
        return Coverage(
            snapshot=str(last["id"]),
            since=found["taken_at"].iloc[0],
            until=last["taken_at"],
            n_snapshots=len(found),
            condor_version=self.base.version_at(str(last["id"])),
            sample=self.settings.sample,
        )

    def _abilities(self) -> pd.DataFrame:
        slots = self._store.read("slots", snapshot=self.coverage().snapshot)
        return tables.count_abilities(slots, attribute_name(IMAGES))

    def _repositories(self) -> pd.DataFrame:
        slots = self._store.read("slots", snapshot=self.coverage().snapshot)
        return tables.count_repositories(cvmfs_frame(slots), slots["machine"].nunique())

    def version_at(self, snapshot: str) -> str:
        """The newest HTCondor of a snapshot's slots."""

        def load() -> str:
            columns = ["condor_version"]
            return _release(self._store.read("slots", snapshot=snapshot, columns=columns)["condor_version"])

        return self._keep(f"version at {snapshot}", load)

    def _supply(self) -> pd.DataFrame:
        # Counted where the rows lie: a month of a large pool has tens of millions of them.
        here = self._snapshots()
        if not here.empty and here["taken_at"].iloc[0] < self.base.coverage().until - COUNTED:
            return tables.supply(self._count(here))
        counted = self.base.kept("counted", self.base.count_recent)
        return tables.supply(counted[counted["snapshot"].isin(here["id"])])

    def count_recent(self) -> pd.DataFrame:
        """Devices by state of each snapshot that windows may hold; a snapshot never changes, so only new ones are counted."""
        found = self._every_snapshot()
        recent = found[found["taken_at"] >= found["taken_at"].max() - COUNTED]
        new = recent[~recent["id"].isin(self.held.counted["snapshot"])]
        known = self.held.counted[self.held.counted["snapshot"].isin(recent["id"])]
        if len(new):
            known = (
                pd.concat([known, self._count(new)], ignore_index=True) if len(known) else self._count(new)
            )
        self.held.counted = known
        return known

    def _count(self, snapshots: pd.DataFrame) -> pd.DataFrame:
        """snapshot, seen_at, state, n: the devices of these snapshots by state."""
        times = {
            "since": (snapshots["taken_at"].min() - MARGIN).to_pydatetime(),
            "until": (snapshots["taken_at"].max() + MARGIN).to_pydatetime(),
        }
        within = "WHERE seen_at BETWEEN $since AND $until AND snapshot IN (SELECT unnest($snapshots))"
        found = self._store.query(
            f"SELECT snapshot, max(seen_at) AS seen_at, state, count(*) AS n FROM devices {within} GROUP BY snapshot, state",  # noqa: S608
            {**times, "snapshots": snapshots["id"].tolist()},
            **times,
        )
        # Of slots without a device it is known that there was no GPU.
        none = snapshots[snapshots["slots"] & ~snapshots["id"].isin(found["snapshot"])]
        if none.empty:
            return found
        zero = pd.DataFrame({"snapshot": none["id"], "seen_at": none["taken_at"], "state": "free", "n": 0})
        return pd.concat([found, zero], ignore_index=True) if len(found) else zero

    def _renew(self) -> None:
        """Forget everything once there is a newer snapshot; asked for at most every `CHECK_S`."""
        if self.base is not self:
            latest = self.base.mark()
        elif time.monotonic() < self._check_at:
            return
        else:
            self._check_at = time.monotonic() + CHECK_S
            latest = self._store.latest() or ""
        if latest != self.held.snapshot:
            self.held = Held(latest, counted=self.held.counted)

    def _keep(self, name: str, load: Callable[[], T]) -> T:
        """The answer of `load`, made once per snapshot even when several requests ask at the same time."""
        with self._lock:
            self._renew()
            answers = self.held.answers
            if name not in answers:
                answers[name] = load()
            return answers[name]  # type: ignore[return-value]  # `name` stands for one `load`, whose type is T


def ending(until: pd.Timestamp, length: pd.Timedelta) -> Window:
    """The window of this length that ends with the snapshot taken at `until`."""
    return Window(until - length, until + pd.Timedelta(seconds=1))


def with_slots(snapshots: pd.DataFrame) -> pd.DataFrame:
    """The snapshots that tell of slots; all where none does. An import of history alone says nothing of the machines."""
    return snapshots[snapshots["slots"]] if snapshots["slots"].any() else snapshots


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
