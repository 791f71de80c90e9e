import numpy as np
import pytest
from scipy.stats import binomtest

from training.measure.markdown import show_rate
from training.measure.rates import exact_bounds, rate


@pytest.mark.parametrize(("hits", "photos"), [(0, 50), (3, 40), (40, 40)])
def test_photos_that_share_nothing_have_the_exact_binomial_bounds(hits, photos):
    expected = binomtest(hits, photos).proportion_ci(0.95, method="exact")
    assert exact_bounds(hits, photos) == pytest.approx((expected.low, expected.high))


def test_groups_count_as_one_observation_each():
    alone = rate(np.arange(40) < 4, [str(n) for n in range(40)])
    shared = rate(np.arange(40) < 4, [str(n // 4) for n in range(40)])
    assert (alone["groups"], shared["groups"]) == (40, 10)
    assert alone["value"] == shared["value"] == 0.1
    assert (shared["low"], shared["high"]) == pytest.approx(exact_bounds(1, 10))
    assert shared["low"] < alone["low"] < 0.1 < alone["high"] < shared["high"]


def test_rates_are_shown_with_counts_and_bounds():
    assert show_rate(rate(np.zeros(0, bool), [])) == "none there"
    none = rate(np.zeros(10, bool), list("abcdefghij"))
    assert show_rate(none) == "0 of 10 (0.0 %; 0.0 to 30.8 %)"
