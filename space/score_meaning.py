"""Say what a score meant on the validation photos, so that a higher score never means less.

The bins of `detector.json` hold a few dozen photos each: by chance alone a higher one may have
fewer fakes. Isotonic regression (pool adjacent violators: Barlow et al. 1972, "Statistical
Inference under Order Restrictions") merges such neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

if __package__:
    from .contract import ScoreBin
else:
    from contract import ScoreBin

Z = 1.96  # standard deviations from the middle to either end of a 95 % interval


@dataclass(frozen=True)
class ScoreMeaning:
    """What a score meant on the validation photos.

    Attributes:
        photos: how many had such a score.
        fake_share: share of fakes among them; it never falls as the score rises.
        low, high: its 95 % interval (Wilson 1927, "Probable inference").
        base_share: share of fakes among all validation photos.
    """

    photos: int
    fake_share: float
    low: float
    high: float
    base_share: float


def pool(bins: Sequence[ScoreBin]) -> list[ScoreBin]:
    """Merge neighbouring bins until the share of fakes rises with the score.

    Args:
        bins: in the order of their scores, without gaps.
    """
    pooled: list[ScoreBin] = []
    for score_bin in bins:
        pooled.append(score_bin)
        while len(pooled) > 1 and pooled[-2].fake_share >= pooled[-1].fake_share:
            last, before = pooled.pop(), pooled.pop()
            pooled.append(_merged(before, last))
    return pooled


def meaning_of(score: float, bins: Sequence[ScoreBin]) -> ScoreMeaning | None:
    """Return what a score meant on the validation photos; `None` if that is unknown.

    Args:
        score: probability of fake, 0 to 1.
        bins: of `detector.json`.
    """
    total = sum(score_bin.photos for score_bin in bins)
    pooled = next((merged for merged in reversed(pool(bins)) if score >= merged.low), None)
    if pooled is None or pooled.photos == 0:
        return None
    low, high = wilson_interval(pooled.fake_share, pooled.photos)
    base_share = sum(score_bin.photos * score_bin.fake_share for score_bin in bins) / total
    return ScoreMeaning(pooled.photos, pooled.fake_share, low, high, base_share)


def wilson_interval(share: float, photos: int) -> tuple[float, float]:
    """Return the 95 % interval of a share that was observed among some photos."""
    spread = Z * math.sqrt(share * (1 - share) / photos + Z**2 / (4 * photos**2))
    middle, scale = share + Z**2 / (2 * photos), 1 + Z**2 / photos
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def _merged(low: ScoreBin, high: ScoreBin) -> ScoreBin:
    photos = low.photos + high.photos
    fakes = low.photos * low.fake_share + high.photos * high.fake_share
    return ScoreBin(low.low, high.high, photos, fakes / photos if photos else 0.0)
