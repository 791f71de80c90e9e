"""What people see of the page: the events of its components.

Each event yields screens until the answer is there: see `Screen`. What goes wrong with a file is
said in the place of the answer.
"""

# Annotations are evaluated here, as gradio reads them: no `from __future__ import annotations`.
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

REFRESH = 0.7  # s between two looks at a table that grows
STOPPED = section("Stopped", "<p>Nothing was kept. Choose another file.</p>", caution=False)
NOT_THERE = {  # why there is nothing to judge, or no answer, by the words of the page's script
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

# Updates of: the way in (drop area and examples), the button back to it, the answer, and one more
# button that only some answers need.
Screen = tuple[dict, dict, object, dict]
Result = TypeVar("Result")
log = logging.getLogger(__name__)


def screen(shown: str, *, back: bool = True, extra: bool = False) -> Screen:
    """Return the screen of an answer; `back` is false on one that others will follow."""
    return gr.update(visible="hidden"), gr.update(visible=back), shown, gr.update(visible=extra)


def waiting() -> Screen:
    """Return the screen of a file that waits for those of others; the way back is open."""
    return screen(working("Waiting for its turn"))


def first_screen() -> Screen:
    """Return the screen that a visitor is met with."""
    return gr.update(visible=True), gr.update(visible=False), "", gr.update(visible=False)


class Screens:
    """The events of the page. Safe to use from several threads."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._stopped: dict[str, Event] = {}  # by session, of what is being judged

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
        """Judge a clip of the page's own."""
        with self._running(request) as stopped:
            yield screen(working("Opening the clip"), back=False, extra=True)
            yield from _errors_shown(
                "This clip cannot be judged", lambda: self._clip(path, Path(path).name, stopped)
            )

    def refused(self, tab: str, wrong: object) -> Screen:
        """Say why a file was not even sent (it is too large, or not what the tab is for), or what
        else went wrong in the browser.

        Args:
            tab: `"photo"`, `"video"` or `"photos"`.
            wrong: name and size in bytes of the file, or a key of `NOT_THERE`, as the page's script
                says.
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
        """End what is being judged for a session: it wants to, or went away."""
        stopped = self._stopped.get(request.session_hash)
        if stopped:
            stopped.set()

    @contextmanager
    def _running(self, request: gr.Request) -> Iterator[Event]:
        """Let `stop` reach what is being judged for a session."""
        session, event = request.session_hash, Event()
        self._stopped[session] = event
        try:
            yield event
        finally:
            if self._stopped.get(session) is event:  # no other was started meanwhile
                del self._stopped[session]

    def _photo(self, photo: dict | None, *, whole_picture: bool) -> Iterator[Screen]:
        if photo is None:
            yield first_screen()
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
        shown = answer(opened, judgements, self.service.detector, animation_note(content))
        verdicts = [one.prediction.verdict for one in judgements]
        shown = framed(shown, read_provenance(content), verdicts)
        if judgements:
            report_link = self._save_report(shown, [(file_name(photo), sha256_of(path))])
            shown += f'<div class="answer">{report_link}</div>'
        yield screen(shown, extra=not judgements)

    def _photos(self, photos: list[dict], stopped: Event) -> Iterator[Screen]:
        check_list(photos)
        rows, lines, files, shown_at = [], [], [], monotonic()
        model = self.service.detector.name
        for number, (judged, judgements, found) in enumerate(
            self.service.judge_each(photos, False), 1
        ):
            rows += _rows(judged, judgements, found)
            lines += _lines(judged, found)
            if judgements:
                files.append((judged["file"], sha256_of(photos[number - 1]["path"])))
            if stopped.is_set():
                break
            if monotonic() - shown_at > REFRESH and number < len(photos):
                shown = batch_answer(rows, number, len(photos), model)
                yield screen(shown, back=False, extra=True)
                shown_at = monotonic()
        shown = batch_answer(rows, number, number, model)
        csv = download_link("Save as CSV", "judgements.csv", as_csv(lines), "text/csv")
        yield screen(f'{shown}<div class="answer">{csv} {self._save_report(shown, files)}</div>')

    def _clip(self, path: str, name: str, stopped: Event) -> Iterator[Screen]:
        service = self.service
        try:
            judged = yield from _told(
                lambda tell: judge_video(
                    path, service.detector, service.finder, progress=tell, cancelled=stopped.is_set
                ),
                stopped,
            )
        except VideoCancelled:
            yield screen(STOPPED)
            return
        verdicts = [person.verdict for person in judged.people]
        shown = framed(video_answer(judged, service.detector), read_provenance(path), verdicts)
        report_link = self._save_report(shown, [(name, sha256_of(path))])
        yield screen(f'{shown}<div class="answer">{report_link}</div>')

    def _save_report(self, shown: str, files: Sequence[tuple[str, str]]) -> str:
        """Return a link that saves an answer as a report."""
        document = report(shown, files, self.service.detector, self.service.finder.name)
        return download_link("Save a report", "report.html", document, "text/html")


def _errors_shown(title: str, judge: Callable[[], Iterator[Screen]]) -> Iterator[Screen]:
    """Yield the screens of a judgement; what goes wrong is the last of them."""
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
    """Work in a thread, and yield screens of its progress; return what it returns.

    Args:
        work: is given what it tells its progress: the share that is done, and what it does.
        stopped: is set where the visitor goes away.
    """
    told: SimpleQueue[tuple[float, str] | None] = SimpleQueue()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, lambda share, text: told.put((share, text)))
        future.add_done_callback(lambda _: told.put(None))
        try:
            while (latest := told.get()) is not None:
                share, text = latest
                yield screen(working(text, share), back=False, extra=True)
        except GeneratorExit:
            stopped.set()
            raise
    return future.result()


def _rows(judged: PhotoAnswer, judgements: list[Judgement], found: Provenance | None) -> list[Row]:
    """Return what the table shows of a photo."""
    name, total = judged["file"], len(judgements)
    about = {"note": judged["note"], "says": found.summary if found else ""}
    if not judgements:
        return [Row(name, 0, problem=judged["error"] or "No face found.", **about)]
    ranked = by_urgency(judgements)
    return [Row(name, total, number, one, **about) for number, one in enumerate(ranked, start=1)]


def _lines(judged: PhotoAnswer, found: Provenance | None) -> list[dict[str, object]]:
    """Return what the CSV file says of a photo: a row for each face, or one that says why there
    is none."""
    nothing = {"box": None, "verdict": "", "probability": None, "reason": None}
    faces = judged["faces"] or [nothing]
    if len(faces) > 1:  # numbered as in the table
        faces = sorted(
            faces, key=lambda one: urgency(one["verdict"], one["reason"], one["probability"])
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
                "box (left top width height)": " ".join(f"{v:.0f}" for v in face["box"] or ()),
                "verdict": face["verdict"],
                "probability of fake": "" if probability is None else f"{probability:.3f}",
                "reason": " ".join(part for part in (reason, judged["note"]) if part),
                "the file says": found.summary if found else "",
                "model": judged["model"],
            }
        )
    return lines
