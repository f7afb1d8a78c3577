"""A Debian chroot with HTCondor's daemons, built once and kept in a cache folder outside the checkout."""

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.realpool.errors import NoPoolError, TreeInUseError
from tests.realpool.privilege import as_root, delete_tree

DEFAULT_SUITE = "trixie"
"""HTCondor 23.9; "sid" has 25.x."""

RECIPE = 1
"""Raise it when `BUILD` changes: trees of another recipe are not used."""

UID = 61234
"""User and group of every daemon and job: high, so that it is nobody else's on the host."""

BUILD = r"""
suite=$1 root=$2 uid=$3 debootstrap=$4
"$debootstrap" --variant=minbase "$suite" "$root"
# the packages must not start their daemons
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mount -t proc proc "$root/proc"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
# a frozen mirror's release file is past its date
chroot "$root" apt-get -q -o Acquire::Check-Valid-Until=false update
chroot "$root" apt-get -q -y --no-install-recommends install minicondor
chroot "$root" groupadd --gid "$uid" pool
chroot "$root" useradd --uid "$uid" --gid "$uid" --home-dir /pools --no-create-home --shell /bin/sh pool
chroot "$root" install -d -o "$uid" -g "$uid" -m 755 /pools
chroot "$root" apt-get clean
rm -rf "$root"/var/lib/apt/lists/*
# fails where the cache's file system allows no devices
chroot --userspec="$uid:$uid" "$root" sh -c ': > /dev/null && head -c 1 /dev/urandom > /dev/null'
"""


@dataclass(frozen=True, slots=True)
class Chroot:
    """A finished tree: where it is and which HTCondor it holds."""

    folder: Path
    suite: str
    condor_version: str

    @property
    def root(self) -> Path:
        """The folder that becomes `/` for the daemons."""
        return self.folder / "root"

    def lease(self) -> IO[str]:
        """Keep the tree from being deleted until the returned file is closed."""
        return _locked(self.suite, fcntl.LOCK_SH)


def cache_folder() -> Path:
    """Return where trees are kept: `$POOLSCOPE_CACHE`, else the user's cache folder."""
    own = os.environ.get("POOLSCOPE_CACHE")
    if own:
        return Path(own).absolute() / "realpool"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home).absolute() / "poolscope" / "realpool"


def prepare(suite: str = DEFAULT_SUITE) -> Chroot:
    """Return the tree of a Debian suite, building it first where it is missing.

    Raises
    ------
    NoPoolError : it can't be built here; the text is the reason
    """
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        raise NoPoolError("unshare and nsenter (util-linux) are missing")
    _try_namespaces()
    found = _finished(suite)
    if found:
        return found
    with _locked(suite, fcntl.LOCK_EX):  # another test run may be building: wait for it
        return _finished(suite) or _build(suite)


def clean() -> list[Path]:
    """Delete every tree and return their folders; refuse where a pool still runs in one."""
    deleted = []
    for lock in sorted(cache_folder().glob("*.lock")):
        suite = lock.stem
        with _locked(suite, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for folder in sorted(cache_folder().glob(f"{suite}-*")):
                delete_tree(folder)
                deleted.append(folder)
    delete_tree(cache_folder() / "tools")
    return deleted


def _folder(suite: str) -> Path:
    return cache_folder() / f"{suite}-{RECIPE}"


def _locked(suite: str, how: int) -> IO[str]:
    cache_folder().mkdir(parents=True, exist_ok=True)
    file = (cache_folder() / f"{suite}.lock").open("a")
    try:
        fcntl.flock(file, how)
    except BlockingIOError as error:
        file.close()
        raise TreeInUseError(
            f"{_folder(suite)} isn't deleted: a pool runs in it, or it is being built"
        ) from error
    return file


def _finished(suite: str) -> Chroot | None:
    stamp = _folder(suite) / "stamp.json"
    if not stamp.exists():
        return None
    content: dict[str, Any] = json.loads(stamp.read_text())
    return Chroot(_folder(suite), suite, str(content["condor_version"]))


def _build(suite: str) -> Chroot:
    final = _folder(suite)
    for stale in cache_folder().glob(f"{suite}-*"):  # half-built ones and those of older recipes
        delete_tree(stale)
    started = time.monotonic()
    temporary = final.with_name(f"{final.name}.building")
    temporary.mkdir()
    with _debootstrap() as debootstrap:
        _run_build(suite, temporary / "root", debootstrap)
    show = [*as_root(), "chroot", str(temporary / "root"), "condor_version"]
    version = subprocess.run(
        show, capture_output=True, text=True, check=True, env={**os.environ, "CONDOR_CONFIG": "ONLY_ENV"}
    ).stdout.splitlines()[0]
    stamp = {"recipe": RECIPE, "condor_version": version, "build_s": round(time.monotonic() - started, 1)}
    (temporary / "stamp.json").write_text(json.dumps(stamp, indent=1) + "\n")
    temporary.rename(final)
    return Chroot(final, suite, version)


def _run_build(suite: str, root: Path, debootstrap: Path) -> None:
    log = cache_folder() / f"{suite}.log"
    # private namespaces: what the build mounts or starts is gone when it ends, however it ends
    command = [
        *as_root(),
        *_own_environment(debootstrap),
        *NAMESPACES,
        "--mount-proc",
        "sh",
        "-exc",
        BUILD,
        "build",
    ]
    with log.open("w") as output:
        done = subprocess.run(
            [*command, suite, str(root), str(UID), str(debootstrap)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        delete_tree(root.parent)
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("E:", "W: Failure", "chroot:", "mount:", "sh:"))]
        why = (errors or lines or ["no output"])[-1]
        raise NoPoolError(f"building the Debian {suite} chroot failed: {why} (log: {log})")


NAMESPACES = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child")
"""A command in namespaces of its own: its mounts are invisible outside, its processes die with the first."""


def _try_namespaces() -> None:
    done = subprocess.run(
        [*as_root(), *NAMESPACES, "--mount-proc", "true"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NoPoolError(f"this machine's root may not mount: {done.stderr.strip()}")


def _own_environment(debootstrap: Path) -> list[str]:
    """Return `env` with what debootstrap needs: a fetched copy's own folder, and apt's proxy where apt has one."""
    settings = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    share = debootstrap.parent.parent / "share/debootstrap"
    if share.is_dir():
        settings.append(f"DEBOOTSTRAP_DIR={share}")
    ask = ["apt-config", "shell", "PROXY", "Acquire::http::Proxy"]
    if shutil.which("apt-config") and "http_proxy" not in os.environ:
        answer = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
        if answer:
            settings.append(f"http_proxy={answer.partition('=')[2].strip(chr(39))}")
    return ["env", *settings]


@contextmanager
def _debootstrap() -> Iterator[Path]:
    """Yield debootstrap: the machine's own, or one unpacked beside the trees; nothing is installed on the machine."""
    found = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found:
        yield Path(found)
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NoPoolError("debootstrap is missing, and this is no Debian to get it from")
    tools = cache_folder() / "tools"
    lists = tools / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    apt = ["apt-get", "-q", "-o", f"Dir::State::lists={lists}", "-o", "APT::Sandbox::User="]
    for command in (
        [*as_root(), *apt, "update"],
        [*apt, "download", "debootstrap"],
        ["sh", "-c", "dpkg-deb -x debootstrap_*.deb ."],
    ):
        done = subprocess.run(command, cwd=tools, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoPoolError(
                f"debootstrap is missing and can't be fetched: {done.stderr.strip().splitlines()[-1:]}"
            )
    yield tools / "usr/sbin/debootstrap"
