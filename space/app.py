"""The page: `python space/app.py`, then open http://localhost:7860 (or `GRADIO_SERVER_PORT`).

Programs call the endpoint `judge_photo`. The model is the Hub's `MODEL_ID` where that is set, else
the bundled one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import gradio as gr
from detector import Detector, DetectorError, Prediction, load_bundled, load_detector
from faces import PhotoError, open_photo
from gradio.utils import get_upload_folder, is_in_or_equal
from heatmap import paint_heatmap
from PIL import Image

TITLE = "Deepfake face detector"
INTRO = (
    "Give it a photo of one face, cropped so that the face fills about three quarters of the "
    "frame. It says how likely the face was put together from several people, and where it looks "
    "so."
)
VERDICTS = {"fake": "Likely fake", "real": "Likely real", "inconclusive": "Inconclusive"}
MAX_FILE_SIZE = "50mb"
EXAMPLES = Path(__file__).with_name("examples")


def choose_detector() -> tuple[Detector, str]:
    """Load the model that the environment names, or the bundled one where that cannot be had.

    Returns:
        The model, and one sentence that says which it is.

    Raises:
        DetectorError: the bundled model cannot be loaded either.
    """
    try:
        detector = load_detector()
        notice = f"Model in use: {detector.name}."
    except DetectorError as error:
        if not os.environ.get("MODEL_ID"):
            raise
        detector = load_bundled()
        notice = f"Model in use: {detector.name}. {error}"
    return detector, f"{notice} Format: {detector.config.variant}."


def describe_figures(detector: Detector) -> str:
    """Return what the model scored on photos that it was not trained on, by its description."""
    figures = detector.config.metrics.get("test")
    if not figures:
        return "This model comes without test figures."
    auc, verdicts = figures["roc_auc"], figures["verdicts"]
    return (
        f"On {figures['photos']} test photos, of a fake and a real one, it ranked the fake higher "
        f"in {auc['value']:.0%} of the cases (AUC; 95 % interval {auc['low']:.0%} to "
        f"{auc['high']:.0%}). {verdicts['inconclusive']['value']:.0%} of its answers were "
        f"inconclusive; it called {verdicts['real_called_fake']['value']:.0%} of the real photos "
        f"fake, and {verdicts['fake_called_real']['value']:.0%} of the fakes real. "
        f"{figures.get('note', '')}"
    )


def describe_prediction(prediction: Prediction, detector: Detector) -> str:
    """Return the verdict in words, with what it rests on."""
    meaning = prediction.meaning
    known = meaning and (
        f"Of the {meaning.photos} validation photos with a probability like this one, "
        f"{meaning.fake_share:.0%} were fake. "
    )
    return (
        f"### {VERDICTS[prediction.verdict]}\n{known or ''}The model was trained on "
        f"{detector.config.trained_on}. It can be wrong. The brighter the heatmap, the more that "
        "place spoke for fake to the model; that need not be where the photo was changed."
    )


def uploaded_path(photo: dict) -> str:
    """Return the path of a photo that was uploaded to this page.

    Gradio checks paths only for callers who send `meta` along: without it, any picture on this
    machine could be asked for.

    Raises:
        PhotoError: the path is missing or leads elsewhere.
    """
    path = photo.get("path")
    if not path or not is_in_or_equal(path, get_upload_folder()):
        raise PhotoError("The photo was not uploaded to this page: upload it first.")
    return path


def find_examples() -> list[str]:
    """Return the paths of the photos that the page offers to try, if there are any."""
    return [str(path) for path in sorted(EXAMPLES.glob("*")) if path.suffix not in (".md", ".txt")]


def build_page(detector: Detector, notice: str) -> gr.Blocks:
    """Return the page that serves a model."""

    def judge_photo(photo: dict | None) -> tuple[dict | None, Image.Image | None, str]:
        if photo is None:
            return None, None, ""
        try:
            decoded = open_photo(uploaded_path(photo))
            prediction = detector.predict(decoded)
        except PhotoError as error:
            title = "This photo cannot be judged"
            raise gr.Error(str(error), title=title, print_exception=False) from error
        probabilities = {"Real": 1 - prediction.probability, "Fake": prediction.probability}
        heatmap = paint_heatmap(decoded, prediction.heatmap)
        return probabilities, heatmap, describe_prediction(prediction, detector)

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\n{INTRO}")
        with gr.Row():
            photo = gr.Image(label="Photo", sources=["upload", "webcam", "clipboard"], height=380)
            heatmap = gr.Image(
                label="Heatmap", height=380, format="png", interactive=False, buttons=["download"]
            )
        examples = find_examples()
        if examples:
            gr.Examples(examples, photo, label="Photos to try")
        sentence = gr.Markdown(label="Verdict")
        label = gr.Label(label="Probability", show_heading=False)
        gr.Markdown(f"{describe_figures(detector)}\n\n{notice}", elem_id="notice")
        photo.change(
            judge_photo,
            photo,
            [label, heatmap, sentence],
            api_name="judge_photo",
            preprocess=False,  # the photo is decoded by `faces`, as the training photos were
        )
    return page


def main() -> int:
    """Serve the page until it is stopped; return 2 where there is no model."""
    try:
        detector, notice = choose_detector()
    except DetectorError as error:
        print(error, file=sys.stderr)
        return 2
    build_page(detector, notice).launch(max_file_size=MAX_FILE_SIZE, footer_links=["api"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
