"""Choose what a score means and which scores get a second look, on the validation photos.

A harmless change flips the verdicts of scores near a threshold. These alone are worth several
looks. Which they are depends on the thresholds, and the thresholds depend on the scores that are
served, so the two are chosen alternately until they agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from space.contract import Calibration, Look, SecondLook
from training.measure.calibrate import CLIP, calibrate, choose_thresholds
from training.measure.figures import apply_thresholds

LOOKS = (Look(True, 0, 0), Look(True, -3, 3))  # more looks hardly steady the mean
MAX_FLIPPED = 0.01  # of the photos: flipped by all looks, yet beyond the margin
MAX_SHARE = 0.15  # of the photos get a second look: at most 1.3 looks a photo on average
ROUNDS = 10


@dataclass(frozen=True)
class Meaning:
    """What the scores of a model mean.

    Attributes:
        calibration: how the network's output becomes a probability.
        thresholds: of the verdicts.
        second_look: which scores get one.
        probabilities: those served for the validation photos, `[photos]`.
        looked_again: whether each photo got a second look, `bool` `[photos]`.
    """

    calibration: Calibration
    thresholds: dict[str, float]
    second_look: SecondLook
    probabilities: np.ndarray
    looked_again: np.ndarray


def give_meaning(
    truth: np.ndarray,
    first: np.ndarray,
    mean: np.ndarray,
    groups: Sequence[str],
    sources: Sequence[str],
) -> Meaning:
    """Return calibration, thresholds and margin for scores as they are served.

    Args:
        truth: labels `[photos]`, 1 = fake.
        first: the network's probabilities of fake `[photos]` at the first look.
        mean: those whose log-odds are the mean over all looks.
        groups: the group of each photo.
        sources: the source of each photo.
    """
    served = first
    for _ in range(ROUNDS):
        calibration = calibrate(truth, served, groups, sources)
        at_first, at_mean = _apply(calibration, first), _apply(calibration, mean)
        thresholds = choose_thresholds(truth, _apply(calibration, served), sources)
        margin, looked_again = _who_looks_again(at_first, at_mean, thresholds)
        previous, served = served, np.where(looked_again, mean, first)
        if np.array_equal(previous, served):
            break
    else:  # no agreement, as on few photos: take thresholds that hold whichever score is served
        worst = np.where(truth == 0, np.maximum(at_first, at_mean), np.minimum(at_first, at_mean))
        thresholds = choose_thresholds(truth, worst, sources)
        margin, looked_again = _who_looks_again(at_first, at_mean, thresholds)
    return Meaning(
        calibration,
        thresholds,
        SecondLook(margin, list(LOOKS)),
        probabilities=np.where(looked_again, at_mean, at_first),
        looked_again=looked_again,
    )


def choose_margin(first: np.ndarray, mean: np.ndarray, thresholds: Mapping[str, float]) -> float:
    """Return the distance from a threshold, in log-odds, within which photos get a second look.

    It is the least distance beyond which the mean of all looks flips the verdicts of at most
    `MAX_FLIPPED` of the photos. It is capped where `MAX_SHARE` of the photos lie within it.

    Args:
        first: calibrated probabilities of fake `[photos]` at the first look.
        mean: those of all looks together.
        thresholds: of the verdicts.
    """
    distances = _distances(first, thresholds)
    flipped = apply_thresholds(first, thresholds) != apply_thresholds(mean, thresholds)
    farthest = np.sort(distances[flipped])[::-1]
    allowed = int(MAX_FLIPPED * len(first))
    wanted = float(farthest[allowed]) if allowed < len(farthest) else 0.0
    margin = min(wanted, float(np.quantile(distances, MAX_SHARE)))
    return math.ceil(1e4 * margin) / 1e4  # rounded up: a photo on the edge is always within


def _who_looks_again(
    first: np.ndarray, mean: np.ndarray, thresholds: Mapping[str, float]
) -> tuple[float, np.ndarray]:
    """Return the margin, and which photos `[photos]` lie within it."""
    margin = choose_margin(first, mean, thresholds)
    return margin, _distances(first, thresholds) <= margin


def _apply(calibration: Calibration, scores: np.ndarray) -> np.ndarray:
    return np.array([calibration.apply(float(score)) for score in scores])


def _distances(probabilities: np.ndarray, thresholds: Mapping[str, float]) -> np.ndarray:
    """Return how far each probability is from the nearest threshold, in log-odds."""
    limits = logit(np.clip(list(thresholds.values()), CLIP, 1 - CLIP))
    log_odds = logit(np.clip(probabilities, CLIP, 1 - CLIP))
    return np.abs(log_odds[:, None] - limits).min(axis=1)
