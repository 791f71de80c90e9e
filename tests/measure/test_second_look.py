import numpy as np
import pytest
from scipy.special import expit, logit

from space.contract import mean_probability
from training.measure.second_look import MAX_SHARE, choose_margin, give_meaning

THRESHOLDS = {"real": 0.2, "fake": 0.8}


def test_the_margin_reaches_as_far_as_verdicts_are_flipped():
    scores = np.concatenate([np.linspace(-6, -3, 450), np.linspace(3, 6, 550)])
    threshold = logit(0.8)
    first, mean = scores.copy(), scores.copy()
    flips = {0: 0.1, 1: 0.2, 2: 0.3, **dict(enumerate([0.9] * 10, start=3))}
    for index, distance in flips.items():
        first[index], mean[index] = threshold - distance, threshold + 0.1
    # Ten of 1,000 may flip beyond it: those that lie farthest away.
    assert choose_margin(expit(first), expit(mean), THRESHOLDS) == pytest.approx(0.3, abs=2e-4)
    assert choose_margin(expit(first), expit(first), THRESHOLDS) == 0


def test_no_more_than_a_share_of_the_photos_takes_a_second_look():
    rng = np.random.default_rng(1)
    first = rng.uniform(-4, 4, 1000)
    mean = first + rng.normal(0, 3, 1000)
    margin = choose_margin(expit(first), expit(mean), THRESHOLDS)
    within = np.abs(first[:, None] - logit([0.2, 0.8])).min(axis=1) <= margin
    assert within.mean() == pytest.approx(MAX_SHARE, abs=0.002)


def test_thresholds_keep_their_promise_for_the_scores_that_are_served():
    rng = np.random.default_rng(2)
    truth = np.arange(600) % 2
    skill = rng.normal(2.0 * truth - 1, 1.2)
    looks = skill[:, None] + rng.normal(0, 0.5, (600, 4))
    first, mean = expit(looks[:, 0]), expit(looks.mean(axis=1))
    groups, sources = [str(number) for number in range(600)], ["one"] * 600
    meaning = give_meaning(truth, first, mean, groups, sources)
    raw = np.where(meaning.looked_again, mean, first)
    served = [meaning.calibration.apply(score) for score in raw]
    assert np.allclose(served, meaning.probabilities)
    assert np.mean(meaning.probabilities[truth == 0] >= meaning.thresholds["fake"]) <= 0.02
    assert np.mean(meaning.probabilities[truth == 1] < meaning.thresholds["real"]) <= 0.05
    assert 0 < meaning.looked_again.mean() <= MAX_SHARE + 0.01
    # The detector takes the mean of the calibrated looks.
    index = int(np.flatnonzero(meaning.looked_again)[0])
    calibrated = [meaning.calibration.apply(float(expit(score))) for score in looks[index]]
    assert mean_probability(calibrated) == pytest.approx(meaning.probabilities[index])


@pytest.mark.parametrize("seed", range(3))
def test_the_promise_is_kept_among_few_photos_as_well(seed):
    """With few photos, thresholds and second looks may never agree."""
    rng = np.random.default_rng(seed)
    truth = np.arange(22) % 2
    first = expit(rng.normal(2.0 * truth - 1, 1.5))
    mean = expit(np.log(first / (1 - first)) + rng.normal(0, 1, 22))
    meaning = give_meaning(truth, first, mean, [str(number) for number in range(22)], ["a"] * 22)
    assert not (meaning.probabilities[truth == 0] >= meaning.thresholds["fake"]).any()
    assert not (meaning.probabilities[truth == 1] < meaning.thresholds["real"]).any()
