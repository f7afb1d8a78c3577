"""The address of the Requirements page: what is written is read back."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.pages.requirements_state import LONGEST, Question, read_memory
from sim.errors import InputError

questions = st.builds(
    Question,
    expression=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200),
    gpus=st.integers(0, 64),
    cpus=st.integers(0, 1024),
    memory_mib=st.integers(1, 10**6).map(float),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(questions)
def test_an_address_comes_back_as_its_question(question: Question) -> None:
    query = dict(parse_qsl(question.to_query(), keep_blank_values=True))
    assert Question.parse(query) == question


values = st.one_of(st.text(max_size=12), st.none(), st.floats(), st.lists(st.text(max_size=5), max_size=2))


@settings(
    suppress_health_check=[HealthCheck.too_slow], deadline=None
)  # the first draw loads hypothesis' tables
@given(st.dictionaries(st.sampled_from(["req", "gpus", "cpus", "memory", "x"]), values))
def test_any_address_gives_a_question_within_its_limits(query: dict[str, object]) -> None:
    question = Question.parse(query)
    assert 0 <= question.gpus <= 64
    assert 0 <= question.cpus <= 1024
    assert 1 <= question.memory_mib <= 64 * 1024**2
    assert len(question.expression) <= LONGEST


def test_memory_is_shown_as_it_would_be_written() -> None:
    assert Question(memory_mib=2048.0).memory == "2 GB"
    assert Question(memory_mib=500.0).memory == "500 MB"


@pytest.mark.parametrize("text", ["0", "100 TB", "lots"])
def test_a_memory_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_memory(text)


def test_what_a_browser_sends_back_is_a_question_or_refused() -> None:
    question = Question("Memory > 5", gpus=2, beside="true")
    assert Question.of(question.kept()) == question
    assert Question.of(Question("true").kept()) == Question("true")
    assert "beside" not in Question("true").kept()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"expression": 5}, "expression: "), ({"gpus": "2"}, "gpus: "), ({"gpus": True}, "gpus: "), ({"gpus": 65}, "gpus: "),
        ({"gpus": -1}, "gpus: "), ({"cpus": 1.5}, "cpus: "), ({"memory_mib": float("nan")}, "memory_mib: "), ({"memory_mib": [1]}, "memory_mib: "),
        ({"memory_mib": 0}, "memory_mib: "), ({"expression": "x" * 30_000}, "expression: "), ({"other": 1}, "other: "),
        ([], "it: "), ("true", "it: "), (None, "it: "), ({"beside": {}}, "beside: "), ({5: 5}, "5: "),
    ],
)  # fmt: skip
def test_wrong_types_are_one_sentence(asked: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Question.of(asked)
    assert str(caught.value).startswith("not a question of this page (")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_too_long_for_a_link_is_in_none() -> None:
    assert Question("x" * 10_000).to_query() == ""
    assert "beside=true" in Question("true", beside="true").to_query()
