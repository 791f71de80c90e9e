"""How much a probability of fake is worth as evidence.

The probability assumes that half of the photos are fake. Odds at that prior are the likelihood
ratio: how many times more probable such a score is for a fake than for a real photo. A reader
multiplies it by prior odds of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.special import logit
from sklearn.isotonic import IsotonicRegression

from space.contract import strength_names, strength_of_evidence
from training.measure.metrics import estimate

CLIP = 1e-6  # as in the calibration: it bounds the evidence of a photo


def log_likelihood_ratios(probabilities: np.ndarray, most: float | None = None) -> np.ndarray:
    """Return log10 of the likelihood ratios, fake against real.

    Args:
        probabilities: of fake, at a prior of one half, any shape.
        most: the largest ratio that the model gives; the smallest is its inverse.
    """
    return logit(_bounded(probabilities, most)) / np.log(10)


def cllr(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> float:
    """Return the cost of the log-likelihood ratios (Cllr) in bits.

    It is 0 for certainty that is right, 1 for saying nothing, and above 1 for evidence that
    misleads (Brümmer and du Preez 2006, https://doi.org/10.1016/j.csl.2005.08.001).

    Args:
        truth: labels `[photos]`, 1 = fake.
        probabilities: of fake, at a prior of one half, `[photos]`.
        weights: how often each photo counts, `[photos]`.

    Returns:
        NaN if the weights leave only one label.
    """
    clipped = np.clip(probabilities, CLIP, 1 - CLIP)
    return _bits(truth, clipped, weights)


def minimum_cllr(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """Return the `cllr` that the best calibration on these very photos would reach.

    It depends on the ranking alone. That calibration is the isotonic regression of the labels on
    the scores (pool adjacent violators), where each label has half of the weight.

    Args:
        truth: labels `[photos]`, 1 = fake.
        scores: any scores that are higher for fake, `[photos]`.
        weights: how often each photo counts, `[photos]`.

    Returns:
        NaN if the weights leave only one label.
    """
    drawn = weights > 0
    truth, scores, weights = truth[drawn], scores[drawn], weights[drawn].astype(float)
    if len(np.unique(truth)) < 2:
        return float("nan")
    totals = np.bincount(truth, weights)
    fitted = IsotonicRegression(y_min=0, y_max=1).fit_transform(
        scores, truth, sample_weight=weights / totals[truth]
    )
    return _bits(truth, fitted, weights)


def evidence_figures(
    truth: np.ndarray,
    probabilities: np.ndarray,
    groups: Sequence[str],
    *,
    most: float | None = None,
    samples: int,
) -> dict:
    """Return figures of log-likelihood ratios.

    Args:
        truth: labels `[photos]`, 1 = fake.
        probabilities: of fake, at a prior of one half, `[photos]`.
        groups: the group of each photo.
        most: the largest likelihood ratio that the model gives.
        samples: number of bootstrap samples.

    Returns:
        JSON-serialisable: `cllr` and `minimum_cllr` with their intervals (`value`, `low`, `high`),
        and `strengths`: for `real` and `fake` photos, how many have evidence of each strength, in
        the words of `space.contract.STRENGTHS` and what it speaks for.
    """

    probabilities = _bounded(probabilities, most)

    def statistics(weights: np.ndarray) -> dict[str, float]:
        return {
            "cllr": cllr(truth, probabilities, weights),
            "minimum_cllr": minimum_cllr(truth, probabilities, weights),
        }

    return {
        **estimate(statistics, groups, samples=samples),
        "strengths": {
            name: _count_strengths(probabilities[truth == label])
            for label, name in enumerate(("real", "fake"))
        },
    }


def _count_strengths(probabilities: np.ndarray) -> dict[str, int]:
    counts = Counter(strength_of_evidence(float(probability)) for probability in probabilities)
    return {name: counts[name] for name in strength_names() if counts[name]}


def _bounded(probabilities: np.ndarray, most: float | None) -> np.ndarray:
    """Return probabilities whose odds lie between 1 / `most` and `most`."""
    least = CLIP if most is None else max(CLIP, 1 / (1 + most))
    return np.clip(probabilities, least, 1 - least)


def _bits(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean of the two labels' log losses, in bits."""
    of_true_label = np.where(truth == 1, probabilities, 1 - probabilities)
    losses = []
    for label in (0, 1):
        members = (truth == label) & (weights > 0)
        if not members.any():
            return float("nan")
        losses.append(np.average(-np.log2(of_true_label[members]), weights=weights[members]))
    return float(np.mean(losses))
