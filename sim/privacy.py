"""Owners, projects and hosts under pseudonyms: the same name always becomes the same pseudonym, and none leads back.

A pseudonym is a keyed hash (BLAKE2b). The key is made once per store and stays beside it, readable by its owner alone;
$POOLSCOPE_PSEUDONYM_KEY stands in for it, so that several stores can be compared. Whoever has the key can test a guess.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import pandas as pd

from sim.errors import StoreError

KEY_FILE = ".pseudonym-key"
_PEOPLE = ("owner", "submitter")
_GROUPS = ("project", "accounting_group")
_HOSTS = ("machine", "schedd", "negotiator", "daemon_name")
_SLOTS = ("name", "parent", "slot", "startd")
_TEXTS = (
    "ad",
    "start",
    "requirements",
    "rank",
    "require_gpus",
    "concurrency_limits",
    "by_submitter",
    "image",
)
_PEOPLE_IN_ADS = re.compile(
    r'\b(?:Owner|OsUser|User|RemoteOwner|RemoteUser|AccountingGroup|AcctGroupUser|SubmitterName|NTDomain|RemoteGroup) = "([^"\\]+)"',
    re.IGNORECASE,
)
_GROUPS_IN_ADS = re.compile(
    r'\b(?:AcctGroup|ProjectName|RemoteProject|RemoteNegotiatingGroup) = "([^"\\]+)"', re.IGNORECASE
)
_HOSTS_IN_ADS = re.compile(
    r"\b(?:Machine|UtsnameNodename|UidDomain|FileSystemDomain|ClientMachine|SubmitHost|LastRemoteHost|RemoteHost|"
    r'GLIDEIN_\w*Host\w*|GlobalJobId|ScheddName|StartdName|Name) = "([^"\\]+)"',
    re.IGNORECASE,
)
_DOMAIN = re.compile(r"(?:[\w-]+\.)+[A-Za-z][\w-]*")
_WORD = re.compile(r"[A-Za-z_][\w-]*")


class Pseudonyms:
    """Pseudonyms by one key.

    Parameters
    ----------
    key : secret, at least 16 bytes
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise StoreError("the key of pseudonyms is too short; expected at least 16 characters")
        self._key = key
        self._hash = lru_cache(maxsize=1 << 16)(self._hashed)

    @classmethod
    def of(cls, store: Path) -> Pseudonyms:
        """The pseudonyms of a store; its key is made at the first time.

        Raises
        ------
        StoreError : the key can't be read or made
        """
        if told := os.environ.get("POOLSCOPE_PSEUDONYM_KEY"):
            return cls(told.encode())
        file = store / KEY_FILE
        try:
            if not file.exists():
                store.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(secrets.token_hex(32).encode())
            return cls(file.read_bytes())
        except FileExistsError:
            return cls(file.read_bytes())
        except OSError as error:
            raise StoreError(f"{file}: can't be read or made ({error.strerror or error})") from error

    def _hashed(self, kind: str, name: str) -> str:
        digest = hashlib.blake2b(f"{kind}\0{name.lower()}".encode(), key=self._key[:64], digest_size=6)
        return f"{kind}-{digest.hexdigest()}"

    def person(self, name: str) -> str:
        """A user, also as the negotiator has him: ``group.user@domain``; the parts stay apart."""
        who, at, domain = name.partition("@")
        parts = [self._hash("user" if place == who.count(".") else "group", part)
                 for place, part in enumerate(who.split("."))]  # fmt: skip
        return ".".join(parts) + (f"@{self.host(domain)}" if at else "")

    def group(self, name: str) -> str:
        """A project or accounting group, with its parent groups apart."""
        return ".".join(self._hash("group", part) for part in name.split("."))

    def host(self, name: str) -> str:
        """A host, or a daemon on it: ``ap1@host``."""
        return "@".join(self._hash("host", part) for part in name.split("@"))

    def slot(self, name: str) -> str:
        """A slot or startd: ``slot1_2@startd@host``; the slot's number stays."""
        first, at, rest = name.partition("@")
        if re.fullmatch(r"(slot|data|backfill)\d+(_\d+)*", first) and at:
            return f"{first}@{self.host(rest)}"
        return self.host(name)

    def frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame with pseudonyms for names, also where they stand in ads and expressions."""
        changed = frame.copy()
        secret = self._names(frame)
        for columns, change in (
            (_PEOPLE, self.person), (_GROUPS, self.group), (_HOSTS, self.host), (_SLOTS, self.slot)
        ):  # fmt: skip
            for column in columns:
                if column in frame:
                    changed[column] = _mapped(frame[column], change)
        for column in _TEXTS:
            if column in frame:
                changed[column] = _mapped(frame[column], lambda text: self._text(text, secret))
        return changed

    def _names(self, frame: pd.DataFrame) -> dict[str, str]:
        """The names of a frame, whole and in parts, and what each becomes."""
        found: dict[str, str] = {}
        ads = frame["ad"].dropna().unique() if "ad" in frame else ()
        told: list[tuple[str, Iterable[str]]] = [
            ("person", [*_values(frame, _PEOPLE), *(name for ad in ads for name in _PEOPLE_IN_ADS.findall(ad))]),
            ("group", [*_values(frame, _GROUPS), *(name for ad in ads for name in _GROUPS_IN_ADS.findall(ad))]),
            ("host", [*_values(frame, _HOSTS), *_values(frame, _SLOTS),
                      *(name for ad in ads for name in _HOSTS_IN_ADS.findall(ad))]),
        ]  # fmt: skip
        for kind, names in told:
            for name in set(names):
                self._take_apart(kind, name, found)
        return found

    def _take_apart(self, kind: str, name: str, found: dict[str, str]) -> None:
        if kind == "host":
            for part in re.split(r"[@#]", name):
                if not re.fullmatch(r"(slot|data|backfill)?\d+(_\d+|\.\d+)*|<none>", part) and part:
                    found[part.lower()] = self._hash("host", part)
            return
        who, _, domain = name.partition("@")
        if domain:
            found[domain.lower()] = self._hash("host", domain)
        *groups, last = who.split(".")
        for part in groups if kind == "person" else [*groups, last]:
            found.setdefault(part.lower(), self._hash("group", part))
        if kind == "person":
            found[last.lower()] = self._hash("user", last)

    def _text(self, text: str, secret: dict[str, str]) -> str:
        """A text with the names in its strings replaced; attribute names and numbers stay."""

        def string(match: re.Match[str]) -> str:
            whole = match[0]
            if (hit := secret.get(whole[1:-1].lower())) is not None:
                return f'"{hit}"'
            named = _DOMAIN.sub(lambda host: secret.get(host[0].lower(), host[0]), whole)
            return _WORD.sub(lambda word: secret.get(word[0].lower(), word[0]), named)

        return re.sub(r'"(?:[^"\\]|\\.)*"', string, text)


def _values(frame: pd.DataFrame, columns: Iterable[str]) -> list[str]:
    return [str(value) for column in columns if column in frame for value in frame[column].dropna().unique()]


def _mapped(values: pd.Series, change: object) -> pd.Series:
    assert callable(change)
    known = {value: change(value) for value in values.dropna().unique()}
    return values.map(known).astype(values.dtype)
