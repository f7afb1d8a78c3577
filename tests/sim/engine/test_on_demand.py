"""The glidein front end: its arithmetic, its windows, and pilots that come, work, idle and end."""

import math
from collections.abc import Generator, Mapping

import numpy as np
import pytest
import simpy

from sim.classads.matching import Autocluster, Matcher
from sim.classads.request import Request, job_ad
from sim.engine.entities import Machine
from sim.engine.run import Plan, Recording, Run
from sim.engine.supply.on_demand import FrontEnd, asked_pilots, windows
from sim.scenario import parse
from sim.sections import EntrySection, OnDemandSection

MACHINE = {
    "name": "pilot",
    "site": "X",
    "cpus": 8,
    "memory": "47 GB",
    "gpus": [{"model": "NVIDIA A40", "capability": 8.6, "memory": 45739}],
}
LIVES = {"graceful_s": 120.0, "update_s": 370.0}


@pytest.mark.parametrize(
    ("walltime", "accepts"),
    [(84600, 48110), (86400, 49910), (171000, 134510), (172800, 136310), (257400, 220910)],
)
def test_windows_of_the_ospool(walltime: float, accepts: float) -> None:
    """How long glideins of the OSPool's wall times take jobs (fact sheet §4.2), and up to a tenth less by the spread."""
    assert windows(walltime, 36_000, spread=0, **LIVES)[0] == accepts
    assert windows(walltime, 36_000, spread=0.99, **LIVES)[0] == pytest.approx(0.901 * accepts)


def test_a_short_pilot_lowers_the_job_time() -> None:
    """Where 600 + J + g + 66 + 370 exceeds the wall time J is lowered; ten minutes of work are the least."""
    retire, die = windows(7200, 36_000, spread=0, **LIVES)
    assert die == 7200 - 490
    assert retire == 600 + 66  # what is set aside beside J, the last update and the shutdown


def section(**changes: object) -> OnDemandSection:
    return OnDemandSection.model_validate({"entries": [{"machine": MACHINE}]} | changes)


@pytest.mark.parametrize(
    ("idle", "running", "queued", "up", "asked"),
    [
        (0, 10, 0, 0, 0),  # no demand, no pilot
        (1, 0, 0, 0, 1),  # at least one
        (30, 0, 0, 0, 10),  # a third
        (30, 0, 7, 0, 3),  # what waits at the site counts
        (1000, 0, 0, 0, 50),  # 50 per entry
        (1, 0, 0, 5, 0),  # (1 + 0) · 5 pilots are enough
        (2, 1, 0, 14, 1),
    ],
)
def test_how_many_pilots_are_asked(idle: float, running: int, queued: int, up: int, asked: int) -> None:
    """The front end's arithmetic (fact sheet §4.3), each case by hand."""
    told = section()
    assert asked_pilots(idle, running, queued, up, section=told, entry=told.entries[0], halvings=0) == asked


def test_a_curb_halves_but_leaves_one() -> None:
    """Each exceeded curb halves what is asked; one stays as long as there is demand."""
    told = section()
    entry: EntrySection = told.entries[0]
    asked = [asked_pilots(idle, 0, 0, 0, section=told, entry=entry, halvings=1) for idle in (30, 1)]
    assert asked == [5, 1]


def run(
    entry: Mapping[str, object],
    arriving: Mapping[str, object],
    *,
    horizon: str = "2 d",
    seed: int = 1,
    **more: object,
) -> tuple[Run, Plan]:
    scenario = parse(
        {
            "pool": {"source": "generated"},
            "supply": {
                "model": "on_demand",
                "on_demand": {"entries": [{"machine": MACHINE, **entry}], "start_up": "3 min", **more},
            },
            "workload": {"source": "synthetic", "synthetic": {"classes": [{"name": "any", **arriving}]}},
            "run": {"horizon": horizon},
        },
        where="test",
    )
    plan = Plan.of(scenario, Recording.load("generated"))
    return plan.run(seed), plan


STEADY = {"arrivals": {"every": "20 min"}, "run": {"median": "30 min", "spread": 0.5}}
QUIET = {"queue": {"median": "10 min", "spread": 0}}


def test_pilots_come_because_jobs_wait() -> None:
    """The first job waits for the front end's look, the site's queue and the start-up; nobody starts before."""
    found, _ = run(QUIET, STEADY)
    first = found.jobs.sort_values("submitted_at").iloc[0]
    wait = (first["first_started_at"] - first["submitted_at"]).total_seconds()
    assert 600 + 180 <= wait <= 600 + 180 + 60 + 60
    assert found.jobs["first_started_at"].notna().mean() > 0.9
    assert found.attempts["site"].unique().tolist() == ["X"]


def test_no_demand_no_pilots() -> None:
    """Jobs that the group doesn't count bring nobody, and wait for ever."""
    found, _ = run(QUIET, STEADY, jobs="RequestGPUs > 8")
    assert found.attempts.empty
    assert found.jobs["first_started_at"].isna().all()


def test_nothing_starts_in_a_pilots_last_hours() -> None:
    """No attempt begins later than 49,910 s after its pilot's start, though a 24-hour pilot lives on to 85,910 s."""
    found, _ = run(
        QUIET, {**STEADY, "arrivals": {"every": "5 min"}}, horizon="4 d", max_tail="10 d", max_idle="10 d"
    )
    begun = found.attempts.groupby("machine")["executing_at"].agg(["min", "max"])
    longest = (begun["max"] - begun["min"]).dt.total_seconds().max()
    assert 0.8 * 49_910 < longest <= 49_910


def test_idle_pilots_end() -> None:
    """With hours between jobs every job has a pilot of its own: the one before had nothing to do for 400 s."""
    found, _ = run(
        QUIET, {"arrivals": {"every": "6 h", "variation": 0.1}, "run": {"median": "10 min", "spread": 0}}
    )
    assert found.attempts["machine"].nunique() == len(found.attempts) > 4


def test_lost_pilots_cost_their_lease() -> None:
    """Pilots that vanish without notice lose jobs, which come back after the lease."""
    found, _ = run({**QUIET, "lost_per_day": 20.0}, STEADY)
    lost = found.attempts[found.attempts["outcome"] == "lost"]
    assert len(lost) > 5


def test_containers_are_there_from_the_beginning() -> None:
    """A site's own execution points need no demand, take a job at once, and are replaced when they end."""
    found, _ = run({"kind": "container", "count": 3, "queue": {"median": "5 min", "spread": 0}}, STEADY)
    first = found.jobs.sort_values("submitted_at").iloc[0]
    assert (first["first_started_at"] - first["submitted_at"]).total_seconds() < 600
    assert found.jobs["first_started_at"].notna().mean() > 0.95


def test_the_same_seed_the_same_pilots() -> None:
    """A run repeats byte for byte; another seed is another run."""
    first, again, other = (run(QUIET, STEADY, seed=seed)[0] for seed in (1, 1, 2))
    assert first.attempts.equals(again.attempts)
    assert not first.attempts.equals(other.attempts)


def test_utilisation_follows_demand() -> None:
    """Offered load of jobs that all start is what pilots are busy with (Little's law)."""
    found, plan = run(
        QUIET, {"arrivals": {"every": "5 min"}, "run": {"median": "30 min", "spread": 0.01}}, horizon="6 d"
    )
    ends = found.attempts["ended_at"].fillna(found.jobs["seen_at"].max())
    busy = float((ends - found.attempts["executing_at"]).dt.total_seconds().sum()) / plan.horizon_s
    assert busy == pytest.approx(6, rel=0.1)
    assert not math.isnan(found.goodput)
    assert np.isfinite(found.makespan_s)


class Ground:
    """A pool as the front end sees it, with one idle job for the first ten minutes; notes who comes and goes, when."""

    def __init__(self) -> None:
        self.env = simpy.Environment()
        ad = job_ad("true", Request())
        self.cluster = Matcher([ad], []).autocluster(ad)
        self.came: list[float] = []
        self.retired: list[float] = []
        self.left: list[tuple[float, bool]] = []

    def idle(self) -> list[tuple[Autocluster, int]]:
        return [(self.cluster, 1)] if self.env.now < 600 else []

    def arrive(self, machine: Machine) -> None:
        self.came.append(self.env.now)
        machine.claims[1] = self  # type: ignore[assignment]
        self.env.process(self.work(machine))

    def work(self, machine: Machine) -> Generator[simpy.Event]:
        yield self.env.timeout(60_000)
        machine.claims.clear()

    def retire(self, machine: Machine) -> None:
        self.retired.append(self.env.now)

    def leave(self, machine: Machine, *, killed: bool) -> None:
        self.left.append((self.env.now, killed))


class Pilot:
    """All that a front end reads of a machine."""

    def __init__(self) -> None:
        self.claims: dict[int, object] = {}


def lives(**entry: object) -> Ground:
    ground = Ground()
    told = section(entries=[{"machine": MACHINE, **QUIET, "max_idle": 1, **entry}], max_tail="10 d")
    front = FrontEnd(told, machine_of=lambda stay: Pilot(), rng=np.random.default_rng(1))  # type: ignore[arg-type, return-value]
    ground.env.process(front.run(ground))
    ground.env.run(200_000)
    return ground


def test_a_retired_pilot_ends_with_its_last_job() -> None:
    """It has nothing to wait for: its job of 60,000 s ends after retirement, and it with it, though it may idle for days."""
    ground = lives()
    assert ground.came == [780.0]
    assert 600 + 0.9 * 49_910 < ground.retired[0] <= 600 + 49_910
    ((left, killed),) = ground.left
    assert left == pytest.approx(780 + 60_000, abs=60)
    assert not killed


def test_a_pilot_ends_at_its_wall_time_with_its_jobs() -> None:
    """A pilot of 40,000 s ends up to one update after its ToDie, whatever runs on it."""
    ((left, killed),) = lives(walltime=40_000).left
    assert 600 + 40_000 - 490 - 0.1 * 36_000 <= left <= 600 + 40_000
    assert not killed


def test_a_vanished_pilot_is_killed() -> None:
    """With a loss every 1.44 minutes a pilot is soon gone, without notice."""
    ((left, killed),) = lives(lost_per_day=1000.0).left[:1]
    assert killed
    assert left < 600 + 1500


def test_a_share_of_pilots_never_comes() -> None:
    """All failed: asked for again and again, and nobody is there."""
    ground = lives(failed=1.0)
    assert ground.came == []
