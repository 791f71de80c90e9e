import numpy as np
import pytest

from tests.measure.test_tiers import answers, photo
from training.measure.answers import ORIGINAL
from training.measure.failures import failures, failures_list
from training.measure.tier_figures import tier_figures
from training.measure.tier_tables import caveats
from training.measure.tiers import ORDINARY, UNSEEN


@pytest.fixture
def figures() -> dict:
    """Figures of a detector that accuses one of twenty web photos and finds one of ten fakes."""
    photos = [photo(f"w{number}", source="web") for number in range(20)]
    photos += [photo(f"f{number}", "fake", "methods") for number in range(10)]
    scores = [0.9] + [0.1] * 19 + [0.9] + [0.5] * 8 + [0.1]
    judged = {ORIGINAL: answers(scores, {21: "blurred"})}
    tiers = [ORDINARY] * 20 + [UNSEEN] * 10
    return {"tiers": tier_figures(photos, tiers, judged, samples=2)}


def test_failures_are_told_with_counts_and_reasons(figures):
    accused, missed_outright, hardly_found = failures(figures)
    assert "ordinary photos: 1 of 20 (5.0 %; " in accused
    assert accused.endswith("of the real photos are called fake.")
    assert "1 of 10 (10.0 %; " in missed_outright
    assert "of the fakes are called real. They are faces that 297 methods" in missed_outright
    assert "only 1 of 10 (10.0 %; " in hardly_found
    assert "of the fakes are called fake; 8 get no verdict (of all its photos: " in hardly_found
    assert "probability between the thresholds 7, face too blurred 1" in hardly_found
    assert failures_list(figures).splitlines()[0] == f"- {accused}"
    assert failures({}) == []
    assert failures_list({}) == ""


def test_scores_that_mislead_about_unseen_kinds_are_said_to_be_no_evidence(figures):
    assert caveats(figures) == []
    for cost, number in ((0.99, 0), (1.0, 1), (1.2, 1)):
        figures["tiers"][UNSEEN]["cllr"] = {"value": cost, "low": 0.9, "high": 1.3}
        assert len(caveats(figures)) == number
    (sentence,) = caveats(figures)
    assert sentence.startswith("**No evidence about kinds it never saw.** There")
    assert "cost 1.20 bits" in sentence
    figures["promises_broken"] = ["web: 1 of 20."]
    assert caveats(figures)[0].endswith("web: 1 of 20.")


def test_no_ratio_is_above_what_the_validation_photos_support():
    photos = [photo(f"{number}", ("real", "fake")[number % 2]) for number in range(40)]
    certain = {ORIGINAL: answers([0.0001, 0.9999] * 20)}
    for most, word in ((None, "strong support"), (50, "moderate support")):
        (tier,) = tier_figures(photos, [UNSEEN] * 40, certain, most=most, samples=2).values()
        assert tier["strengths"] == {
            "real": {f"{word} for real": 20},
            "fake": {f"{word} for fake": 20},
        }
        if most:
            assert tier["cllr"]["value"] == pytest.approx(np.log2(1 + 1 / most))
