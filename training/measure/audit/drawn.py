"""The checks of `training.measure.audit.audit` of what training draws from a prepared folder: its
composites, and its fakes beside the real photos that it lays beside them."""

from __future__ import annotations

from pathlib import Path

from training.data.rows import Photo, read_source_pairs, read_split
from training.data.sources import lookup
from training.measure.audit.checks import LIMIT, SEED, Check, beyond, label_auc
from training.measure.audit.traces import FOLDS, PhotoSet

COMPOSITES = 300  # drawn, beside as many bases
PAIRS = 300  # drawn of each source's fakes and of the real photos beside them
HEARD = {
    "surroundings": "what lies outside the face's box",
    "history": "blocks of JPEG and the spectrum",
}


def check_composites(data: Path, photos: PhotoSet, samples: int) -> Check | None:
    """Judge the fakes that training makes; `None` where it can make none, or too few to judge."""
    from training.measure.audit.composites import draw_composites  # which loads Keras

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
    """Judge the fakes of each source and the real photos that training lays beside them, by what
    surrounds the face and by how they were encoded. Sources of few groups are left out."""
    from training.measure.audit.batches import draw_by_source  # which loads Keras

    drawn_from = _readable(data, photos)
    originals = dict(read_source_pairs(data, drawn_from))
    checks = {}
    for source, drawn in draw_by_source(drawn_from, originals, pairs=PAIRS, seed=SEED):
        fakes = [group for group, fake in zip(drawn.groups, drawn.truth, strict=True) if fake]
        if min(len(set(fakes)), len(set(drawn.groups) - set(fakes))) < FOLDS:
            continue
        generated = lookup(source).changed == "all"
        for name, columns in (("surroundings", drawn.surroundings), ("history", drawn.history)):
            auc = label_auc(columns, drawn.truth, drawn.groups, samples)
            told = auc["low"] > LIMIT
            advice = ", as may be where photos are generated as a whole" if generated else ""
            checks[f"{name} of {source}"] = Check(
                "classifier",
                {"roc_auc": auc, "limit": LIMIT, "pairs": PAIRS},
                told and not generated,
                f"Of what training draws, {HEARD[name]} {beyond(told, LIMIT)}"
                f"{advice if told else ''}.",
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
