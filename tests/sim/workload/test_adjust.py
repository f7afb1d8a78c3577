"""Jobs kept, dropped, multiplied and rewritten by expressions."""

import numpy as np
import pandas as pd
import pytest

from sim.classads.request import Request
from sim.errors import InputError
from sim.sections import JobStep
from sim.workload.adjust import adjust_jobs
from sim.workload.frames import made_jobs, template


def jobs() -> pd.DataFrame:
    rows = [template("ana", "true", Request(gpus)) for gpus in (0, 1, 2)]
    return made_jobs(pd.DataFrame(rows), [0, 1, 2, 1], np.arange(4.0) * 100, np.full(4, 60.0))


def applied(**step: object) -> pd.DataFrame:
    return adjust_jobs(jobs(), [JobStep.model_validate(step)])


def test_keep_and_drop() -> None:
    """An unscoped name is the job's own attribute; what is undefined is not true."""
    assert applied(keep="RequestGPUs >= 1")["request_gpus"].tolist() == [1, 2, 1]
    assert applied(drop="RequestGPUs == 1")["request_gpus"].tolist() == [0, 2]
    assert len(applied(drop="NoSuchAttribute > 3")) == 4


def test_scale_copies_and_thins() -> None:
    """Copies keep the time and have ids of their own; a half is every second one."""
    twice = applied(scale=2, where="RequestGPUs == 1")
    assert twice["request_gpus"].tolist() == [0, 1, 1, 2, 1, 1]
    assert twice["job_id"].is_unique
    assert len(applied(scale=0.5)) == 2
    assert len(applied(scale=0, where="RequestGPUs == 1")) == 2


def test_rewriting_requirements_and_requests() -> None:
    """Columns follow the ad; {old} is what stood there."""
    found = applied(
        rewrite={"Requirements": '{old} && GLIDEIN_Site == "X"', "RequestGPUs": "1"}, where="RequestGPUs == 2"
    )
    assert found["request_gpus"].tolist() == [0, 1, 1, 1]
    assert found["requirements"].str.endswith('&& GLIDEIN_Site == "X"').tolist() == [
        False,
        False,
        True,
        False,
    ]
    assert 'GLIDEIN_Site == "X"' in found["ad"].iloc[2]


def test_a_request_that_is_no_number_is_said() -> None:
    """Rewriting a request into something else is a sentence."""
    with pytest.raises(InputError, match="RequestGPUs is no number of at least 0"):
        applied(rewrite={"RequestGPUs": '"many"'})


def test_nothing_left_is_said_with_its_place() -> None:
    """A step that leaves no job names itself."""
    with pytest.raises(InputError, match=r"workload\.adjust\.0: no job is left"):
        applied(keep="RequestGPUs > 64")
