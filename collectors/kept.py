"""What a reading of slots made, kept for the next one: most slots say the same from round to round.

A machine whose ads all say what they said has the rows that it had, but for the time that it was heard of; and a text
that the store has is handed over by its key, because texts are nearly all that a large pool's reading weighs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sim.classads.columns import Columns
from sim.classads.keys import key_of
from sim.inventory import moments
from sim.schema import conform, empty

_BITS_64 = (1 << 64) - 1


@dataclass(frozen=True)
class Kept:
    """The rows that were made of a part of a pool.

    Parameters
    ----------
    snapshot, at : the reading that made them
    slots, devices : frames; texts of ads as keys
    said : what the ads of a machine said (`said_by`); a machine that isn't there is looked at anew
    """

    snapshot: str = ""
    at: pd.Timestamp = field(default_factory=lambda: pd.Timestamp(0, tz="UTC"))
    slots: pd.DataFrame = field(default_factory=lambda: empty("slots"))
    devices: pd.DataFrame = field(default_factory=lambda: empty("devices"))
    said: Mapping[str, int] = field(default_factory=dict)

    def unchanged(self, said: Mapping[str, int], at: pd.Timestamp) -> set[str]:
        """The machines whose rows are good for another moment, too, if their ads say this then."""
        same = {machine for machine, now in said.items() if self.said.get(machine) == now}
        retire = self.slots["to_retire_at"]  # what is free until then is prevented afterwards
        return same - set(self.slots["machine"][(retire > self.at) & (retire <= at)])

    def of(self, machines: set[str], heard_at: pd.Series, at: pd.Timestamp, snapshot: str) -> Kept:
        """The rows of these machines as those of another reading.

        heard_at : when slots were heard of, by their names
        """
        slots, devices = (one[one["machine"].isin(machines)] for one in (self.slots, self.devices))
        heard = heard_at.reindex(slots["name"]).array
        slots = slots.assign(snapshot=snapshot, seen_at=at, heard_at=heard)
        devices = devices.assign(snapshot=snapshot, seen_at=at)
        return Kept(snapshot, at, conform(slots, "slots"), conform(devices, "devices"))


class Texts:
    """Texts of ads on their way to the store.

    stored : the keys of those that it has
    """

    def __init__(self, stored: Iterable[str]) -> None:
        self._stored = frozenset(stored)
        self.keys: list[str] = []

    def shortened(self, texts: pa.Array) -> pa.Array:
        """These texts, the stored ones by their keys."""
        keys = [key_of(text) for text in texts.to_pylist()]
        self.keys += keys
        known = pa.array([key in self._stored for key in keys], pa.bool_())
        return pc.if_else(known, pa.array(keys, texts.type), texts)


def said_by(ads: Iterable[Columns], watched: frozenset[str]) -> dict[str, int]:
    """What the ads of each machine say but for what is volatile, as a number that changes if anything does.

    watched : attributes (in lower case) that count although they are volatile
    """
    found: dict[str, int] = {}
    for columns in ads:
        told = zip(columns.texts("Machine"), columns.digests(watched).tolist(), strict=True)
        for machine, digest in told:
            if machine is not None:
                found[machine] = (found.get(machine, 0) + digest) & _BITS_64
    return found


def heard_by(ads: Iterable[Columns]) -> pd.Series:
    """When slots were heard of, by their names."""
    parts = [pd.Series(moments(one, "LastHeardFrom"), index=one.texts("Name")) for one in ads]
    found = pd.concat(parts).dt.tz_localize("UTC") if parts else pd.Series(dtype="datetime64[us, UTC]")
    return found[~found.index.duplicated(keep="last")]
