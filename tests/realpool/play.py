"""What happens in a pool, on the clock: jobs are submitted, hosts come and go."""

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Literal

from tests.realpool.hosts import Host
from tests.realpool.pool import How, Pool
from tests.realpool.workload import Burst


@dataclass(frozen=True, slots=True)
class HostEvent:
    """A host goes or comes back."""

    at_s: float
    """When, from the start of the workload [s]."""
    host: str
    how: How | Literal["add"]


@dataclass(slots=True)
class Play:
    """A workload and what happens to hosts meanwhile; `submitted` and `moved` are what was really done, and when."""

    bursts: Sequence[Burst]
    events: Sequence[HostEvent] = ()
    spare: Sequence[Host] = ()
    """How hosts that come back are then described."""
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)
    submitted: list[dict[str, object]] = field(default_factory=list)
    moved: list[dict[str, object]] = field(default_factory=list)
    _cancelled: Event = field(default_factory=Event)

    def run(
        self, pool: Pool, started_at: float, until: float, *, early: Callable[[], bool] | None = None
    ) -> None:
        """Submit the jobs and move the hosts until the time is over [s since 1970].

        early : asked once a second after the last submission; true ends the play before its time
        """
        with ThreadPoolExecutor(2) as threads:
            parts = [
                threads.submit(self._submit_all, pool, started_at),
                threads.submit(self._move_hosts, pool, started_at),
            ]
            try:
                self._wait(parts, until=until, early=early)
            finally:
                self._cancelled.set()
        for part in parts:
            part.result()

    def _wait(self, parts: list[Future[None]], *, until: float, early: Callable[[], bool] | None) -> None:
        while time.time() < until:
            for part in parts:
                if part.done():
                    part.result()  # a failure ends the recording at once
            if early is not None and all(part.done() for part in parts) and early():
                return
            time.sleep(min(1.0, max(0.0, until - time.time())))

    def _sleep_until(self, moment: float) -> bool:
        """Wait for a moment; False when the play ends before."""
        return not self._cancelled.wait(max(0.0, moment - time.time()))

    def _submit_all(self, pool: Pool, started_at: float) -> None:
        total = sum(len(burst.runs_s) for burst in self.bursts)
        for burst in self.bursts:
            if not self._sleep_until(started_at + burst.at_s):
                return
            (cluster,) = pool.submit(burst.description)
            self.submitted.extend(_rows(burst, cluster, time.time()))
            self.say(
                f"{time.time() - started_at:6.0f} s  {len(self.submitted)}/{total} jobs: {_title(burst)}"
            )

    def _move_hosts(self, pool: Pool, started_at: float) -> None:
        spare = {host.name: host for host in self.spare}
        for event in self.events:
            if not self._sleep_until(started_at + event.at_s):
                return
            self._note(pool, event, "begin")
            if event.how == "add":
                pool.add_host(spare[event.host])
            else:
                pool.remove_host(event.host, event.how)
            self._note(pool, event, "end")
            self.say(f"{time.time() - started_at:6.0f} s  {event.host}: {event.how}")

    def _note(self, pool: Pool, event: HostEvent, what: str) -> None:
        startd = pool.startd_name(event.host)
        self.moved.append(
            {
                "at": round(time.time(), 3),
                "host": event.host,
                "startd": startd,
                "how": event.how,
                "what": what,
            }
        )


def _title(burst: Burst) -> str:
    return f"{len(burst.runs_s)} {burst.requirement_class.name} by {burst.submitter.user}"


def _rows(burst: Burst, cluster: int, at: float) -> list[dict[str, object]]:
    return [
        {
            "job_id": f"{cluster}.{proc}",
            "planned_s": burst.at_s,
            "submitted_at": round(at, 3),
            "submitter": burst.submitter.name,
            "requirement_class": burst.requirement_class.name,
            "gpus": burst.requirement_class.gpus,
            "run_s": run_s,
        }
        for proc, run_s in enumerate(burst.runs_s)
    ]
