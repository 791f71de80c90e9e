"""Scores of a heatmap: does it point at a mask, and does the detector depend on where it points?

Functions of a single map take it as a float array `[side, side]`, >= 0, enlarged by `paint`, and a
mask as a boolean array of the same shape. A map that is zero everywhere scores 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from training.fit.masks import Target
from training.measure.explanation_tables import PRIOR
from training.measure.metrics import estimate

TOLERANCE = 0.06  # of the side, like the 15 px of Zhang et al. on photos of about 250 px
THRESHOLDS = np.arange(1, 20) / 20  # of IoU, as shares of a map's maximum
STEPS = 10
BLUR = 0.05  # sigma as a share of the side: no eye, nose or mouth survives it
# The prior lies at the mean (x, y) of YuNet's face boxes on this dataset (see
# `training.fit.masks`). One standard deviation covers the eyes, nose and mouth.
CENTRE, SPREAD = (0.5, 0.57), 0.2


def paint(heatmap: np.ndarray, side: int) -> np.ndarray:
    """Return a map `[rows, columns]` enlarged to `float32` `[side, side]`."""
    small = Image.fromarray(np.ascontiguousarray(heatmap, dtype=np.float32))
    # Bicubic resampling overshoots by up to an eighth at the edge, which moves the maximum there.
    return np.asarray(small.resize((side, side), Image.Resampling.BILINEAR))


def pointing_game(heatmap: np.ndarray, mask: np.ndarray) -> float:
    """Return 1.0 where the map's maximum lies within the mask or next to it, else 0.0.

    Method: Zhang et al. 2016, https://arxiv.org/abs/1608.00507.

    Args:
        heatmap: float array `[side, side]`, >= 0; one that is zero everywhere points nowhere.
        mask: boolean array `[side, side]`.
    """
    if heatmap.max() <= 0:
        return 0.0
    reach = 2 * round(TOLERANCE * len(mask)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    near = cv2.dilate(mask.astype(np.uint8), disc) > 0
    # Several equal maxima share the point.
    return float(near[heatmap == heatmap.max()].mean())


def energy_inside(heatmap: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of the map's sum within the mask, 0.0 for an empty map.

    Method: Wang et al. 2020, https://arxiv.org/abs/1910.01279.
    """
    total = heatmap.sum()
    return float(heatmap[mask].sum() / total) if total > 0 else 0.0


def overlaps(heatmap: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the IoU `[thresholds]` of the mask and the map cut at `THRESHOLDS` of its maximum."""
    if heatmap.max() <= 0:
        return np.zeros(len(THRESHOLDS))
    shares = heatmap / heatmap.max()
    return np.array(
        [
            (mask & (shares >= threshold)).sum() / (mask | (shares >= threshold)).sum()
            for threshold in THRESHOLDS
        ]
    )


def fading_curves(
    judge: Callable[[np.ndarray], float],
    photo: np.ndarray,
    heatmap: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of fake as salient pixels are inserted and deleted.

    Method: RISE, Petsiuk et al. 2018, https://arxiv.org/abs/1806.07421, with a blurred photo as the
    blank one for both.

    Args:
        judge: returns the probability of fake for a photo.
        photo: `uint8` array `[side, side, 3]`, RGB.
        heatmap: float array `[side, side]`; equal pixels are taken in random order.
        rng: for that order.

    Returns:
        Insertion and deletion, `[STEPS + 1]` each: the most salient pixels are put into the blurred
        photo, or blurred in the photo, in equal steps from none to all.
    """
    blurred = cv2.GaussianBlur(photo, (0, 0), BLUR * len(photo))
    order = np.lexsort((rng.random(heatmap.size), -heatmap.ravel()))
    rank = np.empty(heatmap.size)
    rank[order] = np.arange(heatmap.size) / heatmap.size
    chosen = [(rank < step / STEPS).reshape(*heatmap.shape, 1) for step in range(STEPS + 1)]
    insertion = [judge(np.where(pixels, photo, blurred)) for pixels in chosen]
    deletion = [judge(np.where(pixels, blurred, photo)) for pixels in chosen]
    return np.array(insertion), np.array(deletion)


def centre_prior(side: int = 64) -> np.ndarray:
    """Return a Gaussian `[side, side]` at the mean place of faces, the same for all photos."""
    x, y = (((np.arange(side) + 0.5) / side - middle) / SPREAD for middle in CENTRE)
    return np.exp(-(x[None, :] ** 2 + y[:, None] ** 2) / 2)


def localisation(
    targets: Sequence[Target],
    maps: Mapping[str, Sequence[np.ndarray]],
    called_fake: np.ndarray,
    kind: str,
    samples: int,
) -> dict[str, dict]:
    """Return how well maps agree with one kind of mask.

    Args:
        targets: fakes and masks.
        maps: a map `[rows, columns]` for each target, by name.
        called_fake: boolean array `[targets]`, the detector's verdicts.
        kind: of the masks, `"pair"` or `"box"`.
        samples: bootstrap samples of the intervals.

    Returns:
        By map: `pointing`, on all fakes and on those called fake (`pointing_called_fake`); `energy`
        and `iou` (at the threshold that suits this map and these photos best); and
        `lead_over_centre`, the lead of its pointing over that of the centre on the same photos.
    """
    chosen = [index for index, target in enumerate(targets) if target.kind == kind]
    groups = [targets[index].photo.group for index in chosen]
    scores = {}
    for name, heatmaps in maps.items():
        pairs = [(paint(heatmaps[i], len(targets[i].mask)), targets[i].mask) for i in chosen]
        scores[name] = {
            "pointing": np.array([pointing_game(*pair) for pair in pairs]),
            "energy": np.array([energy_inside(*pair) for pair in pairs]),
            "overlaps": np.array([overlaps(*pair) for pair in pairs]),
        }
    centre = scores[PRIOR]["pointing"]
    return {
        name: _intervals(map_scores, called_fake[chosen], centre, groups, samples)
        for name, map_scores in scores.items()
    }


def _intervals(
    scores: Mapping[str, np.ndarray],
    called_fake: np.ndarray,
    centre: np.ndarray,
    groups: Sequence[str],
    samples: int,
) -> dict[str, dict]:
    def statistics(weights: np.ndarray) -> dict[str, float]:
        shares = weights / weights.sum()
        called = shares @ called_fake
        hits = shares @ (scores["pointing"] * called_fake)
        return {
            "pointing": float(shares @ scores["pointing"]),
            "pointing_called_fake": float(hits / called) if called else float("nan"),
            "lead_over_centre": float(shares @ (scores["pointing"] - centre)),
            "energy": float(shares @ scores["energy"]),
            "iou": float((shares @ scores["overlaps"]).max()),
        }

    return estimate(statistics, groups, samples=samples)
