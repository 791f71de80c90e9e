"""Find the photos of a large set that look alike as a whole: `training.data.source_pairs` compares
only those.

A photo is described by the directions of its edges in 16 cells (histograms of oriented gradients,
Dalal and Triggs, CVPR 2005, https://doi.org/10.1109/CVPR.2005.177), which stay where they are when
a part of a face is replaced or the light changes. So are two windows around its face, as one photo
may be a closer crop of the other.
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

SIDE = 128  # px of a photo
# Side of the windows, and how far their middle lies below the photo's, as shares of its side. In
# 111 of ciplab's 114 certain pairs of a photo and what was made from it, one of the two is the
# likest of 1,741 photos to the other; by whole photos alone, in 107.
WINDOWS = ((1.0, 0.0), (0.87, 0.06), (0.75, 0.12))
DESCRIPTOR = ((64, 64), (32, 32), (32, 32), (16, 16), 9)  # px of window, block, step and cell
FEATURES = 144
NEIGHBOURS = 12  # of each photo
ROWS = 128  # photos compared with all others at once, which takes 0.2 GB for 100,000 of them


def likely_pairs(paths: Sequence[Path]) -> np.ndarray:
    """Return the pairs of photos of which one is among the `NEIGHBOURS` likest to the other.

    Args:
        paths: readable photos.

    Returns:
        Positions `int64` `[pairs, 2]`, the lower one first, in order.
    """
    views = describe_views(paths)
    photos = views.shape[1]
    neighbours = min(NEIGHBOURS, photos - 1)
    nearest = np.empty((photos, neighbours), np.int64)
    for start in tqdm(range(0, photos, ROWS), desc="Looking for likely pairs", unit="batch"):
        rows = slice(start, start + ROWS)
        found = likeness(views[:, rows], views)
        own = np.arange(len(found))
        found[own, start + own] = -np.inf
        nearest[rows] = np.argpartition(found, -neighbours, axis=1)[:, -neighbours:]
    pairs = np.stack([np.repeat(np.arange(photos), neighbours), nearest.ravel()], axis=1)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def likeness(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how alike photos are to others `[some, others]`, 1 where they are the same: by the
    whole of one and that window of the other which is likest to it.

    Args:
        some: views of photos, as `describe_views` returns them.
        others: views of others.
    """
    found = some[0] @ others[0].T
    for own, foreign in zip(some[1:], others[1:], strict=True):
        np.maximum(found, some[0] @ foreign.T, out=found)
        np.maximum(found, own @ others[0].T, out=found)
    return found


def describe_views(paths: Sequence[Path]) -> np.ndarray:
    """Return descriptions of photos, `float32` `[windows, photos, FEATURES]`: whole photos, then
    their windows; each has length 1."""
    views = np.empty((len(WINDOWS), len(paths), FEATURES), np.float32)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = tqdm(pool.map(_views, paths), total=len(paths), desc="Looking", unit="photo")
        for index, of_photo in enumerate(found):
            views[:, index] = of_photo
    views -= views[0].mean(axis=0)  # what all faces have in common tells none apart
    views /= np.linalg.norm(views, axis=2, keepdims=True).clip(1e-6)
    return views


def _views(path: Path) -> np.ndarray:
    grey = np.asarray(resize_square(open_photo(path), SIDE).convert("L"))
    descriptor = cv2.HOGDescriptor(*DESCRIPTOR)
    found = []
    for share, below in WINDOWS:
        left = round(SIDE * (1 - share) / 2)
        top = left + round(SIDE * below)
        window = grey[top : top + SIDE - 2 * left, left : SIDE - left]
        small = cv2.resize(window, DESCRIPTOR[0], interpolation=cv2.INTER_AREA)
        found.append(descriptor.compute(small).ravel())
    return np.array(found)
