import numpy as np
import pytest

from space.contract import STRENGTHS, likelihood_ratio, strength_names, strength_of_evidence
from training.measure.evidence import cllr, evidence_figures, log_likelihood_ratios, minimum_cllr

TRUTH = np.array([0, 0, 0, 1, 1, 1])


def test_odds_at_the_assumed_prior_are_the_likelihood_ratio():
    assert likelihood_ratio(0.5) == 1
    assert likelihood_ratio(0.9) == pytest.approx(9)
    ratios = log_likelihood_ratios(np.array([1 / 11, 0.5, 100 / 101]))
    np.testing.assert_allclose(ratios, [-1, 0, 2], atol=1e-9)


def test_strengths_have_the_words_of_the_guideline():
    expected = {
        0.5: "no support either way",
        0.6: "no support either way",  # 1.5
        0.75: "weak support for fake",  # 3
        10 / 11: "moderate support for fake",
        1 / 11: "moderate support for real",
        0.9975: "moderately strong support for fake",  # 399
        0.0002: "strong support for real",  # 4,999
        1.0: "very strong support for fake",  # no score is worth more than its clip
    }
    for probability, words in expected.items():
        assert strength_of_evidence(probability) == words
    names = strength_names()
    assert set(expected.values()) <= set(names)
    swapped = {"fake": "real", "real": "fake"}
    mirrored = [" ".join(swapped.get(word, word) for word in name.split()) for name in names[::-1]]
    assert names == mirrored
    assert len(names) == 2 * len(STRENGTHS) - 1


def test_cost_is_one_bit_for_saying_nothing_and_more_for_misleading():
    weights = np.ones(6)
    assert cllr(TRUTH, np.full(6, 0.5), weights) == pytest.approx(1)
    scores = np.where(TRUTH == 1, 0.9, 0.1)
    assert cllr(TRUTH, scores, weights) == pytest.approx(-np.log2(0.9))
    assert cllr(TRUTH, 1 - scores, weights) > 3
    assert np.isnan(cllr(TRUTH, scores, (TRUTH == 1).astype(float)))


def test_labels_count_as_half_each_however_many_there_are():
    truth, scores = np.array([0, 1, 1, 1, 1]), np.array([0.2, 0.6, 0.6, 0.6, 0.6])
    expected = (-np.log2(0.8) - np.log2(0.6)) / 2
    assert cllr(truth, scores, np.ones(5)) == pytest.approx(expected)


def test_the_minimum_is_what_no_calibration_changes():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 200)
    scores = 1 / (1 + np.exp(-(rng.normal(size=400) + 1.5 * truth)))
    weights = np.ones(400)
    minimum = minimum_cllr(truth, scores, weights)
    assert 0 < minimum < cllr(truth, scores, weights)
    assert minimum_cllr(truth, scores**3, weights) == pytest.approx(minimum)
    assert minimum_cllr(truth, truth.astype(float), weights) == pytest.approx(0, abs=1e-9)
    assert minimum_cllr(truth, 1 - scores, weights) == pytest.approx(1, abs=0.02)


def test_weights_are_repetitions():
    scores = np.array([0.1, 0.4, 0.6, 0.3, 0.7, 0.8])
    weights = np.array([2, 1, 0, 1, 3, 1])
    repeated = np.repeat(np.arange(6), weights)
    for cost in (cllr, minimum_cllr):
        expected = cost(TRUTH[repeated], scores[repeated], np.ones(len(repeated)))
        assert cost(TRUTH, scores, weights) == pytest.approx(expected)


def test_figures_have_intervals_and_count_the_strengths():
    probabilities = np.array([0.1, 0.3, 0.5, 0.5, 0.95, 0.99])
    figures = evidence_figures(TRUTH, probabilities, list("abcdef"), samples=50)
    assert figures["cllr"]["low"] <= figures["cllr"]["value"] <= figures["cllr"]["high"]
    assert figures["strengths"]["real"] == {
        "weak support for real": 2,
        "no support either way": 1,
    }
    assert figures["strengths"]["fake"] == {
        "no support either way": 1,
        "moderate support for fake": 2,
    }
    one_label = evidence_figures(np.zeros(3, int), probabilities[:3], list("abc"), samples=5)
    assert one_label["cllr"]["value"] is None
