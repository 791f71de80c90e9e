"""Find the faces of a photo: `load_face_finder().find(open_photo("photo.jpg"))`.

YuNet finds the faces, or, where its file is not available, OpenCV's Haar cascade (Viola and Jones
2001). OpenCV is imported when a finder is loaded, as it turns and smooths pictures for both.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

if __package__:
    from .finder import Face, FaceFinder, FaceFinderError
    from .yunet import YuNet
    from .yunet_files import converted_yunet, fetch_yunet
else:
    from finder import Face, FaceFinder, FaceFinderError
    from yunet import YuNet
    from yunet_files import converted_yunet, fetch_yunet

__all__ = ["Face", "FaceFinder", "FaceFinderError", "HaarCascade", "load_face_finder"]

HERE = Path(__file__).parent
# Where a converted YuNet may lie: beside this code in a model repository, in `model/` in a Space.
MODEL_FOLDERS = (HERE, HERE / "model")

# The Haar cascade. Of OpenCV's frontal ones with hardly any false positives, this has the best
# recall. It needs some room around a face: of tightly cropped faces, it finds 91 % with a border
# and 41 % without.
HAAR_FILE = "haarcascade_frontalface_alt2.xml"
HAAR_SIDES = (1280, 640)  # px, of the second attempt and of the others
HAAR_BORDER = 0.15  # share of the shorter side
HAAR_NEIGHBOURS = 5
HAAR_WEIGHTS = (54.5, 58.0)  # the range of its weights, for the confidence
# 95 % of the faces that it finds have a higher weight, and none of its 20 false positives in 83
# pictures without faces.
HAAR_WEIGHT = 55.4
# Longer and shorter side of YuNet's box relative to the cascade's square: medians over 196 photos
# of the dataset in which both found the face. The centres agree to 0.2 %.
HAAR_LENGTH, HAAR_WIDTH = 1.07, 0.82


class HaarCascade(FaceFinder):
    """Finds upright frontal faces with OpenCV's Haar cascade, which comes with OpenCV."""

    name = "Haar cascade"
    sides = HAAR_SIDES[:1]  # the cascade scales the photo itself
    coarse_sides = HAAR_SIDES[1:]

    def __init__(self, notice: str) -> None:
        """Load the cascade.

        Args:
            notice: see `FaceFinder`.

        Raises:
            FaceFinderError: this OpenCV comes without the cascade.
        """
        import cv2

        super().__init__(notice)
        try:
            self._cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / HAAR_FILE))
            is_missing = self._cascade.empty()
        except AttributeError:  # OpenCV 5
            is_missing = True
        if is_missing:
            raise FaceFinderError(
                f"OpenCV {cv2.__version__} has no Haar cascade: install a 4.x version, or set "
                "FACE_DETECTOR to a copy of YuNet's ONNX file."
            )

    def _detect(self, picture: np.ndarray) -> list[Face]:
        import cv2

        grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
        border = round(HAAR_BORDER * min(grey.shape))
        grey = cv2.copyMakeBorder(grey, *[border] * 4, cv2.BORDER_REPLICATE)
        with self._lock:
            squares, _, weights = self._cascade.detectMultiScale3(
                grey, 1.1, HAAR_NEIGHBOURS, minSize=(24, 24), outputRejectLevels=True
            )
        return [
            _face_of_square(x - border, y - border, side, weight)
            for (x, y, side, _), weight in zip(squares, np.ravel(weights), strict=True)
            if weight >= HAAR_WEIGHT
        ]

    def _confirm(self, photo: Image.Image, candidates: list[Face], brighten: bool) -> list[Face]:
        return candidates


def load_face_finder(model: Path | None = None, *, threads: int | None = None) -> FaceFinder:
    """Load the best face finder available.

    That is the YuNet file that the environment variable `FACE_DETECTOR` names, ONNX or `.tflite`;
    else the `.tflite` file in the model's folder, the folder of this code or the bundled model's;
    else the ONNX file from the Hugging Face Hub, cached or downloaded; else the Haar cascade.

    Args:
        model: folder of the model in use.
        threads: that LiteRT may use; by default one per core, at most 4.

    Raises:
        FaceFinderError: the file of `FACE_DETECTOR` or of a model folder is missing or not a YuNet
            network, or OpenCV is missing.
    """
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise FaceFinderError(
            f"Faces cannot be found without OpenCV ({error}): install opencv-python-headless."
        ) from error
    path = os.environ.get("FACE_DETECTOR")
    if path:
        notice = f"Face finder in use: YuNet, from {Path(path).name}."
        return YuNet(Path(path), notice, threads)
    for folder in (*([model] if model else []), *MODEL_FOLDERS):
        converted = converted_yunet(folder)
        if converted:
            return YuNet(converted, "Face finder in use: YuNet, run by LiteRT.", threads)
    try:
        return YuNet(fetch_yunet(), "Face finder in use: YuNet.")
    except FaceFinderError as error:
        return HaarCascade(
            f"Face finder in use: Haar cascade, which misses turned and covered faces. {error}"
        )


def _face_of_square(x: float, y: float, side: float, weight: float) -> Face:
    """Return the face in a square of the Haar cascade, with a box on YuNet's scale."""
    width, height = HAAR_WIDTH * side, HAAR_LENGTH * side
    box = (x + (side - width) / 2, y + (side - height) / 2, width, height)
    lowest, highest = HAAR_WEIGHTS
    confidence = min(float(weight - lowest) / (highest - lowest), 1.0)
    return Face(tuple(float(value) for value in box), None, confidence)
