"""Macros of the submit language: ``$(name)``, ``$(name:default)``, ``$INT(name)`` and their kin, as condor_submit expands them.

Nothing here reads the machine: what ``$ENV(…)`` may see is handed in. ``$$(…)`` is left for the schedd. The rules were
measured with condor_submit -dry-run of 23.9.6 (tests/pool/test_submit_oracle.py).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from sim.classads.expression import Expression
from sim.errors import ExpressionError, InputError

DEEPEST = 20  # macros inside one another; condor_submit itself never ends on a = $(b), b = $(a)
LONGEST = 200_000  # characters of a value with its macros expanded

SLOWEST_S = 0.05  # CPU time of a constant expression
MOST_WORK = 3_000_000  # characters looked at for one value, its macros and theirs

_CALL = re.compile(r"\$(?P<function>[A-Za-z_]*)\(")
_BRACKET = re.compile(r"[()]")
_NAME = re.compile(r"[\w.]*")
_FORMAT = re.compile(r"%[-+ 0#]*\d{0,3}(?:\.\d{1,3})?[dixXfeEgGs]")


def expand(text: str, macros: Mapping[str, str], environment: Mapping[str, str] | None = None) -> str:
    """Replace every macro in `text`.

    Parameters
    ----------
    macros : values by name in lower case, not yet expanded themselves
    environment : what $ENV(…) may read; nothing by default

    Raises
    ------
    InputError : macros that hold each other, a value that grows too long, a function with arguments that it can't take

    Examples
    --------
    >>> expand("$(size:2)GB of $(what)", {"what": "$(kind) memory", "kind": "GPU"})
    '2GB of GPU memory'
    """
    return _Expansion(macros, environment or {}).expand(text, 0)


class _Expansion:
    def __init__(self, macros: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self.macros = macros
        self.environment = environment
        self.work = 0
        self.functions: dict[str, Callable[[str, int], str]] = {
            "": self.value,
            "env": self.variable,
            "int": self.whole,
            "real": self.real,
            "string": self.string,
            "eval": self.evaluated,
            "choice": self.choice,
            "substr": self.substring,
            "basename": self.base_name,
            "dirname": self.folder_name,
            "random_choice": self.random_choice,
            "random_integer": self.random_integer,
        }

    def expand(self, text: str, depth: int) -> str:
        if "$" not in text:
            return text
        if depth > DEEPEST:
            raise InputError(
                f"macros more than {DEEPEST} deep inside one another in {text[:60]!r}; does one hold itself?"
            )
        pieces: list[str] = []
        done = size = 0
        while (start := text.find("$", done)) >= 0:
            pieces.append(text[done:start])
            piece, done = self.one(text, start, depth)
            pieces.append(piece)
            size += len(piece)
            if size > LONGEST:
                raise InputError(f"a value of more than {LONGEST:,} characters once its macros are expanded")
        return "".join([*pieces, text[done:]])

    def one(self, text: str, start: int, depth: int) -> tuple[str, int]:
        """The text that stands for the macro at `start`, and where to go on; what is none stays as it is."""
        self.work += 50
        if text.startswith("$$", start):
            end = self.closing(text, start + 2) if text.startswith("(", start + 2) else -1
            return text[start : max(end, start + 1) + 1], max(end, start + 1) + 1
        call = _CALL.match(text, start)
        if call is None or (end := self.closing(text, call.end() - 1)) < 0:
            return "$", start + 1
        name, body = call["function"].lower(), text[call.end() : end]
        if name in self.functions:
            if not name and not _NAME.fullmatch(body.partition(":")[0].strip()):
                return "$", start + 1
            return self.functions[name](body, depth), end + 1
        if re.fullmatch(r"f[pnxdqab]*", name):
            return self.file_name(name[1:], body, depth), end + 1
        return "$", start + 1

    def closing(self, text: str, opened: int) -> int:
        end = _closing(text, opened)
        self.work += (len(text) if end < 0 else end) - opened
        if self.work > MOST_WORK:
            raise InputError(f"macros that take too long to expand in {text[:60]!r}")
        return end

    def value(self, body: str, depth: int) -> str:
        name, colon, default = body.partition(":")
        told = self.macros.get(name.strip().lower())
        if colon and not told:  # an empty value counts as none
            told = default
        return self.expand(told or "", depth + 1)

    def looked_up(self, name: str, depth: int) -> str:
        """A function's argument: the value of a macro of that name, else the text itself."""
        name = name.strip()
        told = self.macros.get(name.lower())
        return self.expand(name if told is None else told, depth + 1)

    def variable(self, body: str, depth: int) -> str:
        name, colon, default = body.partition(":")
        told = self.environment.get(name.strip())
        return told if told is not None else (self.expand(default, depth + 1) if colon else "UNDEFINED")

    def number(self, body: str, depth: int, function: str) -> tuple[float, str]:
        name, _, form = body.partition(",")
        value = _evaluate(self.looked_up(name, depth))
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InputError(f"${function}({body[:60]}): {name.strip()[:60]!r} is no number")
        form = form.strip()
        if form and not _FORMAT.fullmatch(form):
            raise InputError(f"${function}({body[:60]}): {form[:20]!r} is no format such as %04d")
        return value, form

    def whole(self, body: str, depth: int) -> str:
        value, form = self.number(body, depth, "INT")
        return (form or "%d") % int(value)

    def real(self, body: str, depth: int) -> str:
        value, form = self.number(body, depth, "REAL")
        return (form or "%.15g") % float(value)

    def string(self, body: str, depth: int) -> str:
        return self.looked_up(body.partition(",")[0], depth)

    def evaluated(self, body: str, depth: int) -> str:
        value = _evaluate(self.looked_up(body, depth))
        if value is None:
            return "undefined"
        return str(value).lower() if isinstance(value, bool) else str(value)

    def choice(self, body: str, depth: int) -> str:
        index, *items = (part.strip() for part in body.split(","))
        if len(items) == 1:
            items = [part for part in re.split(r"[,\s]+", self.looked_up(items[0], depth)) if part]
        place = _evaluate(self.looked_up(index, depth))
        if not isinstance(place, int) or not 0 <= place < len(items):
            raise InputError(f"$CHOICE({body[:60]}): {index!r} names none of {len(items)} items")
        return self.expand(items[place], depth + 1)

    def substring(self, body: str, depth: int) -> str:
        name, *told = body.split(",")
        text = self.looked_up(name, depth)
        values = [_evaluate(self.looked_up(part, depth)) for part in told]
        places = [value for value in values if isinstance(value, int)]
        if len(places) != len(told) or not 0 < len(places) < 3:
            raise InputError(f"$SUBSTR({body[:60]}): expected a name, a start and perhaps a length")
        start, length = places[0], places[1] if len(places) > 1 else len(text)
        start = max(0, start + len(text)) if start < 0 else start
        return text[start : start + length] if length >= 0 else text[start:length]

    def base_name(self, body: str, depth: int) -> str:
        name, _, suffix = body.partition(",")
        return PurePosixPath(self.looked_up(name, depth)).name.removesuffix(suffix.strip())

    def folder_name(self, body: str, depth: int) -> str:
        return self.file_name("p", body, depth)

    def random_choice(self, body: str, depth: int) -> str:
        """Any of the items would do; the first is taken, so that the same file gives the same answer."""
        return self.expand(body.split(",", maxsplit=1)[0].strip(), depth + 1)

    def random_integer(self, body: str, depth: int) -> str:
        return self.random_choice(body, depth)

    def file_name(self, parts: str, body: str, depth: int) -> str:
        """$F(name) and its letters: p path, d last folder, n name, x extension, q quoted, a kept, b bare."""
        whole = self.looked_up(body, depth)
        folder, slash, file = whole.rpartition("/")
        stem, dot, extension = file.rpartition(".")
        if not stem:
            stem, dot, extension = file, "", ""
        path = folder + slash
        pieces = [path] if "p" in parts else []
        if "d" in parts and "p" not in parts:
            pieces.append(folder.rpartition("/")[2] + slash)
        pieces += [stem] if "n" in parts else []
        pieces += [dot + extension] if "x" in parts else []
        found = "".join(pieces) if set(parts) & set("pdnx") else whole
        found = found.rstrip("/") if "b" in parts else found
        return f'"{found}"' if "q" in parts else found


def _closing(text: str, opened: int) -> int:
    """Where the bracket at `opened` closes, -1 if nowhere."""
    depth = 0
    for bracket in _BRACKET.finditer(text, opened):
        depth += 1 if bracket[0] == "(" else -1
        if depth == 0:
            return bracket.start()
    return -1


def _evaluate(text: str) -> object:
    """The value of a constant expression; None where there is none."""
    began_s = time.thread_time()
    try:
        value = Expression.parse(text).tree.eval()
    except (ExpressionError, RuntimeError, ValueError):
        return None
    if time.thread_time() - began_s > SLOWEST_S:  # a regular expression such as (a+)+, perhaps for every job
        raise InputError(f"{text[:60]!r} takes too long to evaluate")
    return value if type(value) in {int, float, bool, str} else None
