"""Figures of a detector, and their 95 % intervals.

The intervals are percentiles over bootstrap samples (Efron and Tibshirani 1993) that draw whole
groups, because photos that share a source are not independent.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import sklearn
from scipy.optimize import brentq
from sklearn import metrics

from training.data.rows import LABELS

SAMPLES = 2000
SEED = 0
CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: on the photos themselves; `None`, like the bounds, where it is undefined.
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
    """Return several figures of the same photos with their intervals.

    Args:
        statistics: computes the figures from integer weights `[photos]` that say how often each
            photo was drawn; NaN where a sample does not define one (it holds only one label).
        groups: the group of each photo; groups are drawn whole, with replacement.
        samples: number of bootstrap samples.
        seed: of the draws.

    Returns:
        An `Estimate` by name, as a JSON-serialisable dict.
    """
    _, group_of_photo = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = group_of_photo.max() + 1
    rng = np.random.default_rng(seed)
    on_all = statistics(np.ones(len(group_of_photo), dtype=int))
    drawn: dict[str, list[float]] = {name: [] for name in on_all}
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
        for name, value in on_all.items()
    }


def roc_auc(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the area under the ROC curve, NaN if the weights leave only one label."""
    present = truth if weights is None else truth[weights > 0]
    if len(np.unique(present)) < len(LABELS):
        return float("nan")
    return float(metrics.roc_auc_score(truth, scores, sample_weight=weights))


def source_aucs(truth: np.ndarray, scores: np.ndarray, sources: Sequence[str]) -> dict[str, float]:
    """Return the ROC AUC of each source's fakes against its own real photos.

    Those of a source without real photos are ranked against all real photos.

    Args:
        truth: labels `[photos]`, 1 = fake; both must occur.
        scores: any scores `[photos]` that are higher for fake.
        sources: the source of each photo; a source without fakes gets no figure.
    """
    members = opposed(truth, sources)
    return {name: roc_auc(truth[chosen], scores[chosen]) for name, chosen in members.items()}


def opposed(truth: np.ndarray, sources: Sequence[str]) -> dict[str, np.ndarray]:
    """Return a mask `[photos]` for each source with fakes: the photos its fakes are ranked among.

    These are its own photos, plus all real ones if it has none.
    """
    names = np.asarray(sources)
    members = {}
    for name in np.unique(names[truth == 1]).tolist():
        own = names == name
        members[name] = own if (truth[own] == 0).any() else own | (truth == 0)
    return members


def source_weights(sources: Sequence[str]) -> np.ndarray:
    """Return a weight for each photo `[photos]`, 1 on average.

    Every source counts as the square root of its size, as it is drawn in training.
    """
    _, position, sizes = np.unique(np.asarray(sources), return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(sizes[position])
    return weights / weights.mean()


def mean_auc(truth: np.ndarray, scores: np.ndarray, sources: Sequence[str]) -> float:
    """Return the mean of `source_aucs`, weighted by the square root of each source's size.

    This figure selects networks and formats, and it is reported.

    Args:
        truth: labels `[photos]`, 1 = fake; both must occur.
        scores: any scores `[photos]` that are higher for fake.
        sources: the source of each photo.
    """
    aucs = source_aucs(truth, scores, sources)
    sizes = [np.sum(np.asarray(sources) == name) for name in aucs]
    # The smallest source would dominate a plain mean with its noise.
    return float(np.average(list(aucs.values()), weights=np.sqrt(sizes)))


def weighted_auc(
    truth: np.ndarray, scores: np.ndarray, sources: Sequence[str] | None = None
) -> Callable[[np.ndarray], float]:
    """Return ROC AUC as a function of the photos' weights `[photos]`.

    It is the share of all pairs of a fake and a real photo in which the fake scores higher (Hanley
    and McNeil 1982); a tie counts half. It is NaN if the weights leave only one label. Only the
    weights change, so the scores are sorted once: `sklearn.metrics.roc_auc_score`, which sorts in
    every bootstrap sample, takes minutes for all kinds of fakes.

    Args:
        truth: labels `[photos]`, 1 = fake.
        scores: any scores `[photos]` that are higher for fake.
        sources: the source of each photo; only pairs within a source count. Cameras and compression
            reveal the source, so otherwise a model gets credit for telling a fake of one source
            from a real photo of another.
    """
    names = np.zeros(len(truth)) if sources is None else np.asarray(sources)
    members = [np.flatnonzero(names == name) for name in np.unique(names)]
    ranked = [(own, np.unique(scores[own], return_inverse=True)[1]) for own in members]

    def auc(weights: np.ndarray) -> float:
        wins = pairs = 0.0
        for own, level in ranked:  # photos of a level have the same score
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

    Neither content nor compression can raise it, because a pair shares both. NaN without pairs.
    """
    if not len(pairs):
        return float("nan")
    fakes, reals = np.asarray(pairs).T
    total = weights[fakes].sum()
    wins = (scores[fakes] > scores[reals]) + 0.5 * (scores[fakes] == scores[reals])
    return float((weights[fakes] * wins).sum() / total) if total else float("nan")


def equal_error_rate(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """Return the error rate at the threshold where it is the same for both labels.

    NaN if the weights leave only one label.
    """
    if len(np.unique(truth[weights > 0])) < len(LABELS):
        return float("nan")
    fpr, tpr, _ = metrics.roc_curve(truth, scores, drop_intermediate=False, sample_weight=weights)
    return crossing(fpr, tpr)


def crossing(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """Return the false positive rate at which a ROC curve misses the same share of fakes."""
    return float(brentq(lambda x: 1 - x - np.interp(x, fpr, tpr), 0, 1))


def calibration_error(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """Return the expected calibration error over ten bins of equal width.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    """
    bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights * (truth - scores), CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def weighted_share(weights: np.ndarray, hits: np.ndarray, among: np.ndarray) -> float:
    """Return the share of the weight of some photos that lies on hits; NaN if they weigh nothing.

    Args:
        weights: of all photos `[photos]`.
        hits: which photos are hits, boolean `[photos]`.
        among: which photos count, boolean `[photos]`.
    """
    total = weights[among].sum()
    return float(weights[hits & among].sum() / total) if total else float("nan")
