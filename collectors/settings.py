"""What the daemons are told, as far as the simulation needs it → frame "settings"."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd

from collectors.daemons import Daemons
from collectors.source import Moment, Reading
from sim.errors import SourceError
from sim.policy import MACROS
from sim.schema import conform, describe

REREAD_S = 3600.0  # a configuration changes by the day, not by the minute


class SettingsSource:
    """The configuration of negotiator, schedd and collector, and of one startd; read once an hour.

    The question is condor_config_val's, which a daemon answers to everybody who may READ.
    """

    name = "settings"

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons
        self._read_s = -REREAD_S

    def read(self, moment: Moment) -> Reading:
        """Ask each kind of daemon for its macros, the negotiator also for those of groups and limits."""
        rows: list[dict[str, Any]] = []
        errors: list[str] = []
        if time.monotonic() - self._read_s >= REREAD_S:
            for kind, names in MACROS.items():
                for daemon in self.daemons.locations(kind)[:1]:
                    try:
                        answers = self.daemons.settings(daemon, names, named=kind == "negotiator")
                    except SourceError as error:  # a glidein's startd may be out of reach, and stops nobody
                        errors.append(str(error))
                        continue
                    rows += [
                        {
                            "snapshot": moment.snapshot,
                            "seen_at": moment.at,
                            "daemon": kind,
                            "daemon_name": daemon.name,
                            "name": name,
                            "value": value,
                        }
                        for name, value in answers.items()
                    ]
            self._read_s = time.monotonic()
        frame = pd.DataFrame(rows, columns=[column.name for column in describe("settings")])
        return Reading({"settings": conform(frame, "settings")}, errors=errors)
