"""Scenario files: frozen models of scenarios/*.yaml; loading reports every mistake at once.

Durations and sizes are written as people write them (``20 min``, ``7 d``).
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError

from sim.delivery.section import DeliverySection
from sim.errors import ScenarioError
from sim.sections import (
    Duration,
    HoldSection,
    PoolSection,
    Positive,
    RunSection,
    Section,
    SupplySection,
    WorkloadSection,
)


class GroupSection(Section):
    """An accounting group: GROUP_QUOTA_<group> in weighted cores or, if `dynamic`, GROUP_QUOTA_DYNAMIC_<group>, a share."""

    quota: float = Field(ge=0)
    dynamic: bool = False
    accept_surplus: bool = False
    autoregroup: bool = False


class PolicySection(Section):
    """What the daemons do and how fast; defaults are HTCondor's own (`param_info.in` of 23.9 and 25.14).

    prio_factors, ceilings, floors : by submitter; the last two in weighted cores
    holds : of jobs that execute too long, the first rule that is true of a job counts; what a job allows itself counts too
    concurrency_limits : by limit, NAME_LIMIT; with a dot at the end, CONCURRENCY_LIMIT_DEFAULT_<name>
    preemption_requirements : a ClassAd expression, the slot's ad MY, the job's TARGET
    vacate_time : from the order to leave until a job has left; jobs that obey SIGTERM take a second
    first_cycle : when the first negotiation cycle begins; at random within an interval, if nothing is said

    The delays were measured on 23.9.6 (docs/validation.md); they are properties of a version, not of a pool.
    """

    negotiator_interval: Positive = 60.0
    negotiator_cycle_delay: Duration = 20.0
    negotiator_min_interval: Duration = 5.0
    cycle_overhead: Duration = 0.05
    schedd_interval: Positive = 300.0
    schedd_min_interval: Duration = 5.0
    priority_halflife: Positive = 86400.0
    default_prio_factor: float = Field(default=1000.0, gt=0)
    nice_user_prio_factor: float = Field(default=1e10, gt=0)
    group_prio_factors: dict[str, float] = Field(default_factory=dict)
    prio_factors: dict[str, float] = Field(default_factory=dict)
    fair_share: bool = True
    ceilings: dict[str, float] = Field(default_factory=dict)
    floors: dict[str, float] = Field(default_factory=dict)
    groups: dict[str, GroupSection] = Field(default_factory=dict)
    group_accept_surplus: bool = False
    group_autoregroup: bool = False
    concurrency_limits: dict[str, float] = Field(default_factory=dict)
    concurrency_limit_default: float = Field(default=2308032.0, ge=0)
    preemption_requirements: str = "False"
    max_job_retirement: Duration = 0.0
    vacate_time: Duration = 1.0
    holds: tuple[HoldSection, ...] = ()
    first_cycle: Duration | None = None
    claim_worklife: float = 1200.0
    claim_leftovers: bool = True
    claim_reuse: bool = True
    reschedule: bool = True
    reschedule_delay: Duration = 0.013
    """From a round of the schedd until the negotiator has its RESCHEDULE: 4-22 ms in the logs of recorded pools."""
    reschedule_from_rest: bool = False
    """Only a submission that finds no idle job advertised lets the schedd count its jobs at once and ask for a cycle (25.x, where
    condor_reschedule changes nothing: 25.14.1 counted two jobs submitted while another waited at its timer); else every one does
    (23.x)."""
    update_when_satisfied: bool = True
    """A submitter that got all it asked for lets the schedd count its jobs anew as soon as SCHEDD_MIN_INTERVAL permits."""
    schedd_wakes_per_job: float = Field(default=6.4, ge=0)
    """How often a job's shadows, claims and tools wake the schedd, whose timers fire with it: 6.1-7.1 clusters of lines a job
    in the SchedLogs of recorded pools of 23.9.6."""
    consider_preemption: bool = True
    one_match_per_slot: bool = True
    job_lease: Duration = 2400.0
    lease_slack: Duration = 9.0
    classad_lifetime: Duration = 900.0
    update_interval: Positive = 300.0
    update_delay_low: Duration = 1.0
    update_delay_high: Duration = 2.0
    match_to_start: Duration = 1.05
    match_to_start_tail: Duration = 0.15
    reuse_to_start: Duration = 1.04
    reuse_slow_share: float = Field(default=1 / 3, ge=0, le=1)
    reuse_slow_extra: Duration = 1.03
    run_overhead: Duration = 0.1
    device_release_poll: Duration = 0.0
    image_start: Duration = 0.0

    def own_groups(self) -> dict[str, GroupSection]:
        """The groups, each with GROUP_ACCEPT_SURPLUS and GROUP_AUTOREGROUP where it says nothing itself."""
        told = {"accept_surplus": self.group_accept_surplus, "autoregroup": self.group_autoregroup}
        return {
            name: group.model_copy(update={key: told[key] for key in told.keys() - group.model_fields_set})
            for name, group in self.groups.items()
        }


class Scenario(Section):
    """A whole scenario file."""

    title: str = ""
    pool: PoolSection = PoolSection()
    supply: SupplySection = SupplySection()
    workload: WorkloadSection = WorkloadSection()
    policy: PolicySection = PolicySection()
    delivery: DeliverySection = DeliverySection()
    run: RunSection = RunSection()


def bundled() -> dict[str, Path]:
    """The scenarios that come with poolscope: name → file."""
    inside = Path(str(resources.files("sim"))) / "scenarios"
    folder = inside if inside.is_dir() else Path(str(resources.files("sim"))).parent / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load(name: str | Path, overrides: tuple[str, ...] = ()) -> Scenario:
    """Read a scenario file, or a bundled one by name; ``key=value`` overrides reach into sections with dots.

    Raises
    ------
    ScenarioError : not there, no YAML, or mistakes, all of them listed with path, value and what was expected
    """
    path = Path(name)
    if not path.is_file():
        known = bundled()
        if str(name) not in known:
            raise ScenarioError(
                f"{name}: no such scenario file; the bundled ones are {', '.join(known) or 'none'}"
            )
        path = known[str(name)]
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: no YAML ({' '.join(str(error).split())[:200]})") from error
    return parse(content if content is not None else {}, where=str(path), overrides=overrides)


def parse(content: object, *, where: str, overrides: tuple[str, ...] = ()) -> Scenario:
    """Check the content of a scenario; see `load`."""
    if not isinstance(content, dict):
        raise ScenarioError(
            f"{where}: expected sections such as pool: and run:, found {type(content).__name__}"
        )
    for override in overrides:
        _override(content, override)
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        raise ScenarioError("\n".join(f"{where}: {line}" for line in _mistakes(error))) from error


def _override(content: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ScenarioError(f"--set {override!r}: expected key=value such as run.seed=7")
    target = content
    for key in keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            raise ScenarioError(f"--set {override!r}: {key!r} is no section")
    target[keys[-1]] = yaml.safe_load(value)


def _mistakes(error: ValidationError) -> list[str]:
    lines = []
    for mistake in error.errors():
        place = ".".join(str(part) for part in mistake["loc"])
        if mistake["type"] == "extra_forbidden":
            section = _section(mistake["loc"][:-1])
            known = ", ".join(section.model_fields)
            lines.append(f"{place}: unknown key; expected one of {known}")
        else:
            found = repr(mistake["input"])
            shown = found if len(found) <= 60 else f"{found[:57]}..."
            said = str(mistake["msg"]).removeprefix("Value error, ")
            lines.append(f"{place}: found {shown}; {said[:1].lower()}{said[1:]}")
    return lines


def _section(path: tuple[int | str, ...]) -> type[BaseModel]:
    """The model that stands at a path: through lists, dictionaries and what may be missing."""
    section: type[BaseModel] = Scenario
    for key in path:
        if isinstance(key, int) or key not in section.model_fields:
            continue
        found = _model_in(section.model_fields[key].annotation)
        section = found or section
    return section


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
