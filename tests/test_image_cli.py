"""`poolscope image` as scripts and people call it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.delivery.synclist import image_identity, published_path
from tests import needs
from tests.collectors import registry_server
from tests.collectors.repository import Writer
from tests.collectors.serving import served

STAT = """VERSION PID UPTIME(M) MEM(K) REVISION EXPIRES(M) NOCATALOGS CACHEUSE(K) CACHEMAX(K) NOFDUSE NOFDMAX NOIOERR NOOPEN HITRATE(%) RX(K) SPEED(K/S) HOST PROXY ONLINE
2.12.0.0 4242 17 40232 3 3 2 125030 4096001 0 130560 0 5121 99.1 94281 6120 http://server/cvmfs/x http://squid:3128 1
"""
PROGRAM = str(Path(sys.executable).with_name("poolscope"))


def poolscope(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "XDG_CACHE_HOME": str(home / "cache"), "XDG_DATA_HOME": str(home / "data")}
    return subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


@pytest.mark.slow
def test_a_real_repositorys_image(shared_data: Path, tmp_path: Path) -> None:
    """The keys that scripts rely on; the files and bytes that the nested catalog counts."""
    with served(shared_data / "cvmfs" / "repository") as server:
        url = f"{server.url}/test.poolscope.local"
        ended = poolscope(tmp_path, "image", "I_sci", "--repository", url, "--json")
        assert ended.returncode == 0, ended.stderr
        answer = json.loads(ended.stdout)
        assert (answer["name"], answer["revision"], answer["files"], answer["bytes"]) == (
            "I_sci",
            4,
            20976,
            742215042,
        )
        assert answer["catalog_bytes"] == 2078307
        assert answer["published"].startswith("2026-11-23T19:55:18")
        assert answer["warm_start_s"] == pytest.approx(3.1, rel=0.2)  # measured: 3.5 s
        assert answer["cold_start_s"] > 10 * answer["warm_start_s"]  # at 30 ms; measured 44 s at 20 ms
        words = poolscope(tmp_path, "image", "I_sci", "--repository", url)
        assert "20,976" in words.stdout
        assert answer["signature"]["signed"]
        assert "\nsignature  " in words.stdout
        assert [tag["revision"] for tag in answer["tags"]] == [4, 4, 3, 3, 2, 1]
        assert "tags       6, the last trunk (revision 4" in words.stdout
        node = tmp_path / "stat"
        node.write_text(STAT)
        told = poolscope(tmp_path, "image", "I_sci", "--repository", url, "--stat", str(node))
        assert (
            "node       revision 3, 1 behind, cache 0.13 of 4.10 GB, hits 99.1 %, 0 I/O errors" in told.stdout
        )
        whole = poolscope(
            tmp_path, "image", "/cvmfs/test.poolscope.local/I_sci", "--repository", url, "--json"
        )
        assert json.loads(whole.stdout)["files"] == 20976
        other = poolscope(tmp_path, "image", "/cvmfs/other.example.org/x", "--repository", url)
        assert (other.returncode, other.stderr.count("\n")) == (2, 1)
        assert "doesn't lie in test.poolscope.local" in other.stderr
        missing = poolscope(tmp_path, "image", "I_tf", "--repository", url)
        assert missing.returncode == 3
        assert missing.stderr.rstrip().endswith("the server answers 404")


def test_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    root = Writer(tmp_path).write({"img!": {"a": 1}})
    file = tmp_path / "made.example.org" / "data" / root[:2] / f"{root[2:]}C"
    file.write_bytes(b"x" + file.read_bytes())
    with served(tmp_path) as server:
        ended = poolscope(tmp_path, "image", "img", "--repository", f"{server.url}/made.example.org")
    assert ended.returncode == 2
    assert "refused" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["image", "a/../b"], "can't stand in one"),
        (["image", "a\x1b[31mb"], "can't stand in one"),
        (["image", "x", "--repository", "nonsense"], "is no address"),
        (["image", "x", "--repository", "http://127.0.0.1:1/"], "ends in the repository's name"),
        (["image", "x", "--sync-list", "y"], "needs --registry"),
        (["image"], "which image?"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    ended = poolscope(tmp_path, *arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "\x1b" not in ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def test_what_is_no_repository(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        ended = poolscope(tmp_path, "image", "x", "--repository", f"{server.url}/some.example.org")
    assert ended.returncode == 2
    assert "no CVMFS repository there" in ended.stderr


@pytest.mark.slow
def test_pushed_beside_published(tmp_path: Path) -> None:
    """Pushed and published; pushed again and the tag is old; pushed and not there yet; not in the list."""
    if registry_server.program() is None:
        needs.need("no registry: docker-registry is not installed")
    (tmp_path / "registry").mkdir()
    with registry_server.running(tmp_path / "registry") as address, served(tmp_path) as server:
        listed = tmp_path / "list.txt"
        listed.write_text(f"{address}/ns/tool:*\n")
        registry_server.push_image(address, "ns/tool", "1", [b"one", b"two"])
        registry_server.push_image(address, "ns/tool", "2", [b"three"])
        registry_server.push_image(address, "ns/other", "1", [b"four"])
        layers = [registry_server.digest_of(layer) for layer in (b"one", b"two")]
        place = published_path(image_identity(layers))
        top, rest = place.split("/")[2:]
        own = f"/cvmfs/made.example.org{place}"
        Writer(tmp_path).write(
            {".images": {top: {f"{rest}!": {"bin": 1}}}, "ns": {"tool:1": own, "tool:2": own}}
        )

        def verdict(name: str) -> str:
            options = ["--repository", f"{server.url}/made.example.org", "--registry", f"{address}/{name}"]
            ended = poolscope(tmp_path, "image", name, *options, "--sync-list", str(listed), "--json")
            assert ended.returncode == 0, ended.stderr
            return str(json.loads(ended.stdout)["registry"]["verdict"])

        assert verdict("ns/tool:1") == "published"
        assert verdict("ns/tool:2") == "tag points to an older digest"
        registry_server.push_image(address, "ns/tool", "3", [b"five"])
        assert verdict("ns/tool:3") == "pushed, not yet visible"
        assert verdict("ns/other:1") == "not in the sync list"
        assert verdict("ns/tool:9") == "not in the registry"


@pytest.mark.slow
def test_a_whole_list(tmp_path: Path) -> None:
    """Every image of the list, a wildcard by the registry's tags, then published tags that no line covers."""
    if registry_server.program() is None:
        needs.need("no registry: docker-registry is not installed")
    (tmp_path / "registry").mkdir()
    with registry_server.running(tmp_path / "registry") as address, served(tmp_path) as server:
        listed = tmp_path / "list.txt"
        listed.write_text(
            f"{address}/ns/tool:v*\n{address}/ns/gone:1\n{address}/../x\n127.0.0.1:1/ns/away:1\n"
        )
        for tag, layers in (("v1", [b"one"]), ("v2", [b"two"]), ("v3", [b"three"]), ("w1", [b"four"])):
            registry_server.push_image(address, "ns/tool", tag, layers)
        place = published_path(image_identity([registry_server.digest_of(b"one")]))
        own = f"/cvmfs/made.example.org{place}"
        top, rest = place.split("/")[2:]
        Writer(tmp_path).write(
            {
                ".images": {top: {f"{rest}!": {"bin": 1}}},
                "ns": {"tool:v1": own, "tool:v2": own, "tool:w1": own, "gone:1": own},
            }
        )
        url = f"{server.url}/made.example.org"
        ended = poolscope(tmp_path, "image", "--repository", url, "--sync-list", str(listed), "--json")
        assert ended.returncode == 0, ended.stderr
        told = json.loads(ended.stdout)
        assert {row["image"]: row["verdict"] for row in told["images"]} == {
            f"{address}/ns/tool:v1": "published",
            f"{address}/ns/tool:v2": "tag points to an older digest",
            f"{address}/ns/tool:v3": "pushed, not yet visible",
            f"{address}/ns/gone:1": "gone from the registry, still published",
            "127.0.0.1:1/ns/away:1": None,
            "ns/tool:w1": "not in the sync list, its tag will be removed",
        }
        assert [mistake["line"] for mistake in told["mistakes"]] == [3]
        words = poolscope(tmp_path, "image", "--repository", url, "--sync-list", str(listed))
        assert "1 pushed, not yet visible" in words.stdout


def test_from_when_a_push_is_seen(tmp_path: Path) -> None:
    """Pushed at 10:00: half of the draws before 10:40, all after the fixed steps; long ago is certain."""
    Writer(tmp_path).write({"img!": {"a": 1}})
    with served(tmp_path) as server:
        url = f"{server.url}/made.example.org"
        ended = poolscope(
            tmp_path, "image", "img", "--repository", url, "--pushed", "2026-01-05 10:00", "--json"
        )
        assert ended.returncode == 0, ended.stderr
        visible = json.loads(ended.stdout)["visible"]
        assert visible["p10"] < visible["p50"] < visible["p90"] < visible["p99"]
        assert visible["p50"].startswith("2026-01-05T10:3")
        assert visible["chance_now"] == 1
        wrong = poolscope(tmp_path, "image", "img", "--repository", url, "--pushed", "noon")
        assert wrong.returncode == 2
        assert "expected a time" in wrong.stderr
