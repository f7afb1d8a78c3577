"""A sample from a real pool: a workload on its clock, hosts that come and go, and the product watching."""

import csv
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.realpool.configuration import RECORDING
from tests.realpool.errors import PoolError
from tests.realpool.hosts import HOSTS, Host
from tests.realpool.play import HostEvent, Play
from tests.realpool.pool import Pool, copy_out
from tests.realpool.workload import CLASSES, SECONDS, workload

SNAPSHOT_EVERY_S = 15


GLIDEIN_2_LIFE_S = (330, 400)
"""When the second glidein, in its first life, takes no more jobs and when it ends [s]."""

EVENTS = (
    HostEvent(280, "glidein_1", "quit"),
    HostEvent(375, "glidein_1", "add"),
    HostEvent(400, "glidein_2", "expire"),
    HostEvent(520, "glidein_2", "add"),
    HostEvent(700, "glidein_1", "kill"),
    HostEvent(860, "glidein_1", "add"),
    HostEvent(900, "glidein_2", "quit"),
    HostEvent(985, "glidein_2", "add"),
    HostEvent(1080, "glidein_1", "graceful"),
    HostEvent(1140, "glidein_1", "add"),
)


@dataclass(slots=True)
class Recorder:
    """One recording: what the product collects in `data`, what really happened beside it, in `truth`."""

    data: Path
    minutes: float
    seed: int
    suite: str
    with_collector: bool = True
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)

    @property
    def truth(self) -> Path:
        """Where the workload, the daemons' logs and their configuration go."""
        return self.data.with_name(f"{self.data.name}-truth")

    @property
    def duration_s(self) -> float:
        """Length of the workload: the last sixth of the recording is for the queue to empty [s]."""
        return min(float(SECONDS), self.minutes * 60 * 5 / 6)

    def run(self) -> int:
        """Record, and return 0, or 1 where the collector failed."""
        self.truth.mkdir(parents=True, exist_ok=True)
        events = [replace(event, at_s=event.at_s * self._scale) for event in EVENTS]
        play = Play(workload(self.seed, duration_s=self.duration_s), events, HOSTS, self.say)
        with Pool(replace(RECORDING, hosts=self._hosts()), suite=self.suite) as pool:
            self.say(f"pool up at {pool.address}, {pool.chroot.condor_version}")
            collector = self._start_collector(pool)
            try:
                started_at = time.time()
                play.run(pool, started_at, started_at + self.minutes * 60)
            finally:
                failed = self._stop_collector(collector)
            failed = self._collect_once(pool) or failed
            self._save_truth(pool, started_at, play)
        return 1 if failed else 0

    # --- what happens in the pool

    def _hosts(self) -> tuple[Host, ...]:
        retire_s, die_s = (round(value * self._scale) for value in GLIDEIN_2_LIFE_S)
        return tuple(
            replace(host, retire_s=retire_s, die_s=die_s) if host.name == "glidein_2" else host
            for host in HOSTS
        )

    @property
    def _scale(self) -> float:
        return self.duration_s / SECONDS

    # --- the product, watching

    def _command(self, pool: Pool, *how: str) -> list[str]:
        beside = Path(sys.executable).with_name("poolscope")
        program = str(beside) if beside.exists() else shutil.which("poolscope") or "poolscope"
        return [program, "collect", "--pool", pool.address, "--data", str(self.data), *how, "--test-pool"]

    def _start_collector(self, pool: Pool) -> "subprocess.Popen[bytes] | None":
        if not self.with_collector:
            return None
        with (self.truth / "collect.log").open("ab") as log:
            return subprocess.Popen(
                self._command(pool, "--every", f"{SNAPSHOT_EVERY_S}s"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "CONDOR_CONFIG": "ONLY_ENV"},
            )

    def _stop_collector(self, collector: "subprocess.Popen[bytes] | None") -> bool:
        """End the collector as an operator would; tell whether it failed."""
        if collector is None:
            return False
        early = collector.poll()
        if early is not None:
            self.say(f"the collector had ended by itself with {early}: see {self.truth / 'collect.log'}")
            return True
        collector.send_signal(signal.SIGTERM)
        try:
            code = collector.wait(60)
        except subprocess.TimeoutExpired:
            collector.kill()
            collector.wait()
            self.say("the collector did not end within 60 s of SIGTERM")
            return True
        if code not in (0, -signal.SIGTERM):
            self.say(f"the collector ended with {code} on SIGTERM: see {self.truth / 'collect.log'}")
            return True
        return False

    def _collect_once(self, pool: Pool) -> bool:
        """Take a last snapshot, after the other collector has ended: two writers would share one history cursor."""
        if not self.with_collector:
            return False
        with (self.truth / "collect.log").open("ab") as log:
            environment = {**os.environ, "CONDOR_CONFIG": "ONLY_ENV"}
            command = self._command(pool, "--once")
            code = subprocess.run(command, stdout=log, stderr=log, check=False, env=environment).returncode
        if code:
            self.say(f"the last snapshot failed with {code}: see {self.truth / 'collect.log'}")
        return code != 0

    # --- what really happened

    def _save_truth(self, pool: Pool, started_at: float, play: Play) -> None:
        facts = {
            "started_at": started_at,
            "ended_at": time.time(),
            "address": pool.address,
            "suite": pool.suite,
            "condor_version": pool.chroot.condor_version,
            "seed": self.seed,
            "duration_s": self.duration_s,
            "snapshot_every_s": SNAPSHOT_EVERY_S,
            "spec": asdict(pool.spec),
            "classes": [asdict(one) for one in CLASSES],
        }
        (self.truth / "pool.json").write_text(json.dumps(facts, indent=1) + "\n")
        _write_csv(self.truth / "submitted.csv", play.submitted)
        _write_csv(self.truth / "host_events.csv", play.moved)
        (self.truth / "priorities.txt").write_text(pool.tool("condor_userprio", "-allusers", "-all"))
        _compress(self.truth / "history.json.xz", pool.tool("condor_history", "-json").encode())
        _compress(self.truth / "attempts.json.xz", pool.tool("condor_history", "-epochs", "-json").encode())
        _compress(self.truth / "queue.json.xz", pool.tool("condor_q", "-allusers", "-json").encode())
        for name in ("EventLog", "MatchLog", "NegotiatorLog", "SchedLog"):
            for path, content in copy_out(pool, f"central/log/{name}").items():
                _compress(self.truth / f"{Path(path).name}.xz", content)
        for path, content in copy_out(pool, "*/condor_config").items():
            config = self.truth / "config" / f"{Path(path).parent}.conf"
            config.parent.mkdir(exist_ok=True)
            config.write_bytes(content)
        self.say(f"{len(play.submitted)} jobs submitted; what really happened is in {self.truth}")


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    if not rows:
        raise PoolError(f"nothing to write to {path.name}: the recording was too short")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _compress(path: Path, content: bytes) -> None:
    path.write_bytes(lzma.compress(content))
