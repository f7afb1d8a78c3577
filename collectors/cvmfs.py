"""A CVMFS repository read over HTTP: manifest, catalogs, tags, what its servers say of themselves.

Nothing is believed that isn't what its name says: an object's name is the hash of its bytes, and a catalog whose hash is
wrong is refused before it is unpacked. `Repository.trust` verifies the signatures (`collectors.signature`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import sqlite3
import time
import zlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import pandas as pd

from collectors.hashes import Hash
from collectors.signature import Trust, Whitelist, check_signature, judge, signed_by
from collectors.source import Moment, Reading
from collectors.web import Web, check_url
from sim.delivery.images import MissingImageError, checked_name
from sim.errors import InputError, SourceError
from sim.schema import conform

MANIFEST_EVERY_S = 60.0  # a manifest is asked for at most this often of one server; loopback servers are free
MOST_MANIFEST = 1 << 20
MOST_OBJECT = 256 << 20  # compressed
MOST_CATALOG = 1 << 30  # unpacked
LEVELS = 64  # of nested catalogs and of symlinks that are followed
_DATE = "%a %b %d %H:%M:%S %Z %Y"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")

DIRECTORY, NESTED, FILE, SYMLINK = 1, 2, 4, 8


@dataclass(frozen=True)
class Manifest:
    """What `.cvmfspublished` says.

    root_bytes : of the root catalog, unpacked
    history, certificate : of the tag database and of who signed; None where the repository has none
    digest, signature : of the manifest's own text, and its signature
    """

    name: str
    revision: int
    published_at: pd.Timestamp
    ttl_s: float
    root: Hash
    root_bytes: int
    history: Hash | None
    collectable: bool
    certificate: Hash | None = None
    digest: str = ""
    signature: bytes = b""

    @classmethod
    def parse(cls, content: bytes, where: str) -> Manifest:
        """Read a manifest and check that its text is what its own hash says.

        Raises
        ------
        InputError : it is none, it lacks a field, or it was changed
        """
        signed, mark, rest = content.partition(b"\n--\n")
        if not mark or not re.match(rb"[A-Z][^\n]*\n", content):
            raise InputError(f"{where}: no CVMFS manifest there; expected the address of a repository")
        told = rest.split(b"\n", 1)[0].decode("ascii", "replace")
        own = Hash.parse(told, f"{where}, checksum line")
        text = signed + b"\n"
        if own.of(text) != own.digits:
            raise InputError(f"{where}: the manifest was changed on its way: its checksum is {own.of(text)}")
        fields = {line[:1]: line[1:] for line in text.decode("utf-8", "replace").splitlines()}
        missing = [name for name in "CSTN" if not fields.get(name)]
        if missing:
            raise InputError(f"{where}: the manifest lacks the field {missing[0]}")
        try:
            published = pd.Timestamp(int(fields["T"]), unit="s", tz="UTC")
            numbers = {
                name: int(fields.get(name) or default) for name, default in (("S", 0), ("D", 240), ("B", 0))
            }
        except (ValueError, OverflowError) as error:
            raise InputError(f"{where}: a field of the manifest is no number ({error})"[:300]) from error
        if min(numbers.values()) < 0:
            raise InputError(f"{where}: a field of the manifest is below zero")
        return cls(
            name=fields["N"],
            revision=numbers["S"],
            published_at=published,
            ttl_s=float(numbers["D"]),
            root=Hash.parse(fields["C"], f"{where}, field C"),
            root_bytes=numbers["B"],
            history=Hash.parse(fields["H"], f"{where}, field H") if fields.get("H") else None,
            collectable=fields.get("G") == "yes",
            certificate=Hash.parse(fields["X"], f"{where}, field X") if fields.get("X") else None,
            digest=told,
            signature=rest.partition(b"\n")[2],
        )


class Nested(NamedTuple):
    """A nested catalog: its path in the repository, its hash, its unpacked size in bytes (0 if not told)."""

    path: str
    hash: Hash
    bytes: int


class Entry(NamedTuple):
    """A directory entry: its flags (DIRECTORY, NESTED, FILE, SYMLINK) and where it points as a symlink."""

    flags: int
    symlink: str


class Counted(NamedTuple):
    """Regular files [1] and their unpacked bytes."""

    files: int
    bytes: int


class Catalog:
    """A catalog: an SQLite database in memory, read-only; `where` names it in messages."""

    def __init__(self, content: bytes, where: str) -> None:
        self.where = where
        self._tables = _tables(content, where)
        try:
            self.counters = {
                str(name): int(value)
                for name, value in self._tables.execute("SELECT counter, value FROM statistics")
            }
            self.properties = dict(self._tables.execute("SELECT key, value FROM properties"))
        except (sqlite3.Error, TypeError, ValueError) as error:
            self._tables.close()
            raise InputError(f"{where}: no CVMFS catalog ({error})") from error

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self._tables.close()

    def nested(self) -> list[Nested]:
        """The catalogs below this one, one level."""
        rows = self._ask("SELECT path, sha1, size FROM nested_catalogs ORDER BY path")
        return [
            Nested(str(path), Hash.parse(str(name), f"{self.where}, nested catalog"), int(size or 0))
            for path, name, size in rows
        ]

    def counted(self) -> Counted:
        """Files and bytes of this catalog and all below: `self_*` counts its own, `subtree_*` those below without it."""
        total = {
            name: self.counters.get(f"self_{name}", 0) + self.counters.get(f"subtree_{name}", 0)
            for name in ("regular", "file_size")
        }
        return Counted(total["regular"], total["file_size"])

    def entry(self, path: str) -> Entry | None:
        """The entry of a path such as `/base/etc`, if this catalog has it."""
        rows = self._ask(
            "SELECT flags, symlink FROM catalog WHERE md5path_1 = ? AND md5path_2 = ?", path_key(path)
        )
        return Entry(int(rows[0][0]), str(rows[0][1] or "")) if rows else None

    def links(self, path: str) -> dict[str, str]:
        """The symlinks that this catalog has in a directory."""
        rows = self._ask(
            "SELECT name, symlink FROM catalog WHERE parent_1 = ? AND parent_2 = ? AND flags & 8 ORDER BY name",
            path_key(path),
        )
        return {str(name): str(link or "") for name, link in rows}

    def below(self, path: str) -> Counted:
        """Files and bytes that this catalog itself has below a directory."""
        rows = self._ask(
            "WITH RECURSIVE inside(a, b) AS (VALUES (?, ?) UNION "
            "SELECT c.md5path_1, c.md5path_2 FROM catalog c, inside WHERE c.parent_1 = a AND c.parent_2 = b AND c.flags & 1)"
            " SELECT count(*), coalesce(sum(size), 0) FROM catalog c, inside"
            " WHERE c.parent_1 = a AND c.parent_2 = b AND c.flags & 4 AND NOT c.flags & 8",
            path_key(path),
        )
        return Counted(int(rows[0][0]), int(rows[0][1]))

    def _ask(self, question: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._tables.execute(question, values).fetchall()
        except sqlite3.Error as error:
            raise InputError(f"{self.where}: a damaged catalog ({error})") from error


def _tables(content: bytes, where: str) -> sqlite3.Connection:
    """A database that somebody else made, in memory and read-only.

    Only plain tables are taken: a view, a trigger, a virtual table or a computed column can run for ever, or give more than
    the file holds.
    """
    tables = sqlite3.connect(":memory:")
    try:
        tables.deserialize(content)
        tables.execute("PRAGMA trusted_schema = OFF")
        tables.execute("PRAGMA query_only = ON")
        tables.execute("PRAGMA cell_size_check = ON")
        schema = tables.execute("SELECT type, name, sql FROM sqlite_schema LIMIT 1000").fetchall()
    except sqlite3.Error as error:
        tables.close()
        raise InputError(f"{where}: no CVMFS catalog ({error})") from error
    for kind, name, made in schema:
        if kind not in {"table", "index"} or re.search(r"\b(AS|VIRTUAL)\b", str(made or ""), re.IGNORECASE):
            tables.close()
            raise InputError(
                f"{where}: a catalog holds plain tables, this one has {str(name)[:60]!r}; refused"
            )
    return tables


def path_key(path: str) -> tuple[int, int]:
    """How catalogs name a path: its MD5 as two little-endian signed numbers of 64 bits; the root's path is empty."""
    digest = hashlib.md5(path.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "little", signed=True), int.from_bytes(
        digest[8:], "little", signed=True
    )


@dataclass(frozen=True)
class FoundImage:
    """An image in a repository: what it weighs, without a file of it being fetched.

    path : of its directory; its tag may be a link to it
    catalog_bytes : what its catalog weighs on the wire
    """

    name: str
    path: str
    counted: Counted
    catalog_bytes: int
    nested_below: int


class Shelf:
    """Objects kept in a folder under their hashes, so that none is fetched twice; without a folder, in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._held: dict[str, bytes] = {}

    def get(self, key: str, newer_than: float = 0.0) -> bytes | None:
        """What is kept, if it is newer than a Unix time."""
        if self._folder is None:
            return self._held.get(key)
        path = self._folder / key
        try:
            return path.read_bytes() if path.stat().st_mtime >= newer_than else None
        except OSError:
            return None

    def put(self, key: str, content: bytes) -> None:
        """Keep something; a folder that can't be written is done without."""
        if self._folder is None:
            self._held[key] = content
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            scratch = self._folder / f".{key}.{os.getpid()}"
            scratch.write_bytes(content)
            scratch.replace(self._folder / key)
        except OSError:
            self._folder = None
            self._held[key] = content


@dataclass
class Repository:
    """A repository on one server.

    url : ends in the repository's name
    shelf : where catalogs stay from one question to the next
    refresh_s : how long a manifest is believed
    """

    url: str
    web: Web = field(default_factory=Web)
    shelf: Shelf = field(default_factory=Shelf)
    refresh_s: float | None = None
    most_catalog: int = MOST_CATALOG
    _manifest: tuple[float, Manifest] | None = None
    _fell_from: int | None = None

    def __post_init__(self) -> None:
        check_url(self.url)
        self.url = self.url.rstrip("/")
        self.name = self.url.rsplit("/", 1)[-1]
        if not _NAME.fullmatch(self.name) or self.name == urlsplit(self.url).netloc:
            raise InputError(f"{self.url}: expected an address that ends in the repository's name")
        if self.refresh_s is None:
            self.refresh_s = 0.0 if _loopback(self.url) else MANIFEST_EVERY_S

    def manifest(self) -> Manifest:
        """The manifest, at most `refresh_s` old.

        Raises
        ------
        InputError : no repository there, or another one
        SourceError : the server can't be reached or fails
        """
        assert self.refresh_s is not None
        if self._manifest and time.monotonic() - self._manifest[0] < self.refresh_s:
            return self._manifest[1]
        url, key = (
            f"{self.url}/.cvmfspublished",
            hashlib.sha256(self.url.encode()).hexdigest()[:40] + ".manifest",
        )
        content = self.shelf.get(key, time.time() - self.refresh_s) if self.refresh_s else None
        if content is None:
            answer = self.web.get(url, most=MOST_MANIFEST)
            if answer.status in {403, 404}:
                raise InputError(
                    f"{self.url}: no CVMFS repository there (the server answers {answer.status} for its manifest)"
                )
            content = _content(answer.status, answer.content, url)
        found = Manifest.parse(content, url)
        if found.name != self.name:
            raise InputError(f"{self.url}: the repository there is called {found.name!r}")
        self.shelf.put(key, content)
        self._fell_from = self._newer_seen(key.replace(".manifest", ".newest"), content, found)
        self._manifest = (time.monotonic(), found)
        return found

    def notes(self, now: pd.Timestamp) -> list[str]:
        """What looks wrong about the manifest: a clock that disagrees, a revision older than one seen here before."""
        manifest = self.manifest()
        found = []
        ahead = (manifest.published_at - now).total_seconds()
        if ahead > 300:
            found.append(
                f"published {ahead:.0f} s in the future: a clock is wrong, here or on the release manager"
            )
        if self._fell_from is not None:
            found.append(
                f"revision {self._fell_from} was seen here before: the server fell back or was rolled back"
            )
        return found

    def _newer_seen(self, key: str, content: bytes, found: Manifest) -> int | None:
        """The highest revision ever seen here, if it lies above this one, which else is kept as the highest."""
        try:
            kept = self.shelf.get(key)
            if (
                kept is not None
                and (seen := Manifest.parse(kept, "the kept manifest").revision) > found.revision
            ):
                return seen
        except InputError:
            pass  # whatever lies there, it is replaced
        self.shelf.put(key, content)
        return None

    def root(self) -> Catalog:
        """The root catalog."""
        return self.catalog(self.manifest().root)

    def catalog(self, name: Hash) -> Catalog:
        """The catalog of this hash; see `fetch`."""
        return Catalog(self.fetch(name, "C"), self._where(name, "C"))

    def fetch(self, name: Hash, kind: str) -> bytes:
        """An object, verified by its hash and only then unpacked.

        Raises
        ------
        InputError : it isn't what its name says, or unpacks to more than is allowed
        SourceError : the server doesn't have it or fails
        """
        where = self._where(name, kind)
        key = f"{name}{kind}"
        packed = self.shelf.get(key)
        if packed is None or name.of(packed) != name.digits:
            answer = self.web.get(where, most=MOST_OBJECT)
            packed = _content(answer.status, answer.content, where)
            if name.of(packed) != name.digits:
                raise InputError(
                    f"{where}: its hash is {name.of(packed)}, so it isn't what its name says; refused"
                )
            self.shelf.put(key, packed)
        return _unpacked(packed, self.most_catalog, where)

    def wire_bytes(self, name: Hash, kind: str = "C") -> int:
        """What an object weighs compressed, once it was fetched."""
        return len(self.shelf.get(f"{name}{kind}") or b"")

    def images(self) -> list[Nested]:
        """The images of a repository that has a catalog for each: the catalogs below the root's."""
        with self.root() as root:
            return root.nested()

    def image(self, name: str) -> FoundImage:
        """An image by the path of its directory or of a link to it, without the leading slash.

        Raises
        ------
        InputError : the name can't be one, the repository hasn't it, or a catalog is not what it should be
        SourceError : the server doesn't have a catalog or fails
        """
        path = "/" + checked_name(name)
        manifest = self.manifest()
        top = Nested("", manifest.root, manifest.root_bytes)
        for _ in range(LEVELS):
            catalog, owner = self._deepest(path, top)
            with catalog:
                if owner.path == path:
                    below = catalog.nested()
                    size = self.wire_bytes(owner.hash)
                    return FoundImage(name, path, catalog.counted(), size, len(below))
                entry = catalog.entry(path)
                if entry is None:
                    raise MissingImageError(f"{self.name} has no image {name!r}{_hint(catalog, path)}")
                if entry.flags & SYMLINK:
                    path = self._target(path, entry.symlink)
                    continue
                if not entry.flags & DIRECTORY:
                    raise InputError(f"{self.name}: {name!r} is a file, not an unpacked image")
                return self._counted(name, path, catalog, owner)
        raise InputError(f"{self.name}: {name!r} is a link to itself")

    def tags(self) -> pd.DataFrame:
        """The history: name, revision, published_at of each tag; without rows where the repository keeps none."""
        history = self.manifest().history
        columns = ["name", "revision", "published_at"]
        if history is None:
            return pd.DataFrame({column: [] for column in columns})
        where = self._where(history, "H")
        content = self.fetch(history, "H")
        with closing(_tables(content, where)) as tables:
            try:
                rows = tables.execute(
                    "SELECT name, revision, timestamp FROM tags ORDER BY revision, name"
                ).fetchall()
                published = [pd.Timestamp(int(at), unit="s", tz="UTC") for _, _, at in rows]
                rows = [(str(name), int(revision)) for name, revision, _ in rows]
            except (sqlite3.Error, TypeError, ValueError, OverflowError) as error:
                raise InputError(f"{where}: no CVMFS tag database ({error})"[:300]) from error
        return pd.DataFrame(rows, columns=columns[:2]).assign(published_at=published)

    def status(self) -> dict[str, pd.Timestamp]:
        """When the server last took a snapshot and collected garbage, as far as it tells."""
        answer = self.web.get(f"{self.url}/.cvmfs_status.json", most=MOST_MANIFEST)
        told = _json(answer.content) if answer.status == 200 else {}
        return {
            name: moment
            for name in ("last_snapshot", "last_gc")
            if (moment := _date(told.get(name))) is not None
        }

    def whitelist(self) -> Whitelist | None:
        """The repository's whitelist; None where the server has none."""
        url = f"{self.url}/.cvmfswhitelist"
        answer = self.web.get(url, most=MOST_MANIFEST)
        return Whitelist.parse(answer.content, url) if answer.status == 200 else None

    def trust(self, now: pd.Timestamp, key: bytes | None = None) -> Trust:
        """Verify the manifest's signature, its certificate's place on the whitelist, and with a master key the whitelist's own.

        Raises
        ------
        InputError : a signature that isn't its certificate's, a whitelist that was changed
        SourceError : the server fails
        """
        manifest, whitelist = self.manifest(), self.whitelist()
        certificate = None
        if manifest.certificate is not None:
            where = self._where(manifest.certificate, "X")
            certificate = check_signature(
                self.fetch(manifest.certificate, "X"), manifest.digest, manifest.signature, where
            )
        rooted = None
        if key is not None:
            rooted = whitelist is not None and signed_by(whitelist, key, "the master key")
        return judge(manifest.name, certificate, whitelist, now, rooted=rooted)

    def links(self, directory: str) -> dict[str, str]:
        """The symlinks of a directory (without the leading slash) and where they point; empty where there is none."""
        path = f"/{checked_name(directory)}" if directory else ""
        manifest = self.manifest()
        catalog, _ = self._deepest(path, Nested("", manifest.root, manifest.root_bytes))
        with catalog:
            return catalog.links(path)

    def server(self) -> dict[str, Any]:
        """What `info/v1/repositories.json` and `meta.json` of the server say; empty where it says nothing."""
        base = self.url.rsplit("/", 1)[0].removesuffix("/cvmfs")
        told: dict[str, Any] = {}
        for part in ("repositories", "meta"):
            for root in (base + "/cvmfs", base):
                answer = self.web.get(f"{root}/info/v1/{part}.json", most=MOST_MANIFEST)
                found = _json(answer.content) if answer.status == 200 else {}
                if found:
                    told.update(found)
                    break
        return told

    def _deepest(self, path: str, owner: Nested) -> tuple[Catalog, Nested]:
        """The catalog that a path belongs to, walked to from the root's."""
        catalog = self.catalog(owner.hash)
        for _ in range(LEVELS):
            inside = [
                nested
                for nested in catalog.nested()
                if (path + "/").startswith(nested.path + "/") and len(nested.path) > len(owner.path)
            ]
            if not inside:
                return catalog, owner
            catalog.__exit__()
            owner = max(inside, key=lambda nested: len(nested.path))
            catalog = self.catalog(owner.hash)
        raise InputError(f"{self.name}: more than {LEVELS} catalogs one in another below {path}")

    def _counted(self, name: str, path: str, catalog: Catalog, owner: Nested) -> FoundImage:
        """An image without a catalog of its own: its part of the catalog it is in, and the catalogs below it."""
        own = catalog.below(path)
        files, size, wire = own.files, own.bytes, self.wire_bytes(owner.hash)
        below = [nested for nested in catalog.nested() if nested.path.startswith(path + "/")]
        for nested in below:
            with self.catalog(nested.hash) as part:
                counted = part.counted()
            files, size, wire = (
                files + counted.files,
                size + counted.bytes,
                wire + self.wire_bytes(nested.hash),
            )
        return FoundImage(name, path, Counted(files, size), wire, len(below))

    def _target(self, path: str, link: str) -> str:
        """Where a link points, inside this repository."""
        own = f"/cvmfs/{self.name}/"
        whole = link if link.startswith("/") else f"{path.rsplit('/', 1)[0]}/{link}"
        if link.startswith("/"):
            if not link.startswith(own):
                raise InputError(f"{self.name}: {path} is a link out of the repository, to {link[:200]!r}")
            whole = "/" + link.removeprefix(own)
        parts: list[str] = []
        for part in whole.split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in {"", "."}:
                parts.append(part)
        return "/" + "/".join(parts)

    def _where(self, name: Hash, kind: str) -> str:
        return f"{self.url}/{quote(name.path(kind))}"


def compare(
    urls: Sequence[str],
    *,
    web: Web | None = None,
    shelf: Shelf | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """The frame "repositories": a row per server of one repository, with how far it lags behind the newest.

    A path such as /cvmfs/NAME stands for this machine's own mount: what its client says. A server or mount that can't be
    read has a row with its error.
    """
    at = now if now is not None else pd.Timestamp.now(tz="UTC")
    rows = []
    for url in urls:
        row: dict[str, Any] = {"seen_at": at, "server": url, "repository": url.rstrip("/").rsplit("/", 1)[-1]}
        try:
            if url.startswith("/"):
                rows.append(row | _of_mount(Path(url)))
                continue
            repository = Repository(url, web or Web(), shelf or Shelf())
            found = repository.manifest()
            row |= {
                "revision": found.revision,
                "published_at": found.published_at,
                "ttl_s": found.ttl_s,
                "snapshot_at": repository.status().get("last_snapshot"),
                "notes": "; ".join(repository.notes(at)) or None,
            }
        except (InputError, SourceError) as error:
            row["error"] = str(error)
        rows.append(row)
    frame = conform(pd.DataFrame(rows), "repositories")
    newest = frame.groupby("repository")["revision"].transform("max")
    latest = frame.groupby("repository")["published_at"].transform("max")
    frame["lag_revisions"] = (newest - frame["revision"]).astype("Int64")
    frame["lag_s"] = (latest - frame["published_at"]).dt.total_seconds()
    return conform(frame, "repositories")


def _of_mount(mount: Path) -> dict[str, Any]:
    """The columns of "repositories" that a mounted client fills; SourceError where none says anything."""
    told = read_attributes(mount)
    if not told.get("revision", "").isdigit():
        raise SourceError(f"{mount}: no CVMFS client answers there for its user.* attributes")
    words = {"hitrate": "{} % hits", "nioerr": "{} I/O errors", "ncleanup24": "{} cleanups in 24 h"}
    notes = [form.format(told[name]) for name, form in words.items() if name in told]
    return {"revision": int(told["revision"]), "notes": ", ".join(notes) or None}


class RepositorySource:
    """Servers of CVMFS repositories, and mounts of this machine, as a source of collecting: "repositories" in every round.

    Servers are asked for their manifests at most once a minute each, whatever the round's interval.
    """

    name = "repositories"

    def __init__(
        self, urls: Sequence[str], *, web: Web | None = None, every_s: float = MANIFEST_EVERY_S
    ) -> None:
        self.urls = tuple(urls)
        for url in urls:
            if not url.startswith("/"):
                Repository(url)
        self._web = web or Web()
        self._every_s = every_s
        self._asked_s = -every_s

    def read(self, moment: Moment) -> Reading:
        """Ask every server; one that fails has a row with its error."""
        now = time.monotonic()
        if now - self._asked_s < self._every_s:
            return Reading({})
        self._asked_s = now
        frame = compare(self.urls, web=self._web, now=moment.at)
        frame["snapshot"] = moment.snapshot
        errors = [str(error) for error in frame["error"].dropna()]
        return Reading({"repositories": conform(frame, "repositories")}, errors=errors)


STAT_FIELDS = (
    "version", "pid", "uptime_min", "memory_kib", "revision", "expires_min", "catalogs", "cache_used_kib",
    "cache_most_kib", "files_open", "files_most", "io_errors", "opens", "hit_percent", "received_kib",
    "speed_kib_s", "host", "proxy", "online",
)  # fmt: skip


def parse_stat(text: str) -> dict[str, str | float]:
    """What `cvmfs_config stat REPOSITORY` prints on a node, by name; its header line must stand above the values.

    Raises
    ------
    InputError : something else
    """
    lines = [line.split() for line in text.strip().splitlines() if line.strip()]
    head = next((place for place, words in enumerate(lines) if words[:2] == ["VERSION", "PID"]), None)
    if head is None or len(lines) <= head + 1 or len(lines[head + 1]) != len(STAT_FIELDS):
        raise InputError(
            f"not the output of cvmfs_config stat: expected a line of {len(STAT_FIELDS)} names and one of values"
        )
    values = zip(STAT_FIELDS, lines[head + 1], strict=True)
    return {name: value if name in {"version", "host", "proxy"} else float(value) for name, value in values}


ATTRIBUTES = (
    "revision", "root_hash", "nclg", "ndownload", "nopen", "ndiropen", "rx", "speed", "hitrate", "nioerr",
    "timestamp_last_ioerr", "ncleanup24", "expires", "uptime", "host", "proxy", "usedfd", "maxfd", "version", "fqrn",
)  # fmt: skip


def read_attributes(mount: Path) -> dict[str, str]:
    """The client's own numbers of a mounted repository (`user.*` attributes); empty where there are none."""
    found = {}
    for name in ATTRIBUTES:
        try:
            found[name] = os.getxattr(mount, f"user.{name}").decode("utf-8", "replace")
        except (OSError, AttributeError):  # no such attribute, no such mount, no such system call
            continue
    return found


def _content(status: int, content: bytes, url: str) -> bytes:
    if status != 200:
        raise SourceError(f"{url}: the server answers {status}")
    return content


def _unpacked(packed: bytes, most: int, where: str) -> bytes:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(packed, most)
    except zlib.error as error:
        raise InputError(f"{where}: no compressed object ({error})") from error
    if stream.unconsumed_tail:
        raise InputError(f"{where}: unpacks to more than {most:,} bytes; not read")
    if not stream.eof:
        raise InputError(f"{where}: the object ends too early")
    return content


def _json(content: bytes) -> dict[str, Any]:
    try:
        told = json.loads(content)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _date(text: object) -> pd.Timestamp | None:
    """A date as `date` writes it (Mon Nov 23 19:22:03 UTC 2026)."""
    try:
        return pd.Timestamp(datetime.strptime(str(text), _DATE).replace(tzinfo=UTC))
    except ValueError:
        return None


def _hint(catalog: Catalog, path: str) -> str:
    """What there is instead, for a message: the images beside the one that was asked for."""
    beside = [nested.path[1:] for nested in catalog.nested()][:6]
    return f"; it has {', '.join(beside)}" if beside and path.count("/") == 1 else ""


def _loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
