"""Split photos into train, validation and test without tearing groups apart."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from training.errors import UserError

SPLITS = ("train", "validation", "test")
# Twentieths: 70 / 15 / 15 %.
FOLDS = {"train": 14, "validation": 3, "test": 3}


def assign_splits(strata: Sequence[str], groups: Sequence[str], seed: int) -> list[str]:
    """Assign every photo to a split: 70 % train, 15 % validation, 15 % test.

    Args:
        strata: what the splits should hold in equal shares, for each photo (label and difficulty).
        groups: photos with the same group stay together.
        seed: decides the order in which groups are dealt.

    Returns:
        `"train"`, `"validation"` or `"test"` for each photo.

    Raises:
        UserError: there are too few photos to fill three splits.
    """
    n_folds = sum(FOLDS.values())
    if len(strata) < n_folds or max(np.unique(strata, return_counts=True)[1]) < n_folds:
        raise UserError(
            f"{len(strata)} photos are too few for three splits: give at least {n_folds} of each "
            "label."
        )
    split_of_fold = [split for split, folds in FOLDS.items() for _ in range(folds)]
    splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    splits = [""] * len(strata)
    with warnings.catch_warnings():
        # Said of every stratum with fewer than 20 photos, which is then spread as evenly as it can
        # be.
        warnings.filterwarnings("ignore", message="The least populated class")
        folds = splitter.split(np.zeros(len(strata)), list(strata), list(groups))
        for split, (_, members) in zip(split_of_fold, folds, strict=True):
            for member in members:
                splits[member] = split
    return splits
