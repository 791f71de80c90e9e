"""Judge the faces of a clip: `judge_video("clip.mp4", detector, finder).sentence`.

Frames are taken at even distances and right after scene cuts; every face in them is judged by the
detector, faces of one person are put together, and the answers about a person become one. Memory
holds one frame at a time, and of a face no more than the crop that may be shown and, until it is
judged together with some others, what the network is shown.
"""

from __future__ import annotations

import copy
import math
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

if __package__:
    from .detector import BATCH, Detector
    from .faces import FaceFinder
    from .judgements import FaceCrop
    from .people import People, Person, correlation
    from .photos import MIN_SIDE
else:
    from detector import BATCH, Detector
    from faces import FaceFinder
    from judgements import FaceCrop
    from people import People, Person, correlation
    from photos import MIN_SIDE

# What is taken. The page shows the first two.
MAX_BYTES = 100_000_000
MAX_SECONDS = 300
MAX_FRAME_PIXELS = 8192 * 4320  # 8K; FFmpeg holds a dozen frames of that size
MAX_RATE = 240  # frames a second; what claims more has wrong times
SLACK = 0.5  # s by which the picture may end before the sound without passing for cut off

# Where frames are looked at.
LOOKS_A_SECOND = 2
MIN_LOOKS, MAX_LOOKS = 8, 60
MAX_CUT_LOOKS = 40  # looks right after cuts come on top
PEEK_SECONDS = 0.2  # distance of the frames that are compared to find cuts, in short clips
MAX_PEEKS = 300  # in a long clip they are farther apart

# A cut: the pictures hardly correlate and most of their area changed. On the sample clips, neither
# a camera in the hand nor another picture behind the speaker does both within a second, and 91 % of
# random pairs of pictures do.
CUT_GRID = (32, 18)
CUT_CORRELATION = 0.5
CUT_LEVELS, CUT_SHARE = 15, 0.4

# Which faces of a frame.
COARSE_PIXELS = 3_000_000  # up to here the finder's coarser copies show a face of 64 px with 20
MAX_FACES = 10  # judged in a frame
VERDICTS = {"fake": "likely fake", "real": "likely real", "inconclusive": "inconclusive"}

# How files begin that FFmpeg may open. A list of its own, as FFmpeg goes by content and takes text
# for a playlist of other files on this machine.
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
MATROSKA = b"\x1a\x45\xdf\xa3"
SOUND_FILES = (b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf1", b"\xff\xf3")


class VideoError(ValueError):
    """A video that cannot be judged; the text says in one sentence what was found and what to
    do."""


class VideoCancelled(Exception):
    """The judging was stopped by whoever started it."""


@dataclass(frozen=True)
class VideoJudgement:
    """What the model says about the people of a clip.

    Attributes:
        seconds: length of the clip, as far as it could be read.
        frames_looked_at: in how many frames faces were looked for.
        people: at most 6, those that are seen most and largest, in the order of appearance. People
            whose faces are too small in every frame are among them only where there are no others.
        others: how many more were told apart. Small faces that were seen only once are not counted
            where there are others, as most of them are none.
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
        words = [VERDICTS[person.verdict] for person in self.people]
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
    path = _checked_file(path)
    tell = progress or (lambda share, text: None)
    with _opened(path, cancelled) as clip:
        seconds = clip.seconds or _measured_length(clip, tell)  # browsers record without a length
    with _opened(path, cancelled) as clip:
        judgement = _judged(clip, _Plan(seconds), detector, finder, tell)
    tell(1.0, "Done")
    return judgement


# --- The file ---


def _checked_file(path: str | os.PathLike) -> Path:
    """Return the path of a file that FFmpeg may open.

    Raises:
        VideoError: the file is missing, too large or of another kind.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise VideoError(f"The video cannot be read ({error.strerror}): check its path.") from error
    except ValueError as error:  # a path with a null byte
        raise VideoError(f"The video cannot be read ({error}): check its path.") from error
    if size > MAX_BYTES:
        raise VideoError(
            f"The video has {size / 1e6:.1f} MB: send one of at most {MAX_BYTES // 10**6} MB, a "
            "shorter part of it for instance."
        )
    if head.startswith(SOUND_FILES) or (head[:4], head[8:12]) == (b"RIFF", b"WAVE"):
        raise VideoError("The file holds sound but no picture: send a video.")
    is_avi = (head[:4], head[8:12]) == (b"RIFF", b"AVI ")
    if not (is_avi or head[4:8] in MP4_BOXES or head.startswith(MATROSKA)):
        raise VideoError(
            "The file is not a video, whatever its name says: send an MP4, MOV or WebM file."
        )
    return path


@contextmanager
def _opened(path: Path, cancelled: Callable[[], bool] | None) -> Iterator[_Clip]:
    """Open a video; raise `VideoError` where that fails, or where it cannot be judged."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise VideoError(_why_unreadable(path))
        yield _Clip(capture, cancelled)
    finally:
        capture.release()


class _Clip:
    """A video that was opened, and what its container says about the picture.

    Attributes:
        seconds: its length; `None` where the container says nothing.
        frames: their number, or an estimate of it.
        gap: usual time between two frames in s.
        pixels: width x height.
    """

    def __init__(self, capture: cv2.VideoCapture, cancelled: Callable[[], bool] | None) -> None:
        # Frames come as they are to be seen, however the phone was held.
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        self._capture, self._cancelled = capture, cancelled
        self.frames, rate = self._get(cv2.CAP_PROP_FRAME_COUNT), self._get(cv2.CAP_PROP_FPS)
        self.seconds = self.frames / rate if self.frames and rate else None
        self.gap = 1 / min(rate or 25, MAX_RATE)
        width, height = self._get(cv2.CAP_PROP_FRAME_WIDTH), self._get(cv2.CAP_PROP_FRAME_HEIGHT)
        self.pixels = width * height
        if self.seconds and self.seconds > MAX_SECONDS:
            raise _too_long(f"lasts {_clock(self.seconds)}")
        if min(width, height) < MIN_SIDE or self.pixels > MAX_FRAME_PIXELS:
            raise VideoError(
                f"The video has {width:.0f}x{height:.0f} pixels: send one of at least "
                f"{MIN_SIDE}x{MIN_SIDE} and at most 8192x4320."
            )

    def _get(self, number: int) -> float:
        """Return a property of the capture, 0 where it is unknown."""
        value = self._capture.get(number)
        return value if 0 < value < math.inf else 0.0

    def times(self) -> Iterator[float]:
        """Go through the frames, without turning them into pictures.

        Yields:
            The time of each frame in s, by the container; it always grows.

        Raises:
            VideoError: the video is longer than can be judged, whatever its container says.
            VideoCancelled: whoever started it wants it to stop.
        """
        seconds = -self.gap
        for _ in range(MAX_SECONDS * MAX_RATE):
            if self._cancelled and self._cancelled():
                raise VideoCancelled("The video was not judged to its end.")
            if not self._capture.grab():
                return
            stamp = self._get(cv2.CAP_PROP_POS_MSEC) / 1000
            # Frames without a time of their own come in the usual distance.
            seconds = stamp if stamp > seconds else seconds + self.gap
            if seconds > MAX_SECONDS:
                raise _too_long(f"goes on after {_clock(MAX_SECONDS)}")
            yield seconds
        raise _too_long(f"has more than {MAX_SECONDS * MAX_RATE:,} frames")

    def picture(self) -> np.ndarray | None:
        """Return the last of these frames, `uint8` `[height, width, 3]` in BGR order and upright;
        `None` where it is damaged."""
        return self._capture.retrieve()[1]


def _why_unreadable(path: Path) -> str:
    """Return what is wrong with a file that begins like a video, by the words in it."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        is_mp4 = content[4:8] in MP4_BOXES
        has_index = content.find(b"moov") >= 0
        end = len(content) if is_mp4 else 4096  # WebM names its codecs at its start
        words = {word: content.find(word, 0, end) >= 0 for word in (b"vide", b"soun", b"V_", b"A_")}
    if is_mp4 and not has_index:
        return (
            "The video is cut off (its index, which MP4 and MOV files have at their end, is "
            "missing): send the complete file."
        )
    picture, sound = (b"vide", b"soun") if is_mp4 else (b"V_", b"A_")
    if words[sound] and not words[picture]:
        return "The file holds sound but no picture: send a video."
    return (
        "The video is damaged or in a format that cannot be read: save it again as MP4 with H.264."
    )


def _too_long(found: str) -> VideoError:
    return VideoError(
        f"The video {found}: send one of at most {MAX_SECONDS // 60} minutes, a part of it for "
        "instance."
    )


def _measured_length(clip: _Clip, tell: Callable[[float, str], object]) -> float:
    """Go through a video once; return its length in s."""
    seconds = 0.0
    for number, seconds in enumerate(clip.times()):
        if number % 30 == 0:
            tell(0.0, f"Reading how long the video is: {_clock(seconds)} so far")
    return seconds + clip.gap


def _clock(seconds: float) -> str:
    """Return a time as `4:05` or `1:04:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


# --- The frames that are looked at ---


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
            self._looks += 1
            if self._looks % MAX_LOOKS == 0:  # the clip is longer than its container says
                self.step, self.peek = 2 * self.step, 2 * self.peek
            self._next_look = _next_multiple(seconds, self.step)
            return True
        # Cuts early in the clip must not use up all looks that there are for cuts.
        allowed = 1 + MAX_CUT_LOOKS * min(1.0, seconds / self.seconds)
        if after_cut and self._cut_looks < allowed:
            self._cut_looks += 1
            return True
        return False


def _next_multiple(seconds: float, step: float) -> float:
    """Return the next multiple of a step, a little early, as times are rounded."""
    return (math.floor(seconds / step + 1e-4) + 1) * step - 1e-4 * step


class _Cuts:
    """Notices scene cuts."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

    def follows(self, frame: np.ndarray) -> bool:
        """Whether a cut lies between this frame `[height, width, 3]` and the one before it."""
        stride = max(1, min(frame.shape[:2]) // 180)  # for large frames, whose every pixel costs
        small = cv2.resize(frame[::stride, ::stride], CUT_GRID, interpolation=cv2.INTER_AREA)
        small = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
        before, self._before = self._before, small
        if before is None:
            return False
        changed = np.mean(np.abs(small - before) > CUT_LEVELS)
        return bool(changed > CUT_SHARE and correlation(small, before) < CUT_CORRELATION)


def _judged(
    clip: _Clip,
    plan: _Plan,
    detector: Detector,
    finder: FaceFinder,
    tell: Callable[[float, str], object],
) -> VideoJudgement:
    """Go through a video and judge the faces of the frames that the plan wants."""
    finder = _quick_finder(finder, clip.pixels)
    cuts, people = _Cuts(), People(detector.config)
    waiting = _Waiting(detector, people)
    read = looks = most = 0
    seconds = 0.0
    for seconds in clip.times():
        read += 1
        frame = clip.picture() if plan.wants_peek(seconds) else None
        if frame is None:
            continue
        after_cut = cuts.follows(frame)
        if after_cut:
            waiting.judge()
            people.change_scene()
        if plan.wants_look(seconds, after_cut):
            looks += 1
            photo = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            faces = finder.find(photo)
            most = max(most, len(faces))
            waiting.add(seconds, detector.crop_faces(photo, faces[:MAX_FACES]))
        tell(min(seconds / plan.seconds, 0.99), f"{_clock(seconds)} of {_clock(plan.seconds)}")
    waiting.judge()
    if not looks:
        raise VideoError(
            "The video is damaged, as no frame of it can be decoded: send it again, or save it as "
            "MP4 with H.264."
        )
    known, others = people.ranked()
    if not known:
        frames = "the only frame" if looks == 1 else f"the {looks} frames that were looked at"
        raise VideoError(
            f"No face was found in {frames}: send a video in which a face is seen larger, or for "
            "longer."
        )
    end = seconds + clip.gap
    note = " ".join(filter(None, [_cut_off(clip, read, end), _crowded(most)]))
    return VideoJudgement(end, looks, known, others, note)


class _Waiting:
    """Faces of several frames that go through the network together, which takes it less time."""

    def __init__(self, detector: Detector, people: People) -> None:
        self._detector, self._people = detector, people
        self._frames: list[tuple[float, list[FaceCrop]]] = []

    def add(self, seconds: float, crops: list[FaceCrop]) -> None:
        """Add the faces of a frame."""
        self._frames.append((seconds, crops))
        if sum(len(crops) for _, crops in self._frames) >= BATCH:
            self.judge()

    def judge(self) -> None:
        """Judge what waits, and tell the people, frame by frame."""
        crops = [crop for _, crops in self._frames for crop in crops]
        judgements = iter(self._detector.judge_crops(crops))
        for seconds, of_frame in self._frames:
            self._people.add(seconds, list(islice(judgements, len(of_frame))))
        self._frames.clear()


def _quick_finder(finder: FaceFinder, pixels: int) -> FaceFinder:
    """Return the finder without its finest copy of a frame, where the coarser ones show all faces
    that are large enough to trust: on a frame of 1280x720 it takes a fifth of the time."""
    quick = copy.copy(finder)  # the same network, with a setting of its own
    if pixels <= COARSE_PIXELS:
        quick.sides = finder.coarse_sides
    return quick


def _cut_off(clip: _Clip, frames: int, seconds: float) -> str:
    """Return a sentence if fewer frames were read from a file than it says it has."""
    if clip.seconds is None or frames >= clip.frames:
        return ""  # with all frames there, the last of them just stays for long
    if seconds >= clip.seconds - max(SLACK, clip.seconds / 20):
        return ""
    return (
        f"The picture ends after {seconds:.1f} of {clip.seconds:.1f} seconds, so the file is "
        "probably cut off: what could be read was judged."
    )


def _crowded(most: int) -> str:
    """Return a sentence if faces of a frame were left out."""
    if most <= MAX_FACES:
        return ""
    return f"Of up to {most} faces in a frame, the {MAX_FACES} largest were judged."
