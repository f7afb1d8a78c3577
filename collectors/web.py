"""Reading over HTTP: bounded in size and time, through the site's proxy, every failure one sentence."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests

import sim
from sim.errors import InputError, SourceError

TIMEOUT_S = (5.0, 10.0)  # to connect and between two pieces, as CVMFS's own through a proxy and direct
DEADLINE_S = 60.0
MOST_REDIRECTS = 5
_PIECE = 1 << 16


@dataclass(frozen=True)
class Answer:
    """What a server answered: status, headers (names in any case), content, the address that answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    url: str


@dataclass
class Web:
    """A client of HTTP servers.

    proxy : address of a proxy for everything; without it, the environment's http_proxy and no_proxy count
    deadline_s : for a whole answer
    """

    proxy: str | None = None
    deadline_s: float = DEADLINE_S
    _session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self._session.headers["User-Agent"] = f"poolscope/{sim.__version__}"
        self._session.max_redirects = MOST_REDIRECTS
        if self.proxy:
            self._session.proxies = {"http": self.proxy, "https": self.proxy}

    def get(
        self,
        url: str,
        *,
        most: int,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        parameters: Mapping[str, str] | None = None,
    ) -> Answer:
        """What a server answers, whatever the status.

        most : bytes of content at most

        Raises
        ------
        InputError : no HTTP address
        SourceError : no answer, too long or too large a one, or too many redirects
        """
        check_url(url)
        began = time.monotonic()
        try:
            with self._session.request(
                method, url, headers=dict(headers or {}), params=parameters, timeout=TIMEOUT_S, stream=True
            ) as told:
                declared = told.headers.get("Content-Length", "")
                if method != "HEAD" and declared.isdigit() and int(declared[:20]) > most:
                    raise SourceError(f"{url}: the answer is longer than {most:,} bytes; not read")
                parts, size = [], 0
                for part in told.iter_content(_PIECE):
                    parts.append(part)
                    size += len(part)
                    if size > most:
                        raise SourceError(f"{url}: the answer is longer than {most:,} bytes; not read")
                    if time.monotonic() - began > self.deadline_s:
                        raise SourceError(f"{url}: no whole answer within {self.deadline_s:g} s")
                return Answer(told.status_code, told.headers, b"".join(parts), told.url)
        except requests.TooManyRedirects as error:
            raise SourceError(f"{url}: more than {MOST_REDIRECTS} redirects") from error
        except requests.exceptions.InvalidSchema as error:
            raise SourceError(f"{url}: redirects to something that isn't on the web; not followed") from error
        except requests.Timeout as error:
            raise SourceError(f"{url}: no answer within {TIMEOUT_S[1]:g} s") from error
        except (requests.RequestException, OSError) as error:
            raise SourceError(f"{url}: {_reason(error)}") from error


def check_url(url: str) -> None:
    """Refuse what isn't an http or https address with a host; InputError says what is expected."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or any(ord(character) < 33 for character in url):
        raise InputError(
            f"{url[:200]!r} is no address: expected one such as http://server.example:8000/cvmfs/repository.example.org"
        )


def _reason(error: Any) -> str:
    """What went wrong, without the names of classes and objects."""
    inner: Any = error
    while inner.__cause__ is not None or inner.__context__ is not None:
        inner = inner.__cause__ or inner.__context__
    text = getattr(inner, "strerror", None) or type(inner).__name__
    if "IncompleteRead" in type(inner).__name__:
        return "the connection broke in the middle of the answer"
    if "NameResolution" in text or "gaierror" in type(inner).__name__:
        return "the server's name is unknown"
    return str(text)[:200]
