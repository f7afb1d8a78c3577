"""A private view of the machine in which one pool lives: its own mounts, its own processes."""

import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.realpool.chroot import NAMESPACES, UID
from tests.realpool.errors import NoPoolError, PoolError
from tests.realpool.privilege import as_root, kill

# The first process says which pid it has outside, then holds the namespaces open until its input ends: when the test run
# dies, however it dies, its end of the pipe closes and the kernel takes all daemons and mounts away. It ignores SIGCHLD, so
# that orphans it inherits don't stay as zombies.
FIRST = """
read -r pid rest < /proc/self/stat
mount -t proc proc "$1/proc"
echo "$pid"
exec env --ignore-signal=CHLD cat > /dev/null
"""

CLOSE_S = 2.0
"""How long the first process has to notice the end of its input [s]."""

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Namespace:
    """The open namespaces of one pool, over one chroot."""

    root: Path
    first_pid: int
    _holder: subprocess.Popen[str]

    @classmethod
    def open(cls, root: Path) -> "Namespace":
        """Make the namespaces and mount `proc` for the chroot in them."""
        holder = subprocess.Popen(
            [*as_root(), *NAMESPACES, "sh", "-ec", FIRST, "poolscope-realpool", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None
        answer = holder.stdout.readline().strip()
        if not answer.isdigit():
            _, error = holder.communicate()
            raise NoPoolError(f"namespaces for the pool can't be made: {error.strip() or 'no answer'}")
        return cls(root, int(answer), holder)

    def command(self, args: Sequence[str], environment: dict[str, str]) -> list[str]:
        """Return the command line that runs `args` inside, as the pool's user, with nothing else in the environment."""
        enter = [*as_root(), "nsenter", "--target", str(self.first_pid), "--mount", "--pid"]
        chroot = ["chroot", f"--userspec={UID}:{UID}", "--groups=", str(self.root)]
        settings = [f"{name}={value}" for name, value in environment.items()]
        return [*enter, *chroot, "env", "-i", PATH, "TZ=UTC", "LC_ALL=C", *settings, *args]

    def run(
        self, *args: str, environment: dict[str, str] | None = None, stdin: bytes = b"", timeout_s: float = 60
    ) -> bytes:
        """Run a command to its end and return its output; its failure is a `PoolError` with what it said."""
        command = self.command(args, environment or {})
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise PoolError(f"{args[0]} didn't end within {timeout_s} s") from error
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise PoolError(f"{' '.join(args)} ended with {done.returncode}: {said}")
        return done.stdout

    def start(self, *args: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start a daemon and return the process that enters the namespaces for it and ends when it ends."""
        # daemons write logs of their own
        return subprocess.Popen(
            self.command(args, environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        """End the first process; the kernel kills every other one in the namespaces and drops the mounts."""
        stdin = self._holder.stdin
        if stdin is None or stdin.closed:
            return
        stdin.close()
        try:
            self._holder.wait(CLOSE_S)
        except subprocess.TimeoutExpired:  # a fork of the test run has the pipe open, too
            kill([self.first_pid], signal.SIGKILL)
            self._holder.wait()
        for stream in (self._holder.stdout, self._holder.stderr):
            if stream is not None:
                stream.close()
