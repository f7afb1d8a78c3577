"""What slots say of CVMFS repositories."""

import pandas as pd

from sim.classads.ads import parse_one
from sim.classads.view import View
from sim.engine.run import Recording
from sim.inventory import slots_frame
from sim.inventory.repositories import (
    KNOWN,
    attribute_name,
    cvmfs_frame,
    repositories_by_site,
    repository_name,
)

AT = pd.Timestamp("2026-11-24 12:00", tz="UTC")


def slots(*extra: str) -> pd.DataFrame:
    ads = [
        View(
            parse_one(
                f'[ MyType = "Machine"; Name = "slot1@glidein_{number}"; Machine = "host{number}"; GLIDEIN_Site = "S{number % 2}"; '
                f'SlotType = "Partitionable"; State = "Unclaimed"; Cpus = 4; {words} ]'
            )
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
