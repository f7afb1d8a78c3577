"""The recording's workload is the same every time and has what the product must tell apart."""

from collections import Counter

from tests.realpool.configuration import SUBMITTERS
from tests.realpool.workload import CLASSES, SECONDS, workload


def test_same_seed_same_workload() -> None:
    """A recording can be repeated."""
    assert workload(3) == workload(3) != workload(4)


def test_enough_jobs_of_every_class() -> None:
    """320 jobs, 252 with GPUs, 13 classes, all submitters."""
    bursts = workload()
    jobs = Counter({one.name: 0 for one in CLASSES})
    for burst in bursts:
        jobs[burst.requirement_class.name] += len(burst.runs_s)
    assert jobs == {one.name: one.jobs for one in CLASSES}
    assert jobs.total() == 320
    assert sum(one.jobs for one in CLASSES if one.gpus) == 252
    assert {burst.submitter for burst in bursts} == set(SUBMITTERS)


def test_in_time_and_in_bounds() -> None:
    """Bursts come in order and leave the last tenth free; jobs run 20 to 400 s."""
    bursts = workload()
    times = [burst.at_s for burst in bursts]
    assert times == sorted(times)
    assert max(times) <= 0.9 * SECONDS
    assert all(20 <= run_s <= 400 for burst in bursts for run_s in burst.runs_s)


def test_shorter_is_fewer() -> None:
    """A rehearsal of two minutes has a tenth of the jobs, and every class."""
    bursts = workload(duration_s=120)
    assert sum(len(burst.runs_s) for burst in bursts) < 40
    assert {burst.requirement_class for burst in bursts} == set(CLASSES)


def test_description_carries_class_and_user() -> None:
    """The class travels in the job ad; the nice user says so in HTCondor's way."""
    texts = [burst.description for burst in workload()]
    assert all('+RequirementClass = "' in text for text in texts)
    assert any("nice_user = true\naccounting_group_user = dave" in text for text in texts)
