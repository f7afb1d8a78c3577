"""The recorded starts: which objects six workloads fetch from a cold cache, in order."""

import csv
import gzip
import sqlite3
import zlib
from collections import Counter
from contextlib import closing
from pathlib import Path

from sim.delivery.caches import Object

CATALOGS = {931268: 1781760, 2078307: 3915776, 3912412: 7065600, 4488406: 8265728}
"""Wire bytes of the images' catalogs, with what their root catalog says they weigh unpacked."""


_REPOSITORY = Path("cvmfs", "repository", "test.poolscope.local", "data")
_BASE, _SCIENCE = "02/5149b512f7fed318dca1820901def63b1022e0C", "87/1fc6d6abd376fb53ce1a314828e99934ccd33bC"
OTHER_IMAGE = "tf"  # the only one of the six workloads whose image had its packages installed on its own


def read_traces(folder: Path) -> dict[str, list[Object]]:
    """The traces by workload; objects of equal kind and sizes in two workloads are the same object.

    A compiled Python module isn't: it holds the time at which its source was installed, so the same package is other
    objects in an image where it was installed anew. In the recording such modules come in the same order, of the same
    unpacked size, and in two of three cases a byte or two apart once they are compressed.
    """
    traces: dict[str, list[Object]] = {}
    seen: dict[str, Counter[tuple[str, int, int]]] = {}
    compiled = _compiled(folder)
    with gzip.open(folder / "cvmfs" / "start_traces.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            name, wire = row["workload"], int(row["wire_bytes"])
            unpacked = int(row["uncompressed_bytes"] or CATALOGS[wire])
            identity = (row["kind"], wire, unpacked)
            count = seen.setdefault(name, Counter())
            count[identity] += 1
            where = name if name == OTHER_IMAGE and row["kind"] == "file" and unpacked in compiled else ""
            traces.setdefault(name, []).append(
                Object((where, identity, count[identity]), row["kind"], wire, unpacked)
            )
    return traces


def _compiled(folder: Path) -> set[int]:
    """Sizes that only compiled modules have which packages brought, as the catalogs of the images say [bytes]."""
    base, science = (_files(folder / _REPOSITORY / name) for name in (_BASE, _SCIENCE))
    loaded = {size for name, size, _ in base if name.endswith(".pyc") or ".so" in name}
    known = {content for _, _, content in base}
    return {
        size for name, size, content in science if name.endswith(".pyc") and content not in known
    } - loaded


def _files(path: Path) -> list[tuple[str, int, bytes]]:
    """Name, size and hash of a catalog's regular files."""
    with closing(sqlite3.connect(":memory:")) as tables:
        tables.deserialize(zlib.decompress(path.read_bytes()))
        return tables.execute(
            "SELECT name, size, hash FROM catalog WHERE flags & 4 AND NOT flags & 8"
        ).fetchall()
