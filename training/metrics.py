"""Figures of a detector, each with a 95 % interval.

The intervals are percentiles over bootstrap samples (Efron and Tibshirani 1993) that draw whole
groups: photos that share a source are no independent evidence.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import sklearn
from scipy.optimize import brentq
from sklearn import metrics

from training.dataset import DIFFICULTIES, LABELS, PARTS, PhotoRow
from training.errors import UserError

SAMPLES = 2000
SEED = 0
MIN_PHOTOS = 20
CALIBRATION_BINS = 10
THRESHOLD = 0.5  # of accuracy, balanced accuracy and the confusion matrix


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: on the photos as they are; `None`, like the bounds, where it is not defined.
        low: 2.5th percentile over the bootstrap samples.
        high: 97.5th percentile.
    """

    value: float | None
    low: float | None
    high: float | None


def estimate(
    statistics: Callable[[np.ndarray], Mapping[str, float]],
    groups: Sequence[str],
    *,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> dict[str, dict[str, float | None]]:
    """Give several figures of the same photos their intervals.

    Args:
        statistics: computes the figures from integer weights `[photos]` that say how often each
            photo was drawn; NaN where a sample does not allow one (it holds one label only).
        groups: the group of each photo; groups are drawn whole, with replacement.
        samples: number of bootstrap samples.
        seed: of the draws.

    Returns:
        An `Estimate` by name, as a dict that JSON can hold.
    """
    _, group_of_photo = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = group_of_photo.max() + 1
    rng = np.random.default_rng(seed)
    everyone = statistics(np.ones(len(group_of_photo), dtype=int))
    drawn: dict[str, list[float]] = {name: [] for name in everyone}
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        for _ in range(samples):
            counts = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
            for name, value in statistics(counts[group_of_photo]).items():
                drawn[name].append(value)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice")
        bounds = {name: np.nanpercentile(values, [2.5, 97.5]) for name, values in drawn.items()}
    return {
        name: asdict(Estimate(*(None if np.isnan(x) else float(x) for x in (value, *bounds[name]))))
        for name, value in everyone.items()
    }


def compute_metrics(
    photos: Sequence[PhotoRow],
    scores: np.ndarray,
    *,
    thresholds: Mapping[str, float],
    pairs: Sequence[tuple[int, int]] = (),
    samples: int = SAMPLES,
) -> dict:
    """Compare probabilities of fake with the labels.

    Args:
        photos: the photos; both labels must occur.
        scores: probabilities of fake `[photos]`.
        thresholds: from `fake` upwards a photo is called fake, below `real` real, and between them
            inconclusive.
        pairs: positions of a fake and of the real photo that it was made from.
        samples: number of bootstrap samples.

    Returns:
        What JSON can hold. Plain numbers: `photos`, `fakes`, `groups`, `pairs` and
        `majority_baseline`, the accuracy of always naming the label that is more frequent. Figures
        with their interval (`value`, `low`, `high`): see `_overall`, and `verdicts`.
        `by_difficulty` and `by_part`: the fakes concerned, each against the real photos of its own
        source (`fakes`, `roc_auc`, `called_fake`). `by_source`: what holds for the photos of one
        source alone (`photos`, `fakes`, `pairs`, `roc_auc`, which is against all real photos where
        it has none, `paired_ranking`, the shares of `verdicts`, and `called_fake`, which is
        `fake_called_fake` by its name among the kinds).
        `confusion_matrix[true][predicted]` and `per_class` at a threshold of 0.5.

    Raises:
        UserError: one label is missing, or there are fewer than 20 photos.
    """
    check_measurable(photos)
    truth = _truth(photos)
    groups = [photo.group for photo in photos]
    judged = (scores >= THRESHOLD).astype(int)

    def overall(weights: np.ndarray) -> dict[str, float]:
        return _overall(truth, scores, pairs, weights)

    def verdicts(weights: np.ndarray) -> dict[str, float]:
        return _verdicts(truth, scores, thresholds, weights)

    return {
        "photos": len(photos),
        "fakes": int(truth.sum()),
        "groups": len(set(groups)),
        "pairs": len(pairs),
        "bootstrap_samples": samples,
        "majority_baseline": float(max(truth.mean(), 1 - truth.mean())),
        **estimate(overall, groups, samples=samples),
        "thresholds": dict(thresholds),
        "verdicts": estimate(verdicts, groups, samples=samples),
        **_by_kind(photos, scores, thresholds, samples),
        "by_source": _by_source(photos, scores, pairs, thresholds, samples),
        "confusion_matrix": metrics.confusion_matrix(truth, judged, labels=[0, 1]).tolist(),
        "per_class": metrics.classification_report(
            truth, judged, labels=[0, 1], target_names=LABELS, output_dict=True, zero_division=0.0
        ),
    }


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


def roc_auc(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the area under the ROC curve, NaN where the weights leave one label only."""
    present = truth if weights is None else truth[weights > 0]
    if len(np.unique(present)) < len(LABELS):
        return float("nan")
    return float(metrics.roc_auc_score(truth, scores, sample_weight=weights))


def source_aucs(truth: np.ndarray, scores: np.ndarray, sources: Sequence[str]) -> dict[str, float]:
    """Return the ROC AUC of the fakes of each source against its own real photos, or against all
    real photos where it has none.

    Args:
        truth: labels `[photos]`, 1 = fake; both must occur.
        scores: any scores `[photos]` that are higher for fake.
        sources: of each photo; one without fakes has no figure.
    """
    members = opposed(truth, sources)
    return {name: roc_auc(truth[of], scores[of]) for name, of in members.items()}


def opposed(truth: np.ndarray, sources: Sequence[str]) -> dict[str, np.ndarray]:
    """Return, for each source with fakes, which photos `[photos]` tell how well these are found:
    its own, and all real ones where it has none."""
    names = np.asarray(sources)
    members = {}
    for name in np.unique(names[truth == 1]).tolist():
        own = names == name
        members[name] = own if (truth[own] == 0).any() else own | (truth == 0)
    return members


def source_weights(sources: Sequence[str]) -> np.ndarray:
    """Return the weight of each photo `[photos]` by which every source counts as the square root
    of its size, as it is drawn in training; their mean is 1."""
    _, position, sizes = np.unique(np.asarray(sources), return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(sizes[position])
    return weights / weights.mean()


def mean_auc(truth: np.ndarray, scores: np.ndarray, sources: Sequence[str]) -> float:
    """Return the mean of `source_aucs`, each by the square root of the number of its photos: by
    this figure networks and formats are chosen, and it is reported.

    Args:
        truth: labels `[photos]`, 1 = fake; both must occur.
        scores: any scores `[photos]` that are higher for fake.
        sources: of each photo.
    """
    aucs = source_aucs(truth, scores, sources)
    sizes = [np.sum(np.asarray(sources) == name) for name in aucs]
    # A plain mean would follow the chance hits of the smallest source.
    return float(np.average(list(aucs.values()), weights=np.sqrt(sizes)))


def weighted_auc(
    truth: np.ndarray, scores: np.ndarray, sources: Sequence[str] | None = None
) -> Callable[[np.ndarray], float]:
    """Return ROC AUC as a function of the photos' weights `[photos]`, NaN where they leave one
    label.

    It is the share of all pairs of a fake and a real photo in which the fake scores higher (Hanley
    and McNeil 1982); a tie counts half. As the scores stay and the weights alone change, they are
    sorted once: `sklearn.metrics.roc_auc_score`, which sorts anew in every bootstrap sample, takes
    minutes for all kinds of fakes.

    Args:
        truth: labels `[photos]`, 1 = fake.
        scores: any scores `[photos]` that are higher for fake.
        sources: of each photo; only pairs of one source count. A source shows in its cameras and
            its compression, and without this a model gets credit for telling a fake of one source
            from a real photo of another.
    """
    names = np.zeros(len(truth)) if sources is None else np.asarray(sources)
    members = [np.flatnonzero(names == name) for name in np.unique(names)]
    ranked = [(own, np.unique(scores[own], return_inverse=True)[1]) for own in members]

    def auc(weights: np.ndarray) -> float:
        wins = pairs = 0.0
        for own, level in ranked:  # photos of one level have one score
            fakes = np.bincount(level, (weights * truth)[own])
            reals = np.bincount(level, (weights * (1 - truth))[own])
            wins += fakes @ (np.cumsum(reals) - 0.5 * reals)
            pairs += fakes.sum() * reals.sum()
        return float(wins / pairs) if pairs else float("nan")

    return auc


def auc_estimate(
    truth: np.ndarray, scores: np.ndarray, groups: Sequence[str], *, samples: int = SAMPLES
) -> dict[str, float]:
    """Return the ROC AUC with its interval: `value`, `low`, `high`.

    Args:
        truth: labels `[photos]`, 1 = fake.
        scores: any scores `[photos]` that are higher for fake.
        groups: the group of each photo.
        samples: number of bootstrap samples.
    """
    return estimate(
        lambda weights: {"roc_auc": roc_auc(truth, scores, weights)}, groups, samples=samples
    )["roc_auc"]


def paired_ranking(
    scores: np.ndarray, pairs: Sequence[tuple[int, int]], weights: np.ndarray
) -> float:
    """Return how often a fake scores above the photo it was made from; a tie counts half.

    Neither content nor compression can raise it, as both are the same on both sides. NaN without
    pairs.
    """
    if not len(pairs):
        return float("nan")
    fakes, reals = np.asarray(pairs).T
    total = weights[fakes].sum()
    wins = (scores[fakes] > scores[reals]) + 0.5 * (scores[fakes] == scores[reals])
    return float((weights[fakes] * wins).sum() / total) if total else float("nan")


def calibration_error(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """Return the expected calibration error over ten bins of equal width (Guo et al. 2017,
    https://arxiv.org/abs/1706.04599)."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights * (truth - scores), CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def _overall(
    truth: np.ndarray, scores: np.ndarray, pairs: Sequence[tuple[int, int]], weights: np.ndarray
) -> dict[str, float]:
    """Return the figures of all photos; those that rank need both labels and are NaN without."""
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
            "equal_error_rate": float(brentq(lambda x: 1 - x - np.interp(x, fpr, tpr), 0, 1)),
            "tpr_at_1_fpr": float(tpr[np.searchsorted(fpr, 0.01, side="right") - 1]),
            "tpr_at_5_fpr": float(tpr[np.searchsorted(fpr, 0.05, side="right") - 1]),
        }
    return figures


def _verdicts(
    truth: np.ndarray, scores: np.ndarray, thresholds: Mapping[str, float], weights: np.ndarray
) -> dict[str, float]:
    """Return shares of photos: inconclusive, mistaken by label, and right where there is a
    verdict."""
    called_fake = scores >= thresholds["fake"]
    called_real = ~called_fake & (scores < thresholds["real"])
    right = np.where(truth == 1, called_fake, called_real)

    def share(members: np.ndarray, of: np.ndarray) -> float:
        total = weights[of].sum()
        return float(weights[members & of].sum() / total) if total else float("nan")

    return {
        "inconclusive": share(~called_fake & ~called_real, np.ones_like(called_fake)),
        "real_called_fake": share(called_fake, truth == 0),
        "fake_called_real": share(called_real, truth == 1),
        "fake_called_fake": share(called_fake, truth == 1),
        "accuracy_where_decided": share(right, called_fake | called_real),
    }


def _by_kind(
    photos: Sequence[PhotoRow], scores: np.ndarray, thresholds: Mapping[str, float], samples: int
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
    found: dict[str, dict] = {kind: {} for kind in kinds}
    for kind, members in kinds.items():
        for name, concerned in members.items():
            fakes = (truth == 1) & np.array(concerned)
            chosen = np.flatnonzero(fakes | (truth == 0) & np.isin(sources, sources[fakes]))
            if len(np.unique(truth[chosen])) == len(LABELS):
                own = [photos[index] for index in chosen]
                found[kind][name] = _of_kind(own, scores[chosen], thresholds, samples)
    return found


def _of_kind(
    photos: Sequence[PhotoRow], scores: np.ndarray, thresholds: Mapping[str, float], samples: int
) -> dict:
    truth = _truth(photos)
    auc = weighted_auc(truth, scores, [photo.source for photo in photos])

    def statistics(weights: np.ndarray) -> dict[str, float]:
        verdicts = _verdicts(truth, scores, thresholds, weights)
        return {"roc_auc": auc(weights), "called_fake": verdicts["fake_called_fake"]}

    groups = [photo.group for photo in photos]
    return {"fakes": int(truth.sum()), **estimate(statistics, groups, samples=samples)}


def _by_source(
    photos: Sequence[PhotoRow],
    scores: np.ndarray,
    pairs: Sequence[tuple[int, int]],
    thresholds: Mapping[str, float],
    samples: int,
) -> dict[str, dict]:
    """Return the figures of each source, of its own photos and pairs; fakes alone are set against
    all real photos."""
    sources = np.array([photo.source for photo in photos])
    against = opposed(_truth(photos), sources)
    found = {}
    for name in sorted(set(sources.tolist())):
        own = sources == name
        among = against.get(name, own)
        members = np.flatnonzero(among)
        own_pairs = [pair for pair in pairs if own[pair[0]] and among[pair[1]]]
        found[name] = _of_source(
            [photos[index] for index in members],
            scores[members],
            own[members],
            np.searchsorted(members, own_pairs),  # positions among the members
            thresholds,
            samples,
        )
    return found


def _of_source(
    photos: Sequence[PhotoRow],
    scores: np.ndarray,
    own: np.ndarray,
    pairs: np.ndarray,
    thresholds: Mapping[str, float],
    samples: int,
) -> dict:
    """Return the figures of the photos of a source; those that are not its own count for the AUC
    alone."""
    truth = _truth(photos)
    auc = weighted_auc(truth, scores)

    def statistics(weights: np.ndarray) -> dict[str, float]:
        verdicts = _verdicts(truth, scores, thresholds, weights * own)
        return {
            "roc_auc": auc(weights),
            "paired_ranking": paired_ranking(scores, pairs, weights),
            "called_fake": verdicts["fake_called_fake"],
            **verdicts,
        }

    return {
        "photos": int(own.sum()),
        "fakes": int(truth[own].sum()),
        "pairs": len(pairs),
        **estimate(statistics, [photo.group for photo in photos], samples=samples),
    }


def _truth(photos: Sequence[PhotoRow]) -> np.ndarray:
    return np.array([photo.label == "fake" for photo in photos], dtype=int)
