"""Compare how two faces look, by the shape of the head and by colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

SHADES_SHARE = 0.35  # weight of the shape in the similarity; colours have the rest


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of two arrays of grey levels, 0 where one is uniform."""
    first, second = first - first.mean(), second - second.mean()
    noise = 16.0  # variance in squared levels
    scale = math.sqrt((first.var() + noise) * (second.var() + noise))
    return float((first * second).mean()) / scale


@dataclass(frozen=True, eq=False)
class Appearance:
    """How a face looks, for comparison with others.

    Attributes:
        shades: `float32` `[256]`: 16 x 16 grey levels of the crop, for the shape of the head.
        colours: `float32` `[512]`: square roots of the shares of 8 x 4 x 4 hues, saturations and
            brightnesses in each quarter of the crop, for skin, hair and background.
    """

    shades: np.ndarray
    colours: np.ndarray

    @classmethod
    def of(cls, crop: Image.Image) -> Appearance:
        """Describe an RGB crop."""
        small = cv2.resize(np.asarray(crop), (64, 64), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA)
        hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
        return cls(grey.astype(np.float32).ravel(), _colours(hsv))

    def similarity(self, other: Appearance) -> float:
        """Return the similarity to another face: 1 for the same look, about 0.4 for strangers."""
        shades = correlation(self.shades, other.shades)
        return SHADES_SHARE * shades + (1 - SHADES_SHARE) * float(self.colours @ other.colours)


def _colours(hsv: np.ndarray) -> np.ndarray:
    half = len(hsv) // 2
    quarters = [hsv[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    counts = [
        cv2.calcHist([quarter], [0, 1, 2], None, [8, 4, 4], [0, 180, 0, 256, 0, 256])
        for quarter in quarters
    ]
    return np.sqrt(np.concatenate(counts, axis=None) / (4 * half * half))
