"""What is to happen later: SimPy's timeouts with a callback, without a process for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import simpy


class Timers:
    """Calls at simulated times.

    Parameters
    ----------
    env : SimPy's environment
    before : told the time before each call of `at` and `after`, so that they find the queue as it stands then

    ahead : how many calls of `at` and `after` are still to come
    """

    def __init__(self, env: simpy.Environment, before: Callable[[float], None]) -> None:
        self.env = env
        self.ahead = 0
        self._before = before

    def at(self, when_s: float, call: Callable[[], object]) -> None:
        """Call at a time, or now if that is over [s]."""
        self.after(max(0.0, when_s - self.env.now), call)

    def after(self, delay_s: float, call: Callable[[], object]) -> None:
        """Call so much later [s]."""

        def fire(_: simpy.Event) -> None:
            self.ahead -= 1
            self._before(self.env.now)
            call()

        self.ahead += 1
        self._wake(delay_s, fire)

    def end(self, when_s: float, call: Callable[[Any], None], value: object) -> None:
        """Call at a time with an event whose `value` this is: for ends of attempts, of which there are many."""
        env = self.env
        self._wake(when_s - env.now, call, value)

    def _wake(self, delay_s: float, call: Callable[[simpy.Event], None], value: object = None) -> None:
        timeout = simpy.Timeout(self.env, delay_s, value)
        assert timeout.callbacks is not None
        timeout.callbacks.append(call)
