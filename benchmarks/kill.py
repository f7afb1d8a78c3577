"""kill -9 at random moments during collection and compaction, readers open: nothing that was seen may be lost.

python -m benchmarks.kill [TIMES]
"""

import sys
import tempfile
from pathlib import Path

from tests.collectors.endurance import killed


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    bad = new = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, told in enumerate(killed(Path(folder) / "store", times), start=1):
            new += told["new"]
            if told["lost"] or not told["verified"]["clean"] or told["problems"]:
                bad += 1
                print(number, told, flush=True)
            if number % 50 == 0:
                print(f"{number} kills, {new} snapshots, {bad} bad", flush=True)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
