"""The checks of `training.measure.audit.audit` of what training draws from a prepared folder.

These are its composites, and its fakes beside the real photos of the same pairs.
"""

from __future__ import annotations

from pathlib import Path

from training.data.rows import Photo, read_source_pairs, read_split
from training.data.sources import lookup
from training.measure.audit.checks import LIMIT, SEED, Check, beyond, label_auc
from training.measure.audit.traces import FOLDS, PhotoSet

COMPOSITES = 300  # drawn, beside as many bases
PAIRS = 300  # drawn for each source: its fakes and the real photos beside them
HEARD = {
    "surroundings": "what lies outside the face's box",
    "history": "blocks of JPEG and the spectrum",
}


def check_composites(data: Path, photos: PhotoSet, samples: int) -> Check | None:
    """Check the fakes that training makes; return `None` if it can make none, or too few."""
    from training.measure.audit.composites import draw_composites  # loads Keras

    drawn = draw_composites(_readable(data, photos), pairs=COMPOSITES, seed=SEED)
    if drawn is None or len(set(drawn.groups)) < FOLDS:
        return None
    auc = label_auc(drawn.columns, drawn.truth, drawn.groups, samples)
    leak = auc["low"] > LIMIT
    return Check(
        "classifier",
        {"roc_auc": auc, "limit": LIMIT, "pairs": len(drawn.truth) // 2},
        leak,
        f"A classifier of blur, noise and colour of training's composites {beyond(leak, LIMIT)}"
        f"{': change how they are made.' if leak else '.'}",
    )


def check_batches(data: Path, photos: PhotoSet, samples: int) -> dict[str, Check]:
    """Check whether training's pairs reveal the fakes of each source.

    One check sees what surrounds the face, the other how the photos were encoded. Sources of few
    groups are left out.
    """
    from training.measure.audit.batches import draw_by_source  # loads Keras

    training_photos = _readable(data, photos)
    originals = dict(read_source_pairs(data, training_photos))
    checks = {}
    for source, drawn in draw_by_source(training_photos, originals, pairs=PAIRS, seed=SEED):
        fake_groups = [
            group for group, is_fake in zip(drawn.groups, drawn.truth, strict=True) if is_fake
        ]
        if min(len(set(fake_groups)), len(set(drawn.groups) - set(fake_groups))) < FOLDS:
            continue
        generated = lookup(source).changed == "all"
        for name, columns in (("surroundings", drawn.surroundings), ("history", drawn.history)):
            auc = label_auc(columns, drawn.truth, drawn.groups, samples)
            exceeds = auc["low"] > LIMIT
            advice = ", as may be where photos are generated as a whole" if generated else ""
            checks[f"{name} of {source}"] = Check(
                "classifier",
                {"roc_auc": auc, "limit": LIMIT, "pairs": PAIRS},
                exceeds and not generated,
                f"In training batches, {HEARD[name]} {beyond(exceeds, LIMIT)}"
                f"{advice if exceeds else ''}.",
            )
    return checks


def _readable(data: Path, photos: PhotoSet) -> list[Photo]:
    """Return the training photos that can be read."""
    readable = set(photos.names)
    return [
        photo
        for photo in read_split(data, "train")
        if photo.path.relative_to(data).as_posix() in readable
    ]
