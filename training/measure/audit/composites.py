"""The check `composites` of `training.measure.audit.audit`.

It asks whether the fakes that training makes betray themselves. Whole-photo statistics of blur,
noise, compression and colour do not show where a face was changed. A network that uses them to tell
composites from their bases has learned how they were made, and will not recognise other fakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from tqdm import trange

from training.data.rows import LABELS, Photo
from training.measure.audit.batches import SinglePairs

NOISE_SIGMAS = (0.7, 1.5, 3.0)  # px of the blurs whose residual is measured
BANDS = (0.125, 0.25, 0.35, 0.5)  # limits of the measured frequencies, in cycles per pixel
GRID = 8  # px: JPEG's blocks


@dataclass(frozen=True)
class DrawnPairs:
    """Composites beside their bases, as training sees them.

    Attributes:
        columns: `photo_statistics` of each photo, `float64 [photos, features]`.
        truth: labels `int [photos]`, 1 = composite.
        groups: the group of each photo; photos of a group share their base or its source.
    """

    columns: np.ndarray
    truth: np.ndarray
    groups: list[str]


def draw_composites(photos: Sequence[Photo], *, pairs: int, seed: int) -> DrawnPairs | None:
    """Return composites beside their bases, drawn and varied as in training.

    Args:
        photos: photos of the training split, all of them readable.
        pairs: number of pairs.
        seed: seed of the draw.

    Returns:
        The pairs; `None` if no real photo has landmarks, or there are no fakes.
    """
    if not any(photo.is_fake for photo in photos) or not any(map(_is_base, photos)):
        return None
    batches = _RecordedPairs(photos, seed)
    drawn = [batches.draw(number) for number in trange(pairs, desc="Composing", unit="pair")]
    columns = [photo_statistics(photo) for _, pair in drawn for photo in pair]
    groups = [group for group, pair in drawn for _ in pair]
    return DrawnPairs(np.array(columns), np.tile(np.arange(len(LABELS)), pairs), groups)


def photo_statistics(photo: np.ndarray) -> np.ndarray:
    """Return statistics of a whole photo that say nothing about its content.

    Args:
        photo: `float32` `[side, side, 3]`, RGB, 0 to 255.

    Returns:
        `float64 [17]`: mean and deviation of R, G and B; deviation of the Laplacian, its median
        size, and the mean gradient; deviation of what a 3 px median filter removes, and of what
        three blurs remove; share of the spectrum's energy in three bands, on a logarithmic scale;
        how much the largest step at the eight places of JPEG's grid exceeds their mean.
    """
    grey = photo.mean(axis=2)
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)
    down, across = np.gradient(grey)
    residuals = [grey - cv2.medianBlur(grey, 3)]
    residuals += [grey - cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in NOISE_SIGMAS]
    return np.array(
        [
            *photo.mean(axis=(0, 1)),
            *photo.std(axis=(0, 1)),
            laplacian.std(),
            np.median(np.abs(laplacian)),
            np.hypot(down, across).mean(),
            *(residual.std() for residual in residuals),
            *_bands(grey),
            _blockiness(grey),
        ]
    )


class _RecordedPairs(SinglePairs):
    """Training's batches, which also record the base of each pair."""

    def __init__(self, photos: Sequence[Photo], seed: int) -> None:
        super().__init__(photos, originals={}, composites=1.0, masks=False, seed=seed)
        self._base = -1

    def draw(self, number: int) -> tuple[str, np.ndarray]:
        """Return the base's group and a pair of photos `[2, side, side, 3]`, real and fake."""
        pair, _ = self[number]
        return self._photos[self._base].group, pair

    def _composite(self, base: int, *rest) -> tuple[np.ndarray, np.ndarray]:
        self._base = base
        return super()._composite(base, *rest)


def _is_base(photo: Photo) -> bool:
    """Return whether composites can be made from a photo."""
    face = photo.found_face
    return not photo.is_fake and face is not None and face.landmarks is not None


def _bands(grey: np.ndarray) -> np.ndarray:
    """Return the logarithms of the shares of energy in the frequencies between `BANDS`."""
    window = np.hanning(len(grey))  # else the steps at the borders would fill the spectrum
    centred = (grey - grey.mean()) * window[:, None] * window
    energy = np.abs(np.fft.rfft2(centred)) ** 2
    frequency = np.hypot(np.fft.fftfreq(len(grey))[:, None], np.fft.rfftfreq(len(grey)))
    parts = [energy[(frequency >= low) & (frequency < high)].sum() for low, high in pairwise(BANDS)]
    return np.log((np.array(parts) + 1e-6) / (energy.sum() + 1e-6))


def _blockiness(grey: np.ndarray) -> float:
    """Return the largest mean step at a place of JPEG's grid, divided by the mean of all places.

    Steps are between neighbouring pixels. The grid may begin anywhere.
    """
    ratios = []
    for steps in (np.abs(np.diff(grey, axis=0)).mean(axis=1), np.abs(np.diff(grey)).mean(axis=0)):
        places = np.array([steps[place::GRID].mean() for place in range(GRID)])
        ratios.append(places.max() / (places.mean() + 1e-6))
    return float(np.mean(ratios))
