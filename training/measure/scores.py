"""Probabilities of fake, by a run or by an exported model, of photos of a prepared folder."""

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
        UserError: there is none that can be loaded.
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
        UserError: there is none that can be loaded.
    """
    try:
        return Detector.from_pretrained(model)
    except DetectorError as error:
        raise UserError(str(error)) from error


def folder_for_figures(model: str | Path, output: Path | None) -> Path:
    """Return the folder that was asked for, without one that of the model.

    Raises:
        UserError: the model is in none.
    """
    if output is None and not Path(model).is_dir():
        raise UserError(f"{model} is not a folder: give --output for the figures.")
    return Path(output or model)


def scores(model: Run | Detector, photos: Sequence[Photo]) -> np.ndarray:
    """Return the probability of fake for each photo, `[photos]`.

    What is judged follows from the model: the face that `prepare` found in a photo, cropped as the
    model wants it, or all of the photo. `training.measure.answers.ask` finds faces anew.

    Args:
        model: a run, whose network Keras computes and nobody calibrated, or an exported model.
        photos: of a prepared folder.

    Raises:
        UserError: the run is not finished.
    """
    if isinstance(model, Run):
        return _by_keras(model, photos)
    found = []
    for start in range(0, len(photos), BATCH):
        crops = [open_framed(photo, margin_of(model)) for photo in photos[start : start + BATCH]]
        found += [prediction.probability for prediction in model.predict(crops)]
    return np.array(found)


def margin_of(model: Run | Detector) -> float:
    """Return the margin with which `open_framed` crops a photo for a model, 0 for all of it."""
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
