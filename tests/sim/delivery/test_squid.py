"""One squid and several cold nodes: what the origin sees and when each node has everything."""

from __future__ import annotations

import pytest

from sim.delivery.squid import Wanted, fetch_together, follower_s, shared_s
from sim.delivery.start import Client, Network, Part, start_time

OBJECTS = [Wanted(number, 17 / 148, 47 / 148) for number in range(148)]
FAR = Network(rtt_stratum1_s=0.02, node_mb_s=1e6, squid_mb_s=1e6, wan_mb_s=1e6)
CLIENT = Client(decompress_mb_s=157)


@pytest.mark.parametrize("nodes", range(1, 9))
def test_the_origin_sees_each_object_once(nodes: int) -> None:
    """For any number of simultaneous nodes; they finish together (measured: 148 requests for 1, 2, 4, 8 nodes)."""
    found = fetch_together(OBJECTS, [0.0] * nodes, client=CLIENT, network=FAR)
    assert set(found.origin.values()) == {1}
    assert found.origin.total() == 148
    alone = fetch_together(OBJECTS, [0.0], client=CLIENT, network=FAR).finished_s[0]
    assert found.finished_s == pytest.approx([alone] * nodes)


def test_without_collapsing_every_node_asks_the_origin() -> None:
    found = fetch_together(OBJECTS, [0.0] * 4, client=CLIENT, network=FAR, collapsing=False)
    assert set(found.origin.values()) == {4}


def test_one_node_alone_needs_what_the_formula_says() -> None:
    alone = fetch_together(OBJECTS, [0.0], client=CLIENT, network=FAR).finished_s[0]
    formula = start_time(0.0, stratum1=Part(148, 17, 47), client=CLIENT, network=FAR)
    assert alone == pytest.approx(formula.total_s, rel=1e-6)


@pytest.mark.parametrize("late_s", [0.0, 0.5, 1.0, 2.0, 3.5, 10.0])
def test_a_follower_catches_up_and_then_keeps_the_leaders_pace(late_s: float) -> None:
    """It ends with the leader if it catches up, else after its own time from a warm squid."""
    found = fetch_together(OBJECTS, [0.0, late_s], client=CLIENT, network=FAR)
    leader_s, follower = found.finished_s
    warm_s = start_time(0.0, squid=Part(148, 17, 47), client=CLIENT, network=FAR).total_s
    last_object_s = warm_s / 148  # the one that it finds ready where the leader just got it
    expected = late_s + follower_s(warm_s, leader_s - late_s)
    assert follower == pytest.approx(expected, abs=2 * last_object_s)
    assert found.origin.total() == 148


def test_a_warm_squid_is_shared_by_the_nodes() -> None:
    """50 nodes that load 450 MB over 1 Gb/s need three minutes."""
    assert shared_s(450, 50, 125) == 180
