"""How foreign photos are to a detector.

Three tiers: kinds of fakes that it was trained on, kinds that it never saw, and ordinary real
photos.
"""

from __future__ import annotations

from collections.abc import Sequence

from training.data.rows import Photo
from training.data.sources import lookup

TRAINED, UNSEEN, ORDINARY = "trained_kinds", "unseen_kinds", "ordinary_photos"
TIERS = {
    TRAINED: "kinds it was trained on",
    UNSEEN: "kinds it never saw",
    ORDINARY: "ordinary photos",
}


def assign_tiers(
    photos: Sequence[Photo], others: Sequence[Photo], trained_on: Sequence[str]
) -> list[str]:
    """Return the tier of each photo of a split.

    Args:
        photos: photos of the split.
        others: photos of the other splits, which training, calibration and thresholds use.
        trained_on: sources that the model was trained on; empty if unknown, which counts as all.
    """
    seen = {_kind(photo) for photo in others}

    def tier(photo: Photo) -> str:
        source = lookup(photo.source)
        if source.everyday:
            return ORDINARY
        if trained_on and photo.source not in trained_on:
            return UNSEEN
        return UNSEEN if source.unseen_kinds and _kind(photo) not in seen else TRAINED

    return [tier(photo) for photo in photos]


def _kind(photo: Photo) -> tuple[str, str]:
    """Return the source and the kind that a photo's name begins with."""
    return photo.source, photo.path.stem.partition("-")[0]
