"""Cut faces out of photos as the training photos show them: square, upright, with a margin."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

if __package__:
    from .finder import Face
    from .photos import RESAMPLING, resize_square
else:
    from finder import Face
    from photos import RESAMPLING, resize_square

# Degrees of tilt that a crop keeps; 87 % of the training photos are tilted by less.
MAX_TILT = 15.0
RISE = 0.1  # see `face_square`

QUARTERS = {
    1: Image.Transpose.ROTATE_90,
    2: Image.Transpose.ROTATE_180,
    3: Image.Transpose.ROTATE_270,
}


def face_square(size: tuple[int, int], face: Face, margin: float) -> tuple[int, int, int]:
    """Return the square that `crop_face` cuts out, before it levels the head.

    In the training photos, the face lies a little below the centre, which leaves more room for hair
    than for the neck: the centre of YuNet's box lies `RISE` x the box's longer side below the
    photo's. The square does the same.

    Args:
        size: width and height of the photo in px.
        face: found in it.
        margin: side of the square divided by the longer side of the face's box.

    Returns:
        Left, top and side in px. The square lies inside the photo: it is moved inwards where it
        would cross the border, and is no larger than the photo.
    """
    side = min(max(1, round(margin * face.side)), *size)
    x, y = face.centre
    up = math.radians(face.roll)
    x, y = x + RISE * face.side * math.sin(up), y - RISE * face.side * math.cos(up)
    left, top = (
        min(max(0, round(middle - side / 2)), full - side)
        for middle, full in zip((x, y), size, strict=True)
    )
    return left, top, side


def crop_face(
    photo: Image.Image, face: Face, margin: float, size: int | None = None
) -> Image.Image:
    """Cut a face out of a photo as the training photos show it: square, upright, with a margin.

    Heads tilted by up to `MAX_TILT` degrees stay tilted, as in the training photos. Heads on their
    side or upside down get quarter turns. Neither is resampled. Other heads are levelled at full
    resolution; corners from outside the photo are filled with its mirror image.

    Args:
        photo: RGB, the one that the face was found in.
        face: as `FaceFinder.find` returns it.
        margin: side of the crop divided by the longer side of the face's box.
        size: side of the crop in px; without it the crop keeps the photo's resolution.

    Returns:
        A square RGB image.
    """
    left, top, side = face_square(photo.size, face, margin)
    quarters = round(face.roll / 90)
    tilt = face.roll - 90 * quarters
    if abs(tilt) <= MAX_TILT:
        crop = photo.crop((left, top, left + side, top + side))
        if quarters % 4:
            crop = crop.transpose(QUARTERS[quarters % 4])
    else:
        crop = _levelled(photo, (left + side / 2, top + side / 2), side, face.roll)
    return crop if size is None else resize_square(crop, size)


def crop_turn(face: Face) -> float:
    """Return the clockwise rotation, in degrees, of the square that `crop_face` cuts out."""
    quarters = round(face.roll / 90)
    levelled = abs(face.roll - 90 * quarters) > MAX_TILT
    return face.roll if levelled else 90.0 * quarters


def crop_landmarks(size: tuple[int, int], face: Face, margin: float) -> np.ndarray | None:
    """Return where a face's landmarks lie in the crop that `crop_face` makes of it.

    Args:
        size: width and height of the photo in px.
        face: found in it.
        margin: as for `crop_face`.

    Returns:
        `float32` array `[5, 2]` of x and y as shares of the crop's side, the eye on the left first;
        `None` where the face has no landmarks.
    """
    if face.landmarks is None:
        return None
    left, top, side = face_square(size, face, margin)
    turn = math.radians(crop_turn(face))
    offsets = (face.landmarks - [left + side / 2, top + side / 2]) / side
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return (offsets @ rotation + 0.5).astype(np.float32)


def _levelled(
    photo: Image.Image, middle: tuple[float, float], side: int, roll: float
) -> Image.Image:
    """Return a square of the photo rotated counterclockwise by `roll` degrees about its centre."""
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    reach = (
        math.ceil(side * (abs(cos) + abs(sin)) / 2) + 2
    )  # px of the photo that the square may touch
    left, top = (math.floor(value) - reach for value in middle)
    region = _mirrored(photo, left, top, 2 * reach + 1)
    x, y = middle[0] - left, middle[1] - top
    half = side / 2
    matrix = (cos, -sin, x - half * (cos - sin), sin, cos, y - half * (sin + cos))
    return region.transform((side, side), Image.Transform.AFFINE, matrix, RESAMPLING)


def _mirrored(photo: Image.Image, left: int, top: int, side: int) -> Image.Image:
    """Return a square of a photo; what lies outside is filled with the photo's mirror image."""
    right, bottom = left + side, top + side
    inside = (max(0, left), max(0, top), min(photo.width, right), min(photo.height, bottom))
    part = photo.crop(inside)
    if part.size == (side, side):
        return part
    rows, columns = (inside[1] - top, bottom - inside[3]), (inside[0] - left, right - inside[2])
    return Image.fromarray(np.pad(np.asarray(part), (rows, columns, (0, 0)), mode="symmetric"))
