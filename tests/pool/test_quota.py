"""Quotas and concurrency limits: what we call blocked stays idle in a real pool while GPUs that match are free."""

from pathlib import Path

import pandas as pd
import pytest

from collectors.daemons import Daemons
from collectors.negotiator import NegotiatorSource
from collectors.pool import PoolSource
from collectors.schedd import ScheddSource
from collectors.settings import SettingsSource
from collectors.source import Moment
from sim.analysis import Answer, PoolView, Queue, analyse
from sim.classads.submit import read_submit
from tests.realpool.configuration import PoolSpec
from tests.realpool.hosts import HOSTS
from tests.realpool.pool import SUBMIT_DEFAULTS, Pool

pytestmark = [pytest.mark.pool, pytest.mark.slow]

LAB = "accounting_group = lab\naccounting_group_user = ann\n"
LICENCE = "concurrency_limits = licence\n"
ASKED = {"quota": LAB, "limit": LICENCE, "": "accounting_group = chem\naccounting_group_user = ann\n"}


def whole(lines: str, count: int = 1, run_s: int = 600) -> str:
    head = SUBMIT_DEFAULTS.replace("request_memory = 512", "request_memory = 128")
    return f"{head}arguments = {run_s}\nrequest_gpus = 1\nrequest_cpus = 1\n{lines}queue {count}\n"


def ask(pool: Pool, lines: str) -> Answer:
    """As `poolscope match --submit` asks, from frames that the collector's sources read of the pool."""
    daemons = Daemons(pool.address)
    moment = Moment(pd.Timestamp.now(tz="UTC").floor("us"), "now")
    sources = [kind(daemons) for kind in (PoolSource, ScheddSource, NegotiatorSource, SettingsSource)]
    try:
        frames = {name: frame for source in sources for name, frame in source.read(moment).frames.items()}
    finally:
        daemons.close()
    view = PoolView.from_frames(frames["slots"])
    waiting = Queue.from_tables(frames, view)
    (job,) = read_submit(whole(lines)).jobs
    return analyse(job.description, view, queue=waiting)


def test_what_is_blocked_stays_idle(tmp_path: Path) -> None:
    """A group with a quota of two cores and a limit of two licences, both used up by two jobs each."""
    told = (
        ("GROUP_NAMES", "lab, chem"),
        ("GROUP_QUOTA_lab", "2"),
        ("GROUP_QUOTA_chem", "20"),
        ("LICENCE_LIMIT", "2"),
    )
    hosts = tuple(host for host in HOSTS if host.name in {"glidein_1", "v100", "v100_2"})
    with Pool(PoolSpec(hosts=hosts, settings=told)) as pool:
        before = {name: ask(pool, lines) for name, lines in ASKED.items()}
        assert {name: answer.verdict for name, answer in before.items()} == dict.fromkeys(ASKED, "free")

        pool.submit([whole(lines, 2) for lines in (LAB, LICENCE)])
        pool.wait_for(lambda: sum(ad["JobStatus"] == 2 for ad in pool.jobs()) == 4, 60, "two jobs of each")
        pool.wait_for(
            lambda: all(ask(pool, lines).blocked_by == name for name, lines in ASKED.items()), 30, "accounts"
        )
        answers = {name: ask(pool, lines) for name, lines in ASKED.items()}
        assert {name: answer.verdict for name, answer in answers.items()} == {
            "quota": "blocked",
            "limit": "blocked",
            "": "free",
        }
        assert all(answer.gpus.now >= 2 for answer in answers.values())

        clusters = dict(
            zip(ASKED, pool.submit([whole(lines, run_s=1) for lines in ASKED.values()]), strict=True)
        )
        (ended,) = pool.wait_for_jobs([clusters[""]], 60)
        assert ended["JobStatus"] == 4
        assert {ad["JobStatus"] for ad in pool.jobs([clusters["quota"], clusters["limit"]])} == {1}
