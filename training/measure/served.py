"""What only an exported model has: verdicts as the page gives them, on photos as they come."""

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

STABILITY_PHOTOS = 600  # at most, drawn by lot: each is judged once more for every change
SEED = 0


def judge_split(
    detector: Detector, photos: Sequence[Photo], split: str, *, full: bool
) -> dict[str, Answers]:
    """Judge the photos of a prepared folder.

    Args:
        detector: the model.
        photos: of a split.
        split: its name.
        full: judge them after `CHANGES` as well.

    Raises:
        UserError: one cannot be read.
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
        photos: of a split.
        answers: about them, from `judge_split`.
        others: photos of the other splits.
        elsewhere: photos of other folders.
        full: measure also what takes minutes.
        samples: bootstrap samples of the intervals.

    Returns:
        What JSON can hold: `tiers` (see `training.measure.tier_figures.tier_figures`; each source
        says by `trained_on` whether training saw other photos of it); `promises_broken`, a sentence
        each; `by_whom` (see `training.measure.demographics.by_whom`), of ordinary photos that the
        model was not made with, and `by_whom_trained_on`, how many others tell whom they show; and,
        where `full`, `stability`, `stability_photos` (how many) and `footprint`.

    Raises:
        UserError: a folder's photos cannot be read, or show no faces.
    """
    foreign = judge_elsewhere(detector, elsewhere, [name for name in answers if name != ORIGINAL])
    joined = {name: _join(answers[name], foreign.get(name)) for name in answers}
    everyone = [*photos, *elsewhere.photos]
    tiers = assign_tiers(photos, others, detector.config.sources) + elsewhere.tiers
    by_tier = _by_tier(detector.config, everyone, tiers, joined, samples)
    figures = {
        "tiers": by_tier,
        "promises_broken": broken_promises(by_tier),
        "by_whom": _by_whom(photos, elsewhere, tiers, joined[ORIGINAL]),
        "by_whom_trained_on": sum(bool(apparent_traits(photo.path.name)) for photo in others),
    }
    if full:
        figures |= _stability(detector, everyone)
        figures["footprint"] = measure_footprint(detector.folder)
    return figures


def _by_tier(
    config: DetectorConfig,
    photos: Sequence[Photo],
    tiers: Sequence[str],
    answers: Mapping[str, Answers],
    samples: int,
) -> dict[str, dict]:
    """Return the figures of each tier, each source with whether training saw others of it."""
    most = config.max_likelihood_ratio
    by_tier = tier_figures(photos, tiers, answers, most=most, samples=samples)
    for of in by_tier.values():
        for source, own in of["by_source"].items():
            own["trained_on"] = source in config.sources
    return by_tier


def _by_whom(
    photos: Sequence[Photo], elsewhere: Elsewhere, tiers: Sequence[str], answers: Answers
) -> dict[str, dict]:
    """Compare mistakes on ordinary photos between the people that they show."""
    shown = np.flatnonzero(np.array(tiers) == ORDINARY)
    everyone = [*photos, *elsewhere.photos]
    told = {
        name: [values[index] for index in shown]
        for name, values in _traits(photos, elsewhere).items()
    }
    return by_whom(told, [everyone[index].group for index in shown], answers.of(shown))


def judge_elsewhere(
    detector: Detector, elsewhere: Elsewhere, changes: Sequence[str]
) -> dict[str, Answers]:
    """Judge the photos of other folders, as they are and after some of `CHANGES`.

    Raises:
        UserError: none of a folder's photos can be read, or none shows a face.
    """
    if not elsewhere.photos:
        return {}
    chosen = {name: CHANGES[name] for name in changes}
    answers = ask(detector, elsewhere.photos, chosen, what="photos of elsewhere")
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
    """Return what is told of whom each photo shows, those of the split first."""
    told = [apparent_traits(photo.path.name) for photo in photos]
    names = dict.fromkeys([name for row in told for name in row] + list(elsewhere.traits))
    unknown = [""] * len(elsewhere.photos)
    return {
        name: [row.get(name, "") for row in told] + elsewhere.traits.get(name, unknown)
        for name in names
    }


def _stability(detector: Detector, photos: Sequence[Photo]) -> dict:
    rng = np.random.default_rng(SEED)
    drawn = np.sort(rng.permutation(len(photos))[:STABILITY_PHOTOS])
    own = [photos[index] for index in drawn]
    answers = ask(detector, own, HARMLESS, what="hardly changed photos")
    return {
        "stability": stability_figures(own, answers, detector.config.max_likelihood_ratio),
        "stability_photos": len(own),
        "stability_seed": SEED,
    }
