"""Give a score a meaning: turn it into a probability, and choose the thresholds of the verdicts.

Both on the validation split, which training saw only to choose an epoch, and both as
`second_look.give_meaning` asks for them during an export.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from space.contract import Calibration, ScoreBin
from training.measure.metrics import source_weights
from training.measure.promise import MAX_FAKE_CALLED_REAL, MAX_REAL_CALLED_FAKE

FOLDS = 5
BIN_PHOTOS = 40  # at least, of a bin of `ScoreBin`
CLIP = 1e-6


def balanced_weights(truth: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """Return a weight for each photo `[photos]` by which half of all are fake and, within a label,
    every source counts as the square root of its size: no large source that is easy pays for a
    small one that is hard.

    Args:
        truth: labels `[photos]`, 1 = fake.
        sources: the source of each photo; one may lack a label.
    """
    weights = np.empty(len(truth))
    names = np.asarray(sources)
    for label in np.unique(truth):
        own = truth == label
        weights[own] = source_weights(names[own]) * len(truth) / (2 * own.sum())
    return weights


def calibrate(
    truth: np.ndarray, scores: np.ndarray, groups: Sequence[str], sources: Sequence[str]
) -> Calibration:
    """Choose between temperature scaling and Platt scaling by their log loss out of fold, by
    `balanced_weights`.

    Platt scaling has one parameter more, so that its loss on the photos it was fitted to is always
    the lower one: both are compared on folds that they were not fitted to.

    Args:
        truth: labels `[photos]`, 1 = fake.
        scores: the network's probabilities of fake `[photos]`.
        groups: the group of each photo; a group is in one fold.
        sources: the source of each photo.
    """
    log_odds = logit(np.clip(scores, CLIP, 1 - CLIP))
    weights = balanced_weights(truth, sources)
    fits = {"temperature": _fit_temperature, "platt": _fit_platt}
    folds = list(
        StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(log_odds, truth, groups)
    )
    losses = {}
    for method, fit in fits.items():
        out_of_fold = np.empty(len(truth))
        for fitted, held_out in folds:
            slope, intercept = fit(truth[fitted], log_odds[fitted], weights[fitted])
            out_of_fold[held_out] = slope * log_odds[held_out] + intercept
        losses[method] = _log_loss(truth, out_of_fold, weights)
    method = min(losses, key=losses.__getitem__)
    slope, intercept = fits[method](truth, log_odds, weights)
    return Calibration(method, slope, intercept)


def choose_thresholds(
    truth: np.ndarray, probabilities: np.ndarray, sources: Sequence[str]
) -> dict[str, float]:
    """Return the thresholds of the verdicts for calibrated probabilities of fake.

    By `source_weights` of the photos of a label, at most `MAX_REAL_CALLED_FAKE` of the real photos
    reach `fake`, and at most `MAX_FAKE_CALLED_REAL` of the fakes lie below `real`. As if one more
    photo of the mean weight were mistaken, so that the promise holds for new photos like these
    (split conformal prediction; Angelopoulos and Bates 2021, https://arxiv.org/abs/2107.07511).
    Nor does more than that share of any one source's real photos reach `fake`, where it has as many
    as tell such a share: whoever resembles those of a hard source must not pay for the easy ones.

    Args:
        truth: labels `[photos]`, 1 = fake.
        probabilities: `[photos]`, below 1 (no threshold lies above a probability of exactly 1).
        sources: the source of each photo; one may lack a label.

    Returns:
        `fake` and `real`, which is never the higher one. A model that can keep both promises with
        one threshold gets one, halfway.
    """
    names = np.asarray(sources)
    reals, fakes = truth == 0, truth == 1
    limit = -_limit(-probabilities[reals], names[reals], MAX_REAL_CALLED_FAKE)
    for source in np.unique(names[reals]):
        own = np.sort(probabilities[reals & (names == source)])[::-1]
        if allowed := int(MAX_REAL_CALLED_FAKE * len(own)):
            limit = max(limit, own[allowed])
    fake = float(np.nextafter(limit, 1))  # one above the first real photo that may not reach it
    real = float(_limit(probabilities[fakes], names[fakes], MAX_FAKE_CALLED_REAL))
    if real > fake:
        real = fake = (real + fake) / 2
    return {"real": real, "fake": fake}


def _limit(values: np.ndarray, sources: np.ndarray, share: float) -> float:
    """Return the first of the sorted values that no more than a share of the photos, by weight,
    may lie below."""
    order = np.argsort(values, kind="stable")
    mistaken = np.cumsum(source_weights(sources)[order])  # with the photo itself among them
    allowed = share * (len(values) + 1) - 1
    passed = int(np.searchsorted(mistaken, allowed + 1e-9, side="right"))
    return values[order[min(passed, len(values) - 1)]]


def describe_scores(
    truth: np.ndarray, probabilities: np.ndarray, sources: Sequence[str]
) -> list[ScoreBin]:
    """Return what share of the photos at each probability was fake, by `balanced_weights`, in bins
    of equal counts.

    Args:
        truth: labels `[photos]`, 1 = fake.
        probabilities: calibrated, `[photos]`.
        sources: the source of each photo.

    Returns:
        Bins from 0 to 1 without gaps.
    """
    weights = balanced_weights(truth, sources)
    order = np.argsort(probabilities, kind="stable")
    bins = np.array_split(order, max(1, len(order) // BIN_PHOTOS))
    edges = [
        float((probabilities[left[-1]] + probabilities[right[0]]) / 2)
        for left, right in pairwise(bins)
    ]
    return [
        ScoreBin(
            low, high, len(members), float(np.average(truth[members], weights=weights[members]))
        )
        for low, high, members in zip([0.0, *edges], [*edges, 1.0], bins, strict=True)
    ]


def _log_loss(truth: np.ndarray, log_odds: np.ndarray, weights: np.ndarray) -> float:
    """As scikit-learn's, whose checks of its input take longer than a fit does."""
    losses = np.logaddexp(0, np.where(truth == 1, -log_odds, log_odds))
    return float(np.average(losses, weights=weights))


def _fit_temperature(
    truth: np.ndarray, log_odds: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """Return slope (1 / temperature) and intercept 0 (Guo et al. 2017,
    https://arxiv.org/abs/1706.04599)."""

    def loss(exponent: float) -> float:
        return _log_loss(truth, np.exp(exponent) * log_odds, weights)

    result = minimize_scalar(loss, bounds=(np.log(0.01), np.log(100)), method="bounded")
    return float(np.exp(result.x)), 0.0


def _fit_platt(truth: np.ndarray, log_odds: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept (Platt 1999)."""
    fitted = LogisticRegression(C=np.inf).fit(log_odds[:, None], truth, sample_weight=weights)
    # A falling slope would turn the ranking around: a model that bad is left as it is ranked.
    return max(float(fitted.coef_[0, 0]), 0.01), float(fitted.intercept_[0])
