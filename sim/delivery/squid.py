"""A site's squid with collapsed forwarding: of all that ask for an object at once, one goes to the origin.

Nodes that start together finish together, at about the time of one; a late one runs at the squid's speed until it
reaches the leader and at the leader's pace from there.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from sim.delivery.start import Client, Network


class Wanted(NamedTuple):
    """An object that every node fetches: key, MB on the wire and unpacked."""

    key: Hashable
    wire_mb: float
    unpacked_mb: float


class Together(NamedTuple):
    """Nodes that fetched the same objects: when each had all of them [s], and how often the origin was asked for each."""

    finished_s: tuple[float, ...]
    origin: Counter[Hashable]


def fetch_together(
    objects: Sequence[Wanted],
    starts_s: Sequence[float],
    *,
    client: Client,
    network: Network,
    collapsing: bool = True,
) -> Together:
    """Let nodes fetch the same objects, in order, through one empty squid.

    Parameters
    ----------
    starts_s : when each node begins [s]
    collapsing : whether the squid lets one of several requests for an object wait for another
    """
    there: dict[Hashable, float] = {}  # when an object is in the squid
    origin: Counter[Hashable] = Counter()
    place = [0] * len(starts_s)
    finished = list(starts_s)
    queue = [(start, node) for node, start in enumerate(starts_s)]
    heapq.heapify(queue)
    near_s = client.round_trips * network.rtt_squid_s
    far_s = client.round_trips * network.rtt_stratum1_s
    while queue:
        now, node = heapq.heappop(queue)
        if place[node] == len(objects):
            finished[node] = now
            continue
        item = objects[place[node]]
        place[node] += 1
        ready = there.get(item.key)
        if ready is None or (ready > now and not collapsing):
            origin[item.key] += 1
            served = now + far_s
            there[item.key] = min(served, ready) if ready is not None else served
            speed = min(network.node_mb_s, network.squid_mb_s, network.wan_mb_s)
        else:
            served = max(ready, now + near_s)
            speed = min(network.node_mb_s, network.squid_mb_s)
        taken = max(item.unpacked_mb / client.decompress_mb_s, item.wire_mb / speed)
        heapq.heappush(queue, (served + client.object_s + taken, node))
    return Together(tuple(finished), origin)


def follower_s(own_s: float, leader_left_s: float) -> float:
    """How long a node needs that finds another one loading the same image [s].

    own_s : with everything in the squid
    leader_left_s : until the leader has everything
    """
    return max(own_s, leader_left_s)


def shared_s(wire_mb: float, nodes: int, downlink_mb_s: float) -> float:
    """How long `nodes` need to load the same bytes from a warm squid at the same time [s].

    Examples
    --------
    >>> shared_s(450, 50, 125)
    180.0
    """
    return wire_mb * nodes / downlink_mb_s
