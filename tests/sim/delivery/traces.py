"""The recorded starts: which objects six workloads fetch from a cold cache, in order."""

import csv
import gzip
from collections import Counter
from pathlib import Path

from sim.delivery.caches import Object

CATALOGS = {931268: 1781760, 2078307: 3915776, 3912412: 7065600, 4488406: 8265728}
"""Wire bytes of the images' catalogs, with what their root catalog says they weigh unpacked."""


def read_traces(folder: Path) -> dict[str, list[Object]]:
    """The traces by workload; objects of equal kind and sizes in two workloads are the same object."""
    traces: dict[str, list[Object]] = {}
    seen: dict[str, Counter[tuple[str, int, int]]] = {}
    with gzip.open(folder / "cvmfs" / "start_traces.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            name, wire = row["workload"], int(row["wire_bytes"])
            unpacked = int(row["uncompressed_bytes"] or CATALOGS[wire])
            identity = (row["kind"], wire, unpacked)
            count = seen.setdefault(name, Counter())
            count[identity] += 1
            traces.setdefault(name, []).append(
                Object((identity, count[identity]), row["kind"], wire, unpacked)
            )
    return traces
