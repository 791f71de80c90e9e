"""The check `composites` of `training.measure.audit.audit`: do the fakes that training makes betray
themselves?

Whole-photo statistics of blur, noise, compression and colour say nothing of where a face was
changed. A network that tells composites from their bases by them has learned how they were made,
and will not know anybody else's fakes.
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
BANDS = (0.125, 0.25, 0.35, 0.5)  # limits of the measured frequencies, in cycles a pixel
GRID = 8  # px: JPEG's blocks


@dataclass(frozen=True)
class DrawnPairs:
    """Composites beside their bases, as training sees them.

    Attributes:
        columns: `photo_statistics` of each photo, `float64 [photos, features]`.
        truth: labels `int [photos]`, 1 = composite.
        groups: of each photo: those of one group share their base or its source.
    """

    columns: np.ndarray
    truth: np.ndarray
    groups: list[str]


def draw_composites(photos: Sequence[Photo], *, pairs: int, seed: int) -> DrawnPairs | None:
    """Draw composites beside their bases as training does, varied as training varies them.

    Args:
        photos: of the training split, all of them readable.
        pairs: how many.
        seed: decides which.

    Returns:
        `None` where no real photo has landmarks, or there are no fakes.
    """
    if not any(photo.is_fake for photo in photos) or not any(map(_is_base, photos)):
        return None
    batches = _RecordedPairs(photos, seed)
    drawn = [batches.draw(number) for number in trange(pairs, desc="Composing", unit="pair")]
    columns = [photo_statistics(photo) for group, both in drawn for photo in both]
    groups = [group for group, both in drawn for _ in both]
    return DrawnPairs(np.array(columns), np.tile(np.arange(len(LABELS)), pairs), groups)


def photo_statistics(photo: np.ndarray) -> np.ndarray:
    """Describe a whole photo by what says nothing of its content.

    Args:
        photo: `float32` `[side, side, 3]`, RGB, 0 to 255.

    Returns:
        `float64 [17]`: mean and deviation of R, G and B; deviation of the Laplacian, its median
        size, and the mean gradient; deviation of what a median of 3 px takes away, and of what
        three blurs do; share of the spectrum's energy in three bands, on a logarithmic scale; how
        much the largest of the steps at the eight places of JPEG's grid exceeds their mean.
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
    """Training's batches, which tell the base of each pair too."""

    def __init__(self, photos: Sequence[Photo], seed: int) -> None:
        super().__init__(photos, originals={}, composites=1.0, masks=False, seed=seed)
        self._base = -1

    def draw(self, number: int) -> tuple[str, np.ndarray]:
        """Return the base's group and a pair of photos `[2, side, side, 3]`, real and fake."""
        both, _ = self[number]
        return self._photos[self._base].group, both

    def _composite(self, base: int, *rest) -> tuple[np.ndarray, np.ndarray]:
        self._base = base
        return super()._composite(base, *rest)


def _is_base(photo: Photo) -> bool:
    """Return whether composites can be made of a photo."""
    face = photo.found_face
    return not photo.is_fake and face is not None and face.landmarks is not None


def _bands(grey: np.ndarray) -> np.ndarray:
    """Return the logarithms of the shares of energy in the frequencies between `BANDS`."""
    window = np.hanning(len(grey))  # without it the borders' steps would fill the spectrum
    centred = (grey - grey.mean()) * window[:, None] * window
    energy = np.abs(np.fft.rfft2(centred)) ** 2
    frequency = np.hypot(np.fft.fftfreq(len(grey))[:, None], np.fft.rfftfreq(len(grey)))
    parts = [energy[(frequency >= low) & (frequency < high)].sum() for low, high in pairwise(BANDS)]
    return np.log((np.array(parts) + 1e-6) / (energy.sum() + 1e-6))


def _blockiness(grey: np.ndarray) -> float:
    """Return the largest mean step between neighbours at one place of the grid, divided by the mean
    of all places, wherever the grid begins."""
    ratios = []
    for steps in (np.abs(np.diff(grey, axis=0)).mean(axis=1), np.abs(np.diff(grey)).mean(axis=0)):
        places = np.array([steps[place::GRID].mean() for place in range(GRID)])
        ratios.append(places.max() / (places.mean() + 1e-6))
    return float(np.mean(ratios))
