"""Read the text that programs leave in photos; generators write their prompt there.

It stands in text chunks of PNG files, in comments, in EXIF fields and in Photoshop's resources.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import BinaryIO

from PIL import TiffImagePlugin

if __package__:
    from .findings import Claim, Finding, Kind, clean, decoded, quote
    from .known_tools import tool_finding
else:
    from findings import Claim, Finding, Kind, clean, decoded, quote
    from known_tools import tool_finding

PNG_START = b"\x89PNG\r\n\x1a\n"
XMP_KEY = "XML:com.adobe.xmp"
MAX_TEXT = 1_000_000  # bytes read of a note, after decompression
MAX_CHUNKS = 20_000  # read of a PNG file
MAX_TEXTS = 8_000_000  # characters of all notes of a PNG file
MAX_NOTES = 50
MAX_JSON = 200_000  # characters

# What the notes of all Stable Diffusion programs contain, whatever their key.
SETTINGS = re.compile(r"\bSteps: \d+.{0,300}\b(Sampler|CFG scale|Seed): ", re.DOTALL)
MODEL = re.compile(r"\bModel: ([^,\n]{1,100})")
JOB = re.compile(r"\bJob ID: [0-9a-f]{8}-[0-9a-f]{4}-", re.IGNORECASE)
# Keys that only one program writes, in lower case.
KEYS = {
    "invokeai_metadata": "InvokeAI",
    "invokeai_graph": "InvokeAI",
    "invokeai_workflow": "InvokeAI",
    "sd-metadata": "InvokeAI",
    "dream": "InvokeAI",
    "fooocus_scheme": "Fooocus",
    "generation_data": "TensorArt or Draw Things",
    "sui_image_params": "SwarmUI",
}
TOOL_KEYS = ("software", "creator_tool", "creator tool", "generator", "make", "model")
# Photoshop's resources (https://www.adobe.com/devnet-apps/photoshop/fileformatashtml/).
LAYER_GROUPS = 0x0402  # two bytes for each layer
IPTC_RESOURCE = 0x0404
PHOTOSHOP_LAYERS = 37724  # tag of a TIFF file
IPTC_PROGRAM = b"\x1c\x02\x41"  # "originating program" of the IPTC's older notes


def read_png(file: BinaryIO) -> tuple[dict[str, str], bytes]:
    """Return the notes of a PNG file and its EXIF data, without decoding its picture.

    Pillow reads chunks behind the picture only after decoding it, and rejects the whole file if a
    note is too large.

    Args:
        file: open for reading, at any position.

    Returns:
        Text by keyword (the first one if a keyword repeats), and the EXIF data, empty if there are
        none.
    """
    notes: dict[str, str] = {}
    exif = b""
    room = MAX_TEXTS
    file.seek(len(PNG_START))
    for _ in range(MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8 or header[4:] == b"IEND" or room < 0:
            break
        length = int.from_bytes(header[:4], "big")
        next_chunk = file.tell() + length + 4
        if header[4:] == b"eXIf":
            exif = exif or file.read(min(length, MAX_TEXT))
        elif header[4:] in (b"tEXt", b"zTXt", b"iTXt"):
            name, text = _png_text(header[4:], file.read(min(length, MAX_TEXT)))
            if name not in notes:
                notes[name] = text
                room -= len(text)
        file.seek(next_chunk)
    return notes, exif


def _png_text(kind: bytes, data: bytes) -> tuple[str, str]:
    """Return the keyword and text of a PNG chunk; the text is empty if it is damaged."""
    keyword, _, rest = data.partition(b"\0")
    compressed = kind == b"zTXt"
    if compressed:
        rest = rest[1:]
    elif kind == b"iTXt":
        compressed = rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # after language and translation
    if compressed:
        try:
            rest = zlib.decompressobj().decompress(rest, MAX_TEXT)
        except zlib.error:
            rest = b""
    return keyword.decode("latin-1"), decoded(rest, MAX_TEXT)


def read_notes(notes: Mapping[str, str], source: str) -> list[Finding]:
    """Return what a file's notes say.

    Args:
        notes: text by keyword.
        source: what to call the part of the file that holds them, `"PNG text"` for instance.
    """
    text_by_key = {name.lower(): text for name, text in notes.items() if text}
    findings = _comfyui(text_by_key, source) + _novelai(text_by_key, source)
    for name, text in list(notes.items())[:MAX_NOTES]:
        if not text or any(clean(text) == finding.value for finding in findings):
            continue
        if finding := _generator_note(name, text, source):
            findings.append(finding)
        elif name.lower() in TOOL_KEYS:
            findings.append(tool_finding(text, f"{source}, {quote(name)},"))
        elif name not in (XMP_KEY, "prompt", "workflow"):
            findings.append(_plain_note(name, text, source))
    return findings


def _made_by(program: str, text: str, source: str, more: str = "") -> Finding:
    return Finding(
        Kind.GENERATOR,
        f"{source} holds the settings with which {program} makes pictures by AI{more}.",
        clean(text),
        source=source,
        claim=Claim.AI,
    )


def _generator_note(name: str, text: str, source: str) -> Finding | None:
    """Return what a generator's note says; `None` for any other note."""
    if SETTINGS.search(text[:MAX_JSON]):
        model = MODEL.search(text[:MAX_JSON])
        model_note = f", with the model {quote(model[1])}" if model else ""
        return _made_by("a Stable Diffusion program", text, source, model_note)
    if program := KEYS.get(name.lower()):
        return _made_by(program, text, source)
    if JOB.search(text[:MAX_JSON]):
        return _made_by("Midjourney", text, source)
    if name.lower() == "parameters" and isinstance(_json(text), dict):
        program = "SwarmUI" if "sui_image_params" in text else "Fooocus or a like program"
        return _made_by(program, text, source)
    return None


def _comfyui(notes: Mapping[str, str], source: str) -> list[Finding]:
    """Return a finding for ComfyUI's graph of the steps that made a picture, if there is one."""
    for text in (notes.get("prompt", ""), notes.get("workflow", "")):
        # EXIF fields prefix the note with its name.
        graph = _json(text.removeprefix("prompt:").removeprefix("workflow:").strip())
        if isinstance(graph, dict) and ("class_type" in text or "nodes" in graph):
            return [_made_by("ComfyUI", text, source)]
    return []


def _novelai(notes: Mapping[str, str], source: str) -> list[Finding]:
    """Return a finding for NovelAI's notes, if there are any."""
    settings = _json(notes.get("comment", ""))
    if "novelai" in notes.get("software", "").lower() and isinstance(settings, dict):
        model = notes.get("source", "")
        model_note = f", with the model {quote(model)}" if model else ""
        return [_made_by("NovelAI", notes["comment"], source, model_note)]
    return []


def _plain_note(name: str, text: str, source: str) -> Finding:
    sentence = f"{source} holds a note, {quote(name)}: {quote(text)}."
    return Finding(Kind.SOFTWARE, sentence, clean(text), source=source)


def _json(text: str) -> object:
    """Return the parsed JSON of a text; `None` if it is too long or not JSON."""
    if not text.lstrip().startswith(("{", "[")) or len(text) > MAX_TEXT:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_layers(photo: TiffImagePlugin.TiffImageFile) -> list[Finding]:
    """Return a finding if a TIFF file holds Photoshop's layers beside the flattened picture."""
    if PHOTOSHOP_LAYERS not in photo.tag_v2:
        return []
    sentence = "The TIFF file holds Photoshop's layers beside the flat picture."
    return [Finding(Kind.EDITING, sentence, "layers", source="TIFF", claim=Claim.EDITED)]


def read_photoshop(resources: Mapping[int, object]) -> list[Finding]:
    """Return what Photoshop's resources (8BIM) in a JPEG file say.

    Args:
        resources: content by number, as Pillow reads them.
    """
    source = "Photoshop's resources"
    findings = []
    groups = resources.get(LAYER_GROUPS)
    layers = len(groups) // 2 if isinstance(groups, bytes) else 0
    if layers > 1:
        sentence = f"{source} tell of {layers} layers in the document that it was saved from."
        value = f"{layers} layers"
        findings.append(Finding(Kind.EDITING, sentence, value, source=source, claim=Claim.EDITED))
    iptc = resources.get(IPTC_RESOURCE)
    if isinstance(iptc, bytes) and IPTC_PROGRAM in iptc:
        start = iptc.index(IPTC_PROGRAM) + len(IPTC_PROGRAM)
        length = int.from_bytes(iptc[start : start + 2], "big")
        program = decoded(iptc[start + 2 : start + 2 + length])
        findings.append(tool_finding(program, "IPTC"))
    if not findings and resources:
        sentence = f"{source} are in the file: Photoshop or a program that imitates it wrote them."
        numbers = ", ".join(f"{number:#06x}" for number in sorted(resources))
        findings.append(Finding(Kind.SOFTWARE, sentence, clean(numbers), source=source))
    return findings
