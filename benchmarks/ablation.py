"""What each rule of the engine is worth: replays of recorded pools with one rule switched off at a time.

python -m benchmarks.ablation [--seeds N] FOLDER…     writes docs/ablation.md

FOLDERs are recordings; those whose names differ only by their last -rN are runs of one pool.
"""

import argparse
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd

from benchmarks.validate import Told, error, means, plan_of, real, told
from sim.engine.accountant import Accountant
from sim.engine.entities import Claim, Queue, State, Submitter
from sim.engine.job_queue import JobQueue
from sim.engine.negotiator import Negotiator, Turn
from sim.engine.preemption import PreemptionPolicy
from sim.engine.run import Plan, Recording, Run
from sim.engine.slots import SlotTable
from sim.engine.startd import Startds
from sim.engine.timing import Round
from sim.replication import Task, replicate
from sim.sweep import model_version

DOCUMENT = Path(__file__).parent.parent / "docs" / "ablation.md"
Off = Callable[[Plan, ExitStack], None]


class Rule(NamedTuple):
    """A rule, and how to take it out of a plan for as long as an exit stack is open."""

    what: str
    off: Off


def told_policy(**changes: object) -> Off:
    """The policy without it."""

    def off(plan: Plan, _: ExitStack) -> None:
        plan.policy = plan.policy.model_copy(update=changes)

    return off


def replaced(owner: type, name: str, made: Callable[..., object]) -> Off:
    """A method of the engine replaced; `made` takes the method and gives the other."""

    def off(_: Plan, stack: ExitStack) -> None:
        stack.enter_context(patch.object(owner, name, made(getattr(owner, name))))

    return off


def random_order(_: Callable[..., object]) -> Callable[..., object]:
    def order(self: Negotiator, everyone: list[Submitter], *rest: object) -> list[Submitter]:
        return sorted(everyone, key=lambda _: self.ties.uniform())

    return order


def unpacked(ranks: Callable[..., tuple[float, float, float]]) -> Callable[..., object]:
    def without(self: SlotTable, cluster: object, state: State) -> tuple[float, float, float]:
        return (0.0, *ranks(self, cluster, state)[1:])

    return without


def one_core(_: Callable[..., object]) -> Callable[..., object]:
    def match(self: Negotiator, turn: Turn, cluster: object, *rest: object) -> object:
        before = turn.used
        found = _(self, turn, cluster, *rest)
        if turn.used > before:
            turn.used = turn.free_used = before + cluster.cpus  # type: ignore[attr-defined]
        return found

    return match


def resized(_: Callable[..., bool]) -> Callable[..., object]:
    """A claim whose slot would have to be made anew for the job isn't reused."""

    def reusable(self: SlotTable, cluster: object, shape: object, now: float) -> bool:
        same = (cluster.cpus, cluster.gpus) == (shape.size.cpus, len(shape.size.devices))  # type: ignore[attr-defined]
        return same and _(self, cluster, shape, now)

    return reusable


def shuffled(_: Callable[..., object]) -> Callable[..., object]:
    """Jobs go in an order that has nothing to do with their ids: by the digits of their places read backwards."""

    def in_order(self: Submitter) -> Iterator[Queue]:
        return iter(sorted(self.waiting.values(), key=lambda queue: str(queue.heap[0])[::-1]))

    return in_order


def undecayed(_: Callable[..., object]) -> Callable[..., object]:
    def update(self: Accountant, _now: float) -> None:
        for person in self.submitters.values():
            person.charged = person.usage

    return update


def claims_only(update: Callable[..., object]) -> Callable[..., object]:
    """Between cycles the cores of the claims count, not those of the matched slots."""

    def without(self: Accountant, now: float) -> None:
        for person in self.submitters.values():
            person.charged = person.usage
        update(self, now)

    return without


def always_asks(_: Callable[..., object]) -> Callable[..., object]:
    """A round asks for a cycle although the negotiator has called since."""

    def asks(self: JobQueue, one: Round) -> bool:
        return one.reschedule

    return asks


def known_at_once(_: Callable[..., object]) -> Callable[..., object]:
    """The retirement time is over for the negotiator when it is over for the startd."""

    def retired(self: PreemptionPolicy, claim: Claim, now: float) -> bool:
        return now - claim.began_s >= self._policy.max_job_retirement

    return retired


def at_once(_: Callable[..., object]) -> Callable[..., object]:
    """The ads are always as new as the slots."""

    def publish(self: Startds, _now: float) -> None:
        for machine in self._changes:
            self._settle(machine)
        self._changes = []
        self.collector.begin_cycle()

    return publish


def forgotten(_: Callable[..., object]) -> Callable[..., object]:
    def last_cycle(_self: Recording, _before: float) -> None:
        return None

    return last_cycle


def nothing(_: Callable[..., float]) -> Callable[..., object]:
    def least(_self: Startds) -> float:
        return 0.0

    return least


def same_states(_: Callable[..., State]) -> Callable[..., object]:
    def first(self: Negotiator, turn: Turn, cluster: object, found: object, place: int, now: float) -> State:
        return found.ranked[place][4]  # type: ignore[attr-defined, no-any-return]

    return first


RULES: tuple[Rule, ...] = (
    Rule("RESCHEDULE brings a cycle forward", told_policy(reschedule=False)),
    Rule("a satisfied submitter's schedd counts anew", told_policy(update_when_satisfied=False)),
    Rule("leftovers: a match's machine is filled by its submitter", told_policy(claim_leftovers=False)),
    Rule("claims are reused", told_policy(claim_reuse=False)),
    Rule("worklife ends reuse", told_policy(claim_worklife=-1.0)),
    Rule(
        "a reused slot keeps its size: other sizes are not taken over",
        replaced(SlotTable, "reusable", resized),
    ),
    Rule("fair share: order and limits", told_policy(fair_share=False)),
    Rule("submitters in order of effective priority", replaced(Negotiator, "_order", random_order)),
    Rule("priorities change with use", replaced(Accountant, "update", undecayed)),
    Rule("between cycles a match counts as its whole slot", replaced(Accountant, "update", claims_only)),
    Rule("a match is charged its whole slot in its cycle", replaced(Negotiator, "_match", one_core)),
    Rule("one match per partitionable slot and cycle", told_policy(one_match_per_slot=False)),
    Rule("packing: fewest free cores first", replaced(SlotTable, "ranks", unpacked)),
    Rule("ties between slots at random", replaced(Negotiator, "_among_equals", same_states)),
    Rule(
        "leftovers and reused claims take jobs in the order of their ids",
        replaced(Submitter, "in_order", shuffled),
    ),
    Rule("ads reach the collector after a while", replaced(Startds, "publish", at_once)),
    Rule("the phase of the cycle is known", replaced(Recording, "last_cycle", forgotten)),
    Rule("a freed device waits for the startd's poll (23.x)", told_policy(device_release_poll=0.0)),
    Rule(
        "delays from match and end to start",
        told_policy(match_to_start=0.0, match_to_start_tail=0.0, reuse_to_start=0.0, reuse_slow_extra=0.0),
    ),
    Rule(
        "a call of the negotiator answers what submissions asked for", replaced(JobQueue, "asks", always_asks)
    ),
    Rule("shadows and startds wake the schedd, too", told_policy(schedd_wakes_per_job=0.0)),
    Rule("25.x: a submission counts where no job waits", told_policy(reschedule_from_rest=False)),
    Rule("a slot's last ad tells the retirement time", replaced(PreemptionPolicy, "_retired", known_at_once)),
    Rule("RESCHEDULE reaches the negotiator after a moment", told_policy(reschedule_delay=0.0)),
    Rule("a pie slice less than the smallest slot ends the turn", replaced(Startds, "smallest", nothing)),
    Rule("accounting groups", told_policy(groups={})),
    Rule("concurrency limits", told_policy(concurrency_limits={})),
    Rule("preemption", told_policy(consider_preemption=False)),
    Rule("the lease of a killed machine's jobs", told_policy(job_lease=0.0)),
)


@contextmanager
def without(rule: Rule, plan: Plan) -> Iterator[None]:
    """The engine without a rule."""
    policy = plan.policy
    with ExitStack() as stack:
        rule.off(plan, stack)
        try:
            yield
        finally:
            plan.policy = policy


def run_all(plan: Plan, run: Run) -> list[Told]:
    """A replay with all rules, and with each of them taken out in turn."""
    found = [told(plan, run)]
    for rule in RULES:
        with without(rule, plan):
            found.append(told(plan, plan.run(run.manifest["seed"])))
    return found


def score(found: list[Told], truths: list[Told]) -> tuple[float, float]:
    """Mean error of the groups, and of all jobs."""
    simulated, truth = means([one.waits for one in found]), means([one.waits for one in truths])
    wrong = error(simulated, truth)
    return float(np.mean(list(wrong.values()))), simulated["all", "all"] / truth["all", "all"] - 1


def worths(folders: list[Path], seeds: int) -> list[tuple[float, float]]:
    """Scores of a pool, and the deviation of its all-jobs mean: with all rules, then without each."""
    truths = [real(folder) for folder in folders]
    plans = [partial(plan_of, folder) for folder in folders]
    each = -(-seeds // len(folders))
    tasks = [Task(place, 1 + number) for place in range(len(folders)) for number in range(each)]
    found = [result for _, result in replicate(plans, tasks, run_all)]
    rows = [score([one[place] for one in found], truths) for place in range(1 + len(RULES))]
    for what, (wrong, _) in zip(["all rules", *(rule.what for rule in RULES)], rows, strict=True):
        print(f"{what:60} {wrong:.3f}", flush=True)
    return rows


HEAD = """# What each rule is worth

Written by `python -m benchmarks.ablation`; {when}, model {model}, {seeds} seeds for each pool. Recorded pools are replayed with one
rule switched off at a time. The score is that of [validation.md](validation.md): the mean absolute relative error of the mean
waits of all jobs, GPU jobs, submitters and classes. What is added to it without a rule is what the rule is worth in that pool;
values within about 0.02 are noise. A rule that a pool has no use for (quotas, preemption, a machine that is killed) leaves its
score as it is. Rules are in the order of what they are worth over all pools.

| without | {names} |
|---|{rules}|
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=12)
    options = parser.parse_args()
    groups: dict[str, list[Path]] = {}
    for folder in sorted(options.folders):
        groups.setdefault(re.sub(r"-r\d+$", "", folder.name), []).append(folder)
    found = {name: worths(folders, options.seeds) for name, folders in groups.items()}
    whole = [rows[0][0] for rows in found.values()]
    order = sorted(
        range(len(RULES)),
        key=lambda number: -sum(rows[1 + number][0] - rows[0][0] for rows in found.values()),
    )
    lines = ["| *nothing: all rules* | " + " | ".join(f"**{value:.3f}**" for value in whole) + " |"]
    for number in order:
        cells = [
            f"{rows[1 + number][0]:.3f} ({rows[1 + number][0] - rows[0][0]:+.2f})" for rows in found.values()
        ]
        lines.append(f"| {RULES[number].what} | " + " | ".join(cells) + " |")
    when = pd.Timestamp(time.time(), unit="s", tz="UTC").strftime("%Y-%m-%d")
    head = HEAD.format(
        when=when,
        model=model_version(),
        seeds=options.seeds,
        names=" | ".join(found),
        rules="|".join("---" for _ in found),
    )
    DOCUMENT.write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
