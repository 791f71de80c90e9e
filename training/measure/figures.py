"""All figures of scores, each with a 95 % interval: overall, by kind and by source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from sklearn import metrics

from training.data.rows import DIFFICULTIES, LABELS, PARTS, PhotoRow
from training.errors import UserError
from training.measure.metrics import (
    SAMPLES,
    calibration_error,
    crossing,
    estimate,
    opposed,
    paired_ranking,
    weighted_auc,
    weighted_share,
)

MIN_PHOTOS = 20
THRESHOLD = 0.5  # for accuracy, balanced accuracy and the confusion matrix


def compute_metrics(
    photos: Sequence[PhotoRow],
    scores: np.ndarray,
    *,
    thresholds: Mapping[str, float],
    verdicts: np.ndarray | None = None,
    pairs: Sequence[tuple[int, int]] = (),
    samples: int = SAMPLES,
) -> dict:
    """Return all figures that compare probabilities of fake with the labels.

    Args:
        photos: the photos; both labels must occur.
        scores: probabilities of fake `[photos]`.
        thresholds: a photo is called fake from `fake` upwards, real below `real`, and inconclusive
            in between.
        verdicts: `"real"`, `"fake"` or `"inconclusive"` `[photos]`, from a detector that abstains
            for other reasons too; those of the thresholds by default.
        pairs: positions of a fake and of the real photo that it was made from.
        samples: number of bootstrap samples.

    Returns:
        JSON-serialisable. Plain numbers: `photos`, `fakes`, `groups`, `pairs` and
        `majority_baseline`, the accuracy of always naming the more frequent label. Figures with
        their interval (`value`, `low`, `high`): see `_overall`, and `verdicts`. `by_difficulty` and
        `by_part`: the fakes concerned, each against the real photos of its own source (`fakes`,
        `roc_auc`, `called_fake`). `by_source`: the figures of one source's photos alone (`photos`,
        `fakes`, `pairs`, `roc_auc`, `paired_ranking`, the shares of `verdicts`, and `called_fake`,
        which repeats `fake_called_fake` under the name that the kinds use).
        `confusion_matrix[true][predicted]`: at a threshold of 0.5.

    Raises:
        UserError: one label is missing, or there are fewer than 20 photos.
    """
    check_measurable(photos)
    truth = _truth(photos)
    groups = [photo.group for photo in photos]
    verdicts = apply_thresholds(scores, thresholds) if verdicts is None else verdicts
    overall = partial(_overall, truth, scores, pairs)
    shares = partial(_verdict_shares, truth, verdicts)
    judged = (scores >= THRESHOLD).astype(int)
    return {
        **_plain_numbers(truth, groups, pairs, samples),
        **estimate(overall, groups, samples=samples),
        "thresholds": dict(thresholds),
        "verdicts": estimate(shares, groups, samples=samples),
        **_by_kind(photos, scores, verdicts, samples),
        "by_source": _by_source(photos, scores, pairs, verdicts, samples),
        "confusion_matrix": metrics.confusion_matrix(truth, judged, labels=[0, 1]).tolist(),
    }


def apply_thresholds(scores: np.ndarray, thresholds: Mapping[str, float]) -> np.ndarray:
    """Return the verdicts `[photos]` that probabilities of fake `[photos]` get."""
    below = np.where(scores < thresholds["real"], "real", "inconclusive")
    return np.where(scores >= thresholds["fake"], "fake", below)


def check_measurable(photos: Sequence[PhotoRow]) -> None:
    """Check that AUC can be measured on some photos.

    Raises:
        UserError: one label is missing, or there are fewer than 20 photos.
    """
    if len(photos) < MIN_PHOTOS:
        raise UserError(
            f"The split holds {len(photos)} photos, too few to measure: prepare at least "
            f"{MIN_PHOTOS} for it."
        )
    if len({photo.label for photo in photos}) < len(LABELS):
        raise UserError(
            f"The split holds {photos[0].label} photos only, but AUC takes both labels: prepare "
            "photos of both."
        )


def _plain_numbers(
    truth: np.ndarray, groups: Sequence[str], pairs: Sequence[tuple[int, int]], samples: int
) -> dict[str, int | float]:
    """Return what has no interval, see `compute_metrics`."""
    return {
        "photos": len(truth),
        "fakes": int(truth.sum()),
        "groups": len(set(groups)),
        "pairs": len(pairs),
        "bootstrap_samples": samples,
        "majority_baseline": float(max(truth.mean(), 1 - truth.mean())),
    }


def _overall(
    truth: np.ndarray, scores: np.ndarray, pairs: Sequence[tuple[int, int]], weights: np.ndarray
) -> dict[str, float]:
    """Return the figures of all photos; those of ranking are NaN unless both labels occur."""
    both = len(np.unique(truth[weights > 0])) == len(LABELS)
    judged = (scores >= THRESHOLD).astype(int)
    common = {"sample_weight": weights}
    recalls = [
        float(np.average(judged[truth == label] == label, weights=weights[truth == label]))
        for label in (0, 1)
        if both
    ]
    figures = {
        "roc_auc": float("nan"),
        "average_precision": float("nan"),
        "accuracy": float(metrics.accuracy_score(truth, judged, **common)),
        "balanced_accuracy": float(np.mean(recalls)) if both else float("nan"),
        "equal_error_rate": float("nan"),
        "tpr_at_1_fpr": float("nan"),
        "tpr_at_5_fpr": float("nan"),
        "brier_score": float(metrics.brier_score_loss(truth, scores, **common)),
        "calibration_error": calibration_error(truth, scores, weights),
        "paired_ranking": paired_ranking(scores, pairs, weights),
    }
    if both:
        fpr, tpr, _ = metrics.roc_curve(truth, scores, drop_intermediate=False, **common)
        figures |= {
            "roc_auc": float(metrics.auc(fpr, tpr)),
            "average_precision": float(metrics.average_precision_score(truth, scores, **common)),
            "equal_error_rate": crossing(fpr, tpr),
            "tpr_at_1_fpr": float(tpr[np.searchsorted(fpr, 0.01, side="right") - 1]),
            "tpr_at_5_fpr": float(tpr[np.searchsorted(fpr, 0.05, side="right") - 1]),
        }
    return figures


def _verdict_shares(
    truth: np.ndarray, verdicts: np.ndarray, weights: np.ndarray
) -> dict[str, float]:
    """Return shares of photos: inconclusive, mistaken by label, and right if decided."""
    called_fake, called_real = verdicts == "fake", verdicts == "real"
    right = np.where(truth == 1, called_fake, called_real)

    shares = {
        "inconclusive": (~called_fake & ~called_real, np.ones_like(called_fake)),
        "real_called_fake": (called_fake, truth == 0),
        "fake_called_real": (called_real, truth == 1),
        "fake_called_fake": (called_fake, truth == 1),
        "accuracy_where_decided": (right, called_fake | called_real),
    }
    return {name: weighted_share(weights, *members) for name, members in shares.items()}


def _by_kind(
    photos: Sequence[PhotoRow], scores: np.ndarray, verdicts: np.ndarray, samples: int
) -> dict[str, dict]:
    """Return the figures by difficulty and replaced part."""
    kinds = {
        "by_difficulty": {
            name: [photo.difficulty == name for photo in photos] for name in DIFFICULTIES
        },
        "by_part": {part: [getattr(photo, part) == 1 for photo in photos] for part in PARTS},
    }
    truth = _truth(photos)
    sources = np.array([photo.source for photo in photos])
    figures: dict[str, dict] = {kind: {} for kind in kinds}
    for kind, members in kinds.items():
        for name, concerned in members.items():
            fakes = (truth == 1) & np.array(concerned)
            chosen = np.flatnonzero(fakes | (truth == 0) & np.isin(sources, sources[fakes]))
            if len(np.unique(truth[chosen])) == len(LABELS):
                own = [photos[index] for index in chosen]
                figures[kind][name] = _of_kind(own, scores[chosen], verdicts[chosen], samples)
    return figures


def _of_kind(
    photos: Sequence[PhotoRow], scores: np.ndarray, verdicts: np.ndarray, samples: int
) -> dict:
    truth = _truth(photos)
    auc = weighted_auc(truth, scores, [photo.source for photo in photos])

    def statistics(weights: np.ndarray) -> dict[str, float]:
        shares = _verdict_shares(truth, verdicts, weights)
        return {"roc_auc": auc(weights), "called_fake": shares["fake_called_fake"]}

    groups = [photo.group for photo in photos]
    return {"fakes": int(truth.sum()), **estimate(statistics, groups, samples=samples)}


def _by_source(
    photos: Sequence[PhotoRow],
    scores: np.ndarray,
    pairs: Sequence[tuple[int, int]],
    verdicts: np.ndarray,
    samples: int,
) -> dict[str, dict]:
    """Return the figures of each source, on its own photos and pairs alone.

    A source without real photos is ranked against those of all others.
    """
    sources = np.array([photo.source for photo in photos])
    against = opposed(_truth(photos), sources)
    figures = {}
    for name in sorted(set(sources.tolist())):
        own = sources == name
        in_ranking = against.get(name, own)
        ranked = np.flatnonzero(in_ranking)
        own_pairs = [pair for pair in pairs if own[pair[0]] and in_ranking[pair[1]]]
        figures[name] = _of_source(
            [photos[index] for index in ranked],
            scores[ranked],
            own[ranked],
            np.searchsorted(ranked, own_pairs),  # positions among the ranked
            verdicts[ranked],
            samples,
        )
    return figures


def _of_source(
    photos: Sequence[PhotoRow],
    scores: np.ndarray,
    own: np.ndarray,
    pairs: np.ndarray,
    verdicts: np.ndarray,
    samples: int,
) -> dict:
    """Return the figures of a source's `own` photos, ranked among all photos given."""
    truth = _truth(photos)
    auc = weighted_auc(truth, scores)

    def statistics(weights: np.ndarray) -> dict[str, float]:
        shares = _verdict_shares(truth, verdicts, weights * own)
        return {
            "roc_auc": auc(weights),
            "paired_ranking": paired_ranking(scores, pairs, weights),
            "called_fake": shares["fake_called_fake"],
            **shares,
        }

    return {
        "photos": int(own.sum()),
        "fakes": int(truth[own].sum()),
        "pairs": len(pairs),
        **estimate(statistics, [photo.group for photo in photos], samples=samples),
    }


def _truth(photos: Sequence[PhotoRow]) -> np.ndarray:
    return np.array([photo.label == "fake" for photo in photos], dtype=int)
