"""Answers of the served detector about photos, before and after what platforms do to them.

Faces are found anew in each photo, as on the page.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from space.detector import Detector
from space.photos import PhotoError, PhotoSource, open_photo
from training.data.rows import Photo
from training.finder import load_finder
from training.fit import degrade
from training.run import FACE

ORIGINAL = "as they are"
NO_FACE, UNREADABLE, BETWEEN = "no_face", "unreadable", "between_thresholds"

Change = Callable[[np.ndarray], np.ndarray]


def limit_side(photo: np.ndarray, side: int) -> np.ndarray:
    """Return the photo shrunk to a longer side of at most `side` px, as platforms do."""
    factor = side / max(photo.shape[:2])
    if factor >= 1:
        return photo
    return cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def halve(photo: np.ndarray) -> np.ndarray:
    """Return the photo at half its size."""
    return cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def mirror(photo: np.ndarray) -> np.ndarray:
    """Return the photo with left and right swapped."""
    return np.ascontiguousarray(photo[:, ::-1])


def shift(photo: np.ndarray) -> np.ndarray:
    """Return the photo without its first row and column, which moves it by one pixel."""
    return np.ascontiguousarray(photo[1:, 1:])


# What platforms do to a photo. Functions take and return a `uint8` array `[height, width, 3]`, RGB.
CHANGES: dict[str, Change] = {
    "JPEG quality 40": partial(degrade.jpeg, quality=40),
    "at most 512 px": partial(limit_side, side=512),
    "at most 256 px": partial(limit_side, side=256),
    "screenshot": degrade.screenshot,
}
# What nobody would notice, and what should flip no verdict:
HARMLESS: dict[str, Change] = {
    "JPEG quality 75": partial(degrade.jpeg, quality=75),
    "half the size": halve,
    "mirrored": mirror,
    "5 % cropped": partial(degrade.crop_tighter, share=0.05),
    "shifted by a pixel": shift,
}


class Answer(NamedTuple):
    """The detector's answer about a photo.

    Attributes:
        probability: of fake; that of the whole photo if no face was found, NaN if the photo cannot
            be read.
        verdict: `"real"`, `"fake"` or `"inconclusive"`; the last if no face was found, because the
            page then judges nothing.
        reason: why there is no verdict: `NO_FACE`, `UNREADABLE`, `BETWEEN`, or what the detector
            gives; `""` if there is a verdict.
    """

    probability: float
    verdict: str
    reason: str


@dataclass(frozen=True)
class Answers:
    """The detector's answers about several photos; all arrays are `[photos]`.

    Attributes:
        probabilities: see `Answer`.
        verdicts: see `Answer`.
        reasons: see `Answer`.
        changed: whether the change altered the photo.
    """

    probabilities: np.ndarray
    verdicts: np.ndarray
    reasons: np.ndarray
    changed: np.ndarray

    def of(self, members: np.ndarray) -> Answers:
        """Return the answers about some of the photos, given by positions or a mask."""
        return Answers(*(getattr(self, name)[members] for name in self.__dataclass_fields__))

    @property
    def has_face(self) -> np.ndarray:
        """Whether a face was judged in each photo, `bool` `[photos]`."""
        return ~np.isin(self.reasons, (NO_FACE, UNREADABLE))


def ask(
    detector: Detector,
    photos: Sequence[Photo],
    changes: Mapping[str, Change] | None = None,
    *,
    what: str = "photos",
) -> dict[str, Answers]:
    """Judge photos as they are, and again after each change.

    Args:
        detector: the detector as it is served. One that judges whole photos looks for no faces.
        photos: photos of a prepared folder or any other.
        changes: the changes by name.
        what: what the photos are, for the progress bar.

    Returns:
        The answers by the name of the change, `ORIGINAL` first.
    """
    work = partial(_ask_of, judge_with(detector), changes or {})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(work, photo) for photo in photos]
        try:
            rows = [job.result() for job in tqdm(jobs, desc=f"Judging {what}", unit="photo")]
        except BaseException:
            pool.shutdown(cancel_futures=True)  # else an interruption waits for the queue
            raise
    return {
        name: Answers(
            probabilities=np.array([row[name][0].probability for row in rows], dtype=float),
            verdicts=np.array([row[name][0].verdict for row in rows]),
            reasons=np.array([row[name][0].reason for row in rows]),
            changed=np.array([row[name][1] for row in rows], dtype=bool),
        )
        for name in (ORIGINAL, *(changes or {}))
    }


def judge_with(detector: Detector) -> Callable[[PhotoSource], Answer]:
    """Return a function that judges the largest face, or the whole photo if the detector does so.

    Raises:
        UserError: the face finder cannot be loaded.
    """
    finder = load_finder(detector.folder) if detector.config.framing == FACE else None

    def judge(photo: PhotoSource) -> Answer:
        if finder is None:
            return _answer(detector.predict(photo), None)
        judgements = detector.judge(photo, finder)
        if judgements:
            largest = judgements[0]
            return _answer(largest.prediction, largest.reason)
        whole = detector.judge_whole(photo).prediction
        return Answer(whole.probability, "inconclusive", NO_FACE)

    return judge


def _answer(prediction, reason: str | None) -> Answer:
    undecided = BETWEEN if prediction.verdict == "inconclusive" else ""
    return Answer(prediction.probability, prediction.verdict, reason or undecided)


def _ask_of(
    judge: Callable[[PhotoSource], Answer], changes: Mapping[str, Change], photo: Photo
) -> dict[str, tuple[Answer, bool]]:
    """Return the answers about a photo, and whether each change altered it."""
    try:
        original = judge(photo.path)
        pixels = np.asarray(open_photo(photo.path)) if changes else None
    except PhotoError:
        unreadable = Answer(float("nan"), "inconclusive", UNREADABLE)
        return dict.fromkeys((ORIGINAL, *changes), (unreadable, False))
    answers = {ORIGINAL: (original, False)}
    for name, change in changes.items():
        changed = change(pixels)
        # A photo that is too small to be changed need not be judged twice.
        answers[name] = (
            (original, False) if changed is pixels else (_judge_changed(judge, changed), True)
        )
    return answers


def _judge_changed(judge: Callable[[PhotoSource], Answer], photo: np.ndarray) -> Answer:
    try:
        return judge(photo)
    except PhotoError:  # the change made it too small
        return Answer(float("nan"), "inconclusive", UNREADABLE)
