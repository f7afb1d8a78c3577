"""How runs went beside how the pool went, on made frames and logs whose answers can be counted by hand."""

import numpy as np
import pandas as pd
import pytest

from collectors.origins import count_origins
from sim.course import agreement, in_use, origin_shares

MATCHLOG = """\
11/23/26 19:32:25.255       Matched 1.0 a@pool <127.0.0.1:1?addrs=x> preempting none <127.0.0.1:2?addrs=y> slot1@one@m.example
11/23/26 19:32:25.256       Matched 2.0 a@pool <127.0.0.1:1?addrs=x> preempting none <127.0.0.1:3?addrs=y> slot1@two@n.example
11/23/26 19:32:25.257       Rejected 3.0 a@pool <127.0.0.1:1?addrs=x>: no match found
11/23/26 19:32:45.001       Matched 5.0 b@pool <127.0.0.1:1?addrs=x> preempting none <127.0.0.1:2?addrs=y> slot1@one@m.example
"""
ONE = """\
11/23/26 19:31:55.872 DaemonCore: command socket at <127.0.0.1:2?addrs=127.0.0.1-2&alias=m.example>
11/23/26 19:32:25.300 slot1_1: State change: claiming protocol successful
11/23/26 19:32:25.400 slot1_1: Got activate_claim request from shadow (127.0.0.1)
11/23/26 19:32:25.410 slot1_2: State change: claiming protocol successful
11/23/26 19:32:25.510 slot1_2: Got activate_claim request from shadow (127.0.0.1)
11/23/26 19:32:44.000 slot1_1: Got activate_claim request from shadow (127.0.0.1)
11/23/26 19:32:51.000 slot1_3: State change: claiming protocol successful
11/23/26 19:32:51.100 slot1_3: Got activate_claim request from shadow (127.0.0.1)
"""


def test_a_claims_first_attempt_is_of_a_match_or_a_leftover_its_later_ones_reuse_it() -> None:
    """Machine two refused its match; the last claim on one came too late to be that of the match at 45.001."""
    assert count_origins(MATCHLOG, [ONE, ""]) == {"match": 1, "leftover": 2, "reuse": 1}


def test_a_slot_name_that_comes_again_is_a_claim_of_its_own() -> None:
    log = ONE.replace("slot1_3", "slot1_1").replace("19:32:51", "19:32:46")
    assert count_origins(MATCHLOG, [log]) == {"match": 2, "leftover": 1, "reuse": 1}


def test_shares_leave_out_what_ran_before() -> None:
    shares = origin_shares(pd.Series({"match": 3, "reuse": 1, "running": 5}))
    assert shares == {"match": 0.75, "leftover": 0.0, "reuse": 0.25}
    assert origin_shares(pd.Series(dtype="float64")) == {}


def moment(unix: float) -> pd.Timestamp:
    return pd.Timestamp(unix, unit="s", tz="UTC")


def test_use_is_the_mean_of_a_part_of_the_time() -> None:
    """Four cores from 5 to 15 s and two from 10 s on, in parts of ten seconds."""
    attempts = pd.DataFrame(
        {
            "started_at": [moment(5), moment(10), pd.NaT],
            "ended_at": [moment(15), pd.NaT, pd.NaT],
            "cpus": [4.0, 2.0, 8.0],
        }
    )
    attempts["started_at"] = pd.to_datetime(attempts["started_at"], utc=True)
    attempts["ended_at"] = pd.to_datetime(attempts["ended_at"], utc=True)
    assert in_use(attempts, "cpus", np.array([0.0, 10.0, 20.0])).tolist() == pytest.approx([2.0, 4.0])


def test_priorities_agree_within_a_tenth_of_the_real_one() -> None:
    def priorities(*values: float) -> pd.DataFrame:
        at = [moment(10.0 * place) for place in range(len(values))]
        return pd.DataFrame({"at": at, "submitter": "a", "real_priority": values})

    real = priorities(1.0, 2.0, 3.0, 4.0).rename(columns={"at": "seen_at"}).assign(is_group=False)
    (told,) = agreement([priorities(1.0, 2.5, 3.0), priorities(1.1, 2.5, 2.8)], real)
    assert told["submitter"] == "a"
    assert told["n"] == 3
    assert told["near_share"] == pytest.approx(2 / 3)
