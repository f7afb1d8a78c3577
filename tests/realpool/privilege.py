"""Being root, or getting there without a password: chroots and namespaces need it."""

import functools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.realpool.errors import NoPoolError, TreeInUseError


@functools.cache
def as_root() -> tuple[str, ...]:
    """Return what to put before a command so that root runs it, or raise `NoPoolError`."""
    if os.geteuid() == 0:
        return ()
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return (sudo, "-n")
    raise NoPoolError("not root, and sudo asks for a password or is missing")


def kill(pids: Iterable[int], sig: signal.Signals) -> None:
    """Signal processes of ours that may run as another user; those that are gone already don't matter."""
    numbers = [str(pid) for pid in pids]
    if numbers:
        command = [*as_root(), "kill", f"-{sig.name.removeprefix('SIG')}", *numbers]
        subprocess.run(command, capture_output=True, check=False)


def descendants(pid: int) -> list[int]:
    """Return the pids below `pid`, parents before children."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(errors="replace")
        except OSError:  # it ended while we looked
            continue
        parent = int(text.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found.extend(sorted(children.get(one, ())))
    return found[1:]


def command_name(pid: int) -> str:
    """Return the name of a process' program (15 characters at most), "" when it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def mounts_below(folder: Path) -> list[str]:
    """Return the mount points in or at `folder`, as this process sees them."""
    resolved = folder.resolve()
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # mountinfo writes a blank as \040
        point = line.split()[4].encode().decode("unicode_escape")
        if Path(point).is_relative_to(resolved):
            found.append(point)
    return found


def delete_tree(folder: Path) -> None:
    """Delete a folder that root may own; refuse while something is mounted in it."""
    if not folder.exists():
        return
    mounted = mounts_below(folder)
    if mounted:
        raise TreeInUseError(f"{folder} isn't deleted: {', '.join(mounted)} is mounted there")
    # --one-file-system: should a mount slip through after all, its content survives
    subprocess.run([*as_root(), "rm", "-rf", "--one-file-system", "--", str(folder)], check=True)
