"""What a source of data is: one method that reads, and says what it read.

A live source asks a daemon, a recorded one reads files; both hand over the same frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pandas as pd


@dataclass(frozen=True)
class Moment:
    """The round of collecting that a reading belongs to: when it was (UTC) and the id of its snapshot.

    `cursor` is what this source's last stored reading gave to go on from, None at first. `whole` asks for all texts of
    ads, also those that the store has: they are changed before they are stored.
    """

    at: pd.Timestamp
    snapshot: str
    cursor: Any = None
    whole: bool = False


@dataclass(frozen=True)
class Reading:
    """Frames by name, how many ads were left out by reason, and what could not be read although the rest could.

    `cursor`, of plain values, is handed to the next reading once this one is stored. `gaps` counts what is known to be
    missing by kind: cycles that came and went between two rounds, records that a history had dropped.
    """

    frames: Mapping[str, pd.DataFrame]
    rejects: Mapping[str, int] = field(default_factory=dict)
    errors: Sequence[str] = ()
    cursor: Any = None
    gaps: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of all frames together."""
        return sum(len(frame) for frame in self.frames.values())


class Source(Protocol):
    """Something that can be read: live or recorded."""

    name: str

    def read(self, moment: Moment) -> Reading:
        """Read what there is now.

        Raises
        ------
        SourceError : the daemon or server can't be reached
        InputError : what was read is not what it should be
        """
        ...
