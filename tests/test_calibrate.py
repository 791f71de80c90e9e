from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss

from training.calibrate import (
    BIN_PHOTOS,
    MAX_MISTAKES,
    calibrate,
    choose_thresholds,
    describe_scores,
)

ONE = ["s"]  # source of all photos
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
    thresholds = choose_thresholds(truth, scores, ONE * len(truth))
    assert thresholds["real"] < thresholds["fake"]
    assert 0.045 < np.mean(scores[truth == 0] >= thresholds["fake"]) <= 0.05
    assert 0.045 < np.mean(scores[truth == 1] < thresholds["real"]) <= 0.05


def test_few_photos_and_ties_keep_the_promise():
    truth = np.array([0] * 10 + [1] * 10)
    scores = np.array([0.1] * 5 + [0.6] * 5 + [0.4] * 10)
    thresholds = choose_thresholds(truth, scores, ONE * len(truth))
    assert not (scores[truth == 0] >= thresholds["fake"]).any()
    assert not (scores[truth == 1] < thresholds["real"]).any()


def mistakes(
    truth: np.ndarray, scores: np.ndarray, thresholds: dict[str, float]
) -> tuple[float, float]:
    """Return the shares of real photos called fake and of fakes called real."""
    called_fake, called_real = scores >= thresholds["fake"], scores < thresholds["real"]
    return float(called_fake[truth == 0].mean()), float(called_real[truth == 1].mean())


def test_no_source_makes_more_mistakes_than_allowed():
    truth, scores = draw(slope=1.0, intercept=0.0)
    easy = truth * 0.5 + scores * 0.5  # a source that is told apart without mistakes
    truths, both = np.tile(truth, 2), np.concatenate([easy, scores])
    sources = np.repeat(["easy", "hard"], len(truth)).tolist()
    thresholds = choose_thresholds(truths, both, sources)
    # The hard source decides, as if it were alone, and over all photos there are half as many.
    assert thresholds == choose_thresholds(truth, scores, ONE * len(truth))
    for share in mistakes(truth, scores, thresholds):
        assert 0.045 < share <= MAX_MISTAKES
    pooled = choose_thresholds(truths, both, ONE * len(both))
    assert min(mistakes(truth, scores, pooled)) > 1.5 * MAX_MISTAKES


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_each_threshold_is_that_of_the_source_which_needs_it_stricter(names):
    rng = np.random.default_rng(4)
    truth = np.repeat([0, 1], 100)
    # One source scores high, so that its real photos are the danger, the other low.
    high, low = 0.4 + 0.3 * rng.random(200), 0.2 + 0.3 * rng.random(200)
    of_high, of_low = (choose_thresholds(truth, scores, ONE * 200) for scores in (high, low))
    sources = [name for name in names for _ in truth]
    thresholds = choose_thresholds(np.tile(truth, 2), np.concatenate([high, low]), sources)
    assert thresholds == {"real": of_low["real"], "fake": of_high["fake"]}
    assert thresholds["real"] < thresholds["fake"]


@pytest.mark.parametrize(("photos", "allowed"), [(3, 0), (19, 0), (38, 0), (39, 1), (59, 2)])
def test_a_small_source_may_make_so_few_mistakes_that_new_photos_make_5_percent(photos, allowed):
    truth, scores = np.array([0] * 200 + [1] * 200), np.linspace(0, 0.5, 400)
    small = np.linspace(0.6, 0.9, photos)
    truths = np.concatenate([truth, np.zeros(photos, int), np.ones(photos, int)])
    both = np.concatenate([scores, small, small - 0.59])
    sources = ["large"] * 400 + ["small"] * 2 * photos
    thresholds = choose_thresholds(truths, both, sources)
    assert (small >= thresholds["fake"]).sum() == allowed
    assert (small - 0.59 < thresholds["real"]).sum() == allowed


def test_a_source_of_one_label_decides_its_threshold_alone():
    truth = np.array([0] * 50 + [1] * 50 + [0] * 50)
    scores = np.concatenate([np.linspace(0, 0.6, 50), np.linspace(0.3, 1, 50), np.full(50, 0.8)])
    alone = choose_thresholds(truth[:100], scores[:100], ONE * 100)
    thresholds = choose_thresholds(truth, scores, ["both"] * 100 + ["real"] * 50)
    assert thresholds["real"] == alone["real"]
    assert thresholds["fake"] > 0.8 > alone["fake"]


def test_sources_that_are_told_apart_at_one_threshold_share_it():
    truth = np.array([0] * 50 + [1] * 50)
    sources = ["a", "b"] * 50
    scores = np.linspace(0, 1, 100)
    thresholds = choose_thresholds(truth, scores, sources)
    assert thresholds["real"] == thresholds["fake"]
    assert scores[45] < thresholds["fake"] < scores[55]


def test_a_model_that_parts_the_labels_is_never_inconclusive():
    truth = np.array([0] * 50 + [1] * 50)
    scores = np.linspace(0, 1, 100)
    thresholds = choose_thresholds(truth, scores, ONE * len(truth))
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
