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
    """Compare the answers about photos before and after harmless changes.

    Args:
        photos: the photos.
        answers: about them, by the name of the change, and as they are.
        most: the largest likelihood ratio that the model gives.

    Returns:
        What JSON can hold, by the name of the change, of the photos in which a face was found
        before: counts with exact bounds of the verdicts that became another one (`flipped`) and of
        those from real to fake or back (`reversed`); and of the photos with a face both times, the
        `median` and the `largest` change of log10 of the likelihood ratio, `None` without any.
    """
    original = answers[ORIGINAL]
    found = original.has_face
    before = original.of(found)
    groups = [photo.group for photo, face in zip(photos, found, strict=True) if face]
    figures = {}
    for name, some in answers.items():
        if name != ORIGINAL:
            figures[name] = _compare(before, some.of(found), groups, most)
    return figures


def _compare(before: Answers, after: Answers, groups: Sequence[str], most: float | None) -> dict:
    flipped = before.verdicts != after.verdicts
    decided = (before.verdicts != "inconclusive") & (after.verdicts != "inconclusive")
    both = after.has_face
    ratios = [log_likelihood_ratios(some.probabilities[both], most) for some in (before, after)]
    moved = np.abs(ratios[1] - ratios[0])
    return {
        "flipped": rate(flipped, groups),
        "reversed": rate(flipped & decided, groups),
        "median": float(np.median(moved)) if len(moved) else None,
        "largest": float(moved.max()) if len(moved) else None,
    }
