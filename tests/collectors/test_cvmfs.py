"""The repository reader: a real repository's metadata on a plain server, and made ones for what can go wrong."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from collectors.cvmfs import (
    Manifest,
    Repository,
    RepositorySource,
    Shelf,
    compare,
    parse_stat,
    read_attributes,
)
from collectors.hashes import Hash
from collectors.rounds import collect_once
from collectors.source import Moment, Reading
from collectors.web import Web
from sim.errors import InputError, PoolscopeError, SourceError
from sim.schema import empty
from sim.store import Store
from tests.collectors.repository import Writer
from tests.collectors.serving import Served, served

REAL = "test.poolscope.local"
TREE: Any = {
    "soft!": {"bin": {"a": 100, "b": 200}, "lib!": {"c": 1000}, "README": 7},
    "plain": {"x": 5, "deep": {"y": 6, "inner!": {"z": 9}}},
    ".images": {"ab": {"cdef!": {"python": 4000, "link": "python"}}},
    "ns": {"img:1": "/cvmfs/made.example.org/.images/ab/cdef", "img:2": "img:1"},
    "loop": "loop",
    "out": "/etc",
    "file": 3,
}


@pytest.fixture
def real(shared_data: Path) -> Iterator[Served]:
    with served(shared_data / "cvmfs" / "repository") as server:
        yield server


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as server:
        yield server


def test_the_manifest_of_a_real_repository(real: Served) -> None:
    found = Repository(f"{real.url}/{REAL}").manifest()
    assert (found.name, found.revision, found.ttl_s, found.root_bytes) == (REAL, 4, 240.0, 57344)
    assert str(found.root) == "8e484c137cad7d3785e136b694e02d2ba3c35857"
    assert found.published_at == pd.Timestamp(1795463718, unit="s", tz="UTC")


@pytest.mark.parametrize(
    ("name", "files", "size", "wire"),
    [("base", 9064, 293077633, 931268), ("I_sci", 20976, 742215042, 2078307)],
)
def test_images_are_counted_without_their_files(
    real: Served, name: str, files: int, size: int, wire: int
) -> None:
    """Two catalogs are read for it, the root's and the image's, and nothing else."""
    image = Repository(f"{real.url}/{REAL}").image(name)
    assert image.counted == (files, size)
    assert image.catalog_bytes == wire
    assert len(real.asked) == 3


def test_the_root_counts_all_images(real: Served) -> None:
    with Repository(f"{real.url}/{REAL}").root() as root:
        assert root.counted().files == 112_560  # 9,064 + 20,976 + 37,508 + 45,012
        assert [nested.path for nested in root.nested()] == ["/I_sci", "/I_tf", "/I_torch", "/base"]


@pytest.mark.parametrize("name", ["I_tf", "I_torch"])
def test_a_catalog_that_the_server_lacks_is_a_sentence(real: Served, name: str) -> None:
    with pytest.raises(SourceError, match=r"C: the server answers 404$"):
        Repository(f"{real.url}/{REAL}").image(name)


def test_paths_inside_an_image_are_found_in_its_catalog(real: Served) -> None:
    image = Repository(f"{real.url}/{REAL}").image("base/etc")
    assert 0 < image.counted.files < 9064


def test_tags_status_whitelist_and_server(real: Served) -> None:
    repository = Repository(f"{real.url}/{REAL}")
    tags = repository.tags()
    assert tags["revision"].tolist() == [1, 2, 3, 3, 4, 4]
    assert tags["name"].tolist()[-2:] == ["tag-1795463718", "trunk"]
    assert tags["published_at"].max() == repository.manifest().published_at
    assert repository.status()["last_snapshot"] == pd.Timestamp("2026-11-23 19:22:03", tz="UTC")
    whitelist = repository.whitelist()
    assert whitelist is not None
    assert whitelist.expires_at == pd.Timestamp("2026-12-23 19:52:08", tz="UTC")
    assert repository.server()["cvmfs_version"] == "2.12.0"


def test_catalogs_are_fetched_once(real: Served, tmp_path: Path) -> None:
    """A second reader with the same shelf asks for the manifest alone; a damaged shelf is fetched again."""
    shelf = Shelf(tmp_path / "shelf")
    for _ in range(2):
        Repository(f"{real.url}/{REAL}", shelf=shelf).image("base")
    assert real.asked.total() == 4  # two manifests, two catalogs
    for path in (tmp_path / "shelf").glob("*C"):
        path.write_bytes(b"damaged")
    assert Repository(f"{real.url}/{REAL}", shelf=shelf).image("base").counted.files == 9064


def test_a_manifest_is_asked_for_once_a_minute(real: Served, tmp_path: Path) -> None:
    """By one reader and by several that share a shelf."""
    for _ in range(3):
        repository = Repository(f"{real.url}/{REAL}", shelf=Shelf(tmp_path), refresh_s=60)
        repository.manifest()
        repository.manifest()
    assert real.asked[f"/{REAL}/.cvmfspublished"] == 1


@pytest.mark.parametrize("algorithm", ["sha1", "rmd160", "shake128"])
def test_other_hashes(made: Served, tmp_path: Path, algorithm: str) -> None:
    Writer(tmp_path, algorithm=algorithm).write(TREE, tags=[("trunk", 7, 1_795_463_718)])
    repository = Repository(f"{made.url}/made.example.org")
    assert repository.image("soft").counted == (4, 1307)
    assert repository.tags()["revision"].tolist() == [7]


@pytest.mark.parametrize(
    ("name", "counted", "path"),
    [
        ("soft", (4, 1307), "/soft"),
        ("soft/lib", (1, 1000), "/soft/lib"),
        ("soft/bin", (2, 300), "/soft/bin"),
        ("plain", (3, 20), "/plain"),
        ("ns/img:1", (1, 4000), "/.images/ab/cdef"),
        ("ns/img:2", (1, 4000), "/.images/ab/cdef"),
    ],
)
def test_images_with_and_without_a_catalog_and_through_links(
    made: Served, tmp_path: Path, name: str, counted: tuple[int, int], path: str
) -> None:
    Writer(tmp_path).write(TREE)
    found = Repository(f"{made.url}/made.example.org").image(name)
    assert (found.counted, found.path) == (counted, path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "has no image 'nothing'; it has .images/ab/cdef, plain/deep/inner, soft"),
        ("loop", "is a link to itself"),
        ("out", "a link out of the repository"),
        ("file", "is a file"),
        ("../etc", r"'\.\.' can't stand"),
        ("a/../b", r"'\.\.' can't stand"),
        ("a\x07b", r"'\\x07' can't stand"),
        ("a\nb", "can't stand"),
        ("", "1 to 400"),
        ("x" * 500, "1 to 400"),
        ("a b", "can't stand"),
        ("a;b", "expected letters"),
    ],
)
def test_names_that_are_no_image(made: Served, tmp_path: Path, name: str, said: str) -> None:
    Writer(tmp_path).write(TREE)
    with pytest.raises(InputError, match=said) as raised:
        Repository(f"{made.url}/made.example.org").image(name)
    assert "\n" not in str(raised.value)
    assert "\x07" not in str(raised.value)


def test_without_a_history_there_are_no_tags(made: Served, tmp_path: Path) -> None:
    Writer(tmp_path).write(TREE)
    assert Repository(f"{made.url}/made.example.org").tags().empty


def catalog_file(tmp_path: Path, root: str) -> Path:
    return tmp_path / "made.example.org" / "data" / root[:2] / f"{root[2:]}C"


def test_a_catalog_with_another_hash_is_refused_unread(made: Served, tmp_path: Path) -> None:
    """Another, valid catalog under the name: never unpacked, never parsed."""
    writer = Writer(tmp_path)
    other = writer.catalog({"evil": 1})[0]
    root = writer.write(TREE)
    catalog_file(tmp_path, root).write_bytes(catalog_file(tmp_path, other).read_bytes())
    with pytest.raises(InputError, match="isn't what its name says; refused"):
        Repository(f"{made.url}/made.example.org").root()


def test_a_truncated_object_is_refused(made: Served, tmp_path: Path) -> None:
    file = catalog_file(tmp_path, Writer(tmp_path).write(TREE))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(InputError, match="isn't what its name says"):
        Repository(f"{made.url}/made.example.org").root()


def test_a_broken_connection_is_a_sentence(made: Served, tmp_path: Path) -> None:
    root = Writer(tmp_path).write(TREE)
    content = catalog_file(tmp_path, root).read_bytes()
    path = f"/made.example.org/data/{root[:2]}/{root[2:]}C"
    made.prescribed[path] = (200, {"Content-Length": str(len(content) + 99), "Connection": "close"}, content)
    with pytest.raises(SourceError):
        Repository(f"{made.url}/made.example.org").root()


def test_a_huge_catalog_is_not_unpacked(made: Served, tmp_path: Path) -> None:
    """A small object that unpacks to much more than is allowed."""
    writer = Writer(tmp_path)
    bomb = writer.put(b"\0" * 50_000_000, "C")
    writer.write({}, fields={"C": bomb})
    with pytest.raises(InputError, match="unpacks to more than 1,000,000 bytes"):
        Repository(f"{made.url}/made.example.org", most_catalog=1_000_000).root()


def test_what_is_no_database_is_refused(made: Served, tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write({}, fields={"C": writer.put(b"not SQLite at all" * 100, "C")})
    with pytest.raises(InputError, match="no CVMFS catalog"):
        Repository(f"{made.url}/made.example.org").root()


def test_redirects_are_followed_but_not_for_ever(made: Served, tmp_path: Path) -> None:
    Writer(tmp_path).write(TREE)
    manifest = "/made.example.org/.cvmfspublished"
    (tmp_path / "moved").write_bytes((tmp_path / manifest[1:]).read_bytes())
    made.prescribed[manifest] = (302, {"Location": "/moved"}, b"")
    assert Repository(f"{made.url}/made.example.org").manifest().revision == 7
    made.prescribed["/moved"] = (302, {"Location": manifest}, b"")
    with pytest.raises(SourceError, match="more than 5 redirects"):
        Repository(f"{made.url}/made.example.org").manifest()


@pytest.mark.parametrize("status", [500, 503, 403, 404])
def test_a_server_that_fails(made: Served, tmp_path: Path, status: int) -> None:
    Writer(tmp_path).write(TREE)
    made.prescribed["/made.example.org/.cvmfspublished"] = (status, {}, b"<html>")
    expected = InputError if status < 500 else SourceError
    with pytest.raises(expected, match=str(status)):
        Repository(f"{made.url}/made.example.org").manifest()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>welcome</html>", "no CVMFS manifest"),
        (b"", "no CVMFS manifest"),
        (b"Cabc\n--\nnohash\n", "no hash"),
        (b"\xff\xfe\n--\n", "no CVMFS manifest"),
    ],
)
def test_what_is_no_manifest(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Manifest.parse(content, "there")


@pytest.mark.parametrize("letter", ["C", "S", "T", "N"])
def test_a_manifest_without_a_field(tmp_path: Path, letter: str) -> None:
    Writer(tmp_path).write(TREE, leave_out=letter)
    content = (tmp_path / "made.example.org" / ".cvmfspublished").read_bytes()
    with pytest.raises(InputError, match=f"lacks the field {letter}"):
        Manifest.parse(content, "there")


@pytest.mark.parametrize(
    "fields", [{"S": "many"}, {"S": "-1"}, {"T": "9" * 30}, {"C": "../../etc/passwd"}, {"D": "x"}]
)
def test_a_manifest_with_nonsense(tmp_path: Path, fields: dict[str, str]) -> None:
    Writer(tmp_path).write(TREE, fields=fields)
    content = (tmp_path / "made.example.org" / ".cvmfspublished").read_bytes()
    with pytest.raises(InputError):
        Manifest.parse(content, "there")


def test_a_changed_manifest_is_noticed(tmp_path: Path) -> None:
    Writer(tmp_path).write(TREE)
    content = (tmp_path / "made.example.org" / ".cvmfspublished").read_bytes()
    with pytest.raises(InputError, match="was changed on its way"):
        Manifest.parse(content.replace(b"\nS7\n", b"\nS8\n"), "there")


def test_another_repository_under_the_name(made: Served, tmp_path: Path) -> None:
    Writer(tmp_path).write(TREE, fields={"N": "other.example.org"})
    with pytest.raises(InputError, match=r"is called 'other\.example\.org'"):
        Repository(f"{made.url}/made.example.org").manifest()


def test_a_wrong_clock_is_noted(made: Served, tmp_path: Path) -> None:
    Writer(tmp_path).write(TREE, published=1_795_463_718)
    repository = Repository(f"{made.url}/made.example.org")
    assert "in the future" in repository.notes(pd.Timestamp("2020-01-01", tz="UTC"))[0]
    assert repository.notes(pd.Timestamp("2027-01-01", tz="UTC")) == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/y",
        "nothing",
        "http://",
        "http://a b/c",
        "http://host",
        "file:///etc/passwd",
        "http://h:99999/x",
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InputError):
        Repository(url)


def test_nobody_there() -> None:
    with pytest.raises(SourceError, match="refused"):
        Repository("http://127.0.0.1:9/made.example.org").manifest()


def test_servers_are_compared(tmp_path: Path) -> None:
    """Two replicas of one repository and a dead one: how far each lags."""
    for place, revision, published in (("new", 9, 2000), ("old", 7, 500)):
        Writer(tmp_path / place).write(TREE, revision=revision, published=published)
    with served(tmp_path) as server:
        urls = [f"{server.url}/{name}/made.example.org" for name in ("new", "old", "gone")]
        found = compare(urls, now=pd.Timestamp(2100, unit="s", tz="UTC")).set_index("server")
    assert found["lag_revisions"].tolist()[:2] == [0, 2]
    assert found["lag_s"].tolist()[:2] == [0.0, 1500.0]
    assert "no CVMFS repository there" in found["error"].iloc[2]


def test_the_proxy_is_used(made: Served, tmp_path: Path) -> None:
    """With a proxy, the request goes there: our server sees the whole address of another."""
    writer = Writer(tmp_path)
    writer.write(TREE)
    address = "http://stratum1.example/cvmfs/made.example.org/.cvmfspublished"
    made.prescribed[address] = (200, {}, (writer.place / ".cvmfspublished").read_bytes())
    found = Repository("http://stratum1.example/cvmfs/made.example.org", Web(proxy=made.url)).manifest()
    assert found.revision == 7
    assert made.asked[address] == 1


def test_the_environments_proxy_is_used(
    made: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """http_proxy as sites set it, and no_proxy beside it."""
    writer = Writer(tmp_path)
    writer.write(TREE)
    address = "http://stratum1.example/cvmfs/made.example.org/.cvmfspublished"
    made.prescribed[address] = (200, {}, (writer.place / ".cvmfspublished").read_bytes())
    monkeypatch.setenv("http_proxy", made.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert Repository("http://stratum1.example/cvmfs/made.example.org").manifest().revision == 7
    assert Repository(f"{made.url}/made.example.org").manifest().revision == 7
    assert (made.asked[address], made.asked["/made.example.org/.cvmfspublished"]) == (1, 1)


STAT = """VERSION PID UPTIME(M) MEM(K) REVISION EXPIRES(M) NOCATALOGS CACHEUSE(K) CACHEMAX(K) NOFDUSE NOFDMAX NOIOERR NOOPEN HITRATE(%) RX(K) SPEED(K/S) HOST PROXY ONLINE
2.12.0.0 4242 17 40232 4 3 2 125030 4096001 0 130560 0 5121 99.1 94281 6120 http://server/cvmfs/x http://squid:3128 1
"""


def test_what_a_node_says() -> None:
    found = parse_stat(STAT)
    assert (found["revision"], found["io_errors"], found["hit_percent"], found["online"]) == (
        4.0,
        0.0,
        99.1,
        1.0,
    )
    assert found["proxy"] == "http://squid:3128"
    for text in ("", "VERSION PID\n1 2\n", "sh: cvmfs_config: not found"):
        with pytest.raises(InputError, match="cvmfs_config stat"):
            parse_stat(text)


def test_attributes_of_a_mount(tmp_path: Path) -> None:
    """What isn't there is left out: a plain folder has none, and one with attributes tells them."""
    assert read_attributes(tmp_path / "nothing") == {}
    try:
        os.setxattr(tmp_path, "user.revision", b"4")
    except OSError:
        assert read_attributes(tmp_path) == {}
    else:
        assert read_attributes(tmp_path) == {"revision": "4"}


def test_a_mount_is_compared_with_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's client two revisions behind the server, with its own figures; a path without a client is an error."""
    told = {"revision": "5", "hitrate": "99.1", "nioerr": "2", "ncleanup24": "1"}
    mount = Path("/cvmfs/made.example.org")
    monkeypatch.setattr("collectors.cvmfs.read_attributes", lambda path: told if path == mount else {})
    Writer(tmp_path).write(TREE, revision=7)
    with served(tmp_path) as server:
        urls = [f"{server.url}/made.example.org", str(mount), "/cvmfs/gone.example.org"]
        found = compare(urls)
        collected = RepositorySource(urls).read(Moment(pd.Timestamp.now(tz="UTC"), "now"))
    assert found["lag_revisions"].tolist()[:2] == [0, 2]
    assert found["notes"].iloc[1] == "99.1 % hits, 2 I/O errors, 1 cleanups in 24 h"
    assert "no CVMFS client answers there" in found["error"].iloc[2]
    assert collected.frames["repositories"]["revision"].tolist()[:2] == [7, 5]
    assert len(collected.errors) == 1


def test_a_server_that_falls_back_is_noted(made: Served, tmp_path: Path) -> None:
    """A revision older than one that was seen there before, by another reader with the same shelf; a newer one is none."""
    writer, shelf = Writer(tmp_path / "site"), tmp_path / "shelf"
    now = pd.Timestamp("2026-11-24", tz="UTC")
    with served(tmp_path / "site") as server:
        for revision, notes in ((7, 0), (9, 0), (8, 1), (8, 1), (9, 0), (8, 1)):
            writer.write(TREE, revision=revision)
            found = Repository(f"{server.url}/made.example.org", shelf=Shelf(shelf)).notes(now)
            assert len(found) == notes
    assert found == ["revision 9 was seen here before: the server fell back or was rolled back"]


def test_a_repository_behind_a_path(made: Served, tmp_path: Path) -> None:
    """Servers put repositories below any path; keys that nobody knows are left alone."""
    writer = Writer(tmp_path / "some" / "where" / "cvmfs")
    writer.write(TREE, fields={"Q": "future", "Z": ""})
    found = Repository(f"{made.url}/some/where/cvmfs/made.example.org")
    assert found.manifest().revision == 7
    assert found.image("soft").counted.files > 0


@pytest.mark.parametrize("name", ["a" * 36, "a" * 36 + "-rmd160", "a" * 41, "A" * 40, "a" * 40 + "-sha256"])
def test_hashes_that_are_none(name: str) -> None:
    with pytest.raises(InputError, match="no hash of an object"):
        Hash.parse(name, "here")


def test_garbage_never_crashes(made: Served, tmp_path: Path) -> None:
    """Bytes flipped anywhere in the manifest: read as it was, or a sentence."""
    writer = Writer(tmp_path)
    writer.write(TREE)
    content = (writer.place / ".cvmfspublished").read_bytes()
    for place in range(0, len(content), 3):
        changed = bytearray(content)
        changed[place] ^= 0x15
        with suppress(PoolscopeError):
            Manifest.parse(bytes(changed), "there")


def test_a_catalog_with_a_wrong_table_is_a_sentence(made: Served, tmp_path: Path) -> None:
    """A database with counters but without entries."""
    tables = sqlite3.connect(":memory:")
    tables.executescript(
        "CREATE TABLE statistics (counter TEXT, value INTEGER); CREATE TABLE properties (key TEXT, value TEXT);"
    )
    content = tables.serialize()
    writer = Writer(tmp_path)
    writer.write({}, fields={"C": writer.put(content, "C")})
    with pytest.raises(InputError, match="damaged catalog"):
        Repository(f"{made.url}/made.example.org").image("x")


def test_repositories_are_collected(made: Served, tmp_path: Path) -> None:
    """Every server in a row of the round's snapshot, failures noted; asked again only after its interval."""
    Writer(tmp_path).write(TREE)
    source = RepositorySource([f"{made.url}/made.example.org", f"{made.url}/gone.example.org"], every_s=60)
    reading = source.read(Moment(pd.Timestamp(1_795_463_800, unit="s", tz="UTC"), "now"))
    frame = reading.frames["repositories"]
    assert frame["snapshot"].tolist() == ["now", "now"]
    assert frame["revision"].iloc[0] == 7
    assert len(reading.errors) == 1
    assert source.read(Moment(pd.Timestamp(1_795_463_810, unit="s", tz="UTC"), "next")).frames == {}
    with pytest.raises(InputError):
        RepositorySource(["nonsense"])


def test_repositories_reach_the_store(made: Served, tmp_path: Path) -> None:
    """A round with a first source that answers: the frame lies in the snapshot."""
    Writer(tmp_path).write(TREE)

    class Slots:
        name = "slots"

        def read(self, moment: Moment) -> Reading:
            return Reading({"slots": empty("slots")})

    store = Store(tmp_path / "store")
    collect_once([Slots(), RepositorySource([f"{made.url}/made.example.org"])], store)
    assert store.read("repositories")["revision"].tolist() == [7]


def test_a_shelf_that_cannot_be_written(real: Served, tmp_path: Path) -> None:
    """A file stands where the folder should be: everything works, without being kept."""
    (tmp_path / "file").write_text("")
    image = Repository(f"{real.url}/{REAL}", shelf=Shelf(tmp_path / "file" / "shelf")).image("base")
    assert image.catalog_bytes == 931268


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE VIEW statistics AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS counter, i AS value FROM n",
        "CREATE TABLE statistics (counter TEXT, value INTEGER GENERATED ALWAYS AS (length(zeroblob(900000000))))",
        "CREATE TABLE statistics (counter TEXT, value INTEGER); CREATE TRIGGER t AFTER INSERT ON statistics BEGIN SELECT 1; END",
    ],
)
def test_a_catalog_that_computes_is_refused(made: Served, tmp_path: Path, schema: str) -> None:
    """A view without end would run for ever, a computed column give more than the file holds."""
    tables = sqlite3.connect(":memory:")
    tables.executescript(schema)
    writer = Writer(tmp_path)
    writer.write({}, fields={"C": writer.put(tables.serialize(), "C")})
    with pytest.raises(InputError, match="plain tables"):
        Repository(f"{made.url}/made.example.org").root()


def test_tags_that_are_no_times_are_a_sentence(made: Served, tmp_path: Path) -> None:
    Writer(tmp_path).write({}, tags=[("a", 1, 10**18)])
    with pytest.raises(InputError, match="tag database"):
        Repository(f"{made.url}/made.example.org").tags()


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (302, {"Location": "file:///etc/passwd"}, "isn't on the web; not followed"),
        (302, {"Location": "http://127.0.0.1:1/x"}, "refused"),
        (200, {"Content-Length": "9" * 15}, "is longer than 1,048,576 bytes"),
    ],
)
def test_answers_that_lead_astray(
    made: Served, tmp_path: Path, status: int, headers: dict[str, str], said: str
) -> None:
    """A redirect to a file or to nobody, and a length that nobody could hold: one sentence, nothing read."""
    made.prescribed["/made.example.org/.cvmfspublished"] = (status, headers, b"")
    with pytest.raises(SourceError, match=said):
        Repository(f"{made.url}/made.example.org").manifest()
