"""Read the XMP packet of a photo or clip (ISO 16684-1): its origin, and what edited it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

if __package__:
    from .credentials import remote_finding
    from .findings import Claim, Finding, Kind, clean, quote
    from .known_tools import tool_finding, tool_kind
    from .source_types import source_type
else:
    from credentials import remote_finding
    from findings import Claim, Finding, Kind, clean, quote
    from known_tools import tool_finding, tool_kind
    from source_types import source_type

SOURCE = "XMP"
MAX_BYTES = 1_000_000  # of a packet
MAX_EXTENDED = 8_000_000  # bytes of the extension of a JPEG file's packet
MAX_DEPTH = 64  # of its elements
MAX_STEPS = 200  # read of a history
SHOWN_STEPS = 6  # of a history, in a sentence
PROPERTIES = {
    f"{{{namespace}}}{name}": name
    for namespace, names in {
        "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": (
            "DigitalSourceType",
            "AISystemUsed",
            "AIPromptInformation",
        ),
        "http://ns.adobe.com/xap/1.0/": ("CreatorTool", "CreateDate", "ModifyDate"),
        "http://ns.adobe.com/photoshop/1.0/": ("Credit", "LayerName", "DocumentAncestors"),
        "http://ns.adobe.com/camera-raw-settings/1.0/": ("Version",),
        "http://ns.adobe.com/tiff/1.0/": ("Software",),
        "http://purl.org/dc/terms/": ("provenance",),
        "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#": ("action", "softwareAgent", "when"),
    }.items()
    for name in names
}
# XMP specification, part 3 (2020), 1.1.3.1: how a packet of a JPEG file names its extension, and
# how each part of the extension begins; MD5 sum, total length, the part's offset and its content
# follow.
EXTENSION = re.compile(rb"HasExtendedXMP(?:\s*=\s*[\"']|>)\s*([0-9A-F]{32})")
EXTENSION_START = b"http://ns.adobe.com/xmp/extension/\0"
LIST_ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"


class XmpError(ValueError):
    """A packet that cannot be read; the text says why."""


@dataclass
class _Packet:
    """Collects the properties of a packet while it is parsed; keeps no tree of it.

    Attributes:
        values: what the packet says, by property.
        steps: of the editing history, each with its properties.
    """

    values: dict[str, list[str]] = field(default_factory=dict)
    steps: list[dict[str, str]] = field(default_factory=list)
    _step: dict[str, str] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _text: list[str] = field(default_factory=list)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Record the start of an element, and its attributes."""
        if len(self._open) >= MAX_DEPTH:
            raise XmpError(f"its elements are nested deeper than {MAX_DEPTH}")
        self._open.append(tag)
        self._text.clear()
        if tag == LIST_ITEM:
            self._step = {}
        for name, value in attributes.items():
            self._add(name, value)

    def data(self, text: str) -> None:
        """Record text."""
        self._text.append(text)

    def end(self, tag: str) -> None:
        """Record the end of an element."""
        self._open.pop()
        text = "".join(self._text).strip()
        self._text.clear()
        if not text:
            return
        # The items of a list are values of the property that the list belongs to.
        owner = next((parent for parent in reversed(self._open) if parent in PROPERTIES), "")
        self._add(owner if tag == LIST_ITEM else tag, text)

    def close(self) -> _Packet:
        """Return the packet itself, as the parser's result."""
        return self

    def _add(self, tag: str, value: str) -> None:
        name = PROPERTIES.get(tag)
        if name in ("action", "softwareAgent", "when"):
            if not self._step and len(self.steps) < MAX_STEPS:
                self.steps.append(self._step)
            self._step[name] = value
        elif name and len(self.values.setdefault(name, [])) < MAX_STEPS:
            self.values[name].append(value)


def extended_packet(packet: bytes, segments: Iterable[bytes]) -> bytes | None:
    """Return the extension of a packet that exceeds the 64 KB of a JPEG segment.

    Args:
        packet: the main packet.
        segments: the file's APP1 segments.

    Returns:
        The extended packet; `None` if the file has none.

    Raises:
        XmpError: the extension is too large, or parts of it are missing.
    """
    digest = EXTENSION.search(packet)
    if digest is None:
        return None
    start = EXTENSION_START + digest[1]
    parts = sorted(
        (int.from_bytes(part[4:8]), int.from_bytes(part[:4]), part[8:])
        for part in (segment[len(start) :] for segment in segments if segment.startswith(start))
    )
    extended = b""
    for offset, _, content in parts:
        if len(extended) + len(content) > MAX_EXTENDED:
            raise XmpError(f"it has more than {MAX_EXTENDED // 10**6} MB")
        if offset == len(extended):
            extended += content
    if not parts or len(extended) != parts[0][1]:
        raise XmpError("parts of it are missing")
    return extended


def read_xmp(packet: bytes | str, limit: int = MAX_BYTES) -> list[Finding]:
    """Return what an XMP packet says.

    Args:
        packet: the XML, as it stands in the file.
        limit: its maximum size in bytes.

    Raises:
        XmpError: it is too large, nested too deeply, not XML, or declares entities.
    """
    parsed = _parse(packet.encode() if isinstance(packet, str) else packet, limit)
    values = parsed.values
    steps = parsed.steps
    findings = [remote_finding(address) for address in values.get("provenance", [])[:1]]
    findings += _origins(values.get("DigitalSourceType", []))
    for name in ("AISystemUsed", "AIPromptInformation"):
        findings += [_ai_field(name, value) for value in values.get(name, [])[:1]]
    tools = values.get("CreatorTool", []) + values.get("Software", [])
    tools += [credit for credit in values.get("Credit", []) if tool_kind(credit)]
    tools += [f"Adobe Camera Raw {version}" for version in values.get("Version", [])[:1]]
    findings += [tool_finding(tool, SOURCE) for tool in dict.fromkeys(tools)]
    if steps:
        findings.append(_history(steps))
    if layers := values.get("LayerName"):
        findings.append(_layers(layers))
    if ancestors := values.get("DocumentAncestors"):
        findings.append(_ancestors(ancestors))
    return findings + _dates(values)


def _parse(packet: bytes, limit: int) -> _Packet:
    # Imported for the first packet only: most photos on the web have lost theirs.
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser, ParseError

    packet = packet.strip(b"\0 \t\r\n")
    if len(packet) > limit:
        raise XmpError(f"it has {len(packet) / 1e6:.1f} MB")
    parser = DefusedXMLParser(target=_Packet(), forbid_dtd=True)
    try:
        parser.feed(packet)
        return parser.close()
    except XmpError:
        raise
    except DefusedXmlException as error:
        raise XmpError("it declares entities, which no such packet needs") from error
    except (ParseError, ValueError, LookupError) as error:  # the latter for an unknown encoding
        raise XmpError(f"it is no XML ({error})") from error


def _origins(addresses: list[str]) -> list[Finding]:
    return [
        Finding(
            Kind.ORIGIN,
            f"{SOURCE} states: {origin[0]}.",
            clean(address),
            source=SOURCE,
            claim=origin[1],
        )
        for address in dict.fromkeys(addresses)
        if (origin := source_type(address))
    ]


def _ai_field(name: str, value: str) -> Finding:
    word = "AI system" if name == "AISystemUsed" else "prompt"
    sentence = f"{SOURCE} names the {word} it was made with: {quote(value)}."
    return Finding(Kind.GENERATOR, sentence, clean(value), source=SOURCE, claim=Claim.AI)


def _history(steps: list[dict[str, str]]) -> Finding:
    """Return what the editing history says, the last steps first."""
    words = [_step(step) for step in reversed(steps)]
    shown = list(dict.fromkeys(words))[:SHOWN_STEPS]
    more = f", and {len(steps) - len(shown)} more" if len(steps) > len(shown) else ""
    count = "1 step" if len(steps) == 1 else f"{len(steps)} steps"
    edited = any(tool_kind(step.get("softwareAgent", "")) for step in steps)
    return Finding(
        Kind.EDITING,
        f"{SOURCE} lists a history of {count}, the last first: {', '.join(shown)}{more}.",
        clean("; ".join(" ".join(step.values()) for step in steps)),
        source=SOURCE,
        claim=Claim.EDITED if edited else Claim.NOTHING,
    )


def _step(step: dict[str, str]) -> str:
    word = clean(step.get("action", "unnamed"), 40)
    agent, when = step.get("softwareAgent"), step.get("when")
    parts = [word] + ([f"with {quote(agent)}"] if agent else [])
    return " ".join(parts + ([f"at {clean(when, 40)}"] if when else []))


def _layers(names: list[str]) -> Finding:
    shown = ", ".join(quote(name) for name in names[:SHOWN_STEPS])
    return Finding(
        Kind.EDITING,
        f"{SOURCE} lists text layers of the Photoshop document it came from: {shown}.",
        clean("; ".join(names)),
        source=SOURCE,
        claim=Claim.EDITED,
    )


def _ancestors(documents: list[str]) -> Finding:
    count = "another document" if len(documents) == 1 else f"{len(documents)} other documents"
    return Finding(
        Kind.EDITING,
        f"{SOURCE} says that content of {count} was pasted into it in Photoshop.",
        clean("; ".join(documents)),
        source=SOURCE,
        claim=Claim.EDITED,
    )


def _dates(values: dict[str, list[str]]) -> list[Finding]:
    made, changed = (
        clean((values.get(name) or [""])[0], 40) for name in ("CreateDate", "ModifyDate")
    )
    if not made and not changed:
        return []
    parts = [f"made {made}"] * bool(made) + [f"changed {changed}"] * bool(changed)
    dates = " and ".join(parts)
    return [Finding(Kind.TIME, f"{SOURCE} says that it was {dates}.", dates, source=SOURCE)]
