"""Figures that only an exported model has: of verdicts as the page gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from space.contract import DetectorConfig
from space.detector import Detector
from training.data.rows import Photo
from training.errors import UserError
from training.measure.answers import CHANGES, HARMLESS, NO_FACE, ORIGINAL, UNREADABLE, Answers, ask
from training.measure.demographics import apparent_traits, by_whom
from training.measure.footprint import measure_footprint
from training.measure.foreign import Elsewhere
from training.measure.promise import broken_promises
from training.measure.stability import stability_figures
from training.measure.tier_figures import tier_figures
from training.measure.tiers import ORDINARY, assign_tiers

STABILITY_PHOTOS = 600  # at most, drawn at random: each is judged again after every change
SEED = 0


def judge_split(
    detector: Detector, photos: Sequence[Photo], split: str, *, full: bool
) -> dict[str, Answers]:
    """Return the answers about the photos of a split, by change.

    Args:
        detector: the model.
        photos: photos of the split.
        split: its name.
        full: judge them after `CHANGES` as well.

    Raises:
        UserError: a photo cannot be read.
    """
    answers = ask(detector, photos, CHANGES if full else {}, what=split)
    unreadable = np.flatnonzero(answers[ORIGINAL].reasons == UNREADABLE)
    if len(unreadable):
        raise UserError(f"{photos[unreadable[0]].path} cannot be read: run prepare again.")
    return answers


def served_figures(
    detector: Detector,
    photos: Sequence[Photo],
    answers: Mapping[str, Answers],
    others: Sequence[Photo],
    elsewhere: Elsewhere,
    *,
    full: bool,
    samples: int,
) -> dict:
    """Return the figures of a model as it is served.

    Args:
        detector: the model.
        photos: photos of a split.
        answers: answers about them, from `judge_split`.
        others: photos of the other splits.
        elsewhere: photos of other folders.
        full: also measure what takes minutes.
        samples: bootstrap samples of the intervals.

    Returns:
        JSON-serialisable: `tiers` (see `training.measure.tier_figures.tier_figures`; `trained_on`
        says of each source whether training saw other photos of it); `promises_broken`, a sentence
        each; `by_whom` (see `training.measure.demographics.by_whom`), on ordinary photos that the
        model was not made with; `by_whom_trained_on`, how many of `others` have known traits; and,
        if `full`, `stability`, `stability_photos` (how many) and `footprint`.

    Raises:
        UserError: a folder's photos cannot be read, or show no faces.
    """
    foreign = judge_elsewhere(detector, elsewhere, [name for name in answers if name != ORIGINAL])
    joined = {name: _join(answers[name], foreign.get(name)) for name in answers}
    all_photos = [*photos, *elsewhere.photos]
    tiers = assign_tiers(photos, others, detector.config.sources) + elsewhere.tiers
    by_tier = _by_tier(detector.config, all_photos, tiers, joined, samples)
    figures = {
        "tiers": by_tier,
        "promises_broken": broken_promises(by_tier),
        "by_whom": _by_whom(photos, elsewhere, tiers, joined[ORIGINAL]),
        "by_whom_trained_on": sum(bool(apparent_traits(photo.path.name)) for photo in others),
    }
    if full:
        figures |= _stability(detector, all_photos)
        figures["footprint"] = measure_footprint(detector.folder)
    return figures


def _by_tier(
    config: DetectorConfig,
    photos: Sequence[Photo],
    tiers: Sequence[str],
    answers: Mapping[str, Answers],
    samples: int,
) -> dict[str, dict]:
    """Return the figures of each tier, and of each source whether it was trained on."""
    most = config.max_likelihood_ratio
    by_tier = tier_figures(photos, tiers, answers, most=most, samples=samples)
    for figures in by_tier.values():
        for source, source_figures in figures["by_source"].items():
            source_figures["trained_on"] = source in config.sources
    return by_tier


def _by_whom(
    photos: Sequence[Photo], elsewhere: Elsewhere, tiers: Sequence[str], answers: Answers
) -> dict[str, dict]:
    """Return mistakes on ordinary photos, compared between the people shown."""
    shown = np.flatnonzero(np.array(tiers) == ORDINARY)
    all_photos = [*photos, *elsewhere.photos]
    traits = {
        name: [values[index] for index in shown]
        for name, values in _traits(photos, elsewhere).items()
    }
    return by_whom(traits, [all_photos[index].group for index in shown], answers.of(shown))


def judge_elsewhere(
    detector: Detector, elsewhere: Elsewhere, changes: Sequence[str]
) -> dict[str, Answers]:
    """Return the answers about photos of other folders, as they are and after some `CHANGES`.

    Raises:
        UserError: no photo of a folder can be read, or none shows a face.
    """
    if not elsewhere.photos:
        return {}
    chosen = {name: CHANGES[name] for name in changes}
    answers = ask(detector, elsewhere.photos, chosen, what="photos from elsewhere")
    sources = np.array([photo.source for photo in elsewhere.photos])
    for source in dict.fromkeys(sources.tolist()):
        _check(source, answers[ORIGINAL].of(sources == source))
    return answers


def _check(source: str, answers: Answers) -> None:
    number = len(answers.reasons)
    if (answers.reasons == UNREADABLE).all():
        raise UserError(f"{source}: none of {number} photos can be read: check the files.")
    if np.isin(answers.reasons, (UNREADABLE, NO_FACE)).all():
        raise UserError(
            f"{source}: no face was found in any of {number} photos: give photos of faces, or "
            "leave the folder out."
        )


def _join(first: Answers, second: Answers | None) -> Answers:
    if second is None:
        return first
    names = Answers.__dataclass_fields__
    return Answers(*(np.concatenate([getattr(first, n), getattr(second, n)]) for n in names))


def _traits(photos: Sequence[Photo], elsewhere: Elsewhere) -> dict[str, list[str]]:
    """Return by trait a value for each photo, those of the split first."""
    rows = [apparent_traits(photo.path.name) for photo in photos]
    names = dict.fromkeys([name for row in rows for name in row] + list(elsewhere.traits))
    unknown = [""] * len(elsewhere.photos)
    return {
        name: [row.get(name, "") for row in rows] + elsewhere.traits.get(name, unknown)
        for name in names
    }


def _stability(detector: Detector, photos: Sequence[Photo]) -> dict:
    rng = np.random.default_rng(SEED)
    drawn = np.sort(rng.permutation(len(photos))[:STABILITY_PHOTOS])
    chosen = [photos[index] for index in drawn]
    answers = ask(detector, chosen, HARMLESS, what="slightly changed photos")
    return {
        "stability": stability_figures(chosen, answers, detector.config.max_likelihood_ratio),
        "stability_photos": len(chosen),
        "stability_seed": SEED,
    }
