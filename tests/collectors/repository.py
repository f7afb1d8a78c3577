"""A writer of CVMFS repositories, for the cases that a real one lacks: manifest, catalogs and tags as files of a folder."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCHEMA = """
CREATE TABLE catalog (md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER, hardlinks INTEGER,
    hash BLOB, size INTEGER, mode INTEGER, mtime INTEGER, mtimens INTEGER, flags INTEGER, name TEXT, symlink TEXT,
    uid INTEGER, gid INTEGER, xattr BLOB, PRIMARY KEY (md5path_1, md5path_2));
CREATE TABLE nested_catalogs (path TEXT PRIMARY KEY, sha1 TEXT, size INTEGER);
CREATE TABLE statistics (counter TEXT PRIMARY KEY, value INTEGER);
CREATE TABLE properties (key TEXT PRIMARY KEY, value TEXT);
INSERT INTO properties VALUES ('schema', '2.5'), ('schema_revision', '7');
"""
TAGS = """
CREATE TABLE tags (name TEXT PRIMARY KEY, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER,
    description TEXT, size INTEGER, branch TEXT);
CREATE TABLE properties (key TEXT PRIMARY KEY, value TEXT);
"""
Tree = Mapping[str, "int | str | Tree"]
"""A directory: name → size of a file, target of a link, or a directory. A name that ends in `!` has its own catalog."""


def digest(content: bytes, algorithm: str) -> str:
    """The name of an object under an algorithm."""
    if algorithm == "shake128":
        return hashlib.shake_128(content).hexdigest(20)
    return hashlib.new({"sha1": "sha1", "rmd160": "ripemd160", "md5": "md5"}[algorithm], content).hexdigest()


def key(path: str) -> tuple[int, int]:
    """The two numbers that stand for a path."""
    halves = hashlib.md5(path.encode()).digest()
    return tuple(int.from_bytes(half, "little", signed=True) for half in (halves[:8], halves[8:]))  # type: ignore[return-value]


@dataclass
class Writer:
    """Writes a repository below `folder`; see `write`."""

    folder: Path
    name: str = "made.example.org"
    algorithm: str = "sha1"

    @property
    def place(self) -> Path:
        """The repository's own folder."""
        return self.folder / self.name

    def put(self, content: bytes, kind: str) -> str:
        """Write an object and give its hash, with the algorithm's suffix."""
        packed = zlib.compress(content)
        name = digest(packed, self.algorithm)
        suffix = "" if self.algorithm in {"sha1", "md5"} else f"-{self.algorithm}"
        path = self.place / "data" / name[:2] / f"{name[2:]}{suffix}{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed)
        return name + suffix

    def catalog(self, tree: Tree, path: str = "") -> tuple[str, int, dict[str, int]]:
        """Write a tree's catalog: its hash, unpacked size, and its own and all lower counters together."""
        tables = sqlite3.connect(":memory:")
        tables.executescript(SCHEMA)
        own = {"regular": 0, "file_size": 0, "dir": 0, "symlink": 0, "nested": 0}
        below = dict.fromkeys(own, 0)
        self._fill(tables, tree, path, own, below, root=True)
        counters = {f"self_{k}": v for k, v in own.items()} | {f"subtree_{k}": v for k, v in below.items()}
        tables.executemany("INSERT INTO statistics VALUES (?, ?)", counters.items())
        tables.commit()
        content = tables.serialize()
        tables.close()
        return self.put(content, "C"), len(content), {name: own[name] + below[name] for name in own}

    def _fill(
        self,
        tables: sqlite3.Connection,
        tree: Tree,
        path: str,
        own: dict[str, int],
        below: dict[str, int],
        *,
        root: bool,
    ) -> None:
        if root:
            self._entry(tables, path, 33 if path else 1)
            own["dir"] += 1
        for spelled, what in tree.items():
            inner = f"{path}/{spelled.rstrip('!')}"
            if isinstance(what, int):
                self._entry(tables, inner, 4, size=what)
                own["regular"] += 1
                own["file_size"] += what
            elif isinstance(what, str):
                self._entry(tables, inner, 12, link=what)
                own["symlink"] += 1
            elif spelled.endswith("!"):
                name, size, counted = self.catalog(what, inner)
                self._entry(tables, inner, 3)
                tables.execute("INSERT INTO nested_catalogs VALUES (?, ?, ?)", (inner, name, size))
                own["nested"] += 1
                for counter, value in counted.items():
                    below[counter] += value
            else:
                self._entry(tables, inner, 1)
                own["dir"] += 1
                self._fill(tables, what, inner, own, below, root=False)

    @staticmethod
    def _entry(
        tables: sqlite3.Connection, path: str, flags: int, *, size: int = 4096, link: str = ""
    ) -> None:
        parent = key(path.rpartition("/")[0]) if path else (0, 0)
        values = (
            *key(path),
            *parent,
            1,
            None,
            size,
            0o755,
            0,
            0,
            flags,
            path.rpartition("/")[2],
            link,
            0,
            0,
            None,
        )
        tables.execute(f"INSERT INTO catalog VALUES ({','.join('?' * len(values))})", values)

    def write(
        self,
        tree: Tree,
        *,
        revision: int = 7,
        published: int = 1_795_463_718,
        tags: Sequence[tuple[str, int, int]] | None = None,
        leave_out: str = "",
        fields: Mapping[str, str] | None = None,
    ) -> str:
        """Write all of it; gives the root catalog's hash.

        tags : name, revision and time of each; None for a repository without a history
        leave_out : letters of manifest fields that are missing
        fields : what other fields say, or these instead
        """
        root, size, _ = self.catalog(tree)
        told = {"C": root, "B": str(size), "R": "d41d8cd98f00b204e9800998ecf8427e", "D": "240", "S": str(revision),
                "G": "yes", "N": self.name, "T": str(published)}  # fmt: skip
        if tags is not None:
            told["H"] = self.history(tags)
        told |= dict(fields or {})
        lines = "".join(f"{letter}{value}\n" for letter, value in told.items() if letter not in leave_out)
        own = digest(lines.encode(), self.algorithm) + (
            "" if self.algorithm in {"sha1", "md5"} else f"-{self.algorithm}"
        )
        self.place.mkdir(parents=True, exist_ok=True)
        (self.place / ".cvmfspublished").write_bytes(f"{lines}--\n{own}\n".encode() + b"\x00\x01signature")
        return root

    def history(self, tags: Sequence[tuple[str, int, int]]) -> str:
        """Write the tag database."""
        tables = sqlite3.connect(":memory:")
        tables.executescript(TAGS)
        tables.executemany("INSERT INTO tags VALUES (?, '', ?, ?, 0, '', 0, '')", tags)
        tables.commit()
        content = tables.serialize()
        tables.close()
        return self.put(content, "H")
