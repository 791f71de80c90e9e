"""Give a score a meaning: turn it into a probability, and choose the thresholds of the verdicts.

Both on the validation split, which training saw only to choose an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold

from space.contract import Calibration, ScoreBin

FOLDS = 5
MAX_MISTAKES = 0.05  # of a source's new photos: share of real ones called fake, and of fakes real
BIN_PHOTOS = 40  # at least, of a bin of `ScoreBin`
CLIP = 1e-6


def calibrate(truth: np.ndarray, scores: np.ndarray, groups: Sequence[str]) -> Calibration:
    """Choose between temperature scaling and Platt scaling by their log loss out of fold.

    Platt scaling has one parameter more, so that its loss on the photos it was fitted to is always
    the lower one: both are compared on folds that they were not fitted to.

    Args:
        truth: labels `[photos]`, 1 = fake.
        scores: the network's probabilities of fake `[photos]`.
        groups: the group of each photo; a group is in one fold.
    """
    log_odds = logit(np.clip(scores, CLIP, 1 - CLIP))
    fits = {"temperature": _fit_temperature, "platt": _fit_platt}
    folds = list(
        StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(log_odds, truth, groups)
    )
    losses = {}
    for method, fit in fits.items():
        out_of_fold = np.empty(len(truth))
        for fitted, held_out in folds:
            slope, intercept = fit(truth[fitted], log_odds[fitted])
            out_of_fold[held_out] = expit(slope * log_odds[held_out] + intercept)
        losses[method] = log_loss(truth, out_of_fold, labels=[0, 1])
    method = min(losses, key=losses.__getitem__)
    slope, intercept = fits[method](truth, log_odds)
    return Calibration(method, slope, intercept)


def choose_thresholds(
    truth: np.ndarray, probabilities: np.ndarray, sources: Sequence[str]
) -> dict[str, float]:
    """Return the thresholds of the verdicts for calibrated probabilities of fake.

    Each source of photos has thresholds of its own, and the stricter of them count: over all photos
    a large source that is easy could pay for the mistakes in a small one that is hard.

    What is promised holds for new photos like those of a source: where `k` of its `n` photos are
    mistaken, a share of `(k + 1) / (n + 1)` of new ones is to be expected, at most (split conformal
    prediction; Angelopoulos and Bates 2021, https://arxiv.org/abs/2107.07511). 19 photos are the
    fewest that can promise 5 %; of fewer, none may be mistaken.

    Args:
        truth: labels `[photos]`, 1 = fake.
        probabilities: `[photos]`, below 1 (no threshold lies above a probability of exactly 1).
        sources: the source of each photo; one may lack a label.

    Returns:
        `fake`, which of no source more than 5 % of new real photos are expected to reach, and
        `real`, below which no more than 5 % of new fakes; `real` is never the higher one. A model
        that can keep both promises with one threshold gets one, halfway.
    """
    source_of_photo = np.asarray(sources)
    fake, real = 0.0, 1.0
    for name in np.unique(source_of_photo):
        own = source_of_photo == name
        reals = np.sort(probabilities[own & (truth == 0)])[::-1]
        fakes = np.sort(probabilities[own & (truth == 1)])
        # One above the first real photo that may not be called fake; at the first such fake.
        if len(reals):
            fake = max(fake, float(np.nextafter(reals[_allowed(len(reals))], 1)))
        if len(fakes):
            real = min(real, float(fakes[_allowed(len(fakes))]))
    if real > fake:
        real = fake = (real + fake) / 2
    return {"real": real, "fake": fake}


def _allowed(photos: int) -> int:
    """Return how many of so many photos may be mistaken, so that no larger a share of new ones than
    `MAX_MISTAKES` is to be expected."""
    return max(0, math.floor(MAX_MISTAKES * (photos + 1) + 1e-9) - 1)


def describe_scores(truth: np.ndarray, probabilities: np.ndarray) -> list[ScoreBin]:
    """Return what share of the photos at each probability was fake, in bins of equal counts.

    Args:
        truth: labels `[photos]`, 1 = fake.
        probabilities: calibrated, `[photos]`.

    Returns:
        Bins from 0 to 1 without gaps.
    """
    order = np.argsort(probabilities, kind="stable")
    bins = np.array_split(order, max(1, len(order) // BIN_PHOTOS))
    edges = [
        float((probabilities[left[-1]] + probabilities[right[0]]) / 2)
        for left, right in pairwise(bins)
    ]
    return [
        ScoreBin(low, high, len(members), float(truth[members].mean()))
        for low, high, members in zip([0.0, *edges], [*edges, 1.0], bins, strict=True)
    ]


def _fit_temperature(truth: np.ndarray, log_odds: np.ndarray) -> tuple[float, float]:
    """Return slope (1 / temperature) and intercept 0 (Guo et al. 2017,
    https://arxiv.org/abs/1706.04599)."""
    result = minimize_scalar(
        lambda exponent: log_loss(truth, expit(np.exp(exponent) * log_odds), labels=[0, 1]),
        bounds=(np.log(0.01), np.log(100)),
        method="bounded",
    )
    return float(np.exp(result.x)), 0.0


def _fit_platt(truth: np.ndarray, log_odds: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept (Platt 1999)."""
    fitted = LogisticRegression(C=np.inf).fit(log_odds[:, None], truth)
    # A falling slope would turn the ranking around: a model that bad is left as it is ranked.
    return max(float(fitted.coef_[0, 0]), 0.01), float(fitted.intercept_[0])
