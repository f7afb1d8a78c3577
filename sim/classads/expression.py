"""A ClassAd expression as text: tokens, clauses, references, each with its place.

`classad2.ExprTree` shows no tree, gives no position and silently cuts ``A; B=2`` to ``A``. This parser sees the whole
text as one expression before classad2 does; classad2 stays the judge of every value. The grammar is that of the
HTCondor manual (ClassAd expressions: operators and their precedence), checked against classad2 by property tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import classad2

from sim.errors import ExpressionError

LONGEST = 20_000  # characters; a requirements expression of the OSPool has a few hundred
DEEPEST = 100  # brackets and operators inside one another
HEAVIEST = 350  # steps of evaluation inside one another: HTCondor gives up at 400, and a bracket takes two and a half

_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n\v\f]|/\*.*?\*/|//[^\n]*)+)
      | (?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<quoted>'(?:[^'\\]|\\.)*')
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<op>=\?=|=!=|>>>|\?:|\|\||&&|==|!=|<=|>=|<<|>>|[-+*/%<>!~&|^?:.,;=()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)

_BINARY = {
    "||": 2, "&&": 3, "|": 4, "^": 5, "&": 6,
    "==": 7, "!=": 7, "=?=": 7, "=!=": 7, "is": 7, "isnt": 7,
    "<": 8, "<=": 8, ">": 8, ">=": 8,
    "<<": 9, ">>": 9, ">>>": 9, "+": 10, "-": 10, "*": 11, "/": 11, "%": 11,
}  # fmt: skip
COMPARISONS = frozenset({"==", "!=", "=?=", "=!=", "is", "isnt", "<", "<=", ">", ">="})
_CONSTANTS = frozenset({"true", "false", "undefined", "error"})


class Token(NamedTuple):
    """A word of an expression: its kind, its text and where it begins (0 is the first character)."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """The position after the last character."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression, ``text[start:end]``.

    kind : literal | reference | call | unary | binary | ternary | group | list | record | index | select
    name : the operator, the attribute's or function's name, or a literal's text
    parts : the operands, in order
    """

    kind: str
    name: str
    start: int
    end: int
    parts: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """Give this node and all below it."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.parts))

    def bare(self) -> Node:
        """This node without the brackets around it."""
        node = self
        while node.kind == "group":
            node = node.parts[0]
        return node


class Reference(NamedTuple):
    """An attribute that an expression reads: its scope (my, target or empty) and its name, both as written."""

    scope: str
    name: str


class Comparison(NamedTuple):
    """A comparison of an attribute with a constant, turned so that the attribute stands on the left.

    value : int, float, str or bool
    """

    reference: Reference
    operator: str
    value: object
    node: Node
    value_node: Node


_MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


@dataclass(frozen=True)
class Expression:
    """One whole ClassAd expression.

    Examples
    --------
    >>> ampere = Expression.parse('GPUs_Capability >= 8.0 && (Memory > 4096 || HAS_BIG)')
    >>> [ampere.text_of(node) for node in ampere.conjuncts()]
    ['GPUs_Capability >= 8.0', '(Memory > 4096 || HAS_BIG)']
    >>> Expression.parse("A; B=2")
    Traceback (most recent call last):
    ...
    sim.errors.ExpressionError: column 2: found ';' after a whole expression; expected its end or an operator such as &&
    """

    text: str
    root: Node = field(repr=False, compare=False)
    tree: classad2.ExprTree = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Read `text`; ExpressionError, with the column, unless it is one whole expression."""
        root = _Parser(text).whole()
        try:
            tree = classad2.ExprTree(text[root.start : root.end])
        except (classad2.ClassAdException, ValueError) as error:
            raise ExpressionError(
                "HTCondor's own parser refuses this expression", column=1, text=text
            ) from error
        return cls(text, root, tree)

    def text_of(self, node: Node) -> str:
        """The part of the text that `node` covers."""
        return self.text[node.start : node.end]

    def conjuncts(self) -> tuple[Node, ...]:
        """The parts that all must hold: the operands of the outermost &&, brackets around such a chain opened.

        Joined again with && they evaluate as the whole.
        """
        found: list[Node] = []
        stack = [self.root]
        while stack:
            node = stack.pop()
            inner = node.bare()
            if inner.kind == "binary" and inner.name == "&&":
                stack.extend(reversed(inner.parts))
            else:
                found.append(node)
        return tuple(found)

    def references(self, node: Node | None = None) -> frozenset[Reference]:
        """The attributes read by `node` (default: by all of it); the fields of a record's parts are not among them."""
        return frozenset(_references(node or self.root))

    def comparisons(self, node: Node | None = None) -> tuple[Comparison, ...]:
        """The comparisons of an attribute with a constant in `node` (default: in all of it), in order."""
        return tuple(
            comparison
            for part in (node or self.root).walk()
            if part.kind == "binary"
            and part.name.lower() in COMPARISONS
            and (comparison := _comparison(part)) is not None
        )


def at_time(text: str, now_name: str) -> str:
    """Replace ``time()`` and ``CurrentTime`` in an expression's text by the attribute `now_name`.

    A recorded ad says ``START = time() < GLIDEIN_ToRetire`` and classad2's ``time()`` is the wall clock: an ad must be
    judged at its own time.

    Examples
    --------
    >>> at_time('time() < GLIDEIN_ToRetire && "time()" != MY.CurrentTime', "Now")
    'Now < GLIDEIN_ToRetire && "time()" != Now'
    """
    lowered = text.lower()
    if "time" not in lowered:
        return text
    tokens = [token for token in tokenize(text) if token.kind != "space"]
    pieces: list[str] = []
    done = index = 0
    while index < len(tokens):
        token = tokens[index]
        name = token.text.lower() if token.kind == "name" else ""
        following = [after.text for after in tokens[index + 1 : index + 3]]
        end = start = -1
        if name == "time" and following == ["(", ")"]:
            start, end, index = token.start, tokens[index + 2].end, index + 2
        elif name == "currenttime":
            before = [earlier.text.lower() for earlier in tokens[max(0, index - 2) : index]]
            if before[-1:] != ["."]:
                start, end = token.start, token.end
            elif before[0] in {"my", "target"}:  # a field of another record has nothing to do with the clock
                start, end = tokens[index - 2].start, token.end
        if end >= 0:
            pieces += [text[done:start], now_name]
            done = end
        index += 1
    return "".join([*pieces, text[done:]])


def tokenize(text: str) -> Iterator[Token]:
    """Give the words of `text`, white space among them; ExpressionError at the first that is none."""
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(_unknown(text, position), column=position + 1, text=text)
        yield Token(str(match.lastgroup), match[0], position)
        position = match.end()


def _unknown(text: str, position: int) -> str:
    character = text[position]
    if character in "\"'":
        return f"the quote {character} has no end; expected a closing {character}"
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    return f"found {shown!r}, which has no meaning in a ClassAd expression"


def _references(root: Node) -> Iterator[Reference]:
    stack = [root]
    while stack:
        node = stack.pop()
        if node.kind == "reference":
            yield Reference("", node.name)
        elif node.kind == "select":
            base = node.parts[0].bare()
            if base.kind == "reference" and base.name.lower() in {"my", "target"}:
                yield Reference(base.name.lower(), node.name)
            else:
                stack.append(base)
        else:
            stack.extend(reversed(node.parts))


def _comparison(node: Node) -> Comparison | None:
    left, right = (part.bare() for part in node.parts)
    operator = {"is": "=?=", "isnt": "=!="}.get(node.name.lower(), node.name)
    if _constant(left) is not None and _constant(right) is None:
        left, right = right, left
        operator = _MIRROR.get(operator, operator)
    reference = _single(left)
    value = _constant(right)
    if reference is None or value is None:
        return None
    return Comparison(reference, operator, value[0], node, right)


def _single(node: Node) -> Reference | None:
    found = list(_references(node)) if node.kind in {"reference", "select"} else []
    return found[0] if len(found) == 1 else None


def _constant(node: Node) -> tuple[object] | None:
    if node.kind == "unary" and node.name == "-" and node.parts[0].kind == "literal":
        inner = _constant(node.parts[0])
        number = inner is not None and isinstance(inner[0], int | float) and not isinstance(inner[0], bool)
        return (-inner[0],) if inner and number else None  # type: ignore[operator]
    if node.kind != "literal":
        return None
    value = classad2.ExprTree(node.name).eval()
    return None if isinstance(value, classad2.Value) else (value,)


class _Parser:
    """A precedence climber over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > LONGEST:
            self.fail(f"the expression has {len(text):,} characters; at most {LONGEST:,} are taken", LONGEST)
        if "\0" in text:
            self.fail("found a NUL character, which has no meaning in a ClassAd expression", text.index("\0"))
        self.tokens = [token for token in tokenize(text) if token.kind != "space"]
        self.index = 0
        self.depth = 0

    def fail(self, reason: str, position: int) -> None:
        raise ExpressionError(reason, column=position + 1, text=self.text)

    def whole(self) -> Node:
        if not self.tokens:
            self.fail("the expression is empty; expected one such as GPUs_Capability >= 7.5", 0)
        root = self.ternary()
        if self.index < len(self.tokens):
            token = self.tokens[self.index]
            hint = "; compare with == instead of =" if token.text == "=" else ""
            self.fail(
                f"found {_short(token.text)} after a whole expression; expected its end or an operator such as &&{hint}",
                token.start,
            )
        self.weigh(root)
        return root

    def weigh(self, root: Node) -> None:
        """Refuse what HTCondor can parse but not evaluate: such a Requirements matches nothing, silently."""
        stack = [(root, 0)]
        while stack:
            node, above = stack.pop()
            weight = above + (1 if node.kind in {"unary", "binary", "ternary", "select", "index"} else 3)
            if weight > HEAVIEST:
                self.fail(
                    f"a chain of more than {HEAVIEST} operators, which HTCondor does not evaluate; "
                    "stringListMember(…) says a long list in one",
                    node.end - 1,
                )
            stack.extend((part, weight) for part in node.parts)

    def peek(self) -> str:
        token = self.tokens[self.index] if self.index < len(self.tokens) else None
        if token is None or token.kind in {"string", "quoted", "number"}:
            return ""
        return token.text.lower() if token.text.lower() in {"is", "isnt"} else token.text

    def take(self) -> Token:
        token = self.tokens[self.index]
        self.index += 1
        return token

    def expect(self, text: str, opened: Token) -> Token:
        if self.peek() != text:
            found = _short(self.tokens[self.index].text) if self.index < len(self.tokens) else "the end"
            where = (
                self.tokens[self.index].start if self.index < len(self.tokens) else len(self.text.rstrip())
            )
            self.fail(
                f"found {found}; expected {text!r} for the {opened.text!r} in column {opened.start + 1}",
                where,
            )
        return self.take()

    def nested(self, parse: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(
                f"more than {DEEPEST} brackets or operators inside one another",
                self.tokens[self.index - 1].start,
            )
        node = parse()
        self.depth -= 1
        return node

    def ternary(self) -> Node:
        condition = self.binary(2)
        if self.peek() == "?:":
            self.take()
            other = self.nested(self.ternary)
            return Node("ternary", "?:", condition.start, other.end, (condition, other))
        if self.peek() != "?":
            return condition
        opened = self.take()
        chosen = self.nested(self.ternary)
        self.expect(":", opened)
        other = self.nested(self.ternary)
        return Node("ternary", "?", condition.start, other.end, (condition, chosen, other))

    def binary(self, weakest: int) -> Node:
        left = self.unary()
        while (strength := _BINARY.get(self.peek(), 0)) >= weakest:
            operator = self.take()
            right = self.nested(lambda level=strength + 1: self.binary(level))  # type: ignore[misc]
            left = Node("binary", operator.text, left.start, right.end, (left, right))
        return left

    def unary(self) -> Node:
        if self.peek() in {"!", "-", "+", "~"}:
            operator = self.take()
            operand = self.nested(self.unary)
            return Node("unary", operator.text, operator.start, operand.end, (operand,))
        return self.postfix(self.primary())

    def postfix(self, node: Node) -> Node:
        while self.peek() in {".", "["}:
            opened = self.take()
            if opened.text == "[":
                inner = self.nested(self.ternary)
                closed = self.expect("]", opened)
                node = Node("index", "[]", node.start, closed.end, (node, inner))
            else:
                name = self.attribute_name(opened)
                node = Node("select", _unquoted(name), node.start, name.end, (node,))
        return node

    def attribute_name(self, after: Token) -> Token:
        if self.index >= len(self.tokens) or self.tokens[self.index].kind not in {"name", "quoted"}:
            self.fail("expected an attribute's name after the '.'", after.start)
        return self.take()

    def primary(self) -> Node:
        if self.index >= len(self.tokens):
            self.fail(
                "the expression ends too early; expected a value or an attribute", len(self.text.rstrip())
            )
        token = self.take()
        if token.kind in {"number", "string"} or (token.kind == "name" and token.text.lower() in _CONSTANTS):
            return self.literal(token)
        if token.kind == "name" and token.text.lower() not in {"is", "isnt"}:
            return (
                self.call(token)
                if self.peek() == "("
                else Node("reference", token.text, token.start, token.end)
            )
        if token.kind == "quoted":
            return (
                self.call(token)
                if self.peek() == "("
                else Node("reference", _unquoted(token), token.start, token.end)
            )
        if token.text == "(":
            inner = self.nested(self.ternary)
            closed = self.expect(")", token)
            return Node("group", "()", token.start, closed.end, (inner,))
        if token.text == ".":
            name = self.attribute_name(token)
            return Node("reference", _unquoted(name), token.start, name.end)
        if token.text == "{":
            return self.sequence(token, "}", "list", "{}")
        if token.text == "[":
            return self.record(token)
        self.fail(f"found {_short(token.text)}; expected a value or an attribute", token.start)
        raise AssertionError  # fail always raises

    def literal(self, token: Token) -> Node:
        after = self.tokens[self.index] if self.index < len(self.tokens) else None
        glued = after is not None and after.start == token.end and after.kind in {"name", "number"}
        octal = token.kind == "number" and re.fullmatch(r"0[0-9]+", token.text) is not None
        if token.kind == "number" and (glued or octal):
            shown = token.text + (after.text if glued and after else "")
            self.fail(f"{_short(shown)} is no number; write it in full, such as 8.0 or 16384", token.start)
        if token.text.isdigit() and (len(token.text) > 19 or int(token.text) >= 2**63):
            self.fail(f"{_short(token.text)} is too large for a whole number of 64 bits", token.start)
        value, end = token.text, token.end
        while (
            token.kind == "string"
            and self.index < len(self.tokens)
            and self.tokens[self.index].kind == "string"
        ):
            further = self.take()  # neighbouring strings are one string
            value, end = value[:-1] + further.text[1:], further.end
        return Node("literal", value, token.start, end)

    def call(self, name: Token) -> Node:
        arguments = self.sequence(self.take(), ")", "call", name.text)
        return Node("call", name.text, name.start, arguments.end, arguments.parts)

    def sequence(self, opened: Token, close: str, kind: str, name: str) -> Node:
        parts: list[Node] = []
        while self.peek() != close or parts:
            parts.append(self.nested(self.ternary))
            if self.peek() != ",":
                break
            self.take()
        closed = self.expect(close, opened)
        return Node(kind, name, opened.start, closed.end, tuple(parts))

    def record(self, opened: Token) -> Node:
        parts: list[Node] = []
        while self.peek() != "]":
            if self.peek() == ";":
                self.take()
                continue
            self.attribute_name(opened)
            self.expect("=", opened)
            parts.append(self.nested(self.ternary))
            if self.peek() != ";":
                break
        closed = self.expect("]", opened)
        return Node("record", "[]", opened.start, closed.end, tuple(parts))


def _unquoted(token: Token) -> str:
    return re.sub(r"\\(.)", r"\1", token.text[1:-1]) if token.kind == "quoted" else token.text


def _short(text: str) -> str:
    return repr(text if len(text) <= 30 else f"{text[:30]}…")
