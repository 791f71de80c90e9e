from collections import Counter

import numpy as np
import pytest

from training.data.splits import assign_folds, assign_splits
from training.errors import UserError

STRATA = ["real"] * 160 + ["fakeeasy"] * 80 + ["fakehard"] * 80
ALONE = [str(number) for number in range(len(STRATA))]
GROUPS = [str(number % 130) for number in range(len(STRATA))]  # across labels as well


def test_shares_and_strata():
    splits = assign_splits(STRATA, ALONE, seed=7)
    for stratum in set(STRATA):
        members = Counter(split for split, of in zip(splits, STRATA, strict=True) if of == stratum)
        total = sum(members.values())
        assert members["train"] / total == pytest.approx(0.70, abs=0.02)
        assert members["validation"] / total == pytest.approx(0.15, abs=0.02)
        assert members["test"] / total == pytest.approx(0.15, abs=0.02)


def test_groups_stay_together():
    splits = assign_splits(STRATA, GROUPS, seed=7)
    assert len(set(zip(GROUPS, splits, strict=True))) == 130


def test_seed_decides():
    first, same, other = (assign_splits(STRATA, GROUPS, seed) for seed in (1, 1, 2))
    assert first == same != other


def test_a_rare_stratum_is_spread_without_an_error():
    splits = assign_splits([*STRATA, "fakemid"], [*ALONE, "rare"], seed=7)
    assert len(splits) == len(STRATA) + 1
    assert "" not in splits


def test_too_few_sources():
    with pytest.raises(UserError, match="40 photos from 4 sources are too few"):
        assign_splits(["real", "fake"] * 20, ["a", "b", "c", "d"] * 10, seed=7)


@pytest.mark.parametrize("folds", [2, 5, 10])
def test_each_photo_is_tested_in_one_fold_with_its_group(folds):
    assigned = np.array(assign_folds(STRATA, GROUPS, seed=7, folds=folds))
    assert assigned.shape == (folds, len(STRATA))
    assert ((assigned == "test").sum(axis=0) == 1).all()
    for splits in assigned:
        assert len(set(zip(GROUPS, splits, strict=True))) == 130
        assert np.mean(splits == "test") == pytest.approx(1 / folds, abs=0.03)
        assert np.mean(splits == "validation") == pytest.approx(0.15, abs=0.03)


def test_number_of_folds_is_checked():
    with pytest.raises(UserError, match="--folds 3 is not"):
        assign_folds(STRATA, ALONE, seed=7, folds=3)
