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

    def times(self, share: float) -> Part:
        """A share of it."""
        return Part(self.files * share, self.wire_mb * share, self.unpacked_mb * share)


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


class Rates(NamedTuple):
    """What single things cost at a site [s]: an object from the squid, from a Stratum 1, from disk; an unpacked MB; mounting."""

    squid_s: float
    stratum1_s: float
    disk_s: float
    unpack_s: float
    mount_s: float

    @classmethod
    def of(cls, client: Client, network: Network) -> Rates:
        """The rates of a client at a site."""
        reach_s = network.rtt_squid_s if network.squid else network.rtt_stratum1_s
        return cls(
            squid_s=client.round_trips * network.rtt_squid_s + client.object_s,
            stratum1_s=client.round_trips * network.rtt_stratum1_s + client.object_s,
            disk_s=client.warm_s,
            unpack_s=1.0 / client.decompress_mb_s,
            mount_s=client.mount_s + client.mount_round_trips * reach_s,
        )

    def seconds(
        self, disk: float, squid: float, stratum1: float, wire_mb: float, unpacked_mb: float, mb_s: float
    ) -> float:
        """A start beyond its hot time [s], without mounting: objects by level, what is missing [MB], bandwidth [MB/s]."""
        latency_s = disk * self.disk_s + squid * self.squid_s + stratum1 * self.stratum1_s
        return latency_s + max(unpacked_mb * self.unpack_s, wire_mb / mb_s)


class StartTime(NamedTuple):
    """A start-up by what makes it [s]: mounting, the hot start, what was missing; and an upper bound of it."""

    mount_s: float
    hot_s: float
    load_s: float
    upper_s: float

    @property
    def total_s(self) -> float:
        """The start-up time."""
        return self.mount_s + self.hot_s + self.load_s


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
    """The start-up time of one job; its upper bound is as if unpacking waited for the wire.

    Parameters
    ----------
    hot_s : the same start with everything in memory [s]
    disk, squid, stratum1 : what comes from the node's cache, the site's squid, the Stratum 1
    active : nodes that load through the squid at this time, this one included [1]
    leaders : nodes that load through the wide-area link at this time [1]
    mount : whether the repository has to be mounted first
    """
    rates, missing = Rates.of(client, network), squid.plus(stratum1)
    mb_s = bandwidth(network, active, leaders if stratum1.wire_mb else 0.0)
    load_s = rates.seconds(
        disk.files, squid.files, stratum1.files, missing.wire_mb, missing.unpacked_mb, mb_s
    )
    mount_s = rates.mount_s if mount else 0.0
    shorter_s = min(missing.unpacked_mb * rates.unpack_s, missing.wire_mb / mb_s)
    return StartTime(mount_s, hot_s, load_s, mount_s + hot_s + load_s + shorter_s)


def bandwidth(network: Network, active: float, leaders: float) -> float:
    """What a node gets of the slowest shared link [MB/s]; without leaders the wide-area link doesn't count."""
    least = network.node_mb_s
    if network.squid:
        share = network.squid_mb_s / active
        least = share if share < least else least
    if leaders:
        share = network.wan_mb_s / leaders
        least = share if share < least else least
    return least
