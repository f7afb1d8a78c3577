"""The start-up time of a job whose image lies unpacked in CVMFS, from what has to come from which cache level.

A cold start is bound by the number of objects, not by their bytes: each costs a round trip to the level that has it.

    T = T_mount + T_hot + F_disk t_warm + sum over levels L of F_L (a RTT_L + tau) + max(U / D, W / B)

The form and its defaults were measured with a CVMFS 2.12 client (docs/delivery.md, with residuals).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Part(NamedTuple):
    """A part of what a start touches: objects [1], MB on the wire, MB unpacked."""

    files: float = 0.0
    wire_mb: float = 0.0
    unpacked_mb: float = 0.0

    def plus(self, other: Part) -> Part:
        """Both together."""
        return Part(
            self.files + other.files, self.wire_mb + other.wire_mb, self.unpacked_mb + other.unpacked_mb
        )


NOTHING = Part()


@dataclass(frozen=True, slots=True)
class Client:
    """A node's CVMFS client.

    round_trips : per object [1]; measured 1.04-1.2
    object_s : what an object costs the client beside round trips; measured 0.7-2 ms
    decompress_mb_s : unpacked MB/s written to the cache; 157 on a small virtual machine, 450 on a server
    warm_s : what an object on the node's disk costs more than one in memory; measured 0.4-1.5 ms
    mount_s, mount_round_trips : mounting a repository and reading its root catalog
    """

    round_trips: float = 1.1
    object_s: float = 0.001
    decompress_mb_s: float = 400.0
    warm_s: float = 0.0007
    mount_s: float = 0.5
    mount_round_trips: float = 5.0


@dataclass(frozen=True, slots=True)
class Network:
    """A site's way to the Stratum 1: round trips [s], bandwidths [MB/s]; `squid` is whether the site has a proxy cache."""

    squid: bool = True
    rtt_squid_s: float = 0.0005
    rtt_stratum1_s: float = 0.030
    node_mb_s: float = 125.0
    squid_mb_s: float = 125.0
    wan_mb_s: float = 100.0


class StartTime(NamedTuple):
    """A start-up by its terms [s]; `unpack_s` and `wire_s` overlap."""

    mount_s: float
    hot_s: float
    disk_s: float
    latency_s: float
    unpack_s: float
    wire_s: float

    @property
    def total_s(self) -> float:
        """The start-up time."""
        return self.mount_s + self.hot_s + self.disk_s + self.latency_s + max(self.unpack_s, self.wire_s)

    @property
    def upper_s(self) -> float:
        """An upper bound: as if unpacking waited for the wire."""
        return self.mount_s + self.hot_s + self.disk_s + self.latency_s + self.unpack_s + self.wire_s


def start_time(
    hot_s: float,
    *,
    disk: Part = NOTHING,
    squid: Part = NOTHING,
    stratum1: Part = NOTHING,
    client: Client,
    network: Network,
    active: float = 1.0,
    leaders: float = 1.0,
    mount: bool = False,
) -> StartTime:
    """The start-up time of one job.

    Parameters
    ----------
    hot_s : the same start with everything in memory [s]
    disk, squid, stratum1 : what comes from the node's cache, the site's squid, the Stratum 1
    active : nodes that load through the squid at this time, this one included [1]
    leaders : nodes that load through the wide-area link at this time [1]
    mount : whether the repository has to be mounted first
    """
    per_squid = client.round_trips * network.rtt_squid_s + client.object_s
    per_stratum1 = client.round_trips * network.rtt_stratum1_s + client.object_s
    missing = squid.plus(stratum1)
    reach_s = network.rtt_squid_s if network.squid else network.rtt_stratum1_s
    return StartTime(
        mount_s=client.mount_s + client.mount_round_trips * reach_s if mount else 0.0,
        hot_s=hot_s,
        disk_s=disk.files * client.warm_s,
        latency_s=squid.files * per_squid + stratum1.files * per_stratum1,
        unpack_s=missing.unpacked_mb / client.decompress_mb_s,
        wire_s=missing.wire_mb / bandwidth(network, active, leaders if stratum1.wire_mb else 0.0)
        if missing.wire_mb
        else 0.0,
    )


def bandwidth(network: Network, active: float, leaders: float) -> float:
    """What a node gets of the slowest shared link [MB/s]; without leaders the wide-area link doesn't count."""
    limits = [network.node_mb_s]
    if network.squid:
        limits.append(network.squid_mb_s / max(1.0, active))
    if leaders:
        limits.append(network.wan_mb_s / max(1.0, leaders))
    return min(limits)
