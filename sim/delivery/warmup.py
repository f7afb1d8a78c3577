"""How caches warm up: hit ratio and start-up over time after a new image, a moved tag, at a new site, and after a cold front.

One site of equal nodes, jobs in a Poisson stream, images by popularity; what a change of quota, squid or pre-warming does
is the difference between two of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from sim.delivery.images import classes, zipf
from sim.delivery.section import DeliverySection, TagMove
from sim.delivery.state import EXPONENT, Delivery, Software, pieces_of

Event = Literal["new image", "moved tag", "new site", "cold front"]
EVENTS: tuple[Event, ...] = ("new image", "moved tag", "new site", "cold front")
NEW = "the new image"


@dataclass(frozen=True, slots=True)
class _Node:
    """A node as delivery knows it."""

    name: str
    host: str
    site: str

    @property
    def startd(self) -> str:
        """Its startd's name; it has one stay only."""
        return self.name


@dataclass(frozen=True)
class Workload:
    """Jobs of a site: nodes [1], starts per hour of all of them, hours shown after the event, hours run before it.

    share : of the jobs that use the image which is new, or whose tag moves [1]
    changed : of what a start touches of the image's own objects, what is new once its tag has moved [1]
    """

    nodes: int = 20
    starts_per_h: float = 240.0
    hours: float = 6.0
    before_h: float = 24.0
    share: float = 0.2
    changed: float = 0.3


def warm_up(
    section: DeliverySection, event: Event, workload: Workload, *, seed: int = 1, bins: int = 24
) -> pd.DataFrame:
    """What starts were like over time after an event.

    new image : from 0 on a share of the jobs uses an image that nobody had before; its starts alone are shown
    moved tag : the same, but of an image that was used before; at 0 its tag comes to mean a version of which `changed` is new
    new site : nodes and squid are empty at 0
    cold front : at 0 every node of a running site loses its cache, the squid keeps its own

    Returns
    -------
    hour (middle of a bin), starts, hit (share of starts that moved nothing), start_p50_s, start_p90_s, squid_mb, origin_mb
    """
    rng = np.random.default_rng([seed, 11])
    before_s = 0.0 if event == "new site" else workload.before_h * 3600.0
    until_s = workload.hours * 3600.0
    count = int(rng.poisson((before_s + until_s) / 3600.0 * workload.starts_per_h))
    times = np.sort(rng.uniform(-before_s, until_s, count))
    kinds = list(classes().values())
    shares = np.array([kind.share for kind in kinds])
    of_image = rng.choice(len(kinds), section.images, p=shares / shares.sum())
    ranks = rng.choice(
        section.images,
        count,
        p=zipf(section.images, EXPONENT if section.popularity is None else section.popularity),
    )
    own = event in {"new image", "moved tag"}
    fresh = (rng.random(count) < workload.share) & own & ((times >= 0) | (event == "moved tag"))
    nodes = [_Node(f"node{number}", f"node{number}", "site") for number in range(workload.nodes)]
    places = rng.integers(0, workload.nodes, count)
    made: dict[int, Software] = {}
    for rank in {*ranks.tolist(), -1}:
        kind = classes()["pytorch"] if rank < 0 else kinds[of_image[rank]]
        name = NEW if rank < 0 else f"image{rank}"
        made[rank] = Software("cvmfs", name, kind, pieces_of(name, kind), 0.0)
    software = [made[-1 if new else rank] for new, rank in zip(fresh.tolist(), ranks.tolist(), strict=True)]
    move = TagMove(image=NEW, at=0.0, changed=workload.changed)
    known = section.model_copy(
        update={"path": "cvmfs", "updates": (move,) if event == "moved tag" else section.updates}
    )
    delivery = Delivery(
        known, software, np.random.default_rng([seed, 12]), popular=software[: 5 * section.images]
    )
    rows = []
    cold_front_due = event == "cold front"
    for row, (time, place) in enumerate(zip(times.tolist(), places.tolist(), strict=True)):
        if cold_front_due and time >= 0:
            delivery.lose_nodes()
            cold_front_due = False
        start = delivery.start(nodes[place], row, time)
        if time >= 0 and (fresh[row] or not own):
            rows.append((time / 3600.0, start.seconds, not start.cold, start.squid_mb, start.origin_mb))
    frame = pd.DataFrame(rows, columns=["hour", "seconds", "hit", "squid_mb", "origin_mb"])
    width = workload.hours / bins
    groups = frame.groupby((frame["hour"] // width).astype(int))
    found = groups.agg(
        starts=("seconds", "size"),
        hit=("hit", "mean"),
        start_p50_s=("seconds", "median"),
        start_p90_s=("seconds", lambda values: values.quantile(0.9)),
        squid_mb=("squid_mb", "sum"),
        origin_mb=("origin_mb", "sum"),
    )
    found.insert(0, "hour", (found.index.to_numpy() + 0.5) * width)
    return found.reset_index(drop=True)


#: What one may change about a site, as a scenario says it.
VARIANTS: dict[str, dict[str, object]] = {
    "as it is": {},
    "quota 4 GB": {"quota": "4 GB"},
    "quota 50 GB": {"quota": "50 GB"},
    "pre-warmed nodes": {"prewarm": True},
    "no squid": {"squid": False},
}


def varied(section: DeliverySection, name: str) -> DeliverySection:
    """A section with one of `VARIANTS`."""
    changes = DeliverySection.model_validate(VARIANTS[name])
    return section.model_copy(update={key: getattr(changes, key) for key in VARIANTS[name]})
