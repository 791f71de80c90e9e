"""Write the answer about a photo as HTML, for the page and for the report that can be handed on.

Nothing here depends on Gradio.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from PIL import Image

if __package__:
    from .contract import PRIOR, DetectorConfig
    from .detector import Detector
    from .heatmap import describe_parts, heat_by_part
    from .judgements import Judgement
    from .pictures import crop_picture, has_heat, photo_picture
    from .verdicts import (
        NO_PROOF,
        VERDICTS,
        badge,
        by_urgency,
        explain,
        headline,
        weight_of,
        zone_bar,
    )
else:
    from contract import PRIOR, DetectorConfig
    from detector import Detector
    from heatmap import describe_parts, heat_by_part
    from judgements import Judgement
    from pictures import crop_picture, has_heat, photo_picture
    from verdicts import (
        NO_PROOF,
        VERDICTS,
        badge,
        by_urgency,
        explain,
        headline,
        weight_of,
        zone_bar,
    )

MANY = 6  # faces; more are shown as a grid, each with its details behind a click
CROP_SIDE, THUMB_SIDE = 320, 128  # px
NO_FACE = (
    "Is there one? Try a larger or sharper picture of it. You can also let the model judge the "
    "whole picture, which means something only if one face fills most of it."
)


def summary(judgements: Sequence[Judgement]) -> str:
    """Return the answer about a photo in one sentence, for programs."""
    if not judgements:
        return "No face found."
    words = [VERDICTS[judgement.prediction.verdict].lower() for judgement in judgements]
    if len(words) == 1:
        about = "The whole picture" if judgements[0].face is None else "One face"
        return f"{about}: {words[0]}."
    counts = {word: words.count(word) for word in map(str.lower, VERDICTS.values())}
    parts = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    return f"{len(words)} faces: {parts}."


def answer(
    photo: Image.Image, judgements: Sequence[Judgement], detector: Detector, note: str = ""
) -> str:
    """Return the answer about a photo: a headline, the photo with boxes and heatmaps, and its
    faces, most suspicious first.

    Args:
        photo: RGB, as `open_photo` returns it.
        judgements: of its faces.
        detector: made the judgements.
        note: a further sentence to show.
    """
    config = detector.config
    ranked = by_urgency(judgements)
    note_html = f"<p>{escape(note)}</p>" if note else ""
    if not ranked:
        picture = photo_picture(photo, [], config.crop_margin)
        return section("No face found", f"<p>{NO_FACE}</p>{note_html}{picture}", caution=False)
    verdicts = [judgement.prediction.verdict for judgement in ranked]
    cards = "".join(
        _face(number, judgement, config, len(ranked))
        for number, judgement in enumerate(ranked, start=1)
    )
    is_whole = ranked[0].face is None
    picture = "" if is_whole else photo_picture(photo, ranked, config.crop_margin)
    controls = heat_controls() if any(map(has_heat, ranked)) else ""
    layout = "many" if len(ranked) > MANY else "whole" if is_whole else "few"
    body = (
        f'{note_html}<div class="layout {layout}"><div class="stage">{picture}{controls}</div>'
        f'<div class="faces">{cards}</div></div>'
    )
    title = headline(verdicts, "picture" if is_whole else "face")
    return section(title, body, verdict=verdicts[0])


def section(title: str, body: str, *, verdict: str = "", caution: bool = True) -> str:
    """Return an answer: a headline, a line of caution and the body."""
    line = f'<p class="caution">{NO_PROOF}</p>' if caution else ""
    return (
        f'<section class="answer"><h2 class="headline {verdict}" tabindex="-1">{escape(title)}'
        f"</h2>{line}{body}</section>"
    )


def working(text: str, share: float | None = None) -> str:
    """Return what is shown while a file is judged.

    Args:
        text: what is being done.
        share: of the work that is done, 0 to 1; `None` if unknown.
    """
    value = "" if share is None else f' value="{share:.3f}"'
    return (
        f'<section class="answer working"><p id="doing">{escape(text)}</p>'
        f'<progress aria-labelledby="doing"{value}></progress></section>'
    )


def problem(title: str, text: str) -> str:
    """Return an error that is shown in place of the answer."""
    return (
        f'<section class="answer problem"><h2 class="headline" tabindex="-1">{escape(title)}</h2>'
        f"<p>{escape(text)}</p></section>"
    )


def heat_controls() -> str:
    """Return a switch for the heatmaps of an answer, a legend and a slider for their strength."""
    return (
        '<div class="heat-controls"><label><input type="checkbox" class="heat-switch" checked> '
        'Heatmap</label><span class="legend"><span>less</span><i></i><span>more</span></span>'
        '<label class="strength">Strength <input type="range" class="heat-strength" min="0" '
        'max="1" step="0.05" value="0.6"></label><p>It shows what raised the score, relative to '
        "the hottest place of each face. A picture need not have been changed there.</p>"
        "</div>"
    )


def numbers(facts: dict[str, str]) -> str:
    """Return names and values as a folded list."""
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()
    )
    return f'<details class="numbers"><summary>The numbers</summary><dl>{rows}</dl></details>'


def where_heat_lies(judgement: Judgement) -> str:
    """Return a sentence that says where the heat of a crop lies; empty if there is none to show."""
    if not has_heat(judgement):
        return ""
    return describe_parts(heat_by_part(judgement.prediction.heatmap, judgement.landmarks))


def _face(number: int, judgement: Judgement, config: DetectorConfig, total: int) -> str:
    name = "Whole picture" if judgement.face is None else f"Face {number}"
    prediction = judgement.prediction
    body = "".join(
        (
            _as_asked(judgement),
            explain(prediction.verdict, judgement.reason, prediction.probability, config),
            f"<p>{where}</p>" if (where := where_heat_lies(judgement)) else "",
            numbers(_facts(judgement, config)),
        )
    )
    title = f"{name} {badge(prediction.verdict)}"
    if total <= MANY:
        return (
            f'<article class="face" aria-label="{name}">{crop_picture(judgement, name, CROP_SIDE)}'
            f"<div><h3>{title}</h3>{body}</div></article>"
        )
    bar = (
        "" if judgement.reason else zone_bar(prediction.probability, config.thresholds, small=True)
    )
    return (
        f'<details class="face"><summary>{crop_picture(judgement, "", THUMB_SIDE)}'
        f'<span class="title">{title}</span>{bar}</summary>{body}</details>'
    )


def _as_asked(judgement: Judgement) -> str:
    if judgement.face is not None:
        return ""
    return (
        "<p><strong>Judged as asked, without looking for a face:</strong> the answer means "
        "something only if one face fills about three quarters of the picture.</p>"
    )


def _facts(judgement: Judgement, config: DetectorConfig) -> dict[str, str]:
    prediction, thresholds = judgement.prediction, config.thresholds
    facts = {
        f"Probability of fake, were {PRIOR:.0%} of photos fake": f"{prediction.probability:.3f}",
        "Likelihood ratio": weight_of(prediction.probability, config),
        "“No signs found” below": f"{thresholds['real']:.3f}",
        "“Signs of manipulation” from": f"{thresholds['fake']:.3f}",
    }
    if judgement.face is not None:
        left, top, width, height = judgement.face.box
        facts["Place in the photo"] = f"{width:.0f} x {height:.0f} px at {left:.0f}, {top:.0f}"
    return facts
