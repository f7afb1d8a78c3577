"""Who signed a CVMFS repository: its manifest by a certificate, the certificate by a whitelist, the whitelist by a master key.

The manifest's signature is RSA (PKCS #1 v1.5, SHA-1) over the hexadecimal hash of its text; a whitelist's is RSA over the
bare hash (CVMFS documentation, "Technical details"; both forms checked against a repository that CVMFS 2.12 signed). A
whitelist's hash and its fingerprints are by the repository's algorithm, which a suffix names where it isn't SHA-1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import pandas as pd
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from collectors.hashes import Hash
from sim.errors import InputError

_FINGERPRINT = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){19}(-rmd160|-shake128)?")


class Whitelist(NamedTuple):
    """What `.cvmfswhitelist` says: repository, until when it holds, fingerprints of certificates; hash and signature."""

    name: str
    expires_at: pd.Timestamp
    fingerprints: frozenset[Hash]
    digest: bytes
    signature: bytes

    @classmethod
    def parse(cls, content: bytes, where: str) -> Whitelist:
        """Read a whitelist and check that its text is what its own hash says; InputError if it isn't one."""
        text, mark, rest = content.partition(b"\n--\n")
        digest, _, signature = rest.partition(b"\n")
        expires = re.search(rb"^E(\d{14})$", text, re.MULTILINE)
        name = re.search(rb"^N([!-~]{1,200})$", text, re.MULTILINE)
        if not mark or expires is None or name is None:
            raise InputError(f"{where}: no whitelist of a CVMFS repository")
        told = Hash.parse(digest.decode("ascii", "replace"), f"{where}, checksum line of the whitelist")
        own = told.of(text + b"\n")
        if told.digits != own:
            raise InputError(f"{where}: the whitelist was changed on its way: its checksum is {own}")
        try:
            until = datetime.strptime(expires[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError as error:
            raise InputError(f"{where}: the whitelist's end {expires[1].decode()} is no time") from error
        lines = (line.split("#")[0].strip().lower() for line in text.decode("ascii", "replace").splitlines())
        prints = frozenset(
            Hash.parse(line.replace(":", ""), where) for line in lines if _FINGERPRINT.fullmatch(line)
        )
        return cls(name[1].decode(), pd.Timestamp(until), prints, digest, signature)

    def lists(self, certificate: bytes) -> bool:
        """Whether a certificate (DER) is one of those."""
        return any(each.of(certificate) == each.digits for each in self.fingerprints)


@dataclass(frozen=True)
class Trust:
    """What was verified of a repository's signatures.

    signed : the manifest is signed by the certificate that it names
    listed : that certificate is on the whitelist, which is the repository's and still holds
    rooted : the whitelist is signed by a key that one gave; None where none was given
    notes : why clients would refuse the repository; empty if they wouldn't
    """

    signed: bool
    listed: bool
    rooted: bool | None
    expires_at: pd.Timestamp | None
    notes: tuple[str, ...] = ()


def check_signature(certificate: bytes, digest: str, signature: bytes, where: str) -> bytes:
    """Verify a manifest's signature with its certificate (PEM) and give the certificate (DER); InputError if it fails."""
    try:
        found = x509.load_pem_x509_certificate(certificate)
        key = found.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise InputError(f"{where}: its certificate has no RSA key")
        key.verify(signature, digest.encode(), padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - CVMFS's own choice
        return found.public_bytes(serialization.Encoding.DER)
    except InvalidSignature as error:
        raise InputError(
            f"{where}: the manifest's signature isn't that of its certificate; refused"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{where}: its certificate can't be read ({str(error)[:100]})") from error


def signed_by(whitelist: Whitelist, key: bytes, where: str) -> bool:
    """Whether a whitelist is signed with this master key (public, PEM); InputError if that is no key."""
    try:
        found = serialization.load_pem_public_key(key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{where}: no public key in PEM form") from error
    if not isinstance(found, rsa.RSAPublicKey):
        raise InputError(f"{where}: no RSA key")
    try:
        told = found.recover_data_from_signature(whitelist.signature, padding.PKCS1v15(), None)
    except (InvalidSignature, ValueError):
        return False
    return told == whitelist.digest


def judge(
    name: str,
    certificate: bytes | None,
    whitelist: Whitelist | None,
    now: pd.Timestamp,
    *,
    rooted: bool | None = None,
) -> Trust:
    """What the verified parts together say; `certificate` (DER) is None where the manifest has none."""
    notes = []
    if certificate is None:
        notes.append("the manifest names no certificate, so its signature can't be verified")
    listed = False
    if whitelist is None:
        notes.append("the server has no whitelist")
    elif whitelist.name != name:
        notes.append(f"the whitelist is that of {whitelist.name}")
    elif certificate is not None and not whitelist.lists(certificate):
        notes.append("the certificate isn't on the whitelist")
    elif whitelist.expires_at < now:
        notes.append(f"the whitelist expired on {whitelist.expires_at:%Y-%m-%d}")
    else:
        listed = certificate is not None
    if rooted is False:
        notes.append("the whitelist isn't signed by the given key")
    until = None if whitelist is None else whitelist.expires_at
    return Trust(certificate is not None, listed, rooted, until, tuple(notes))
