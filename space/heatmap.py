"""Paint a Grad-CAM map over the photo that it explains."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

if __package__:
    from .faces import crop_square
else:
    from faces import crop_square

OPACITY = 0.65  # where the map is hottest; where it is 0 the photo stays as it is
MAX_SIDE = 768  # px: what a page shows


def paint_heatmap(photo: Image.Image, heatmap: np.ndarray) -> Image.Image:
    """Lay a map in colours from violet to yellow over the part of the photo that was judged.

    Args:
        photo: RGB photo of any size.
        heatmap: float array `[rows, columns]`, 0 to 1.

    Returns:
        The centred square of the photo, at most 768 px wide, with the map over it.
    """
    square = crop_square(photo)
    square.thumbnail((MAX_SIDE, MAX_SIDE))
    grey = Image.fromarray(np.rint(np.clip(heatmap, 0, 1) * 255).astype(np.uint8))
    heat = grey.resize(square.size, Image.Resampling.BILINEAR)
    colours = ImageOps.colorize(heat, black="#2a0a5e", mid="#e0362c", white="#ffe945")
    return Image.composite(colours, square, heat.point(lambda value: value * OPACITY))
