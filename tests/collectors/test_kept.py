"""What is taken over from the reading before is what reading it anew gives."""

import json
import lzma
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest

from collectors import questions
from collectors.kept import Kept
from collectors.pool import PoolSource, read_slots
from collectors.rounds import collect_once
from collectors.source import Moment
from sim.classads.ads import Ad, ad_of_json, parse_one
from sim.classads.columns import Columns, _kind
from sim.classads.keys import is_key, key_of
from sim.errors import StoreError
from sim.inventory import Framed
from sim.schema import describe
from sim.store import Snapshot, Store, snapshot_id
from sim.store.upkeep import verify
from tests.collectors.test_projection import projected

AT = pd.Timestamp("2026-11-24 12:00", tz="UTC")
KEYS = (["name"], ["machine", "device_id"])


class Pool:
    """A collector that has these ads, and the rounds of a watch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ads: list[Ad] = []
        self.rounds, self.stored = 0, ""
        monkeypatch.setattr(questions, "_ask", self._answer)
        monkeypatch.setattr(questions, "_memories", {})
        monkeypatch.setattr(questions, "_AT_ONCE", 7)

    def _answer(
        self, address: object, constraint: str | None, projection: Sequence[str] | None = None
    ) -> list[Ad]:
        if projection is None:
            named = None if constraint is None else constraint.split('"')[1].split(",")
            return [ad for ad in self.ads if named is None or ad["Machine"] in named]
        return [projected(str(ad), list(projection)) for ad in self.ads]

    def read(self, at: pd.Timestamp, *, anew: bool = False) -> list[pd.DataFrame]:
        """The frames of a round; in it nothing is known of the one before if it is read anew."""
        self.rounds += 1
        name = f"{at:%Y%m%d}T{self.rounds:06d}"
        told = questions.slots(("cm",), at, name, stored=None if anew else self.stored)
        self.stored = name
        return [one.frame for one in told]

    @property
    def kept(self) -> Kept:
        (memory,) = questions._memories.values()
        return memory.kept


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    return Pool(monkeypatch)


def plain(frames: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Frames to compare: in order, texts as keys, without the snapshot's name."""
    slots, devices = frames
    slots = slots.assign(ad=[ad if is_key(ad) else key_of(ad) for ad in slots["ad"]])
    told = zip((slots, devices), KEYS, strict=True)
    return [one.drop(columns="snapshot").sort_values(key, ignore_index=True) for one, key in told]


def check(pool: Pool, at: pd.Timestamp) -> int:
    """Read a round, compare it with the same one read anew, and give how many machines had changed."""
    before = pool.kept
    found = pool.read(at)
    taken = before.unchanged(questions._memories[("cm",), questions.WHOLE].kept.said, at)
    for got, expected in zip(plain(found), plain(pool.read(at, anew=True)), strict=True):
        pd.testing.assert_frame_equal(got, expected)
    return len({str(ad["Machine"]) for ad in pool.ads}) - len(taken)


def recorded(folder: Path, every: int) -> Iterator[tuple[pd.Timestamp, list[Ad]]]:
    with lzma.open(folder / "startd_ads.jsonl.xz", "rt") as lines:
        for number, line in enumerate(lines):
            if number % every == 0:
                told = json.loads(line)
                yield (
                    pd.Timestamp(told["t"], unit="s", tz="UTC").floor("us"),
                    list(map(ad_of_json, told["ads"])),
                )


@pytest.mark.slow
def test_a_recorded_pool(shared_data: Path, pool: Pool) -> None:
    """Startds that come, retire, drain and go, claims that begin and end."""
    changed, machines = 0, 0
    for at, ads in recorded(shared_data / "pool" / "recording-w1-r1", 3):
        pool.ads = ads
        if not pool.rounds:
            pool.read(at)
            pool.read(at)
        changed += check(pool, at)
        machines += len({str(ad["Machine"]) for ad in ads})
    assert 0 < changed < machines * 0.8


SLOT = (
    'Name = "slot1@{0}"; Machine = "{0}"; DaemonStartTime = 5; SlotType = "Partitionable"; State = "Unclaimed"; Cpus = 4;'
    ' Memory = 1000; GPUs = 1; AssignedGPUs = "GPU-1"; LastHeardFrom = {1}; TotalLoadAvg = 0.5'
)


def slot(machine: str, more: str = "", heard: int = 1_790_000_000) -> Ad:
    return parse_one(f"[ {SLOT.format(machine, heard)}; {more} ]")


def test_nothing_is_looked_at_twice(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """But when a slot was heard of is new every time."""
    pool.ads = [slot(f"h{place}", heard=1_790_000_000 + place) for place in range(20)]
    pool.read(AT)
    pool.read(AT)
    pool.ads = [slot(f"h{place}", heard=1_790_000_100 + place) for place in range(20)]
    pool.ads[3] = slot("h3", "Cpus = 1")
    seen: list[int] = []
    real = questions._Reading.add

    def add(self: questions._Reading, ads: Columns, unknown: Sequence[int] = ()) -> None:
        seen.append(ads.n)
        real(self, ads, unknown)

    monkeypatch.setattr(questions._Reading, "add", add)
    later = AT + pd.Timedelta(minutes=5)
    slots, devices = pool.read(later)
    assert seen == [1]
    held = slots.set_index("name")
    assert held.loc["slot1@h7", "heard_at"] == pd.Timestamp(1_790_000_107, unit="s", tz="UTC")
    assert held["cpus"].to_dict() == {f"slot1@h{place}": 1 if place == 3 else 4 for place in range(20)}
    assert (slots["seen_at"] == later).all()
    assert (devices["seen_at"] == later).all()
    assert [name for name, ad in held["ad"].items() if not is_key(ad)] == ["slot1@h3"]


CHANGES: dict[str, tuple[Callable[[int], str], int]] = {
    "an attribute": (lambda turn: f"Disk = {turn}", 1),
    "what only frames of other rounds ask for": (lambda turn: "HasDocker = true" if turn % 2 else "", 1),
    "nothing but the load": (lambda turn: f"LoadAvg = {turn}.5", 0),
    "the load, which START reads": (lambda turn: f"Start = LoadAvg < 1.0; LoadAvg = {turn}.5", 1),
    "an expression of the clock": (lambda turn: "Draining = time() > 5", 1),
    "a negative amount, to be counted again": (lambda turn: "Cpus = -1", 1),
    "another startd": (lambda turn: f"DaemonStartTime = {6 + turn}", 1),
}


@pytest.mark.parametrize(("change", "n"), CHANGES.values(), ids=CHANGES)
def test_what_counts_as_a_change(pool: Pool, change: Callable[[int], str], n: int) -> None:
    for turn in range(4):
        pool.ads = [slot("h0"), slot("h1", change(turn))]
        if turn == 0:
            pool.read(AT)
        if turn < 2:  # what expressions read is known after the first
            pool.read(AT)
            continue
        assert check(pool, AT) == n
        slots, _ = questions.slots(("cm",), AT, "s", stored=pool.stored)
        pool.stored = "s"
        assert slots.rejects == ({"a negative amount": 1} if "-1" in change(turn) else {})


def test_names_are_spelled_one_way(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector spells START in a projection as Requirements do; the text of an ad must not change by that."""
    pool.ads = [slot("h0", "Start = Cpus > 1; Requirements = START")]
    before = pool.read(AT)[0]["ad"]
    real = pool._answer

    def answer(address: object, constraint: str | None, projection: Sequence[str] | None = None) -> list[Ad]:
        return [
            parse_one(str(ad).replace("Start =", "START =")) for ad in real(address, constraint, projection)
        ]

    monkeypatch.setattr(questions, "_ask", answer)
    assert pool.read(AT)[0]["ad"].tolist() == list(map(key_of, before))
    questions._memories[("cm",), questions.WHOLE].read_at -= questions.WHOLE_S + 1
    assert pool.read(AT)[0]["ad"].tolist() == list(map(key_of, before))  # the next hour, too


def test_a_slot_of_the_machine_came_or_went(pool: Pool) -> None:
    """Devices are told of by all slots of a machine together."""
    busy = slot("h1", 'Name = "slot1_1@h1"; SlotType = "Dynamic"; State = "Claimed"; RemoteOwner = "a@x"')
    both = [slot("h0"), slot("h1")]
    pool.ads = both
    pool.read(AT)
    pool.read(AT)
    states = []
    for ads in ([*both, busy], [*both, busy], both):
        pool.ads = ads
        check(pool, AT)
        states.append(pool.read(AT)[1].set_index("machine").loc["h1", "state"])
    assert states == ["claimed", "claimed", "free"]


def test_retiring_meanwhile(pool: Pool) -> None:
    """The ad is the same, but what its device is has changed."""
    pool.ads = [slot("h0", f"GLIDEIN_ToRetire = {AT.timestamp() + 100:.0f}")]
    pool.read(AT)
    pool.read(AT)
    states = []
    for seconds in (50, 150, 250):
        at = AT + pd.Timedelta(seconds=seconds)
        check(pool, at)
        states += pool.read(at)[1]["state"].tolist()
    assert states == ["free", "prevented", "prevented"]


def test_an_unknown_startd_that_is_not_told_of_whole(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lacks what only a whole reading tells; what was made of it is no good for later."""
    monkeypatch.setattr(questions, "_NEW_ONES", 0)
    pool.ads = [slot("h0")]
    pool.read(AT)
    pool.read(AT)
    pool.ads.append(slot("h1", "Odd = 3"))
    pool.read(AT)
    assert set(pool.kept.said) == {"h0"}
    read = pool.read(AT)[0]
    texts = dict(zip(read["name"], read["ad"], strict=True))
    assert "Odd = 3" in texts["slot1@h1"]


def test_volatile_columns() -> None:
    """What frames hold of what is volatile must be renewed in rows that are taken over: `Kept.of` knows of one."""
    described = [one for frame in ("slots", "devices") for one in describe(frame)]
    sources = {name.lower(): one.name for one in described for name in one.source.split("|") if name}
    volatile = {sources[name] for name in sources if _kind(name).volatile or _kind(name).private}
    assert volatile == {"heard_at", "seen_at", "capability"}  # the last one stands in nested ads alone


class Daemons:
    """The daemons of that collector, asked in this process."""

    address = "cm"

    def slots(self, at: pd.Timestamp, snapshot: str, stored: str | None) -> tuple[Framed, Framed]:
        return questions.slots(("cm",), at, snapshot, stored=stored)


def test_the_store_has_every_text(pool: Pool, tmp_path: Path) -> None:
    """Over midnight, after a snapshot that could not be written, and where texts are changed before."""
    store, source, cursors = Store(tmp_path), PoolSource(Daemons()), dict[str, object]()  # type: ignore[arg-type]
    pool.ads = [slot(f"h{place}", f"Disk = {place}") for place in range(5)]
    start = pd.Timestamp("2026-11-24 23:50", tz="UTC")
    real = store.append
    for turn in range(6):
        pool.ads[turn % 5] = slot(f"h{turn % 5}", f"Disk = {100 + turn}")
        at = start + pd.Timedelta(minutes=3 * turn)
        if turn == 2:
            store.append = _full  # type: ignore[method-assign]
            with pytest.raises(StoreError):
                collect_once([source], store, cursors, at=at)
            store.append = real  # type: ignore[method-assign]
            continue
        collect_once([source], store, cursors, at=at)
        newest = store.read("slots", since=at.to_pydatetime()).set_index("name")["ad"]
        told = {ad["Name"]: ad["Disk"] for ad in pool.ads}
        assert {name: parse_one(text)["Disk"] for name, text in newest.items()} == told
    assert verify(store)["clean"]
    upper = lambda frame: frame.assign(ad=frame["ad"].str.upper()) if "ad" in frame else frame  # noqa: E731
    for minutes in (20, 21):
        collect_once([source], store, cursors, at=start + pd.Timedelta(minutes=minutes), change=upper)
    assert (
        store.read("slots", since=(start + pd.Timedelta(minutes=20)).to_pydatetime())["ad"]
        .str.contains("DISK")
        .all()
    )


def _full(snapshot: Snapshot) -> None:
    raise StoreError(f"{snapshot.id}: no space")


def test_the_day_in_hand_is_deleted(pool: Pool, tmp_path: Path) -> None:
    """One round fails, the next one asks for everything."""
    store, source, cursors = Store(tmp_path), PoolSource(Daemons()), dict[str, object]()  # type: ignore[arg-type]
    pool.ads = [slot("h0"), slot("h1")]
    for _ in range(3):
        collect_once([source], store, cursors, at=AT)
    for folder in tmp_path.glob("frame=*/day=2026-11-24"):
        shutil.rmtree(folder)
    with pytest.raises(StoreError, match="no longer there"):
        collect_once([source], store, cursors, at=AT)
    collect_once([source], store, cursors, at=AT)
    assert len(store.read("slots")["ad"].dropna()) == 2


def test_a_key_without_a_text(tmp_path: Path) -> None:
    """A source that is mistaken about what the store has spoils nothing."""
    store, moment = Store(tmp_path), Moment(AT, snapshot_id(AT.to_pydatetime()))
    frames = dict(read_slots([slot("h0")], moment, "cm").frames)
    frames["slots"] = frames["slots"].assign(ad=key_of("lost"))
    with pytest.raises(StoreError, match="no longer there"):
        store.append(Snapshot(moment.snapshot, AT.to_pydatetime(), frames))
    assert not store.records()
