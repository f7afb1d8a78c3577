"""A recorded run as a folder of a pool's own artefacts, which `poolscope replay` reads.

`startd_ads.jsonl`, `priorities.jsonl`, `other_ads.jsonl` (snapshots), `history.json`, `epochs.json`, `queue_left.json`, `logs/`, `config/`,
`workload.csv` (what was asked), `submitted.csv`, `glidein_events.jsonl` (what was really done, when), `meta.json`; what
is large is packed by xz.
"""

import csv
import json
import lzma
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from tests.realpool.errors import PoolError
from tests.realpool.play import Play
from tests.realpool.pool import Pool, copy_out
from tests.realpool.shapes import Shape
from tests.realpool.workload import Burst, workload

SNAPSHOT_EVERY_S = 15
_TOLD = 'stringListMember(MyType, "Accounting,Scheduler,Negotiator")'
FIRST_AD_S = 5.0
"""From the start of a host's master to its first ad in the collector [s]."""


@dataclass(slots=True)
class Watcher:
    """Snapshots of slot ads, priorities and the ads of schedd and negotiator at a fixed pace, in a thread of its own."""

    pool: Pool
    slots: list[dict[str, Any]] = field(default_factory=list)
    priorities: list[dict[str, Any]] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)
    _ended: Event = field(default_factory=Event)
    _thread: Thread | None = None

    def __enter__(self) -> "Watcher":
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._look()

    def _watch(self) -> None:
        due = time.time()
        while not self._ended.wait(max(0.0, due - time.time())):
            due += SNAPSHOT_EVERY_S
            try:
                self._look()
            except PoolError as error:
                print(f"a snapshot failed: {error}", file=sys.stderr)

    def _look(self) -> None:
        moment = {"t": round(time.time(), 3), "loadavg": round(os.getloadavg()[0], 2)}
        told = self.pool.ads("condor_status", "-any", "-constraint", _TOLD)
        people = [ad for ad in told if ad["MyType"] == "Accounting"]
        self.slots.append({**moment, "ads": self.pool.slots()})
        self.priorities.append({**moment, "ads": people})
        self.others.append({**moment, "ads": [ad for ad in told if ad["MyType"] != "Accounting"]})


def record(
    shape: Shape,
    folder: Path,
    *,
    seed: int,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> None:
    """Run a shape's workload on a pool of its shape and write the folder; it must not exist."""
    folder.mkdir(parents=True)
    bursts = workload(seed, duration_s=shape.duration_s, mix=shape.mix)
    play = Play(bursts, shape.events, shape.spec.hosts, say)
    with Pool(shape.spec, suite=shape.suite) as pool:
        say(f"{folder.name}: pool up at {pool.address}, {pool.chroot.condor_version}")
        up_at = time.time()
        names = {host.name: pool.startd_name(host.name) for host in shape.spec.hosts}
        with Watcher(pool) as watcher:
            started_at = time.time()
            soonest = started_at + shape.duration_s
            play.run(
                pool,
                started_at,
                started_at + shape.longest_s,
                early=lambda: time.time() > soonest and _is_idle(pool),
            )
        ended_at = time.time()
        _pack(folder / "startd_ads.jsonl.xz", _lines(watcher.slots))
        _pack(folder / "priorities.jsonl.xz", _lines(watcher.priorities))
        _pack(folder / "other_ads.jsonl.xz", _lines(watcher.others))
        _save_jobs(folder, pool)
        _save_daemons(folder, pool, shape)
    _save_workload(folder / "workload.csv", bursts)
    _save_csv(folder / "submitted.csv", play.submitted)
    (folder / "glidein_events.jsonl").write_text(_lines(_lifetimes(names, up_at, play.moved)))
    loads = [each["loadavg"] for each in watcher.slots]
    facts = {
        "shape": shape.name,
        "what": shape.what,
        "class_by": "RequirementClass",
        "seed": seed,
        "t0": started_at,
        "end": ended_at,
        "jobs": sum(len(burst.runs_s) for burst in bursts),
        "condor_version": pool.chroot.condor_version,
        "suite": shape.suite,
        "load_mean": round(sum(loads) / len(loads), 2),
        "load_max": max(loads),
        "spec": asdict(shape.spec),
    }
    (folder / "meta.json").write_text(json.dumps(facts, indent=1) + "\n")
    say(f"{folder.name}: {len(play.submitted)} jobs in {ended_at - started_at:.0f} s")


def _is_idle(pool: Pool) -> bool:
    """Whether the queue is empty; a schedd that doesn't answer in time is busy."""
    try:
        return not pool.jobs()
    except PoolError:
        return False


def _lifetimes(names: dict[str, str], up_at: float, moved: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """When each startd was started and stopped, and how."""
    rows = [
        {"t": up_at - FIRST_AD_S, "what": "start", "glidein": name, "how": None} for name in names.values()
    ]
    for event in moved:
        came = event["how"] == "add"
        # a host that comes has its name when its first ad is there, some seconds after its start
        if event["what"] == ("end" if came else "begin"):
            at, what = (event["at"] - FIRST_AD_S, "start") if came else (event["at"], "stop")
            rows.append({"t": at, "what": what, "glidein": event["startd"], "how": event["how"]})
    return rows


def _save_jobs(folder: Path, pool: Pool) -> None:
    _pack(folder / "history.json.xz", pool.tool("condor_history", "-json"))
    _pack(folder / "epochs.json.xz", pool.tool("condor_history", "-epochs", "-json"))
    _pack(folder / "queue_left.json.xz", pool.tool("condor_q", "-allusers", "-json").strip() or "[]")


def _save_daemons(folder: Path, pool: Pool, shape: Shape) -> None:
    logs = folder / "logs"
    logs.mkdir()
    for name in ("EventLog", "MatchLog", "NegotiatorLog", "SchedLog"):
        for path, content in copy_out(pool, f"central/log/{name}").items():
            _pack(logs / f"{Path(path).name}.xz", content.decode(errors="replace"))
    for path, content in copy_out(pool, "*/log/StartLog").items():
        _pack(logs / f"StartLog.{Path(path).parts[0]}.xz", content.decode(errors="replace"))
    config = folder / "config"
    config.mkdir()
    for path, content in copy_out(pool, "*/condor_config").items():
        who = Path(path).parent.name
        (config / ("central.conf" if who == "central" else f"glidein_{who}.conf")).write_bytes(content)
    for daemon in ("negotiator", "schedd", "collector"):
        dump = pool.tool("condor_config_val", "-subsystem", daemon.upper(), "-dump")
        _pack(config / f"dump.{daemon}.txt.xz", dump)
    host = shape.spec.hosts[0].name
    _pack(
        config / "dump.startd.txt.xz",
        pool.tool("condor_config_val", "-subsystem", "STARTD", "-dump", host=host),
    )


def _save_workload(path: Path, bursts: Iterable[Burst]) -> None:
    rows = [
        {
            "submit_offset_s": burst.at_s,
            "submitter": burst.submitter.name,
            "class": burst.requirement_class.name,
            "request_gpus": burst.requirement_class.gpus,
            "run_seconds": run_s,
        }
        for burst in bursts
        for run_s in burst.runs_s
    ]
    _save_csv(path, rows)


def _save_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _lines(records: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)


def _pack(path: Path, text: str) -> None:
    path.write_bytes(lzma.compress(text.encode(), preset=9))
