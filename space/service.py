"""The page's endpoints for programs. What people see of the page is in `screens.py`."""

# Gradio reads the annotations, so they are evaluated: no `from __future__ import annotations`.
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

if __package__:
    from .detector import Detector
    from .faces import FaceFinder
    from .guard import json_type, uploaded_path
    from .judgements import Judgement
    from .lean_gradio import gr
    from .photos import PhotoError, PhotoSource, animation_note, printable
    from .provenance import Provenance
    from .provenance import read as read_provenance
    from .video import VideoError, judge_video
    from .views import summary
else:
    from detector import Detector
    from faces import FaceFinder
    from guard import json_type, uploaded_path
    from judgements import Judgement
    from lean_gradio import gr
    from photos import PhotoError, PhotoSource, animation_note, printable
    from provenance import Provenance
    from provenance import read as read_provenance
    from video import VideoError, judge_video
    from views import summary

MAX_PHOTOS = 100  # in one call


class Meaning(TypedDict):
    """What a probability meant on the validation photos: see `ScoreBin`."""

    low: float
    high: float
    photos: int
    fake_share: float


class FaceAnswer(TypedDict):
    """What the model says about a face: see `Judgement`."""

    box: list[float] | None
    too_small: bool
    reason: str | None
    probability: float
    verdict: str
    meaning: Meaning | None
    heatmap: list[list[float]]


class FindingAnswer(TypedDict):
    """One thing that a file says about itself: see `Finding`."""

    kind: str
    sentence: str
    value: str
    trust: str
    source: str
    claim: str


class PhotoAnswer(TypedDict):
    """What the model says about a photo, and what its file says about itself."""

    file: str
    sentence: str
    faces: list[FaceAnswer]
    note: str
    provenance: list[FindingAnswer]
    error: str | None
    model: str
    face_finder: str


class PersonAnswer(TypedDict):
    """What the model says about a person of a clip: see `Person`."""

    number: int
    probability: float
    verdict: str
    reason: str | None
    too_small: bool
    first_seen: float
    last_seen: float
    scores: list[list[float]]
    moments: list[dict]


class VideoAnswer(TypedDict):
    """What the model says about a clip, and what its file says about itself."""

    file: str
    sentence: str
    seconds: float
    frames_looked_at: int
    people: list[PersonAnswer]
    others: int
    note: str
    provenance: list[FindingAnswer]
    model: str
    face_finder: str


class Service:
    """A model and a face finder, as programs may use them. Safe to use from several threads.

    Attributes:
        detector: the model.
        finder: finds the faces.
        notice: why another model than the requested one is in use; empty if it is not.
    """

    def __init__(self, detector: Detector, finder: FaceFinder, notice: str = "") -> None:
        self.detector = detector
        self.finder = finder
        self.notice = notice

    def describe_models(self) -> str:
        """Return one paragraph about the model and the face finder in use."""
        notice = f" {self.notice}" if self.notice else ""
        return (
            f"Model in use: {self.detector.name}.{notice} Format: {self.detector.config.variant}. "
            f"{self.finder.notice}"
        )

    # Endpoints: their docstrings and types are published to programs.

    def judge_photo(self, photo: gr.FileData, whole_picture: bool = False) -> PhotoAnswer:
        """Judge every face of a photo.

        Args:
            photo: JPEG, PNG, WebP, HEIC or the like, up to 100 MB and 100 megapixels.
            whole_picture: judge the centred square of the picture instead, without looking for
                faces.
        """
        with _errors_shown("This photo cannot be judged"):
            _check_flag(whole_picture)
            path = uploaded_path(photo, "photo")
            judgements = self.judge(path, whole_picture)
        note, provenance = animation_note(path), read_provenance(path)
        return self._photo_answer(photo, judgements, note=note, found=provenance)

    def judge_photos(
        self, photos: list[gr.FileData], whole_picture: bool = False
    ) -> list[PhotoAnswer]:
        """Judge every face of several photos; one that cannot be judged has an `error`.

        Args:
            photos: up to 100 of them, each as for `judge_photo`.
            whole_picture: as for `judge_photo`.
        """
        with _errors_shown("These photos cannot be judged"):
            _check_flag(whole_picture)
            check_list(photos)
        return [answer for answer, *_ in self.judge_each(photos, whole_picture)]

    def judge_video(self, clip: gr.FileData) -> VideoAnswer:
        """Judge every person of a clip.

        Args:
            clip: mp4, mov or webm, up to 100 MB and 5 minutes.
        """
        with _errors_shown("This clip cannot be judged"):
            path = uploaded_path(clip, "clip")
            judgement = judge_video(path, self.detector, self.finder)
        provenance = read_provenance(path).to_json()
        return {
            "file": file_name(clip),
            **judgement.as_dict(),
            "provenance": provenance,
            **self._names(),
        }

    def judge(self, photo: PhotoSource, whole_picture: bool) -> list[Judgement]:
        """Judge the faces of a photo, or all of it.

        Raises:
            PhotoError: the photo cannot be judged.
        """
        if whole_picture:
            return [self.detector.judge_whole(photo)]
        return self.detector.judge(photo, self.finder)

    def judge_each(
        self, photos: list[dict], whole_picture: bool
    ) -> Iterator[tuple[PhotoAnswer, list[Judgement], Provenance | None]]:
        """Yield each photo's answer, its judgements, and what its file says about itself.

        A photo that cannot be judged has no judgements, and `None` for the last.
        """
        for index, photo in enumerate(photos):
            try:
                path = uploaded_path(photo, f"photos[{index}]")
                judgements = self.judge(path, whole_picture)
            except PhotoError as error:
                yield self._photo_answer(photo, [], error=str(error)), [], None
            else:
                note, provenance = animation_note(path), read_provenance(path)
                answer = self._photo_answer(photo, judgements, note=note, found=provenance)
                yield answer, judgements, provenance

    def _photo_answer(
        self,
        photo: object,
        judgements: list[Judgement],
        *,
        note: str = "",
        found: Provenance | None = None,
        error: str | None = None,
    ) -> PhotoAnswer:
        return {
            "file": file_name(photo),
            "sentence": error or summary(judgements),
            "faces": [judgement.as_dict() for judgement in judgements],
            "note": note,
            "provenance": found.to_json() if found else [],
            "error": error,
            **self._names(),
        }

    def _names(self) -> dict[str, str]:
        return {"model": self.detector.name, "face_finder": self.finder.name}


def _check_flag(whole_picture: object) -> None:
    if not isinstance(whole_picture, bool):
        raise PhotoError(
            f"`whole_picture` is {json_type(whole_picture)}: send true or false, or leave it out."
        )


def check_list(photos: object) -> None:
    """Raise `PhotoError` unless this is a list of 1 to `MAX_PHOTOS` photos."""
    if not isinstance(photos, list):
        raise PhotoError(f"`photos` is {json_type(photos)} and no list: send a list of files.")
    if not photos:
        raise PhotoError("`photos` is empty: send at least one photo.")
    if len(photos) > MAX_PHOTOS:
        raise PhotoError(f"There are {len(photos)} photos: send at most {MAX_PHOTOS}.")


def file_name(file: object) -> str:
    """Return the caller's name for a file; empty for what is not a file."""
    if not isinstance(file, dict):
        return ""
    return printable(Path(str(file.get("orig_name") or file.get("path") or "")).name)


@contextmanager
def _errors_shown(title: str) -> Iterator[None]:
    """Turn an error about a file into a message of the page."""
    try:
        yield
    except (PhotoError, VideoError) as error:
        raise gr.Error(str(error), title=title, print_exception=False) from error
