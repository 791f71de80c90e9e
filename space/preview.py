"""Compare a photo with the preview in its file: editors often leave the old preview in."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin

if __package__:
    from .exif import load_exif
    from .findings import Claim, Finding, Kind
    from .photos import MAX_PIXELS, MIN_SIDE, open_photo, turned
else:
    from exif import load_exif
    from findings import Claim, Finding, Kind
    from photos import MAX_PIXELS, MIN_SIDE, open_photo, turned

MAX_SIDE = 1024  # px; larger previews are ignored
SHOWN_SIDE = 320  # px of both pictures in the finding
SIDE, BLOCKS = 64, 8  # px at which both are compared, and the squares along a side
# Grey levels, see `difference`. It stays below 29.6 for previews of 200 web photos of 448 px, made
# in six ways (nearest neighbour, box, Lanczos; JPEG quality 30 and 75; every other one sharpened).
# A face pasted over a twenty-fifth of the photo raises it above 34.
DIFFERENT = 32.0
BAR = 32  # highest grey level of a black bar around a preview
SAME_SHAPE = 0.04  # relative difference of two aspect ratios that rounding explains


def read_preview(photo: Image.Image, data: bytes | None = None) -> list[Finding]:
    """Return a finding if the preview in a photo's file does not match the photo.

    The preview is the one in the EXIF data, or the small copy that comes second in a TIFF file.

    Args:
        photo: opened, not yet decoded. It is decoded here only if there is a preview, a JPEG at an
            eighth of its size.
        data: its EXIF data; by default those that Pillow has read.

    Returns:
        The finding, with both pictures; empty if they agree, if there is no preview, or if the
        photo is transparent in places.
    """
    data = data or photo.info.get("exif") or b""
    fields = load_exif(data)
    small = _exif_preview(data, fields) or _small_page(photo)
    is_valid_size = min(photo.size) >= MIN_SIDE and photo.width * photo.height <= MAX_PIXELS
    if small is None or not is_valid_size or photo.has_transparency_data:
        return []
    turns = _turns(photo, fields)
    photo.draft("RGB", (2 * SIDE, 2 * SIDE))
    whole = open_photo(photo)
    levels, small = min(
        ((_distance(copy, whole), copy) for copy in (turned(small, turn) for turn in turns)),
        key=lambda pair: pair[0],
    )
    if levels < DIFFERENT:
        return []
    if math.isinf(levels):
        mismatch = "has another shape than the photo, which was cut or turned after it was made"
        value = f"{small.width}x{small.height} px"
    else:
        mismatch = "does not match the photo, which was changed after it was made"
        value = f"{levels:.0f} grey levels apart where they differ most"
    return [
        Finding(
            Kind.PREVIEW,
            f"The preview in the file {mismatch}: compare the two.",
            value,
            source="EXIF" if data else "TIFF",
            claim=Claim.EDITED,
            pictures=(("preview", _jpeg(small)), ("photo", _jpeg(whole))),
        )
    ]


def _exif_preview(data: bytes, fields: Image.Exif) -> Image.Image | None:
    """Return the preview in EXIF data, RGB; `None` if there is none."""
    directory = fields.get_ifd(ExifTags.IFD.IFD1) if data else {}
    start = directory.get(ExifTags.Base.JpegIFOffset)
    length = directory.get(ExifTags.Base.JpegIFByteCount)
    if not isinstance(start, int) or not isinstance(length, int) or length <= 0:
        return None
    data = data.removeprefix(b"Exif\0\0")[start : start + length]
    if not data.startswith(b"\xff\xd8"):
        return None
    small = Image.open(io.BytesIO(data), formats=("JPEG",))
    return small.convert("RGB") if _is_preview(small) else None


def _small_page(photo: Image.Image) -> Image.Image | None:
    """Return the small copy of a TIFF file's picture, RGB; `None` if there is none."""
    if not isinstance(photo, TiffImagePlugin.TiffImageFile):
        return None
    try:
        photo.seek(1)
        is_copy = photo.tag_v2.get(ExifTags.Base.NewSubfileType) == 1
        return photo.convert("RGB") if is_copy and _is_preview(photo) else None
    except EOFError:  # there is only one picture
        return None
    finally:
        photo.seek(0)


def _is_preview(small: Image.Image) -> bool:
    return max(small.size) <= MAX_SIDE and min(small.size) >= BLOCKS


def _turns(photo: Image.Image, fields: Image.Exif) -> set[int]:
    """Return the EXIF orientations that a preview may have.

    In a JPEG file it is the photo's. In other formats, programs disagree on whether the preview is
    already upright.
    """
    turn = fields.get(ExifTags.Base.Orientation) or photo.getexif().get(ExifTags.Base.Orientation)
    if isinstance(photo, JpegImagePlugin.JpegImageFile):
        return {turn or 1}
    return {1, turn or 1, photo.info.get("original_orientation") or 1}


def _distance(preview: Image.Image, photo: Image.Image) -> float:
    """Return the `difference` of a preview from the photo; infinite if it has another shape."""
    inner = _without_bars(preview, photo.width / photo.height)
    return math.inf if inner is None else difference(inner, photo)


def _without_bars(small: Image.Image, aspect: float) -> Image.Image | None:
    """Return a preview without the black bars that pad it to 4:3.

    `None` if it has another shape than the photo.

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
    rim = 2  # px: compression smears the picture slightly into the bars
    bars[max(0, top - rim) : bottom + rim, max(0, left - rim) : right + rim] = 0
    return None if bars.max() > BAR else small.crop((left, top, right, bottom))


def difference(preview: Image.Image, photo: Image.Image) -> float:
    """Return the difference of two pictures where they differ most, whatever their brightness.

    Args:
        preview: RGB.
        photo: RGB, of the same shape.

    Returns:
        Root mean square of the difference in grey levels, in that of 8x8 squares that differs most.
    """
    small, whole = (
        np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
        for picture in (preview, photo)
    )
    # A fitted line excuses editors that only brighten a photo, and cameras that brighten previews.
    spread = float(whole.var())
    slope = float(((small - small.mean()) * (whole - whole.mean())).mean()) / max(spread, 1.0)
    residue = small - small.mean() - np.clip(slope, 0.5, 2.0) * (whole - whole.mean())
    step = SIDE // BLOCKS
    squares = (residue**2).reshape(BLOCKS, step, BLOCKS, step).mean(axis=(1, 3))
    return float(np.sqrt(squares.max()))


def _jpeg(picture: Image.Image) -> bytes:
    """Return a picture, shrunk, as a JPEG file without metadata."""
    picture = picture.copy()
    picture.info = {}  # it may reveal the place
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
