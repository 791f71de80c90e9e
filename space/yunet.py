"""The face finder YuNet (Wu et al. 2023, https://doi.org/10.1007/s11633-023-1423-y)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

if __package__:
    from .finder import (
        SEARCH_GAP,
        SURE_SCORE,
        Face,
        FaceFinder,
        brightened,
        distinct,
        wrapped,
    )
    from .photos import RESAMPLING
    from .yunet_networks import Networks
else:
    from finder import (
        SEARCH_GAP,
        SURE_SCORE,
        Face,
        FaceFinder,
        brightened,
        distinct,
        wrapped,
    )
    from photos import RESAMPLING
    from yunet_networks import Networks

# YuNet's threshold at the second look. The faces of all 1,741 photos of the dataset pass it, and so
# does something in 7 of 248 pictures without faces (29 photos; these turned, enlarged and cropped;
# scrambled ones and noise). At 0.7, that would be 15 pictures; at 0.85 none, but 13 % fewer of the
# faces behind sunglasses and a mask would pass.
FACE_SCORE = 0.8

# The second look: an upright square around the face, scaled so that the face has a size at which
# YuNet's landmarks follow a tilted head: of 15 degrees they show 3 at 100 px, and 11 at 200 px.
LOOK_FACE = 240  # px, longer side of the face's box
LOOK_SIDE = 384  # px
TURN_GAIN = 0.03  # by which a turned look must beat the upright one
GLANCE = 0.5  # scale of the picture that tells whether it might
LOOK_TILT = 10.0  # degrees: a head that is tilted by more is levelled and looked at again,
LOOKS = 3  # times at most, as the landmarks show less than the whole tilt


class YuNet(FaceFinder):
    """Finds faces with the network YuNet, in two looks.

    The first is at copies of the whole photo, with a low threshold. The second is at each candidate
    alone, with the face always at the same size and turned until it is upright: YuNet also finds
    turned faces, but gives them upright landmarks, so only its score tells which way is up.
    """

    name = "YuNet"

    def __init__(self, path: Path, notice: str, threads: int | None = None) -> None:
        """Load the network.

        Args:
            path: the ONNX file, which OpenCV runs, or a `.tflite` file, which LiteRT runs.
            notice: see `FaceFinder`.
            threads: that LiteRT may use; by default one per core, at most 4.

        Raises:
            FaceFinderError: the file is missing or holds no YuNet network.
        """
        super().__init__(notice)
        self._networks = Networks(path, threads)

    def _rows(self, picture: np.ndarray) -> np.ndarray:
        """Return `float32` `[faces, 15]` for an RGB picture: box, landmarks, score."""
        with self._lock:
            return self._networks.rows(picture)

    def _detect(self, picture: np.ndarray) -> list[Face]:
        return [
            Face(tuple(row[:4].tolist()), row[4:14].reshape(5, 2), float(row[14]))
            for row in self._rows(picture)
        ]

    def _confirm(self, photo: Image.Image, candidates: list[Face], brighten: bool) -> list[Face]:
        faces = [
            self._second_look(_View(photo, candidate, brighten))
            if candidate.landmarks is None
            else candidate
            for candidate in candidates
        ]
        return distinct([face for face in faces if face and face.confidence >= FACE_SCORE])

    def _second_look(self, view: _View) -> Face | None:
        """Return the face in the middle of a view, looked at with its head upright."""
        angle, face = 0.0, self._look(view, 0.0)
        if face is None or face.confidence < SURE_SCORE:
            for turn in (90.0, 180.0, 270.0):
                # Mostly in vain: a small picture tells in a quarter of the time whether to look.
                small = self._look(view, turn, GLANCE)
                if small is None or (face and small.confidence < face.confidence):
                    continue
                turned = self._look(view, turn)
                if turned and (face is None or turned.confidence > face.confidence + TURN_GAIN):
                    angle, face = turn, turned
        for _ in range(LOOKS):
            if face is None or abs(wrapped(face.roll - angle)) < LOOK_TILT:
                break
            levelled = self._look(view, face.roll)
            if levelled is None or levelled.confidence < face.confidence - TURN_GAIN:
                break
            angle, face = face.roll, levelled
        return face

    def _look(self, view: _View, angle: float, scale: float = 1.0) -> Face | None:
        """Return the face with the highest score in the middle of a view.

        The view is scaled, and turned counterclockwise by `angle` degrees.
        """
        picture, to_photo = view.turned(angle, scale)
        rows = self._rows(picture)
        rows[:, :14] /= scale
        centres = rows[:, :2] + rows[:, 2:4] / 2
        distances = np.linalg.norm(centres - LOOK_SIDE / 2, axis=1) / LOOK_FACE
        sizes = rows[:, 2:4].max(axis=1, initial=0) / LOOK_FACE
        rows = rows[(distances < 0.4) & (sizes > 0.5) & (sizes < 2)]
        if not len(rows):
            return None
        row = rows[rows[:, 14].argmax()]
        points = np.concatenate([row[:2] + row[2:4] / 2, row[4:14]]).reshape(6, 2)
        (x, y), *landmarks = points @ to_photo[:, :2].T + to_photo[:, 2]
        width, height = row[2:4] / view.scale
        landmarks = np.array(landmarks, np.float32)
        across, down = np.abs(landmarks[1] - landmarks[0])
        if down > across:  # the head lies on its side
            width, height = height, width
        box = tuple(float(value) for value in (x - width / 2, y - height / 2, width, height))
        return Face(box, landmarks, float(row[14]))


class _View:
    """The surroundings of a face in a photo, to be turned and scaled.

    Attributes:
        scale: px per px of the photo, for pictures in which the face is `LOOK_FACE` px long.
    """

    def __init__(self, photo: Image.Image, face: Face, brighten: bool) -> None:
        self.scale = LOOK_FACE / face.side
        reach = LOOK_SIDE / math.sqrt(2) / self.scale + 1  # px of the photo that any turn touches
        x, y = face.centre
        box = (
            max(0, math.floor(x - reach)),
            max(0, math.floor(y - reach)),
            min(photo.width, math.ceil(x + reach)),
            min(photo.height, math.ceil(y + reach)),
        )
        part = photo.crop(box)
        if self.scale < 0.5:  # shrinking it further would alias
            size = tuple(max(1, round(side * 2 * self.scale)) for side in part.size)
            part = part.resize(size, RESAMPLING, reducing_gap=SEARCH_GAP)
        self._picture = np.asarray(part)
        # From px of the photo to px of the picture.
        self._ratio = np.array([part.width / (box[2] - box[0]), part.height / (box[3] - box[1])])
        self._corner = np.array(box[:2])
        self._middle = (np.array([x, y]) - self._corner) * self._ratio
        if brighten:
            self._picture = brightened(self._picture, blur=4 * self._ratio[0] / self.scale)

    def turned(self, angle: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the view turned counterclockwise, and the way back to the photo.

        Args:
            angle: in degrees.
            scale: of the picture, 1 for `LOOK_SIDE`.

        Returns:
            RGB `[side, side, 3]`, and the `[2, 3]` matrix from px of the picture at scale 1 to px
            of the photo.
        """
        import cv2

        ratio = float(self._ratio.mean())
        matrix = cv2.getRotationMatrix2D(tuple(self._middle), angle, self.scale / ratio)
        matrix[:, 2] += LOOK_SIDE / 2 - self._middle
        side = round(scale * LOOK_SIDE)
        picture = cv2.warpAffine(
            self._picture, scale * matrix, (side, side), borderMode=cv2.BORDER_REPLICATE
        )
        back = cv2.invertAffineTransform(matrix) / self._ratio[:, None]
        back[:, 2] += self._corner
        return picture, back
