"""Whom a detector accuses: mistakes on real photos by what is told of the people in them.

UTKFace tells apparent age, sex and ethnicity in its file names, as crowd workers and a program saw
them (https://susanqq.github.io/UTKFace/). They are no facts about anybody.
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
MIN_PHOTOS = 20  # of a value, to be told and tested
RESAMPLES = 9999
SEED = 0
RESULTS = Path(__file__).parents[1] / "lab" / "results" / "by-whom.json"
_UTK = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+.*")


def apparent_traits(name: str) -> dict[str, str]:
    """Return age, sex and ethnicity from the name of an UTKFace photo, nothing from others."""
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
    """Compare mistakes on real photos between the people that they show.

    Args:
        traits: by what is told, its value for each photo, `""` where nobody knows.
        groups: the group of each photo.
        answers: about the photos.

    Returns:
        What JSON can hold, by trait: `values`, of each value of at least `MIN_PHOTOS` photos the
        rates of `called_fake` and `abstained`; and `tests`, of both the `p` of the hypothesis that
        they are the same for all values (a chi-squared test by permutation of the photos), and
        `corrected`, that p after Holm's correction for all tests made here (Holm 1979).
    """
    outcomes = {
        "called_fake": answers.verdicts == "fake",
        "abstained": answers.verdicts == "inconclusive",
    }
    found: dict[str, dict] = {}
    tests: dict[tuple[str, str], float] = {}
    for trait, told in traits.items():
        values = np.array(told)
        named, counts = np.unique(values[values != ""], return_counts=True)
        named = named[counts >= MIN_PHOTOS].tolist()
        if len(named) < 2:
            continue
        found[trait] = {"values": {}, "tests": {}}
        for value in named:
            own = values == value
            members = [group for group, of_it in zip(groups, own, strict=True) if of_it]
            found[trait]["values"][value] = {
                name: rate(hits[own], members) for name, hits in outcomes.items()
            }
        for name, hits in outcomes.items():
            tests[trait, name] = _p_of_equality([hits[values == value] for value in named])
    for (trait, name), corrected in zip(tests, holm(list(tests.values())), strict=True):
        found[trait]["tests"][name] = {"p": tests[trait, name], "corrected": corrected}
    return found


def read_by_whom(fingerprint: str, path: Path = RESULTS) -> dict:
    """Return what `python -m training.lab.by_whom` found with a network that had not learned from
    the photos that tell whom they show.

    Args:
        fingerprint: of the prepared folder whose figures these go with; results of others are left.
        path: file that it wrote.

    Returns:
        What JSON can hold, or nothing: `by_whom`, as the function of that name returns it, and
        `by_whom_network`, what that network learned from: `photos` that it saw, `input_size` and
        the sources that it `left_out`.
    """
    if not path.is_file():
        return {}
    results = json.loads(path.read_text())
    return results["figures"] if results["data_fingerprint"] == fingerprint else {}


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values after Holm's correction, in their order."""
    order = np.argsort(ps)
    factors = len(ps) - np.arange(len(ps))
    stepped = np.minimum(np.maximum.accumulate(np.asarray(ps, float)[order] * factors), 1)
    corrected = np.empty(len(ps))
    corrected[order] = stepped
    return corrected.tolist()


def _p_of_equality(hits: Sequence[np.ndarray]) -> float:
    """Return the p value of equal shares of hits."""
    table = np.array([[own.sum(), len(own) - own.sum()] for own in hits])
    if not table.sum(axis=0).all():  # true of none, or of all
        return 1.0
    method = PermutationMethod(n_resamples=RESAMPLES, rng=np.random.default_rng(SEED))
    return float(chi2_contingency(table, correction=False, method=method).pvalue)
