"""When an access point tells the pool of its queue, and when a negotiator's timers let a cycle begin.

Both daemons keep time in whole seconds: a timer that is due at a second fires when the daemon next looks, which is that
second plus the fraction at which it last woke up. Seen in the logs of recorded pools (docs/validation.md); fact sheet §1.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from sim.engine.entities import FOREVER

_SECONDS = 1 << 12  # for so many wake-ups are drawn; then they repeat, over an hour later
COMMIT_S = 0.01
"""How far apart the submissions of one transaction may be logged [s]: up to 1 ms in recorded pools, and the cycle that the
transaction asks for began 4-22 ms after it (docs/validation.md)."""


class Round(NamedTuple):
    """A round in which the schedd counts its jobs and sends submitter ads.

    reschedule : it also asks for a negotiation cycle, as there are new submissions
    counted : how many submissions came before it
    """

    at_s: float
    reschedule: bool
    counted: int


class WakeUps:
    """What else wakes a daemon than its timers and the submissions that are known: shadows, startds, tools.

    Parameters
    ----------
    rate : wake-ups a second
    uniform : draws numbers in [0, 1)

    A timer that is due at a second fires at the first wake-up from then on, at the latest when the daemon looks by itself: a
    whole number of seconds after the last wake-up before. The second alone decides what is drawn, so that it makes no
    difference how often somebody looks ahead.
    """

    def __init__(self, rate: float, uniform: Callable[[], float]) -> None:
        self._waits = [-math.log(1.0 - uniform()) / rate for _ in range(_SECONDS)] if rate > 0 else []

    def fraction(self, second: float, last: float, fraction: float) -> float:
        """How long after a second a timer fires, if the last known wake-up before it was at `last`, `fraction` into its second [s]."""
        if not self._waits:
            return fraction
        place = math.floor(second) % _SECONDS
        since, until = self._waits[place], self._waits[place - _SECONDS // 2]
        return min(until, -since % 1 if since < second - last else fraction)


NEVER_ELSE = WakeUps(0.0, lambda: 0.0)


def rounds(
    submissions: Sequence[float],
    interval_s: float,
    min_interval_s: float,
    *,
    last: float = -FOREVER,
    place: int = 0,
    asked: float | None = None,
    fresh: bool = False,
    phase: float = 0.0,
    heeded: Callable[[], bool] = lambda: True,
    wakes: WakeUps = NEVER_ELSE,
) -> Iterator[Round]:
    """The rounds of a schedd: every SCHEDD_INTERVAL, and upon a submission, about SCHEDD_MIN_INTERVAL apart at least.

    Parameters
    ----------
    submissions : times in ascending order, the last one infinite [s]
    last : when the round before was [s]
    place : of the first submission that is still to come
    asked, fresh : when something else asked for a round, and whether submissions await it, too
    phase : what to add to a time for whole seconds to be whole [s]
    heeded : whether a submission brings a round about, as things are since the last one
    wakes : what wakes the schedd beside submissions

    The next round is due at the whole second nearest to the last one plus the interval; a submission from then on finds
    it at once, an earlier one moves the timer, and with it the fraction of a second at which it fires. The jobs of one
    transaction come at once. A submission that wakes the schedd after the timer's second lets the timer fire first, so the
    round doesn't count it: DaemonCore serves timers before sockets (`DaemonCore::Driver`).

    Examples
    --------
    >>> from itertools import islice
    >>> [tuple(one) for one in islice(rounds([1.0, 2.5, 2.75, float("inf")], 300, 5), 3)]
    [(1.0, True, 1), (6.75, True, 3), (307.75, False, 3)]
    """

    def nearest(interval: float) -> float:
        return math.floor(last + phase + interval + 0.5) - phase

    def fires(second: float, woken: float) -> float:
        return second + wakes.fraction(second + phase, woken + phase, (woken + phase) % 1)

    timer = FOREVER if last == -FOREVER else nearest(interval_s)
    due = FOREVER if last == -FOREVER else fires(timer, last)
    if asked is not None:
        timer = nearest(min_interval_s)
        due = max(asked, fires(timer, asked))
    while True:
        submitted = submissions[place]
        while timer <= submitted < FOREVER or due < submitted:
            last = min(due, submitted)
            yield Round(last, fresh, place)
            fresh, timer = False, nearest(interval_s)
            due = fires(timer, last)
        if submitted == FOREVER:
            return
        place += 1
        if not heeded():
            continue  # the next round counts it
        soonest = -FOREVER if last == -FOREVER else nearest(min_interval_s)
        if submitted >= soonest:
            whole = submitted + COMMIT_S
            while submissions[place] <= whole:
                submitted = submissions[place]
                place += 1
            yield Round(submitted, True, place)
            last, fresh = submitted, False
            timer = nearest(interval_s)
            due = fires(timer, last)
        else:
            timer, fresh = soonest, True
            due = fires(timer, submitted)


def next_cycle(
    started: float,
    ended: float,
    requests: Iterator[float] | Sequence[float],
    *,
    interval_s: float,
    delay_s: float,
    min_interval_s: float,
    phase: float = 0.0,
) -> float:
    """When the cycle after one that lasted from `started` to `ended` begins [s].

    Parameters
    ----------
    requests : times of RESCHEDULE after `started`, ascending [s]
    phase : what to add to a time for whole seconds to be whole [s]

    NEGOTIATOR_INTERVAL after the start, NEGOTIATOR_CYCLE_DELAY after the end at least; the first RESCHEDULE lets it
    begin at once, or as soon as the delay and NEGOTIATOR_MIN_INTERVAL are over (`Matchmaker::negotiationTime`).

    Examples
    --------
    >>> next_cycle(0.25, 0.5, [4.75], interval_s=60, delay_s=20, min_interval_s=5)
    20.75
    >>> next_cycle(0.25, 0.5, [], interval_s=60, delay_s=20, min_interval_s=5)
    60.5
    """
    begun, over = math.floor(started + phase), math.floor(ended + phase)
    due = over + max(delay_s, interval_s - (over - begun)) - phase
    woke = (ended + phase) % 1
    asked = False
    for told in requests:
        request = max(told, ended)
        if request >= due + woke:
            break  # the timer has fired
        if not asked:
            asked = True
            earliest = max(over + delay_s, begun + min_interval_s) - phase
            if request >= earliest:
                return request
            due = earliest
        elif request >= due:
            return request
        woke = (request + phase) % 1
    return due + woke


def last_before(told_s: float | None, interval_s: float, drawn: float) -> float:
    """When a daemon's timer last fired before a run began at 0 [s].

    Parameters
    ----------
    told_s : a time of it that is known [s], in whole seconds; since then it has fired once an interval
    drawn : a number in [0, 1): the fraction of the known second, or of the interval where none is known

    Examples
    --------
    >>> last_before(None, 60, 0.25), last_before(-100, 60, 0.25)
    (-15.0, -39.75)
    """
    if told_s is None:
        return -drawn * interval_s
    return (told_s + min(drawn, -told_s)) % -interval_s
