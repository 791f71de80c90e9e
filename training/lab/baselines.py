"""Compare the detector with simpler methods: `python -m training baselines`.

All methods learn from the same photos. They are fitted to the training split, their
hyper-parameters are chosen by ROC AUC on the validation split, and they are judged once on the test
split. Like the network, none is refitted to training and validation photos together. A photo is
called fake from a probability of 0.5 upwards, or from an SVM's decision boundary upwards; no
threshold is tuned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from skimage.feature import hog, local_binary_pattern
from sklearn.base import ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm import tqdm

from space.detector import Detector
from space.photos import open_photo, resize_square
from training.config import SPLITS
from training.data.rows import Photo, read_report, read_source_pairs, read_split
from training.fit.network import build_model
from training.fit.photos import PhotoBatches
from training.folders import write_json
from training.measure.answers import ORIGINAL, ask
from training.measure.figures import THRESHOLD, check_measurable
from training.measure.markdown import markdown_table, show
from training.measure.metrics import SAMPLES, estimate, paired_ranking, roc_auc
from training.measure.scores import load_detector, scores
from training.run import Run

RESULTS = "baselines.json"
SEED = 0  # of the forest, and of a backbone with random weights
GREY_SIDE = 128  # px, for HOG and LBP
PROBE_SIDE = 224  # px, what the backbone was trained on
LBP_CELLS = 4  # histograms a side
LBP_CIRCLES = ((8, 1), (16, 2))  # points and radius in px
TITLES = {
    "majority": "always the more frequent label",
    "hog_svm": "HOG + SVM",
    "lbp_forest": "LBP + random forest",
    "linear_probe": "linear probe of the frozen backbone",
    "run": "plain fine-tuned network",
    "model": "exported model",
}
FIGURES = {"roc_auc": "ROC AUC", "accuracy": "accuracy", "paired_ranking": "paired ranking"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A classifier and the hyper-parameters to choose from.

    Attributes:
        estimator: scikit-learn classifier.
        grid: argument of `sklearn.model_selection.ParameterGrid`.
        threshold: score from which a photo is called fake.
    """

    estimator: ClassifierMixin
    grid: dict | list[dict]
    threshold: float = THRESHOLD


CANDIDATES = {
    "majority": Candidate(DummyClassifier(strategy="most_frequent"), {}),
    "hog_svm": Candidate(
        SVC(),
        [
            {"kernel": ["linear"], "C": [0.01, 0.1, 1]},
            {"kernel": ["rbf"], "C": [0.3, 1, 3, 10]},
        ],
        threshold=0.0,
    ),
    "lbp_forest": Candidate(
        RandomForestClassifier(300, random_state=SEED, n_jobs=2),
        {"min_samples_leaf": [1, 3, 10], "max_features": ["sqrt", 0.2]},
    ),
    "linear_probe": Candidate(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        {"logisticregression__C": [float(c) for c in np.logspace(-6, 0, 7)]},
    ),
}


def baselines(
    data: Path,
    *,
    backbone_weights: str,
    run: Path | None = None,
    model: Path | None = None,
    output: Path | None = None,
    samples: int = SAMPLES,
) -> dict:
    """Write `baselines.json`, log the table, and return the figures.

    Args:
        data: folder that `prepare` wrote.
        backbone_weights: of the linear probe: `imagenet`, `none` or the path of a weights file.
        run: folder of a finished run, measured with Keras, uncalibrated.
        model: folder of an exported model, measured with `space.detector.Detector`.
        output: file to write, by default `baselines.json` in the data's folder.
        samples: bootstrap samples for the intervals.

    Returns:
        A JSON-compatible dict: the photos and settings of the measurement, and under `methods` by
        name `roc_auc`, `accuracy` and `paired_ranking` on the test split, with their intervals
        (`value`, `low`, `high`), the `threshold` of the accuracy, and for methods fitted here the
        hyper-parameters `chosen` and their `validation_roc_auc`.

    Raises:
        UserError: data, weights, run or model cannot be used, or a split holds one label only or
            fewer than 20 photos.
    """
    splits = _read_splits(data)
    detector = load_detector(model) if model else None
    # Wrong flags fail here, before the fits take minutes.
    given = _score_given(data, splits["test"], run, detector)
    fitted = _fit_all(splits, backbone_weights)
    results = {
        "split": "test",
        "data_fingerprint": read_report(data)["fingerprint"],
        "photos": len(splits["test"]),
        "fakes": sum(photo.is_fake for photo in splits["test"]),
        "seed": SEED,
        "bootstrap_samples": samples,
        "backbone_weights": Path(backbone_weights).name,
        "model_sha256": detector and detector.config.sha256,
        **_measure(data, splits["test"], {**fitted, **given}, samples),
    }
    output = output or Path(data) / RESULTS
    write_json(output, results)
    log.info("%s:\n%s", output, baselines_table(results))
    return results


def fit_best(
    candidate: Candidate, features: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict]:
    """Fit a classifier with each choice of hyper-parameters; return the scores of the best.

    Args:
        candidate: the classifier.
        features: `[photos, features]` of `"train"`, `"validation"` and `"test"`.
        truth: labels `[photos]` of `"train"` and `"validation"`, 1 = fake.

    Returns:
        The scores of the test photos `[photos]`, and the `threshold`, the hyper-parameters
        `chosen` by the ROC AUC of the validation photos (the first of equals) and that AUC.
    """
    best, best_auc, chosen = None, -1.0, {}
    for parameters in ParameterGrid(candidate.grid):
        fitted = clone(candidate.estimator).set_params(**parameters)
        fitted.fit(features["train"], truth["train"])
        auc = roc_auc(truth["validation"], _scores(fitted, features["validation"]))
        if auc > best_auc:
            best, best_auc, chosen = fitted, auc, parameters
    facts = {"threshold": candidate.threshold, "chosen": chosen, "validation_roc_auc": best_auc}
    return _scores(best, features["test"]), facts


def hog_features(grey: np.ndarray) -> np.ndarray:
    """Return histograms of oriented gradients of a grey photo.

    From Dalal and Triggs 2005 (https://doi.org/10.1109/CVPR.2005.177).

    Args:
        grey: `uint8` `[128, 128]`.

    Returns:
        `float64` `[1764]`: 9 orientations in cells of 16 px, in overlapping blocks of 2 x 2 cells.
    """
    return hog(grey, orientations=9, pixels_per_cell=(16, 16), cells_per_block=(2, 2))


def lbp_features(grey: np.ndarray) -> np.ndarray:
    """Return histograms of uniform local binary patterns of a grey photo.

    From Ojala et al. 2002 (https://doi.org/10.1109/TPAMI.2002.1017623). Histograms of a grid of
    cells keep the parts of the face apart, as in Ahonen et al. 2006
    (https://doi.org/10.1109/TPAMI.2006.244).

    Args:
        grey: `uint8` `[128, 128]`.

    Returns:
        `float64` `[448]`: the shares of the patterns of 8 points at 1 px and of 16 points at 2 px
        in 4 x 4 cells.
    """
    parts = []
    for points, radius in LBP_CIRCLES:
        patterns = local_binary_pattern(grey, points, radius, method="uniform").astype(int)
        for rows in np.array_split(patterns, LBP_CELLS):
            for cell in np.array_split(rows, LBP_CELLS, axis=1):
                parts.append(np.bincount(cell.ravel(), minlength=points + 2) / cell.size)
    return np.concatenate(parts)


def baselines_table(results: Mapping) -> str:
    """Return the results of `baselines` as a Markdown table, a row for each method."""
    rows = [
        (TITLES[name], *(show(method[figure]) for figure in FIGURES))
        for name, method in results["methods"].items()
    ]
    return markdown_table(("method", *FIGURES.values()), rows)


def _read_splits(data: Path) -> dict[str, list[Photo]]:
    """Return the photos of all splits, checked to be measurable."""
    splits = {split: read_split(data, split) for split in SPLITS}
    for photos in splits.values():
        check_measurable(photos)
    return splits


def _measure(
    data: Path,
    photos: Sequence[Photo],
    scored: Mapping[str, tuple[np.ndarray, dict]],
    samples: int,
) -> dict:
    """Return the number of `pairs`, and under `methods` the test figures of each in order."""
    pairs = read_source_pairs(data, photos)
    methods = {
        name: {**facts, **_figures(photos, scores, facts["threshold"], pairs, samples)}
        for name, (scores, facts) in scored.items()
    }
    return {
        "pairs": len(pairs),
        "methods": {name: methods[name] for name in TITLES if name in methods},
    }


def _score_given(
    data: Path, photos: Sequence[Photo], run: Path | None, detector: Detector | None
) -> dict[str, tuple[np.ndarray, dict]]:
    """Return the scores of the test photos by the run and the model, where given."""
    facts = {"threshold": THRESHOLD}
    given = {}
    if run is not None:
        trained = Run.open(run)
        trained.check_data(data)
        given["run"] = scores(trained, photos), facts
    if detector is not None:
        given["model"] = ask(detector, photos)[ORIGINAL].probabilities, facts
    return given


def _fit_all(
    splits: Mapping[str, Sequence[Photo]], backbone_weights: str
) -> dict[str, tuple[np.ndarray, dict]]:
    """Return the scores of the test photos and the chosen hyper-parameters, by method."""
    truth = {
        split: np.array([photo.is_fake for photo in photos], dtype=int)
        for split, photos in splits.items()
    }
    features = {
        "linear_probe": _probe_features(splits, backbone_weights),
        "hog_svm": _grey_features(splits, hog_features, "HOG"),
        "lbp_forest": _grey_features(splits, lbp_features, "LBP"),
    }
    features["majority"] = features["lbp_forest"]  # which it ignores
    progress = tqdm(features.items(), desc="Fitting", unit="method")
    return {
        name: fit_best(CANDIDATES[name], method_features, truth)
        for name, method_features in progress
    }


def _probe_features(
    splits: Mapping[str, Sequence[Photo]], backbone_weights: str
) -> dict[str, np.ndarray]:
    """Return the backbone's pooled features `[photos, 1280]` by split."""
    keras.utils.set_random_seed(SEED)
    network = build_model(
        backbone_weights=backbone_weights, trainable_layers=0, input_size=PROBE_SIDE
    )
    backbone = keras.Model(network.input, network.get_layer("pooled").output)
    return {
        split: backbone.predict(PhotoBatches(photos, batch_size=32, input_size=PROBE_SIDE))
        for split, photos in splits.items()
    }


def _grey_features(
    splits: Mapping[str, Sequence[Photo]],
    describe: Callable[[np.ndarray], np.ndarray],
    what: str,
) -> dict[str, np.ndarray]:
    """Return the descriptors `[photos, features]` of the grey photos by split."""
    features = {}
    for split, photos in splits.items():
        progress = tqdm(photos, desc=f"{what}, {split}", unit="photo")
        features[split] = np.stack([describe(_read_grey(photo.path)) for photo in progress])
    return features


def _read_grey(path: Path) -> np.ndarray:
    return np.asarray(resize_square(open_photo(path), GREY_SIDE).convert("L"))


def _scores(fitted: ClassifierMixin, features: np.ndarray) -> np.ndarray:
    """Return the probabilities of fake, or an SVM's distances to its decision boundary."""
    if hasattr(fitted, "predict_proba"):
        return fitted.predict_proba(features)[:, 1]
    return fitted.decision_function(features)


def _figures(
    photos: Sequence[Photo],
    scores: np.ndarray,
    threshold: float,
    pairs: Sequence[tuple[int, int]],
    samples: int,
) -> dict[str, dict]:
    """Return the test figures of a method with their intervals."""
    truth = np.array([photo.is_fake for photo in photos], dtype=int)
    correct = (scores >= threshold) == truth

    def statistics(weights: np.ndarray) -> dict[str, float]:
        return {
            "roc_auc": roc_auc(truth, scores, weights),
            "accuracy": float(np.average(correct, weights=weights)),
            "paired_ranking": paired_ranking(scores, pairs, weights),
        }

    return estimate(statistics, [photo.group for photo in photos], samples=samples)
