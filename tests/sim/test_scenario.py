"""Scenario files: units, defaults, and every mistake at once."""

from pathlib import Path

import pytest

from sim.errors import ScenarioError
from sim.scenario import bundled, load, parse


def test_bundled_scenarios_load() -> None:
    """Every scenario that comes with poolscope is valid."""
    assert "sample" in bundled()
    for name in bundled():
        assert load(name).title


def test_durations_are_written_as_people_write_them() -> None:
    """20 min is 1200 s; a bare number is seconds."""
    policy = parse({"policy": {"negotiator_interval": "20 min", "job_lease": 90}}, where="x").policy
    assert (policy.negotiator_interval, policy.job_lease) == (1200.0, 90.0)


def test_all_mistakes_at_once_with_their_places() -> None:
    """Two wrong values and an unknown key: three lines, each with its path and what was expected."""
    with pytest.raises(ScenarioError) as caught:
        parse(
            {"policy": {"negotiator_interval": "soon", "negotiater": 1}, "run": {"seed": -1}}, where="s.yaml"
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert any("policy.negotiator_interval" in line and "soon" in line for line in lines)
    assert any(
        "policy.negotiater: unknown key; expected one of" in line and "negotiator_interval" in line
        for line in lines
    )
    assert any("run.seed" in line and "-1" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "said"), [("- a\n", "found list"), ("pool: [\n", "no YAML"), ("\x00", "no YAML")]
)
def test_what_is_no_scenario_is_said(tmp_path: Path, text: str, said: str) -> None:
    """A list, broken YAML and binary are each one sentence with the file's name."""
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError, match=said):
        load(path)


def test_unknown_name_lists_the_bundled_ones() -> None:
    """A name that is no file and not bundled is told what there is."""
    with pytest.raises(ScenarioError, match="sample"):
        load("no-such-scenario")


def test_override_reaches_into_sections() -> None:
    """--set policy.claim_worklife=0 changes that key; one that is no key=value is refused."""
    assert load("sample", ("policy.claim_worklife=0",)).policy.claim_worklife == 0
    with pytest.raises(ScenarioError, match="key=value"):
        load("sample", ("seed",))


def test_mistakes_in_lists_have_their_places() -> None:
    """Steps, machines and classes are checked like the rest, all at once, unknown keys with the known ones."""
    wrong = {
        "pool": {"source": "generated", "machines": [{"name": "m", "cpus": 0, "memory": "much"}]},
        "supply": {"model": "on_demand"},
        "workload": {
            "adjust": [
                {"keep": "RequestGPUs >"},
                {"keep": "true", "drop": "false"},
                {"scale": 2, "wher": "x"},
                {"drop": "true", "where": "true"},
                {"rewrite": {"Requirements": "{old} &&"}},
            ]
        },
        "run": {"horizon": "1 h", "warm_up": "2 h"},
    }
    with pytest.raises(ScenarioError) as caught:
        parse(wrong, where="s.yaml")
    said = str(caught.value)
    for expected in (
        "pool.machines.0.cpus: found 0",
        "pool.machines.0.memory: found 'much'; 'much' is no quantity",
        "model: on_demand and a section on_demand go together",
        "workload.adjust.0.keep: found 'RequestGPUs >'; no ClassAd expression: column",
        "expected exactly one of keep, drop, scale, rewrite, add, found keep and drop",
        "workload.adjust.2.wher: unknown key; expected one of keep, drop, scale, rewrite, add, where",
        "where goes with scale or rewrite",
        "workload.adjust.4",
        "warm_up of 7200 s leaves nothing of a horizon of 3600 s",
    ):
        assert expected in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"workload": {"source": "synthetic"}}, "source: synthetic and a section synthetic go together"),
        ({"workload": {"source": "synthetic", "synthetic": {}}}, "either fit: recorded or a list of classes"),
        (
            {"pool": {"machines": [{"name": "m", "cpus": 1, "memory": "1 GB"}]}},
            "machines go with source: generated",
        ),
        (
            {"pool": {"adjust": [{"rewrite": {"GPUs": "8"}}]}},
            "can't rewrite GPUs: drop the machines and add others",
        ),
    ],
)
def test_sections_that_belong_together(content: dict[str, object], said: str) -> None:
    """What needs another section says so."""
    with pytest.raises(ScenarioError, match=said):
        parse(content, where="s.yaml")
