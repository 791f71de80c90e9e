"""Find the photos of a large set that look alike as a whole: `training.data.source_pairs` compares
only those.

A photo is described by the directions of its edges in 16 cells (histograms of oriented gradients,
Dalal and Triggs, CVPR 2005, https://doi.org/10.1109/CVPR.2005.177), which change little when part
of a face is replaced or the light changes. Two windows around the face are described as well, as
one photo may be a closer crop of the other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from space.photos import open_photo, resize_square

SIDE = 128  # px, of a photo
# Side of each window, and how far its centre lies below the photo's, as shares of the photo's side.
# In 111 of ciplab's 114 certain pairs of a photo and one made from it, one of the two is the most
# similar to the other among 1,741 photos; if only whole photos are compared, in 107.
WINDOWS = ((1.0, 0.0), (0.87, 0.06), (0.75, 0.12))
DESCRIPTOR = ((64, 64), (32, 32), (32, 32), (16, 16), 9)  # px of window, block, step, cell; bins
FEATURES = 144
NEIGHBOURS = 12  # of each photo
ROWS = 128  # photos compared with all others at once: 0.2 GB for 100,000 photos


def likely_pairs(paths: Sequence[Path]) -> np.ndarray:
    """Return the pairs in which one photo is among the `NEIGHBOURS` most similar to the other.

    Args:
        paths: readable photos.

    Returns:
        Positions `int64` `[pairs, 2]`, sorted, the lower one of each pair first.
    """
    views = describe_views(paths)
    photos = views.shape[1]
    neighbours = min(NEIGHBOURS, photos - 1)
    nearest = np.empty((photos, neighbours), np.int64)
    for start in tqdm(range(0, photos, ROWS), desc="Looking for likely pairs", unit="batch"):
        rows = slice(start, start + ROWS)
        similarity = likeness(views[:, rows], views)
        offsets = np.arange(len(similarity))
        similarity[offsets, start + offsets] = -np.inf
        nearest[rows] = np.argpartition(similarity, -neighbours, axis=1)[:, -neighbours:]
    pairs = np.stack([np.repeat(np.arange(photos), neighbours), nearest.ravel()], axis=1)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def likeness(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the similarity of photos to other photos `[some, others]`, 1 where they are equal.

    The whole of one photo is compared with the most similar window of the other.

    Args:
        some: views of photos, as `describe_views` returns them.
        others: views of the other photos.
    """
    similarity = some[0] @ others[0].T
    for some_window, other_window in zip(some[1:], others[1:], strict=True):
        np.maximum(similarity, some[0] @ other_window.T, out=similarity)
        np.maximum(similarity, some_window @ others[0].T, out=similarity)
    return similarity


def describe_views(paths: Sequence[Path]) -> np.ndarray:
    """Return unit vectors that describe photos, `float32` `[windows, photos, FEATURES]`.

    The first are of whole photos, the others of their windows.
    """
    views = np.empty((len(WINDOWS), len(paths), FEATURES), np.float32)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        described = tqdm(pool.map(_views, paths), total=len(paths), desc="Looking", unit="photo")
        for index, photo_views in enumerate(described):
            views[:, index] = photo_views
    views -= views[0].mean(axis=0)  # what all faces have in common distinguishes none
    views /= np.linalg.norm(views, axis=2, keepdims=True).clip(1e-6)
    return views


def _views(path: Path) -> np.ndarray:
    grey = np.asarray(resize_square(open_photo(path), SIDE).convert("L"))
    hog = cv2.HOGDescriptor(*DESCRIPTOR)
    descriptors = []
    for share, shift in WINDOWS:
        left = round(SIDE * (1 - share) / 2)
        top = left + round(SIDE * shift)
        window = grey[top : top + SIDE - 2 * left, left : SIDE - left]
        small = cv2.resize(window, DESCRIPTOR[0], interpolation=cv2.INTER_AREA)
        descriptors.append(hog.compute(small).ravel())
    return np.array(descriptors)
