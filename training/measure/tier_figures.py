"""Figures of a detector on the photos of each tier (`training.measure.tiers`).

Real photos called fake come first in each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from training.data.rows import Photo
from training.measure.answers import ORIGINAL, Answers
from training.measure.evidence import evidence_figures
from training.measure.metrics import SAMPLES, equal_error_rate, estimate, weighted_auc
from training.measure.rates import rate
from training.measure.tiers import TIERS


def tier_figures(
    photos: Sequence[Photo],
    tiers: Sequence[str],
    answers: Mapping[str, Answers],
    *,
    most: float | None = None,
    samples: int = SAMPLES,
) -> dict[str, dict]:
    """Return the figures of each tier.

    Args:
        photos: all photos.
        tiers: the tier of each photo, a key of `TIERS`; photos with any other are left out.
        answers: answers about the photos as they are, and after changes, by the name of the change.
        most: the largest likelihood ratio that the model gives.
        samples: bootstrap samples of the intervals.

    Returns:
        JSON-serialisable, by the key of the tier; a tier without photos is left out. For each: the
        figures of `_figures`, `by_source` (the same without bootstrap intervals), and `changed`, by
        the name of the change: the number of `photos` that it altered, and `_rates` of all photos.
    """
    figures = {}
    for tier in TIERS:
        members = np.flatnonzero(np.asarray(tiers) == tier)
        if len(members):
            own = [photos[index] for index in members]
            own_answers = {name: after.of(members) for name, after in answers.items()}
            figures[tier] = _figures(own, own_answers[ORIGINAL], most, samples) | {
                "by_source": _by_source(own, own_answers),
                "changed": _changed(own, own_answers),
            }
    return figures


def _figures(photos: Sequence[Photo], answers: Answers, most: float | None, samples: int) -> dict:
    """Return the rates, the reasons to abstain, the ranking of fakes, and the evidence.

    `roc_auc`, `equal_error_rate`, `cllr`, `minimum_cllr` and `strengths` use the photos in which a
    face was found.
    """
    judged = np.flatnonzero(answers.has_face)
    truth = _truth(photos)[judged]
    probabilities = answers.probabilities[judged]
    groups = [photos[index].group for index in judged]
    auc = weighted_auc(truth, probabilities)

    def statistics(weights: np.ndarray) -> dict[str, float]:
        error = equal_error_rate(truth, probabilities, weights)
        return {"roc_auc": auc(weights), "equal_error_rate": error}

    figures = _rates(photos, answers)
    if len(judged):
        figures |= estimate(statistics, groups, samples=samples)
        figures |= evidence_figures(truth, probabilities, groups, most=most, samples=samples)
    return figures


def _rates(photos: Sequence[Photo], answers: Answers) -> dict:
    """Return counts of verdicts with exact bounds, and the `reasons` to abstain.

    `real_called_fake`, `fake_called_fake` and `fake_called_real` are of the photos of that label,
    `abstained` of all; `reasons` holds the number of photos of each.
    """
    truth = _truth(photos)
    groups = np.array([photo.group for photo in photos])

    def share(verdict: str, label: int) -> dict:
        members = truth == label
        return rate(answers.verdicts[members] == verdict, groups[members].tolist())

    reasons = Counter(reason for reason in answers.reasons.tolist() if reason)
    return {
        "real_called_fake": share("fake", 0),
        "fake_called_fake": share("fake", 1),
        "fake_called_real": share("real", 1),
        "abstained": rate(answers.verdicts == "inconclusive", groups.tolist()),
        "reasons": dict(reasons.most_common()),
    }


def _by_source(photos: Sequence[Photo], answers: Mapping[str, Answers]) -> dict[str, dict]:
    """Return the rates of each source, also when `changed`, and `roc_auc` if it has both labels."""
    sources = np.array([photo.source for photo in photos])
    figures = {}
    for source in np.unique(sources).tolist():
        members = np.flatnonzero(sources == source)
        own = [photos[index] for index in members]
        own_answers = {name: after.of(members) for name, after in answers.items()}
        original = own_answers[ORIGINAL]
        judged = original.has_face
        truth = _truth(own)[judged]
        auc = weighted_auc(truth, original.probabilities[judged])(np.ones(len(truth)))
        figures[source] = {
            **_rates(own, original),
            "roc_auc": None if np.isnan(auc) else auc,
            "changed": _changed(own, own_answers),
        }
    return figures


def _changed(photos: Sequence[Photo], answers: Mapping[str, Answers]) -> dict[str, dict]:
    return {
        name: {"photos": int(after.changed.sum()), **_rates(photos, after)}
        for name, after in answers.items()
        if name != ORIGINAL
    }


def _truth(photos: Sequence[Photo]) -> np.ndarray:
    return np.array([photo.is_fake for photo in photos], dtype=int)
