"""Hostile files cause no crash and no flood of text, and show nothing that deceives the eye."""

from __future__ import annotations

import json
import random
import struct
import unicodedata
import zlib

import pytest
from PIL.ExifTags import Base

from space.findings import Kind
from space.provenance import Provenance, read
from space.provenance_views import provenance_html
from tests.drawing import draw_face
from tests.signing import make_identity, sign, statement
from tests.space.test_provenance import (
    GRAPH,
    SETTINGS,
    add_segments,
    as_file,
    exif_of,
    photoshop,
    png,
    said,
    with_preview,
    write_clip,
    xmp,
)

MUTATIONS = 300
HOSTILE = "<script>alert(1)</script>\"'&\u202e\u0000\u200bgnp.exe” “\u0007\n"


def check(found: Provenance) -> None:
    """Assert what holds for every file."""
    assert found.findings
    assert found.findings[0].kind == Kind.CREDENTIALS or found.findings[-1].kind == Kind.UNREADABLE
    answer = json.dumps(found.to_json())
    assert len(answer) < 200_000
    text = "".join(finding.sentence + finding.value for finding in found.findings)
    assert not [character for character in text if unicodedata.category(character)[0] == "C"]
    assert "<script" not in provenance_html(found)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(*chunks: bytes) -> bytes:
    content = as_file(draw_face(1), "PNG")
    return content[:33] + b"".join(chunks) + content[33:]


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"tEXt", b"Comment\0" + b"x" * 10_000_000),
        png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes([65]) * 50_000_000)),
        png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes([65]) * 50_000_000)),
        png_chunk(b"zTXt", b"Comment\0\0no zlib data"),
        png_chunk(b"tEXt", b"prompt\0" + b'{"a":' * 100_000),
        png_chunk(b"tEXt", b"prompt\0" + b"[" * 900_000),
        struct.pack(">I", 0xFFFFFFF0) + b"tEXtComment\0x",
        b"".join(png_chunk(b"tEXt", b"note %d\0x" % number) for number in range(5000)),
        b"".join(
            png_chunk(b"zTXt", b"n%d\0\0" % number + zlib.compress(bytes([65]) * 1_000_000))
            for number in range(200)
        ),
    ],
    ids=["long", "packed", "packed itxt", "damaged", "deep", "deeper", "cut off", "many", "bombs"],
)
def test_notes_of_a_png_that_flood_are_cut_short(chunk):
    check(read(with_chunks(chunk, png_chunk(b"tEXt", b"Software\0GIMP 2.10"))))


def test_a_note_behind_a_flood_is_still_read():
    flood = png_chunk(b"tEXt", b"Comment\0" + b"x" * 10_000_000)
    found = read(with_chunks(flood, png_chunk(b"tEXt", b"Software\0GIMP 2.10")))
    assert "GIMP" in said(found, Kind.EDITING)[0].sentence


ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (f'<!DOCTYPE x [<!ENTITY e0 "x">{ENTITIES}]><x>&e9;</x>'.encode(), "entities"),
        (b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>', "entities"),
        (b"<a>" * 100_000, "nested"),
        (b"<a>" + b"x" * 1_100_000, "MB"),
        (b"\x00\x01\x02", "XML"),
    ],
    ids=["bomb", "file", "deep", "large", "no XML"],
)
def test_hostile_xmp_is_refused_with_a_reason(packet, reason):
    content = png({"XML:com.adobe.xmp": "x"})
    chunk = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    found = read(with_chunks(chunk))
    check(found)
    if len(packet) <= 1_000_000:
        assert reason in said(found, Kind.UNREADABLE)[0].value
    assert read(content).findings


def test_no_text_of_a_file_becomes_part_of_the_page():
    packet = xmp(f'xmp:CreatorTool="{"&lt;img src=x onerror=alert(1)&gt;"}"')
    exif = exif_of({Base.Make: HOSTILE, Base.Software: HOSTILE, Base.ImageDescription: HOSTILE})
    for content in (
        png({"Software": HOSTILE, "<script>x": "x", "parameters": SETTINGS}),
        as_file(draw_face(1), "JPEG", exif=exif, comment=HOSTILE.encode(), xmp=packet),
        sign(
            as_file(draw_face(1), "JPEG"),
            "image/jpeg",
            make_identity("<b>Sig\u202ener</b>"),
            statement(generator="<i>Paint</i>\u200b"),
        ),
    ):
        found = read(content)
        check(found)
        html = provenance_html(found)
        assert "&lt;" in html
        for tag in ("<script", "<img src=x", "<b>Sig", "<i>"):
            assert tag not in html


def test_names_from_right_to_left_are_kept_apart():
    found = read(png({"Software": "תוכנה", "Title": "صورة"}))
    check(found)
    assert "“<bdi>תוכנה</bdi>”" in provenance_html(found)


def test_damaged_files_neither_crash_nor_hang(tmp_path):
    """Damage is named, and what can still be read is read."""
    face = draw_face(1)
    exif = exif_of({Base.Make: "Canon", Base.Software: "GIMP"}, {Base.UserComment: b"ASCII\0\0\0x"})
    signer = make_identity()
    clip = write_clip(tmp_path / "clip.mp4", {"comment": "note", "prompt": GRAPH}).read_bytes()
    jpeg = with_preview(face, face.resize((48, 48)))
    originals = [
        sign(as_file(face, "JPEG"), "image/jpeg", signer, statement()),
        sign(png({"parameters": SETTINGS}, packed=True), "image/png", signer, statement()),
        sign(clip, "video/mp4", signer, statement()),
        as_file(face, "WEBP", exif=exif, xmp=xmp('xmp:CreatorTool="GIMP"')),
        as_file(face, "TIFF", exif=exif),
        as_file(face, "HEIF", exif=exif.tobytes()),
        add_segments(jpeg, photoshop((0x0402, bytes(6)), (0x0404, b"\x1c\x02\x41\0\4GIMP"))),
        write_clip(tmp_path / "clip.mkv").read_bytes(),
    ]
    dice = random.Random(26)
    for number in range(MUTATIONS):
        check(read(mutated(originals[number % len(originals)], dice)))


def mutated(content: bytes, dice: random.Random) -> bytes:
    """Return the file with bytes changed, removed, repeated or cut off, mostly near its start."""
    damaged = bytearray(content)
    # Containers and notes come first.
    end = len(damaged) if dice.random() < 0.3 else min(len(damaged), 3000)
    for _ in range(dice.choice((1, 3, 20))):
        offset = dice.randrange(4, end)
        match dice.randrange(5):
            case 0 | 1:
                damaged[offset : offset + 1] = bytes([dice.randrange(256)])
            case 2:
                damaged[offset : offset + 4] = dice.choice((b"\xff\xff\xff\xff", bytes(4)))
            case 3:
                del damaged[offset : offset + dice.randrange(1, 50)]
            case _:
                damaged[offset:offset] = damaged[offset : offset + dice.randrange(1, 50)]
        end = min(end, len(damaged) - 4)
        if end <= 4:
            break
    if dice.random() < 0.2:
        del damaged[dice.randrange(1, len(damaged)) :]
    return bytes(damaged)
