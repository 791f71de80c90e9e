from collections import Counter

import pytest

from training.errors import UserError
from training.splits import assign_splits

STRATA = ["real"] * 400 + ["fakeeasy"] * 200 + ["fakehard"] * 200
ALONE = [str(number) for number in range(len(STRATA))]


def test_shares_and_strata():
    splits = assign_splits(STRATA, ALONE, seed=7)
    for stratum in set(STRATA):
        members = Counter(split for split, of in zip(splits, STRATA, strict=True) if of == stratum)
        total = sum(members.values())
        assert members["train"] / total == pytest.approx(0.70, abs=0.02)
        assert members["validation"] / total == pytest.approx(0.15, abs=0.02)
        assert members["test"] / total == pytest.approx(0.15, abs=0.02)


def test_groups_stay_together():
    groups = [str(number % 130) for number in range(len(STRATA))]  # across labels as well
    splits = assign_splits(STRATA, groups, seed=7)
    assert len(set(zip(groups, splits, strict=True))) == 130


def test_seed_decides():
    assert assign_splits(STRATA, ALONE, seed=1) == assign_splits(STRATA, ALONE, seed=1)
    assert assign_splits(STRATA, ALONE, seed=1) != assign_splits(STRATA, ALONE, seed=2)


def test_a_rare_stratum_is_spread_without_an_error():
    splits = assign_splits([*STRATA, "fakemid"], [*ALONE, "rare"], seed=7)
    assert len(splits) == len(STRATA) + 1
    assert "" not in splits


def test_too_few_photos():
    with pytest.raises(UserError, match="8 photos are too few"):
        assign_splits(["real", "fake"] * 4, [str(n) for n in range(8)], seed=7)
