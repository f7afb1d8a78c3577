"""A pool as an expression sees it: the machines of the last snapshot, and those of a window."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from sim.analysis.fleet import Fleet
from sim.analysis.machines import DeviceView, MachineView, views_of

__all__ = ["DeviceView", "MachineView", "PoolView"]


@dataclass(frozen=True)
class PoolView:
    """The machines of the last snapshot, and all that were seen in the window (None if only one snapshot is known)."""

    machines: tuple[MachineView, ...] = field(repr=False)
    seen: tuple[MachineView, ...] | None = field(repr=False)
    attributes: dict[str, str] = field(repr=False)
    seen_at: pd.Timestamp | None = None
    _fleets: dict[tuple[str, bool], Fleet] = field(default_factory=dict, repr=False, compare=False)
    _keys: dict[tuple[str, str], int] = field(default_factory=dict, repr=False, compare=False)

    def fleet(self, *, apart: bool = False) -> Fleet:
        """The machines of the last snapshot side by side; `apart`: devices are told apart by their ids, too."""
        return self._fleet("now", self.machines, apart)

    def seen_fleet(self, *, apart: bool = False) -> Fleet | None:
        """The machines of the window side by side."""
        return None if self.seen is None else self._fleet("seen", self.seen, apart)

    def _fleet(self, which: str, views: tuple[MachineView, ...], apart: bool) -> Fleet:
        if (which, apart) not in self._fleets:
            if (
                which == "now" and self.seen is not None
            ):  # both number their devices before anything is counted
                self._fleet("seen", self.seen, apart)
            fleet = Fleet(views, self._keys, apart=apart)
            fleet.prepare()
            self._fleets[which, apart] = fleet
        return self._fleets[which, apart]

    @classmethod
    def from_frames(cls, slots_now: pd.DataFrame, slots_window: pd.DataFrame | None = None) -> PoolView:
        """Build the view from frames "slots": one snapshot, and those of a window.

        A machine of the window is judged as it was when it was first seen: a glidein that retires later did take jobs.
        """
        views: dict[tuple[str, float], MachineView] = {}
        machines = tuple(views_of(slots_now, views))
        seen = None
        if slots_window is not None:
            whole = slots_window[slots_window["slot_type"].isin(["partitionable", "static"])]
            seen = tuple(views_of(whole.sort_values("seen_at").drop_duplicates("name", keep="first"), views))
        attributes = {name.lower(): name for view in (*machines, *(seen or ())) for name in view.now}
        return cls(machines, seen, attributes, None if slots_now.empty else slots_now["seen_at"].max())
