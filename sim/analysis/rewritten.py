"""A submit file with a rewrite in it: the lines that it replaces are kept as comments, the new ones come before the first queue."""

from __future__ import annotations

import re

from sim.analysis.answer import Answer, Rewrite
from sim.classads.request import Request

_NAME = re.compile(r"\s*([+-]?[A-Za-z_][\w.]*)\s*=(.*)", re.DOTALL)
_QUEUE = re.compile(r"\s*queue(?![\w.=])(?!\s*=)", re.IGNORECASE)


def is_submit_file(text: str) -> bool:
    """Whether a text is a submit file, not an expression: one of its lines begins with queue."""
    return any(_QUEUE.match(line) for line in text.splitlines())


def submit_file(expression: str, request: Request) -> str:
    """A submit file for an expression and what is requested beside it; the program is the user's to fill in."""
    lines = ["executable = your-program", f"request_gpus = {request.gpus}", f"request_cpus = {request.cpus:g}",
             f"request_memory = {request.memory_mib:g} MB"]  # fmt: skip
    if request.require_gpus:
        lines.append(f"require_gpus = {request.require_gpus}")
    return "\n".join([*lines, f"requirements = {' '.join(expression.split())}", "queue", ""])


def rewritten(text: str, answer: Answer, rewrite: Rewrite) -> str:
    """The submit file `text`, which `answer` is about, as `rewrite` has it."""
    told = {name: value for line in rewrite.text.split("\n") for name, value in [_assignment(line)]}
    replaced = {name.lower() for name in told}
    if any(clause.text == rewrite.replaces and clause.where == "requirements" for clause in answer.clauses):
        replaced.add("requirements")
    statements = _statements(text)
    for lines in statements:
        name, value = _assignment("\n".join(lines))
        if name.lower() == "require_gpus" and name.lower() in replaced and value:
            told[name.lower()] = f"({_joined(value)}) && ({told[name.lower()]})"
    new = [f"{name} = {value}" for name, value in told.items()]
    out: list[str] = []
    for lines in statements:
        if new and _QUEUE.match(lines[0]):
            out += [*new, *lines]
            new = []
        elif _assignment("\n".join(lines))[0].lower() in replaced:
            # a comment must not go on with a backslash
            out += [f"# {line.rstrip().removesuffix(chr(92)).rstrip()}" for line in lines]
        else:
            out += lines
    return "\n".join([*out, ""])


def _statements(text: str) -> list[list[str]]:
    """The lines of a submit file, those that a backslash joins together."""
    found: list[list[str]] = []
    goes_on = False
    for line in text.splitlines():
        if goes_on:
            found[-1].append(line)
        else:
            found.append([line])
        goes_on = line.rstrip().endswith("\\") and not found[-1][0].lstrip().startswith("#")
    return found


def _assignment(statement: str) -> tuple[str, str]:
    match = _NAME.match(statement)
    return (match[1], match[2].strip()) if match else ("", "")


def _joined(value: str) -> str:
    return " ".join(part.strip() for part in value.replace("\\\n", " ").split())
