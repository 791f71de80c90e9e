"""Judge photos from the shell: `python space/detector.py [--model MODEL] PHOTO... [--json]`.

A model folder holds `detector.tflite` (LiteRT, one graph with two outputs: class probabilities and
heatmap) and `detector.json`, the contract that `DetectorConfig` describes. The folder is the
bundled `space/model/`, any other, or a repository on the Hugging Face Hub.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image

if __package__:  # imported by the training code as `space.detector`
    from .crops import crop_face, crop_landmarks
    from .faces import Face, FaceFinder, FaceFinderError, load_face_finder
    from .photos import (
        MIN_SIDE,
        PhotoError,
        PhotoSource,
        crop_square,
        model_input,
        open_photo,
        open_reduced,
        resize_square,
    )
else:  # run from this folder, as a Space does
    from crops import crop_face, crop_landmarks
    from faces import Face, FaceFinder, FaceFinderError, load_face_finder
    from photos import (
        MIN_SIDE,
        PhotoError,
        PhotoSource,
        crop_square,
        model_input,
        open_photo,
        open_reduced,
        resize_square,
    )

BUNDLED = Path(__file__).with_name("model")
CONFIG_FILE, MODEL_FILE = "detector.json", "detector.tflite"
FORMAT_VERSION = 1
SHOWN_SIDE = 448  # px of a judged crop that is kept to be shown
ANY_NUMBER = -1  # in the shape of a graph's input
BATCH = 8  # photos in one call of the network; with more the cache is too small, and each is slower


class DetectorError(Exception):
    """A model that cannot be loaded; the text says in one sentence what was found and what to
    do."""


@dataclass(frozen=True)
class Calibration:
    """How the network's output becomes a probability: a line through the log-odds.

    Attributes:
        method: `"none"` for the bare softmax, `"temperature"` (Guo et al. 2017,
            https://arxiv.org/abs/1706.04599; the slope is 1 / temperature) or `"platt"` (Platt
            1999).
        slope: of the line.
        intercept: of the line.
    """

    method: str = "none"
    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, probability: float) -> float:
        """Return the calibrated probability of fake for the network's."""
        if self.method == "none":
            return probability
        clipped = min(max(probability, 1e-6), 1 - 1e-6)
        log_odds = math.log(clipped / (1 - clipped))
        return 1 / (1 + math.exp(-self.slope * log_odds - self.intercept))


@dataclass(frozen=True)
class ScoreBin:
    """What a range of probabilities meant on the validation photos.

    Attributes:
        low: the range's start, included.
        high: its end, excluded unless it is 1.
        photos: how many validation photos had such a probability.
        fake_share: share of fakes among them.
    """

    low: float
    high: float
    photos: int
    fake_share: float


@dataclass(frozen=True)
class DetectorConfig:
    """What `detector.json` holds: all that a program needs to know about the model file beside it.

    Attributes:
        labels: class names in the order of the probabilities.
        input_size: side in px of the RGB square that the model takes, values 0 to 255.
        crop_margin: side of that square divided by the longer side of the face's box in the
            training photos.
        thresholds: a probability of fake from `fake` upwards is called fake, one below `real` is
            called real, and what lies between is inconclusive.
        calibration: how the network's output becomes a probability.
        score_bins: what the probabilities meant on the validation photos, from 0 to 1 without gaps;
            empty where nobody measured it.
        metrics: figures of this very file, by split.
        sha256: of the model file.
        variant: numeric format of the model file.
        trained_on: one sentence about the training data, for the people who read the verdict.
        sources: names of the sets of photos that it was trained on.
        versions: of the packages that made the model file.
        format_version: of this description.
    """

    labels: list[str]
    input_size: int
    crop_margin: float
    thresholds: dict[str, float]
    calibration: Calibration
    metrics: dict[str, dict]
    sha256: str
    variant: str
    trained_on: str
    sources: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    score_bins: list[ScoreBin] = field(default_factory=list)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise DetectorError(
                f"{CONFIG_FILE} has format {self.format_version} where this program reads "
                f"{FORMAT_VERSION}: use the program that belongs to the model."
            )
        if list(self.labels) != ["real", "fake"]:
            raise DetectorError(f"{CONFIG_FILE} has the labels {self.labels}, not real and fake.")
        if not isinstance(self.metrics, dict):
            raise DetectorError(f"{CONFIG_FILE} has no metrics, not even an empty list of them.")
        if not 0 <= self.thresholds["real"] <= self.thresholds["fake"] <= 1:
            raise DetectorError(f"{CONFIG_FILE} has thresholds out of order: {self.thresholds}.")
        if self.calibration.method not in ("none", "temperature", "platt"):
            raise DetectorError(f"{CONFIG_FILE} has an unknown calibration: {self.calibration}.")
        numbers = [self.calibration.slope, self.calibration.intercept, self.crop_margin]
        numbers += [value for one in self.score_bins for value in (one.low, one.high)]
        if not all(isinstance(number, int | float) for number in numbers):
            raise DetectorError(f"{CONFIG_FILE} has text where numbers belong.")

    @classmethod
    def load(cls, folder: Path) -> DetectorConfig:
        """Read and check the description in a model folder.

        Raises:
            DetectorError: it is missing, no JSON, incomplete, or of another format.
        """
        path = Path(folder) / CONFIG_FILE
        known = {column.name for column in fields(cls)}
        try:
            values = json.loads(path.read_text())
            values["calibration"] = Calibration(**values["calibration"])
            values["score_bins"] = [ScoreBin(**one) for one in values.get("score_bins", [])]
            # Keys that a later version adds without raising the format change nothing here.
            return cls(**{key: value for key, value in values.items() if key in known})
        except OSError as error:
            raise DetectorError(f"{path} cannot be read: name a folder that holds it.") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DetectorError(f"{path} is not a detector's description ({error!r}).") from error

    def save(self, folder: Path) -> None:
        """Write the description into a model folder, all at once."""
        partial = Path(folder) / f".{CONFIG_FILE}.partial"
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n")
        partial.replace(Path(folder) / CONFIG_FILE)

    def verdict(self, probability: float) -> str:
        """Return `"fake"`, `"real"` or `"inconclusive"` for a probability of fake."""
        if probability >= self.thresholds["fake"]:
            return "fake"
        return "real" if probability < self.thresholds["real"] else "inconclusive"

    def score_bin(self, probability: float) -> ScoreBin | None:
        """Return what a probability of fake meant on the validation photos, as far as known."""
        return next((one for one in reversed(self.score_bins) if probability >= one.low), None)


@dataclass(frozen=True)
class Prediction:
    """What the model says about a photo.

    Attributes:
        probability: of fake, 0 to 1, calibrated.
        verdict: `"real"`, `"fake"` or `"inconclusive"`.
        meaning: how many validation photos had such a probability, and what share of them was fake;
            `None` where the model does not tell.
        heatmap: `float32` array `[rows, columns]`, 0 to 1: how much each place of the centred
            square of the photo spoke for fake, divided by its own maximum; all zero where nothing
            did. The log-odds that the model gives to places, or Grad-CAM
            (https://arxiv.org/abs/1610.02391) where its head knows none.
    """

    probability: float
    verdict: str
    meaning: ScoreBin | None
    heatmap: np.ndarray

    def as_dict(self) -> dict:
        """Return it in the types that JSON has."""
        return asdict(self) | {"heatmap": self.heatmap.tolist()}


@dataclass(frozen=True)
class FaceCrop:
    """A face cut out of its photo, or all of a photo, ready to be judged.

    Attributes:
        face, crop, landmarks: those of the `Judgement` to be.
        pixels: `float32` `[size, size, 3]`, what the network is shown.
    """

    face: Face | None
    crop: Image.Image
    landmarks: np.ndarray | None
    pixels: np.ndarray


@dataclass(frozen=True)
class Judgement:
    """What the model says about one face of a photo.

    Attributes:
        face: where it is; `None` where the whole picture was judged.
        crop: RGB square that was judged, upright, at most 448 px wide.
        landmarks: of the face in the crop, `float32` `[5, 2]`, as shares of its side (see `Face`);
            `None` where nobody knows them.
        prediction: what the model says.
    """

    face: Face | None
    crop: Image.Image
    landmarks: np.ndarray | None
    prediction: Prediction

    def as_dict(self) -> dict:
        """Return it in the types that JSON has, without the pixels."""
        box = self.face and [round(float(value), 1) for value in self.face.box]
        too_small = bool(self.face and self.face.too_small)
        return {"box": box, "too_small": too_small, **self.prediction.as_dict()}


class Detector:
    """A model in memory. Safe to use from several threads, which take turns.

    Attributes:
        config: its description.
        name: says which model it is, for people.
    """

    def __init__(
        self, folder: Path, name: str | None = None, *, threads: int | None = None
    ) -> None:
        """Load a model folder.

        Args:
            folder: holds `detector.tflite` and `detector.json`.
            name: how to call the model; the folder's name where it is not given.
            threads: that work on one photo; by default one a core, at most 4, as more wait for each
                other longer than they work.

        Raises:
            DetectorError: a file is missing or damaged.
        """
        folder = Path(folder)
        self.config = DetectorConfig.load(folder)
        self.name = name or folder.resolve().name
        threads = threads or min(4, os.cpu_count() or 1)
        self._judge = _load_graph(folder / MODEL_FILE, self.config, threads)
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
        return cls(*_download(str(source), revision), threads=threads)

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
            A `Prediction`, or for a list the list of them.

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

    def _predict(self, pixels: Sequence[np.ndarray]) -> list[Prediction]:
        return list(map(self.describe, *self.run(np.stack(pixels))))

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the bare outputs of the network.

        Args:
            pixels: `float32` `[photos, size, size, 3]`, each as `model_input` returns it.

        Returns:
            Probabilities `[photos, 2]` of real and fake, and heatmaps `[photos, rows, columns]`.
        """
        with self._lock:
            return self._judge(pixels)

    def describe(self, probabilities: np.ndarray, heatmap: np.ndarray) -> Prediction:
        """Return what the network's outputs for one photo mean."""
        probability = self.config.calibration.apply(float(probabilities[1]))
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
        found = finder.find(small)
        faces = [face.scaled(scale) for face in found]
        # With so many pixels, nobody sees that the photo had more.
        enough = max(2 * self.config.input_size, SHOWN_SIDE)
        if all(self.config.crop_margin * face.side >= enough for face in found):
            judgements = self.judge_faces(small, found)
            return [replace(one, face=face) for one, face in zip(judgements, faces, strict=True)]
        return self.judge_faces(open_photo(photo) if scale > 1 else small, faces)

    def judge_faces(self, photo: Image.Image, faces: Sequence[Face]) -> list[Judgement]:
        """Judge faces of a photo; return a judgement for each, in their order.

        Args:
            photo: RGB, as `open_photo` returns it.
            faces: found in it.
        """
        return self.judge_crops(self.crop_faces(photo, faces))

    def crop_faces(self, photo: Image.Image, faces: Sequence[Face]) -> list[FaceCrop]:
        """Cut faces out of a photo, to judge them together with those of others.

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
            prepared.append(self._prepare(crop, face, crop_landmarks(photo.size, face, margin)))
        return prepared

    def judge_crops(self, crops: Sequence[FaceCrop]) -> list[Judgement]:
        """Judge faces of any photos; return a judgement for each, in their order."""
        judgements = []
        for start in range(0, len(crops), BATCH):
            some = crops[start : start + BATCH]
            predictions = self._predict([one.pixels for one in some])
            judgements += [
                Judgement(one.face, one.crop, one.landmarks, prediction)
                for one, prediction in zip(some, predictions, strict=True)
            ]
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
        """Return what is judged and shown of a square crop."""
        shown = crop
        if crop.width > SHOWN_SIDE:
            shown = crop.resize((SHOWN_SIDE, SHOWN_SIDE), reducing_gap=2)
        return FaceCrop(face, shown, landmarks, self._pixels(crop))


def load_detector() -> Detector:
    """Load the model that the environment names: `MODEL_ID` (of the Hub, or a folder) at
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


def _load_graph(
    path: Path, config: DetectorConfig, threads: int
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the graph as a function from photos `[photos, size, size, 3]` to probabilities
    `[photos, 2]` and heatmaps `[photos, rows, columns]`."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        content = path.read_bytes()
    except OSError as error:
        raise DetectorError(f"{path} cannot be read: fetch the model folder again.") from error
    if hashlib.sha256(content).hexdigest() != config.sha256:
        raise DetectorError(
            f"{path} is not the file that {CONFIG_FILE} describes (sha256 differs): fetch the "
            "model again (with `hf download REPOSITORY --force-download` if it is from the Hub)."
        )
    try:
        interpreter = Interpreter(model_content=content, num_threads=threads)
    except (ValueError, RuntimeError) as error:
        raise DetectorError(f"{path} is no LiteRT model ({error}): export it again.") from error
    taken, side, *_ = interpreter.get_input_details()[0]["shape_signature"]
    if side != config.input_size:
        raise DetectorError(
            f"{path} takes photos of {side} px where {CONFIG_FILE} says {config.input_size}: fetch "
            "the model folder again."
        )
    run = interpreter.get_signature_runner("serving_default")

    def judge(photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # A graph that was exported for one photo takes them one by one.
        parts = [photos] if taken == ANY_NUMBER else np.split(photos, len(photos))
        outputs = [run(image=part) for part in parts]
        maps = [output["heatmap"] for output in outputs]
        return (
            np.concatenate([output["probabilities"].reshape(-1, 2) for output in outputs]),
            np.concatenate([one.reshape(-1, *one.shape[-2:]) for one in maps]),
        )

    return judge


def _download(model_id: str, revision: str | None) -> tuple[Path, str]:
    """Fetch a Hub repository's model folder; return it with the name that says which commit it
    is."""
    # Both files of one commit, whatever is pushed meanwhile; without a network it fails at once,
    # where downloads of single files are tried for half a minute.
    import httpx2
    from huggingface_hub import snapshot_download

    at = f" at {revision}" if revision else ""
    try:
        folder = Path(
            snapshot_download(model_id, revision=revision, allow_patterns=[CONFIG_FILE, MODEL_FILE])
        )
    except (OSError, ValueError, httpx2.HTTPError) as error:
        raise DetectorError(
            f"The model {model_id}{at} is no folder here, and on the Hugging Face Hub it "
            f"{_reason(error)}."
        ) from error
    for name in (CONFIG_FILE, MODEL_FILE):
        if not (folder / name).is_file():
            raise DetectorError(
                f"The repository {model_id}{at} holds no {name}, or it was not downloaded when "
                "there was a network: name the repository of a detector, or connect."
            )
    return folder, f"{model_id} @ {folder.name[:8]}"


def _reason(error: Exception) -> str:
    """Return why a download failed and what to do, as the end of a sentence."""
    from huggingface_hub import errors

    reasons = {  # the special ones first
        errors.HFValidationError: "cannot be, as names there are NAMESPACE/NAME",
        errors.LocalEntryNotFoundError: (
            "cannot be reached while it is not in the cache either: try again with a network "
            "(and without HF_HUB_OFFLINE)"
        ),
        errors.GatedRepoError: "is gated: accept its terms on its page and set HF_TOKEN",
        errors.RepositoryNotFoundError: (
            "does not exist or is private: check the name, or set HF_TOKEN to a token that may "
            "read it"
        ),
        errors.RevisionNotFoundError: "has no such revision: name a branch, a tag or a full commit",
    }
    for kind, reason in reasons.items():
        if isinstance(error, kind):
            return reason
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"could not be fetched ({status or type(error).__name__}): check the token and try again"


def _judge_file(detector: Detector, finder: FaceFinder | None, file: str) -> dict:
    """Return the answer about a file; without a finder the whole picture is judged."""
    try:
        if finder is None:
            judgements = [detector.judge_whole(file)]
        else:
            judgements = detector.judge(file, finder)
    except PhotoError as error:
        return {"file": file, "error": str(error), "model": detector.name}
    faces = [judgement.as_dict() for judgement in judgements]
    return {"file": file, "faces": faces, "model": detector.name}


def _lines(answer: dict) -> list[str]:
    """Return an answer for people, a line for each face."""
    if not answer["faces"]:
        return [f"{answer['file']}: no face found (--whole-picture judges it anyway)"]
    lines = []
    for number, face in enumerate(answer["faces"], start=1):
        which = f", face {number}" if len(answer["faces"]) > 1 else ""
        small = ", too small to trust" if face["too_small"] else ""
        lines.append(
            f"{answer['file']}{which}: {face['verdict']} (probability of fake "
            f"{face['probability']:.2f}{small})"
        )
    return lines


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Say of photos whether the faces in them were tampered with."
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="JPEG, PNG, WebP or HEIC file")
    parser.add_argument(
        "--model",
        help="NAMESPACE/NAME on the Hugging Face Hub, or a folder (default: MODEL_ID of the "
        "environment, or else the bundled model)",
    )
    parser.add_argument("--revision", help="branch, tag or full commit of that model")
    parser.add_argument(
        "--whole-picture",
        action="store_true",
        help="look for no face: judge the centred square of each photo",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a photo")
    options = parser.parse_args(arguments)
    if options.revision and (not options.model or os.path.isdir(options.model)):
        parser.error("--revision needs --model, of the Hub")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Print a verdict for every face; return 1 if a photo could not be read, 2 if there is no
    model."""
    options = _parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may not fit the terminal
    try:
        detector = (
            Detector.from_pretrained(options.model, options.revision)
            if options.model
            else load_detector()
        )
        finder = None if options.whole_picture else load_face_finder()
    except (DetectorError, FaceFinderError) as error:
        print(error, file=sys.stderr)
        return 2
    exit_code = 0
    for file in options.photos:
        answer = _judge_file(detector, finder, file)
        exit_code = 1 if "error" in answer else exit_code
        if options.json:
            print(json.dumps(answer), flush=True)
        elif "error" in answer:
            print(f"{file}: {answer['error']}", file=sys.stderr)
        else:
            print("\n".join(_lines(answer)), flush=True)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
