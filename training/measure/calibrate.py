"""Turn scores into probabilities, and choose the thresholds of the verdicts.

Both use the validation split, which training saw only to choose an epoch. During an export,
`second_look.give_meaning` calls both.
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
BIN_PHOTOS = 40  # minimum of a `ScoreBin`
CLIP = 1e-6


def balanced_weights(truth: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """Return a weight for each photo `[photos]` that balances labels and sources.

    Fakes get half of the total weight. Within a label, every source counts as the square root of
    its size, so that a large, easy source cannot make up for a small, hard one.

    Args:
        truth: labels `[photos]`, 1 = fake.
        sources: the source of each photo; a source may lack a label.
    """
    weights = np.empty(len(truth))
    names = np.asarray(sources)
    for label in np.unique(truth):
        members = truth == label
        weights[members] = source_weights(names[members]) * len(truth) / (2 * members.sum())
    return weights


def calibrate(
    truth: np.ndarray, scores: np.ndarray, groups: Sequence[str], sources: Sequence[str]
) -> Calibration:
    """Return temperature or Platt scaling, whichever has the lower log loss out of fold.

    `balanced_weights` weight the loss. Platt scaling has one more parameter, so its loss on the
    photos it was fitted to is always the lower one. The two are therefore compared on held-out
    folds.

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

    Weighted by `source_weights` within each label, at most `MAX_REAL_CALLED_FAKE` of the real
    photos reach `fake`, and at most `MAX_FAKE_CALLED_REAL` of the fakes lie below `real`. Both
    count one more mistaken photo of mean weight, so that the promise holds for new photos like
    these (split conformal prediction; Angelopoulos and Bates 2021,
    https://arxiv.org/abs/2107.07511). `MAX_REAL_CALLED_FAKE` also holds within every source that
    has enough real photos to measure it, so that people who resemble those of a hard source do not
    pay for the easy ones.

    Args:
        truth: labels `[photos]`, 1 = fake.
        probabilities: `[photos]`, below 1 (no threshold lies above a probability of exactly 1).
        sources: the source of each photo; a source may lack a label.

    Returns:
        `real` and `fake`, where `real` <= `fake`. If one threshold can keep both promises, both are
        set halfway between the two limits.
    """
    names = np.asarray(sources)
    reals, fakes = truth == 0, truth == 1
    limit = -_limit(-probabilities[reals], names[reals], MAX_REAL_CALLED_FAKE)
    for source in np.unique(names[reals]):
        descending = np.sort(probabilities[reals & (names == source)])[::-1]
        if allowed := int(MAX_REAL_CALLED_FAKE * len(descending)):
            limit = max(limit, descending[allowed])
    fake = float(np.nextafter(limit, 1))  # just above the first real photo that may not reach it
    real = float(_limit(probabilities[fakes], names[fakes], MAX_FAKE_CALLED_REAL))
    if real > fake:
        real = fake = (real + fake) / 2
    return {"real": real, "fake": fake}


def _limit(values: np.ndarray, sources: np.ndarray, share: float) -> float:
    """Return the highest value below which at most a share of the photos lies, by weight."""
    order = np.argsort(values, kind="stable")
    mistaken = np.cumsum(source_weights(sources)[order])  # including the photo itself
    allowed = share * (len(values) + 1) - 1
    passed = int(np.searchsorted(mistaken, allowed + 1e-9, side="right"))
    return values[order[min(passed, len(values) - 1)]]


def describe_scores(
    truth: np.ndarray, probabilities: np.ndarray, sources: Sequence[str]
) -> list[ScoreBin]:
    """Return the share of fakes by probability, in bins of equal counts.

    `balanced_weights` weight the shares.

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
    """Return the weighted log loss, without scikit-learn's input checks, which outlast a fit."""
    losses = np.logaddexp(0, np.where(truth == 1, -log_odds, log_odds))
    return float(np.average(losses, weights=weights))


def _fit_temperature(
    truth: np.ndarray, log_odds: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """Return slope (1 / temperature) and intercept 0.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    """

    def loss(exponent: float) -> float:
        return _log_loss(truth, np.exp(exponent) * log_odds, weights)

    result = minimize_scalar(loss, bounds=(np.log(0.01), np.log(100)), method="bounded")
    return float(np.exp(result.x)), 0.0


def _fit_platt(truth: np.ndarray, log_odds: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept (Platt 1999)."""
    fitted = LogisticRegression(C=np.inf).fit(log_odds[:, None], truth, sample_weight=weights)
    # A negative slope would reverse the ranking, which even a model that bad keeps.
    return max(float(fitted.coef_[0, 0]), 0.01), float(fitted.intercept_[0])
