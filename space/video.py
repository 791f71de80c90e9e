"""Judge the faces of a clip: `judge_video("clip.mp4", detector, finder).sentence`.

Frames are taken at even distances and right after scene cuts; every face in them is judged by the
detector, faces of one person are put together, and the answers about a person become one. What
stays on the screen for long counts for as long, however few frames it has. Memory holds one frame
at a time as a picture, and of a face no more than the crop that may be shown and, until it is
judged together with some others, what the network is shown.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from PIL import Image

if __package__:
    from .appearance import correlation
    from .clips import Clip, ClipFrame, VideoError, clock, open_clip
    from .detector import BATCH, Detector
    from .faces import FaceFinder
    from .finder import SIDES
    from .judgements import FaceCrop
    from .packets import EARLY, Use
    from .people import People, Person, in_words
else:
    from appearance import correlation
    from clips import Clip, ClipFrame, VideoError, clock, open_clip
    from detector import BATCH, Detector
    from faces import FaceFinder
    from finder import SIDES
    from judgements import FaceCrop
    from packets import EARLY, Use
    from people import People, Person, in_words

SLACK = 0.5  # s by which a file may end before its time without passing for cut off

# Where frames are looked at.
LOOKS_A_SECOND = 2
MIN_LOOKS, MAX_LOOKS = 8, 60
MAX_CUT_LOOKS = 40  # looks right after cuts come on top
PEEK_SECONDS = 0.2  # distance of the frames that are compared to find cuts, in short clips
MAX_PEEKS = 300  # in a long clip they are farther apart
STAYS = 1 / LOOKS_A_SECOND  # s after which a frame that is still there is looked at again

# A cut: the pictures hardly correlate and most of their area changed. On the sample clips, neither
# a camera in the hand nor another picture behind the speaker does both within a second, and 91 % of
# random pairs of pictures do.
CUT_GRID = (32, 18)
CUT_CORRELATION = 0.5
CUT_LEVELS, CUT_SHARE = 15, 0.4

# Which faces of a frame.
COARSE_PIXELS = 3_000_000  # up to here the finder's coarser copies show a face of 64 px with 20
FINEST_PIXELS = SIDES[0] ** 2 * 3 // 4  # of the finder's finest copy
MAX_FACES = 10  # judged in a frame
VERDICTS = {"fake": "likely fake", "real": "likely real", "inconclusive": "inconclusive"}


@dataclass(frozen=True)
class VideoJudgement:
    """What the model says about the people of a clip.

    Attributes:
        seconds: length of the clip, as far as it could be read.
        frames_looked_at: in how many frames faces were looked for.
        people: at most 6, those that are seen most and largest, in the order of appearance. People
            who are seen too little for a verdict, or whose faces are too small in every frame, are
            among them only where there are no others.
        others: how many more were told apart. Faces that were seen only once, and then small,
            marked or hardly found, are not counted where there are others: most of them are none.
        note: what else must be known, in sentences; empty where there is nothing.
    """

    seconds: float
    frames_looked_at: int
    people: list[Person]
    others: int
    note: str

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        words = [
            VERDICTS[person.verdict] + (f" ({in_words(person.reason)})" if person.reason else "")
            for person in self.people
        ]
        more = f"; {self.others} more seen too little or too small" if self.others else ""
        if len(words) == 1:
            return f"1 person, {words[0]}{more}."
        parts = ", ".join(f"person {number} {word}" for number, word in enumerate(words, start=1))
        return f"{len(words)} people: {parts}{more}."

    def as_dict(self) -> dict:
        """Return it in the types that JSON has, without the pixels."""
        return {
            "sentence": self.sentence,
            "seconds": round(self.seconds, 3),
            "frames_looked_at": self.frames_looked_at,
            "people": [person.as_dict() for person in self.people],
            "others": self.others,
            "note": self.note,
        }


def judge_video(
    path: str | os.PathLike,
    detector: Detector,
    finder: FaceFinder,
    *,
    progress: Callable[[float, str], object] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> VideoJudgement:
    """Judge the faces of a clip.

    Args:
        path: of an MP4, MOV, WebM, Matroska or AVI file.
        detector: judges the faces.
        finder: finds them.
        progress: is told the share that is done, which never falls and ends at 1, and a text, a few
            times for each second of the clip.
        cancelled: is asked before each frame whether to stop.

    Returns:
        A judgement of at least one person.

    Raises:
        VideoError: the file is no readable video, too large or too long, or shows no face.
        VideoCancelled: `cancelled` said so. Whatever `progress` and `cancelled` raise comes out as
            well; the file is closed in any case.
    """
    tell = progress or (lambda share, text: None)
    with open_clip(path, cancelled) as clip:
        plan, uses = _planned(clip, tell)
    with open_clip(path, cancelled) as clip:
        judgement = _judged(clip, plan, uses, detector, finder, tell)
    tell(1.0, "Done")
    return judgement


# --- The frames that are looked at ---


def _planned(clip: Clip, tell: Callable[[float, str], object]) -> tuple[_Plan, Sequence[Use]]:
    """Return which frames to look at, and what to do with each packet for that."""
    plan = _Plan(clip.seconds or 0.0)
    if clip.seconds and plan.step <= 1 / LOOKS_A_SECOND:
        return plan, ()  # all frames are wanted, to find cuts
    outline = clip.outline(
        lambda found: tell(0.0, f"Reading how long the video is: {clock(found)} so far")
    )
    if not clip.seconds:  # browsers record without a length
        plan = _Plan(outline.seconds)
    is_sparse = plan.step > 1 / LOOKS_A_SECOND
    return plan, outline.uses(plan.step, STAYS) if is_sparse else ()


class _Plan:
    """Says which frames to look at.

    Attributes:
        seconds: length of the clip.
        step: s between two looks.
        peek: s between two frames that are compared to find cuts; `step` is a multiple of it.
    """

    def __init__(self, seconds: float) -> None:
        looks = min(max(round(LOOKS_A_SECOND * seconds), MIN_LOOKS), MAX_LOOKS)
        self.seconds = max(seconds, 1e-3)
        self.step = self.seconds / looks
        self.peek = self.step / math.ceil(self.step / max(PEEK_SECONDS, seconds / MAX_PEEKS))
        self._next_peek = self._next_look = 0.0
        self._looks = self._cut_looks = 0

    def wants_peek(self, seconds: float) -> bool:
        """Whether to turn the frame at this time into a picture."""
        if seconds < self._next_peek:
            return False
        self._next_peek = _next_multiple(seconds, self.peek)
        return True

    def wants_look(self, seconds: float, after_cut: bool) -> bool:
        """Whether to look for faces in it."""
        if seconds >= self._next_look:
            self._count_look(seconds)
            return True
        # Cuts early in the clip must not use up all looks that there are for cuts.
        allowed = 1 + MAX_CUT_LOOKS * min(1.0, seconds / self.seconds)
        if after_cut and self._cut_looks < allowed:
            self._cut_looks += 1
            return True
        return False

    def looks_before(self, seconds: float) -> Iterator[float]:
        """Yield the times of the looks that come due before the one that is due at a time."""
        while self._next_look + self.step <= seconds:
            due = self._next_look + EARLY * self.step
            self._count_look(due)
            yield due

    def _count_look(self, seconds: float) -> None:
        self._looks += 1
        if self._looks % MAX_LOOKS == 0:  # the clip is longer than its container says
            self.step, self.peek = 2 * self.step, 2 * self.peek
        self._next_look = _next_multiple(seconds, self.step)


def _next_multiple(seconds: float, step: float) -> float:
    """Return the next multiple of a step, a little early, as times are rounded."""
    return (math.floor(seconds / step + EARLY) + 1 - EARLY) * step


class _Cuts:
    """Notices scene cuts."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

    def follows(self, grey: np.ndarray) -> bool:
        """Whether a cut lies between this thumbnail `[height, width]` and the one before it."""
        small = grey.astype(np.float32)
        before, self._before = self._before, small
        if before is None:
            return False
        changed = np.mean(np.abs(small - before) > CUT_LEVELS)
        return bool(changed > CUT_SHARE and correlation(small, before) < CUT_CORRELATION)


def _judged(
    clip: Clip,
    plan: _Plan,
    uses: Sequence[Use],
    detector: Detector,
    finder: FaceFinder,
    tell: Callable[[float, str], object],
) -> VideoJudgement:
    """Go through a video and judge the faces of the frames that the plan wants."""
    cuts, people = _Cuts(), People(detector.config)
    looks = _Looks(detector, _quick_finder(finder, clip.pixels), people)
    end = 0.0
    shown: ClipFrame | None = None
    for frame in clip.frames(uses):
        if shown and frame.seconds - shown.seconds > STAYS:
            looks.repeat(shown, plan.looks_before(frame.seconds))
        shown, end = frame, frame.until
        grey = frame.thumbnail(*CUT_GRID) if plan.wants_peek(frame.seconds) else None
        if grey is None:
            continue
        after_cut = cuts.follows(grey)
        if after_cut:
            looks.judge()
            people.change_scene()
        if plan.wants_look(frame.seconds, after_cut):
            looks.repeat(frame, [frame.seconds])
        at = f"{clock(frame.seconds)} of {clock(plan.seconds)}"
        tell(min(frame.seconds / plan.seconds, 0.99), at)
    if shown and end - shown.seconds > STAYS:
        looks.repeat(shown, plan.looks_before(end))
    looks.judge()
    if not looks.number:
        raise VideoError(
            "The video is damaged, as no frame of it can be decoded: send it again, or save it as "
            "MP4 with H.264."
        )
    known, others = people.ranked()
    if not known:
        frames = f"the {looks.number} frames that were looked at"
        raise VideoError(
            f"No face was found in {'the only frame' if looks.number == 1 else frames}: send a "
            "video in which a face is seen larger, or for longer."
        )
    note = " ".join(filter(None, [_several(clip), _cut_off(clip, end), _crowded(looks.most)]))
    return VideoJudgement(end, looks.number, known, others, note)


class _Looks:
    """Looks for faces in frames, and has those of several frames go through the network together,
    which takes it less time.

    Attributes:
        number: of looks so far.
        most: the largest number of faces in a frame.
    """

    def __init__(self, detector: Detector, finder: FaceFinder, people: People) -> None:
        self._detector, self._finder, self._people = detector, finder, people
        self._frame: ClipFrame | None = None
        self._crops: list[FaceCrop] | None = None  # of it; `None` where it cannot be converted
        self._waiting: list[tuple[float, list[FaceCrop]]] = []
        self.number = self.most = 0

    def repeat(self, frame: ClipFrame, times: Iterable[float]) -> None:
        """Look at a frame at these times."""
        for seconds in times:
            if frame is not self._frame:
                self._frame, self._crops = frame, self._find(frame)
            if self._crops is None:
                continue
            self.number += 1
            self._waiting.append((seconds, self._crops))
            if sum(len(crops) for _, crops in self._waiting) >= BATCH:
                self.judge()

    def _find(self, frame: ClipFrame) -> list[FaceCrop] | None:
        pixels = frame.picture(FINEST_PIXELS)
        if pixels is None:
            return None
        photo = Image.fromarray(pixels)
        found = self._finder.find(photo)
        self.most = max(self.most, len(found))
        faces, factor = found[:MAX_FACES], math.sqrt(frame.pixels / math.prod(photo.size))
        whole = [face.scaled(factor) for face in faces]
        if factor > 1 and not self._detector.is_fine_enough(faces):
            pixels, faces = frame.picture(), whole
            if pixels is None:
                return None
            photo = Image.fromarray(pixels)
        crops = self._detector.crop_faces(photo, faces)
        return [replace(crop, face=face) for crop, face in zip(crops, whole, strict=True)]

    def judge(self) -> None:
        """Judge what waits, and tell the people, frame by frame."""
        crops = [crop for _, crops in self._waiting for crop in crops]
        judgements = iter(self._detector.judge_crops(crops, second_look=False))
        for seconds, of_frame in self._waiting:
            self._people.add(seconds, list(islice(judgements, len(of_frame))))
        self._waiting.clear()


def _quick_finder(finder: FaceFinder, pixels: int) -> FaceFinder:
    """Return the finder without its finest copy of a frame, where the coarser ones show all faces
    that are large enough to trust: on a frame of 1280x720 it takes a fifth of the time."""
    quick = copy.copy(finder)  # the same network, with a setting of its own
    if pixels <= COARSE_PIXELS:
        quick.sides = finder.coarse_sides
    return quick


def _several(clip: Clip) -> str:
    """Return a sentence if the file shows more than one picture."""
    if clip.tracks == 1:
        return ""
    return f"The file has {clip.tracks} picture tracks, of which the first was judged."


def _cut_off(clip: Clip, end: float) -> str:
    """Return a sentence if less was read from a file than it says it has."""
    if clip.seconds is None or clip.is_complete:
        return ""
    if max(end, clip.read_until) >= clip.seconds - max(SLACK, clip.seconds / 20):
        return ""  # where there is sound to the end, the last picture stays for long
    return (
        f"The picture ends after {end:.1f} of {clip.seconds:.1f} seconds, so the file is probably "
        "cut off: what could be read was judged."
    )


def _crowded(most: int) -> str:
    """Return a sentence if faces of a frame were left out."""
    if most <= MAX_FACES:
        return ""
    return f"Of up to {most} faces in a frame, the {MAX_FACES} largest were judged."
