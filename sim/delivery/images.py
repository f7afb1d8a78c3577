"""Images as the caches see them: what a start touches, what a whole image weighs, how popular images are.

The four classes and their numbers were measured (docs/delivery.md); their shares are assumptions.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from sim.delivery.start import Part
from sim.errors import InputError

CATALOG_WIRE_BYTES = 90.0  # of a catalog per entry; 160 once it is unpacked
CATALOG_BYTES = 160.0
CLASS_WORDS = {
    "pytorch": r"torch|cuda|gpu|nvidia|jax|llama|vllm|alphafold|relion|dgl",
    "tensorflow": r"tensorflow|keras|\btf\b",
    "science": r"python|scipy|science|jupyter|numpy|conda|notebook|r-base|rocker|root|biocontainers|osgvo",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+~-]*\*?[A-Za-z0-9._+~*-]*")
LONGEST_NAME = 400


class MissingImageError(InputError):
    """An image that isn't where it was looked for."""


@dataclass(frozen=True, slots=True)
class ImageClass:
    """A class of images.

    share : of the images [1]
    touched : what a start touches of the unpacked image
    sif_mb : the image as one SIF file
    hot_s : a start with everything in memory [s]
    image_files, image_mb, image_wire_mb : the whole image [1, MB unpacked, MB compressed layers]
    base : the class whose objects every image of this class shares
    """

    name: str
    share: float
    touched: Part
    sif_mb: float
    hot_s: float
    image_files: int
    image_mb: float
    image_wire_mb: float
    base: str = ""


@cache
def classes() -> dict[str, ImageClass]:
    """The measured classes by name.

    Examples
    --------
    >>> [(kind.name, kind.touched.files) for kind in classes().values()]
    [('base', 18.0), ('science', 1843.0), ('tensorflow', 2932.0), ('pytorch', 1324.0)]
    """
    text = (resources.files(__package__) / "images.csv").read_text(encoding="utf-8")
    return {
        row["name"]: ImageClass(
            name=row["name"],
            share=float(row["share"]),
            touched=Part(float(row["files"]), float(row["wire_mb"]), float(row["unpacked_mb"])),
            sif_mb=float(row["sif_mb"]),
            hot_s=float(row["hot_s"]),
            image_files=int(row["image_files"]),
            image_mb=float(row["image_mb"]),
            image_wire_mb=float(row["image_wire_mb"]),
            base=row["base"],
        )
        for row in csv.DictReader(text.splitlines())
    }


def classify(name: str) -> ImageClass:
    """The class that an image's name suggests; `base` where it suggests nothing.

    Examples
    --------
    >>> classify("opensciencegrid/tensorflow-gpu:latest").name, classify("debian:12").name
    ('tensorflow', 'base')
    """
    lowered = name.lower()
    for kind in ("tensorflow", "pytorch", "science"):
        if re.search(CLASS_WORDS[kind], lowered):
            return classes()[kind]
    return classes()["base"]


def checked_name(name: str) -> str:
    """The name of an image, if it can be one: no control character, no `..`, no empty part.

    Raises
    ------
    InputError : it can't
    """
    if not name or len(name) > LONGEST_NAME:
        raise InputError(f"image name of {len(name)} characters: expected 1 to {LONGEST_NAME}")
    odd = next((character for character in name if not 32 < ord(character) < 127), None)
    if odd is not None:
        raise InputError(
            f"image name {name!r}: {odd!r} can't stand in one; expected a name such as opensciencegrid/tensorflow:latest"
        )
    parts = name.split("/")
    if ".." in parts or "." in parts or "" in parts:
        raise InputError(
            f"image name {name!r}: empty parts, '.' and '..' can't stand in one; expected a name such as htc/debian:12"
        )
    if not _NAME.fullmatch(name):
        raise InputError(
            f"image name {name!r}: expected letters, digits and . _ - / : @ as in opensciencegrid/tensorflow:latest"
        )
    return name


def zipf(count: int, exponent: float) -> np.ndarray:
    """Popularity of `count` images: shares that sum to 1, falling with rank to the power of -exponent."""
    weights = np.arange(1, count + 1, dtype="float64") ** -exponent
    shares: np.ndarray = weights / weights.sum()
    return shares


def fit_zipf(counts: Sequence[int]) -> float:
    """The exponent most likely behind how often each image was used [1].

    Raises
    ------
    InputError : fewer than two images, or none used
    """
    used = np.sort(np.asarray(counts, dtype="float64"))[::-1]
    if len(used) < 2 or used.sum() <= 0 or (used < 0).any():
        raise InputError("a popularity needs the use counts of at least two images")
    logs = np.log(np.arange(1, len(used) + 1))
    total = used.sum()
    mean = float((used * logs).sum() / total)
    low, high = 0.0, 8.0
    for _ in range(60):  # the expected log rank falls with the exponent: bisection
        exponent = (low + high) / 2
        weights = np.exp(-exponent * logs)
        if float((weights * logs).sum() / weights.sum()) > mean:
            low = exponent
        else:
            high = exponent
    return (low + high) / 2


def footprints(
    count: int, rng: np.random.Generator, *, median_mb: float = 220.0, sigma: float = 1.0
) -> np.ndarray:
    """Footprints of images in a node's cache [MB]: lognormal, between 15 and 3000."""
    return np.clip(median_mb * np.exp(sigma * rng.standard_normal(count)), 15.0, 3000.0)


def catalog_part(entries: float) -> Part:
    """The catalog of an image with so many entries: one object."""
    return Part(1.0, entries * CATALOG_WIRE_BYTES / 1e6, entries * CATALOG_BYTES / 1e6)


def unpacked_of(wire_mb: float) -> float:
    """What compressed layers weigh unpacked [MB]: the ratio 1.94 measured for a CUDA image, 3.3 for a CPU one."""
    return wire_mb * (1.94 if wire_mb > 1500 else 2.6) if math.isfinite(wire_mb) else math.nan
