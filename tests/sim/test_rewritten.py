"""A rewritten submit file is one that has what the rewrite promised."""

import pytest

from sim.analysis import PoolView, Request, analyse
from sim.analysis.rewritten import is_submit_file, rewritten, submit_file
from sim.classads.submit import read_submit
from tests.sim.test_analysis import MIXED, OLD, UNIFORM, frame, host
from tests.sim.test_matching import TITAN, V100

HEAD = "executable = a\nshould_transfer_files = yes\nrequest_gpus = 1\n"
FILES = [
    HEAD + "requirements = CUDACapability >= 6.0\nqueue",
    HEAD + "Requirements = (CUDACapability >= 6.0) && \\\n   Memory > 1000\n# queue later\nqueue 3\n",
    HEAD + "requirements = GPUs_Capability >= 7.0 && Memory > 1\ngpus_minimum_memory = 1GB\nqueue x in (a b)",
    HEAD + "gpus_minimum_memory = 24GB\nqueue",
    HEAD
    + 'require_gpus = GlobalMemoryMb > 1\nrequirements = GPUs_DeviceName == "TITAN RTX"\nqueue x from (\n a\n b\n)',
]


@pytest.mark.parametrize("text", FILES, ids=range(len(FILES)))
def test_every_rewrite_gains_what_it_says(text: str) -> None:
    """Asked again, the rewritten file has as many GPUs more; its jobs stay as many, and no line is lost."""
    pool = PoolView.from_frames(frame(MIXED, UNIFORM, OLD, host("v", (V100,) * 3), host("t", (TITAN, V100))))
    before = read_submit(text)
    answer = analyse(before.jobs[0].description, pool)
    assert answer.rewrites
    for rewrite in answer.rewrites:
        made = rewritten(text, answer, rewrite)
        after = read_submit(made)
        again = analyse(after.jobs[0].description, pool)
        assert again.gpus.drained - answer.gpus.drained == rewrite.gained, made
        assert after.n_jobs == before.n_jobs
        assert [line for line in text.splitlines() if line.strip(" \\") not in made] == []


def test_an_expression_becomes_a_file_with_the_same_answer() -> None:
    pool = PoolView.from_frames(frame(MIXED, UNIFORM))
    request = Request(gpus=2, cpus=3, memory_mib=500, require_gpus="Capability > 7")
    expression = "GPUs_Capability >= 7.0 &&\n Memory > 5"
    (job,) = read_submit(submit_file(expression, request)).jobs
    assert analyse(job.description, pool).gpus == analyse(expression, pool, request=request).gpus


@pytest.mark.parametrize(
    ("text", "told"),
    [("queue", True), (" QUEUE 3\n", True), ("a = 1\nqueue x in (a)", True), ("queue = 3", False), ("Queue_Depth > 3", False),
     ("Memory > 1 &&\n queued", False), ("", False), ("# queue", False)],
)  # fmt: skip
def test_a_submit_file_is_told_from_an_expression(text: str, told: bool) -> None:
    assert is_submit_file(text) is told
