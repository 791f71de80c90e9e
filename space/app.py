"""The page: `python space/app.py`, then open http://localhost:7860 (or `GRADIO_SERVER_PORT`).

Programs call the endpoints `judge_photo`, `judge_photos` and `judge_video`. The model is the Hub's
`MODEL_ID` where that is set, else the bundled one.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from contract import DetectorError
from detector import load_bundled, load_detector
from faces import FaceFinderError, load_face_finder
from guard import Page, RefuseAddresses
from lean_gradio import gr, spare_matplotlib
from service import Service
from starlette.middleware import Middleware
from video import MAX_BYTES, MAX_SECONDS
from views import STYLE, caution

TITLE = "Deepfake face detector"
INTRO = (
    "Has the face in a photo or a clip been tampered with? Every face is found and judged on its "
    "own, with how sure the model is and where it looked. Nothing that you upload is kept."
)
CLIP_LIMITS = f"mp4, mov or webm, up to {MAX_BYTES // 10**6} MB and {MAX_SECONDS // 60} minutes"
PHOTO_TYPES = ["image", ".heic", ".heif", ".mpo"]
EXAMPLES = Path(__file__).with_name("examples")
PROGRAMS = Path(__file__).with_name("programs.md")
TEXTS = (".md", ".txt")  # beside the examples, about their origin
CLEANING = (300, 600)  # s between two rounds, and the age of what they delete
CORES = os.cpu_count() or 1
WAITING = 200  # calls that may wait for their turn


def load_service() -> Service:
    """Load the model that the environment names, or the bundled one where that cannot be had.

    Raises:
        DetectorError: the bundled model cannot be loaded either.
        FaceFinderError: the face detector that the environment names cannot be loaded.
    """
    finder = load_face_finder()
    try:
        return Service(load_detector(), finder)
    except DetectorError as error:
        if not os.environ.get("MODEL_ID"):
            raise
        return Service(load_bundled(), finder, notice=str(error))


def find_examples() -> list[str]:
    """Return the paths of the photos that the page offers to try, if there are any."""
    return [str(path) for path in sorted(EXAMPLES.glob("*")) if path.suffix.lower() not in TEXTS]


def build_page(service: Service) -> gr.Blocks:
    """Return the page."""
    with Page(title=TITLE, analytics_enabled=False, delete_cache=CLEANING) as page:
        gr.Markdown(f"# {TITLE}\n{INTRO}")
        gr.HTML(caution(service.detector.config))
        with gr.Tab("Photo"):
            _photo_tab(service)
        with gr.Tab("Video"):
            _video_tab(service)
        with gr.Tab("Several photos"):
            _photos_tab(service)
        with gr.Tab("For programs"):
            gr.Markdown(PROGRAMS.read_text(encoding="utf-8"))
        gr.Markdown(service.describe_models(), elem_id="notice")
        page.unload(service.stop_video)
        for call in (service.judge_photo, service.judge_photos):
            gr.api(call, concurrency_limit=CORES, concurrency_id="photo")
        gr.api(service.judge_video, concurrency_limit=1, concurrency_id="video")
    return page


def _photo_tab(service: Service) -> None:
    with gr.Row():
        with gr.Column(scale=1):
            photo = gr.Image(label="Photo", sources=["upload", "webcam", "clipboard"], height=320)
            if examples := find_examples():
                labels = [Path(path).stem.replace("-", " ") for path in examples]
                gr.Examples(examples, photo, label="Photos to try", example_labels=labels)
        with gr.Column(scale=2):
            answer = gr.HTML(label="Answer", show_label=False, min_height=120)
            whole = gr.Button("Judge the whole picture anyway", visible=False)
            strength = _strength_slider()
    show = {"outputs": [answer, whole, strength], "concurrency_limit": CORES}
    show |= {"concurrency_id": "photo", "preprocess": False, "api_visibility": "private"}
    photo.change(service.show_photo, photo, **show)
    whole.click(service.show_whole_picture, photo, **show)


def _strength_slider() -> gr.Slider:
    slider = gr.Slider(0, 1, 0.6, step=0.05, label="Strength of the heatmap", visible=False)
    slider.input(
        None,
        slider,
        js="value => { document.documentElement.style.setProperty('--heat', value); }",
    )
    return slider


def _video_tab(service: Service) -> None:
    clip = gr.Video(label=f"Clip ({CLIP_LIMITS})", sources=["upload"], height=320)
    stop = gr.Button("Stop", visible=False)
    answer = gr.HTML(label="Answer", show_label=False, min_height=120)
    private = {"queue": False, "api_visibility": "private"}
    clip.upload(lambda: gr.update(visible=True), None, stop, **private).then(
        service.show_video,
        clip,
        answer,
        concurrency_limit=1,
        concurrency_id="video",
        preprocess=False,
        api_visibility="private",
    ).then(lambda: gr.update(visible=False), None, stop, **private)
    stop.click(service.stop_video, None, None, **private)
    clip.clear(lambda: "", None, answer, **private)


def _photos_tab(service: Service) -> None:
    files = gr.File(label="Photos", file_count="multiple", file_types=PHOTO_TYPES)
    answer = gr.HTML(label="Answer", show_label=False, min_height=120)
    files.change(
        service.show_photos,
        files,
        answer,
        concurrency_limit=CORES,
        concurrency_id="photo",
        preprocess=False,
        api_visibility="private",
    )


def main() -> int:
    """Serve the page until it is stopped; return 2 where there is no model."""
    try:
        service = load_service()
    except (DetectorError, FaceFinderError) as error:
        print(error, file=sys.stderr)
        return 2
    build_page(service).queue(max_size=WAITING).launch(
        css_paths=[STYLE],
        max_file_size=MAX_BYTES,
        # For uploads whose names begin with a dot: gradio refuses them where it runs in a folder
        # above.
        allowed_paths=[gr.utils.get_upload_folder()],
        footer_links=["api"],
        mcp_server=find_spec("mcp") is not None,
        app_kwargs={"middleware": [Middleware(RefuseAddresses)]},
    )
    return 0


if __name__ == "__main__":
    spare_matplotlib()
    sys.exit(main())
