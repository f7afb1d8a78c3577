"""The door: who may come in, what a request may look like, and the headers of every answer."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Collection
from typing import Any

from dash import Dash
from dash.exceptions import DashException
from flask import Response, g, request
from werkzeug.exceptions import HTTPException

from dashboard.identity import Unauthenticated, identify
from dashboard.settings import Trust

log = logging.getLogger("poolscope.security")

POLICY = (
    "default-src 'self'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
#: No request says more; a submit file or a scenario is far smaller [bytes].
LARGEST = 2 * 1024**2
#: What a monitor reads without logging in.
OPEN = ("healthz",)
_CALLBACK = "_dash-update-component"


def protect(app: Dash, trust: Trust | None = None) -> None:
    """Guard `app`: identity, shape and origin of requests, headers of answers."""
    trust = trust or Trust()
    prefix = app.config.routes_pathname_prefix
    app.server.config["MAX_CONTENT_LENGTH"] = LARGEST

    def guard() -> Response | None:
        path = request.path.removeprefix(prefix)
        if trust.user_header is None and not _is_own_name(request.host):
            # A foreign page whose name was made to point here must not read the pool through its visitor's browser.
            return _refuse(403, "poolscope answers to this machine's name only, since nobody logs in")
        if path in OPEN:
            return None
        try:
            g.identity = identify(request, trust)
        except Unauthenticated:
            return _refuse(401, f"no {trust.user_header} from the proxy: log in there")
        if request.method in {"POST", "PUT", "PATCH", "DELETE"}:
            if not _same_origin():
                return _refuse(403, "this request comes from another site")
            if path == _CALLBACK:
                return _check_callback(app.config.requests_pathname_prefix, app.callback_map)
        return None

    def tell(error: HTTPException) -> Response:
        return _refuse(error.code or 500, error.description or error.name)

    def unfit(error: DashException) -> Response:
        # What a page posts fits its callbacks; only a call that was made up gets here, or else the log says why.
        log.warning("a call that fits no callback: %s", error)
        return _refuse(400, "expected a call of one of the page's callbacks, with its outputs and inputs")

    app.server.before_request(guard)
    app.server.after_request(_headers(app))
    for code in (400, 404, 405, 413, 415):
        app.server.register_error_handler(code, tell)
    app.server.register_error_handler(DashException, unfit)


def _headers(app: Dash) -> Callable[[Response], Response]:
    """What adds the headers to an answer."""
    prefix = app.config.routes_pathname_prefix
    policies: list[str] = []

    def add(response: Response) -> Response:
        if not policies:
            # Not earlier: the script of page titles is known only once the first request has set the app up.
            hashes = " ".join(f"'{found.strip(chr(39))}'" for found in app.csp_hashes())
            policies.append(POLICY.format(hashes=hashes))
        # A report brings its own scripts and is shut in by its own policy.
        own = response.headers.pop("X-Own-Policy", None)
        response.headers["Content-Security-Policy"] = own or policies[0]
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        if request.path.startswith((f"{prefix}api/", f"{prefix}reports/", f"{prefix}_dash-update")):
            response.headers["Cache-Control"] = "no-store"
        return response

    return add


def _refuse(code: int, sentence: str) -> Response:
    return Response(f"{sentence}\n", status=code, mimetype="text/plain")


def _is_own_name(host: str) -> bool:
    """Whether a Host header is an address or a name that only this machine has.

    An address in it can't be a foreign site's: the browser's page is then of that very address.

    Examples
    --------
    >>> _is_own_name("127.0.0.1:8050"), _is_own_name("[::1]:8050"), _is_own_name("localhost"), _is_own_name("evil.example")
    (True, True, True, False)
    """
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin() -> bool:
    """Whether the browser says that a page of ours asks; a script that is no browser says nothing."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.host


def _check_callback(prefix: str, known: Collection[str]) -> Response | None:
    """Refuse what is no call of a callback; Dash would answer with a fault."""
    if not request.is_json:
        return _refuse(415, "expected application/json")
    asked: Any = request.get_json(silent=True)
    good = (
        isinstance(asked, dict)
        and isinstance(asked.get("output"), str)
        and asked["output"] in known
        and _fit(asked["output"], asked.get("outputs"))
        and isinstance(asked.get("inputs", []), list)
        and isinstance(asked.get("state", []), list)
        and isinstance(asked.get("changedPropIds", []), list)
        and all(_is_part(part, prefix) for part in [*asked.get("inputs", []), *asked.get("state", [])])
    )
    return None if good else _refuse(400, "expected a call of one of the page's callbacks")


def _fit(output: str, outputs: object) -> bool:
    """Whether outputs are those of the callback of this name.

    Examples
    --------
    >>> _fit("a.value", {"id": "a", "property": "value"}), _fit("..a.value..", [{"id": "a", "property": "value"}])
    (True, True)
    >>> _fit("a.value", {"id": "a", "property": "style"}), _fit("a.value", []), _fit("..a.value..", None)
    (False, False, False)
    """
    many = output.startswith("..")
    names = output.strip(".").split("...") if many else [output]
    places = outputs if many else [outputs]
    return (
        isinstance(places, list)
        and len(places) == len(names)
        and all(_is_place(name, place) for name, place in zip(names, places, strict=True))
    )


def _is_place(name: str, place: object) -> bool:
    if name.startswith("{"):  # a pattern stands for components whose ids only the page knows
        return isinstance(place, dict | list)
    if not isinstance(place, dict):
        return False
    said = f"{place.get('id')}.{place.get('property')}"
    return name in {said, f"{said}{name[len(name.partition('@')[0]) :]}"}


def _is_part(part: object, prefix: str) -> bool:
    parts = part if isinstance(part, list) else [part]
    return all(
        isinstance(one, dict) and "id" in one and "property" in one and _is_address(one, prefix)
        for one in parts
    )


def _is_address(part: dict[str, Any], prefix: str) -> bool:
    """Whether what Dash's own router reads is a text, and a path is one of ours."""
    value = part.get("value")
    if part["property"] not in {"pathname", "search", "href"}:
        return True
    return isinstance(value, str) and (
        part["property"] != "pathname" or value.startswith(prefix.rstrip("/") or "/")
    )
