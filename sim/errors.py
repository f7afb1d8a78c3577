"""The errors a user can meet, one tree.

PoolscopeError                  exit code
├── InputError                      2       something typed or a file is wrong
│   ├── ExpressionError                     a ClassAd expression, with the column
│   ├── ScenarioError                       a scenario file: every mistake at once
│   └── FrameError                          a table lacks a column or holds a wrong type
├── StoreError                      2       the store can't be read or written
└── SourceError                     3       a daemon or server can't be reached

A message is one sentence: where, what was found, what was expected, what to do.
"""

from __future__ import annotations


class PoolscopeError(Exception):
    """Anything a user can mend; its text is shown as it is, without a traceback."""

    exit_code = 1


class InputError(PoolscopeError):
    """Wrong input: a value, a file, an option."""

    exit_code = 2


class ExpressionError(InputError):
    """A text that isn't one whole ClassAd expression.

    Parameters
    ----------
    reason : what is wrong and what was expected, without the place
    column : where, counted from 1 [1]
    text : the expression as typed
    """

    def __init__(self, reason: str, *, column: int, text: str) -> None:
        super().__init__(f"column {column}: {reason}")
        self.reason = reason
        self.column = column
        self.text = text


class ScenarioError(InputError):
    """A scenario file with one or more mistakes, all of them listed in the message."""


class FrameError(InputError):
    """A table that isn't what its schema says."""


class StoreError(PoolscopeError):
    """A store that can't be read or written."""

    exit_code = 2


class SourceError(PoolscopeError):
    """A daemon or server that can't be reached or refuses."""

    exit_code = 3
