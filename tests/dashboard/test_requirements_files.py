"""Submit files on the Requirements page: dropped, told of, given back; two expressions side by side; hostile text."""

import base64
import json
import time
from typing import Any

import pytest
from dash import no_update

from dashboard.data import Data
from dashboard.pages import requirements
from dashboard.pages.requirements_answer import show_answer
from dashboard.pages.requirements_beside import side_by_side
from dashboard.pages.requirements_state import Question
from dashboard.pages.requirements_submit import MOST_BYTES, file_to_give, read_dropped
from dashboard.runs import Runs
from sim.analysis import Request
from sim.classads.submit import read_submit
from sim.errors import InputError
from tests.sim.test_hostile import EXPRESSIONS, LIMIT_S, SUBMIT

FILE = """executable = a
should_transfer_files = yes
request_gpus = 1
request_memory = $(mem)
requirements = CUDACapability >= 6.0
log_xml = true
queue mem from (
 1GB
 9000GB
)
"""


def text(component: Any) -> str:
    return json.dumps(component, default=lambda part: part.to_plotly_json(), ensure_ascii=False)


def sent(content: bytes) -> str:
    return f"data:text/plain;base64,{base64.b64encode(content).decode()}"


def test_a_dropped_file_is_answered_like_an_expression(data: Data, runs: Runs) -> None:
    """For its first kind of job; the kinds, and what is not followed, stand below."""
    kept, wrong, _, query = requirements.check(
        data, read_dropped(sent(FILE.encode()), "job.sub"), 1, 1, "2 GB"
    )
    assert wrong is None
    assert "queue" in query
    shown = text(show_answer(data, runs, Question.of(kept), "", "light").answer)
    for words in (
        "2 jobs of 2 kinds",
        "impossible",
        "log_xml",
        "Rewrites, best first",
        "The submit file above",
    ):
        assert words in shown, words


def test_a_file_goes_out_rewritten(data: Data) -> None:
    """It has the GPUs that the best rewrite promised."""
    best = data.answer(FILE, gpus=1, cpus=1, memory_mib=1.0).rewrites[0]
    made = file_to_give(data, FILE, Request())
    (first, *_), before = (
        read_submit(made).jobs,
        data.answer(FILE, gpus=1, cpus=1, memory_mib=1.0).gpus.drained,
    )
    assert data.answer_job(first.description).gpus.drained == before + best.gained > before
    assert "# requirements = CUDACapability >= 6.0" in made
    plain = file_to_give(data, "GPUs_Capability >= 7.0", Request(gpus=2))
    assert "request_gpus = 2" in plain
    assert read_submit(plain).n_jobs == 1


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (sent(b"request_gpus = 1\n"), "no queue statement"), (sent(b"\xff\xfe\x00queue"), "no UTF-8 text"), (sent(b"queue\n" * MOST_BYTES), "more than 20,000 bytes"),
        ("data:x;base64,???", "no UTF-8 text"), ("x", "no file arrived"), (5, "no file arrived"), (None, "no file arrived"), ({"a": 1}, "no file arrived"),
        (sent(b"a = 1\0\nqueue"), "NUL"), (sent(b"universe = java\nqueue"), "line 1"), (sent(b"include : /etc/passwd\nqueue"), "include reads"),
        (sent(b"queue x from /etc/passwd"), "only items in the file itself"), (sent(b"queue x matching /etc/*"), "can't be done here"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_one_sentence(contents: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_dropped(contents, "<b>x</b>")
    assert words in str(caught.value)


def test_the_servers_environment_stays_its_own(data: Data) -> None:
    kept, *_ = requirements.check(
        data, 'requirements = Machine == "$ENV(HOME)"\nexecutable = a\nqueue', 1, 1, "2 GB"
    )
    assert 'Machine == "UNDEFINED"' in str(
        data.answer(kept["expression"], gpus=1, cpus=1, memory_mib=1.0).clauses
    )


def test_two_expressions_side_by_side(data: Data) -> None:
    shown = text(side_by_side(data, Question("GPUs_Capability >= 7.5", beside="CUDACapability >= 6.0")))
    assert "impossible" in shown
    assert "The other" in shown
    assert "Write a second expression" in text(side_by_side(data, Question("true")))
    assert "Column" in text(side_by_side(data, Question("true", beside="A ="))) or "column" in text(
        side_by_side(data, Question("true", beside="A ="))
    )


@pytest.mark.parametrize("said", [*EXPRESSIONS, *SUBMIT], ids=lambda said: repr(said[:20]))
def test_hostile_text_in_the_field(data: Data, said: str) -> None:
    """An answer or a sentence, soon."""
    began = time.process_time()
    kept, wrong, _, query = requirements.check(data, said, 1, 1, "2 GB", said)
    assert time.process_time() - began < LIMIT_S
    assert (kept is no_update) == (wrong is not None)
    assert len(text(wrong)) < 2_000
    assert len(query) <= 4_000


@pytest.mark.parametrize("wrong", [5, ["a"], {"a": 1}, True, None])
def test_wrong_types_in_the_fields(data: Data, wrong: Any) -> None:
    """Posted straight to the callback: a question or a sentence, no fault."""
    requirements.check(data, wrong, wrong, wrong, wrong, wrong)
