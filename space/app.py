"""The page: `python space/app.py`, then open http://localhost:7860 (or `GRADIO_SERVER_PORT`).

Programs call the endpoints `judge_photo`, `judge_photos` and `judge_video`. The model is the Hub's
`MODEL_ID` where that is set, else the bundled one.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from html import escape
from importlib.util import find_spec
from pathlib import Path

from about import about_page
from clips import MAX_BYTES, MAX_SECONDS
from contract import DetectorError
from detector import load_bundled, load_detector
from faces import FaceFinderError, load_face_finder
from guard import Page, RefuseAddresses
from lean_gradio import gr
from reports import STYLE
from screens import Screens, first_screen, waiting
from service import MAX_PHOTOS, Service
from starlette.middleware import Middleware

TITLE = "Deepfake face detector"
INTRO = "Finds every face in a photo or clip and says whether it shows signs of manipulation."
KEPT = "Nothing that you upload is kept."
CLIP_LIMITS = f"mp4, mov or webm, up to {MAX_BYTES // 10**6} MB and {MAX_SECONDS // 60} minutes"
PHOTO_TYPES = ["image", ".heic", ".heif", ".mpo"]
HERE = Path(__file__).parent
EXAMPLES, PROGRAMS = HERE / "examples", HERE / "programs.md"
SCRIPT, SAMPLE = HERE / "page.js", HERE / "sample.html"
CLIPS = (".mp4", ".mov", ".webm")
TEXTS = (".md", ".txt")  # notes beside the examples on their origin
CAPTIONS = {  # what an example is, not what the model says about it
    "portrait": "A real portrait",
    "portrait-mouth-replaced": "The same, mouth replaced by hand",
    "generated-face": "Made by a generator",
    "portrait-clip": "The real portrait as a clip",
}
CLEANING = (300, 600)  # s between two clean-ups, and the age in s of the files that they delete
CORES = os.cpu_count() or 1
PORT = os.environ.get("GRADIO_SERVER_PORT", "7860")
WAITING = 200  # calls in the queue
# Gradio's text sizes in rem, as browsers do not scale px to the visitor's own text size.
PIXELS = (9, 10, 12, 14, 16, 22, 26)
TEXT_SIZE = gr.themes.Size(*(f"{pixels / 16}rem" for pixels in PIXELS), name="text_rem")
THEME = gr.themes.Default(
    primary_hue="indigo",
    neutral_hue="slate",
    text_size=TEXT_SIZE,
    font=["ui-sans-serif", "system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)
PHOTO = {"concurrency_limit": CORES, "concurrency_id": "photo"}
CLIP = {"concurrency_limit": 1, "concurrency_id": "video"}
OF_PAGE = {"preprocess": False, "api_visibility": "private", "show_progress": "hidden"}


def load_service() -> Service:
    """Load the model that the environment names, or the bundled one if that fails.

    Raises:
        DetectorError: the bundled model cannot be loaded either.
        FaceFinderError: the face finder that the environment names, or that lies beside the model,
            cannot be loaded.
    """
    notice = ""
    try:
        detector = load_detector()
    except DetectorError as error:
        if not os.environ.get("MODEL_ID"):
            raise
        detector, notice = load_bundled(), str(error)
    return Service(detector, load_face_finder(detector.folder), notice=notice)


def find_examples() -> list[Path]:
    """Return the photos and clips that the page offers to try, in the order of `CAPTIONS`."""
    order = [*CAPTIONS]
    paths = [path for path in EXAMPLES.glob("*") if path.suffix.lower() not in TEXTS]
    return sorted(
        paths,
        key=lambda path: (order.index(path.stem) if path.stem in order else len(order), path.name),
    )


def build_page(service: Service) -> gr.Blocks:
    """Return the page."""
    screens = Screens(service)
    with Page(title=TITLE, analytics_enabled=False, delete_cache=CLEANING) as page:
        gr.HTML(_header(service.notice), apply_default_css=False)
        with gr.Tabs() as tabs:
            with gr.Tab("Photo", id="photo"):
                clip_examples = _photo_tab(screens)
            with gr.Tab("Video", id="video"):
                _video_tab(screens, tabs, clip_examples)
            with gr.Tab("Several photos", id="photos"):
                _photos_tab(screens)
            with gr.Tab("How good is it?", id="about"):
                about = about_page(service.detector, service.describe_models())
                gr.HTML(about, apply_default_css=False)
            with gr.Tab("For programs", id="programs"):
                gr.Markdown(_programs(), elem_classes="programs")
        page.unload(screens.stop)
        for call in (service.judge_photo, service.judge_photos):
            gr.api(call, **PHOTO)
        gr.api(service.judge_video, **CLIP)
    return page


def _header(notice: str) -> str:
    """Return the page's header, with a notice if the bundled model replaces another."""
    line = ""
    if notice:
        line = f'<p class="notice">{escape(notice)} The bundled model answers in its place.</p>'
    return (
        f'<header class="top"><h1>{TITLE}</h1><p>{INTRO}</p>{line}</header>'
        '<div id="said" role="status" class="unseen"></div>'
    )


def _programs() -> str:
    """Return the text for programmers, with this page's address."""
    host = os.environ.get("SPACE_HOST")  # set in a Space
    address = f"https://{host}" if host else f"http://localhost:{PORT}"
    return PROGRAMS.read_text(encoding="utf-8").replace("http://localhost:7860", address)


def _photo_tab(screens: Screens) -> list[tuple[gr.Button, Path]]:
    """Build the photo tab; return the example buttons whose clips open in the video tab."""
    with gr.Column(elem_classes="first") as start, gr.Row(elem_classes="start"):
        with gr.Column(scale=3, min_width=300):
            photo = gr.Image(
                label="Photo",
                show_label=False,
                sources=["upload", "webcam", "clipboard"],
                height=250,
                placeholder="# Choose a photo\nor drop it here",
                elem_id="photo-input",
            )
            gr.HTML(f'<p class="kept">{KEPT}</p>', apply_default_css=False)
            clip_examples = _examples(photo)
        with gr.Column(scale=2, min_width=300):
            gr.HTML(SAMPLE.read_text(encoding="utf-8"), apply_default_css=False)
    back, answer, whole = _answer("photo", "← Another photo", "Judge the whole picture anyway")
    outputs = [start, back, answer, whole]
    arrived = _arrived("photo")
    judged = photo.change(screens.photo, photo, outputs, **PHOTO, **OF_PAGE)
    judged.then(None, js=arrived)
    whole.click(screens.whole_picture, photo, outputs, **PHOTO, **OF_PAGE).then(None, js=arrived)
    _starts_anew("photo", back, photo, outputs, [judged])
    _refuses("photo", screens, outputs)
    return clip_examples


def _examples(photo: gr.Image) -> list[tuple[gr.Button, Path]]:
    """Build the row of example buttons; return those of clips."""
    clips = []
    examples = find_examples()
    if not examples:
        return clips
    gr.HTML('<h2 class="try">Or try one of these</h2>', apply_default_css=False)
    with gr.Row(elem_classes="examples"):
        for path in examples:
            caption = CAPTIONS.get(path.stem, path.stem.replace("-", " ").capitalize())
            is_clip = path.suffix.lower() in CLIPS
            thumbnail = _thumbnail(path, examples)
            button = gr.Button(
                caption,
                icon=thumbnail,
                size="sm",
                min_width=64,
                elem_id=f"example-{path.stem}",
                elem_classes=["example", "clip"] if is_clip else "example",
            )
            if button.icon:  # else it would be deleted with the visitors' uploads
                button.keep_in_cache.add(button.icon["path"])
            if is_clip:
                clips.append((button, path))
            else:
                button.click(
                    lambda path=str(path): path, None, photo, api_visibility="private", queue=False
                )
    return clips


def _thumbnail(path: Path, examples: list[Path]) -> Path | None:
    """Return an example's thumbnail: the photo itself, or the one that a clip is named after."""
    if path.suffix.lower() not in CLIPS:
        return path
    stem = path.stem.removesuffix("-clip")
    return next((example for example in examples if example.stem == stem), None)


def _video_tab(screens: Screens, tabs: gr.Tabs, examples: list[tuple[gr.Button, Path]]) -> None:
    with gr.Column(elem_classes="first") as start:
        clip = gr.Video(
            label="Clip", show_label=False, sources=["upload"], height=280, elem_id="video-input"
        )
        gr.HTML(f'<p class="kept">{CLIP_LIMITS}. {KEPT}</p>', apply_default_css=False)
    back, answer, stop = _answer("video", "← Another clip", "Stop")
    outputs = [start, back, answer, stop]
    waits = clip.upload(waiting, None, outputs, queue=False, **OF_PAGE)
    judged = [waits.then(screens.clip, clip, outputs, **CLIP, **OF_PAGE)]
    judged += [
        _judge_example_clip(button, path, screens, tabs, outputs) for button, path in examples
    ]
    for event in judged:
        event.then(None, js=_arrived("video"))
    _can_stop(stop, screens)
    _starts_anew("video", back, clip, outputs, judged)
    _refuses("video", screens, outputs)


def _judge_example_clip(
    button: gr.Button,
    path: Path,
    screens: Screens,
    tabs: gr.Tabs,
    outputs: list[gr.components.Component],
) -> gr.events.Dependency:
    def judge(request: gr.Request):
        yield from screens.example_clip(str(path), request)

    opened = button.click(
        lambda: gr.Tabs(selected="video"), None, tabs, api_visibility="private", queue=False
    )
    waits = opened.then(waiting, None, outputs, queue=False, **OF_PAGE)
    return waits.then(judge, None, outputs, **CLIP, **OF_PAGE)


def _photos_tab(screens: Screens) -> None:
    with gr.Column(elem_classes="first") as start:
        files = gr.File(
            label=f"Photos, up to {MAX_PHOTOS}",
            file_count="multiple",
            file_types=PHOTO_TYPES,
            elem_id="photos-input",
        )
        gr.HTML(f'<p class="kept">{KEPT}</p>', apply_default_css=False)
    back, answer, stop = _answer("photos", "← Other photos", "Stop")
    outputs = [start, back, answer, stop]
    waits = files.upload(waiting, None, outputs, queue=False, **OF_PAGE)
    judged = waits.then(screens.photos, files, outputs, **PHOTO, **OF_PAGE)
    judged.then(None, js=_arrived("photos"))
    _can_stop(stop, screens)
    _starts_anew("photos", back, files, outputs, [judged])
    _refuses("photos", screens, outputs)


def _answer(name: str, back: str, extra: str) -> tuple[gr.Button, gr.HTML, gr.Button]:
    """Build the place of an answer: the back button, the answer and one more button."""
    button = gr.Button(
        back, visible=False, size="sm", elem_id=f"{name}-again", elem_classes="again"
    )
    answer = gr.HTML(elem_id=f"{name}-answer", apply_default_css=False)
    return button, answer, gr.Button(extra, visible=False, elem_classes="extra")


def _arrived(name: str) -> str:
    return f"() => window.answerArrived('{name}')"


def _can_stop(stop: gr.Button, screens: Screens) -> None:
    stop.click(screens.stop, None, None, queue=False, api_visibility="private")


def _starts_anew(
    name: str,
    again: gr.Button,
    uploaded: gr.components.Component,
    outputs: list[gr.components.Component],
    judged: list[gr.events.Dependency],
) -> None:
    """Let a button lead back to the first screen and cancel what still waits to be judged."""
    again.click(None, cancels=judged)
    again.click(
        lambda: (*first_screen(), None),
        None,
        [*outputs, uploaded],
        queue=False,
        api_visibility="private",
        show_progress="hidden",
    ).then(None, js=f"() => window.startedAgain('{name}')")


def _refuses(name: str, screens: Screens, outputs: list[gr.components.Component]) -> None:
    """Let the page's script, which sees a file first, show refusals and other errors of the browser
    in place of the answer."""
    wrong = gr.JSON(visible=False)
    gr.Button(visible="hidden", elem_id=f"{name}-refused").click(
        partial(screens.refused, name),
        wrong,
        outputs,
        js="() => [window.wrong]",
        queue=False,
        **OF_PAGE,
    ).then(None, js=_arrived(name))


def main() -> int:
    """Serve the page until it is stopped; return 2 if no model can be loaded."""
    try:
        service = load_service()
    except (DetectorError, FaceFinderError) as error:
        print(error, file=sys.stderr)
        return 2
    build_page(service).queue(max_size=WAITING).launch(
        theme=THEME,
        css_paths=[STYLE],
        head=f'<meta name="description" content="{INTRO}">'
        f"<script>const MAX_BYTES = {MAX_BYTES};{SCRIPT.read_text('utf-8')}</script>",
        max_file_size=MAX_BYTES,
        # Gradio refuses uploads whose names begin with a dot if its working directory lies above
        # them.
        allowed_paths=[gr.utils.get_upload_folder()],
        footer_links=["api"],
        mcp_server=find_spec("mcp") is not None,
        app_kwargs={"middleware": [Middleware(RefuseAddresses)]},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
