"""An answer in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.analysis import Answer, Rung, Waiting

_STATES = {
    "claimed": "claimed by others",
    "no_room": "free, but the machine has no room",
    "draining": "on machines that are being drained",
    "retiring": "too close to retirement",
    "refused": "refused by the machine's policy",
}
_LADDERS = ("memory", "gpus", "runtime", "model", "site", "combined")


def in_words(answer: Answer, *, ladders: bool = False) -> str:
    """The answer as text: verdict, counts, clauses, the ladder of capability or all, what to write instead."""
    return "\n".join([
        *_counts(answer), *_clauses(answer), *_ladder("ladder", answer.ladder),
        *(line for name in (_LADDERS if ladders else ()) for line in _ladder(name, answer.ladders.get(name, ()))),
        *_advice(answer),
    ])  # fmt: skip


def _counts(answer: Answer) -> Iterable[str]:
    seen = "–" if answer.gpus.seen is None else str(answer.gpus.seen)
    yield f"{answer.verdict}: {answer.sentence}"
    for group in answer.ahead:
        yield f"  first come {group.jobs} job{'s' * (group.jobs != 1)} asking for {group.who}: {group.gpus} of these GPUs"
    yield ""
    yield (
        f"GPUs   free now {answer.gpus.now}   if drained {answer.gpus.drained}   seen in 7 days {seen}   "
        f"on {len(answer.machines)} machine{'s' * (len(answer.machines) != 1)}"
    )
    for row in answer.by_model.itertuples():
        yield f"  {row.model:<24} {row.now:>4} free of {row.drained}"
    told = [f"{count} {_STATES[name]}" for name, count in answer.states.items() if count and name in _STATES]
    if told:
        yield f"  {', '.join(told)}"


def _clauses(answer: Answer) -> Iterable[str]:
    if answer.clauses:
        yield ""
        yield "clause                                         alone   if dropped   next looser"
    for clause in answer.clauses:
        looser = f"{clause.next_value}: +{clause.gained_at_next}" if clause.next_value else ""
        text = clause.text if clause.where == "requirements" else f"device: {clause.text}"
        yield f"  {_cut(text, 44):<44} {clause.gpus:>5}   {clause.gained_if_dropped:>+10}   {looser}".rstrip()
    for pair in answer.pairs:
        yield f"  only together: {_cut(pair.first, 30)} with {_cut(pair.second, 30)}: {pair.gained:+}"


def _ladder(name: str, rungs: Sequence[Rung]) -> Iterable[str]:
    if len(rungs) < 2:
        return
    seen = rungs[0].seen is not None
    yield ""
    yield f"{name:<35} GPUs   free now" + ("   7 days" if seen else "")
    before = None
    for rung in rungs:
        flat = "   same" if rung.gpus == before else ""
        seven = f"   {rung.seen:>6}" if seen else ""
        yield f"  {_cut(rung.rung, 40):<32} {rung.gpus:>5}   {rung.now:>8}{seven}{flat}"
        before = rung.gpus


def _advice(answer: Answer) -> Iterable[str]:
    for lint in answer.lints:
        yield ""
        yield f"{lint.rule}: {lint.message}"
        yield f"  write instead: {lint.suggestion}"
    if answer.rewrites:
        yield ""
        yield "rewrites, best first"
    for rewrite in answer.rewrites:
        first, *rest = rewrite.text.split("\n")
        yield f"  {rewrite.gained:>+4}  {first}"
        yield from (f"        {line}" for line in rest)
        yield f"        ({rewrite.given_up})"


def queue_in_words(rows: Sequence[Waiting], *, names: bool) -> str:
    """The queue as a table: a shape in a row, those that can never match first."""
    stuck = [row for row in rows if row.verdict == "impossible"]
    jobs, gpus = sum(row.jobs for row in stuck), sum(row.gpus for row in stuck)
    waiting = sum(row.jobs for row in rows)
    lines = [
        f"{waiting} job{'s wait' if waiting != 1 else ' waits'} in {len(rows)} shape{'s' * (len(rows) != 1)}; "
        f"{jobs} of them can never run here ({gpus} GPU{'s' * (gpus != 1)} asked)"
        if rows
        else "no job waits"
    ]
    if rows:
        lines += ["", "verdict       jobs   GPUs   free now   if drained   shape"]
    for row in rows:
        lines.append(
            f"{row.verdict:<12} {row.jobs:>5}  {row.gpus:>5}   {row.now:>8}   {row.drained:>10}   {_cut(row.asks, 60)}"
        )
        if row.blocking:
            lines.append(f"             stopped by {_cut('; '.join(row.blocking), 90)}")
        if row.reason:
            lines.append(f"             {row.reason}")
        if names:
            whose = ", ".join(f"{name} ({count})" for name, count in row.submitters[:4])
            lines.append(f"             {whose}, such as {row.example}")
    return "\n".join(lines)


def _cut(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
