"""What an expression costs, on pools small enough to count by hand."""

import time
from typing import Any

import pandas as pd
import pytest

from sim.analysis import Answer, PoolView, Request, analyse
from sim.analysis.analyse import MOST_CLAUSES
from sim.classads.ads import parse_one
from sim.errors import ExpressionError
from sim.inventory import slots_frame
from tests.sim.test_matching import SLICE, TITAN, V100, slot_text

NOON = pd.Timestamp("2026-03-01 12:00", tz="UTC")


def host(
    name: str, models: tuple[str | None, ...] = (), *, free: list[int] | None = None, **more: str
) -> str:
    """A machine's slot; `free` are the places of its free devices, all by default."""
    told: dict[str, Any] = {
        "Machine": f'"{name}"',
        "Name": f'"slot1@{name}"',
        "State": '"Unclaimed"',
        "MyType": '"Machine"',
    }
    if free is not None:
        ids = [f"GPUs_{'MIG' if models[place] is None else 'GPU'}_{place:08x}" for place in free]
        told |= {"AvailableGPUs": "{" + ", ".join(ids) + "}", "GPUs": str(len(free))}
    return slot_text(models, **(told | more))


def frame(*texts: str, at: pd.Timestamp = NOON) -> pd.DataFrame:
    return slots_frame([parse_one(text) for text in texts], seen_at=at, snapshot=str(at)).frame


def ask(expression: str, *texts: str, request: Request | None = None) -> Answer:
    return analyse(expression, PoolView.from_frames(frame(*texts)), request=request)


def picky(expression: str, gpus: int = 1) -> Request:
    return Request(gpus=gpus, require_gpus=expression)


MIXED = host("mixed", (V100, TITAN, V100, TITAN), free=[0, 3])
UNIFORM = host("uniform", (TITAN,) * 2)
OLD = slot_text((V100,) * 2, nested=False, Machine='"old"', Name='"slot1@old"', State='"Unclaimed"')
SLICES = host("slices", (SLICE,) * 7)
BARE = host("bare")


def rules(answer: Answer) -> set[str]:
    return {lint.rule for lint in answer.lints}


def test_devices_are_counted_not_slots() -> None:
    """Free now and if drained; those that RequireGPUs does not pick don't count, free or not."""
    pool = (MIXED, UNIFORM, OLD, SLICES, BARE)
    everything = ask("true", *pool)
    assert (everything.verdict, everything.gpus.now, everything.gpus.drained) == ("free", 13, 15)
    assert everything.machines == ("mixed", "old", "slices", "uniform")
    assert everything.gpus.seen is None
    floor = ask("true", *pool, request=picky("Capability >= 7.5"))
    assert (floor.gpus.now, floor.gpus.drained, floor.machines) == (3, 4, ("mixed", "uniform"))
    v100 = ask("true", *pool, request=picky('DeviceName == "V100"'))
    assert (v100.gpus.now, v100.gpus.drained) == (1, 2)
    flat = ask("GPUs_Capability >= 7.5", *pool)
    assert (flat.gpus.drained, flat.machines) == (2, ("uniform",))


def test_the_free_device_is_the_one_that_is_listed() -> None:
    """On a mixed host with only its last device free, it is that one: not the first."""
    busy = host("mixed", (V100, TITAN), free=[1])
    assert ask("true", busy, request=picky("Capability >= 7.5")).verdict == "free"
    assert ask("true", busy, request=picky("Capability < 7.5")).verdict == "busy"
    told = ask("true", busy).by_model.set_index("model")
    assert told["now"].to_dict() == {"TITAN RTX": 1, "V100": 0}
    assert told["drained"].to_dict() == {"TITAN RTX": 1, "V100": 1}


def test_two_devices_must_be_on_one_machine() -> None:
    """Two machines with one each don't serve a job that asks for two."""
    single = [host(name, (TITAN,)) for name in "ab"]
    assert ask("true", *single, request=Request(gpus=2)).verdict == "impossible"
    assert "too-many-gpus" in rules(ask("true", *single, request=Request(gpus=2)))
    assert ask("true", *single).gpus.drained == 2
    assert ask("true", UNIFORM, request=Request(gpus=2)).verdict == "free"
    assert ask("true", MIXED, request=picky("Capability >= 7.5", gpus=2)).verdict == "busy"


@pytest.mark.parametrize(
    ("expression", "pool", "verdict"),
    [
        ("true", (UNIFORM,), "free"),
        ("GPUs_Capability >= 9.0", (UNIFORM, MIXED), "impossible"),
        ("true", (BARE,), "impossible"),
        ("true", (host("a", (TITAN,), free=[]),), "busy"),
        ("true", (host("a", (TITAN,), Cpus="0"),), "busy"),
        ("true", (host("a", (TITAN,), Memory="100"),), "busy"),
        ("true", (host("a", (TITAN,), start="TARGET.Owner =?= \"me\""),), "blocked"),
        ("true", (host("a", (TITAN,), start=f"time() < {NOON.timestamp() - 60}"),), "blocked"),
        ("true", (host("a", (TITAN,), start=f"time() < {NOON.timestamp() + 60}"),), "free"),
        ("true", (host("a", (TITAN,), Draining="true"),), "busy"),
        ("true", (host("a", (TITAN,), Offline="true"),), "impossible"),
        ("TARGET.Memory > 9999999", (UNIFORM,), "impossible"),
        ("1 == 2", (UNIFORM,), "impossible"),
        ("undefined", (UNIFORM,), "impossible"),
    ],
)  # fmt: skip
def test_verdicts(expression: str, pool: tuple[str, ...], verdict: str) -> None:
    """Impossible, blocked by the machine's own policy, busy, free; judged at the snapshot's time, not at today's."""
    answer = ask(expression, *pool)
    assert answer.verdict == verdict
    assert bool(answer.machines) == (verdict in {"busy", "free"})
    assert answer.sentence.endswith(".")


def test_too_large_a_job_is_not_blocked_by_policy() -> None:
    """A machine without the memory does not refuse: it could never."""
    answer = ask("true", UNIFORM, request=Request(memory_mib=10_000_000))
    assert answer.verdict == "impossible"
    answer = ask(
        "TARGET.Cpus > 1", UNIFORM, request=Request(cpus=64)
    )  # condor_submit then adds no clause of its own
    assert answer.verdict == "impossible"


@pytest.mark.parametrize(("state", "verdict"), [("Claimed", "busy"), ("Unclaimed", "free")])
def test_static_slots(state: str, verdict: str) -> None:
    """A static slot that has a job is busy, not gone."""
    static = host("s", (TITAN,), State=f'"{state}"', PartitionableSlot="false", SlotType='"Static"')
    answer = ask("true", static)
    assert (answer.verdict, answer.gpus.drained) == (verdict, 1)
    assert answer.gpus.now == (verdict == "free")


def test_a_device_counts_once() -> None:
    """A backfill twin, and the ad of a glidein that came back under another name."""
    twin = host(
        "uniform", (TITAN,) * 2, Name='"backfill1@uniform"', IsBackfillSlot="true", SlotType='"Partitionable"'
    )
    again = host("uniform", (TITAN,) * 2, Name='"slot1@glidein_2@uniform"')
    answer = ask("true", UNIFORM, twin, again)
    assert (answer.gpus.now, answer.gpus.drained, answer.machines) == (2, 2, ("uniform",))
    assert answer.slots == ("slot1@glidein_2@uniform", "slot1@uniform")
    lent = ask(
        "true", host("uniform", (TITAN,) * 2, free=[]), twin
    )  # the twin offers what the primary slot has lent out
    assert (lent.verdict, lent.gpus.now) == ("busy", 0)
    assert answer.by_model.to_dict("records") == [{"model": "TITAN RTX", "now": 2, "drained": 2, "seen": 0}]


def test_a_window_remembers_who_left() -> None:
    """A machine that left counts as seen, once; a retired glidein did take jobs when it came."""
    before = NOON - pd.Timedelta(days=2)
    gone = host("gone", (V100,))
    retiring = host("glidein", (TITAN,), start=f"time() < {NOON.timestamp() - 60}")
    renamed = host("uniform", (TITAN,) * 2, Name='"slot1@elsewhere@uniform"')
    window = pd.concat(
        [frame(gone, retiring, renamed, at=before), frame(retiring, UNIFORM)], ignore_index=True
    )
    view = PoolView.from_frames(frame(retiring, UNIFORM), window)
    answer = analyse("true", view)
    assert (answer.verdict, answer.gpus.now, answer.gpus.drained, answer.gpus.seen) == ("free", 2, 2, 4)
    assert answer.by_model.set_index("model")["seen"].to_dict() == {"TITAN RTX": 3, "V100": 1}
    only_gone = analyse('GPUs_DeviceName == "V100"', view)
    assert (only_gone.verdict, only_gone.gpus.seen) == ("blocked", 1)
    assert "gone" in only_gone.sentence
    never = analyse("GPUs_Capability > 9", view)
    assert (never.verdict, never.gpus.seen) == ("impossible", 0)


def test_what_a_clause_costs() -> None:
    """Alone, dropped alone, and loosened to the nearest value that gains."""
    pool = (UNIFORM, host("v", (V100,) * 3, Site='"A"'), host("w", (V100,), Site='"B"'))
    answer = ask('GPUs_Capability >= 7.5 && (Memory > 1024 && (Site == "A" || Site =!= "A"))', *pool)
    told = [(c.text, c.gpus, c.gained_if_dropped, c.next_value, c.gained_at_next) for c in answer.clauses]
    assert told == [
        ("GPUs_Capability >= 7.5", 2, 4, "7", 4),
        ("Memory > 1024", 6, 0, None, 0),
        ('(Site == "A" || Site =!= "A")', 6, 0, None, 0),
    ]
    assert [c.column for c in answer.clauses] == [1, 28, 45]
    both = ask('8.0 <= GPUs_Capability && Site == "B"', *pool)
    assert [(c.gained_if_dropped, c.next_value) for c in both.clauses] == [(1, "7"), (0, None)]


def test_the_next_looser_value_is_the_nearest_that_gains() -> None:
    """Values in between that gain nothing are passed over; a ceiling is loosened upward; a text before it doesn't confuse."""
    pool = [host(f"h{n}", (TITAN,), Speed=str(n), Site='"x"' if n in {3, 9} else '"y"') for n in range(1, 12)]
    (first, _) = ask('Speed >= 11 && Site == "x"', *pool).clauses
    assert (first.next_value, first.gained_at_next) == ("9", 1)
    (first, _) = ask('Speed < 2 && Site == "x"', *pool).clauses
    assert (first.next_value, first.gained_at_next) == ("4", 1)
    (only,) = ask("(1 + 20) > 20 ? (  20 <= Speed ) : false", *pool).clauses
    assert only.next_value == "11"


def test_the_ladder() -> None:
    """The same job at every capability of the pool, its own clauses on capability left out, per device on mixed hosts."""
    answer = ask("GPUs_Capability >= 9 && Memory > 1", MIXED, UNIFORM, OLD, SLICES)
    assert [(rung.rung, rung.gpus, rung.now) for rung in answer.ladder] == [
        ("any capability", 15, 13),
        ("Capability >= 7.0", 6, 4),
        ("Capability >= 7.5", 4, 3),
    ]
    assert ask("true", UNIFORM, request=Request(gpus=0)).ladder == ()


@pytest.mark.parametrize(
    ("rule", "expression", "pool", "words", "suggestion"),
    [
        ("legacy-attribute", "CUDACapability >= 6.0", (UNIFORM, OLD), "1 of 2", "gpus_minimum_capability = 6"),
        ("legacy-attribute", 'TARGET.CUDADeviceName == "V100"', (OLD,), "old name", 'require_gpus = DeviceName == "V100"'),
        ("mixed-hosts", "GPUs_Capability >= 7.5", (MIXED, UNIFORM), "mixed", "gpus_minimum_capability = 7.5"),
        ("mixed-hosts", 'GPUs_DeviceName == "V100"', (MIXED,), "mixed", 'require_gpus = DeviceName == "V100"'),
        ("mig-capability", "GPUs_Capability >= 7.5", (SLICES, UNIFORM), "7 MIG slices", "gpus_minimum_memory"),
        ("unknown-attribute", "HasFileTransfr", (UNIFORM,), "HasFileTransfr", "HasFileTransfer"),
        ("unknown-value", 'GPUs_DeviceName == "TITAN RTZ"', (UNIFORM,), "TITAN RTZ", '"TITAN RTX"'),
        ("nominal-memory", "GPUs_GlobalMemoryMb >= 24576", (MIXED,), "24000 MiB", "gpus_minimum_memory = 24000"),
    ],
)  # fmt: skip
def test_a_lint_fires(rule: str, expression: str, pool: tuple[str, ...], words: str, suggestion: str) -> None:
    """Each says what is wrong in this pool and what to write instead."""
    (lint,) = [lint for lint in ask(expression, *pool).lints if lint.rule == rule]
    assert words in lint.message
    assert suggestion in lint.suggestion


@pytest.mark.parametrize(
    ("expression", "pool"),
    [
        ("GPUs_Capability >= 7.5", (UNIFORM,)),
        ('GPUs_DeviceName == "titan rtx"', (UNIFORM,)),
        ("Memory > 1 && TARGET.HasFileTransfer && MY.Anything =!= 3", (MIXED, SLICES)),
        ("Memory > RequestMemory && time() > 0", (MIXED,)),
        ("GPUs_GlobalMemoryMb >= 8000", (UNIFORM, SLICES)),
    ],
)
def test_lints_keep_silent(expression: str, pool: tuple[str, ...]) -> None:
    """Nothing is said of an expression that means in this pool what it says."""
    assert ask(expression, *pool).lints == ()


def test_mentioning_gpus_drops_condor_submits_own_clause() -> None:
    """Then nothing asks for a device that satisfies require_gpus."""
    floor = picky("Capability >= 7.5")
    assert "drops-gpu-clause" in rules(ask("TARGET.GPUs > 1", UNIFORM, request=floor))
    assert "drops-gpu-clause" not in rules(ask("TARGET.GPUs > 1", UNIFORM))
    assert "drops-gpu-clause" not in rules(ask("RequestGPUs > 0", UNIFORM, request=floor))


def test_a_property_that_only_devices_have_is_not_unknown() -> None:
    """The mixed host's lint says it all."""
    assert rules(ask("GPUs_GlobalMemoryMb >= 8000", MIXED)) == {"mixed-hosts"}


def test_an_answer_has_a_budget() -> None:
    """Thousands of clauses are refused with their place; many values of an attribute cost few evaluations."""
    with pytest.raises(ExpressionError, match="clauses"):
        ask(" && ".join(["Memory > 1"] * (MOST_CLAUSES + 1)), UNIFORM)
    pool = PoolView.from_frames(frame(*(host(f"h{n}", (TITAN,), Speed=str(n)) for n in range(200))))
    began = time.process_time()
    (clause,) = analyse("Speed >= 1000", pool).clauses
    assert clause.next_value == "199"
    assert time.process_time() - began < 3


def test_a_comment_in_the_expression_changes_nothing() -> None:
    """What is added behind the expression is not swallowed by its comment."""
    answer = ask("GPUs_Capability >= 9 // newest only", UNIFORM)
    assert (answer.verdict, answer.clauses[0].text) == ("impossible", "GPUs_Capability >= 9")


def test_a_job_without_gpus_counts_machines() -> None:
    """The sentence is about machines then."""
    answer = ask("true", BARE, UNIFORM, request=Request(gpus=0))
    assert (answer.verdict, answer.machines) == ("free", ("bare", "uniform"))
    assert "2 machines match" in answer.sentence


@pytest.mark.parametrize("name", ["time()", "CurrentTime"])
def test_an_expression_is_judged_at_the_snapshots_own_time(name: str) -> None:
    """By the wall clock this machine would be long gone."""
    staying = host("staying", (TITAN,), GLIDEIN_ToDie=str(int(NOON.timestamp()) + 7200))
    assert ask(f"GLIDEIN_ToDie - {name} > 3600", staying).verdict == "free"
    assert ask(f"GLIDEIN_ToDie - {name} > 7300", staying).verdict == "impossible"
