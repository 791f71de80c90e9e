"""Probabilities of fake for photos of a prepared folder, from a run or an exported model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from space.contract import CONFIG_FILE, DetectorError
from space.detector import BATCH, Detector
from training.config import CONFIG
from training.data.rows import Photo, open_framed
from training.errors import UserError
from training.run import FACE, Run, is_run


def open_model(where: str | Path) -> Run | Detector:
    """Open the folder of a run or of an exported model, or a model of the Hub.

    Raises:
        UserError: there is no such model, or it cannot be loaded.
    """
    folder = Path(where)
    if is_run(folder):
        return Run.open(folder)
    if folder.is_dir() and not (folder / CONFIG_FILE).is_file():
        raise UserError(
            f"{folder} holds neither {CONFIG} nor {CONFIG_FILE}: train or export first."
        )
    return load_detector(where)


def load_detector(model: str | Path) -> Detector:
    """Load an exported model.

    Raises:
        UserError: there is no such model, or it cannot be loaded.
    """
    try:
        return Detector.from_pretrained(model)
    except DetectorError as error:
        raise UserError(str(error)) from error


def folder_for_figures(model: str | Path, output: Path | None) -> Path:
    """Return the output folder, which is that of the model by default.

    Raises:
        UserError: no folder is given, and the model is in none.
    """
    if output is None and not Path(model).is_dir():
        raise UserError(f"{model} is not a folder: give --output for the figures.")
    return Path(output or model)


def scores(model: Run | Detector, photos: Sequence[Photo]) -> np.ndarray:
    """Return the probability of fake for each photo, `[photos]`.

    The model determines what is judged: the face that `prepare` found in a photo, cropped as the
    model expects it, or the whole photo. `training.measure.answers.ask` finds faces anew.

    Args:
        model: a run (computed with Keras, uncalibrated), or an exported model.
        photos: photos of a prepared folder.

    Raises:
        UserError: the run is not finished.
    """
    if isinstance(model, Run):
        return _by_keras(model, photos)
    probabilities = []
    for start in range(0, len(photos), BATCH):
        crops = [open_framed(photo, margin_of(model)) for photo in photos[start : start + BATCH]]
        probabilities += [prediction.probability for prediction in model.predict(crops)]
    return np.array(probabilities)


def margin_of(model: Run | Detector) -> float:
    """Return the margin with which `open_framed` crops for a model, 0 for the whole photo."""
    if isinstance(model, Run):
        return model.margin
    return model.config.crop_margin if model.config.framing == FACE else 0.0


def _by_keras(run: Run, photos: Sequence[Photo]) -> np.ndarray:
    from training.fit.photos import PhotoBatches

    network = run.network()
    batches = PhotoBatches(
        photos, batch_size=32, input_size=network.input_shape[1], crop_margin=run.margin
    )
    return network.predict(batches)[:, 1]
