"""How hosts and attempts end on a live pool: what the store tells of a kill, an expiry, an eviction, a hold, a removal."""

from collections.abc import Iterator

import pandas as pd
import pytest

from sim import derived
from tests.collectors.test_live_truth import SECOND, Seen, _by_job, _events, at
from tests.realpool.configuration import PoolSpec
from tests.realpool.hosts import HOSTS, TITAN_RTX, Host
from tests.realpool.pool import Pool

pytestmark = [pytest.mark.pool, pytest.mark.slow]

UPDATE_S = 5
LIFETIME_S = 75  # a killed host is listed so long; one that was silent for a minute counts as killed
DIE_S = 50
BRIEF = Host(
    "brief",
    "b1.site.example",
    4,
    4096,
    "Site",
    "Site-CE",
    gpus=((TITAN_RTX, 1),),
    glidein=True,
    retire_s=DIE_S - 5,
    die_s=DIE_S,
)
SPEC = PoolSpec(
    hosts=(*HOSTS[:3], BRIEF), update_interval_s=UPDATE_S, classad_lifetime_s=LIFETIME_S, job_lease_s=15
)


class Endings(Seen):
    """One host is killed, one quits, one expires; jobs on them, and one that is held, one removed, two that end."""

    def act(self, pool: Pool) -> set[str]:
        stays, killed, quits = pool.hosts[:3]
        self.attempts: dict[str, str] = {}

        def submit(outcome: str, machine: str, seconds: int, more: str = "") -> int:
            (cluster,) = pool.submit(
                f'request_gpus = 1\narguments = {seconds}\nrequirements = Machine == "{machine}"\n{more}'
            )
            self.attempts[f"{cluster}.0"] = outcome
            return cluster

        held = submit("held", stays.machine, 600)
        removed = submit("removed", stays.machine, 600)
        submit("done", stays.machine, 5)
        lost = submit("lost", killed.machine, 600)
        evicted = submit("evicted", quits.machine, 600)
        long_ones = [held, removed, lost, evicted]
        pool.wait_for(lambda: len(pool.executing(long_ones)) == 4, 60, "four run")
        pool.wait_for(lambda: len(self.rounds) > 2, 60, "the collector has looked more than twice")
        self.note("kill", lambda: pool.remove_host(killed.name, "kill"))
        self.note("quit", lambda: pool.remove_host(quits.name, "quit"))
        pool.tool("condor_hold", str(held))
        pool.tool("condor_rm", str(removed))
        self.note("expire", lambda: pool.remove_host(BRIEF.name, "expire", timeout_s=2 * DIE_S))

        def listed() -> bool:
            return any(slot["Machine"] == killed.machine for slot in pool.slots())

        pool.wait_for(lambda: not listed(), 2 * LIFETIME_S, "the killed host's ad is gone")
        pool.wait_for(lambda: not pool.executing(long_ones), 60, "none runs")
        pool.tool("condor_rm", *map(str, [held, lost, evicted]))
        pool.wait_for(lambda: not pool.jobs(long_ones), 60, "the queue is empty")
        return set(self.attempts)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endings]:
    with Pool(SPEC) as running:
        yield Endings(running, tmp_path_factory.mktemp("endings"))


def test_sessions(seen: Endings) -> None:
    names = {host.machine: host.name for host in SPEC.hosts}
    told = {names[one["machine"]]: one for one in derived.sessions(seen.store).to_dict("records")}
    assert len(told) == len(derived.sessions(seen.store)) == len(names)
    stays, killed, quits = (host.name for host in SPEC.hosts[:3])
    assert {name: one["ended"] for name, one in told.items()} == {
        stays: "open",
        killed: "silent",
        quits: "gone",
        BRIEF.name: "expired",
    }
    began, ended = seen.moved["kill"]
    # a killed host is taken to have lived until the collector last heard of it
    assert at(began - UPDATE_S - 1) <= told[killed]["left_at"] <= at(ended + 1)
    began, ended = seen.moved["quit"]
    # half-way between two looks; the question of the last one before the order may have been answered after it
    before = sorted(look for look in seen.rounds if look <= at(began))[-2]
    assert before <= told[quits]["left_at"] <= seen.look_after(ended)
    brief = told[BRIEF.name]
    assert abs(brief["left_at"] - brief["arrived_at"] - pd.Timedelta(seconds=DIE_S)) <= 3 * SECOND
    assert brief["left_at"] <= at(seen.moved["expire"][1]) + SECOND


def test_attempts(seen: Endings) -> None:
    """Epochs and event log agree on how and when each attempt ended, and with the log itself to the second."""
    told, logged = _by_job(seen.store.attempts()), _by_job(seen.logged.attempts())
    assert {job: one["outcome"] for job, one in told.items()} == seen.attempts
    assert {job: one["outcome"] for job, one in logged.items()} == seen.attempts
    codes = {"done": 5, "held": 12, "removed": 9, "evicted": 4, "lost": 24}
    events = {
        (f"{one['Cluster']}.{one['Proc']}", one["EventTypeNumber"]): pd.Timestamp(
            str(one["EventTime"]), tz="UTC"
        )
        for one in reversed(_events(seen.log))
        if "Cluster" in one
    }
    for job, outcome in seen.attempts.items():
        assert abs(told[job]["executing_at"] - events[job, 1]) <= SECOND, (job, outcome)
        ended = events[job, codes[outcome]]
        assert abs(told[job]["ended_at"] - ended) <= 2 * SECOND, (job, outcome)
        assert abs(logged[job]["ended_at"] - ended) <= SECOND, (job, outcome)
