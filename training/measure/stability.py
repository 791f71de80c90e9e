"""How steady a detector's answers are under changes that nobody would notice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from training.data.rows import Photo
from training.measure.answers import ORIGINAL, Answers
from training.measure.evidence import log_likelihood_ratios
from training.measure.rates import rate


def stability_figures(
    photos: Sequence[Photo], answers: Mapping[str, Answers], most: float | None = None
) -> dict[str, dict]:
    """Return how harmless changes move the answers about photos.

    Args:
        photos: the photos.
        answers: answers about them by the name of the change, and as they are.
        most: the largest likelihood ratio that the model gives.

    Returns:
        JSON-serialisable, by the name of the change. For the photos in which a face was found
        before: counts with exact bounds of the verdicts that changed (`flipped`) and of those that
        went from real to fake or back (`reversed`). For the photos with a face both times: the
        `median` and the `largest` change of log10 of the likelihood ratio, `None` without any.
    """
    original = answers[ORIGINAL]
    judged = original.has_face
    before = original.of(judged)
    groups = [photo.group for photo, has_face in zip(photos, judged, strict=True) if has_face]
    figures = {}
    for name, after in answers.items():
        if name != ORIGINAL:
            figures[name] = _compare(before, after.of(judged), groups, most)
    return figures


def _compare(before: Answers, after: Answers, groups: Sequence[str], most: float | None) -> dict:
    flipped = before.verdicts != after.verdicts
    decided = (before.verdicts != "inconclusive") & (after.verdicts != "inconclusive")
    both = after.has_face
    ratios = [log_likelihood_ratios(side.probabilities[both], most) for side in (before, after)]
    moved = np.abs(ratios[1] - ratios[0])
    return {
        "flipped": rate(flipped, groups),
        "reversed": rate(flipped & decided, groups),
        "median": float(np.median(moved)) if len(moved) else None,
        "largest": float(moved.max()) if len(moved) else None,
    }
