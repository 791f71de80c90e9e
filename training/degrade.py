"""What happens to photos on their way: JPEG, resizing, blur, noise.

Training uses these at random strengths, the stress test at fixed ones. All of them take and return
`uint8` arrays `[height, width, 3]`, RGB.
"""

from __future__ import annotations

import cv2
import numpy as np


def jpeg(photo: np.ndarray, quality: int) -> np.ndarray:
    """Return the photo after JPEG compression of a quality from 1 to 100."""
    # OpenCV takes BGR: with red and blue confused, chroma subsampling would still treat them apart.
    _, content = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.ascontiguousarray(cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1])


def shrink(photo: np.ndarray, side: int) -> np.ndarray:
    """Return the photo resized to `side` px on its shorter side and back; smaller ones as they
    are."""
    height, width = photo.shape[:2]
    factor = side / min(height, width)
    if factor >= 1:
        return photo
    small = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def blur(photo: np.ndarray, sigma: float) -> np.ndarray:
    """Return the photo after a Gaussian blur of `sigma` px."""
    return cv2.GaussianBlur(photo, (0, 0), sigma)


def noise(photo: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return the photo with Gaussian noise of `sigma` grey levels added to each channel."""
    grain = rng.normal(0, sigma, photo.shape).astype(np.float32)
    return np.rint(photo + grain).clip(0, 255).astype(np.uint8)


def degrade(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the photo after a random choice of resizing, blur, noise and JPEG, in that order."""
    wanted = rng.random(4) < 0.5
    if wanted[0]:
        photo = shrink(photo, round(min(photo.shape[:2]) * rng.uniform(0.3, 1)))
    if wanted[1]:
        photo = blur(photo, rng.uniform(0.3, 1.5))
    if wanted[2]:
        photo = noise(photo, rng.uniform(1, 8), rng)
    if wanted[3]:
        photo = jpeg(photo, rng.integers(30, 96))
    return photo
