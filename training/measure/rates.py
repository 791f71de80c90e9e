"""Counts of photos with exact 95 % bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import beta


@dataclass(frozen=True)
class Rate:
    """How many of some photos something is true of.

    Attributes:
        hits: photos that it is true of.
        photos: all of them.
        groups: in so many groups; photos of one show the same person, or are of one video.
        value: `hits / photos`; `None`, like the bounds, without photos.
        low: exact 95 % bounds, see `exact_bounds`.
        high: the upper one.
    """

    hits: int
    photos: int
    groups: int
    value: float | None
    low: float | None
    high: float | None


def exact_bounds(hits: int, photos: int, groups: int | None = None) -> tuple[float, float]:
    """Return the 95 % bounds of a share (Clopper and Pearson 1934,
    https://doi.org/10.1093/biomet/26.4.404).

    Args:
        hits: photos that something is true of.
        photos: all of them, at least one.
        groups: into which they fall. The bounds are those of as many independent observations as
            there are groups, as if the photos of a group were all alike: the widest that a design
            effect can make them (Korn and Graubard 1998).
    """
    drawn = photos if groups is None else groups
    seen = drawn * hits / photos
    low = float(beta.ppf(0.025, seen, drawn - seen + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, seen + 1, drawn - seen)) if hits < photos else 1.0
    return low, high


def rate(hits: np.ndarray, groups: Sequence[str]) -> dict[str, int | float | None]:
    """Count photos.

    Args:
        hits: whether it is true of each photo, `bool` `[photos]`.
        groups: the group of each photo.

    Returns:
        A `Rate` as a dict that JSON can hold.
    """
    photos, number, seen = len(hits), len(set(groups)), int(np.sum(hits))
    if not photos:
        return asdict(Rate(0, 0, 0, None, None, None))
    return asdict(Rate(seen, photos, number, seen / photos, *exact_bounds(seen, photos, number)))
