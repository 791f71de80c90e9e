"""Show a heatmap over the crop that it explains, and say in words where it is hot."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

SIDE = 56  # px: a map of about 10 x 10 cells is enlarged to this before its heat is shared out
# Where eyes, nose tip and mouth corners lie in a crop of an upright face, as shares of its side:
# medians of YuNet's landmarks in the crops of 200 training photos. For faces without landmarks.
USUAL_LANDMARKS = np.float32([[0.35, 0.48], [0.62, 0.48], [0.49, 0.65], [0.38, 0.76], [0.60, 0.76]])
LEFT_EYE, RIGHT_EYE, NOSE, LEFT_MOUTH, RIGHT_MOUTH = range(5)
FLOOR = 0.5  # share of a map's maximum: colder places are neither painted nor counted
MOST = 0.5  # a part with this share of the heat holds most of it
MUCH = 0.25


def heat_layer(heatmap: np.ndarray, side: int) -> Image.Image:
    """Paint a map as a picture to lay over its crop.

    Args:
        heatmap: float array `[rows, columns]`, 0 to 1.
        side: width and height of the picture in px.

    Returns:
        An RGBA picture, violet to yellow, the more transparent the colder.
    """
    heat = Image.fromarray(np.rint(_visible(heatmap, side) * 255).astype(np.uint8))
    layer = ImageOps.colorize(heat, black="#2a0a5e", mid="#e0362c", white="#ffe945")
    layer.putalpha(heat)
    return layer


def heat_by_part(heatmap: np.ndarray, landmarks: np.ndarray | None) -> dict[str, float]:
    """Return the share of each part of the face in the heat that `heat_layer` paints.

    Args:
        heatmap: float array `[rows, columns]`, >= 0.
        landmarks: eyes, nose tip and mouth corners, `[5, 2]`, as shares of the crop's side; `None`
            for those of a usual face.

    Returns:
        Share of each part, the largest first; they add up to 1, or are all 0 where the map is.
    """
    names, parts = _part_map(USUAL_LANDMARKS if landmarks is None else landmarks)
    heat = _visible(heatmap, SIDE)
    sums = np.array([heat[parts == number].sum() for number in range(len(names))], dtype=float)
    shares = sums / sums.sum() if sums.sum() > 0 else sums
    ranked = sorted(zip(names, shares.tolist(), strict=True), key=lambda pair: -pair[1])
    return dict(ranked)


def _visible(heatmap: np.ndarray, side: int) -> np.ndarray:
    """Return the visible part of a map, 0 to 1, `[side, side]`: the hot spots, not wide lukewarm
    areas. The words describe the same part."""
    small = Image.fromarray(np.ascontiguousarray(heatmap, dtype=np.float32))
    heat = np.asarray(small.resize((side, side), Image.Resampling.BILINEAR))
    return np.clip((heat - FLOOR) / (1 - FLOOR), 0, 1) ** 2


def describe_parts(shares: dict[str, float]) -> str:
    """Return a sentence about where most of the heat lies; an empty string if there is none."""
    (first, share), (second, next_share), *_ = shares.items()
    if share == 0:
        return ""
    if share >= MOST:
        return f"Most of the evidence for fake lies on {first}."
    if share + next_share >= MOST and next_share >= MUCH:
        return f"Most of the evidence for fake lies on {first} and {second}."
    return "The evidence for fake is spread out over the face and what is around it."


def _part_map(landmarks: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return names of parts and, for each px of a crop, its part's number, `[SIDE, SIDE]`."""
    middle = (np.arange(SIDE) + 0.5) / SIDE
    x, y = np.meshgrid(middle, middle)
    eyes = landmarks[[LEFT_EYE, RIGHT_EYE]]
    mouth = landmarks[[LEFT_MOUTH, RIGHT_MOUTH]].mean(axis=0)
    unit = max(float(np.linalg.norm(mouth - eyes.mean(axis=0))), 1e-3)  # eyes to mouth
    brow, chin = eyes[:, 1].mean() - 0.45 * unit, mouth[1] + 0.75 * unit
    centre = (eyes.mean(axis=0) + mouth) / 2

    def ellipse(place: np.ndarray, width: float, height: float) -> np.ndarray:
        return ((x - place[0]) / (width * unit)) ** 2 + ((y - place[1]) / (height * unit)) ** 2 <= 1

    outline = ellipse(centre, 1.15, 1.7)
    areas = {  # later ones win
        "the background and hair": np.ones((SIDE, SIDE), dtype=bool),
        "the cheeks": outline,
        "the forehead": outline & (y < brow),
        "the chin": outline & (y > chin - 0.35 * unit),
        "the nose": ellipse(landmarks[NOSE] - [0, 0.15 * unit], 0.35, 0.5),
        "the mouth": ellipse(mouth, 0.6, 0.33),
        "the eye on the left": ellipse(eyes[0], 0.45, 0.33),
        "the eye on the right": ellipse(eyes[1], 0.45, 0.33),
    }
    parts = np.zeros((SIDE, SIDE), dtype=int)
    for number, area in enumerate(areas.values()):
        parts[area] = number
    return list(areas), parts
