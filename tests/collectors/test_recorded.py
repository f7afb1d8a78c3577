"""What HTCondor's tools printed into files is read like the daemons' own answers."""

import gzip
import lzma
from pathlib import Path

import pandas as pd
import pytest

from collectors.recorded import RecordedSource, kind_of, last_moment
from collectors.source import Moment
from sim.classads.ads import parse_one, read_ads
from sim.errors import InputError
from tests.collectors.made import SLOT

MOMENT = Moment(pd.Timestamp("2027-01-01", tz="UTC"), "file")


def test_a_pool_in_a_folder(shared_data: Path, tmp_path: Path) -> None:
    """By what the ads are, whatever the files are called; packed or not."""
    source = shared_data / "pool"
    (tmp_path / "one").write_bytes((source / "slots_busy.ads").read_bytes())
    (tmp_path / "two.xz").write_bytes(lzma.compress((source / "queue.ads").read_bytes()))
    (tmp_path / "three").write_bytes((source / "history.ads").read_bytes())
    (tmp_path / "four").write_bytes((source / "negotiator.ads").read_bytes())
    (tmp_path / ".hidden").write_text("no ad")
    reading = RecordedSource([tmp_path]).read(MOMENT)
    counts = {name: len(frame) for name, frame in reading.frames.items()}
    assert counts == {"slots": 20, "devices": 17, "jobs": 30, "cycles": 3}
    assert not reading.rejects
    assert reading.rows == 70


def test_epochs_and_history_in_one_file(shared_data: Path) -> None:
    """An epoch ad is a job ad with the date of its writing."""
    folder = shared_data / "pool/recording-w1-r1"
    reading = RecordedSource([folder / "epochs.json.xz", folder / "history.json.xz"]).read(MOMENT)
    assert {name: len(frame) for name, frame in reading.frames.items()} == {"jobs": 300, "attempts": 308}


def test_ads_are_judged_at_their_own_time(shared_data: Path) -> None:
    """Not at the time of reading: GLIDEIN_ToRetire of a recording is always past by the wall clock."""
    path = shared_data / "pool/slots_busy.ads"
    frames = RecordedSource([path]).read(MOMENT).frames
    times = [float(ad.get("MyCurrentTime", 0)) for ad in read_ads(path)]
    heard = [float(ad.get("LastHeardFrom", 0)) for ad in read_ads(path)]
    (seen,) = set(frames["slots"]["seen_at"])
    assert seen.timestamp() == max(times + heard)
    assert set(frames["devices"]["seen_at"]) == {seen}


def test_retirement_by_the_ads_clock(tmp_path: Path) -> None:
    ad = parse_one(SLOT)
    ad["MyCurrentTime"], ad["GLIDEIN_ToRetire"] = 1_700_000_000, 1_700_000_100
    (tmp_path / "ads").write_text(str(ad))
    assert list(RecordedSource([tmp_path / "ads"]).read(MOMENT).frames["devices"]["state"]) == ["free"]
    ad["MyCurrentTime"] = 1_700_000_200
    (tmp_path / "ads").write_text(str(ad))
    assert list(RecordedSource([tmp_path / "ads"]).read(MOMENT).frames["devices"]["state"]) == ["prevented"]


def test_without_any_time_the_reader_s_counts(tmp_path: Path) -> None:
    (tmp_path / "ads").write_text(SLOT)
    assert set(RecordedSource([tmp_path / "ads"]).read(MOMENT).frames["slots"]["seen_at"]) == {MOMENT.at}
    assert last_moment([parse_one("[ MyCurrentTime = 1e300; LastHeardFrom = 0 ]")]) is None


def test_a_slot_in_two_files_counts_once(shared_data: Path) -> None:
    """As it was last."""
    paths = [shared_data / "pool/slots_busy.ads", shared_data / "pool/slots_idle.ads"]
    for order in (paths, paths[::-1]):
        slots = RecordedSource(order).read(MOMENT).frames["slots"]
        assert len(slots) == slots["name"].nunique() == 20
        assert (slots["state"] == "Claimed").sum() == 14


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ('[ MyType = "Machine"; Name = "a" ]', "slot"),
        ('[ Machine = "a"; State = "Idle" ]', "slot"),
        ('[ Machine = "a"; AvailableGPUs = { } ]', "slot"),
        ('[ MyType = "Job"; ClusterId = 1 ]', "job"),
        ("[ ClusterId = 1 ]", "job"),
        ("[ ClusterId = 1; EpochWriteDate = 5 ]", "epoch"),
        ('[ MyType = "Negotiator" ]', "negotiator"),
        ('[ MyType = "Accounting" ]', "priority"),
        ('[ Name = "a@x"; Priority = 500.0; PriorityFactor = 1000.0 ]', "priority"),
        ('[ MyType = "Scheduler"; Machine = "a" ]', "other"),
        ('[ MyType = "DaemonMaster" ]', "other"),
        ("[ A = 1 ]", "other"),
    ],
)
def test_kinds(told: str, kind: str) -> None:
    assert kind_of(parse_one(told)) == kind


class TestWrongFiles:
    """Each is one sentence with the place."""

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"hello\n", r"wrong, line 1: 'hello' is no attribute"),
            (b'Name = "a"\nCpus = ((\n', r"wrong, line 2: the value of Cpus is no ClassAd expression"),
            (b"\x89PNG\r\n\x1a\n", r"wrong: byte 0 is no UTF-8 text"),
            (gzip.compress(b"Name = 1\n"), r"wrong: byte \d is no UTF-8 text"),
            (b'{"a": 1', r"wrong: no ClassAd"),
            (b'[{"a": 1}, 5]', r"wrong: .*int where an ad was expected"),
            (b"<html></html>", r"wrong: no ClassAd"),
            (b"", r"wrong: no slot, job, negotiator or accounting ad"),
            (b'[ MyType = "DaemonMaster"; Name = "a" ]', r"wrong: no slot, job"),
            (b'MyType = "Machine"\nMachine = "a"\nState = "Unclaimed"\n', r"wrong: the pool has no slots"),
            (
                b'MyType = "Machine"\nName = "a"\nMachine = "a"\nState = "Owner"\n',
                r"wrong: 1 slot, but no GPU",
            ),
        ],
    )
    def test_refused(self, tmp_path: Path, content: bytes, said: str) -> None:
        (tmp_path / "wrong").write_bytes(content)
        with pytest.raises(InputError, match=said) as raised:
            RecordedSource([tmp_path / "wrong"]).read(MOMENT)
        assert "\n" not in str(raised.value)

    def test_a_folder_with_one_wrong_file(self, tmp_path: Path) -> None:
        """Which one it was is said; nothing is half read."""
        (tmp_path / "good").write_text(SLOT)
        (tmp_path / "readme.txt").write_text("These are my ads.\n")
        with pytest.raises(InputError, match=r"readme\.txt, line 1"):
            RecordedSource([tmp_path]).read(MOMENT)

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="absent: no such file or folder"):
            RecordedSource([tmp_path / "absent"]).read(MOMENT)
        with pytest.raises(InputError, match="no slot, job"):
            RecordedSource([tmp_path]).read(MOMENT)

    def test_damaged_package(self, tmp_path: Path) -> None:
        (tmp_path / "ads.xz").write_bytes(lzma.compress(SLOT.encode())[:-9])
        with pytest.raises(InputError, match=r"ads\.xz"):
            RecordedSource([tmp_path / "ads.xz"]).read(MOMENT)
