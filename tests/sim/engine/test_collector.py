"""Few states of slots are looked through, many are compared as columns: both find the same in the same order."""

from __future__ import annotations

import random

import pytest

from sim.classads.request import Request
from sim.engine import collector
from tests.sim.engine.made import Made, slot_text

MODELS = (("V100", 7.0), ("TITAN RTX", 7.5), ("A100", 8.0))
RANKS = ("0.0", "0.0", "10 * (TARGET.RequestCpus > 1)", "3.0")
STARTS = ("true", "true", "time() % 200 < 150", "TARGET.RequestCpus <= MY.Cpus / 2")
ORDERS = ("", "Rank = TARGET.Memory", "Rank = GPUs_Capability")


def drawn(draw: random.Random, *, first_match_only: bool) -> Made:
    """Machines of many kinds and jobs that are choosy about them in every way."""
    policy = {"one_match_per_slot": first_match_only, "claim_leftovers": draw.random() < 0.5}
    made = Made(**policy)
    for place in range(12):
        devices = [draw.choice(MODELS) for _ in range(draw.randint(0, 4))]
        cpus, memory = draw.randint(1, 16), draw.choice([2048, 4096, 65536])
        rank, start = draw.choice(RANKS), draw.choice(STARTS)
        text = slot_text(cpus=cpus, memory=memory, devices=devices, rank=rank, start=start)
        made.machine(f"m{place}", text, up=draw.choice([0, 0, 300]), down=draw.choice([float("inf"), 1500]))
    for _ in range(10):
        gpus = draw.randint(0, 2)
        device = draw.choice(["", "Capability >= 7.5", 'DeviceName == "V100"']) if gpus else ""
        request = Request(gpus, draw.randint(1, 6), draw.choice([512, 2048]), device)
        at, run, extra = draw.uniform(0, 1500), draw.uniform(0, 900), draw.choice(ORDERS)
        made.jobs(draw.choice("abc"), draw.randint(1, 7), at=at, run=run, request=request, extra=extra)
    return made.ghost("probe", 400, request=Request(1, 1, 128))


@pytest.mark.parametrize("seed", range(12))
def test_columns_find_what_looking_through_finds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts, cycles and probes are the same, however many states are called many."""
    found = []
    for many in (1, 10_000):
        monkeypatch.setattr(collector, "MANY", many)
        told = drawn(random.Random(seed), first_match_only=seed % 4 > 0).run(until=4000, seed=seed).recorder
        attempts = [(row.job.row, row.claim.machine.name, *row[2:6], *row[7:]) for row in told.attempts]
        cycles = [(began, cycle.matched, cycle.rejected, cycle.by_submitter) for began, cycle in told.cycles]
        found.append((attempts, cycles, told.probes))
    assert len(found[0][0]) > 10
    assert repr(found[0]) == repr(found[1])
