"""poolscope match from outside: its contract in JSON, its words, and one sentence for every wrong input."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dashboard.cli import main
from sim.classads.ads import Ad, parse_one, read_ads
from tests.sim import test_hostile as hostile
from tests.sim.test_analysis import BARE, MIXED, OLD, SLICES, UNIFORM, host
from tests.sim.test_matching import TITAN

POOL = (MIXED, UNIFORM, OLD, SLICES, BARE)


def as_xml(ads: list[Ad]) -> str:
    """Ads as condor_status -xml prints them; what is no plain value goes as an expression."""
    lines = ['<?xml version="1.0"?>', '<!DOCTYPE classads SYSTEM "classads.dtd">', "<classads>"]
    for ad in ads:
        lines.append("<c>")
        for name in ad:
            value = ad.lookup(name) if isinstance(ad[name], list) else ad[name]
            text = str(value).replace("&", "&amp;").replace("<", "&lt;")
            match value:
                case bool():
                    shown = f'<b v="{"t" if value else "f"}"/>'
                case int():
                    shown = f"<i>{value}</i>"
                case float():
                    shown = f"<r>{value}</r>"
                case str():
                    shown = f"<s>{text}</s>"
                case Ad():
                    inner = as_xml([value]).split("<classads>\n")[1].removesuffix("\n</classads>")
                    shown = inner.replace("\n", "")
                case _:
                    shown = f"<e>{text}</e>"
            lines.append(f'<a n="{name}">{shown}</a>')
        lines.append("</c>")
    return "\n".join([*lines, "</classads>"])


def written(folder: Path, kind: str, texts: tuple[str, ...] = POOL) -> Path:
    ads = [parse_one(text) for text in texts]
    path = folder / f"slots.{kind}"
    if kind == "long":
        path.write_text("\n".join(ad.printOld() for ad in ads))
    elif kind == "json":
        path.write_text("[\n" + ",\n".join(ad.printJson() for ad in ads) + "\n]\n")
    elif kind == "xml":
        path.write_text(as_xml(ads))
    else:
        path.write_text("\n".join(str(ad) for ad in ads))
    return path


class Run:
    """Calls the program in this process and keeps what it said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: str | Path, stdin: str | bytes = "") -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["poolscope", *map(str, arguments)])
        sent = stdin if isinstance(stdin, bytes) else stdin.encode()
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sent), encoding="utf-8"))
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def json(self, *arguments: str | Path, stdin: str = "") -> dict[str, Any]:
        code, out, err = self("match", *arguments, "--json", stdin=stdin)
        assert (code, err) == (0, "")
        answer: dict[str, Any] = json.loads(out)
        return answer


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


@pytest.fixture
def slots(tmp_path: Path) -> Path:
    return written(tmp_path, "long")


def test_the_contract(run: Run, slots: Path) -> None:
    """The keys that scripts rely on, with their types; seen_7d is null for a file."""
    answer = run.json("GPUs_Capability >= 7.5 && Memory > 1024", "--slots", slots)
    assert answer["verdict"] == "free"
    assert answer["machines"] == ["uniform"]
    assert answer["gpus"] == {"now": 2, "drained": 2, "seen_7d": None}
    assert [
        set(clause) >= {"text", "gpus", "gained_if_dropped", "next_value", "gained_at_next"}
        for clause in answer["clauses"]
    ] == [True, True]
    assert answer["clauses"][0]["text"] == "GPUs_Capability >= 7.5"
    assert {lint["rule"] for lint in answer["lints"]} >= {"mixed-hosts"}
    assert all(set(lint) == {"rule", "message", "suggestion"} for lint in answer["lints"])
    assert [(rung["rung"], rung["gpus"], rung["p50_s"], rung["p90_s"]) for rung in answer["ladder"]] == [
        ("any capability", 15, None, None),
        ("Capability >= 7.0", 6, None, None),
        ("Capability >= 7.5", 4, None, None),
    ]
    assert {row["seen_7d"] for row in answer["by_model"]} == {None}


def test_impossible_is_about_the_file(run: Run, slots: Path) -> None:
    """No slot of the file could, and the exit code is still 0: it is an answer."""
    answer = run.json("GPUs_Capability >= 9", "--slots", slots)
    assert (answer["verdict"], answer["machines"], answer["gpus"]["drained"]) == ("impossible", [], 0)


@pytest.mark.parametrize("kind", ["long", "json", "xml", "new"])
def test_every_format_gives_the_same(run: Run, tmp_path: Path, kind: str) -> None:
    """condor_status -long, -json, -xml."""
    answer = run.json("true", "--slots", written(tmp_path, kind), "--require-gpus", "Capability >= 7.5")
    assert answer["gpus"] == {"now": 3, "drained": 4, "seen_7d": None}
    assert answer["machines"] == ["mixed", "uniform"]


def test_the_expression_from_a_file_or_standard_input(run: Run, slots: Path, tmp_path: Path) -> None:
    """Several lines and a comment at the end are fine."""
    text = "GPUs_Capability >= 7.5 &&\n  Memory > 1024  // enough\n"
    (tmp_path / "expression").write_text(text)
    direct = run.json("GPUs_Capability >= 7.5 && Memory > 1024", "--slots", slots)
    for answer in (
        run.json(f"@{tmp_path / 'expression'}", "--slots", slots),
        run.json("-", "--slots", slots, stdin=text),
    ):
        assert answer["gpus"] == direct["gpus"]
        assert [c["text"] for c in answer["clauses"]] == [c["text"] for c in direct["clauses"]]


def test_what_the_job_asks_for(run: Run, slots: Path) -> None:
    """--gpus, --cpus and --memory as request_gpus, request_cpus and request_memory."""

    def ask(*more: str) -> list[str]:
        found: list[str] = run.json("true", "--slots", slots, *more)["machines"]
        return found

    assert ask() == ["mixed", "old", "slices", "uniform"]
    assert ask("--gpus", "3") == ["mixed", "slices"]
    assert ask("--gpus", "0") == ["bare", "mixed", "old", "slices", "uniform"]
    assert ask("--cpus", "33") == []
    assert ask("--memory", "65 GB") == []
    assert len(ask("--memory", "64 GB", "--cpus", "32")) == 4


def test_words(run: Run, slots: Path) -> None:
    """The verdict first; then counts, clauses, ladder and what to write instead."""
    code, out, err = run("match", "CUDACapability >= 6.0", "--slots", slots)
    assert (code, err) == (0, "")
    assert out.startswith("free: ")
    for words in (
        "if drained 2",
        "CUDACapability >= 6.0",
        "+13",
        "any capability",
        "write instead: gpus_minimum_capability = 6",
    ):
        assert words in out, out


def test_json_before_the_command(run: Run, slots: Path) -> None:
    """--json and --data work on either side of it."""
    code, out, _ = run("--json", "match", "true", "--slots", slots)
    assert (code, json.loads(out)["verdict"]) == (0, "free")


WRONG: list[tuple[list[str], str]] = [
    (["", "--slots", "SLOTS"], "column 1: the expression is empty"),
    (["A; B=2", "--slots", "SLOTS"], "column 2: found ';'"),
    (["true] [x=1", "--slots", "SLOTS"], "column 5: found ']'"),
    (["Memory = 3", "--slots", "SLOTS"], "column 8"),
    (["(" * 10_000, "--slots", "SLOTS"], "column 101"),
    ([" && ".join(["true"] * 100), "--slots", "SLOTS"], "more than 60 clauses"),
    (["true", "--slots", "SLOTS", "--require-gpus", "Capability >="], "--require-gpus, column 14"),
    (["@FOLDER/lines", "--slots", "SLOTS"], "FOLDER/lines, line 2, column 8: found ';'"),
    (["@FOLDER/missing", "--slots", "SLOTS"], "FOLDER/missing: can't be read"),
    (["@FOLDER", "--slots", "SLOTS"], "FOLDER: can't be read"),
    (["@FOLDER/bytes", "--slots", "SLOTS"], "FOLDER/bytes: can't be read"),
    (["true", "--slots", "FOLDER/missing"], "--slots FOLDER/missing: no such file"),
    (["true", "--slots", "FOLDER"], "--slots FOLDER: a folder, not a file"),
    (["true", "--slots", "FOLDER/empty"], "FOLDER/empty: no slot"),
    (["true", "--slots", "FOLDER/prose"], "FOLDER/prose, line 1"),
    (["true", "--slots", "FOLDER/bytes"], "FOLDER/bytes: byte 0 is no UTF-8"),
    (["true", "--slots", "FOLDER/jobs"], "no slot ads"),
    (["true", "--slots", "SLOTS", "--memory", "lots"], "'lots' is no quantity"),
    (["true", "--slots", "SLOTS", "--memory", "1e300"], "request_memory"),
    (["true", "--slots", "SLOTS", "--cpus", "nan"], "request_cpus"),
    (["true", "--slots", "SLOTS", "--cpus", "inf"], "request_cpus"),
    (["true", "--slots", "SLOTS", "--gpus", "9" * 30], "request_gpus"),
    (["true", "--slots", "SLOTS", "--gpus", "-1"], "--gpus"),
    (["true", "--slots", "SLOTS", "--gpus", "many"], "--gpus"),
    (["true", "--data", "FOLDER"], "--data FOLDER: no data"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=range(len(WRONG)))
def test_wrong_input_is_one_sentence(
    run: Run, slots: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    """Exit 2, nothing on stdout, the place and what was expected on stderr."""
    (tmp_path / "lines").write_text("Memory >\n 1024  ; Cpus = 3\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").write_text("")
    (tmp_path / "prose").write_text("Dear reader,\nno ad here.\n")
    (tmp_path / "jobs").write_text(
        'ClusterId = 1\nProcId = 0\nMyType = "Job"\nJobStatus = 1\nQDate = 1\nUser = "a@b"\n'
    )

    def put(text: str) -> str:
        return text.replace("SLOTS", str(slots)).replace("FOLDER", str(tmp_path))

    code, out, err = run("match", *map(put, arguments))
    assert (code, out) == (2, "")
    assert put(words) in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == (4 if err.startswith("Usage") else 1)


def test_a_busy_pool(run: Run, tmp_path: Path) -> None:
    """Nothing free now: busy, with what it would be if drained."""
    path = written(tmp_path, "long", (host("a", (TITAN,), free=[]),))
    answer = run.json("true", "--slots", path)
    assert (answer["verdict"], answer["gpus"]["now"], answer["gpus"]["drained"]) == ("busy", 0, 1)


def test_the_recorded_pool(run: Run, shared_data: Path) -> None:
    """Six hosts of a real pool, counted by their own attributes; judged at the recording's time though it is past."""
    path = shared_data / "pool" / "slots_busy.ads"
    ads = [ad for ad in read_ads(path) if ad.get("PartitionableSlot") is True]
    answer = run.json("true", "--slots", path)
    assert answer["gpus"]["drained"] == sum(int(ad["TotalSlotGPUs"]) for ad in ads)
    free = sum(int(ad["GPUs"]) for ad in ads if ad["Cpus"] > 0 and ad["Memory"] >= 128)
    assert answer["gpus"]["now"] == free


@pytest.mark.slow
def test_as_a_program(slots: Path) -> None:
    """The console script, with a pipe closed early or not, prints no traceback."""
    program = Path(sys.executable).parent / "poolscope"
    good = subprocess.run(
        [program, "match", "-", "--slots", slots, "--json"],
        input="true",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (good.returncode, json.loads(good.stdout)["verdict"], good.stderr) == (0, "free", "")
    bad = subprocess.run(
        [program, "match", "-", "--slots", slots],
        input=b"true\xff\0",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert b"Traceback" not in bad.stderr


SUBMIT = """executable = a
should_transfer_files = yes
request_gpus = 1
gpus_minimum_capability = $(least)
cron_minute = 5
queue least in 7.5, 7.5, 9.0
"""


def test_a_submit_file(run: Run, slots: Path, tmp_path: Path) -> None:
    """Its shapes, the most frequent not lost among them; what is not followed is named."""
    path = tmp_path / "job.sub"
    path.write_text(SUBMIT)
    answer = run.json("--submit", path, "--slots", slots)
    assert [(shape["jobs"], shape["verdict"], shape["gpus"]["drained"]) for shape in answer["shapes"]] == [
        (2, "free", 4), (1, "impossible", 0),
    ]  # fmt: skip
    assert (answer["jobs"], answer["verdict"]) == (3, "free")
    assert [(note["line"], note["command"]) for note in answer["notes"]] == [(5, "cron_minute")]
    assert answer["clauses"][0]["where"] == "require_gpus"
    by_pipe = run.json("--submit", "-", "--slots", slots, stdin=SUBMIT)
    assert by_pipe["gpus"] == answer["gpus"]
    code, out, _ = run("match", "--submit", path, "--slots", slots)
    assert code == 0
    assert "line 5: cron_minute is not supported" in out


@pytest.mark.slow
def test_a_queued_job_and_the_queue_of_the_sample(run: Run) -> None:
    """The four jobs that the sample's pool can never run, and one of them by its id; names only if asked for."""
    queue = json.loads(run("match", "--queue", "--json")[1])
    assert (queue["impossible_jobs"], queue["shapes"][0]["blocking"]) == (
        4,
        ["Capability >= GPUsMinCapability"],
    )
    assert "submitters" not in queue["shapes"][0]
    named = json.loads(run("match", "--queue", "--names", "--json")[1])
    assert set(named["shapes"][0]["submitters"]) == {"nice-user.dave@pool.example"}
    job = json.loads(run("match", "--job", queue["shapes"][0]["example"], "--json")[1])
    assert (job["verdict"], job["gpus"]["drained"]) == ("impossible", 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing given; expected one of EXPRESSION"),
        (["true", "--queue"], "EXPRESSION and --queue given"),
        (["--job", "99999.0"], "--job 99999.0: no such job"),
        (["--queue", "--slots", "SLOTS"], "--slots holds no jobs"),
        (["--submit", "FOLDER/none", "--slots", "SLOTS"], "--submit FOLDER/none: can't be read"),
        (["--submit", "FOLDER/bad", "--slots", "SLOTS"], "FOLDER/bad, line 2: requirements: column 2"),
    ],
)
def test_wrong_questions(run: Run, slots: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    """One sentence each, exit 2."""
    (tmp_path / "bad").write_text("executable = a\nrequirements = A; B=2\nqueue\n")
    put = [text.replace("SLOTS", str(slots)).replace("FOLDER", str(tmp_path)) for text in arguments]
    code, out, err = run("match", *put)
    assert (code, out) == (2, "")
    assert words.replace("FOLDER", str(tmp_path)) in err


def test_a_job_of_one_of_several_schedds(run: Run, slots: Path, tmp_path: Path) -> None:
    """Every schedd numbers its jobs from 1; which one is meant must be said."""
    ads = [
        f'GlobalJobId = "{schedd}#5.0#1795000000"\nClusterId = 5\nProcId = 0\nUser = "a@x"\nJobStatus = 1\n'
        f"QDate = 1795000000\nRequestCpus = {cpus}\nRequestGPUs = 1\nRequestMemory = 100\nRequestDisk = 100\n"
        "Requirements = TARGET.GPUs >= RequestGPUs && TARGET.Cpus >= RequestCpus\n"
        for schedd, cpus in (("ap1", 1), ("ap2", 9999))
    ]
    (tmp_path / "queue").write_text("\n".join(ads))
    data = ("--data", str(tmp_path / "data"))
    run("import", str(slots), str(tmp_path / "queue"), *data)
    assert (
        "--job 5.0: 2 schedds have such a job; say whose, as in ap1#5.0"
        in run("match", "--job", "5.0", *data)[2]
    )
    verdicts = [
        json.loads(run("match", "--job", f"{ap}#5", "--json", *data)[1])["verdict"] for ap in ("ap1", "ap2")
    ]
    assert verdicts[1] == "impossible" != verdicts[0]


HURTFUL = {**{text: ("-", words) for text, words in hostile.EXPRESSIONS.items()}, **{text: ("--submit", words) for text, words in hostile.SUBMIT.items()}}  # fmt: skip


@pytest.mark.parametrize(("text", "how"), HURTFUL.items(), ids=lambda part: repr(part)[:30])
@pytest.mark.parametrize("stream", [True, False], ids=["stdin", "file"])
@pytest.mark.slow
def test_hurtful_text_ends_soon(
    run: Run,
    slots: Path,
    tmp_path: Path,
    text: str,
    how: tuple[str, str | None],
    stream: bool,
) -> None:
    """A megabyte, brackets, bombs, from standard input and from a file: a sentence or an answer, no traceback."""
    kind, words = how
    path = tmp_path / "text"
    path.write_text(text, encoding="utf-8")
    read = "-" if stream else str(path)
    asked = ["--submit", read] if kind == "--submit" else [read if stream else f"@{path}"]
    with hostile.soon():
        code, out, err = run("match", *asked, "--slots", slots, stdin=text)
    assert "Traceback" not in err
    if words is None or (
        words == "takes too long" and code == 0
    ):  # what a bomb costs grows with the machines
        assert (code, err) == (0, "")
        return
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert len(err) < 2_000  # the text itself is not told again


@pytest.mark.parametrize("command", ["match", "predict"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["("  * 10_000], "column 101"), (["true", "--require-gpus", "[" * 100_000], "column"), (["a" * 100_000], "at most 20,000"),
        (["true\0"], "column 5"), (["A; B=2"], "column 2"), (["--submit", "-"], "standard input"),
    ],
    ids=range(6),
)  # fmt: skip
def test_hurtful_arguments(run: Run, command: str, arguments: list[str], words: str) -> None:
    """Of predict as of match; bytes that are no text on standard input, too."""
    with hostile.soon():
        code, out, err = run(command, *arguments, stdin=b"\xff\xfe" * 500_000)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert len(err) < 2_000


def test_many_kinds_of_job_are_answered_by_the_most_frequent(run: Run, slots: Path) -> None:
    text = "request_memory = $(item)\nqueue item in (1024 2048 2048 3072)\n"
    code, out, err = run("match", "--submit", "-", "--kinds", "2", "--slots", slots, "--json", stdin=text)
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert [shape["jobs"] for shape in told["shapes"]] == [1, 2]
    assert told["jobs"] == 4
    assert "3 kinds of job, the 2 with the most jobs are answered" in told["notes"][-1]["reason"]
