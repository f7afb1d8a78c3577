"""The application for a server of one's own: `gunicorn -k gthread -w 2 --threads 8 dashboard.wsgi:server`.

Everything is told by the environment, as for `poolscope serve`: POOLSCOPE_DATA, POOLSCOPE_RUNS, POOLSCOPE_REPORTS,
POOLSCOPE_USER_HEADER, POOLSCOPE_ROLE_HEADER, POOLSCOPE_TRUSTED_PROXY, POOLSCOPE_PREFIX. Workers are processes of their own.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import replace
from pathlib import Path

from dashboard.app import create_app, follow
from dashboard.commands.options import data_to_read
from dashboard.commands.serve import settings_for
from dashboard.data import Data
from dashboard.runs import Runs
from dashboard.settings import Trust
from sim.store import Store
from sim.sweep import model_version


def trust() -> Trust:
    """Whom the environment says to believe."""
    proxies = tuple(
        word.strip() for word in os.environ.get("POOLSCOPE_TRUSTED_PROXY", "127.0.0.1,::1").split(",")
    )
    return Trust(
        user_header=os.environ.get("POOLSCOPE_USER_HEADER") or None,
        role_header=os.environ.get("POOLSCOPE_ROLE_HEADER") or None,
        proxies=(*proxies, ""),
    )


_store = data_to_read(None)
_settings = replace(settings_for(_store), trust=trust(), prefix=os.environ.get("POOLSCOPE_PREFIX", "/"))
_data = Data(Store(_store), _settings)
app = create_app(_data, _settings, Runs(Path(_settings.runs), model=model_version()))
server = app.server
atexit.register(follow(app, _data))
