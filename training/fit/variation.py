"""Vary the photos of a pair alike: framing, light, blur, noise and compression, anew every time.

A share of the pairs may be shown by eyes, nose and mouth alone, each enlarged to a quarter of the
picture.
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

MARGINS = (1.0, 1.5)  # of the crop around the face: wider than any that is served
PART_SIDES = (0.304, 0.475)  # of the squares around parts, in units of the box's longer side
PART_SHIFT = 0.05  # deviation of their middles, in units of their side
MIRRORED = [1, 0, 2, 4, 3]  # landmarks in a mirror: each eye is where the other was
UNKNOWN = -1.0  # in a mask: whether this place was changed is not known


@dataclass(frozen=True)
class Variation:
    """How far the photos of a pair are varied; see the fields of `TrainConfig` by the same name."""

    rotation: float
    shift: float
    flip: bool
    brightness: float
    channel_shift: float
    degrade: float
    parts: float = 0.0

    @classmethod
    def from_config(cls, config: TrainConfig) -> Variation:
        """Return what a run's settings say."""
        return cls(**{setting.name: getattr(config, setting.name) for setting in fields(cls)})


def vary(
    photo: np.ndarray,
    mask: np.ndarray,
    face: Face | None,
    variation: Variation,
    size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Frame a photo at random around its face and vary its light and quality.

    Args:
        photo: `uint8` `[height, width, 3]`, RGB.
        mask: `float32` `[height, width]`.
        face: in the photo; without one the whole photo counts as the face. Without landmarks it is
            never shown by its parts.
        variation: how far.
        size: side of the result in px.
        rng: decides everything; the same state gives the same variation.

    Returns:
        Photo `float32` `[size, size, 3]` and mask `float32` `[size / 16, size / 16]`.
    """
    photo, mask, marks = _frame(photo, mask, face, variation, rng)
    spoiled, light, shifts = (
        rng.random() < variation.degrade,
        rng.uniform(-1, 1),
        rng.uniform(-1, 1, 3),
    )
    flipped = variation.flip and rng.random() < 0.5
    if spoiled:
        photo = degrade(photo, rng)
    if flipped:
        photo, mask = photo[:, ::-1], mask[:, ::-1]
        marks = _mirrored(marks, photo.shape[1])
    places = size // EVIDENCE_STEP
    if len(marks) and rng.random() < variation.parts:
        squares = _part_squares(marks, face, photo.shape[0], rng)
        pixels = _enlarged(photo, squares, size)
        grid = _tiles(mask, squares, places)
    else:
        pixels = model_input(Image.fromarray(photo), size)
        grid = cv2.resize(mask, (places, places), interpolation=cv2.INTER_AREA)
    offset = 255 * variation.brightness * light + variation.channel_shift * shifts
    pixels = np.clip(pixels + offset.astype(np.float32), 0, 255)
    grid[grid < 0] = UNKNOWN
    return pixels, grid


def _mirrored(marks: np.ndarray, width: int) -> np.ndarray:
    """Return landmarks in the mirror image of a picture so many px wide."""
    return [width, 0] + [-1, 1] * marks[MIRRORED[: len(marks)]]


def _part_squares(
    marks: np.ndarray, face: Face, size: int, rng: np.random.Generator
) -> list[tuple[slice, slice]]:
    """Return rows and columns of the squares around the eye on the left, the other one, the nose
    and the mouth: all of one size, each a little off, and inside a picture of `size` px."""
    part = face.side * rng.uniform(*PART_SIDES)
    left, right, nose, *mouth = marks + rng.normal(0, PART_SHIFT * part, marks.shape)
    side = min(max(1, round(part)), size)
    middles = np.stack([left, right, nose, np.mean(mouth, axis=0)])
    corners = np.rint(middles - side / 2).astype(int).clip(0, size - side)
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
    """Cut a random square around the face out of photo and mask, turned a little half of the
    time; return the landmarks in it as well, `[5, 2]` or none."""
    height, width = photo.shape[:2]
    marks = np.empty((0, 2)) if face is None or face.landmarks is None else face.landmarks
    if face is None:
        side = min(height, width) / MARGINS[1]
        face = Face(((width - side) / 2, (height - side) / 2, side, side), None, 0.0)
    margin = rng.uniform(*MARGINS)
    moved, angle = rng.uniform(-variation.shift, variation.shift, 2) * face.side, 0.0
    if rng.random() < 0.5:
        angle = rng.uniform(-variation.rotation, variation.rotation)
    left, top, box_width, box_height = face.box
    shifted = Face((left + moved[0], top + moved[1], box_width, box_height), None, 0.0)
    left, top, side = face_square((width, height), shifted, margin)
    if not angle:
        window = slice(top, top + side), slice(left, left + side)
        cut = np.ascontiguousarray(photo[window]), np.ascontiguousarray(mask[window])
        return *cut, marks - [left, top]
    turn = cv2.getRotationMatrix2D(face.centre, angle, 1.0)
    turn[:, 2] -= left, top
    size, border = (side, side), cv2.BORDER_REFLECT_101
    return (
        cv2.warpAffine(photo, turn, size, flags=cv2.INTER_CUBIC, borderMode=border),
        cv2.warpAffine(mask, turn, size, flags=cv2.INTER_NEAREST, borderMode=border),
        marks @ turn[:, :2].T + turn[:, 2],
    )
