"""What a requirements expression costs: verdict, counts, clauses, ladder, and what to write instead."""

from sim.analysis.analyse import analyse
from sim.analysis.answer import Answer, Clause, Counts, Lint, Rung
from sim.analysis.pool import PoolView
from sim.classads.request import Request

__all__ = ["Answer", "Clause", "Counts", "Lint", "PoolView", "Request", "Rung", "analyse"]
