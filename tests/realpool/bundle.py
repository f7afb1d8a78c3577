"""A recording becomes the bundled sample: `python -m tests.realpool.bundle RECORDING sim/sample`."""

import shutil
import sys
from pathlib import Path

from sim.store import Store

LARGEST_BYTES = 2_000_000


def bundle(recording: Path, target: Path) -> int:
    """Compact a recorded store and put it in the place of the old sample; give its size [bytes]."""
    store = Store(recording)
    days = {folder.name.removeprefix("day=") for folder in recording.glob("frame=*/day=*")}
    for day in sorted(days):
        store.compact(day)
    size = sum(file.stat().st_size for file in recording.rglob("*") if file.is_file())
    if size > LARGEST_BYTES:
        raise SystemExit(f"{recording}: {size:,} bytes; the sample may have {LARGEST_BYTES:,}")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(recording, target, ignore=shutil.ignore_patterns(".*"))
    return size


if __name__ == "__main__":
    source, destination = (Path(argument) for argument in sys.argv[1:3])
    print(f"{destination}: {bundle(source, destination):,} bytes")
