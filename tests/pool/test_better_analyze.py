"""Our counts against the real `condor_q -better-analyze`; where the two differ, submitted jobs show who is right."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
import pytest

from sim.analysis import Answer, PoolView, analyse
from sim.classads.ads import parse_ads
from sim.classads.submit import read_submit
from sim.inventory import slots_frame
from tests.realpool.configuration import PoolSpec
from tests.realpool.hosts import HOSTS
from tests.realpool.pool import SUBMIT_DEFAULTS, Pool

pytestmark = pytest.mark.pool

_NUMBER = {
    "rejected": re.compile(r"(\d+) are rejected by your job's requirements"),
    "refusing": re.compile(r"(\d+) reject your job because of their own requirements"),
    "mine": re.compile(r"(\d+) match and are already running your jobs"),
    "others": re.compile(r"(\d+) match but are serving other users"),
    "able": re.compile(r"(\d+) are able to run your job"),
}

# requirements, and further lines of the submit file
EXPRESSIONS = [
    ("true", ""), ("false", ""), ("undefined", ""), ("GPUs_Capability >= 7.5", ""), ("GPUs_Capability >= 7.0", ""),
    ("GPUs_Capability < 7.5", ""), ("GPUs_Capability == 8.0", ""), ("CUDACapability >= 6.0", ""), ("TARGET.CUDACapability > 1", ""),
    ('GPUs_DeviceName == "TITAN RTX"', ""), ('regexp("V100", GPUs_DeviceName)', ""), ("GPUs_GlobalMemoryMb >= 24000", ""),
    ("GPUs_GlobalMemoryMb >= 24576", ""), ('GLIDEIN_Site == "Lakeside"', ""), ('GLIDEIN_Site =!= "Lakeside"', ""),
    ('stringListMember(GLIDEIN_Site, "Lakeside,Harbor")', ""), ("HasSingularity", ""), ("HasSingularity =!= true", ""),
    ("HAS_CVMFS_singularity_opensciencegrid_org =?= true", ""), ("Memory > 100000", ""), ("TARGET.Memory > 100000 && TARGET.Cpus > 40", ""),
    ("Cpus >= 24", "request_gpus = 0"), ("GPUs >= 4", "request_gpus = 4"), ("TotalSlotGPUs > 3", ""), ("TARGET.GPUs == 2", ""),
    ('OpSysAndVer =!= "CentOS7"', ""), ("(Memory > 200000 || GPUs_GlobalMemoryMb < 5000)", ""), ("Nope > 3", ""), ("isUndefined(Nope)", ""),
    ("!(GPUs_Capability >= 7.5)", ""), ("TARGET.Machine > MY.Owner || true", ""), ("countMatches(Capability >= 7.5, AvailableGPUs) >= 1", ""),
    ("true", "request_gpus = 2"), ("true", "request_gpus = 8"), ("true", "request_gpus = 9"), ("true", "request_cpus = 33"),
    ("true", "request_memory = 300GB"), ("true", "request_memory = 900GB"), ("true", "request_gpus = 0"),
    ("true", "gpus_minimum_capability = 7.0"), ("true", "gpus_minimum_capability = 7.5"), ("true", "gpus_minimum_capability = 8.0"),
    ("true", "gpus_minimum_capability = 9.0"), ("true", "gpus_maximum_capability = 7.0"), ("true", "gpus_minimum_memory = 30GB"),
    ("true", 'require_gpus = DeviceName == "TITAN RTX"'), ("true", "request_gpus = 2\ngpus_minimum_capability = 7.5"),
    ("true", "request_gpus = 3\ngpus_minimum_capability = 7.5"), ("GPUs_Capability >= 7.0", "gpus_minimum_memory = 20000"),
    ("true", "universe = docker\ndocker_image = a/b"), ("true", "container_image = /cvmfs/x"), ("true", "checkpoint_exit_code = 85"),
]  # fmt: skip


class Told(NamedTuple):
    """What -better-analyze says of a job: machines by what they do, None where it says that none matched at all."""

    rejected: int
    refusing: int
    mine: int
    others: int
    able: int


def whole(requirements: str, lines: str, more: str = "") -> str:
    head = SUBMIT_DEFAULTS.replace("request_memory = 512", "request_memory = 128")
    return f"{head}arguments = 600\nrequest_gpus = 1\n{lines}\n{more}requirements = {requirements}\nqueue\n"


def view_of(pool: Pool) -> PoolView:
    ads = parse_ads(pool.tool("condor_status", "-long"), where="condor_status")
    return PoolView.from_frames(slots_frame(ads, seen_at=pd.Timestamp.now(tz="UTC"), snapshot="now").frame)


def told(pool: Pool, cluster: int) -> Told:
    said = pool.tool("condor_q", "-better-analyze", str(cluster))
    found = {name: int(match[1]) for name, pattern in _NUMBER.items() if (match := pattern.search(said))}
    assert len(found) == len(_NUMBER), said
    return Told(**found)


def ours(view: PoolView, requirements: str, lines: str) -> Answer:
    (job,) = read_submit(whole(requirements, lines)).jobs
    return analyse(job.description, view)


@pytest.fixture(scope="module")
def held(pool: Pool) -> Iterator[list[int]]:
    """A held job for each expression: it is analysed, but disturbs nothing."""
    up = len(pool.hosts)
    pool.wait_for(
        lambda: len(pool.slots("PartitionableSlot && GPUs == TotalSlotGPUs")) == up, 90, "an idle pool"
    )
    clusters = pool.submit([whole(text, lines, "hold = true\n") for text, lines in EXPRESSIONS])
    yield clusters
    pool.tool("condor_rm", *map(str, clusters))


@pytest.fixture(scope="module")
def view(pool: Pool, held: list[int]) -> PoolView:
    return view_of(pool)


@pytest.mark.parametrize("number", range(len(EXPRESSIONS)))
def test_an_idle_pool(pool: Pool, held: list[int], view: PoolView, number: int) -> None:
    """Where nothing runs, the tool and we count the same machines."""
    requirements, lines = EXPRESSIONS[number]
    answer, said = ours(view, requirements, lines), told(pool, held[number])
    machines = len(view.machines)
    assert said.able + said.mine + said.others == len(answer.machines) == answer.hosts.now
    assert said.rejected + said.refusing == machines - len(answer.machines)
    assert (answer.verdict == "free") == (said.able > 0)


@pytest.fixture(scope="module")
def small() -> Iterator[Pool]:
    """A pool of its own with two machines of two TITANs and four V100s."""
    hosts = tuple(host for host in HOSTS if host.name in {"glidein_1", "v100"})
    with Pool(PoolSpec(hosts=hosts)) as running:
        yield running


BUSY = {
    "any GPU": ("true", "request_gpus = 1"),
    "a device that is busy": ("true", "request_gpus = 1\ngpus_minimum_capability = 7.5"),
}


def test_a_busy_pool_is_what_the_tool_gets_wrong(small: Pool) -> None:
    """All GPUs are taken. The tool says of a plain job that two machines are able to run it, and of one with
    gpus_minimum_capability that nothing matches; both jobs stay idle while the GPUs are taken and run once they are free.
    We say busy of both."""
    fill = small.submit(whole("true", "request_gpus = 1").replace("queue\n", "queue 6\n"), owner="filler")
    small.wait_for(lambda: sum(ad["JobStatus"] == 2 for ad in small.jobs(fill)) == 6, 60, "all GPUs taken")
    small.wait_for(lambda: not small.slots("PartitionableSlot && GPUs > 0"), 30, "ads that say so")
    wanted = {name: small.submit(whole(*asked).replace("600", "0"))[0] for name, asked in BUSY.items()}
    busy = view_of(small)
    said = {name: told(small, cluster) for name, cluster in wanted.items()}
    answers = {name: ours(busy, *asked) for name, asked in BUSY.items()}
    begun = len(cycles(small))
    small.wait_for(lambda: len(cycles(small)) >= begun + 3, 60, "three negotiation cycles")
    assert {ad["JobStatus"] for ad in small.jobs(wanted.values())} == {1}

    assert said["any GPU"].able == 2  # wrong: no GPU is free
    assert said["a device that is busy"].able == 0
    assert said["a device that is busy"].rejected == 2  # wrong: two devices would do
    assert [(a.verdict, a.gpus.now, a.gpus.drained) for a in answers.values()] == [
        ("busy", 0, 6),
        ("busy", 0, 2),
    ]

    small.tool("condor_rm", *map(str, fill))
    ended = small.wait_for_jobs(list(wanted.values()), 90)
    assert {ad["JobStatus"] for ad in ended} == {4}
    picked = next(ad for ad in ended if ad["ClusterId"] == wanted["a device that is busy"])
    assert picked["LastRemoteHost"].rpartition("@")[2] in answers["a device that is busy"].machines


def cycles(pool: Pool) -> list[str]:
    """The negotiation cycles that have ended."""
    log = (pool.folder / "central" / "log" / "NegotiatorLog").read_text(errors="replace")
    return re.findall(r"Finished Negotiation Cycle", log)
