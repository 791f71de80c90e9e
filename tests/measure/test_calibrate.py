from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss

from training.measure.calibrate import (
    BIN_PHOTOS,
    balanced_weights,
    calibrate,
    choose_thresholds,
    describe_scores,
)
from training.measure.promise import MAX_FAKE_CALLED_REAL, MAX_REAL_CALLED_FAKE

GROUPS = [str(number) for number in range(4000)]
ONE = ["s"]  # source of all photos


def draw(slope: float, intercept: float) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores whose log-odds are off by a linear map."""
    rng = np.random.default_rng(1)
    log_odds = rng.normal(0, 2, 4000)
    truth = (rng.random(4000) < expit(slope * log_odds + intercept)).astype(int)
    return truth, expit(log_odds)


def test_overconfidence_takes_a_temperature():
    truth, scores = draw(slope=0.4, intercept=0.0)
    calibration = calibrate(truth, scores, GROUPS, ONE * len(truth))
    assert calibration.slope == pytest.approx(0.4, abs=0.05)
    assert calibration.intercept == pytest.approx(0, abs=0.1)


def test_a_shift_takes_platt():
    truth, scores = draw(slope=1.5, intercept=1.0)
    calibration = calibrate(truth, scores, GROUPS, ONE * len(truth))
    assert calibration.method == "platt"
    assert calibration.slope == pytest.approx(1.5, abs=0.15)
    # Scores assume as many real photos as fakes, so the prior of this set is taken off.
    prior = np.log(truth.mean() / (1 - truth.mean()))
    assert calibration.intercept == pytest.approx(1.0 - prior, abs=0.15)
    probabilities = [calibration.apply(score) for score in scores]
    weights = balanced_weights(truth, ONE * len(truth))
    before, after = (
        log_loss(truth, values, sample_weight=weights) for values in (scores, probabilities)
    )
    assert after < before - 0.01


def test_ranking_is_kept_even_by_a_model_worse_than_chance():
    truth, scores = draw(slope=-1.0, intercept=0.0)
    calibration = calibrate(truth, scores, GROUPS, ONE * len(truth))
    probabilities = np.array([calibration.apply(score) for score in scores])
    assert (np.diff(probabilities[np.argsort(scores)]) >= 0).all()


def test_sources_count_by_the_root_of_their_size_and_labels_alike():
    truth = np.array([0] * 9 + [0] * 1 + [1] * 4)
    weights = balanced_weights(truth, ["large"] * 9 + ["small"] + ["large"] * 2 + ["other"] * 2)
    assert weights[:10].sum() == pytest.approx(7)  # half of 14, though there are 10 real photos
    assert weights[10:].sum() == pytest.approx(7)
    assert weights[:9].sum() == pytest.approx(3 * weights[9])  # roots of 9 and of 1
    assert weights[10:12].sum() == pytest.approx(weights[12:].sum())


def test_a_share_of_fakes_that_sets_happen_to_have_does_not_shift_the_score():
    truth, scores = draw(slope=1.0, intercept=0.0)
    rare = np.concatenate([np.flatnonzero(truth == 0), np.flatnonzero(truth == 1)[:200]])
    calibration = calibrate(truth[rare], scores[rare], GROUPS[: len(rare)], ONE * len(rare))
    assert calibration.apply(0.5) == pytest.approx(0.5, abs=0.06)


def test_a_large_source_does_not_outvote_a_small_one():
    truth, scores = draw(slope=1.0, intercept=0.0)
    small = slice(0, 250)  # a sixteenth of the photos: a quarter of the other's weight
    overconfident = expit(4 * np.log(scores[small] / (1 - scores[small])))
    all_truths = np.concatenate([truth, truth[small]])
    all_scores = np.concatenate([scores, overconfident])
    sources = ["large"] * 4000 + ["small"] * 250
    groups = [str(number) for number in range(4250)]
    balanced = calibrate(all_truths, all_scores, groups, sources)
    pooled = calibrate(all_truths, all_scores, groups, ONE * 4250)
    assert balanced.slope < pooled.slope - 0.05


def test_thresholds_let_through_2_and_5_percent():
    truth, scores = draw(slope=1.0, intercept=0.0)
    thresholds = choose_thresholds(truth, scores, ONE * len(truth))
    assert thresholds["real"] < thresholds["fake"]
    assert 0.018 < np.mean(scores[truth == 0] >= thresholds["fake"]) <= MAX_REAL_CALLED_FAKE
    assert 0.045 < np.mean(scores[truth == 1] < thresholds["real"]) <= MAX_FAKE_CALLED_REAL


def test_few_photos_and_ties_keep_the_promise():
    truth = np.array([0] * 10 + [1] * 10)
    scores = np.array([0.1] * 5 + [0.6] * 5 + [0.4] * 10)
    thresholds = choose_thresholds(truth, scores, ONE * len(truth))
    assert not (scores[truth == 0] >= thresholds["fake"]).any()
    assert not (scores[truth == 1] < thresholds["real"]).any()


@pytest.mark.parametrize(
    ("photos", "reals", "fakes"), [(19, 0, 0), (39, 0, 1), (99, 1, 4), (149, 2, 6)]
)
def test_so_few_are_mistaken_that_new_photos_keep_the_promise(photos, reals, fakes):
    truth = np.repeat([0, 1], photos)
    scores = np.tile(np.linspace(0.2, 0.8, photos), 2)
    thresholds = choose_thresholds(truth, scores, ONE * 2 * photos)
    assert (scores[truth == 0] >= thresholds["fake"]).sum() == reals
    assert (scores[truth == 1] < thresholds["real"]).sum() == fakes


def test_mistakes_about_fakes_of_a_small_source_weigh_more():
    truth = np.repeat([0, 1], 1000)
    scores = np.tile(np.linspace(0.1, 0.9, 1000), 2)
    hard = np.linspace(0.1, 0.2, 40)  # forty fakes that score like real photos
    all_truths, all_scores = np.append(truth, np.ones(40, int)), np.append(scores, hard)
    sources = ["large"] * 2000 + ["small"] * 40
    balanced = choose_thresholds(all_truths, all_scores, sources)
    pooled = choose_thresholds(all_truths, all_scores, ONE * 2040)
    assert balanced["real"] < pooled["real"]
    assert balanced["fake"] == pooled["fake"]  # the small source has no real photos
    weights = balanced_weights(all_truths, sources)[all_truths == 1]
    called = all_scores[all_truths == 1] < balanced["real"]
    assert 0.04 < np.average(called, weights=weights) <= MAX_FAKE_CALLED_REAL


@pytest.mark.parametrize(("photos", "accused"), [(50, 1), (99, 1), (120, 2)])
def test_of_no_source_more_real_photos_are_called_fake_than_promised(photos, accused):
    truth = np.repeat([0, 1], 5000)
    scores = np.tile(np.linspace(0.1, 0.9, 5000), 2)
    hard = np.linspace(0.92, 0.95, photos)  # real photos that score like fakes
    all_truths, all_scores = np.append(truth, np.zeros(photos, int)), np.append(scores, hard)
    sources = ["easy"] * 10_000 + ["hard"] * photos
    fake = choose_thresholds(all_truths, all_scores, sources)["fake"]
    assert (hard >= fake).sum() == accused


def test_no_source_of_a_few_photos_decides_for_all():
    truth = np.repeat([0, 1], 5000)
    scores = np.tile(np.linspace(0.1, 0.9, 5000), 2)
    all_truths, all_scores = np.append(truth, 0), np.append(scores, 0.95)
    sources = ["easy"] * 10_000 + ["few"]
    assert choose_thresholds(all_truths, all_scores, sources)["fake"] < 0.95


def test_order_of_the_photos_does_not_matter():
    truth, scores = draw(slope=1.0, intercept=0.0)
    sources = np.where(np.arange(4000) % 7, "large", "small")
    order = np.random.default_rng(0).permutation(4000)
    expected = choose_thresholds(truth, scores, sources)
    assert choose_thresholds(truth[order], scores[order], sources[order]) == expected


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
    bins = describe_scores(truth, scores, ONE * len(truth))
    assert bins[0].low == 0
    assert bins[-1].high == 1
    assert all(left.high == right.low for left, right in pairwise(bins))
    assert sum(score_bin.photos for score_bin in bins) == 4000
    assert min(score_bin.photos for score_bin in bins) >= BIN_PHOTOS
    middle = bins[len(bins) // 3]
    members = (scores >= middle.low) & (scores < middle.high)
    assert middle.fake_share == pytest.approx(truth[members].mean(), abs=0.02)
    assert len(describe_scores(truth[:10], scores[:10], ONE * 10)) == 1


def test_bins_are_those_of_as_many_real_photos_as_fakes():
    truth = np.repeat([0, 1], [30, 10])
    [score_bin] = describe_scores(truth, np.linspace(0, 1, 40), ONE * 40)
    assert (score_bin.photos, score_bin.fake_share) == (40, pytest.approx(0.5))
