"""Measure a run or an exported model on a split: `python -m training evaluate RUN_OR_MODEL`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn import metrics
from tqdm import tqdm

from space.detector import CONFIG_FILE, Detector, DetectorError
from training.dataset import DIFFICULTIES, LABELS, PhotoRow, read_report, read_split
from training.errors import UserError
from training.report import plot_confusion, plot_roc

METRICS = "metrics.json"
THRESHOLD = 0.5  # of a run; an exported model brings its own

log = logging.getLogger(__name__)


def evaluate(
    model: str | Path, data: Path, split: str = "test", output: Path | None = None
) -> dict:
    """Write `metrics.json`, `confusion.png` and `roc.png`, and return the figures.

    Args:
        model: folder of a run (measured with Keras), or a model folder or Hub repository
            (measured with `space.detector.Detector`, the code that serves it).
        data: folder that `prepare` wrote.
        split: `"train"`, `"validation"` or `"test"`.
        output: folder for the files; that of the model where it is not given.

    Raises:
        UserError: there is no such model, or the data is not what it should be.
    """
    rows = read_split(data, split)
    if output is None and not Path(model).is_dir():
        raise UserError(f"{model} is not a folder: give --output for the figures.")
    scores, threshold = _scores(model, data, split, rows)
    figures = {"split": split, "data_fingerprint": read_report(data)["fingerprint"]}
    figures |= compute_metrics(rows, scores, threshold)
    write_metrics(figures, rows, scores, Path(output or model))
    return figures


def score_photos(
    detector: Detector, data: Path, split: str, rows: Sequence[PhotoRow]
) -> np.ndarray:
    """Return an exported model's probability of fake for each row of a split, `[rows]`."""
    paths = [Path(data) / split / row.file_name for row in rows]
    progress = tqdm(paths, desc=f"Judging {split}", unit="photo")
    return np.array([detector.predict(path).probability for path in progress])


def compute_metrics(
    rows: Sequence[PhotoRow], scores: np.ndarray, threshold: float = THRESHOLD
) -> dict:
    """Compare probabilities of fake with the labels.

    Args:
        rows: the photos; both labels must occur.
        scores: probabilities of fake `[rows]`.
        threshold: from which on a photo counts as judged fake.

    Returns:
        Numbers that JSON can hold. `majority_baseline` is the accuracy of always naming the label
        that is more frequent; `by_difficulty` sets the fakes of each difficulty against all real
        photos; `confusion_matrix` is `[true][predicted]`.

    Raises:
        UserError: one label is missing.
    """
    truth = np.array([LABELS.index(row.label) for row in rows])
    if len(set(truth)) < len(LABELS):
        raise UserError("The split holds one label only: AUC takes both.")
    judged = (scores >= threshold).astype(int)
    return {
        "photos": len(rows),
        "threshold": threshold,
        "accuracy": metrics.accuracy_score(truth, judged),
        "majority_baseline": float(max(truth.mean(), 1 - truth.mean())),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, judged),
        "roc_auc": metrics.roc_auc_score(truth, scores),
        "average_precision": metrics.average_precision_score(truth, scores),
        "confusion_matrix": metrics.confusion_matrix(truth, judged, labels=[0, 1]).tolist(),
        "per_class": metrics.classification_report(
            truth, judged, labels=[0, 1], target_names=LABELS, output_dict=True, zero_division=0.0
        ),
        "by_difficulty": _by_difficulty(rows, truth, scores, judged),
    }


def write_metrics(
    figures: dict, rows: Sequence[PhotoRow], scores: np.ndarray, output: Path
) -> None:
    """Write `metrics.json`, `confusion.png` and `roc.png` into a folder."""
    output.mkdir(parents=True, exist_ok=True)
    truth = np.array([LABELS.index(row.label) for row in rows])
    plot_confusion(figures["confusion_matrix"], LABELS, output / "confusion.png")
    plot_roc(truth, scores, output / "roc.png")
    (output / METRICS).write_text(json.dumps(figures, indent=2) + "\n")


def log_metrics(figures: dict, output: str | Path) -> None:
    """Log the figures that say most, the majority baseline beside them."""
    log.info(
        "%s: %s AUC %.3f, accuracy %.3f (always naming the more frequent label: %.3f).",
        Path(output) / METRICS,
        figures["split"],
        figures["roc_auc"],
        figures["accuracy"],
        figures["majority_baseline"],
    )


def keras_scores(run: Path, data: Path, split: str) -> np.ndarray:
    """Return a run's probabilities of fake for a split `[rows]`, computed by Keras.

    Raises:
        UserError: the run is not finished.
    """
    import keras

    from training.fit import FINAL
    from training.pipeline import PhotoBatches

    path = Path(run) / FINAL
    if not path.is_file():
        raise UserError(f"{run} holds neither {FINAL} nor {CONFIG_FILE}: train or export first.")
    model = keras.models.load_model(path)
    batches = PhotoBatches(data, split, batch_size=32, input_size=model.input_shape[1])
    return model.predict(batches)[:, 1]


def _scores(
    model: str | Path, data: Path, split: str, rows: Sequence[PhotoRow]
) -> tuple[np.ndarray, float]:
    folder = Path(model)
    if folder.is_dir() and not (folder / CONFIG_FILE).is_file():
        return keras_scores(folder, data, split), THRESHOLD
    try:
        detector = Detector.from_pretrained(model)
    except DetectorError as error:
        raise UserError(str(error)) from error
    return score_photos(detector, data, split, rows), detector.config.thresholds["fake"]


def _by_difficulty(
    rows: Sequence[PhotoRow], truth: np.ndarray, scores: np.ndarray, judged: np.ndarray
) -> dict:
    of_row = np.array([row.difficulty for row in rows])
    figures = {}
    for difficulty in DIFFICULTIES:
        fakes = (truth == 1) & (of_row == difficulty)
        if fakes.any():
            chosen = fakes | (truth == 0)
            figures[difficulty] = {
                "fakes": int(fakes.sum()),
                "recall": float(judged[fakes].mean()),
                "roc_auc": metrics.roc_auc_score(truth[chosen], scores[chosen]),
            }
    return figures
