"""Measure a run or an exported model on a split: `python -m training evaluate RUN_OR_MODEL`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from space.contract import CONFIG_FILE, DetectorError
from space.detector import Detector
from space.judgements import Prediction
from space.photos import PhotoSource
from training.config import CONFIG, SPLITS, read_config
from training.dataset import (
    Photo,
    load_finder,
    open_framed,
    read_all,
    read_report,
    read_source_pairs,
    read_split,
)
from training.errors import UserError
from training.metrics import SAMPLES, THRESHOLD, compute_metrics
from training.report import write_report
from training.splits import assign_folds

METRICS = "metrics.json"
EXPORT_REPORT = "export_report.json"  # in an exported model's folder
FOLDS_FOLDER, FOLD_SCORES = "folds", "scores.json"  # in a run, and a file in that
# Of a run, which brings no thresholds of its own.
EVEN_THRESHOLDS = {"real": THRESHOLD, "fake": THRESHOLD}

log = logging.getLogger(__name__)


def evaluate(
    model: str | Path,
    data: Path,
    split: str = "test",
    output: Path | None = None,
    *,
    faces: bool = False,
    samples: int = SAMPLES,
) -> dict:
    """Write `metrics.json`, `report.md` and its plots, and return the figures.

    Args:
        model: folder of a run (measured with Keras, uncalibrated), or a model folder or Hub
            repository (measured with `space.detector.Detector`, the code that serves it).
        data: folder that `prepare` wrote.
        split: `"train"`, `"validation"` or `"test"`.
        output: folder for the files; that of the model where it is not given.
        faces: find the largest face of each photo and judge that, as the page does; a photo without
            any is judged whole.
        samples: bootstrap samples of the intervals.

    Raises:
        UserError: there is no such model, or the data is not what it should be.
    """
    photos = read_split(data, split)
    if output is None and not Path(model).is_dir():
        raise UserError(f"{model} is not a folder: give --output for the figures.")
    _warn_of_other_data(Path(model), data)
    scores, thresholds = _scores(model, photos, split, faces)
    figures = _figures(data, split, photos, scores, thresholds, samples) | {"faces": faces}
    _write(figures, photos, scores, Path(output or model))
    return figures


def evaluate_folds(
    run: Path,
    data: Path,
    folds: int,
    *,
    backbone_weights: str | None = None,
    output: Path | None = None,
    samples: int = SAMPLES,
) -> dict:
    """Train with a run's settings once for each fold and measure the pooled out-of-fold scores.

    The networks stay below `run/folds`, so that a second call goes on where the first stopped.
    Their scores are calibrated, each on its fold's validation split, before they are pooled, and
    kept for `read_fold_scores`.

    Args:
        run: folder of a run, whose settings are used.
        data: the prepared folder that it was trained on; all of its photos are dealt anew.
        folds: 2, 4, 5 or 10.
        backbone_weights: needed again where the run was given a path.
        output: folder for the files; `run/folds` where it is not given.
        samples: bootstrap samples of the intervals.

    Raises:
        UserError: the run or the data is not what it should be.
    """
    photos = read_all(data)
    strata, groups = [photo.stratum for photo in photos], [photo.group for photo in photos]
    assigned = assign_folds(strata, groups, read_report(data)["seed"], folds)
    scores = np.empty(len(photos))
    for fold, split_of_photo in enumerate(assigned):
        members = {
            split: [
                photo for photo, its in zip(photos, split_of_photo, strict=True) if its == split
            ]
            for split in SPLITS
        }
        log.info("Fold %d of %d.", fold + 1, folds)
        folder = Path(run) / FOLDS_FOLDER / f"{fold + 1}-of-{folds}"
        tested = np.array(split_of_photo) == "test"
        scores[tested] = _fold_scores(Path(run), data, folder, members, backbone_weights)
    _write_fold_scores(run, data, folds, photos, scores)
    figures = _figures(data, f"{folds} folds", photos, scores, EVEN_THRESHOLDS, samples)
    _write(figures, photos, scores, Path(output or Path(run) / FOLDS_FOLDER))
    return figures


def read_fold_scores(run: Path, data: Path, photos: Sequence[Photo]) -> tuple[int, np.ndarray]:
    """Return what `evaluate_folds` left in a run: the number of folds, and the scores `[photos]`.

    Raises:
        UserError: there is nothing, or not of these photos.
    """
    path = Path(run) / FOLDS_FOLDER / FOLD_SCORES
    advice = f"run `python -m training evaluate {run} --folds 5`"
    if not path.is_file():
        raise UserError(f"{path} is missing: {advice} first.")
    stored = json.loads(path.read_text())
    names = _names(photos, data)
    if stored["scores"].keys() != set(names):
        raise UserError(f"{path} is not of the photos of {data}: {advice} anew.")
    return stored["folds"], np.array([stored["scores"][name] for name in names])


def _write_fold_scores(
    run: Path, data: Path, folds: int, photos: Sequence[Photo], scores: np.ndarray
) -> None:
    by_name = dict(zip(_names(photos, data), scores.tolist(), strict=True))
    path = Path(run) / FOLDS_FOLDER / FOLD_SCORES
    partial = path.with_name(f"partial-{FOLD_SCORES}")
    partial.write_text(json.dumps({"folds": folds, "scores": by_name}, indent=0) + "\n")
    partial.replace(path)


def score_photos(
    detector: Detector, photos: Sequence[Photo], what: str, *, faces: bool = False
) -> np.ndarray:
    """Return an exported model's probability of fake for each photo, or for the largest face of
    each, `[photos]`."""
    predict = predictor(detector, faces=faces)
    progress = tqdm(photos, desc=f"Judging {what}", unit="photo")
    return np.array([predict(photo.path).probability for photo in progress])


def predictor(detector: Detector, *, faces: bool) -> Callable[[PhotoSource], Prediction]:
    """Return what judges a photo: all of it, or as the page does the largest face in it, and all of
    it only where there is none."""
    if not faces:
        return detector.predict
    finder = load_finder()

    def predict(photo: PhotoSource) -> Prediction:
        judgements = detector.judge(photo, finder)
        return (judgements[0] if judgements else detector.judge_whole(photo)).prediction

    return predict


def keras_scores(run: Path, photos: Sequence[Photo], *, flip: bool = False) -> np.ndarray:
    """Return a run's probabilities of fake for each photo `[photos]`, computed by Keras on what the
    run was trained on: whole photos, or crops of the faces that `prepare` found.

    Args:
        run: its folder.
        photos: the photos.
        flip: judge each mirrored as well, and take the mean.

    Raises:
        UserError: the run is not finished.
    """
    import keras

    from training.fit import FINAL
    from training.pipeline import PhotoBatches

    path = Path(run) / FINAL
    if not path.is_file():
        raise UserError(f"{run} holds neither {FINAL} nor {CONFIG_FILE}: train or export first.")
    try:
        model = keras.models.load_model(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be loaded ({error}): train anew.") from error
    margin = read_config(Path(run))["settings"].get("crop_margin", 0.0)
    batches = PhotoBatches(
        photos, batch_size=32, input_size=model.input_shape[1], crop_margin=margin
    )
    if flip:
        mirrored = keras.ops.flip(model.input, axis=2)
        model = keras.Model(model.input, (model.output + model(mirrored)) / 2)
    return model.predict(batches)[:, 1]


def exported_scores(model: Path, photos: Sequence[Photo]) -> np.ndarray:
    """Return an exported model's probabilities of fake for the faces that `prepare` found
    `[photos]`: by the code that serves it, but of what `keras_scores` looks at.

    Args:
        model: its folder.
        photos: the photos.

    Raises:
        UserError: it cannot be loaded.
    """
    detector = load_detector(model)
    crops = [open_framed(photo, detector.config.crop_margin) for photo in photos]
    return np.array([prediction.probability for prediction in detector.predict(crops)])


def exported_fingerprint(model: Path) -> str:
    """Return the fingerprint of the data that an exported model was trained on; of an older export,
    which does not say, of that which it was measured on last.

    Raises:
        UserError: neither is known.
    """
    for path in (Path(model) / EXPORT_REPORT, Path(model) / METRICS):
        stored = json.loads(path.read_text()) if path.is_file() else {}
        if "data_fingerprint" in stored:
            return stored["data_fingerprint"]
    raise UserError(f"{path} does not name the data of the model: export it anew.")


def load_detector(model: str | Path) -> Detector:
    """Load an exported model for a verb.

    Raises:
        UserError: there is none that can be loaded.
    """
    try:
        return Detector.from_pretrained(model)
    except DetectorError as error:
        raise UserError(str(error)) from error


def log_metrics(figures: dict, output: str | Path) -> None:
    """Log the figures that say most, the majority baseline beside them."""
    auc = figures["roc_auc"]
    log.info(
        "%s: %s AUC %.3f (95 %% interval %.3f to %.3f), accuracy %.3f (always naming the more "
        "frequent label: %.3f).",
        Path(output) / METRICS,
        figures["split"],
        auc["value"],
        auc["low"],
        auc["high"],
        figures["accuracy"]["value"],
        figures["majority_baseline"],
    )


def _names(photos: Sequence[Photo], data: Path) -> list[str]:
    return [photo.path.relative_to(data).as_posix() for photo in photos]


def _warn_of_other_data(run: Path, data: Path) -> None:
    if not (run / CONFIG).is_file():
        return
    if read_config(run)["data"]["fingerprint"] != read_report(data)["fingerprint"]:
        log.warning(
            "%s is not the data that %s was trained on: it may have been trained on photos that it "
            "is measured on now.",
            data,
            run,
        )


def _scores(
    model: str | Path, photos: Sequence[Photo], split: str, faces: bool
) -> tuple[np.ndarray, Mapping[str, float]]:
    folder = Path(model)
    if folder.is_dir() and not (folder / CONFIG_FILE).is_file():
        if faces:
            raise UserError(f"--faces is for exported models: export {folder} first.")
        return keras_scores(folder, photos), EVEN_THRESHOLDS
    detector = load_detector(model)
    scores = score_photos(detector, photos, split, faces=faces)
    return scores, detector.config.thresholds


def _fold_scores(
    run: Path,
    data: Path,
    folder: Path,
    members: Mapping[str, Sequence[Photo]],
    backbone_weights: str | None,
) -> np.ndarray:
    """Train a fold's network, unless it is there, and return its scores of the test photos."""
    from training.calibrate import calibrate
    from training.fit import repeat_run

    repeat_run(run, data, folder, members, backbone_weights)
    validation = members["validation"]
    scores = keras_scores(folder, [*validation, *members["test"]])
    calibration = calibrate(
        np.array([photo.is_fake for photo in validation], dtype=int),
        scores[: len(validation)],
        [photo.group for photo in validation],
    )
    return np.array([calibration.apply(score) for score in scores[len(validation) :]])


def _figures(
    data: Path,
    split: str,
    photos: Sequence[Photo],
    scores: np.ndarray,
    thresholds: Mapping[str, float],
    samples: int,
) -> dict:
    pairs = read_source_pairs(data, photos)
    return {
        "split": split,
        "data_fingerprint": read_report(data)["fingerprint"],
        **compute_metrics(photos, scores, thresholds=thresholds, pairs=pairs, samples=samples),
    }


def _write(figures: dict, photos: Sequence[Photo], scores: np.ndarray, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    write_report(figures, photos, scores, output)
    (output / METRICS).write_text(json.dumps(figures, indent=2) + "\n")
