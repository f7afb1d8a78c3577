"""The expression parser against classad2 itself, which is the oracle for what is an expression and what it is worth."""

import math
import re
import time
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import sim.classads  # noqa: F401  htcondor2 before classad2
from sim.classads.expression import LONGEST, Expression, Reference, at_time
from sim.classads.matching import NOW, read_ad
from sim.errors import ExpressionError

import classad2  # isort: skip

NAMES = [
    "Memory",
    "GPUs_Capability",
    "HAS_X",
    "Site",
    "Missing",
    "TARGET.Cpus",
    "MY.Memory",
    "'odd name'",
    "B",
]
LITERALS = [
    "0",
    "1",
    "7.5",
    "8",
    ".5",
    "1e3",
    '"a"',
    '"A b"',
    '"q\\"uote"',
    "true",
    "FALSE",
    "undefined",
    "error",
]
BINARY = ["&&", "||", "==", "!=", "=?=", "=!=", "is", "isnt", "<", "<=", ">", ">=", "+", "-", "*", "/", "%",
          "&", "|", "^", "<<", ">>", ">>>"]  # fmt: skip
FUNCTIONS = ["isUndefined", "toLower", "ifThenElse", "size", "strcat", "int", "regexp", "stringListMember"]

atoms = st.sampled_from([*NAMES, *LITERALS])
gaps = st.sampled_from(["", " ", "  ", "\t", "\n", "/* c */", " // c\n"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds(lambda a, op, g, b: f"{a} {op}{g} {b}", inner, st.sampled_from(BINARY), gaps, inner),
        st.builds(lambda a, b: f"{a} && {b}", inner, inner),
        st.builds(lambda g, a: f"({g}{a}{g})", gaps, inner),
        st.builds(lambda op, a: f"{op} {a}", st.sampled_from(["!", "-", "+", "~"]), inner),
        st.builds(lambda a, b, c: f"{a} ? {b} : {c}", inner, inner, inner),
        st.builds(lambda a, b: f"{a} ?: {b}", inner, inner),
        st.builds(
            lambda f, xs: f"{f}({', '.join(xs)})", st.sampled_from(FUNCTIONS), st.lists(inner, max_size=3)
        ),
        st.builds(lambda xs: "{" + ", ".join(xs) + "}", st.lists(inner, max_size=3)),
        st.builds(lambda a, b: f"[a = {a}; B = {b}].B", inner, inner),
        st.builds(lambda a: f"{{1, 2}}[{a}]", inner),
    )


expressions = st.recursive(atoms, _grown, max_leaves=14)
values = st.one_of(
    st.integers(-3, 9),
    st.sampled_from([7.0, 7.5, 8.0]),
    st.booleans(),
    st.sampled_from(["a", "A b", ""]),
)
ads = st.dictionaries(
    st.sampled_from(["Memory", "GPUs_Capability", "HAS_X", "Site", "Cpus", "B", "odd name"]), values
)


def _ad(attributes: dict[str, Any]) -> classad2.ClassAd:
    ad = classad2.ClassAd()
    for name, value in attributes.items():
        ad[name] = value
    return ad


def _worth(tree: classad2.ExprTree, mine: dict[str, Any], other: dict[str, Any]) -> str:
    """The value as text, so that 1 and True and UNDEFINED and ERROR all differ."""
    value = tree.eval(_ad(mine), _ad(other))
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return f"{type(value).__name__} {value}"


def _accepts(text: str) -> bool:
    try:
        classad2.ExprTree(text)
    except (classad2.ClassAdException, ValueError):
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(expressions)
def test_takes_what_classad2_takes_and_what_it_prints(text: str) -> None:
    """Of well-formed expressions, the one and the other accept the same; so does the text that classad2 prints."""
    assume(_accepts(text))
    parsed = Expression.parse(text)
    Expression.parse(str(parsed.tree))


WORDS = ["a", "b1", "MY", ".", "(", ")", "&&", "||", "!", "-", "=", "==", "=?=", "=!=", "?", ":", "?:", ";", ",",
         "{", "}", "[", "]", '"s"', "'n'", "1", "2.5", "017", "1e5", "is", "isnt", "true", "f(", "<", ">>>", "%",
         "//", "/*", "*/", "\n", "#", "@", "\\", "$", "`", '"', "'", "é", " ", "\t"]  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9))
@example(["a", "//", "b"])
@example(["'n'", "'n'"])
@example(["a", ".", ".", "b1"])
def test_refuses_what_classad2_refuses(words: list[str]) -> None:
    """Of any row of words, ours accepts none that classad2 refuses; what it refuses alone is a documented slip."""
    text = " ".join(words)
    refusal = _refusal(text)
    if refusal is None:
        # a comment without a line's end is no matter at the end of an expression
        assert _accepts(text) or ("//" in text and _accepts(text + "\n"))
        return
    assert 1 <= refusal.column <= len(text) + 1
    neighbours = re.search(r"'[^']*'\s*'", text) is not None
    assert ";" in text or "]" in text or ". ." in text or neighbours or not _accepts(text), refusal


def _refusal(text: str) -> ExpressionError | None:
    try:
        Expression.parse(text)
    except ExpressionError as error:
        return error
    return None


@settings(max_examples=400, deadline=None)
@given(expressions, ads, ads)
def test_conjuncts_joined_are_the_whole(text: str, mine: dict[str, Any], other: dict[str, Any]) -> None:
    """Split at the outermost && and joined again, an expression has the same value on every pair of ads."""
    assume(_accepts(text))
    parsed = Expression.parse(text)
    clauses = [parsed.text_of(node) for node in parsed.conjuncts()]
    joined = classad2.ExprTree(" && ".join(f"({clause}\n)" for clause in clauses))
    assert _worth(joined, mine, other) == _worth(parsed.tree, mine, other), clauses


@settings(max_examples=300, deadline=None)
@given(st.lists(expressions, min_size=2, max_size=4))
def test_conjuncts_are_found(parts: list[str]) -> None:
    """Bracketed parts joined by && come back as that many, and more where a part is itself such a chain."""
    assume(all(_accepts(part) for part in parts))
    whole = Expression.parse(" && ".join(f"({part}\n)" for part in parts))
    single = [len(Expression.parse(part).conjuncts()) for part in parts]
    assert len(whole.conjuncts()) == sum(single)


def test_a_ternary_or_an_or_is_one_conjunct() -> None:
    """&& binds stronger than || and ?:, so neither may be torn at it."""
    for text in ("a && b || c", "a ? b && c : d && e", "!(a && b)", "f(a && b)", "a ?: b && c"):
        assert len(Expression.parse(text).conjuncts()) == 1, text
    parsed = Expression.parse("a && (b && (c || d)) && !e")
    assert [parsed.text_of(node) for node in parsed.conjuncts()] == ["a", "b", "(c || d)", "!e"]


@settings(max_examples=300, deadline=None)
@given(expressions, ads, ads)
def test_only_references_matter(text: str, mine: dict[str, Any], other: dict[str, Any]) -> None:
    """An attribute that isn't among the references may go without changing the value; a missed one would."""
    assume(_accepts(text))
    parsed = Expression.parse(text)
    read = parsed.references()
    for_mine = {name.lower() for scope, name in read if scope != "target"}
    for_other = {name.lower() for scope, name in read if scope != "my"}
    fewer = {name: value for name, value in mine.items() if name.lower() in for_mine}
    fewer_other = {name: value for name, value in other.items() if name.lower() in for_other}
    assert _worth(parsed.tree, fewer, fewer_other) == _worth(parsed.tree, mine, other)


def test_comparisons_are_turned_and_their_values_are_classad2s() -> None:
    """The attribute stands on the left; strings are unescaped, signs kept; what is no comparison with a constant is left out."""
    parsed = Expression.parse(
        r'7.5 <= GPUs_Capability && TARGET.Site == "a\"b\n" && Memory > -2 && x is true && a < b && (1) != y'
        r" && z =?= undefined && f(q) > 3"
    )
    found = [(c.reference, c.operator, c.value) for c in parsed.comparisons()]
    assert found == [
        (Reference("", "GPUs_Capability"), ">=", 7.5),
        (Reference("target", "Site"), "==", 'a"b\n'),
        (Reference("", "Memory"), ">", -2),
        (Reference("", "x"), "=?=", True),
        (Reference("", "y"), "!=", 1),
    ]
    assert [parsed.text_of(c.value_node) for c in parsed.comparisons()][:2] == ["7.5", r'"a\"b\n"']


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "empty"),
        ("   \n", 1, "empty"),
        ("A; B=2", 2, "';' after a whole expression"),
        ("true] [x=1", 5, "']' after a whole expression"),
        ("a;", 2, "';' after a whole expression"),
        ("a..b", 2, "attribute's name after the '.'"),
        ("Memory = 4096", 8, "compare with == instead of ="),
        ("a && ", 5, "ends too early"),
        ("a && && b", 6, "found '&&'; expected a value"),
        ("(a && b", 8, "expected ')' for the '(' in column 1"),
        ("a && b)", 7, "found ')'"),
        ('Site == "Nebula', 9, "has no end"),
        ("GPUs_Capability >= 8.0 GPUs", 24, "'GPUs' after a whole expression"),
        ("Memory >= 16G", 11, "'16G' is no number"),
        ("Memory >= 010", 11, "no number"),
        ("Memory >= 99999999999999999999", 11, "too large"),
        ("Capability >= 7,5", 16, "','"),
        ("a and b", 3, "'and'"),
        ("x == $(Value)", 6, "'$'"),
        ("a \u2265 b", 3, "'\u2265'"),
        ("\u201cx\u201d == y", 1, "\u201c"),
    ],
)
def test_a_mistake_has_its_column(text: str, column: int, words: str) -> None:
    """Every refusal says where, what was found and what was expected, in one sentence."""
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(text)
    assert caught.value.column == column
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


HOSTILE = [
    "a" * 1_000_000,
    "a && " * 300_000,
    "(" * 10_000,
    "(" * 10_000 + "a" + ")" * 10_000,
    "[" * 9_000,
    "[a=" * 5_000,
    "{" * 9_999,
    "!" * 9_999 + "a",
    "f(" * 9_000,
    "a?" * 9_000,
    "a ?: " * 3_000 + "a",
    "a && " * 3_900 + "a",
    "a+" * 9_000 + "a",
    "a." * 9_000 + "a",
    "/*" * 9_999,
    "/* " * 6_000 + "*/",
    "//" * 9_999,
    "9" * 19_999,
    "a\0b",
    "\u202e a == b",
    "a == \u2066b",
    '"' + "x" * 9_000,
    '"' * 9_999,
    "'" * 9_999,
    '"' + "\\" * 9_001,
    "\ud800",
    "a\x1b[31m",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_input_ends_in_a_sentence(text: str) -> None:
    """Length, depth, control characters and quotes without end: one short printable sentence, in less than a second."""
    began = time.process_time()
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(text)
    assert time.process_time() - began < 1
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 200


@pytest.mark.parametrize(
    "text",
    [
        "&&".join(["Memory > 1"] * 300),
        "(" * 90 + "Memory" + ")" * 90,
        "-" * 90 + "1",
        "int(" * 45 + "1" + ")" * 45,
    ],
)
def test_what_is_taken_can_be_evaluated(text: str) -> None:
    """HTCondor gives up at a depth of 400, silently; what the parser takes stays below."""
    Expression.parse(text).tree.eval(_ad({"Memory": 5}))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["a && ", "a || ", "(", "-", "f(", "{", "a ? 1 : ", "[x=", "(a && "]), st.integers(1, 420)
)
def test_what_is_taken_is_never_too_deep(piece: str, times: int) -> None:
    """Every shape of depth is either refused or evaluated."""
    opened = {"(": ")", "{": "}", "[": "]"}
    closing = "".join(opened[char] for char in piece if char in opened)
    text = piece * times + "1" + closing * times
    try:
        parsed = Expression.parse(text)
    except ExpressionError:
        return
    assert len(text) <= LONGEST
    parsed.tree.eval(_ad({"a": True}))


def test_comments_and_lines_are_white_space() -> None:
    """An expression from a file may have several lines; a comment never swallows what is added behind it."""
    parsed = Expression.parse("a /* one */ &&\n b // two")
    assert [parsed.text_of(node) for node in parsed.conjuncts()] == ["a", "b"]
    assert str(parsed.tree) == "a && b"


# --- time


@pytest.mark.parametrize(
    ("text", "freed"),
    [
        ("time() < T", "N < T"),
        ("TIME ( ) < T", "N < T"),
        ("MY.CurrentTime + 5 > target.currenttime", "N + 5 > N"),
        ('"time()" == x', '"time()" == x'),
        ("f(time(), {CurrentTime})", "f(N, {N})"),
        ("time(1) + timer + Runtime", "time(1) + timer + Runtime"),
        ("(time() - QDate) > 3 ? time() : 0", "(N - QDate) > 3 ? N : 0"),
        ("x.CurrentTime + (y).CurrentTime", "x.CurrentTime + (y).CurrentTime"),
    ],
)
def test_the_wall_clock_is_replaced(text: str, freed: str) -> None:
    """Calls of time() and the attribute CurrentTime, whatever their case and scope; not strings and other names."""
    assert at_time(text, "N") == freed


@settings(max_examples=300, deadline=None)
@given(expressions)
def test_replacing_keeps_an_expression_whole(text: str) -> None:
    """Whatever stands around it, the text with the clock replaced is an expression with the value the clock would give."""
    assume(_accepts(text))
    asked = f"time() > ({text}\n) || MY.CurrentTime == 5"
    freed = at_time(asked, "N")
    assert "time" not in freed.lower().replace("runtime", "")
    moment = 1_000_000.0
    direct = asked.replace("time()", "1000000.0").replace("MY.CurrentTime", "1000000.0")
    assert _worth(classad2.ExprTree(freed), {"N": moment}, {}) == _worth(
        classad2.ExprTree(direct), {"N": moment}, {}
    )


DAY = 86_400


@pytest.mark.parametrize(
    "start",
    [
        "time() < GLIDEIN_ToRetire",
        "(CurrentTime < MY.GLIDEIN_ToRetire) && true",
        "ifThenElse(isUndefined(GLIDEIN_ToRetire), true, GLIDEIN_ToRetire > MY.CurrentTime)",
        "size({1}) == 1 && [left = GLIDEIN_ToRetire - time()].left > 0",
        "Policy.Open",
        "{ false, time() < GLIDEIN_ToRetire }[1]",
    ],
)
@pytest.mark.parametrize("offset_days", [-400, +400])
def test_an_ad_is_judged_at_its_own_time(start: str, offset_days: int) -> None:
    """An ad of long ago matched then, though the wall clock is past its retirement; and one past it by its own time does not."""
    own = int(time.time()) + offset_days * DAY
    job = classad2.parseOne("[ Requirements = true ]")
    for retires, matches in ((own + 60, True), (own - 60, False)):
        ad = read_ad(
            f"[ GLIDEIN_ToRetire = {retires}; Policy = [ Open = time() < GLIDEIN_ToRetire ]; "
            f"Start = {start}; Requirements = Start ]"
        )
        ad[NOW] = float(own)
        assert ad.symmetricMatch(job) is matches
        by_wall_clock = classad2.parseOne(
            f"[ GLIDEIN_ToRetire = {retires}; Requirements = time() < GLIDEIN_ToRetire ]"
        )
        assert by_wall_clock.symmetricMatch(job) is (offset_days > 0)  # what would have come out without it


def test_the_jobs_clock_is_replaced_too() -> None:
    """A job's own Requirements may say how long it has waited."""
    job = read_ad("[ QDate = 1000; Requirements = (time() - MY.QDate > 600) || TARGET.Big ]")
    slot = read_ad("[ Big = false; Requirements = true ]")
    for now, matches in ((1601.0, True), (1599.0, False)):
        job[NOW] = now
        assert slot.symmetricMatch(job) is matches
