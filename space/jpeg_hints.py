"""Guess from how a JPEG file is encoded which kind of program wrote it last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import JpegImagePlugin

if __package__:
    from .findings import Finding, Kind
else:
    from findings import Finding, Kind

SOURCE = "JPEG"
CHROMA = {-1: "", 0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
DUCKY = b"Ducky"  # begins the segment that Photoshop's "Save for Web" writes
# Luminance table of Annex K of the JPEG standard, row by row; libjpeg scales it by the quality.
STANDARD = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
])  # fmt: skip


def read_encoding(photo: JpegImagePlugin.JpegImageFile) -> list[Finding]:
    """Return what a JPEG file's encoding reveals about the program that wrote it.

    Args:
        photo: opened; it is not decoded here.
    """
    tables = photo.quantization
    if 0 not in tables or len(tables[0]) != 64:
        return []
    chroma = CHROMA.get(JpegImagePlugin.get_sampling(photo), "")
    quality = libjpeg_quality(tables[0])
    by_adobe = "adobe" in photo.info
    for_web = any(data.startswith(DUCKY) for _, data in photo.applist)
    if for_web:
        words = "as Photoshop's “Save for Web” does"
    elif quality is not None:
        words = f"as libjpeg does at quality {quality}, like most programs and web services"
    elif by_adobe:
        words = "with tables of its own and Adobe's mark, as Photoshop and its kin do"
    else:
        words = "with tables of its own, as cameras and some editors do"
    chroma_note = f", chroma {chroma}" if chroma else ""
    value = f"quality {quality or 'unknown'}; chroma {chroma or 'none'}; adobe {by_adobe}"
    sentence = f"The file was last written {words}{chroma_note}. That is a hint, no proof."
    return [Finding(Kind.ENCODING, sentence, value, source=SOURCE)]


def libjpeg_quality(table: Sequence[int]) -> int | None:
    """Return the quality, 1 to 100, at which libjpeg writes a luminance table.

    `None` for a table that it never writes.

    Args:
        table: 64 numbers, row by row, as Pillow returns them.
    """
    target = np.asarray(table)
    for quality in range(100, 0, -1):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        if np.array_equal(((STANDARD * scale + 50) // 100).clip(1, 255), target):
            return quality
    return None
