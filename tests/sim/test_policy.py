"""The policy of a run: the scenario's word, then what the daemons said, then HTCondor's defaults."""

import pandas as pd

from sim.policy import effective_policy
from sim.scenario import PolicySection
from sim.schema import empty


def told(*rows: tuple[str, str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["daemon", "name", "value"])
    frame["seen_at"] = pd.Timestamp("2026-11-24", tz="UTC") + pd.to_timedelta(range(len(rows)), unit="h")
    return frame


def startds(version: str) -> pd.DataFrame:
    return pd.DataFrame({"condor_version": [f"$CondorVersion: {version} 2026-07-12 $"]})


def test_the_daemons_word_fills_what_the_scenario_leaves_open() -> None:
    """An interval that the scenario sets stays; a half-life that it doesn't comes from the negotiator, the last value of it."""
    settings = told(
        ("negotiator", "NEGOTIATOR_INTERVAL", "20"),
        ("negotiator", "PRIORITY_HALFLIFE", "600"),
        ("negotiator", "PRIORITY_HALFLIFE", "700"),
        ("negotiator", "NEGOTIATOR_CONSIDER_PREEMPTION", "False"),
    )
    policy = effective_policy(PolicySection(negotiator_interval=45), settings, startds("25.14.1"))
    assert policy.negotiator_interval == 45
    assert policy.priority_halflife == 700
    assert policy.consider_preemption is False
    assert policy.job_lease == 2400


def test_a_value_that_is_no_number_leaves_the_default() -> None:
    """A macro that holds an expression can't be read here."""
    settings = told(
        ("negotiator", "NEGOTIATOR_INTERVAL", "$INT(X)"), ("schedd", "CLAIM_PARTITIONABLE_LEFTOVERS", "$(Y)")
    )
    policy = effective_policy(PolicySection(), settings, startds("25.14.1"))
    assert policy.negotiator_interval == 60
    assert policy.claim_leftovers is True


def test_the_device_poll_belongs_to_23() -> None:
    """23.x startds free a GPU at their next poll, 25.x at once (real-pool facts §7.3)."""
    settings = empty("settings")
    assert effective_policy(PolicySection(), settings, startds("23.9.6")).device_release_poll == 5
    assert effective_policy(PolicySection(), settings, startds("25.14.1")).device_release_poll == 0
    assert (
        effective_policy(
            PolicySection(device_release_poll=1), settings, startds("23.9.6")
        ).device_release_poll
        == 1
    )


def test_limits_whose_names_have_dots() -> None:
    """SW.A_LIMIT is the cap of ``sw.a``, CONCURRENCY_LIMIT_DEFAULT_sw that of what begins with ``sw.``."""
    settings = told(("negotiator", "SW.A_LIMIT", "3"), ("negotiator", "CONCURRENCY_LIMIT_DEFAULT_sw", "5"))
    policy = effective_policy(PolicySection(), settings, startds("25.14.1"))
    assert policy.concurrency_limits == {"sw.a": 3, "sw.": 5}


def test_groups_as_the_negotiator_reads_them() -> None:
    """A static quota counts before a dynamic one, and a group without its parent is none (`hgq_construct_tree`)."""
    settings = told(
        ("negotiator", "GROUP_NAMES", "Phys, phys.atlas, bio.lab"),
        ("negotiator", "GROUP_QUOTA_phys", "10"),
        ("negotiator", "GROUP_QUOTA_DYNAMIC_phys", "0.5"),
        ("negotiator", "GROUP_QUOTA_DYNAMIC_phys.atlas", "0.3"),
        ("negotiator", "GROUP_QUOTA_bio.lab", "10"),
    )
    groups = effective_policy(PolicySection(), settings, startds("25.14.1")).groups
    assert {name: (own.quota, own.dynamic) for name, own in groups.items()} == {
        "phys": (10, False), "phys.atlas": (0.3, True),
    }  # fmt: skip
