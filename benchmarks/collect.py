"""Tens of thousands of slot ads from a real collector: collected and stored, beside the bare query with the same projection.

python -m benchmarks.collect [SLOTS]

Needs what the real pool of the tests needs (docs/realpool.md). Every measurement is a process of its own; ratios are of
wall time and of peak memory, each the best of three.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHILD = "--measure"


def advertise(address: str, n: int) -> None:
    """Send n slot ads, made of the sample's, and let them stay."""
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
        batch.append(ad)
        if len(batch) == 500 or place == n - 1:
            collector.advertise(batch, "UPDATE_STARTD_AD", True)
            batch = []


def measure(what: str, address: str, store: str) -> dict[str, float]:
    """Measure one thing in this process: seconds and peak MiB."""
    import htcondor2
    import pandas as pd

    from collectors import questions
    from collectors.projection import Memory
    from sim.classads.view import View
    from sim.store import Snapshot, Store, snapshot_id

    now = pd.Timestamp.now(tz="UTC").floor("us")
    few = [
        View(ad)
        for ad in htcondor2.Collector(address).query(
            htcondor2.AdType.Startd, constraint='regexp("^n[0-9]?[0-9][.]", Machine)'
        )
    ]
    memory = Memory()
    memory.learn(few, 0.0, frozenset())
    wanted = memory.projection(frozenset())
    del few
    if what == "round":  # the reading of everything that the first round of an hour makes
        questions.slots((address,), now, "s")
    began, n = time.monotonic(), 0
    if what.startswith("bare"):
        projection = None if what == "bare whole" else wanted
        n = len(htcondor2.Collector(address).query(htcondor2.AdType.Startd, projection=projection))
    else:
        name = snapshot_id(now.to_pydatetime())
        slots, devices = questions.slots((address,), now, name)
        n = len(slots.frame)
        Store(store).append(
            Snapshot(name, now.to_pydatetime(), {"slots": slots.frame, "devices": devices.frame})
        )
    seconds = time.monotonic() - began
    return {"n": n, "seconds": seconds, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    os.environ["CONDOR_CONFIG"] = "ONLY_ENV"
    os.environ["_CONDOR_QUERY_TIMEOUT"] = "120"
    if CHILD in sys.argv:
        print(json.dumps(measure(*sys.argv[2:])))
        return
    from tests.realpool.configuration import PoolSpec
    from tests.realpool.pool import Pool

    n = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with Pool(PoolSpec(hosts=())) as pool, tempfile.TemporaryDirectory() as folder:
        os.environ.update(pool.client_environment)
        advertise(pool.address, n)
        best: dict[str, dict[str, float]] = {}
        for turn in range(3):
            for what in ("bare", "round", "bare whole", "whole"):
                store = str(Path(folder) / f"{what}-{turn}")
                command = [sys.executable, "-m", "benchmarks.collect", CHILD, what, pool.address, store]
                told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                print(what, {name: round(value, 2) for name, value in told.items()}, flush=True)
                if what not in best or told["seconds"] < best[what]["seconds"]:
                    best[what] = told
        for ours, bare in (("round", "bare"), ("whole", "bare whole")):
            print(
                f"{ours}: {best[ours]['seconds'] / best[bare]['seconds']:.2f} x the bare query's time,"
                f" {best[ours]['mib'] / best[bare]['mib']:.2f} x its peak memory"
            )


if __name__ == "__main__":
    main()
