"""What `match` says of a real pool against where its negotiator and startds really let jobs run."""

import time
from typing import NamedTuple

import pandas as pd
import pytest

from sim.analysis import Answer, PoolView, Request, analyse
from sim.classads.ads import parse_ads
from sim.classads.expression import Expression
from sim.classads.matching import read_ad
from sim.classads.request import job_ad
from sim.inventory import slots_frame
from tests.realpool.pool import SUBMIT_DEFAULTS, Pool

pytestmark = pytest.mark.pool


class Style(NamedTuple):
    """A way of asking, as in a submit file and as in `match`."""

    expression: str
    submit: str = ""
    request: Request = Request()


def picky(expression: str, gpus: int = 1) -> Request:
    return Request(gpus=gpus, require_gpus=expression)


STYLES = {
    "plain": Style("true"),
    "classic": Style("CUDACapability >= 6.0"),
    "flat-7.5": Style("GPUs_Capability >= 7.5"),
    "flat-7.0": Style("GPUs_Capability >= 7.0"),
    "name": Style('GPUs_DeviceName == "TITAN RTX"'),
    "minimum-7.0": Style("true", "gpus_minimum_capability = 7.0", picky("Capability >= 7.0")),
    "minimum-7.5": Style("true", "gpus_minimum_capability = 7.5", picky("Capability >= 7.5")),
    "minimum-8.0": Style("true", "gpus_minimum_capability = 8.0", picky("Capability >= 8.0")),
    "memory": Style("true", "gpus_minimum_memory = 20000", picky("GlobalMemoryMb >= 20000")),
    "require": Style("true", 'require_gpus = DeviceName == "TITAN RTX"', picky('DeviceName == "TITAN RTX"')),
    "two": Style("true", "request_gpus = 2\ngpus_minimum_capability = 7.5", picky("Capability >= 7.5", gpus=2)),
    "four": Style("GPUs >= 4", "request_gpus = 4", Request(gpus=4)),
    "site": Style('GLIDEIN_Site == "Lakeside"'),
    "cvmfs": Style("HAS_CVMFS_singularity_opensciencegrid_org =?= true"),
    "no-cvmfs": Style("HAS_CVMFS_singularity_opensciencegrid_org =!= true"),
    "singularity": Style("HasSingularity"),
    "impossible": Style("GPUs_Capability >= 9.0"),
    "any-system": Style('OpSysAndVer =!= "CentOS7" && (Memory > 200000 || GPUs_GlobalMemoryMb < 5000)'),
    "no-gpu": Style("Cpus >= 24", "request_gpus = 0", Request(gpus=0)),
}  # fmt: skip


@pytest.fixture(scope="module")
def view(pool: Pool) -> PoolView:
    up = len(pool.hosts)
    pool.wait_for(lambda: len(pool.slots("PartitionableSlot")) == up, 60, "all hosts are up")
    ads = parse_ads(pool.tool("condor_status", "-long"), where="condor_status")
    return PoolView.from_frames(slots_frame(ads, seen_at=pd.Timestamp.now(tz="UTC"), snapshot="now").frame)


@pytest.fixture(scope="module")
def landed(pool: Pool, view: PoolView) -> dict[str, set[str]]:
    """Where a job of each style runs: one for every host, pinned to it, all at once; who stays idle does not fit."""
    machines = [host.machine for host in pool.hosts]
    style_of: dict[int, str] = {}
    for name, style in STYLES.items():
        pinned = [
            f'requirements = ({style.expression}) && Machine == "{machine}"\nqueue' for machine in machines
        ]
        head = f"arguments = 0\nrequest_memory = 128\nrequest_gpus = 1\n{style.submit}\n"
        # a dynamic slot of a mixed host has the flat attributes that its parent lacks, and a claim is reused by its user's
        # other jobs: who asks by flat attributes must not inherit from who asks per device
        owner = "flat" if "GPUs_" in style.expression else "device"
        for cluster in pool.submit(head + "\n".join(pinned), owner=owner):
            style_of[cluster] = name
    where: dict[str, set[str]] = {name: set() for name in STYLES}
    wanted = sum(len(ask(view, name).machines) for name in STYLES)
    begun = changed = time.monotonic()
    found = 0
    # until nothing new has come for three cycles, or longer as long as jobs are missing
    while time.monotonic() < changed + (9 if found >= wanted else 20) and time.monotonic() < begun + 60:
        for ad in pool.finished(style_of):
            if ad["JobStatus"] == 4:
                where[style_of[ad["ClusterId"]]].add(ad["LastRemoteHost"].rpartition("@")[2])
        if found != (found := sum(map(len, where.values()))):
            changed = time.monotonic()
        time.sleep(0.5)
    pool.tool("condor_rm", *map(str, style_of))
    pool.wait_for(lambda: not pool.jobs(style_of), 30, "the idle jobs are gone")
    return where


def ask(view: PoolView, name: str) -> Answer:
    return analyse(STYLES[name].expression, view, request=STYLES[name].request)


@pytest.mark.parametrize("name", STYLES)
def test_the_machines_are_those_where_jobs_run(
    view: PoolView, landed: dict[str, set[str]], name: str
) -> None:
    """Neither a machine too many nor one too few."""
    answer = ask(view, name)
    assert set(answer.machines) == landed[name]
    assert (answer.verdict == "impossible") == (not landed[name])


def test_the_styles_tell_machines_apart(landed: dict[str, set[str]]) -> None:
    """The oracle itself: different questions had different answers in the real pool."""
    assert len({frozenset(found) for found in landed.values()}) >= 10
    assert landed["plain"] > landed["minimum-7.0"] > landed["minimum-8.0"] > landed["impossible"]


def test_the_flat_attribute_misses_the_mixed_host_and_says_so(view: PoolView) -> None:
    """Two of its devices would do; gpus_minimum_capability finds them."""
    answer = ask(view, "flat-7.5")
    assert "wn7.prairie.example" not in answer.machines
    (lint,) = [lint for lint in answer.lints if lint.rule == "mixed-hosts"]
    assert "wn7.prairie.example" in lint.message
    assert lint.suggestion == "gpus_minimum_capability = 7.5"
    better = ask(view, "minimum-7.5")
    assert set(better.machines) - set(answer.machines) == {"wn7.prairie.example"}
    assert better.gpus.drained - answer.gpus.drained == 2


def test_the_classic_attribute_finds_only_who_advertises_it(view: PoolView) -> None:
    """And the answer says what to write instead."""
    answer = ask(view, "classic")
    assert set(answer.machines) == {"n12.lakeside.example", "wn9.harbor.example"}
    (lint,) = [lint for lint in answer.lints if lint.rule == "legacy-attribute"]
    assert lint.suggestion == "gpus_minimum_capability = 6"


@pytest.mark.parametrize("name", STYLES)
def test_the_job_is_the_one_that_condor_submit_makes(pool: Pool, name: str) -> None:
    """The same Requirements, clause for clause, in the same order."""
    style = STYLES[name]
    text = f"{SUBMIT_DEFAULTS}request_gpus = 1\n{style.submit}\nrequirements = {style.expression}\nqueue\n"
    said = pool.tool("condor_submit", "-dry-run", "-", "-", stdin=text)
    line = [line for line in said.splitlines() if line.startswith("Requirements")][-1]
    ours = read_ad(job_ad(style.expression, style.request)).lookup("Requirements")
    assert str(ours) == str(Expression.parse(line.partition("=")[2].strip()).tree)
