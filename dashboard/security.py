"""Headers of every answer: a content policy without unsafe-eval."""

from __future__ import annotations

from dash import Dash
from flask import Response

POLICY = (
    "default-src 'self'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


def protect(app: Dash) -> None:
    """Add the headers to every answer of `app`."""
    policies: list[str] = []

    def add(response: Response) -> Response:
        if not policies:
            # Not earlier: the script of page titles is known only once the first request has set the app up.
            hashes = " ".join(f"'{found.strip(chr(39))}'" for found in app.csp_hashes())
            policies.append(POLICY.format(hashes=hashes))
        response.headers["Content-Security-Policy"] = policies[0]
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    app.server.after_request(add)
