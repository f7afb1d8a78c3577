"""Text that is meant to hurt: a sentence or an answer, soon; the benchmarks tell how soon, here the limit is generous."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sim.analysis import PoolView, analyse
from sim.classads.submit import read_submit
from sim.errors import InputError
from tests.sim.test_analysis import MIXED, SLICES, UNIFORM, frame, host
from tests.sim.test_matching import TITAN

LIMIT_S = 10.0  # CPU; what these guard against took minutes, and a busy machine takes three times as long as a quiet one
MARKS = "\u202e\u2066\u200f"
BOMB = 'regexp("^(a+)+{}$", strcat("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Machine))'

# text → words of the sentence; None: it has an answer
EXPRESSIONS: dict[str, str | None] = {
    "A; B=2": "column 2", "true] [x=1": "column 5", "(GPUs > 1) || " * 70_000 + "true": "at most 20,000", "a" * 1_000_000: "at most 20,000",
    "(" * 10_000: "column 101", "[" * 10_000: "column", "{" * 10_000: "column 101", "!" * 10_000 + "true": "column 101",
    "(" * 9_000 + "true" + ")" * 9_000: "column 101", "-" * 5_000 + "1": "column 101", "a ? " * 500 + "1" + " : 1" * 500: "column",
    BOMB.format(""): "takes too long", " && ".join(f"!{BOMB.format(n)}" for n in range(50)): "takes too long",
    'DeviceName == "x': "column 15", "GPUs == 'x": "has no end", "true\0": "column 5", "tr\0ue": "column 3", f"true {MARKS} && x": "column 6",
    f'GPUs_DeviceName == "{MARKS}"': None, 'GPUs_DeviceName == "<script>alert(1)</script>"': None, " || ".join(["Memory > 1"] * 1_200): "350 operators",
    " && ".join(["Memory > 1"] * 100): "more than 60 clauses", "strcat(" * 90 + '"a"' + ")" * 90 + ' == "a"': None,
}  # fmt: skip

SUBMIT: dict[str, str | None] = {
    "a" * 999_000: "expected a command", "arguments = " + "a" * 999_000 + "\nqueue": "200,000 characters", "#\n" * 490_000 + "queue": None,
    "x" * 1_100_000: "at most 1,000,000", "requirements = " + "(" * 10_000 + "\nqueue": "column 101", "arguments = " + "$(" * 10_000 + "\nqueue": "too long to expand",
    "arguments = " + "$(a:" * 10_000 + ")" * 10_000 + "\nqueue": "deep inside", "a = $(b)\nb = $(a)\narguments = $(a)\nqueue": "does one hold itself",
    "a0 = \n" + "".join(f"a{i + 1} = $(a{i})$(a{i})\n" for i in range(19)) + "arguments = $(a19)\nqueue": "too long to expand",
    "a0 = x\n" + "".join(f"a{i + 1} = $(a{i})$(a{i})\n" for i in range(19)) + "arguments = $(a19)\nqueue": "expand",
    "a = " + "y" * 190_000 + "\narguments = $(a)$(Process)\nqueue 10000": None, "queue 999999999": None, "queue x in (" + "a " * 490_000 + ")": None,
    "requirements = Memory > $(Process)\nqueue 999999999": None, "queue\n" * 140_000: "10,000 statements", "if true\n" * 120_000: "100 ifs",
    "a = " + "\\\n" * 490_000 + "\nqueue": None, "".join(f"x{i} = {i}\n" for i in range(7_000)) + "queue 1000": None,
    "".join(f"+x{i} = {i}\n" for i in range(600)) + "+Y = $(Process)\nqueue 10000": None, "a = \0\nqueue": "NUL", f"requirements = true {MARKS}\nqueue": "column 6",
    'requirements = "a\nqueue': "has no end", '+A = "<script>"\nqueue': None, "x = 1\narguments = $INT(x,%999999999d)\nqueue": "is no format",
    'arguments = $EVAL(regexp("(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"))$(Process)\nqueue 10000': "too long to evaluate",
    "queue " + "in " * 300_000: None, "queue " + " " * 900_000 + "x": "after queue", "queue " + "1" * 900_000: "after queue", "queue 9**9**9": "after queue",
    "=" * 900_000: "expected a command", "a = $(a:" * 100_000 + "\nqueue": "200,000 characters", "a = " + "x" * 100_000 + "\n" + "a = $(a)x\n" * 9_000 + "queue": "characters",
    "transfer_input_files = " + "a," * 90_000 + "\nqueue": None, "concurrency_limits = " + "a," * 90_000 + "\nqueue": None, 'arguments = "' + "''" * 90_000 + '"\nqueue': None,
}  # fmt: skip


@contextmanager
def soon() -> Iterator[None]:
    began = time.process_time()
    yield
    assert time.process_time() - began < LIMIT_S


def name(text: object) -> str:
    return repr(str(text)[:24])


@pytest.fixture(scope="module")
def pool() -> PoolView:
    machines = [
        host(f"m{n}", (TITAN,)).replace("TITAN RTX", "<img src=x onerror=alert(1)>") for n in range(30)
    ]
    view = PoolView.from_frames(frame(MIXED, UNIFORM, SLICES, *machines))
    analyse("true", view)
    return view


@pytest.mark.parametrize(("text", "words"), EXPRESSIONS.items(), ids=name)
def test_expressions(pool: PoolView, text: str, words: str | None) -> None:
    with soon():
        if words is None:
            assert analyse(text, pool).verdict
            return
        with pytest.raises(InputError) as caught:
            analyse(text, pool)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "\0" not in str(caught.value)
    assert not set(MARKS) & set(str(caught.value))


@pytest.mark.parametrize(("text", "words"), SUBMIT.items(), ids=name)
def test_submit_files(text: str, words: str | None) -> None:
    with soon():
        if words is None:
            read_submit(f"executable = a\n{text}").shapes()
            return
        with pytest.raises(InputError) as caught:
            read_submit(f"executable = a\n{text}")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


def test_somebody_elses_bomb_is_not_this_questions_fault(pool: PoolView) -> None:
    """Neither in the queue nor ahead of a job."""
    from sim.analysis import Queue, analyse_queue
    from tests.sim.test_allowance import queued

    jobs = queued(("eve@x", "idle", f"requirements = {BOMB.format('')}"), ("ann@x", "idle", ""))
    waiting = Queue.from_frames(jobs, pool=pool)
    with soon():
        rows = {row.submitters[0][0]: row for row in analyse_queue(waiting, pool)}
        assert "too long" in rows["eve@x"].reason
        assert rows["ann@x"].verdict == "free"
        assert (
            analyse("true", pool, queue=Queue(waiting.shapes, {"eve@x": 1.0, "ann@x": 600.0})).verdict
            == "free"
        )
