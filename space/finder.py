"""What every face finder shares: a face, and how a photo is searched for faces.

OpenCV is imported by the functions that need it, not with the module.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

if __package__:
    from .photos import RESAMPLING
else:
    from photos import RESAMPLING

# Pillow's `reducing_gap` for the search: Pillow averages whole blocks of px as far as possible and
# resamples the rest. From 2000 to 554 px, that takes a third of the time of the usual 2.
SEARCH_GAP = 1.0
# Copies of a photo that are searched, finest first: the longer side of a 4:3 photo, in px. YuNet
# detects faces of 20 to 400 px in its input, so no single copy would do. Of faces pasted into a
# scene, 20 px large in a copy of 1280 px, it finds 69 % if that is the finest copy, 92 % with 1920.
SIDES = (1920, 640, 320)
COARSE_SIDES = SIDES[1:]  # of all attempts but the second
# Small photos are enlarged for their small faces: of those with 20 px in 300 x 200, 94 % are found.
MAX_ENLARGEMENT, ENLARGED_SIDE = 2.0, 1280
# A face of at least this share of the photo's shorter side is its subject. Coarse copies are enough
# then: finer ones would add only faces in the background, of a tenth of its size.
SUBJECT = 0.2
MIN_STEP = 1.3  # ratio of the scales of two copies; closer ones show the same
AS_IT_IS = 0.9  # from this scale on, a photo is not worth resizing
# px: a narrower copy, of a strip, shows no face, and the networks pad it to many times its size.
MIN_SIDE_OF_COPY = 20
MAX_SIDE_IN_COPY = 320  # px: a larger box in any copy but the coarsest is a part of a face
MAX_CANDIDATES = 200
OVERLAP = 0.4  # share of the smaller box: of two boxes that overlap more, the weaker is dropped
SURE_SCORE = 0.92  # turned faces hardly reach it
# A face that is this large, confident, upright and far from the copy's border at first sight needs
# no confirmation. Of faces that are turned by 25 degrees, 8 % pass for such.
SURE_SIDE, SURE_TILT, SURE_ROOM = 150, 6.0, 0.03  # px of the copy, degrees, share of the side
MIN_FACE = 64  # px: a smaller face is judged, but too small to trust


class FaceFinderError(Exception):
    """A face finder that cannot be loaded; the text says in one sentence what was found and what to
    do."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo. Coordinates are px of the photo, from its top left corner.

    Attributes:
        box: left, top, width and height on YuNet's scale, from the forehead to the chin. It may
            extend beyond the photo, as the size of the whole face decides the crop. For a head on
            its side, width and height are swapped.
        landmarks: `float32` array `[5, 2]` of x and y: right eye, left eye, tip of the nose, right
            and left corner of the mouth, all from the person's point of view. In an upright photo
            the right eye is the one on the left of the image. `None` from the Haar cascade.
        confidence: 0 to 1, of the finder; not comparable between the two finders.
        turn: clockwise rotation of the head in degrees, in steps of 90. Landmarks, where there are
            any, give it more precisely.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray | None
    confidence: float
    turn: int = 0

    @property
    def roll(self) -> float:
        """Degrees clockwise by which the line of the eyes is tilted, -180 to 180."""
        if self.landmarks is None:
            return wrapped(self.turn)
        x, y = self.landmarks[1] - self.landmarks[0]
        return math.degrees(math.atan2(y, x))

    @property
    def side(self) -> float:
        """Longer side of the box in px."""
        return max(self.box[2:])

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, x and y in px."""
        left, top, width, height = self.box
        return left + width / 2, top + height / 2

    def scaled(self, factor: float) -> Face:
        """Return the same face in the photo resized by a factor."""
        landmarks = None if self.landmarks is None else self.landmarks * np.float32(factor)
        box = tuple(value * factor for value in self.box)
        return replace(self, box=box, landmarks=landmarks)

    @property
    def too_small(self) -> bool:
        """Whether the face has too few pixels for its verdict to be trusted."""
        return self.side < MIN_FACE


class FaceFinder:
    """Finds the faces in a photo. Safe to use from several threads.

    Attributes:
        name: `"YuNet"` or `"Haar cascade"`, for people.
        notice: says which finder is in use, and why if it is not the better one.
    """

    name: str
    sides: tuple[int, ...] = SIDES
    coarse_sides: tuple[int, ...] = COARSE_SIDES

    def __init__(self, notice: str) -> None:
        self.notice = notice
        self._lock = threading.Lock()

    def find(self, photo: Image.Image) -> list[Face]:
        """Find the faces in a photo of any size and shape.

        If no face fills much of the photo, finer copies are searched (for small faces), for which
        small photos are enlarged. If there is no face at all, the photo is searched smoothed and
        brightened (for noise and darkness), and then turned by 90, 180 and 270 degrees (for phones
        that do not record how they were held).

        Args:
            photo: RGB, as `open_photo` returns it.

        Returns:
            The faces, largest first; an empty list where none was found.
        """
        photo = photo if photo.mode == "RGB" else photo.convert("RGB")
        coarse = _scales(photo, self.coarse_sides, enlarge=False)
        fine = _scales(photo, self.sides, enlarge=True)
        faces = self._look_for(photo, coarse)
        largest = max((face.side for face in faces), default=0)
        if largest < SUBJECT * min(photo.size) and fine != coarse:
            faces = self._look_for(photo, fine) or faces
        coarse = _scales(photo, self.coarse_sides, enlarge=True)
        faces = faces or self._look_for(photo, coarse, brighten=True)
        faces = faces or self._look_for(photo, coarse, turns=(90, 180, 270))
        return sorted(faces, key=lambda face: -face.side)

    def _look_for(
        self,
        photo: Image.Image,
        scales: list[float],
        turns: tuple[int, ...] = (0,),
        brighten: bool = False,
    ) -> list[Face]:
        """Return the faces found in copies of the photo, turned counterclockwise by `turns`."""
        candidates = distinct(self._candidates(photo, scales, turns, brighten))
        return self._confirm(photo, candidates[:MAX_CANDIDATES], brighten)

    def _candidates(
        self, photo: Image.Image, scales: list[float], turns: tuple[int, ...], brighten: bool
    ) -> list[Face]:
        """Return candidates from copies of the photo; those with landmarks need no confirmation."""
        candidates = []
        copies = _copies(photo, scales)
        for number, (copy, scale) in enumerate(copies, start=1):
            copy = brightened(copy, blur=3) if brighten else copy
            largest = MAX_SIDE_IN_COPY if number < len(copies) else math.inf
            for turn in turns:
                for face in self._detect(np.rot90(copy, turn // 90)):
                    if face.side <= largest:
                        box = _turned_back(face.box, turn, copy.shape[1], copy.shape[0])
                        box = tuple(value / scale for value in box)
                        sure = turn == 0 and not brighten and _is_sure(face, copy.shape)
                        landmarks = face.landmarks / np.float32(scale) if sure else None
                        candidates.append(Face(box, landmarks, face.confidence, turn))
        return candidates

    def _detect(self, picture: np.ndarray) -> list[Face]:
        """Return candidates for faces in an RGB picture, in its own px."""
        raise NotImplementedError

    def _confirm(self, photo: Image.Image, candidates: list[Face], brighten: bool) -> list[Face]:
        """Return the faces among the candidates."""
        raise NotImplementedError


def _scales(photo: Image.Image, sides: tuple[int, ...], *, enlarge: bool) -> list[float]:
    """Return the scales of the copies that are searched, finest first.

    Args:
        photo: RGB.
        sides: of copies of a 4:3 photo; others get as many pixels, so that the faces of a wide
            photo stay as large as those of a square one.
        enlarge: whether a small photo is enlarged.
    """
    full = math.sqrt(photo.width * photo.height * 4 / 3)
    finest = max(1.0, min(MAX_ENLARGEMENT, ENLARGED_SIDE / full)) if enlarge else 1.0
    scales: list[float] = []
    for side in sorted(sides):
        scale = min(side / full, finest)
        if not scales or scale > MIN_STEP * scales[-1]:
            scales.append(1.0 if AS_IT_IS < scale < 1 else scale)
    narrowest = MIN_SIDE_OF_COPY / min(photo.size)
    return [scale for scale in reversed(scales) if scale >= narrowest]


def _copies(photo: Image.Image, scales: list[float]) -> list[tuple[np.ndarray, float]]:
    """Return RGB copies of a photo with their scale; each is made from the one before."""
    copies, source = [], photo
    for scale in scales:
        size = tuple(max(1, round(side * scale)) for side in photo.size)
        if size != source.size:
            source = source.resize(size, RESAMPLING, reducing_gap=SEARCH_GAP)
        copies.append((np.asarray(source), scale))
    return copies


def _is_sure(face: Face, shape: tuple[int, ...]) -> bool:
    """Return whether a face, in px of a copy of a given shape, needs no confirmation.

    A face at the border does: its box ends there, not where the face does.
    """
    left, top, width, height = face.box
    room = min(left, top, shape[1] - left - width, shape[0] - top - height)
    return (
        face.landmarks is not None
        and face.side >= SURE_SIDE
        and face.confidence >= SURE_SCORE
        and abs(face.roll) <= SURE_TILT
        and room >= SURE_ROOM * face.side
    )


def brightened(picture: np.ndarray, blur: float) -> np.ndarray:
    """Return an RGB picture smoothed over `blur` px, then scaled until its highlights are white.

    Of faces darkened to 8 % with noise of 4 levels, YuNet finds 40 %, and 99 % after this; CLAHE
    and gamma curves amplify the noise as well and help little.
    """
    import cv2

    smooth = cv2.GaussianBlur(picture, (0, 0), blur)
    white = max(1.0, float(np.percentile(smooth.max(axis=2), 99)))
    return cv2.convertScaleAbs(smooth, alpha=255 / white)


def _turned_back(box: tuple, turn: int, width: int, height: int) -> tuple:
    """Return a box of a picture turned counterclockwise, in px of the picture before the turn.

    Args:
        box: left, top, width and height in the turned picture.
        turn: degrees, in steps of 90.
        width: of the picture before the turn.
        height: of the picture before the turn.
    """
    left, top, box_width, box_height = box
    if turn == 90:
        return width - top - box_height, left, box_height, box_width
    if turn == 180:
        return width - left - box_width, height - top - box_height, box_width, box_height
    if turn == 270:
        return top, height - left - box_width, box_height, box_width
    return box


def distinct(faces: list[Face]) -> list[Face]:
    """Return the faces, most confident first, without those that overlap a more confident one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.confidence):
        if all(_overlap(face.box, stronger.box) <= OVERLAP for stronger in kept):
            kept.append(face)
    return kept


def _overlap(first: tuple, second: tuple) -> float:
    """Return the share of the smaller box that lies in the other one."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    smaller = min(first[2] * first[3], second[2] * second[3])
    return max(0.0, width) * max(0.0, height) / smaller


def wrapped(degrees: float) -> float:
    """Return an angle wrapped to -180 to 180 degrees."""
    return (degrees + 180) % 360 - 180
