"""Counts of photos with exact 95 % bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import beta


@dataclass(frozen=True)
class Rate:
    """How many photos have some property.

    Attributes:
        hits: number of photos that have it.
        photos: number of all photos.
        groups: number of their groups; photos of a group show the same person or are of one video.
        value: `hits / photos`; `None`, like the bounds, without photos.
        low: exact lower 95 % bound, see `exact_bounds`.
        high: exact upper bound.
    """

    hits: int
    photos: int
    groups: int
    value: float | None
    low: float | None
    high: float | None


def exact_bounds(hits: int, photos: int, groups: int | None = None) -> tuple[float, float]:
    """Return the exact 95 % bounds of a share.

    Method: Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404.

    Args:
        hits: number of photos that count.
        photos: number of all photos, at least one.
        groups: number of their groups. The bounds are those of as many independent observations as
            there are groups, as if all photos of a group were alike: the widest that a design
            effect can make them (Korn and Graubard 1998).
    """
    trials = photos if groups is None else groups
    successes = trials * hits / photos
    low = float(beta.ppf(0.025, successes, trials - successes + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, successes + 1, trials - successes)) if hits < photos else 1.0
    return low, high


def rate(hits: np.ndarray, groups: Sequence[str]) -> dict[str, int | float | None]:
    """Return the number of hits among photos, with the exact bounds of their share.

    Args:
        hits: whether each photo counts, `bool` `[photos]`.
        groups: the group of each photo.

    Returns:
        A `Rate` as a JSON-serialisable dict.
    """
    photos, n_groups, n_hits = len(hits), len(set(groups)), int(np.sum(hits))
    if not photos:
        return asdict(Rate(0, 0, 0, None, None, None))
    return asdict(
        Rate(n_hits, photos, n_groups, n_hits / photos, *exact_bounds(n_hits, photos, n_groups))
    )
