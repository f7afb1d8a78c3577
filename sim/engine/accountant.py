"""Who has used how much: the negotiator's accountant keeps submitters, their factors and their priorities (fact sheet §1.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sim.engine.entities import Submitter
from sim.engine.fairshare import decayed
from sim.engine.groups import group_of
from sim.engine.records import Recorder
from sim.scenario import PolicySection


class Accountant:
    """The submitters of a pool.

    Parameters
    ----------
    priorities : real priorities as the run begins, by submitter; 0.5 for others
    priorities_at : moments at which priorities are noted, as the last cycle left them, ascending [s]
    """

    def __init__(
        self,
        policy: PolicySection,
        recorder: Recorder,
        priorities: Mapping[str, float],
        priorities_at: Sequence[float],
    ) -> None:
        self.submitters: dict[str, Submitter] = {}
        self._policy = policy
        self._recorder = recorder
        self._priorities = dict(priorities)
        self._moments = list(reversed(priorities_at))  # the next one last
        self._last_cycle_s = 0.0

    def submitter(self, name: str) -> Submitter:
        """The submitter of this name, made known with its factor when it first appears."""
        person = self.submitters.get(name)
        if person is None:
            policy = self._policy
            group = group_of(name, list(policy.groups))
            factor = policy.prio_factors.get(name)
            if factor is None and name.startswith("nice-user."):
                factor = policy.nice_user_prio_factor
            if factor is None:
                factor = policy.group_prio_factors.get(group, policy.default_prio_factor)
            priority = max(0.5, self._priorities.get(name, 0.5))
            person = self.submitters[name] = Submitter(name, factor, group, priority)
        return person

    def arrange(self, people: Iterable[Submitter]) -> None:
        """Let the submitters stand in this order."""
        ordered = {person.name: person for person in people}
        self.submitters.clear()
        self.submitters.update(ordered)

    def update(self, now: float) -> None:
        """Decay the priorities and charge what was used since the last cycle."""
        self.note(now)
        elapsed, self._last_cycle_s = now - self._last_cycle_s, now
        halflife = self._policy.priority_halflife
        for person in self.submitters.values():
            if elapsed > 0 and (person.charged or person.priority > 0.5):
                person.priority = decayed(person.priority, person.charged, elapsed, halflife)
            person.charged = person.usage

    def note(self, now: float) -> None:
        """Note priorities for the moments since the last cycle that ask for them."""
        while self._moments and self._moments[-1] < now:
            moment = self._moments.pop()
            self._recorder.priorities += [
                (moment, person.name, person.priority) for person in self.submitters.values()
            ]
