"""A device's speed changes how long jobs run on it; recorded run times are those of the device they were measured on."""

from __future__ import annotations

import pandas as pd
import pytest

from sim.engine.run import Plan, Recording
from sim.errors import InputError
from sim.scenario import parse
from sim.workload.speeds import at_unit_speed

MODELS = ("Tesla T4", "NVIDIA L40S")


def two_models(speeds: dict[str, float]) -> pd.Series[float]:
    """Mean seconds of 20-minute jobs on a machine of each of two models."""
    machines = [
        {"name": f"m{place}", "count": 1, "cpus": 8, "memory": "64 GB", "gpus": [{"model": model, "capability": 7.5 + place, "memory": "15 GB", "count": 1}]}
        for place, model in enumerate(MODELS)
    ]  # fmt: skip
    classes = {
        name: {
            "submitters": {"u": 1},
            "gpus": 1,
            "require_gpus": f"Capability {sign} 8",
            "arrivals": {"every": "1 h", "variation": 0.1},
            "run": {"median": "20 min", "spread": 0},
        }
        for name, sign in (("old", "<"), ("new", ">="))
    }
    scenario = parse(
        {
            "pool": {"source": "generated", "machines": machines},
            "supply": {"model": "fixed"},
            "workload": {"source": "synthetic", "synthetic": {"classes": [{"name": name, **told} for name, told in classes.items()]}, "speeds": speeds},
            "policy": {"run_overhead": 0},
            "run": {"horizon": "12 h"},
        },
        where="speeds",
    )  # fmt: skip
    attempts = Plan.of(scenario, Recording.load("generated")).run(1).attempts
    ended = attempts[attempts["outcome"] == "done"]
    seconds = (ended["ended_at"] - ended["executing_at"]).dt.total_seconds()
    return seconds.groupby(ended["device_model"]).mean()


def test_a_job_runs_as_fast_as_its_device() -> None:
    assert two_models({}).to_dict() == pytest.approx({"Tesla T4": 1200, "NVIDIA L40S": 1200})
    assert two_models({"NVIDIA L40S": 4.0}).to_dict() == pytest.approx({"Tesla T4": 1200, "NVIDIA L40S": 300})
    assert two_models({"Tesla T4": 0.5}).to_dict() == pytest.approx({"Tesla T4": 2400, "NVIDIA L40S": 1200})


def test_a_device_that_no_machine_has_is_refused() -> None:
    """Else a name that is written otherwise would change nothing, unseen."""
    with pytest.raises(
        InputError, match=r"workload.speeds: no machine has a 'L40S'; .* NVIDIA L40S, Tesla T4"
    ):
        two_models({"L40S": 2.0})


@pytest.mark.parametrize("wrong", [0, -1, "fast", float("nan"), float("inf")])
def test_a_speed_is_a_positive_number(wrong: object) -> None:
    with pytest.raises(InputError, match=r"workload.speeds.Tesla T4: found"):
        parse({"workload": {"speeds": {"Tesla T4": wrong}}}, where="speeds")


def test_a_recorded_run_time_is_of_the_device_it_was_measured_on() -> None:
    """An hour on a device three times as fast is three on one of speed 1; who had no device keeps the hour."""
    record = Recording.load("sample")
    used = record.attempts.dropna(subset=["device_ids"]).drop_duplicates("job_id", keep=False).iloc[0]
    slots = record.slots[record.slots["machine"] == used["machine"]]
    inventory = next(text for text in slots["ad"] if f'"{used["device_ids"]}"' in text)
    model = next(line for line in inventory.replace(";", "\n").splitlines() if "DeviceName" in line)
    model = model.partition('"')[2].partition('"')[0]
    before = record.jobs.set_index("job_id")["run_s"]
    told = at_unit_speed(record.jobs, record.attempts, record.slots, {model: 3.0}).set_index("job_id")[
        "run_s"
    ]
    assert told[used["job_id"]] == pytest.approx(3 * before[used["job_id"]])
    bare = record.jobs.loc[record.jobs["request_gpus"] == 0, "job_id"]
    assert told[bare].equals(before[bare].astype("float64"))
    assert at_unit_speed(record.jobs, record.attempts, record.slots, {}) is record.jobs
