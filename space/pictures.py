"""Write pictures as HTML: data URLs, crops, and a photo with boxes and a heatmap over it.

Pictures are embedded in the HTML, so that no upload has to stay on the server.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

if __package__:
    from .crops import crop_turn, face_square
    from .heatmap import heat_layer
    from .judgements import Judgement
    from .verdicts import SYMBOLS
else:
    from crops import crop_turn, face_square
    from heatmap import heat_layer
    from judgements import Judgement
    from verdicts import SYMBOLS

HEAT_SIDE = 64  # px; the browser enlarges it smoothly
PHOTO_SIDE = 1024  # px
QUALITY = 85


def data_url(picture: Image.Image, side: int | None = None) -> str:
    """Return a picture as a data URL.

    Args:
        picture: RGB, or RGBA for an overlay.
        side: maximum of its longer side in px; any size by default.
    """
    if side and max(picture.size) > side:
        picture = picture.copy()
        picture.thumbnail((side, side))
    file = io.BytesIO()
    kind = "png" if picture.mode == "RGBA" else "jpeg"
    picture.save(file, format=kind, quality=QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def has_heat(judgement: Judgement) -> bool:
    """Return whether the heatmap means something: the face was judged, and not as real."""
    return judgement.prediction.verdict != "real" and judgement.reason is None


def crop_picture(judgement: Judgement, name: str, side: int) -> str:
    """Return a judged crop, with its heatmap over it if there is one to show."""
    heat = ""
    if has_heat(judgement):
        heat = f'<img class="heat" src="{_heat_url(judgement.prediction.heatmap)}" alt="">'
    return (
        f'<span class="crop"><img src="{data_url(judgement.crop, side)}" alt="{escape(name)}">'
        f"{heat}</span>"
    )


def photo_picture(photo: Image.Image, judgements: Sequence[Judgement], margin: float) -> str:
    """Return a photo with a box around each face, numbered in their order, and its heatmap.

    Args:
        photo: RGB, as it was judged.
        judgements: of its faces.
        margin: of the crops that were judged.
    """
    heatmaps = "".join(
        _heat(photo.size, judgement, margin) for judgement in judgements if has_heat(judgement)
    )
    heatmaps = f'<g class="heat">{heatmaps}</g>' if heatmaps else ""
    boxes = "".join(
        _box(number, judgement, max(photo.size))
        for number, judgement in enumerate(judgements, start=1)
    )
    description = "The photo"
    if judgements:
        description += f", with a box around each of {len(judgements)} faces"
    return (
        f'<figure class="photo"><img src="{data_url(photo, PHOTO_SIDE)}" alt="{description}">'
        f'<svg viewBox="0 0 {photo.width} {photo.height}" aria-hidden="true">'
        f"{heatmaps}{boxes}</svg></figure>"
    )


def _heat_url(heatmap: np.ndarray) -> str:
    return data_url(heat_layer(heatmap, HEAT_SIDE))


def _heat(size: tuple[int, int], judgement: Judgement, margin: float) -> str:
    """Return a heatmap as a part of the photo's SVG, in the place of its crop."""
    left, top, side = face_square(size, judgement.face, margin)
    return (
        f'<image href="{_heat_url(judgement.prediction.heatmap)}" x="-0.5" y="-0.5" width="1" '
        f'height="1" preserveAspectRatio="none" transform="translate({left + side / 2:.1f} '
        f'{top + side / 2:.1f}) rotate({crop_turn(judgement.face):.1f}) scale({side})"/>'
    )


def _box(number: int, judgement: Judgement, longest: int) -> str:
    left, top, width, height = judgement.face.box
    verdict = judgement.prediction.verdict
    size = max(0.14 * max(width, height), 0.04 * longest)  # legible when the photo is small
    # Above the box, or inside it if the photo ends there.
    base = top - 0.3 * size if top > 1.3 * size else top + 1.1 * size
    return (
        f'<g class="{verdict}"><rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" rx="{size / 3:.1f}"/><text x="{left + size / 4:.0f}" '
        f'y="{base:.0f}" font-size="{size:.0f}">{number} {SYMBOLS[verdict]}</text></g>'
    )
