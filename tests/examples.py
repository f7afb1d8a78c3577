"""Commands that README and docs show with their output; run as a module, it writes today's output below them."""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)


class Example(NamedTuple):
    """A `$ poolscope …` of a page and the output that stands below it."""

    page: Path
    command: str
    output: str

    def run(self) -> str:
        """What the command prints now, in a bare environment."""
        program = Path(sys.executable).with_name("poolscope")
        ended = subprocess.run(
            f"{program} {self.command.removeprefix('poolscope ')}",
            shell=True,
            capture_output=True,
            text=True,
            timeout=120,
            env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"},
            check=False,
        )
        return "\n".join(line.rstrip() for line in ended.stdout.splitlines()).rstrip()


def find_examples() -> list[Example]:
    """Every example of the pages."""
    found = []
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                if command.startswith("poolscope "):
                    found.append(Example(page, command, output.rstrip()))
    return found


def main() -> None:
    """Put today's output below each example."""
    for example in find_examples():
        now = example.run()
        if now != example.output:
            text = example.page.read_text(encoding="utf-8")
            before, after = (f"$ {example.command}\n{shown}\n" for shown in (example.output, now))
            example.page.write_text(text.replace(before, after), encoding="utf-8")
            print(f"{example.page.name}: {example.command}")


if __name__ == "__main__":
    main()
