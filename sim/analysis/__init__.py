"""What a job costs in a pool: verdict, counts, clauses, ladders, and what to write instead."""

from sim.analysis.analyse import analyse
from sim.analysis.answer import Ahead, Answer, Clause, Counts, Lint, Pair, Rewrite, Rung
from sim.analysis.pool import PoolView
from sim.analysis.queue import Queue
from sim.analysis.waiting import Waiting, analyse_queue
from sim.classads.request import Request

__all__ = [
    "Ahead", "Answer", "Clause", "Counts", "Lint", "Pair", "PoolView", "Queue", "Request", "Rewrite", "Rung", "Waiting",
    "analyse", "analyse_queue",
]  # fmt: skip
