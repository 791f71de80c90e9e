"""From a photo in any common file format to the pixels that the model is shown.

Decoding, orientation, colour order and resizing exist here once: the page, the shell, the training
data and the evaluation all call these functions, so that a model is never served pixels that it was
not trained on.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageChops, PngImagePlugin

try:  # photos of iPhones; programs that never see any do without it
    from pillow_heif import register_heif_opener
except ImportError:
    register_heif_opener = None

# Formats that Pillow decodes by itself; the others (EPS, for instance) start programs or are no
# photos.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
# Of these, several pictures in one file are parts of one photo: gain maps, depth, the other eye.
LAYERED = ("MPO", "HEIF")
MIN_SIDE = 32  # px: below this there is nothing left to judge
MAX_PIXELS = 100_000_000  # decoded, 100 megapixels take 300 MB
# What Pillow's decoders raise for damaged files.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, MemoryError)
DECODING_ERRORS += (RuntimeError, EOFError)
RESAMPLING = Image.Resampling.BICUBIC
# What makes a photo upright, by its EXIF orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A JPEG whose end is missing: what is put there, entropy-coded data that no photo goes on with, and
# how many rows may be lost.
JPEG_SCAN, JPEG_END = b"\xff\xda", b"\xff\xd9"
JPEG_NOISE = bytes(range(1, 200))
LOST_ROWS = 17  # the last row of blocks, and one to which their colours are spread
# px: the finest copy in which faces are looked for has no more.
REDUCED_SIDE = 1440

PhotoSource = str | os.PathLike | bytes | Image.Image | np.ndarray

# Pillow's own guard would refuse at another size than the message below names.
Image.MAX_IMAGE_PIXELS = None
# Nor is a photo damaged whose notes are long: up to what all of them may take together.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
Image.init()  # `Image.open` knows only some of the formats above before
if register_heif_opener:
    register_heif_opener()
    FORMATS += ("HEIF",)
# As people know them.
READABLE = " or ".join(", ".join(FORMATS).rsplit(", ", 1))
READABLE = READABLE.replace("WEBP", "WebP").replace("HEIF", "HEIC")
# How the names of photos end, in lower case; a "MPO" is a JPEG that others follow.
ENDINGS = frozenset(
    ending for ending, kind in Image.registered_extensions().items() if kind in (*FORMATS, "MPO")
)


class PhotoError(ValueError):
    """A photo that cannot be judged; the text says in one sentence what was found and what to
    do."""


def open_photo(source: PhotoSource) -> Image.Image:
    """Decode a photo as everyone sees it: upright, 8 bits a channel, RGB.

    Args:
        source: a path, the bytes of a file, a PIL image, or a `uint8` array `[height, width, 3]` in
            RGB order.

    Returns:
        An RGB image without notes; EXIF orientation is applied, transparency is laid on white,
        16-bit grey is scaled to 8 bits and of an animation the first frame is taken (see
        `animation_note`). Of a JPEG that was cut off, the end of the last rows may be grey.

    Raises:
        PhotoError: the source is missing, no file, empty, no image, damaged, smaller than 32 px or
            larger than 100 megapixels.
    """
    return _open(source, reduce=False)[0]


def open_reduced(source: PhotoSource) -> tuple[Image.Image, float]:
    """Decode a photo as `open_photo` does, but a large JPEG in less time at half its size or a
    quarter, as long as its shorter side keeps `REDUCED_SIDE` px.

    Returns:
        The photo, and how many px of the whole photo lie in one of its px.
    """
    return _open(source, reduce=True)


def animation_note(source: PhotoSource) -> str:
    """Return a sentence that says how much of an animation is looked at; empty for a photo.

    Args:
        source: see `open_photo`; what that refuses has no note.
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
            moves = photo.format not in LAYERED and getattr(photo, "is_animated", False)
        except DECODING_ERRORS:
            return ""
    return "Only the first of the file's pictures was looked at." if moves else ""


def printable(name: str) -> str:
    """Return a file's name as text: bytes of it that are no UTF-8 become `\\xe9` and the like."""
    try:
        return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair that no file system made
        return name.encode(errors="backslashreplace").decode()


def _open(source: PhotoSource, *, reduce: bool) -> tuple[Image.Image, float]:
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        return _decoded(source, reduce=False)  # it is the caller's, and would stay reduced
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
    """Return a photo as its EXIF orientation wants it to be shown; what is none changes nothing."""
    turn = TURNS.get(orientation)
    return photo if turn is None else photo.transpose(turn)


def crop_square(photo: Image.Image) -> Image.Image:
    """Cut the largest centred square out of a photo; nothing is squeezed, so faces keep their
    shape."""
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.crop((left, top, left + side, top + side))


def resize_square(photo: Image.Image, size: int) -> Image.Image:
    """Resize the centred square of a photo to `size` x `size` px, smoothing as it shrinks so that
    nothing aliases."""
    square = crop_square(photo)
    return square if square.width == size else square.resize((size, size), RESAMPLING)


def model_input(photo: Image.Image, size: int) -> np.ndarray:
    """Turn an RGB photo into what the model takes.

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
        warnings.simplefilter("ignore")  # damaged EXIF warns; the pixels are what counts
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
                whole = _ended(photo, file)
                if whole is None:
                    raise
        with whole:
            return _decoded(whole, reduce)


def _ended(photo: Image.Image, file: BinaryIO) -> Image.Image | None:
    """Return a JPEG that lacks no more than its end, with an end; `None` for all others.

    What is missing is grey once there is an end, and something else if noise stands before that: up
    to where the two agree, the photo is all there. A progressive one must agree everywhere and have
    come to its last bits, as what is missing there is not the last rows but the detail of them all.
    """
    if photo.format not in ("JPEG", "MPO") or photo.width * photo.height > MAX_PIXELS:
        return None
    file.seek(0)
    content = file.read()
    try:
        plain, noisy = (
            Image.open(io.BytesIO(content + rest), formats=("JPEG",))
            for rest in (JPEG_END, JPEG_NOISE + JPEG_END)
        )
        differs = ImageChops.difference(plain, noisy).getbbox()
    except DECODING_ERRORS:
        return None
    lost = photo.height - differs[1] if differs else 0
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
    if photo.mode in ("F", "I"):  # 32 bits, of which nobody knows what is white
        raise PhotoError("The photo has pixels without a known range: save it as PNG.")
    photo.load()
    photo = turned(photo, _orientation(photo))
    if photo.mode.startswith("I;16"):  # of grey: convert("RGB") would clip them to white
        photo = Image.fromarray((np.asarray(photo) // 256).astype(np.uint8))
    if photo.has_transparency_data:
        layer = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    upright = photo.convert("RGB")
    upright.info = {}  # parts of it would be turned again, and it may tell the place
    return upright


def _orientation(photo: Image.Image) -> int | None:
    """Return a photo's EXIF orientation; `None` where there is none, or none that can be read."""
    try:
        return photo.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # whatever is wrong with its EXIF data, the pixels are what counts
        return None
