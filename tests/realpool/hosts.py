"""The machines of a test pool, as data."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Simulated(NamedTuple):
    """A GPU that `condor_gpu_discovery -simulate` makes up: its number there and what it says of itself."""

    number: int
    model: str | None
    """`DeviceName`; None where the tool gives none."""
    capability: float | None
    memory_mib: int
    """`GlobalMemoryMb`."""


GTX_480 = Simulated(1, "GeForce GTX 480", 2.0, 1536)
V100 = Simulated(2, "Tesla V100-PCIE-16GB", 7.0, 24220)
TITAN_RTX = Simulated(3, "TITAN RTX", 7.5, 24220)
A100 = Simulated(4, "A100-SXM4-40GB", 8.0, 47661)
A100_SLICE = Simulated(6, None, None, 4861)
"""One of seven MIG slices; the tool makes whole sets of seven only."""


@dataclass(frozen=True, slots=True)
class Host:
    """One machine: what it has, where it stands, what it says of itself."""

    name: str
    machine: str
    """The `Machine` attribute; need not resolve."""
    cpus: int
    memory_mib: int
    site: str
    resource: str
    gpus: tuple[tuple[Simulated, int], ...] = ()
    """What is passed to `-simulate`: kind and number of devices (of sets of slices for MIG)."""
    nested: bool = True
    """False: GPUs are discovered as before HTCondor 9.11, with CUDA* attributes and no nested ads."""
    classic_attributes: bool = False
    """Also advertise CUDACapability and the like for the first GPU, as some pools' administrators do."""
    singularity: bool | None = None
    """Advertised value; None: the host says nothing."""
    cvmfs: bool | None = None
    """Advertised value for singularity.opensciencegrid.org; None: the host says nothing."""
    start: str = "True"
    """Further condition of START."""
    glidein: bool = False
    """A pilot: has GLIDEIN_ToRetire and GLIDEIN_ToDie and a new startd name each time it comes back."""
    retire_s: int = 4 * 3600
    """A glidein takes jobs so long after its start [s]."""
    die_s: int = 5 * 3600
    """A glidein's startd ends so long after its start [s]."""
    extra: tuple[tuple[str, str], ...] = field(default=())
    """Further advertised attributes: name, ClassAd expression."""


HOSTS = (
    Host(
        "a100", "gpu01.nebula.example", 64, 512 * 1024, "Nebula-HPC", "Nebula-GPU-CE1",
        gpus=((A100, 8),), singularity=True, cvmfs=True,
    ),
    Host(
        "v100", "n12.lakeside.example", 24, 128 * 1024, "Lakeside", "Lakeside-ITS",
        gpus=((V100, 4),), classic_attributes=True, singularity=True, cvmfs=False,
    ),
    Host(
        "mixed", "wn7.prairie.example", 32, 192 * 1024, "Prairie-T2", "Prairie-T2-CE2",
        gpus=((V100, 2), (TITAN_RTX, 2)), singularity=True, cvmfs=True,
    ),
    Host(
        "mig", "mig1.nebula.example", 16, 128 * 1024, "Nebula-HPC", "Nebula-MIG-CE1",
        gpus=((A100_SLICE, 1),), singularity=True, cvmfs=True,
    ),
    Host(
        "gtx", "old2.campus.example", 8, 24 * 1024, "Campus-Grid", "Campus-Grid-Old",
        gpus=((GTX_480, 2),), nested=False,
    ),
    Host(
        "cpu", "c101.prairie.example", 32, 128 * 1024, "Prairie-T2", "Prairie-T2-CE1",
        singularity=True, cvmfs=True,
    ),
    Host(
        "glidein_1", "n31.lakeside.example", 16, 64 * 1024, "Lakeside", "Lakeside-ITS",
        gpus=((TITAN_RTX, 2),), singularity=True, cvmfs=True, glidein=True,
    ),
    Host(
        "glidein_2", "wn9.harbor.example", 24, 128 * 1024, "Harbor", "Harbor-GPU-CE1",
        gpus=((V100, 4),), classic_attributes=True, singularity=True, cvmfs=True, glidein=True,
        start="(TARGET.RequestGPUs ?: 0) > 0",
    ),
)  # fmt: skip
"""The hosts a pool has unless told otherwise."""
