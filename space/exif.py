"""What the EXIF data of a photo say: camera, software, times, place."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import ExifTags, Image

if __package__:
    from .findings import Claim, Finding, Kind, clean, decoded, quote
    from .known_tools import tool_finding
    from .notes import read_notes
else:
    from findings import Claim, Finding, Kind, clean, decoded, quote
    from known_tools import tool_finding
    from notes import read_notes

SOURCE = "EXIF"
MAX_TEXT = 1_000_000  # bytes of a field that are read
Base, IFD = ExifTags.Base, ExifTags.IFD


def load_exif(data: bytes) -> Image.Exif:
    """Return EXIF bytes as Pillow gives the EXIF data of a photo."""
    exif = Image.Exif()
    exif.load(data)
    return exif


def read_exif(exif: Image.Exif) -> list[Finding]:
    """Return what EXIF data say.

    Args:
        exif: of a photo, as Pillow gives them.
    """
    details = exif.get_ifd(IFD.Exif)
    fields = {
        name: _text(exif.get(tag))
        for name, tag in (
            ("Make", Base.Make),
            ("Model", Base.Model),
            ("Software", Base.Software),
            ("ImageDescription", Base.ImageDescription),
        )
    }
    fields["UserComment"] = user_comment(details.get(Base.UserComment))
    notes = {
        key: fields.pop(name)
        for name in ("Make", "Model")
        for key in ("prompt", "workflow")
        if fields.get(name, "").lower().startswith(f"{key}:")
    }
    notes |= {name: fields[name] for name in ("ImageDescription", "UserComment")}
    findings = read_notes(notes, SOURCE)
    if camera := _camera(fields.get("Make", ""), fields.get("Model", ""), details):
        findings.append(camera)
    if fields["Software"]:
        findings.append(tool_finding(fields["Software"], SOURCE))
    findings += _times(exif, details)
    if ExifTags.GPS.GPSLatitude in exif.get_ifd(IFD.GPSInfo):
        sentence = f"{SOURCE} contains a location (GPS), which is not shown here."
        findings.append(Finding(Kind.PLACE, sentence, "present", source=SOURCE))
    return findings


def _text(value: object) -> str:
    return decoded(value, MAX_TEXT).strip("\0 ") if value is not None else ""


def user_comment(value: object) -> str:
    """Return the text of EXIF's user comment, which begins with the name of its encoding."""
    if not isinstance(value, bytes):
        return _text(value)
    start, rest = value[:8], value[8:MAX_TEXT]
    if start == b"UNICODE\0":
        # The standard leaves the byte order open; ASCII text reveals it.
        encoding = "utf-16-be" if rest[:1] == b"\0" else "utf-16-le"
        return rest.decode(encoding, errors="replace").strip("\0 ")
    is_encoding = start in (b"ASCII\0\0\0", b"JIS\0\0\0\0\0", bytes(8))
    return _text(rest if is_encoding else value)


def _camera(make: str, model: str, details: Mapping[int, object]) -> Finding | None:
    if not make and not model:
        return None
    name = model if model.lower().startswith(make.lower()) else f"{make} {model}"
    lens = _text(details.get(Base.LensModel))
    with_lens = f" with the lens {quote(lens)}" if lens else ""
    return Finding(
        Kind.CAMERA,
        f"{SOURCE} names a camera: {quote(name)}{with_lens}.",
        clean(f"{name}; {lens}" if lens else name),
        source=SOURCE,
        claim=Claim.CAMERA,
    )


def _times(exif: Image.Exif, details: Mapping[int, object]) -> list[Finding]:
    taken = clean(_text(details.get(Base.DateTimeOriginal)), 40)
    written = clean(_text(exif.get(Base.DateTime)), 40)
    if not taken and not written:
        return []
    parts = [f"taken {taken}"] * bool(taken) + [f"written {written}"] * bool(written)
    times = " and ".join(parts)
    changed = ", so the file is not as the camera wrote it" if taken and written > taken else ""
    return [
        Finding(Kind.TIME, f"{SOURCE} says that it was {times}{changed}.", times, source=SOURCE)
    ]
