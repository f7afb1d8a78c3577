"""The list of published images, and what stands between a pushed image and the jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.delivery.synclist import Reference, SyncList, image_identity, published_path, verdict
from sim.errors import InputError

LIST = SyncList.parse(
    """# images
debian:12     # the base
ns/tool:*
ghcr.io/me/app:1.*
ns/latest
bad name here
"""
)


def test_the_real_list(shared_data: Path) -> None:
    """562 images, 113 with a wildcard, every line understood; by registry as counted on its date."""
    text = next((shared_data / "images").glob("*.txt")).read_text()
    found = SyncList.parse(text)
    assert len(found.references) == 562
    assert sum(line.wildcard for line in found.references) == 113
    assert found.mistakes == ()
    registries = [line.registry for line in found.references]
    assert registries.count("docker.io") == 432
    assert registries.count("ghcr.io") == 51
    assert registries.count("hub.opensciencegrid.org") == 20


def test_a_line_that_is_no_name_is_noted() -> None:
    assert [number for number, _ in LIST.mistakes] == [6]
    assert len(LIST.references) == 4


@pytest.mark.parametrize(
    ("text", "whole", "published"),
    [
        ("debian:12", "library/debian:12", "library/debian:12"),
        ("ns/tool", "ns/tool:latest", "ns/tool:latest"),
        ("docker://ghcr.io/a/b/c:x", "ghcr.io/a/b/c:x", "a/b/c:x"),
        ("localhost:5000/a:1", "localhost:5000/a:1", "a:1"),
        ("Harbor.example:8443/proxy/a/b/c:x", "harbor.example:8443/proxy/a/b/c:x", "proxy/a/b/c:x"),
        ("docker.io/python:3.11", "library/python:3.11", "library/python:3.11"),
        ("docker://index.docker.io/python:3.11", "library/python:3.11", "library/python:3.11"),
        (f"ns/tool:1@sha256:{'0' * 64}", f"ns/tool@sha256:{'0' * 64}", "ns/tool:1"),
    ],
)
def test_names(text: str, whole: str, published: str) -> None:
    found = Reference.parse(text)
    assert (str(found), found.published_as) == (whole, published)


@pytest.mark.parametrize(
    "text", ["", "a b", "a/../b", "a:b:c", "UP@sha256:12", "a\x00b", "x:" + "y" * 200, "a*/b:1", "ghcr.io/", "Me/Tool:1", "a" * 401, f"a@sha512:{'0' * 128}",
     "a@", "/a", "a//b", "a:", ":1", "docker://", "a\u00e9"],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(InputError):
        Reference.parse(text)


def test_a_list_as_people_write_it() -> None:
    """Windows' line ends, a byte order mark, spaces, comments behind names, a name twice, no newline at the end."""
    text = (
        "\ufeff# all of it\r\nns/tool:1  # ours\r\n\r\n  debian:*\t\r\nns/tool:1\r\nNo Name\r\nghcr.io/me/app"
    )
    found = SyncList.parse(text)
    assert [str(each) for each in found.references] == [
        "ns/tool:1",
        "library/debian:*",
        "ns/tool:1",
        "ghcr.io/me/app:latest",
    ]
    assert [line for line, _ in found.mistakes] == [6]
    assert found.position(Reference.parse("ns/tool:1")) == 0


@pytest.mark.parametrize(
    ("name", "place"), [("debian:12", 0), ("debian:13", None), ("ns/tool:anything", 1), ("ghcr.io/me/app:1.7", 2),
                        ("ghcr.io/me/app:2.0", None), ("me/app:1.7", None), ("ns/latest", 3)],
)  # fmt: skip
def test_which_line_publishes(name: str, place: int | None) -> None:
    assert LIST.position(Reference.parse(name)) == place


LAYERS = ["sha256:" + "a" * 64, "sha256:" + "b" * 64]
OWN = "/cvmfs/singularity.opensciencegrid.org" + published_path(image_identity(LAYERS))


@pytest.mark.parametrize(
    ("name", "layers", "link", "said"),
    [
        ("ns/tool:1", LAYERS, OWN, "published"),
        ("ns/tool:1", LAYERS, None, "pushed, not yet visible"),
        ("ns/tool:1", LAYERS, OWN[:-3] + "000", "tag points to an older digest"),
        ("ns/other:1", LAYERS, None, "not in the sync list"),
        ("ns/other:1", LAYERS, OWN, "not in the sync list, its tag will be removed"),
        ("ns/tool:1", None, OWN, "gone from the registry, still published"),
        ("ns/tool:1", None, None, "not in the registry"),
    ],
)
def test_verdicts(name: str, layers: list[str] | None, link: str | None, said: str) -> None:
    assert verdict(Reference.parse(name), LIST, layers=layers, link=link) == said


def test_identity_without_layers_is_the_manifests_digest() -> None:
    assert image_identity([], "sha256:abc") == "abc"
