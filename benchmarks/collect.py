"""Tens of thousands of slot ads from a real collector: collected and stored, beside the bare query with the same projection.

python -m benchmarks.collect [SLOTS] [TURNS]

Needs what the real pool of the tests needs (docs/realpool.md). Each measurement begins with new processes; ours is a
round as the watch makes it, from the questions to the snapshot on disk, with the memory of all its processes added up
(also what they share). Time is the wall's (the collector's
own work is part of it, and two of our processes read a large pool); on a machine that does other things too, the
processor time of the asking side alone tells more. "whole" is the reading of everything that is made once an hour,
"after" the round that follows it, "round" one later. Before each, all slots report again, and a tenth of them says
something new.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHILD = "--measure"
Told = dict[str, float]
AS_UNIT = {"MALLOC_MMAP_THRESHOLD_": "524288", "ARROW_DEFAULT_MEMORY_POOL": "system"}
"""What packaging/poolscope-collect.service sets."""


def advertise(address: str, n: int, turn: int = 0) -> None:
    """Send n slot ads, made of the sample's, and let them stay; every tenth differs from turn to turn."""
    import htcondor2

    from sim.classads.ads import parse_one
    from sim.store import Store, sample_path

    texts = Store(sample_path()).read("slots")["ad"].unique()
    collector, batch = htcondor2.Collector(address), []
    for place in range(n):
        ad = parse_one(texts[place % len(texts)])
        slot = str(ad["Name"]).partition("@")[0]
        ad["Machine"], ad["Name"] = f"n{place}.example", f"{slot}@g@n{place}.example"
        ad["MyAddress"] = ad["StartdIpAddr"] = f"<127.0.0.1:{1000 + place % 60000}?alias=n{place}.example>"
        ad["MyType"], ad["ClassAdLifetime"], ad["DaemonStartTime"] = "Machine", 1_000_000, 1_790_000_000
        if place % 10 == 0:
            ad["Disk"] = 1_000_000 + turn
        batch.append(ad)
        if len(batch) == 500 or place == n - 1:
            collector.advertise(batch, "UPDATE_STARTD_AD", True)
            batch = []


def projection(address: str) -> list[str]:
    """What a round in between asks for."""
    import htcondor2

    from collectors.projection import Memory
    from sim.inventory import columns_of

    ads = htcondor2.Collector(address).query(
        htcondor2.AdType.Startd, constraint='regexp("^n[0-9]{1,4}[.]", Machine)'
    )
    memory = Memory()
    memory.add(columns_of(ads)[0])
    memory.settle(0.0, frozenset())
    return memory.projection(frozenset())


def bare(address: str, wanted: list[str] | None) -> Told:
    """The query alone."""
    import htcondor2

    began, busy = time.monotonic(), time.process_time()
    n = len(htcondor2.Collector(address).query(htcondor2.AdType.Startd, projection=wanted))
    seconds, cpu = time.monotonic() - began, time.process_time() - busy
    return {"n": n, "seconds": seconds, "cpu_s": cpu, "mib": peak_mib(os.getpid())}


def ours(address: str, folder: Path, slots: int) -> dict[str, Told]:
    """A reading of everything and two in between, each up to the snapshot on disk."""
    from collectors.daemons import Daemons
    from collectors.pool import PoolSource
    from collectors.rounds import collect_once
    from sim.store import Store

    daemons, store = Daemons(address), Store(folder)
    told, cursors = {}, dict[str, Any]()
    for turn, what in enumerate(("whole", "after", "round"), start=1):
        report = [sys.executable, "-m", "benchmarks.collect", CHILD, "report", address, str(turn), str(slots)]
        subprocess.run(report, check=True, stdout=subprocess.DEVNULL)
        daemons.locations("collector")  # the asking process runs
        forget_peaks()
        began, busy = time.monotonic(), sum(map(cpu_s, family()))
        done = collect_once([PoolSource(daemons)], store, cursors)
        seconds = time.monotonic() - began
        n, cpu = sum(done.counts["slots"].values()), sum(map(cpu_s, family())) - busy
        told[what] = {"n": n, "seconds": seconds, "cpu_s": cpu, "mib": sum(map(peak_mib, family()))}
    daemons.close()
    return told


def family() -> list[int]:
    """This process and its children."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text(encoding="ascii").split()
    return [own, *map(int, children)]


def forget_peaks() -> None:
    for process in family():
        Path(f"/proc/{process}/clear_refs").write_text("5", encoding="ascii")


def peak_mib(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def cpu_s(process: int) -> float:
    told = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def child(what: str, address: str, folder: str, slots: str) -> dict[str, Told]:
    if what == "report":
        advertise(address, int(slots), turn=int(folder))
        return {}
    if what == "ours":
        return ours(address, Path(folder) / "store", int(slots))
    wanted = json.loads((Path(folder).parent / "projection.json").read_text()) if what == "bare" else None
    return {what: bare(address, wanted)}


def main() -> None:
    os.environ["CONDOR_CONFIG"] = "ONLY_ENV"
    os.environ["_CONDOR_QUERY_TIMEOUT"] = "120"
    if CHILD in sys.argv:
        print(json.dumps(child(*sys.argv[2:])))
        return
    from tests.realpool.configuration import PoolSpec
    from tests.realpool.pool import Pool

    n, turns = ([*map(int, sys.argv[1:]), 50_000, 3][:2]) if len(sys.argv) < 3 else map(int, sys.argv[1:3])
    best: dict[str, Told] = {}
    with Pool(PoolSpec(hosts=())) as pool, tempfile.TemporaryDirectory() as folder:
        os.environ.update(pool.client_environment)
        advertise(pool.address, n)
        (Path(folder) / "projection.json").write_text(json.dumps(projection(pool.address)))
        for turn in range(turns):
            for what in ("bare", "bare whole", "ours"):
                place = Path(folder) / f"{what}-{turn}"
                command = [sys.executable, "-m", "benchmarks.collect", CHILD, what, pool.address]
                command += [str(place), str(n)]
                more = AS_UNIT if what == "ours" else {}
                answer = subprocess.run(
                    command, capture_output=True, text=True, check=True, env={**os.environ, **more}
                ).stdout
                for name, told in json.loads(answer).items():
                    print(name, {key: round(value, 2) for key, value in told.items()}, flush=True)
                    if name not in best or told["seconds"] < best[name]["seconds"]:
                        best[name] = told
    for made, beside in (("round", "bare"), ("after", "bare"), ("whole", "bare whole")):
        print(
            f"{made}: {best[made]['seconds'] / best[beside]['seconds']:.2f} x the bare query's time,"
            f" {best[made]['cpu_s'] / best[beside]['cpu_s']:.2f} x its own processor time,"
            f" {best[made]['mib'] / best[beside]['mib']:.2f} x its peak memory"
        )


if __name__ == "__main__":
    main()
