"""Signatures: those of a repository that CVMFS itself signed, and made ones for what can be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from collectors.cvmfs import Repository
from collectors.signature import Trust, Whitelist
from sim.errors import InputError
from tests.collectors.repository import Writer, digest
from tests.collectors.serving import Served, served

NAME = "made.example.org"
NOW = pd.Timestamp("2026-11-24", tz="UTC")
REAL_NOW = pd.Timestamp("2026-11-24", tz="UTC")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    """A certificate that signs itself."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    until = datetime.now(UTC) + timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, datetime.now(UTC), until)
    return builder.sign(key, hashes.SHA256())


def write_signed(
    folder: Path,
    key: rsa.RSAPrivateKey,
    *,
    expires: str = "20261224000000",
    name: str = NAME,
    algorithm: str = "sha1",
) -> None:
    """A repository whose manifest is signed, with a whitelist of its certificate that the same key signs."""
    suffix = "" if algorithm == "sha1" else f"-{algorithm}"
    writer = Writer(folder, algorithm=algorithm)
    own = certificate(key)
    named = writer.put(own.public_bytes(serialization.Encoding.PEM), "X")
    writer.write({"img!": {"a": 1}}, fields={"X": named})
    manifest = writer.place / ".cvmfspublished"
    text, _, rest = manifest.read_bytes().partition(b"--\n")
    told = rest.split(b"\n")[0]
    manifest.write_bytes(text + b"--\n" + told + b"\n" + key.sign(told, padding.PKCS1v15(), hashes.SHA1()))
    printed = bytes.fromhex(digest(own.public_bytes(serialization.Encoding.DER), algorithm)).hex(":").upper()
    lines = f"20261124000000\nE{expires}\nN{name}\n{printed}{suffix}\n".encode()
    checksum = (digest(lines, algorithm) + suffix).encode()
    signature = key.sign(checksum, padding.PKCS1v15(), utils.NoDigestInfo())
    (writer.place / ".cvmfswhitelist").write_bytes(lines + b"--\n" + checksum + b"\n" + signature)


def trust(server: Served, key: bytes | None = None) -> Trust:
    return Repository(f"{server.url}/{NAME}").trust(NOW, key)


def test_a_repository_that_cvmfs_signed(shared_data: Path) -> None:
    """Its manifest is its certificate's, the certificate is whitelisted; a month later the whitelist is over."""
    with served(shared_data / "cvmfs" / "repository") as server:
        repository = Repository(f"{server.url}/test.poolscope.local")
        found = repository.trust(REAL_NOW)
        assert (found.signed, found.listed, found.rooted, found.notes) == (True, True, None, ())
        later = repository.trust(REAL_NOW + pd.Timedelta(days=31))
        assert not later.listed
        assert later.notes == ("the whitelist expired on 2026-12-23",)


def test_down_to_the_master_key(made: Served, tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    """The right master key confirms the whitelist, another one doesn't, and what is no key is a sentence."""
    write_signed(tmp_path, key)

    def pem(of: rsa.RSAPrivateKey) -> bytes:
        return of.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    assert trust(made, pem(key)) == Trust(True, True, True, pd.Timestamp("2026-12-24", tz="UTC"))
    other = trust(made, pem(rsa.generate_private_key(65537, 2048)))
    assert other.rooted is False
    assert other.notes == ("the whitelist isn't signed by the given key",)
    with pytest.raises(InputError, match="no public key"):
        trust(made, b"nonsense")


@pytest.mark.parametrize("algorithm", ["rmd160", "shake128"])
def test_whitelists_by_the_repositorys_algorithm(
    made: Served, tmp_path: Path, key: rsa.RSAPrivateKey, algorithm: str
) -> None:
    """cvmfs_server writes the hash and the fingerprint of a whitelist by CVMFS_HASH_ALGORITHM, with its suffix."""
    write_signed(tmp_path, key, algorithm=algorithm)
    found = trust(made)
    assert (found.signed, found.listed, found.notes) == (True, True, ())
    whitelist = tmp_path / NAME / ".cvmfswhitelist"
    whitelist.write_bytes(whitelist.read_bytes().replace(b"20261124", b"20261125", 1))
    with pytest.raises(InputError, match="whitelist was changed"):
        trust(made)


def test_a_manifest_that_somebody_else_signed_is_refused(
    made: Served, tmp_path: Path, key: rsa.RSAPrivateKey
) -> None:
    write_signed(tmp_path, key)
    manifest = tmp_path / NAME / ".cvmfspublished"
    manifest.write_bytes(manifest.read_bytes()[:-1] + b"!")
    with pytest.raises(InputError, match="signature isn't that of its certificate; refused"):
        trust(made)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"expires": "20261101000000"}, "expired on 2026-11-01"),
        ({"name": "other.example.org"}, "is that of other.example.org"),
    ],
)
def test_whitelists_that_clients_refuse(
    made: Served, tmp_path: Path, key: rsa.RSAPrivateKey, changes: dict[str, str], said: str
) -> None:
    write_signed(tmp_path, key, **changes)
    found = trust(made)
    assert (found.signed, found.listed) == (True, False)
    assert said in found.notes[0]


def test_a_certificate_that_is_not_whitelisted(made: Served, tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    write_signed(tmp_path / "other", rsa.generate_private_key(65537, 2048))
    write_signed(tmp_path, key)
    strange = tmp_path / "other" / NAME / ".cvmfswhitelist"
    (tmp_path / NAME / ".cvmfswhitelist").write_bytes(strange.read_bytes())
    assert trust(made).notes == ("the certificate isn't on the whitelist",)


def test_nothing_to_verify_with(made: Served, tmp_path: Path) -> None:
    Writer(tmp_path).write({"img!": {"a": 1}})
    found = trust(made)
    assert (found.signed, found.listed) == (False, False)
    assert len(found.notes) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", b"E20261224000000\nNx\n--\n0000\nx", b"E99999999999999\nNx\n--\n", b"\xff" * 5000],
)
def test_what_is_no_whitelist(content: bytes) -> None:
    with pytest.raises(InputError, match="whitelist"):
        Whitelist.parse(content, "here")


def test_a_certificate_that_is_none(made: Served, tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write({"img!": {"a": 1}}, fields={"X": writer.put(b"no certificate", "X")})
    with pytest.raises(InputError, match="certificate can't be read"):
        trust(made)
