"""What the container of a clip says: its encoder, when it was made, a phone's name."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import BinaryIO

if __package__:
    from .findings import Claim, Finding, Kind, clean, quote
    from .known_tools import tool_finding
    from .notes import read_notes
else:
    from findings import Claim, Finding, Kind, clean, quote
    from known_tools import tool_finding
    from notes import read_notes

SOURCE = "The clip"
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
PHOTO_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")  # photos in the same boxes
TOOLS = ("encoder", "software", "com.apple.quicktime.software", "creation_tool", "writer")
CAMERAS = (
    ("com.apple.quicktime.make", "com.apple.quicktime.model"),
    ("com.android.manufacturer", "com.android.model"),
    ("make", "model"),
)
PLACES = ("location", "location-eng", "com.apple.quicktime.location.iso6709")
# Notes that every file of a format has, or that repeat others.
USUAL = {"major_brand", "minor_version", "compatible_brands", "handler_name", "vendor_id"}
USUAL |= {"language", "duration", "timecode", "creation_time", "com.android.version", "date"}
XMP_START, XMP_END = b"<x:xmpmeta", b"</x:xmpmeta>"
MAX_XMP = 1_000_000  # bytes


def clip_format(head: bytes) -> str | None:
    """Return FFmpeg's name for a clip's format, by its first 12 bytes; `None` for other files."""
    if head[4:8] in MP4_BOXES and head[8:12] not in PHOTO_BRANDS:
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    return "avi" if (head[:4], head[8:12]) == (b"RIFF", b"AVI ") else None


def read_clip(file: BinaryIO, kind: str) -> list[Finding]:
    """Return what a clip's container says.

    Args:
        file: open for reading.
        kind: what `clip_format` returned; FFmpeg must not guess, as it takes text for a playlist
            of other files.
    """
    import av

    file.seek(0)
    with av.open(file, format=kind) as container:
        notes = {name.lower(): text for name, text in container.metadata.items()}
        encoders = [stream.metadata.get("encoder") for stream in container.streams]
    named = [notes[name] for name in TOOLS if notes.get(name)]
    named += [name for name in encoders if name]
    findings = [tool_finding(name, SOURCE) for name in dict.fromkeys(named)]
    findings += _camera(notes)
    if made := notes.get("creation_time"):
        when = clean(made, 40)
        sentence = f"{SOURCE} says that it was made {when}."
        findings.append(Finding(Kind.TIME, sentence, when, source=SOURCE))
    if any(notes.get(name) for name in PLACES):
        sentence = f"{SOURCE} contains a location, which is not shown here."
        findings.append(Finding(Kind.PLACE, sentence, "present", source=SOURCE))
    seen = {*USUAL, *TOOLS, *PLACES, *(name for pair in CAMERAS for name in pair)}
    return findings + read_notes(
        {name: text for name, text in notes.items() if name not in seen}, SOURCE
    )


def _camera(notes: Mapping[str, str]) -> list[Finding]:
    for make, model in CAMERAS:
        name = clean(f"{notes.get(make, '')} {notes.get(model, '')}")
        if name:
            sentence = f"{SOURCE} names a camera: {quote(name)}."
            return [Finding(Kind.CAMERA, sentence, name, source=SOURCE, claim=Claim.CAMERA)]
    return []


def clip_xmp(content: bytes | mmap.mmap) -> bytes | None:
    """Return the XMP packet of a clip, found by its tags, as it may stand in several places."""
    start = content.find(XMP_START)
    end = content.find(XMP_END, start, start + MAX_XMP) if start >= 0 else -1
    return bytes(content[start : end + len(XMP_END)]) if end >= 0 else None
