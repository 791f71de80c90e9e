"""Measure a run or an exported model on a split: `python -m training evaluate RUN_OR_MODEL`.

`--report` adds everything that a careful reader asks of an exported model.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from space.contract import CONFIG_FILE, DetectorConfig
from space.detector import Detector
from training.config import SPLITS
from training.data.rows import Photo, read_all, read_report, read_source_pairs, read_split
from training.data.splits import assign_folds
from training.errors import UserError
from training.folders import write_json
from training.measure.answers import ORIGINAL
from training.measure.demographics import read_by_whom
from training.measure.figures import THRESHOLD, compute_metrics
from training.measure.foreign import read_elsewhere
from training.measure.left_out import read_left_out
from training.measure.markdown import show_rate
from training.measure.metrics import SAMPLES
from training.measure.promise import promise_of
from training.measure.report import write_report
from training.measure.scores import folder_for_figures, open_model, scores
from training.measure.served import judge_split, served_figures
from training.measure.tiers import TIERS
from training.run import FACE, METRICS, Run, is_run

EXPORT = "export"  # in a run's folder, unless it was exported elsewhere
FOLDS_FOLDER, FOLD_SCORES = "folds", "scores.json"  # a folder in that of a run, and a file in it
# For a run, which has no thresholds of its own.
EVEN_THRESHOLDS = {"real": THRESHOLD, "fake": THRESHOLD}
# Figures of a split that `detector.json` holds for the page.
SUMMARY = ("photos", "roc_auc", "average_precision", "accuracy", "balanced_accuracy")
SUMMARY += ("majority_baseline", "paired_ranking", "verdicts", "by_source", "by_difficulty")
SUMMARY += ("confusion_matrix", "promises_broken")

log = logging.getLogger(__name__)


def evaluate(
    model: str | Path,
    data: Path,
    split: str = "test",
    output: Path | None = None,
    *,
    full: bool = False,
    foreign: Sequence[str] = (),
    bona_fide: Sequence[str] = (),
    samples: int = SAMPLES,
) -> dict:
    """Write `metrics.json`, `report.md` and its plots, and return the figures.

    Those of an exported model include what `training.measure.served.served_figures` returns.

    Args:
        model: folder of a run (measured with Keras, uncalibrated), or a model folder or Hub
            repository (measured with the code that serves it, faces found as on the page).
        data: folder that `prepare` wrote.
        split: `"train"`, `"validation"` or `"test"`.
        output: folder for the files; that of the model by default.
        full: also judge every photo after what platforms do to it, and measure the model's
            footprint; on the test split, write the figures into the model's `detector.json`.
        foreign: `NAME=FOLDER` for each folder of fakes of other kinds.
        bona_fide: `NAME=FOLDER` for each folder of ordinary real photos.
        samples: bootstrap samples of the intervals.

    Raises:
        UserError: there is no such model, or the data is not what it should be.
    """
    photos = read_split(data, split)
    folder = folder_for_figures(model, output)
    _warn_of_other_data(Path(model), data)
    opened = open_model(model)
    if isinstance(opened, Run) and (full or foreign or bona_fide):
        raise UserError(
            f"{model} is a run, which has no thresholds: export it and give its export for "
            "--report, --foreign and --bona-fide."
        )
    if isinstance(opened, Run):
        figures, probabilities = _measure_run(opened, data, split, photos, samples)
    else:
        figures, probabilities = _measure_detector(
            opened, data, split, photos, foreign, bona_fide, full=full, samples=samples
        )
    _write(figures, photos, probabilities, folder)
    if full and split == "test" and (Path(model) / CONFIG_FILE).is_file():
        _tell(Path(model), figures)
    return figures


def _measure_run(
    run: Run, data: Path, split: str, photos: Sequence[Photo], samples: int
) -> tuple[dict, np.ndarray]:
    """Return the figures of a run, and its probabilities of fake `[photos]`."""
    probabilities = scores(run, photos)
    figures = _figures(data, split, photos, probabilities, EVEN_THRESHOLDS, samples)
    return figures | {"faces": run.framing == FACE}, probabilities


def _measure_detector(
    detector: Detector,
    data: Path,
    split: str,
    photos: Sequence[Photo],
    foreign: Sequence[str],
    bona_fide: Sequence[str],
    *,
    full: bool,
    samples: int,
) -> tuple[dict, np.ndarray]:
    """Return the same for an exported model as it is served; see `evaluate`."""
    others = made_with(detector, data, split)
    elsewhere = read_elsewhere(foreign, bona_fide, others)
    answers = judge_split(detector, photos, split, full=full)
    original, thresholds = answers[ORIGINAL], detector.config.thresholds
    figures = _figures(
        data, split, photos, original.probabilities, thresholds, samples, original.verdicts
    )
    figures["faces"] = detector.config.framing == FACE
    figures |= served_figures(
        detector, photos, answers, others, elsewhere, full=full, samples=samples
    )
    if full:
        figures["left_out"] = read_left_out(figures["data_fingerprint"])
        if not figures["by_whom"]:
            figures |= read_by_whom(figures["data_fingerprint"])
    return figures, original.probabilities


def made_with(detector: Detector, data: Path, split: str) -> list[Photo]:
    """Return the photos of the other splits, except those of sources left out of training."""
    others = [photo for name in SPLITS if name != split for photo in read_split(data, name)]
    sources = detector.config.sources  # unknown for older models
    return [photo for photo in others if not sources or photo.source in sources]


def exported(model: str | Path) -> str | Path:
    """Return the model that `--report` measures: the export of a run, or any other model as given.

    Raises:
        UserError: the run was not exported.
    """
    if not is_run(Path(model)):
        return model
    export = Path(model) / EXPORT
    if not (export / CONFIG_FILE).is_file():
        raise UserError(f"{model} was not exported to {export}: run `export {model}` first.")
    return export


def summarise(figures: Mapping) -> dict:
    """Return the figures of a split that `detector.json` holds.

    Those of the tiers are their rates and evidence, without sources and changes.
    """
    summary = {name: figures[name] for name in SUMMARY if name in figures}
    if "tiers" in figures:
        summary["tiers"] = {
            tier: {name: rates[name] for name in rates if name not in ("by_source", "changed")}
            for tier, rates in figures["tiers"].items()
        }
    return summary


def _tell(folder: Path, figures: Mapping) -> None:
    """Write the figures of the test split into a model's `detector.json`."""
    config = DetectorConfig.load(folder)
    kept = {key: value for key, value in config.metrics.get("test", {}).items() if key == "note"}
    metrics = config.metrics | {"test": summarise(figures) | kept}
    replace(config, metrics=metrics, promise=promise_of(figures)).save(folder)


def evaluate_folds(
    run: Path,
    data: Path,
    folds: int,
    *,
    backbone_weights: str | None = None,
    output: Path | None = None,
    samples: int = SAMPLES,
) -> dict:
    """Train with a run's settings once per fold, and return figures of the out-of-fold scores.

    The networks stay below `run/folds`, so that a second call resumes where the first stopped.
    Each network's scores are calibrated on its fold's validation split before they are pooled. They
    are saved for `read_fold_scores`.

    Args:
        run: folder of a run, whose settings are used.
        data: the prepared folder that it was trained on; all of its photos are split anew.
        folds: 2, 4, 5 or 10.
        backbone_weights: needed again if the run was given a path.
        output: folder for the files; `run/folds` by default.
        samples: bootstrap samples of the intervals.

    Raises:
        UserError: the run or the data is not what it should be.
    """
    photos = read_all(data)
    strata, groups = [photo.stratum for photo in photos], [photo.group for photo in photos]
    assigned = assign_folds(strata, groups, read_report(data)["seed"], folds)
    probabilities = np.empty(len(photos))
    for fold, split_of_photo in enumerate(assigned):
        members = {
            split: [
                photo
                for photo, photo_split in zip(photos, split_of_photo, strict=True)
                if photo_split == split
            ]
            for split in SPLITS
        }
        log.info("Fold %d of %d.", fold + 1, folds)
        folder = Path(run) / FOLDS_FOLDER / f"{fold + 1}-of-{folds}"
        tested = np.array(split_of_photo) == "test"
        probabilities[tested] = _fold_scores(Path(run), data, folder, members, backbone_weights)
    by_name = dict(zip(_names(photos, data), probabilities.tolist(), strict=True))
    path = Path(run) / FOLDS_FOLDER / FOLD_SCORES
    write_json(path, {"folds": folds, "scores": by_name}, indent=0)
    figures = _figures(data, f"{folds} folds", photos, probabilities, EVEN_THRESHOLDS, samples)
    _write(figures, photos, probabilities, Path(output or Path(run) / FOLDS_FOLDER))
    return figures


def read_fold_scores(run: Path, data: Path, photos: Sequence[Photo]) -> tuple[int, np.ndarray]:
    """Return what `evaluate_folds` saved in a run: the number of folds, and the scores `[photos]`.

    Raises:
        UserError: there are no scores, or they belong to other photos.
    """
    path = Path(run) / FOLDS_FOLDER / FOLD_SCORES
    advice = f"run `python -m training evaluate {run} --folds 5`"
    if not path.is_file():
        raise UserError(f"{path} is missing: {advice} first.")
    stored = json.loads(path.read_text())
    names = _names(photos, data)
    if stored["scores"].keys() != set(names):
        raise UserError(f"{path} does not belong to the photos of {data}: {advice} again.")
    return stored["folds"], np.array([stored["scores"][name] for name in names])


def log_metrics(figures: dict, output: str | Path) -> None:
    """Log the main figures, with the majority baseline beside them."""
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
    for tier, rates in figures.get("tiers", {}).items():
        log.info(
            "Real photos called fake, %s: %s.",
            TIERS[tier],
            show_rate(rates["real_called_fake"]),
        )
    broken = figures.get("promises_broken", ())
    for sentence in broken:
        log.warning("%s", in_red(sentence))
    if broken:
        log.warning("%s", in_red("So this model is not called calibrated."))


def in_red(text: str) -> str:
    """Return a text in red for a terminal, unchanged for a file."""
    return f"\033[31m{text}\033[0m" if sys.stderr.isatty() else text


def _names(photos: Sequence[Photo], data: Path) -> list[str]:
    return [photo.path.relative_to(data).as_posix() for photo in photos]


def _warn_of_other_data(run: Path, data: Path) -> None:
    if is_run(run) and Run.open(run).fingerprint != read_report(data)["fingerprint"]:
        log.warning(
            "%s is not the data that %s was trained on: it may have been trained on photos that it "
            "is measured on now.",
            data,
            run,
        )


def _fold_scores(
    run: Path,
    data: Path,
    folder: Path,
    members: Mapping[str, Sequence[Photo]],
    backbone_weights: str | None,
) -> np.ndarray:
    """Train a fold's network unless it exists, and return its scores for the test photos."""
    from training.fit.train import repeat_run
    from training.measure.calibrate import calibrate

    repeat_run(run, data, folder, members, backbone_weights)
    validation = members["validation"]
    uncalibrated = scores(Run.open(folder), [*validation, *members["test"]])
    calibration = calibrate(
        np.array([photo.is_fake for photo in validation], dtype=int),
        uncalibrated[: len(validation)],
        [photo.group for photo in validation],
        [photo.source for photo in validation],
    )
    return np.array([calibration.apply(score) for score in uncalibrated[len(validation) :]])


def _figures(
    data: Path,
    split: str,
    photos: Sequence[Photo],
    scores: np.ndarray,
    thresholds: Mapping[str, float],
    samples: int,
    verdicts: np.ndarray | None = None,
) -> dict:
    """Return the figures of scores, with the split and the data that they come from."""
    pairs = read_source_pairs(data, photos)
    return {
        "split": split,
        "data_fingerprint": read_report(data)["fingerprint"],
        **compute_metrics(
            photos,
            scores,
            thresholds=thresholds,
            verdicts=verdicts,
            pairs=pairs,
            samples=samples,
        ),
    }


def _write(figures: dict, photos: Sequence[Photo], scores: np.ndarray, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    write_report(figures, photos, scores, output)
    write_json(output / METRICS, figures)
