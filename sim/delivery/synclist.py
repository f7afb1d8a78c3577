"""The list of images that OSG unpacks into CVMFS, and what it says of an image that somebody pushed.

One image a line, `[REGISTRY/][NAMESPACE/]NAME[:TAG]`; a `*` in the tag is a shell glob over the registry's tags; `#` begins
a comment. A published image lies in `.images/` under a hash of its layers, its tag is a link to it.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sim.delivery.images import checked_name
from sim.errors import InputError

HUB = "docker.io"
HUB_TOO = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")  # other names of the same
_TAG = re.compile(r"[A-Za-z0-9_.*?\[\]-][A-Za-z0-9_.*?\[\]+-]{0,127}")


@dataclass(frozen=True, slots=True)
class Reference:
    """An image's name taken apart: registry (`docker.io` if none is named), path in it, tag (may hold `*` in a list), digest."""

    registry: str
    path: str
    tag: str = "latest"
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a name as Docker does: the first part is a registry if it holds a dot or a colon, or is localhost.

        Raises
        ------
        InputError : no name of an image

        Examples
        --------
        >>> Reference.parse("debian:12")
        Reference(registry='docker.io', path='library/debian', tag='12', digest='')
        >>> str(Reference.parse("docker://ghcr.io/me/tool"))
        'ghcr.io/me/tool:latest'
        """
        name, at, digest = checked_name(re.sub(r"^(docker|oras)://", "", text)).partition("@")
        if at and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise InputError(
                f"image name {text[:200]!r}: expected a digest such as sha256: and 64 digits after @"
            )
        first, slash, rest = name.partition("/")
        own = bool(slash) and ("." in first or ":" in first or first == "localhost")
        registry, path = (first.lower(), rest) if own else (HUB, name)
        registry = HUB if registry in HUB_TOO else registry
        path, colon, tag = path.partition(":")
        if not path or ":" in tag or (colon and not _TAG.fullmatch(tag)) or "*" in path:
            raise InputError(f"image name {text[:200]!r}: expected [registry/]namespace/name[:tag]")
        if path != path.lower():
            raise InputError(
                f"image name {text[:200]!r}: registries have names of small letters only, as in {path.lower()}"
            )
        if registry == HUB and "/" not in path:
            path = f"library/{path}"
        return cls(registry, path, tag or "latest", digest)

    def __str__(self) -> str:
        where = "" if self.registry == HUB else f"{self.registry}/"
        return f"{where}{self.path}" + (f"@{self.digest}" if self.digest else f":{self.tag}")

    @property
    def published_as(self) -> str:
        """Its name in the repository of unpacked images, which drops the registry."""
        return f"{self.path}:{self.tag}"

    @property
    def wildcard(self) -> bool:
        """Whether the tag is a pattern."""
        return "*" in self.tag

    def covers(self, other: Reference) -> bool:
        """Whether a list's line with this name publishes the other."""
        return (
            (self.registry, self.path) == (other.registry, other.path)
            and fnmatch.fnmatchcase(other.tag, self.tag)
        )  # fmt: skip


@dataclass(frozen=True)
class SyncList:
    """The lines of the list, and those that are no names (line number and what is wrong)."""

    references: tuple[Reference, ...]
    mistakes: tuple[tuple[int, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> SyncList:
        """Read a list; a line that is no name is noted and left out, as the sync does."""
        found, mistakes = [], []
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
            name = line.partition("#")[0].strip()
            if not name:
                continue
            try:
                found.append(Reference.parse(name))
            except InputError as error:
                mistakes.append((number, str(error)))
        return cls(tuple(found), tuple(mistakes))

    def position(self, image: Reference) -> int | None:
        """The place in the list of the line that publishes an image, from 0; None where none does."""
        return next((place for place, line in enumerate(self.references) if line.covers(image)), None)


def image_identity(layers: Sequence[str], manifest_digest: str = "") -> str:
    """The hash under which an image is published: SHA-256 over its layers' digests, else its manifest's own digest."""
    if not layers:
        return manifest_digest.rpartition(":")[2]
    return hashlib.sha256("".join(layer.rpartition(":")[2] for layer in layers).encode()).hexdigest()


def published_path(identity: str) -> str:
    """Where the image of an identity lies in the repository.

    Examples
    --------
    >>> published_path("abcd")
    '/.images/ab/cd'
    """
    return f"/.images/{identity[:2]}/{identity[2:]}"


def verdict(
    image: Reference,
    listed: SyncList,
    *,
    layers: Sequence[str] | None,
    manifest_digest: str = "",
    link: str | None,
) -> str:
    """What stands between a pushed image and the jobs, in a few words.

    Parameters
    ----------
    layers : its layers' digests in the registry; None where the registry hasn't the image
    link : where its tag points in the repository; None where there is no tag
    """
    position = listed.position(image)
    if layers is None:
        return "not in the registry" if link is None else "gone from the registry, still published"
    if position is None:
        return "not in the sync list" if link is None else "not in the sync list, its tag will be removed"
    if link is None:
        return "pushed, not yet visible"
    same = link.rstrip("/").endswith(published_path(image_identity(layers, manifest_digest)))
    return "published" if same else "tag points to an older digest"
