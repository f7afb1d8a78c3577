"""The pool as a model: language, frames, workload, engine, statistics, store."""

__version__ = "0.1.0"
