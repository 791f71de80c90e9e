"""Small valid files of every format, from which the mutations start."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import av
import numpy as np
import pillow_heif
from PIL import Image

from tests.drawing import draw_face

PHOTO_SIDE = 72  # px
FRAMES, RATE = 24, 6
# Container format, codec, options of the codec.
CLIPS = {
    "mp4": [
        ("mp4", "libx264", {"g": "4"}),
        ("mp4", "libx264", {"g": "12", "bf": "2", "b_strategy": "0"}),
        ("mp4", "mpeg4", {}),
    ],
    "webm": [("webm", "libvpx", {"deadline": "realtime"})],
}


@cache
def samples(kind: str) -> list[bytes]:
    """Return files of a kind: `"jpeg"`, `"png"`, `"webp"`, `"heic"`, `"mp4"` or `"webm"`."""
    if kind in CLIPS:
        return [_clip(*settings) for settings in CLIPS[kind]]
    return PHOTOS[kind]()


def _photo(kind: str, seed: int = 1, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    draw_face(seed, PHOTO_SIDE).convert(mode).save(file, kind, **options)
    return file.getvalue()


def _jpeg() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        _photo("JPEG", quality=80, exif=exif),
        _photo("JPEG", progressive=True),
        _photo("JPEG", mode="CMYK"),
        _photo("JPEG", restart_marker_blocks=4),
    ]


def _png() -> list[bytes]:
    grey = Image.fromarray(np.asarray(draw_face(1, PHOTO_SIDE).convert("L"), np.uint16) * 257)
    file = io.BytesIO()
    grey.save(file, "PNG")
    # Without compression, damage reaches the pixels and their filters.
    plain = [_photo("PNG", mode=mode, compress_level=0) for mode in ("RGB", "P")]
    return [_photo("PNG"), _photo("PNG", mode="LA"), file.getvalue(), *plain]


def _webp() -> list[bytes]:
    animation = {"save_all": True, "append_images": [draw_face(2, PHOTO_SIDE)]}
    return [_photo("WEBP"), _photo("WEBP", lossless=True), _photo("WEBP", **animation)]


def _heic() -> list[bytes]:
    pillow_heif.register_heif_opener()
    return [_photo("HEIF", quality=60), _photo("HEIF", mode="RGBA", quality=60)]


PHOTOS: dict[str, Callable[[], list[bytes]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "heic": _heic,
}
KINDS = (*PHOTOS, *CLIPS)


@cache
def stranger(kind: str, colour: tuple[int, int, int]) -> list[bytes]:
    """Return clips of a kind that show only a colour that no sample has."""
    return [_clip(*settings, colour) for settings in CLIPS[kind]]


def _clip(
    container: str,
    codec: str,
    options: dict[str, str],
    colour: tuple[int, int, int] | None = None,
) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip.{container}"
        with av.open(str(path), "w", format=container) as output:
            stream = output.add_stream(codec, rate=RATE, options=options)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for number in range(FRAMES):
                picture = np.full((64, 96, 3), colour or 10 * number, np.uint8)
                if colour is None:
                    picture[8:56, 2 * number : 2 * number + 40] = 200
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode())
        return path.read_bytes()
