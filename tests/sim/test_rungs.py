"""The job of a rung, analysed by itself, has the GPUs that its ladder tells."""

from __future__ import annotations

import pytest

from sim.analysis import PoolView, Request, Rung, analyse
from sim.analysis.rungs import MOST_ASKED, job_on, rungs_to_ask
from sim.classads.job import JobDescription
from sim.classads.submit import read_submit
from sim.store import Store, sample_path

FILES = (
    "executable = a\nrequest_gpus = 2\ngpus_minimum_capability = 7.0\ngpus_minimum_memory = 5000\nqueue\n",
    'executable = a\nrequest_gpus = 1\n+Requirements = GPUs_Capability >= 7.5 && GLIDEIN_Site != "x"\nqueue\n',
)


@pytest.fixture(scope="module")
def pool() -> PoolView:
    window = Store(sample_path()).read("slots")
    return PoolView.from_frames(window[window["seen_at"] == window["seen_at"].max()], window)


def jobs() -> list[JobDescription]:
    expressions = ("true", "GPUs_Capability >= 7.5", "CUDACapability >= 6.0 && Memory > 1",
                   'GPUs_DeviceName == "TITAN RTX" && GLIDEIN_Site != "x"')  # fmt: skip
    requests = (
        Request(),
        Request(gpus=2),
        Request(require_gpus="Capability >= 7.0 && GlobalMemoryMb > 5000"),
    )
    made = [request.describe(text) for text in expressions for request in requests]
    return [*made, *(read_submit(file).jobs[0].description for file in FILES)]


@pytest.mark.parametrize("job", jobs(), ids=range(len(jobs())))
def test_a_rungs_own_job_has_the_rungs_gpus(pool: PoolView, job: JobDescription) -> None:
    ladders = analyse(job, pool).ladders
    assert ladders
    for name, rungs in ladders.items():
        for rung in rungs:
            alone = analyse(job_on(job, name, rung.rung), pool).gpus
            assert (alone.drained, alone.now, alone.seen) == (rung.gpus, rung.now, rung.seen), (name, rung)


def test_what_is_asked_is_bounded_and_asked_once() -> None:
    """Flat steps share a question, rungs that nothing satisfies have none, long ladders are thinned from end to end."""
    flat = [Rung(f"GlobalMemoryMb >= {size}", 8 - size // 2, 1) for size in range(8)]
    asked = rungs_to_ask(
        {"memory": flat, "site": [Rung("any site", 4, 4), Rung("a", 2, 0), Rung("b", 2, 0), Rung("c", 0, 0)]}
    )
    assert len(set(asked["memory"].values())) == 4
    assert len(asked["memory"]) == 8
    assert asked["site"] == {
        "any site": "any site",
        "a": "a",
        "b": "b",
    }  # two sites of one size are two questions
    long = [Rung(str(place), 100 - place, 0) for place in range(41)]
    chosen = rungs_to_ask({"memory": long})["memory"]
    assert len(chosen) == MOST_ASKED
    assert {"0", "40"} <= set(chosen)
