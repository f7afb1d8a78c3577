"""The question of the Requirements page and its address: `?req=...&gpus=1&cpus=1&memory=2 GB`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, urlencode

from dashboard.validate import number, text, whole
from sim.errors import InputError
from sim.units import format_size, parse_size

EXAMPLE = "GPUs_Capability >= 7.5"
LONGEST = 20_000
LONGEST_LINK = 4000  # what browsers and proxies take; a longer text is in no link
MOST = {"gpus": 64, "cpus": 1024}
LADDERS = ("capability", "memory", "gpus", "runtime", "model", "site", "combined")
MEMORY_MIB = 2048.0
LEAST_MIB, MOST_MIB = 1.0, 64.0 * 1024**2


@dataclass(frozen=True, slots=True)
class Question:
    """An expression or a submit file, what the job requests beside an expression, another beside it, the ladder shown."""

    expression: str = EXAMPLE
    gpus: int = 1
    cpus: int = 1
    memory_mib: float = MEMORY_MIB
    beside: str = ""
    ladder: str = LADDERS[0]

    def kept(self) -> dict[str, Any]:
        """As the page keeps it for `held`."""
        told, usual = asdict(self), {"beside": "", "ladder": LADDERS[0]}
        return {name: value for name, value in told.items() if usual.get(name) != value}

    @classmethod
    def parse(cls, query: Mapping[str, object]) -> Question:
        """Read an address; what it lacks, or says badly, gets its default.

        Examples
        --------
        >>> Question.parse({"req": "GPUs_Capability >= 8.0", "gpus": "2", "cpus": "many"})
        Question(expression='GPUs_Capability >= 8.0', gpus=2, cpus=1, memory_mib=2048.0, beside='', ladder='capability')
        """
        expression = _one(query.get("req"))
        return cls(
            expression=EXAMPLE if expression is None else expression[:LONGEST],
            gpus=_whole(query.get("gpus"), least=0, most=MOST["gpus"]),
            cpus=_whole(query.get("cpus"), least=0, most=MOST["cpus"]),
            memory_mib=_size(query.get("memory")),
            beside=(_one(query.get("beside")) or "")[:LONGEST],
            ladder=_ladder(query.get("ladder")),
        )

    @classmethod
    def held(cls, asked: object) -> Question:
        """The question as the page keeps it in the browser; InputError for anything else, which anybody may post."""
        if not isinstance(asked, dict):
            raise InputError("the question: expected the one that the page holds")
        return cls(
            text(asked.get("expression"), "Requirements", most=LONGEST),
            whole(asked.get("gpus"), "request_gpus", least=0, most=MOST["gpus"]),
            whole(asked.get("cpus"), "request_cpus", least=0, most=MOST["cpus"]),
            number(asked.get("memory_mib"), "request_memory", least=LEAST_MIB, most=MOST_MIB),
            text(asked.get("beside", ""), "Other requirements", most=LONGEST),
            _ladder(asked.get("ladder")),
        )

    def to_query(self) -> str:
        """The address of this question; what is at its default is left out, and all of it where it is too long.

        Examples
        --------
        >>> Question("Memory > 5", gpus=2).to_query()
        'req=Memory%20%3E%205&gpus=2'
        """
        said: dict[str, str] = {"req": self.expression}
        if self.gpus != 1:
            said["gpus"] = str(self.gpus)
        if self.cpus != 1:
            said["cpus"] = str(self.cpus)
        if self.memory_mib != MEMORY_MIB:
            said["memory"] = f"{self.memory_mib:g}"
        if self.beside:
            said["beside"] = self.beside
        if self.ladder != LADDERS[0]:
            said["ladder"] = self.ladder
        link = urlencode(said, quote_via=quote, errors="replace")
        return link if len(link) <= LONGEST_LINK else ""

    @property
    def memory(self) -> str:
        """The memory as it stands in the field."""
        whole = self.memory_mib / 1024
        return f"{whole:g} GB" if whole == round(whole, 2) and whole >= 1 else f"{self.memory_mib:g} MB"

    def told(self) -> str:
        """The requests in one line."""
        return f"{self.gpus} GPU{'s' * (self.gpus != 1)}, {self.cpus} CPU{'s' * (self.cpus != 1)}, {format_size(self.memory_mib)}"


def read_memory(field: object) -> float:
    """The memory field in MiB; raises InputError with what is wrong."""
    said = _one(field)
    if said is None or not said.strip():
        return MEMORY_MIB
    size = parse_size(said)
    if not LEAST_MIB <= size <= MOST_MIB:
        raise InputError(
            f"{said!r} is out of range: expected {format_size(LEAST_MIB)} to {format_size(MOST_MIB)}"
        )
    return size


def _one(value: object) -> str | None:
    # A repeated key arrives as a list.
    if isinstance(value, list):
        value = value[-1] if value else None
    return value if isinstance(value, str) else None


def _ladder(value: object) -> str:
    said = _one(value)
    return said if said in LADDERS else LADDERS[0]


def _whole(value: object, *, least: int, most: int) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = int(value) if abs(value) < 1e9 else -1
    else:
        said = _one(value)
        if said is None or not said.strip().isdecimal() or len(said) > 9:
            return 1
        found = int(said)
    return found if least <= found <= most else 1


def _size(value: object) -> float:
    try:
        return read_memory(value)
    except InputError:
        return MEMORY_MIB
