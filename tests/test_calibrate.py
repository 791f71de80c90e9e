from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss

from training.calibrate import BIN_PHOTOS, calibrate, choose_thresholds, describe_scores

GROUPS = [str(number) for number in range(4000)]


def draw(slope: float, intercept: float) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores whose log-odds are off by a line."""
    rng = np.random.default_rng(1)
    log_odds = rng.normal(0, 2, 4000)
    truth = (rng.random(4000) < expit(slope * log_odds + intercept)).astype(int)
    return truth, expit(log_odds)


def test_overconfidence_takes_a_temperature():
    truth, scores = draw(slope=0.4, intercept=0.0)
    calibration = calibrate(truth, scores, GROUPS)
    assert calibration.slope == pytest.approx(0.4, abs=0.05)
    assert calibration.intercept == pytest.approx(0, abs=0.1)


def test_a_shift_takes_platt():
    truth, scores = draw(slope=1.5, intercept=1.0)
    calibration = calibrate(truth, scores, GROUPS)
    assert calibration.method == "platt"
    assert calibration.slope == pytest.approx(1.5, abs=0.15)
    assert calibration.intercept == pytest.approx(1.0, abs=0.15)
    probabilities = [calibration.apply(score) for score in scores]
    assert log_loss(truth, probabilities) < log_loss(truth, scores) - 0.01


def test_ranking_is_kept_even_by_a_model_worse_than_chance():
    truth, scores = draw(slope=-1.0, intercept=0.0)
    calibration = calibrate(truth, scores, GROUPS)
    probabilities = np.array([calibration.apply(score) for score in scores])
    assert (np.diff(probabilities[np.argsort(scores)]) >= 0).all()


def test_thresholds_let_through_one_in_twenty():
    truth, scores = draw(slope=1.0, intercept=0.0)
    thresholds = choose_thresholds(truth, scores)
    assert thresholds["real"] < thresholds["fake"]
    assert 0.045 < np.mean(scores[truth == 0] >= thresholds["fake"]) <= 0.05
    assert 0.045 < np.mean(scores[truth == 1] < thresholds["real"]) <= 0.05


def test_few_photos_and_ties_keep_the_promise():
    truth = np.array([0] * 10 + [1] * 10)
    scores = np.array([0.1] * 5 + [0.6] * 5 + [0.4] * 10)
    thresholds = choose_thresholds(truth, scores)
    assert not (scores[truth == 0] >= thresholds["fake"]).any()
    assert not (scores[truth == 1] < thresholds["real"]).any()


def test_a_model_that_parts_the_labels_is_never_inconclusive():
    truth = np.array([0] * 50 + [1] * 50)
    scores = np.linspace(0, 1, 100)
    thresholds = choose_thresholds(truth, scores)
    assert thresholds["real"] == thresholds["fake"]
    assert scores[45] < thresholds["fake"] < scores[55]


def test_bins_cover_all_and_tell_the_share_of_fakes():
    truth, scores = draw(slope=1.0, intercept=0.0)
    bins = describe_scores(truth, scores)
    assert bins[0].low == 0
    assert bins[-1].high == 1
    assert all(left.high == right.low for left, right in pairwise(bins))
    assert sum(one.photos for one in bins) == 4000
    assert min(one.photos for one in bins) >= BIN_PHOTOS
    middle = bins[len(bins) // 3]
    members = (scores >= middle.low) & (scores < middle.high)
    assert middle.fake_share == pytest.approx(truth[members].mean())
    assert len(describe_scores(truth[:10], scores[:10])) == 1
