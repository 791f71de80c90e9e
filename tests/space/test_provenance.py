"""What files say about themselves without a signature: notes, XMP, EXIF, encoding."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import GPS, IFD, Base

from space import provenance
from space.findings import Claim, Finding, Kind, Trust, clean
from space.jpeg_hints import libjpeg_quality
from space.provenance import Provenance, read
from tests.drawing import draw_face

SETTINGS = (
    "portrait of a woman, 35mm\nNegative prompt: blurry\n"
    "Steps: 28, Sampler: DPM++ 2M, CFG scale: 7, Seed: 12, Size: 512x512, Model: photon_v1"
)
GRAPH = json.dumps({"3": {"class_type": "KSampler", "inputs": {"seed": 5}}})
WORKFLOW = json.dumps({"nodes": [{"id": 1, "type": "KSampler"}], "links": []})
JOB = "a man --ar 2:3 --v 6 Job ID: 01234567-89ab-cdef-0123-456789abcdef"
NOVELAI = {"Software": "NovelAI", "Source": "NAI V3", "Comment": '{"prompt": "x", "steps": 28}'}
NOTES = [
    ({"parameters": SETTINGS}, "photon_v1"),
    ({"parameters": '{"sui_image_params": {"prompt": "x"}}'}, "SwarmUI"),
    ({"parameters": '{"prompt": "x"}', "fooocus_scheme": "fooocus"}, "Fooocus"),
    ({"prompt": GRAPH, "workflow": WORKFLOW}, "ComfyUI"),
    ({"workflow": WORKFLOW}, "ComfyUI"),
    ({"invokeai_metadata": '{"positive_prompt": "x"}'}, "InvokeAI"),
    ({"Dream": '"x" -s50 -S12'}, "InvokeAI"),
    (NOVELAI, "NovelAI"),
    ({"Description": JOB, "Author": "someone"}, "Midjourney"),
    ({"Software": "DALL·E 3"}, "DALL·E 3"),
    ({"Software": "OpenAI gpt-image-1"}, "gpt-image-1"),
]
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
PACKET = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
 xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:dcterms="http://purl.org/dc/terms/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" {attributes}>{elements}
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def xmp(attributes: str = "", elements: str = "") -> bytes:
    return PACKET.format(attributes=attributes, elements=elements).encode()


def as_file(photo: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    photo.save(file, format, **options)
    return file.getvalue()


def png(notes: dict[str, str], *, packed: bool = False) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in notes.items():
        info.add_itxt(name, text, zip=packed)
    return as_file(draw_face(1), "PNG", pnginfo=info)


def exif_of(fields: dict[int, object], details: dict[int, object] | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif.update(fields)
    exif.get_ifd(IFD.Exif).update(details or {})
    return exif


def write_clip(path: Path, notes: dict[str, str] | None = None) -> Path:
    """Write a clip of half a second with notes in its container; return its path."""
    options = {"movflags": "use_metadata_tags"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        container.metadata.update(notes or {})
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 * number, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def said(found: Provenance, kind: Kind) -> list[Finding]:
    return [finding for finding in found.findings if finding.kind == kind]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF"])
def test_a_file_that_says_nothing_is_unknown_and_no_evidence(format):
    found = read(as_file(draw_face(1), format))
    assert found.findings[0].kind == Kind.CREDENTIALS
    assert found.findings[0].trust == Trust.UNKNOWN
    assert "most photos do not" in found.findings[0].sentence
    assert found.statement is None
    assert found.summary == "unknown"
    assert not said(found, Kind.UNREADABLE)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("notes", "name"), NOTES)
def test_a_generators_notes_in_a_png_are_recognised(notes, name, packed):
    found = read(png(notes, packed=packed))
    generator = said(found, Kind.GENERATOR)[0]
    assert name in generator.sentence
    assert (generator.claim, generator.trust) == (Claim.AI, Trust.ANYBODY)
    assert found.summary == "made by AI (written by anybody)"


def test_plain_and_packed_latin_text_chunks_are_read():
    for packed in (False, True):
        info = PngImagePlugin.PngInfo()
        info.add_text("parameters", SETTINGS, zip=packed)
        found = read(as_file(draw_face(1), "PNG", pnginfo=info))
        assert said(found, Kind.GENERATOR)


def test_notes_behind_the_picture_are_read():
    content = png({"parameters": SETTINGS})
    start = content.index(b"iTXt") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    moved = content[:start] + content[end:-12] + content[start:end] + content[-12:]
    assert read(moved).findings == read(content).findings


def test_a_note_that_no_generator_wrote_is_shown_as_it_is():
    found = read(png({"Title": "Holiday", "Comment": "Steps: down to the beach"}))
    assert found.statement is None
    assert {finding.value for finding in said(found, Kind.SOFTWARE)} == {
        "Holiday",
        "Steps: down to the beach",
    }


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
def test_a_generators_notes_in_an_exif_comment_are_recognised(format, encoding):
    comment = b"UNICODE\0" + SETTINGS.encode(encoding)
    exif = exif_of({Base.Artist: "somebody"}, {Base.UserComment: comment})
    generator = said(read(as_file(draw_face(1), format, exif=exif)), Kind.GENERATOR)[0]
    assert "photon_v1" in generator.sentence
    assert generator.source == "EXIF"


def test_comfyuis_notes_in_the_camera_fields_of_a_webp_are_no_camera():
    exif = exif_of({Base.Make: f"workflow:{WORKFLOW}", Base.Model: f"prompt:{GRAPH}"})
    found = read(as_file(draw_face(1), "WEBP", exif=exif))
    assert "ComfyUI" in said(found, Kind.GENERATOR)[0].sentence
    assert not said(found, Kind.CAMERA)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF", "AVIF", "HEIF", "PNG"])
def test_the_digital_source_type_is_read_in_every_format(format):
    packet = xmp(f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}trainedAlgorithmicMedia"')
    if format == "PNG":
        content = png({"XML:com.adobe.xmp": packet.decode()})
    elif format == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[700] = packet
        content = as_file(draw_face(1), "TIFF", tiffinfo=tags)
    else:
        content = as_file(draw_face(1), format, xmp=packet)
    origin = said(read(content), Kind.ORIGIN)
    assert [finding.sentence for finding in origin] == ["XMP states: made by AI."]


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("compositeWithTrainedAlgorithmicMedia", Claim.PARTLY_AI),
        ("digitalCapture", Claim.CAMERA),
        ("humanEdits", Claim.EDITED),
        ("screenCapture", Claim.NOTHING),
    ],
)
def test_source_types_are_told_apart(name, claim):
    element = f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}{name}</Iptc4xmpExt:DigitalSourceType>"
    found = read(as_file(draw_face(1), "JPEG", xmp=xmp(elements=element)))
    assert [finding.claim for finding in said(found, Kind.ORIGIN)] == [claim]


def test_an_editors_history_is_told_in_its_order():
    packet = xmp(
        'xmp:CreatorTool="Adobe Photoshop 25.0 (Windows)" xmp:CreateDate="2024-05-01T10:00:00"',
        "<xmpMM:History><rdf:Seq>"
        '<rdf:li stEvt:action="created" stEvt:softwareAgent="Adobe Photoshop 25.0"/>'
        '<rdf:li rdf:parseType="Resource"><stEvt:action>saved</stEvt:action>'
        "<stEvt:when>2024-05-02</stEvt:when></rdf:li></rdf:Seq></xmpMM:History>"
        "<photoshop:DocumentAncestors><rdf:Bag><rdf:li>xmp.did:1</rdf:li><rdf:li>xmp.did:2</rdf:li>"
        "</rdf:Bag></photoshop:DocumentAncestors><photoshop:TextLayers><rdf:Seq>"
        '<rdf:li photoshop:LayerName="headline"/></rdf:Seq></photoshop:TextLayers>',
    )
    found = read(as_file(draw_face(1), "JPEG", xmp=packet))
    text = " ".join(finding.sentence for finding in said(found, Kind.EDITING))
    assert "“Adobe Photoshop 25.0 (Windows)”, an editor" in text
    assert "a history of 2 steps, the last first: saved at 2024-05-02, created with" in text
    assert "content of 2 other documents was pasted" in text
    assert "“headline”" in text
    assert "2024-05-01T10:00:00" in said(found, Kind.TIME)[0].sentence
    assert found.summary == "edited (written by anybody)"


def test_credentials_at_another_address_are_named():
    packet = xmp('dcterms:provenance="https://example.org/manifest.c2pa"')
    found = read(as_file(draw_face(1), "JPEG", xmp=packet))
    (credentials,) = said(found, Kind.CREDENTIALS)
    assert "example.org" in credentials.sentence
    assert "not fetched" in credentials.sentence


def test_exif_names_camera_software_and_times():
    exif = exif_of(
        {
            Base.Make: "Canon",
            Base.Model: "Canon EOS R5",
            Base.Software: "FaceApp 11",
            Base.DateTime: "2024:03:01 10:00:00",
        },
        {Base.DateTimeOriginal: "2023:01:01 09:00:00", Base.LensModel: "RF50mm"},
    )
    found = read(as_file(draw_face(1), "JPEG", exif=exif))
    assert "“Canon EOS R5” with the lens “RF50mm”" in said(found, Kind.CAMERA)[0].sentence
    assert "changes faces" in said(found, Kind.EDITING)[0].sentence
    assert "not as the camera wrote it" in said(found, Kind.TIME)[0].sentence
    assert found.summary == "edited (written by anybody)"


def test_a_place_is_said_to_be_there_and_never_shown():
    exif = exif_of({})
    exif.get_ifd(IFD.GPSInfo).update({GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (48.0, 51.0, 29.6)})
    found = read(as_file(draw_face(1), "JPEG", exif=exif))
    assert "which is not shown" in said(found, Kind.PLACE)[0].sentence
    assert "48" not in json.dumps(found.to_json())


def preview_exif(preview: bytes, orientation: int = 1) -> bytes:
    """Return EXIF data with a preview, which Pillow cannot write."""
    first = struct.pack("<HHHIHHI", 1, Base.Orientation, 3, 1, orientation, 0, 26)
    offset = 26 + 2 + 2 * 12 + 4
    second = struct.pack("<HHHII", 2, Base.JpegIFOffset, 4, 1, offset)
    second += struct.pack("<HHIII", Base.JpegIFByteCount, 4, 1, len(preview), 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + second + preview


def with_preview(photo: Image.Image, preview: Image.Image, orientation: int = 1) -> bytes:
    small = as_file(preview, "JPEG", quality=70)
    return as_file(photo, "JPEG", quality=90, exif=preview_exif(small, orientation))


def on_bars(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    canvas = Image.new("RGB", size)
    canvas.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return canvas


def test_a_preview_that_shows_the_photo_is_no_finding():
    photo = draw_face(3, 480)
    wide = photo.crop((0, 100, 480, 420))  # 3:2, while most cameras write previews of 4:3
    for content in (
        with_preview(photo, photo.resize((160, 160))),
        with_preview(photo, photo.resize((160, 160)), orientation=6),
        with_preview(wide, on_bars(wide.resize((160, 107)), (160, 120))),
    ):
        assert not said(read(content), Kind.PREVIEW)


def test_a_preview_of_another_face_is_shown_beside_the_photo():
    before, after = draw_face(3, 480), draw_face(3, 480)
    after.paste(draw_face(9, 480, tinted=True).crop((150, 150, 330, 330)), (150, 150))
    preview = said(read(with_preview(after, before.resize((160, 160)))), Kind.PREVIEW)[0]
    names, files = zip(*preview.pictures, strict=True)
    assert names == ("preview", "photo")
    shown = [np.asarray(Image.open(io.BytesIO(file)).convert("L"), float) for file in files]
    assert shown[0].shape == (160, 160)
    assert all(b"Exif" not in file for file in files)
    assert preview.claim == Claim.EDITED


def test_a_preview_from_before_the_photo_was_cut_is_a_finding():
    photo = draw_face(3, 480)
    content = with_preview(photo.crop((0, 0, 480, 300)), photo.resize((160, 160)), orientation=6)
    preview = said(read(content), Kind.PREVIEW)[0]
    assert "another shape" in preview.sentence
    upright = Image.open(io.BytesIO(preview.pictures[1][1]))
    assert upright.height > upright.width


def with_exif(photo: Image.Image, format: str, exif: bytes) -> bytes:
    """Return a file with EXIF data; in a PNG, they follow the picture."""
    if format != "PNG":
        return as_file(photo, format, exif=exif)
    content, data = as_file(photo, "PNG"), exif.removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(data)) + b"eXIf" + data
    return content[:-12] + chunk + struct.pack(">I", zlib.crc32(chunk[4:])) + content[-12:]


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "HEIF"])
def test_previews_of_other_formats_are_compared(format, orientation):
    photo = draw_face(3, 300).crop((0, 0, 300, 240))
    flipped = Image.fromarray(np.asarray(photo)[::-1])
    for shown, findings in ((photo, 0), (flipped, 1)):
        small = as_file(shown.resize((160, 128)), "JPEG")
        content = with_exif(photo, format, preview_exif(small, orientation))
        assert len(said(read(content), Kind.PREVIEW)) == findings


def test_the_small_copy_in_a_tiff_is_compared():
    photo = draw_face(3, 300)
    for shown, is_copy, findings in ((photo, 1, 0), (draw_face(9, 300), 1, 1), (photo, 0, 0)):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[Base.NewSubfileType] = is_copy
        file = io.BytesIO()
        with TiffImagePlugin.AppendingTiffWriter(file) as pages:
            photo.save(pages, "TIFF")
            pages.newFrame()
            shown.resize((96, 96)).save(pages, "TIFF", tiffinfo=tags)
            pages.newFrame()
        assert len(said(read(file.getvalue()), Kind.PREVIEW)) == findings


@pytest.mark.parametrize("quality", [20, 50, 75, 90, 95, 100])
def test_the_quality_at_which_libjpeg_wrote_a_file_is_told(quality):
    content = as_file(draw_face(1), "JPEG", quality=quality, subsampling="4:2:0")
    assert libjpeg_quality(Image.open(io.BytesIO(content)).quantization[0]) == quality
    (encoding,) = said(read(content), Kind.ENCODING)
    assert f"quality {quality}," in encoding.sentence
    assert "4:2:0" in encoding.sentence
    assert encoding.claim == Claim.NOTHING


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def add_segments(content: bytes, *segments: bytes) -> bytes:
    return content[:2] + b"".join(segments) + content[2:]


def test_marks_of_photoshop_in_a_jpeg_are_hints():
    odd = as_file(draw_face(1), "JPEG", qtables=[list(range(1, 65))] * 2)
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01")
    (encoding,) = said(read(add_segments(odd, adobe)), Kind.ENCODING)
    assert "Adobe's mark" in encoding.sentence
    ducky = segment(0xEC, b"Ducky\0\x01\0\x04\0\0\0\x3c\0\0")
    (encoding,) = said(read(add_segments(odd, ducky, adobe)), Kind.ENCODING)
    assert "Save for Web" in encoding.sentence
    (encoding,) = said(read(odd), Kind.ENCODING)
    assert "cameras and some editors" in encoding.sentence
    assert read(add_segments(odd, ducky, adobe)).statement is None  # a hint states nothing


def extended(packet: bytes, name: str, *, missing: bool = False) -> list[bytes]:
    """Return the segments in which a JPEG file holds XMP of more than 64 KB, in reverse order."""
    offsets = range(0, len(packet), 65_000)
    parts = [
        segment(
            0xE1,
            b"http://ns.adobe.com/xmp/extension/\0"
            + name.encode()
            + struct.pack(">II", len(packet), offset)
            + packet[offset : offset + 65_000],
        )
        for offset in offsets
    ]
    return parts[:0:-1] if missing else parts[::-1]


def test_xmp_that_goes_on_in_other_segments_of_a_jpeg_is_read():
    name = "0123456789ABCDEF0123456789ABCDEF"
    first = xmp(f'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{name}"')
    items = "<rdf:li>xmp.did:1234567890</rdf:li>" * 5000
    second = xmp(
        elements=f"<photoshop:DocumentAncestors><rdf:Bag>{items}</rdf:Bag>"
        "</photoshop:DocumentAncestors>"
    )
    photo = as_file(draw_face(1), "JPEG", xmp=first)
    (editing,) = said(read(add_segments(photo, *extended(second, name))), Kind.EDITING)
    assert "other documents was pasted" in editing.sentence
    damaged = read(add_segments(photo, *extended(second, name, missing=True)))
    (unreadable,) = said(damaged, Kind.UNREADABLE)
    assert "parts of it are missing" in unreadable.value
    mismatched = add_segments(photo, *extended(second, name[::-1]))
    assert not said(read(mismatched), Kind.EDITING)


def photoshop(*resources: tuple[int, bytes]) -> bytes:
    blocks = b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + b"\0" * (len(data) % 2)
        for number, data in resources
    )
    return segment(0xED, b"Photoshop 3.0\0" + blocks)


def test_photoshops_resources_tell_of_layers_and_programs():
    content = as_file(draw_face(1), "JPEG")
    program = b"\x1c\x02\x41\0\x0aSnapseed 2"
    found = read(add_segments(content, photoshop((0x0402, bytes(6)), (0x0404, program))))
    text = " ".join(finding.sentence for finding in said(found, Kind.EDITING))
    assert "3 layers" in text
    assert "“Snapseed 2”" in text
    found = read(add_segments(content, photoshop((0x0406, bytes(7)))))
    assert "Photoshop's resources" in said(found, Kind.SOFTWARE)[0].sentence


def test_photoshops_layers_in_a_tiff_are_a_finding():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[37724] = 7
    tags[37724] = b"Adobe Photoshop Document Data Block\0"
    found = read(as_file(draw_face(1), "TIFF", tiffinfo=tags))
    assert "layers" in said(found, Kind.EDITING)[0].sentence


@pytest.mark.parametrize("format", ["JPEG", "GIF"])
def test_a_comment_is_read(format):
    found = read(as_file(draw_face(1), format, comment=SETTINGS.encode()))
    assert said(found, Kind.GENERATOR)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
def test_a_clips_encoder_is_told(tmp_path, suffix):
    found = read(write_clip(tmp_path / f"clip{suffix}"))
    assert any("Lavf" in finding.sentence for finding in said(found, Kind.SOFTWARE))
    assert found.statement is None
    assert not said(found, Kind.UNREADABLE)


def test_a_clip_tells_its_time_camera_place_and_generator(tmp_path):
    notes = {
        "creation_time": "2024-05-01T10:00:00Z",
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.model": "iPhone 15",
        "com.apple.quicktime.location.ISO6709": "+48.8583+002.2944/",
        "comment": f'{{"prompt": "a", "workflow": {WORKFLOW}}}',
        "prompt": GRAPH,
    }
    found = read(write_clip(tmp_path / "clip.mp4", notes))
    assert "2024-05-01T10:00:00" in said(found, Kind.TIME)[0].sentence
    assert "“Apple iPhone 15”" in said(found, Kind.CAMERA)[0].sentence
    assert "48.8583" not in json.dumps(found.to_json())
    assert said(found, Kind.PLACE)
    assert "ComfyUI" in said(found, Kind.GENERATOR)[0].sentence


def test_a_clips_xmp_is_read(tmp_path):
    path = write_clip(tmp_path / "clip.mp4")
    packet = xmp('xmp:CreatorTool="Adobe Premiere Pro 2024"')
    box = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + packet
    path.write_bytes(path.read_bytes() + struct.pack(">I4s", len(box) + 8, b"uuid") + box)
    assert "Adobe Premiere" in said(read(path), Kind.EDITING)[0].sentence


def test_a_path_and_its_content_say_the_same(tmp_path):
    content = png({"parameters": SETTINGS})
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    assert read(path) == read(str(path)) == read(content)


def test_what_cannot_be_read_is_a_finding(tmp_path, monkeypatch):
    text = tmp_path / "note.txt"
    text.write_text("hello")
    for source in (tmp_path / "none.jpg", tmp_path, "\0", b"", text, text.read_bytes()):
        found = read(source)
        assert said(found, Kind.UNREADABLE)
        assert found.summary == "unknown"
    monkeypatch.setattr(provenance, "MAX_BYTES", 4)
    assert "up to" in said(read(text), Kind.UNREADABLE)[0].value


def test_json_holds_everything_but_the_pictures():
    before, after = draw_face(3, 480), draw_face(12, 480, tinted=True)
    found = read(with_preview(after, before.resize((160, 160))))
    answer = json.loads(json.dumps(found.to_json()))
    assert len(answer) == len(found.findings)
    assert {frozenset(finding) for finding in answer} == {
        frozenset(("kind", "sentence", "value", "trust", "source", "claim"))
    }


def test_text_from_files_is_made_safe():
    assert clean("a\u202egpj.exe\u0000b\u200bc\n\td") == "a gpj.exe b c d"
    assert clean("“x”") == '"x"'
    assert clean("x" * 50, 10) == "x" * 9 + "…"
    assert clean("שלום العربية 你好") == "שלום العربية 你好"


def test_libraries_for_rare_files_are_loaded_with_the_first_of_them(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(as_file(draw_face(1), "JPEG"))
    code = (
        "import sys, provenance; provenance.read(sys.argv[1]);"
        "print({'c2pa', 'av', 'cryptography'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=Path(provenance.__file__).parent,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "set()", result.stderr
