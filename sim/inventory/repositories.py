"""What slots say of CVMFS and images → frames "cvmfs" (a row per slot and repository) and "containers" (a row per slot).

A glidein writes a repository's name into attribute names with dots and dashes as underscores, so a name is told back from
a list of known ones; of others only the dots are restored.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from sim.classads.ads import parse_one
from sim.classads.view import View
from sim.inventory.rows import kib
from sim.schema import conform, empty

#: The repositories that the course names; others are found as well.
KNOWN = (
    "ams.cern.ch", "atlas.cern.ch", "cms.cern.ch", "connect.opensciencegrid.org", "gwosc.osgstorage.org",
    "icecube.opensciencegrid.org", "ligo-containers.opensciencegrid.org", "nexo.opensciencegrid.org",
    "oasis.opensciencegrid.org", "singularity.opensciencegrid.org", "snoplus.egi.eu", "spt.opensciencegrid.org",
    "stash.osgstorage.org", "veritas.opensciencegrid.org", "xenon.opensciencegrid.org",
)  # fmt: skip
_BY_ATTRIBUTE = {name.replace(".", "_").replace("-", "_"): name for name in KNOWN}


def attribute_name(repository: str) -> str:
    """How a repository's name stands in attribute names.

    Examples
    --------
    >>> attribute_name("ligo-containers.opensciencegrid.org")
    'ligo_containers_opensciencegrid_org'
    """
    return repository.replace(".", "_").replace("-", "_")


def repository_name(attribute: str) -> str:
    """The repository that a part of an attribute name stands for.

    Examples
    --------
    >>> repository_name("ligo_containers_opensciencegrid_org"), repository_name("new_egi_eu")
    ('ligo-containers.opensciencegrid.org', 'new.egi.eu')
    """
    return _BY_ATTRIBUTE.get(attribute.lower(), attribute.replace("_", "."))


def cvmfs_frame(slots: pd.DataFrame) -> pd.DataFrame:
    """The frame "cvmfs" of slots; dynamic slots repeat their parent and are left out.

    Parameters
    ----------
    slots : frame "slots", with the ads
    """
    return _frame(slots, "cvmfs", _repositories)


def containers_frame(slots: pd.DataFrame) -> pd.DataFrame:
    """The frame "containers" of slots: what a glidein says of images beside the standard abilities; see `cvmfs_frame`."""
    return _frame(slots, "containers", _containers)


def image_uses(containers: pd.DataFrame) -> pd.Series:
    """How many glideins hold each image, the most frequent first: a sample of the images' popularity.

    containers : frame "containers"
    """
    names = containers["cached_images"].dropna().str.split(",").explode().str.strip()
    return names[names != ""].value_counts()


def _frame(slots: pd.DataFrame, name: str, told: Callable[[View], list[dict[str, object]]]) -> pd.DataFrame:
    """A frame with what each ad tells; an ad that many slots and snapshots share is read once."""
    whole = slots[slots["slot_type"] != "dynamic"]
    rows = {text: told(View(parse_one(str(text)))) for text in whole["ad"].unique()}
    of_each = [rows[text] for text in whole["ad"]]
    values = pd.DataFrame([row for found in of_each for row in found])
    if values.empty:
        return empty(name)
    keys = whole[["snapshot", "seen_at", "name", "machine", "site"]]
    repeated = keys.iloc[np.repeat(np.arange(len(keys)), [len(found) for found in of_each])]
    return conform(pd.concat([repeated.reset_index(drop=True), values], axis="columns"), name)


def _containers(ad: View) -> list[dict[str, object]]:
    flags = {
        column: ad.flag(name) if ad.value(name) is not None else None
        for column, name in (
            ("can_use_sif", "SINGULARITY_CAN_USE_SIF"),
            ("can_use_registry", "SINGULARITY_CAN_USE_REGISTRY"),
            ("disk_is_full", "SINGULARITY_DISK_IS_FULL"),
            ("osdf", "OSDF_VERIFIED"),
        )
    }
    row: dict[str, object] = {
        "default_image": ad.text("OSG_DEFAULT_SINGULARITY_IMAGE"),
        "default_source": ad.text("OSG_DEFAULT_SINGULARITY_IMAGE_SOURCE"),
        "cached_images": ad.text("GWMS_SINGULARITY_CACHED_IMAGES"),
        "cached_mib": kib(ad, "GWMS_SINGULARITY_CACHED_IMAGES_KB"),
        **flags,
        "pelican": ad.text("PelicanPluginVersion"),
        "proxy": ad.text("http_proxy"),
    }
    return [row] if any(value is not None for value in row.values()) else []


def _repositories(ad: View) -> list[dict[str, object]]:
    rows = []
    for spelled in ad.names("has_cvmfs_"):
        part = ad.spelled(spelled)[len("HAS_CVMFS_") :]
        errors, last = ad.number(f"CVMFS_{part}_NIOERR"), ad.number(f"CVMFS_{part}_LAST_IOERR")
        revision = ad.number(f"CVMFS_{part}_REVISION")
        rows.append(
            {
                "repository": repository_name(part),
                "available": ad.flag(spelled),
                # 0 and -1 are the glidein's words for "not known"
                "revision": int(revision) if revision and revision > 0 else None,
                "io_errors": int(errors) if errors is not None and errors >= 0 else None,
                "last_io_error_s": last if last is not None and last >= 0 else None,
            }
        )
    return rows


def repositories_by_site(slots: pd.DataFrame, repository: str) -> pd.DataFrame:
    """How many slots of each site have a repository: site, slots, available, and the oldest revision among them."""
    whole = slots[slots["slot_type"] != "dynamic"]
    frame = cvmfs_frame(slots)
    own = frame[frame["repository"] == repository]
    counts = whole.assign(site=whole["site"].fillna("")).groupby("site").size().rename("slots").to_frame()
    there = own[own["available"].fillna(value=False).astype(bool)].assign(site=own["site"].fillna(""))
    counts["available"] = there.groupby("site").size().reindex(counts.index).fillna(0).astype(int)
    counts["oldest_revision"] = there.groupby("site")["revision"].min().reindex(counts.index)
    return counts.reset_index()
