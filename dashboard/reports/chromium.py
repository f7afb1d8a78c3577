"""A PDF and a picture of an HTML file by Chromium, in a process of its own that can't outlive its time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from sim.errors import SourceError, StoreError

TIMEOUT_S = 40.0
#: A headless Chromium now and then never comes to an end; a second one does.
TRIES = 2
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=8000", "--run-all-compositor-stages-before-draw",
)  # fmt: skip


def program() -> str:
    """The path of Chromium: $POOLSCOPE_CHROMIUM, else the first that is installed.

    Raises
    ------
    SourceError : there is none
    """
    named = os.environ.get("POOLSCOPE_CHROMIUM")
    found = (
        shutil.which(named) if named else next((path for name in NAMES if (path := shutil.which(name))), None)
    )
    if found is None:
        where = f"$POOLSCOPE_CHROMIUM = {named}" if named else "chromium"
        raise SourceError(
            f"{where} is not installed, and it prints the PDF and the mail's picture; install it or leave pdf out of --format"
        )
    return found


def print_pdf(page: Path, target: Path, *, timeout_s: float = TIMEOUT_S) -> None:
    """Print an HTML file to `target`; SourceError when Chromium fails or takes too long."""
    _run(
        page,
        "print",
        target,
        ["--no-pdf-header-footer", "--generate-pdf-document-outline"],
        "--print-to-pdf",
        timeout_s,
    )


def picture(page: Path, target: Path, *, height: int, timeout_s: float = TIMEOUT_S) -> None:
    """A PNG of the page's first chart, twice as many pixels as it is shown with, for sharp screens."""
    size = [f"--window-size=660,{height}", "--force-device-scale-factor=2"]
    _run(page, "picture", target, size, "--screenshot", timeout_s)


def _run(page: Path, part: str, target: Path, more: list[str], option: str, timeout_s: float) -> None:
    binary = program()
    for _ in range(TRIES):
        with tempfile.TemporaryDirectory(prefix="poolscope-chromium-", ignore_cleanup_errors=True) as folder:
            made = Path(folder) / f"made{target.suffix}"
            profile = f"--user-data-dir={folder}/profile"
            command = [
                binary,
                *_FLAGS,
                profile,
                *more,
                f"{option}={made}",
                f"{page.resolve().as_uri()}#{part}",
            ]
            said = _ended(command, timeout_s)
            if said is None:
                continue
            if not made.is_file() or made.stat().st_size == 0:
                raise SourceError(f"{binary} made no {target.name}: {said[-200:]}")
            _take(made, target)
            return
    raise SourceError(
        f"{binary} took longer than {timeout_s:g} s for {target.name}, {TRIES} times; try again"
    )


def _ended(command: list[str], timeout_s: float) -> str | None:
    """The last line that a command said; None if its time was over."""
    # A session of its own: Chromium has children, which must go with it when its time is over.
    process = subprocess.Popen(  # noqa: S603 - the path of a browser and our own file
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit {process.returncode}"


def _take(made: Path, target: Path) -> None:
    scratch = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(made, scratch)
        scratch.replace(target)
    except OSError as error:
        raise StoreError(
            f"{target}: can't write ({error.strerror or error}); check space and permissions"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)
