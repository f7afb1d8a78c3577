"""A day in minutes: tens of thousands of rounds on a fast clock; memory, handles and files must not grow.

python -m benchmarks.soak [ROUNDS]
"""

import json
import sys
import tempfile
from pathlib import Path

from tests.collectors.endurance import soak


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        soak(Path(folder) / "store", rounds, keep_days=14, tell=tell)


def tell(row: dict[str, float]) -> None:
    print(json.dumps({name: round(value, 1) for name, value in row.items()}), flush=True)


if __name__ == "__main__":
    main()
