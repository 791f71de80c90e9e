"""Write answers as HTML: for the page, and for the report that can be handed on.

Nothing here knows of gradio. Pictures are part of the HTML (data URLs), so that nothing that was
uploaded has to stay on the server to be shown.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from PIL import Image

if __package__:
    from .contract import REASONS, DetectorConfig
    from .detector import Detector
    from .heatmap import describe_parts, heat_by_part, heat_layer
    from .judgements import Judgement, Prediction
else:
    from contract import REASONS, DetectorConfig
    from detector import Detector
    from heatmap import describe_parts, heat_by_part, heat_layer
    from judgements import Judgement, Prediction

STYLE = Path(__file__).with_name("style.css")
VERDICTS = {"fake": "Likely fake", "real": "Likely real", "inconclusive": "Inconclusive"}
SYMBOLS = {"fake": "▲", "real": "●", "inconclusive": "◆"}  # colours alone do not reach everybody
HEAT_SIDE = 224  # px
PHOTO_SIDE = 1024  # px
# What a spreadsheet may take for the start of a formula: also after a tab or a line break, and the
# full-width forms, which some fold to the plain ones.
FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001
NO_PROOF = (
    "This is not proof. The model can be wrong either way, and says nothing about the person shown."
)


def summary(judgements: Sequence[Judgement]) -> str:
    """Return the answer about a photo in one sentence."""
    if not judgements:
        return "No face found."
    words = [VERDICTS[one.prediction.verdict].lower() for one in judgements]
    if len(words) == 1:
        about = "The whole picture" if judgements[0].face is None else "One face"
        return f"{about}: {words[0]}."
    counts = {word: words.count(word) for word in map(str.lower, VERDICTS.values())}
    parts = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    return f"{len(words)} faces: {parts}."


def answer(
    photo: Image.Image,
    judgements: Sequence[Judgement],
    detector: Detector,
    finder_name: str,
    note: str = "",
) -> str:
    """Return the answer about a photo: a sentence, the photo with boxes, a card for each face.

    Args:
        photo: RGB, as `open_photo` returns it.
        judgements: of its faces.
        detector: made them.
        finder_name: of what found the faces.
        note: what else is to be said, in a sentence.
    """
    parts = [f'<p class="summary" role="status">{summary(judgements)}</p>']
    if note:
        parts.append(f"<p>{escape(note)}</p>")
    if not judgements:
        parts.append(
            f"<p>{escape(finder_name)} looked for faces in all of the photo. Is there one? Try a "
            "larger or sharper photo of it, or judge the whole picture.</p>"
        )
    if judgements and judgements[0].face is not None:
        parts.append(_photo_with_boxes(photo, judgements))
    parts += [
        _face_card(number, judgement, detector.config)
        for number, judgement in enumerate(judgements, start=1)
    ]
    return f'<section class="answer">{"".join(parts)}</section>'


def caution(config: DetectorConfig) -> str:
    """Return what the model was trained on and how often it errs, as HTML."""
    text = f"<strong>{NO_PROOF}</strong> It was trained on {escape(config.trained_on)}."
    figures = config.metrics.get("test")
    if not figures:
        return f'<p class="caution">{text} It comes without test figures.</p>'
    verdicts, auc = figures["verdicts"], figures["roc_auc"]
    text += (
        f" On {figures['photos']} test photos of that kind it called "
        f"{verdicts['real_called_fake']['value']:.0%} of the real ones fake and "
        f"{verdicts['fake_called_real']['value']:.0%} of the fakes real, and had no verdict on "
        f"{verdicts['inconclusive']['value']:.0%} of all; of a fake and a real one it ranked the "
        f"fake higher in {auc['value']:.0%} of the cases (95 % interval {auc['low']:.0%} to "
        f"{auc['high']:.0%}). {escape(figures.get('note', ''))}"
    )
    kinds = [
        f"{escape(kind)}: {of['called_fake']['value']:.0%} of {of['fakes']}"
        for kind, of in figures.get("by_difficulty", {}).items()
    ]
    if kinds:
        text += f" Fakes that it called fake, by difficulty: {', '.join(kinds)}."
    return f'<p class="caution">{text}</p>'


def report(judged: str, file: str, content: bytes, detector: Detector, finder_name: str) -> str:
    """Return a document of one judgement that can be handed on: one file, without scripts.

    Args:
        judged: what `answer` returned.
        file: name of the photo's file.
        content: of the file.
        detector: judged it.
        finder_name: of what found the faces.
    """
    facts = {
        "File": file,
        "SHA-256 of the file": hashlib.sha256(content).hexdigest(),
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Model": f"{detector.name}, {detector.config.variant}",
        "SHA-256 of the model": detector.config.sha256,
        "Faces found by": finder_name,
    }
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in facts.items()
    )
    style = STYLE.read_text(encoding="utf-8")
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>Report: {escape(file)}</title><style>{style}</style></head>"
        f"<body class='report'><h1>Deepfake face detector: report</h1>{judged}"
        f"<h2>Limits</h2>{caution(detector.config)}<h2>What was judged, and by what</h2>"
        f"<table>{rows}</table></body></html>"
    )


def download_link(text: str, name: str, content: str, kind: str) -> str:
    """Return a link that saves content which is part of the page.

    Args:
        text: of the link.
        name: of the file that is saved.
        content: of that file.
        kind: its MIME type.
    """
    data = base64.b64encode(content.encode()).decode()
    return (
        f'<a class="download" download="{escape(name)}" href="data:{kind};base64,{data}">'
        f"{escape(text)}</a>"
    )


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows with the same keys as an HTML table."""
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table class="rows"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def as_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows with the same keys as CSV that spreadsheets take for text, not for formulas."""
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _no_formula(value) for name, value in row.items()})
    return file.getvalue()


def _no_formula(value: object) -> object:
    starts_one = isinstance(value, str) and value.startswith(FORMULA_STARTS)
    return f"'{value}" if starts_one else value


def probability_bar(probability: float, thresholds: Mapping[str, float]) -> str:
    """Return a bar from real to fake with both thresholds and the probability marked."""
    real, fake = thresholds["real"], thresholds["fake"]
    spoken = (
        f"Probability of fake {probability:.2f}; likely real below {real:.2f}, likely fake from "
        f"{fake:.2f}"
    )
    marks = "".join(
        f'<span class="threshold" style="left:{100 * value:.1f}%"><span>{value:.2f}</span></span>'
        for value in (real, fake)
    )
    return (
        f'<div class="bar" role="img" aria-label="{spoken}">'
        f'<div class="zones"><span class="real" style="width:{100 * real:.1f}%"></span>'
        f'<span class="inconclusive" style="width:{100 * (fake - real):.1f}%"></span>'
        f'<span class="fake" style="width:{100 * (1 - fake):.1f}%"></span></div>{marks}'
        f'<span class="pin" style="left:{100 * probability:.1f}%"><b>{probability:.2f}</b></span>'
        '<div class="ends"><span>real</span><span>fake</span></div></div>'
    )


def verdict_heading(prediction: Prediction, before: str = "") -> str:
    """Return the verdict as a heading, with a symbol of its own."""
    verdict = prediction.verdict
    return (
        f'<h3 class="verdict {verdict}"><span aria-hidden="true">{SYMBOLS[verdict]}</span> '
        f"{escape(before)}{VERDICTS[verdict]}</h3>"
    )


def crop_with_heat(judgement: Judgement, name: str) -> str:
    """Return a judged crop with its heatmap over it, as strong as `--heat` says."""
    heat = heat_layer(judgement.prediction.heatmap, HEAT_SIDE)
    return (
        f'<div class="crop"><img src="{_data_url(judgement.crop)}" alt="{escape(name)}">'
        f'<img class="heat" src="{_data_url(heat)}" alt="" aria-hidden="true"></div>'
    )


def _face_card(number: int, judgement: Judgement, config: DetectorConfig) -> str:
    prediction = judgement.prediction
    name = "Whole picture" if judgement.face is None else f"Face {number}"
    sentences = [
        _reservation(judgement),
        _meaning(prediction),
        describe_parts(heat_by_part(prediction.heatmap, judgement.landmarks))
        + " It need not be where a photo was changed.",
    ]
    text = "".join(f"<p>{sentence}</p>" for sentence in sentences if sentence)
    return (
        f'<article class="face" aria-label="{name}">{crop_with_heat(judgement, name)}<div>'
        f"{verdict_heading(prediction, f'{name}: ')}"
        f"{probability_bar(prediction.probability, config.thresholds)}{text}"
        f'<p class="caution">{NO_PROOF}</p></div></article>'
    )


def _reservation(judgement: Judgement) -> str:
    if judgement.face is None:
        return (
            "<strong>Judged as asked, without looking for a face:</strong> the answer means "
            "something only if one face fills about three quarters of the picture."
        )
    if judgement.reason is None:
        return ""
    width = f" It is {judgement.face.side:.0f} px wide." if judgement.face.too_small else ""
    return f"<strong>No verdict:</strong> {REASONS[judgement.reason]}{width}"


def _meaning(prediction: Prediction) -> str:
    meaning = prediction.meaning
    return meaning and (
        f"Of the {meaning.photos} validation photos with a probability like this one, "
        f"{meaning.fake_share:.0%} were fake."
    )


def _photo_with_boxes(photo: Image.Image, judgements: Sequence[Judgement]) -> str:
    small = photo.copy()
    small.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
    boxes = "".join(_box(number, one) for number, one in enumerate(judgements, start=1))
    spoken = f"The photo with a box around each of {len(judgements)} faces"
    return (
        f'<figure class="photo"><img src="{_data_url(small)}" alt="{spoken}">'
        f'<svg viewBox="0 0 {photo.width} {photo.height}" aria-hidden="true">{boxes}</svg></figure>'
    )


def _box(number: int, judgement: Judgement) -> str:
    left, top, width, height = judgement.face.box
    verdict = judgement.prediction.verdict
    size = max(0.14 * max(width, height), 1)
    return (
        f'<g class="{verdict}"><rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}"/><text x="{left:.0f}" y="{top - 0.3 * size:.0f}" '
        f'font-size="{size:.0f}">{number} {SYMBOLS[verdict]}</text></g>'
    )


def _data_url(picture: Image.Image) -> str:
    file = io.BytesIO()
    kind = "png" if picture.mode == "RGBA" else "jpeg"
    picture.save(file, format=kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
