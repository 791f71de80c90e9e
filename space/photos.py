"""Turn a photo in any common file format into the pixels that the model takes.

Decoding, orientation, colour order and resizing exist only here. The page, the shell, the training
data and the evaluation all call these functions, so that a model is served pixels made in the same
way as those that it was trained on.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageChops, PngImagePlugin

try:  # for photos of iPhones; programs that never see any do without it
    from pillow_heif import register_heif_opener
except ImportError:
    register_heif_opener = None

# Formats that Pillow decodes by itself; others (EPS, for instance) start programs or are not for
# photos.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
# Formats whose further pictures belong to the same photo: gain maps, depth, the other eye.
LAYERED = ("MPO", "HEIF")
MIN_SIDE = 32  # px: below this there is nothing left to judge
MAX_PIXELS = 100_000_000  # decoded, 100 megapixels take 300 MB
# What Pillow's decoders raise for damaged files.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, MemoryError)
DECODING_ERRORS += (RuntimeError, EOFError)
RESAMPLING = Image.Resampling.BICUBIC
# The transposition that turns a photo upright, by EXIF orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# For a JPEG whose end is missing: the end marker to append, noise that no photo's data goes on
# with, and how many rows may be lost.
JPEG_SCAN, JPEG_END = b"\xff\xda", b"\xff\xd9"
JPEG_NOISE = bytes(range(1, 200))
LOST_ROWS = 17  # the last row of blocks, and a row that their upsampled chroma reaches
# px: the finest copy in which faces are looked for is no larger.
REDUCED_SIDE = 1440

PhotoSource = str | os.PathLike | bytes | Image.Image | np.ndarray

# Pillow's own limit is not the one that the message below names.
Image.MAX_IMAGE_PIXELS = None
# A long note does not make a photo damaged: one may be as long as all of them together.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
Image.init()  # before that, `Image.open` knows only some of the formats above
if register_heif_opener:
    register_heif_opener()
    FORMATS += ("HEIF",)
# The formats as people know them.
READABLE = " or ".join(", ".join(FORMATS).rsplit(", ", 1))
READABLE = READABLE.replace("WEBP", "WebP").replace("HEIF", "HEIC")
# File name endings of photos, in lower case; an "MPO" is a JPEG that is followed by others.
ENDINGS = frozenset(
    ending for ending, kind in Image.registered_extensions().items() if kind in (*FORMATS, "MPO")
)


class PhotoError(ValueError):
    """A photo that cannot be judged.

    The text says in one sentence what was found and what to do.
    """


def open_photo(source: PhotoSource) -> Image.Image:
    """Decode a photo as people see it: upright, RGB, 8 bits per channel.

    Args:
        source: a path, the bytes of a file, a PIL image, or a `uint8` array `[height, width, 3]` in
            RGB order.

    Returns:
        An RGB image without metadata. EXIF orientation is applied, transparency is put on white,
        16-bit grey is scaled to 8 bits, and an animation yields its first frame (see
        `animation_note`). The last rows of a truncated JPEG may end in grey.

    Raises:
        PhotoError: the source is missing, not a file, empty, not an image, damaged, smaller than
            32 px or larger than 100 megapixels.
    """
    return _open(source, reduce=False)[0]


def open_reduced(source: PhotoSource) -> tuple[Image.Image, float]:
    """Decode a photo as `open_photo` does, but a large JPEG faster and smaller.

    It is reduced to half or a quarter of its size; its shorter side keeps `REDUCED_SIDE` px.

    Returns:
        The photo, and how many px of the whole photo a side of one of its px spans.
    """
    return _open(source, reduce=True)


def animation_note(source: PhotoSource) -> str:
    """Return a sentence that says how much of an animation is judged; empty for a still photo.

    Args:
        source: see `open_photo`; a source that it refuses has no note.
    """
    if isinstance(source, np.ndarray):
        return ""
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            photo = (
                source if isinstance(source, Image.Image) else Image.open(source, formats=FORMATS)
            )
            is_animation = photo.format not in LAYERED and getattr(photo, "is_animated", False)
        except DECODING_ERRORS:
            return ""
    return "Only the first of the file's pictures was looked at." if is_animation else ""


def printable(name: str) -> str:
    """Return a file's name as text; bytes that are not UTF-8 become `\\xe9` and the like."""
    try:
        return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, not from a file system
        return name.encode(errors="backslashreplace").decode()


def _open(source: PhotoSource, *, reduce: bool) -> tuple[Image.Image, float]:
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        return _decoded(source, reduce=False)  # the caller's image would stay reduced
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), reduce)
    try:
        if os.path.exists(source) and not os.path.isfile(source):
            raise PhotoError("The photo is a folder, a pipe or a device: name a file.")
        with open(source, "rb") as file:
            return _decode(file, reduce)
    except PhotoError:
        raise
    except OSError as error:
        raise PhotoError(f"The photo cannot be read ({error.strerror}): check its path.") from error
    except ValueError as error:  # a path with a null byte
        raise PhotoError(f"The photo cannot be read ({error}): check its path.") from error


def turned(photo: Image.Image, orientation: int | None) -> Image.Image:
    """Return a photo turned upright by its EXIF orientation; unchanged if that is invalid."""
    turn = TURNS.get(orientation)
    return photo if turn is None else photo.transpose(turn)


def crop_square(photo: Image.Image) -> Image.Image:
    """Crop the largest centred square of a photo, so that faces keep their shape."""
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.crop((left, top, left + side, top + side))


def resize_square(photo: Image.Image, size: int) -> Image.Image:
    """Resize the centred square of a photo to `size` x `size` px, with antialiasing."""
    square = crop_square(photo)
    return square if square.width == size else square.resize((size, size), RESAMPLING)


def model_input(photo: Image.Image, size: int) -> np.ndarray:
    """Turn an RGB photo into the model's input.

    Returns:
        `float32` array `[size, size, 3]`, RGB, 0 to 255; the network scales it itself.
    """
    return np.asarray(resize_square(photo, size), dtype=np.float32)


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise PhotoError(
            f"The array is {array.dtype} with shape {list(array.shape)}: pass uint8 [height, "
            "width, 3] in RGB order."
        )
    return Image.fromarray(array)


def _decode(file: BinaryIO, reduce: bool) -> tuple[Image.Image, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF warns; only the pixels count
        try:
            photo = Image.open(file, formats=FORMATS)
        except Image.UnidentifiedImageError as error:
            if not file.seek(0, os.SEEK_END):
                raise PhotoError("The file is empty: choose another one.") from error
            raise PhotoError(
                f"The file is not a readable photo: choose a {READABLE} file."
            ) from error
        except DECODING_ERRORS as error:
            raise _damaged(error) from error
        with photo:
            try:
                return _decoded(photo, reduce)
            except PhotoError:
                repaired = _ended(photo, file)
                if repaired is None:
                    raise
        with repaired:
            return _decoded(repaired, reduce)


def _ended(photo: Image.Image, file: BinaryIO) -> Image.Image | None:
    """Return a JPEG that lacks no more than its end, with an end; `None` for all other photos.

    The missing part is decoded as grey if an end marker is appended, and as something else if noise
    comes before the marker: the photo is complete up to where the two differ. With a progressive
    JPEG they must not differ at all, and its last scan must hold the lowest bits: what it lacks is
    not the last rows but the detail of all rows.
    """
    if photo.format not in ("JPEG", "MPO") or photo.width * photo.height > MAX_PIXELS:
        return None
    file.seek(0)
    content = file.read()
    try:
        plain, noisy = (
            Image.open(io.BytesIO(content + ending), formats=("JPEG",))
            for ending in (JPEG_END, JPEG_NOISE + JPEG_END)
        )
        difference = ImageChops.difference(plain, noisy).getbbox()
    except DECODING_ERRORS:
        return None
    lost = photo.height - difference[1] if difference else 0
    if photo.info.get("progressive"):
        scan = content[content.rfind(JPEG_SCAN) + 2 :]
        header = scan[: int.from_bytes(scan[:2])]
        if lost or not header or header[-1] % 16:  # the bits that later scans would add
            return None
    if lost > LOST_ROWS:
        return None
    return Image.open(io.BytesIO(content + JPEG_END), formats=("JPEG",))


def _decoded(photo: Image.Image, reduce: bool) -> tuple[Image.Image, float]:
    try:
        _check_size(photo)
        full = max(photo.size)
        if reduce and photo.format in ("JPEG", "MPO") and min(photo.size) >= 2 * REDUCED_SIDE:
            scale = min(photo.size) // REDUCED_SIDE
            photo.draft(None, (photo.width // scale, photo.height // scale))
        upright = _upright_rgb(photo)
        return upright, full / max(upright.size)
    except PhotoError:
        raise
    except DECODING_ERRORS as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> PhotoError:
    return PhotoError(f"The photo is damaged and cannot be decoded ({error}): save it again.")


def _check_size(photo: Image.Image) -> None:
    width, height = photo.size
    if min(width, height) < MIN_SIDE:
        raise PhotoError(
            f"The photo is {width}x{height} pixels: send one of at least {MIN_SIDE}x{MIN_SIDE}."
        )
    if width * height > MAX_PIXELS:
        raise PhotoError(
            f"The photo has {width * height / 1e6:.1f} megapixels: send one of at most "
            f"{MAX_PIXELS // 10**6}."
        )


def _upright_rgb(photo: Image.Image) -> Image.Image:
    if photo.mode in ("F", "I"):  # 32 bits, with an unknown white level
        raise PhotoError("The photo has pixels without a known range: save it as PNG.")
    photo.load()
    photo = turned(photo, _orientation(photo))
    if photo.mode.startswith("I;16"):  # grey: convert("RGB") would clip it to white
        photo = Image.fromarray((np.asarray(photo) // 256).astype(np.uint8))
    if photo.has_transparency_data:
        layer = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    upright = photo.convert("RGB")
    upright.info = {}  # its EXIF would be applied again, and may reveal the place
    return upright


def _orientation(photo: Image.Image) -> int | None:
    """Return a photo's EXIF orientation; `None` if it is missing or unreadable."""
    try:
        return photo.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # whatever is wrong with the EXIF data, only the pixels count
        return None
