"""Whom a detector accuses: mistakes on real photos by traits of the people in them.

UTKFace's file names give apparent age, sex and ethnicity as crowd workers and a program judged them
(https://susanqq.github.io/UTKFace/). They are not facts about anybody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import PermutationMethod, chi2_contingency

from training.measure.answers import Answers
from training.measure.rates import rate

AGES = ((17, "under 18"), (39, "18 to 39"), (59, "40 to 59"), (200, "60 and older"))
SEXES = ("male", "female")
ETHNICITIES = ("White", "Black", "Asian", "Indian", "others")
MIN_PHOTOS = 20  # of a value, to be reported and tested
RESAMPLES = 9999
SEED = 0
RESULTS = Path(__file__).parents[1] / "lab" / "results" / "by-whom.json"
_UTK = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+.*")


def apparent_traits(name: str) -> dict[str, str]:
    """Return age, sex and ethnicity from the name of a UTKFace photo, nothing for others."""
    match = _UTK.fullmatch(name)
    if not match:
        return {}
    age, sex, ethnicity = map(int, match.groups())
    return {
        "apparent age": next((band for oldest, band in AGES if age <= oldest), ""),
        "apparent sex": SEXES[sex],
        "apparent ethnicity": ETHNICITIES[ethnicity],
    }


def by_whom(
    traits: Mapping[str, Sequence[str]], groups: Sequence[str], answers: Answers
) -> dict[str, dict]:
    """Return mistakes on real photos, compared between the people shown.

    Args:
        traits: values for each photo by trait, `""` where unknown.
        groups: the group of each photo.
        answers: about the photos.

    Returns:
        JSON-serialisable, by trait: `values`, the rates of `called_fake` and `abstained` for each
        value of at least `MIN_PHOTOS` photos; and `tests`, for both rates the `p` of the hypothesis
        that they are equal for all values (a chi-squared test by permutation of the photos), and
        `corrected`, that p after Holm's correction for all tests made here (Holm 1979).
    """
    outcomes = {
        "called_fake": answers.verdicts == "fake",
        "abstained": answers.verdicts == "inconclusive",
    }
    figures: dict[str, dict] = {}
    tests: dict[tuple[str, str], float] = {}
    for trait, photo_values in traits.items():
        values = np.array(photo_values)
        compared, counts = np.unique(values[values != ""], return_counts=True)
        compared = compared[counts >= MIN_PHOTOS].tolist()
        if len(compared) < 2:
            continue
        figures[trait] = {"values": {}, "tests": {}}
        for value in compared:
            members = values == value
            own_groups = [
                group for group, is_member in zip(groups, members, strict=True) if is_member
            ]
            figures[trait]["values"][value] = {
                name: rate(hits[members], own_groups) for name, hits in outcomes.items()
            }
        for name, hits in outcomes.items():
            tests[trait, name] = _p_of_equality([hits[values == value] for value in compared])
    for (trait, name), corrected in zip(tests, holm(list(tests.values())), strict=True):
        figures[trait]["tests"][name] = {"p": tests[trait, name], "corrected": corrected}
    return figures


def read_by_whom(fingerprint: str, path: Path = RESULTS) -> dict:
    """Return the results of `python -m training.lab.by_whom` for a prepared folder.

    Their network did not learn from the photos whose people's traits are known.

    Args:
        fingerprint: of the prepared folder; results for other folders are ignored.
        path: file that `training.lab.by_whom` wrote.

    Returns:
        JSON-serialisable, empty if there are no results: `by_whom`, as the function of that name
        returns it, and `by_whom_network`, what that network learned from: `photos` that it saw,
        `input_size` and the sources that it `left_out`.
    """
    if not path.is_file():
        return {}
    results = json.loads(path.read_text())
    return results["figures"] if results["data_fingerprint"] == fingerprint else {}


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values after Holm's correction, in the given order."""
    order = np.argsort(ps)
    factors = len(ps) - np.arange(len(ps))
    stepped = np.minimum(np.maximum.accumulate(np.asarray(ps, float)[order] * factors), 1)
    corrected = np.empty(len(ps))
    corrected[order] = stepped
    return corrected.tolist()


def _p_of_equality(hits: Sequence[np.ndarray]) -> float:
    """Return the p-value of the hypothesis that all shares of hits are equal."""
    table = np.array([[members.sum(), len(members) - members.sum()] for members in hits])
    if not table.sum(axis=0).all():  # true of none, or of all
        return 1.0
    method = PermutationMethod(n_resamples=RESAMPLES, rng=np.random.default_rng(SEED))
    return float(chi2_contingency(table, correction=False, method=method).pvalue)
