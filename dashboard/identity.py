"""Who asks: told by a reverse proxy in a header, and believed only when the proxy itself is the peer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from flask import Request, g, has_request_context

from dashboard.settings import Trust
from sim.errors import InputError

Role = Literal["viewer", "runner", "admin"]
ROLES: tuple[str, ...] = get_args(Role)
LONGEST = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and what they may do; the name is empty where nobody logs in."""

    name: str = ""
    role: Role = "runner"

    @property
    def runs(self) -> bool:
        """May ask for runs and cancel their own."""
        return self.role in {"runner", "admin"}

    @property
    def cancels_as(self) -> str | None:
        """The owner whose runs they may cancel; None: anybody's."""
        return None if self.role == "admin" or not self.name else self.name


class Unauthenticated(Exception):  # noqa: N818 - an answer, not a fault
    """Nobody that the proxy vouches for."""


def identify(request: Request, trust: Trust) -> Identity:
    """The identity behind a request; Unauthenticated if the header is missing, or isn't the proxy's."""
    if trust.user_header is None:
        return Identity()
    if (request.remote_addr or "") not in trust.proxies:
        raise Unauthenticated
    name = request.headers.get(trust.user_header, "").strip()
    if not name or len(name) > LONGEST or not name.isprintable():
        raise Unauthenticated
    role = request.headers.get(trust.role_header, "viewer").strip().lower() if trust.role_header else "runner"
    # An unknown role may look, no more.
    return Identity(name, role if role in ROLES else "viewer")  # type: ignore[arg-type]


def current() -> Identity:
    """The identity of the request that is being answered; outside of one, that of the machine's own user."""
    return g.get("identity", Identity()) if has_request_context() else Identity()


def runner() -> Identity:
    """The current identity, which must be allowed to run.

    Raises
    ------
    InputError : a viewer
    """
    found = current()
    if not found.runs:
        raise InputError(
            f"{found.name} may look but not run or cancel: ask an administrator for the role runner"
        )
    return found
