"""The preview in a photo's EXIF data against the photo: editors often leave the old one in."""

from __future__ import annotations

import io

import numpy as np
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin

if __package__:
    from .findings import Claim, Finding, Kind
else:
    from findings import Claim, Finding, Kind

SOURCE = "EXIF"
MAX_SIDE = 1024  # px of a preview that is looked at
MAX_PIXELS = 100_000_000  # of a photo
SHOWN_SIDE = 320  # px, of both where they are shown
SIDE, BLOCKS = 64, 8  # px in which both are compared, and the squares along a side
# Grey levels, see `difference`. Previews of 200 web photos of 448 px, made in six ways (nearest px,
# boxes, Lanczos; JPEG quality 30 and 75; every other one sharpened), stay below 29.6; a face pasted
# over a twenty-fifth of the photo raises it over 34.
DIFFERENT = 32.0
BAR = 32  # grey level up to which what surrounds a preview passes for a black bar
SAME_SHAPE = 0.04  # relative difference of two aspect ratios that rounding explains


def read_preview(photo: Image.Image) -> list[Finding]:
    """Return a finding if the preview in a JPEG file does not match the photo.

    Args:
        photo: as it was opened, not yet decoded. It is decoded here at an eighth of its size.

    Returns:
        The finding, with both pictures; nothing where they agree, or where there is no preview.
    """
    small = _preview(photo)
    if small is None or photo.width * photo.height > MAX_PIXELS:
        return []
    photo.draft("RGB", (2 * SIDE, 2 * SIDE))
    whole = photo.convert("RGB")
    inner = _without_bars(small, photo.width / photo.height)
    if inner is None:
        what = "has another shape than the photo, which was cut or turned after it was made"
        value = f"{small.width}x{small.height} px"
    elif (levels := difference(inner, whole)) >= DIFFERENT:
        what = "does not match the photo, which was changed after it was made"
        value = f"{levels:.0f} grey levels apart where they differ most"
    else:
        return []
    turned = photo.getexif().get(ExifTags.Base.Orientation, 1)
    return [
        Finding(
            Kind.PREVIEW,
            f"The preview in the file {what}: compare the two.",
            value,
            source=SOURCE,
            claim=Claim.EDITED,
            pictures=(("preview", _jpeg(small, turned)), ("photo", _jpeg(whole, turned))),
        )
    ]


def _preview(photo: Image.Image) -> Image.Image | None:
    """Return the preview in a JPEG file, RGB; `None` where there is none."""
    data = photo.info.get("exif")
    if not isinstance(photo, JpegImagePlugin.JpegImageFile) or not data:
        return None
    directory = photo.getexif().get_ifd(ExifTags.IFD.IFD1)
    start = directory.get(ExifTags.Base.JpegIFOffset)
    length = directory.get(ExifTags.Base.JpegIFByteCount)
    if not isinstance(start, int) or not isinstance(length, int) or length <= 0:
        return None
    data = data.removeprefix(b"Exif\0\0")[start : start + length]
    if not data.startswith(b"\xff\xd8"):
        return None
    small = Image.open(io.BytesIO(data), formats=("JPEG",))
    if max(small.size) > MAX_SIDE or min(small.size) < BLOCKS:
        return None
    return small.convert("RGB")


def _without_bars(small: Image.Image, aspect: float) -> Image.Image | None:
    """Return what a preview shows without the black bars that fit it into 4:3; `None` where it has
    another shape than the photo.

    Args:
        small: the preview.
        aspect: width of the photo divided by its height.
    """
    width, height = small.size
    if abs(width / height / aspect - 1) <= SAME_SHAPE:
        return small
    if width / height < aspect:
        inner_width, inner_height = width, round(width / aspect)
    else:
        inner_width, inner_height = round(height * aspect), height
    if min(inner_width, inner_height) < BLOCKS:
        return None
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    right, bottom = left + inner_width, top + inner_height
    bars = np.array(small.convert("L"))
    rim = 2  # px: compression smears the picture a little into the bars
    bars[max(0, top - rim) : bottom + rim, max(0, left - rim) : right + rim] = 0
    return None if bars.max() > BAR else small.crop((left, top, right, bottom))


def difference(preview: Image.Image, photo: Image.Image) -> float:
    """Return how far two pictures are apart where they differ most, whatever their brightness.

    Args:
        preview: RGB.
        photo: RGB, of the same shape.

    Returns:
        Root mean square of the difference in grey levels, in the square of 8x8 that differs most.
    """
    small, whole = (
        np.asarray(one.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
        for one in (preview, photo)
    )
    # Editors that only brighten a photo, and cameras that do so to the preview, are left out.
    spread = float(whole.var())
    slope = float(((small - small.mean()) * (whole - whole.mean())).mean()) / max(spread, 1.0)
    residue = small - small.mean() - np.clip(slope, 0.5, 2.0) * (whole - whole.mean())
    step = SIDE // BLOCKS
    squares = (residue**2).reshape(BLOCKS, step, BLOCKS, step).mean(axis=(1, 3))
    return float(np.sqrt(squares.max()))


def _jpeg(picture: Image.Image, orientation: int) -> bytes:
    """Return a picture as everyone sees it, small, as a JPEG file without notes."""
    picture = picture.copy()
    picture.info = {}  # it may tell the place
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    picture = ImageOps.exif_transpose(picture)
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
