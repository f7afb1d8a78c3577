"""Ghost probes: jobs that look for a slot at their submitter's turn and take nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sim.classads.matching import Autocluster
from sim.engine.accountant import Accountant
from sim.engine.entities import FOREVER, Machine, Submitter
from sim.engine.records import ProbeResult
from sim.engine.startd import Startds


class Ghost(NamedTuple):
    """A probe: at `at_s`, a job of this autocluster and submitter that takes nothing."""

    label: str
    submitter: str
    cluster: Autocluster
    at_s: float


class Ghosts:
    """The ghosts of a run.

    Parameters
    ----------
    start_unix : when the run begins [s, Unix]
    when_answered : called after some may have been answered

    waiting : those that wait for an answer
    """

    def __init__(
        self,
        ghosts: Sequence[Ghost],
        accountant: Accountant,
        startds: Startds,
        results: list[ProbeResult],
        *,
        start_unix: float,
        when_answered: Callable[[], None],
    ) -> None:
        self.waiting: list[Ghost] = []
        self._to_come = sorted(ghosts, key=lambda ghost: -ghost.at_s)  # the next one last
        self._accountant = accountant
        self._startds = startds
        self._results = results
        self._start_unix = start_unix
        self._when_answered = when_answered

    @property
    def asking(self) -> bool:
        """Whether one waits for its answer, or will."""
        return bool(self.waiting or self._to_come)

    @property
    def next_s(self) -> float:
        """When the next one comes [s]."""
        return self._to_come[-1].at_s if self._to_come else FOREVER

    def hear(self, now: float) -> list[Ghost]:
        """Let those come that have been asked until now; give them."""
        coming, come = self._to_come, []
        while coming and coming[-1].at_s <= now:
            come.append(coming.pop())
        self.waiting += come
        return come

    def observers(self) -> list[Submitter]:
        """The submitters of those that wait."""
        return [
            self._accountant.submitter(name)
            for name in dict.fromkeys(ghost.submitter for ghost in self.waiting)
        ]

    def probe(self, now: float, person: Submitter, limit: float, unix: float) -> None:
        """Let a submitter's ghosts look for a slot at its turn in a cycle that began at `unix` [s, Unix].

        now : when it is [s since the run began]
        """
        self._ask(
            (ghost for ghost in self.waiting if ghost.submitter == person.name),
            lambda cluster: limit > 0 and self._would_match(cluster, now, unix),
            now,
        )

    def look_out(self, come: Iterable[Ghost], now: float) -> None:
        """Answer those that would have gone first in a cycle of their own, had they asked for one."""
        people = self._accountant.submitters.values()
        best = min((person.effective for person in people if person.waiting), default=FOREVER)
        submitter = self._accountant.submitter
        self._ask(
            (ghost for ghost in come if submitter(ghost.submitter).effective <= best),
            lambda cluster: self._shows_room(cluster, now),
            now,
        )

    def give_up(self) -> None:
        """Write down that those that wait got no answer."""
        self._results += [ProbeResult(ghost.label, ghost.at_s, float("nan")) for ghost in self.waiting]

    def _ask(self, ghosts: Iterable[Ghost], has_room: Callable[[Autocluster], bool], now: float) -> None:
        """Answer those whose autocluster has room, which is asked once for each."""
        answers: dict[int, bool] = {}
        for ghost in list(ghosts):
            cluster = ghost.cluster
            if cluster.id not in answers:
                answers[cluster.id] = has_room(cluster)
            if answers[cluster.id]:
                self.waiting.remove(ghost)
                self._results.append(ProbeResult(ghost.label, ghost.at_s, now))
        self._when_answered()

    def _shows_room(self, cluster: Autocluster, now: float) -> bool:
        """Whether the best slot for such a job, by what the collector would show now, would take it."""
        startds, shown = self._startds, {}
        table, unix = startds.table, self._start_unix + now
        for machine in startds.machines.values():
            if machine.alive and not machine.closed:
                state = machine.state if machine.due_s <= now else machine.seen
                shown[state.id] = (state, machine)
        fitting = [
            (table.ranks(cluster, state), machine)
            for state, machine in shown.values()
            if state.open and table.fits(cluster, state, unix)
        ]
        return bool(fitting) and startds.claimable(cluster, max(fitting, key=_rank)[1], now)

    def _would_match(self, cluster: Autocluster, now: float, unix: float) -> bool:
        """Whether the best slot for such a job would take it; 23.x may refuse although its ad shows a device."""
        startds = self._startds
        for entry in startds.collector.candidates(cluster, unix):
            state = entry[4]
            if state.machines and startds.table.fits(cluster, state, unix):
                return startds.claimable(cluster, state.machines[0], now)
        return False


def _rank(pair: tuple[tuple[float, float, float], Machine]) -> tuple[float, float, float]:
    return pair[0]
