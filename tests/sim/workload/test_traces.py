"""Workload traces: the three formats, what is kept of them, and what is said of a bad one."""

from pathlib import Path

import numpy as np
import pytest

from sim.errors import InputError
from sim.workload.recorded import unix
from sim.workload.traces import read_trace

SWF = """\
; Version: 2.2
; UnixStartTime: 1000000000
;
1 0 10 3600 4 -1 1024 4 7200 2048 1 7 1 -1 1 -1 -1 -1
2 60 -1 -1 -1 -1 -1 8 7200 -1 5 8 1 -1 1 -1 -1 -1
3 120 0 0 1 -1 -1 -1 -1 -1 1 7 1 -1 1 -1 -1 -1
"""


def written(folder: Path, text: str, name: str = "trace") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_swf_fields(tmp_path: Path) -> None:
    """Fields by their numbers in the format's definition: wait 3, run 4, requested processors 8, memory 10 in KB a processor, user 12."""
    trace = read_trace(written(tmp_path, SWF), "swf")
    first, second = trace.frame.iloc[0], trace.frame.iloc[1]
    assert first["submitted_at"].timestamp() == 1_000_000_000
    assert first["first_started_at"].timestamp() == 1_000_000_010
    assert (first["run_s"], first["request_cpus"], first["request_memory_mib"]) == (3600, 4, 128)
    assert first["submitter"].startswith("user7@")
    assert (second["job_id"], second["run_s"]) == ("3.0", 0)  # a job of no length is a job
    assert trace.rejects == {"a job without run time or submission": 1}


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        ("1 0 10\n", "swf", "line 1: 3 fields; expected the 18"),
        (SWF.replace("3600", "x"), "swf", "line 4, field 4: found 'x', expected a number"),
        (SWF.replace("3600", "inf"), "swf", "expected a finite number"),
        ("; nothing\n", "swf", "no usable job in this trace"),
        ("a,b\n1,2\n", "openb", "lacks the column name"),
        ("a,b\n1,2\n", "philly", "no column for submitted; expected one of timestamp"),
        ("timestamp,duration,num_gpus\n1,2\n", "philly", "line 2: another number of cells"),
        (
            "timestamp,duration,num_gpus\nsoon,2,1\n",
            "philly",
            "line 2: found 'soon', expected seconds or a date",
        ),
        (
            "timestamp,duration,num_gpus\n5,-2,1\n",
            "philly",
            r"no usable job in this trace \(1 times a job without run time\)",
        ),
        ("", "philly", "no row; expected a CSV with a header"),
        ("x", "pbs", "'pbs' is no format of a trace; expected one of swf, openb, philly"),
    ],
)
def test_a_bad_trace_is_a_sentence(tmp_path: Path, text: str, form: str, said: str) -> None:
    """Each names the file, the place and what was expected."""
    with pytest.raises(InputError, match=said):
        read_trace(written(tmp_path, text), form)


def test_philly_under_other_names(tmp_path: Path) -> None:
    """The columns of Philly, Helios and the spot-GPU trace mean the same; dates without zone are UTC."""
    philly = read_trace(
        written(
            tmp_path,
            "timestamp,duration,num_gpus,vc\n2017-10-03 00:00:10,60,2,ee9e8c\n2017-10-03 00:00:00,30,0,6214e9\n",
        ),
        "philly",
    )
    assert unix(philly.frame["submitted_at"]).tolist() == [1506988800, 1506988810]  # by submission
    assert philly.frame["request_gpus"].tolist() == [0, 2]
    spot = read_trace(
        written(
            tmp_path,
            "submit_time,duration,gpu_request,worker_num,gpu_model,organization,job_type\n5,60,2,4,A100-80GB,7,Spot\n",
        ),
        "philly",
    ).frame.iloc[0]
    assert (spot["request_gpus"], spot["submitter"].partition("@")[0]) == (8, "7")
    assert spot["require_gpus"] == 'DeviceName == "A100-80GB"'
    assert 'WorkloadClass = "Spot"' in spot["ad"]


def test_what_a_trace_names_can_be_translated(tmp_path: Path) -> None:
    """A model name becomes an expression on the device; time scales move submissions, not run times."""
    text = "timestamp,duration,num_gpus,gpu_type\n0,60,1,V100\n100,60,1,G2\n"
    frame = read_trace(
        written(tmp_path, text), "philly", gpu_models={"V100": "Capability == 7.0"}, time_scale=0.5
    ).frame
    assert frame["require_gpus"].tolist() == ["Capability == 7.0", 'DeviceName == "G2"']
    assert np.diff(unix(frame["submitted_at"])).tolist() == [50]
    assert frame["run_s"].tolist() == [60, 60]


def test_the_openb_trace(shared_data: Path) -> None:
    """Counts and quantiles that were found in it by other means: GPU pods' run and wait times, a third with a model."""
    frame = read_trace(shared_data / "traces" / "openb_pods_gpuspec33.csv.xz", "openb").frame
    gpu = frame[frame["request_gpus"] > 0]
    assert len(frame) > 7000
    assert gpu["require_gpus"].notna().mean() == pytest.approx(0.338, abs=0.01)
    assert (gpu["request_gpus"] == 1).mean() == pytest.approx(0.989, abs=0.002)
    wait = (gpu["first_started_at"] - gpu["submitted_at"]).dt.total_seconds()
    assert wait.quantile([0.5, 0.9, 0.99]).tolist() == pytest.approx([2, 139, 1109], rel=0.05, abs=1)
    assert gpu["run_s"].quantile([0.25, 0.5, 0.75]).tolist() == pytest.approx([184, 655, 2302], rel=0.05)
