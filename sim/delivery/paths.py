"""The ways software can take to a job, and which of them a machine can serve.

Container paths differ in what is transferred and where it is shared: unpacked in CVMFS (touched parts, by node and site), a
SIF from OSDF (whole, per job, a regional cache), a SIF sent with the job (whole, from the access point), a registry (layers
and a conversion, a limit of pulls), the pilot's default image (once per glidein, before it takes jobs).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pandas as pd

from sim.inventory.repositories import attribute_name

IMAGES = "singularity.opensciencegrid.org"


class Abilities(NamedTuple):
    """What a machine's ad says it can run: unpacked images in CVMFS, SIF files, registry images."""

    cvmfs: bool = True
    sif: bool = True
    registry: bool = True


def path_of(image: str | None, source: str | None = None) -> str:
    """The path that a job's image names (`sim.delivery.section.PATHS`); no image is the pilot's default one.

    source : the ad's ContainerImageSource, which knows better where the name was cut

    Examples
    --------
    >>> path_of("/cvmfs/singularity.opensciencegrid.org/htc/debian:12"), path_of("docker://debian:12")
    ('cvmfs', 'registry')
    >>> path_of("osdf:///ospool/ap20/data/me/my-v1.sif"), path_of("my.sif"), path_of(None)
    ('osdf', 'sandbox', 'default')
    """
    if not image:
        return "default"
    if image.startswith("/"):
        return "cvmfs"
    scheme = re.match(r"([a-z+]+)://", image)
    kind = scheme[1] if scheme else (source or "")
    if kind in {"docker", "oras"}:
        return "registry"
    if kind in {"osdf", "stash", "pelican", "http", "https"}:
        return "osdf"
    if kind == "cedar" or image.endswith((".sif", ".simg", ".sqf")):
        return "sandbox"
    return "registry"


def short_name(image: str) -> str:
    """The part of an image's name that says what it is."""
    return re.sub(r"^(/cvmfs/[^/]+/|[a-z+]+://)", "", image)


def abilities_by_machine(slots: pd.DataFrame, *, assumed: bool = False) -> dict[str, Abilities]:
    """What machines can run, by their startd's name (what follows the @ of a slot's), as they last said.

    slots : frame "slots"
    assumed : whether a machine with Apptainer is taken to serve every container path
    """
    whole = slots[slots["slot_type"] != "dynamic"].drop_duplicates("name", keep="last")
    own = attribute_name(IMAGES)
    found = {}
    for row in whole.to_dict("records"):
        repositories = "" if pd.isna(row["cvmfs"]) else str(row["cvmfs"])
        apptainer = bool(row["has_singularity"]) or bool(row["has_container"])
        found[str(row["name"]).split("@", 1)[-1]] = Abilities(
            cvmfs=apptainer and (assumed or own in repositories.split(",")),
            sif=apptainer and (assumed or bool(row["has_sif"])),
            registry=(apptainer and (assumed or bool(row["has_docker_url"]))) or bool(row["has_docker"]),
        )
    return found


_APPTAINER = (
    "(TARGET.HasSingularity =?= true || TARGET.HAS_SINGULARITY =?= true || TARGET.HasContainer =?= true)"
)
_CLAUSES = {
    "cvmfs": f"TARGET.HAS_CVMFS_{attribute_name(IMAGES)} =?= true",
    "osdf": "TARGET.HasSIF =?= true",
    "sandbox": "TARGET.HasSIF =?= true",
    "registry": "TARGET.HasDockerURL =?= true || TARGET.HasDocker =?= true",
}


def clause_of(path: str, *, assumed: bool = False) -> str:
    """The clause that keeps a job to machines that can serve its path; empty where any can.

    condor_submit adds it for SIF files and registry images; that of CVMFS users must add themselves.
    """
    if path not in _CLAUSES:
        return ""
    return _APPTAINER if assumed else _CLAUSES[path]
