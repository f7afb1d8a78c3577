"""The registry reader against a real registry, and against one behind tokens and limits."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from time import time

import pytest

from collectors.registry import BusyError, Registry
from sim.delivery.synclist import Reference
from sim.errors import InputError, SourceError
from tests import needs
from tests.collectors import registry_server as servers
from tests.collectors.serving import Served, served

LAYERS = [b"lower layer" * 100, b"upper layer" * 50]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry with an image, an index over two architectures, and many tags."""
    if servers.program() is None:
        needs.need("no registry: docker-registry is not installed")
    with servers.running(tmp_path_factory.mktemp("registry")) as address:
        servers.push_image(address, "ns/tool", "1.0", LAYERS)
        amd = servers.push_image(address, "ns/many", None, [b"amd64"])
        arm = servers.push_image(address, "ns/many", None, [b"arm64" * 3])
        servers.push_index(address, "ns/many", "latest", {"arm64": arm, "amd64": amd})
        servers.push_index(address, "ns/many", "arm", {"arm64": arm})
        for number in range(7):
            servers.push_image(address, "ns/tagged", f"v{number}", [b"same"])
        yield address


@pytest.fixture
def guard(registry: str) -> Iterator[servers.Guard]:
    with servers.guarded(registry) as standing:
        yield standing


def image(address: str, name: str) -> Reference:
    return Reference.parse(f"{address}/{name}")


def test_an_image(registry: str) -> None:
    """Layers, their bytes, and the hash under which it would be published."""
    found = Registry(registry).image(image(registry, "ns/tool:1.0"))
    assert found.layers == tuple(map(servers.digest_of, LAYERS))
    assert found.bytes == sum(map(len, LAYERS))
    assert found.digest == found.manifest_digest == Registry(registry).digest(image(registry, "ns/tool:1.0"))
    assert found.identity == hashlib.sha256("".join(d[7:] for d in found.layers).encode()).hexdigest()
    assert found.limit is None


def test_an_image_by_digest(registry: str) -> None:
    digest = Registry(registry).digest(image(registry, "ns/tool:1.0"))
    assert Registry(registry).image(image(registry, f"ns/tool@{digest}")).digest == digest


def test_an_index(registry: str) -> None:
    """The platform asked for is chosen; the digest is the index's, as the tag points to it."""
    found = Registry(registry).image(image(registry, "ns/many"))
    assert found.platforms == ("linux/arm64", "linux/amd64")
    assert found.layers == (servers.digest_of(b"amd64"),)
    assert found.digest != found.manifest_digest
    arm = Registry(registry).image(image(registry, "ns/many"), "linux/arm64")
    assert arm.bytes == 15


def test_an_index_without_the_platform(registry: str) -> None:
    with pytest.raises(InputError, match="has no linux/amd64 image, only linux/arm64"):
        Registry(registry).image(image(registry, "ns/many:arm"))


def prescribed(server: Served, path: str, content: object) -> str:
    """Let a server that is no registry answer with a manifest; gives the manifest's digest."""
    body = json.dumps(content).encode()
    digest = servers.digest_of(body)
    for which in (path.rpartition("/")[2], digest):
        server.prescribed[f"/v2/{path.rpartition('/')[0]}/{which}"] = (200, {}, body)
    return digest


LAYER = {
    "digest": "sha256:" + "a" * 64,
    "size": 7,
    "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
}


def test_indexes_as_builders_write_them(tmp_path: Path) -> None:
    """Attestations are no platform, a variant stands in for its platform, and an index may lie in an index."""
    with served(tmp_path) as server:
        address = server.url.removeprefix("http://")
        own = prescribed(server, "ns/t/manifests/own", {"schemaVersion": 2, "layers": [LAYER]})
        attestation = {
            "digest": "sha256:" + "0" * 64,
            "platform": {"os": "unknown", "architecture": "unknown"},
        }
        entry = {"digest": own, "platform": {"os": "linux", "architecture": "amd64", "variant": "v2"}}
        inner = prescribed(server, "ns/t/manifests/inner", {"manifests": [attestation, entry]})
        outer = {"manifests": [{"digest": inner, "platform": {"os": "linux", "architecture": "amd64"}}]}
        prescribed(server, "ns/t/manifests/outer", outer)
        for tag in ("inner", "outer"):
            found = Registry(address).image(image(address, f"ns/t:{tag}"))
            assert (found.manifest_digest, found.layers, found.bytes) == (own, (LAYER["digest"],), 7)
            assert found.platforms == ("linux/amd64/v2",)


def test_the_old_schema(tmp_path: Path) -> None:
    """Schema 1 names its layers and no sizes; the sync hashes them as they stand there."""
    layers = ["sha256:" + letter * 64 for letter in "ab"]
    with served(tmp_path) as server:
        address = server.url.removeprefix("http://")
        old = {"schemaVersion": 1, "fsLayers": [{"blobSum": layer} for layer in layers]}
        prescribed(server, "ns/t/manifests/old", old)
        found = Registry(address).image(image(address, "ns/t:old"))
    assert (found.layers, found.bytes) == (tuple(layers), None)
    assert found.identity == hashlib.sha256("".join(layer[7:] for layer in layers).encode()).hexdigest()


@pytest.mark.parametrize("content", [{}, {"manifests": []}, {"manifests": [{"digest": 3}]}, {"errors": []}])
def test_what_is_no_image(tmp_path: Path, content: object) -> None:
    with served(tmp_path) as server:
        address = server.url.removeprefix("http://")
        prescribed(server, "ns/t/manifests/x", content)
        with pytest.raises(InputError, match=r"has no linux/amd64 image|is no image"):
            Registry(address).image(image(address, "ns/t:x"))


def test_pages_that_never_end(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        address = server.url.removeprefix("http://")
        again = {"Link": '</v2/ns/t/tags/list?n=1000>; rel="next"'}
        server.prescribed["/v2/ns/t/tags/list"] = (200, again, b'{"tags": ["a"]}')
        with pytest.raises(SourceError, match="never end"):
            Registry(address).tags(image(address, "ns/t"))
        assert server.asked["/v2/ns/t/tags/list"] == 1


def test_missing_tags(registry: str) -> None:
    with pytest.raises(InputError, match="has no image"):
        Registry(registry).image(image(registry, "ns/tool:2.0"))
    assert Registry(registry).digest(image(registry, "ns/tool:2.0")) is None
    with pytest.raises(InputError, match="has no repository"):
        Registry(registry).tags(image(registry, "ns/nothing"))


def test_tags(registry: str) -> None:
    assert sorted(Registry(registry).tags(image(registry, "ns/tagged"))) == [
        f"v{number}" for number in range(7)
    ]


def test_tags_over_several_pages(tmp_path: Path) -> None:
    """As a registry links them; a page elsewhere is not followed."""
    with served(tmp_path) as server:
        address = server.url.removeprefix("http://")
        more = {"Link": '</v2/ns/t/tags/more?last=b>; rel="next"'}
        server.prescribed["/v2/ns/t/tags/list"] = (200, more, b'{"tags": ["a", "b"]}')
        server.prescribed["/v2/ns/t/tags/more"] = (200, {}, b'{"tags": ["c"]}')
        assert Registry(address).tags(image(address, "ns/t")) == ["a", "b", "c"]
        elsewhere = {"Link": '<http://elsewhere.example/tags>; rel="next"'}
        server.prescribed["/v2/ns/t/tags/list"] = (200, elsewhere, b'{"tags": ["a"]}')
        with pytest.raises(SourceError, match="lies elsewhere"):
            Registry(address).tags(image(address, "ns/t"))


def test_a_token_is_fetched_and_used_again(guard: servers.Guard) -> None:
    """401, the token server, the question again; the next one needs no new token."""
    reader = Registry(guard.address)
    assert reader.image(image(guard.address, "ns/tool:1.0")).bytes == sum(map(len, LAYERS))
    assert len(reader.tags(image(guard.address, "ns/tool"))) == 1
    tokens = [path for _, path in guard.asked if path.startswith("/token?")]
    assert tokens == ["/token?scope=repository%3Ax%3Apull&service=made"]
    assert len(guard.asked) == 4


def test_a_registry_that_wants_a_user(guard: servers.Guard) -> None:
    guard.wants_user = True
    with pytest.raises(SourceError, match="wants a user for ns/tool; only public images"):
        Registry(guard.address).image(image(guard.address, "ns/tool:1.0"))


def test_a_token_that_is_not_taken(guard: servers.Guard) -> None:
    reader = Registry(guard.address)
    reader.image(image(guard.address, "ns/tool:1.0"))
    guard.token = "another"
    assert reader.image(image(guard.address, "ns/tool:1.0")).bytes, "a token that has expired is renewed"


@pytest.mark.parametrize(
    ("told", "seconds", "said"),
    [
        ({"Retry-After": "37"}, 37.0, "try again in 37 s"),
        ({}, math.nan, "try again later"),
        ({"Retry-After": "soon"}, math.nan, "try again later"),
        ({"Retry-After": "DATE"}, 120.0, "try again in 1"),
    ],
)
def test_too_many_requests(guard: servers.Guard, told: dict[str, str], seconds: float, said: str) -> None:
    """429 with a number of seconds, a date, nonsense, nothing; nobody asks again by himself."""
    guard.busy = {
        name: formatdate(time() + 120, usegmt=True) if value == "DATE" else value
        for name, value in told.items()
    }
    guard.limit = {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "0;w=21600"}
    with pytest.raises(BusyError, match=said) as raised:
        Registry(guard.address).image(image(guard.address, "ns/tool:1.0"))
    assert "0 of 100 pulls left" in str(raised.value)
    assert raised.value.retry_after_s == pytest.approx(seconds, abs=3, nan_ok=True)
    assert len(guard.asked) == 1


def test_pulls_left(guard: servers.Guard) -> None:
    guard.limit = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}
    limit = Registry(guard.address).image(image(guard.address, "ns/tool:1.0")).limit
    assert limit is not None
    assert (limit.most, limit.left, limit.window_s) == (100, 76, 21600)


def test_a_manifest_that_is_not_what_its_digest_says(guard: servers.Guard) -> None:
    guard.tamper = True
    with pytest.raises(InputError, match="isn't what its digest"):
        Registry(guard.address).image(image(guard.address, "ns/tool:1.0"))


def test_nobody_there() -> None:
    with pytest.raises(SourceError, match="refused"):
        Registry("127.0.0.1:9").image(Reference.parse("127.0.0.1:9/ns/tool"))


def test_what_is_no_registry(tmp_path: Path) -> None:
    place = tmp_path / "v2" / "ns" / "tool" / "manifests"
    place.mkdir(parents=True)
    (place / "latest").write_text("<html>")
    with served(tmp_path) as server:
        address = server.url.removeprefix("http://")
        with pytest.raises(SourceError, match="is no JSON"):
            Registry(address).image(image(address, "ns/tool"))


def test_a_pattern_is_not_one_image(registry: str) -> None:
    with pytest.raises(InputError, match="stands for several"):
        Registry(registry).image(image(registry, "ns/tool:*"))
