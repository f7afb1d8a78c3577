"""A month of snapshots: size, compaction, and queries beside DuckDB reading the same columns.

python -m benchmarks.store [DAYS] [SLOTS]

One day is written snapshot by snapshot and compacted; the others are that day again, a day later each, as compaction
writes them (with other states, so that no file is a copy).
"""

import gzip
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq

from sim.classads.ads import parse_one
from sim.inventory import devices_frame, slots_frame
from sim.store import Snapshot, Store, upkeep
from sim.store.files import write_bytes, write_frame

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
ROUNDS = 288
TREND = "SELECT date_trunc('hour', seen_at) AS at, family, state, count(*) AS n FROM devices GROUP BY ALL ORDER BY ALL"
PAGE = "SELECT family, state, count(*) AS n FROM devices WHERE seen_at >= $since AND seen_at < $until GROUP BY ALL ORDER BY ALL"


def ad(place: int) -> str:
    model, capability, memory = [("A40", 8.6, 45634), ("L40S", 8.9, 45458), ("A100-SXM4-80GB", 8.0, 81156),
                                 ("H100", 9.0, 81559), ("RTX 2080 Ti", 7.5, 10816)][place % 5]  # fmt: skip
    return (
        f'[ MyType = "Machine"; Name = "slot1@glidein_{place}@n{place // 2}.example"; Machine = "n{place // 2}.example";'
        f' SlotType = "Partitionable"; State = "Unclaimed"; Activity = "Idle"; Cpus = {8 + place % 4}; TotalSlotCpus = 16;'
        f" Memory = {32000 + place % 7}; TotalSlotMemory = 64000; Disk = {90000000 + place}; TotalSlotDisk = 99000000;"
        f' GLIDEIN_Site = "Site{place % 23}"; GLIDEIN_ResourceName = "R{place % 40}"; AssignedGPUs = "GPU-{place:08x}";'
        f" GPUs = 1; TotalSlotGPUs = 1; GPUs_Capability = {capability}; GPUs_GlobalMemoryMb = {memory};"
        f" DaemonStartTime = {1772000000 + place}; GLIDEIN_ToDie = {1773000000 + place};"
        f" Start = time() < GLIDEIN_ToDie; Requirements = Start; HasSingularity = true; HAS_CVMFS_oasis_opensciencegrid_org = true;"
        f' GPUs_GPU_{place:08x} = [ Id = "GPU-{place:08x}"; DeviceName = "NVIDIA {model}"; Capability = {capability};'
        f' GlobalMemoryMb = {memory}; DeviceUuid = "{place:032x}" ]; AvailableGPUs = {{ GPUs_GPU_{place:08x} }} ]'
    )


def fill(
    path: Path, *, days: int, slots: int, rounds: int = ROUNDS, make_ad: Callable[[int], str] = ad
) -> Store:
    """A compacted store of so many days."""
    store = Store(path)
    write_day(store, slots, rounds, make_ad)
    upkeep.compact_day(store, f"{FIRST:%Y-%m-%d}")
    repeat(store, days)
    return store


def write_day(store: Store, n_slots: int, rounds: int = ROUNDS, make_ad: Callable[[int], str] = ad) -> float:
    """Write a day's snapshots; a twentieth of the slots changes from one to the next. Gives seconds per snapshot."""
    chance = random.Random(7)
    ads = [parse_one(make_ad(place)) for place in range(n_slots)]
    at = pd.Timestamp(FIRST)
    slots = slots_frame(ads, seen_at=at, snapshot="s").frame
    devices = devices_frame(ads, seen_at=at, snapshot="s").frame
    states = ["free"] * n_slots
    began = time.monotonic()
    for number in range(rounds):
        for place in chance.sample(range(n_slots), n_slots // 20):
            states[place] = chance.choice(["free", "claimed", "claimed", "prevented"])
        at = FIRST + number * (timedelta(days=1) / rounds)
        name = f"{at:%Y%m%dT%H%M%SZ}-{number:06d}"
        claimed = pd.Series([state == "claimed" for state in states])
        free = slots["cpus"].mask(claimed, 0.0)
        heard = pd.Series([at - timedelta(seconds=chance.randrange(300)) for _ in range(n_slots)])
        frames = {
            "slots": slots.assign(snapshot=name, seen_at=at, cpus=free, heard_at=heard),
            "devices": devices.assign(snapshot=name, seen_at=at, state=states),
        }
        store.append(Snapshot(name, at, frames))
    return (time.monotonic() - began) / rounds


def repeat(store: Store, days: int) -> None:
    """Write the first day again, a day later each."""
    folder = store.path
    for name in ("slots", "devices", "ad_texts"):
        (file,) = folder.glob(f"frame={name}/day={FIRST:%Y-%m-%d}/*.parquet")
        frame = pq.read_table(file, partitioning=None).to_pandas()
        for day in range(1, days):
            later = frame.copy()
            to = FIRST + timedelta(days=day)
            if name != "ad_texts":
                later["seen_at"] += timedelta(days=day)
                later["snapshot"] = later["snapshot"].str.replace(f"{FIRST:%Y%m%d}", f"{to:%Y%m%d}")
            if name == "devices":
                later["state"] = later["state"].sample(frac=1, random_state=day).to_numpy()
            target = folder / f"frame={name}" / f"day={to:%Y-%m-%d}" / f"day-{day:08x}.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            write_frame(target, later)
    (file,) = folder.glob(f"snapshots/day-{FIRST:%Y-%m-%d}.json.gz")
    told = gzip.decompress(file.read_bytes()).decode()
    for day in range(1, days):
        to = FIRST + timedelta(days=day)
        later_told = told.replace(f"{FIRST:%Y%m%d}", f"{to:%Y%m%d}").replace(
            f"{FIRST:%Y-%m-%d}", f"{to:%Y-%m-%d}"
        )
        write_bytes(
            folder / "snapshots" / f"day-{to:%Y-%m-%d}.json.gz", gzip.compress(later_told.encode(), mtime=0)
        )


def best(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def main() -> None:
    days, n_slots = (
        ([int(word) for word in sys.argv[1:]] + [30, 2000])[:2]
        if len(sys.argv) < 3
        else map(int, sys.argv[1:3])
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        each = write_day(store, n_slots)
        loose = upkeep.info(store)["bytes"]
        began = time.monotonic()
        upkeep.compact_day(store, f"{FIRST:%Y-%m-%d}")
        compaction = time.monotonic() - began
        packed = upkeep.info(store)["bytes"]
        print(
            f"a day of {ROUNDS} snapshots of {n_slots} slots: {loose / 1e6:.1f} MB, {each * 1000:.0f} ms to write each"
        )
        print(
            f"compacted: {packed / 1e6:.2f} MB in {compaction:.1f} s; {packed / n_slots:.0f} bytes per slot and day"
        )
        repeat(store, days)
        total = sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file())
        print(f"{days} days: {total / 1e6:.1f} MB")
        pattern = f"{store.path}/frame=devices/*/*.parquet"
        bare_sql = TREND.replace("FROM devices", f"FROM read_parquet('{pattern}')")
        middle = FIRST + timedelta(days=days // 2)
        when = {"since": middle, "until": middle + timedelta(days=1)}
        trend = best(lambda: store.query(TREND))
        bare = best(lambda: duckdb.connect().execute("SET TimeZone = 'UTC'").execute(bare_sql).df())
        page = best(lambda: store.query(PAGE, when, **when))
        read = best(lambda: store.read("devices", columns=["family", "state"], **when))
        print(f"trend by model: {trend / bare:.2f} x DuckDB on the same columns ({trend * 1000:.0f} ms)")
        print(
            f"a day's page: {page / trend:.2f} x the trend; as a frame of {len(store.read('devices', columns=['state'], **when))} rows: {read / trend:.2f} x"
        )


if __name__ == "__main__":
    main()
