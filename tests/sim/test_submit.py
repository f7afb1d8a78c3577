"""Submit files: what is not followed is named, what is wrong is one sentence; the ads themselves: tests/pool."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.classads.ads import parse_one
from sim.classads.job import of_ad
from sim.classads.submit import MOST_JOBS, Files, read_submit
from sim.errors import InputError

HEAD = "executable = a.sh\n"


def notes(text: str) -> dict[str, str]:
    return {note.command: note.reason for note in read_submit(text).notes}


def test_what_is_not_followed_is_named() -> None:
    """With its line and why; macros and what is followed are not."""
    text = (
        f"{HEAD}least = 7.0\nenvironment = A=1\ncron_minute = 5\nrequirments = true\nfoo = 3\n"
        "gpus_minimum_capability = $(least)\nrequest_gpus = 1\n+Anything = 3\nqueue"
    )
    found = read_submit(text).notes
    assert [(note.line, note.command) for note in found] == [
        (3, "environment"), (4, "cron_minute"), (5, "requirments"), (6, "foo"),
    ]  # fmt: skip
    assert "does not decide" in found[0].reason
    assert "not supported" in found[1].reason
    assert "requirements meant" in found[2].reason


def test_device_commands_without_request_gpus_are_named() -> None:
    """condor_submit passes over them; a user would not notice."""
    told = notes(f"{HEAD}require_gpus = Capability > 7\ngpus_minimum_memory = 3\nqueue")
    assert set(told) == {"require_gpus", "gpus_minimum_memory"}
    assert all("without request_gpus" in reason for reason in told.values())


def test_shapes_count_the_jobs_that_slots_tell_apart() -> None:
    """Arguments and files don't; requests do."""
    text = (
        f"{HEAD}arguments = $(Process)\noutput = $(Process)\nrequest_memory = $(m)\nqueue 3 m in (1GB, 2GB)"
    )
    submission = read_submit(text)
    assert [(job.description.attributes["RequestMemory"], n) for job, n in submission.shapes()] == [
        ("1024", 3), ("2048", 3),
    ]  # fmt: skip


def test_files_are_read_only_where_they_may_be(tmp_path: Path) -> None:
    """By default nothing is opened and no pattern looked up; a program is never run."""
    (tmp_path / "list").write_text("a\n# no\nb\n")
    (tmp_path / "x.dat").touch()
    (tmp_path / "dir").mkdir()
    text = HEAD + "arguments = $(x)\nqueue x from list"
    with pytest.raises(InputError, match="line 3: queue from 'list': only items in the file itself"):
        read_submit(text)
    files = Files.below(tmp_path)
    args = [parse_one(job.ad)["Args"] for job in read_submit(text, files=files).jobs]
    assert args == ["a", "b"]
    with pytest.raises(InputError, match=r"line 3: .* can't be done here"):
        read_submit(text.replace("from list", "matching *.dat"))
    for kind, found in (("files *", ["list", "x.dat"]), ("dirs *", ["dir/"]), ("*.dat", ["x.dat"])):
        jobs = read_submit(text.replace("from list", f"matching {kind}"), files=files).jobs
        assert [parse_one(job.ad)["Args"] for job in jobs] == found
    marker = tmp_path / "ran"
    with pytest.raises(InputError, match="nothing is run here"):
        read_submit(text.replace("list", f"touch {marker} |"), files=files)
    assert not marker.exists()


def test_the_environment_is_closed_unless_opened() -> None:
    """$ENV(HOME) of a file from the web must not tell the server's."""
    text = HEAD + "arguments = $ENV(HOME)\nqueue"
    assert parse_one(read_submit(text).jobs[0].ad)["Args"] == "UNDEFINED"
    assert parse_one(read_submit(text, environment={"HOME": "/h"}).jobs[0].ad)["Args"] == "/h"


def test_more_jobs_than_are_read() -> None:
    """They are counted, and it says so."""
    submission = read_submit(HEAD + "queue 1000000")
    assert (submission.n_jobs, len(submission.jobs)) == (1_000_000, MOST_JOBS)
    assert "1,000,000 jobs" in submission.notes[-1].reason


WRONG = {
    "x = 0\n" + "x = $(x)$(x)\n" * 40 + "queue": "a value of more than 200,000",
    "queue $$( 3": "after queue",
    "": "no queue statement",
    "queue 3\0": "line 1: found a NUL",
    "a = $(b)\nb = $(a)\narguments = $(a)\nqueue": "line 3: macros more than 20 deep",
    "a = $(a1)$(a1)\n" + "".join(f"a{i} = $(a{i + 1})$(a{i + 1})\n" for i in range(1, 19))
    + "a19 = " + "x" * 100 + "\narguments = $(a)\nqueue": "a value of more than 200,000",
    "x" * 1_000_001: "at most 1,000,000",
    "arguments @=end\nqueue": "this value has no end",
    "if true\nqueue": "queue inside an if",
    "else\nqueue": "line 1: else without an if",
    "if true\nx = 1": "line 1: this if has no endif",
    "requirements = " + "(" * 10_000 + "\nqueue": "line 1: requirements: column 101",
    "universe = local\nqueue": "expected vanilla, container or docker",
    "arguments = $INT(x,%s%n)\nx = 1\nqueue": "is no format",
    "queue x in [::0] (a b)": "steps of 0",
    "notification = sometimes\nqueue": "expected never",
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), WRONG.items(), ids=range(len(WRONG)))
def test_wrong_files_are_one_sentence(text: str, words: str) -> None:
    """With the line where there is one."""
    with pytest.raises(InputError) as caught:
        read_submit(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


_WORDS = st.sampled_from(
    ["queue", "if", "else", "endif", "x", "in", "from", "(", ")", "=", "\n", "\\\n", "$(x)", "$(y:", "$INT(", "request_gpus",
     "requirements", "+A", '"', "'", "1", "GB", "#", "[1:2]", ",", "container_image", "docker://", "universe", "&&", "@=end", "é", "\u202e", "\r", "$$(", "%04d", "elif", "arguments"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(_WORDS | st.text(max_size=5), max_size=40).map(" ".join) | st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but an InputError comes out; what is read can be read again as an ad."""
    try:
        jobs = read_submit(text).jobs
    except InputError:
        return
    for job in jobs[:3]:
        assert len(parse_one(job.ad)) >= 2


def test_a_queued_job_tells_its_own_part_of_requirements() -> None:
    """What condor_submit added is recognised; changing the rest leaves it."""
    (job,) = read_submit(
        f"{HEAD}request_gpus = 1\ngpus_minimum_capability = 7.5\nrequirements = Memory > 5 && Foo\nqueue"
    ).jobs
    queued = of_ad(parse_one(job.ad))
    assert queued.expression.replace("(", "").replace(")", "") == "Memory > 5 && Foo"
    looser = queued.changed("true", RequireGPUs=None)
    assert "countMatches" not in looser.requirements
    assert "TARGET.GPUs >= RequestGPUs" in looser.requirements
    assert "Foo" not in looser.requirements
