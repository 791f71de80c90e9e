"""What a detector is worth on the photos of each tier (`training.measure.tiers`).

In each, real photos that are called fake come first.
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
    """Measure each tier.

    Args:
        photos: all photos.
        tiers: of each photo, a key of `TIERS`; those of others are left out.
        answers: about the photos as they are, and after changes, by their names.
        most: the largest likelihood ratio that the model gives.
        samples: bootstrap samples of the intervals.

    Returns:
        What JSON can hold, by the key of the tier; one without photos is left out. Of each: the
        figures of `_figures`, `by_source` (the same without intervals by bootstrap), and `changed`,
        by the name of the change: `photos` that it changed and the rates of `_rates` of all.
    """
    found = {}
    for tier in TIERS:
        members = np.flatnonzero(np.asarray(tiers) == tier)
        if len(members):
            own = [photos[index] for index in members]
            of_tier = {name: some.of(members) for name, some in answers.items()}
            found[tier] = _figures(own, of_tier[ORIGINAL], most, samples) | {
                "by_source": _by_source(own, of_tier),
                "changed": _changed(own, of_tier),
            }
    return found


def _figures(photos: Sequence[Photo], answers: Answers, most: float | None, samples: int) -> dict:
    """Return the rates, the reasons against verdicts, how well fakes are ranked, and the evidence.

    `roc_auc`, `equal_error_rate`, `cllr`, `minimum_cllr` and `strengths` are of the photos in which
    a face was found.
    """
    judged = np.flatnonzero(answers.has_face)
    truth = _truth(photos)[judged]
    probabilities = answers.probabilities[judged]
    groups = [photos[index].group for index in judged]
    auc = weighted_auc(truth, probabilities)

    def statistics(weights: np.ndarray) -> dict[str, float]:
        error = equal_error_rate(truth, probabilities, weights)
        return {"roc_auc": auc(weights), "equal_error_rate": error}

    found = _rates(photos, answers)
    if len(judged):
        found |= estimate(statistics, groups, samples=samples)
        found |= evidence_figures(truth, probabilities, groups, most=most, samples=samples)
    return found


def _rates(photos: Sequence[Photo], answers: Answers) -> dict:
    """Return counts with exact bounds: `real_called_fake`, `fake_called_fake` and
    `fake_called_real` of the photos of that label, `abstained` of all, and its `reasons` with the
    number of photos of each."""
    truth = _truth(photos)
    groups = np.array([photo.group for photo in photos])

    def share(verdict: str, label: int) -> dict:
        own = truth == label
        return rate(answers.verdicts[own] == verdict, groups[own].tolist())

    reasons = Counter(reason for reason in answers.reasons.tolist() if reason)
    return {
        "real_called_fake": share("fake", 0),
        "fake_called_fake": share("fake", 1),
        "fake_called_real": share("real", 1),
        "abstained": rate(answers.verdicts == "inconclusive", groups.tolist()),
        "reasons": dict(reasons.most_common()),
    }


def _by_source(photos: Sequence[Photo], answers: Mapping[str, Answers]) -> dict[str, dict]:
    """Return the rates of each source, as they are and `changed`; and `roc_auc`, where it has both
    labels."""
    sources = np.array([photo.source for photo in photos])
    found = {}
    for source in np.unique(sources).tolist():
        members = np.flatnonzero(sources == source)
        own = [photos[index] for index in members]
        of_source = {name: some.of(members) for name, some in answers.items()}
        original = of_source[ORIGINAL]
        judged = original.has_face
        truth = _truth(own)[judged]
        auc = weighted_auc(truth, original.probabilities[judged])(np.ones(len(truth)))
        found[source] = {
            **_rates(own, original),
            "roc_auc": None if np.isnan(auc) else auc,
            "changed": _changed(own, of_source),
        }
    return found


def _changed(photos: Sequence[Photo], answers: Mapping[str, Answers]) -> dict[str, dict]:
    return {
        name: {"photos": int(some.changed.sum()), **_rates(photos, some)}
        for name, some in answers.items()
        if name != ORIGINAL
    }


def _truth(photos: Sequence[Photo]) -> np.ndarray:
    return np.array([photo.is_fake for photo in photos], dtype=int)
