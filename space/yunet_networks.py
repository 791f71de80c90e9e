"""The network YuNet in either of its two files: ONNX, run by OpenCV, or LiteRT, which is faster.

Both return the same rows as OpenCV's `FaceDetectorYN`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

if __package__:
    from .finder import FaceFinderError
else:
    from finder import FaceFinderError

LITERT_SUFFIX = ".tflite"
STRIDES = (8, 16, 32)
OUTPUTS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES)
CANDIDATE_SCORE = 0.3  # YuNet's score from which a face is a row at all
OVERLAP = 0.3  # intersection over union from which the weaker of two boxes is dropped
SIZE_STEP = 64  # px: pictures are padded with black to multiples of that, so that fewer sizes occur
KEPT_SIDE, KEPT_NETWORKS = 640, 12  # px; see `Networks._for_size`

# A network for one size: from BGR `uint8` `[height, width, 3]` to `float32` `[faces, 15]`.
Network = Callable[[np.ndarray], np.ndarray]


class Networks:
    """YuNet for pictures of any size. Not safe to use from several threads at once."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load the network.

        Args:
            path: the ONNX file, or a `.tflite` file.
            threads: that LiteRT may use; by default one per core, at most 4.

        Raises:
            FaceFinderError: the file is missing or holds no YuNet network.
        """
        import cv2

        advice = f"name YuNet's ONNX file, or what it was converted to ({LITERT_SUFFIX})."
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FaceFinderError(
                f"The face finder {path} cannot be read ({error.strerror}): {advice}"
            ) from error
        is_litert = path.suffix.lower() == LITERT_SUFFIX
        outputs = _litert_outputs(content) if is_litert else _onnx_outputs(content)
        if outputs is None:
            raise FaceFinderError(f"The face finder {path} is no YuNet network: {advice}")
        if not outputs >= set(OUTPUTS):
            raise FaceFinderError(f"The face finder {path} is another network: {advice}")
        self._content, self._is_litert = content, is_litert
        self._threads = threads or min(4, os.cpu_count() or 1)
        self._kept: dict[tuple[int, int] | None, tuple[tuple[int, int], Network]] = {}
        try:
            self.rows(np.zeros((SIZE_STEP, SIZE_STEP, 3), np.uint8))
        except (cv2.error, ValueError, RuntimeError) as error:
            raise FaceFinderError(f"The face finder {path} cannot be run: {advice}") from error

    def rows(self, picture: np.ndarray) -> np.ndarray:
        """Return the faces in a picture.

        Args:
            picture: RGB, `uint8` `[height, width, 3]`.

        Returns:
            `float32` `[faces, 15]`, highest score first: left, top, width and height of the box,
            x and y of the five landmarks, score; in px of the picture.
        """
        import cv2

        bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
        bottom, right = (-side % SIZE_STEP for side in picture.shape[:2])
        if bottom or right:
            bgr = cv2.copyMakeBorder(bgr, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
        return self._for_size(bgr.shape[1], bgr.shape[0])(bgr)

    def _for_size(self, width: int, height: int) -> Network:
        """Return the network for pictures of a size.

        Networks for small pictures are kept, as setting one up for another size takes longer than
        looking for faces. Of the networks for larger pictures, only the last is kept.
        """
        size = (width, height)
        key = size if max(size) <= KEPT_SIDE else None
        kept_size, network = self._kept.pop(key, (None, None))
        if network is None or kept_size != size:
            network = self._set_up(size)
        self._kept[key] = size, network  # at the end, as the most recently used
        if len(self._kept) > KEPT_NETWORKS:
            del self._kept[next(iter(self._kept))]
        return network

    def _set_up(self, size: tuple[int, int]) -> Network:
        if self._is_litert:
            return _with_litert(self._content, self._threads)
        return _with_opencv(self._content, size)


def decoded(outputs: Mapping[str, np.ndarray], width: int) -> np.ndarray:
    """Return the rows that OpenCV's `FaceDetectorYN` decodes from YuNet's outputs.

    Args:
        outputs: for each stride s, at the places of a grid of s px, row by row: `cls_s` and `obj_s`
            `[1, places, 1]`, `bbox_s` `[1, places, 4]` and `kps_s` `[1, places, 10]`.
        width: of the picture in px, a multiple of the largest stride.

    Returns:
        See `Networks.rows`.
    """
    import cv2

    rows = np.concatenate([_candidates(outputs, stride, width) for stride in STRIDES])
    boxes = rows[:, :4].astype(int)  # as OpenCV compares them
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), rows[:, 14].tolist(), 0.0, OVERLAP)
    return rows[np.asarray(kept, int)]


def _candidates(outputs: Mapping[str, np.ndarray], stride: int, width: int) -> np.ndarray:
    """Return the rows of one stride."""
    classes, objects, boxes, points = (
        outputs[f"{kind}_{stride}"][0] for kind in ("cls", "obj", "bbox", "kps")
    )
    scores = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
    places = np.flatnonzero(scores >= CANDIDATE_SCORE)
    corners = np.stack([places % (width // stride), places // (width // stride)], axis=1)
    corners = corners.astype(np.float32)
    sides = np.exp(boxes[places, 2:]) * stride
    left_top = (corners + boxes[places, :2]) * stride - sides / 2
    landmarks = (points[places] + np.tile(corners, 5)) * stride
    return np.hstack([left_top, sides, landmarks, scores[places, None]])


# OpenCV.


def _onnx_outputs(content: bytes) -> set[str] | None:
    """Return the names of an ONNX network's outputs; `None` if it is not an ONNX file."""
    import cv2

    try:
        network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    except cv2.error:
        return None
    return set(network.getUnconnectedOutLayersNames())


def _with_opencv(content: bytes, size: tuple[int, int]) -> Network:
    import cv2

    buffer, no_config = np.frombuffer(content, np.uint8), np.zeros(0, np.uint8)
    network = cv2.FaceDetectorYN.create("onnx", buffer, no_config, size, CANDIDATE_SCORE)

    def rows(bgr: np.ndarray) -> np.ndarray:
        faces = network.detect(bgr)[1]
        return np.zeros((0, 15), np.float32) if faces is None else faces

    return rows


# LiteRT.


def _litert_outputs(content: bytes) -> set[str] | None:
    """Return the names of a LiteRT graph's outputs; `None` if it is not a LiteRT file."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        signatures = Interpreter(model_content=content).get_signature_list()
    except (ValueError, RuntimeError):
        return None
    return {name for signature in signatures.values() for name in signature["outputs"]}


def _with_litert(content: bytes, threads: int) -> Network:
    from ai_edge_litert.interpreter import Interpreter

    # One interpreter per size, as it sets itself up for the size of its input.
    run = Interpreter(model_content=content, num_threads=threads).get_signature_runner()

    def rows(bgr: np.ndarray) -> np.ndarray:
        return decoded(run(image=bgr[None].astype(np.float32)), bgr.shape[1])

    return rows
