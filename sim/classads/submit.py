"""Submit files: from their text to the job ads that condor_submit would make of them.

The grammar is that of the manual's condor_submit page; where it is silent, condor_submit -dry-run of 23.9.6 was asked
(tests/pool/test_submit_oracle.py). htcondor2.Submit is not used: it cuts, opens files and runs programs that a
description names, and its jobs() is not implemented. Nothing is run here, and files are read only through `Files`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sim.classads.expression import Expression
from sim.classads.job import DEVICE_COMMANDS, AccessPoint, Command, JobDescription, describe, note_of
from sim.classads.macros import LONGEST as LONGEST_VALUE
from sim.classads.macros import expand
from sim.errors import ExpressionError, InputError

LONGEST = 1_000_000  # characters of a file
MOST_JOBS = 10_000
MOST_DIFFERENT = 2_000  # jobs with ads of their own
MOST_TEXT = 20_000_000  # characters of all those jobs' commands, and of all values that are set
MOST_STATEMENTS = 10_000
MOST_GUESSES = 200
DEEPEST_IF = 100
VERSION = (23, 9, 6)  # whose rules these are, for `if version >= …`

_ASSIGNMENT = re.compile(r"(?P<name>[+-]?[A-Za-z_0-9][\w.]*)\s*=(?P<value>.*)", re.DOTALL)
_LINES = re.compile(r"(?P<name>[+-]?[A-Za-z_][\w.]*)\s*@=\s*(?P<tag>\w+)\s*")
_QUEUE = re.compile(r"queue(?![\w.])(?P<what>.*)", re.IGNORECASE | re.DOTALL)
_SOURCE = re.compile(
    r"(?P<head>.*?)(?:^|\s)(?P<how>in|from|matching)\b(?P<rest>.*)", re.IGNORECASE | re.DOTALL
)
_HEAD = re.compile(r"(?P<count>[^A-Za-z_]*)(?P<names>[A-Za-z_][\w\s,]*)?")
_SLICE = re.compile(r"\[\s*(-?\d*)\s*(?:(:)\s*(-?\d*)\s*(?::\s*(-?\d*)\s*)?)?\]\s*(?P<rest>.*)", re.DOTALL)
_USED = re.compile(r"\$\w*\(\s*([\w.]+)")
_KINDS = {"files", "dirs", "any"}


@dataclass(frozen=True)
class Files:
    """What a submit file may read: the lines of a file, the paths that a pattern matches. By default: nothing."""

    read: Callable[[str], str] | None = None
    match: Callable[[str], Sequence[Path]] | None = None

    @classmethod
    def below(cls, folder: Path) -> Files:
        """Files as condor_submit sees them when it is run in `folder`."""
        return cls(
            read=lambda name: (folder / name).read_text(encoding="utf-8"),
            match=lambda pattern: sorted(
                (
                    Path(pattern).anchor
                    and Path(Path(pattern).anchor).glob(str(Path(pattern).relative_to(Path(pattern).anchor)))
                )
                or folder.glob(pattern)
            ),
        )


class Note(NamedTuple):
    """A line that the ad does not follow: where, what it says, and why."""

    line: int
    command: str
    reason: str


class Job(NamedTuple):
    """One job: its number in the submission, its ad as text, and what the file says of it."""

    proc: int
    ad: str
    description: JobDescription


@dataclass(frozen=True)
class Submission:
    """The jobs of a submit file, and what of it is not followed.

    n_jobs : how many the file describes; `jobs` holds the first `MOST_JOBS`, fewer where they differ from one another
    """

    jobs: tuple[Job, ...]
    notes: tuple[Note, ...]
    n_jobs: int

    def shapes(self) -> tuple[tuple[Job, int], ...]:
        """The jobs that slots can tell apart, each with how many there are like it."""
        found: dict[tuple[str, ...], list[Job]] = {}
        for job in self.jobs:
            found.setdefault(job.description.asked(), []).append(job)
        return tuple((jobs[0], len(jobs)) for jobs in found.values())


def read_submit(
    text: str,
    *,
    where: str = "submit file",
    files: Files | None = None,
    access_point: AccessPoint | None = None,
    environment: Mapping[str, str] | None = None,
) -> Submission:
    """Read a submit file.

    Parameters
    ----------
    where : what errors call the text, such as its path
    files : what `queue from` and `queue matching` may read
    access_point : what condor_submit knows of the machine it runs on
    environment : what $ENV(…) may read

    Raises
    ------
    InputError : with the line, where condor_submit would refuse the file, or where it asks for what isn't modelled
    """
    if len(text) > LONGEST:
        raise InputError(f"{where}: {len(text):,} characters; at most {LONGEST:,} are read")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{where}, line {line}: found a NUL character; a submit file is plain text")
    reader = _Reader(where, files or Files(), access_point or AccessPoint(), environment or {})
    reader.read(text)
    return reader.submission()


@dataclass
class _Branch:
    """An `if` that is open: whether its lines count, and whether one of its branches has been taken."""

    line: int
    active: bool
    taken: bool


@dataclass
class _Reader:
    where: str
    files: Files
    access_point: AccessPoint
    environment: Mapping[str, str]
    commands: dict[str, Command] = field(default_factory=dict)
    branches: list[_Branch] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    notes: dict[tuple[int, str], Note] = field(default_factory=dict)
    n_jobs: int = 0
    queued: bool = False
    statements: int = 0
    size: int = 0
    full: bool = False
    noted: int = 0
    reasons: dict[str, str | None] = field(default_factory=dict)
    commands_followed: list[str] = field(default_factory=list)
    changed: bool = True
    made: dict[tuple[tuple[str, str], ...], JobDescription] = field(default_factory=dict)

    def fail(self, line: int, reason: str) -> InputError:
        return InputError(f"{self.where}, line {line}: {reason}")

    # --- lines

    def read(self, text: str) -> None:
        lines = text.splitlines()
        place = 0
        while place < len(lines):
            number, statement, place = _statement(lines, place)
            if statement:
                place = self.take(number, statement, lines, place)
        if self.branches:
            raise self.fail(self.branches[-1].line, "this if has no endif")
        if not self.queued:
            raise InputError(
                f"{self.where}: no queue statement, so no job; expected a last line such as queue"
            )

    def take(self, number: int, statement: str, lines: list[str], place: int) -> int:
        """Follow one statement; gives the place of the next line."""
        self.statements += 1
        if self.statements > MOST_STATEMENTS:
            raise self.fail(number, f"more than {MOST_STATEMENTS:,} statements")
        word = statement.split(None, 1)[0].lower()
        if word in {"if", "elif", "else", "endif"}:
            self.branch(number, word, statement[len(word) :].strip())
            return place
        block = _LINES.fullmatch(statement)
        if block:
            value, place = self.block(number, block["tag"], lines, place)
            if self.active:
                self.assign(number, block["name"], value)
            return place
        queue = _QUEUE.fullmatch(statement)
        if queue:
            if self.branches:
                raise self.fail(number, "queue inside an if; condor_submit loses the endif after it")
            return self.queue(number, (queue["what"] or "").strip(), lines, place)
        if self.active:
            self.set(number, statement)
        return place

    @property
    def active(self) -> bool:
        return all(branch.active for branch in self.branches)

    def set(self, number: int, statement: str) -> None:
        assignment = _ASSIGNMENT.fullmatch(statement)
        if assignment:
            self.assign(number, assignment["name"], assignment["value"].strip())
            return
        word = re.split(r"[\s:]", statement, maxsplit=1)[0].lower()
        if word in {"include", "use"}:
            raise self.fail(number, f"{word} reads what isn't here; put its lines into the file")
        if word == "warning" and ":" in statement:
            return
        if word == "error" and ":" in statement:
            raise self.fail(number, f"the file itself stops here: {statement.partition(':')[2].strip()[:80]}")
        raise self.fail(
            number,
            f"found {statement[:40]!r}; expected a command such as request_gpus = 1, or queue",
        )

    def assign(self, number: int, name: str, value: str) -> None:
        key = _key(name)
        before = self.commands.get(key)
        # a value may go on from its own former one; everything else is expanded when a job is queued
        own = re.compile(rf"\$\(\s*{re.escape(key)}\s*(?::[^)]{{0,1000}})?\)", re.IGNORECASE)
        if len(value) > LONGEST_VALUE:
            raise self.fail(number, f"a value of more than {LONGEST_VALUE:,} characters")
        if "$" in value:
            value = own.sub(lambda found: expand(found[0], {key: before.text if before else ""}, {}), value)
        if len(value) > LONGEST_VALUE:
            raise self.fail(number, f"a value of more than {LONGEST_VALUE:,} characters")
        self.grow(len(value), number)
        if name.startswith("-"):
            value = ""
        self.changed = True
        self.commands.pop(key, None)
        self.commands[key] = Command(name.lstrip("+-") if key.startswith("my.") else name, value, number)

    def grow(self, size: int, number: int) -> None:
        self.size += size
        if self.size > MOST_TEXT:
            raise self.fail(number, f"the values so far have more than {MOST_TEXT:,} characters")

    def block(self, number: int, tag: str, lines: list[str], place: int) -> tuple[str, int]:
        for end in range(place, len(lines)):
            if lines[end].strip() == f"@{tag}":
                return "\n".join(lines[place:end]), end + 1
        raise self.fail(number, f"this value has no end; expected a line @{tag}")

    # --- if

    def branch(self, number: int, word: str, condition: str) -> None:
        if word == "if":
            if len(self.branches) >= DEEPEST_IF:
                raise self.fail(number, f"more than {DEEPEST_IF} ifs inside one another")
            holds = self.active and self.holds(number, condition)
            self.branches.append(_Branch(number, holds, holds))
            return
        if not self.branches:
            raise self.fail(number, f"{word} without an if before it")
        innermost = self.branches[-1]
        if word == "endif":
            self.branches.pop()
        elif innermost.taken:
            innermost.active = False
        else:
            innermost.active = innermost.taken = word == "else" or self.holds(number, condition)

    def holds(self, number: int, condition: str) -> bool:
        """Whether a condition holds: true, false, a number, defined NAME, version >= X, any of them after a !"""
        said = condition.strip()
        negated = said.startswith("!")
        said = said.lstrip("! \t")
        defined = re.fullmatch(r"defined\s+(\S+)", said, re.IGNORECASE)
        version = re.fullmatch(r"version\s*(>=|<=|==|!=|>|<)\s*([0-9.]+)", said, re.IGNORECASE)
        if defined:
            found = bool(expand(f"$({defined[1]})", self.values(), self.environment))
        elif version:
            found = _compare_versions(version[1], version[2])
        else:
            told = expand(said, self.values(), self.environment).strip().lower()
            if told not in {"true", "false", "yes", "no", "t", "f"} and not re.fullmatch(
                r"-?\d+(\.\d+)?", told
            ):
                raise self.fail(
                    number,
                    f"found {told[:40]!r} after if; expected true, false, a number, defined NAME or version >= X",
                )
            found = told in {"true", "yes", "t"} or (told[0] in "-0123456789" and float(told) != 0)
        return found != negated

    # --- queue

    def queue(self, number: int, what: str, lines: list[str], place: int) -> int:
        self.queued = True
        what = self.expanded(number, what, self.values())
        source = _SOURCE.fullmatch(what)
        head = _HEAD.fullmatch((source["head"] if source else what).strip())
        if head is None or (head["names"] and not source):
            raise self.fail(
                number,
                f"found {what[:60]!r} after queue; expected a number, or names with in, from or matching",
            )
        count = self.count(number, head["count"].strip())
        names = [name for name in re.split(r"[\s,]+", head["names"] or "") if name] or ["Item"]
        if source is None:
            self.add_jobs(number, count, {}, 0)
            return place
        items, place = self.items(number, source["how"].lower(), source["rest"].strip(), lines, place)
        for index, item in items:
            if self.full:
                self.n_jobs += count
                continue
            told = dict(zip(names, _fields(item, len(names)), strict=True))
            self.add_jobs(number, count, told, index)
        return place

    def count(self, number: int, text: str) -> int:
        if not text:
            return 1
        try:
            value = Expression.parse(text).tree.eval()
        except (ExpressionError, RuntimeError):
            value = None
        if type(value) is not int or value < 0:
            raise self.fail(number, f"found {text[:40]!r} after queue; expected how many jobs")
        return value

    def items(
        self, number: int, how: str, rest: str, lines: list[str], place: int
    ) -> tuple[list[tuple[int, str]], int]:
        """The items of a queue statement, each with its place among all before a slice was taken of them."""
        kind = "any"
        if how == "matching" and rest.split(None, 1)[:1] and rest.split(None, 1)[0].lower() in _KINDS:
            kind, rest = rest.split(None, 1)[0].lower(), rest[len(rest.split(None, 1)[0]) :].strip()
        chosen = slice(None)
        cut = _SLICE.fullmatch(rest)
        if cut:
            start, colon, stop, step = (cut[index] or "" for index in range(1, 5))
            if step == "0":
                raise self.fail(number, "a slice with steps of 0")
            # [3] alone begins there, as [3:] does
            chosen = slice(_int(start), _int(stop) if colon else None, _int(step))
            rest = cut["rest"].strip()
        if rest.startswith("("):
            found, place = self.inline(number, how, rest[1:], lines, place)
        elif not rest:
            raise self.fail(number, f"nothing after {how}; expected items, a file or ( and items")
        elif how == "from":
            found = self.of_file(number, rest)
        else:
            found = _split(rest)
        if how == "matching":
            found = [path for pattern in found for path in self.matching(number, pattern, kind)]
        return list(enumerate(found))[chosen], place

    def inline(self, number: int, how: str, rest: str, lines: list[str], place: int) -> tuple[list[str], int]:
        if rest.rstrip().endswith(")"):
            inner = rest.rstrip()[:-1].strip()
            return (([inner] if inner else []) if how == "from" else _split(inner)), place
        rows = [rest.strip()] if rest.strip() else []
        while place < len(lines):
            row = lines[place].strip()
            place += 1
            if row.startswith(")"):
                return (rows if how == "from" else [item for row in rows for item in _split(row)]), place
            if not row.startswith("#"):
                rows.append(row)
        raise self.fail(number, "this list of items has no end; expected a line that begins with )")

    def of_file(self, number: int, name: str) -> list[str]:
        if name.endswith("|"):
            raise self.fail(
                number, "queue from a program is not followed: nothing is run here; list its output"
            )
        if self.files.read is None:
            raise self.fail(
                number, f"queue from {name[:60]!r}: only items in the file itself can be read here"
            )
        try:
            text = self.files.read(name)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise self.fail(number, f"{name[:80]!r} can't be read ({error.__class__.__name__})") from error
        return [row.strip() for row in text.splitlines() if not row.strip().startswith("#")]

    def matching(self, number: int, pattern: str, kind: str) -> list[str]:
        if self.files.match is None:
            raise self.fail(
                number, "queue matching looks for files, which can't be done here; list them with in"
            )
        try:
            paths = self.files.match(pattern)
        except (OSError, ValueError, NotImplementedError) as error:
            raise self.fail(number, f"{pattern[:60]!r} is no pattern of file names") from error
        relative = not Path(pattern).is_absolute()
        found = []
        for path in paths:
            shown = str(Path(*path.parts[-len(Path(pattern).parts) :])) if relative else str(path)
            if path.is_dir():
                found += [f"{shown}/"] if kind != "files" else []
            elif kind != "dirs":
                found.append(shown)
        return found

    # --- jobs

    def values(self, live: Mapping[str, str] | None = None) -> dict[str, str]:
        told = {**self.access_point.macros(), **{key: command.text for key, command in self.commands.items()}}
        return {**told, **{name.lower(): value for name, value in (live or {}).items()}}

    def add_jobs(self, number: int, count: int, item: Mapping[str, str], index: int) -> None:
        self.n_jobs += count
        for step in range(count):
            if self.full:
                return
            proc = self.n_jobs - count + step
            live = {"process": str(proc), "procid": str(proc), "step": str(step), "row": str(index),
                    "itemindex": str(index), "cluster": "1", "clusterid": "1", **item}  # fmt: skip
            self.jobs.append(self.job(number, proc, live))
            self.full = (
                len(self.jobs) >= MOST_JOBS or len(self.made) >= MOST_DIFFERENT or self.size > MOST_TEXT
            )

    def note_of(self, key: str) -> str | None:
        """Why a command is not followed; of only so many names it is guessed which others are meant."""
        if key not in self.reasons:
            self.reasons[key] = note_of(key, guess=len(self.reasons) < MOST_GUESSES)
        return self.reasons[key]

    def followed(self) -> list[str]:
        """The commands that say something of the job; the others are macros, or nothing at all."""
        if self.changed:
            self.commands_followed = [key for key in self.commands if self.note_of(key) is None]
            self.changed = False
        return self.commands_followed

    def job(self, number: int, proc: int, live: Mapping[str, str]) -> Job:
        values = self.values(live)
        told: dict[str, Command] = {}
        for key in self.followed():
            command = self.commands[key]
            if "$" in command.text:
                command = command._replace(text=self.expanded(command.line, command.text, values))
            told[key] = command
        for variable, value in live.items():  # a queue variable may be a command
            if self.note_of(variable.lower()) is None:
                told[variable.lower()] = Command(variable, self.expanded(number, value, values), number)
        said = tuple((name, command.text) for name, command in told.items())
        if said not in self.made:
            self.size += sum(len(text) + 200 for _, text in said)  # an attribute costs time, too
            self.made[said] = describe(told, self.access_point, self.where)
            if len(self.made) == 1 or self.noted != len(self.commands):
                self.noted = len(self.commands)
                self.note(told)
        made = self.made[said]
        return Job(proc, made.ad(proc), made)

    def expanded(self, number: int, text: str, values: Mapping[str, str]) -> str:
        try:
            return expand(text, values, self.environment).strip()
        except InputError as error:
            raise self.fail(number, str(error)) from error

    def note(self, told: Mapping[str, Command]) -> None:
        texts = [command.text.lower() for command in self.commands.values() if "$" in command.text]
        used = {found[1] for text in texts for found in _USED.finditer(text)}
        for key, command in self.commands.items():
            reason = note_of(key)
            if reason is None and key in DEVICE_COMMANDS and not told.get("request_gpus"):
                reason = "has no effect without request_gpus"
            if reason is None or key in used:
                continue
            self.notes.setdefault((command.line, key), Note(command.line, command.name, reason))

    def submission(self) -> Submission:
        notes = sorted(self.notes.values())
        if self.n_jobs > len(self.jobs):
            notes.append(
                Note(0, "queue", f"{self.n_jobs:,} jobs described, the first {len(self.jobs):,} are read")
            )
        return Submission(tuple(self.jobs), tuple(notes), self.n_jobs)


def _statement(lines: list[str], place: int) -> tuple[int, str, int]:
    """The next statement, its lines joined where one ends in a backslash: line number, text, place after it."""
    number = place + 1
    text = lines[place].strip()
    place += 1
    if text.startswith("#"):
        return number, "", place
    while text.endswith("\\"):
        text = text[:-1]
        if place >= len(lines):
            break
        text += lines[place].strip()
        place += 1
    return number, text.strip(), place


def _key(name: str) -> str:
    """The name of a command in lower case; +Attr, -Attr and MY.Attr are one."""
    lowered = name.lower()
    return f"my.{lowered[1:]}" if lowered[0] in "+-" else lowered


def _fields(item: str, count: int) -> list[str]:
    """An item's fields for `count` variables: parted at a comma or white space, the last takes the rest."""
    fields = []
    rest = item.strip()
    for _ in range(count - 1):
        found = re.search(r"[,\s]", rest)
        end = found.start() if found else len(rest)
        fields.append(rest[:end])
        rest = rest[end + 1 :].lstrip()
    return [*fields, rest]


def _split(text: str) -> list[str]:
    return [item for item in re.split(r"[,\s]+", text) if item]


def _int(text: str) -> int | None:
    return int(text) if text not in {"", "-"} else None


def _compare_versions(operator: str, text: str) -> bool:
    told = tuple(int(part) for part in text.split(".") if part)[:3]
    ours = VERSION[: len(told)]
    return {
        ">=": ours >= told, "<=": ours <= told, "==": ours == told, "!=": ours != told, ">": ours > told, "<": ours < told,
    }[operator]  # fmt: skip
