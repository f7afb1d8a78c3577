"""Files that never change, compressed once: flask-compress would do it anew for every visitor."""

from __future__ import annotations

import gzip
import threading

import brotli  # type: ignore[import-untyped]  # comes with flask-compress
from dash import Dash
from flask import Response, request

SMALLEST = 500
TEXT = ("text/", "application/javascript", "application/json", "image/svg+xml")

Key = tuple[str, str, str]


def compress_static(app: Dash) -> None:
    """Answer for assets and component bundles with what was compressed before; the rest is left to flask-compress."""
    prefix = app.config.requests_pathname_prefix
    static = (f"{prefix}assets/", f"{prefix}_dash-component-suites/")
    held: dict[Key, bytes] = {}
    lock = threading.Lock()

    def compress(response: Response) -> Response:
        algorithm = choose(request.headers.get("Accept-Encoding", ""))
        if (
            algorithm is None
            or request.method != "GET"
            or response.status_code != 200
            or not request.path.startswith(static)
            or not (response.mimetype or "").startswith(TEXT)
        ):
            return response
        response.direct_passthrough = False
        body = response.get_data()
        response.close()  # the file; its content is in memory now
        if len(body) < SMALLEST:
            return response
        key = (request.path, str(response.last_modified or response.get_etag()[0] or len(body)), algorithm)
        with lock:
            if key not in held:
                held[key] = brotli.compress(body, quality=9) if algorithm == "br" else gzip.compress(body, 9)
        response.set_data(held[key])
        response.headers["Content-Encoding"] = algorithm
        response.vary.add("Accept-Encoding")
        etag, weak = response.get_etag()
        if etag and not weak:
            response.set_etag(f"{etag}:{algorithm}")
        response.make_conditional(request)
        return response

    app.server.after_request(compress)


def choose(accepted: str) -> str | None:
    """The best of the encodings that a client accepts.

    Examples
    --------
    >>> choose("gzip, deflate, br, zstd"), choose("gzip"), choose("identity"), choose("br;q=0, gzip;q=0.5")
    ('br', 'gzip', None, 'gzip')
    """
    offers = {}
    for part in accepted.lower().split(","):
        name, _, quality = part.strip().partition(";q=")
        offers[name] = quality.strip() not in {"0", "0.0", "0.00", "0.000"}
    return next((name for name in ("br", "gzip") if offers.get(name)), None)
