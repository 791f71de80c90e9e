"""Random variation of the photos of a pair: framing, light, blur, noise and compression.

Both photos vary alike. A share of the pairs may be shown by eyes, nose and mouth alone, each
enlarged to a quarter of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
from PIL import Image

from space.crops import face_square
from space.faces import Face
from space.photos import model_input
from training.config import EVIDENCE_STEP, TrainConfig
from training.fit.degrade import degrade

MARGINS = (1.0, 1.5)  # of the crop around the face; a wider range than is served
PART_SIDES = (0.304, 0.475)  # of the squares around parts, in units of the box's longer side
PART_SHIFT = 0.05  # standard deviation of their centres, in units of their side
MIRRORED = [1, 0, 2, 4, 3]  # order of the landmarks in a mirror image, where left and right swap
UNKNOWN = -1.0  # in a mask: it is unknown whether this place was changed


@dataclass(frozen=True)
class Variation:
    """How much the photos of a pair vary; see the fields of the same name in `TrainConfig`."""

    rotation: float
    shift: float
    flip: bool
    brightness: float
    channel_shift: float
    degrade: float
    parts: float = 0.0

    @classmethod
    def from_config(cls, config: TrainConfig) -> Variation:
        """Return the variation of a run's settings."""
        return cls(**{setting.name: getattr(config, setting.name) for setting in fields(cls)})


def vary(
    photo: np.ndarray,
    mask: np.ndarray,
    face: Face | None,
    variation: Variation,
    size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a photo with random framing around its face, light and quality, and its mask.

    Args:
        photo: `uint8` `[height, width, 3]`, RGB.
        mask: `float32` `[height, width]`.
        face: in the photo; without one the whole photo counts as the face. Without landmarks it is
            never shown by its parts.
        variation: how much to vary.
        size: side of the result in px.
        rng: decides everything; the same state gives the same variation.

    Returns:
        Photo `float32` `[size, size, 3]` and mask `float32` `[size / 16, size / 16]`.
    """
    photo, mask, landmarks = _frame(photo, mask, face, variation, rng)
    degraded, light, channel_shifts = (
        rng.random() < variation.degrade,
        rng.uniform(-1, 1),
        rng.uniform(-1, 1, 3),
    )
    flipped = variation.flip and rng.random() < 0.5
    if degraded:
        photo = degrade(photo, rng)
    if flipped:
        photo, mask = photo[:, ::-1], mask[:, ::-1]
        landmarks = _mirrored(landmarks, photo.shape[1])
    places = size // EVIDENCE_STEP
    if len(landmarks) and rng.random() < variation.parts:
        squares = _part_squares(landmarks, face, photo.shape[0], rng)
        pixels = _enlarged(photo, squares, size)
        grid = _tiles(mask, squares, places)
    else:
        pixels = model_input(Image.fromarray(photo), size)
        grid = cv2.resize(mask, (places, places), interpolation=cv2.INTER_AREA)
    offset = 255 * variation.brightness * light + variation.channel_shift * channel_shifts
    pixels = np.clip(pixels + offset.astype(np.float32), 0, 255)
    grid[grid < 0] = UNKNOWN
    return pixels, grid


def _mirrored(marks: np.ndarray, width: int) -> np.ndarray:
    """Return the landmarks in the mirror image of a picture that is `width` px wide."""
    return [width, 0] + [-1, 1] * marks[MIRRORED[: len(marks)]]


def _part_squares(
    marks: np.ndarray, face: Face, size: int, rng: np.random.Generator
) -> list[tuple[slice, slice]]:
    """Return rows and columns of the squares around left eye, right eye, nose and mouth.

    All have one size, are a little off at random, and lie inside a picture of `size` px.
    """
    part_side = face.side * rng.uniform(*PART_SIDES)
    left, right, nose, *mouth = marks + rng.normal(0, PART_SHIFT * part_side, marks.shape)
    side = min(max(1, round(part_side)), size)
    centres = np.stack([left, right, nose, np.mean(mouth, axis=0)])
    corners = np.rint(centres - side / 2).astype(int).clip(0, size - side)
    return [(slice(top, top + side), slice(left, left + side)) for left, top in corners]


def _enlarged(photo: np.ndarray, squares: Sequence[tuple[slice, slice]], size: int) -> np.ndarray:
    """Return the parts of a photo, each enlarged to a quarter of a picture of `size` px."""
    parts = [model_input(Image.fromarray(photo[square]), size // 2) for square in squares]
    return np.concatenate([np.hstack(parts[:2]), np.hstack(parts[2:])])


def _tiles(mask: np.ndarray, squares: Sequence[tuple[slice, slice]], places: int) -> np.ndarray:
    """Return the mask `[places, places]` of the picture that `_enlarged` makes."""
    half = (places // 2, places // 2)
    parts = [cv2.resize(mask[square], half, interpolation=cv2.INTER_AREA) for square in squares]
    return np.block([parts[:2], parts[2:]])


def _frame(
    photo: np.ndarray,
    mask: np.ndarray,
    face: Face | None,
    variation: Variation,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a random square around the face from photo and mask, and the landmarks in it.

    It is rotated half of the time. The landmarks are `[5, 2]`, or `[0, 2]` without any.
    """
    height, width = photo.shape[:2]
    landmarks = np.empty((0, 2)) if face is None or face.landmarks is None else face.landmarks
    if face is None:
        side = min(height, width) / MARGINS[1]
        face = Face(((width - side) / 2, (height - side) / 2, side, side), None, 0.0)
    margin = rng.uniform(*MARGINS)
    shift, angle = rng.uniform(-variation.shift, variation.shift, 2) * face.side, 0.0
    if rng.random() < 0.5:
        angle = rng.uniform(-variation.rotation, variation.rotation)
    left, top, box_width, box_height = face.box
    shifted = Face((left + shift[0], top + shift[1], box_width, box_height), None, 0.0)
    left, top, side = face_square((width, height), shifted, margin)
    if not angle:
        window = slice(top, top + side), slice(left, left + side)
        crops = np.ascontiguousarray(photo[window]), np.ascontiguousarray(mask[window])
        return *crops, landmarks - [left, top]
    transform = cv2.getRotationMatrix2D(face.centre, angle, 1.0)
    transform[:, 2] -= left, top
    size, border_mode = (side, side), cv2.BORDER_REFLECT_101
    return (
        cv2.warpAffine(photo, transform, size, flags=cv2.INTER_CUBIC, borderMode=border_mode),
        cv2.warpAffine(mask, transform, size, flags=cv2.INTER_NEAREST, borderMode=border_mode),
        landmarks @ transform[:, :2].T + transform[:, 2],
    )
