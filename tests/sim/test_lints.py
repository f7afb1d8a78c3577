"""Every rule where it speaks and where it keeps silent; and over the sample's own jobs none that isn't true."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sim.analysis import Answer, PoolView, Queue, Request, analyse, analyse_queue
from sim.classads.ads import parse_one
from sim.classads.job import of_ad
from sim.classads.matching import agree, read_ad
from sim.classads.submit import read_submit
from sim.store import Store, sample_path
from tests.sim.test_analysis import MIXED, NOON, OLD, SLICES, UNIFORM, frame, host, picky
from tests.sim.test_matching import TITAN, V100

RTX = '[ Id = "x"; Capability = 8.6; DeviceName = "NVIDIA RTX A5000"; GlobalMemoryMb = 24247; MaxSupportedVersion = 12020 ]'


def ask(asked: str | Any, *texts: str, request: Request | None = None) -> Answer:
    return analyse(asked, PoolView.from_frames(frame(*texts)), request=request)


def submit(text: str) -> Any:
    return read_submit(f"executable = a\nshould_transfer_files = yes\n{text}\nqueue").jobs[0].description


LASTING = host("lasting", (TITAN,), GLIDEIN_ToDie=str(NOON.timestamp() + 7200))

# rule → (fires, keeps silent): an expression or a submit file, the pool, the request
CASES: dict[str, tuple[tuple[Any, tuple[str, ...], Request | None], ...]] = {
    "legacy-attribute": (("CUDACapability >= 6.0", (UNIFORM, OLD), None), ("GPUs_Capability >= 6.0", (UNIFORM, OLD), None)),
    "mixed-hosts": (("GPUs_Capability >= 7.5", (MIXED, UNIFORM), None), ("GPUs_Capability >= 7.5", (UNIFORM, SLICES), None)),
    "mig-capability": (("true", (SLICES, UNIFORM), picky("Capability >= 7.5")), ("true", (SLICES, UNIFORM), picky("GlobalMemoryMb > 1"))),
    "nominal-memory": (
        (submit("request_gpus = 1\ngpus_minimum_memory = 24GB"), (UNIFORM,), None),
        (submit("request_gpus = 1\ngpus_minimum_memory = 24000"), (UNIFORM,), None),
    ),
    "exact-number": (("GPUs_Capability == 7.0", (UNIFORM, host("v", (V100,))), None), ("GPUs_Capability == 7.5", (UNIFORM, host("v", (V100,))), None)),
    "vendor-prefix": (('GPUs_DeviceName == "NVIDIA TITAN RTX"', (UNIFORM,), None), ('GPUs_DeviceName == "TITAN RTX"', (UNIFORM,), None)),
    "unknown-value": (("Site == \"Nebula\"", (host("a", (TITAN,), Site='"Nebular"'),), None), ('Site == "nebular"', (host("a", (TITAN,), Site='"Nebular"'),), None)),
    "unknown-attribute": (("HasFileTransfr", (UNIFORM,), None), ("HasFileTransfr =?= undefined", (UNIFORM,), None)),
    "compared-with-undefined": (("Nope == undefined", (UNIFORM,), None), ("Nope =?= undefined", (UNIFORM,), None)),
    "contradiction": (
        (submit("request_gpus = 1\ngpus_minimum_capability = 9.0\ngpus_maximum_capability = 8.0"), (UNIFORM,), None),
        (submit("request_gpus = 1\ngpus_minimum_capability = 8.0\ngpus_maximum_capability = 8.0"), (UNIFORM,), None),
    ),
    "always-true": (("1 < 2 && Memory > 5", (UNIFORM,), None), ("true", (UNIFORM,), None)),
    "too-many-gpus": (("true", (UNIFORM,), Request(gpus=3)), ("true", (UNIFORM,), Request(gpus=2))),
    "too-long": (
        (submit("request_gpus = 1\nallowed_execute_duration = 7201"), (LASTING,), None),
        (submit("request_gpus = 1\nallowed_execute_duration = 7201"), (LASTING, UNIFORM), None),
    ),
    "drops-gpu-clause": (("TARGET.GPUs > 1", (UNIFORM,), picky("Capability >= 7.5")), ("TARGET.GPUs > 1", (UNIFORM,), None)),
}  # fmt: skip


@pytest.mark.parametrize("rule", CASES)
def test_it_fires_and_keeps_silent(rule: str) -> None:
    """With a sentence and something to write instead."""
    fires, silent = CASES[rule]
    found = [lint for lint in ask(fires[0], *fires[1], request=fires[2]).lints if lint.rule == rule]
    assert found
    assert all(lint.message and lint.suggestion for lint in found)
    assert rule not in {lint.rule for lint in ask(silent[0], *silent[1], request=silent[2]).lints}


def test_every_rule_has_its_page() -> None:
    """docs/lints.md has a heading for each rule, and no other."""
    page = (Path(__file__).parents[2] / "docs" / "lints.md").read_text()
    assert {line[3:] for line in page.splitlines() if line.startswith("## ")} == set(CASES)


@pytest.mark.parametrize(
    ("expression", "other"),
    [("Memory > 9 && Memory < 5", True), ("Memory >= 9 && Memory <= 9", False), ("Memory > 9 && Memory <= 9", True),
     ('Site == "a" && Site == "B"', True), ('Site == "a" && Site == "A"', False), ("Memory > 9 && Cpus < 5", False),
     ("Memory == 5 && Memory > 7", True), ("(Memory > 9 || true) && Memory < 5", False)],
)  # fmt: skip
def test_contradictions_are_real(expression: str, other: bool) -> None:
    """No value satisfies both, or some does."""
    assert ("contradiction" in {lint.rule for lint in ask(expression, UNIFORM).lints}) == other


def _sample_jobs() -> dict[str, Any]:
    """One queued or finished job of each class of the sample."""
    jobs = Store(sample_path()).jobs()
    found: dict[str, Any] = {}
    for text in jobs["ad"]:
        ad = parse_one(str(text))
        found.setdefault(str(ad["RequirementClass"]), ad)
    return found


@pytest.fixture(scope="module")
def sample() -> PoolView:
    slots = Store(sample_path()).read("slots")
    return PoolView.from_frames(slots[slots["seen_at"] == slots["seen_at"].max()], slots)


@pytest.mark.parametrize("name", sorted(_sample_jobs()))
def test_no_false_alarm_on_the_samples_own_jobs(sample: PoolView, name: str) -> None:
    """A job that gives up nothing hears nothing; what is said of the others is so in that pool."""
    expected = {
        "classic-6.0": {"legacy-attribute", "mig-capability"},
        "model-titan": {"mixed-hosts"},  # two of its devices are on a machine with V100s
        "never": {"mig-capability"},  # the pool has seven slices that tell no capability
        "two-gpus": {"mig-capability"},
        **{f"capability-{least}": {"mig-capability"} for least in ("7.0", "7.5", "8.0")},
    }
    answer = analyse(of_ad(_sample_jobs()[name]), sample)
    assert {lint.rule for lint in answer.lints} == expected.get(name, set())


@pytest.mark.parametrize("name", sorted(_sample_jobs()))
def test_a_queued_job_is_judged_as_it_is(sample: PoolView, name: str) -> None:
    """Its recorded ad, not what we would make of its words: symmetricMatch of that ad with every slot."""
    ad = _sample_jobs()[name]
    answer = analyse(of_ad(ad), sample)
    job = read_ad(str(ad))
    assert set(answer.slots) == {v.name for v in sample.machines if v.usable and agree(v.drained, job)}


REWRITES = [
    ("CUDACapability >= 6.0 && Memory > 1", "requirements = Memory > 1\ngpus_minimum_capability = 6", 4),
    ("GPUs_Capability >= 7.5", "gpus_minimum_capability = 7.5", 2),
    ('GPUs_DeviceName == "TITAN RTX"', 'require_gpus = DeviceName == "TITAN RTX"', 2),
    ('GPUs_DeviceName == "V100" || GPUs_DeviceName == "TITAN RTX"', "gpus_minimum_capability = 7\ngpus_minimum_memory = 16000", 4),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "text", "gained"), REWRITES)
def test_rewrites_say_what_they_gain_and_give_up(expression: str, text: str, gained: int) -> None:
    """In the user's own syntax; the gain is that of the job written so."""
    answer = ask(expression, MIXED, UNIFORM, OLD)
    found = {rewrite.text: rewrite for rewrite in answer.rewrites}
    assert text in found, found
    assert found[text].gained == gained
    assert "also takes: " in found[text].given_up
    written = read_submit(
        f"executable = a\nshould_transfer_files = yes\nrequest_gpus = 1\n{text}\nqueue"
    ).jobs[0]
    assert ask(written.description, MIXED, UNIFORM, OLD).gpus.drained == answer.gpus.drained + gained


def test_a_rewrite_that_loses_says_so() -> None:
    """The old attribute matched a machine that has no device ads: per device it is lost."""
    (rewrite, *_) = ask("CUDACapability >= 6.0", MIXED, OLD).rewrites
    assert "no longer: 2 V100" in rewrite.given_up


def test_a_queue_at_once() -> None:
    """Shapes with their verdict; what can never run first, with the clause that stops it."""
    texts = {
        "request_gpus = 1\ngpus_minimum_capability = 9.0": 3,
        "request_gpus = 2\ngpus_minimum_capability = 7.0": 1,
        "request_gpus = 1\nrequirements = Nope && Memory > 1": 2,
        "request_memory = 900GB": 1,
        "request_gpus = 1": 5,
    }
    rows = []
    for number, (text, count) in enumerate(texts.items()):
        job = submit(text)
        for proc in range(count):
            rows.append(
                {"job_id": f"{number}.{proc}", "submitter": f"u{number}@x", "status": "idle", "seen_at": NOON,
                 "ad": job.ad(proc, number), "requirements": job.requirements, "require_gpus": job.require_gpus or None,
                 "request_cpus": 1.0, "request_memory_mib": job.value("RequestMemory"),
                 "request_disk_mib": 1.0, "request_gpus": job.gpus}
            )  # fmt: skip
    pool = PoolView.from_frames(frame(UNIFORM, MIXED))
    found = analyse_queue(Queue.from_frames(pd.DataFrame(rows), pool=pool), pool)
    assert [(row.jobs, row.gpus, row.verdict, row.blocking) for row in found] == [
        (3, 3, "impossible", ("Capability >= GPUsMinCapability",)),
        (2, 2, "impossible", ("Nope",)),
        (1, 0, "impossible", ("what it requests: no machine is so large",)),
        (5, 5, "free", ()),
        (1, 2, "free", ()),
    ]  # fmt: skip


def test_outranked_says_who_comes_first() -> None:
    """Two free GPUs that match, and a better submitter whose jobs take them; one who can go elsewhere does not."""
    pool = PoolView.from_frames(frame(UNIFORM, host("v", (V100,) * 3)))

    def queue(text: str, count: int, priority: float) -> Queue:
        job = submit(text)
        row = {"submitter": "ann@x", "status": "idle", "seen_at": NOON, "requirements": job.requirements,
               "require_gpus": job.require_gpus or None, "request_cpus": 1.0, "request_memory_mib": 1.0,
               "request_disk_mib": 1.0, "request_gpus": job.gpus}  # fmt: skip
        jobs = pd.DataFrame([{**row, "job_id": f"1.{n}", "ad": job.ad(n)} for n in range(count)])
        told = pd.DataFrame([{"submitter": "ann@x", "seen_at": NOON, "effective_priority": priority}])
        return Queue.from_frames(jobs, told, pool=pool)

    want = picky("Capability >= 7.5")
    first = analyse(
        "true", pool, request=want, queue=queue("request_gpus = 1\ngpus_minimum_capability = 7.5", 2, 400)
    )
    assert (first.verdict, [(a.who, a.jobs, a.gpus) for a in first.ahead]) == (
        "outranked", [("1 GPU, capability >= 7.5", 2, 2)],
    )  # fmt: skip
    named = analyse(
        "true", pool, request=want, queue=queue("request_gpus = 1\ngpus_minimum_capability = 7.5", 2, 400), with_names=True
    )  # fmt: skip
    assert named.ahead[0].who == "ann@x"
    assert "ann" not in first.sentence + str(first.ahead)
    for text, count, priority in (
        ("request_gpus = 1\ngpus_minimum_capability = 7.5", 2, 600),
        ("request_gpus = 1\ngpus_minimum_capability = 7.5", 1, 400),
        ("request_gpus = 1", 4, 400),
        ("request_gpus = 1\ngpus_maximum_capability = 7.0", 9, 400),
    ):
        assert analyse("true", pool, request=want, queue=queue(text, count, priority)).verdict == "free"
    assert analyse("true", pool, request=want, queue=queue("request_gpus = 1", 5, 400)).verdict == "outranked"
