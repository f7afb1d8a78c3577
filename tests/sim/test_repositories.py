"""What slots say of CVMFS repositories."""

import pandas as pd

from sim.classads.ads import parse_one
from sim.engine.run import Recording
from sim.inventory import slots_frame
from sim.inventory.repositories import (
    KNOWN,
    attribute_name,
    containers_frame,
    cvmfs_frame,
    image_uses,
    repositories_by_site,
    repository_name,
)

AT = pd.Timestamp("2026-11-24 12:00", tz="UTC")


def slots(*extra: str) -> pd.DataFrame:
    ads = [
        parse_one(
            f'[ MyType = "Machine"; Name = "slot1@glidein_{number}"; Machine = "host{number}"; GLIDEIN_Site = "S{number % 2}"; '
            f'SlotType = "Partitionable"; State = "Unclaimed"; Cpus = 4; {words} ]'
        )
        for number, words in enumerate(extra)
    ]
    return slots_frame(ads, seen_at=AT, snapshot="s").frame


def test_every_repository_of_the_course_is_told_back() -> None:
    """All fifteen, with their dots and dashes, and one that nobody listed."""
    words = " ".join(f"HAS_CVMFS_{attribute_name(name)} = true;" for name in (*KNOWN, "new.egi.eu"))
    found = cvmfs_frame(slots(words))
    assert len(KNOWN) == 15
    assert set(found["repository"]) == {*KNOWN, "new.egi.eu"}
    assert found["available"].all()
    assert found["revision"].isna().all()


def test_revisions_and_errors() -> None:
    """0 and -1 are the glidein's words for not known; a failed one is there, too."""
    name = "singularity_opensciencegrid_org"
    good = f"HAS_CVMFS_{name} = true; CVMFS_{name}_REVISION = 175739; CVMFS_{name}_NIOERR = 2; CVMFS_{name}_LAST_IOERR = 20000;"
    bad = f"HAS_CVMFS_{name} = false; CVMFS_{name}_REVISION = 0; CVMFS_{name}_NIOERR = -1; CVMFS_{name}_LAST_IOERR = -1;"
    found = cvmfs_frame(slots(good, bad)).set_index("machine")
    assert found[["revision", "io_errors", "last_io_error_s"]].iloc[0].tolist() == [175739, 2, 20000.0]
    assert found["available"].tolist() == [True, False]
    assert found[["revision", "io_errors", "last_io_error_s"]].isna().to_numpy().tolist() == [
        [False] * 3,
        [True] * 3,
    ]


def test_sites() -> None:
    name = "HAS_CVMFS_oasis_opensciencegrid_org"
    found = repositories_by_site(
        slots(f"{name} = true;", "", f"{name} = false;", ""), "oasis.opensciencegrid.org"
    )
    assert found[["site", "slots", "available"]].values.tolist() == [["S0", 2, 1], ["S1", 2, 0]]


def test_the_sample() -> None:
    """The recorded pool's machines say of one repository what its configuration told them."""
    record = Recording.load("sample")
    last = record.slots[record.slots["seen_at"] == record.slots["seen_at"].max()]
    found = cvmfs_frame(last)
    assert set(found["repository"]) == {"singularity.opensciencegrid.org"}
    assert set(found["name"]) <= set(last["name"])


def test_without_slots() -> None:
    assert cvmfs_frame(slots()).empty
    assert repository_name("ligo_containers_opensciencegrid_org") == "ligo-containers.opensciencegrid.org"


def test_what_a_glidein_says_of_images() -> None:
    """As the pilots advertise it; what isn't there is missing, not false; a silent slot has no row."""
    told = (
        'OSG_DEFAULT_SINGULARITY_IMAGE = "/images/rocky9.sif"; OSG_DEFAULT_SINGULARITY_IMAGE_SOURCE = "OSDF"; '
        'GWMS_SINGULARITY_CACHED_IMAGES = "a.sif, b.sif"; GWMS_SINGULARITY_CACHED_IMAGES_KB = 2048; SINGULARITY_CAN_USE_SIF = true; '
        'SINGULARITY_DISK_IS_FULL = false; PelicanPluginVersion = "7.11.0"; http_proxy = "squid:3128";'
    )
    found = containers_frame(slots(told, "", told.replace(", b.sif", "")))
    assert found["machine"].tolist() == ["host0", "host2"]
    row = found.iloc[0].to_dict()
    assert (row["default_source"], row["cached_mib"], row["can_use_sif"], row["disk_is_full"]) == (
        "OSDF",
        2.0,
        True,
        False,
    )
    assert pd.isna(row["can_use_registry"])
    assert (row["pelican"], row["proxy"]) == ("7.11.0", "squid:3128")
    assert image_uses(found).to_dict() == {"a.sif": 2, "b.sif": 1}
