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
