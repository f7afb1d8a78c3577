"""What README and docs show of the command line is what it prints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def examples() -> list[tuple[str, str, str]]:
    """Every `$ poolscope …` of the pages with the output that stands below it."""
    found = []
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                if command.startswith("poolscope "):
                    found.append((page.name, command, output.rstrip()))
    return found


@pytest.mark.parametrize(("page", "command", "output"), examples())
def test_shown_output_is_true(page: str, command: str, output: str) -> None:
    """The command prints exactly what the page shows."""
    program = Path(sys.executable).with_name("poolscope")
    ended = subprocess.run(
        f"{program} {command.removeprefix('poolscope ')}",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"},
        check=False,
    )
    shown = "\n".join(line.rstrip() for line in ended.stdout.splitlines()).rstrip()
    assert shown == output, f"{page}: {command}: {ended.stderr}"
