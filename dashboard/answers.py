"""Answers that are ready: what a callback said is kept as it went out, until the data it stands on change.

Most of what a page costs is building and writing its figures, which are the same for everybody who looks at the same
snapshot. So a callback whose answer depends on nothing but what was posted, the snapshot and the run table is answered from
memory, compressed already.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping

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
        asked = request.get_json(silent=True) or {}
        if first_output(str(asked.get("output", ""))) not in steady:
            return None
        # Which of its inputs changed doesn't matter to such a callback.
        told = json.dumps([_bare(asked.get(part)) for part in ("output", "outputs", "inputs", "state")])
        g.ready_key = hashlib.sha256(f"{mark()}\n{told}".encode()).digest()
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


def _bare(part: object) -> object:
    """A part of a call without what it has no value of, which one browser leaves out and another writes as null."""
    if isinstance(part, list):
        return [_bare(each) for each in part]
    if isinstance(part, dict):
        return {name: value for name, value in part.items() if value is not None}
    return part or []


def make_ready(
    app: Dash, welcome: Mapping[str, Mapping[str, object]], headers: Mapping[str, str], peer: str
) -> None:
    """Ask for what a page asks for when it is opened, so that its first visitor is answered from memory.

    Parameters
    ----------
    welcome : by first output the values of its inputs and states, by id.property
    headers, peer : who asks, so that it may
    """
    client = app.server.test_client()
    for name, held in app.callback_map.items():
        values = welcome.get(first_output(name))
        if values is None:
            continue
        places = [
            dict(zip(("id", "property"), each.rsplit(".", 1), strict=True))
            for each in name.strip(".").split("...")
        ]
        parts = {kind: [_with_value(part, values) for part in held[kind]] for kind in ("inputs", "state")}
        body = {
            "output": name,
            "outputs": places if name.startswith("..") else places[0],
            **parts,
            "changedPropIds": [],
        }
        client.post(
            f"{app.config.routes_pathname_prefix}_dash-update-component",
            json=body, headers=dict(headers), environ_base={"REMOTE_ADDR": peer},
        )  # fmt: skip


def _with_value(part: Mapping[str, str], values: Mapping[str, object]) -> dict[str, object]:
    """A part of a call as the browser writes it: without a value that there is none of."""
    value = values.get(f"{part['id']}.{part['property']}")
    return {"id": part["id"], "property": part["property"], **({} if value is None else {"value": value})}


def first_output(name: str) -> str:
    """The first output of a callback, as id.property."""
    return name.lstrip(".").partition("...")[0]


def _response(compressed: bytes) -> Response:
    if request.accept_encodings.quality("gzip") > 0:
        made = Response(compressed, mimetype="application/json")
        made.headers["Content-Encoding"] = "gzip"
    else:
        made = Response(gzip.decompress(compressed), mimetype="application/json")
    made.vary.add("Accept-Encoding")
    return made
