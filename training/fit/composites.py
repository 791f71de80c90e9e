"""Composites made during training: parts of one face pasted over another, as in the dataset.

A part of a donor is aligned with the base by the landmarks of both faces, recoloured towards the
base, and blended in. The donor may be the base itself, slightly transformed (self-blended images:
Shiohara and Yamasaki, CVPR 2022, https://arxiv.org/abs/2204.08376), which leaves only the traces of
blending.

Photos are `uint8` arrays `[height, width, 3]`, RGB; landmarks are those of `space.faces.Face`:
`float32` `[5, 2]`, px, the eye on the image's left first.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from training.data.rows import PARTS
from training.fit.degrade import jpeg

# How often ciplab's fakes have each combination of parts (left eye, right eye, nose, mouth)
# replaced, counted from the names of 818 fakes.
PART_COUNTS = {
    (0, 0, 0, 1): 40,
    (0, 0, 1, 0): 25,
    (0, 0, 1, 1): 111,
    (0, 1, 0, 0): 13,
    (0, 1, 0, 1): 17,
    (0, 1, 1, 0): 11,
    (0, 1, 1, 1): 24,
    (1, 0, 0, 0): 22,
    (1, 0, 0, 1): 17,
    (1, 0, 1, 0): 15,
    (1, 0, 1, 1): 16,
    (1, 1, 0, 0): 104,
    (1, 1, 0, 1): 66,
    (1, 1, 1, 0): 68,
    (1, 1, 1, 1): 269,
}
_COMBINATIONS = np.array(list(PART_COUNTS), bool)
_FREQUENCIES = np.array(list(PART_COUNTS.values())) / sum(PART_COUNTS.values())

WHOLE_FACE = 0.6  # share of the fakes with all four parts whose face is pasted in one piece
POISSON = 0.25  # share that is blended in the gradient domain before its outline is feathered
REDRAWN = 0.5  # share of donors that are blurred, sharpened or recompressed first
SOFTNESS = (0.01, 0.12)  # sigma of the outline's blur, in units of the distance between the eyes

# Semi-axes of the ellipse around a part, and how far its centre lies above the landmark, in units
# of the distance between the eyes.
_ELLIPSES = {
    "left_eye": (0.40, 0.26, 0.04),
    "right_eye": (0.40, 0.26, 0.04),
    "nose": (0.34, 0.46, 0.18),
    "mouth": (0.56, 0.32, 0.0),
}
_FACE_ELLIPSE = (0.98, 1.12, 0.0)


def draw_parts(rng: np.random.Generator) -> tuple[str, ...]:
    """Return the parts that a fake replaces, drawn with the frequencies of the dataset."""
    chosen = _COMBINATIONS[rng.choice(len(_COMBINATIONS), p=_FREQUENCIES)]
    return tuple(part for part, wanted in zip(PARTS, chosen, strict=True) if wanted)


def part_region(
    landmarks: np.ndarray,
    parts: Sequence[str],
    shape: tuple[int, int],
    rng: np.random.Generator | None = None,
    *,
    whole: bool = False,
) -> np.ndarray:
    """Return a mask of some parts of a face.

    Args:
        landmarks: of the face.
        parts: names of `training.data.rows.PARTS`; left and right are the image's.
        shape: height and width of the photo in px.
        rng: varies position, size and outline; without it the mask is the standard one.
        whole: mask the face in one piece instead of its parts.

    Returns:
        `uint8` array `[height, width]`: 255 inside, 0 outside.
    """
    left, right, nose, *mouth = landmarks.astype(float)
    centres = {"left_eye": left, "right_eye": right, "nose": nose, "mouth": np.mean(mouth, axis=0)}
    ellipses = [(centres[part], _ELLIPSES[part]) for part in parts]
    if whole:
        ellipses = [(np.mean([left, right, *mouth], axis=0), _FACE_ELLIPSE)]
    unit, across = _face_frame(landmarks)
    down = np.array([-across[1], across[0]])
    region = np.zeros(shape, np.uint8)
    for centre, (width, height, rise) in ellipses:
        outline = _outline(rng) * [width * unit, height * unit]
        if rng is not None:
            outline *= rng.uniform(0.8, 1.3) * rng.uniform(0.85, 1.15, 2)
            centre = centre + rng.normal(0, 0.05 * unit, 2)
        points = centre - rise * unit * down + outline @ np.stack([across, down])
        cv2.fillPoly(region, [np.rint(points).astype(np.int32)], 255)
    return region


def compose(
    base: np.ndarray,
    base_landmarks: np.ndarray,
    donor: np.ndarray,
    donor_landmarks: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Paste parts of one face over another.

    Args:
        base: photo of the face that is changed.
        base_landmarks: of that face.
        donor: photo of the face that lends the parts; the base itself for a self-blended image.
        donor_landmarks: of that face.
        rng: decides parts, outline, alignment, colour and blending.

    Returns:
        The composite, of the base's shape, and `float32` `[height, width]`, the share of the donor
        in each pixel, 0 to 1.
    """
    parts = draw_parts(rng)
    whole = len(parts) == len(PARTS) and rng.random() < WHOLE_FACE
    region = part_region(base_landmarks, parts, base.shape[:2], rng, whole=whole)
    unit, _ = _face_frame(base_landmarks)
    softness = max(0.5, unit * rng.uniform(*SOFTNESS))
    window = _window(region, softness)
    if window is None:  # the landmarks lie outside the photo
        return base.copy(), np.zeros(base.shape[:2], np.float32)
    transform = _alignment(donor_landmarks, base_landmarks, rng)
    rows, columns = window
    transform[:, 2] -= columns.start, rows.start
    target, inside = base[window], region[window]
    height, width = inside.shape
    part = cv2.warpAffine(
        donor, transform, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    part = _recolour(_redraw(part, rng), target, inside, rng)
    if rng.random() < POISSON:
        part = _blend_gradients(target, part, inside)
    soft = cv2.GaussianBlur(inside, (0, 0), softness)
    alpha = soft.astype(np.float32) / 255 * np.float32(rng.uniform(0.8, 1))
    mixed = target + alpha[..., None] * (part.astype(np.float32) - target)
    composite, share = base.copy(), np.zeros(base.shape[:2], np.float32)
    composite[window], share[window] = np.rint(mixed).astype(np.uint8), alpha
    return composite, share


def _face_frame(landmarks: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the distance between the eyes in px and the direction from the left to the right one.

    In profile the eyes are close together, so the distance from eyes to mouth gives the size.
    """
    left, right, _, *mouth = landmarks.astype(float)
    eye_vector = right - left
    eye_distance = np.hypot(*eye_vector)
    size = max(eye_distance, 0.9 * np.hypot(*(np.mean(mouth, axis=0) - (left + right) / 2)), 4.0)
    return size, eye_vector / eye_distance if eye_distance > 0 else np.array([1.0, 0.0])


def _outline(rng: np.random.Generator | None, corners: int = 16) -> np.ndarray:
    """Return a rounded outline `[corners, 2]` around the origin with a radius of about 1."""
    angles = np.arange(corners) * 2 * np.pi / corners
    radii = np.ones(corners)
    if rng is not None:  # irregular, as if drawn by hand
        phases, amplitudes = rng.uniform(0, 2 * np.pi, 3), rng.normal(0, 0.07, 3)
        radii += sum(
            amplitude * np.sin((order + 2) * angles + phase)
            for order, (amplitude, phase) in enumerate(zip(amplitudes, phases, strict=True))
        )
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]


def _window(region: np.ndarray, softness: float) -> tuple[slice, slice] | None:
    """Return rows and columns around a region and its soft outline, or `None` where it is empty."""
    left, top, width, height = cv2.boundingRect(region)
    if width < 4 or height < 4:
        return None
    reach = int(3 * softness) + 2  # OpenCV's blur ends there, so nothing is cut off
    return (
        slice(max(0, top - reach), min(region.shape[0], top + height + reach)),
        slice(max(0, left - reach), min(region.shape[1], left + width + reach)),
    )


def _alignment(donor: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the similarity transform `[2, 3]` from the donor's to the base's landmarks.

    It is slightly off, as if the part was placed by hand.
    """
    x, y = (donor - donor.mean(axis=0)).astype(float).T
    u, v = (base - base.mean(axis=0)).astype(float).T
    spread = max((x * x + y * y).sum(), 1e-6)
    a, b = (x * u + y * v).sum() / spread, (x * v - y * u).sum() / spread
    angle, scale = rng.normal(0, 0.03), np.exp(rng.normal(0, 0.04))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    a, b = a * cos - b * sin, a * sin + b * cos
    rotation = np.array([[a, -b], [b, a]])
    unit, _ = _face_frame(base)
    centre = base.mean(axis=0) + rng.normal(0, 0.025 * unit, 2)
    return np.column_stack([rotation, centre - rotation @ donor.mean(axis=0)])


def _redraw(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a donor's part as if from a photo of another sharpness or compression."""
    if rng.random() >= REDRAWN:
        return part
    kind = rng.integers(3)
    if kind == 0:
        return cv2.GaussianBlur(part, (0, 0), rng.uniform(0.3, 1.2))
    if kind == 1:
        soft = cv2.GaussianBlur(part, (0, 0), 1.0)
        amount = rng.uniform(0.3, 1.2)
        return cv2.addWeighted(part, 1 + amount, soft, -amount, 0)
    return jpeg(part, rng.integers(40, 95))


def _recolour(
    part: np.ndarray, target: np.ndarray, inside: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the part with its colours moved towards those of the area that it covers.

    The mean and deviation of each channel move, and vary a little at random.
    """
    mean, deviation = (channel[:, 0] for channel in cv2.meanStdDev(part, mask=inside))
    wanted_mean, wanted_deviation = (
        channel[:, 0] for channel in cv2.meanStdDev(target, mask=inside)
    )
    strength = rng.uniform(0, 1) ** 0.5  # mostly strong: whoever pastes a part matches its colours
    gain = (wanted_deviation / np.maximum(deviation, 1)).clip(0.5, 2) ** strength
    gain *= np.exp(rng.normal(0, 0.05))
    offset = (
        mean
        + strength * (wanted_mean - mean)
        + rng.normal(0, 4)
        + rng.normal(0, 1.5, 3)
        - gain * mean
    )
    levels = np.arange(256, dtype=np.float32)[:, None] * gain + offset
    table = np.rint(levels).clip(0, 255).astype(np.uint8)
    return cv2.LUT(part, table[:, None, :])


def _blend_gradients(target: np.ndarray, part: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return a part with the target's colours at its outline, by Poisson blending.

    Method: Pérez et al. 2003, https://doi.org/10.1145/1201775.882269. OpenCV solves the equation
    over the rectangle around the region, so outside the region the result is close to the target
    but not equal to it.
    """
    mask = inside.copy()  # the solver writes into it
    mask[[0, -1]], mask[:, [0, -1]] = 0, 0  # and needs an empty border
    left, top, width, height = cv2.boundingRect(mask)
    if width < 4 or height < 4:
        return part
    centre = (left + width // 2, top + height // 2)
    return cv2.seamlessClone(part, target, mask, centre, cv2.NORMAL_CLONE)
