"""A real pool by hand: `python -m tests.realpool up | record DIR | shape NAME DIR | clean`."""

import argparse
import shlex
import signal
import sys
import time
from pathlib import Path

from tests.realpool.artefacts import record as record_shape
from tests.realpool.chroot import DEFAULT_SUITE, clean
from tests.realpool.configuration import PoolSpec
from tests.realpool.errors import NoPoolError, RealPoolError
from tests.realpool.pool import Pool
from tests.realpool.record import Recorder
from tests.realpool.shapes import SHAPES


def main() -> int:
    """Run one command; 0 done, 1 a fault, 3 no pool can be had here."""
    parser = argparse.ArgumentParser(prog="python -m tests.realpool", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a pool and keep it until Ctrl-C")
    up.add_argument("--seconds", type=float, default=float("inf"), help="end by itself after so long")
    record = commands.add_parser("record", help="run the workload and let poolscope collect it")
    record.add_argument(
        "folder", type=Path, metavar="DIR", help="store to write; DIR-truth gets what really happened"
    )
    record.add_argument("--minutes", type=float, default=24)
    record.add_argument("--seed", type=int, default=1)
    record.add_argument("--without-collector", action="store_true", help="the pool's own logs only")
    shape = commands.add_parser(
        "shape", help="record a pool of another shape, as a folder for poolscope replay"
    )
    shape.add_argument("shape", choices=sorted(SHAPES))
    shape.add_argument("folder", type=Path, metavar="DIR", help="folder to write; it must not exist")
    shape.add_argument("--seed", type=int, default=1)
    for command in (up, record):
        command.add_argument("--suite", default=DEFAULT_SUITE, help="Debian suite whose HTCondor is used")
    commands.add_parser("clean", aliases=["down"], help="delete the cached chroots")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a killed run stops its pool, too
    try:
        return _run(options)
    except NoPoolError as error:
        print(f"no real pool: {error}", file=sys.stderr)
        return 3
    except RealPoolError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    if options.command == "up":
        return _up(options.suite, options.seconds)
    if options.command == "record":
        recorder = Recorder(
            options.folder.absolute(),
            options.minutes,
            options.seed,
            options.suite,
            with_collector=not options.without_collector,
        )
        return recorder.run()
    if options.command == "shape":
        record_shape(SHAPES[options.shape], options.folder.absolute(), seed=options.seed)
        return 0
    for folder in clean():
        print(f"deleted {folder}")
    return 0


def _up(suite: str, seconds: float) -> int:
    with Pool(PoolSpec(), suite=suite) as pool:
        status = shlex.join(pool.inside_command("condor_status"))
        print(
            f"pool up: {pool.address}   ({pool.chroot.condor_version})\n"
            f"  poolscope:  poolscope collect --pool {pool.address} --every 15s --test-pool\n"
            f'  Python:     CONDOR_CONFIG=ONLY_ENV; htcondor2.Collector("{pool.address}")\n'
            f"  any tool:   {status}\n"
            f"  files:      {pool.folder}",
            flush=True,
        )
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
