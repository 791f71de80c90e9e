"""Judge the faces of a clip: `judge_video("clip.mp4", detector, finder).sentence`.

Frames are sampled at even intervals and right after scene cuts. The detector judges every face in
them, faces are grouped by person, and the judgements of each person are combined. A picture counts
for as long as it stays on screen, however few frames it has. Memory holds one decoded frame at a
time and, of each face, only the crop that may be shown and, until its batch is judged, the
network's input.
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

SLACK = 0.5  # s by which a file may end early without being reported as cut off

# Which frames are looked at.
LOOKS_A_SECOND = 2
MIN_LOOKS, MAX_LOOKS = 8, 60
MAX_CUT_LOOKS = 40  # right after cuts, on top of the others
PEEK_SECONDS = 0.2  # s between frames that are compared to find cuts, in short clips
MAX_PEEKS = 300  # in a long clip they are farther apart
STAYS = 1 / LOOKS_A_SECOND  # s after which a frame that is still on screen is looked at again

# A cut: two pictures hardly correlate and much of their area changed. On the sample clips, neither
# a hand-held camera nor a new picture behind the speaker does both within a second; 91 % of random
# pairs of pictures do.
CUT_GRID = (32, 18)
CUT_CORRELATION = 0.5
CUT_LEVELS, CUT_SHARE = 15, 0.4

# Which faces of a frame are judged.
COARSE_PIXELS = 3_000_000  # up to here, a face of 64 px has 20 in the finder's coarser copies
FINEST_PIXELS = SIDES[0] ** 2 * 3 // 4  # of the finder's finest copy
MAX_FACES = 10  # judged per frame
VERDICTS = {"fake": "likely fake", "real": "likely real", "inconclusive": "inconclusive"}


@dataclass(frozen=True)
class VideoJudgement:
    """What the model says about the people of a clip.

    Attributes:
        seconds: length of the clip, as far as it could be read.
        frames_looked_at: number of frames in which faces were looked for.
        people: at most 6, those seen most and largest, in the order of appearance. People who are
            seen too little for a verdict, or too small in every frame, are among them only if there
            are no others.
        others: number of all others. Faces seen only once that are small, marked or of low
            confidence are not counted if there are others: most are false detections.
        note: what else the reader must know, in sentences; may be empty.
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
        """Return the judgement in JSON types, without the pixels."""
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
        progress: is called a few times per second of the clip with the share that is done, which
            never falls and ends at 1, and a text.
        cancelled: is called before each frame; returns whether to stop.

    Returns:
        A judgement of at least one person.

    Raises:
        VideoError: the file is not a readable video, too large or too long, or shows no face.
        VideoCancelled: `cancelled` returned true. Errors of `progress` and `cancelled` are passed
            on; the file is closed in any case.
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
    """Return which frames to look at, and what to do with each packet to get them."""
    plan = _Plan(clip.seconds or 0.0)
    if clip.seconds and plan.step <= 1 / LOOKS_A_SECOND:
        return plan, ()  # all frames are wanted, to find cuts
    outline = clip.outline(
        lambda seconds: tell(0.0, f"Reading how long the video is: {clock(seconds)} so far")
    )
    if not clip.seconds:  # browsers record clips without a length
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
        """Return whether to turn the frame at this time into a picture."""
        if seconds < self._next_peek:
            return False
        self._next_peek = _next_multiple(seconds, self.peek)
        return True

    def wants_look(self, seconds: float, after_cut: bool) -> bool:
        """Return whether to look for faces in the frame at this time."""
        if seconds >= self._next_look:
            self._count_look(seconds)
            return True
        # Early cuts must not use up all looks that are reserved for cuts.
        allowed = 1 + MAX_CUT_LOOKS * min(1.0, seconds / self.seconds)
        if after_cut and self._cut_looks < allowed:
            self._cut_looks += 1
            return True
        return False

    def looks_before(self, seconds: float) -> Iterator[float]:
        """Yield the times of the looks that are due up to a time, without the last one."""
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
    """Return the next multiple of a step, slightly early, as times are rounded."""
    return (math.floor(seconds / step + EARLY) + 1 - EARLY) * step


class _Cuts:
    """Detects scene cuts."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

    def follows(self, grey: np.ndarray) -> bool:
        """Return whether a cut lies between this thumbnail `[height, width]` and the last one."""
        small = grey.astype(np.float32)
        previous, self._before = self._before, small
        if previous is None:
            return False
        changed = np.mean(np.abs(small - previous) > CUT_LEVELS)
        return bool(changed > CUT_SHARE and correlation(small, previous) < CUT_CORRELATION)


def _judged(
    clip: Clip,
    plan: _Plan,
    uses: Sequence[Use],
    detector: Detector,
    finder: FaceFinder,
    tell: Callable[[float, str], object],
) -> VideoJudgement:
    """Go through a clip and judge the faces in the frames that the plan selects."""
    cuts, people = _Cuts(), People(detector.config)
    looks = _Looks(detector, _quick_finder(finder, clip.pixels), people)
    end = 0.0
    last: ClipFrame | None = None
    for frame in clip.frames(uses):
        if last and frame.seconds - last.seconds > STAYS:
            looks.repeat(last, plan.looks_before(frame.seconds))
        last, end = frame, frame.until
        grey = frame.thumbnail(*CUT_GRID) if plan.wants_peek(frame.seconds) else None
        if grey is None:
            continue
        after_cut = cuts.follows(grey)
        if after_cut:
            looks.judge()
            people.change_scene()
        if plan.wants_look(frame.seconds, after_cut):
            looks.repeat(frame, [frame.seconds])
        position = f"{clock(frame.seconds)} of {clock(plan.seconds)}"
        tell(min(frame.seconds / plan.seconds, 0.99), position)
    if last and end - last.seconds > STAYS:
        looks.repeat(last, plan.looks_before(end))
    looks.judge()
    if not looks.number:
        raise VideoError(
            "The video is damaged, as no frame of it can be decoded: send it again, or save it as "
            "MP4 with H.264."
        )
    ranked, others = people.ranked()
    if not ranked:
        frames = f"the {looks.number} frames that were looked at"
        raise VideoError(
            f"No face was found in {'the only frame' if looks.number == 1 else frames}: send a "
            "video in which a face is seen larger, or for longer."
        )
    note = " ".join(filter(None, [_several(clip), _cut_off(clip, end), _crowded(looks.most)]))
    return VideoJudgement(end, looks.number, ranked, others, note)


class _Looks:
    """Looks for faces in frames, and judges those of several frames as a batch, which saves time.

    Attributes:
        number: of looks so far.
        most: the largest number of faces in a frame.
    """

    def __init__(self, detector: Detector, finder: FaceFinder, people: People) -> None:
        self._detector, self._finder, self._people = detector, finder, people
        self._frame: ClipFrame | None = None
        self._crops: list[FaceCrop] | None = None  # of `_frame`; `None` if it cannot be converted
        self._waiting: list[tuple[float, list[FaceCrop]]] = []
        self.number = self.most = 0

    def repeat(self, frame: ClipFrame, times: Iterable[float]) -> None:
        """Look at a frame once for each of these times."""
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
        detected = self._finder.find(photo)
        self.most = max(self.most, len(detected))
        faces, factor = detected[:MAX_FACES], math.sqrt(frame.pixels / math.prod(photo.size))
        full_size = [face.scaled(factor) for face in faces]
        if factor > 1 and not self._detector.is_fine_enough(faces):
            pixels, faces = frame.picture(), full_size
            if pixels is None:
                return None
            photo = Image.fromarray(pixels)
        crops = self._detector.crop_faces(photo, faces)
        return [replace(crop, face=face) for crop, face in zip(crops, full_size, strict=True)]

    def judge(self) -> None:
        """Judge the waiting crops, and add the judgements to the people, frame by frame."""
        batch = [crop for _, crops in self._waiting for crop in crops]
        judgements = iter(self._detector.judge_crops(batch, second_look=False))
        for seconds, crops in self._waiting:
            self._people.add(seconds, list(islice(judgements, len(crops))))
        self._waiting.clear()


def _quick_finder(finder: FaceFinder, pixels: int) -> FaceFinder:
    """Return the finder without its finest copy of a frame, if the coarser ones suffice.

    They do if they show all faces that are large enough to trust. On a frame of 1280x720 that
    takes a fifth of the time.
    """
    quick = copy.copy(finder)  # the same network, with a setting of its own
    if pixels <= COARSE_PIXELS:
        quick.sides = finder.coarse_sides
    return quick


def _several(clip: Clip) -> str:
    """Return a sentence if the file has more than one picture track."""
    if clip.tracks == 1:
        return ""
    return f"The file has {clip.tracks} picture tracks, of which the first was judged."


def _cut_off(clip: Clip, end: float) -> str:
    """Return a sentence if less could be read from a file than its stated length."""
    if clip.seconds is None or clip.is_complete:
        return ""
    if max(end, clip.read_until) >= clip.seconds - max(SLACK, clip.seconds / 20):
        return ""  # the sound goes on to the end, with the last picture on screen
    return (
        f"The picture ends after {end:.1f} of {clip.seconds:.1f} seconds, so the file is probably "
        "cut off: what could be read was judged."
    )


def _crowded(most: int) -> str:
    """Return a sentence if faces of a frame were left out."""
    if most <= MAX_FACES:
        return ""
    return f"Of up to {most} faces in a frame, the {MAX_FACES} largest were judged."
