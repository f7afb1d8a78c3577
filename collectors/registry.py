"""Container registries through the OCI distribution API: manifests, layers, tags, and how many pulls are left.

Reading a manifest counts as a pull at Docker Hub, asking for its digest alone (HEAD) doesn't, so the latter is preferred.
Nothing is ever pushed.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from collectors.web import Answer, Web, check_url
from sim.delivery.images import MissingImageError
from sim.delivery.synclist import HUB, Reference, image_identity
from sim.errors import InputError, SourceError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = ", ".join((INDEX, DOCKER_LIST, MANIFEST, DOCKER_MANIFEST))
MOST_MANIFEST = 4 << 20  # what registries themselves allow
MOST_PAGES = 200
MOST_INDEXES = 3  # one in another
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_LIMIT = re.compile(r"(\d+)(?:;w=(\d+))?")
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


class BusyError(SourceError):
    """A registry that wants to be left alone for a while.

    retry_after_s : how long [s]; NaN if it doesn't say
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class PullLimit:
    """How many pulls a registry allows per window [s] to this address, and how many are left."""

    most: int
    left: int
    window_s: float


@dataclass(frozen=True)
class RegistryImage:
    """An image of one platform in a registry.

    digest : of what the tag points to: an index, or the manifest itself
    platforms : of the index, os/architecture[/variant]; the image's own alone where there is none
    layers : digests, lowest first
    bytes : of the compressed layers; None where the manifest doesn't tell (schema 1)
    """

    reference: Reference
    digest: str
    manifest_digest: str
    platforms: tuple[str, ...]
    layers: tuple[str, ...]
    bytes: int | None
    limit: PullLimit | None

    @property
    def identity(self) -> str:
        """The hash under which cvmfs-singularity-sync publishes it."""
        return image_identity(self.layers, self.manifest_digest)


@dataclass
class Registry:
    """A registry, by the name that stands before the first slash of an image's name; loopback ones without TLS."""

    name: str
    web: Web = field(default_factory=Web)
    _tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        host = "registry-1.docker.io" if self.name == HUB else self.name
        self.url = f"{'http' if _loopback(host) else 'https'}://{host}/v2/"
        check_url(self.url)

    def digest(self, image: Reference) -> str | None:
        """The digest that a tag points to, without a pull; None where there is no such tag."""
        answer = self._ask(image, f"manifests/{image.digest or image.tag}", method="HEAD")
        if answer.status == 404:
            return None
        told = _header(answer, "Docker-Content-Digest")
        _expect(answer, self.name)
        return told or None

    def image(self, image: Reference, platform: str = "linux/amd64") -> RegistryImage:
        """The manifest of a tag or digest, for one platform of an index.

        Raises
        ------
        InputError : no such image or platform, or not what its digest says
        BusyError : too many requests
        SourceError : the registry can't be reached, wants a user, or fails
        """
        if image.wildcard:
            raise InputError(f"{image}: a tag with * stands for several images; name one of them")
        manifest, digest, limit = self._manifest(image, image.digest or image.tag)
        own, platforms = digest, [platform]
        for _ in range(MOST_INDEXES):
            if "manifests" not in manifest:
                break
            entries = [
                entry for entry in _list(manifest, "manifests") if _platform(entry) != "unknown/unknown"
            ]
            platforms = [_platform(entry) for entry in entries]
            chosen = _chosen(entries, platform)
            if chosen is None:
                raise InputError(f"{image} has no {platform} image, only {', '.join(platforms) or 'none'}")
            manifest, own, _ = self._manifest(image, str(chosen.get("digest")))
        layers, sizes = _layers(manifest)
        if layers is None:
            raise InputError(f"{image}: what the registry has there is no image (a manifest without layers)")
        return RegistryImage(image, digest, own, tuple(platforms), layers, sizes, limit)

    def tags(self, image: Reference) -> list[str]:
        """All tags of an image's repository, over as many pages as there are."""
        path, found, seen = "tags/list?n=1000", [], set[str]()
        while path not in seen and len(seen) < MOST_PAGES:
            seen.add(path)
            answer = self._ask(image, path)
            if answer.status == 404:
                raise InputError(f"{self.name} has no repository {image.path!r}")
            _expect(answer, self.name)
            found += [str(tag) for tag in _parsed(answer, self.name).get("tags") or []]
            more = _NEXT.search(_header(answer, "Link"))
            if more is None:
                return found
            following = urljoin(answer.url, more[1])
            prefix = f"{self.url}{image.path}/"
            if not following.startswith(prefix):
                raise SourceError(f"{self.name}: the next page of tags lies elsewhere ({following[:200]})")
            path = following.removeprefix(prefix)
        raise SourceError(
            f"{self.name}: the pages of tags for {image.path} never end (stopped after {len(seen)})"
        )

    def _manifest(self, image: Reference, which: str) -> tuple[dict[str, Any], str, PullLimit | None]:
        answer = self._ask(image, f"manifests/{which}", accept=ACCEPT)
        if answer.status == 404:
            raise MissingImageError(f"{self.name} has no image {image} (404)")
        _expect(answer, self.name)
        digest = "sha256:" + hashlib.sha256(answer.content).hexdigest()
        told = which if which.startswith("sha256:") else _header(answer, "Docker-Content-Digest")
        if told.startswith("sha256:") and told != digest:
            raise InputError(f"{image}: the manifest isn't what its digest {told[:19]}… says; refused")
        return _parsed(answer, self.name), digest, _limit(answer)

    def _ask(self, image: Reference, what: str, *, method: str = "GET", accept: str = ACCEPT) -> Answer:
        """Ask, with a token if the registry wants one."""
        headers = {"Accept": accept}
        if image.path in self._tokens:
            headers["Authorization"] = f"Bearer {self._tokens[image.path]}"
        url = f"{self.url}{image.path}/{what}"
        answer = self.web.get(url, most=MOST_MANIFEST, headers=headers, method=method)
        if answer.status == 401:
            self._tokens[image.path] = self._token(image, _header(answer, "WWW-Authenticate"))
            headers["Authorization"] = f"Bearer {self._tokens[image.path]}"
            answer = self.web.get(url, most=MOST_MANIFEST, headers=headers, method=method)
        if answer.status == 429:
            raise _busy(answer, self.name)
        return answer

    def _token(self, image: Reference, challenge: str) -> str:
        """An anonymous token for reading, from where the registry says."""
        kind, _, rest = challenge.partition(" ")
        told = dict(_CHALLENGE.findall(rest))
        if kind.lower() != "bearer" or "realm" not in told:
            raise SourceError(f"{self.name} wants a user for {image.path}; only public images can be read")
        asked = {"scope": told.get("scope") or f"repository:{image.path}:pull"}
        if "service" in told:
            asked["service"] = told["service"]
        try:
            answer = self.web.get(told["realm"], most=MOST_MANIFEST, parameters=asked)
        except InputError as error:
            raise SourceError(f"{self.name} names no address for its tokens ({error})") from error
        if answer.status == 429:
            raise _busy(answer, self.name)
        content = _parsed(answer, self.name) if answer.status == 200 else {}
        token = content.get("token") or content.get("access_token")
        if not isinstance(token, str) or not token or not token.isprintable():
            raise SourceError(
                f"{self.name} gives no token for {image.path} (its token server answers {answer.status})"
            )
        return token


def _busy(answer: Answer, name: str) -> BusyError:
    told = _header(answer, "Retry-After").strip()
    wait = float(told) if re.fullmatch(r"\d{1,7}", told) else _until(told)
    limit = _limit(answer)
    left = f", {limit.left} of {limit.most} pulls left" if limit else ""
    after = "later" if wait != wait else f"in {wait:.0f} s"  # noqa: PLR0124  NaN
    return BusyError(f"{name}: too many requests (429{left}); try again {after}", wait)


def _until(date: str) -> float:
    """How long until an HTTP date [s]; NaN where it is none."""
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (TypeError, ValueError):
        return float("nan")


def _limit(answer: Answer) -> PullLimit | None:
    most, left = (_LIMIT.match(_header(answer, f"RateLimit-{part}")) for part in ("Limit", "Remaining"))
    if most is None or left is None:
        return None
    return PullLimit(int(most[1]), int(left[1]), float(most[2] or left[2] or 21600))


def _header(answer: Answer, name: str) -> str:
    return str(answer.headers.get(name) or "")


def _expect(answer: Answer, name: str) -> None:
    if answer.status in {401, 403}:
        raise SourceError(
            f"{name} refuses to show this image ({answer.status}); only public images can be read"
        )
    if answer.status != 200:
        raise SourceError(f"{name}: the registry answers {answer.status}")


def _parsed(answer: Answer, name: str) -> dict[str, Any]:
    try:
        told = json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{name}: what it answers is no JSON; is it a registry?") from error
    if not isinstance(told, dict):
        raise SourceError(f"{name}: what it answers is no manifest")
    return told


def _list(manifest: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    held = manifest.get(name)
    return [entry for entry in held if isinstance(entry, dict)] if isinstance(held, list) else []


def _chosen(entries: list[dict[str, Any]], platform: str) -> dict[str, Any] | None:
    """The entry of a platform, else of a variant of it; None where there is none."""
    variants = [entry for entry in entries if _platform(entry).startswith(f"{platform}/")]
    exact = [entry for entry in entries if _platform(entry) == platform]
    return next(iter(exact + variants), None)


def _layers(manifest: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, int | None]:
    """An image's layers and their bytes; schema 1 tells no sizes, and the top layer first, which is how they are hashed."""
    if "layers" in manifest:
        layers = _list(manifest, "layers")
        return tuple(str(layer.get("digest")) for layer in layers), sum(_size(layer) for layer in layers)
    if "fsLayers" in manifest:
        return tuple(str(layer.get("blobSum")) for layer in _list(manifest, "fsLayers")), None
    return None, None


def _size(layer: Mapping[str, Any]) -> int:
    size = layer.get("size")
    return size if isinstance(size, int) and size >= 0 else 0


def _platform(entry: Mapping[str, Any]) -> str:
    told = entry.get("platform")
    told = told if isinstance(told, dict) else {}
    parts = [told.get("os") or "unknown", told.get("architecture") or "unknown", told.get("variant")]
    return "/".join(str(part) for part in parts if part)


def _loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
