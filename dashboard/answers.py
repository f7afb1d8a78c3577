"""Answers that are ready: what a callback said is kept as it went out, until the data it stands on change.

Most of what a page costs is building and writing its figures, which are the same for everybody who looks at the same
snapshot. So a callback whose answer depends on nothing but what was posted, the snapshot and the run table is answered from
memory, compressed already.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection

from dash import Dash
from flask import Response, g, request

#: All kept answers together, compressed; the one that was not asked for longest goes first [bytes].
ROOM = 32 * 1024**2
#: An answer that is larger than this is not kept [bytes].
LARGEST = 2 * 1024**2


class Kept:
    """Compressed answers by key, the latest used last."""

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self.size = 0
        self._held: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> bytes | None:
        """The answer of this key."""
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
            return found

    def put(self, key: bytes, answer: bytes) -> None:
        """Keep an answer; the oldest go to make room."""
        with self._lock:
            self.size += len(answer) - len(self._held.pop(key, b""))
            self._held[key] = answer
            while self.size > self.room:
                self.size -= len(self._held.popitem(last=False)[1])


def keep_ready(app: Dash, steady: Collection[str], mark: Callable[[], str], *, room: int = ROOM) -> Kept:
    """Answer the callbacks whose first output is one of `steady` from memory; give what is kept.

    To be called after `security.protect`: nobody is answered who may not come in.

    Parameters
    ----------
    steady : first outputs, as id.property, of callbacks that depend on what is posted and on `mark` alone: not on who asks,
        not on the time
    mark : names the state of the data
    """
    kept = Kept(room)
    path = f"{app.config.routes_pathname_prefix}_dash-update-component"

    def answer() -> Response | None:
        if request.path != path or request.method != "POST":
            return None
        output = str((request.get_json(silent=True) or {}).get("output", ""))
        if output.lstrip(".").partition("...")[0] not in steady:
            return None
        g.ready_key = hashlib.sha256(mark().encode() + b"\n" + request.get_data()).digest()
        found = kept.get(g.ready_key)
        return None if found is None else _response(found)

    def keep(response: Response) -> Response:
        key = g.pop("ready_key", None)
        if key is None or response.status_code != 200 or response.headers.get("Content-Encoding"):
            return response
        body = response.get_data()
        # What was set beside the outputs is a sentence about a fault; the next time there may be none.
        if len(body) <= LARGEST and b'"sideUpdate"' not in body:
            kept.put(key, gzip.compress(body, 6, mtime=0))
        return response

    app.server.before_request(answer)
    app.server.after_request(keep)
    return kept


def _response(compressed: bytes) -> Response:
    if request.accept_encodings.quality("gzip") > 0:
        made = Response(compressed, mimetype="application/json")
        made.headers["Content-Encoding"] = "gzip"
    else:
        made = Response(gzip.decompress(compressed), mimetype="application/json")
    made.vary.add("Accept-Encoding")
    return made
