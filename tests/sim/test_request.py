"""A job as condor_submit would describe it; tests/pool/test_match_oracle.py asks the real condor_submit."""

import pytest

from sim.classads.matching import read_ad
from sim.classads.request import Request, job_ad
from sim.errors import ExpressionError, InputError

ALWAYS = ["disk>=requestdisk", "memory>=requestmemory"]


def clauses(expression: str, request: Request | None = None) -> list[str]:
    """The clauses that are added to an expression, without scopes and blanks."""
    text = str(read_ad(job_ad(expression, request or Request())).lookup("Requirements"))
    bare = "".join(text.split()).lower().replace("target.", "").replace("my.", "")
    return [clause.strip("()") for clause in bare.split(")&&(")[1:]]


# what condor_submit -dry-run of 23.9.6 and 25.14.1 leaves out, for request_cpus = 2 and one GPU
MEASURED = [
    ("true", set()),
    ("Disk > 3", set()),
    ("TARGET.Disk > RequestDisk", set()),
    ("Memory >= RequestMemory", set()),
    ("memory > 1 && cpus > 3", {"cpus>=requestcpus"}),
    ("MY.Cpus > 1", {"cpus>=requestcpus"}),
    ("RequestCpus > 1", set()),
    ("GPUs > 1", {"gpus>=requestgpus"}),
    ("MY.GPUs > 1", {"gpus>=requestgpus"}),
    ("RequestGPUs > 0", set()),
    ('MY.Arch == "x"', {'arch=="x86_64"'}),
    ('OpSys == "LINUX"', {'opsys=="linux"'}),
    ('OpSysAndVer == "x"', {'opsys=="linux"'}),
    ('OpSysLongName == "x"', {'opsys=="linux"'}),
    ('OpSysShortName == "x"', {'opsys=="linux"'}),
    ('OpSysName == "x"', {'opsys=="linux"'}),
    ('OpSysLegacy == "x"', {'opsys=="linux"'}),
    ("OpSysMajorVer == 3", set()),
    ("OpSysVer > 3", set()),
    ("TARGET.HasFileTransfer == false", {"hasfiletransfer"}),
    ("size(AvailableGPUs) > 1", set()),
]


@pytest.mark.parametrize(("expression", "left_out"), MEASURED)
def test_clauses_as_condor_submit_adds_them(expression: str, left_out: set[str]) -> None:
    """A clause goes where the expression mentions the attribute; memory and disk are always asked for."""
    everything = [
        'arch=="x86_64"', 'opsys=="linux"', *ALWAYS, "cpus>=requestcpus", "gpus>=requestgpus", "hasfiletransfer",
    ]  # fmt: skip
    wanted = [clause for clause in everything if clause not in left_out]
    assert clauses(expression, Request(cpus=2)) == wanted


def test_require_gpus_replaces_the_clause_on_gpus() -> None:
    """And both go where the expression mentions GPUs."""
    counted = "countmatches(requiregpus,availablegpus)>=requestgpus"
    picky = Request(require_gpus="Capability >= 8.0")
    assert counted in clauses("true", picky)
    assert "gpus>=requestgpus" not in clauses("true", picky)
    assert counted not in clauses("GPUs > 0", picky)
    assert "requiregpus" not in job_ad("true", Request(gpus=0, require_gpus="Capability >= 8.0")).lower()


def test_one_core_and_no_gpu_add_no_clause() -> None:
    """The startd checks the core itself."""
    assert clauses("true", Request(gpus=0)) == [
        'arch=="x86_64"',
        'opsys=="linux"',
        *ALWAYS,
        "hasfiletransfer",
    ]


def test_what_is_asked_is_in_the_ad() -> None:
    """Numbers whole where they are, so that they print as HTCondor prints them."""
    ad = read_ad(job_ad("true", Request(gpus=2, cpus=1.5, memory_mib=2048.0)))
    assert (ad["RequestGPUs"], ad["RequestCpus"], ad["RequestMemory"]) == (2, 1.5, 2048)


def test_neither_comment_nor_bracket_breaks_out() -> None:
    """The expression stays one clause among the others."""
    assert len(clauses("a || b // all mine")) == len(clauses("a || b"))
    for text in ("true) || (true", "true; x = 1", "true] [ y = 1"):
        with pytest.raises(ExpressionError):
            job_ad(text, Request())
        with pytest.raises(ExpressionError):
            job_ad("true", Request(require_gpus=text))


@pytest.mark.parametrize(
    "asked",
    [{"gpus": -1}, {"gpus": 10**30}, {"cpus": float("nan")}, {"cpus": float("inf")}, {"memory_mib": 1e300}, {"memory_mib": -1.0}],
)  # fmt: skip
def test_impossible_numbers_are_refused(asked: dict[str, float]) -> None:
    """They would end in a traceback inside classad2."""
    with pytest.raises(InputError, match="expected a number from 0"):
        Request(**asked)  # type: ignore[arg-type]
