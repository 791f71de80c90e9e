"""What people see of the page: the event handlers of its components.

Each handler yields screens until the answer is there: see `Screen`. What is wrong with a file is
shown in place of the answer.
"""

# Gradio reads the annotations, so they are evaluated: no `from __future__ import annotations`.
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from time import monotonic
from typing import TypeVar

if __package__:
    from .batch_views import Row, as_csv, batch_answer
    from .clips import MAX_BYTES, VideoCancelled, VideoError
    from .contract import REASONS
    from .guard import uploaded_path
    from .judgements import Judgement
    from .lean_gradio import gr
    from .photos import PhotoError, animation_note, open_photo, printable
    from .provenance import Provenance
    from .provenance import read as read_provenance
    from .provenance_views import framed
    from .reports import download_link, report, sha256_of
    from .service import PhotoAnswer, Service, check_list, file_name
    from .verdicts import by_urgency, urgency
    from .video import judge_video
    from .video_views import video_answer
    from .views import answer, problem, section, working
else:
    from batch_views import Row, as_csv, batch_answer
    from clips import MAX_BYTES, VideoCancelled, VideoError
    from contract import REASONS
    from guard import uploaded_path
    from judgements import Judgement
    from lean_gradio import gr
    from photos import PhotoError, animation_note, open_photo, printable
    from provenance import Provenance
    from provenance import read as read_provenance
    from provenance_views import framed
    from reports import download_link, report, sha256_of
    from service import PhotoAnswer, Service, check_list, file_name
    from verdicts import by_urgency, urgency
    from video import judge_video
    from video_views import video_answer
    from views import answer, problem, section, working

REFRESH = 0.7  # s between two updates of a growing table
STOPPED = section("Stopped", "<p>Nothing was kept. Choose another file.</p>", caution=False)
NOT_THERE = {  # why there is no file or no answer, by the keys that the page's script sends
    "camera": ("The camera cannot be used", "Allow it in the browser, or choose a file."),
    "clipboard": (
        "No picture from the clipboard",
        "Copy a picture and allow the browser to look at it, or choose a file.",
    ),
    "lost": (
        "The answer did not arrive",
        "The connection was lost, or the page was loaded anew: choose the file again.",
    ),
}

# Updates of the input (drop area and examples), the button back to it, the answer, and an extra
# button that only some answers need.
Screen = tuple[dict, dict, object, dict]
Result = TypeVar("Result")
log = logging.getLogger(__name__)


def screen(shown: str, *, back: bool = True, extra: bool = False) -> Screen:
    """Return the screen of an answer; `back` is false if other screens will follow."""
    return gr.update(visible="hidden"), gr.update(visible=back), shown, gr.update(visible=extra)


def waiting() -> Screen:
    """Return the screen of a file that is queued; its visitor can go back."""
    return screen(working("Waiting for its turn"))


def first_screen() -> Screen:
    """Return the screen that a visitor sees first."""
    return gr.update(visible=True), gr.update(visible=False), "", gr.update(visible=False)


class Screens:
    """The event handlers of the page. Safe to use from several threads."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._stopped: dict[str, Event] = {}  # by session, for the judging in progress

    def photo(self, photo: dict | None) -> Iterator[Screen]:
        """Judge the faces of a photo; the extra button offers to judge the whole picture."""
        yield from self._photo(photo, whole_picture=False)

    def whole_picture(self, photo: dict | None) -> Iterator[Screen]:
        """Judge a whole picture."""
        yield from self._photo(photo, whole_picture=True)

    def photos(self, photos: list[dict] | None, request: gr.Request) -> Iterator[Screen]:
        """Judge several photos; the extra button stops it."""
        if not photos:
            yield first_screen()
            return
        with self._running(request) as stopped:
            yield screen(working(f"Judging {len(photos)} photos"), back=False, extra=True)
            yield from _errors_shown(
                "These photos cannot be judged", lambda: self._photos(photos, stopped)
            )

    def clip(self, clip: dict | None, request: gr.Request) -> Iterator[Screen]:
        """Judge an uploaded clip; the extra button stops it."""
        if clip is None:
            yield first_screen()
            return
        with self._running(request) as stopped:
            yield screen(working("Opening the clip"), back=False, extra=True)
            yield from _errors_shown(
                "This clip cannot be judged",
                lambda: self._clip(uploaded_path(clip, "clip"), file_name(clip), stopped),
            )

    def example_clip(self, path: str, request: gr.Request) -> Iterator[Screen]:
        """Judge one of the page's example clips."""
        with self._running(request) as stopped:
            yield screen(working("Opening the clip"), back=False, extra=True)
            yield from _errors_shown(
                "This clip cannot be judged", lambda: self._clip(path, Path(path).name, stopped)
            )

    def refused(self, tab: str, wrong: object) -> Screen:
        """Return the screen that says why the browser sent no file, or what else went wrong there.

        Args:
            tab: `"photo"`, `"video"` or `"photos"`.
            wrong: name and size in bytes of a file that is too large or not what the tab is for, or
                a key of `NOT_THERE`, as the page's script sends it.
        """
        if isinstance(wrong, str) and wrong in NOT_THERE:
            return screen(problem(*NOT_THERE[wrong]))
        name, size = wrong if isinstance(wrong, list) and len(wrong) == 2 else ("The file", 0)
        if isinstance(size, int) and size > MAX_BYTES:
            text = f"has {size / 1e6:,.0f} MB: choose one of at most {MAX_BYTES // 10**6} MB."
        elif tab == "video":
            text = "is not an MP4, MOV or WebM video: choose one. Photos have tabs of their own."
        else:
            text = "is not a photo: choose one. For a clip, there is the tab Video."
        return screen(problem("This file cannot be judged", f"{printable(str(name))} {text}"))

    def stop(self, request: gr.Request) -> None:
        """Stop the judging for a session, whose visitor asked for that or left."""
        stopped = self._stopped.get(request.session_hash)
        if stopped:
            stopped.set()

    @contextmanager
    def _running(self, request: gr.Request) -> Iterator[Event]:
        """Let `stop` reach the judging for a session while it runs."""
        session, event = request.session_hash, Event()
        self._stopped[session] = event
        try:
            yield event
        finally:
            if self._stopped.get(session) is event:  # no other has started since
                del self._stopped[session]

    def _photo(self, photo: dict | None, *, whole_picture: bool) -> Iterator[Screen]:
        if (
            photo is None
        ):  # as the way back leaves it, perhaps late: another answer may be there by now
            yield gr.skip()
            return
        doing = "Looking at the picture" if whole_picture else "Looking for faces"
        yield screen(working(doing), back=False)
        yield from _errors_shown(
            "This photo cannot be judged", lambda: self._judged_photo(photo, whole_picture)
        )

    def _judged_photo(self, photo: dict, whole_picture: bool) -> Iterator[Screen]:
        content = Path(path := uploaded_path(photo, "photo")).read_bytes()
        judgements = self.service.judge(content, whole_picture)
        opened = open_photo(content)
        html = answer(opened, judgements, self.service.detector, animation_note(content))
        verdicts = [judgement.prediction.verdict for judgement in judgements]
        html = framed(html, read_provenance(content), verdicts)
        if judgements:
            report_link = self._save_report(html, [(file_name(photo), sha256_of(path))])
            html += f'<div class="answer">{report_link}</div>'
        yield screen(html, extra=not judgements)

    def _photos(self, photos: list[dict], stopped: Event) -> Iterator[Screen]:
        check_list(photos)
        rows, lines, files, shown_at = [], [], [], monotonic()
        model = self.service.detector.name
        for number, (photo_answer, judgements, provenance) in enumerate(
            self.service.judge_each(photos, False), 1
        ):
            rows += _rows(photo_answer, judgements, provenance)
            lines += _lines(photo_answer, provenance)
            if judgements:
                files.append((photo_answer["file"], sha256_of(photos[number - 1]["path"])))
            if stopped.is_set():
                break
            if monotonic() - shown_at > REFRESH and number < len(photos):
                html = batch_answer(rows, number, len(photos), model)
                yield screen(html, back=False, extra=True)
                shown_at = monotonic()
        html = batch_answer(rows, number, number, model)
        csv = download_link("Save as CSV", "judgements.csv", as_csv(lines), "text/csv")
        yield screen(f'{html}<div class="answer">{csv} {self._save_report(html, files)}</div>')

    def _clip(self, path: str, name: str, stopped: Event) -> Iterator[Screen]:
        service = self.service
        try:
            judgement = yield from _told(
                lambda tell: judge_video(
                    path, service.detector, service.finder, progress=tell, cancelled=stopped.is_set
                ),
                stopped,
            )
        except VideoCancelled:
            yield screen(STOPPED)
            return
        verdicts = [person.verdict for person in judgement.people]
        html = framed(video_answer(judgement, service.detector), read_provenance(path), verdicts)
        report_link = self._save_report(html, [(name, sha256_of(path))])
        yield screen(f'{html}<div class="answer">{report_link}</div>')

    def _save_report(self, shown: str, files: Sequence[tuple[str, str]]) -> str:
        """Return a link that saves an answer as a report."""
        document = report(shown, files, self.service.detector, self.service.finder.name)
        return download_link("Save a report", "report.html", document, "text/html")


def _errors_shown(title: str, judge: Callable[[], Iterator[Screen]]) -> Iterator[Screen]:
    """Yield the screens of a judgement; an error becomes the last of them."""
    try:
        yield from judge()
    except (PhotoError, VideoError) as error:
        yield screen(problem(title, str(error)))
    except Exception:
        log.exception(title)
        yield screen(problem(title, "Something is wrong with this page: try another file."))


def _told(
    work: Callable[[Callable[[float, str], None]], Result], stopped: Event
) -> Generator[Screen, None, Result]:
    """Run work in a thread, yield screens of its progress, and return its result.

    Args:
        work: is given a function to call with the share that is done, and what is being done.
        stopped: is set if the visitor leaves.
    """
    updates: SimpleQueue[tuple[float, str] | None] = SimpleQueue()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, lambda share, text: updates.put((share, text)))
        future.add_done_callback(lambda _: updates.put(None))
        try:
            while (latest := updates.get()) is not None:
                share, text = latest
                yield screen(working(text, share), back=False, extra=True)
        except GeneratorExit:
            stopped.set()
            raise
    return future.result()


def _rows(judged: PhotoAnswer, judgements: list[Judgement], found: Provenance | None) -> list[Row]:
    """Return a photo's rows of the table."""
    name, total = judged["file"], len(judgements)
    shared = {"note": judged["note"], "says": found.summary if found else ""}
    if not judgements:
        return [Row(name, 0, problem=judged["error"] or "No face found.", **shared)]
    ranked = by_urgency(judgements)
    return [
        Row(name, total, number, judgement, **shared)
        for number, judgement in enumerate(ranked, start=1)
    ]


def _lines(judged: PhotoAnswer, found: Provenance | None) -> list[dict[str, object]]:
    """Return a photo's rows of the CSV file: one per face, or one that says why there is none."""
    no_face = {"box": None, "verdict": "", "probability": None, "reason": None}
    faces = judged["faces"] or [no_face]
    if len(faces) > 1:  # numbered as in the table
        faces = sorted(
            faces, key=lambda face: urgency(face["verdict"], face["reason"], face["probability"])
        )
    missing = "" if judged["faces"] else judged["error"] or "No face found."
    lines = []
    for number, face in enumerate(faces, start=1):
        probability = face["probability"]
        reason = REASONS[face["reason"]] if face["reason"] else missing
        lines.append(
            {
                "file": judged["file"],
                "faces": len(judged["faces"]),
                "face": number if judged["faces"] else "",
                "box (left top width height)": " ".join(f"{px:.0f}" for px in face["box"] or ()),
                "verdict": face["verdict"],
                "probability of fake": "" if probability is None else f"{probability:.3f}",
                "reason": " ".join(part for part in (reason, judged["note"]) if part),
                "the file says": found.summary if found else "",
                "model": judged["model"],
            }
        )
    return lines
