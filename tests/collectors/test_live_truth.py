"""A live pool watched while its control script moves hosts and jobs run: what the store tells is what really happened."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from collectors.imports import import_files
from collectors.rounds import collect_once, live_sources
from sim import derived
from sim.store import Store
from tests.realpool.configuration import PoolSpec
from tests.realpool.hosts import HOSTS
from tests.realpool.pool import Pool

pytestmark = [pytest.mark.pool, pytest.mark.slow]

PERIOD_S = 1.0
SECOND = pd.Timedelta(seconds=1)


class Seen:
    """What a control script did, what it noted, and the store of a watch that looked on."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self.store = Store(folder / "live")
        self.logged = Store(folder / "log")
        self.moved: dict[str, tuple[float, float]] = {}
        self.rounds: list[pd.Timestamp] = []
        self.slack = SECOND  # a round's time is when its question was sent; the answer is younger
        stop = threading.Event()
        watching = threading.Thread(target=self._watch, args=(pool, stop))
        watching.start()
        try:
            self.jobs = self.act(pool)
            done = len(self.rounds)
            pool.wait_for(lambda: len(self.rounds) > done + 2, 120, "three looks at what came of it")
        finally:
            stop.set()
            watching.join()
        self.log = pool.folder / "central" / "log" / "EventLog"
        import_files([self.log], self.logged)

    def act(self, pool: Pool) -> set[str]:
        """Move hosts and run jobs; their ids."""
        name = pool.hosts[1].name
        jobs = pool.submit("request_gpus = 1\narguments = 6\nqueue 2")
        pool.wait_for(lambda: len(pool.executing(jobs)) == 2, 60, "both run")
        pool.wait_for_jobs(jobs)
        self.gone = pool.startd_name(name)
        self.note("quit", lambda: pool.remove_host(name, "quit"))
        time.sleep(3)
        self.note("add", lambda: pool.add_host(name))
        self.come = pool.startd_name(name)
        more = pool.submit("request_gpus = 1\narguments = 4")
        pool.wait_for_jobs(more)
        return {f"{jobs[0]}.0", f"{jobs[0]}.1", f"{more[0]}.0"}

    def look_after(self, seconds: float) -> pd.Timestamp:
        """The first round that began after this moment."""
        return min(one for one in self.rounds if one > at(seconds))

    def look_before(self, seconds: float) -> pd.Timestamp:
        """The last round that began before this moment."""
        return max(one for one in self.rounds if one < at(seconds))

    def note(self, what: str, act: Callable[[], object]) -> None:
        began = time.time()
        act()
        self.moved[what] = (began, time.time())

    def _watch(self, pool: Pool, stop: threading.Event) -> None:
        sources = live_sources(pool.address)
        while not stop.is_set():
            done = collect_once(sources, self.store)
            if self.rounds:  # the first one starts the asking process
                self.slack = max(self.slack, pd.Timedelta(seconds=done.sources["pool"]["seconds"]))
            self.rounds.append(pd.Timestamp(self.store.records()[done.snapshot].taken_at))
            stop.wait(PERIOD_S)
        sources[0].daemons.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with Pool(PoolSpec(hosts=HOSTS[:2])) as running:
        yield Seen(running, tmp_path_factory.mktemp("truth"))


def at(seconds: float) -> pd.Timestamp:
    return pd.Timestamp(seconds, unit="s", tz="UTC")


def test_sessions_are_what_the_script_did(seen: Seen) -> None:
    """A departure and an arrival lie between the last look before the script's order and the first after it was done."""
    sessions = derived.sessions(seen.store).sort_values("arrived_at")
    moving = sessions[sessions["startd"].isin([seen.gone, seen.come])]
    left, come = (dict(row) for row in moving.to_dict("records"))
    began, ended = seen.moved["quit"]
    # a round's question reaches the pool some time after the round began
    earliest = seen.look_before(began - seen.slack.total_seconds())
    assert earliest <= left["left_at"] <= seen.look_after(ended)
    assert (left["began"], left["ended"] == "open") == ("before", False)
    began, ended = seen.moved["add"]
    assert at(began) - seen.slack <= come["arrived_at"] <= seen.look_after(ended)
    assert (come["began"], come["ended"]) == ("seen", "open")
    (other,) = sessions[~sessions.index.isin(moving.index)].to_dict("records")
    assert (other["began"], other["ended"]) == ("before", "open")


def test_attempts_agree_with_the_event_log(seen: Seen) -> None:
    """Start and end of the program to the second, and the waits that follow from them."""
    told, logged = _by_job(seen.store.attempts()), _by_job(seen.logged.attempts())
    events = {
        (f"{one['Cluster']}.{one['Proc']}", one["EventTypeNumber"]): pd.Timestamp(
            str(one["EventTime"]), tz="UTC"
        )
        for one in _events(seen.log)
        if "Cluster" in one
    }
    assert set(told) == set(logged) == seen.jobs
    for job in seen.jobs:
        for name, code in (("executing_at", 1), ("ended_at", 5)):
            # one tells whole seconds, the other when the event was written, a moment after
            assert abs(told[job][name] - events[job, code]) < 2 * SECOND, (job, name)
            assert abs(logged[job][name] - events[job, code]) < SECOND / 1000, (job, name)
        assert told[job]["outcome"] == logged[job]["outcome"] == "done"
    jobs, waits = _by_job(seen.store.jobs()), _by_job(derived.waits(seen.store))
    for job in seen.jobs:
        assert jobs[job]["submitted_at"] <= events[job, 0] + SECOND
        wait_s = (events[job, 1] - events[job, 0]).total_seconds()
        assert (
            0 <= wait_s - waits[job]["first_wait_s"] + 1 <= 3
        )  # the shadow comes up to a second before the program
        assert not waits[job]["censored"]


def test_models_are_joined_from_the_slots(seen: Seen) -> None:
    """An epoch tells a device's id alone; its model is the one that the host's slot has."""
    devices = seen.store.read("devices").drop_duplicates(["machine", "device_id", "model"])
    models = {(one["machine"], one["device_id"]): one["model"] for one in devices.to_dict("records")}
    attempts = seen.store.attempts().to_dict("records")
    assert len(attempts) == 3
    for one in attempts:
        assert one["device_model"] == models[one["machine"], one["device_ids"]]
        assert one["device_model"]


def _by_job(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {
        str(row["job_id"]): {str(name): value for name, value in row.items()}
        for row in frame.to_dict("records")
    }


def _events(log: Path) -> list[dict[str, Any]]:
    decoder, text, found, place = json.JSONDecoder(), log.read_text(), [], 0
    while (place := text.find("{", place)) >= 0:
        one, place = decoder.raw_decode(text, place)
        found.append(one)
    return found
