"""Find faces that the model cannot judge reliably: cut, small, dark or blurred ones."""

from __future__ import annotations

import numpy as np
from PIL import Image

if __package__:
    from .faces import Face
    from .photos import RESAMPLING
else:
    from faces import Face
    from photos import RESAMPLING

SIDE = 64  # px at which light and blur are measured; a face with fewer is too small anyway

# All three limits were measured with YuNet on 10 sets of photos, 50 to 250 of each. The effect of
# each fault was measured on 40 real and 40 fake photos with the network of November 2026, whose AUC
# on the unchanged photos is 0.83.

# Share of a face's box that may lie outside the picture. If photos are cropped from the top, those
# that lost a tenth of the box are marked; each further tenth moves the log-odds by 0.2 towards
# real. This marks 1 % of web photos and 13 % of photographers' portraits, which do cut foreheads.
# Pictures smaller than the box were cropped to the face, as most photos of DFDC, UTKFace and LFW
# are. The network was trained on such photos; 16 to 33 % outside is usual there, and 0 to 2 % of
# them are marked.
OUTSIDE, OUTSIDE_OF_CROP = 0.1, 0.6

# Level, 0 to 255, that a fiftieth of the face must reach in its brightest channel. The AUC is 0.78
# at a level of 114, 0.70 at 57, 0.60 at 41 and no better than chance at 27. The darkest face of
# UTKFace, with faces of all colours, reaches 134, and that of the web photos 115; 2 % of DFDC's
# clips are marked.
LIGHT = 50

# See `_sharpness`. The AUC is 0.76 at a sharpness of 0.38, 0.67 at 0.31 (Gaussian blur with a sigma
# of 1/64 of the face) and no better than chance at 0.25. This marks 0 to 2 % of web photos,
# photographers' portraits, DFDC, LFW and the dataset, 4 % of RMFD and 10 % of UTKFace (many are
# enlarged).
SHARPNESS = 0.36


def find_reason(photo: Image.Image, face: Face) -> str | None:
    """Return why a face gets no verdict, as a key of `REASONS`; `None` if it may get one.

    Args:
        photo: the RGB photo that the face was found in.
        face: as `FaceFinder.find` returns it.
    """
    if _is_cut(photo.size, face):
        return "cut"
    if face.too_small:
        return "too_small"
    pixels = _pixels(photo, face)
    if np.percentile(pixels.max(axis=2), 98) < LIGHT:
        return "too_dark"
    return "blurred" if _sharpness(pixels) < SHARPNESS else None


def _is_cut(size: tuple[int, int], face: Face) -> bool:
    points = face.landmarks
    if points is not None and not ((points >= 0) & (points < size)).all():
        return True
    left, top, right, bottom = _inside(size, face)
    inside = max(0.0, right - left) * max(0.0, bottom - top)
    allowed = OUTSIDE_OF_CROP if face.side >= max(size) else OUTSIDE
    return inside < (1 - allowed) * face.box[2] * face.box[3]


def _inside(size: tuple[int, int], face: Face) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the part of a face's box that is in the photo."""
    left, top, width, height = face.box
    return max(0.0, left), max(0.0, top), min(size[0], left + width), min(size[1], top + height)


def _pixels(photo: Image.Image, face: Face) -> np.ndarray:
    """Return a face's box as `float32` RGB `[SIDE, SIDE, 3]`, 0 to 255."""
    small = photo.resize((SIDE, SIDE), RESAMPLING, box=_inside(photo.size, face), reducing_gap=3)
    return np.asarray(small, np.float32)


def _sharpness(pixels: np.ndarray) -> float:
    """Return the detail lost by halving a face, relative to that lost by halving it again.

    It is about 0.6 for a sharp face and 0.3 for one without detail at `SIDE` px. As a ratio, it
    depends neither on the light nor on the skin.
    """
    grey = Image.fromarray(pixels.mean(axis=2))
    fine, half = _detail(grey)
    coarse, _ = _detail(half)
    return fine / (coarse + 0.5)  # half a level, so that noise is not taken for detail


def _detail(picture: Image.Image) -> tuple[float, Image.Image]:
    """Return the standard deviation of what halving a picture loses, and the halved picture."""
    half = picture.resize((picture.width // 2, picture.height // 2), RESAMPLING)
    lost = np.asarray(picture) - np.asarray(half.resize(picture.size, RESAMPLING))
    return float(lost.std()), half
