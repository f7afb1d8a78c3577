"""A whole sync list beside what registries have and what the repository shows: what stands between each image and the jobs."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from collectors.cvmfs import Repository
from collectors.registry import BusyError, Registry
from collectors.web import Web
from sim.delivery.images import MissingImageError
from sim.delivery.synclist import Reference, SyncList, verdict
from sim.errors import InputError, SourceError


class Compared(NamedTuple):
    """An image, the line of the list it is from (None: of none), the verdict on it, or why there is none."""

    image: str
    line: str | None
    verdict: str | None
    error: str | None = None


@dataclass
class _Asking:
    """Registries and directories as far as they were asked; a registry that is busy or away isn't asked again."""

    repository: Repository
    web: Web
    registries: dict[str, Registry] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    links: dict[str, dict[str, str]] = field(default_factory=dict)

    def registry(self, name: str) -> Registry:
        if name in self.silent:
            raise SourceError(self.silent[name])
        if name not in self.registries:
            self.registries[name] = Registry(name, self.web)
        return self.registries[name]

    def published(self, path: str) -> dict[str, str]:
        """The published tags of an image's path, and where each points."""
        directory, _, name = path.rpartition("/")
        if directory not in self.links:
            self.links[directory] = self.repository.links(directory)
        return {
            label.partition(":")[2]: target
            for label, target in self.links[directory].items()
            if label.partition(":")[0] == name
        }


def compare_list(
    listed: SyncList, repository: Repository, web: Web, progress: Callable[[float, str], None] | None = None
) -> list[Compared]:
    """Each image of a list, wildcards spelled out by the registry's tags, then published tags that no line covers.

    A manifest is read only where a tag is published, to compare its layers: at Docker Hub that counts as a pull. A registry
    that answers "too many requests", or not at all, isn't asked again; its images have an error instead of a verdict.
    """
    asking = _Asking(repository, web)
    rows: list[Compared] = []
    for number, line in enumerate(listed.references):
        if progress is not None:
            progress(number / len(listed.references), str(line))
        links = asking.published(line.path)
        try:
            tags = _tags(line, asking)
            rows += [_compared(replace(line, tag=tag), line, listed, links.get(tag), asking) for tag in tags]
        except (InputError, SourceError) as error:
            _note(line.registry, error, asking)
            rows.append(Compared(str(line), str(line), None, str(error)))
    for path in dict.fromkeys(line.path for line in listed.references):
        patterns = [line.tag for line in listed.references if line.path == path]
        rows += [
            Compared(f"{path}:{tag}", None, "not in the sync list, its tag will be removed")
            for tag in asking.published(path)
            if not any(fnmatch.fnmatchcase(tag, pattern) for pattern in patterns)
        ]
    return rows


def _tags(line: Reference, asking: _Asking) -> list[str]:
    if not line.wildcard:
        return [line.tag]
    return [tag for tag in asking.registry(line.registry).tags(line) if fnmatch.fnmatchcase(tag, line.tag)]


def _compared(
    image: Reference, line: Reference, listed: SyncList, link: str | None, asking: _Asking
) -> Compared:
    registry = asking.registry(image.registry)
    if link is None:
        there = registry.digest(image) is not None
        return Compared(
            str(image), str(line), verdict(image, listed, layers=() if there else None, link=None)
        )
    try:
        found = registry.image(image)
    except MissingImageError:
        return Compared(str(image), str(line), verdict(image, listed, layers=None, link=link))
    told = verdict(image, listed, layers=found.layers, manifest_digest=found.manifest_digest, link=link)
    return Compared(str(image), str(line), told)


def _note(registry: str, error: Exception, asking: _Asking) -> None:
    if isinstance(error, BusyError | SourceError):
        asking.silent.setdefault(registry, str(error))
