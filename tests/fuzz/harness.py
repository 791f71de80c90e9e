"""Feed damaged files to the decoders, in a process that they may crash."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image

from space.clips import open_clip
from space.detector import Detector, load_bundled
from space.faces import Face, FaceFinder
from space.photos import PhotoError, animation_note, open_photo, open_reduced
from space.video import VideoError, judge_video
from tests.fuzz.mutate import mutated
from tests.fuzz.samples import CLIPS, KINDS, samples, stranger

HANG = 60  # s: files this small take less than a tenth of it, even on a busy machine
POISON = (2**12, 2**16, 2**20, 2**23)  # bytes of each block of memory that is dirtied
APART = (0.4, 1.0, 1.9)  # s between looks: together they skip frames of the samples in every way
GOOD = ("judged", "refused")
MAGENTA, YELLOW = (255, 0, 255), (255, 255, 0)  # of the clips that are decoded first
TOLERANCE = 24  # levels by which encoders change a colour
Colour = tuple[int, int, int]
Look = Callable[[str, bytes, Detector], str]


@dataclass
class Report:
    """The outcomes of the files.

    Attributes:
        counts: by kind, how many files had each outcome: `"judged"`, `"refused"` with a message, or
            a failure: `"crash"`, `"hang"`, `"unstable"` (two answers about one photo, as from
            uninitialised memory), `"leak"` (pixels of another clip) or the name of an error that is
            not one of ours.
        failures: kind, outcome and content of each file that failed.
    """

    counts: dict[str, Counter] = field(default_factory=dict)
    failures: list[tuple[str, str, bytes]] = field(default_factory=list)

    def add(self, kind: str, outcome: str, content: bytes) -> None:
        """Count one file."""
        self.counts.setdefault(kind, Counter())[outcome] += 1
        if outcome not in GOOD:
            self.failures.append((kind, outcome, content))

    def save(self, folder: Path) -> list[Path]:
        """Write the files that failed; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, (kind, outcome, content) in enumerate(self.failures):
            paths.append(folder / f"{number:03d}-{outcome.split(':')[0]}.{kind}")
            paths[-1].write_bytes(content)
        return paths


class Worker:
    """A process that decodes files; another one replaces it when it dies or hangs.

    Args:
        look: a module-level function of kind, content and detector that returns the outcome.
        patience: s that one file may take.
    """

    def __init__(self, look: Look | None = None, patience: float = HANG) -> None:
        self._look = look or look_twice
        self._patience = patience
        self._start()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def outcome(self, kind: str, content: bytes) -> str:
        """Return the outcome of a file: see `Report`."""
        try:
            self._pipe.send((kind, content))
            if self._pipe.poll(self._patience):
                return self._pipe.recv()
            outcome = "hang"
        except (EOFError, BrokenPipeError):
            outcome = "crash"
        self._stop()
        self._start()
        return outcome

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end, self._look), daemon=True)
        self._process.start()
        far_end.close()
        assert self._pipe.recv() == "ready"

    def _stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


def case(kind: str, seed: int, number: int) -> bytes:
    """Return a damaged file of a kind; the same seed and number give the same file."""
    return mutated(samples(kind), np.random.default_rng([seed, number, KINDS.index(kind)]))


def run(worker: Worker, kind: str, seed: int, numbers: Iterable[int], report: Report) -> None:
    """Feed damaged files of a kind to the decoders.

    Args:
        worker: decodes them.
        kind: kind of the files.
        seed: seed of the damage.
        numbers: numbers of the cases.
        report: gets the outcome of each.
    """
    for number in numbers:
        content = case(kind, seed, number)
        report.add(kind, worker.outcome(kind, content), content)


class Witness(FaceFinder):
    """Finds a face in the middle of every photo, and records the photos."""

    def __init__(self) -> None:
        super().__init__("")
        self.seen: list[np.ndarray] = []

    def find(self, photo: Image.Image) -> list[Face]:
        """Return one face."""
        self.seen.append(np.asarray(photo))
        width, height = photo.size
        return [Face((width / 4, height / 4, width / 2, height / 2), None, 0.9)]


def _serve(pipe: Connection, look: Look) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders print warnings
    detector = load_bundled(threads=1)
    pipe.send("ready")
    while True:
        try:
            kind, content = pipe.recv()
        except EOFError:
            return
        pipe.send(look(kind, content, detector))


def look_twice(kind: str, content: bytes, detector: Detector) -> str:
    """Return the outcome of a file that is decoded twice, with different leftovers in memory.

    Both answers about a photo must be the same. FFmpeg silently leaves rows of a damaged clip
    unwritten; they show one of the clip's own earlier frames, not always the same one. So the
    check on clips is that they show nothing of the clip that was decoded before them.
    """
    outcomes, seen = [], []
    for value, colour in ((0x5A, MAGENTA), (0xC3, YELLOW)):
        for size in POISON:
            np.full(size, value, np.uint8)
        try:
            if kind in CLIPS:
                seen.append(_look_at_clip(kind, content, colour, detector))
            else:
                seen.append(_look_at_photo(content, detector))
            outcomes.append("judged")
        except (PhotoError, VideoError):
            outcomes.append("refused")
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    if outcomes[0] != outcomes[1] or (kind not in CLIPS and len(set(seen)) > 1):
        return "unstable"
    is_leak = len(seen) > 1 and kind in CLIPS and (seen[0] - seen[1]) | (seen[1] - seen[0])
    return "leak" if is_leak else outcomes[0]


def _look_at_photo(content: bytes, _: Detector) -> str:
    seen = hashlib.sha256(animation_note(content).encode())
    for photo in (open_photo(content), open_reduced(content)[0]):
        assert photo.mode == "RGB"
        seen.update(photo.tobytes())
    return seen.hexdigest()


def _look_at_clip(kind: str, content: bytes, colour: Colour, detector: Detector) -> set[Colour]:
    """Return which colours of foreign clips a clip shows after foreign clips were decoded.

    The clip is judged, too, so that an error that is not one of ours is raised.
    """
    finder = Witness()
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        for foreign_clip in stranger(kind, colour):
            path.write_bytes(foreign_clip)
            _sparse(file.name, APART[0])
        path.write_bytes(content)
        pictures = [picture for apart in APART for picture in _sparse(file.name, apart)]
        judge_video(file.name, detector, finder)
    return {
        colour
        for colour in (MAGENTA, YELLOW)
        if any(_holds(picture, colour) for picture in (*pictures, *finder.seen))
    }


def _holds(picture: np.ndarray, colour: Colour) -> bool:
    """Return whether at least eight pixels of a picture `[height, width, 3]` have a colour."""
    distances = np.abs(picture.astype(int) - colour).max(axis=2)
    return int((distances < TOLERANCE).sum()) >= 8


def _sparse(path: str, apart: float) -> list[np.ndarray]:
    """Return a clip's frames, of which some are skipped as in a long clip."""
    with open_clip(path) as clip:
        uses = clip.outline(lambda seconds: None).uses(apart, apart)
    with open_clip(path) as clip:
        pictures = [frame.picture() for frame in clip.frames(uses)]
    return [picture for picture in pictures if picture is not None]
