"""What the page and its endpoints do with what they are given."""

# Annotations are evaluated here, as gradio reads them: no `from __future__ import annotations`.
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TypedDict

if __package__:  # imported by the benchmark
    from .contract import REASONS
    from .detector import Detector
    from .faces import FaceFinder
    from .guard import json_type, uploaded_path
    from .judgements import Judgement
    from .lean_gradio import gr
    from .photos import PhotoError, PhotoSource, animation_note, open_photo, printable
    from .video import VideoCancelled, VideoError, judge_video
    from .video_views import video_answer
    from .views import answer, as_csv, download_link, report, summary, table
else:
    from contract import REASONS
    from detector import Detector
    from faces import FaceFinder
    from guard import json_type, uploaded_path
    from judgements import Judgement
    from lean_gradio import gr
    from photos import PhotoError, PhotoSource, animation_note, open_photo, printable
    from video import VideoCancelled, VideoError, judge_video
    from video_views import video_answer
    from views import answer, as_csv, download_link, report, summary, table

MAX_PHOTOS = 100  # in one call
PROGRESS = gr.Progress()  # gradio recognises it as a default and puts its own in its place


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


class PhotoAnswer(TypedDict):
    """What the model says about a photo."""

    file: str
    sentence: str
    faces: list[FaceAnswer]
    note: str
    error: str | None
    model: str
    face_finder: str


class PersonAnswer(TypedDict):
    """What the model says about a person of a clip: see `Person`."""

    number: int
    probability: float
    verdict: str
    too_small: bool
    first_seen: float
    last_seen: float
    scores: list[list[float]]
    moments: list[dict]


class VideoAnswer(TypedDict):
    """What the model says about a clip."""

    file: str
    sentence: str
    seconds: float
    frames_looked_at: int
    people: list[PersonAnswer]
    others: int
    note: str
    model: str
    face_finder: str


class Service:
    """A model and a face detector, as the page offers them. Safe to use from several threads.

    Attributes:
        detector: the model.
        finder: finds the faces.
        notice: why another model than the one that was asked for is in use; empty where it is not.
    """

    def __init__(self, detector: Detector, finder: FaceFinder, notice: str = "") -> None:
        self.detector = detector
        self.finder = finder
        self.notice = notice
        self._stopped: dict[str, Event] = {}  # by session, of the clips that are being judged

    def describe_models(self) -> str:
        """Return one paragraph that says what judges here."""
        notice = f" {self.notice}" if self.notice else ""
        return (
            f"Model in use: {self.detector.name}.{notice} Format: {self.detector.config.variant}. "
            f"{self.finder.notice}"
        )

    # Endpoints: their docstrings and types are what programs are told.

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
            judgements = self._judge(path, whole_picture)
        return self._photo_answer(photo, judgements, note=animation_note(path))

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
            _check_list(photos)
        return [answer for answer, _ in self._judge_all(photos, whole_picture)]

    def judge_video(self, clip: gr.FileData) -> VideoAnswer:
        """Judge every person of a clip.

        Args:
            clip: mp4, mov or webm, up to 100 MB and 5 minutes.
        """
        with _errors_shown("This clip cannot be judged"):
            judged = judge_video(uploaded_path(clip, "clip"), self.detector, self.finder)
        return {"file": _name(clip), **judged.as_dict(), **self._names()}

    # Events of the page: they return what its components show.

    def show_photo(self, photo: dict | None) -> tuple:
        """Judge a photo for the page; return answer, whole-picture button and slider."""
        return self._show(photo, whole_picture=False)

    def show_whole_picture(self, photo: dict | None) -> tuple:
        """Judge a whole picture for the page; return the same as `show_photo`."""
        return self._show(photo, whole_picture=True)

    def show_photos(self, photos: list[dict] | None) -> str:
        """Judge several photos for the page; return a table."""
        if not photos:
            return ""
        with _errors_shown("These photos cannot be judged"):
            _check_list(photos)
        rows = [row for _, rows in self._judge_all(photos, False) for row in rows]
        link = download_link("Save as CSV", "judgements.csv", as_csv(rows), "text/csv")
        return f'<section class="answer">{table(rows)}{link}</section>'

    def show_video(
        self, clip: dict | None, request: gr.Request, progress: gr.Progress = PROGRESS
    ) -> str:
        """Judge a clip for the page, unless `stop_video` is called meanwhile."""
        if clip is None:
            return ""
        stopped = self._stopped[request.session_hash] = Event()
        try:
            with _errors_shown("This clip cannot be judged"):
                judged = judge_video(
                    uploaded_path(clip, "clip"),
                    self.detector,
                    self.finder,
                    progress=lambda share, text: progress(share, desc=text),
                    cancelled=stopped.is_set,
                )
        except VideoCancelled:
            return '<p class="summary" role="status">Stopped.</p>'
        finally:
            self._stopped.pop(request.session_hash, None)
        return video_answer(judged, self.detector)

    def stop_video(self, request: gr.Request) -> None:
        """End the judging of a clip that a session started: it wants to, or went away."""
        stopped = self._stopped.get(request.session_hash)
        if stopped:
            stopped.set()

    def _show(self, photo: dict | None, *, whole_picture: bool) -> tuple:
        if photo is None:
            return "", gr.update(visible=False), gr.update(visible=False)
        with _errors_shown("This photo cannot be judged"):
            content = Path(uploaded_path(photo, "photo")).read_bytes()
            html, faces = self.photo_html(content, _name(photo), whole_picture=whole_picture)
        return html, gr.update(visible=not faces), gr.update(visible=bool(faces))

    def photo_html(
        self, content: bytes, name: str, *, whole_picture: bool = False
    ) -> tuple[str, int]:
        """Return the answer about a photo with a report to save, and how many faces were judged.

        Args:
            content: of the photo's file.
            name: of the file.
            whole_picture: judge the centred square of the picture instead of its faces.

        Raises:
            PhotoError: the photo cannot be judged.
        """
        judgements = self._judge(content, whole_picture)
        note = animation_note(content)
        html = answer(open_photo(content), judgements, self.detector, self.finder.name, note)
        if judgements:
            document = report(html, name, content, self.detector, self.finder.name)
            link = download_link("Save a report", "report.html", document, "text/html")
            html += f'<p class="answer">{link}</p>'
        return html, len(judgements)

    def _judge(self, photo: PhotoSource, whole_picture: bool) -> list[Judgement]:
        if whole_picture:
            return [self.detector.judge_whole(photo)]
        return self.detector.judge(photo, self.finder)

    def _judge_all(
        self, photos: list[dict], whole_picture: bool
    ) -> Iterator[tuple[PhotoAnswer, list[dict]]]:
        """Yield each photo's answer, and its rows of a table."""
        for number, photo in enumerate(photos):
            try:
                path = uploaded_path(photo, f"photos[{number}]")
                judgements = self._judge(path, whole_picture)
            except PhotoError as error:
                answer = self._photo_answer(photo, [], error=str(error))
            else:
                answer = self._photo_answer(photo, judgements, note=animation_note(path))
            yield answer, _rows(answer)

    def _photo_answer(
        self,
        photo: object,
        judgements: list[Judgement],
        *,
        note: str = "",
        error: str | None = None,
    ) -> PhotoAnswer:
        return {
            "file": _name(photo),
            "sentence": error or summary(judgements),
            "faces": [judgement.as_dict() for judgement in judgements],
            "note": note,
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


def _check_list(photos: object) -> None:
    if not isinstance(photos, list):
        raise PhotoError(f"`photos` is {json_type(photos)} and no list: send a list of files.")
    if not photos:
        raise PhotoError("`photos` is empty: send at least one photo.")
    if len(photos) > MAX_PHOTOS:
        raise PhotoError(f"There are {len(photos)} photos: send at most {MAX_PHOTOS}.")


def _rows(answer: PhotoAnswer) -> list[dict[str, object]]:
    """Return a row for each face of a photo, or one that says why there is none."""
    nothing = {"box": None, "verdict": "", "probability": None, "reason": None}
    faces = answer["faces"] or [nothing]
    missing = "" if answer["faces"] else answer["error"] or "No face found."
    rows = []
    for number, face in enumerate(faces, start=1):
        probability = face["probability"]
        reason = REASONS[face["reason"]] if face["reason"] else missing
        rows.append(
            {
                "file": answer["file"],
                "faces": len(answer["faces"]),
                "face": number if answer["faces"] else "",
                "box (left top width height)": " ".join(f"{v:.0f}" for v in face["box"] or ()),
                "verdict": face["verdict"],
                "probability of fake": "" if probability is None else f"{probability:.3f}",
                "reason": " ".join(part for part in (reason, answer["note"]) if part),
                "model": answer["model"],
            }
        )
    return rows


def _name(file: object) -> str:
    """Return what the caller calls a file; empty for what is none."""
    if not isinstance(file, dict):
        return ""
    return printable(Path(str(file.get("orig_name") or file.get("path") or "")).name)


@contextmanager
def _errors_shown(title: str) -> Iterator[None]:
    """Turn what is wrong with a file into a message of the page."""
    try:
        yield
    except (PhotoError, VideoError) as error:
        raise gr.Error(str(error), title=title, print_exception=False) from error
