"""Judge photos: `load_bundled().judge("photo.jpg", load_face_finder())`, or from the shell
`python space/detector.py [--model MODEL] FILE... [--json]`.

A model folder holds `detector.tflite` (LiteRT, one graph with two outputs: class probabilities and
heatmap) and `detector.json`, the contract that `DetectorConfig` describes. The folder is the
bundled `space/model/`, any other, or a repository on the Hugging Face Hub.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image

if __package__:  # imported by the training code as `space.detector`
    from .contract import MODEL_FILE, DetectorConfig, Look, mean_probability
    from .crops import crop_face, crop_landmarks
    from .faces import Face, FaceFinder
    from .judgements import FaceCrop, Judgement, Prediction
    from .loading import download, load_graph
    from .photos import (
        MIN_SIDE,
        PhotoSource,
        crop_square,
        model_input,
        open_photo,
        open_reduced,
        resize_square,
    )
    from .quality import find_reason
else:  # run from this folder, as a Space does
    from contract import MODEL_FILE, DetectorConfig, Look, mean_probability
    from crops import crop_face, crop_landmarks
    from faces import Face, FaceFinder
    from judgements import FaceCrop, Judgement, Prediction
    from loading import download, load_graph
    from photos import (
        MIN_SIDE,
        PhotoSource,
        crop_square,
        model_input,
        open_photo,
        open_reduced,
        resize_square,
    )
    from quality import find_reason

BUNDLED = Path(__file__).with_name("model")
SHOWN_SIDE = 448  # px: side of a judged crop that is kept for display
BATCH = 8  # photos per call of the network; more do not fit the cache, and each takes longer


class Detector:
    """A model in memory. Safe to use from several threads, which take turns.

    Where the model's description says so, a score near a threshold is the mean over several looks
    at the face, mirrored and shifted: no verdict should depend on such a change.

    Attributes:
        config: its description.
        folder: holds its files.
        name: of the model, for people.
    """

    def __init__(
        self, folder: Path, name: str | None = None, *, threads: int | None = None
    ) -> None:
        """Load a model folder.

        Args:
            folder: holds `detector.tflite` and `detector.json`.
            name: of the model, for people; by default the folder's name.
            threads: number of threads per photo; by default one per core, at most 4, as more wait
                for each other longer than they work.

        Raises:
            DetectorError: a file is missing or damaged.
        """
        self.folder = folder = Path(folder)
        self.config = DetectorConfig.load(folder)
        self.name = name or folder.resolve().name
        threads = threads or min(4, os.cpu_count() or 1)
        self._judge = load_graph(folder / MODEL_FILE, self.config, threads)
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike,
        revision: str | None = None,
        *,
        threads: int | None = None,
    ) -> Detector:
        """Load a model from a folder or, where there is no such folder, from a Hub repository.

        Args:
            source: a folder, or `NAMESPACE/NAME` on the Hugging Face Hub.
            revision: branch, tag or commit of the repository; a full commit is the safe choice.
                A folder has none.
            threads: see `Detector`.

        Raises:
            DetectorError: the repository cannot be reached, or holds no model that this program can
                read.
        """
        if revision is None and os.path.isdir(source):
            return cls(Path(source), threads=threads)
        return cls(*download(str(source), revision), threads=threads)

    @overload
    def predict(self, photos: PhotoSource) -> Prediction: ...
    @overload
    def predict(self, photos: list | tuple) -> list[Prediction]: ...
    def predict(self, photos):
        """Judge one photo or several.

        Args:
            photos: a path, file content as `bytes`, a PIL image, a `uint8` array `[height, width,
                3]` in RGB order, or a list of these.

        Returns:
            A `Prediction`, or a list of them for a list.

        Raises:
            PhotoError: a photo cannot be judged.
        """
        if not isinstance(photos, list | tuple):
            return self.predict([photos])[0]
        predictions = []
        for start in range(0, len(photos), BATCH):
            predictions += self._predict(list(map(self._pixels, photos[start : start + BATCH])))
        return predictions

    def _pixels(self, photo: PhotoSource) -> np.ndarray:
        return model_input(open_photo(photo), self.config.input_size)

    def _predict(
        self, pixels: Sequence[np.ndarray], may_look_again: Sequence[bool] | None = None
    ) -> list[Prediction]:
        """Judge at most `BATCH` inputs.

        Args:
            pixels: of each input, as `model_input` returns them.
            may_look_again: whether each input may get a second look; by default, all may.
        """
        stacked = np.stack(pixels)
        outputs, heatmaps = self.run(stacked)
        scores = [self.config.calibration.apply(float(fake)) for _, fake in outputs]
        borderline = [
            index
            for index, score in enumerate(scores)
            if (may_look_again is None or may_look_again[index])
            and self.config.is_borderline(score)
        ]
        if borderline:
            for index, further in zip(
                borderline, self._look_again(stacked[borderline]), strict=True
            ):
                scores[index] = mean_probability([scores[index], *further])
        return list(map(self._describe, scores, heatmaps))

    def _look_again(self, pixels: np.ndarray) -> list[list[float]]:
        """Return, for each input, the calibrated probabilities of fake of all further looks."""
        looks = self.config.second_look.looks
        changed = np.stack([changed_input(photo, look) for photo in pixels for look in looks])
        fakes = [
            self.config.calibration.apply(float(fake))
            for start in range(0, len(changed), BATCH)
            for _, fake in self.run(changed[start : start + BATCH])[0]
        ]
        return [fakes[start : start + len(looks)] for start in range(0, len(fakes), len(looks))]

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the raw outputs of the network.

        Args:
            pixels: `float32` `[photos, size, size, 3]`, each as `model_input` returns it.

        Returns:
            Probabilities `[photos, 2]` of real and fake, and heatmaps `[photos, rows, columns]`.
        """
        with self._lock:
            return self._judge(pixels)

    def describe(self, probabilities: np.ndarray, heatmap: np.ndarray) -> Prediction:
        """Return the prediction for the network's outputs on one photo, without a second look."""
        return self._describe(self.config.calibration.apply(float(probabilities[1])), heatmap)

    def _describe(self, probability: float, heatmap: np.ndarray) -> Prediction:
        peak = heatmap.max()
        heatmap = heatmap / peak if peak > 0 else np.zeros_like(heatmap)
        return Prediction(
            probability,
            self.config.verdict(probability),
            self.config.score_bin(probability),
            heatmap,
        )

    def judge(self, photo: PhotoSource, finder: FaceFinder) -> list[Judgement]:
        """Find the faces of a photo and judge each.

        Args:
            photo: see `predict`.
            finder: finds the faces.

        Returns:
            A judgement for each face, in the finder's order; none where there is no face.

        Raises:
            PhotoError: the photo cannot be judged.
        """
        small, scale = open_reduced(photo)
        small_faces = finder.find(small)
        faces = [face.scaled(scale) for face in small_faces]
        if self.is_fine_enough(small_faces):
            judgements = self.judge_faces(small, small_faces)
            return [
                replace(judgement, face=face)
                for judgement, face in zip(judgements, faces, strict=True)
            ]
        return self.judge_faces(open_photo(photo) if scale > 1 else small, faces)

    def is_fine_enough(self, faces: Sequence[Face]) -> bool:
        """Return whether faces in a reduced photo have so many px that the full photo would show no
        more."""
        enough = max(2 * self.config.input_size, SHOWN_SIDE)
        return all(self.config.crop_margin * face.side >= enough for face in faces)

    def judge_faces(self, photo: Image.Image, faces: Sequence[Face]) -> list[Judgement]:
        """Judge faces of a photo; return a judgement for each, in their order.

        Args:
            photo: RGB, as `open_photo` returns it.
            faces: found in it.
        """
        return self.judge_crops(self.crop_faces(photo, faces))

    def crop_faces(self, photo: Image.Image, faces: Sequence[Face]) -> list[FaceCrop]:
        """Cut faces out of a photo, to judge them in one batch with those of other photos.

        Args:
            photo: RGB, as `open_photo` returns it.
            faces: found in it.
        """
        margin = self.config.crop_margin
        prepared = []
        for face in faces:
            crop = crop_face(photo, face, margin)
            if crop.width < MIN_SIDE:  # too small for a photo, but here one face of several
                crop = resize_square(crop, MIN_SIDE)
            face_crop = self._prepare(crop, face, crop_landmarks(photo.size, face, margin))
            prepared.append(replace(face_crop, reason=find_reason(photo, face)))
        return prepared

    def judge_crops(
        self, crops: Sequence[FaceCrop], *, second_look: bool = True
    ) -> list[Judgement]:
        """Judge faces of any photos; return a judgement for each, in their order.

        Args:
            crops: the faces.
            second_look: whether borderline faces get one; of no use for frames of a clip, as their
                scores are averaged. Faces with a reason against a verdict get none.
        """
        judgements = []
        for start in range(0, len(crops), BATCH):
            batch = crops[start : start + BATCH]
            may_look_again = [second_look and not crop.reason for crop in batch]
            predictions = self._predict([crop.pixels for crop in batch], may_look_again)
            judgements += map(_judgement, batch, predictions)
        return judgements

    def judge_whole(self, photo: PhotoSource) -> Judgement:
        """Judge the centred square of a photo, whatever it shows.

        Args:
            photo: see `predict`.

        Raises:
            PhotoError: the photo cannot be judged.
        """
        return self.judge_crops([self._prepare(crop_square(open_photo(photo)))])[0]

    def _prepare(
        self, crop: Image.Image, face: Face | None = None, landmarks: np.ndarray | None = None
    ) -> FaceCrop:
        """Return a square crop with the network's input and the copy for display."""
        shown = crop
        if crop.width > SHOWN_SIDE:
            shown = crop.resize((SHOWN_SIDE, SHOWN_SIDE), reducing_gap=2)
        return FaceCrop(face, shown, landmarks, self._pixels(crop))


def changed_input(pixels: np.ndarray, look: Look) -> np.ndarray:
    """Return the network's input, `[size, size, 3]`, changed for another look at it."""
    positions = np.arange(len(pixels))
    last = len(pixels) - 1
    rows, columns = (np.clip(positions - shift, 0, last) for shift in (look.down, look.right))
    return pixels[rows][:, last - columns if look.mirrored else columns]


def _judgement(crop: FaceCrop, prediction: Prediction) -> Judgement:
    """Return the judgement of a crop: inconclusive where there is a reason against a verdict."""
    if crop.reason:
        prediction = replace(prediction, verdict="inconclusive")
    return Judgement(crop.face, crop.crop, crop.landmarks, prediction, crop.reason)


def load_detector() -> Detector:
    """Load the model that the environment names: `MODEL_ID` (on the Hub, or a folder) at
    `MODEL_REVISION`, or else the bundled one.

    Raises:
        DetectorError: that model cannot be loaded.
    """
    model_id = os.environ.get("MODEL_ID")
    if model_id:
        return Detector.from_pretrained(model_id, os.environ.get("MODEL_REVISION") or None)
    return load_bundled()


def load_bundled(*, threads: int | None = None) -> Detector:
    """Load the model that comes with the program; `threads` as for `Detector`."""
    return Detector(BUNDLED, name="bundled model", threads=threads)


if __name__ == "__main__":
    from shell import main

    sys.exit(main())
