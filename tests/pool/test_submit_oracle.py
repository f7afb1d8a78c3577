"""Submit files as we read them against condor_submit -dry-run of the real pool: the same job ads, attribute by attribute."""

import re
from pathlib import Path

import pytest

from sim.classads.ads import Ad, parse_ads, parse_one
from sim.classads.job import AccessPoint
from sim.classads.submit import Files, read_submit
from sim.errors import InputError
from tests.pool import submit_files
from tests.realpool.configuration import SCHEDD
from tests.realpool.errors import PoolError
from tests.realpool.pool import Pool

pytestmark = pytest.mark.pool

# the moment, the program itself, and the environment, which is named as left out; everything else is compared
NOT_COMPARED = {"qdate", "enteredcurrentstatus", "condorversion", "condorplatform", "owner", "environment"}
# the size of the executable in KiB and what counts from it are condor_submit's business: ours is told them
_PROC = re.compile(r"\n?\*\* Proc \d+\.\d+:\n")


def theirs(pool: Pool, text: str) -> list[Ad]:
    """The ads of condor_submit -dry-run, in order."""
    said = pool.tool("condor_submit", "-dry-run", "-", "-", stdin=text)
    blocks = [block.split("\n\n")[0] for block in _PROC.split(said)[1:]]
    return [parse_ads(block + "\n", where="condor_submit")[0] for block in blocks]


@pytest.fixture(scope="module")
def access_point(pool: Pool) -> AccessPoint:
    (ad,) = theirs(pool, submit_files.whole(""))
    size = ad["ExecutableSize"]
    assert isinstance(size, int)
    return AccessPoint(
        owner="pool", file_system_domain=SCHEDD, lease_s=pool.spec.job_lease_s, executable_kib=size
    )


@pytest.fixture(scope="module")
def files(pool: Pool) -> Files:
    """The files that condor_submit sees in its tree, where / is its working directory, too."""
    root = pool.chroot.root

    def match(pattern: str) -> list[Path]:
        found = sorted(root.glob(pattern.lstrip("/")))
        return [Path("/", path.relative_to(root)) for path in found]

    return Files(read=lambda name: (root / name.lstrip("/")).read_text(), match=match)


@pytest.mark.parametrize("text", submit_files.ALL, ids=range(len(submit_files.ALL)))
def test_the_same_job_ads(pool: Pool, access_point: AccessPoint, files: Files, text: str) -> None:
    """As many jobs, and in each ad the same attributes with the same expressions."""
    text = submit_files.whole(text)
    ours = read_submit(text, files=files, access_point=access_point).jobs
    expected = theirs(pool, text)
    assert len(ours) == len(expected)
    for job, ad in zip(ours, expected, strict=True):
        assert written(parse_one(job.ad)) == written(ad)


def written(ad: Ad) -> dict[str, str]:
    return {name.lower(): str(ad.lookup(name)) for name in ad if name.lower() not in NOT_COMPARED}


@pytest.mark.parametrize("text", submit_files.REFUSED, ids=range(len(submit_files.REFUSED)))
def test_what_condor_submit_refuses_is_refused(pool: Pool, text: str) -> None:
    """With a sentence that names the place."""
    text = submit_files.whole(text)
    with pytest.raises(PoolError):
        theirs(pool, text)
    with pytest.raises(InputError, match=r"^submit file(, line \d+)?: "):
        read_submit(text)
