"""What a start of one known image costs where: in the node's cache, at a site with a squid, without one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.delivery.images import ImageClass, classes, classify
from sim.delivery.start import Client, Network, Part, start_time


@dataclass(frozen=True)
class StartCost:
    """A start in one place [s] and what comes over the network for it [MB]."""

    where: str
    seconds: float
    upper_s: float
    moved_mb: float


@dataclass(frozen=True)
class ImageCost:
    """The class an image was taken for, what a start of it touches, and its starts by place, cheapest first."""

    kind: ImageClass
    touched: Part
    starts: tuple[StartCost, ...]

    @property
    def warm_s(self) -> float:
        """With everything in the node's cache [s]."""
        return self.starts[0].seconds

    @property
    def cold_s(self) -> float:
        """The first start at a site with an empty squid [s]."""
        return next(start.seconds for start in self.starts if start.where == COLD)


WARM, NEAR, COLD, FAR = (
    "node has it",
    "squid has it",
    "first at a site with a squid",
    "site without a squid",
)


def image_cost(
    name: str,
    files: int,
    size_bytes: int,
    *,
    client: Client | None = None,
    network: Network | None = None,
) -> ImageCost:
    """Estimate the starts of an image from its name and weight.

    The class is the one the name suggests, else the one of nearest weight; what a start touches is that class's share of
    the image's files and bytes. Which files a job really opens, no catalog tells.
    """
    client, network = client or Client(), network or Network()
    kind = classify(name)
    if kind.name == "base":
        kind = _nearest(files, size_bytes)
    touched = Part(
        max(1.0, kind.touched.files * files / kind.image_files),
        kind.touched.wire_mb * size_bytes / 1e6 / kind.image_mb,
        kind.touched.unpacked_mb * size_bytes / 1e6 / kind.image_mb,
    )
    far = Network(squid=False, rtt_stratum1_s=network.rtt_stratum1_s, wan_mb_s=network.wan_mb_s)
    starts = []
    for where, disk, squid, stratum1, there in (
        (WARM, touched, Part(), Part(), network),
        (NEAR, Part(), touched, Part(), network),
        (COLD, Part(), Part(), touched, network),
        (FAR, Part(), Part(), touched, far),
    ):
        found = start_time(
            kind.hot_s,
            disk=disk,
            squid=squid,
            stratum1=stratum1,
            client=client,
            network=there,
            mount=where in {COLD, FAR},
        )
        starts.append(StartCost(where, found.total_s, found.upper_s, squid.plus(stratum1).wire_mb))
    return ImageCost(kind, touched, tuple(starts))


def _nearest(files: int, size_bytes: int) -> ImageClass:
    """The class whose whole image weighs most like this one."""

    def distance(kind: ImageClass) -> float:
        return abs(math.log(max(files, 1) / kind.image_files)) + abs(
            math.log(max(size_bytes, 1) / 1e6 / kind.image_mb)
        )

    return min(classes().values(), key=distance)
