"""The draft of a scenario: a form and its YAML, each made from the other; and the address of what is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd
import yaml

from dashboard.runs import is_id
from sim import scenario
from sim.errors import InputError, ScenarioError
from sim.scenario import Scenario

LONGEST = 20_000
MOST_SEEDS = 100
#: Scenarios that are compared at a time, the base among them.
MOST = 4


class Lever(NamedTuple):
    """A field of the form: where it stands in the file, its label, its kind, and what it offers or its bounds."""

    key: str
    label: str
    kind: str
    offers: tuple[str, ...] = ()
    least: int = 0
    most: int = 0


_LEVERS = (
    Lever("title", "Name", "text"),
    Lever("run.replications", "Seeds", "whole", least=1, most=MOST_SEEDS),
    Lever("supply.model", "Machines", "choice", ("recorded", "fixed")),
    Lever("policy.negotiator_interval", "Negotiation every", "duration"),
    Lever("policy.claim_worklife", "Reuse for (s)", "whole", least=-1, most=10_000_000),
    Lever("policy.claim_reuse", "Reuse claims", "flag"),
    Lever("policy.consider_preemption", "Preempt by priority", "flag"),
)


def levers() -> tuple[Lever, ...]:
    """The fields of the form."""
    return _LEVERS


#: What may be added without looking it up: model as ads name it, capability, memory as it is sold. What the pool has itself
#: is offered beside it, with what its own ads say.
CATALOGUE = {
    "NVIDIA A100-SXM4-80GB": (8.0, "80 GB"),
    "NVIDIA A40": (8.6, "48 GB"),
    "NVIDIA GeForce RTX 4090": (8.9, "24 GB"),
    "NVIDIA H100 80GB HBM3": (9.0, "80 GB"),
    "NVIDIA H200": (9.0, "141 GB"),
    "NVIDIA L40S": (8.9, "48 GB"),
}


def models(devices: pd.DataFrame) -> dict[str, tuple[float, str]]:
    """Models that may be added, with capability and memory: those of the frame "devices" and those of the catalogue."""
    known = devices.dropna(subset=["model", "capability", "memory_mib"]).drop_duplicates("model")
    own = {
        str(row["model"]): (float(row["capability"]), f"{row['memory_mib']:.0f} MB")
        for row in known.to_dict("records")
    }
    return dict(sorted({**CATALOGUE, **own}.items()))


def base(source: str, name: str, *, seeds: int = 20) -> dict[str, Any]:
    """The store as it is: the scenario that the pages simulate, with so many seeds."""
    file = scenario.bundled().get(name)
    content: dict[str, Any] = yaml.safe_load(file.read_text("utf-8")) if file is not None else {}
    content["run"] = {**content.get("run", {}), "replications": seeds}
    return {
        "title": "as it is",
        **{key: value for key, value in content.items() if key != "title"},
        "pool": {"source": source},
    }


def write(content: Mapping[str, Any]) -> str:
    """The YAML of a scenario, as people write it."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=100)


def read(text: str, *, source: str) -> dict[str, Any]:
    """The content of a draft, checked; the pool is this dashboard's store, whatever the draft says.

    Raises
    ------
    ScenarioError : every mistake, with its place
    InputError : too long, or it names files of the server
    """
    if len(text) > LONGEST:
        raise InputError(f"the scenario has {len(text):,} characters: expected at most {LONGEST:,}")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise InputError(
                "the scenario uses YAML aliases (*name): write things out, since aliases can grow without end"
            )
        content = yaml.safe_load(text)
    except RecursionError:
        raise InputError("the scenario is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ScenarioError(f"no YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(content, dict):
        raise ScenarioError("expected sections such as run: and policy:, found none")
    pool = content.get("pool", {})
    if not isinstance(pool, dict) or pool.get("source", source) != source:
        raise InputError(f"pool.source: expected {source}, the store of this dashboard")
    workload = content.get("workload", {})
    if isinstance(workload, dict) and "trace" in workload:
        raise InputError("workload.trace: files of the server can't be named here; use poolscope simulate")
    content["pool"] = {**pool, "source": source}
    made = scenario.parse(content, where="scenario")
    if made.run.replications > MOST_SEEDS:
        raise InputError(
            f"run.replications: found {made.run.replications}, expected at most {MOST_SEEDS} here; use poolscope sweep for more"
        )
    return content


def get(content: Mapping[str, Any], key: str) -> Any:
    """The value at a key with dots; the format's default where the file doesn't say."""
    held: Any = content
    for part in key.split("."):
        held = held.get(part) if isinstance(held, Mapping) else None
    if held is not None:
        return held
    default: Any = Scenario()
    for part in key.split("."):
        default = getattr(default, part)
    return default


def put(content: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The content with a key set; sections are made as needed, others stay as they are."""
    first, _, rest = key.partition(".")
    if not rest:
        return {**content, first: value}
    section = content.get(first)
    return {**content, first: put(section if isinstance(section, Mapping) else {}, rest, value)}


def add_machines(
    content: Mapping[str, Any], *, gpus: int, model: str, capability: float, memory: str
) -> dict[str, Any]:
    """The content with `gpus` more GPUs of a model, eight to a machine."""
    full, rest = divmod(gpus, 8)
    steps = list(get(content, "pool.adjust") or ())
    for count, each in ((full, 8), (1 if rest else 0, rest)):
        if count:
            steps.append(
                {
                    "add": {
                        "name": f"new{len(steps) + 1}", "count": count, "cpus": 8 * each, "memory": f"{64 * each} GB",
                        "gpus": [{"model": model, "capability": capability, "memory": memory, "count": each}],
                    }
                }
            )  # fmt: skip
    return put(content, "pool.adjust", steps)


def drop_site(content: Mapping[str, Any], site: str) -> dict[str, Any]:
    """The content without the machines of a site."""
    quoted = site.replace("\\", "\\\\").replace('"', '\\"')
    return put(
        content,
        "pool.adjust",
        [
            *(get(content, "pool.adjust") or ()),
            {"drop": f'(GLIDEIN_Site ?: GLIDEIN_ResourceName) == "{quoted}"'},
        ],
    )


def scale_jobs(content: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """The content with so many times as many jobs."""
    return put(content, "workload.adjust", [*(get(content, "workload.adjust") or ()), {"scale": factor}])


def parse_compared(query: Mapping[str, object]) -> tuple[str, ...]:
    """The runs that an address compares, the base first.

    Examples
    --------
    >>> parse_compared({"cmp": "0123456789ab,nonsense,0123456789ab,ba9876543210"})
    ('0123456789ab', 'ba9876543210')
    """
    said = query.get("cmp")
    if isinstance(said, list):
        said = said[-1] if said else ""
    names = said.split(",") if isinstance(said, str) else []
    return tuple(dict.fromkeys(name for name in names if is_id(name)))[:MOST]


def to_query(compared: Sequence[str], jobs: str = "") -> str:
    """The address of a comparison, and of the jobs that it is about.

    Examples
    --------
    >>> to_query(["0123456789ab"], "class 40 GB"), to_query([])
    ('jobs=class%2040%20GB&cmp=0123456789ab', '')
    """
    if not compared:
        return ""
    about = f"jobs={quote(jobs, errors='replace')}&" if jobs else ""
    return f"{about}cmp={','.join(compared)}"
