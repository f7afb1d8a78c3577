"""The test pool is a real pool: daemons answer, jobs run, hosts come and go, nothing stays behind."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.realpool.chroot import clean
from tests.realpool.configuration import PoolSpec
from tests.realpool.errors import NoPoolError, PoolError, TreeInUseError
from tests.realpool.hosts import A100, HOSTS, TITAN_RTX, V100, Host
from tests.realpool.namespace import Namespace
from tests.realpool.pool import Pool
from tests.realpool.privilege import command_name, delete_tree, mounts_below

pytestmark = pytest.mark.pool

ONE_HOST = PoolSpec(
    hosts=(
        Host("only", "only.site.example", 4, 8192, "Site", "Site-CE", gpus=((TITAN_RTX, 1),), glidein=True),
    )
)  # fmt: skip


def slot(pool: Pool, host: str) -> dict[str, Any]:
    """The partitionable slot of a host."""
    (ad,) = pool.slots(f'Name == "{pool.slot_name(host)}"')
    return ad


def test_every_host_is_in_the_collector(pool: Pool) -> None:
    """Eight startds, each one partitionable slot."""
    names = {ad["Name"] for ad in pool.slots("PartitionableSlot")}
    assert names == {pool.slot_name(host.name) for host in HOSTS}


def test_gpus_as_described(pool: Pool) -> None:
    """A MIG host's set of slices counts as seven devices."""
    gpus = {ad["Machine"]: ad["TotalGPUs"] for ad in pool.slots("PartitionableSlot")}
    assert gpus == {
        "gpu01.nebula.example": 8,
        "n12.lakeside.example": 4,
        "wn7.prairie.example": 4,
        "mig1.nebula.example": 7,
        "old2.campus.example": 2,
        "c101.prairie.example": 0,
        "n31.lakeside.example": 2,
        "wn9.harbor.example": 4,
    }


def test_uniform_host_says_what_all_its_devices_share(pool: Pool) -> None:
    """GPUs_Capability and GPUs_DeviceName are there, CUDACapability is not."""
    ad = slot(pool, "a100")
    assert (ad["GPUs_DeviceName"], ad["GPUs_Capability"], ad["GPUs_GlobalMemoryMb"]) == A100[1:]
    assert ad["GPUs_GPU_a0223334"]["Capability"] == A100.capability
    assert "CUDACapability" not in ad


def test_mixed_host_says_its_models_in_nested_ads_only(pool: Pool) -> None:
    """What differs between the devices is missing from the slot; their equal memory is not."""
    ad = slot(pool, "mixed")
    assert not {"GPUs_DeviceName", "GPUs_Capability"} & set(ad)
    assert ad["GPUs_GlobalMemoryMb"] == V100.memory_mib
    models = sorted(value["DeviceName"] for name, value in ad.items() if name.startswith("GPUs_GPU_"))
    assert models == ["TITAN RTX", "TITAN RTX", "Tesla V100-PCIE-16GB", "Tesla V100-PCIE-16GB"]


def test_mig_host_says_neither_model_nor_capability(pool: Pool) -> None:
    """HTCondor 23.9 knows a slice's memory only."""
    ad = slot(pool, "mig")
    slices = [value for name, value in ad.items() if name.startswith("GPUs_MIG_")]
    assert len(slices) == 7
    assert not any({"Capability", "DeviceName"} & set(one) for one in slices)
    assert ad["GPUs_GlobalMemoryMb"] == 4861


def test_old_host_has_classic_attributes_and_no_properties(pool: Pool) -> None:
    """With -not-nested discovery there are no device ads."""
    ad = slot(pool, "gtx")
    assert (ad["CUDADeviceName"], ad["CUDACapability"]) == ("GeForce GTX 480", 2.0)
    assert not [name for name in ad if name.startswith(("GPUs_GPU_", "GPUs_Cap", "GPUs_Dev"))]


def test_some_hosts_say_both(pool: Pool) -> None:
    """Administrators add the classic attributes for old submit files."""
    ad = slot(pool, "v100")
    assert ad["CUDACapability"] == ad["GPUs_Capability"] == V100.capability
    assert ad["CUDAGlobalMemoryMb"] == ad["GPUs_GlobalMemoryMb"]


def test_container_abilities_differ(pool: Pool) -> None:
    """True, False and unsaid all occur."""
    name = "HAS_CVMFS_singularity_opensciencegrid_org"
    assert [slot(pool, host).get(name) for host in ("a100", "v100", "gtx")] == [True, False, None]


def test_glideins_have_an_end(pool: Pool) -> None:
    """START refers to the time of retirement, so the ad is judged at its own time."""
    ad = slot(pool, "glidein_1")
    assert ad["DaemonStartTime"] < ad["GLIDEIN_ToRetire"] < ad["GLIDEIN_ToDie"]
    assert "GLIDEIN_ToRetire" in ad["Start"]
    assert "GLIDEIN_ToRetire" not in slot(pool, "a100")


def test_submitters_have_their_factors(pool: Pool) -> None:
    """Set through the negotiator, before anyone submitted."""
    rows = [line.split() for line in pool.tool("condor_userprio", "-allusers", "-priority").splitlines()]
    factors = {row[0]: float(row[3]) for row in rows if len(row) > 3 and "@" in row[0]}
    wanted = {submitter.name: submitter.factor for submitter in pool.spec.submitters}
    assert {name: factors.get(name) for name in wanted} == wanted


def test_gpu_jobs_run_and_finish(pool: Pool) -> None:
    """Three submitters' jobs get a device each, are charged to them and end."""
    texts = []
    for submitter in pool.spec.submitters[:3]:
        lines = (
            *submitter.submit_lines,
            "request_gpus = 1",
            "gpus_minimum_capability = 7.5",
            "arguments = 1",
        )
        texts.append("\n".join(lines))
    clusters = pool.submit(texts)
    ads = pool.wait_for_jobs(clusters)
    assert {ad["JobStatus"] for ad in ads} == {4}
    assert {ad["AccountingGroup"] for ad in ads} == {"physics.alice", "chem.bob", "vision.carol"}
    for ad in ads:
        host = ad["LastRemoteHost"].partition("@")[2].rpartition("@")[2]
        assert host in {"gpu01.nebula.example", "wn7.prairie.example", "n31.lakeside.example"}


def test_owner_is_whoever_submits(pool: Pool) -> None:
    """No account on the machine is needed."""
    (ad,) = pool.wait_for_jobs(pool.submit("arguments = 0", owner="erin"))
    assert ad["Owner"] == "erin"


def test_classic_expression_finds_only_hosts_that_say_it(pool: Pool) -> None:
    """`CUDACapability >= 6.0` runs on the two hosts whose administrators added it; the A100s are passed by."""
    clusters = pool.submit("request_gpus = 1\nrequirements = CUDACapability >= 6.0\narguments = 1\nqueue 4")
    machines = {ad["LastRemoteHost"].rpartition("@")[2] for ad in pool.wait_for_jobs(clusters)}
    assert machines <= {"n12.lakeside.example", "wn9.harbor.example"}


def test_glidein_is_evicted_and_returns(pool: Pool) -> None:
    """A fast quit sends the job back to the queue; the glidein comes back under a new name and takes it."""
    pin = 'request_gpus = 1\nrequirements = Machine == "n31.lakeside.example"\narguments = 600'
    clusters = pool.submit(pin)
    before = pool.slot_name("glidein_1").removeprefix("slot1@")
    pool.wait_for(lambda: pool.executing(clusters) == [before], 30, "the job runs on the glidein")
    pool.remove_host("glidein_1", how="quit")
    pool.wait_for(lambda: pool.jobs(clusters)[0]["JobStatus"] == 1, 30, "the job is idle again")
    assert not pool.slots('Machine == "n31.lakeside.example"')
    after = pool.add_host("glidein_1").removeprefix("slot1@")
    assert after != before
    pool.wait_for(lambda: pool.executing(clusters) == [after], 30, "the job runs again")
    assert pool.jobs(clusters)[0]["NumShadowStarts"] == 2
    pool.tool("condor_rm", *map(str, clusters))
    pool.wait_for(lambda: not pool.jobs(clusters), 30, "the job is gone")


def test_killed_glidein_stays_visible_for_a_while(pool: Pool) -> None:
    """Nobody tells the collector; its ad is there until it expires."""
    pool.remove_host("glidein_2", how="kill")
    assert pool.slots('Machine == "wn9.harbor.example"')
    pool.add_host("glidein_2")


def test_glidein_ends_by_itself() -> None:
    """A startd past its GLIDEIN_ToDie shuts down."""
    with Pool(PoolSpec(hosts=(), update_interval_s=2)) as small:
        host = Host("brief", "b1.site.example", 2, 2048, "Site", "Site-CE", glidein=True, retire_s=4, die_s=5)
        small.add_host(host)
        small.remove_host("brief", how="expire")
        small.wait_for(lambda: not small.slots(), 10, "its slot is gone")


def test_stop_leaves_nothing_behind() -> None:
    """No process, no mount, no folder; even with a job running. Two pools live side by side."""
    with Pool(ONE_HOST) as one, Pool(ONE_HOST) as other:
        assert one.address != other.address
        root, folders = one.chroot.root, [one.folder, other.folder]
        clusters = one.submit("request_gpus = 1\narguments = 600")
        one.wait_for(lambda: one.executing(clusters), 30, "the job runs")
        assert not other.jobs()
        with pytest.raises(TreeInUseError, match="a pool runs in it"):
            clean()
        pids = [pid for pool in (one, other) for host in pool._masters.values() for pid in host.pids()]
        assert "sleep" in {command_name(pid) for pid in pids}
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not any(folder.exists() for folder in folders)
    assert not mounts_below(root)


def test_pool_dies_with_the_test_run() -> None:
    """When the pipe to the first process closes, everything in the namespace goes, as when pytest is killed."""
    with Pool(ONE_HOST) as pool:
        pids = [pid for host in pool._masters.values() for pid in host.pids()]
        assert pids
        pool._inside.close()
        assert not any(
            Path(f"/proc/{pid}").exists() and command_name(pid).startswith("condor") for pid in pids
        )


def test_pool_stops_although_its_pipe_stays_open() -> None:
    """Worker processes that a test forked inherit the pipe; stopping doesn't wait for their end."""
    with Pool(ONE_HOST) as pool:
        namespace = pool._inside
        stdin = namespace._holder.stdin
        assert stdin is not None
        copy = os.dup(stdin.fileno())
        try:
            pool.stop()
            assert not Path(f"/proc/{namespace.first_pid}").exists()
        finally:
            os.close(copy)


def test_nothing_is_deleted_under_a_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten mount and `rm -rf` would damage the machine."""
    (tmp_path / "dev").mkdir()
    monkeypatch.setattr("tests.realpool.privilege.mounts_below", lambda folder: [f"{folder}/dev"])
    with pytest.raises(TreeInUseError, match="is mounted there"):
        delete_tree(tmp_path)
    assert (tmp_path / "dev").exists()


def test_wrong_use_is_said() -> None:
    """A pool that isn't running answers with a sentence."""
    with pytest.raises(PoolError, match="not running"):
        Pool().tool("condor_status")


def test_no_namespaces_no_pool(tmp_path: Path) -> None:
    """A root folder that is none is a reason, not a hang."""
    with pytest.raises(NoPoolError, match="can't be made"):
        Namespace.open(tmp_path / "missing")
