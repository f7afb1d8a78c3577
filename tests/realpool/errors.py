"""What can go wrong with the real pool.

::

    RealPoolError
    ├── NoPoolError      this machine can't have one; the text says why, in a sentence
    ├── PoolError        a daemon or a tool didn't do what it should
    └── TreeInUseError   a folder isn't deleted, because something still runs or is mounted in it
"""


class RealPoolError(Exception):
    """Any failure of the real pool."""


class NoPoolError(RealPoolError):
    """This machine can't have a pool; the text says why, in a sentence."""


class PoolError(RealPoolError):
    """A daemon or a tool of a running pool didn't do what it should."""


class TreeInUseError(RealPoolError):
    """A folder isn't deleted, because something still runs or is mounted in it."""
